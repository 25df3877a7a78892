//! Reads health signals over HTTP.
//!
//! Never follows a redirect, and puts neither a key nor more than the host of an address into a message.

use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::sync::Arc;

use staunch_connectors::signals::{ANSWER_BYTES_MAX, Bounds, of_condition, of_query, of_silence, of_status};
use staunch_model::{Condition, Failure, FailureKind, HealthReading, Span};
use staunch_ports::HealthSignal;
use staunch_runtime::HealthSignals;
use ureq::Agent;
use ureq::http::HeaderValue;

use crate::api_key;
use crate::client::secure::{self, Calling};
use crate::config::{Config, HealthSettings, PrometheusSettings, is_plain};
use crate::exit::Fault;

/// The most idle connections that are kept to the Prometheus of conditions, each of which has a thread.
const CONNECTIONS_KEPT: usize = 4;

/// The signals of `config`. All files are read now.
pub(crate) fn signals(config: &Config) -> HealthSignals {
    let named = config.health.iter();
    HealthSignals {
        named: named
            .map(|(name, settings)| Box::new(named_signal(name, settings)) as Box<dyn HealthSignal>)
            .collect(),
        of_condition: config.prometheus.as_ref().map(|settings| {
            let way = usable(Way::to_prometheus(settings), "prometheus");
            let address = settings.asked();
            Box::new(move |condition| {
                Box::new(HttpSignal::of_condition(condition, way.clone(), &address)) as Box<dyn HealthSignal>
            }) as staunch_runtime::OfCondition
        }),
    }
}

/// Looks whether the files of a signal can be used. Nothing is read.
///
/// # Errors
/// Why they cannot, and what to do about it.
pub(crate) fn check(settings: &HealthSettings) -> Result<(), Fault> {
    Way::to(settings).map(drop)
}

/// Looks whether the files of the Prometheus of conditions can be used. Nothing is asked.
///
/// # Errors
/// Why they cannot, and what to do about it.
pub(crate) fn check_prometheus(settings: &PrometheusSettings) -> Result<(), Fault> {
    Way::to_prometheus(settings).map(drop)
}

/// Reads a signal once.
///
/// # Errors
/// Why it could not be read.
pub(crate) fn read_once(name: &str, settings: &HealthSettings) -> Result<HealthReading, Failure> {
    named_signal(name, settings).read()
}

/// Asks once whether a condition holds.
///
/// # Errors
/// Why it could not be asked.
pub(crate) fn ask_once(condition: Condition, settings: &PrometheusSettings) -> Result<HealthReading, Failure> {
    let way = usable(Way::to_prometheus(settings), "prometheus");
    HttpSignal::of_condition(condition, way, &settings.asked()).read()
}

fn named_signal(name: &str, settings: &HealthSettings) -> HttpSignal {
    HttpSignal {
        name: name.to_owned(),
        way: usable(Way::to(settings), name),
        address: settings.asked(),
        question: match &settings.query {
            Some(query) => Question::Query(query.clone(), settings.bounds()),
            None => Question::Page,
        },
    }
}

/// A signal that is asked over HTTP.
struct HttpSignal {
    name: String,
    way: UsableWay,
    address: String,
    question: Question,
}

/// A way, or why it can never be taken.
type UsableWay = Result<Arc<Way>, Box<str>>;

/// What is asked.
enum Question {
    /// Whether a page answers.
    Page,
    /// The value of a query, which has to be within bounds.
    Query(String, Bounds),
    /// Whether a condition over a query holds.
    Condition(Condition),
}

/// The way to who is asked.
struct Way {
    agent: Agent,
    key: Option<HeaderValue>,
    deadline: Span,
}

/// A way that can be taken; one that cannot is told.
fn usable(way: Result<Way, Fault>, name: &str) -> UsableWay {
    way.map(Arc::new).map_err(|fault| {
        let why = fault.told();
        tracing::error!(
            signal = name,
            why,
            hint = fault.advice(),
            "a health signal cannot be used: what it watches goes on unwatched"
        );
        why.into()
    })
}

impl HttpSignal {
    fn of_condition(condition: Condition, way: UsableWay, address: &str) -> Self {
        Self {
            name: condition.to_string(),
            way,
            address: address.to_owned(),
            question: Question::Condition(condition),
        }
    }
}

impl HealthSignal for HttpSignal {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&mut self) -> Result<HealthReading, Failure> {
        match &self.way {
            Ok(way) => way.ask(&self.address, &self.question),
            Err(why) => Err(Failure::new(FailureKind::Denied, why)),
        }
    }
}

impl Question {
    /// The query, where Prometheus is asked.
    fn query(&self) -> Option<&str> {
        match self {
            Self::Page => None,
            Self::Query(query, _) => Some(query),
            Self::Condition(condition) => Some(&condition.query),
        }
    }
}

impl Way {
    fn to(settings: &HealthSettings) -> Result<Self, Fault> {
        let HealthSettings {
            url,
            key_file,
            ca,
            deadline,
            ..
        } = settings;
        let key = key_file.as_deref().map(|file| (file, "[health]"));
        Self::new(url, key, ca.as_deref(), *deadline, 1)
    }

    fn to_prometheus(settings: &PrometheusSettings) -> Result<Self, Fault> {
        let PrometheusSettings {
            url,
            key_file,
            ca,
            deadline,
        } = settings;
        let key = key_file.as_deref().map(|file| (file, "[prometheus]"));
        Self::new(url, key, ca.as_deref(), *deadline, CONNECTIONS_KEPT)
    }

    /// The way to `url` with the key in a file that a section of the configuration names.
    fn new(
        url: &str,
        key: Option<(&Path, &str)>,
        ca: Option<&Path>,
        deadline: Span,
        kept: usize,
    ) -> Result<Self, Fault> {
        let key = key.map(|(file, section)| api_key::read(file, section)).transpose()?;
        let calling = Calling {
            ca,
            within: deadline.to_std(),
            kept,
            is_plain: is_plain(url),
        };
        Ok(Self {
            agent: calling.agent()?,
            key,
            deadline,
        })
    }

    fn ask(&self, address: &str, question: &Question) -> Result<HealthReading, Failure> {
        let mut request = self.agent.get(address);
        if let Some(query) = question.query() {
            request = request.query("query", query);
        }
        if let Some(key) = &self.key {
            request = request.header("authorization", key.clone());
        }
        let answer = match request.call() {
            Ok(answer) => answer,
            Err(error) => return self.broken(&error, question),
        };
        let status = answer.status();
        if matches!(question, Question::Page) {
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
        let read = match question {
            Question::Page => return Ok(of_status(status.as_u16())),
            Question::Query(_, bounds) => of_query(&bytes, *bounds),
            Question::Condition(condition) => of_condition(&bytes, condition),
        };
        read.map_err(|why| Failure::new(FailureKind::Invalid, why))
    }

    /// A page that does not answer is not well; a service that measures and does not answer says nothing.
    fn broken(&self, error: &ureq::Error, question: &Question) -> Result<HealthReading, Failure> {
        let (kind, why) = match error {
            error if secure::why_unsafe(error).is_some() => {
                let why = secure::why_unsafe(error).unwrap_or_default();
                return Err(Failure::new(FailureKind::Denied, why));
            }
            ureq::Error::Timeout(_) => (
                FailureKind::TimedOut,
                format!("it has not answered within {}", self.deadline),
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
        match question.query() {
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
