//! What a policy takes of the journal.

use staunch_model::{Input, Policy};
use staunch_runtime::{pinned_bytes, pinned_bytes_max};

use super::journal_options;
use crate::config::Config;
use crate::exit::{Exit, Fault};

/// Whether a frame of the journal of `config` can pin `policy`, and has room for what is due besides.
///
/// # Errors
/// [`Fault`] with a way out. Without this check a server that starts with it would end.
pub(crate) fn check_size(config: &Config, policy: &Policy) -> Result<(), Fault> {
    let input = Input::Policy(policy.clone().into());
    let bytes = pinned_bytes(&input);
    let max = pinned_bytes_max(journal_options(config).payload_bytes_max);
    if bytes <= max {
        return Ok(());
    }
    let (networks, playbooks) = (policy.never_touch.len(), policy.playbooks.len());
    let what = format!(
        "{playbooks} playbooks and {networks} protected networks take {bytes} bytes of the journal at once, where {max} \
         are possible"
    );
    Err(Fault::new(Exit::Usage, what).hint(
        "name protected networks in files (`[[never_touch.files]]`), which are taken in parts, or let segments be larger \
         (`journal.segment_bytes`)",
    ))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use staunch_model::Protection;

    use super::*;

    fn with(networks: u32) -> (Config, Policy) {
        let mut config = Config::default();
        config.journal.segment_bytes = 8 << 20;
        let mut policy = super::super::policy(&config, &[], &[], &[]);
        policy.never_touch = (0..networks)
            .map(|at| Protection {
                network: std::net::IpAddr::from(Ipv4Addr::from_bits(at)).into(),
                reason: "an office".into(),
            })
            .collect();
        (config, policy)
    }

    #[test]
    fn a_policy_that_no_frame_holds_is_refused_with_a_way_out() {
        let (config, policy) = with(10_000);
        assert!(check_size(&config, &policy).is_ok());
        let (config, policy) = with(40_000);
        let fault = check_size(&config, &policy).expect_err("it is too large");
        let text = fault.render(false, false);
        assert!(
            text.contains("40000 protected networks") && text.contains("never_touch.files"),
            "{text}"
        );
    }
}
