//! What happens, as it happens: server-sent events, read from the index as fast as each client takes them.
//!
//! Never keeps anything for a client but its place: who is slow, or was away, is told later and not less. While the
//! index has a trouble, or gives no answer, the client is told so, once. One that is only slow is not told of.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::str::FromStr;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use staunch_model::{InstallationId, Record};
use staunch_ports::Lsn;
use staunch_store::index::{Happening, IndexReader, Place};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use crate::app::{Caller, Shared, StreamTurn};
use crate::auth::Right;
use crate::dto::{StreamEntry, StreamKind, StreamQuery};
use crate::limits::{
    STREAM_BEHIND_MAX, STREAM_LOOK_INTERVAL, STREAM_PAGE, STREAM_RETRY_INTERVAL, STREAMS_MAX, STREAMS_OF_ONE_MAX,
};
use crate::problem::Failed;

/// What a client is told whose last event was told by another installation.
const ANOTHER_INSTALLATION: &str = "this is another installation than the one that was followed, with a data directory \
                                    of its own: what has happened here is told from its beginning";

/// What a client is told whose last event is of a frame that the journal does not have.
const JOURNAL_OF_BEFORE: &str = "the journal ends before what was told last, as one does that was put back from a copy: \
                                 what happens from now on is told";

/// What happens from now on, or from a place on.
pub(crate) async fn happening(
    State(app): State<Shared>,
    // Who may look is known by name.
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    query: Result<Query<StreamQuery>, QueryRejection>,
) -> Result<Response, Failed> {
    let Query(query) = query.map_err(|error| Failed::bad_query(&error))?;
    let own = app.streams_of.begin(caller.name()).ok_or_else(too_many_of_one)?;
    let turn = app.streams.clone().try_acquire_owned().map_err(|_| too_many())?;
    let installation = app.service.installation;
    let end = app.journal_lsn();
    let is_ahead = |lsn: u64| end.is_some_and(|end| lsn > end);
    let (place, elsewhere) = match (headers.get("last-event-id"), query.after) {
        (Some(id), _) => {
            let id: Option<Id> = id.to_str().ok().and_then(|id| id.parse().ok());
            let id = id.ok_or_else(|| {
                Failed::malformed("Last-Event-ID is none of this stream")
                    .hint("leave it out to be told what happens from now on")
            })?;
            if id.installation.is_some_and(|of| of != installation) {
                (Place::default(), Some(ANOTHER_INSTALLATION))
            } else if is_ahead(id.place.lsn) {
                let end = app.look_up(|index| index.place(index.position()?)).await?;
                (end, Some(JOURNAL_OF_BEFORE))
            } else {
                (id.place, None)
            }
        }
        (None, Some(lsn)) if is_ahead(lsn) => {
            let what = format!(
                "there is no frame {lsn} yet: the journal ends with {}",
                end.unwrap_or_default()
            );
            return Err(Failed::malformed(what).hint("leave `after` out to be told what happens from now on"));
        }
        (None, Some(lsn)) => (app.look_up(move |index| index.place(Lsn(lsn))).await?, None),
        (None, None) => (app.look_up(|index| index.place(index.position()?)).await?, None),
    };
    let follower = Follower {
        installation,
        place,
        elsewhere,
        query,
        ready: VecDeque::new(),
        told_to: None,
        begun: false,
        behind: None,
        shown: headers.get(header::AUTHORIZATION).cloned(),
        checked_at: Instant::now(),
        app,
        _turn: (turn, own),
    };
    let keep_alive = KeepAlive::new().interval(follower.app.service.limits.keep_alive);
    let events = stream::unfold(follower, |mut follower| async {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

/// A client that is told what happens.
struct Follower {
    app: Shared,
    installation: InstallationId,
    /// Behind what was read last.
    place: Place,
    query: StreamQuery,
    /// Why the place is not the one that the client named, until it knows.
    elsewhere: Option<&'static str>,
    /// What was read and is not sent yet.
    ready: VecDeque<Happening>,
    /// Whether the client knows where it is.
    begun: bool,
    /// Since when something has happened that cannot be told yet, and whether the client knows.
    behind: Option<(Instant, bool)>,
    /// The frame up to which nothing is left to be told.
    told_to: Option<u64>,
    /// What the client has shown, which may be revoked.
    shown: Option<header::HeaderValue>,
    checked_at: Instant,
    _turn: (OwnedSemaphorePermit, StreamTurn),
}

impl Follower {
    /// The next event; `None` when the server stops, or when the client may no longer look.
    async fn next(&mut self) -> Option<Event> {
        // Who loses the stream before anything was told comes back to where it began.
        if !std::mem::replace(&mut self.begun, true) {
            return Some(Event::default().id(self.id(self.place)));
        }
        if let Some(why) = self.elsewhere.take() {
            return Some(self.about_itself(why.to_owned()));
        }
        loop {
            if self.app.is_stopping() || !self.may_look() {
                return None;
            }
            if let Some(it) = self.ready.pop_front() {
                return Some(self.event(&it));
            }
            let read = if self.is_up_to_date() {
                Ok(())
            } else {
                self.read().await
            };
            let pause = if read.is_ok() {
                STREAM_LOOK_INTERVAL
            } else {
                STREAM_RETRY_INTERVAL
            };
            if let Some(what) = self.news_of_itself(read) {
                return Some(self.about_itself(what));
            }
            if !self.ready.is_empty() {
                continue;
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.app.stopping() => return None,
            }
        }
    }

    /// Whether all of the journal was told: then the index need not be asked.
    fn is_up_to_date(&self) -> bool {
        matches!((self.told_to, self.app.journal_lsn()), (Some(told), Some(end)) if told >= end)
    }

    /// Reads what the index has by now.
    ///
    /// # Errors
    /// Why the index does not know all that has happened: it is asked again after a while.
    async fn read(&mut self) -> Result<(), String> {
        let (place, incident) = (self.place, self.query.incident);
        let read = move |index: &IndexReader| {
            let position = index.position()?;
            let some = index.happened(place, incident, STREAM_PAGE)?;
            let end = match some.last() {
                Some(last) => last.place,
                // What is not about the incident is not looked at again.
                None => index.place(position)?.max(place),
            };
            Ok((position, some, end))
        };
        let asked = self.app.look_up_now(read).await;
        // What is wrong with the index is in the log; that it takes too long is said nowhere else.
        let (position, some, end) = asked.map_err(|_| "the index of the journal gives no answer".to_owned())?;
        self.place = end;
        // What it has is told first, whatever is the matter with it.
        if !some.is_empty() {
            self.ready = some.into();
            return Ok(());
        }
        self.told_to = Some(position.0);
        if self.is_up_to_date() {
            return Ok(());
        }
        match self.app.index_trouble() {
            Some(why) => Err(format!("the index of the journal cannot be written: {why}")),
            None => Ok(()),
        }
    }

    /// What the client has to know of the stream itself after it was `read`: that it has been behind for a while, or
    /// goes on.
    fn news_of_itself(&mut self, read: Result<(), String>) -> Option<String> {
        let Err(why) = read else {
            let (_, is_known) = self.behind.take()?;
            return is_known.then(|| "what has happened can be told again, and follows".to_owned());
        };
        let (since, is_known) = self.behind.get_or_insert_with(|| (Instant::now(), false));
        if *is_known || since.elapsed() < STREAM_BEHIND_MAX {
            return None;
        }
        *is_known = true;
        // Without an answer so far, nobody knows.
        let happened = if self.told_to.is_some() { "has" } else { "may have" };
        Some(format!(
            "something {happened} happened that cannot be told here yet: {why}. Containment goes on, and the server's log \
             tells it"
        ))
    }

    /// The event that tells of `it`.
    fn event(&self, it: &Happening) -> Event {
        let entry = StreamEntry {
            lsn: it.place.lsn,
            at: it.at,
            kind: kind_of(&it.detail),
            incident: it.incident,
            transaction: it.transaction,
            what: match &it.detail {
                Record::NoticeQueued(notice) => notice.words(),
                _ => it.what.clone(),
            },
        };
        with_json(Event::default().id(self.id(it.place)), &entry)
    }

    fn id(&self, place: Place) -> String {
        let installation = Some(self.installation);
        Id { place, installation }.to_string()
    }

    /// The event that tells `what` of the stream itself. It has no id: who loses the stream comes back to what was told
    /// last.
    fn about_itself(&self, what: String) -> Event {
        let entry = StreamEntry {
            lsn: self.place.lsn,
            at: self.app.service.handle.now(),
            kind: StreamKind::Stream,
            incident: None,
            transaction: None,
            what,
        };
        with_json(Event::default(), &entry)
    }

    /// Whether the token, if one was shown, is still one that may look; asked from time to time.
    fn may_look(&mut self) -> bool {
        if self.checked_at.elapsed() < self.app.service.limits.keep_alive {
            return true;
        }
        self.checked_at = Instant::now();
        match &self.shown {
            None => true,
            Some(shown) => self
                .app
                .who(shown)
                .is_some_and(|identity| identity.role.has(Right::Look)),
        }
    }
}

/// `event` with `entry`.
fn with_json(event: Event, entry: &StreamEntry) -> Event {
    let event = event.event(entry.kind.name());
    match serde_json::to_string(entry) {
        // JSON has no line breaks but escaped ones, and no other text is in the event.
        Ok(json) => event.data(json),
        Err(error) => event.comment(error.to_string()),
    }
}

const fn kind_of(record: &Record) -> StreamKind {
    match record {
        Record::NoticeQueued(_)
        | Record::NoticeSent { .. }
        | Record::NoticeFailed { .. }
        | Record::NoticeResent { .. } => StreamKind::Notice,
        Record::CommandDone { .. } | Record::CommandRefused { .. } => StreamKind::Command,
        Record::Transaction { .. }
        | Record::TransactionPlanned { .. }
        | Record::CameBack { .. }
        | Record::OrphanAdopted { .. } => StreamKind::Transaction,
        Record::Started { .. }
        | Record::PolicyPinned(_)
        | Record::SweepDone { .. }
        | Record::SweepFailed { .. }
        | Record::ListChanged(_)
        | Record::RiskTablePinned(_)
        | Record::Known(_)
        | Record::Found(_)
        | Record::ContextTablePinned(_)
        | Record::BreakerOpened { .. }
        | Record::ModeSet { .. }
        | Record::Exempted(_)
        | Record::ExemptionEnded { .. } => StreamKind::Installation,
        Record::IncidentOpened { .. }
        | Record::EventJoined { .. }
        | Record::StepWithoutTarget { .. }
        | Record::AroundKnown { .. }
        | Record::AssetsKnown { .. }
        | Record::OutcomeReached { .. }
        | Record::IncidentClosed { .. }
        | Record::IncidentForgotten { .. }
        | Record::EvidencePlanned { .. }
        | Record::EvidencePostponed { .. }
        | Record::EvidenceResent { .. }
        | Record::EvidenceSealed { .. }
        | Record::EvidenceMissed { .. }
        | Record::WatchPlanned { .. }
        | Record::WatchRead { .. }
        | Record::WatchAsked { .. }
        | Record::WatchStarted { .. }
        | Record::WatchEnded { .. }
        | Record::RecoveryPlanned { .. }
        | Record::RecoveryStarted { .. }
        | Record::RecoveryAt { .. }
        | Record::ContainedAgain { .. }
        | Record::RecoveryEnded { .. } => StreamKind::Incident,
    }
}

/// The id of an event: `17.204.5ee0a1b2c3d4e5f6`, frame, entry and installation.
struct Id {
    place: Place,
    /// Whose frame it is; `None` in ids of versions that did not say.
    installation: Option<InstallationId>,
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.place.lsn, self.place.entry)?;
        self.installation.map_or(Ok(()), |it| write!(f, ".{it}"))
    }
}

impl FromStr for Id {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '.');
        let mut number = || parts.next().ok_or(())?.parse().map_err(drop);
        let (lsn, entry) = (number()?, number()?);
        let installation = parts.next().map(str::parse).transpose().map_err(drop)?;
        Ok(Self {
            place: Place { lsn, entry },
            installation,
        })
    }
}

fn too_many() -> Failed {
    let detail = format!("{STREAMS_MAX} streams are open already");
    Failed::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "too-many-streams",
        "too many streams",
        detail,
    )
    .retry_after(10)
}

fn too_many_of_one() -> Failed {
    let detail = format!("{STREAMS_OF_ONE_MAX} streams are open already for who asks");
    Failed::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-many-streams",
        "too many streams",
        detail,
    )
    .hint("close one, or ask with another token")
    .retry_after(10)
}
