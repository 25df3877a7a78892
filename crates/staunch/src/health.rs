//! Reads health signals over HTTP.
//!
//! Never follows a redirect, and puts neither a key nor more than the host of an address into a message.

use std::io::{ErrorKind, Read as _};

use staunch_connectors::signals::{ANSWER_BYTES_MAX, of_query, of_silence, of_status};
use staunch_model::{Failure, FailureKind, HealthReading};
use staunch_ports::HealthSignal;
use ureq::Agent;
use ureq::http::HeaderValue;

use crate::api_key;
use crate::client::secure::{self, Calling};
use crate::config::{Config, HealthSettings};
use crate::exit::Fault;

/// The signals of `config`.
pub(crate) fn signals(config: &Config) -> Vec<Box<dyn HealthSignal>> {
    let signals = config.health.iter();
    signals
        .map(|(name, settings)| Box::new(HttpSignal::new(name, settings)) as Box<dyn HealthSignal>)
        .collect()
}

/// Looks whether the files of a signal can be used. Nothing is read.
///
/// # Errors
/// Why they cannot, and what to do about it.
pub(crate) fn check(settings: &HealthSettings) -> Result<(), Fault> {
    Way::new(settings).map(drop)
}

/// Reads a signal once.
///
/// # Errors
/// Why it could not be read.
pub(crate) fn read_once(name: &str, settings: &HealthSettings) -> Result<HealthReading, Failure> {
    HttpSignal::new(name, settings).read()
}

/// A signal that is asked over HTTP.
struct HttpSignal {
    name: String,
    /// Why it can never be asked, when it cannot.
    way: Result<Way, Box<str>>,
}

/// The way to it.
struct Way {
    agent: Agent,
    key: Option<HeaderValue>,
    settings: HealthSettings,
}

impl HttpSignal {
    fn new(name: &str, settings: &HealthSettings) -> Self {
        let way = Way::new(settings).map_err(|fault| {
            let why = fault.told();
            tracing::error!(
                signal = name,
                why,
                hint = fault.advice(),
                "a health signal cannot be used: what it watches goes on unwatched"
            );
            why.into()
        });
        Self {
            name: name.to_owned(),
            way,
        }
    }
}

impl HealthSignal for HttpSignal {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&mut self) -> Result<HealthReading, Failure> {
        match &self.way {
            Ok(way) => way.ask(),
            Err(why) => Err(Failure::new(FailureKind::Denied, why)),
        }
    }
}

impl Way {
    fn new(settings: &HealthSettings) -> Result<Self, Fault> {
        let key = match &settings.key_file {
            Some(file) => Some(api_key::read(file, "[health]")?),
            None => None,
        };
        let calling = Calling {
            ca: settings.ca.as_deref(),
            within: settings.deadline.to_std(),
            kept: 1,
            is_plain: settings.is_plain(),
        };
        Ok(Self {
            agent: calling.agent()?,
            key,
            settings: settings.clone(),
        })
    }

    fn ask(&self) -> Result<HealthReading, Failure> {
        let mut request = self.agent.get(self.settings.asked());
        if let Some(query) = &self.settings.query {
            request = request.query("query", query);
        }
        if let Some(key) = &self.key {
            request = request.header("authorization", key.clone());
        }
        let answer = match request.call() {
            Ok(answer) => answer,
            Err(error) => return self.broken(&error),
        };
        let status = answer.status();
        if self.settings.query.is_none() {
            return Ok(of_status(status.as_u16()));
        }
        if !status.is_success() {
            let kind = match status.as_u16() {
                401 | 403 => FailureKind::Denied,
                400..=499 => FailureKind::Invalid,
                _ => FailureKind::Unavailable,
            };
            return Err(Failure::new(kind, &format!("it answers with {}", status.as_u16())));
        }
        let mut bytes = Vec::new();
        let mut body = answer.into_body().into_reader().take(ANSWER_BYTES_MAX + 1);
        body.read_to_end(&mut bytes)
            .map_err(|_| Failure::new(FailureKind::Unavailable, "its answer breaks off"))?;
        if bytes.len() as u64 > ANSWER_BYTES_MAX {
            return Err(Failure::new(FailureKind::Invalid, "its answer is too long"));
        }
        of_query(&bytes, self.settings.bounds()).map_err(|why| Failure::new(FailureKind::Invalid, why))
    }

    /// A page that does not answer is not well; a service that measures and does not answer says nothing.
    fn broken(&self, error: &ureq::Error) -> Result<HealthReading, Failure> {
        let (kind, why) = match error {
            error if secure::why_unsafe(error).is_some() => {
                let why = secure::why_unsafe(error).unwrap_or_default();
                return Err(Failure::new(FailureKind::Denied, why));
            }
            ureq::Error::Timeout(_) => (
                FailureKind::TimedOut,
                format!("it has not answered within {}", self.settings.deadline),
            ),
            ureq::Error::HostNotFound => {
                return Err(Failure::new(FailureKind::Unavailable, "nobody knows its name"));
            }
            // The page is not well; trouble of this machine says nothing of it.
            ureq::Error::Io(error) if is_of_the_page(error.kind()) => (
                FailureKind::Unavailable,
                format!("it cannot be reached: {}", error.kind()),
            ),
            ureq::Error::Io(error) => {
                let why = format!("it cannot be asked: {}", error.kind());
                return Err(Failure::new(FailureKind::Unavailable, &why));
            }
            ureq::Error::ConnectionFailed => (FailureKind::Unavailable, "it cannot be reached".to_owned()),
            _ => {
                return Err(Failure::new(FailureKind::Invalid, "what it answers is no HTTP"));
            }
        };
        match self.settings.query {
            None => Ok(of_silence(&why)),
            Some(_) => Err(Failure::new(kind, &why)),
        }
    }
}

/// Whether an error of this kind comes of who was asked.
fn is_of_the_page(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
            | ErrorKind::TimedOut
    )
}
