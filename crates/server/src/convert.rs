//! Turns what the runtime says into what the API says.

use staunch_model::Printable;
use staunch_runtime::{plan, telemetry};

use crate::dto;

impl From<staunch_runtime::Taken> for dto::Taken {
    fn from(taken: staunch_runtime::Taken) -> Self {
        Self {
            accepted: taken.accepted as u64,
            matched: taken.matched as u64,
            samples: taken.samples as u64,
            without_key: taken.without_key as u64,
            beyond_limit: taken.beyond_limit as u64,
            ignored: taken.ignored as u64,
            malformed: taken.malformed as u64,
            errors: taken.errors.into_iter().map(Into::into).collect(),
            incidents: taken.incidents,
            repeated: false,
        }
    }
}

impl From<staunch_runtime::ElementError> for dto::ElementError {
    fn from(error: staunch_runtime::ElementError) -> Self {
        let what = Printable(&error.what).to_string();
        Self {
            index: error.index as u64,
            offset: error.offset as u64,
            what,
            hint: error.hint,
        }
    }
}

impl From<staunch_runtime::EventPlan> for dto::EventPlan {
    fn from(made: staunch_runtime::EventPlan) -> Self {
        let event = made.event;
        let event = dto::Understood {
            system: event.system,
            kind: event.kind,
            time: event.time,
            severity: event.severity,
            signature: event.signature,
            source: event.source,
            destination: event.destination,
            because: event.because,
        };
        let responses = made.plan.responses.into_iter().map(Into::into).collect();
        Self {
            event,
            context: made.context,
            triggers: made.triggers,
            plan: dto::Plan { responses },
            others: made.others,
        }
    }
}

impl From<plan::Response> for dto::Response {
    fn from(response: plan::Response) -> Self {
        Self {
            playbook: response.playbook.into(),
            summary: response.summary.into(),
            key: response.key.into(),
            joins: response.joins,
            evidence: response.evidence.into_iter().map(Into::into).collect(),
            steps: response.steps.into_iter().map(Into::into).collect(),
            recover: response.recover,
        }
    }
}

impl From<plan::PlannedEvidence> for dto::PlannedEvidence {
    fn from(planned: plan::PlannedEvidence) -> Self {
        Self {
            kind: planned.kind,
            target: planned.target.map(|target| target.to_string()),
            deadline: planned.deadline,
        }
    }
}

impl From<plan::PlannedStep> for dto::PlannedStep {
    fn from(step: plan::PlannedStep) -> Self {
        let ruling = match step.ruling {
            "act" => dto::Ruling::Act,
            "ask" => dto::Ruling::Ask,
            "observe" => dto::Ruling::Observe,
            "join" => dto::Ruling::Join,
            // Every other word means that it would not act.
            _ => dto::Ruling::Refuse,
        };
        Self {
            action: step.action,
            target: step.target.map(|target| target.to_string()),
            lease: step.lease,
            served: step.served,
            ruling,
            why: step.why.map(Into::into),
            judgement: step.judgement,
            look_failed: step.look_failed.map(Into::into),
            driver: step.driver,
            waits_for: step.waits_for,
            loses: step.loses,
            watch: step.watch.map(Into::into),
        }
    }
}

impl From<telemetry::Counts> for dto::Counts {
    fn from(counts: telemetry::Counts) -> Self {
        Self {
            events_accepted: counts.events_accepted,
            events_matched: counts.events_matched,
            events_malformed: counts.events_malformed,
            events_sample: counts.events_sample,
            events_turned_away: counts.events_turned_away,
            requests_unproved: counts.requests_unproved,
            events_archived: counts.events_archived,
            events_archive_dropped: counts.events_archive_dropped,
            frames: counts.frames,
            commits: counts.commits,
            effects: counts.effects,
            sweeps: counts.sweeps,
            follower_gaps: counts.follower_gaps,
            spans_sent: counts.spans_sent,
            spans_lost: counts.spans_lost,
        }
    }
}
