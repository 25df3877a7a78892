//! `staunch release`, with the big red button.

use serde_json::json;
use staunch_model::ReleaseScope;
use staunch_server::dto::{ReleaseRequest, Status, path};

use crate::cli::ReleaseArgs;
use crate::client::{Client, Patience};
use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::output::{Output, Tone, colors_on_stderr, confirm, say, say_rendered};
use crate::wiring;

pub(super) fn run(args: &ReleaseArgs) -> Result<Exit, Fault> {
    if args.all {
        return all(args);
    }
    let client = Client::new(&args.change.show.server, Patience::USUAL)?;
    let (scope, what) = match (args.id, args.incident) {
        (Some(id), _) => (ReleaseScope::Transaction(id), id.to_string()),
        (None, Some(incident)) => (ReleaseScope::Incident(incident), format!("what {incident} holds")),
        // The command line demands one of the three.
        (None, None) => return Err(Fault::new(Exit::Usage, "name a transaction, --incident or --all")),
    };
    confirm(&format!("release {what}?"), args.change.yes)?;
    let request = ReleaseRequest {
        scope,
        reason: args.change.reason.clone(),
    };
    let reply = client.command(path::RELEASE, &request)?;
    Output::new(args.change.show.json).show(&reply, |_| released_text(&reply.affected))?;
    Ok(Exit::Ok)
}

fn released_text(affected: &[staunch_model::TransactionId]) -> String {
    let names: Vec<String> = affected.iter().map(ToString::to_string).collect();
    match names.len() {
        0 => "there was nothing to release\n".to_owned(),
        count if count <= 8 => format!(
            "releasing {}; `staunch containment list` shows when it is done\n",
            names.join(", ")
        ),
        count => format!("releasing {count} transactions; `staunch containment list` shows when it is done\n"),
    }
}

/// Through the server when it can, around it when it cannot: nobody must wait for a broken Staunch to let go.
fn all(args: &ReleaseArgs) -> Result<Exit, Fault> {
    let client = Client::new(&args.change.show.server, Patience::SHORT)?;
    let question = match client.get::<Status>(path::STATUS, &json!({})) {
        Ok(status) => {
            let count = status.in_force + status.under_way + status.awaiting_approval;
            format!("release everything: {count} in force, waiting or under way?")
        }
        Err(fault) if fault.exit == Exit::Denied => return Err(fault),
        // The number is for the question only. Whether the server is of help, the command itself finds out.
        Err(_) => "release everything?".to_owned(),
    };
    confirm(&question, args.change.yes)?;
    let request = ReleaseRequest {
        scope: ReleaseScope::All,
        reason: args.change.reason.clone(),
    };
    match client.command(path::RELEASE, &request) {
        Ok(reply) => {
            Output::new(args.change.show.json).show(&json!({ "way": "server", "affected": reply.affected }), |_| {
                released_text(&reply.affected)
            })?;
            Ok(Exit::Ok)
        }
        Err(fault) if cannot_carry_out(fault.exit) => directly(args, &fault),
        Err(fault) => Err(fault),
    }
}

/// True when a command that failed with `exit` got no answer, or one that says that the server cannot carry it out.
/// A mistake in the command or a missing permission is for the person to mend: the server works.
const fn cannot_carry_out(exit: Exit) -> bool {
    match exit {
        Exit::Unreachable | Exit::Busy | Exit::Failed | Exit::NotFound => true,
        Exit::Ok
        | Exit::Usage
        | Exit::Refused
        | Exit::Corrupt
        | Exit::InUse
        | Exit::Denied
        | Exit::Direct
        | Exit::Poisoned
        | Exit::Differs => false,
    }
}

/// Removes our elements in the kernel, without journal or index. The next sweep of a server finds them gone and records
/// that.
fn directly(args: &ReleaseArgs, why: &Fault) -> Result<Exit, Fault> {
    say_rendered(&why.render(colors_on_stderr()));
    let config = super::load(&args.data).unwrap_or_else(|fault| {
        say_rendered(&fault.render(colors_on_stderr()));
        say("going on without the configuration");
        Config {
            data_dir: args.data.data_dir.clone().unwrap_or_else(|| Config::default().data_dir),
            ..Config::default()
        }
    });
    let table = &config.nftables.table;
    say(&format!(
        "the server is of no help: what is left is to remove Staunch's elements from table inet {table} here,"
    ));
    say("directly in the kernel, without a record");
    confirm("remove them?", args.change.yes)?;
    let count = wiring::release_directly(&config)?;
    Output::new(args.change.show.json).show(&json!({ "way": "kernel", "released": count }), |output| {
        let text = format!(
            "{count} address{} released directly in the kernel\n",
            if count == 1 { "" } else { "es" }
        );
        output.paint(Tone::Strong, &text)
    })?;
    say("a server that runs, or is started, finds them missing in its next sweep and records that;");
    say("while it runs it may contain again: set `staunch mode observe` as soon as it answers, or stop it");
    Ok(Exit::Direct)
}
