//! `staunch renew`

use staunch_server::auth::Right;
use staunch_server::dto::{RenewRequest, path};

use crate::cli::RenewArgs;
use crate::client::{Client, Patience};
use crate::exit::{Exit, Fault};
use crate::output::{Output, confirm};

pub(super) fn run(args: &RenewArgs) -> Result<Exit, Fault> {
    let show = &args.change.show;
    let reason = args.change.must_say_why()?;
    let client = Client::new(&show.server, Patience::USUAL)?.meaning_to(Right::Respond);
    confirm(
        &format!("let {} run for {} from now?", args.id, args.lease),
        args.change.yes,
    )?;
    let request = RenewRequest {
        transaction: args.id,
        lease: args.lease,
        shorten: args.shorten,
        reason,
    };
    let reply = client.command(path::RENEW, &request)?;
    Output::new(show.json).show(&reply, |_| {
        format!("{} is being renewed for {} from now\n", args.id, args.lease)
    })?;
    Ok(Exit::Ok)
}
