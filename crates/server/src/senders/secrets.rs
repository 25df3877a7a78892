//! The secrets of one sender: in files, read again when they change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ring::hmac;
use staunch_model::WithCauses;

use super::{Scheme, SendersError};
use crate::files::{self, FileError, FileWatch, Stamp, stamp};

/// Secrets of one sender. Each request is compared with all of them, and more than two are needed by nobody who changes
/// one.
const SECRETS_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Secrets {
    sender: Arc<str>,
    scheme: Scheme,
    files: Vec<PathBuf>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    /// What `Debug` shows of a key is its algorithm.
    keys: Arc<[hmac::Key]>,
    watch: FileWatch,
}

impl Secrets {
    /// Reads `files`. One that is not there holds no secret, but there must be one at all.
    pub(super) fn load(
        sender: Arc<str>,
        scheme: Scheme,
        files: Vec<PathBuf>,
        refresh_interval: Duration,
    ) -> Result<Self, SendersError> {
        let stamps = stamps(&files);
        let keys = read(&sender, scheme, &files)?;
        if keys.is_empty() {
            let path = files.first().cloned().unwrap_or_default();
            return Err(SendersError::None { sender, path });
        }
        let known = Mutex::new(Known {
            keys: keys.into(),
            watch: FileWatch::new(stamps, refresh_interval),
        });
        Ok(Self {
            sender,
            scheme,
            files,
            known,
        })
    }

    /// The secrets, read anew when a file has changed.
    pub(super) fn keys(&self) -> Arc<[hmac::Key]> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stamps) = known.watch.changed(|| stamps(&self.files)) {
            let sender = &*self.sender;
            match read(&self.sender, self.scheme, &self.files) {
                Ok(keys) => {
                    if keys.is_empty() {
                        tracing::warn!(sender, "it has no secret any more: nothing that it signs is taken");
                    } else {
                        tracing::info!(sender, secrets = keys.len(), "the secrets were read again");
                    }
                    known.keys = keys.into();
                    known.watch.was_read(stamps);
                }
                // As with tokens: a slip of the pen must not turn events away in the middle of an incident.
                Err(error) => {
                    if known.watch.has_failed(stamps) {
                        tracing::error!(
                            sender, error = %WithCauses(&error),
                            "the secrets cannot be read; the earlier ones stay good"
                        );
                    }
                }
            }
        }
        known.keys.clone()
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().map(|path| stamp(path)).collect()
}

fn read(sender: &Arc<str>, scheme: Scheme, files: &[PathBuf]) -> Result<Vec<hmac::Key>, SendersError> {
    let mut keys = Vec::new();
    for path in files {
        match files::read_secret(path) {
            Ok(bytes) => parse(path, scheme, &bytes, &mut keys)?,
            Err(FileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    if keys.len() > SECRETS_MAX {
        let (sender, most) = (sender.clone(), SECRETS_MAX);
        return Err(SendersError::TooMany { sender, most });
    }
    Ok(keys)
}

fn parse(path: &Path, scheme: Scheme, bytes: &[u8], keys: &mut Vec<hmac::Key>) -> Result<(), SendersError> {
    for (at, line) in bytes.split(|it| *it == b'\n').enumerate() {
        let wrong = |what| SendersError::Secret {
            path: path.to_owned(),
            line: at + 1,
            what,
        };
        let line = std::str::from_utf8(line).map_err(|_| wrong("a secret is text"))?.trim();
        // As in the file of tokens, a line can be a remark: it must not become a secret that can be guessed.
        if !line.is_empty() && !line.starts_with('#') {
            keys.push(scheme.key(line).map_err(wrong)?);
        }
    }
    Ok(())
}
