//! The incident that the later scenes follow to its end: a process of the web server that calls an attacker.

use std::fs;
use std::path::Path;

use anyhow::Result;
use nix::unistd::{AccessFlags, access};
use serde_json::{Value, json};
use staunch_connectors::actions::freeze_process::cgroup2_mount;
use staunch_connectors::enrichers::is_in_first_pid_namespace;
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;

use crate::stage::{Beacon, OTHERS, Setup, Stage};

/// Whom the process calls.
pub(super) const CALLED: std::net::Ipv4Addr = OTHERS[3];

/// Where nothing can be frozen, the lines about the process are left out.
const PLAYBOOK: &str = r#"playbook: demo-beacon
summary: Keep what a process is that calls an attacker, then stop it.
trigger:
  sources: [falco]
  when: event.severity >= high
  incident: 'event.raw.output_fields["proc.pid"]'
preserve:
  - process: { target: 'event.raw.output_fields["proc.pid"]' }
  - sockets
  - flows: { target: 'event.raw.output_fields["fd.sip"]' }
contain:
  - block-ip: { target: 'event.raw.output_fields["fd.sip"]', lease: 10m }
  - freeze-process: { target: 'event.raw.output_fields["proc.pid"]', lease: 10m }
recover:
  - release: { actions: [freeze-process, block-ip] }
mode: { low: enforce, medium: enforce, high: observe }
"#;

/// How the program is set up, where processes can be frozen (`freezes`) and where they cannot.
pub(super) fn setup(freezes: bool) -> Setup {
    let (configuration, playbook) = if freezes {
        ("[processes]\nenabled = true\n", PLAYBOOK.to_owned())
    } else {
        let kept = PLAYBOOK.lines().filter(|line| !line.contains("process: {"));
        let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
        ("", kept.replace("freeze-process, ", ""))
    };
    Setup {
        log_level: "error",
        configuration,
        playbooks: vec![("demo-beacon.yaml", playbook)],
    }
}

/// Whether this user may make groups of cgroup v2 inside of the own one and move processes between them, and whether
/// processes have the numbers here that sensors report, which is what it takes to freeze one.
pub(super) fn can_freeze() -> bool {
    if !is_in_first_pid_namespace(Path::new("/proc")).unwrap_or(false) {
        return false;
    }
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let Some((mount, own)) = cgroup2_mount(Path::new("/proc")).ok().zip(own) else {
        return false;
    };
    let own = mount.join(own);
    let probe = own.join(format!("staunch-demo-{}", std::process::id()));
    let moves = access(&own.join("cgroup.procs"), AccessFlags::W_OK).is_ok();
    moves && fs::create_dir(&probe).and_then(|()| fs::remove_dir(&probe)).is_ok()
}

/// The incident under way.
pub(super) struct Case {
    /// Its name, such as `INC-6`; empty until there is one.
    pub(super) incident: String,
    pub(super) beacon: Beacon,
    /// What its playbook does, in the order in which a recovery lifts it.
    pub(super) acts: &'static [&'static str],
}

impl Case {
    /// Starts the process.
    pub(super) fn begin(stage: &Stage, freezes: bool) -> Result<Self> {
        Ok(Self {
            incident: String::new(),
            beacon: Beacon::start(stage, CALLED)?,
            acts: if freezes {
                &["freeze-process", "block-ip"]
            } else {
                &["block-ip"]
            },
        })
    }

    pub(super) fn freezes(&self) -> bool {
        self.acts.contains(&"freeze-process")
    }

    /// What Falco says of it, in the format that it has with `json_output`.
    pub(super) fn alert(&self) -> Result<Value> {
        let host = fs::read_to_string("/proc/sys/kernel/hostname")?;
        Ok(json!({
            "hostname": host.trim(),
            "priority": "Critical",
            "rule": "Outbound Connection to C2 Servers",
            "source": "syscall",
            "time": SystemClock.now().to_string(),
            "output": "Outbound connection to C2 server",
            "output_fields": {
                "proc.pid": self.beacon.pid(),
                "proc.name": "sh",
                "fd.sip": self.beacon.called.ip(),
                "fd.sport": self.beacon.called.port(),
            }
        }))
    }
}
