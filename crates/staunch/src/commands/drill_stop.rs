//! `staunch drill stop`

use ipnet::IpNet;
use serde_json::json;
use staunch_model::{DrillId, Printable};
use staunch_server::auth::Right;
use staunch_server::dto::{DrillStopRequest, DrillStopped, path};

use super::containment::{held_in, name_held};
use crate::cli::DrillStopArgs;
use crate::client::{Client, Patience};
use crate::drill::scope_and_fault;
use crate::exit::{Exit, Fault};
use crate::output::{Output, confirm};

pub(super) fn run(args: &DrillStopArgs) -> Result<Exit, Fault> {
    let reason = args.change.may_say_why()?;
    let client = Client::new(&args.change.show.server, Patience::USUAL)?.meaning_to(Right::Respond);
    let view = scope_and_fault(&client)?;
    // What is well already is nobody asked about, and is no command.
    let stopped = match view.fault {
        Some(fault) => {
            let mut only = args.drill;
            if only.is_none() || only == view.drill {
                let of = of_drill(view.drill);
                let question = format!("end the fault {fault}{of} for {}?", shown(&view.scope));
                confirm(&question, args.change.yes)?;
                // The yes of a person is for what was shown; another drill may have begun meanwhile.
                only = only.or(view.drill.filter(|_| !args.change.yes));
            }
            client.post(path::DRILL_STOP, &DrillStopRequest { drill: only, reason })?
        }
        None => DrillStopped {
            ended: None,
            drill: None,
            scope: view.scope,
            under_way: None,
        },
    };
    // What is contained in the scope is of a drill: nobody has these addresses.
    let scope: Vec<IpNet> = stopped.scope.iter().filter_map(|it| it.parse().ok()).collect();
    let held = held_in(&client, &scope)?;
    let answer = json!({
        "ended": stopped.ended, "drill": stopped.drill, "scope": stopped.scope, "under_way": stopped.under_way,
        "held": held,
    });
    Output::new(args.change.show.json).show(&answer, |_| text(&stopped))?;
    name_held(&held);
    Ok(Exit::Ok)
}

fn text(stopped: &DrillStopped) -> String {
    match (stopped.ended, stopped.drill, &stopped.under_way) {
        (Some(fault), drill, _) => {
            let of = of_drill(drill);
            format!("the fault {fault}{of} has ended for {}\n", shown(&stopped.scope))
        }
        (_, _, Some(other)) => {
            format!(
                "nothing has ended: {} is under way, the fault {}\n",
                other.id, other.fault
            )
        }
        _ => "no drill is under way: nothing goes wrong on purpose\n".to_owned(),
    }
}

/// A server of an earlier version gives its drills no ids.
fn of_drill(drill: Option<DrillId>) -> String {
    drill.map_or_else(String::new, |drill| format!(" of {drill}"))
}

fn shown(scope: &[String]) -> String {
    let all: Vec<_> = scope.iter().map(|it| Printable(it).to_string()).collect();
    all.join(", ")
}
