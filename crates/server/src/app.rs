//! What the handlers share: the way into the runtime and the index, with bounds on how much of it one can take.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use staunch_engine::EngineState;
use staunch_model::{Operator, Printable, Timestamp};
use staunch_ports::Lsn;
use staunch_runtime::Busy;
use staunch_store::index::{IndexError, IndexReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::auth::{Identity, LOCAL_NAME, LOOPBACK_NAME, Right, Role};
use crate::connection::{Origin, Peer};
use crate::dto::{IndexView, path};
use crate::etag;
use crate::limits::{
    INDEX_ANSWER_MAX, INDEX_LOOK_INTERVAL, INDEX_WAIT_MAX, PLANS_MAX, QUESTION_TIMEOUT, QUESTIONS_MAX,
    QUESTIONS_TO_INDEX_MAX, STREAMS_MAX, STREAMS_OF_ONE_MAX,
};
use crate::problem::Failed;
use crate::service::Service;
use crate::sometimes::Sometimes;

pub(crate) type Shared = Arc<App>;

/// A running API.
pub(crate) struct App {
    pub(crate) service: Service,
    pub(crate) started: Timestamp,
    pub(crate) started_at: Instant,
    /// Memory for bodies, in the unit of [`crate::body`].
    pub(crate) memory: Arc<Semaphore>,
    /// The part of it for bodies whose sender is not proved yet, so that strangers cannot take all of it.
    pub(crate) memory_of_strangers: Arc<Semaphore>,
    pub(crate) plans: Arc<Semaphore>,
    pub(crate) streams: Arc<Semaphore>,
    /// The streams of each who asks.
    pub(crate) streams_of: StreamsOf,
    questions: Arc<Semaphore>,
    /// Apart from those to the engine: an index that is slow says nothing of its health.
    questions_to_index: Arc<Semaphore>,
    /// Held from the look at the drill under way until an order about it is carried out.
    pub(crate) drill: Arc<tokio::sync::Mutex<()>>,
    /// True when the server is asked to stop; `None` for one that nobody stops.
    stopping: Option<watch::Receiver<bool>>,
    /// Requests from this machine need no token.
    pub(crate) open_to_loopback: bool,
    /// The log was told of a token that is wrong.
    told_of_tokens: Sometimes,
    /// The log was told of events without a token.
    told_of_strangers: Sometimes,
    /// The log was told of events that a playbook matched, and from which nothing follows.
    pub(crate) told_of_vain_matches: Sometimes,
}

/// How a request is let in.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// Whoever asks has proved who it is.
    Proved(Caller),
    /// Its head claims a signature. Whether that is good is known when its body is there, and nothing else may be done
    /// with it before.
    IfSigned,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    name: Arc<str>,
    role: Role,
    from: Origin,
}

impl Caller {
    /// Who it is.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether it may do more than its path needs.
    pub(crate) const fn may(&self, right: Right) -> bool {
        self.role.has(right)
    }

    /// The operator of a command that is given for `reason`.
    pub(crate) fn operator(&self, reason: &str) -> Operator {
        Operator {
            name: (&*self.name).into(),
            from: self.from.to_string().into(),
            reason: reason.into(),
        }
    }
}

/// How many streams each who asks has open.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamsOf(Arc<Mutex<BTreeMap<Arc<str>, usize>>>);

impl StreamsOf {
    /// One more of `name`, for as long as what is returned lives; `None` when it has as many as it may.
    pub(crate) fn begin(&self, name: &Arc<str>) -> Option<StreamTurn> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(name.clone()).or_default();
        if *count >= STREAMS_OF_ONE_MAX {
            return None;
        }
        *count += 1;
        Some(StreamTurn {
            all: self.clone(),
            name: name.clone(),
        })
    }
}

/// One stream of one who asks.
#[derive(Debug)]
pub(crate) struct StreamTurn {
    all: StreamsOf,
    name: Arc<str>,
}

