//! Tells whether the name of a host is one of this machine.
//!
//! Never tells of another machine more than that it is another one.

use staunch_model::{Found, Printable, Target, TargetFacts};
use staunch_ports::{Seen, Targets};

use super::this_host::ThisHost;

/// Tells which hosts are this machine; those are one target, whatever name they were given.
#[derive(Clone, Debug)]
pub struct HostTeller(pub ThisHost);

impl HostTeller {
    fn tell(&self, named: &Target) -> Result<Found, String> {
        let Target::Host(name) = named else {
            return Err("it is no host".to_owned());
        };
        let own = self.0.name()?;
        if !self.0.is_named(name.as_str())? {
            return Err(format!("it is another machine; this one is {own}"));
        }
        let facts = TargetFacts {
            what: "this machine".into(),
            protected: None,
        };
        Ok(Found {
            target: Target::Host(own),
            facts: Ok(facts),
        })
    }
}

impl Targets for HostTeller {
    /// The name says it all: where and when an event saw it does not matter.
    fn find(&self, named: &Target, _seen: Seen<'_>) -> Found {
        self.tell(named).unwrap_or_else(|why| Found {
            target: named.clone(),
            facts: Err(Printable(&why).to_string().into()),
        })
    }

    fn look_again(&self, target: &Target) -> Found {
        self.find(target, Seen::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Target {
        format!("host:{name}").parse().expect("a host")
    }

    #[test]
    fn every_name_of_this_machine_is_one_target_and_others_are_told_apart() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = dir.path().join("sys/kernel");
        std::fs::create_dir_all(&at).expect("made");
        std::fs::write(at.join("hostname"), "Web-1\n").expect("written");
        let teller = HostTeller(ThisHost {
            proc: dir.path().into(),
            names: vec!["web-1.example.net".to_owned()],
            unnamed: false,
        });
        for name in ["web-1", "WEB-1", "web-1.example.net"] {
            let found = teller.find(&host(name), Seen::default());
            assert_eq!(found.target, host("web-1"));
            assert_eq!(
                found.facts.map(|it| (it.what, it.protected)),
                Ok(("this machine".into(), None))
            );
            assert_eq!(teller.look_again(&found.target).target, host("web-1"));
        }
        let other = teller.find(&host("web-2"), Seen::default());
        assert_eq!(other.target, host("web-2"));
        assert_eq!(other.facts, Err("it is another machine; this one is web-1".into()));
        std::fs::write(at.join("hostname"), "(none)\n").expect("written");
        assert!(
            teller.find(&host("web-1.example.net"), Seen::default()).facts.is_err(),
            "it fails closed"
        );
    }
}
