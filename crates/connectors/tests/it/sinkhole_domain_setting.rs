//! Real resolvers, each in a directory of its own and on loopback only, and hands to look at them without the code
//! under test.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use staunch_connectors::actions::sinkhole_domain::{Sinkhole, UnboundOptions, UnboundSinkhole};
use staunch_model::{InstallationId, Target};
use tempfile::TempDir;

use crate::block_ip_setting::until;

pub(crate) const OURS: InstallationId = InstallationId([0xa0; 8]);
pub(crate) const THEIRS: InstallationId = InstallationId([0xb0; 8]);

/// Why there can be no resolver; `None` when there can be.
pub(crate) fn missing() -> Option<String> {
    let found = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut dirs = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
        dirs.any(|dir| dir.join(program).is_file())
    };
    (!found("unbound") || !found("unbound-control")).then(|| "unbound is not installed".to_owned())
}

/// A running Unbound, which is ended when it is dropped.
pub(crate) struct Resolver {
    dir: TempDir,
    port: u16,
    server: Option<Child>,
}

impl Resolver {
    /// One that knows what `lines` of its `server` section say, and passes nothing on.
    pub(crate) fn start(lines: &str) -> Self {
        Self::passing_on(lines, None)
    }

    /// The same; what it does not know it asks `upstream`.
    pub(crate) fn passing_on(lines: &str, upstream: Option<&Self>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        let at = dir.path().display();
        // Without a place to ask, it asks itself, and gives up.
        let to = upstream.map_or(port, |it| it.port);
        let config = format!(
            "server:\n directory: \"{at}\"\n chroot: \"\"\n username: \"\"\n do-daemonize: no\n use-syslog: no\n \
             pidfile: \"{at}/pid\"\n interface: 127.0.0.1\n port: {port}\n do-ip6: no\n do-tcp: no\n \
             do-not-query-localhost: no\n module-config: \"iterator\"\n num-threads: 1\n{lines}\n\
             remote-control:\n control-enable: yes\n control-interface: \"{at}/ctl\"\n\
             forward-zone:\n name: \".\"\n forward-addr: 127.0.0.1@{to}\n"
        );
        fs::write(dir.path().join("conf"), config).unwrap();
        drop(free);
        let mut resolver = Self {
            dir,
            port,
            server: None,
        };
        resolver.run();
        resolver
    }

    /// Starts it where it is stopped, with nothing but its configuration.
    pub(crate) fn run(&mut self) {
        let child = Command::new("/usr/sbin/unbound")
            .args(["-d", "-c"])
            .arg(self.dir.path().join("conf"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        self.server = Some(child);
        until("the resolver answers", || {
            let ended = self.server.as_mut().unwrap().try_wait().unwrap();
            let log = || fs::read_to_string(self.dir.path().join("log"));
            assert!(ended.is_none(), "{:?}", log());
            self.tell(&["status"])
        });
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
        // As it would be after it has ended by itself.
        drop(fs::remove_file(self.control()));
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.dir.path().join("ctl")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) fn options(&self, installation: InstallationId) -> UnboundOptions {
        UnboundOptions {
            control: self.control(),
            resolver: Some(self.address()),
            // The machine may be busy.
            timeout: Duration::from_secs(20),
            list_timeout: Duration::from_secs(20),
            ..UnboundOptions::new(installation)
        }
    }

    pub(crate) fn driver(&self, installation: InstallationId) -> UnboundSinkhole {
        UnboundSinkhole::new(self.options(installation))
    }

    pub(crate) fn driver_to(&self, answer: Sinkhole) -> UnboundSinkhole {
        UnboundSinkhole::new(UnboundOptions {
            answer,
            ..self.options(OURS)
        })
    }

    /// What `unbound-control` says; `None` when it fails.
    pub(crate) fn tell(&self, words: &[&str]) -> Option<String> {
        let output = Command::new("/usr/sbin/unbound-control")
            .arg("-c")
            .arg(self.dir.path().join("conf"))
            .args(words)
            .output()
            .unwrap();
        output
            .status
            .success()
            .then(|| String::from_utf8(output.stdout).unwrap())
    }

    #[track_caller]
    pub(crate) fn does(&self, words: &[&str]) {
        assert!(self.tell(words).is_some(), "{words:?}");
    }

    /// The type of the zone of exactly this name.
    pub(crate) fn zone(&self, name: &str) -> Option<String> {
        let zones = self.tell(&["list_local_zones"]).unwrap();
        let found = zones.lines().find_map(|it| it.strip_prefix(&format!("{name}. ")));
        found.map(str::to_owned)
    }

    /// The data of exactly this name, each as its type and its value.
    pub(crate) fn data(&self, name: &str) -> Vec<String> {
        let data = self.tell(&["list_local_data"]).unwrap();
        let mut found = Vec::new();
        for line in data.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            if fields[0] == format!("{name}.") {
                found.push(format!("{} {}", fields[3], fields[4]));
            }
        }
        found
    }

    /// Asks it of the IPv4 address of `name`.
    pub(crate) fn resolve(&self, name: &str) -> Resolved {
        resolve(self.address(), name)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a resolver says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// It does not exist, and for how long others may keep that is not said.
    NoSuchName,
    /// The newest of its addresses.
    Address([u8; 4]),
    /// It has none.
    NoAddress,
    /// It could not be found out.
    Failed(u8),
}

/// Asks as any program of the machine does.
pub(crate) fn resolve(resolver: SocketAddr, name: &str) -> Resolved {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(resolver).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    socket.send(&question).unwrap();
    let mut buffer = [0; 512];
    let count = socket.recv(&mut buffer).unwrap();
    let answer = &buffer[..count];
    let [answers, authorities] = [[answer[6], answer[7]], [answer[8], answer[9]]].map(u16::from_be_bytes);
    match (answer[3] & 0x0f, answers) {
        (3, _) => {
            assert_eq!(authorities, 0, "an SOA would say for how long it is kept");
            Resolved::NoSuchName
        }
        (0, 0) => Resolved::NoAddress,
        // An A record is the last thing in it.
        (0, _) => Resolved::Address(answer[count - 4..].try_into().unwrap()),
        (code, _) => Resolved::Failed(code),
    }
}

pub(crate) fn domain(name: &str) -> Target {
    Target::Domain(name.parse().unwrap())
}
