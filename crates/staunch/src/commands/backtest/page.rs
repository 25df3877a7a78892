//! Where the page of a backtest is written. Never takes the place of what the backtest reads.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use staunch_model::Printable;

use crate::exit::{Exit, Fault};
use crate::files::cannot_write;
use crate::output::say;
use crate::whole;

/// What a backtest reads.
pub(super) struct Inputs<'a> {
    pub(super) files: Vec<&'a PathBuf>,
    /// Directories of playbooks.
    pub(super) playbooks: Vec<&'a PathBuf>,
    /// The directory of the journal.
    pub(super) journal: Option<PathBuf>,
}

/// Makes sure that a page may be written to `file`, before the work that it is to show.
///
/// # Errors
/// When it is one of `inputs`, or is no name of a file.
pub(super) fn check(file: &Path, inputs: &Inputs<'_>) -> Result<(), Fault> {
    if file == Path::new("-") {
        return Err(Fault::new(Exit::Usage, "--html names no file")
            .hint("name a file; --html /dev/stdout writes the page to stdout, behind the report"));
    }
    let is_input = inputs.files.iter().any(|input| is_same(file, input)) || is_within(file, inputs);
    if is_input {
        let what = format!(
            "{} is what the backtest reads, and the page would take its place",
            Printable(&file.display().to_string())
        );
        return Err(Fault::new(Exit::Usage, what).hint("name another file with --html"));
    }
    Ok(())
}

/// Whether both are names of one regular file.
fn is_same(file: &Path, input: &Path) -> bool {
    let input = if input == Path::new("-") {
        Path::new("/dev/stdin")
    } else {
        input
    };
    match (fs::metadata(file), fs::metadata(input)) {
        (Ok(file), Ok(input)) => file.is_file() && (file.dev(), file.ino()) == (input.dev(), input.ino()),
        _ => false,
    }
}

/// Whether `file` is a playbook, or a file of the journal, that is there.
fn is_within(file: &Path, inputs: &Inputs<'_>) -> bool {
    let Ok(file) = fs::canonicalize(file) else {
        return false;
    };
    let is_in = |dir: &Path| fs::canonicalize(dir).is_ok_and(|dir| file.parent() == Some(&dir));
    let is_playbook = file.extension().is_some_and(|it| it == "yaml" || it == "yml");
    (is_playbook && inputs.playbooks.iter().any(|dir| is_in(dir))) || inputs.journal.as_deref().is_some_and(is_in)
}

/// Writes `page` to `file`.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(file: &Path, page: &str) -> Result<(), Fault> {
    let shown = file.display().to_string();
    whole::put(file, page, whole::FOR_OWNER)
        .map_err(|error| cannot_write(&format!("cannot write {}", Printable(&shown)), &error))?;
    say(&format!("the report is in {}", Printable(&shown)));
    Ok(())
}
