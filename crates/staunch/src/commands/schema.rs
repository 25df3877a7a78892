//! `staunch schema`

use staunch_playbook::{SchemaOf, json_schema};

use crate::cli::{SchemaArgs, SchemaName};
use crate::exit::{Exit, Fault};
use crate::output::Output;
use crate::{config, wiring};

pub(super) fn run(args: &SchemaArgs) -> Result<Exit, Fault> {
    let config = config::load(args.config.config.as_deref())?.config;
    let of = match args.of {
        SchemaName::Playbook => SchemaOf::Playbook,
        SchemaName::Test => SchemaOf::TestFile,
        SchemaName::Snippets => SchemaOf::Snippets,
    };
    let schema = json_schema(of, &wiring::check_context(&config));
    // A schema is JSON for people too.
    Output::new(true).show(&schema, |_| String::new())?;
    Ok(Exit::Ok)
}
