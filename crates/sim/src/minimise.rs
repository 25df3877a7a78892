//! Makes a failing scenario small enough for a person to read.

use crate::check::Violation;
use crate::fault::Rates;
use crate::run::run;
use crate::scenario::Scenario;

/// Leaves out of `scenario` whatever is not needed for `violation`: happenings, classes of faults, processes.
///
/// What is left breaks the same invariant. It tries a bounded number of shorter runs.
#[must_use]
pub fn minimise(scenario: &Scenario, violation: &Violation) -> Scenario {
    let fails = |candidate: &Scenario| {
        run(candidate)
            .violation
            .is_some_and(|found| found.invariant == violation.invariant)
    };
    let mut small = scenario.clone();
    let try_it = |small: &mut Scenario, candidate: Scenario| {
        let shorter = fails(&candidate);
        if shorter {
            *small = candidate;
        }
        shorter
    };
    // What is left out can make more superfluous, so it goes round until nothing changes.
    for _ in 0..4 {
        let before = small.happenings.len();
        let mut width = small.happenings.len().div_ceil(2);
        while width > 0 {
            let mut at = 0;
            while at < small.happenings.len() {
                let mut candidate = small.clone();
                let end = (at + width).min(candidate.happenings.len());
                candidate.happenings.drain(at..end);
                if !try_it(&mut small, candidate) {
                    at += width;
                }
            }
            width /= 2;
        }
        for class in 0..small.rates.0.len() {
            if small.rates.0[class] > 0 {
                let mut candidate = small.clone();
                candidate.rates.0[class] = 0;
                try_it(&mut small, candidate);
            }
        }
        let mut candidate = small.clone();
        candidate.rates = Rates::NONE;
        try_it(&mut small, candidate);
        for change in [
            (|it: &mut Scenario| it.replicas = 1) as fn(&mut Scenario),
            |it| it.adversary_percent = 0,
            |it| it.sync = staunch_model::Span::ZERO,
            |it| it.traffic_varies = false,
        ] {
            let mut candidate = small.clone();
            change(&mut candidate);
            try_it(&mut small, candidate);
        }
        if small.happenings.len() == before {
            break;
        }
    }
    small
}
