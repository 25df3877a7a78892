//! What one collection reads, on its way into the vault.

use std::io::{self, Write};
use std::time::Instant;

use staunch_engine::preserve::is_worth_retrying;
use staunch_model::custody::CUSTODY_SCHEMA_VERSION;
use staunch_model::{
    Authority, CollectedArtefact, CollectionRecord, CollectorIdentity, Failure, FailureKind, Handling, HandlingAction,
    InstallationId, ManifestDraft, MissedArtefact, Sealed, Span, Taken, Timestamp,
};
use staunch_ports::{About, Collects, Deposit, Sink};

use super::held::{Held, put_missed};
use super::{CollectOrder, Common, Times};

/// The most artefacts of one collection, so that its record has a bound.
const ARTEFACTS_MAX: usize = 10_000;

/// The most missed artefacts whose manifests wait for what becomes of the try.
const WAITING_MAX: usize = 64;

/// Seals in the vault what one collection reads.
pub(super) struct VaultSink<'c> {
    common: &'c Common,
    order: &'c CollectOrder,
    times: Times,
    started_at: Timestamp,
    identity: CollectorIdentity,
    about: Collects,
    open: Option<Open>,
    artefacts: Vec<CollectedArtefact>,
    missed: Vec<MissedArtefact>,
    /// The manifests of what was missed, while it may be that no trace of this try is kept: nothing was sealed before.
    waiting: Option<Vec<ManifestDraft>>,
    /// What was said when the vault, or a bound, failed first.
    trouble: Option<Failure>,
    /// What the vault said when it failed first, but for what it refuses by itself.
    of_vault: Option<Failure>,
}

/// The artefact that is being written.
struct Open {
    about: About,
    deposit: Box<dyn Deposit>,
    begun_at: Timestamp,
    begun_at_monotonic: Span,
}

impl<'c> VaultSink<'c> {
    pub(super) fn new(
        common: &'c Common,
        order: &'c CollectOrder,
        times: Times,
        identity: CollectorIdentity,
        about: Collects,
    ) -> Self {
        Self {
            common,
            order,
            times,
            started_at: common.clock.now(),
            identity,
            about,
            open: None,
            artefacts: Vec::new(),
            missed: Vec::new(),
            waiting: Some(Vec::new()),
            trouble: None,
            of_vault: None,
        }
    }

    fn draft(&self, about: About, at: Timestamp, monotonic: Span) -> ManifestDraft {
        let (request, labels) = (&self.order.request, &self.common.labels);
        ManifestDraft {
            installation: self.installation(),
            evidence: request.evidence,
            incident: request.incident,
            transaction: self.order.transaction,
            kind: self.order.kind,
            target: request.target.clone(),
            name: about.name,
            media_type: about.media_type.into(),
            source: self.common.source.clone(),
            volatility: self.order.kind.volatility(),
            collected_at: at,
            collected_at_monotonic: monotonic,
            clock_offset: (self.common.clock_offset)(),
            collector: self.identity.clone(),
            authority: Authority::Playbook {
                name: self.order.playbook.clone(),
                hash: self.order.playbook_hash,
            },
            method: about.method,
            locator: about.locator,
            modified: about.modified,
            handling: vec![Handling {
                at,
                actor: format!("staunch@{}", self.common.source.host).into(),
                action: HandlingAction::Collect,
                reason: self.reason(),
                from: None,
                to: None,
            }],
            changes_caused: self.about.changes.iter().map(|it| Box::from(*it)).collect(),
            classification: labels.classification.clone(),
            tlp: labels.tlp,
            keep_until: labels.keep.map(|keep| at + keep),
        }
    }

    /// Why it was taken, and whether in time: what has been read by now was read while containment waited, or not. No
    /// act waits for what it cannot destroy.
    fn reason(&self) -> Box<str> {
        let (is_awaited, deadline) = (self.order.transaction.is_some(), self.order.deadline);
        match (is_awaited, Instant::now() < self.times.waited) {
            (true, true) => "preserved while containment waited for it".into(),
            (true, false) => format!("preserved late: containment waited for it until {deadline} and no longer").into(),
            (false, true) => "preserved; no act of its incident waited for it".into(),
            (false, false) => {
                format!("preserved late: its deadline was {deadline}; no act of its incident waited for it").into()
            }
        }
    }

    fn installation(&self) -> InstallationId {
        let connected = self.common.home.connected.get();
        connected.map_or_else(InstallationId::default, |it| it.installation)
    }

    fn check_time(&self) -> io::Result<()> {
        if Instant::now() < self.times.given_up {
            Ok(())
        } else {
            let what = "it took longer than this evidence may take";
            Err(io::Error::new(io::ErrorKind::TimedOut, what))
        }
    }

    /// Drops what is open, which could not be taken because of `failure`.
    pub(super) fn give_up(&mut self, failure: &Failure) {
        if let Some(open) = self.open.take() {
            self.missed(open.about, failure.clone());
        }
    }

