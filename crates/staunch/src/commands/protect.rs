//! `staunch protect`

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;
use staunch_engine::networks::canonical;
use staunch_model::{Printable, Timestamp};
use staunch_server::auth::Right;
use staunch_server::dto::{
    CommandReply, ProtectRequest, ProtectionOrigin, ProtectionQuery, ProtectionView, Protections, UnprotectRequest,
    path,
};

use super::containment::{held_in, name_held};
use crate::cli::{ProtectAddArgs, ProtectCommand, ProtectRemoveArgs, ShowArgs};
use crate::client::{Client, Patience};
use crate::exit::{Exit, Fault};
use crate::output::{Output, Tone, confirm, relative, say, warn, wrap};

/// A protection that was taken back.
#[derive(Serialize)]
struct Removed {
    network: IpNet,
    #[serde(flatten)]
    reply: CommandReply,
}

/// How many are asked for at a time.
const PAGE: u32 = 1_000;

pub(super) fn run(command: &ProtectCommand) -> Result<Exit, Fault> {
    match command {
        ProtectCommand::Add(args) => add(args),
        ProtectCommand::Remove(args) => remove(args),
        ProtectCommand::List { show } => list(show),
        ProtectCommand::Explain { address, show } => explain(*address, show),
    }
}

fn add(args: &ProtectAddArgs) -> Result<Exit, Fault> {
    let show = &args.change.show;
    let reason = args.change.must_say_why()?;
    let client = Client::new(&show.server, Patience::USUAL)?.meaning_to(Right::Respond);
    let network = canonical(args.network);
    if network != args.network {
        say(&format!(
            "{} is a part of {network}, which is what is protected",
            args.network
        ));
    }
    let lasts = args
        .lasts
        .map_or_else(|| "until it is removed".to_owned(), |lasts| format!("for {lasts}"));
    let question = match network.prefix_len() {
        0 => format!("protect {network}, every address there is, so that nothing is contained, {lasts}?"),
        _ => format!("protect {network} from containment {lasts}?"),
    };
    confirm(&question, args.change.yes)?;
    let before = protections(&client, Some(network.addr()))?;
    let replaced = before
        .protections
        .iter()
        .find(|it| it.network == network && it.by.is_some());
    let request = ProtectRequest {
        network,
        lasts: args.lasts,
        reason,
    };
    client.command(path::PROTECT, &request)?;
    if let Some(replaced) = replaced {
        say(&format!("it replaces the protection {}", words(replaced)));
    }
    if network.prefix_len() == 0 {
        say(
            "nothing is contained any more; `staunch mode observe --reason ...` says the same in a way that everybody sees",
        );
    }
    let found = protections(&client, Some(network.addr()))?;
    let added = found
        .protections
        .iter()
        .find(|it| it.network == network && it.origin == ProtectionOrigin::Protected);
    let Some(added) = added else {
        // It was very short, or somebody has taken it back since.
        warn(&format!("{network} was protected, and is no longer"));
        return Ok(Exit::Ok);
    };
    Output::new(show.json).show(added, |output| {
        let until = added.until.map_or_else(
            || "until it is removed".to_owned(),
            |until| format!("until {until} ({})", relative(until, found.now)),
        );
        let text = format!("{network} is protected {until}");
        output.paint(Tone::Strong, &text) + "\n"
    })?;
    // It stays, which the person who protects it may not expect.
    name_held(&held_in(&client, &[network])?);
    Ok(Exit::Ok)
}

fn remove(args: &ProtectRemoveArgs) -> Result<Exit, Fault> {
    let show = &args.change.show;
    let reason = args.change.must_say_why()?;
    let client = Client::new(&show.server, Patience::USUAL)?.meaning_to(Right::Respond);
    let network = canonical(args.network);
    confirm(&format!("protect {network} no longer?"), args.change.yes)?;
    let request = UnprotectRequest { network, reason };
    let reply = client
        .command(path::UNPROTECT, &request)
        .map_err(|fault| match fault.exit {
            Exit::NotFound => fault.hint("`staunch protect list` shows what is protected, and by what"),
            Exit::Refused => fault.hint(
                "change a list in its file, and what the configuration protects under `[never_touch]`; what no \
                 containment can mean cannot be changed",
            ),
            _ => fault,
        })?;
    let removed = Removed { network, reply };
    Output::new(show.json).show(&removed, |_| format!("{network} is protected no longer by a command\n"))?;
    let left = protections(&client, Some(network.addr()))?;
    let around = left.protections.iter().find(|it| it.network.contains(&network));
    if let Some(around) = around {
        say(&format!(
            "it is in {}, which is never touched: {}",
            around.network,
            words(around)
        ));
    }
    Ok(Exit::Ok)
}

