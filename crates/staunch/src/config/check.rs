//! Values that cannot work, each with the reason. All of them are found, not only the first.

mod bucket;
mod evidence;
mod health;
mod incoming;
mod jobs;
mod knowledge;
mod notices;

use staunch_connectors::json::EVENT_BYTES_MAX;
use staunch_connectors::lists::REASON_CHARS_MAX;
use staunch_engine::limits::{ACTIONS_IN_FLIGHT_CEILING, BUDGET_WINDOW};
use staunch_model::{DomainName, Printable, Span};
use staunch_playbook::is_environment;
use staunch_playbook::limits::PARAMETER_CHARS_MAX;
use staunch_server::ClientAuth;
use staunch_server::auth::why_no_name;

use super::mistake::{Mistake, Step};
use super::{Config, ISOLATION_TABLE_END, LIMIT_TABLE_END, ProtectedNetwork};
use crate::note::Verifier;

/// The most acts in an hour that can be configured: what one nftables set can hold.
const ACTS_PER_HOUR_CEILING: u32 = 1_000_000;

/// The longest lease that can be configured. A block that is meant to stay belongs into the firewall's own
/// configuration.
const LEASE_CEILING: Span = Span::from_hours(90 * 24);

/// The longest name of an nftables object is 255 bytes; names this long are not readable in its output.
const TABLE_NAME_BYTES_MAX: usize = 64;

/// The most files of protected networks: each is looked at several times a second.
const PROTECTED_FILES_MAX: usize = 64;

/// The smallest segment. A frame has at most a quarter of its segment (see `wiring::journal_options`), and one that
/// records a decision holds its event and what was made of it.
const SEGMENT_BYTES_MIN: u64 = 8 << 20;

const _: () = assert!(SEGMENT_BYTES_MIN / 4 >= EVENT_BYTES_MAX as u64 + (64 << 10));

/// The most networks that a machine can be managed from: while it is isolated, each packet is compared with all of
/// them.
const MANAGEMENT_NETWORKS_MAX: usize = 64;

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
    checker.notices(config);
    checker.nftables(config);
    checker.playbooks(config);
    checker.domains(config);
    checker.isolation(config);
    checker.jobs(config);
    checker.anchors(config);
    checker.bucket(config);
    checker.recipients(config);
    checker.clock(config);
    checker.rest(config);
    checker.drill(config);
    checker.sources(config);
    checker.telemetry(config);
    checker.health(config);
    checker.prometheus(config);
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

    fn domains(&mut self, config: &Config) {
        let it = &config.domains;
        if !it.control.is_absolute() {
            let what = "this is not the whole path of a socket".to_owned();
            self.add(&["domains", "control"], what, "write for example \"/run/unbound.ctl\"");
        }
        if it.sinkhole().is_none() {
            let what = format!("{} is nothing that a name can resolve to", Printable(&it.answer));
            self.add(
                &["domains", "answer"],
                what,
                "write \"nxdomain\", or an address such as \"192.0.2.1\"",
            );
        }
        for (at, name) in it.protected.iter().enumerate() {
            if name.parse::<DomainName>().is_err() {
                let what = format!("{} is no name of a domain", Printable(name));
                let path = [Step::Key("domains"), Step::Key("protected"), Step::At(at)];
                let hint = "write for example \"example.com\", which protects all below it too; an international name as it is \
                            sent, such as \"xn--bcher-kva.example\"";
                self.mistakes
                    .push(Mistake::of_value(self.text, &path, what, hint.to_owned()));
            }
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
        if table.ends_with(ISOLATION_TABLE_END) {
            let what =
                format!("tables that end with {ISOLATION_TABLE_END} are those by which this machine is isolated");
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

    fn isolation(&mut self, config: &Config) {
        let management = &config.isolation.management;
        if config.isolation.enabled && management.is_empty() {
            let what = "nobody could get in while this machine is isolated: management is missing".to_owned();
            let hint = "name the networks that it is managed from, such as `management = [\"192.0.2.0/24\"]`";
            self.add(&["isolation", "enabled"], what, hint);
        }
        if management.len() > MANAGEMENT_NETWORKS_MAX {
            let what = format!(
                "management has {} networks: while this machine is isolated, each packet is compared with all of them",
                management.len()
            );
            let hint = format!("name at most {MANAGEMENT_NETWORKS_MAX} networks");
            self.add(&["isolation", "management"], what, hint);
        }
        for (at, network) in management.iter().enumerate().filter(|(_, it)| it.prefix_len() == 0) {
            let path = [Step::Key("isolation"), Step::Key("management"), Step::At(at)];
            let what = format!("{network} is everything: nothing would be cut off");
            let hint = "name the networks that this machine is managed from";
            self.mistakes.push(Mistake::of_value(self.text, &path, what, hint));
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
        if config.processes.below.as_ref().is_some_and(|it| !it.is_absolute()) {
            let what = "this is not the whole path of a directory".to_owned();
            self.add(
                &["processes", "below"],
                what,
                "write for example \"/sys/fs/cgroup/system.slice\"",
            );
        }
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
        let it = &config.evidence;
        let why = "an artefact has at least a MiB, and at most a PiB";
        self.number(&["evidence", "artefact_mib_max"], it.artefact_mib_max, 1, 1 << 30, why);
        self.labels(it);
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
}
