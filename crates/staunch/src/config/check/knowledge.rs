//! What is known of addresses, hosts and accounts, and the tables that make something of it.

use staunch_connectors::feeds::Format;
use staunch_connectors::lists::REASON_CHARS_MAX;
use staunch_connectors::lookups::Kind;
use staunch_model::{Printable, Span};
use staunch_server::auth::why_no_name;

use super::super::Config;
use super::super::lookups::is_on_this_machine;
use super::super::mistake::{Mistake, Step};
use super::{Checker, has_user};

/// The most rows of the table of risks.
const RISK_ROWS_MAX: usize = 64;

/// The most feeds.
const FEEDS_MAX: usize = 32;

/// The most services that are asked about addresses: each has threads of its own.
const LOOKUPS_MAX: usize = 4;

/// The most networks beside global ones of whose addresses a service is asked.
const LOOKUP_NETWORKS_MAX: usize = 64;

/// The most rows of the context guard.
const CONTEXT_ROWS_MAX: usize = 64;

/// The most databases of places.
const GEO_DATABASES_MAX: usize = 4;

/// The most files of context: each is looked at several times a second.
const CONTEXT_FILES_MAX: usize = 64;

/// The longest name of a row of the context guard: it is shown within one line of a judgement.
const CONTEXT_NAME_CHARS_MAX: usize = 64;

