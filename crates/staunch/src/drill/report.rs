//! The report of a drill: a file of JSON, and a signed note beside it that names its hash.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use staunch_model::Printable;
use staunch_store::tlog::note::NotProved;

use super::score::Score;
use crate::exit::{Exit, Fault};
use crate::files::{cannot_write, read_bounded};
use crate::note::{Signer, Verifier, sha256};
use crate::output::json;
use crate::whole;

/// The largest report that is read.
const REPORT_BYTES_MAX: u64 = 16 << 20;

/// Reports of one drill that have names of their own in one second: more drills cannot be held in it.
const REPORTS_PER_SECOND_MAX: u32 = 100;

/// How the text of the note begins.
const HEADING: &str = "staunch drill report v1";

/// Makes sure that a report can be written into `dir`, before the drill whose report it is to hold.
///
/// # Errors
/// When it is not there, or no file can be made in it.
pub(crate) fn try_dir(dir: &Path) -> Result<(), Fault> {
    let made = tempfile::Builder::new().prefix(".staunch.").tempfile_in(dir);
    made.map(drop).map_err(|error| {
        let shown = dir.display().to_string();
        let what = format!("no report can be written into {}", Printable(&shown));
        cannot_write(&what, &error).hint("name a directory that is there, and that you may write to, with --report")
    })
}

/// Writes the report of `score` into `dir`, signed, and returns where. Nothing of one that cannot be written is left,
/// and no other report is written over: one of the same drill and second gets a number.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write(score: &Score, dir: &Path, signer: &Signer) -> Result<PathBuf, Fault> {
    let time = score.begun.to_string();
    let time: String = time.chars().take(19).filter(|c| !matches!(c, '-' | ':')).collect();
    let text = format!("{}\n", json(score)?);
    let hash = sha256(text.as_bytes());
    for number in 1..=REPORTS_PER_SECOND_MAX {
        let number = if number == 1 {
            String::new()
        } else {
            format!("-{number}")
        };
        let name = format!("drill-{}-{time}Z{number}.json", score.drill);
        let path = dir.join(&name);
        let note = signer.sign(&format!("{HEADING}\n{name}\nsha256 {hash}\n"));
        if make_both(&path, &text, &note)? {
            return Ok(path);
        }
    }
    let shown = dir.display().to_string();
    let what = format!("{} has too many reports of this second", Printable(&shown));
    Err(Fault::new(Exit::Failed, what).hint("name another directory with --report"))
}

/// Makes the report `path` and its signature; false when somebody has one of the names already.
fn make_both(path: &Path, text: &str, note: &str) -> Result<bool, Fault> {
    let failed = |error: &io::Error| {
        let shown = path.display().to_string();
        let what = format!("cannot write the report {}", Printable(&shown));
        cannot_write(&what, error).hint("name another directory with --report")
    };
    let made = |path: &Path, text: &str| match whole::make(path, text, whole::FOR_ALL) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(&error)),
    };
    let signature = signature_of(path);
    if path.exists() || !made(&signature, note)? {
        return Ok(false);
    }
    // Last, so that a report that is there is signed.
    let written = made(path, text);
    match written {
        Ok(true) => Ok(true),
        Ok(false) => fs::remove_file(&signature)
            .map(|()| false)
            .map_err(|error| failed(&error)),
        Err(fault) => Err(match fs::remove_file(&signature) {
            Ok(()) => fault,
            Err(error) => fault.because(format!("its signature cannot be removed: {error}")),
        }),
    }
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
                io::ErrorKind::NotFound => Exit::NotFound,
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
    let signed = verifier.prove(&note).map_err(|why| match why {
        NotProved::Unsigned { .. } => {
            changed("its signature is not of this key").hint("was it signed on another machine? give --key")
        }
        why => changed("its signature is damaged, or was changed")
            .because(why.to_string())
            .hint("take the .sig file again from where the drill wrote it, or run the drill again"),
    })?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Begun, Notes, Place, find};
    use super::*;

    #[test]
    fn two_reports_of_one_second_have_names_of_their_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let signer = Signer::open(&dir.path().join("drill.key"), "us").expect("it can be made");
        let drill = find("kill").expect("it is one");
        let begun = Begun::new(drill, Place::Private, false, signer.verifier().text());
        let score = begun.end(Notes::default(), std::iter::empty(), None);
        let written: BTreeSet<PathBuf> = (0..3)
            .map(|_| write(&score, dir.path(), &signer).expect("it can be written"))
            .collect();
        assert_eq!(written.len(), 3, "{written:?}");
        for path in &written {
            verify(path, None).expect("each is signed by its name");
        }
        // What stands beside them is left alone.
        let mut path = written.first().expect("there is one").clone().into_os_string();
        path.push(".sig");
        let signature = fs::read_to_string(&path).expect("it is there");
        write(&score, dir.path(), &signer).expect("it can be written");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), signature);
        assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 2 * 4 + 1);
    }
}
