//! What happens outside of the engine: starts, events, sweeps, and what others do to the world.

use staunch_engine::sweep::{Reading, compare};
use staunch_model::{ActionKind, Failure, FailureKind, Input, InstallationId, Owner, Timestamp};

use super::Sim;
use crate::build;

impl Sim {
    pub(crate) fn start(&mut self) {
        self.input(Input::Started {
            installation: InstallationId([7; 8]),
            build: "test".into(),
        });
    }

    /// An event of `playbook` about `ip`, which is also its key.
    pub(crate) fn event(&mut self, playbook: &str, ip: &str) {
        self.event_about(playbook, ip, &[ip]);
    }

    /// An event with several steps.
    pub(crate) fn event_about(&mut self, playbook: &str, key: &str, targets: &[&str]) {
        let event = build::event(Some(self.now)).into();
        self.input(Input::Event {
            event,
            matches: vec![build::matched(playbook, key, targets)],
        });
    }

    /// An event of this time by the source's clock.
    pub(crate) fn event_at(&mut self, playbook: &str, ip: &str, time: Option<Timestamp>) {
        let matches = vec![build::matched(playbook, ip, &[ip])];
        self.input(Input::Event {
            event: staunch_model::Event {
                received: self.now,
                ..build::event(time)
            }
            .into(),
            matches,
        });
    }

    /// The drift sweep reads the world and reports.
    pub(crate) fn sweep(&mut self) {
        self.world.at(self.now);
        let reading = Reading {
            kind: ActionKind::BlockIp,
            begun: self.now,
            found: Ok((self.world.owned().collect(), self.world.enforcing)),
            unread: Vec::new(),
        };
        let findings = compare(self.state(), &[reading]);
        self.input(Input::Swept(findings));
    }

    pub(crate) fn sweep_fails(&mut self) {
        let found = Err(Failure::new(FailureKind::Unavailable, "netlink is busy"));
        let reading = Reading {
            kind: ActionKind::BlockIp,
            begun: self.now,
            found,
            unread: Vec::new(),
        };
        let findings = compare(self.state(), &[reading]);
        self.input(Input::Swept(findings));
    }

    pub(crate) fn foreign(&mut self, ip: &str) {
        self.world
            .tamper(build::target(ip), Some(Owner::Foreign("fail2ban".into())));
    }

    pub(crate) fn vanish(&mut self, ip: &str) {
        self.world.tamper(build::target(ip), None);
    }
}
