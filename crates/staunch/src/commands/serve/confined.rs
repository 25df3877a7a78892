//! Leaves a server no more than it needs, and says what it is not held to.

use crate::config::Config;
use crate::exit::Fault;
use crate::sandbox::{self, Files, Needs};
use crate::wiring;

/// Leaves this process no more than a server with `config` needs. Returns what the kernel does not hold it to.
///
/// # Errors
/// When its directories cannot be made, or the kernel refuses what it says it knows of Landlock.
pub(super) fn enter_sandbox(config: &Config) -> Result<Vec<String>, Fault> {
    wiring::make_data_dir(config)?;
    if config.archive.enabled {
        let hint = "make it and give it to this user, or name another as `dir` under [archive]";
        wiring::make_private_dir(&config.archive_dir()).map_err(|fault| fault.hint(hint))?;
    }
    let entered = sandbox::enter(&Needs::of(config))?;
    let mut gaps = Vec::new();
    if let Some(error) = entered.calls {
        gaps.push(format!("this process is refused no system call: {error}"));
    }
    match entered.files {
        Files::Restricted => tracing::info!("this process may write in its own directories only"),
        Files::Partly => {
            tracing::info!("this process may write in its own directories only, as far as this kernel knows");
        }
        Files::Open => gaps.push(
            "this process may write wherever its user may: the kernel has no Landlock that serves, or a unit refuses it"
                .to_owned(),
        ),
    }
    for gap in &gaps {
        tracing::warn!("{gap}");
    }
    Ok(gaps)
}
