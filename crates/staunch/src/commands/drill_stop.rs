//! `staunch drill stop`

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::json;
use staunch_model::Printable;
use staunch_server::dto::{Containment, Containments, DrillStopRequest, DrillStopped, path};

use crate::cli::DrillStopArgs;
use crate::client::{Client, Patience};
use crate::drill::scope_and_fault;
use crate::exit::{Exit, Fault};
use crate::output::{Output, confirm, say};

/// How many containments are named at the most.
const NAMED_MAX: usize = 5;

pub(super) fn run(args: &DrillStopArgs) -> Result<Exit, Fault> {
    let reason = args.change.may_say_why()?;
    let client = Client::new(&args.change.show.server, Patience::USUAL)?;
    let view = scope_and_fault(&client)?;
    // What is well already is nobody asked about, and is no command.
    let stopped = match view.fault {
        None => DrillStopped {
            ended: None,
            scope: view.scope,
        },
        Some(fault) => {
            let question = format!("end the fault {fault} for {}?", shown(&view.scope));
            confirm(&question, args.change.yes)?;
            client.post(path::DRILL_STOP, &DrillStopRequest { reason })?
        }
    };
    let held = held(&client, &stopped.scope)?;
    let answer = json!({ "ended": stopped.ended, "scope": stopped.scope, "held": held });
    Output::new(args.change.show.json).show(&answer, |_| match stopped.ended {
        Some(fault) => format!("the fault {fault} has ended for {}\n", shown(&stopped.scope)),
        None => "no drill is under way: nothing goes wrong on purpose\n".to_owned(),
    })?;
    for it in held.iter().take(NAMED_MAX) {
        let (id, target) = (it.transaction, Printable(&it.target));
        say(&format!("{id} still holds {target}: `staunch release {id}` lifts it"));
    }
    if held.len() > NAMED_MAX {
        let more = held.len() - NAMED_MAX;
        say(&format!("so do {more} more: `staunch containment list` shows them"));
    }
    Ok(Exit::Ok)
}

fn shown(scope: &[String]) -> String {
    let all: Vec<_> = scope.iter().map(|it| Printable(it).to_string()).collect();
    all.join(", ")
}

/// What is contained in `scope`: of a drill, because nobody has these addresses.
fn held(client: &Client, scope: &[String]) -> Result<Vec<Containment>, Fault> {
    let scope: Vec<IpNet> = scope.iter().filter_map(|it| it.parse().ok()).collect();
    let mut all = client.get::<Containments>(path::CONTAINMENTS, &json!({}))?.containments;
    all.retain(|it| {
        let address = it.target.parse::<IpAddr>();
        address.is_ok_and(|ip| scope.iter().any(|network| network.contains(&ip)))
    });
    Ok(all)
}
