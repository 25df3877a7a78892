//! Posts notices over HTTP.
//!
//! Never follows a redirect, reads nothing of an answer but its status, and puts neither the secret nor the address
//! into a message.

use std::time::Instant;

use staunch_connectors::lookups::retry_after;
use staunch_connectors::notifiers::webhook::{Message, Secret};
use staunch_model::{Failure, FailureKind, InstallationId, Notice};
use staunch_ports::notifier::{About, Notifier, NotifyError};
use ureq::Agent;

use crate::api_key;
use crate::client::secure::{self, Calling};
use crate::config::NotifierSettings;
use crate::exit::{Exit, Fault};
use crate::output::now;

/// A service that takes notices.
pub(super) struct Webhook {
    name: String,
    installation: InstallationId,
    /// Why it can never be called, when it cannot.
    way: Result<Way, Box<str>>,
    rest: Rest,
}

/// Whether it has asked not to be called.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// It has not.
    None,
    /// Until then.
    Until(Instant),
    /// It is gone, and nobody calls it before the next start.
    Gone,
}

/// The way to it.
struct Way {
    agent: Agent,
    secret: Secret,
    settings: NotifierSettings,
}

/// Looks whether the files of `settings` can be used.
///
/// # Errors
/// Why they cannot, and what to do about it.
pub(super) fn check(settings: &NotifierSettings) -> Result<(), Fault> {
    Way::new(settings).map(drop)
}

impl Webhook {
    /// The service that `settings` describe. When their files cannot be used, every notice says so and is tried again,
    /// and nothing else stops.
    pub(super) fn new(name: &str, settings: &NotifierSettings, installation: InstallationId) -> Self {
        let way = Way::new(settings).map_err(|fault| {
            let why = fault.told();
            tracing::error!(
                notifier = name,
                why,
                hint = fault.advice(),
                "a notifier cannot be used; the log has what it would tell"
            );
            why.into()
        });
        Self {
            name: name.to_owned(),
            installation,
            way,
            rest: Rest::None,
        }
    }

    /// Why it is left alone, as it has asked.
    fn resting(&self) -> Option<Failure> {
        match self.rest {
            Rest::Until(end) if Instant::now() < end => {
                let why = "it has asked to be left alone (Retry-After)";
                Some(Failure::new(FailureKind::Unavailable, why))
            }
            Rest::Gone => Some(Failure::new(
                FailureKind::Denied,
                "it has answered with 410: it is gone",
            )),
            Rest::None | Rest::Until(_) => None,
        }
    }
}

impl Notifier for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn notify(&mut self, notice: &Notice, about: &About) -> Result<(), NotifyError> {
        let failed = |failure| NotifyError {
            notice: notice.id,
            failure,
        };
        if let Some(failure) = self.resting() {
            return Err(failed(failure));
        }
        match &self.way {
            Ok(way) => {
                let (result, rest) = way.post(&Message::new(self.installation, notice, about));
                if matches!(rest, Rest::Gone) {
                    tracing::error!(
                        notifier = self.name,
                        "a notifier says that it is gone (410): it is told nothing more until the next start"
                    );
                }
                self.rest = rest;
                result.map_err(failed)
            }
            Err(why) => Err(failed(Failure::new(FailureKind::Denied, why))),
        }
    }
}

impl Way {
    fn new(settings: &NotifierSettings) -> Result<Self, Fault> {
        let key = api_key::read(&settings.key_file, "[notifiers]")?;
        let secret = key.to_str().map_err(|_| "it holds no text").and_then(Secret::read);
        let secret = secret.map_err(|why| {
            let shown = settings.key_file.display().to_string();
            let what = format!("there is no secret in {}", staunch_model::Printable(&shown));
            Fault::new(Exit::Usage, what).hint(why)
        })?;
        let calling = Calling {
            ca: settings.ca.as_deref(),
            within: settings.deadline.to_std(),
            kept: 1,
            is_plain: settings.is_plain(),
        };
        Ok(Self {
            agent: calling.agent()?,
            secret,
            settings: settings.clone(),
        })
    }

    /// Posts `message`; besides, whether it asks not to be called.
    fn post(&self, message: &Message) -> (Result<(), Failure>, Rest) {
        let mut request = self.agent.post(&self.settings.url);
        for (name, value) in message.headers(&self.secret, now()) {
            request = request.header(name, value);
        }
        let answer = match request.send(message.body.as_str()) {
            Ok(answer) => answer,
            Err(error) => return (Err(self.broken(&error)), Rest::None),
        };
        let status = answer.status();
        if status.is_success() {
            return (Ok(()), Rest::None);
        }
        let asks = || {
            let value = answer.headers().get("retry-after")?.to_str().ok()?;
            Instant::now().checked_add(retry_after(value, now())?.to_std())
        };
        let (kind, rest) = match status.as_u16() {
            401 | 403 => (FailureKind::Denied, Rest::None),
            410 => (FailureKind::Denied, Rest::Gone),
            429 | 503 => (FailureKind::Unavailable, asks().map_or(Rest::None, Rest::Until)),
            400..=499 => (FailureKind::Invalid, Rest::None),
            _ => (FailureKind::Unavailable, Rest::None),
        };
        let failure = Failure::new(kind, &format!("it answers with {}", status.as_u16()));
        (Err(failure), rest)
    }

    fn broken(&self, error: &ureq::Error) -> Failure {
        let unavailable = |why: &str| Failure::new(FailureKind::Unavailable, why);
        if let Some(why) = secure::why_unsafe(error) {
            return Failure::new(FailureKind::Denied, why);
        }
        match error {
            ureq::Error::Timeout(_) => {
                let why = format!("it has not answered within {}", self.settings.deadline);
                Failure::new(FailureKind::TimedOut, &why)
            }
            ureq::Error::HostNotFound => unavailable("nobody knows its name"),
            ureq::Error::Io(error) => unavailable(&format!("it cannot be reached: {}", error.kind())),
            ureq::Error::ConnectionFailed => unavailable("it cannot be reached"),
            _ => Failure::new(FailureKind::Invalid, "what it answers is no HTTP"),
        }
    }
}
