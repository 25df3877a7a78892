//! Playbooks as data: what the engine runs, pinned by content hash in each incident.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::action::{ActionKind, RiskClass};
use crate::event::{EventView, SystemName};
use crate::evidence::{EvidenceKind, EvidenceOptions};
use crate::health::WatchPlan;
use crate::id::ContentHash;
use crate::incident::IncidentOutcome;
use crate::recover::RecoverStep;
use crate::risk::Risk;
use crate::target::Target;
use crate::time::Span;
use crate::trigger::Explanation;

/// How far Staunch goes by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// All checks and the plan, no act. The default.
    #[default]
    Observe,
    /// A person must approve each act.
    Approve,
    /// Acts by itself.
    Enforce,
}

impl Mode {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Approve => "approve",
            Self::Enforce => "enforce",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The mode for each risk class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modes {
    /// For acts of low risk.
    pub low: Mode,
    /// For acts of medium risk.
    pub medium: Mode,
    /// For acts of high risk.
    pub high: Mode,
}

impl Modes {
    /// The mode for `risk`.
    #[must_use]
    pub const fn of(&self, risk: RiskClass) -> Mode {
        match risk {
            RiskClass::Low => self.low,
            RiskClass::Medium => self.medium,
            RiskClass::High => self.high,
        }
    }
}

/// The phases of a playbook, in the order in which the engine runs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Keep the evidence that containment could destroy.
    Preserve,
    /// Stop the bleeding.
    Contain,
    /// Tell people.
    Notify,
    /// Get back to normal, when a person starts it.
    Recover,
}

/// Knowledge that a playbook asks for before it acts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Context {
    /// Networks that are never touched. Always applied; naming it is allowed for clarity.
    NeverTouch,
    /// The target's share of this host's traffic.
    TrafficShare,
    /// At least so many established flows on this host in all: with fewer, a share of them counts as unknown. It stands
    /// here and not with the guards because what is in journals keeps its bytes.
    FlowsMin(u32),
    /// A further lease of a step, for a target that comes back: in their order, each longer than the one before. It
    /// stands here for the same reason.
    LeaseThen {
        /// The step's position in the playbook.
        step: u16,
        /// How long it stays in force then.
        lease: Span,
    },
    /// How long after the end of a lease its target counts as one that comes back.
    ReturnsWithin {
        /// The step's position in the playbook.
        step: u16,
        /// How long.
        within: Span,
    },
    /// An act whose incident is less dangerous is asked of a person. It stands here for the same reason.
    RiskMin(Risk),
    /// A health signal that is watched while a step is in force. It stands here for the same reason.
    Watched {
        /// The step's position in the playbook.
        step: u16,
        /// What is watched, and for how long.
        watch: WatchPlan,
    },
    /// A step of the recover phase, in their order. It stands here for the same reason.
    Recover(RecoverStep),
}

/// The `flows_min` of a playbook that sets none: one flow is then at most the 5 % of the built-in playbooks.
pub const FLOWS_MIN_DEFAULT: u32 = 20;

/// What a guard does when the fact that it needs is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenUnknown {
    /// Do not contain by itself; ask a person. The default.
    #[default]
    Ask,
    /// Refuse.
    Refuse,
    /// Go on, with the gap shown in the plan.
    Pass,
}

/// The limits a playbook sets for itself, within the policy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaybookGuards {
    /// The most traffic an act may stop, in basis points; `None` when the playbook does not ask.
    pub traffic_share_max_bp: Option<u64>,
    /// What an unknown fact means.
    pub when_unknown: WhenUnknown,
    /// The oldest event that may lead to an act. Default 15 minutes.
    pub event_age_max: Span,
    /// Acts of this playbook in an hour. Default 100.
    pub acts_per_hour_max: u32,
}

impl Default for PlaybookGuards {
    fn default() -> Self {
        Self {
            traffic_share_max_bp: None,
            when_unknown: WhenUnknown::Ask,
            event_age_max: Span::from_mins(15),
            acts_per_hour_max: 100,
        }
    }
}

/// What happens to the steps that worked when another one fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// They are rolled back too, in reverse order of completion. The default.
    #[default]
    Rollback,
    /// They stay in force.
    Keep,
}

/// One step: one action on the target that its expression yields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The phase it belongs to.
    pub phase: Phase,
    /// What it does.
    pub action: ActionKind,
    /// The target's expression, as written.
    pub target: Box<str>,
    /// How long it stays in force unless a person renews it.
    pub lease: Span,
}

/// One piece of evidence to take before anything is contained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreserveStep {
    /// What is preserved.
    pub evidence: EvidenceKind,
    /// The target's expression, as written; empty when it is of this machine as a whole.
    pub target: Box<str>,
    /// What else the playbook says of it.
    pub options: Box<EvidenceOptions>,
    /// How long containment waits for it.
    pub deadline: Span,
}

/// One notice to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyStep {
    /// The incident outcomes for which it is sent.
    pub when: Vec<IncidentOutcome>,
}

/// A compiled playbook without its expressions: the part that is pinned in incidents and journals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Playbook {
    /// Its name, unique among those loaded.
    pub name: Box<str>,
    /// One sentence about it.
    pub summary: Box<str>,
    /// The hash of its text.
    pub hash: ContentHash,
    /// MITRE ATT&CK techniques it answers.
    pub attack: Vec<Box<str>>,
    /// For how long after an incident opened further events of the same key join it even though it is closed. What was
    /// not contained is judged anew sooner, unless a person said so.
    pub deduplicate: Span,
    /// What must be known before acting.
    pub context: Vec<Context>,
    /// Its own limits.
    pub guards: PlaybookGuards,
    /// What is preserved before any of the acts, in order.
    pub preserve: Vec<PreserveStep>,
    /// The acts, in order: those of the contain phase, then those of the recover phase.
    pub steps: Vec<Step>,
    /// The notices.
    pub notify: Vec<NotifyStep>,
    /// How far it goes by itself.
    pub modes: Modes,
    /// What a failed step means for the others.
    pub on_failure: OnFailure,
}

