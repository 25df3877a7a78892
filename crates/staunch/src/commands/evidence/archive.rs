//! `staunch evidence export`, and `verify` for what it has written.
//!
//! Never unpacks an archive, and leaves none that is not whole.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Serialize;
use staunch_model::{HandlingAction, IncidentId, Printable, Sha256Hash};
use staunch_ports::Vault as _;
use staunch_store::export::{ArchiveFinding, INVENTORY, verify_archive_from};
use staunch_store::vault::DirVault;
use staunch_store::{
    ArchiveSummary, ExportError, ExportParts, ExportSummary, LogError, LogKey, export_incident, verify_archive,
};

use super::handled::{Custody, Deed, place};
use super::in_log::InLog;
use super::verify::{Verdict, earlier, encrypted_text, handled_text, unsigned_text, verifier};
use super::{Findings, NewFile, bucket, fault, folder, lines, no_terminal, size, unwritten};
use crate::cli::{EvidenceExportArgs, EvidenceVerifyArgs};
use crate::client::named_files_must_be_there;
use crate::commands::{incident, load};
use crate::exit::{Exit, Fault, escaped};
use crate::output::{Output, Tone, json, print, say, say_rendered, say_wrapped, warn_wrapped, wrap};
use crate::progress::Progress;
use crate::wiring;

/// What was exported.
#[derive(Debug, Serialize)]
struct Exported {
    incident: IncidentId,
    /// The file; `None` when it went to stdout.
    file: Option<PathBuf>,
    bytes: u64,
    sha256: Sha256Hash,
    files: u64,
    artefacts: u64,
    artefact_bytes: u64,
    manifests: u64,
    records: u64,
    /// Parts and collections that could not be taken, of which there are records.
    missed: u64,
    /// Collections that ended after containment had stopped waiting for them.
    late: u64,
    /// Whether the timeline is in it.
    timeline: bool,
    /// The size and root of the log in it.
    checkpoint: (u64, Sha256Hash),
    /// What is wrong with the handling logs in it, which whoever verifies it finds: the first of it.
    findings: Vec<String>,
    /// How it is known that the log was signed with more entries before; `null` where nothing tells of that.
    put_back: Option<String>,
}

pub(super) fn export(args: &EvidenceExportArgs) -> Result<Exit, Fault> {
    let incident = args.incident;
    let data = &args.server.data;
    named_files_must_be_there(&args.server)?;
    let dir = folder(None, data)?;
    let key = secret_key(&load(data)?.evidence_secret_key_file())?;
    has_evidence(&dir, incident)?;
    let bucket = bucket(false, data)?;
    let further = incident::timeline_files(incident, &args.server).unwrap_or_else(|fault| {
        warn_wrapped(&format!("the timeline is left out: {}", fault.told()));
        Vec::new()
    });
    let has_timeline = !further.is_empty();
    let custody = Custody::of(&dir, None, data);
    let named = args.output.clone();
    let path = named.unwrap_or_else(|| PathBuf::from(format!("{incident}.evidence.tar.zst")));
    let is_stdout = path == Path::new("-");
    if is_stdout {
        no_terminal("an archive")?;
    }
    let to = if is_stdout { "stdout".to_owned() } else { place(&path)? };
    let file = (!is_stdout).then(|| NewFile::make(&path)).transpose()?;
    let deed = Deed {
        action: HandlingAction::Copy,
        reason: args.reason.as_deref(),
        evidence: None,
        artefact: None,
        to: Some(&to),
        outcome: None,
    };
    let act = || {
        let parts = ExportParts {
            vault: &dir.join(wiring::VAULT),
            log: &dir.join(wiring::LOG),
            key: &key,
            incident,
            // It says that this was begun.
            handling: custody.log(),
            further,
            bucket,
        };
        match file {
            Some(file) => {
                let summary = write(&parts, BufWriter::new(&file.file), &path)?;
                file.finish().map(|()| summary)
            }
            None => write(&parts, BufWriter::new(io::stdout().lock()), &path),
        }
    };
    // Before a byte of it is given away.
    let outcome = |summary: &ExportSummary| format!("done, SHA-256 {}", summary.sha256);
    let summary = custody.done(Some(incident), deed, act, outcome)?;
    for finding in &summary.of_handling {
        warn_wrapped(&format!("what is exported is not proved in all: {finding}"));
    }
    let put_back = InLog::of(&dir, None, data)?.put_back(&custody, Some(incident));
    let exported = Exported {
        incident,
        file: (!is_stdout).then_some(path),
        bytes: summary.bytes,
        sha256: summary.sha256,
        files: summary.files,
        artefacts: summary.artefacts,
        artefact_bytes: summary.artefact_bytes,
        manifests: summary.manifests,
        records: summary.records,
        missed: summary.missed,
        late: summary.late,
        timeline: has_timeline,
        checkpoint: (summary.checkpoint.size, summary.checkpoint.root),
        findings: summary.of_handling.iter().map(ToString::to_string).collect(),
        put_back: put_back.clone(),
    };
    match (args.json, is_stdout) {
        (true, true) => say_rendered(&format!("{}\n", json(&exported)?.trim_end())),
        (true, false) => print(&json(&exported)?)?,
        // It is talk, and not the data.
        (false, _) => say(exported_text(&exported).trim_end()),
    }
    if let Some(why) = put_back {
        warn_wrapped(&format!("THE LOG WAS PUT BACK: {why}"));
        say_wrapped(
            "hint: what is exported is proved by what is left of the log: hold that against a checkpoint that was kept \
             elsewhere (`staunch evidence verify --earlier`)",
        );
    }
    Ok(Exit::Ok)
}

