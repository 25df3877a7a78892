//! `staunch drill stop`

use ipnet::IpNet;
use serde_json::json;
use staunch_model::Printable;
use staunch_server::dto::{DrillStopRequest, DrillStopped, path};

use super::containment::{held_in, name_held};
use crate::cli::DrillStopArgs;
use crate::client::{Client, Patience};
use crate::drill::scope_and_fault;
use crate::exit::{Exit, Fault};
use crate::output::{Output, confirm};

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
    // What is contained in the scope is of a drill: nobody has these addresses.
    let scope: Vec<IpNet> = stopped.scope.iter().filter_map(|it| it.parse().ok()).collect();
    let held = held_in(&client, &scope)?;
    let answer = json!({ "ended": stopped.ended, "scope": stopped.scope, "held": held });
    Output::new(args.change.show.json).show(&answer, |_| match stopped.ended {
        Some(fault) => format!("the fault {fault} has ended for {}\n", shown(&stopped.scope)),
        None => "no drill is under way: nothing goes wrong on purpose\n".to_owned(),
    })?;
    name_held(&held);
    Ok(Exit::Ok)
}

fn shown(scope: &[String]) -> String {
    let all: Vec<_> = scope.iter().map(|it| Printable(it).to_string()).collect();
    all.join(", ")
}
