//! Where the page of a backtest is written. Takes the place of nothing but a page.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use staunch_model::Printable;

use crate::exit::{Exit, Fault};
use crate::files::cannot_write;
use crate::output::say;
use crate::whole;

/// How a page begins.
const BEGINNING: &[u8] = b"<!DOCTYPE html>";

/// Makes sure that a page may be written to `file`, before the work that it is to show: what has the name already must
/// be a page, or empty.
///
/// # Errors
/// When it is something else, such as events, a playbook or a list, or is no name of a file.
pub(super) fn check(file: &Path) -> Result<(), Fault> {
    if file == Path::new("-") {
        return Err(Fault::new(Exit::Usage, "--html names no file")
            .hint("name a file; --html /dev/stdout writes the page to stdout, behind the report"));
    }
    if !is_replaceable(file) {
        let what = format!(
            "{} is there already and is no page, and one would take its place",
            Printable(&file.display().to_string())
        );
        return Err(Fault::new(Exit::Usage, what).hint("name another file with --html, or remove it first"));
    }
    Ok(())
}

/// Whether nothing is lost when a page takes the place of `file`. One that cannot be read may be anything.
fn is_replaceable(file: &Path) -> bool {
    let is_file = fs::metadata(file).is_ok_and(|there| there.is_file() && there.len() > 0);
    if !is_file {
        return true;
    }
    let mut begins = [0; BEGINNING.len()];
    let read = File::open(file).and_then(|mut file| file.read_exact(&mut begins));
    read.is_ok() && begins.eq_ignore_ascii_case(BEGINNING)
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