fn exported_text(it: &Exported) -> String {
    let of = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let what = format!(
        "{}: {} of {}, {}, {}, {} missed{}; the log at {} entries{}",
        it.incident,
        of(it.artefacts, "artefact"),
        size(it.artefact_bytes),
        of(it.manifests, "manifest"),
        of(it.records, "record"),
        it.missed,
        match it.late {
            0 => String::new(),
            late => format!(", {late} too late for containment to wait"),
        },
        it.checkpoint.0,
        if it.timeline {
            ", and the timeline"
        } else {
            ", without the timeline"
        },
    );
    let mut text = format!("{}\n", wrap(&what, 0));
    if let Some(file) = &it.file {
        let file = file.display().to_string();
        let line = format!("in {}, {}", Printable(&file), size(it.bytes));
        text.push_str(&format!("{}\n", wrap(&line, 0)));
    }
    text.push_str(&format!("SHA-256 {}\n", it.sha256));
    text.push_str("give the public key another way: `staunch evidence key` prints it\n");
    text
}

fn write<W: Write>(parts: &ExportParts<'_>, to: W, path: &Path) -> Result<ExportSummary, Fault> {
    let mut progress = Progress::start();
    let mut tell = |done, total| progress.tell(|| format!("{} of {}", size(done), size(total)));
    export_incident(parts, &mut tell, to).map_err(|error| match error {
        ExportError::Write(error) => unwritten(path, &error),
        error => refused(&error),
    })
}

