//! One question over HTTP, and why it has no answer.
//!
//! Never follows a redirect, reads no more than a bound, and puts neither the key nor what comes into a message.

use std::net::IpAddr;
use std::time::Duration;

use staunch_connectors::lookups::{ANSWER_BYTES_MAX, Answer, read, retry_after};
use staunch_model::{Span, Timestamp};
use staunch_runtime::lookups::Outcome;
use ureq::Agent;
use ureq::http::{HeaderValue, StatusCode};

use super::{ASKED_AT_ONCE_MAX, WAITED_FOR};
use crate::api_key;
use crate::client::secure::{self, Calling};
use crate::config::LookupSettings;
use crate::exit::Fault;

/// How long a service is left alone that has answered too much and does not say for how long.
const QUOTA_PAUSE: Span = Span::from_secs(60);

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) outcome: Outcome,
    /// Safe to show.
    pub(super) why: Box<str>,
    /// For how long the service wants to be left alone.
    pub(super) pause: Option<Span>,
}

impl Unanswered {
    fn new(outcome: Outcome, why: impl Into<Box<str>>) -> Self {
        let why = why.into();
        Self {
            outcome,
            why,
            pause: None,
        }
    }
}

/// The way to a service.
pub(super) struct Way {
    agent: Agent,
    key: Option<HeaderValue>,
    settings: LookupSettings,
}

impl Way {
    /// The way that `settings` describe, with its key and its authorities.
    ///
    /// # Errors
    /// When one of their files cannot be used.
    pub(super) fn new(settings: &LookupSettings) -> Result<Self, Fault> {
        let key = settings
            .key_file
            .as_deref()
            .map(|it| api_key::read(it, "[[lookups]]"))
            .transpose()?;
        let calling = Calling {
            ca: settings.ca.as_deref(),
            within: waited_for(settings),
            kept: ASKED_AT_ONCE_MAX,
            is_plain: settings.is_plain(),
        };
        Ok(Self {
            agent: calling.agent()?,
            key,
            settings: settings.clone(),
        })
    }

    /// Asks about `ip`. Blocks for as long as [`WAITED_FOR`] at the most.
    pub(super) fn ask(&self, ip: IpAddr, now: Timestamp) -> Result<Answer, Unanswered> {
        let mut request = self
            .agent
            .get(self.settings.url_of(ip))
            .header("accept", "application/json");
        if let Some(key) = &self.key {
            request = request.header(self.settings.header(), key.clone());
        }
        let mut answer = request.call().map_err(|error| self.broken(&error))?;
        let status = answer.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            let header = answer.headers().get("retry-after").and_then(|it| it.to_str().ok());
            let pause = header.and_then(|it| retry_after(it, now)).unwrap_or(QUOTA_PAUSE);
            return Err(Unanswered {
                pause: Some(pause),
                ..Unanswered::new(Outcome::OverQuota, "its quota is used up (429)")
            });
        }
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            let why = format!("it does not take the key ({})", status.as_u16());
            return Err(Unanswered {
                pause: Some(QUOTA_PAUSE),
                ..Unanswered::new(Outcome::Denied, why)
            });
        }
        if status != StatusCode::OK {
            let outcome = if status.is_server_error() {
                Outcome::Down
            } else {
                Outcome::Nonsense
            };
            return Err(Unanswered::new(outcome, format!("it answers with {}", status.as_u16())));
        }
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| self.broken(&error))?;
        read(&self.settings.form(), ip, &body).map_err(|why| Unanswered::new(Outcome::Nonsense, why))
    }

    fn broken(&self, error: &ureq::Error) -> Unanswered {
        let down = |why: &str| Unanswered::new(Outcome::Down, why);
        if let Some(why) = secure::why_unsafe(error) {
            return down(why);
        }
        match error {
            ureq::Error::Timeout(_) => {
                let why = format!("it has not answered within {:?}", waited_for(&self.settings));
                Unanswered::new(Outcome::TimedOut, why)
            }
            ureq::Error::HostNotFound => down("nobody knows its name"),
            ureq::Error::Io(error) => down(&format!("it cannot be reached: {}", error.kind())),
            ureq::Error::ConnectionFailed => down("it cannot be reached"),
            ureq::Error::BodyExceedsLimit(_) => {
                let why = format!("its answer has more than {ANSWER_BYTES_MAX} bytes");
                Unanswered::new(Outcome::Nonsense, why)
            }
            _ => Unanswered::new(Outcome::Nonsense, "what it answers is no HTTP"),
        }
    }
}

/// How long a question may take: longer than an event waits for it, so that connections are made and answers kept.
fn waited_for(settings: &LookupSettings) -> Duration {
    WAITED_FOR.max(settings.deadline.to_std())
}