fn list(show: &ShowArgs) -> Result<Exit, Fault> {
    let client = Client::new(&show.server, Patience::USUAL)?;
    let found = all_protections(&client)?;
    Output::new(show.json).show(&found, |output| {
        let rows: Vec<_> = found.protections.iter().map(|it| row(it, found.now)).collect();
        output.table(&["network", "by", "ends", "why"], &rows)
    })?;
    Ok(Exit::Ok)
}

fn explain(address: IpAddr, show: &ShowArgs) -> Result<Exit, Fault> {
    let client = Client::new(&show.server, Patience::USUAL)?;
    let found = protections(&client, Some(address))?;
    Output::new(show.json).show(&found, |output| explain_text(output, address, &found))?;
    Ok(Exit::Ok)
}

fn explain_text(output: &Output, address: IpAddr, found: &Protections) -> String {
    let mut text = match found.protections.first() {
        None => format!(
            "{}\n",
            wrap(
                &format!("{address} is in no protected network: the other guards decide"),
                0
            )
        ),
        Some(first) => {
            let why = format!(
                "{address} is never touched: it is in {}, {}",
                first.network,
                words(first)
            );
            output.paint(Tone::Strong, &wrap(&why, 0)) + "\n"
        }
    };
    for it in found.protections.iter().skip(1) {
        text.push_str(&format!(
            "  {}\n",
            wrap(&format!("also in {}, {}", it.network, words(it)), 2)
        ));
    }
    for id in &found.held_by {
        text.push_str(&format!("{id} holds it at present\n"));
    }
    text
}

fn protections(client: &Client, address: Option<IpAddr>) -> Result<Protections, Fault> {
    let query = ProtectionQuery {
        address,
        ..ProtectionQuery::default()
    };
    client.get(path::PROTECTIONS, &query)
}

/// All that is never touched, however many networks lists have.
fn all_protections(client: &Client) -> Result<Protections, Fault> {
    let page = |after| {
        let query = ProtectionQuery {
            address: None,
            limit: Some(PAGE),
            after,
        };
        client.get::<Protections>(path::PROTECTIONS, &query)
    };
    let mut found = page(None)?;
    while let Some(after) = found.next {
        let further = page(Some(after))?;
        found.protections.extend(further.protections);
        (found.next, found.left_out) = (further.next, further.left_out);
    }
    Ok(found)
}

fn row(it: &ProtectionView, now: Timestamp) -> Vec<String> {
    let by = match (&it.file, it.line) {
        (Some(file), Some(line)) => format!("{}:{line}", end_of(file)),
        _ => it.by.clone().unwrap_or_else(|| it.origin.name().to_owned()),
    };
    let why = match it.origin {
        ProtectionOrigin::Trusted if it.reason.is_empty() => "released as a mistake".to_owned(),
        ProtectionOrigin::Trusted => format!("released as a mistake: {}", it.reason),
        _ => it.reason.clone(),
    };
    vec![
        it.network.to_string(),
        Printable(&by).to_string(),
        it.until.map_or_else(String::new, |until| relative(until, now)),
        Printable(&why).to_string(),
    ]
}

/// Where it comes from, and why.
fn words(it: &ProtectionView) -> String {
    let by = it.by.as_deref().unwrap_or_default();
    let mut words = match it.origin {
        ProtectionOrigin::Policy => "which the configuration or this machine has protected".to_owned(),
        ProtectionOrigin::Always => "which no containment can mean".to_owned(),
        ProtectionOrigin::List => {
            let file = it.file.as_deref().unwrap_or_default();
            let line = it.line.unwrap_or_default();
            format!("which line {line} of {} lists", Printable(file))
        }
        ProtectionOrigin::Protected => format!("which {} protects", Printable(by)),
        ProtectionOrigin::Trusted => format!("which {} has released and trusts", Printable(by)),
    };
    if let Some(until) = it.until {
        words.push_str(&format!(" until {until}"));
    }
    if !it.reason.is_empty() {
        words.push_str(&format!(": {}", Printable(&it.reason)));
    }
    words
}

/// The last two parts of a path, which a column has room for; `explain` shows all of it.
fn end_of(path: &str) -> &str {
    path.rmatch_indices('/').nth(1).map_or(path, |(at, _)| &path[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_by_its_end() {
        for (path, end) in [
            ("/etc/staunch/partners.txt", "staunch/partners.txt"),
            ("/partners.txt", "/partners.txt"),
            ("partners.txt", "partners.txt"),
        ] {
            assert_eq!(end_of(path), end);
        }
    }
}
