//! What Staunch is told by files and by others: protections, lists, feeds, context, signals.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::io;
use std::path::Path;

use staunch_model::{Condition, Failure, HealthReading, Printable};
use staunch_server::dto::{InletReading, Status};

use super::super::{Finding, Health};
use super::server;
use crate::called::Endpoint;
use crate::config::{
    Config, ContextFile, FeedSettings, HealthSettings, LookupSettings, NotifierSettings, ProtectedFile,
};
use crate::context::{Content, Kind, files as files_of_context, read_one};
use crate::exit::Exit;
use crate::inlets::remedy;
use crate::names::Names;
use crate::output::{counted, now, relative};
use crate::playbooks::Texts;
use crate::wiring;

/// What the check of the files is called that are followed.
const FOLLOWED: &str = "followed file";

/// What to do about names that are not found.
const LOOKS_UP: &str =
    "see that this machine can look these names up, or list the addresses under [[never_touch.networks]]";

pub(super) fn protections(config: &Config) -> Finding {
    const CHECK: &str = "never touched";
    if !config.never_touch.discover {
        let count = config.never_touch.networks.len();
        return Finding::new(
            CHECK,
            Health::Warning,
            format!(
                "{} of the configuration, and nothing is discovered",
                counted(count as u64, "network")
            ),
        )
        .fix("set `discover = true` under [never_touch], or list this machine's addresses, gateways and resolvers");
    }
    let found = Names::looked_up(config).and_then(|called| {
        let found = wiring::discover(config, &called)?;
        let named = |it: &Endpoint| format!("{} ({})", it.what, Printable(&it.host));
        let missing: Vec<_> = called.missing().map(named).collect();
        let before: Vec<_> = called.only_before().map(named).collect();
        Ok((found, missing, before))
    });
    match found {
        Ok((_, missing, before)) if missing.is_empty() && !before.is_empty() => Finding::new(
            CHECK,
            Health::Warning,
            format!(
                "what is called is protected where a server found it before, because its name is not found at present: {}",
                before.join(", ")
            ),
        )
        .fix(LOOKS_UP),
        Ok((_, missing, _)) if !missing.is_empty() => Finding::new(
            CHECK,
            Health::Warning,
            format!(
                "what is called is not protected before its name is found: {}",
                missing.join(", ")
            ),
        )
        .fix(LOOKS_UP),
        Ok((found, ..)) if found.is_empty() => {
            Finding::new(CHECK, Health::Warning, "nothing was discovered on this machine")
                .fix("list what must not be touched under [[never_touch.networks]]")
        }
        Ok((found, ..)) => {
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
pub(super) fn lists(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "list";
    let files = config.never_touch.files.iter();
    let one = |file: &ProtectedFile| match crate::lists::read_one(file) {
        Ok(list) => {
            let text = format!(
                "{}, {} that {} never touched",
                file.path.display(),
                counted(list.len() as u64, "network"),
                if list.len() == 1 { "is" } else { "are" },
            );
            Finding::new(CHECK, Health::Ok, text)
        }
        Err(fault) => Finding::of(CHECK, &fault),
    };
    files.map(one).collect()
}

/// The files of context, as they are at the moment: what a start would make of them.
pub(super) fn context(config: &Config) -> Vec<Finding> {
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
pub(super) fn feeds(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "feed";
    let one = |settings: &FeedSettings| match crate::feeds::read_one(&settings.in_dir(&config.data_dir), now()) {
        Ok(fed) => {
            let table = &fed.table;
            let text = format!(
                "{}, {}, of {}; {} left out, {} not understood",
                settings.name,
                counted(table.len() as u64, "network"),
                relative(table.fetched(), now()),
                counted(fed.special, "special-purpose network"),
                match fed.not_understood {
                    1 => "1 entry".to_owned(),
                    several => format!("{several} entries"),
                },
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
        Err(fault) if settings.url.is_some() && fault.exit == Exit::NotFound => {
            let text = format!("there is no copy of {} here", Printable(&settings.name));
            let fix = "a server that runs fetches it, and `staunch status` says why when it cannot";
            Finding::new(CHECK, Health::Warning, text).fix(fix)
        }
        Err(fault) => Finding {
            health: Health::Warning,
            ..Finding::of(CHECK, &fault)
        },
    };
    config.feeds.iter().map(one).collect()
}

/// The services that are asked about addresses: whether they could be. Nobody is asked.
pub(super) fn lookups(config: &Config) -> Vec<Finding> {
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

/// The check of what tells whether the business is well.
const HEALTH: &str = "health";

/// The health signals: what each says now.
pub(super) fn signals(config: &Config) -> Vec<Finding> {
    let one = |(name, settings): (&String, &HealthSettings)| {
        if let Err(fault) = crate::health::check(settings) {
            return Finding {
                health: Health::Warning,
                ..Finding::of(HEALTH, &fault)
            };
        }
        let hint = "look at its url and query in the configuration: what it would watch goes on unwatched";
        health_finding(name, crate::health::read_once(name, settings), hint)
    };
    config.health.iter().map(one).collect()
}

/// The Prometheus of conditions, and what the conditions of playbooks say now.
pub(super) fn conditions(config: &Config) -> Vec<Finding> {
    let Some(settings) = &config.prometheus else {
        return Vec::new();
    };
    if let Err(fault) = crate::health::check_prometheus(settings) {
        return vec![Finding {
            health: Health::Warning,
            ..Finding::of(HEALTH, &fault)
        }];
    }
    let outcome = Texts::configured(config).compile(&wiring::check_context(config));
    let playbooks = outcome.compiled.iter().map(|it| &it.program.playbook);
    let texts: BTreeSet<&str> = playbooks.flat_map(|it| it.signals()).collect();
    let conditions = texts.iter().filter_map(|it| Some((it, Condition::parse(it).ok()?)));
    let findings: Vec<Finding> = conditions
        .map(|(text, condition)| {
            let hint = "look at the query in the playbook and at [prometheus] in the configuration: what it would watch goes \
                        on unwatched";
            health_finding(text, crate::health::ask_once(condition, settings), hint)
        })
        .collect();
    if findings.is_empty() {
        let text = "its files can be used; no playbook has a condition to ask Prometheus of";
        return vec![Finding::new(HEALTH, Health::Ok, text)];
    }
    findings
}

/// What a health signal says, or why it says nothing.
fn health_finding(name: &str, read: Result<HealthReading, Failure>, hint: &str) -> Finding {
    match read {
        Ok(reading) if reading.healthy => {
            let text = format!("{name} is healthy: {}", Printable(&reading.says));
            Finding::new(HEALTH, Health::Ok, text)
        }
        Ok(reading) => {
            let text = format!("{name} is not healthy: {}", Printable(&reading.says));
            let hint = "what it would watch goes on unwatched, because it cannot tell what an act does";
            Finding::new(HEALTH, Health::Warning, text).fix(hint)
        }
        Err(failure) => {
            let text = format!("{name} cannot be read: {failure}");
            Finding::new(HEALTH, Health::Warning, text).fix(hint)
        }
    }
}

/// The notifiers beside the log: whether they could be called. Nobody is told.
pub(super) fn notifiers(config: &Config) -> Vec<Finding> {
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

/// What is said of a file that is not there.
fn not_there(shown: &dyn Display) -> Finding {
    Finding::new(FOLLOWED, Health::Warning, format!("{shown} is not there yet"))
        .fix("it is read, from its beginning, once it appears; is it the path that the sensor writes to?")
}

/// What is followed, as the running server says of it that was asked; else whether this user can read it, which says
/// nothing of one that is `running` as another user.
pub(super) fn files(config: &Config, asked: Option<&Status>, running: bool) -> Vec<Finding> {
    let one = |path: &Path| {
        let inlet = asked.and_then(|it| it.inlets.iter().find(|it| server::follows(it, path)));
        match inlet {
            Some(inlet) => followed(path, inlet),
            None => readable(path, running),
        }
    };
    config.sources.files.iter().map(|it| one(&it.path)).collect()
}

/// How the running server gets on with a file.
fn followed(path: &Path, inlet: &InletReading) -> Finding {
    let shown = path.display();
    match &inlet.failing {
        Some(why) => {
            let text = format!("{shown}: the running server cannot read it: {}", Printable(why));
            let finding = Finding::new(FOLLOWED, Health::Problem, text);
            match remedy(inlet) {
                Some(fix) => finding.fix(fix),
                None => finding,
            }
        }
        None if path.try_exists().is_ok_and(|is_there| !is_there) => not_there(&shown),
        None => Finding::new(
            FOLLOWED,
            Health::Ok,
            format!("{shown} is followed by the running server"),
        ),
    }
}

/// Whether this user can read a file.
fn readable(path: &Path, running: bool) -> Finding {
    let shown = path.display();
    let opened = fs::File::open(path).and_then(|file| file.metadata());
    match opened {
        Ok(metadata) if metadata.is_dir() => Finding::new(
            FOLLOWED,
            Health::Problem,
            format!("{shown} is a directory, of which nothing is read"),
        )
        .fix("name the file in it that the sensor writes to"),
        Ok(_) if running => Finding::new(
            FOLLOWED,
            Health::Unknown,
            format!("{shown} can be read by this user, and the running server does not say whether it can"),
        )
        .fix(
            "what was written into the configuration since takes effect at the next start; `staunch status` tells then",
        ),
        Ok(_) => Finding::new(FOLLOWED, Health::Ok, format!("{shown} can be read by this user")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => not_there(&shown),
        Err(error) if running => Finding::new(
            FOLLOWED,
            Health::Unknown,
            format!(
                "{shown} is not known from here: this user cannot read it, and a server has a user of its own: {error}"
            ),
        )
        .fix("`sudo staunch doctor` asks the server"),
        Err(error) => Finding::new(FOLLOWED, Health::Problem, format!("{shown}: {error}"))
            .fix("let the user of the server read it, for example by its group"),
    }
}