impl Playbook {
    /// The fewest established flows, in all, whose share says something. 0 in playbooks that name none, so that what
    /// was decided with them is decided again in the same way.
    #[must_use]
    pub fn flows_min(&self) -> u32 {
        let named = self.context.iter().find_map(|it| match it {
            Context::FlowsMin(flows) => Some(*flows),
            _ => None,
        });
        named.unwrap_or_default()
    }

    /// How long after the end of a lease of `step` its target counts as one that comes back; `None` when all leases of
    /// the step are the same.
    #[must_use]
    pub fn returns_within(&self, step: u16) -> Option<Span> {
        self.context.iter().find_map(|it| match it {
            Context::ReturnsWithin { step: of, within } if *of == step => Some(*within),
            _ => None,
        })
    }

    /// The leases of `step` after the first, for a target that comes back.
    pub fn leases_then(&self, step: u16) -> impl Iterator<Item = Span> + '_ {
        self.context.iter().filter_map(move |it| match it {
            Context::LeaseThen { step: of, lease } if *of == step => Some(*lease),
            _ => None,
        })
    }

    /// The health signal that is watched while `step` is in force, if one is.
    #[must_use]
    pub fn watch_of(&self, step: u16) -> Option<&WatchPlan> {
        self.context.iter().find_map(|it| match it {
            Context::Watched { step: of, watch } if *of == step => Some(watch),
            _ => None,
        })
    }

    /// The steps of the recover phase, in order.
    pub fn recover(&self) -> impl Iterator<Item = &RecoverStep> {
        self.context.iter().filter_map(|it| match it {
            Context::Recover(step) => Some(step),
            _ => None,
        })
    }

    /// The health signals that its steps and its recover phase name, some more than once.
    pub fn signals(&self) -> impl Iterator<Item = &str> {
        self.context.iter().filter_map(|it| match it {
            Context::Watched { watch, .. } | Context::Recover(RecoverStep::Soak { watch, .. }) => Some(&*watch.signal),
            _ => None,
        })
    }

    /// The acts that contain, in order, each with its position among all.
    pub fn containing(&self) -> impl Iterator<Item = (u16, &Step)> {
        (0..).zip(&self.steps).filter(|(_, step)| step.phase == Phase::Contain)
    }

    /// The lease of `step` for a target that has served `times` leases of it; the last one holds for all that follow.
    /// `None` when there is no such step.
    #[must_use]
    pub fn lease_after(&self, step: u16, times: u32) -> Option<Span> {
        let first = self.steps.get(usize::from(step))?.lease;
        let then = usize::try_from(times).unwrap_or(usize::MAX);
        Some(self.leases_then(step).take(then).last().unwrap_or(first))
    }
}

/// The value of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
}

/// A compiled condition over an event. A missing field makes a comparison false; it is never an error.
pub type Predicate = Arc<dyn Fn(&EventView<'_>) -> bool + Send + Sync>;

/// A compiled expression that yields a text or an address of an event; `None` when the field is missing.
pub type Extractor = Arc<dyn Fn(&EventView<'_>) -> Option<String> + Send + Sync>;

/// A compiled expression that yields what a step is aimed at.
pub type TargetExtractor = Arc<dyn Fn(&EventView<'_>) -> Option<Target> + Send + Sync>;

/// Tells people how a playbook looks at an event. Slower than its trigger by far.
pub type Explainer = Arc<dyn Fn(&EventView<'_>) -> Explanation + Send + Sync>;

/// Texts that an event has when a trigger holds: at least one of all of these, ASCII letters compared without case.
///
/// With these, triage asks many triggers at once. Without any text, the trigger never holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needles {
    /// Texts that its signature may contain.
    pub signature: Vec<Box<str>>,
    /// Texts that its category may contain.
    pub category: Vec<Box<str>>,
}

/// A playbook with its compiled expressions: what triage runs on every event.
#[derive(Clone)]
pub struct Program {
    /// The part that is pinned.
    pub playbook: Arc<Playbook>,
    /// The systems whose events it looks at.
    pub systems: Vec<SystemName>,
    /// Its trigger.
    pub when: Predicate,
    /// What an event must have for its trigger to hold; `None` when nothing of the kind is known.
    pub needles: Option<Needles>,
    /// Its incident key: one incident at a time for each value.
    pub incident: Extractor,
    /// The target of each piece of evidence, in their order.
    pub preserve: Vec<TargetExtractor>,
    /// The target of each of its steps, in their order.
    pub targets: Vec<TargetExtractor>,
    /// Why it matches or does not.
    pub explain: Explainer,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("playbook", &self.playbook.name)
            .finish_non_exhaustive()
    }
}

/// What triage found for one playbook in one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// Which playbook, by hash.
    pub playbook: ContentHash,
    /// The incident key.
    pub key: Box<str>,
    /// What each piece of evidence is taken of, by its position in the playbook's `preserve`.
    pub preserve: Vec<MatchedStep>,
    /// What each step is aimed at.
    pub steps: Vec<MatchedStep>,
}

/// A step with its target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchedStep {
    /// The step's position in the playbook.
    pub step: u16,
    /// Its target; `None` when the event has none, which is recorded as a refusal.
    pub target: Option<Target>,
}
