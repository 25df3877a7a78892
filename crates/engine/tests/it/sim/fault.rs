//! What goes wrong with effects: as a test says, or drawn.

use staunch_model::{FailureKind, Span};

use super::Sim;

/// What is done to the effects of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Observe,
    Execute,
    Undo,
    Notify,
    Collect,
    Health,
}

/// What goes wrong with one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The request never arrives and nobody answers.
    RequestLost,
    /// It is carried out, and nobody answers.
    ReplyLost,
    /// It is carried out at once and answered after this time.
    ReplyLate(Span),
    /// The driver gives up at once, in doubt; the request lands after this time.
    LandsLate(Span),
    /// The driver gives up at once, in doubt; the request never lands.
    InDoubt,
    /// The driver is in doubt although it landed.
    InDoubtLanded,
    /// The driver is sure that it did not happen.
    Fails(FailureKind),
    /// The driver says it landed and does nothing.
    Lies,
    /// It is carried out and answered, and carried out once more after this time.
    LandsTwice(Span),
    /// The reply comes twice.
    RepliesTwice,
    /// It takes this long to get there.
    Slow(Span),
}

impl Sim {
    /// The next effects of this kind meet these faults, in order.
    pub(crate) fn faults(&mut self, verb: Verb, faults: &[Fault]) {
        self.faults.entry(verb).or_default().extend(faults);
    }

    pub(crate) fn no_more_faults(&mut self) {
        self.faults.clear();
        self.trouble = None;
        self.clock_behind = Span::ZERO;
        self.world.enforcing = true;
        self.world.capacity_max = 65_536;
        self.world.hold_cut = Span::ZERO;
    }

    pub(super) fn draw_fault(&mut self) -> Fault {
        let in_flight_max = self.in_flight_max.as_micros();
        let Some((chance, percent)) = &mut self.trouble else {
            return Fault::None;
        };
        if !chance.percent(*percent) {
            return Fault::None;
        }
        let kinds = [
            FailureKind::Denied,
            FailureKind::Unavailable,
            FailureKind::Conflict,
            FailureKind::Full,
            FailureKind::Invalid,
            FailureKind::TimedOut,
        ];
        let late = Span::from_micros(chance.below(in_flight_max));
        match chance.below(10) {
            0 => Fault::RequestLost,
            1 => Fault::ReplyLost,
            2 => Fault::ReplyLate(Span::from_millis(chance.below(20_000))),
            3 => Fault::LandsLate(late),
            4 => Fault::InDoubt,
            5 => Fault::InDoubtLanded,
            6 => Fault::Fails(chance.pick(&kinds)),
            7 => Fault::RepliesTwice,
            8 => Fault::LandsTwice(late),
            _ => Fault::Slow(late),
        }
    }
}