impl Drop for StreamTurn {
    fn drop(&mut self) {
        let mut open = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.name);
            }
        }
    }
}

impl App {
    pub(crate) fn new(service: Service, local: SocketAddr, stopping: Option<watch::Receiver<bool>>) -> Shared {
        Arc::new(Self {
            started: service.handle.now(),
            started_at: Instant::now(),
            memory: crate::body::memory(service.limits.buffered_bytes_max),
            memory_of_strangers: crate::body::memory(service.limits.strangers_bytes_max()),
            plans: Arc::new(Semaphore::new(PLANS_MAX)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            streams_of: StreamsOf::default(),
            questions: Arc::new(Semaphore::new(QUESTIONS_MAX)),
            questions_to_index: Arc::new(Semaphore::new(QUESTIONS_TO_INDEX_MAX)),
            drill: Arc::default(),
            stopping,
            told_of_tokens: Sometimes::default(),
            told_of_strangers: Sometimes::default(),
            told_of_vain_matches: Sometimes::default(),
            open_to_loopback: service.unauthenticated_loopback && local.ip().to_canonical().is_loopback(),
            service,
        })
    }

    /// Waits until the server is asked to stop.
    pub(crate) async fn stopping(&self) {
        match self.stopping.clone() {
            // A sender that has gone means stop too.
            Some(mut stopping) => drop(stopping.wait_for(|it| *it).await),
            None => std::future::pending().await,
        }
    }

    /// Whether the server is asked to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.as_ref().is_some_and(|stopping| *stopping.borrow())
    }

    /// Whose the token in the header `Authorization` is; `None` when it is none that is good.
    pub(crate) fn who(&self, presented: &HeaderValue) -> Option<Identity> {
        let token = presented.to_str().ok().and_then(bearer)?;
        self.service.tokens.check(token)
    }

