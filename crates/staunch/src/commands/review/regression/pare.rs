//! Takes out of a test what the simulated world does not repeat, and asks about it.
//!
//! # Guarantees
//! Ends: every pass takes at least one expectation out, or the recovery with all that came after it.

use staunch_model::Timestamp;

use crate::exit::Fault;

/// A test as it is written.
#[derive(Debug)]
pub(super) struct Draft {
    /// All but its expectations.
    pub(super) head: String,
    /// Its expectations, a line each.
    pub(super) claims: Vec<String>,
}

impl Draft {
    pub(super) fn text(&self) -> String {
        let lines: String = self.claims.iter().map(|it| format!("      - {it}\n")).collect();
        format!("{}{lines}", self.head)
    }

    /// Which expectation is on `line`, counted from 1.
    fn claim_on(&self, line: usize) -> Option<usize> {
        let at = line.checked_sub(self.head.lines().count() + 1)?;
        (at < self.claims.len()).then_some(at)
    }
}

/// What the simulated world makes of a test.
pub(super) enum Played {
    Passed,
    /// It is no test that can be read.
    Unreadable,
    /// Something happened in it that never may.
    Violated(String),
    /// What is expected on these lines is not so.
    Differs(Vec<usize>),
}

/// The test that passes, made of what `draft` writes of all that happened before a moment, or of all that happened.
///
/// # Errors
/// Those of `play`.
pub(super) fn pare(
    recovered: Option<Timestamp>,
    draft: impl Fn(Option<Timestamp>) -> Draft,
    mut play: impl FnMut(&str) -> Result<Played, Fault>,
    questions: &mut Vec<String>,
) -> Result<Option<Draft>, Fault> {
    let mut recovery = recovered;
    let mut test = draft(None);
    while !test.claims.is_empty() {
        match play(&test.text())? {
            Played::Passed => return Ok(Some(test)),
            Played::Unreadable => {
                questions
                    .push("How is this incident to be tested? Its events make no test that can be read.".to_owned());
                return Ok(None);
            }
            Played::Violated(violation) => {
                let until = recovery.take();
                let (what, then) = match until {
                    Some(_) => ("the recovery", ", so the test ends before it"),
                    None => ("this incident", ""),
                };
                questions.push(format!(
                    "How is {what} to be tested? The simulated world cannot play it{then}: {violation}."
                ));
                if until.is_none() {
                    return Ok(None);
                }
                test = draft(until);
            }
            Played::Differs(lines) => {
                let untrue: Option<Vec<usize>> = lines.into_iter().map(|line| test.claim_on(line)).collect();
                let Some(mut untrue) = untrue.filter(|it| !it.is_empty()) else {
                    questions.push(
                        "How is this incident to be tested? What people did in it cannot be repeated.".to_owned(),
                    );
                    return Ok(None);
                };
                untrue.sort_unstable();
                untrue.dedup();
                for at in untrue.into_iter().rev() {
                    let claim = test.claims.remove(at);
                    questions.push(format!(
                        "What made this so? It is recorded, and the simulated world does not repeat it: {claim}"
                    ));
                }
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECOVERED: Timestamp = Timestamp::from_micros(1_000_000);

    /// Of what happened before the recovery one thing is expected, of all that happened two.
    fn draft(until: Option<Timestamp>) -> Draft {
        let claims = if until.is_some() { &["a"][..] } else { &["a", "b"] };
        Draft {
            head: "one\ntwo\n".to_owned(),
            claims: claims.iter().map(|it| (*it).to_owned()).collect(),
        }
    }

    /// What is left of the expectations, how often it was played, and what is asked.
    fn pared(recovered: Option<Timestamp>, played: Vec<Played>) -> (Option<Vec<String>>, usize, Vec<String>) {
        let mut played = played.into_iter();
        let (mut times, mut questions) = (0, Vec::new());
        let play = |_: &str| {
            times += 1;
            Ok(played.next().expect("it is not played more often"))
        };
        let kept = pare(recovered, draft, play, &mut questions).ok().flatten();
        (kept.map(|it| it.claims), times, questions)
    }

    #[test]
    fn what_is_not_repeated_is_taken_out_and_asked() {
        let (claims, times, questions) = pared(None, vec![Played::Differs(vec![4]), Played::Passed]);
        assert_eq!((claims, times), (Some(vec!["a".to_owned()]), 2));
        let asked = "What made this so? It is recorded, and the simulated world does not repeat it: b";
        assert_eq!(questions, [asked]);
        // Nothing is left to be expected.
        let (claims, times, questions) = pared(None, vec![Played::Differs(vec![4, 3, 4])]);
        assert_eq!((claims, times, questions.len()), (None, 1, 2));
    }

    #[test]
    fn what_the_simulated_world_cannot_play_ends_before_the_recovery() {
        let violated = || Played::Violated("two acts at one target".to_owned());
        let (claims, times, questions) = pared(Some(RECOVERED), vec![violated(), Played::Passed]);
        assert_eq!((claims, times), (Some(vec!["a".to_owned()]), 2));
        let asked = "How is the recovery to be tested? The simulated world cannot play it, so the test ends before it: \
                     two acts at one target.";
        assert_eq!(questions, [asked]);
        // Nor without it.
        let (claims, times, questions) = pared(Some(RECOVERED), vec![violated(), violated()]);
        assert_eq!((claims, times, questions.len()), (None, 2, 2));
        assert!(
            questions[1].contains("How is this incident to be tested?"),
            "{questions:?}"
        );
        let (claims, times, questions) = pared(None, vec![violated()]);
        assert_eq!((claims, times, questions.len()), (None, 1, 1));
    }

    #[test]
    fn what_cannot_be_played_at_all_is_no_test() {
        let (claims, _, questions) = pared(None, vec![Played::Unreadable]);
        assert_eq!((claims, questions.len()), (None, 1));
        // A difference that is at no expectation, before them and behind them, and none at all.
        for lines in [vec![1], vec![5], vec![4, 1], Vec::new()] {
            let (claims, _, questions) = pared(None, vec![Played::Differs(lines)]);
            assert_eq!(claims, None);
            assert!(questions[0].contains("What people did"), "{questions:?}");
        }
    }
}
