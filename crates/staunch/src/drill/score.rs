//! What a drill came to, as it is written into its report.
//!
//! Never holds a figure that was not measured in this run.

use serde::Serialize;
use serde_json::Value;
use staunch_model::{Printable, Timestamp};

/// Something that must be true for the drill to be held.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Expected {
    /// Its short name.
    pub(crate) name: &'static str,
    /// What must be true.
    pub(crate) what: &'static str,
}

/// Where a drill was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    /// On a stage of its own.
    Private,
    /// On a running Staunch, within the scope that it declares.
    Live,
}

impl Place {
    /// Its word.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Live => "live",
        }
    }
}

/// What became of an expectation.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Judged {
    /// What was expected.
    #[serde(flatten)]
    pub(crate) expected: Expected,
    /// Whether it was true.
    pub(crate) held: bool,
    /// What was seen, safe to show.
    pub(crate) seen: String,
}

/// A time that was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Time {
    /// From what to what.
    pub(crate) what: String,
    /// How long that took; `None` when it did not happen.
    pub(crate) ms: Option<f64>,
}

/// What a guard said of a transaction of this drill.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct GuardSeen {
    /// The target that it judged, safe to show.
    pub(crate) target: String,
    /// The guard.
    pub(crate) guard: String,
    /// Its verdict, as the API says it.
    pub(crate) verdict: String,
    /// Why, with its numbers; safe to show.
    pub(crate) why: String,
}

/// Something that people were told.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Alert {
    /// `page`, `warning` or `info`.
    pub(crate) level: String,
    /// What it said, safe to show.
    pub(crate) text: String,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Score {
    /// The version of this format.
    pub(crate) format: u32,
    pub(crate) drill: &'static str,
    pub(crate) question: &'static str,
    pub(crate) fault: &'static str,
    pub(crate) place: Place,
    /// Whether it was run without its fault, to see that the expectations can fail.
    pub(crate) control: bool,
    /// The version of the program.
    pub(crate) staunch: &'static str,
    pub(crate) begun: Timestamp,
    pub(crate) took_ms: u64,
    /// Whether every expectation held.
    pub(crate) held: bool,
    pub(crate) expectations: Vec<Judged>,
    pub(crate) times: Vec<Time>,
    pub(crate) guards: Vec<GuardSeen>,
    pub(crate) alerts: Vec<Alert>,
    /// Why it ended before its end, if it did.
    pub(crate) broken_off: Option<String>,
    /// The verifier key of whoever signs the report.
    pub(crate) signed_by: String,
}

/// What has been noted of a drill under way.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    judged: Vec<(&'static str, bool, String)>,
    pub(crate) times: Vec<Time>,
    pub(crate) guards: Vec<GuardSeen>,
    pub(crate) alerts: Vec<Alert>,
}

impl Notes {
    /// Notes whether the expectation `name` holds, and what was seen. It holds when it does each time.
    pub(crate) fn hold(&mut self, name: &'static str, held: bool, seen: impl AsRef<str>) {
        let seen = Printable(seen.as_ref()).to_string();
        match self.judged.iter_mut().find(|it| it.0 == name) {
            Some(it) if it.1 => (it.1, it.2) = (held, seen),
            Some(_) => {}
            None => self.judged.push((name, held, seen)),
        }
    }

    /// Notes a time.
    pub(crate) fn time(&mut self, what: &str, ms: Option<f64>) {
        self.times.push(Time {
            what: what.to_owned(),
            ms,
        });
    }

    /// Notes what the guards said of `transactions`, newest first as the API lists them.
    pub(crate) fn guards_of(&mut self, transactions: &[Value]) {
        for transaction in transactions.iter().rev() {
            let guards = transaction["judgement"]["guards"].as_array();
            for guard in guards.into_iter().flatten() {
                let text = |value: &Value| Printable(value.as_str().unwrap_or_default()).to_string();
                self.guards.push(GuardSeen {
                    target: text(&transaction["target"]),
                    guard: text(&guard["guard"]),
                    verdict: text(&guard["verdict"]),
                    why: text(&guard["why"]),
                });
            }
        }
    }

    /// What became of each of `expected`. One that the drill did not come to has not held.
    pub(crate) fn judge(&self, expected: impl Iterator<Item = Expected>) -> Vec<Judged> {
        expected
            .map(|expected| match self.judged.iter().find(|it| it.0 == expected.name) {
                Some((_, held, seen)) => Judged {
                    expected,
                    held: *held,
                    seen: seen.clone(),
                },
                None => Judged {
                    expected,
                    held: false,
                    seen: "the drill did not come to it".to_owned(),
                },
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_once_or_was_not_reached_has_not_held() {
        let mut notes = Notes::default();
        for (name, held) in [("a", true), ("a", true), ("b", true), ("b", false), ("b", true)] {
            notes.hold(name, held, format!("{held}\u{1b}"));
        }
        let expected = ["a", "b", "c"].map(|name| Expected { name, what: "it" });
        let judged = notes.judge(expected.into_iter());
        let held: Vec<bool> = judged.iter().map(|it| it.held).collect();
        assert_eq!(held, [true, false, false]);
        assert_eq!(judged[1].seen, "false\\u{1b}");
    }
}
