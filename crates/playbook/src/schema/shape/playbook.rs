//! The tables of a playbook.

use staunch_model::{ActionKind, Context, EvidenceKind, Mode, OnFailure, Risk, Span, WhenUnknown};

use super::recover::{RECOVER_STEP, WATCH};
use super::{Form, Key, Needs, Shape, may, must, words};
use crate::limits;

/// What can be asked to be known.
pub(in crate::schema) const KNOWLEDGE: [(&str, Context); 2] = [
    ("never-touch", Context::NeverTouch),
    ("traffic-share", Context::TrafficShare),
];

/// What an unknown fact means.
pub(in crate::schema) const WHEN_UNKNOWN: [(&str, WhenUnknown); 3] = [
    ("ask", WhenUnknown::Ask),
    ("refuse", WhenUnknown::Refuse),
    ("pass", WhenUnknown::Pass),
];

/// How dangerous an incident is.
pub(in crate::schema) const RISK: [(&str, Risk); 4] = [
    ("low", Risk::Low),
    ("medium", Risk::Medium),
    ("high", Risk::High),
    ("critical", Risk::Critical),
];

/// What a failed step means for the others.
pub(in crate::schema) const ON_FAILURE: [(&str, OnFailure); 2] =
    [("rollback", OnFailure::Rollback), ("keep", OnFailure::Keep)];

/// A playbook.
pub(crate) static PLAYBOOK: Shape = Shape {
    what: "a playbook",
    doc: "A playbook of Staunch: when it applies, what must be known, what may be done, and who is told.",
    needs: Needs::Nothing,
    keys: &[
        must(
            "playbook",
            Form::Name,
            "Its name: small letters, digits and single hyphens, at most 64; unique among the loaded ones.",
        ),
        must(
            "summary",
            Form::Text(Some(limits::SUMMARY_CHARS_MAX)),
            "What it does, in one line of at most 200 characters.",
        ),
        may(
            "attack",
            Form::List(&Form::Technique, 0, limits::ENTRIES_MAX),
            "The ATT&CK techniques that it answers: T1110, T1110.001.",
        ),
        may(
            "parameters",
            Form::Pairs(
                &Form::Parameter,
                &Form::Either(&[Form::Text(Some(limits::PARAMETER_CHARS_MAX)), Form::ByEnvironment]),
            ),
            "Values with names: `lease: 1h`, or `share: { default: 5%, staging: 50% }` with others by environment. `\"${lease}\"` \
             stands for the value of the whole scalar, and parameter.lease in an expression for a constant text.",
        ),
        must("trigger", Form::Mapping(&TRIGGER), TRIGGER.doc),
        may(
            "context",
            Form::List(&Form::Word(|| words(&KNOWLEDGE)), 0, limits::ENTRIES_MAX),
            "What must be known before acting. `never-touch` is always applied.",
        ),
        may("guards", Form::Mapping(&GUARDS), GUARDS.doc),
        may(
            "preserve",
            Form::List(&EVIDENCE, 0, limits::EVIDENCE_MAX),
            "The evidence that is kept before containment: `- flows: { target: event.source.ip }`, or just `- network`. An act \
             waits for the evidence that it could destroy, until its deadline.",
        ),
        must(
            "contain",
            Form::List(&CONTAINING_STEP, 1, limits::STEPS_MAX),
            "The steps, each one action: `- block-ip: { target: event.source.ip, lease: 1h }`.",
        ),
        may(
            "notify",
            Form::List(
                &Form::Either(&[Form::Word(notices), Form::Named(notices, &PAGE)]),
                0,
                limits::NOTICES_MAX,
            ),
            "Who is told: `- page: { when: outcome != contained }`, or just `- page`. Default one page for every outcome \
             but `contained`; `[]` for none.",
        ),
        may(
            "recover",
            Form::List(&RECOVER_STEP, 0, limits::RECOVER_MAX),
            "How to get back to normal once a person runs `staunch recover`: acts, `- release`, \
             `- soak: { health: shop, for: 10m }` and `- request-change: { text: Rotate the key. }`, one after the other.",
        ),
        may("mode", Form::Mapping(&MODE), MODE.doc),
        may(
            "on_failure",
            Form::Word(|| words(&ON_FAILURE)),
            "When a step fails, those that worked are undone too (`rollback`), or stay (`keep`). Default `rollback`.",
        ),
    ],
};

