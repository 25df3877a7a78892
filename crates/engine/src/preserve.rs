//! The preserve phase: evidence is asked for when an incident opens, and containment waits until it is sealed or its
//! deadline has passed.
//!
//! Never looks at what the evidence says.

use staunch_model::{
    Evidence, EvidenceId, Failure, FailureKind, IncidentId, MatchedStep, NoticeLevel, Playbook, Record, Sealed,
};

use crate::limits;
use crate::mutant::{Mutant, is};
use crate::turn::Turn;

/// The most pieces that are named for one reason.
const NAMED_MAX: usize = 4;

/// Whether what failed in this way may work a moment later, so that it is tried again while containment waits.
#[must_use]
pub const fn is_worth_retrying(kind: FailureKind) -> bool {
    !matches!(kind, FailureKind::Denied | FailureKind::Invalid | FailureKind::Full)
}

impl Turn<'_> {
    /// Asks for the evidence of one step of the preserve phase.
    pub(crate) fn plan_evidence(&mut self, incident: IncidentId, playbook: &Playbook, matched: &MatchedStep) {
        let Some(step) = playbook.preserve.get(usize::from(matched.step)) else {
            return;
        };
        let evidence = EvidenceId(self.state.last_evidence + 1);
        let mut deadline = self.now + step.deadline.min(limits::PRESERVE_DEADLINE_MAX);
        if is(Mutant::DeadlineStretched) {
            deadline = deadline + limits::PRESERVE_DEADLINE_MAX;
        }
        self.put(Record::EvidencePlanned {
            evidence,
            incident,
            kind: step.evidence,
            target: matched.target.clone(),
            options: step.options.clone(),
            deadline,
        });
        if matched.target.is_none() && step.evidence.aims_at().is_some() {
            let failure = Failure::new(FailureKind::Invalid, "the event names nothing to take it of");
            self.miss(evidence, failure);
        }
    }

    /// A collector has tried to preserve evidence.
    pub(crate) fn on_collected(&mut self, evidence: EvidenceId, result: &Result<Sealed, Failure>) {
        let Some(it) = self.state.evidence.get(&evidence) else {
            return;
        };
        let (incident, was_open) = (it.incident, it.is_open());
        match result {
            // Late evidence is evidence; that containment went on without it stays on record.
            Ok(sealed) if it.sealed.is_none() => self.put(Record::EvidenceSealed {
                evidence,
                sealed: *sealed,
            }),
            Err(failure) if it.is_open() => {
                // However long the pause has become, one try is left for shortly before the deadline.
                let last = it.deadline - limits::COLLECT_PAUSE;
                let until = (self.now + limits::collect_pause(it.attempts)).min(last);
                if !is_worth_retrying(failure.kind) || is(Mutant::EvidenceGivenUp) || until <= self.now {
                    self.miss(evidence, failure.clone());
                } else {
                    self.put(Record::EvidencePostponed {
                        evidence,
                        failure: failure.clone(),
                        until,
                    });
                }
            }
            Ok(_) | Err(_) => {}
        }
        if was_open {
            self.tell_missed(incident);
        }
    }

    /// Asks for evidence again, or lets containment go on without it.
    pub(crate) fn on_evidence_due(&mut self, evidence: EvidenceId) {
        let it = &self.state.evidence[&evidence];
        if it.deadline <= self.now {
            let incident = it.incident;
            let late = Failure::new(FailureKind::TimedOut, "it was not there within its deadline");
            self.miss(evidence, late);
            self.tell_missed(incident);
        } else {
            self.put(Record::EvidenceResent { evidence });
        }
    }

    fn miss(&mut self, evidence: EvidenceId, failure: Failure) {
        self.put(Record::EvidenceMissed { evidence, failure });
    }

    /// Tells people, once and when nothing of `incident` is being preserved any more, what it goes on without.
    ///
    /// One notice for all of it: a full disk misses every piece, and each for the same reason.
    pub(crate) fn tell_missed(&mut self, incident: IncidentId) {
        let Some(it) = self.state.incidents.get(&incident) else {
            return;
        };
        let all = || {
            it.evidence
                .iter()
                .filter_map(|id| Some(&**self.state.evidence.get(id)?))
        };
        if !self.state.is_collected(incident) || all().all(|it| it.missed.is_none()) {
            return;
        }
        let text = missed_text(incident, all());
        self.notice(NoticeLevel::Warning, Some(incident), None, &text);
    }
}

/// What of `evidence` was missed and why: pieces that were missed for one kind of reason stand together.
fn missed_text<'a>(incident: IncidentId, evidence: impl Iterator<Item = &'a Evidence> + Clone) -> String {
    let missed = || evidence.clone().filter_map(|it| Some((it, it.missed.as_ref()?)));
    let mut reasons: Vec<&Failure> = Vec::new();
    for (_, failure) in missed() {
        if reasons.iter().all(|other| other.kind != failure.kind) {
            reasons.push(failure);
        }
    }
    let told: Vec<String> = reasons
        .into_iter()
        .map(|reason| {
            let alike = || missed().filter(|(_, failure)| failure.kind == reason.kind);
            let mut named: Vec<String> = alike().take(NAMED_MAX).map(|(it, _)| name(it)).collect();
            let others = alike().count() - named.len();
            if others > 0 {
                named.push(format!("{others} more"));
            }
            format!("{}: {reason}", named.join(", "))
        })
        .collect();
    let (lost, asked) = (missed().count(), evidence.count());
    let part = if lost == asked {
        "its evidence".to_owned()
    } else {
        format!("{lost} of its {asked} pieces of evidence")
    };
    format!("{incident} goes on without {part} ({})", told.join("; "))
}

/// What `it` is, for people.
fn name(it: &Evidence) -> String {
    let of = it.target.as_ref().map(|target| format!(" of {target}"));
    format!("{}{}", it.kind, of.unwrap_or_default())
}
