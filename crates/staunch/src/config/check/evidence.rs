//! What manifests of evidence say besides, and where checkpoints are brought.

use staunch_model::{Printable, Span};
use staunch_server::auth::why_no_name;

use super::super::lookups::is_on_this_machine;
use super::super::mistake::{Mistake, Step};
use super::super::{AnchorKind, AnchorSettings, Config, EvidenceSettings};
use super::{Checker, has_user};

/// The most anchors: each has a thread of its own.
const ANCHORS_MAX: usize = 8;

/// The longest name of a branch.
const BRANCH_CHARS_MAX: usize = 100;

/// The most characters of what the organisation says of its evidence.
const CLASSIFICATION_CHARS_MAX: usize = 100;

/// The most words that hide a value, and the most characters of each.
const REDACT_MAX: usize = 100;
const REDACT_CHARS_MAX: usize = 100;

/// The most characters of each name of where a machine belongs.
const PLACE_CHARS_MAX: usize = 300;

impl Checker<'_> {
    /// What manifests say besides: each of them has it, and has a bound.
    pub(super) fn labels(&mut self, it: &EvidenceSettings) {
        if let Some(keep) = it.keep {
            let (least, most) = (Span::from_hours(24), Span::from_hours(36_500 * 24));
            let why = "evidence is kept for days at least, and for a century at most";
            self.span(&["evidence", "keep"], keep, least, most, why);
        }
        let is_word = |word: &String| (2..=REDACT_CHARS_MAX).contains(&word.chars().count());
        if it.redact.len() > REDACT_MAX || !it.redact.iter().all(is_word) {
            let what = "redact has too many words, or one that would hide nothing or everything".to_owned();
            let hint = format!("name at most {REDACT_MAX} words of 2 to {REDACT_CHARS_MAX} characters");
            self.add(&["evidence", "redact"], what, hint);
        }
        let place = &it.source;
        for (path, value, most) in [
            (
                &["evidence", "classification"][..],
                &it.classification,
                CLASSIFICATION_CHARS_MAX,
            ),
            (&["evidence", "source", "provider"], &place.provider, PLACE_CHARS_MAX),
            (&["evidence", "source", "account"], &place.account, PLACE_CHARS_MAX),
            (&["evidence", "source", "region"], &place.region, PLACE_CHARS_MAX),
            (&["evidence", "source", "resource"], &place.resource, PLACE_CHARS_MAX),
        ] {
            let Some(value) = value else { continue };
            let key = path.last().copied().unwrap_or_default();
            let chars = value.chars().count();
            if chars == 0 || chars > most {
                let hint = format!("write 1 to {most} characters, or leave it out");
                self.add(
                    path,
                    format!("{key} has {chars} characters: every manifest has it"),
                    hint,
                );
            } else if value.chars().any(char::is_control) {
                let hint = "write it in one line".to_owned();
                self.add(path, format!("{key} has control characters"), hint);
            }
        }
    }

    pub(super) fn anchors(&mut self, config: &Config) {
        let anchors = &config.evidence.anchors;
        if anchors.len() > ANCHORS_MAX {
            let what = format!("there are {} anchors: each has a thread of its own", anchors.len());
            self.add(&["evidence", "anchors"], what, format!("name at most {ANCHORS_MAX}"));
        }
        for (at, it) in anchors.iter().enumerate() {
            let mut mistake = |key: &str, what: String, hint: &str| {
                let path = [
                    Step::Key("evidence"),
                    Step::Key("anchors"),
                    Step::At(at),
                    Step::Key(key),
                ];
                self.mistakes.push(Mistake::of_value(self.text, &path, what, hint));
            };
            let shown = Printable(&it.name);
            if let Some(why) = why_no_name(&it.name) {
                let what = format!("{shown} cannot be the name of an anchor: {why}");
                mistake("name", what, "choose another name for it");
            } else if !it.name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-') {
                let what = format!("{shown} cannot be the name of an anchor: a directory is called so");
                mistake("name", what, "write letters, digits and `-`");
            }
            if anchors.iter().take(at).any(|other| other.name == it.name) {
                let what = format!("two anchors are called {shown}");
                mistake("name", what, "choose another name for one of them");
            }
            match it.kind {
                AnchorKind::Git => git(it, &mut mistake),
                AnchorKind::Rfc3161 => rfc3161(it, &mut mistake),
                AnchorKind::S3 => s3(it, &mut mistake),
            }
            let (least, most) = (Span::from_secs(1), Span::from_hours(7 * 24));
            if !(least..=most).contains(&it.every) {
                let what = format!("every is {}: what is not anchored can be taken back", it.every);
                mistake("every", what, &format!("write a time from \"{least}\" to \"{most}\""));
            }
            let (least, most) = (Span::from_hours(1), Span::from_hours(3650 * 24));
            if !(least..=most).contains(&it.retain) {
                let what = format!(
                    "retain is {}: what is kept for ever cannot be deleted by anybody",
                    it.retain
                );
                mistake("retain", what, &format!("write a time from \"{least}\" to \"{most}\""));
            }
            if it.kind != AnchorKind::S3 && (it.key_file.is_some() || it.legal_hold) {
                let key = if it.key_file.is_some() {
                    "key_file"
                } else {
                    "legal_hold"
                };
                mistake(
                    key,
                    "only a bucket has one".to_owned(),
                    "take it out, or write kind = \"s3\"",
                );
            }
            let (least, most) = (Span::from_secs(1), Span::from_mins(10));
            if !(least..=most).contains(&it.deadline) {
                let what = format!("deadline is {}: an attempt must end", it.deadline);
                mistake(
                    "deadline",
                    what,
                    &format!("write a time from \"{least}\" to \"{most}\""),
                );
            }
        }
    }
}

