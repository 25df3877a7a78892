//! `staunch approve` and `staunch deny`

use serde_json::json;
use staunch_model::{Command, Printable, TransactionId};
use staunch_server::auth::Right;
use staunch_server::dto::{Approvals, Commands, DecisionRequest, Transactions, path};

use super::containment::{approvals_text, guards_that_ask};
use crate::cli::{ApproveArgs, ChangeArgs, DenyArgs};
use crate::client::{Client, Patience};
use crate::exit::{Exit, Fault};
use crate::output::{Output, confirm};

/// How many commands are looked through for the decision of somebody else.
const COMMANDS_LOOKED_AT: u32 = 200;

pub(super) fn approve(args: &ApproveArgs) -> Result<Exit, Fault> {
    let show = &args.change.show;
    let decided = match args.id {
        Some(id) => Some((id, args.change.must_say_why()?)),
        None => None,
    };
    let client = Client::new(&show.server, Patience::USUAL)?;
    let client = client.meaning_to(if decided.is_some() { Right::Respond } else { Right::Look });
    let waiting: Approvals = client.get(path::APPROVALS, &json!({}))?;
    let Some((transaction, reason)) = decided else {
        Output::new(show.json).show(&waiting, |output| approvals_text(output, &waiting))?;
        return Ok(Exit::Ok);
    };
    let request = DecisionRequest { transaction, reason };
    decide(&client, &waiting, &request, &args.change, true)
}

pub(super) fn deny(args: &DenyArgs) -> Result<Exit, Fault> {
    let request = DecisionRequest {
        transaction: args.id,
        reason: args.change.must_say_why()?,
    };
    let client = Client::new(&args.change.show.server, Patience::USUAL)?.meaning_to(Right::Respond);
    let waiting: Approvals = client.get(path::APPROVALS, &json!({}))?;
    decide(&client, &waiting, &request, &args.change, false)
}

/// Why `id` does not wait: most often somebody else was quicker.
fn not_waiting(client: &Client, id: TransactionId) -> Fault {
    let recent: Option<Commands> = client.get(path::COMMANDS, &json!({ "limit": COMMANDS_LOOKED_AT })).ok();
    let decision = recent.iter().flat_map(|it| &it.commands).find_map(|it| {
        let verb = match serde_json::from_value(it.command.clone()).ok()? {
            Command::Approve(decided) if decided == id => "approved",
            Command::Deny(decided) if decided == id => "denied",
            _ => return None,
        };
        it.refused.is_none().then_some((verb, it))
    });
    let Some((verb, it)) = decision else {
        if is_unknown(client, id) {
            let fault = Fault::new(Exit::NotFound, format!("there is no {id}"));
            return fault.hint("`staunch approve` without a transaction lists what waits");
        }
        let fault = Fault::new(Exit::NotFound, format!("{id} does not wait for a decision"));
        return fault.hint(
            "it may have lapsed, or never have needed one: `staunch incident show` of its incident says which; `staunch \
             approve` without a transaction lists what waits",
        );
    };
    let (by, reason) = (Printable(&it.by), Printable(&it.reason));
    let why = if it.reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    };
    Fault::new(Exit::Refused, format!("{id} was {verb} by {by} at {}{why}", it.at))
        .hint("`staunch release` lifts what was approved; `staunch approve` without a transaction lists what waits")
}

/// Whether there is no transaction `id`; false when that cannot be told.
fn is_unknown(client: &Client, id: TransactionId) -> bool {
    let Some(above) = id.0.checked_add(1).map(TransactionId) else {
        return true;
    };
    let query = json!({ "before": above, "limit": 1 });
    // What the server does not answer here is no reason for a fault: the one of who asks is told in any case.
    let found: Option<Transactions> = client.get(path::TRANSACTIONS, &query).ok();
    found.is_some_and(|it| it.index.lag == Some(0) && it.transactions.first().is_none_or(|it| it.id != id))
}

fn decide(
    client: &Client,
    waiting: &Approvals,
    request: &DecisionRequest,
    change: &ChangeArgs,
    yes: bool,
) -> Result<Exit, Fault> {
    let id = request.transaction;
    let Some(approval) = waiting.approvals.iter().find(|approval| approval.transaction == id) else {
        return Err(not_waiting(client, id));
    };
    let target = Printable(&approval.target);
    let act = format!(
        "{} {target} for {} ({})",
        approval.action, approval.lease, approval.incident
    );
    let question = if yes {
        format!("{}let {id} act: {act}?", guards_that_ask(approval))
    } else {
        format!("refuse {id}: {act}?")
    };
    confirm(&question, change.yes)?;
    let reply = client.command(if yes { path::APPROVE } else { path::DENY }, request)?;
    Output::new(change.show.json).show(&reply, |_| {
        if yes {
            format!("{id} is approved; the checks are made again before it acts\n")
        } else {
            format!("{id} is refused\n")
        }
    })?;
    Ok(Exit::Ok)
}
