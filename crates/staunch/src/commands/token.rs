//! `staunch token`

use serde_json::json;
use staunch_server::{FileError, Role, Tokens, TokensError};

use super::{load, load_existing};
use crate::cli::{DataArgs, TokenCommand, TokenRole};
use crate::exit::{Exit, Fault};
use crate::output::{Output, clock, confirm, now, print, say};
use crate::wiring;

pub(super) fn run(command: TokenCommand) -> Result<Exit, Fault> {
    match command {
        TokenCommand::Create { name, role, data, json } => create(&name, role, &data, json),
        TokenCommand::List { data, json } => list(&data, json),
        TokenCommand::Revoke { name, data, yes, json } => revoke(&name, &data, yes, json),
    }
}

fn create(name: &str, role: TokenRole, data: &DataArgs, as_json: bool) -> Result<Exit, Fault> {
    let config = load(data)?;
    wiring::make_data_dir(&config)?;
    let role = match role {
        TokenRole::Sender => Role::Sender,
        TokenRole::Viewer => Role::Viewer,
        TokenRole::Responder => Role::Responder,
        TokenRole::Operator => Role::Operator,
    };
    let tokens = Tokens::load(&config.tokens_file()).map_err(|error| fault(&error))?;
    let token = tokens.create(name, role).map_err(|error| fault(&error))?;
    if as_json {
        return Output::new(true)
            .show(&json!({ "name": name, "role": role.name(), "token": token }), |_| {
                String::new()
            })
            .map(|()| Exit::Ok);
    }
    say("this is the only time the token is shown; a running Staunch accepts it within a second:");
    print(&format!("{token}\n"))?;
    match role {
        Role::Sender => say("hint: senders put it into the header `Authorization: Bearer <token>`"),
        Role::Viewer | Role::Responder | Role::Operator => {
            say("hint: put it into STAUNCH_TOKEN, or into a file that only you can read for --token-file");
        }
    }
    Ok(Exit::Ok)
}

fn list(data: &DataArgs, as_json: bool) -> Result<Exit, Fault> {
    let config = load_existing(data)?;
    let entries = Tokens::load(&config.tokens_file())
        .map_err(|error| fault(&error))?
        .list();
    let all: Vec<_> = entries
        .iter()
        .map(|it| json!({ "name": it.name, "role": it.role.name(), "created": it.created }))
        .collect();
    if entries.is_empty() && !as_json {
        say("there is no token; make one with `staunch token create NAME --role operator`");
    }
    Output::new(as_json).show(&json!({ "tokens": all }), |output| {
        let at = now();
        let row = |it: &staunch_server::TokenEntry| {
            vec![it.name.to_string(), it.role.name().to_owned(), clock(it.created, at)]
        };
        let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
        if rows.is_empty() {
            String::new()
        } else {
            output.table(&["name", "role", "created"], &rows)
        }
    })?;
    Ok(Exit::Ok)
}

fn revoke(name: &str, data: &DataArgs, yes: bool, as_json: bool) -> Result<Exit, Fault> {
    let config = load_existing(data)?;
    let tokens = Tokens::load(&config.tokens_file()).map_err(|error| fault(&error))?;
    if !tokens.list().iter().any(|it| &*it.name == name) {
        return Err(fault(&TokensError::Unknown(name.to_owned())));
    }
    confirm(&format!("make the token {name} worthless?"), yes)?;
    tokens.revoke(name).map_err(|error| fault(&error))?;
    let text = format!(
        "the token {} is revoked; a running Staunch refuses it within a second\n",
        staunch_model::Printable(name)
    );
    Output::new(as_json).show(&json!({ "revoked": name }), |_| text)?;
    Ok(Exit::Ok)
}

/// What an operator is told when the tokens cannot be read or changed.
pub(super) fn fault(error: &TokensError) -> Fault {
    match error {
        TokensError::Unknown(_) => Fault::of(Exit::NotFound, error).hint("`staunch token list` shows the names"),
        TokensError::Name { .. } | TokensError::TooMany => {
            Fault::of(Exit::Usage, error).hint("`staunch token list` shows what there is")
        }
        TokensError::Malformed { .. } => {
            Fault::of(Exit::Usage, error).hint("remove the line; tokens are made with `staunch token create`")
        }
        TokensError::Writable { .. } => {
            Fault::of(Exit::Usage, error).hint("check that nobody has added a token, then run chmod 600 on the file")
        }
        TokensError::Io { source, .. } | TokensError::File(FileError::Read { source, .. })
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            Fault::of(Exit::Denied, error).hint("run it as the user that Staunch runs as")
        }
        TokensError::Io { .. } | TokensError::File(_) | TokensError::Random(_) => Fault::of(Exit::Failed, error)
            .hint("name the data directory with --data-dir, or make it by starting `staunch serve`"),
    }
}
