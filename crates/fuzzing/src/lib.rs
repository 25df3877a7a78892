//! What every fuzz target does with its bytes, and the properties it holds them to. Development only.
//!
//! Never makes bytes by itself: the workspace in `fuzz/` calls these functions with what libFuzzer makes, and the tests
//! of this crate call them with the committed corpora and regressions. A property that does not hold is a panic.

pub mod age;
pub mod archive;
pub mod bodies;
pub mod cel;
pub mod configuration;
pub mod context;
pub mod custody;
pub mod feeds;
pub mod format;
pub mod frames;
pub mod geo;
pub mod http;
pub mod job;
pub mod journal;
pub mod journald;
pub mod lists;
pub mod logins;
pub mod logs;
pub mod lookups;
pub mod made;
pub mod netlink;
pub mod own_addresses;
pub mod playbook;
pub mod proc;
pub mod segment;
pub mod shadow;
mod shown;
pub mod sigma;
pub mod sntp;
pub mod sources;
pub mod syslog;
pub mod tlog;
pub mod unbound;
pub mod unpack;

/// The program has no library: its configuration is compiled from the same files.
#[path = "../../staunch/src"]
#[allow(dead_code, unused_imports, reason = "only the parser of the configuration is used")]
#[allow(clippy::print_stderr, clippy::print_stdout, reason = "the program talks to people")]
mod program {
    pub(crate) mod config;
    pub(crate) mod exit;
    pub(crate) mod files;
    pub(crate) mod note;
    pub(crate) mod output;
    pub(crate) mod whole;
}
use program::{config, exit, files, note, output, whole};

/// What the unit tests of those files name. They are compiled here when everything is, and run with the program only.
#[cfg(test)]
mod cli {
    pub(crate) mod tests {
        pub(crate) fn check_reference(_: &str, _: &str) {
            panic!("the references are checked by the tests of the program");
        }
    }
}

/// A fuzz target: its name, and what it does with bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of the binary in `fuzz/fuzz_targets`, and of its folders of inputs.
    pub name: &'static str,
    /// Takes any bytes; panics when a property does not hold.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "suricata",
        run: sources::suricata,
    },
    Target {
        name: "sigma",
        run: sigma::run,
    },
    Target {
        name: "feeds",
        run: feeds::run,
    },
    Target {
        name: "context",
        run: context::run,
    },
    Target {
        name: "geo",
        run: geo::run,
    },
    Target {
        name: "lists",
        run: lists::run,
    },
    Target {
        name: "logins",
        run: logins::run,
    },
    Target {
        name: "logs",
        run: logs::run,
    },
    Target {
        name: "job",
        run: job::run,
    },
    Target {
        name: "lookups",
        run: lookups::run,
    },
    Target {
        name: "falco",
        run: sources::falco,
    },
    Target {
        name: "guardduty",
        run: sources::guardduty,
    },
    Target {
        name: "cloudtrail",
        run: sources::cloudtrail,
    },
    Target {
        name: "alertmanager",
        run: sources::alertmanager,
    },
    Target {
        name: "kubernetes_audit",
        run: sources::kubernetes_audit,
    },
    Target {
        name: "crowdsec",
        run: sources::crowdsec,
    },
    Target {
        name: "ocsf",
        run: sources::ocsf,
    },
    Target {
        name: "wazuh",
        run: sources::wazuh,
    },
    Target {
        name: "okta",
        run: sources::okta,
    },
    Target {
        name: "cloudevents",
        run: sources::cloudevents,
    },
    Target {
        name: "auditd",
        run: sources::auditd,
    },
    Target {
        name: "syslog",
        run: syslog::run,
    },
    Target {
        name: "unbound",
        run: unbound::run,
    },
    Target {
        name: "age",
        run: age::run,
    },
    Target {
        name: "sntp",
        run: sntp::run,
    },
    Target {
        name: "custody",
        run: custody::run,
    },
    Target {
        name: "archive",
        run: archive::run,
    },
    Target {
        name: "tlog",
        run: tlog::run,
    },
    Target {
        name: "generic",
        run: sources::generic,
    },
    Target {
        name: "bodies",
        run: bodies::run,
    },
    Target {
        name: "playbook",
        run: playbook::run,
    },
    Target {
        name: "configuration",
        run: configuration::run,
    },
    Target {
        name: "cel",
        run: cel::run,
    },
    Target {
        name: "segment",
        run: segment::run,
    },
    Target {
        name: "journal",
        run: journal::run,
    },
    Target {
        name: "frames",
        run: frames::run,
    },
    Target {
        name: "netlink",
        run: netlink::run,
    },
    Target {
        name: "http",
        run: http::run,
    },
    Target {
        name: "journald",
        run: journald::run,
    },
    Target {
        name: "own_addresses",
        run: own_addresses::run,
    },
    Target {
        name: "proc",
        run: proc::run,
    },
    Target {
        name: "shadow",
        run: shadow::run,
    },
    Target {
        name: "unpack",
        run: unpack::run,
    },
];