/// When a playbook applies.
pub(crate) static TRIGGER: Shape = Shape {
    what: "`trigger`",
    doc: "When it applies.",
    needs: Needs::Nothing,
    keys: &[
        must(
            "sources",
            Form::List(&Form::System, 1, limits::ENTRIES_MAX),
            "The systems whose events it looks at; `generic` for all that the configuration describes.",
        ),
        must(
            "when",
            Form::Expression,
            "The condition on the event, in CEL: event.severity >= high && event.signature.contains(\"brute force\").",
        ),
        must(
            "incident",
            Form::Either(&[
                Form::Expression,
                Form::List(&Form::Expression, 1, limits::KEY_FIELDS_MAX),
            ]),
            "The field whose value makes an incident, such as event.source.ip: one incident at a time for each value. Of several \
             fields, one for each combination of their values.",
        ),
        may(
            "deduplicate",
            Form::Duration(Span::ZERO, limits::DEDUPLICATE_MAX),
            "For so long after an incident opened, events with the same value join it even though it is closed. Default \
             `10m`.",
        ),
    ],
};

/// The limits of a playbook.
pub(crate) static GUARDS: Shape = Shape {
    what: "`guards`",
    doc: "Its own limits, within those of the configuration.",
    needs: Needs::Nothing,
    keys: &[
        may("impact", Form::Mapping(&IMPACT), IMPACT.doc),
        may(
            "risk_min",
            Form::Word(|| words(&RISK)),
            "An act whose incident is less dangerous, by the table of risks in the configuration, is asked of a person.",
        ),
        may(
            "when_unknown",
            Form::Word(|| words(&WHEN_UNKNOWN)),
            "What an unknown fact means: `ask` a person, `refuse`, or `pass` with the gap shown. Default `ask`.",
        ),
        may(
            "event_age_max",
            Form::Duration(Span::from_secs(1), limits::EVENT_AGE_MAX),
            "The oldest event that leads to an act. Default `15m`.",
        ),
        may(
            "acts_per_hour_max",
            Form::Number(1, limits::ACTS_PER_HOUR_MAX),
            "Acts of this playbook in an hour. Default 100.",
        ),
    ],
};

/// What an act may stop.
pub(crate) static IMPACT: Shape = Shape {
    what: "`impact`",
    doc: "What an act may stop.",
    needs: Needs::Nothing,
    keys: &[
        must(
            "traffic_share_max",
            Form::Percentage,
            "The most of this host's traffic that an act may stop: 5%, with two decimals at most.",
        ),
        may(
            "flows_min",
            Form::Number(0, limits::FLOWS_MIN_MAX),
            "With fewer established flows in all on this host, a share of them says nothing and counts as unknown. \
             Default 20; 0 to take any sample.",
        ),
    ],
};

/// A piece of evidence, in each of its forms.
const EVIDENCE: Form = Form::Either(&[
    Form::Word(of_the_machine),
    Form::Named(of_the_machine_at_once, &MACHINE_EVIDENCE),
    Form::Named(of_a_target, &TARGET_EVIDENCE),
    Form::Named(captures, &CAPTURE_EVIDENCE),
    Form::Named(files, &FILE_EVIDENCE),
    Form::Named(journals, &JOURNAL_EVIDENCE),
]);

/// The shape of evidence of this kind.
pub(crate) const fn evidence(kind: EvidenceKind) -> &'static Shape {
    match kind {
        EvidenceKind::Flows | EvidenceKind::Process => &TARGET_EVIDENCE,
        EvidenceKind::Capture => &CAPTURE_EVIDENCE,
        EvidenceKind::Files => &FILE_EVIDENCE,
        EvidenceKind::Journal => &JOURNAL_EVIDENCE,
        EvidenceKind::Network
        | EvidenceKind::Sockets
        | EvidenceKind::Processes
        | EvidenceKind::Logins
        | EvidenceKind::Modules
        | EvidenceKind::Ruleset => &MACHINE_EVIDENCE,
    }
}

const DEADLINE: Key = may(
    "deadline",
    Form::Duration(limits::PRESERVE_LEAST, limits::PRESERVE_MOST),
    "How long acts that could destroy it wait for it. Default `2s` for what is in memory, `10s` for files and the journal, and \
     for a capture its window and `2s`.",
);

