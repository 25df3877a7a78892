//! The nouns of Staunch: values that every other crate speaks.
//!
//! Never reads a clock, opens a file or decides anything. Types that are written to the journal avoid serde features
//! that need a self-describing format (`flatten`, `untagged`, `skip_serializing_if`); enums grow at their end only.

pub mod action;
pub mod brief;
pub mod command;
pub mod custody;
pub mod encoded;
pub mod event;
pub mod evidence;
pub mod few;
pub mod health;
pub mod id;
pub mod incident;
pub mod listed;
pub mod playbook;
pub mod policy;
pub mod prefixes;
pub mod process;
pub mod record;
pub mod recover;
pub mod risk;
mod schema;
pub mod shared;
pub mod surroundings;
pub mod target;
pub mod text;
pub mod time;
pub mod transaction;
pub mod trigger;
pub mod verdict;

pub use action::{
    ActionKind, Capacity, Description, Drift, Failure, FailureKind, Observation, Outcome, Owner, Permissions, Presence,
    RiskClass, UndoClass,
};
pub use brief::Brief;
pub use command::{Command, CommandReply, DrillFault, Operator, ReleaseScope};
pub use custody::{
    Authority, ClockOffset, CollectedArtefact, CollectionRecord, CollectorIdentity, Compression, Encryption,
    EvidenceSource, Handled, Handling, HandlingAction, LogEntry, Logged, Manifest, ManifestDraft, MissedArtefact,
    NotCustody, Receipt, Storage, Taken, Tlp, WriteOnce,
};
pub use encoded::encode_onto;
pub use event::{Endpoint, Event, EventKind, EventView, FieldValue, RawFields, Severity, SystemName};
pub use evidence::{Evidence, EvidenceKind, EvidenceOptions, Sealed};
pub use few::{Few, Seldom};
pub use health::{
    CONDITION_CHARS_MAX, Comparison, Condition, HealthReading, Watch, WatchOver, WatchPlan, WatchState, WatchVerdict,
};
pub use id::{
    ContentHash, DrillId, EffectKey, EvidenceId, FrameChain, IncidentId, InstallationId, NoticeId, Sha256Hash,
    TransactionId, WatchId,
};
pub use incident::{Incident, IncidentOutcome, IncidentStatus};
pub use listed::{ListChange, ListedNetwork};
pub use playbook::{
    Context, Explainer, Extractor, FLOWS_MIN_DEFAULT, Match, MatchedStep, Mode, Modes, Needles, NotifyStep, OnFailure,
    Phase, Playbook, PlaybookGuards, Predicate, PreserveStep, Program, Step, TargetExtractor, Truth, WhenUnknown,
};
pub use policy::{Exemption, ExemptionCause, Limits, NeverTouch, Policy, Protection};
pub use prefixes::Prefixes;
pub use process::Process;
pub use record::{Change, Dispatch, Effect, Frame, Input, Notice, NoticeLevel, ObservePurpose, Record, SweepFindings};
pub use recover::{RecoverStep, Recovery, RecoveryEnd, RecoveryState, RecoveryWait};
pub use risk::{Known, Reputation, Risk, RiskRow, RiskTable, Score, Standing};
pub use shared::SharedHash;
pub use surroundings::{
    Asset, ContextRow, ContextRuling, ContextTable, EventContext, Identity, IdentityKind, KnownAccount, KnownAddress,
    KnownHost, NothingKnown, Place, Rating, Surroundings,
};
pub use target::{
    AccountName, Aim, DomainName, Found, HostName, JobTarget, NotAName, NotATarget, Target, TargetFacts, is_job_name,
};
pub use text::{Printable, WithCauses};
pub use time::{Span, Timestamp};
pub use transaction::{Await, Cause, Extras, RefusalReason, State, StateKind, StuckReason, Transaction};
pub use trigger::{Clause, ClauseKind, ClauseValue, Explanation, ParameterValue, TriggerOutcome, TriggerReport};
pub use verdict::{Fact, Facts, GuardName, GuardResult, Judgement, TrafficShare, Unit, Verdict};
