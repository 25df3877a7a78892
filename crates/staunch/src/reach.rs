//! What stays reachable while this machine is isolated: the networks that it is managed from, who is logged in to it,
//! and the services that Staunch calls.
//!
//! Where those who are logged in are to stay in touch, one thread is outside of the sandbox and reads the environments
//! of sessions, and nothing else: Landlock may keep them from those inside (as in `finding.rs`; Linux 6.18 shows them
//! to root all the same). Names are looked up ahead of time by another thread, inside of it, because a name server may
//! be slow and an isolation must not be.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use nix::unistd::geteuid;
use staunch_connectors::actions::isolate_host::{LIFELINES_WAIT, Lifelines};
use staunch_connectors::enrichers::Sessions;
use staunch_netlink::nftables::{ALLOWED_MAX, Allowed, Transport};

use crate::called::Endpoint;
use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::names::Names;

/// The most sessions and the most addresses of services that are left reachable.
const SESSIONS_MAX: usize = 64;
const SERVICES_MAX: usize = 64;

/// 64 networks of management, as the configuration allows, are the rest.
const _: () = assert!(SESSIONS_MAX + SERVICES_MAX + 64 <= ALLOWED_MAX);

/// The port of the domain name system.
const DNS: u16 = 53;

/// The answer to the question what stays reachable.
pub(crate) struct Reach {
    management: Vec<Allowed>,
    services: Arc<Names>,
    /// Who tells who is logged in; nobody unless they are to stay in touch.
    sessions: Option<SyncSender<SyncSender<Vec<IpAddr>>>>,
}

impl Reach {
    /// Starts what has to be outside of the sandbox; nothing when this machine is never to be isolated.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn start(config: &Config, services: Arc<Names>) -> Result<Option<Arc<dyn Lifelines>>, Fault> {
        if !config.isolation.enabled {
            return Ok(None);
        }
        let management = config.isolation.management.iter().map(|network| Allowed::Network {
            address: network.addr(),
            prefix: network.prefix_len(),
        });
        let sessions = if config.isolation.keep_sessions {
            let (sessions, asked) = sync_channel(1);
            let thread = thread::Builder::new().name("sessions".into());
            thread
                .spawn(move || tell_sessions(&asked))
                .map_err(|error| cannot(&error))?;
            Some(sessions)
        } else {
            None
        };
        Ok(Some(Arc::new(Self {
            management: management.collect(),
            services,
            sessions,
        })))
    }

    /// Whom this machine asks for names, and the services that Staunch calls.
    fn services(&self) -> Vec<Allowed> {
        let (resolvers, called) = self.services.reachable();
        let called = called
            .into_iter()
            .filter_map(|(endpoint, address)| service(address, endpoint));
        let mut all: Vec<Allowed> = resolvers.into_iter().flat_map(resolver).chain(called).collect();
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|it| seen.insert(*it));
        all.truncate(SERVICES_MAX);
        all
    }
}

fn cannot(error: &std::io::Error) -> Fault {
    Fault::doing(Exit::Failed, "cannot start a thread", error)
}

