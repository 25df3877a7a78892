//! Knows how much of this host's traffic belongs to an address, from the connections the kernel tracks.
//!
//! Never switches tracking or counting on, and never waits in a look-up. A flow counts for each of its addresses, once;
//! addresses of this host are therefore in every flow, which is right: blocking one would stop everything.

mod reading;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use staunch_model::{Fact, Printable, Span, Target, Timestamp, TrafficShare};
use staunch_netlink::conntrack::{Conntrack, ConntrackError};
use staunch_ports::Enricher;

pub use reading::{ADDRESSES_MAX, Reading};

/// How old a reading may be.
pub const AGE_MAX: Span = Span::from_secs(30);

/// How long the kernel's answer is awaited.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The enricher. It works in the network namespace of the thread that refreshes it first.
#[derive(Debug)]
pub struct ConntrackShare {
    /// Whether it is known that the kernel tracks connections, so that "no flows" means just that.
    tracking_known: bool,
    /// `None` until first used, and after an error that may have left it out of step.
    connection: Mutex<Option<Conntrack>>,
    newest: RwLock<Arc<Newest>>,
}

/// What the newest try to read came to.
#[derive(Debug)]
enum Newest {
    Never,
    Read { at: Timestamp, reading: Reading },
    Failed { at: Timestamp, why: Box<str> },
}

impl ConntrackShare {
    /// An enricher that has read nothing yet. `tracking_known` says that a rule of our own has switched tracking on;
    /// without it, no flows at all is taken to mean that nobody counts them.
    #[must_use]
    pub fn new(tracking_known: bool) -> Self {
        Self {
            tracking_known,
            connection: Mutex::default(),
            newest: RwLock::new(Arc::new(Newest::Never)),
        }
    }

    fn read(&self) -> Result<Reading, ConntrackError> {
        let mut connection = self.connection();
        // Taken out, so that an error or a panic closes it.
        let mut conntrack = match connection.take() {
            Some(conntrack) => conntrack,
            None => Conntrack::open(TIMEOUT)?,
        };
        let mut reading = Reading::default();
        conntrack.visit(|flow| reading.add(flow))?;
        *connection = Some(conntrack);
        Ok(reading)
    }

    fn connection(&self) -> MutexGuard<'_, Option<Conntrack>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The share of `target` in `newest`, or why it is not known.
    fn share(&self, newest: &Newest, target: &Target, age: Span) -> Result<TrafficShare, Box<str>> {
        let reading = match newest {
            Newest::Never => return Err("the tracked connections were not read yet".into()),
            Newest::Failed { why, .. } => return Err(why.clone()),
            Newest::Read { reading, .. } => reading,
        };
        if age > AGE_MAX {
            return Err(format!("the newest reading is {age} old, more than {AGE_MAX}").into());
        }
        if reading.flows_total() == 0 && !self.tracking_known {
            return Err("no connections are tracked, and tracking is not known to be on".into());
        }
        let Target::Address(ip) = target else {
            return Err("shares of traffic are counted by address".into());
        };
        reading.share(ip.to_canonical()).ok_or_else(|| {
            format!("more than {ADDRESSES_MAX} addresses have connections, and this one was not counted").into()
        })
    }
}

impl Enricher for ConntrackShare {
    fn name(&self) -> &'static str {
        "conntrack"
    }

    fn refresh(&self, now: Timestamp) {
        let newest = match self.read() {
            Ok(reading) => Newest::Read { at: now, reading },
            Err(error) => {
                let cause = std::error::Error::source(&error)
                    .map(|it| format!(": {it}"))
                    .unwrap_or_default();
                Newest::Failed {
                    at: now,
                    why: Printable(&format!("{error}{cause}")).to_string().into(),
                }
            }
        };
        // The lock is held for the exchange of one pointer only; the old reading is freed after it.
        let newest = Arc::new(newest);
        let old = std::mem::replace(
            &mut *self.newest.write().unwrap_or_else(PoisonError::into_inner),
            newest,
        );
        drop(old);
    }

    fn traffic_share(&self, target: &Target, now: Timestamp) -> Fact<TrafficShare> {
        let newest = Arc::clone(&self.newest.read().unwrap_or_else(PoisonError::into_inner));
        let age = match *newest {
            Newest::Never => Span::ZERO,
            Newest::Read { at, .. } | Newest::Failed { at, .. } => now.since(at),
        };
        Fact {
            value: self.share(&newest, target, age),
            source: self.name().into(),
            age,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn with(tracking_known: bool, newest: Newest) -> ConntrackShare {
        let share = ConntrackShare::new(tracking_known);
        *share.newest.write().unwrap() = Arc::new(newest);
        share
    }

    fn asked(share: &ConntrackShare) -> Fact<TrafficShare> {
        share.traffic_share(&Target::Address([192, 0, 2, 1].into()), NOW)
    }

    fn read(ago: Span) -> Newest {
        Newest::Read {
            at: NOW - ago,
            reading: Reading::default(),
        }
    }

    #[test]
    fn what_is_not_known_is_said_to_be_unknown() {
        let failed = Newest::Failed {
            at: NOW,
            why: "no permission".into(),
        };
        let old = read(AGE_MAX + Span::from_micros(1));
        for (share, expect) in [
            (ConntrackShare::new(true), "not read yet"),
            (with(true, failed), "no permission"),
            (with(true, old), "old"),
            (with(false, read(Span::ZERO)), "not known to be on"),
        ] {
            let why = asked(&share).value.unwrap_err();
            assert!(why.contains(expect), "{why}");
        }
    }

    #[test]
    fn no_flows_are_none_where_tracking_is_on() {
        let fact = asked(&with(true, read(AGE_MAX)));
        assert_eq!((fact.age, &*fact.source), (AGE_MAX, "conntrack"));
        assert_eq!(fact.value.unwrap().basis_points(), 0);
    }
}
