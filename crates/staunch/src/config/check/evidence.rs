//! Where checkpoints of evidence are brought.

use staunch_model::{Printable, Span};
use staunch_server::auth::why_no_name;

use super::super::mistake::{Mistake, Step};
use super::super::{AnchorKind, AnchorSettings, Config};
use super::{Checker, has_user};

/// The most anchors: each has a thread of its own.
const ANCHORS_MAX: usize = 8;

/// The longest name of a branch.
const BRANCH_CHARS_MAX: usize = 100;

impl Checker<'_> {
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
            }
            let (least, most) = (Span::from_secs(1), Span::from_hours(7 * 24));
            if !(least..=most).contains(&it.every) {
                let what = format!("every is {}: what is not anchored can be taken back", it.every);
                mistake("every", what, &format!("write a time from \"{least}\" to \"{most}\""));
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