    /// Asks the engine's state.
    pub(crate) async fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&EngineState) -> R + Send + 'static,
    ) -> Result<R, Failed> {
        let handle = self.service.handle.clone();
        let answer: Result<R, Busy> = self
            .wait(&self.questions, QUESTION_TIMEOUT, move || handle.query(question))
            .await?;
        Ok(answer?)
    }

    /// Asks the index, which is given a moment to take in what was durable before: whoever was told of something finds
    /// it.
    pub(crate) async fn look_up<R: Send + 'static>(
        &self,
        question: impl FnOnce(&IndexReader) -> Result<R, IndexError> + Send + 'static,
    ) -> Result<R, Failed> {
        if let (Some(index), Some(durable)) = (&self.service.index, self.journal_lsn()) {
            let until = Instant::now() + INDEX_WAIT_MAX;
            // What it lacks after that, the answer tells.
            while index.is_awaited(Lsn(durable)) && Instant::now() < until {
                sleep(INDEX_LOOK_INTERVAL).await;
            }
        }
        self.look_up_now(question).await
    }

    /// Asks the index as it is.
    pub(crate) async fn look_up_now<R: Send + 'static>(
        &self,
        question: impl FnOnce(&IndexReader) -> Result<R, IndexError> + Send + 'static,
    ) -> Result<R, Failed> {
        let index = self.service.index.clone().ok_or_else(Failed::no_index)?;
        let index = index.within(INDEX_ANSWER_MAX);
        let answer = self
            .wait(&self.questions_to_index, QUESTION_TIMEOUT, move || question(&index))
            .await
            .map_err(|_| Failed::slow_index())?;
        answer.map_err(|error| Failed::index(&error))
    }

    /// Runs `work`, which blocks, on a thread of its own when one of `turns` is free in time. A turn ends with the
    /// work, not with the wait, so that work that hangs cannot take all threads.
    pub(crate) async fn wait<R: Send + 'static>(
        &self,
        turns: &Arc<Semaphore>,
        deadline: Duration,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Failed> {
        let turn: OwnedSemaphorePermit = match timeout(deadline, turns.clone().acquire_owned()).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) | Err(_) => return Err(Failed::no_answer()),
        };
        let work = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        match timeout(deadline, work).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(Failed::no_answer()),
        }
    }

    /// The last frame of the journal, when it is known where it ended at the start.
    pub(crate) fn journal_lsn(&self) -> Option<u64> {
        let start = self.service.journal_start?;
        Some(start.0 + self.service.handle.telemetry().counts().frames)
    }

    /// How far an index at `position` follows the journal.
    pub(crate) fn index_view(&self, position: Lsn) -> IndexView {
        let lag = self.journal_lsn().map(|lsn| lsn.saturating_sub(position.0));
        IndexView {
            position: position.0,
            lag,
            trouble: self.index_trouble(),
        }
    }

    /// Why nothing can be entered into the index.
    pub(crate) fn index_trouble(&self) -> Option<String> {
        let trouble = self.service.index.as_ref().and_then(IndexReader::trouble)?;
        Some(Printable(&trouble).to_string())
    }

    /// Tells the log, now and then, of a request that was turned away: many senders say nothing to anybody.
    fn tell_of_token(&self, told: &Sometimes, from: Origin, right: Right, why: &str) {
        if let Some(untold) = told.happened(self.service.handle.machine_now()) {
            // Not where it was sent to: some put the token there, too.
            let posts_events = right == Right::Send;
            tracing::warn!(%from, posts_events, untold, why, "a request was turned away");
        }
    }

    /// Whether `request` may be made, and who makes it.
    fn admit(&self, request: &Request, peer: &Peer) -> Result<Option<Entry>, Failed> {
        let from = peer.from;
        let path = request.uri().path();
        if is_open(path) {
            return Ok(None);
        }
        let headers = request.headers();
        let right = right_of(request.method(), path);
        let Some(presented) = headers.get(header::AUTHORIZATION) else {
            // A signature that is wrong is never as good as none.
            let from_afar = matches!(from, Origin::Network(_));
            if right == Right::Send && from_afar && self.service.senders.is_signed(headers) {
                return Ok(Some(Entry::IfSigned));
            }
            if let Some(identity) = peer.watch.client() {
                // A browser shows a certificate for any page that asks.
                if is_foreign(headers) {
                    return Err(not_for_pages(
                        "with a certificate only programs may ask, not pages in a browser",
                        "use a token",
                    ));
                }
                return allow(identity, right, from).map(Some);
            }
            let name = match from {
                // Its file has let in nobody who could not as well write the file of tokens.
                Origin::Local { .. } => Some(LOCAL_NAME),
                Origin::Network(peer) if self.open_to_loopback && peer.ip().to_canonical().is_loopback() => {
                    refuse_browsers(headers)?;
                    Some(LOOPBACK_NAME)
                }
                Origin::Network(_) => None,
            };
            if let Some(name) = name {
                return Ok(Some(Entry::Proved(Caller {
                    name: name.into(),
                    role: Role::Operator,
                    from,
                })));
            }
            // Whoever looks around without one is no sensor that was set up wrong.
            if right == Right::Send {
                self.tell_of_token(&self.told_of_strangers, from, right, "it has no token");
            }
            return Err(unauthorized(
                "no token was given",
                "send the header Authorization: Bearer <token>",
            ));
        };
        let identity = self.who(presented).ok_or_else(|| {
            self.tell_of_token(&self.told_of_tokens, from, right, "its token is wrong or was revoked");
            let hint = "ask an operator for a token: staunch token create";
            unauthorized("the token is wrong or was revoked", hint)
        })?;
        allow(&identity, right, from).map(Some)
    }
}

/// Whether `path` tells strangers nothing that they may not know.
pub(crate) fn is_open(path: &str) -> bool {
    matches!(path, path::HEALTH | path::OPENAPI | path::DOCS)
}

