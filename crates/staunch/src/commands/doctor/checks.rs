//! The checks, each a function that looks and tells.

mod acting;
mod evidence;
mod jobs;
pub(super) mod who;

use std::fs;
use std::io;
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access, geteuid};
use serde_json::json;
use staunch_model::{Printable, Timestamp};
use staunch_ports::Lsn;
use staunch_server::dto::{IndexView, Status, path};
use staunch_server::{Role, Tokens};
use staunch_store::{OpenError, ReadOnlyJournal};

use super::{Finding, Health};
use crate::cli::ServerArgs;
use crate::client::{Client, Patience};
use crate::commands::open_fault;
use crate::config::{
    Config, ContextFile, FeedSettings, HealthSettings, LookupSettings, NotifierSettings, ProtectedFile,
};
use crate::context::{Content, Kind, files as files_of_context, read_one};
use crate::exit::{Exit, Fault};
use crate::output::{now, relative};
use crate::playbooks::{Texts, errors};
use crate::wiring;

/// Files that marks of clock daemons leave: that the clock is synchronised, or that somebody looks after it.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

/// Segments for which there should be room: the one in use and the next.
const SEGMENTS_MIN: u64 = 2;

/// Open files of a server beside its connections.
const FILES_BESIDE_CONNECTIONS: u64 = 256;

/// What is found where nothing of the configuration is known.
pub(super) fn without_configuration() -> Vec<Finding> {
    vec![who::user(), clock()]
}

/// What all checks find; nobody is asked how the server is, with `asks` false: where it is, is not known for certain then,
/// and whoever is there must not see a token.
pub(super) fn all(config: &Config, server: &ServerArgs, asks: bool) -> Vec<Finding> {
    let status = if asks {
        status_of(config, server)
    } else {
        Err(Finding::new("server", Health::Unknown, "it is not known where it is"))
    };
    let running = matches!(status, Ok(Some(_)));
    let mut findings = vec![who::user(), playbooks(config), data_directory(config)];
    findings.extend(disk(config));
    let is_kept_out = who::kept_out(&config.data_dir, AccessFlags::R_OK | AccessFlags::X_OK).is_some();
    if is_kept_out {
        // What is wrong with the machine cannot be told from what this user may not see.
        let unknown = |check| {
            Finding::new(
                check,
                Health::Unknown,
                "it needs what is in the data directory, which this user may not read",
            )
        };
        findings.extend(["journal", "tokens", "firewall", "evidence"].map(unknown));
        findings.extend(credentials(config));
        findings.extend(acting::beside_firewall(config));
    } else {
        findings.push(journal(config));
        findings.push(tokens(config));
        findings.extend(credentials(config));
        findings.extend(acting::all(config));
        findings.extend(evidence::all(config));
    }
    findings.push(protections(config));
    findings.extend(lists(config));
    findings.extend(feeds(config));
    findings.extend(lookups(config));
    findings.extend(notifiers(config));
    findings.extend(signals(config));
    findings.extend(context(config));
    findings.push(sessions(config));
    findings.push(open_files(config));
    findings.push(clock());
    findings.extend(files(config));
    // A server that is named may be the one that has the address.
    if server.url.is_none() {
        findings.push(listen(config, running));
    }
    match status {
        Ok(Some(status)) => findings.extend(server_state(&status)),
        Ok(None) if is_kept_out && server.url.is_none() => {
            let text = "none answers at its address; its socket is in the data directory, which this user may not read";
            findings.push(Finding::new("server", Health::Unknown, text));
        }
        Ok(None) => findings.push(
            Finding::new("server", Health::Warning, "none runs here")
                .fix("start it with `staunch serve`, or name another with --url or --data-dir"),
        ),
        Err(finding) => findings.push(finding),
    }
    findings
}

fn playbooks(config: &Config) -> Finding {
    let texts = Texts::configured(config);
    let outcome = texts.compile(&wiring::check_context(config));
    let count = texts.count();
    if !outcome.usable {
        let wrong = errors(&outcome.diagnostics) + texts.unreadable.len();
        return Finding::new(
            "playbooks",
            Health::Problem,
            format!("{wrong} mistakes in {count} playbooks"),
        )
        .fix("`staunch check` shows each where it is");
    }
    if count == 0 {
        return Finding::new(
            "playbooks",
            Health::Problem,
            "there is none, so no event leads to anything",
        )
        .fix("set `built_in = true` under [playbooks], or name directories in `dirs`");
    }
    match outcome.diagnostics.len() {
        0 if !outcome.idle.is_empty() => {
            let idle = outcome.idle.len();
            let text =
                format!("{count}, without mistakes; {idle} of them ask for what is not switched on, and do nothing");
            Finding::new("playbooks", Health::Ok, text).fix("`staunch check` names them, and what switches it on")
        }
        0 => Finding::new("playbooks", Health::Ok, format!("{count}, without mistakes")),
        some => Finding::new("playbooks", Health::Warning, format!("{count}, with {some} warnings"))
            .fix("`staunch check` shows them"),
    }
}