const MIB_MAX: Key = may(
    "mib_max",
    Form::Number(1, limits::EVIDENCE_MIB_MAX),
    "The most MiB of one artefact; a larger one is refused with a record. Default the bound of the vault.",
);

const OF: Key = must(
    "target",
    Form::Expression,
    "The field that holds what it is taken of: an address, such as event.source.ip, or for `process` the number of one, such as \
     event.raw.output_fields[\"proc.pid\"].",
);

static MACHINE_EVIDENCE: Shape = Shape {
    what: "evidence of this machine",
    doc: "What is kept of this machine as a whole.",
    needs: Needs::Nothing,
    keys: &[DEADLINE, MIB_MAX],
};

static TARGET_EVIDENCE: Shape = Shape {
    what: "evidence of a target",
    doc: "What is kept of an address or a process.",
    needs: Needs::Nothing,
    keys: &[OF, DEADLINE, MIB_MAX],
};

static CAPTURE_EVIDENCE: Shape = Shape {
    what: "a capture of packets",
    doc: "The packets from and to an address, from now on.",
    needs: Needs::Nothing,
    keys: &[
        OF,
        may(
            "window",
            Form::Duration(limits::PRESERVE_LEAST, limits::CAPTURE_MOST),
            "How long packets are captured. Default `2s`.",
        ),
        DEADLINE,
        MIB_MAX,
    ],
};

static FILE_EVIDENCE: Shape = Shape {
    what: "files",
    doc: "Files with their times and hashes.",
    needs: Needs::Nothing,
    keys: &[
        must(
            "paths",
            Form::List(
                &Form::Text(Some(limits::EVIDENCE_PATH_BYTES_MAX)),
                1,
                limits::EVIDENCE_PATHS_MAX,
            ),
            "Absolute paths; `*` stands for any part of one name.",
        ),
        DEADLINE,
        MIB_MAX,
    ],
};

static JOURNAL_EVIDENCE: Shape = Shape {
    what: "a part of the journal",
    doc: "The newest lines of the journal of systemd.",
    needs: Needs::Nothing,
    keys: &[
        may(
            "units",
            Form::List(&Form::Text(Some(255)), 0, limits::EVIDENCE_PATHS_MAX),
            "The units whose lines are kept. Default all.",
        ),
        may(
            "window",
            Form::Duration(Span::from_secs(1), limits::JOURNAL_MOST),
            "How far it reaches back. Default `10m`.",
        ),
        DEADLINE,
        MIB_MAX,
    ],
};

/// A step that contains, in each of its forms.
const CONTAINING_STEP: Form = Form::Either(&[Form::Named(actions_without_job, &STEP), Form::Named(job, &JOB_STEP)]);

/// A step that contains.
pub(crate) static STEP: Shape = Shape {
    what: "a step",
    doc: "One act on one target.",
    needs: Needs::Nothing,
    keys: &[
        AIMED_AT,
        LASTS,
        FOR_GOOD,
        may("watch", Form::Mapping(&WATCH), WATCH.doc),
    ],
};

/// An act that gets back to normal.
pub(crate) static ACT: Shape = Shape {
    what: "a step",
    doc: "One act on one target.",
    needs: Needs::Nothing,
    keys: &[AIMED_AT, LASTS, FOR_GOOD],
};

/// A step that contains with a job.
pub(crate) static JOB_STEP: Shape = Shape {
    what: "a step",
    doc: "One job on one subject.",
    needs: Needs::Nothing,
    keys: &[
        JOB,
        SUBJECT,
        LASTS,
        FOR_GOOD,
        may("watch", Form::Mapping(&WATCH), WATCH.doc),
    ],
};

/// A job that gets back to normal.
pub(crate) static JOB_ACT: Shape = Shape {
    what: "a step",
    doc: "One job on one subject.",
    needs: Needs::Nothing,
    keys: &[JOB, SUBJECT, LASTS, FOR_GOOD],
};

const JOB: Key = must(
    "job",
    Form::Job,
    "The name of the job that is run, as the configuration has it under `[jobs.NAME]`.",
);

const SUBJECT: Key = may(
    "target",
    Form::Expression,
    "The field that holds what the job is about, such as event.user. Default none: the machine as a whole.",
);