/// What a request needs its caller to be allowed to do. A path that nobody knows needs the most, unless it is only
/// read.
pub(crate) fn right_of(method: &Method, path: &str) -> Right {
    let looks = method == Method::GET || method == Method::HEAD || path.starts_with(path::PLAN);
    match path {
        _ if method == Method::POST && path.starts_with(path::EVENTS) => Right::Send,
        _ if looks => Right::Look,
        path::RELEASE | path::RENEW | path::RECOVER | path::APPROVE | path::DENY | path::PROTECT | path::UNPROTECT => {
            Right::Respond
        }
        // It only makes well what somebody else has left behind.
        path::DRILL_STOP => Right::Respond,
        _ => Right::Operate,
    }
}

/// Lets `identity` in, when it may do what it asks for.
fn allow(identity: &Identity, right: Right, from: Origin) -> Result<Entry, Failed> {
    if !identity.role.has(right) {
        let may = match identity.role {
            Role::Sender => "may only post events",
            Role::Viewer => "may only look",
            Role::Responder => "may look and decide on what is contained, and nothing else",
            Role::Operator => "may do everything",
        };
        let (title, detail) = ("the caller may not do this", format!("{} {may}", identity.name));
        return Err(Failed::new(StatusCode::FORBIDDEN, "forbidden", title, detail).hint(right.hint()));
    }
    Ok(Entry::Proved(Caller {
        name: identity.name.clone(),
        role: identity.role,
        from,
    }))
}

/// Wraps every request: notes where its connection is, admits it, and marks the answer.
pub(crate) async fn around(
    State(app): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    peer.watch.busy();
    let gets = (request.method() == Method::GET).then(|| request.headers().clone());
    let sends = right_of(request.method(), request.uri().path()) == Right::Send;
    let mut response = match app.admit(&request, &peer) {
        Ok(entry) => {
            if let Some(entry) = entry {
                if let Entry::Proved(caller) = &entry {
                    request.extensions_mut().insert(caller.clone());
                }
                request.extensions_mut().insert(entry);
            }
            next.run(request).await
        }
        Err(failed) => failed.into_response(),
    };
    if sends && response.status() == StatusCode::UNAUTHORIZED {
        app.service.handle.telemetry().requests_unproved.add(1);
    }
    if let Some(asked) = gets {
        response = etag::tagged(&asked, response).await;
    }
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    peer.watch.answered(response.status().as_u16() >= 400);
    response
}

/// What everybody is told whose signature is not good, whatever is wrong with it.
pub(crate) fn unsigned() -> Failed {
    unauthorized(
        "the request carries no signature that is good here",
        "compare the secret and the clock of both sides; the log of staunch says more",
    )
}

fn unauthorized(detail: &str, hint: &str) -> Failed {
    Failed::new(StatusCode::UNAUTHORIZED, "unauthorized", "a token is needed", detail).hint(hint)
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Without tokens, a page in a browser on this machine must not be able to give commands: neither from another origin
/// nor under a name that was made to point here.
fn refuse_browsers(headers: &HeaderMap) -> Result<(), Failed> {
    let local = text(headers, "host").is_some_and(|host| {
        let name = host
            .rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|it| it.is_ascii_digit()));
        let name = name.map_or(host, |(name, _)| name).trim_matches(['[', ']']);
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
    });
    if local && !is_foreign(headers) {
        return Ok(());
    }
    let detail = "without a token only programs on this machine may ask, not pages in a browser";
    Err(not_for_pages(detail, "ask http://127.0.0.1, or use a token"))
}

/// Whether a page has a browser ask.
fn is_foreign(headers: &HeaderMap) -> bool {
    text(headers, "origin").is_some() || text(headers, "sec-fetch-site").is_some_and(|site| site != "none")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or(""))
}

fn not_for_pages(detail: &str, hint: &str) -> Failed {
    let title = "the request is not good for this";
    Failed::new(StatusCode::FORBIDDEN, "forbidden", title, detail).hint(hint)
}