fn data_directory(config: &Config) -> Finding {
    const CHECK: &str = "data directory";
    let dir = &config.data_dir;
    let shown = dir.display();
    let metadata = match fs::metadata(dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = existing(dir);
            return if access(parent, AccessFlags::W_OK).is_ok() {
                Finding::new(CHECK, Health::Ok, format!("{shown} is not there yet and can be made"))
            } else {
                Finding::new(
                    CHECK,
                    Health::Problem,
                    format!("{shown} is not there, and this user cannot make it"),
                )
                .fix("make it and give it to the user of the server, or run this as that user")
            };
        }
        Err(error) => {
            return match who::kept_out(dir, AccessFlags::R_OK) {
                Some(kept) => Finding::new(CHECK, Health::Problem, kept.what).fix(kept.fix),
                None => Finding::new(CHECK, Health::Problem, format!("{shown} cannot be looked at: {error}"))
                    .fix("run this as the user of the server"),
            };
        }
    };
    if !metadata.is_dir() {
        return Finding::new(CHECK, Health::Problem, format!("{shown} is not a directory"))
            .fix("name another with data_dir or --data-dir");
    }
    let wanted = AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK;
    if let Some(kept) = who::kept_out(dir, wanted) {
        return Finding::new(CHECK, Health::Problem, kept.what).fix(kept.fix);
    }
    if access(dir, wanted).is_err() {
        return Finding::new(
            CHECK,
            Health::Problem,
            format!("{shown} cannot be written by this user"),
        )
        .fix("run this, and the server, as its owner");
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Finding::new(
            CHECK,
            Health::Warning,
            format!("others may enter {shown} (mode {mode:03o})"),
        )
        .fix(format!("chmod 700 {shown}"));
    }
    Finding::new(CHECK, Health::Ok, format!("{shown}, mode {mode:03o}"))
}

/// The nearest directory above `path` that is there.
fn existing(path: &Path) -> &Path {
    let mut ancestors = path.ancestors();
    let found = ancestors.find(|it| it.is_dir());
    found.unwrap_or(Path::new("."))
}

fn disk(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "disk";
    let at = existing(&config.data_dir);
    let found = match statvfs(at) {
        Ok(found) => found,
        Err(error) => {
            return vec![Finding::new(
                CHECK,
                Health::Unknown,
                format!("{} cannot be measured: {error}", at.display()),
            )];
        }
    };
    if found.flags().contains(FsFlags::ST_RDONLY) {
        return vec![
            Finding::new(
                CHECK,
                Health::Problem,
                format!("{} is on a read-only file system", at.display()),
            )
            .fix("mount it writable, or name another data_dir"),
        ];
    }
    let free = found.blocks_available().saturating_mul(found.fragment_size());
    let needed = SEGMENTS_MIN.saturating_mul(config.journal.segment_bytes);
    let mebibytes = |bytes: u64| format!("{} MiB", bytes >> 20);
    let text = format!("{} free at {}", mebibytes(free), at.display());
    let mut findings = vec![if free < needed {
        let text = format!(
            "{text}, fewer than the {} of two segments of the journal",
            mebibytes(needed)
        );
        Finding::new(CHECK, Health::Problem, text).fix("make room: on a full disk events are refused with 503")
    } else if free < needed.saturating_mul(10) {
        Finding::new(
            CHECK,
            Health::Warning,
            format!("{text}; the journal grows and is never trimmed"),
        )
        .fix("make room, or move data_dir")
    } else {
        Finding::new(CHECK, Health::Ok, text)
    }];
    if found.files_available() == 0 && found.files() > 0 {
        findings.push(Finding::new(
            CHECK,
            Health::Problem,
            "no further file can be made: no inodes are left",
        ));
    }
    findings
}

