//! What must hold of evidence: that containment waits for it, and for how long, that it is tried until then and after a
//! start, and that people are told what was missed.
//!
//! Never looks into the vault: a run compares the two.

use staunch_model::{
    EvidenceId, EvidenceKind, FailureKind, Frame, IncidentId, IncidentOutcome, Input, Record, Span, Target, Timestamp,
};

use super::told::notices;
use super::{Found, Invariant, Model, Tx, fail};

/// How long before the deadline of a piece of evidence it is tried for the last time, at least.
const LAST_TRY: Span = Span::from_millis(500);

#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) incident: IncidentId,
    target: Option<Target>,
    pub(super) kind: EvidenceKind,
    deadline: Timestamp,
    asked: bool,
    pub(super) done: bool,
    /// It was given up before it was stored.
    missed: bool,
    /// It is asked for again at a time, and not under way.
    waits: bool,
}

impl Model {
    /// Takes up what `record` says of evidence.
    pub(super) fn preserves(&mut self, record: &Record, now: Timestamp) -> Found {
        match record {
            Record::EvidencePlanned {
                evidence,
                incident,
                kind,
                deadline,
                target,
                ..
            } => {
                self.waits_in_time(*evidence, *incident, *kind, *deadline, now)?;
                if let Some(case) = self.incidents.get_mut(incident) {
                    case.evidence.push(*evidence);
                }
                let piece = Piece {
                    incident: *incident,
                    target: target.clone(),
                    deadline: *deadline,
                    asked: target.is_some() || kind.aims_at().is_none(),
                    kind: *kind,
                    done: false,
                    missed: false,
                    waits: false,
                };
                self.evidence.insert(*evidence, piece);
            }
            Record::EvidencePostponed { evidence, until, .. } => {
                let Some(piece) = self.evidence.get_mut(evidence) else {
                    return Ok(());
                };
                piece.waits = true;
                if *until + LAST_TRY > piece.deadline {
                    let what = format!("{evidence} is tried again at {until}, too late for {}", piece.deadline);
                    return fail(Invariant::EvidenceFirst, what);
                }
            }
            Record::EvidenceResent { evidence } => {
                if let Some(piece) = self.evidence.get_mut(evidence) {
                    piece.waits = false;
                }
            }
            Record::EvidenceSealed { evidence, .. } => {
                let Some(piece) = self.evidence.get_mut(evidence) else {
                    return Ok(());
                };
                // What comes late was told as missed.
                if !std::mem::replace(&mut piece.done, true) {
                    self.collected.push(piece.incident);
                }
            }
            Record::EvidenceMissed { evidence, failure } => {
                let hopeless = matches!(
                    failure.kind,
                    FailureKind::Denied | FailureKind::Invalid | FailureKind::Full
                );
                let Some(piece) = self.evidence.get_mut(evidence) else {
                    return Ok(());
                };
                (piece.done, piece.missed) = (true, true);
                self.collected.push(piece.incident);
                // A last try shortly before the deadline is not made.
                if !hopeless && now + Span::from_secs(1) < piece.deadline && piece.asked {
                    return fail(
                        Invariant::EvidenceFirst,
                        format!("{evidence} was given up at {now}, before {}", piece.deadline),
                    );
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Containment waits for `evidence` for no longer than its playbook says.
    fn waits_in_time(
        &self,
        evidence: EvidenceId,
        incident: IncidentId,
        kind: EvidenceKind,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Found {
        let steps = self.playbook_of(incident).into_iter().flat_map(|it| &it.preserve);
        let longest = steps
            .filter(|step| step.evidence == kind)
            .map(|step| step.deadline)
            .max();
        match longest {
            Some(longest) if deadline > now + longest => fail(
                Invariant::EvidenceFirst,
                format!("{evidence} is waited for until {deadline}, longer than {longest}"),
            ),
            _ => Ok(()),
        }
    }

    /// After a start, evidence that was under way is asked for again.
    pub(super) fn takes_up(&self, frame: &Frame) -> Found {
        if !matches!(frame.input, Input::Started { .. }) {
            return Ok(());
        }
        let resent = |id| {
            let is_it = |record: &Record| matches!(record, Record::EvidenceResent { evidence } if evidence == id);
            frame.records.iter().any(is_it)
        };
        let mut open = self.evidence.iter().filter(|(_, piece)| !piece.done && !piece.waits);
        match open.find(|(id, _)| !resent(*id)) {
            Some((id, _)) => fail(
                Invariant::EvidenceFirst,
                format!("{id} is not asked for again after a start"),
            ),
            None => Ok(()),
        }
    }

    /// No incident is closed while evidence of it is being taken.
    pub(super) fn is_collected(&self, incident: IncidentId) -> Found {
        let mut open = self.evidence.iter().filter(|(_, piece)| !piece.done);
        match open.find(|(_, piece)| piece.incident == incident) {
            Some((id, _)) => fail(
                Invariant::EvidenceFirst,
                format!("{incident} is closed while {id} is being taken"),
            ),
            None => Ok(()),
        }
    }

    /// The evidence that `it` could destroy and has to wait for: of its incident, and of incidents which were there
    /// when it began to wait and hold it too, or keep something of its target.
    pub(super) fn evidence_awaited(&self, it: &Tx) -> Option<EvidenceId> {
        let open = || self.evidence.iter().filter(|(_, piece)| !piece.done);
        let waits_for = |(_, piece): &(&EvidenceId, &Piece)| {
            let is_lost = it.action.is_some_and(|action| piece.kind.is_destroyed_by(action));
            let was_there = || {
                let case = self.incidents.get(&piece.incident);
                case.is_some_and(|case| case.opened <= it.waits_since)
            };
            let keeps_of_it = || {
                open().any(|(_, other)| other.incident == piece.incident && other.target.as_ref() == Some(&it.target))
            };
            let of_others = || was_there() && (it.joined.contains(&piece.incident) || keeps_of_it());
            is_lost && (piece.incident == it.incident || of_others())
        };
        open().find(waits_for).map(|(evidence, _)| *evidence)
    }

    /// People are told what incidents go on without, of each when nothing of it is being preserved any more.
    pub(super) fn tell_missed(&mut self, frame: &Frame) -> Found {
        while let Some(incident) = self.collected.pop() {
            self.tells_missed(frame, incident)?;
        }
        Ok(())
    }

    fn tells_missed(&self, frame: &Frame, incident: IncidentId) -> Found {
        let pieces = || self.evidence.values().filter(|piece| piece.incident == incident);
        if !pieces().all(|piece| piece.done) || pieces().all(|piece| !piece.missed) {
            return Ok(());
        }
        let told = notices(frame).filter(|it| it.incident == Some(incident) && it.transaction.is_none());
        let outcomes = frame.records.iter().filter(|record| match record {
            Record::OutcomeReached { incident: of, outcome } => *of == incident && self.tells(incident, *outcome),
            _ => false,
        });
        if told.count() <= outcomes.count() {
            let what = format!("{incident} goes on without evidence and nobody is told");
            return fail(Invariant::StuckIsTold, what);
        }
        Ok(())
    }

    /// Whether people are told when `incident` has come to stand like this.
    fn tells(&self, incident: IncidentId, outcome: IncidentOutcome) -> bool {
        let playbook = self.playbook_of(incident);
        playbook.is_some_and(|it| it.notify.iter().any(|step| step.when.contains(&outcome)))
    }
}