impl Lifelines for Reach {
    fn reachable(&self) -> Vec<Allowed> {
        let peers = self.sessions.as_ref().map_or_else(Vec::new, |sessions| {
            let (answer, answers) = sync_channel(1);
            let asked = sessions.try_send(answer);
            let peers = asked.ok().and_then(|()| answers.recv_timeout(LIFELINES_WAIT).ok());
            peers.unwrap_or_else(|| {
                tracing::warn!("whether somebody is logged in was not told in time: the networks of management stay");
                Vec::new()
            })
        });
        if peers.len() > SESSIONS_MAX {
            tracing::warn!(
                sessions = peers.len(),
                "more are logged in than stay reachable; those of the networks of management do"
            );
        }
        let sessions = peers.into_iter().take(SESSIONS_MAX).map(|address| Allowed::Network {
            address,
            prefix: if address.is_ipv4() { 32 } else { 128 },
        });
        let mut all: Vec<Allowed> = self
            .management
            .iter()
            .copied()
            .chain(sessions)
            .chain(self.services())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

fn tell_sessions(asked: &Receiver<SyncSender<Vec<IpAddr>>>) {
    for answer in asked {
        // Who asked may have given up.
        drop(answer.try_send(Sessions::default().peers().into_keys().collect()));
    }
}

/// A resolver at an address.
fn resolver(address: IpAddr) -> [Allowed; 2] {
    [Transport::Udp, Transport::Tcp].map(|transport| Allowed::Service {
        address,
        transport,
        port: DNS,
        // A resolver on this machine runs as a user of its own.
        user: None,
    })
}

/// What is called at an address, by sockets of the user that Staunch runs as; nothing on this machine itself.
fn service(address: IpAddr, endpoint: &Endpoint) -> Option<Allowed> {
    (!address.is_loopback()).then(|| Allowed::Service {
        address: address.to_canonical(),
        transport: if endpoint.is_udp {
            Transport::Udp
        } else {
            Transport::Tcp
        },
        port: endpoint.port,
        user: Some(geteuid().as_raw()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(address: &str, port: u16) -> Allowed {
        Allowed::Service {
            address: address.parse().expect("an address"),
            transport: Transport::Tcp,
            port,
            user: Some(geteuid().as_raw()),
        }
    }

    #[test]
    fn management_and_what_staunch_calls_stay_reachable() {
        let text = "[isolation]\nenabled = true\nmanagement = [\"192.0.2.0/24\", \"2001:db8::1\"]\n\
                    [telemetry]\notlp = \"http://198.51.100.1:4318\"\n\
                    [[feeds]]\nname = \"a\"\nurl = \"https://198.51.100.2/list\"\nformat = \"plain\"\n\
                    [[feeds]]\nname = \"b\"\nurl = \"http://127.0.0.1/list\"\nformat = \"plain\"\n\
                    [evidence]\nclock = \"198.51.100.3\"\n";
        let config = crate::config::parse(text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        let reach = Reach::start(&config, Names::of(&config))
            .expect("there are threads")
            .expect("it is enabled");
        let all = reach.reachable();
        let network = |address: &str, prefix| Allowed::Network {
            address: address.parse().expect("an address"),
            prefix,
        };
        let time_server = Allowed::Service {
            address: "198.51.100.3".parse().expect("an address"),
            transport: Transport::Udp,
            port: 123,
            user: Some(geteuid().as_raw()),
        };
        for expect in [
            time_server,
            network("192.0.2.0", 24),
            network("2001:db8::1", 128),
            called("198.51.100.1", 4_318),
            called("198.51.100.2", 443),
        ] {
            assert!(all.contains(&expect), "{expect:?}: {all:?}");
        }
        let services = all.iter().filter(|it| matches!(it, Allowed::Service { .. }));
        assert_eq!(services.count(), 3, "this machine itself is reached anyway: {all:?}");
        let nothing = Config::default();
        let nothing = Reach::start(&nothing, Names::of(&nothing)).expect("nothing is started");
        assert!(nothing.is_none());
    }

    #[test]
    fn a_machine_is_managed_from_somewhere_and_not_from_everywhere() {
        let many = (0..65)
            .map(|it| format!("\"192.0.2.{it}\""))
            .collect::<Vec<_>>()
            .join(", ");
        for (text, expect) in [
            ("[isolation]\nenabled = true\n", "management is missing"),
            ("[isolation]\nmanagement = [\"0.0.0.0/0\"]\n", "is everything"),
            (
                "[isolation]\nmanagement = [\"192.0.2.1\", \"::/0\"]\n",
                "::/0 is everything",
            ),
            (&format!("[isolation]\nmanagement = [{many}]\n"), "65 networks"),
            (
                "[nftables]\ntable = \"a_isolation\"\n",
                "by which this machine is isolated",
            ),
        ] {
            let mistakes = crate::config::parse(text).expect_err("it cannot be used");
            assert!(format!("{mistakes:?}").contains(expect), "{text}: {mistakes:?}");
        }
        assert!(crate::config::parse("[isolation]\nenabled = true\nmanagement = [\"192.0.2.1\"]\n").is_ok());
    }
}
