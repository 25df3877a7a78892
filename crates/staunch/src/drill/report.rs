//! The report of a drill: a file of JSON, and a signed note beside it that names its hash.

use std::fs;
use std::path::{Path, PathBuf};

use staunch_model::Printable;

use super::score::Score;
use crate::exit::{Exit, Fault};
use crate::files::{cannot_write, read_bounded};
use crate::note::{Signer, Verifier, sha256};
use crate::output::json;
use crate::whole;

/// The largest report that is read.
const REPORT_BYTES_MAX: u64 = 16 << 20;

/// How the text of the note begins.
const HEADING: &str = "staunch drill report v1";

/// Writes the report of `score` into `dir`, signed, and returns where. Nothing of one that cannot be written is left.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write(score: &Score, dir: &Path, signer: &Signer) -> Result<PathBuf, Fault> {
    let time = score.begun.to_string();
    let time: String = time.chars().take(19).filter(|c| !matches!(c, '-' | ':')).collect();
    let name = format!("drill-{}-{time}Z.json", score.drill);
    let text = format!("{}\n", json(score)?);
    let path = dir.join(&name);
    let note = signer.sign(&format!("{HEADING}\n{name}\nsha256 {}\n", sha256(text.as_bytes())));
    let failed = |error: &std::io::Error| {
        let shown = path.display().to_string();
        let what = format!("cannot write the report {}", Printable(&shown));
        cannot_write(&what, error).hint("name another directory with --report")
    };
    fs::create_dir_all(dir).map_err(|error| failed(&error))?;
    let signature = signature_of(&path);
    whole::put(&signature, &note, whole::FOR_ALL).map_err(|error| failed(&error))?;
    // Last, so that a report that is there is signed.
    whole::put(&path, &text, whole::FOR_ALL).map_err(|error| {
        let fault = failed(&error);
        match fs::remove_file(&signature) {
            Ok(()) => fault,
            Err(error) => fault.because(format!("its signature cannot be removed: {error}")),
        }
    })?;
    Ok(path)
}

/// What a report that is what was signed says of itself.
pub(crate) struct Proved {
    /// The key that has signed it.
    pub(crate) key: String,
    /// Its content.
    pub(crate) report: serde_json::Value,
}

/// Proves the report in `path` with the key `known`, or with the one that it names itself.
///
/// # Errors
/// [`Exit::DrillFailed`] when it is not what was signed, [`Exit::NotFound`] when it or its signature is not there.
pub(crate) fn verify(path: &Path, known: Option<&str>) -> Result<Proved, Fault> {
    let read = |path: &Path| {
        let shown = path.display().to_string();
        read_bounded(path, REPORT_BYTES_MAX).map_err(|error| {
            let exit = match error.kind() {
                std::io::ErrorKind::NotFound => Exit::NotFound,
                _ => Exit::Failed,
            };
            Fault::doing(exit, format!("cannot read {}", Printable(&shown)), &error)
        })
    };
    let text = read(path).map_err(|fault| fault.hint("name a report that `staunch drill run` wrote"))?;
    let note = read(&signature_of(path)).map_err(|fault| match fault.exit {
        Exit::NotFound => fault.hint(
            "without its signature nothing is proved: put the .sig file that the drill wrote beside the report, or run \
             the drill again",
        ),
        _ => fault,
    })?;
    let shown = path.display().to_string();
    let changed = |why: &str| Fault::new(Exit::DrillFailed, format!("{}: {why}", Printable(&shown)));
    let named = serde_json::from_str::<serde_json::Value>(&text).ok();
    let named = named.as_ref().and_then(|it| it["signed_by"].as_str());
    let Some(key) = known.or(named) else {
        return Err(changed("it names no key, so it is not what was signed"));
    };
    let Some(verifier) = Verifier::parse(key) else {
        return Err(match known {
            Some(_) => Fault::new(Exit::Usage, "this is no verifier key").hint("`staunch drill key` prints one"),
            None => {
                changed("it was changed after it was signed, or never signed: what it names under signed_by is no key")
            }
        });
    };
    let Some(signed) = verifier.open(&note) else {
        return Err(changed("its signature is not of this key").hint("was it signed on another machine? give --key"));
    };
    let mut lines = signed.lines();
    let (heading, name, hash) = (lines.next(), lines.next(), lines.next());
    let file = path.file_name().and_then(|it| it.to_str());
    if heading != Some(HEADING) || name != file {
        return Err(changed("the signature is of another file"));
    }
    if hash.and_then(|it| it.strip_prefix("sha256 ")) != Some(&sha256(text.as_bytes())) {
        return Err(changed("it was changed after it was signed"));
    }
    let report = serde_json::from_str(&text).map_err(|_| changed("it is no JSON"))?;
    Ok(Proved {
        key: verifier.text(),
        report,
    })
}

/// Where the signature of the report in `path` is.
fn signature_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}
