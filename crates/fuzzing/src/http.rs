//! The HTTP API: bytes as they come on a connection, through the parser, the routes, the runtime and a memory world.
//!
//! What holds of every answer: it is never an internal error; a failure is a problem as in RFC 9457 that says its
//! status and can be shown; a success is JSON, or what its path gives instead; and the engine still runs.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use staunch_connectors::actions::block_ip::{MemoryBlockIp, MemoryWorld};
use staunch_connectors::sources::{self, SourceSettings};
use staunch_model::{InstallationId, Mode, Policy, Span, Timestamp};
use staunch_playbook::{BUILT_IN, CheckContext, compile_all};
use staunch_ports::{Clock, Follower, Journal, Lsn};
use staunch_runtime::{Intake, Parts, Runtime, Settings};
use staunch_server::dto::{PROBLEM_TYPE, Problem, path};
use staunch_server::{HttpLimits, Scheme, SenderSettings, Senders, Service, Tokens, in_process};
use staunch_store::MemoryJournal;
use staunch_store::index::Index;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::shown::assert_line;

/// Inputs after which everything is started anew, so that memory stays bounded.
const INPUTS_MAX: u32 = 2_000;

/// Longer inputs say nothing new.
const BYTES_MAX: usize = 64 << 10;

/// How long one connection may take. Nothing in it waits for anything but the engine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends `data` on a connection of its own and closes it.
pub fn run(data: &[u8]) {
    drop(answers(data));
}

/// Sends `data` on a connection of its own, and gives back what is answered.
#[must_use]
pub fn answers(data: &[u8]) -> Vec<u8> {
    thread_local! {
        static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
    }
    WORLD.with_borrow_mut(|slot| {
        let world = slot.get_or_insert_with(World::start);
        let answers = world.connection(&data[..data.len().min(BYTES_MAX)]);
        if world.inputs >= INPUTS_MAX {
            *slot = None;
        }
        answers
    })
}

/// A Staunch that runs.
struct World {
    router: axum::Router,
    tokio: tokio::runtime::Runtime,
    runtime: Option<Runtime>,
    inputs: u32,
    _dir: tempfile::TempDir,
}

/// A clock that moves on each time it is read.
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1_000, Ordering::Relaxed))
    }

    fn passed(&self) -> Span {
        self.now().since(Timestamp::EPOCH)
    }
}

/// A sender of each scheme, all with the same secret: the seeds are signed with it.
fn senders(dir: &Path) -> Senders {
    let file = dir.join("secret");
    std::fs::write(&file, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("it is our directory");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("it is our file");
    let sender = |(name, source, scheme): (&str, &str, Scheme)| SenderSettings {
        name: name.into(),
        source: source.into(),
        scheme,
        secret_files: vec![file.clone()],
        window: Span::from_mins(5),
    };
    let all = [
        ("standard", "suricata", Scheme::StandardWebhooks),
        ("github", "suricata", Scheme::GitHub),
        ("slack", "falco", Scheme::Slack),
        ("pagerduty", "falco", Scheme::PagerDuty),
    ];
    Senders::load(all.map(sender).into()).expect("the secret can be used")
}

impl World {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let index =
            Index::open(&dir.path().join("index.sqlite"), &dir.path().join("journal")).expect("the index opens");
        let reader = index.reader();
        let installation = InstallationId([7; 8]);
        let clock: Arc<dyn Clock> = Arc::new(Ticking(AtomicU64::new(1_700_000_000_000_000)));
        let parts = Parts {
            journal: Box::new(MemoryJournal::new()) as Box<dyn Journal>,
            actions: vec![Box::new(MemoryBlockIp::new(
                MemoryWorld::with_clock(clock.clone()),
                installation,
            ))],
            traffic: None,
            notifiers: Vec::new(),
            preserver: None,
            signals: staunch_runtime::HealthSignals::default(),
            followers: vec![Box::new(index) as Box<dyn Follower>],
            log: None,
            clock,
            lost: Vec::new(),
            released_before: None,
            installation,
            build: "fuzz".into(),
        };
        let compiled = compile_all(BUILT_IN.iter().copied(), &CheckContext::default()).expect("they are checked");
        let programs: Vec<_> = compiled.into_iter().map(|it| it.program).collect();
        let policy = Policy {
            limits: staunch_engine::limits::DEFAULT,
            never_touch: Vec::new(),
            mode_max: Mode::Enforce,
            playbooks: programs.iter().map(|it| it.playbook.clone()).collect(),
            drivers: Vec::new(),
        };
        let settings = Settings {
            linger: Duration::ZERO,
            ..Settings::default()
        };
        let runtime = Runtime::start(parts, settings, policy).expect("the runtime starts");
        let handle = runtime.handle();
        let sources = sources::ports(&SourceSettings::default()).expect("the sources of the program");
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 7450));
        let service = Service {
            intake: Arc::new(Intake::new(sources, programs, handle.clone())),
            handle,
            index: Some(reader),
            senders: Arc::new(senders(dir.path())),
            tls: None,
            tokens: Arc::new(Tokens::load(&dir.path().join("tokens")).expect("there are no tokens yet")),
            limits: HttpLimits::default(),
            version: "fuzz".into(),
            installation,
            journal_start: Some(Lsn(0)),
            unauthenticated_loopback: true,
            sandbox_gaps: [].into(),
            drills: None,
            reloads: None,
        };
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
        Self {
            router: in_process(service, local, peer),
            tokio: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("the runtime of the server starts"),
            runtime: Some(runtime),
            inputs: 0,
            _dir: dir,
        }
    }

    fn connection(&mut self, data: &[u8]) -> Vec<u8> {
        self.inputs += 1;
        let router = TowerToHyperService::new(self.router.clone());
        let answer = service_fn(move |request: Request<Incoming>| {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            let answer = router.call(request);
            async move {
                let Ok(response) = answer.await;
                Ok::<_, Infallible>(checked(&method, &path, response).await)
            }
        });
        let talk = async {
            let (client, server) = tokio::io::duplex(data.len() + (64 << 10));
            let (mut reader, mut writer) = tokio::io::split(client);
            // Whoever has said everything still waits for the answers.
            let serve = hyper::server::conn::http1::Builder::new()
                .half_close(true)
                .serve_connection(TokioIo::new(server), answer);
            let send = async {
                // The server may hang up before it has everything.
                drop(writer.write_all(data).await);
                drop(writer.shutdown().await);
            };
            let mut answers = Vec::new();
            let (_, _, read) = tokio::join!(serve, send, reader.read_to_end(&mut answers));
            read.expect("a pipe in memory can be read");
            assert!(
                answers.is_empty() || answers.starts_with(b"HTTP/1."),
                "an answer is HTTP"
            );
            answers
        };
        let answers = self
            .tokio
            .block_on(async { tokio::time::timeout(PATIENCE, talk).await })
            .expect("every connection ends");
        assert!(
            !self.runtime.as_ref().is_some_and(Runtime::has_failed),
            "the engine still runs"
        );
        answers
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take().filter(|_| !std::thread::panicking()) {
            runtime.stop().expect("the runtime stops");
        }
    }
}

