//! What was taken of a body of events, and the plan for one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use staunch_model::{
    ActionKind, Description, Endpoint, EventContext, EventKind, EvidenceKind, IncidentId, Judgement, Severity, Span,
    Timestamp,
};

use super::TriggerReport;

/// What was taken of a body. The sender may forget the events that it counts as accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Taken {
    /// Events that were read. Those that matched are durable; the others are known to match nothing.
    pub accepted: u64,
    /// Of those, events that matched a playbook.
    pub matched: u64,
    /// Of those, sample and test findings, which are never acted on.
    pub samples: u64,
    /// Playbooks whose trigger held for one of the events that has nothing to tell its incident by: nothing follows.
    #[serde(default)]
    pub without_key: u64,
    /// Playbooks that matched one of the events beyond the limit of matches for one event: nothing follows.
    #[serde(default)]
    pub beyond_limit: u64,
    /// Elements that are not events by the format or the configuration.
    pub ignored: u64,
    /// Elements that could not be read.
    pub malformed: u64,
    /// The first 100 of them.
    pub errors: Vec<ElementError>,
    /// The incidents that the matched events opened or joined, each once.
    pub incidents: Vec<IncidentId>,
    /// True when the same signed message was taken before: nothing was done this time, and nothing is counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
}

/// An element that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ElementError {
    /// Its position in the body, from 0.
    pub index: u64,
    /// The byte of the body where reading failed, from 0.
    pub offset: u64,
    /// What is wrong, safe to show.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

/// The plan for one event, with how the event was understood. Nothing was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventPlan {
    /// The event, as triggers see it.
    pub event: Understood,
    /// What is known around it: whose its things are, where its addresses are, and what feeds say of them; `None` when
    /// nothing is kept that could know of it.
    #[serde(default)]
    pub context: Option<EventContext>,
    /// How each playbook takes it, matched or not, with the clauses of its trigger.
    #[serde(default)]
    pub triggers: Vec<TriggerReport>,
    /// What would be done.
    pub plan: Plan,
    /// How many further events there were, which were not planned: only the first is.
    #[serde(default)]
    pub others: u64,
}

/// How an event was understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Understood {
    /// The system it came from.
    pub system: String,
    /// What it is about.
    pub kind: EventKind,
    /// When it happened.
    pub time: Option<Timestamp>,
    /// How bad it is.
    pub severity: Severity,
    /// The rule that fired, safe to show.
    pub signature: String,
    /// The attacking side.
    pub source: Endpoint,
    /// The attacked side.
    pub destination: Endpoint,
    /// Why that side was taken as the attacking one, or none was.
    pub because: Option<String>,
}

/// What would be done about one event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// One entry for each playbook that matched; empty when none did.
    pub responses: Vec<Response>,
}

/// What one playbook would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Response {
    /// The playbook.
    pub playbook: String,
    /// What it is for.
    pub summary: String,
    /// The incident key.
    pub key: String,
    /// The open incident that it would join.
    pub joins: Option<IncidentId>,
    /// The evidence that would be preserved, in the order in which it is taken.
    #[serde(default)]
    pub evidence: Vec<PlannedEvidence>,
    /// Its steps.
    pub steps: Vec<PlannedStep>,
    /// What its recovery would do, in order, once a person starts it.
    #[serde(default)]
    pub recover: Vec<String>,
}

/// A piece of evidence that would be preserved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedEvidence {
    /// What it is.
    pub kind: EvidenceKind,
    /// Of what, as text; `None` when it is of this machine as a whole, or when the event names nothing to take it of.
    pub target: Option<String>,
    /// How long acts that could destroy it would wait for it.
    pub deadline: Span,
}

/// What one step would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedStep {
    /// The action.
    pub action: ActionKind,
    /// What it is aimed at, as text; `None` when the event names nothing.
    pub target: Option<String>,
    /// How long it would stay in force.
    pub lease: Span,
    /// How many leases in a row the target has served, because of which this one is longer.
    #[serde(default)]
    pub served: u32,
    /// What would happen.
    pub ruling: Ruling,
    /// The refusal, or the transaction joined.
    pub why: Option<String>,
    /// Everything that was concluded.
    pub judgement: Option<Judgement>,
    /// Why the driver could not look, if it could not.
    pub look_failed: Option<String>,
    /// How it would be done and undone.
    pub driver: Option<Description>,
    /// The evidence that it could destroy, and so waits for.
    #[serde(default)]
    pub waits_for: Vec<EvidenceKind>,
    /// The evidence that it could destroy and that nothing preserves.
    #[serde(default)]
    pub loses: Vec<EvidenceKind>,
    /// Which health signal would be watched while it is in force, and for how long.
    #[serde(default)]
    pub watch: Option<String>,
}

/// What would happen to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ruling {
    /// It would act.
    Act,
    /// A person would be asked.
    Ask,
    /// It would be written down as what would have been done.
    Observe,
    /// It would be refused.
    Refuse,
    /// It would join a transaction that acts on the target already.
    Join,
}

impl Ruling {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Act => "act",
            Self::Ask => "ask",
            Self::Observe => "observe",
            Self::Refuse => "refuse",
            Self::Join => "join",
        }
    }
}