impl Checker<'_> {
    pub(super) fn risk(&mut self, config: &Config) {
        let rows = &config.risk.rows;
        if rows.len() > RISK_ROWS_MAX {
            let what = format!("the table of risks has {} rows: nobody reads through them", rows.len());
            self.add(&["risk", "rows"], what, format!("write at most {RISK_ROWS_MAX}"));
        }
        for (at, row) in rows.iter().enumerate() {
            let mut mistake = |key: &str, what: String, hint: &str| {
                let path = [Step::Key("risk"), Step::Key("rows"), Step::At(at), Step::Key(key)];
                self.mistakes.push(Mistake::of_value(self.text, &path, what, hint));
            };
            let length = row.name.chars().count();
            if row.name.trim().is_empty() || length > REASON_CHARS_MAX {
                let what = format!("the name of the row has {length} characters: the plan shows it");
                mistake(
                    "name",
                    what,
                    &format!("say in 1 to {REASON_CHARS_MAX} characters when it holds"),
                );
            }
            if let (Some(above), Some(below)) = (row.score_above, row.score_below)
                && above >= below
            {
                let what = format!("no score is above {above} and below {below}");
                mistake("score_above", what, "make it smaller than score_below");
            }
            let is_digits = |it: &str, count| it.len() == count && it.bytes().all(|it| it.is_ascii_digit());
            let is_technique = |it: &str| {
                let rest = it.strip_prefix('T').unwrap_or_default();
                match rest.split_once('.') {
                    Some((technique, part)) => is_digits(technique, 4) && is_digits(part, 3),
                    None => is_digits(rest, 4),
                }
            };
            if let Some(wrong) = row.attack.iter().find(|it| !is_technique(it)) {
                let what = format!("{} is no technique of MITRE ATT&CK", Printable(wrong));
                mistake("attack", what, "write for example T1110 or T1110.003");
            }
            let holds_always = row.internal.is_none()
                && row.score_above.is_none()
                && row.score_below.is_none()
                && row.attack.is_empty();
            if holds_always {
                let what = "the row names no condition, so no later one is ever reached".to_owned();
                mistake("name", what, "say it with `otherwise` under [risk]");
            }
        }
    }

    pub(super) fn feeds(&mut self, config: &Config) {
        let feeds = &config.feeds;
        if feeds.len() > FEEDS_MAX {
            let what = format!("there are {} feeds: each is asked about every target", feeds.len());
            self.add(&["feeds"], what, format!("name at most {FEEDS_MAX}"));
        }
        for (at, feed) in feeds.iter().enumerate() {
            let mut mistake = |key: &str, what: String, hint: &str| {
                let path = [Step::Key("feeds"), Step::At(at), Step::Key(key)];
                self.mistakes.push(Mistake::of_value(self.text, &path, what, hint));
            };
            let shown = Printable(&feed.name);
            if let Some(why) = why_no_name(&feed.name) {
                mistake(
                    "name",
                    format!("{shown} cannot be the name of a feed: {why}"),
                    "choose another name for it",
                );
            }
            if feeds.iter().take(at).any(|it| it.name == feed.name) {
                mistake(
                    "name",
                    format!("two feeds are called {shown}"),
                    "choose another name for one of them",
                );
            }
            match (&feed.url, feed.path.as_os_str().is_empty()) {
                (None, true) => mistake("name", format!("{shown} is read from nowhere"), "write path or url"),
                (Some(_), false) => {
                    mistake(
                        "path",
                        format!("{shown} has both a path and a URL"),
                        "write one of the two",
                    );
                }
                (Some(url), true) if has_user(url) => {
                    let what = "the address has a user or a password in it".to_owned();
                    mistake(
                        "url",
                        what,
                        "leave it out, and put what is to be sent into the file of key_file",
                    );
                }
                (Some(url), true) if !url.starts_with("https://") && !url.starts_with("http://") => {
                    let what = format!("{} cannot be fetched", Printable(url));
                    mistake("url", what, "write an address that begins with https:// or http://");
                }
                _ => {}
            }
            match (&feed.key_file, &feed.url) {
                (Some(_), Some(url)) if !url.starts_with("https://") && !is_on_this_machine(url) => {
                    let what = format!("{shown} would send its key where others can read it");
                    mistake("url", what, "write an address that begins with https://");
                }
                (Some(_), None) => {
                    let what = format!("{shown} has a key and is not fetched");
                    mistake("key_file", what, "take it out, or write url");
                }
                _ => {}
            }
            let filtered = !feed.services.is_empty() || !feed.regions.is_empty();
            if filtered && feed.format.provider().is_none() {
                let what = "a feed of this format has no services and no regions".to_owned();
                mistake("format", what, "take them out, or name the format of a provider");
            }
            let (least, most) = (feed.least_interval(), Span::from_hours(7 * 24));
            if !(least..=most).contains(&feed.every) {
                let why = match feed.format {
                    Format::Spamhaus if feed.every < least => "Spamhaus locks out who fetches DROP more often",
                    _ => "what is never fetched grows old",
                };
                let what = format!("every is {}: {why}", feed.every);
                mistake("every", what, &format!("write a time from \"{least}\" to \"{most}\""));
            }
            if feed.confidence > 100 {
                let what = format!("confidence is {}: it is in percent", feed.confidence);
                mistake("confidence", what, "write a number from 0 to 100");
            }
            let (least, most) = (Span::from_mins(1), Span::from_hours(366 * 24));
            if !(least..=most).contains(&feed.expires_after) {
                let what = format!("expires_after is {}: what is old says little", feed.expires_after);
                mistake(
                    "expires_after",
                    what,
                    &format!("write a time from \"{least}\" to \"{most}\""),
                );
            }
        }
    }

    pub(super) fn lookups(&mut self, config: &Config) {
        let lookups = &config.lookups;
        if lookups.len() > LOOKUPS_MAX {
            let what = format!("there are {} look-ups: each has threads of its own", lookups.len());
            self.add(&["lookups"], what, format!("name at most {LOOKUPS_MAX}"));
        }
        for (at, it) in lookups.iter().enumerate() {
            let mut mistake = |key: &str, what: String, hint: &str| {
                let path = [Step::Key("lookups"), Step::At(at), Step::Key(key)];
                self.mistakes.push(Mistake::of_value(self.text, &path, what, hint));
            };
            let shown = Printable(&it.name);
            if let Some(why) = why_no_name(&it.name) {
                let what = format!("{shown} cannot be the name of a look-up: {why}");
                mistake("name", what, "choose another name for it");
            }
            let is_taken = lookups.iter().take(at).any(|other| other.name == it.name)
                || config.feeds.iter().any(|feed| feed.name == it.name);
            if is_taken {
                let what = format!("another look-up or a feed is called {shown}");
                mistake("name", what, "choose another name for one of them");
            }
            if let Some(why) = it.why_no_url() {
                let key = if it.url.is_some() { "url" } else { "name" };
                let hint = match it.kind {
                    Kind::AbuseIpdb => "leave it out, or write for example \"https://api.abuseipdb.com/api/v2/check\"",
                    Kind::Generic => "write for example \"https://reputation.example/v1/addresses/{ip}\"",
                };
                mistake(key, format!("{shown} cannot be asked at its url: {why}"), hint);
            }
            let is_token = |text: &str| {
                let part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                !text.is_empty() && text.len() <= 64 && text.bytes().all(part)
            };
            if !is_token(it.header()) {
                let what = format!("{} is no name of a header", Printable(it.header()));
                mistake("header", what, "write for example \"X-Api-Key\"");
            }
            match it.kind {
                Kind::AbuseIpdb if it.key_file.is_none() => {
                    let what = "AbuseIPDB answers nobody without a key".to_owned();
                    mistake("kind", what, "name the file that holds it: key_file");
                }
                Kind::AbuseIpdb if it.pointer.is_some() => {
                    let what = "it is known where AbuseIPDB has its score".to_owned();
                    mistake("pointer", what, "leave it out");
                }
                Kind::Generic if it.pointer.is_none() => {
                    let what = "it is not said where the score is in the answer".to_owned();
                    mistake("kind", what, "add for example pointer = \"/data/score\"");
                }
                Kind::Generic
                    if it
                        .pointer
                        .as_ref()
                        .is_some_and(|it| !it.is_empty() && !it.starts_with('/')) =>
                {
                    let what = "a JSON pointer begins with a slash".to_owned();
                    mistake("pointer", what, "write for example \"/data/score\"");
                }
                _ => {}
            }
            if !(1..=1_000_000).contains(&it.scale) {
                let what = format!("scale is {}: it is the number of the worst score", it.scale);
                mistake("scale", what, "write a number from 1 to 1000000");
            }
            if !(1..=365).contains(&it.max_age_days) {
                let what = format!("max_age_days is {}: AbuseIPDB keeps reports of a year", it.max_age_days);
                mistake("max_age_days", what, "write a number from 1 to 365");
            }
            if it.confidence > 100 {
                let what = format!("confidence is {}: it is in percent", it.confidence);
                mistake("confidence", what, "write a number from 0 to 100");
            }
            let (minute, day) = (Span::from_mins(1), Span::from_hours(24));
            let spans = [
                ("cache", it.cache, Span::from_secs(1), day, "each question costs quota"),
                (
                    "deadline",
                    it.deadline,
                    Span::from_millis(10),
                    Span::from_secs(5),
                    "events wait for it",
                ),
                (
                    "expires_after",
                    it.expires_after,
                    minute.max(it.cache),
                    day.times(7),
                    "an answer counts at least for as long as it is kept, and what is old says little",
                ),
            ];
            for (key, value, least, most, why) in spans {
                if !(least..=most).contains(&value) {
                    let hint = format!("write a time from \"{least}\" to \"{most}\"");
                    mistake(key, format!("{key} is {value}: {why}"), &hint);
                }
            }
            if it.also.len() > LOOKUP_NETWORKS_MAX {
                let what = format!("there are {} networks in also", it.also.len());
                mistake("also", what, &format!("name at most {LOOKUP_NETWORKS_MAX}"));
            }
        }
    }

    pub(super) fn context(&mut self, config: &Config) {
        let context = &config.context;
        for (table, files) in [("assets", &context.assets), ("identities", &context.identities)] {
            for (at, file) in files.iter().enumerate() {
                let path = [Step::Key("context"), Step::Key(table), Step::At(at), Step::Key("path")];
                let mut mistake = |what: String, hint: &str| {
                    self.mistakes.push(Mistake::of_value(self.text, &path, what, hint));
                };
                let path = file.path.display().to_string();
                let shown = Printable(&path);
                if file.format().is_none() {
                    let what = format!("it is not told how {shown} is written");
                    mistake(what, "add format = \"yaml\", \"csv\" or \"json\"");
                }
                if files.iter().take(at).any(|it| it.path == file.path) {
                    mistake(format!("{shown} is named twice"), "name it once");
                }
            }
            if files.len() > CONTEXT_FILES_MAX {
                let what = format!("there are {} files of {table}", files.len());
                self.add(&["context", table], what, format!("name at most {CONTEXT_FILES_MAX}"));
            }
        }
        for (at, file) in context.geo.iter().enumerate() {
            if context.geo.iter().take(at).any(|it| it == file) {
                let path = [Step::Key("context"), Step::Key("geo"), Step::At(at), Step::Key("path")];
                let what = format!("{} is named twice", Printable(&file.path.display().to_string()));
                self.mistakes
                    .push(Mistake::of_value(self.text, &path, what, "name it once"));
            }
        }
        if context.geo.len() > GEO_DATABASES_MAX {
            let what = format!(
                "there are {} databases, all of which are kept in memory",
                context.geo.len()
            );
            self.add(&["context", "geo"], what, format!("name at most {GEO_DATABASES_MAX}"));
        }
        let table = context.table();
        if table.rows.len() > CONTEXT_ROWS_MAX {
            let what = format!(
                "the context guard has {} rows: nobody reads through them",
                table.rows.len()
            );
            self.add(
                &["context", "guards"],
                what,
                format!("write at most {CONTEXT_ROWS_MAX}"),
            );
        }
        for (at, row) in table.rows.iter().enumerate() {
            let mut mistake = |key: &str, what: String, hint: &str| {
                let path = [Step::Key("context"), Step::Key("guards"), Step::At(at), Step::Key(key)];
                self.mistakes.push(Mistake::of_value(self.text, &path, what, hint));
            };
            let length = row.name.chars().count();
            if length == 0 || length > CONTEXT_NAME_CHARS_MAX {
                let what = format!("the name of a row has {length} characters: the plan shows it");
                let hint = format!("write 1 to {CONTEXT_NAME_CHARS_MAX} characters");
                mistake("name", what, &hint);
            }
            if !row.is_about_assets() && !row.is_about_identities() {
                let what = "the row names no condition: it holds for everything".to_owned();
                let hint = "name one; `mode = \"approve\"` asks a person about everything";
                mistake("name", what, hint);
            }
            if row.is_about_assets() && context.assets.is_empty() {
                let what = "the row asks for assets, and no file knows any".to_owned();
                mistake("name", what, "name a file under [[context.assets]]");
            }
            if row.is_about_identities() && context.identities.is_empty() {
                let what = "the row asks for accounts, and no file knows any".to_owned();
                mistake("name", what, "name a file under [[context.identities]]");
            }
        }
    }
}