fn journal(config: &Config) -> Finding {
    const CHECK: &str = "journal";
    let dir = config.journal_dir();
    match dir.try_exists() {
        Ok(true) => {}
        Ok(false) => return Finding::new(CHECK, Health::Ok, "not there yet: the first start makes it"),
        Err(error) => {
            return Finding::new(CHECK, Health::Unknown, format!("it cannot be looked at: {error}"))
                .fix("run this as the user of the server");
        }
    }
    let opened = match ReadOnlyJournal::open(&dir) {
        Ok(opened) => opened,
        Err(OpenError::Denied { .. }) => {
            return Finding::new(CHECK, Health::Unknown, "it cannot be read by this user")
                .fix("run this as the user of the server");
        }
        Err(error) => return Finding::of(CHECK, &open_fault(&error)),
    };
    // The newest snapshot says where to begin; what follows it is what a start reads.
    let from = match opened.newest_snapshot() {
        Ok(newest) => newest.map_or(Lsn(1), |(lsn, _)| lsn.next()),
        Err(error) => return Finding::of(CHECK, &Fault::of(Exit::Corrupt, &error)),
    };
    let (mut frames, mut last) = (0_u64, None);
    let read = opened.read(from, &mut |frame| {
        frames += 1;
        last = Some(Timestamp::from_micros(frame.now_us));
        ControlFlow::Continue(())
    });
    if let Err(error) = read {
        return Finding::of(CHECK, &Fault::of(Exit::Corrupt, &error))
            .fix("`staunch journal verify` proves all of it; restore the file from a backup");
    }
    let now = now();
    if let Some(last) = last.filter(|last| last.since(now).as_secs() > 60) {
        let text = format!(
            "its newest frame is of {}: the machine's clock was set back",
            relative(last, now)
        );
        return Finding::new(CHECK, Health::Warning, text).fix("set the clock right, and look after it with NTP");
    }
    let text = format!("readable, {frames} frames to apply at a start");
    Finding::new(CHECK, Health::Ok, text)
}

fn tokens(config: &Config) -> Finding {
    const CHECK: &str = "tokens";
    let tokens = match Tokens::load(&config.tokens_file()) {
        Ok(tokens) => tokens.list(),
        Err(error) => {
            return Finding::of(CHECK, &Fault::of(Exit::Usage, &error))
                .fix("mend the file of tokens, or run this as its owner");
        }
    };
    let others = !config.http.senders.is_empty() || config.http.tls.as_ref().is_some_and(|it| !it.clients.is_empty());
    if tokens.is_empty() && !others {
        let text = "there is none: `serve` starts with --allow-unauthenticated-loopback only";
        return Finding::new(CHECK, Health::Warning, text)
            .fix("`staunch token create NAME --role sender`, and one with --role operator");
    }
    let roles = [Role::Sender, Role::Viewer, Role::Responder, Role::Operator];
    let of = |role| tokens.iter().filter(|it| it.role == role).count();
    let counts: Vec<_> = roles.iter().map(|role| format!("{} {role}", of(*role))).collect();
    Finding::new(CHECK, Health::Ok, counts.join(", "))
}

/// The files that a server needs to let somebody in, beside the tokens.
fn credentials(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if config.http.tls.is_some() {
        findings.push(match wiring::tls(config) {
            Ok(_) => Finding::new(
                "certificate",
                Health::Ok,
                "certificate, key and authorities can be used",
            ),
            Err(fault) => Finding::of("certificate", &fault),
        });
    }
    if !config.http.senders.is_empty() {
        findings.push(match wiring::senders(config) {
            Ok(_) => Finding::new(
                "senders",
                Health::Ok,
                format!("the secrets of {} can be used", config.http.senders.len()),
            ),
            Err(fault) => Finding::of("senders", &fault),
        });
    }
    findings
}

fn protections(config: &Config) -> Finding {
    const CHECK: &str = "never touched";
    if !config.never_touch.discover {
        let count = config.never_touch.networks.len();
        return Finding::new(
            CHECK,
            Health::Warning,
            format!("{count} networks of the configuration, and nothing is discovered"),
        )
        .fix("set `discover = true` under [never_touch], or list this machine's addresses, gateways and resolvers");
    }
    match wiring::discover(config) {
        Ok(found) if found.is_empty() => Finding::new(CHECK, Health::Warning, "nothing was discovered on this machine")
            .fix("list what must not be touched under [[never_touch.networks]]"),
        Ok(found) => {
            let listed = config.never_touch.networks.len();
            let text = format!(
                "{} discovered on this machine, {listed} in the configuration",
                found.len()
            );
            Finding::new(CHECK, Health::Ok, text)
        }
        Err(fault) => {
            Finding::of(CHECK, &fault).fix("list it under [[never_touch.networks]] and set `discover = false`")
        }
    }
}

