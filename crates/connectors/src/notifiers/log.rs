//! Tells people through the log: one line for each notice.
//!
//! Never fails and never waits. A notice sent twice is two lines with one id.

use staunch_model::text::is_unsafe_to_show;
use staunch_model::{Notice, NoticeLevel};
use staunch_ports::notifier::{About, Notifier, NotifyError};

/// The most characters of a notice in its line. More than of a word from outside: what a page tells people to do is at
/// its end.
const CHARS_MAX: usize = 1_000;

/// The notifier.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogNotifier;

impl Notifier for LogNotifier {
    fn name(&self) -> &str {
        "log"
    }

    fn notify(&mut self, notice: &Notice, _: &About) -> Result<(), NotifyError> {
        let incident = notice.incident.map(tracing::field::display);
        let transaction = notice.transaction.map(tracing::field::display);
        let text = line(&notice.text);
        match notice.level {
            NoticeLevel::Page => tracing::error!(notice = %notice.id, incident, transaction, "{text}"),
            NoticeLevel::Warning => tracing::warn!(notice = %notice.id, incident, transaction, "{text}"),
            NoticeLevel::Info => tracing::info!(notice = %notice.id, incident, transaction, "{text}"),
        }
        Ok(())
    }
}

/// `text` as one line that cannot steer a terminal.
fn line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut chars = text.chars();
    for c in chars.by_ref().take(CHARS_MAX) {
        if is_unsafe_to_show(c) {
            line.extend(c.escape_unicode());
        } else {
            line.push(c);
        }
    }
    if chars.next().is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use staunch_model::{IncidentId, NoticeId};
    use tracing::Level;

    use super::*;
    use crate::testing::logged;

    #[test]
    fn each_notice_is_one_line_at_its_level() {
        let lines = logged(|| {
            for (id, level) in [
                (1, NoticeLevel::Page),
                (2, NoticeLevel::Warning),
                (3, NoticeLevel::Info),
            ] {
                let text = "stuck\n\u{1b}[31mat 192.0.2.1".into();
                let incident = (id == 1).then_some(IncidentId(7));
                let notice = Notice {
                    id: NoticeId(id),
                    level,
                    incident,
                    transaction: None,
                    text,
                };
                LogNotifier.notify(&notice, &About::default()).unwrap();
            }
        });
        let levels: Vec<Level> = lines.iter().map(|(level, _)| *level).collect();
        assert_eq!(levels, [Level::ERROR, Level::WARN, Level::INFO]);
        let text = "message=stuck\\u{a}\\u{1b}[31mat 192.0.2.1;";
        assert_eq!(lines[0].1, format!("{text}notice=NOTE-1;incident=INC-7;"));
        assert_eq!(lines[2].1, format!("{text}notice=NOTE-3;"));
    }

    #[test]
    fn a_long_notice_keeps_its_end() {
        let advice = "Put the files back";
        assert!(line(&format!("{}{advice}", "x".repeat(400))).ends_with(advice));
        let endless = line(&"\u{7}".repeat(CHARS_MAX + 1));
        assert_eq!(endless, format!("{}…", r"\u{7}".repeat(CHARS_MAX)));
    }
}
