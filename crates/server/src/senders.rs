//! Senders that sign what they post instead of showing a token.
//!
//! Never parses a body: a signature is over the bytes as they were sent, and nothing is made of them before it has
//! proved good. Never tells a client why it has not.

mod repeats;
mod scheme;
mod secrets;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use staunch_model::{Printable, Span, Timestamp};
use thiserror::Error;

pub(crate) use repeats::{Arrival, Ticket};
pub use scheme::Scheme;

use crate::auth;
use crate::files::FileError;
use crate::sometimes::Sometimes;
use repeats::Repeats;
use secrets::Secrets;

/// Senders in one configuration. Those of one source are all tried.
pub const SENDERS_MAX: usize = 64;

/// How often files of secrets are looked at for changes.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// How long the id of a message is remembered at least. Standard Webhooks wants a message that was not confirmed sent
/// again after 5 s, 5 min and 30 min, with the same id and another time.
const REMEMBER_IDS: Span = Span::from_hours(1);

/// A sender, as it is configured.
#[derive(Clone, Debug)]
pub struct SenderSettings {
    /// What it is called.
    pub name: String,
    /// The source that it may post to.
    pub source: String,
    /// How it signs.
    pub scheme: Scheme,
    /// Files with a secret in each line. Every secret in them is good.
    pub secret_files: Vec<PathBuf>,
    /// How far the time in a signature may be from this machine's; and for how long a body is not taken again that is
    /// signed without a time.
    pub window: Span,
}

/// Why senders cannot be let in as configured.
#[derive(Debug, Error)]
pub enum SendersError {
    /// A file of secrets cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line of a file is not a secret. What it says is not repeated here.
    #[error("{path}, line {line}: {what}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// There are too many secrets.
    #[error("the sender {sender} has more than {most} secrets: remove those that are no longer used")]
    TooMany {
        /// The sender.
        sender: Arc<str>,
        /// How many are allowed.
        most: usize,
    },
    /// There is no secret at all.
    #[error("the sender {sender} has no secret: put one into {path}")]
    None {
        /// The sender.
        sender: Arc<str>,
        /// The first of its files.
        path: PathBuf,
    },
    /// Its name cannot be used.
    #[error("{name} cannot be the name of a sender: {why}")]
    Name {
        /// The name, safe to show.
        name: String,
        /// Why not.
        why: &'static str,
    },
}

/// All senders that sign. Changes of their secrets are noticed within a second.
#[derive(Debug, Default)]
pub struct Senders(Vec<Sender>);

#[derive(Debug)]
struct Sender {
    name: Arc<str>,
    source: String,
    scheme: Scheme,
    window: Span,
    secrets: Secrets,
    repeats: Arc<Repeats>,
    /// When the log was last told of a request that was turned away.
    complained: Sometimes,
}

/// Who has signed a request, and whether it has come before.
pub(crate) struct Signed {
    pub(crate) name: Arc<str>,
    pub(crate) arrival: Arrival,
}

impl Senders {
    /// Reads the secrets of `settings`.
    ///
    /// # Errors
    /// [`SendersError`].
    pub fn load(settings: Vec<SenderSettings>) -> Result<Self, SendersError> {
        Self::load_refreshed(settings, REFRESH_INTERVAL)
    }

    /// Like [`Senders::load`], with another time between two looks at a file.
    ///
    /// # Errors
    /// [`SendersError`].
    pub fn load_refreshed(settings: Vec<SenderSettings>, refresh_interval: Duration) -> Result<Self, SendersError> {
        let mut names = BTreeSet::new();
        let load = |it: SenderSettings| {
            let why = auth::why_no_name(&it.name).or((!names.insert(it.name.clone())).then_some("another has it"));
            if let Some(why) = why {
                let name = Printable(&it.name).to_string();
                return Err(SendersError::Name { name, why });
            }
            let name: Arc<str> = it.name.into();
            let secrets = Secrets::load(name.clone(), it.scheme, it.secret_files, refresh_interval)?;
            Ok(Sender {
                name,
                source: it.source,
                scheme: it.scheme,
                window: it.window,
                secrets,
                repeats: Arc::default(),
                complained: Sometimes::default(),
            })
        };
        settings.into_iter().map(load).collect::<Result<_, _>>().map(Self)
    }

    /// True when there is no sender.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True when `headers` carry a signature that some sender could have made.
    pub(crate) fn is_signed(&self, headers: &HeaderMap) -> bool {
        self.0.iter().any(|it| it.scheme.is_in(headers))
    }

    /// True when some sender of `source` could have signed a request with `headers`: its body is worth reading.
    pub(crate) fn may_sign(&self, source: &str, headers: &HeaderMap) -> bool {
        self.of(source, headers).next().is_some()
    }

    /// Who has signed `body` for `source`, which arrived at `now`. `None` when nobody has, or too long ago.
    pub(crate) fn prove(&self, source: &str, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Option<Signed> {
        let mut refused = Vec::new();
        for sender in self.of(source, headers) {
            match sender.prove(headers, body, now) {
                Ok(signed) => return Some(signed),
                Err(why) => refused.push((sender, why)),
            }
        }
        // Of several senders of one source, all but one are not it.
        for (sender, why) in refused {
            sender.complain(why, now);
        }
        None
    }

    fn of(&self, source: &str, headers: &HeaderMap) -> impl Iterator<Item = &Sender> {
        let signed = move |it: &&Sender| it.source == source && it.scheme.is_in(headers);
        self.0.iter().filter(signed)
    }
}

impl Sender {
    fn prove(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Signed, &'static str> {
        let claim = self
            .scheme
            .read(headers)
            .ok_or("its headers are not those of the scheme")?;
        if claim.time.is_some_and(|time| distance(time, now) > self.window) {
            return Err(
                "its time is too far from this machine's: is one of the clocks wrong, or is it an old request?",
            );
        }
        if !claim.is_signed_with(&self.secrets.keys(), body) {
            return Err("no secret makes this signature");
        }
        let digest = blake3::hash(body);
        let (key, kept) = match claim.id {
            // A message that is sent again keeps its id and has a new time.
            Some(id) => (blake3::hash(id.as_bytes()), REMEMBER_IDS),
            None => (digest, Span::ZERO),
        };
        // A time may be ahead by a window, and is good until it is behind by one.
        let kept = match claim.time {
            Some(_) => kept.max(self.window + self.window),
            None => self.window,
        };
        let arrival = Repeats::arrive(&self.repeats, &key, &digest, now, kept);
        match arrival {
            Arrival::Changed => tracing::warn!(
                sender = &*self.name,
                "a message came again with another body under the same id; it is not taken"
            ),
            Arrival::First(_) | Arrival::Again | Arrival::UnderWay => {}
        }
        Ok(Signed {
            name: self.name.clone(),
            arrival,
        })
    }

    /// Tells the log why a request was turned away, but not each time.
    fn complain(&self, why: &str, now: Timestamp) {
        let Some(untold) = self.complained.happened(now) else {
            return;
        };
        tracing::warn!(
            sender = &*self.name,
            source = self.source,
            why,
            untold,
            "a signed request was turned away"
        );
    }
}

fn distance(a: Timestamp, b: Timestamp) -> Span {
    Span::from_micros(a.as_micros().abs_diff(b.as_micros()))
}

#[cfg(test)]
mod tests;
