//! What Staunch keeps on this machine: its directory, journal and tokens, and room for them.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, FsType, PROC_SUPER_MAGIC, SYSFS_MAGIC, statfs};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access};
use staunch_model::Timestamp;
use staunch_ports::Lsn;
use staunch_server::{Role, Tokens};
use staunch_store::{OpenError, ReadOnlyJournal};

use super::super::{Finding, Health};
use super::who;
use crate::commands::open_fault;
use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::output::{now, relative};
use crate::wiring;

/// Segments for which there should be room: the one in use and the next.
const SEGMENTS_MIN: u64 = 2;

/// The data directory of a server that is `running`, or is to be started as this user.
pub(super) fn data_directory(config: &Config, running: bool) -> Finding {
    let finding = looked_at(config);
    let is_kept_out = who::kept_out(&config.data_dir, AccessFlags::R_OK | AccessFlags::X_OK).is_some();
    match running && is_kept_out {
        // Its server is in, so that it has a user of its own is as it should be.
        true => finding.unknown_here(),
        false => finding,
    }
}

fn looked_at(config: &Config) -> Finding {
    const CHECK: &str = "data directory";
    let dir = &config.data_dir;
    let shown = dir.display();
    let metadata = match fs::metadata(dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = existing(dir);
            return if is_of_kernel(parent) {
                Finding::new(
                    CHECK,
                    Health::Problem,
                    format!(
                        "{shown} is not there, and nothing can be made below {}",
                        parent.display()
                    ),
                )
                .fix("name another with data_dir or --data-dir")
            } else if access(parent, AccessFlags::W_OK).is_ok() {
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
pub(super) fn existing(path: &Path) -> &Path {
    let mut ancestors = path.ancestors();
    let found = ancestors.find(|it| it.is_dir());
    found.unwrap_or(Path::new("."))
}

/// Whether `path` is in a file system that shows what the kernel knows, and keeps no files.
fn is_of_kernel(path: &Path) -> bool {
    const KINDS: [FsType; 4] = [PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC];
    statfs(path).is_ok_and(|it| KINDS.contains(&it.filesystem_type()))
}

pub(super) fn disk(config: &Config) -> Vec<Finding> {
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

pub(super) fn journal(config: &Config) -> Finding {
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
        // As after a first start that found no room; one that was begun leaves the id of its installation.
        Err(OpenError::Io { source, .. })
            if source.kind() == io::ErrorKind::NotFound
                && !config.index_file().exists()
                && !config.installation_file().exists() =>
        {
            return Finding::new(CHECK, Health::Ok, "nothing is in it yet: the next start begins it");
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

pub(super) fn tokens(config: &Config) -> Finding {
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
pub(super) fn credentials(config: &Config) -> Vec<Finding> {
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
