//! The minutes of a tabletop, in Markdown in which nothing from outside is more than text.

use std::fmt::Write as _;

use staunch_model::Timestamp;
use staunch_model::text::is_unsafe_to_show;
use staunch_server::dto::{EventPlan, Response};

/// What a team decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Let it happen.
    Go,
    /// Let neither this nor what follows happen.
    Stop,
    /// It cannot be said yet: an open question.
    Ask,
}

impl Choice {
    /// The choice that `word` stands for.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "go" | "g" => Some(Self::Go),
            "stop" | "s" => Some(Self::Stop),
            "ask" | "a" => Some(Self::Ask),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Stop => "stop",
            Self::Ask => "ask",
        }
    }
}

/// What was decided of a phase.
pub(super) struct Decision {
    pub(super) phase: String,
    pub(super) choice: Choice,
    pub(super) words: String,
    pub(super) by: String,
    pub(super) at: Timestamp,
}

/// The minutes so far.
pub(super) struct Minutes {
    begun: Timestamp,
    /// What it was about, as label and text.
    about: Vec<(&'static str, String)>,
    pub(super) decisions: Vec<Decision>,
    /// Phases that were not decided.
    pub(super) left: Vec<String>,
}

impl Minutes {
    /// Nothing decided yet of `response`.
    pub(super) fn new(begun: Timestamp, plan: &EventPlan, response: &Response) -> Self {
        let event = &plan.event;
        let address = |side: &staunch_model::Endpoint| side.ip.map_or("not known".to_owned(), |ip| ip.to_string());
        Self {
            begun,
            about: vec![
                ("Playbook", response.playbook.clone()),
                ("Its purpose", response.summary.clone()),
                ("Event", format!("{}: {}", event.system, event.signature)),
                ("Attacker", address(&event.source)),
                ("Attacked", address(&event.destination)),
                ("Incident for", response.key.clone()),
            ],
            decisions: Vec::new(),
            left: Vec::new(),
        }
    }

    /// What was left open.
    pub(super) fn questions(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().filter(|it| it.choice == Choice::Ask)
    }

    /// All of it, as it stands at `ended`.
    pub(super) fn text(&self, ended: Timestamp) -> String {
        let mut text = String::from("# Minutes of a tabletop\n\nNothing was done: a team walked through a plan.\n\n");
        let mut line = |line: String| {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{line}");
        };
        line(format!("- From: {} to {ended}", self.begun));
        for (label, value) in &self.about {
            line(format!("- {label}: {}", escaped(value)));
        }
        line("\n## Decisions\n\n| Phase | Decision | By | At | In their words |\n|---|---|---|---|---|".to_owned());
        for it in &self.decisions {
            line(format!(
                "| {} | {} | {} | {} | {} |",
                escaped(&it.phase),
                it.choice.name(),
                escaped(&it.by),
                it.at,
                escaped(&it.words)
            ));
        }
        line("\n## Open questions\n".to_owned());
        for it in self.questions() {
            let words = if it.words.is_empty() {
                "not said what"
            } else {
                &it.words
            };
            line(format!(
                "- [ ] {} ({}, asked by {})",
                escaped(words),
                escaped(&it.phase),
                escaped(&it.by)
            ));
        }
        if self.questions().next().is_none() {
            line("None.".to_owned());
        }
        if !self.left.is_empty() {
            line("\n## Not decided\n".to_owned());
            for phase in &self.left {
                line(format!("- {}", escaped(phase)));
            }
        }
        text
    }
}

/// `text` as one line of plain words in Markdown.
pub(in crate::commands) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe_to_show(c) {
            safe.extend(c.escape_unicode().flat_map(|c| match c {
                '\\' => vec!['\\', '\\'],
                other => vec![other],
            }));
        } else {
            // A colon, an @ and the point behind www could make a link by themselves.
            let makes_link = c == '.' && safe.get(safe.len().saturating_sub(3)..).is_some_and(is_www);
            let is_plain = matches!(c, ',' | ';' | '/' | '%' | '\'' | '"' | '?' | '-' | '.');
            if makes_link || (c.is_ascii_punctuation() && !is_plain) {
                safe.push('\\');
            }
            safe.push(c);
        }
    }
    safe
}

fn is_www(text: &str) -> bool {
    text.eq_ignore_ascii_case("www")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_cannot_become_more_than_words() {
        let hostile = "a | b\n# c <script> [x](http://e) `d` \u{1b}[31m";
        let safe = escaped(hostile);
        assert!(!safe.contains('\n') && !safe.contains('\u{1b}'), "{safe}");
        for mark in ["|", "#", "<", "[", "`", ":"] {
            let bare = safe.match_indices(mark).filter(|(at, _)| !safe[..*at].ends_with('\\'));
            assert_eq!(bare.count(), 0, "{mark} in {safe}");
        }
        for (link, safe) in [
            ("see WWW.evil.example", "see WWW\\.evil.example"),
            ("www.a", "www\\.a"),
            ("ww.a", "ww.a"),
            ("ä.www.b", "ä.www\\.b"),
        ] {
            assert_eq!(escaped(link), safe);
        }
    }
}