/// The files that list what is never touched, as they are at the moment: what a start would make of them.
fn lists(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "list";
    let files = config.never_touch.files.iter();
    let one = |file: &ProtectedFile| match crate::lists::read_one(file) {
        Ok(list) => {
            let text = format!(
                "{}, {} networks that are never touched",
                file.path.display(),
                list.len()
            );
            Finding::new(CHECK, Health::Ok, text)
        }
        Err(fault) => Finding::of(CHECK, &fault),
    };
    files.map(one).collect()
}

/// The files of context, as they are at the moment: what a start would make of them.
fn context(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "context";
    let one = |(kind, file): (Kind, ContextFile)| match read_one(kind, &file) {
        Ok(Content::Geo(database)) => {
            let text = format!("{}, {}", file.path.display(), Printable(database.kind()));
            Finding::new(CHECK, Health::Ok, text)
        }
        Ok(content) => {
            let text = format!("{}, {} {}", file.path.display(), content.len(), kind.name());
            Finding::new(CHECK, Health::Ok, text)
        }
        Err(fault) if kind == Kind::Geo => Finding {
            health: Health::Warning,
            ..Finding::of(CHECK, &fault)
        },
        Err(fault) => Finding::of(CHECK, &fault),
    };
    files_of_context(config).map(one).collect()
}

/// The feeds, as their files are at the moment.
fn feeds(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "feed";
    let one = |settings: &FeedSettings| match crate::feeds::read_one(&settings.in_dir(&config.data_dir), now()) {
        Ok(fed) => {
            let table = &fed.table;
            let text = format!(
                "{}, {} networks, of {}; {} special-purpose networks left out, {} entries not understood",
                settings.name,
                table.len(),
                relative(table.fetched(), now()),
                fed.special,
                fed.not_understood
            );
            if table.is_stale(now()) {
                let text = format!(
                    "{text}; it is older than {} and counts no longer",
                    settings.expires_after
                );
                return Finding::new(CHECK, Health::Warning, text).fix("see why it is not fetched any more");
            }
            Finding::new(CHECK, Health::Ok, text)
        }
        Err(fault) => {
            let problem = Finding::of(CHECK, &fault);
            Finding {
                health: Health::Warning,
                ..problem
            }
        }
    };
    config.feeds.iter().map(one).collect()
}

/// The services that are asked about addresses: whether they could be. Nobody is asked.
fn lookups(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "look-up";
    let one = |settings: &LookupSettings| match crate::lookups::check(settings) {
        Ok(()) => {
            let text = format!("{}: its files can be used; it was not asked", Printable(&settings.name));
            Finding::new(CHECK, Health::Ok, text)
        }
        Err(fault) => Finding {
            health: Health::Warning,
            ..Finding::of(CHECK, &fault)
        },
    };
    config.lookups.iter().map(one).collect()
}

/// The health signals: what each says now.
fn signals(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "health";
    let one = |(name, settings): (&String, &HealthSettings)| {
        if let Err(fault) = crate::health::check(settings) {
            return Finding {
                health: Health::Warning,
                ..Finding::of(CHECK, &fault)
            };
        }
        match crate::health::read_once(name, settings) {
            Ok(reading) if reading.healthy => {
                let text = format!("{name} is healthy: {}", Printable(&reading.says));
                Finding::new(CHECK, Health::Ok, text)
            }
            Ok(reading) => {
                let text = format!("{name} is not healthy: {}", Printable(&reading.says));
                let hint = "what it would watch goes on unwatched, because it cannot tell what an act does";
                Finding::new(CHECK, Health::Warning, text).fix(hint)
            }
            Err(failure) => {
                let text = format!("{name} cannot be read: {failure}");
                let hint = "look at its url and query in the configuration: what it would watch goes on unwatched";
                Finding::new(CHECK, Health::Warning, text).fix(hint)
            }
        }
    };
    config.health.iter().map(one).collect()
}

