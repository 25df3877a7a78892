//! `staunch version`

use serde_json::json;

use crate::cli::VersionArgs;
use crate::exit::{Exit, Fault};
use crate::output::Output;

pub(super) fn run(args: &VersionArgs) -> Result<Exit, Fault> {
    let version = env!("CARGO_PKG_VERSION");
    let answer = json!({ "name": "staunch", "version": version });
    Output::new(args.json).show(&answer, |_| format!("staunch {version}\n"))?;
    Ok(Exit::Ok)
}
