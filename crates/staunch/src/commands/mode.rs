//! `staunch mode`

use serde_json::json;
use staunch_model::{Mode, Printable};
use staunch_server::auth::Right;
use staunch_server::dto::{ModeRequest, ModeView, path};

use crate::cli::ModeArgs;
use crate::client::{Client, Patience};
use crate::exit::{Exit, Fault};
use crate::output::{Output, Tone, confirm, say, wrap};

pub(super) fn run(args: &ModeArgs) -> Result<Exit, Fault> {
    let show = &args.change.show;
    let wanted = match args.mode {
        Some(mode) => Some((Mode::from(mode), args.change.must_say_why()?)),
        None => None,
    };
    let client = Client::new(&show.server, Patience::USUAL)?;
    let client = client.meaning_to(if wanted.is_some() { Right::Operate } else { Right::Look });
    let before: ModeView = client.get(path::MODE, &json!({}))?;
    let Some((wanted, reason)) = wanted else {
        Output::new(show.json).show(&before, |output| text(output, &before))?;
        return Ok(Exit::Ok);
    };
    confirm(&question(&before, wanted), args.change.yes)?;
    client.command(path::MODE, &ModeRequest { mode: wanted, reason })?;
    let after: ModeView = client.get(path::MODE, &json!({}))?;
    must_still_be(wanted, &after)?;
    Output::new(show.json).show(&after, |output| text(output, &after))?;
    if wanted == Mode::Observe {
        say("what is in force stays in force until its lease ends; `staunch release --all` lifts it");
    }
    Ok(Exit::Ok)
}

/// Between the order and the look somebody else may have given another: whoever asked for `wanted` must not take that
/// mode for it.
fn must_still_be(wanted: Mode, after: &ModeView) -> Result<(), Fault> {
    if after.set == Some(wanted) {
        return Ok(());
    }
    let other = after.set.map_or("that of the configuration", Mode::name);
    let message = format!("the mode was set to {wanted}, and somebody has ordered another one since: {other}");
    Err(Fault::new(Exit::Failed, message).hint("`staunch mode` says who, when and why"))
}

/// What is asked before the mode is `wanted`.
fn question(before: &ModeView, wanted: Mode) -> String {
    let then = match wanted {
        Mode::Observe => "nothing new will be contained",
        Mode::Approve => "a person decides on each act",
        Mode::Enforce => "playbooks may act by themselves",
    };
    match before {
        // Behind an open breaker everything observes already, and an order closes it.
        ModeView {
            breaker_open: Some(_), ..
        } => {
            format!("close the circuit breaker and set the mode to {wanted}: {then}?")
        }
        // A mode that was ordered holds whatever the configuration says later.
        ModeView { mode, set, .. } if *mode == wanted => {
            let by = match set {
                Some(_) => "by an order",
                None => "by the configuration",
            };
            format!("the mode is {wanted} already, {by}: record that you order it, so that it stays when that changes?")
        }
        ModeView { mode, .. } => format!("set the mode from {mode} to {wanted}: {then}?"),
    }
}

fn text(output: &Output, view: &ModeView) -> String {
    let tone = match view.mode {
        Mode::Observe => Tone::Plain,
        Mode::Approve => Tone::Warning,
        Mode::Enforce => Tone::Strong,
    };
    format!(
        "{}\n  {}\n",
        output.paint(tone, view.mode.name()),
        wrap(&Printable(&view.explanation).to_string(), 2)
    )
}

#[cfg(test)]
mod tests {
    use staunch_model::Timestamp;
    use staunch_server::dto::ModeBecause;

    use super::*;

    #[test]
    fn an_order_that_another_one_followed_is_no_success() {
        let after = ModeView {
            mode: Mode::Observe,
            because: ModeBecause::Breaker,
            breaker_open: Some(Timestamp::EPOCH),
            set: Some(Mode::Enforce),
            set_by: None,
            policy: Mode::Enforce,
            explanation: String::new(),
        };
        assert!(must_still_be(Mode::Enforce, &after).is_ok());
        let fault = must_still_be(Mode::Observe, &after).expect_err("it is another");
        assert_eq!(fault.exit, Exit::Failed);
        assert!(fault.told().ends_with("since: enforce"), "{}", fault.told());
    }

    #[test]
    fn the_question_says_when_the_mode_is_so_already() {
        let view = |mode, set, breaker_open| ModeView {
            mode,
            because: ModeBecause::Policy,
            breaker_open,
            set,
            set_by: None,
            policy: Mode::Enforce,
            explanation: String::new(),
        };
        let open = "2026-11-20T12:00:00Z".parse().expect("a time");
        for (before, wanted, begin) in [
            (
                view(Mode::Enforce, None, None),
                Mode::Observe,
                "set the mode from enforce to observe: ",
            ),
            (
                view(Mode::Enforce, None, None),
                Mode::Enforce,
                "the mode is enforce already, by the configuration: ",
            ),
            (
                view(Mode::Approve, Some(Mode::Approve), None),
                Mode::Approve,
                "the mode is approve already, by an order: ",
            ),
            (
                view(Mode::Observe, None, Some(open)),
                Mode::Observe,
                "close the circuit breaker and set the mode to observe: ",
            ),
        ] {
            let asked = question(&before, wanted);
            assert!(asked.starts_with(begin), "{asked}");
        }
    }
}
