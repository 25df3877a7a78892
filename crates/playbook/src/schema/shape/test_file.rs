//! The tables of a test file.

use staunch_model::{
    ContextRuling, EvidenceKind, GuardName, IdentityKind, IncidentOutcome, NoticeLevel, RiskClass, Span, StateKind,
    WatchVerdict,
};

use super::playbook::modes;
use super::{Form, Needs, Shape, may, must, words};
use crate::limits;
use crate::test_file::{InPlace, Limit, Point, Preserved, RecoveryStage, Signal, WorldKind};

/// Tests in one file.
pub(in crate::schema) const TESTS_MAX: usize = 256;

/// Characters in the name of a test: a sentence.
pub(in crate::schema) const TITLE_CHARS_MAX: usize = 100;

/// The latest time in a test: beyond the longest lease and deduplication there is nothing to see.
pub(in crate::schema) const AT_MAX: Span = Span::from_hours(60 * 24);

/// How many requests a fault can be told to meet.
pub(in crate::schema) const TIMES_MAX: u32 = 1_000;

pub(in crate::schema) const LIMITS: [(&str, Limit); 4] = [
    ("acts_per_hour_max", Limit::ActsPerHour),
    ("acts_per_action_hour_max", Limit::ActsPerAction),
    ("acts_per_group_hour_max", Limit::ActsPerGroup),
    ("breaker_failures", Limit::BreakerFailures),
];

pub(in crate::schema) const WORLD_KINDS: [(&str, WorldKind); 3] = [
    ("kernel", WorldKind::Kernel),
    ("api", WorldKind::Api),
    ("cloud", WorldKind::Cloud),
];

pub(in crate::schema) const RISKS: [(&str, RiskClass); 3] = [
    ("low", RiskClass::Low),
    ("medium", RiskClass::Medium),
    ("high", RiskClass::High),
];

/// What is there before the test begins, and whether that is somebody else's.
pub(in crate::schema) const PLACES_BEFORE: [(&str, bool); 2] = [("absent", false), ("foreign", true)];

pub(in crate::schema) const ENFORCING: [(&str, bool); 2] = [("yes", true), ("no", false)];

pub(in crate::schema) const FAULTS_AT: [(&str, Point); 8] = [
    ("preserve", Point::Preserve),
    ("pre-check", Point::PreCheck),
    ("execute", Point::Execute),
    ("post-check", Point::PostCheck),
    ("renew", Point::Renew),
    ("undo", Point::Undo),
    ("probe", Point::Probe),
    ("notify", Point::Notify),
];

pub(in crate::schema) const LEVELS: [(&str, NoticeLevel); 3] = [
    ("info", NoticeLevel::Info),
    ("warning", NoticeLevel::Warning),
    ("page", NoticeLevel::Page),
];

