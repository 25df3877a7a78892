//! `staunch journal`

use std::ops::ControlFlow;

use serde_json::json;
use staunch_model::{Frame, Printable, Timestamp};
use staunch_ports::{Lsn, ReadError, StoredFrame};
use staunch_store::{OpenError, ReadOnlyJournal, verify};

use super::load_existing;
use crate::cli::JournalCommand;
use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::output::{Output, Tone, json_line, print_on, say};
use crate::words;

pub(super) fn run(command: &JournalCommand) -> Result<Exit, Fault> {
    match command {
        JournalCommand::Verify { data, json } => prove(&load_existing(data)?, *json),
        JournalCommand::Cat {
            from,
            limit,
            data,
            json,
        } => cat(&load_existing(data)?, *from, limit.unwrap_or(u64::MAX), *json),
    }
}

/// What an operator is told when the journal cannot be opened.
pub(crate) fn open_fault(error: &OpenError) -> Fault {
    let exit = match error {
        OpenError::Corrupt { .. } => Exit::Corrupt,
        OpenError::Locked { .. } => Exit::InUse,
        OpenError::Denied { .. } | OpenError::ReadOnly { .. } => Exit::Denied,
        OpenError::Options { .. } => Exit::Usage,
        OpenError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Exit::NotFound,
        OpenError::NoSpace { .. } => Exit::Busy,
        OpenError::Version { .. } | OpenError::Io { .. } => Exit::Failed,
    };
    let hint = if exit == Exit::NotFound {
        "name the data directory with --data-dir"
    } else {
        error.hint()
    };
    Fault::of(exit, error).hint(hint)
}

pub(super) fn read_fault(error: &ReadError) -> Fault {
    match error {
        ReadError::Corrupt { .. } => Fault::of(Exit::Corrupt, error)
            .hint("`staunch journal verify` proves all of it; restore the file from a backup, Staunch cuts nothing"),
        ReadError::Io { source, .. } => match source.get_ref().and_then(|it| it.downcast_ref::<OpenError>()) {
            // Why a segment in the middle of the log could not be opened.
            Some(error) => open_fault(error),
            None if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Fault::of(Exit::Denied, error).hint("run it as a user who may read that")
            }
            None => Fault::of(Exit::Failed, error).hint("look at the kernel log: the disk may be failing"),
        },
    }
}

fn prove(config: &Config, as_json: bool) -> Result<Exit, Fault> {
    let dir = config.journal_dir();
    ReadOnlyJournal::open(&dir).map_err(|error| open_fault(&error))?;
    let report = verify(&dir).map_err(|error| open_fault(&error))?;
    let hash: String = report.tail.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let corruption = report
        .corruption
        .as_ref()
        .map(|it| json!({ "file": it.file.display().to_string(), "offset": it.offset, "what": it.what }));
    let answer = json!({
        "segments": report.segments, "frames": report.frames, "last": report.tail.lsn.0, "epoch": report.tail.epoch.0,
        "hash": hash, "torn_bytes": report.torn_bytes, "corruption": corruption,
    });
    Output::new(as_json).show(&answer, |output| {
        let mut text = String::new();
        let mut line = |label: &str, value: String| {
            text.push_str(&format!(
                "{}{value}\n",
                output.paint(Tone::Faint, &format!("{label:<10}"))
            ));
        };
        line("journal", Printable(&dir.display().to_string()).to_string());
        line("segments", report.segments.to_string());
        line("frames", format!("{} verify, chain and checksums", report.frames));
        line(
            "last",
            format!("frame {}, epoch {}", report.tail.lsn, report.tail.epoch),
        );
        line("hash", hash.clone());
        if report.torn_bytes > 0 {
            line(
                "torn end",
                format!(
                    "{} bytes of a write that was not finished; a start cuts them",
                    report.torn_bytes
                ),
            );
        }
        text
    })?;
    match report.corruption {
        None => Ok(Exit::Ok),
        Some(found) => {
            let file = found.file.display().to_string();
            let what = format!(
                "the journal is corrupt at {}, byte {}: {}",
                Printable(&file),
                found.offset,
                found.what
            );
            Err(Fault::new(Exit::Corrupt, what).hint(
                "copy the directory aside and restore the file from a backup; frames before the damage are sound",
            ))
        }
    }
}

fn cat(config: &Config, from: u64, limit: u64, as_json: bool) -> Result<Exit, Fault> {
    let journal = ReadOnlyJournal::open(&config.journal_dir()).map_err(|error| open_fault(&error))?;
    if limit == 0 {
        return Ok(Exit::Ok);
    }
    let output = Output::new(as_json);
    let mut shown = 0;
    let mut failed = None;
    let read = journal.read(Lsn(from), &mut |stored| {
        let printed = if as_json {
            line_json(&stored)
        } else {
            Ok(words::frame(&output, &stored))
        };
        match printed.and_then(|text| print_on(&text)) {
            Err(fault) => {
                failed = Some(fault);
                return ControlFlow::Break(());
            }
            Ok(goes_on) => {
                shown += 1;
                if goes_on.is_break() {
                    return goes_on;
                }
            }
        }
        if shown >= limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    if let Some(fault) = failed {
        return Err(fault);
    }
    read.map_err(|error| read_fault(&error))?;
    if shown == 0 {
        say(&format!("no frame from {from} on"));
    }
    Ok(Exit::Ok)
}

fn line_json(stored: &StoredFrame) -> Result<String, Fault> {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let now = Timestamp::from_micros(stored.now_us);
    let mut line = json!({
        "lsn": stored.lsn.0, "epoch": stored.epoch.0, "now": now, "now_us": stored.now_us, "prev": hex(&stored.prev),
        "hash": hex(&stored.hash), "bytes": stored.payload.len(),
    });
    match postcard::from_bytes::<Frame>(&stored.payload) {
        Ok(frame) => {
            let value = serde_json::to_value(&frame)
                .map_err(|error| Fault::doing(Exit::Failed, format!("cannot show frame {}", stored.lsn), &error))?;
            line["input"] = value["input"].clone();
            line["records"] = value["records"].clone();
        }
        Err(error) => line["unreadable"] = error.to_string().into(),
    }
    json_line(&line)
}