/// The notifiers beside the log: whether they could be called. Nobody is told.
fn notifiers(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "notifier";
    let one = |(name, settings): (&String, &NotifierSettings)| match crate::notices::check(settings) {
        Ok(()) => {
            let (name, to) = (Printable(name), settings.shown());
            let text = format!("{name}: its files can be used; {} was not called", Printable(&to));
            Finding::new(CHECK, Health::Ok, text)
        }
        Err(fault) => Finding {
            health: Health::Warning,
            ..Finding::of(CHECK, &fault)
        },
    };
    config.notifiers.iter().map(one).collect()
}

/// Whether the peers of other users' sessions are found: their environments tell, which only root may read.
fn sessions(config: &Config) -> Finding {
    const CHECK: &str = "management sessions";
    if !config.never_touch.discover {
        return Finding::new(CHECK, Health::Ok, "not looked for, says the configuration");
    }
    if geteuid().is_root() {
        return Finding::new(
            CHECK,
            Health::Ok,
            "those of all users are seen by this user; a server sees what its user may",
        );
    }
    Finding::new(CHECK, Health::Warning, "those of other users are not seen by this user")
        .fix("list the networks of administrators under [[never_touch.networks]]")
}

fn open_files(config: &Config) -> Finding {
    const CHECK: &str = "open files";
    let wanted = config.http.connections_max as u64 + FILES_BESIDE_CONNECTIONS;
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Err(error) => Finding::new(CHECK, Health::Unknown, error.to_string()),
        Ok((_, most)) if most < wanted => {
            let text = format!(
                "this user may open {most}, and {wanted} are wanted for {} connections",
                config.http.connections_max
            );
            Finding::new(CHECK, Health::Warning, text)
                .fix("raise LimitNOFILE in the unit, or lower http.connections_max")
        }
        Ok((_, most)) => Finding::new(CHECK, Health::Ok, format!("up to {most}")),
    }
}

fn clock() -> Finding {
    const CHECK: &str = "clock";
    if Path::new(SYNCHRONISED).exists() {
        return Finding::new(CHECK, Health::Ok, "synchronised, says systemd-timesyncd");
    }
    let daemon = ["/run/chrony/chronyd.pid", "/run/ntpd.pid", "/run/ntpsec/ntpd.pid"];
    if let Some(file) = daemon.iter().find(|it| Path::new(it).exists()) {
        return Finding::new(CHECK, Health::Ok, format!("looked after by the daemon of {file}"));
    }
    Finding::new(CHECK, Health::Unknown, "nobody is seen to look after it")
        .fix("run systemd-timesyncd, chrony or ntpsec: the age of events is judged by this clock")
}

fn files(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "followed file";
    let one = |path: &Path| {
        let shown = path.display();
        let opened = fs::File::open(path).and_then(|file| file.metadata());
        match opened {
            Ok(metadata) if metadata.is_dir() => Finding::new(
                CHECK,
                Health::Problem,
                format!("{shown} is a directory, of which nothing is read"),
            )
            .fix("name the file in it that the sensor writes to"),
            Ok(_) => Finding::new(CHECK, Health::Ok, format!("{shown} can be read")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Finding::new(CHECK, Health::Warning, format!("{shown} is not there yet"))
                    .fix("it is read, from its beginning, once it appears; is it the path that the sensor writes to?")
            }
            Err(error) => Finding::new(CHECK, Health::Problem, format!("{shown}: {error}"))
                .fix("let the user of the server read it, for example by its group"),
        }
    };
    config.sources.files.iter().map(|it| one(&it.path)).collect()
}

fn listen(config: &Config, running: bool) -> Finding {
    const CHECK: &str = "address";
    let listen = config.http.listen;
    if !listen.ip().is_loopback() && config.http.tls.is_none() {
        return Finding::new(
            CHECK,
            Health::Warning,
            format!("{listen} speaks plain HTTP: tokens can be read on their way"),
        )
        .fix("set [http.tls], or listen on 127.0.0.1 behind a TLS proxy");
    }
    if running {
        return Finding::new(CHECK, Health::Ok, format!("{listen}, with a server behind it"));
    }
    match TcpListener::bind(listen) {
        Ok(_) => Finding::new(CHECK, Health::Ok, format!("{listen} is free")),
        Err(error) => Finding::new(
            CHECK,
            Health::Problem,
            format!("{listen} cannot be listened on: {error}"),
        )
        .fix("find out who has it, or set http.listen"),
    }
}