const AIMED_AT: Key = must(
    "target",
    Form::Expression,
    "The field that holds what to act on: the address of block-ip, such as event.source.ip; the number of the process \
     of freeze-process, such as event.raw.output_fields[\"proc.pid\"].",
);

/// Leases that are all the same, or that grow.
const LEASES: [Form; 2] = [Form::Lease, Form::Mapping(&LEASE)];

const LASTS: Key = must(
    "lease",
    Form::Either(&LEASES),
    "How long it stays in force unless a person renews it: from 1s to `limits.lease_max` of the configuration. Or \
     `{ first: 1h, then: [6h, 24h], within: 7d }`: longer each time that the target comes back.",
);

const FOR_GOOD: Key = may(
    "irreversible",
    Form::Word(|| words(&IRREVERSIBLE)),
    "`yes` where nothing undoes the act, as of kill-process; the lease then says how long it is listed.",
);

/// Whether a step is known to be for good.
pub(crate) const IRREVERSIBLE: [(&str, bool); 2] = [("yes", true), ("no", false)];

/// A lease that grows.
pub(crate) static LEASE: Shape = Shape {
    what: "a lease that grows",
    doc: "A lease that is longer each time that the target comes back.",
    needs: Needs::Nothing,
    keys: &[
        must("first", Form::Lease, "The first lease."),
        must(
            "then",
            Form::List(&Form::Lease, 1, limits::LEASES_THEN_MAX),
            "The leases after that, each longer than the one before; the last one holds for all that follow.",
        ),
        may(
            "within",
            Form::Duration(Span::from_secs(1), limits::RETURNS_WITHIN_MAX),
            "How long after the end of a lease its target counts as one that comes back. Default `7d`.",
        ),
    ],
};

/// A notice.
pub(crate) static PAGE: Shape = Shape {
    what: "a notice",
    doc: "A page to people.",
    needs: Needs::Nothing,
    keys: &[may(
        "when",
        Form::Expression,
        "The condition on the outcome: outcome != contained. Default every outcome but `contained`.",
    )],
};

const MODE_DOC: &str = "How far acts of this risk go by themselves. Default `observe`.";

/// How far a playbook goes.
pub(crate) static MODE: Shape = Shape {
    what: "`mode`",
    doc: "How far acts go by themselves, for each class of risk: `observe`, `approve` or `enforce`. Default `observe`.",
    needs: Needs::Nothing,
    keys: &[mode("low"), mode("medium"), mode("high")],
};

const fn mode(risk: &'static str) -> Key {
    may(risk, Form::Word(modes), MODE_DOC)
}

/// How far Staunch goes, in words.
pub(super) fn modes() -> Vec<&'static str> {
    [Mode::Observe, Mode::Approve, Mode::Enforce].map(Mode::name).to_vec()
}

pub(super) fn actions_without_job() -> Vec<&'static str> {
    let mut all = actions();
    all.retain(|it| *it != ActionKind::ExecJob.name());
    all
}

pub(super) fn job() -> Vec<&'static str> {
    vec![ActionKind::ExecJob.name()]
}

pub(super) fn actions() -> Vec<&'static str> {
    ActionKind::ALL.map(ActionKind::name).to_vec()
}

fn evidence_names(which: impl Fn(EvidenceKind) -> bool) -> Vec<&'static str> {
    EvidenceKind::ALL
        .into_iter()
        .filter(|it| which(*it))
        .map(EvidenceKind::name)
        .collect()
}

/// The kinds that may stand without anything beside them.
fn of_the_machine() -> Vec<&'static str> {
    evidence_names(|it| evidence(it).keys.iter().all(|key| !key.required))
}

fn of_the_machine_at_once() -> Vec<&'static str> {
    evidence_names(|it| it.aims_at().is_none() && it.volatility() <= 2)
}

fn of_a_target() -> Vec<&'static str> {
    evidence_names(|it| it.aims_at().is_some() && it != EvidenceKind::Capture)
}

fn captures() -> Vec<&'static str> {
    vec![EvidenceKind::Capture.name()]
}

fn files() -> Vec<&'static str> {
    vec![EvidenceKind::Files.name()]
}

fn journals() -> Vec<&'static str> {
    vec![EvidenceKind::Journal.name()]
}

fn notices() -> Vec<&'static str> {
    vec!["page"]
}
