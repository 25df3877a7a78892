//! Knows how far the clock of this machine is off, by asking the time server of the configuration now and then.
//!
//! Never sets the clock, and holds up nothing: evidence that is taken while nobody knows says so.

use std::io;
use std::net::{ToSocketAddrs as _, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use staunch_connectors::sntp::{NotTold, PACKET_BYTES, Question, Told};
use staunch_model::{ClockOffset, Printable, Timestamp};
use staunch_runtime::ClockOffsetFn;

use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::output::now;

/// The port of NTP.
pub(crate) const PORT: u16 = 123;

/// How often it is asked. A clock that runs free is off by some milliseconds after that time.
const EVERY: Duration = Duration::from_secs(300);

/// The pause after it has not answered; it doubles each time, up to [`EVERY`].
const AGAIN: Duration = Duration::from_secs(30);

/// The longest pause for a server that wants to be asked less often.
const SELDOM: Duration = Duration::from_secs(86_400);

/// How long an answer is waited for.
const WITHIN: Duration = Duration::from_secs(3);

/// How long what was told counts.
const COUNTS: Duration = Duration::from_secs(1_200);

/// How far apart the two clocks may be read, in microseconds: a thread may have to wait in between.
const READ_APART_US: u64 = 20_000;

/// The most that a crystal is off, for the time since the server was asked: 500 parts in a million, as NTP takes for
/// it.
const DRIFT_PARTS: u128 = 500;

/// What was told.
type Known = Arc<Mutex<Option<Reading>>>;

/// What was told, and when: by a clock that nobody sets, and by the one that it is about.
struct Reading {
    offset: ClockOffset,
    at: Instant,
    by_the_clock: Timestamp,
}

impl Reading {
    /// How far the clock is off at `now`, which it shows `since` it was told. `None` when that was too long ago, or
    /// when the clock was set in between: it is off by something else then.
    fn after(&self, since: Duration, now: Timestamp) -> Option<ClockOffset> {
        if since >= COUNTS {
            return None;
        }
        let drift = u64::try_from(since.as_micros() * DRIFT_PARTS / 1_000_000).ok()?;
        let passed = u64::try_from(since.as_micros()).ok()?;
        let expected = self.by_the_clock.as_micros().saturating_add(passed);
        if expected.abs_diff(now.as_micros()) > drift + READ_APART_US {
            return None;
        }
        Some(ClockOffset {
            error_max_us: self.offset.error_max_us.map(|it| it.saturating_add(drift)),
            ..self.offset.clone()
        })
    }
}

/// How far the clock is off, by the server that the configuration names.
pub(crate) struct Offset {
    server: Option<String>,
    known: Known,
}

impl Offset {
    /// Nothing is known before it is [started](Self::start), nor ever without a server.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            server: config.evidence.clock.clone().filter(|_| config.evidence.enabled),
            known: Known::default(),
        }
    }

    /// What tells it.
    pub(crate) fn tells(&self) -> ClockOffsetFn {
        let known = Arc::clone(&self.known);
        Arc::new(move || {
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            let reading = known.as_ref()?;
            reading.after(reading.at.elapsed(), now())
        })
    }

    /// Asks the server from now on. Start it within the sandbox: what it is answered comes from the network.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn start(self) -> Result<(), Fault> {
        let Some(server) = self.server else { return Ok(()) };
        thread::Builder::new()
            .name("clock".into())
            .spawn(move || keep(&server, &self.known))
            .map(drop)
            .map_err(|error| Fault::doing(Exit::Failed, "cannot start a thread", &error))
    }
}

fn keep(server: &str, known: &Known) {
    let mut failures = 0_u32;
    loop {
        let pause = match ask(server) {
            Ok(told) => {
                if failures > 0 {
                    tracing::info!(server, "the time server tells the time again");
                }
                failures = 0;
                let offset = ClockOffset {
                    offset_us: told.offset_us,
                    error_max_us: Some(told.error_max_us),
                    told_by: format!("SNTP of {server}, stratum {}", told.stratum).into(),
                };
                *known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Reading {
                    offset,
                    at: Instant::now(),
                    by_the_clock: now(),
                });
                EVERY
            }
            Err(error) => {
                let why = error.get_ref().and_then(|it| it.downcast_ref::<NotTold>()).copied();
                if failures == 0 || why == Some(NotTold::Unwanted) {
                    let error = error.to_string();
                    tracing::warn!(
                        server, error = %Printable(&error),
                        "the time server does not tell how far the clock is off; evidence says when nobody knows"
                    );
                }
                failures = failures.saturating_add(1);
                match pause_after(failures, why) {
                    Some(pause) => pause,
                    None => return,
                }
            }
        };
        thread::sleep(pause);
    }
}

/// How long nobody asks after so many failures in a row, the last for this reason; `None` for ever.
fn pause_after(failures: u32, why: Option<NotTold>) -> Option<Duration> {
    let doubled = |first: Duration, most: Duration| {
        let factor = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
        first.saturating_mul(factor).min(most)
    };
    match why {
        Some(NotTold::Unwanted) => None,
        Some(NotTold::TooOften) => Some(doubled(2 * EVERY, SELDOM)),
        _ => Some(doubled(AGAIN, EVERY)),
    }
}

