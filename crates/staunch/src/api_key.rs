//! Keys by which Staunch is known to services: files that nobody else may read.

use std::path::Path;

use staunch_server::read_secret;
use ureq::http::HeaderValue;

use crate::exit::{Exit, Fault};

/// The longest key.
const KEY_BYTES_MAX: usize = 4_096;

/// The key in the file at `path`, which `section` of the configuration names. It is never shown.
///
/// # Errors
/// When it cannot be read, others may read it too, or there is no key in it.
pub(crate) fn read(path: &Path, section: &str) -> Result<HeaderValue, Fault> {
    let bytes = read_secret(path).map_err(|error| {
        Fault::of(Exit::Usage, &error).hint(format!(
            "{section} names it as key_file: let the user of the server read it, and nobody else"
        ))
    })?;
    let text = bytes.trim_ascii();
    let shown = path.display().to_string();
    let unusable = || {
        let what = format!("there is no key in {}", staunch_model::Printable(&shown));
        Fault::new(Exit::Usage, what).hint("it holds one line of visible characters and nothing else")
    };
    let is_visible = text.iter().all(|byte| *byte == b' ' || byte.is_ascii_graphic());
    if text.is_empty() || text.len() > KEY_BYTES_MAX || !is_visible {
        return Err(unusable());
    }
    let mut value = HeaderValue::from_bytes(text).map_err(|_| unusable())?;
    value.set_sensitive(true);
    Ok(value)
}