/// The running server's word; nothing when none is there.
fn status_of(config: &Config, server: &ServerArgs) -> Result<Option<Status>, Finding> {
    let asked = Client::with(server, config, Patience::SHORT).and_then(|client| client.get(path::STATUS, &json!({})));
    match asked {
        Ok(status) => Ok(Some(status)),
        Err(fault) if fault.exit == Exit::Unreachable => Ok(None),
        // A fault of the connection, such as a certificate that is not good, has a cause; what a server says has none.
        Err(fault) if fault.exit == Exit::Denied && !fault.has_cause() => Err(Finding::new(
            "server",
            Health::Unknown,
            "it answers, and does not tell this user how it is",
        )
        .fix("put a viewer's token into STAUNCH_TOKEN, or run this as the user of the server")),
        Err(fault) => Err(Finding::of("server", &fault)),
    }
}

fn server_state(status: &Status) -> Vec<Finding> {
    const CHECK: &str = "server";
    let problem = |text: String, fix: &str| Finding::new(CHECK, Health::Problem, text).fix(fix);
    let mut findings = Vec::new();
    if let Some(lost) = &status.journal_lost {
        findings.push(problem(
            format!("its journal is lost: {lost}"),
            "release what is in force, and start it again on a sound data directory",
        ));
    }
    for failure in &status.sweep_failures {
        let text = format!("{} cannot be verified: {}", failure.action, failure.why);
        findings.push(problem(
            text,
            "mend the enforcement point; what is in force ends with its lease",
        ));
    }
    for list in &status.lists {
        if let Some(why) = &list.refused {
            let text = format!(
                "it has refused {why}; the {} networks that were read {} stay in force",
                list.networks,
                relative(list.read_at, now())
            );
            findings.push(problem(text, "mend the file; it is read again within a second"));
        }
    }
    for file in &status.context {
        if let Some(why) = &file.refused {
            let text = format!(
                "it has refused {why}; what was read {} stays in force",
                relative(file.read_at, now())
            );
            findings.push(problem(text, "mend the file; it is read again within a second"));
        }
    }
    for feed in &status.feeds {
        if let Some(why) = &feed.failed {
            let text = format!("{why}; what was read before counts until it expires");
            findings.push(
                Finding::new(CHECK, Health::Warning, text).fix("mend the feed; it is read again within a second"),
            );
        }
    }
    for lookup in &status.lookups {
        if let Some(why) = &lookup.failed {
            let text = format!("look-up {}: {}", Printable(&lookup.name), Printable(why));
            let fix = "mend the service or its key; scores that only it knows are unknown until then";
            findings.push(Finding::new(CHECK, Health::Warning, text).fix(fix));
        }
    }
    if status.unverified > 0 {
        let text = format!("{} of {} in force are not verified", status.unverified, status.in_force);
        findings.push(problem(text, "`staunch containment list` shows which"));
    }
    if status.stuck > 0 {
        findings.push(problem(
            format!("{} transactions are stuck", status.stuck),
            "`staunch containment list` says what was tried",
        ));
    }
    if status.mode.breaker_open.is_some() {
        findings.push(problem(
            "its circuit breaker is open: it only observes".to_owned(),
            "find out what failed, then set `staunch mode` again",
        ));
    }
    match &status.index {
        None => findings.push(
            Finding::new(CHECK, Health::Warning, "it has no index: incidents cannot be listed")
                .fix("its log says why; `staunch index rebuild` makes it anew"),
        ),
        Some(IndexView { trouble: Some(why), .. }) => findings.push(
            Finding::new(
                CHECK,
                Health::Warning,
                format!("its index cannot be written: {}", Printable(why)),
            )
            .fix("incidents are missing in lists until it can; see the check of the disk, and the log of the server"),
        ),
        Some(view) if view.lag.is_some_and(|lag| lag > 10_000) => {
            findings.push(Finding::new(
                CHECK,
                Health::Warning,
                "its index is far behind the journal",
            ));
        }
        Some(_) => {}
    }
    if status.version != env!("CARGO_PKG_VERSION") {
        let text = format!(
            "it is version {}, and this is {}",
            status.version,
            env!("CARGO_PKG_VERSION")
        );
        findings.push(Finding::new(CHECK, Health::Warning, text).fix("start it again after an update"));
    }
    if findings.is_empty() {
        let up = relative(status.started, now());
        findings.push(Finding::new(
            CHECK,
            Health::Ok,
            format!("runs, started {up}, mode {}", status.mode.mode),
        ));
    }
    findings
}
