//! Values that cannot work, each with the reason. All of them are found, not only the first.

use std::path::PathBuf;

use staunch_connectors::json::EVENT_BYTES_MAX;
use staunch_connectors::lists::REASON_CHARS_MAX;
use staunch_connectors::lookups::Kind;
use staunch_engine::limits::{ACTIONS_IN_FLIGHT_CEILING, BUDGET_WINDOW};
use staunch_model::{Printable, Span};
use staunch_playbook::is_environment;
use staunch_playbook::limits::PARAMETER_CHARS_MAX;
use staunch_server::ClientAuth;
use staunch_server::auth::why_no_name;
use staunch_server::senders::SENDERS_MAX;

use super::mistake::{Mistake, Step};
use super::{Config, LIMIT_TABLE_END, ProtectedNetwork, SyslogSource};
use crate::note::Verifier;

/// The most acts in an hour that can be configured: what one nftables set can hold.
const ACTS_PER_HOUR_CEILING: u32 = 1_000_000;

/// The longest lease that can be configured. A block that is meant to stay belongs into the firewall's own configuration.
const LEASE_CEILING: Span = Span::from_hours(90 * 24);

/// The longest name of an nftables object is 255 bytes; names this long are not readable in its output.
const TABLE_NAME_BYTES_MAX: usize = 64;

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

/// The most files of protected networks: each is looked at several times a second.
const PROTECTED_FILES_MAX: usize = 64;

/// The smallest segment. A frame has at most a quarter of its segment (see `wiring::journal_options`), and one that
/// records a decision holds its event and what was made of it.
const SEGMENT_BYTES_MIN: u64 = 8 << 20;

const _: () = assert!(SEGMENT_BYTES_MIN / 4 >= EVENT_BYTES_MAX as u64 + (64 << 10));

/// The most networks of the scope of drills.
const DRILL_NETWORKS_MAX: usize = 8;

struct Checker<'a> {
    text: &'a str,
    mistakes: Vec<Mistake>,
}

/// Finds every value of `config`, which was read from `text`, that cannot work.
pub(super) fn check(config: &Config, text: &str) -> Vec<Mistake> {
    let mut checker = Checker {
        text,
        mistakes: Vec::new(),
    };
    checker.http(config);
    checker.tls(config);
    checker.limits(config);
    checker.never_touch(config);
    checker.risk(config);
    checker.feeds(config);
    checker.lookups(config);
    checker.context(config);
    checker.nftables(config);
    checker.playbooks(config);
    checker.rest(config);
    checker.drill(config);
    checker.sources(config);
    checker.telemetry(config);
    checker.mistakes
}

/// Whether an address names who asks: `https://user:password@host/`.
fn has_user(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#'])
        .next()
        .is_some_and(|host| host.contains('@'))
}