fn git(it: &AnchorSettings, mistake: &mut dyn FnMut(&str, String, &str)) {
    match it.repository.as_deref() {
        None => {
            let hint = "write the absolute path of a bare repository, or an address";
            mistake("kind", "an anchor in git needs a repository".to_owned(), hint);
        }
        Some(address)
            if address.starts_with("https://") && has_user(address)
                || address.starts_with("ssh://") && has_password(address) =>
        {
            let what = "the address has a user or a password in it".to_owned();
            mistake(
                "repository",
                what,
                "leave it out, and let a credential helper of git answer",
            );
        }
        Some(address) if ["/", "https://", "ssh://"].iter().any(|it| address.starts_with(it)) => {}
        Some(address) => {
            let what = format!("{} is no repository", Printable(address));
            let hint = "write an absolute path, or an address that begins with https:// or ssh://";
            mistake("repository", what, hint);
        }
    }
    // What git takes as the name of a branch, and much less (git-check-ref-format(1)).
    let letter = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'/');
    let is_branch = (1..=BRANCH_CHARS_MAX).contains(&it.branch.len()) && it.branch.bytes().all(letter);
    let has_parts = it
        .branch
        .split('/')
        .all(|part| !part.is_empty() && !part.starts_with('-'));
    if !is_branch || !has_parts {
        let what = format!("{} cannot be the name of the branch", Printable(&it.branch));
        mistake("branch", what, "write letters, digits, `-`, `_` and `/`");
    }
    if it.url.is_some() || it.ca.is_some() {
        let key = if it.url.is_some() { "url" } else { "ca" };
        let what = "an anchor in git has no authority".to_owned();
        mistake(key, what, "take it out, or write kind = \"rfc3161\"");
    }
}

fn rfc3161(it: &AnchorSettings, mistake: &mut dyn FnMut(&str, String, &str)) {
    match it.url.as_deref() {
        None => {
            let what = "an anchor of time stamps needs an authority".to_owned();
            mistake("kind", what, "write its address as url");
        }
        Some(url) if has_user(url) => {
            let what = "the address has a user or a password in it".to_owned();
            mistake("url", what, "leave it out");
        }
        Some(url) if !url.starts_with("https://") && !url.starts_with("http://") => {
            let what = format!("{} cannot be asked", Printable(url));
            mistake("url", what, "write an address that begins with https:// or http://");
        }
        Some(_) => {}
    }
    if it.repository.is_some() {
        let what = "an anchor of time stamps has no repository".to_owned();
        mistake("repository", what, "take it out, or write kind = \"git\"");
    }
}

