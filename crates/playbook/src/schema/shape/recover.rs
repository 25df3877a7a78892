//! The tables of the recover phase and of health watches.

use staunch_model::ActionKind;

use super::playbook::{ACT, JOB_ACT, actions, actions_without_job, job};
use super::{Form, Key, Needs, Shape, may, must, words};
use crate::limits;

/// What a soak does when the signal is not healthy: whether what was lifted is contained again.
pub(in crate::schema) const OTHERWISE: [(&str, bool); 2] = [("contain", true), ("stop", false)];

/// A step of the recover phase, in each of its forms.
pub(super) const RECOVER_STEP: Form = Form::Either(&[
    Form::Word(release),
    Form::Named(actions_without_job, &ACT),
    Form::Named(job, &JOB_ACT),
    Form::Named(release, &RELEASE),
    Form::Named(soak, &SOAK),
    Form::Named(request_change, &REQUEST_CHANGE),
]);

const HEALTH: Key = may(
    "health",
    Form::Signal,
    "The name of a health signal of the configuration, `[health.NAME]`.",
);

const PROMETHEUS: Key = may(
    "prometheus",
    Form::Condition,
    "Instead of `health`: a query in PromQL that yields one value, `<`, `<=`, `>` or `>=`, and the number or percentage that \
     it is compared with, such as `sum(rate(errors[1m])) / sum(rate(requests[1m])) < 2 %`. The Prometheus is the \
     `[prometheus]` of the configuration.",
);

/// What is watched: one or the other.
const SIGNAL: Needs = Needs::One(&[&["health"], &["prometheus"]]);

const FOR: Key = must(
    "for",
    Form::Duration(limits::WATCH_LEAST, limits::WATCH_MOST),
    "How long it is watched.",
);

const EVERY: Key = may(
    "every",
    Form::Duration(limits::WATCH_EVERY_LEAST, limits::WATCH_EVERY_MOST),
    "The time between two readings. Default a twelfth of `for`, within `1s` and `10s`.",
);

/// A signal that is watched while a step is in force.
pub(crate) static WATCH: Shape = Shape {
    what: "`watch`",
    doc: "A health signal that is read before the act and watched after it: the act is undone, and people are paged, when it \
          becomes unhealthy.",
    needs: SIGNAL,
    keys: &[HEALTH, PROMETHEUS, FOR, EVERY],
};

/// What is lifted, in this order.
pub(crate) static RELEASE: Shape = Shape {
    what: "`release`",
    doc: "What contains the incident is lifted, one after the other, each verified before the next.",
    needs: Needs::Nothing,
    keys: &[must(
        "actions",
        Form::List(&Form::Word(actions), 1, limits::STEPS_MAX),
        "The acts to lift, in this order. Just `- release` lifts all, in reverse order of completion.",
    )],
};

/// A signal that is watched before recovery goes on.
pub(crate) static SOAK: Shape = Shape {
    what: "`soak`",
    doc: "A health signal that has to be healthy for a while before recovery goes on.",
    needs: SIGNAL,
    keys: &[
        HEALTH,
        PROMETHEUS,
        FOR,
        EVERY,
        may(
            "otherwise",
            Form::Word(|| words(&OTHERWISE)),
            "When it is not: `contain` again what this recovery has lifted, or `stop` here. Both page. Default `contain`.",
        ),
    ],
};

/// What people are asked to change.
pub(crate) static REQUEST_CHANGE: Shape = Shape {
    what: "`request-change`",
    doc: "People are asked for a change, through the notifiers of the configuration.",
    needs: Needs::Nothing,
    keys: &[must(
        "text",
        Form::Text(Some(limits::SUMMARY_CHARS_MAX)),
        "What is to be changed, in one line of at most 200 characters.",
    )],
};

/// The names of all steps of the recover phase.
pub(crate) fn recover_steps() -> Vec<&'static str> {
    let acts = ActionKind::ALL.map(ActionKind::name);
    ["release", "soak", "request-change"].into_iter().chain(acts).collect()
}

fn release() -> Vec<&'static str> {
    vec!["release"]
}

fn soak() -> Vec<&'static str> {
    vec!["soak"]
}

fn request_change() -> Vec<&'static str> {
    vec!["request-change"]
}
