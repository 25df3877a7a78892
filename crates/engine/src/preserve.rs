//! The preserve phase: evidence is asked for when an incident opens, and containment waits until it is sealed or its
//! deadline has passed.
//!
//! Never looks at what the evidence says.

use staunch_model::{EvidenceId, Failure, FailureKind, IncidentId, MatchedStep, NoticeLevel, Playbook, Record, Sealed};

use crate::limits;
use crate::mutant::{Mutant, is};
use crate::turn::Turn;

impl Turn<'_> {
    /// Asks for the evidence of one step of the preserve phase.
    pub(crate) fn plan_evidence(&mut self, incident: IncidentId, playbook: &Playbook, matched: &MatchedStep) {
        let Some(step) = playbook.preserve.get(usize::from(matched.step)) else {
            return;
        };
        let evidence = EvidenceId(self.state.last_evidence + 1);
        self.put(Record::EvidencePlanned {
            evidence,
            incident,
            kind: step.evidence,
            target: matched.target.clone(),
            options: step.options.clone(),
            deadline: self.now + step.deadline.min(limits::PRESERVE_DEADLINE_MAX),
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
        match result {
            // Late evidence is evidence; that containment went on without it stays on record.
            Ok(sealed) if it.sealed.is_none() => self.put(Record::EvidenceSealed {
                evidence,
                sealed: *sealed,
            }),
            Err(failure) if it.is_open() => {
                let until = self.now + limits::COLLECT_PAUSE;
                let permanent = matches!(
                    failure.kind,
                    FailureKind::Denied | FailureKind::Invalid | FailureKind::Full
                );
                if permanent || is(Mutant::EvidenceGivenUp) || until >= it.deadline {
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
    }

    /// Asks for evidence again, or lets containment go on without it.
    pub(crate) fn on_evidence_due(&mut self, evidence: EvidenceId) {
        let it = &self.state.evidence[&evidence];
        if it.deadline <= self.now {
            let late = Failure::new(FailureKind::TimedOut, "it was not there within its deadline");
            self.miss(evidence, late);
        } else {
            self.put(Record::EvidenceResent { evidence });
        }
    }

    fn miss(&mut self, evidence: EvidenceId, failure: Failure) {
        let it = &self.state.evidence[&evidence];
        let incident = it.incident;
        let of = it
            .target
            .clone()
            .map_or_else(String::new, |target| format!(" of {target}"));
        let text = format!("{incident} goes on without its evidence ({}{of}): {failure}", it.kind);
        self.put(Record::EvidenceMissed { evidence, failure });
        self.notice(NoticeLevel::Warning, Some(incident), None, &text);
    }
}
