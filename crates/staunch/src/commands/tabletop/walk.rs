//! The phases of a response, in the order in which Staunch takes them.

use staunch_model::{Printable, Span, UndoClass};
use staunch_server::dto::{PlannedStep, Response, Ruling};

use crate::commands::incident::guards_text;
use crate::output::{Output, Tone, wrap};
use crate::words;

/// What Staunch does in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Check,
    Act,
    Verify,
    Undo,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Check, Self::Act, Self::Verify, Self::Undo];

    const fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Act => "act",
            Self::Verify => "verify",
            Self::Undo => "undo",
        }
    }
}

/// One phase of one step.
pub(super) struct Phase<'r> {
    number: usize,
    step: &'r PlannedStep,
    kind: Kind,
    sweep_interval: Span,
}

/// The phases of `response`.
pub(super) fn phases(response: &Response, sweep_interval: Span) -> Vec<Phase<'_>> {
    let steps = (1..).zip(&response.steps);
    steps
        .flat_map(|(number, step)| {
            Kind::ALL.map(|kind| Phase {
                number,
                step,
                kind,
                sweep_interval,
            })
        })
        .collect()
}

impl Phase<'_> {
    /// Which it is, such as `1. block-ip 203.0.113.7: act`; safe to show.
    pub(super) fn title(&self) -> String {
        let target = self.step.target.as_deref().unwrap_or("nothing");
        format!(
            "{}. {} {}: {}",
            self.number,
            self.step.action,
            Printable(target),
            self.kind.name()
        )
    }

    /// What Staunch would do, for people.
    pub(super) fn text(&self, output: &Output) -> String {
        let mut text = format!("{}\n", output.paint(Tone::Strong, &self.title()));
        match self.kind {
            Kind::Check => self.check(output, &mut text),
            Kind::Act => self.act(&mut text),
            Kind::Verify => self.verify(&mut text),
            Kind::Undo => self.undo(&mut text),
        }
        text
    }

    fn check(&self, output: &Output, text: &mut String) {
        match &self.step.judgement {
            Some(judgement) => text.push_str(&guards_text(output, judgement)),
            None => say(text, "No guard is asked."),
        }
        if let Some(why) = &self.step.look_failed {
            say(text, &format!("It could not look: {}.", Printable(why)));
        }
        let ruling = match self.step.ruling {
            Ruling::Act => "It would act by itself",
            Ruling::Ask => "It would ask a person",
            Ruling::Observe => "It would only write down that it would have acted",
            Ruling::Refuse => "It would refuse",
            Ruling::Join => "It would join an incident that is there",
        };
        let why = self.step.why.as_ref();
        let why = why.map_or_else(String::new, |why| format!(": {}", Printable(why)));
        say(text, &format!("{ruling}{why}."));
    }

    fn act(&self, text: &mut String) {
        let Some(driver) = &self.step.driver else {
            return say(text, "There is no driver for it.");
        };
        say(
            text,
            &format!(
                "The driver {} acts; it {}, for {}. The intent is in the journal before that.",
                Printable(&driver.driver),
                words::does(driver),
                self.step.lease
            ),
        );
    }

    fn verify(&self, text: &mut String) {
        say(
            text,
            &format!(
                "It looks whether it is there, and only then says that it is in force; it looks again every {}. What is not \
                 there is rolled back, and a person is told.",
                self.sweep_interval
            ),
        );
    }

    fn undo(&self, text: &mut String) {
        let Some(driver) = &self.step.driver else {
            return say(text, "There is no driver for it.");
        };
        let undo = match driver.undo {
            UndoClass::Owned => "removes our object, and only ours",
            UndoClass::Restores => "restores what was there before",
            UndoClass::None => "is not possible",
        };
        say(
            text,
            &format!(
                "It is lifted after {} unless renewed, or by `staunch release`. The undo {undo}; it needs {}.",
                self.step.lease,
                Printable(&driver.permissions.undo)
            ),
        );
    }
}

fn say(text: &mut String, sentence: &str) {
    text.push_str(&format!("    {}\n", wrap(sentence, 4)));
}