fn s3(it: &AnchorSettings, mistake: &mut dyn FnMut(&str, String, &str)) {
    match it.url.as_deref() {
        None => mistake("kind", "a bucket needs an address".to_owned(), "write it as url"),
        Some(url) if has_user(url) => {
            let what = "the address has a user or a password in it".to_owned();
            mistake("url", what, "leave it out, and name the file of the key as key_file");
        }
        Some(url) if !(url.starts_with("https://") || url.starts_with("http://") && is_on_this_machine(url)) => {
            let what = format!("{} cannot be asked in safety", Printable(url));
            mistake("url", what, "write an address that begins with https://");
        }
        Some(url) if url.contains(['?', '#', '%']) => {
            let what = format!("{} is more than a bucket and a prefix", Printable(url));
            mistake("url", what, "leave out what begins with `?`, `#` or `%`");
        }
        Some(_) => {}
    }
    if it.key_file.is_none() {
        let what = "a bucket needs a key".to_owned();
        mistake("kind", what, "name the file of the key as key_file");
    }
    if it.repository.is_some() {
        let what = "a bucket has no repository".to_owned();
        mistake("repository", what, "take it out, or write kind = \"git\"");
    }
    let is_region = !it.region.is_empty() && it.region.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
    if !is_region {
        let what = format!("{} cannot be a region", Printable(&it.region));
        mistake("region", what, "write one such as eu-central-1");
    }
}

/// Whether an address has a password in it.
fn has_password(address: &str) -> bool {
    let authority = address.split("://").nth(1).and_then(|it| it.split('/').next());
    let user = authority.and_then(|it| it.rsplit_once('@')).map(|(user, _)| user);
    user.is_some_and(|it| it.contains(':'))
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    fn mistakes(anchor: &str) -> String {
        match parse(&format!("[[evidence.anchors]]\nname = \"a\"\n{anchor}")) {
            Ok(_) => String::new(),
            Err(mistakes) => format!("{mistakes:?}"),
        }
    }

    #[test]
    fn what_cannot_be_an_anchor_is_refused() {
        let git = "kind = \"git\"\nrepository";
        let stamps = "kind = \"rfc3161\"\nurl";
        for good in [
            format!("{git} = \"/srv/a.git\""),
            format!("{git} = \"ssh://git@vault.example/a.git\"\nbranch = \"logs/web-1\""),
            format!("{stamps} = \"http://tsa.example/\"\nevery = \"1d\""),
        ] {
            assert_eq!(mistakes(&good), "");
        }
        for (bad, expect) in [
            ("kind = \"git\"".to_owned(), "needs a repository"),
            (format!("{git} = \"ext::sh -c id\""), "is no repository"),
            (format!("{git} = \"--upload-pack=x\""), "is no repository"),
            (format!("{git} = \"https://me@vault.example/\""), "a user or a password"),
            (
                format!("{git} = \"ssh://me:secret@vault.example/\""),
                "a user or a password",
            ),
            (format!("{git} = \"/a\"\nbranch = \"-f\""), "the name of the branch"),
            (format!("{git} = \"/a\"\nbranch = \"a..b\""), "the name of the branch"),
            (format!("{git} = \"/a\"\nurl = \"http://a\""), "has no authority"),
            ("kind = \"rfc3161\"".to_owned(), "needs an authority"),
            (format!("{stamps} = \"ftp://tsa.example\""), "cannot be asked"),
            (
                format!("{stamps} = \"https://me:secret@tsa.example\""),
                "a user or a password",
            ),
            (
                format!("{stamps} = \"https://a\"\nrepository = \"/a\""),
                "has no repository",
            ),
            (format!("{stamps} = \"https://a\"\nlegal_hold = true"), "only a bucket"),
            (
                "kind = \"s3\"\nurl = \"https://s3.example/b\"".to_owned(),
                "a bucket needs a key",
            ),
            (
                "kind = \"s3\"\nkey_file = \"k\"\nurl = \"http://s3.example/b\"".to_owned(),
                "in safety",
            ),
            (
                "kind = \"s3\"\nkey_file = \"k\"\nurl = \"https://s/b?x\"".to_owned(),
                "more than a bucket",
            ),
            (
                "kind = \"s3\"\nkey_file = \"k\"\nurl = \"https://s/b\"\nretain = \"1m\"".to_owned(),
                "retain is",
            ),
            (format!("{stamps} = \"https://a\"\nevery = \"0s\""), "every is"),
            (
                format!("{stamps} = \"https://a\"\ndeadline = \"1h\""),
                "an attempt must end",
            ),
            (
                format!("{git} = \"/a\"\n[[evidence.anchors]]\nname = \"a\"\n{git} = \"/a\""),
                "two anchors",
            ),
            (
                format!("{git} = \"/a\"\n[[evidence.anchors]]\nname = \"../a\"\n{git} = \"/a\""),
                "cannot be the name",
            ),
        ] {
            let found = mistakes(&bad);
            assert!(found.contains(expect), "{bad}: {found}");
        }
    }
}
