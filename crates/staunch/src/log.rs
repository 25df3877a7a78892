//! Logging: lines of text or JSON on stderr, in which nothing can steer a terminal or forge a line.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogFormat, LogSettings};
use crate::exit::{Exit, Fault};
use crate::output::json_escaped;

/// Whether the log is JSON, once it is written.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Writes to the log why the program ends. False when the log is none of JSON: people are told elsewhere.
pub(crate) fn end(fault: &Fault) -> bool {
    let is_json = IS_JSON.load(Ordering::Relaxed);
    if is_json {
        tracing::error!(exit_code = fault.exit.code(), hint = fault.advice(), "{}", fault.told());
    }
    is_json
}

/// Starts logging as `settings` say.
///
/// # Errors
/// When logging was started before.
pub(crate) fn start(settings: &LogSettings) -> Result<(), Fault> {
    let filter = EnvFilter::new(settings.level.name());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        // They are printed in a way that panics where stderr is gone.
        .log_internal_errors(false);
    let done = match settings.format {
        LogFormat::Text => builder
            .with_writer(Escaping { json: false })
            .with_target(false)
            .try_init(),
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_writer(Escaping { json: true })
            .try_init(),
    };
    done.map_err(|error| Fault::doing(Exit::Failed, "cannot start logging", error.as_ref()))?;
    IS_JSON.store(matches!(settings.format, LogFormat::Json), Ordering::Relaxed);
    Ok(())
}

/// Makes writers that escape. One call of `write` is one line: that is how the formatter writes.
#[derive(Clone, Copy)]
struct Escaping {
    json: bool,
}

impl<'a> MakeWriter<'a> for Escaping {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl Write for Escaping {
    /// Never fails: a terminal that was closed, or a pipe that nobody reads, is no reason for anything else to end.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // There is nowhere else to say that a line was lost.
        let _ = io::stderr().lock().write_all(escape_line(line, self.json).as_bytes());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn escape_line(line: &[u8], json: bool) -> String {
    let text = String::from_utf8_lossy(line);
    let body = text.strip_suffix('\n').unwrap_or(&text);
    let mut safe = if json {
        json_escaped(body)
    } else {
        let mut safe = String::with_capacity(body.len());
        for c in body.chars() {
            if staunch_model::text::is_unsafe_to_show(c) {
                safe.extend(c.escape_unicode());
            } else {
                safe.push(c);
            }
        }
        safe
    };
    safe.push('\n');
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line_and_steers_nothing() {
        let line = escape_line("a\nERROR forged \u{1b}[2J\u{9b}x\n".as_bytes(), false);
        assert_eq!(line, "a\\u{a}ERROR forged \\u{1b}[2J\\u{9b}x\n");
        let json = escape_line("{\"a\":\"\u{9b}\"}\n".as_bytes(), true);
        assert_eq!(json, "{\"a\":\"\\u009b\"}\n");
    }
}