impl Checker<'_> {
    fn telemetry(&mut self, config: &Config) {
        let Some(url) = &config.telemetry.otlp else { return };
        let path = ["telemetry", "otlp"];
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        // First, so that a password is in no message.
        if has_user(url) {
            let what = "the address holds a user or a password".to_owned();
            self.add(
                &path,
                what,
                "no credentials are sent: have a collector on this machine add them",
            );
        } else if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) || url.contains(['?', '#']) {
            let what = format!("{} is no address of a receiver", Printable(url));
            self.add(&path, what, "write for example \"http://127.0.0.1:4318\"");
        }
    }

    fn add(&mut self, path: &[&str], what: String, hint: impl Into<String>) {
        let steps: Vec<Step<'_>> = path.iter().map(|key| Step::Key(key)).collect();
        self.mistakes.push(Mistake::of_value(self.text, &steps, what, hint));
    }

    fn number(&mut self, path: &[&str], value: u64, least: u64, most: u64, why: &str) {
        if !(least..=most).contains(&value) {
            let key = path.last().copied().unwrap_or_default();
            self.add(
                path,
                format!("{key} is {value}: {why}"),
                format!("write a number from {least} to {most}"),
            );
        }
    }

    fn span(&mut self, path: &[&str], value: Span, least: Span, most: Span, why: &str) {
        if !(least..=most).contains(&value) {
            let key = path.last().copied().unwrap_or_default();
            self.add(
                path,
                format!("{key} is {value}: {why}"),
                format!("write a time from \"{least}\" to \"{most}\""),
            );
        }
    }

    fn http(&mut self, config: &Config) {
        let http = &config.http;
        let why = "a body is held in memory while it is read, and one event must fit";
        self.number(
            &["http", "body_bytes_max"],
            http.body_bytes_max as u64,
            4 << 10,
            1 << 30,
            why,
        );
        let why = "each connection holds a file and memory, and operators need some beside the senders";
        self.number(
            &["http", "connections_max"],
            http.connections_max as u64,
            4,
            65_536,
            why,
        );
        let why = "one sender uses a few at the same time, a proxy as many as it has clients";
        self.number(
            &["http", "connections_per_peer_max"],
            http.connections_per_peer_max as u64,
            4,
            65_536,
            why,
        );
    }

    fn playbooks(&mut self, config: &Config) {
        let playbooks = &config.playbooks;
        if playbooks.require_signature && playbooks.trusted_keys.is_empty() {
            let what = "playbooks must be signed, and no key is trusted: trusted_keys is missing".to_owned();
            let hint = "make a key with `staunch playbook keygen` and name what it prints in `trusted_keys`";
            self.add(&["playbooks", "require_signature"], what, hint);
        }
        if let Some(key) = playbooks.trusted_keys.iter().find(|it| Verifier::parse(it).is_none()) {
            let what = format!("`{}` is no verifier key", Printable(key));
            let hint = "write what `staunch playbook keygen` prints: name+hash+key";
            self.add(&["playbooks", "trusted_keys"], what, hint);
        }
        if let Some(name) = &playbooks.environment
            && (!is_environment(name) || name == "default")
        {
            let what = format!("`{}` is not the name of an environment", Printable(name));
            let hint = "names are small letters, digits and single hyphens; leave the key out for the defaults";
            self.add(&["playbooks", "environment"], what, hint);
        }
        for (playbook, values) in &playbooks.parameters {
            for (name, value) in values {
                let path = ["playbooks", "parameters", playbook, name];
                let characters = value.chars().count();
                if characters > PARAMETER_CHARS_MAX {
                    let what = format!("the value has {characters} characters, more than {PARAMETER_CHARS_MAX}");
                    self.add(&path, what, "write a shorter one");
                } else if value.chars().any(char::is_control) {
                    let hint = "write it on one line";
                    self.add(&path, "the value has a control character in it".to_owned(), hint);
                }
            }
        }
    }

    fn tls(&mut self, config: &Config) {
        let Some(tls) = &config.http.tls else { return };
        if tls.client_ca.is_none() {
            let hint = "name the file of their authorities: client_ca".to_owned();
            if tls.client_auth == ClientAuth::Required {
                let what = "clients are to have a certificate, and nobody is trusted to make one".to_owned();
                self.add(&["http", "tls", "client_auth"], what, hint.clone());
            }
            if !tls.clients.is_empty() {
                let what = "clients are not asked for a certificate".to_owned();
                self.add(&["http", "tls", "clients"], what, hint);
            }
        }
        for (at, client) in tls.clients.iter().enumerate() {
            let steps = [Step::Key("http"), Step::Key("tls"), Step::Key("clients"), Step::At(at)];
            if let Some(why) = why_no_name(&client.name) {
                let what = format!("{} cannot be the name of a client: {why}", Printable(&client.name));
                let path = [&steps[..], &[Step::Key("name")]].concat();
                let hint = "choose another name for it";
                self.mistakes.push(Mistake::of_value(self.text, &path, what, hint));
            }
            let named = client.subjects().len();
            if named != 1 {
                let what = format!(
                    "the client {} has {named} names to be known by",
                    Printable(&client.name)
                );
                let hint = "write one of common_name, dns, uri and email";
                self.mistakes.push(Mistake::of_value(self.text, &steps, what, hint));
            }
        }
    }

    fn limits(&mut self, config: &Config) {
        let it = &config.limits;
        let why = "without one nothing is ever done, and one netlink batch takes 1024";
        let path = |key| ["limits", key];
        let ceiling = u64::from(ACTIONS_IN_FLIGHT_CEILING);
        self.number(
            &path("actions_in_flight_max"),
            it.actions_in_flight_max.into(),
            1,
            ceiling,
            why,
        );
        let why = "0 would forbid every act, which is what mode = \"observe\" is for";
        let ceiling = u64::from(ACTS_PER_HOUR_CEILING);
        self.number(&path("acts_per_hour_max"), it.acts_per_hour_max.into(), 1, ceiling, why);
        self.number(
            &path("acts_per_action_hour_max"),
            it.acts_per_action_hour_max.into(),
            1,
            ceiling,
            why,
        );
        self.number(
            &path("acts_per_group_hour_max"),
            it.acts_per_group_hour_max.into(),
            1,
            ceiling,
            why,
        );
        let relations = [
            (
                "acts_per_action_hour_max",
                it.acts_per_action_hour_max,
                "acts_per_hour_max",
                it.acts_per_hour_max,
            ),
            (
                "acts_per_group_hour_max",
                it.acts_per_group_hour_max,
                "acts_per_action_hour_max",
                it.acts_per_action_hour_max,
            ),
        ];
        for (key, value, above, most) in relations {
            if value > most {
                let what = format!("{key} is {value}, above {above} ({most}): it would never be reached");
                self.add(&path(key), what, format!("write at most {most}, or raise {above} too"));
            }
        }
        let why = "without one failure there is nothing to react to";
        self.number(
            &path("breaker_failures"),
            it.breaker_failures.into(),
            1,
            u64::from(u32::MAX),
            why,
        );
        let why = "failures are remembered for an hour";
        self.span(
            &path("breaker_window"),
            it.breaker_window,
            Span::from_secs(1),
            BUDGET_WINDOW,
            why,
        );
        let why = "a question must live long enough to be seen, and its event must still matter when it is answered";
        self.span(
            &path("approval_expiry"),
            it.approval_expiry,
            Span::from_secs(1),
            Span::from_hours(7 * 24),
            why,
        );
        let why = "a containment must last, and must end by itself";
        self.span(&path("lease_max"), it.lease_max, Span::from_secs(1), LEASE_CEILING, why);
        let why = "a sweep reads everything in force, and drift must be noticed while it matters";
        self.span(
            &path("sweep_interval"),
            it.sweep_interval,
            Span::from_secs(1),
            Span::from_hours(1),
            why,
        );
    }

    fn never_touch(&mut self, config: &Config) {
        for (at, entry) in config.never_touch.networks.iter().enumerate() {
            self.reason("networks", at, &entry.reason, &entry.network.to_string());
        }
        let files = &config.never_touch.files;
        for (at, entry) in files.iter().enumerate() {
            let shown = entry.path.display().to_string();
            self.reason("files", at, &entry.reason, &Printable(&shown).to_string());
            if files.iter().take(at).any(|it| it.path == entry.path) {
                let path = [Step::Key("never_touch"), Step::Key("files"), Step::At(at)];
                let what = format!("{} is named twice", Printable(&shown));
                let hint = "name it once; its lines can give reasons of their own";
                self.mistakes.push(Mistake::of_value(self.text, &path, what, hint));
            }
        }
        for (at, entry) in files.iter().enumerate() {
            let path = [
                Step::Key("never_touch"),
                Step::Key("files"),
                Step::At(at),
                Step::Key("path"),
            ];
            let filtered = !entry.services.is_empty() || !entry.regions.is_empty();
            let (what, hint) = match entry.format.provider() {
                Some(_) if entry.services.is_empty() => (
                    "all ranges of a provider are those of its customers too, also of attackers",
                    "name services whose addresses nobody can rent, such as CLOUDFRONT and ROUTE53_HEALTHCHECKS",
                ),
                None if filtered => (
                    "a plain list has no services and no regions",
                    "take them out, or name the format",
                ),
                _ => continue,
            };
            self.mistakes
                .push(Mistake::of_value(self.text, &path, what.to_owned(), hint));
        }
        if files.len() > PROTECTED_FILES_MAX {
            let what = format!("{} files list what is never touched", files.len());
            let hint = format!("name at most {PROTECTED_FILES_MAX}");
            self.add(&["never_touch", "files"], what, hint);
        }
    }

    fn reason(&mut self, table: &str, at: usize, reason: &str, of: &str) {
        let length = reason.chars().count();
        if reason.trim().is_empty() || length > REASON_CHARS_MAX {
            let path = [
                Step::Key("never_touch"),
                Step::Key(table),
                Step::At(at),
                Step::Key("reason"),
            ];
            let what = format!("the reason for {of} has {length} characters: a refusal shows it");
            let hint = format!("say in 1 to {REASON_CHARS_MAX} characters whose it is");
            self.mistakes.push(Mistake::of_value(self.text, &path, what, hint));
        }
    }

    fn risk(&mut self, config: &Config) {
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

    fn feeds(&mut self, config: &Config) {
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
                    mistake("url", what, "leave it out: no credentials are sent");
                }
                (Some(url), true) if !url.starts_with("https://") && !url.starts_with("http://") => {
                    let what = format!("{} cannot be fetched", Printable(url));
                    mistake("url", what, "write an address that begins with https:// or http://");
                }
                _ => {}
            }
            let filtered = !feed.services.is_empty() || !feed.regions.is_empty();
            if filtered && feed.format.provider().is_none() {
                let what = "a feed of this format has no services and no regions".to_owned();
                mistake("format", what, "take them out, or name the format of a provider");
            }
            let (least, most) = (Span::from_secs(1), Span::from_hours(7 * 24));
            if !(least..=most).contains(&feed.every) {
                let what = format!("every is {}: what is never fetched grows old", feed.every);
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

    fn lookups(&mut self, config: &Config) {
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

    fn context(&mut self, config: &Config) {
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

    fn nftables(&mut self, config: &Config) {
        let table = &config.nftables.table;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let starts_well = table.starts_with(|c: char| c.is_ascii_alphabetic());
        if !starts_well || table.len() > TABLE_NAME_BYTES_MAX || !table.chars().all(is_plain) {
            let what = "this cannot be the name of a table".to_owned();
            self.add(
                &["nftables", "table"],
                what,
                "use letters, digits, - and _, the first a letter, at most 64",
            );
        }
        let why = "an element takes about 300 bytes of kernel memory";
        if table.ends_with(LIMIT_TABLE_END) {
            let what = format!("tables that end with {LIMIT_TABLE_END} are those in which addresses are limited");
            self.add(&["nftables", "table"], what, "choose another end");
        }
        self.number(
            &["nftables", "elements_max"],
            config.nftables.elements_max.into(),
            1,
            1 << 20,
            why,
        );
        let why = "a busy machine takes a while to answer, and an undo waits for it";
        let (least, most) = (Span::from_millis(100), Span::from_secs(10));
        self.span(&["nftables", "timeout"], config.nftables.timeout, least, most, why);
        let why = "a limit is from one packet to a million";
        for (key, value) in [
            ("packets_per_second", config.rate_limit.packets_per_second),
            ("burst", config.rate_limit.burst),
        ] {
            self.number(&["rate_limit", key], value.into(), 1, 1_000_000, why);
        }
    }

    fn rest(&mut self, config: &Config) {
        let why = "counting connections takes time, and counts older than 30s are taken as unknown";
        self.span(
            &["traffic", "refresh"],
            config.traffic.refresh,
            Span::from_millis(100),
            Span::from_secs(15),
            why,
        );
        for (at, path) in config.processes.protected.iter().enumerate() {
            if !path.starts_with('/') {
                let what = "this is not the whole path of a program".to_owned();
                let hint =
                    "write for example /usr/sbin/nginx: the name of a process alone is chosen by whoever starts it";
                let path = [Step::Key("processes"), Step::Key("protected"), Step::At(at)];
                self.mistakes
                    .push(Mistake::of_value(self.text, &path, what, hint.to_owned()));
            }
        }
        let it = &config.journal;
        let why = "a frame has at most a quarter of a segment, and the longest event (1 MiB) must fit into one; a segment \
                   is written in full when it is made";
        let (least, most) = (SEGMENT_BYTES_MIN, 4 << 30);
        self.number(&["journal", "segment_bytes"], it.segment_bytes, least, most, why);
        let why = "the reserve must hold the frames that lift what is in force, and leave room for events";
        self.number(
            &["journal", "reserve_bytes"],
            it.reserve_bytes,
            64 << 10,
            it.segment_bytes / 2,
            why,
        );
        let why = "a snapshot writes the whole state";
        self.number(&["journal", "snapshot_every"], it.snapshot_every, 100, u64::MAX, why);
        let it = &config.archive;
        let why = "a file must take a block of events, and the longest of them";
        let path = |key| ["archive", key];
        self.number(&path("file_bytes_max"), it.file_bytes_max, 4 << 20, u64::MAX, why);
        let why = "one file must fit";
        self.number(&path("bytes_max"), it.bytes_max, it.file_bytes_max, u64::MAX, why);
    }

    fn drill(&mut self, config: &Config) {
        let scope = &config.drill.scope;
        if scope.len() > DRILL_NETWORKS_MAX {
            let what = format!("scope has {} networks: a drill uses a few addresses", scope.len());
            self.add(
                &["drill", "scope"],
                what,
                format!("name at most {DRILL_NETWORKS_MAX} networks"),
            );
        }
        for (at, network) in scope.iter().enumerate() {
            let narrowest = if network.addr().is_ipv4() { 24 } else { 120 };
            let overlap = |it: &&ProtectedNetwork| it.network.contains(network) || network.contains(&it.network);
            let (what, hint) = if network.prefix_len() < narrowest {
                (
                    format!("{network} is wider than a /{narrowest}: a drill must not reach what is in use"),
                    format!("name a network of /{narrowest} or narrower whose addresses nobody has"),
                )
            } else if let Some(protected) = config.never_touch.networks.iter().find(overlap) {
                (
                    format!("{network} overlaps {}, which is never touched", protected.network),
                    "name a network that nothing depends on".to_owned(),
                )
            } else {
                continue;
            };
            let path = [Step::Key("drill"), Step::Key("scope"), Step::At(at)];
            self.mistakes.push(Mistake::of_value(self.text, &path, what, hint));
        }
    }

    fn senders(&mut self, config: &Config, known: &[&str]) {
        let senders = &config.http.senders;
        if senders.len() > SENDERS_MAX {
            let what = format!("there are {} senders", senders.len());
            let hint = format!("name at most {SENDERS_MAX}");
            self.add(&["http", "senders"], what, hint);
        }
        for (at, sender) in senders.iter().enumerate() {
            let mut mistake = |key, what, hint: String| {
                let path = [Step::Key("http"), Step::Key("senders"), Step::At(at), Step::Key(key)];
                self.mistakes.push(Mistake::of_value(self.text, &path, what, hint));
            };
            let shown = Printable(&sender.name);
            if let Some(why) = why_no_name(&sender.name) {
                let hint = "choose another name for it".to_owned();
                mistake("name", format!("{shown} cannot be the name of a sender: {why}"), hint);
            } else if senders[..at].iter().any(|it| it.name == sender.name) {
                let hint = "give each a name of its own".to_owned();
                mistake("name", format!("there is a sender {shown} above"), hint);
            }
            if !known.contains(&sender.source.as_str()) {
                let what = format!("there is no source {}", Printable(&sender.source));
                mistake("source", what, format!("write one of {}", known.join(", ")));
            }
            if sender.secret_files.iter().all(|it| it.as_os_str().is_empty()) {
                let what = "without a secret nothing can be proved".to_owned();
                mistake("secret_files", what, "name a file that holds the secret".to_owned());
            }
            let is_taken = |file: &&PathBuf| senders[..at].iter().any(|it| it.secret_files.contains(file));
            if let Some(shared) = sender.secret_files.iter().find(is_taken) {
                let shown = shared.display().to_string();
                let what = format!("{} is the secret of another sender too", Printable(&shown));
                mistake(
                    "secret_files",
                    what,
                    "give each a secret of its own: what one signs is good for all that have it".to_owned(),
                );
            }
            let (least, most) = (Span::from_secs(1), Span::from_hours(1));
            if !(least..=most).contains(&sender.window) {
                let what = format!(
                    "window is {}: clocks differ, and old requests must not be good",
                    sender.window
                );
                mistake("window", what, format!("write a time from \"{least}\" to \"{most}\""));
            }
        }
    }

    /// A value of an inlet that cannot work.
    fn inlet(&mut self, kind: &str, at: usize, key: &str, what: String, hint: &str) {
        let path = [Step::Key("sources"), Step::Key(kind), Step::At(at), Step::Key(key)];
        self.mistakes.push(Mistake::of_value(self.text, &path, what, hint));
    }

    fn source(&mut self, kind: &str, at: usize, source: &str, known: &[&str]) {
        if !known.contains(&source) {
            let what = format!("there is no source {}", Printable(source));
            self.inlet(kind, at, "source", what, &format!("write one of {}", known.join(", ")));
        }
    }

    fn files(&mut self, config: &Config, known: &[&str]) {
        let files = &config.sources.files;
        for (at, file) in files.iter().enumerate() {
            self.source("files", at, &file.source, known);
            if file.path.as_os_str().is_empty() {
                let (what, hint) = ("the path is empty", "write the path of a file that a sensor appends to");
                self.inlet("files", at, "path", what.to_owned(), hint);
            } else if files[..at].iter().any(|it| it.path == file.path) {
                let shown = file.path.display().to_string();
                let what = format!("{} is followed already", Printable(&shown));
                let hint = "leave it out here: each of its events would count twice";
                self.inlet("files", at, "path", what, hint);
            }
        }
    }

    fn syslog(&mut self, config: &Config, known: &[&str]) {
        let all = &config.sources.syslog;
        for (at, it) in all.iter().enumerate() {
            self.source("syslog", at, &it.source, known);
            let is_taken = |other: &SyslogSource| other.listen == it.listen && it.listen.address.port() != 0;
            if all[..at].iter().any(is_taken) {
                let what = format!("{} is listened on already", it.listen);
                self.inlet("syslog", at, "listen", what, "choose another port");
            } else if it.from.is_empty() && !it.listen.address.ip().to_canonical().is_loopback() {
                let what = format!(
                    "{} is reached from other machines, and nobody is named who may send",
                    it.listen
                );
                let hint = "name the networks of the sensors: from = [\"192.0.2.0/24\"]; syslog knows no password";
                self.inlet("syslog", at, "listen", what, hint);
            }
            if it.app_names.iter().any(|name| name.trim().is_empty()) {
                let hint = "write names such as \"suricata\", or leave the key out to take all";
                self.inlet("syslog", at, "app_names", "a name is empty".to_owned(), hint);
            }
        }
    }

    fn sockets(&mut self, config: &Config, known: &[&str]) {
        let sockets = &config.sources.sockets;
        for (at, it) in sockets.iter().enumerate() {
            self.source("sockets", at, &it.source, known);
            let shown = it.path.display().to_string();
            if it.path.file_name().is_none() {
                let hint = "write the path of a socket, such as /run/staunch/events.sock";
                self.inlet("sockets", at, "path", "the path names no file".to_owned(), hint);
            } else if sockets[..at].iter().any(|other| other.path == it.path) {
                let what = format!("{} is listened on already", Printable(&shown));
                self.inlet("sockets", at, "path", what, "choose another path");
            }
            if it.mode & !0o777 != 0 || it.mode & 0o200 == 0 {
                let what = format!("{:#o} is no mode of a socket that its owner can write to", it.mode);
                self.inlet(
                    "sockets",
                    at,
                    "mode",
                    what,
                    "write an octal number such as 0o600 or 0o660",
                );
            }
        }
    }

    fn journald(&mut self, config: &Config, known: &[&str]) {
        let all = &config.sources.journald;
        for (at, it) in all.iter().enumerate() {
            self.source("journald", at, &it.source, known);
            for (key, names) in [("units", &it.units), ("identifiers", &it.identifiers)] {
                if names.iter().any(|name| name.trim().is_empty()) {
                    let hint = "write names, or leave the key out to take all";
                    self.inlet("journald", at, key, "a name is empty".to_owned(), hint);
                }
            }
            if all[..at].iter().any(|other| other.key() == it.key()) {
                let path = [Step::Key("sources"), Step::Key("journald"), Step::At(at)];
                let what = "the same entries are followed already".to_owned();
                let hint = "leave it out here: each of its events would count twice";
                self.mistakes.push(Mistake::of_value(self.text, &path, what, hint));
            }
        }
    }

    fn sources(&mut self, config: &Config) {
        let error = match staunch_connectors::sources::all(&config.sources.settings()) {
            Ok(sources) => {
                let known: Vec<&str> = sources.iter().map(|source| source.name()).collect();
                self.files(config, &known);
                self.senders(config, &known);
                self.syslog(config, &known);
                self.sockets(config, &known);
                self.journald(config, &known);
                return;
            }
            Err(error) => error,
        };
        // The decoders name the key as `generic[1].source_ip`.
        let mut path = vec![Step::Key("sources")];
        for part in error.key.split('.') {
            match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
                Some((name, at)) => path.extend([Step::Key(name), Step::At(at.parse().unwrap_or(0))]),
                None => path.push(Step::Key(part)),
            }
        }
        self.mistakes
            .push(Mistake::of_value(self.text, &path, error.what.clone(), error.hint));
    }
}