    /// Keeps what the collection came to.
    pub(super) fn seal(mut self, changes: Vec<Box<str>>, failure: Option<Failure>) -> Result<Sealed, Failure> {
        if self.open.is_some() {
            self.give_up(&Failure::new(FailureKind::Interrupted, "it was begun and not ended"));
        }
        let mut failure = failure.or_else(|| self.trouble.clone());
        if self.artefacts.is_empty() && failure.is_none() {
            failure = self.missed.first().map(|it| it.failure.clone());
        }
        let request = &self.order.request;
        let home = &self.common.home;
        let tries = home.held.take(request.evidence).map_or(0, |it| it.tries()) + 1;
        let bytes = self.artefacts.iter().map(|it| it.size).sum();
        let artefacts = u32::try_from(self.artefacts.len()).unwrap_or(u32::MAX);
        let waiting = self.waiting.take();
        // What a collector makes of a vault that refuses it counts less than what the vault has said.
        let refused = self.of_vault.clone().filter(|it| !is_worth_retrying(it.kind));
        let told = failure.clone().map(|it| refused.unwrap_or(it));
        let may_be_tried_again = waiting.is_some() && told.as_ref().is_some_and(|it| is_worth_retrying(it.kind));
        let record = CollectionRecord {
            schema_version: CUSTODY_SCHEMA_VERSION,
            installation: self.installation(),
            evidence: request.evidence,
            incident: request.incident,
            kind: self.order.kind,
            target: request.target.clone(),
            collector: self.identity,
            started_at: self.started_at,
            ended_at: self.common.clock.now(),
            deadline: Some(self.order.deadline),
            artefacts: self.artefacts,
            missed: self.missed,
            failure,
            changes_caused: self
                .about
                .changes
                .iter()
                .map(|it| Box::from(*it))
                .chain(changes)
                .collect(),
        };
        let held = Held::new(record, waiting.unwrap_or_default(), tries, self.of_vault);
        if may_be_tried_again && let Some(failure) = told {
            home.held.hold(held);
            return Err(failure);
        }
        // That it could not be taken is evidence, too.
        let kept = held.keep_with(self.common)?;
        match told.or(kept.trouble) {
            // What was sealed before counts only when the rest is known to be missing, not when it is about to be tried
            // again.
            Some(failure) => Err(failure),
            None => Ok(Sealed {
                hash: kept.hash.into(),
                bytes,
                artefacts,
            }),
        }
    }

    /// Something of this try is kept in any case: so are the manifests of what was missed before.
    fn keep_missed(&mut self) {
        let Some(drafts) = self.waiting.take() else {
            return;
        };
        if let Some(trouble) = put_missed(self.common, &mut self.missed, drafts) {
            self.note_vault(&trouble);
            self.trouble.get_or_insert(trouble);
        }
    }

    /// Remembers what the vault said. What is too long is refused, and no fault of the vault.
    fn note_vault(&mut self, failure: &Failure) {
        if failure.kind != FailureKind::Invalid {
            self.of_vault.get_or_insert_with(|| failure.clone());
        }
    }

    fn note(&mut self, failure: Failure) -> io::Error {
        let kind = match failure.kind {
            FailureKind::Full => io::ErrorKind::StorageFull,
            FailureKind::Denied => io::ErrorKind::PermissionDenied,
            FailureKind::TimedOut => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::Other,
        };
        let error = io::Error::new(kind, failure.to_string());
        self.trouble.get_or_insert(failure);
        error
    }
}

impl Write for VaultSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check_time()?;
        match &mut self.open {
            Some(open) => match open.deposit.write(bytes) {
                Err(error) if error.kind() != io::ErrorKind::FileTooLarge => {
                    let kind = match error.kind() {
                        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::Full,
                        _ => FailureKind::Unavailable,
                    };
                    self.note_vault(&Failure::new(kind, &format!("cannot write to the vault: {error}")));
                    Err(error)
                }
                written => written,
            },
            None => Err(io::Error::other("no artefact was begun")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for VaultSink<'_> {
    fn begin(&mut self, about: About) -> io::Result<()> {
        self.check_time()?;
        if self.open.is_some() {
            return Err(io::Error::other("the artefact before has not ended"));
        }
        if self.artefacts.len() + self.missed.len() >= ARTEFACTS_MAX {
            let what = format!("a collection has at most {ARTEFACTS_MAX} artefacts");
            return Err(self.note(Failure::new(FailureKind::Full, &what)));
        }
        let deposit = match self.common.vault.begin(self.order.request.options.bytes_max) {
            Ok(deposit) => deposit,
            Err(failure) => {
                self.note_vault(&failure);
                return Err(self.note(failure));
            }
        };
        self.open = Some(Open {
            about,
            deposit,
            begun_at: self.common.clock.now(),
            begun_at_monotonic: (self.common.since_boot)(),
        });
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.check_time()?;
        let Some(open) = self.open.take() else {
            return Err(io::Error::other("no artefact was begun"));
        };
        let name = open.about.name.clone();
        let draft = self.draft(open.about, open.begun_at, open.begun_at_monotonic);
        let sealed = match open.deposit.seal(draft) {
            Ok(sealed) => sealed,
            Err(failure) => {
                self.note_vault(&failure);
                return Err(self.note(failure));
            }
        };
        if let Taken::Stored { size, sha256, .. } = sealed.manifest.taken {
            self.artefacts.push(CollectedArtefact {
                name,
                sequence: sealed.manifest.sequence,
                manifest: sealed.hash,
                sha256,
                size,
            });
        }
        self.keep_missed();
        Ok(())
    }

    fn missed(&mut self, about: About, failure: Failure) {
        self.open = None;
        if self.artefacts.len() + self.missed.len() >= ARTEFACTS_MAX {
            return;
        }
        let (name, locator) = (about.name.clone(), about.locator.clone());
        let mut draft = self.draft(about, self.common.clock.now(), (self.common.since_boot)());
        for handling in &mut draft.handling {
            handling.reason = "asked for, and not taken".into();
        }
        self.missed.push(MissedArtefact {
            name,
            locator,
            manifest: None,
            failure,
        });
        match &mut self.waiting {
            Some(waiting) => {
                waiting.push(draft);
                if waiting.len() >= WAITING_MAX {
                    self.keep_missed();
                }
            }
            None => {
                let at = self.missed.len() - 1;
                if let Some(trouble) = put_missed(self.common, &mut self.missed[at..], vec![draft]) {
                    self.note_vault(&trouble);
                    self.trouble.get_or_insert(trouble);
                }
            }
        }
    }
}