/// Asserts what holds of every answer to `method` at `path`, and passes it on.
async fn checked(method: &Method, path: &str, response: Response<Body>) -> Response<Body> {
    let (head, mut body) = response.into_parts();
    if path == path::STREAM && head.status.is_success() {
        // It ends when whoever listens hangs up, which is done at once.
        assert_eq!(
            head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes),
            Some(&b"text/event-stream"[..])
        );
        body = Body::empty();
    }
    let bytes = to_bytes(body, usize::MAX).await.expect("an answer is held in memory");
    let text = String::from_utf8_lossy(&bytes);
    let status = head.status;
    assert!(
        status.is_success() || status.is_client_error() || matches!(status.as_u16(), 304 | 503),
        "{status}: {text}"
    );
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    assert_eq!(header(header::X_CONTENT_TYPE_OPTIONS), Some("nosniff"));
    assert_eq!(header(header::CACHE_CONTROL), Some("no-store"));
    if method == Method::HEAD {
        return Response::from_parts(head, Body::from(bytes));
    }
    if status == StatusCode::NOT_MODIFIED {
        // Who asks has the answer already.
        assert!(bytes.is_empty() && header(header::ETAG).is_some());
    } else if status.is_success() {
        assert_success(path, header(header::CONTENT_TYPE), &text);
    } else {
        assert_eq!(header(header::CONTENT_TYPE), Some(PROBLEM_TYPE), "{text}");
        let problem: Problem = serde_json::from_slice(&bytes).expect("a failure is a problem");
        assert_eq!(problem.status, status.as_u16());
        assert!(
            problem.kind.starts_with(Problem::TYPE_PREFIX) && !problem.title.is_empty() && !problem.detail.is_empty()
        );
        assert_line(&problem.title);
        assert_line(&problem.detail);
        assert_line(problem.hint.as_deref().unwrap_or_default());
        for error in &problem.errors {
            assert_line(&error.what);
            assert_line(&error.hint);
        }
    }
    Response::from_parts(head, Body::from(bytes))
}

/// Asserts that `text` of the type `kind` is what `path` gives.
fn assert_success(path: &str, kind: Option<&str>, text: &str) {
    match path {
        path::STREAM => {}
        path::DOCS => {
            assert_eq!(kind, Some("text/html; charset=utf-8"));
            assert!(
                text.starts_with("<!doctype html>") && !text.contains("<script"),
                "{text}"
            );
        }
        path::METRICS => {
            assert_eq!(kind, Some("text/plain; version=0.0.4; charset=utf-8"));
            let is_number = |line: &str| line.rsplit_once(' ').is_some_and(|(_, it)| it.parse::<f64>().is_ok());
            assert!(
                text.lines().all(|line| line.starts_with('#') || is_number(line)),
                "{text}"
            );
        }
        _ => {
            assert_eq!(kind, Some("application/json"), "{text}");
            assert!(serde_json::from_str::<Value>(text).is_ok(), "{text}");
        }
    }
}