/// What may be found in place.
pub(in crate::schema) fn places() -> [(&'static str, InPlace); 3] {
    [InPlace::Absent, InPlace::Ours, InPlace::Foreign].map(|it| (it.name(), it))
}

/// What a signal may say.
pub(in crate::schema) fn signals() -> [(&'static str, Signal); 3] {
    Signal::ALL.map(|it| (it.name(), it))
}

/// What may be kept.
pub(in crate::schema) fn evidence_kinds() -> [(&'static str, EvidenceKind); 11] {
    EvidenceKind::ALL.map(|it| (it.name(), it))
}

/// What may have become of evidence.
pub(in crate::schema) fn preserved() -> [(&'static str, Preserved); 5] {
    Preserved::ALL.map(|it| (it.name(), it))
}

/// How far a recovery may be.
pub(in crate::schema) fn recoveries() -> [(&'static str, RecoveryStage); 7] {
    RecoveryStage::ALL.map(|it| (it.name(), it))
}

/// How a watch may have ended.
pub(in crate::schema) fn verdicts() -> Vec<(&'static str, Option<WatchVerdict>)> {
    let verdicts = WatchVerdict::ALL.map(|it| (it.name(), Some(it)));
    verdicts.into_iter().chain([("running", None)]).collect()
}

/// A target as phrases name it.
macro_rules! aimed {
    () => {
        "([0-9A-Fa-f:.]+|pid:[1-9][0-9]*|(account|host|domain|job):[A-Za-z0-9_.$:@/-]+)"
    };
}

const TIME: Form = Form::Duration(Span::ZERO, AT_MAX);
const COUNT: Form = Form::Number(0, u32::MAX);
const SHARE: Form = Form::Either(&[Form::Percentage, Form::Word(unknown)]);
const GUARDED: Form = Form::Pairs(
    &Form::Target,
    &Form::Either(&[Form::Word(guards), Form::Mapping(&QUESTION)]),
);

/// A test file.
pub(crate) static TEST_FILE: Shape = Shape {
    what: "a test file",
    doc: "Tests of a playbook of Staunch: events in, what happens meanwhile, and what is to be true when.",
    needs: Needs::Nothing,
    keys: &[
        may(
            "playbook",
            Form::Text(None),
            "The playbook's file, relative to this one. Default the one beside it.",
        ),
        may(
            "environment",
            Form::Environment,
            "The environment whose values the parameters of the playbook have. Default none: their defaults.",
        ),
        may(
            "events",
            Form::Pairs(&Form::Text(None), &Form::Mapping(&NAMED_EVENT)),
            "Events with names, for several tests.",
        ),
        must(
            "tests",
            Form::List(&Form::Mapping(&TEST), 1, TESTS_MAX),
            "The tests, each with a name of its own.",
        ),
    ],
};

/// An event with a name.
pub(crate) static NAMED_EVENT: Shape = Shape {
    what: "an event",
    doc: "An event as its source sends it.",
    needs: Needs::Nothing,
    keys: &[
        must("source", Form::Text(None), "The source that sends it."),
        must("json", Form::Text(None), "The JSON as the source sends it."),
    ],
};

/// A test.
pub(crate) static TEST: Shape = Shape {
    what: "a test",
    doc: "One test.",
    needs: Needs::Nothing,
    keys: &[
        must(
            "name",
            Form::Text(Some(TITLE_CHARS_MAX)),
            "What it shows, in one line of at most 100 characters.",
        ),
        may(
            "start",
            Form::Time,
            "When it starts: 2026-01-31T12:00:00Z. Default the time of its first event.",
        ),
        may("context", Form::Mapping(&CONTEXT), CONTEXT.doc),
        may("world", Form::Mapping(&WORLD), WORLD.doc),
        may(
            "faults",
            Form::List(&Form::Mapping(&FAULT), 0, limits::ENTRIES_MAX),
            "What goes wrong with which request.",
        ),
        must(
            "events",
            Form::List(&Form::Mapping(&EVENT), 0, limits::KEYS_MAX),
            "What comes in.",
        ),
        may(
            "happens",
            Form::List(&Form::Mapping(&HAPPENING), 0, limits::ENTRIES_MAX),
            "What else happens.",
        ),
        must(
            "expect",
            Form::List(&Form::Mapping(&EXPECTATION), 1, limits::KEYS_MAX),
            "What is to be true, and when.",
        ),
    ],
};

/// What a test starts with.
pub(crate) static CONTEXT: Shape = Shape {
    what: "`context`",
    doc: "What is known and configured.",
    needs: Needs::Nothing,
    keys: &[
        may(
            "traffic",
            Form::Either(&[
                Form::Word(unknown),
                Form::Pairs(&Form::Either(&[Form::Target, Form::Word(others)]), &SHARE),
            ]),
            "The share of the traffic of targets, and of all `others`; or `unknown` for all. Default 0.1 % each.",
        ),
        may(
            "processes",
            Form::Pairs(
                &Form::Number(1, u32::MAX),
                &Form::Either(&[Form::Word(gone), Form::Mapping(&PROCESS)]),
            ),
            "What the machine says of processes, by number; `gone` for one that has ended. One that is not here is there, and is \
             not protected.",
        ),
        may(
            "targets",
            Form::Pairs(
                &Form::Target,
                &Form::Either(&[Form::Word(gone), Form::Mapping(&OTHER_TARGET)]),
            ),
            "What is said of accounts, hosts and domains, such as `account:alice`; `gone` for one that is not there. One that is \
             not here is there, and is not protected.",
        ),
        may(
            "assets",
            Form::Pairs(&Form::Text(None), &Form::Mapping(&ASSET)),
            "What files say of addresses and hosts: `event.source.asset` and its like.",
        ),
        may(
            "identities",
            Form::Pairs(&Form::Text(None), &Form::Mapping(&IDENTITY)),
            "What files say of accounts: `identity`.",
        ),
        may(
            "places",
            Form::Pairs(&Form::Target, &Form::Mapping(&LOCATED)),
            "Where addresses are.",
        ),
        may(
            "ratings",
            Form::Pairs(&Form::Target, &Form::Mapping(&RATING)),
            "What feeds say of addresses: `reputation`. Of those that are not here no feed says anything; without the key it is \
             not known what feeds say.",
        ),
        may(
            "guards",
            Form::List(&Form::Mapping(&CONTEXT_ROW), 0, limits::ENTRIES_MAX),
            "The rows of the context guard, as `[[context.guards]]` of the configuration has them. Default none.",
        ),
        may(
            "never_touch",
            Form::Either(&[
                Form::List(&Form::Network, 0, limits::ENTRIES_MAX),
                Form::Pairs(&Form::Network, &Form::Text(None)),
            ]),
            "Networks that are never touched, each with the reason if you like.",
        ),
        may(
            "mode",
            Form::Word(modes),
            "The furthest that any playbook may go. Default `enforce`.",
        ),
        may(
            "approval_expiry",
            Form::Duration(Span::from_secs(1), AT_MAX),
            "How long an approval may wait.",
        ),
        may(
            "limits",
            Form::Pairs(&Form::Word(|| words(&LIMITS)), &Form::Number(1, u32::MAX)),
            "Limits other than the defaults.",
        ),
    ],
};

/// What a test says of an address or a host.
pub(crate) static ASSET: Shape = Shape {
    what: "an asset",
    doc: "What files say of an address or a host.",
    needs: Needs::Nothing,
    keys: &[
        may("owner", Form::Text(None), "The team that it belongs to."),
        may("tier", Form::Text(None), "How much depends on it."),
        may("data_class", Form::Text(None), "What kind of data it holds."),
        may("environment", Form::Text(None), "Where it is used."),
    ],
};

/// A row of the context guard.
pub(crate) static CONTEXT_ROW: Shape = Shape {
    what: "a row of `guards`",
    doc: "A row of the context guard: everything that it names must hold. The first row that holds decides.",
    needs: Needs::Nothing,
    keys: &[
        must("name", Form::Text(None), "What it is called in the plan."),
        may(
            "asset_known",
            Form::Word(|| words(&ENFORCING)),
            "Whether `assets` must name the target, or must not.",
        ),
        may("owner", WORDS, "The target belongs to one of these teams."),
        may("tier", WORDS, "The target is of one of these tiers."),
        may("data_class", WORDS, "The target holds data of one of these classes."),
        may("environment", WORDS, "The target is in one of these environments."),
        may(
            "team",
            WORDS,
            "An account that the events name belongs to one of these teams.",
        ),
        may(
            "identity_kind",
            Form::Word(|| words(&IDENTITY_KINDS)),
            "Who uses such an account.",
        ),
        may(
            "break_glass",
            Form::Word(|| words(&ENFORCING)),
            "Whether such an account is kept for emergencies.",
        ),
        must("then", Form::Word(|| words(&RULINGS)), "What follows."),
    ],
};

const WORDS: Form = Form::List(&Form::Text(None), 0, limits::ENTRIES_MAX);

pub(in crate::schema) const RULINGS: [(&str, ContextRuling); 3] = [
    ("refuse", ContextRuling::Refuse),
    ("ask", ContextRuling::Ask),
    ("pass", ContextRuling::Pass),
];

/// What a test says of an account.
pub(crate) static IDENTITY: Shape = Shape {
    what: "an identity",
    doc: "What files say of an account.",
    needs: Needs::Nothing,
    keys: &[
        may("team", Form::Text(None), "The team that it belongs to."),
        may("kind", Form::Word(|| words(&IDENTITY_KINDS)), "Who uses it."),
        may(
            "break_glass",
            Form::Word(|| words(&ENFORCING)),
            "Whether it is kept for emergencies. Default `no`.",
        ),
    ],
};

pub(in crate::schema) const IDENTITY_KINDS: [(&str, IdentityKind); 2] =
    [("human", IdentityKind::Human), ("service", IdentityKind::Service)];

/// Where a test says an address is.
pub(crate) static LOCATED: Shape = Shape {
    what: "a place",
    doc: "Where an address is.",
    needs: Needs::Nothing,
    keys: &[
        may("country", Form::Text(None), "The country, by ISO 3166."),
        may("asn", Form::Number(0, u32::MAX), "The number of the autonomous system."),
        may("organization", Form::Text(None), "Whose that system is."),
    ],
};

/// How bad a test says an address is.
pub(crate) static RATING: Shape = Shape {
    what: "a rating",
    doc: "What feeds say of an address.",
    needs: Needs::Nothing,
    keys: &[
        must("score", Form::Percentage, "How bad it is: `90%` is a score of 0.9."),
        may(
            "confidence",
            Form::Number(0, 100),
            "How sure the feed is, in percent. Default 100.",
        ),
    ],
};

/// A target of a test that is neither an address nor a process.
pub(crate) static OTHER_TARGET: Shape = Shape {
    what: "a target",
    doc: "What is said of an account, a host or a domain.",
    needs: Needs::Nothing,
    keys: &[
        may("what", Form::Text(None), "What it is, in words."),
        may(
            "protected",
            Form::Text(None),
            "Why it is never touched. Without it, it may be.",
        ),
    ],
};

/// A process of the machine of a test.
pub(crate) static PROCESS: Shape = Shape {
    what: "a process",
    doc: "What the machine says of a process.",
    needs: Needs::Nothing,
    keys: &[
        must("program", Form::Text(None), "The path of the program that it runs."),
        may(
            "protected",
            Form::Text(None),
            "Why it is never touched. Without it, it may be.",
        ),
    ],
};

/// The enforcement point of a test.
pub(crate) static WORLD: Shape = Shape {
    what: "`world`",
    doc: "The enforcement point.",
    needs: Needs::Nothing,
    keys: &[
        may(
            "kind",
            Form::Word(|| words(&WORLD_KINDS)),
            "How it behaves. Default `kernel`; an `api` is slower, and a `cloud` shows changes late.",
        ),
        may(
            "risk",
            Form::Word(|| words(&RISKS)),
            "The risk of its acts. Default that of the real driver: `low` for block-ip, `medium` for freeze-process.",
        ),
        may(
            "in_place",
            Form::Pairs(&Form::Target, &Form::Word(|| words(&PLACES_BEFORE))),
            "What is there before the test begins.",
        ),
        may("capacity", COUNT, "How much it takes."),
        may(
            "enforcing",
            Form::Word(|| words(&ENFORCING)),
            "Whether its rules are there. Default `yes`.",
        ),
        may(
            "signals",
            SIGNALS,
            "What health signals say before anything happens. Default `healthy`.",
        ),
    ],
};

const SIGNALS: Form = Form::Pairs(&SIGNAL, &Form::Word(|| words(&signals())));

/// A health signal by its name, or a condition as the playbook has it.
const SIGNAL: Form = Form::Either(&[Form::Signal, Form::Condition]);

/// A fault.
pub(crate) static FAULT: Shape = Shape {
    what: "a fault",
    doc: "Something that goes wrong with a request.",
    needs: Needs::Nothing,
    keys: &[
        must("at", Form::Word(|| words(&FAULTS_AT)), "With which request."),
        may("of", Form::Target, "At which target. Default every one."),
        may(
            "evidence",
            Form::Word(|| words(&evidence_kinds())),
            "With `preserve`: of which kind. Default every one.",
        ),
        must("kind", Form::Word(fault_kinds), "What goes wrong."),
        may(
            "times",
            Form::Either(&[Form::Number(1, TIMES_MAX), Form::Word(always)]),
            "How many requests meet it, or `always`. Default 1.",
        ),
        may(
            "for",
            TIME,
            "With `crash`: how long the process is away. With `reply-late`: how much later the answer comes. Default `1s`.",
        ),
    ],
};

/// An event of a test.
pub(crate) static EVENT: Shape = Shape {
    what: "an event",
    doc: "An event: one that has a name, or one that is written here.",
    needs: Needs::Some(&[&["event"], &["source", "json"]]),
    keys: &[
        must("at", TIME, "When it comes, counted from the start of the test."),
        may("event", Form::Text(None), "The name of an event under `events`."),
        may("source", Form::Text(None), "The source that sends it."),
        may("json", Form::Text(None), "The JSON as the source sends it."),
    ],
};

/// Something that happens meanwhile.
pub(crate) static HAPPENING: Shape = Shape {
    what: "a happening",
    doc: "One thing that happens at one time.",
    needs: Needs::One(&[&["somebody"], &["operator"], &["signals"], &["crash"]]),
    keys: &[
        must("at", TIME, "When."),
        may(
            "somebody",
            Form::Phrase(&[
                concat!("(removes the block of|lets go of|puts something at) ", aimed!()),
                "removes everything",
                "(removes|restores) the rules",
            ]),
            "What somebody else does: `removes the block of ADDRESS`, `lets go of pid:NUMBER`, `puts something at TARGET`, \
             `removes everything`, `removes the rules` or `restores the rules`.",
        ),
        may(
            "operator",
            Form::Phrase(&[
                concat!("\\s*(approve|deny|release|recover)\\s+", aimed!(), "\\s*"),
                concat!("\\s*stop\\s+recovery\\s+of\\s+", aimed!(), "\\s*"),
                concat!("\\s*renew\\s+", aimed!(), "\\s+for\\s+\\S+\\s*"),
                "\\s*release\\s+everything\\s*",
                "\\s*mode\\s+(observe|approve|enforce)\\s*",
            ]),
            "What an operator asks for: `approve TARGET`, `deny TARGET`, `release TARGET`, `renew TARGET for 2h`, \
             `release everything`, `recover TARGET`, `stop recovery of TARGET` or `mode observe`.",
        ),
        may(
            "signals",
            SIGNALS,
            "What health signals say from then on: `healthy`, `unhealthy` or `unreadable`.",
        ),
        may("crash", TIME, "The process ends, and starts again after so long."),
    ],
};

/// What is to be true.
pub(crate) static EXPECTATION: Shape = Shape {
    what: "an expectation",
    doc: "What is to be true at a time.",
    needs: Needs::Some(&[
        &["state"],
        &["world"],
        &["refused"],
        &["asked"],
        &["order"],
        &["acts"],
        &["incidents"],
        &["joined"],
        &["outcome"],
        &["notices"],
        &["notice"],
        &["command_refused"],
        &["no_match"],
        &["evidence"],
        &["recovery"],
        &["watches"],
    ]),
    keys: &[
        may("at", TIME, "When. Default the end of the test."),
        may(
            "state",
            Form::Pairs(&Form::Target, &Form::Word(states)),
            "The state of the newest transaction at a target; `none` when there has been none.",
        ),
        may(
            "world",
            Form::Pairs(&Form::Target, &Form::Word(|| words(&places()))),
            "What is in place at a target.",
        ),
        may(
            "refused",
            GUARDED,
            "The newest transaction at a target was refused: by which guard, and a part of what it says.",
        ),
        may(
            "asked",
            GUARDED,
            "A person was asked about a target: because of which guard, and a part of what it says.",
        ),
        may(
            "order",
            Form::List(&Form::Target, 0, limits::ENTRIES_MAX),
            "The targets that were acted on, in this order.",
        ),
        may("acts", COUNT, "How often an act was sent."),
        may("incidents", COUNT, "How many incidents were opened."),
        may("joined", COUNT, "How many events joined an incident."),
        may("outcome", Form::Word(outcomes), "The newest outcome that was told."),
        may(
            "notices",
            Form::Pairs(&Form::Word(|| words(&LEVELS)), &COUNT),
            "How many notices of a level there were.",
        ),
        may("notice", Form::Text(None), "A part of what a notice says."),
        may(
            "command_refused",
            Form::Text(None),
            "A command was refused, and this is a part of why.",
        ),
        may(
            "no_match",
            Form::Text(None),
            "No event of the test matched, and this clause of the trigger was false.",
        ),
        may(
            "evidence",
            Form::Pairs(
                &Form::Word(|| words(&evidence_kinds())),
                &Form::Word(|| words(&preserved())),
            ),
            "What has become of the evidence of a kind, all of it, that the newest incident asked for: `open` while it is being \
             taken, `sealed`, `missed` when containment goes on without it, `late` when it was sealed after that; `none` when \
             it was not asked for.",
        ),
        may(
            "recovery",
            Form::Word(|| words(&recoveries())),
            "How far the newest recovery is; `none` when there is none.",
        ),
        may(
            "watches",
            Form::Pairs(&SIGNAL, &Form::Word(|| words(&verdicts()))),
            "How the newest watch of a health signal ended; `running` while it goes on.",
        ),
    ],
};

/// Why something was refused or asked.
pub(crate) static QUESTION: Shape = Shape {
    what: "a refusal or a question",
    doc: "Which guard, and a part of what it says.",
    needs: Needs::Nothing,
    keys: &[
        may("guard", Form::Word(guards), "The guard."),
        may("says", Form::Text(None), "A part of what it says."),
    ],
};

fn unknown() -> Vec<&'static str> {
    vec!["unknown"]
}

fn gone() -> Vec<&'static str> {
    vec!["gone"]
}

fn others() -> Vec<&'static str> {
    vec!["others"]
}

fn always() -> Vec<&'static str> {
    vec!["always"]
}

fn guards() -> Vec<&'static str> {
    GuardName::ALL.map(GuardName::name).to_vec()
}

fn fault_kinds() -> Vec<&'static str> {
    words(&crate::schema::test_file::fault_kinds(Span::ZERO))
}

fn states() -> Vec<&'static str> {
    let names = StateKind::ALL.iter().map(|it| it.name());
    names.chain(["none"]).collect()
}

fn outcomes() -> Vec<&'static str> {
    IncidentOutcome::ALL.map(IncidentOutcome::name).to_vec()
}
