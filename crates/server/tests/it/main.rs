//! The API over a real socket, with a real runtime, a journal in memory and a world that is a map.

mod access;
mod client;
mod drills;
mod events;
mod limits;
mod openapi;
mod operate;
mod senders;
mod stall;
mod stream;
mod tls;
mod words;
mod world;

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use staunch_model::{InstallationId, Limits, Mode, Policy};
use staunch_ports::{Follower, Journal, Lsn};
use staunch_runtime::{Intake, Parts, Runtime, Settings};
use staunch_server::dto::{Status, path};
use staunch_server::{HttpLimits, Role, Senders, Server, Service, Tls, Tokens};
use staunch_store::MemoryJournal;
use staunch_store::index::Index;

use client::Client;
use drills::Faults;
use world::{Gate, Gated, ManualClock, MapAction, Slow, TestSource, World, playbooks, programs};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a test wants its Staunch.
#[derive(Clone, Copy)]
struct Options {
    http: HttpLimits,
    limits: Limits,
    mode_max: Mode,
    queue_max: usize,
    open_to_loopback: bool,
    with_index: bool,
    sandbox_gaps: &'static [&'static str],
}

impl Default for Options {
    fn default() -> Self {
        Self {
            http: HttpLimits::default(),
            limits: staunch_engine::limits::DEFAULT,
            mode_max: Mode::Enforce,
            queue_max: 64,
            open_to_loopback: false,
            with_index: true,
            sandbox_gaps: &[],
        }
    }
}

/// A Staunch that runs.
struct Staunch {
    // The server goes before the runtime, because it holds handles of it.
    server: Option<Server>,
    runtime: Option<Runtime>,
    tokens: Arc<Tokens>,
    journal: MemoryJournal,
    gate: Arc<Gate>,
    /// Where frames pass on their way into the index.
    index_gate: Arc<Gate>,
    faults: Arc<Faults>,
    world: Arc<World>,
    clock: Arc<ManualClock>,
    operator: String,
    address: std::net::SocketAddr,
    dir: tempfile::TempDir,
}

impl Staunch {
    fn start(options: Options) -> Self {
        Self::start_secured(options, None)
    }

    /// The same, with TLS.
    fn start_secured(options: Options, tls: Option<Arc<Tls>>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (journal, gate, world, clock) = (
            MemoryJournal::new(),
            Arc::new(Gate::default()),
            Arc::new(World::default()),
            Arc::new(ManualClock::default()),
        );
        let index_gate = Arc::new(Gate::default());
        let faults = Arc::new(Faults::default());
        let nowhere: PathBuf = dir.path().join("journal");
        let index = options
            .with_index
            .then(|| Index::open(&dir.path().join("index.sqlite"), &nowhere).expect("the index opens"));
        let reader = index.as_ref().map(Index::reader);
        let parts = Parts {
            journal: Box::new(Gated {
                inner: journal.clone(),
                gate: gate.clone(),
            }) as Box<dyn Journal>,
            actions: vec![Box::new(MapAction(world.clone()))],
            traffic: None,
            notifiers: Vec::new(),
            preserver: None,
            signals: staunch_runtime::HealthSignals::default(),
            followers: index
                .map(|index| {
                    let (inner, gate) = (Box::new(index), index_gate.clone());
                    Box::new(Slow { inner, gate }) as Box<dyn Follower>
                })
                .into_iter()
                .collect(),
            log: None,
            clock: clock.clone(),
            lost: Vec::new(),
            released_before: None,
            installation: InstallationId([7; 8]),
            build: "test".into(),
        };
        let policy = Policy {
            limits: options.limits,
            never_touch: Vec::new(),
            mode_max: options.mode_max,
            playbooks: playbooks(),
            drivers: Vec::new(),
        };
        let settings = Settings {
            queue_max: options.queue_max,
            ..Settings::default()
        };
        let runtime = Runtime::start(parts, settings, policy).expect("the runtime starts");
        let handle = runtime.handle();
        let tokens = Arc::new(
            Tokens::load_refreshed(&dir.path().join("tokens"), Duration::ZERO).expect("there are no tokens yet"),
        );
        let operator = tokens.create("ada", Role::Operator).expect("a token");
        let senders = senders::write(dir.path());
        let service = Service {
            tls,
            senders: Arc::new(Senders::load_refreshed(senders, Duration::ZERO).expect("the secrets can be used")),
            intake: Arc::new(Intake::new(vec![Arc::new(TestSource)], programs(), handle.clone())),
            handle,
            index: reader,
            tokens: tokens.clone(),
            limits: options.http,
            version: "1.2.3".into(),
            installation: InstallationId([7; 8]),
            journal_start: Some(Lsn(0)),
            unauthenticated_loopback: options.open_to_loopback,
            sandbox_gaps: options.sandbox_gaps.iter().map(|&it| it.to_owned()).collect(),
            drills: Some(faults.clone()),
            reloads: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let server = Server::start(listener, service).expect("the server starts");
        let address = server.local_addr();
        Self {
            server: Some(server),
            runtime: Some(runtime),
            tokens,
            journal,
            gate,
            index_gate,
            faults,
            world,
            clock,
            operator,
            address,
            dir,
        }
    }

    /// A client with the token of an operator.
    fn client(&self) -> Client {
        Client::new(self.address, Some(&self.operator))
    }

    fn stranger(&self) -> Client {
        Client::new(self.address, None)
    }

    fn with_token(&self, token: &str) -> Client {
        Client::new(self.address, Some(token))
    }

    /// Waits until the index has every frame of the journal.
    fn wait_for_index(&self) {
        until("the index follows", || {
            let status: Status = self.client().get(path::STATUS).json();
            status.index.is_some_and(|index| index.lag == Some(0))
        });
    }
}

impl Drop for Staunch {
    fn drop(&mut self) {
        self.gate.open();
        self.index_gate.open();
        if let Some(server) = self.server.take() {
            server.stop().expect("the server stops");
        }
        // A test that has failed, or that stopped the loop, must not hang here.
        if let Some(runtime) = self.runtime.take().filter(|_| !std::thread::panicking()) {
            runtime.stop().expect("the runtime stops");
        }
    }
}

/// Asks until `holds`, which must happen soon.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "it never happened: {what}");
        std::thread::yield_now();
    }
}