/// Whether there is anything to hand over: when there is not, nothing was done that could be on record.
fn has_evidence(dir: &Path, incident: IncidentId) -> Result<(), Fault> {
    let vault = DirVault::read_only(&dir.join(wiring::VAULT));
    let mut found = false;
    vault
        .incidents(&mut |it| {
            found = it == incident;
            if found {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .map_err(|failure| fault(&failure))?;
    if found {
        return Ok(());
    }
    Err(refused(&ExportError::Nothing { incident }))
}

/// The key that signs. It is not made here: a new one would prove nothing.
fn secret_key(file: &Path) -> Result<LogKey, Fault> {
    let hint = "the list of files is signed with the key of the log: export as the user of the server, on its machine";
    match LogKey::read(file) {
        Ok(Some(key)) => Ok(key),
        Ok(None) => Err(Fault::new(Exit::NotFound, format!("there is no key {}", file.display())).hint(hint)),
        Err(error) => Err(Fault::doing(Exit::Denied, "there is no key to sign the archive", &error).hint(hint)),
    }
}

fn refused(error: &ExportError) -> Fault {
    let told = |exit| Fault::doing(exit, "there is no archive", error);
    match error {
        ExportError::Nothing { .. } => Fault::new(Exit::NotFound, error.to_string())
            .hint("`staunch evidence list` shows what there is; playbooks ask for evidence with `preserve`"),
        ExportError::Unlogged { .. } => told(Exit::Busy)
            .hint("a running server logs evidence within moments, and evidence of before when it starts; try again"),
        ExportError::Changed { .. } => told(Exit::Corrupt).hint("`staunch evidence verify` tells all that is wrong"),
        ExportError::Log(LogError::Damaged { .. }) => {
            told(Exit::Corrupt).hint("`staunch evidence verify` tells all that is wrong")
        }
        ExportError::Vault(failure) => fault(failure),
        ExportError::Handling { .. } => told(Exit::Failed)
            .hint("an archive says who has handled the evidence: export as the user of the server, on its machine"),
        ExportError::TooMany { .. } | ExportError::Log(_) | ExportError::Write(_) => told(Exit::Failed),
    }
}

/// Whether `path` is an archive or was unpacked from one.
pub(super) fn is_one(path: &Path) -> bool {
    // A folder from which the inventory was taken has the list. What is no folder is an archive, or none.
    is_stdin(path)
        || path.metadata().is_ok_and(|it| !it.is_dir())
        || path.join(INVENTORY).exists()
        || path.join("SHA256SUMS").exists()
}

/// Whether the archive is read from what is piped in.
fn is_stdin(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stdin")
}

/// Keeps the first bytes of what is read through it.
struct Beginning<R> {
    inner: R,
    first: Vec<u8>,
}

/// So many of them tell what a file is: a tar says it at byte 257.
const FIRST: usize = 512;

impl<R: Read> Read for Beginning<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let missing = FIRST - self.first.len();
        self.first.extend_from_slice(&buffer[..read.min(missing)]);
        Ok(read)
    }
}

/// What is to be done with a file that begins so and is no archive, when that can be told.
fn hint_of(first: &[u8], findings: &[String]) -> Option<String> {
    let what = match first {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            // What other programs make of a tar: another form of headers, and entries for folders.
            let marks = [
                "a header is not in the form",
                "something between two files",
                "a link, a directory or something else",
            ];
            let is_repacked = findings.iter().any(|it| marks.iter().any(|mark| it.contains(mark)));
            let hint = "an archive that was packed again is no longer the one that was exported: unpack it, and verify the folder";
            return is_repacked.then(|| hint.to_owned());
        }
        [] => "it is empty",
        [0x1f, 0x8b, ..] => "it is packed with gzip",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "it is packed with xz",
        [b'P', b'K', ..] => "it is a zip file",
        tar if tar.get(257..262) == Some(b"ustar") => {
            return Some("it is a tar, and not packed as it was exported: unpack it, and verify the folder".to_owned());
        }
        _ => "it does not begin as an archive does",
    };
    Some(format!(
        "{what}: name the .tar.zst that `staunch evidence export` has written, or the folder of it"
    ))
}

/// What was verified.
#[derive(Debug, Serialize)]
struct Verified {
    verdict: Verdict,
    /// Whether the verdict is that all of it is proved.
    proved: bool,
    incident: Option<IncidentId>,
    /// The size of the log that is signed, and its root.
    checkpoint: Option<(u64, Sha256Hash)>,
    /// Whether the log continues the earlier checkpoint that was given.
    continues_earlier: Option<bool>,
    entries: u64,
    manifests: u64,
    /// Those of them that carry no signature of the key themselves: the log alone stands for them.
    unsigned: u64,
    records: u64,
    proofs: u64,
    artefacts: u64,
    /// Those of them that are encrypted: their stored bytes are those of their manifests.
    encrypted: u64,
    bytes: u64,
    /// Lines of the handling logs that the key has signed.
    handled: u64,
    /// Those that it has not, or that cannot be read: they prove nothing.
    handled_unproved: u64,
    /// What is not as it was exported.
    findings: Vec<String>,
    /// How many more there are.
    more: u64,
    /// What may be the matter, and what to do about it.
    hint: Option<String>,
}