/// Asks once.
fn ask(server: &str) -> io::Result<Told> {
    let address = address(server).to_socket_addrs()?.next();
    let address = address.ok_or_else(|| io::Error::other("the name has no address"))?;
    let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(WITHIN))?;
    let mut cookie = [0; 8];
    getrandom::fill(&mut cookie).map_err(|error| io::Error::other(error.to_string()))?;
    let (question, packet) = Question::new(now(), cookie);
    socket.send(&packet)?;
    let mut answer = [0; 4 * PACKET_BYTES];
    let read = socket.recv(&mut answer)?;
    question.answer(&answer[..read], now()).map_err(io::Error::other)
}

/// Its address with the port.
pub(crate) fn address(server: &str) -> String {
    let has_port = match server.strip_prefix('[') {
        Some(rest) => rest.contains("]:"),
        None => server.matches(':').count() == 1,
    };
    match (has_port, server.contains(':') && !server.starts_with('[')) {
        (true, _) => server.to_owned(),
        (false, true) => format!("[{server}]:{PORT}"),
        (false, false) => format!("{server}:{PORT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_have_a_port() {
        for (server, expected) in [
            ("time.example", "time.example:123"),
            ("time.example:1123", "time.example:1123"),
            ("192.0.2.1", "192.0.2.1:123"),
            ("2001:db8::1", "[2001:db8::1]:123"),
            ("[2001:db8::1]", "[2001:db8::1]:123"),
            ("[2001:db8::1]:1123", "[2001:db8::1]:1123"),
        ] {
            assert_eq!(address(server), expected);
        }
    }

    #[test]
    fn a_clock_that_was_set_makes_what_was_told_void() {
        let at = |us: u64| Timestamp::from_micros(1_764_000_000_000_000 + us);
        let reading = Reading {
            offset: ClockOffset {
                offset_us: 1_500,
                error_max_us: Some(700),
                told_by: "a test".into(),
            },
            at: Instant::now(),
            by_the_clock: at(0),
        };
        let minute = Duration::from_secs(60);
        let after = |us: u64| reading.after(minute, at(us)).map(|it| it.error_max_us);
        assert_eq!(after(60_000_000), Some(Some(30_700)), "what the crystal may have added");
        assert_eq!(after(60_040_000), Some(Some(30_700)), "it was slewed");
        assert_eq!(after(61_000_000), None, "it was set forward");
        assert_eq!(after(59_000_000), None, "it was set back");
        assert!(reading.after(COUNTS, at(1_200_000_000)).is_none(), "it is too old");
    }

    #[test]
    fn who_does_not_want_to_be_asked_is_left_alone() {
        let seconds = |failures, why| pause_after(failures, why).map(|it| it.as_secs());
        assert_eq!([1, 2, 3, 9].map(|it| seconds(it, None)), [30, 60, 120, 300].map(Some));
        let often = Some(NotTold::TooOften);
        assert_eq!([1, 2, 40].map(|it| seconds(it, often)), [600, 1_200, 86_400].map(Some));
        assert_eq!(seconds(1, Some(NotTold::Unwanted)), None);
    }

    #[test]
    fn what_a_server_tells_is_known_until_it_is_too_old() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = server.local_addr().expect("it has one").to_string();
        let answering = thread::spawn(move || {
            let mut packet = [0; PACKET_BYTES];
            let (_, from) = server.recv_from(&mut packet).expect("somebody asks");
            let mut answer = [0; PACKET_BYTES];
            (answer[0], answer[1]) = (0b00_100_100, 1);
            answer[24..32].copy_from_slice(&packet[40..48]);
            // A clock that is an hour behind ours.
            let seconds = now().as_micros() / 1_000_000 + 2_208_988_800 - 3_600;
            let seconds = u32::try_from(seconds).expect("it is before 2036").to_be_bytes();
            answer[32..36].copy_from_slice(&seconds);
            answer[40..44].copy_from_slice(&seconds);
            server.send_to(&answer, from).expect("it listens");
        });
        let offset = Offset {
            server: Some(address),
            known: Known::default(),
        };
        let told = offset.tells();
        assert!(told().is_none(), "nobody was asked");
        offset.start().expect("a thread");
        let begun = Instant::now();
        let offset = loop {
            if let Some(offset) = told() {
                break offset;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "nobody has told");
            thread::yield_now();
        };
        answering.join().expect("it has answered");
        // It tells whole seconds.
        assert!((3_599_000_000..3_602_000_000).contains(&offset.offset_us), "{offset:?}");
        assert!(offset.told_by.contains("stratum 1"), "{offset:?}");
        assert!(offset.error_max_us.is_some());
    }

    #[test]
    fn who_does_not_answer_tells_nothing() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = server.local_addr().expect("it has one").to_string();
        drop(server);
        ask(&address).expect_err("nobody is there");
        ask("").expect_err("it is no name");
    }
}