pub(super) fn verify(path: &Path, args: &EvidenceVerifyArgs) -> Result<Exit, Fault> {
    if args.journal.is_some() {
        return Err(Fault::new(
            Exit::Usage,
            "an archive is of one incident, and has no journal to compare",
        )
        .hint("`--journal` goes with a folder of evidence"));
    }
    let key = verifier(args.key.as_deref(), &args.data)?;
    let earlier = earlier(args)?;
    let mut progress = Progress::start();
    let mut findings = Findings::default();
    let mut tell = |done, total| progress.tell(|| format!("{} of {}", size(done), size(total)));
    let mut nobodys = 0;
    let mut found = |finding: ArchiveFinding| {
        nobodys += u64::from(finding.is_nobodys_word());
        findings.push(finding.to_string());
    };
    let mut first = Vec::new();
    let summary = if path.is_dir() {
        verify_archive(path, &key, earlier.as_deref(), &mut tell, &mut found)
    } else {
        let open = || -> io::Result<Box<dyn Read>> {
            if is_stdin(path) {
                return Ok(Box::new(io::stdin().lock()));
            }
            let file = File::open(path)?;
            if !file.metadata()?.is_file() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "it is no plain file and no folder",
                ));
            }
            Ok(Box::new(file))
        };
        open().map(|inner| {
            let mut from = Beginning {
                inner,
                first: Vec::new(),
            };
            let summary = verify_archive_from(&mut from, &key, earlier.as_deref(), &mut tell, &mut found);
            first = from.first;
            summary
        })
    };
    let ArchiveSummary {
        incident,
        checkpoint,
        continues_earlier,
        entries,
        manifests,
        unsigned,
        records,
        proofs,
        artefacts,
        encrypted,
        bytes,
        lines,
        lines_unproved,
        findings: found,
    } = summary.map_err(|error| {
        let shown = path.display().to_string();
        Fault::doing(Exit::Failed, format!("cannot read {}", Printable(&shown)), &error)
    })?;
    let hint = (found > 0 && !path.is_dir())
        .then(|| hint_of(&first, &findings.told))
        .flatten();
    let verdict = match found {
        0 => Verdict::Proved,
        found if found == nobodys => Verdict::InPart,
        _ => Verdict::NotProved,
    };
    let verified = Verified {
        verdict,
        proved: verdict == Verdict::Proved,
        incident,
        checkpoint: checkpoint.map(|it| (it.size, it.root)),
        continues_earlier: earlier.is_some().then_some(continues_earlier),
        entries,
        manifests,
        unsigned,
        records,
        proofs,
        artefacts,
        encrypted,
        bytes,
        handled: lines,
        handled_unproved: lines_unproved,
        findings: findings.told,
        more: findings.more,
        hint,
    };
    Output::new(args.json).show(&verified, |output| verified_text(output, &verified))?;
    Ok(verdict.exit())
}

fn verified_text(output: &Output, it: &Verified) -> String {
    let mut text = String::new();
    for finding in &it.findings {
        let line = lines(&escaped(finding), 4);
        text.push_str(&format!("{}\n", output.paint(Tone::Bad, &format!("  - {line}"))));
    }
    if it.more > 0 {
        text.push_str(&format!("  and {} more\n", it.more));
    }
    if let Some(hint) = &it.hint {
        text.push_str(&format!("{}\n", wrap(&format!("hint: {hint}"), 0)));
    }
    let (tone, verdict) = match it.verdict {
        Verdict::NotProved => (Tone::Bad, "NOT AS IT WAS EXPORTED"),
        verdict => verdict.words(),
    };
    let of = it.incident.map_or_else(String::new, |it| format!(" of {it}"));
    let what = format!(
        "{verdict}: {} artefacts of {}, {} manifests, {} records{of}, {} proofs",
        it.artefacts,
        size(it.bytes),
        it.manifests,
        it.records,
        it.proofs
    );
    text.push_str(&format!("{}\n", output.paint(tone, &wrap(&what, 2))));
    text.push_str(&unsigned_text(it.unsigned));
    if it.handled_unproved > 0 {
        let line = wrap(&handled_text(it.handled_unproved), 2);
        text.push_str(&format!("  {}\n", output.paint(Tone::Warning, &line)));
    }
    if it.encrypted > 0 {
        text.push_str(&encrypted_text(it.encrypted));
    }
    if let Some((size, root)) = &it.checkpoint {
        text.push_str(&format!("  signed at {size} entries,\n  root {root}\n"));
    }
    match it.continues_earlier {
        Some(true) => text.push_str("  the log continues the earlier checkpoint: nothing was taken back since\n"),
        Some(false) => {}
        None => text.push_str(
            "  not compared with an earlier checkpoint (--earlier): a log that was\n  put back would not show\n",
        ),
    }
    text
}
