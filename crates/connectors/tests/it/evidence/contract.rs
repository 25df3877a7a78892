//! Every collector is held to the contract, with real kernels, processes and files.

use std::fs;
use std::process::Command;

use staunch_connectors::evidence::{
    CaptureCollector, FilesCollector, FlowsCollector, HostOptions, JournalCollector, LoginsCollector, ModulesCollector,
    NetworkCollector, ProcessCollector, ProcessesCollector, RulesetCollector, SocketsCollector, host,
};
use staunch_model::{EvidenceKind, EvidenceOptions, Span, Target};
use staunch_ports::{CollectRequest, Collector};
use staunch_testkit::contract::collector::{CollectorWorld, collector};

use super::processes::Odd;
use super::records::{kernel_with_modules, login, login_files};
use super::{redaction, request};
use crate::block_ip_setting::{at, connect_namespaces, connection, in_new_net, make_table_with};

/// A world that is put together by a test.
struct World {
    make: Box<dyn Fn() -> Box<dyn Collector>>,
    request: CollectRequest,
    in_vain: Option<CollectRequest>,
    state: Box<dyn Fn() -> String>,
    artefacts: Vec<&'static str>,
}

impl World {
    fn new<C: Collector + Clone + 'static>(collector: C, target: Option<Target>, artefact: &'static str) -> Self {
        Self {
            make: Box::new(move || Box::new(collector.clone())),
            request: request(target),
            in_vain: None,
            state: Box::new(String::new),
            artefacts: vec![artefact],
        }
    }

    fn in_vain(mut self, target: Option<Target>) -> Self {
        self.in_vain = Some(request(target));
        self
    }

    fn state(mut self, state: impl Fn() -> String + 'static) -> Self {
        self.state = Box::new(state);
        self
    }
}

impl CollectorWorld for World {
    fn collector(&self) -> Box<dyn Collector> {
        (self.make)()
    }
    fn request(&self) -> CollectRequest {
        self.request.clone()
    }
    fn request_in_vain(&self) -> Option<CollectRequest> {
        self.in_vain.clone()
    }
    fn state(&self) -> String {
        (self.state)()
    }
    fn artefacts(&self) -> Vec<String> {
        self.artefacts.iter().map(|it| (*it).to_owned()).collect()
    }
}

/// What a program says, nothing where it is not installed.
fn says(command: &str) -> String {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output();
    output
        .map(|it| String::from_utf8_lossy(&it.stdout).into_owned())
        .unwrap_or_default()
}

/// Without the addresses that the kernel gives to a link by itself: it takes a second until they are in use.
fn network_state() -> String {
    let all = [
        "ip -d link",
        "ip addr",
        "ip route show table all",
        "nft list ruleset",
        "ss -0 -n",
    ]
    .map(says)
    .concat();
    let lines = all.lines().filter(|line| !line.contains("fe80:"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn there_is_a_collector_of_each_kind() {
    let kinds: Vec<EvidenceKind> = host(HostOptions::new([0; 32]))
        .iter()
        .map(|it| it.describe().kind)
        .collect();
    assert_eq!(kinds, EvidenceKind::ALL);
}

#[test]
fn the_collectors_of_the_network_keep_the_contract() {
    in_new_net("the_collectors_of_the_network_keep_the_contract", || {
        make_table_with(None);
        let other = connect_namespaces(&["10.9.0.1"], &["10.9.0.2"]);
        let _connection = connection(&other, "10.9.0.1", "10.9.0.2");
        let proc = || "/proc".into();
        collector(&World::new(NetworkCollector::new(proc()), None, "network.json").state(network_state));
        collector(&World::new(SocketsCollector::new(proc()), None, "sockets.json").state(network_state));
        collector(&World::new(RulesetCollector::new(proc()), None, "ruleset.json").state(network_state));
        let flows = World::new(FlowsCollector::new(proc()), Some(at("10.9.0.2")), "flows.json");
        collector(&flows.in_vain(None).state(network_state));
    });
}

#[test]
fn the_collector_of_packets_keeps_the_contract() {
    in_new_net("the_collector_of_packets_keeps_the_contract", || {
        let _other = connect_namespaces(&["10.9.0.1"], &["10.9.0.2"]);
        let mut world = World::new(CaptureCollector::new(), Some(at("10.9.0.2")), "capture.pcapng")
            .in_vain(None)
            .state(network_state);
        world.request.options = EvidenceOptions {
            window: Some(Span::from_millis(20)),
            ..EvidenceOptions::default()
        };
        collector(&world);
    });
}

#[test]
fn the_collectors_of_processes_keep_the_contract() {
    let odd = Odd::start("cat", &[]);
    let children = format!("/proc/{}", odd.child.id());
    let state = move || {
        let stat = fs::read_to_string(format!("{children}/status")).map_err(|it| it.to_string());
        let lines = |text: &str| {
            text.lines()
                .filter(|it| it.starts_with("State") || it.starts_with("TracerPid"))
                .collect::<String>()
        };
        stat.map_or_else(|bytes| bytes, |it| lines(&it))
    };
    let of = |target| {
        World::new(
            ProcessCollector::new("/proc".into(), redaction()),
            target,
            "process.json",
        )
    };
    collector(&of(Some(odd.target())).in_vain(Some(at("192.0.2.1"))).state(state));
    collector(&World::new(
        ProcessesCollector::new("/proc".into(), redaction()),
        None,
        "processes.json",
    ));
}

#[test]
fn the_collectors_of_records_keep_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let files = login_files(folder.path());
    fs::write(&files.wtmp, login(b"alice")).unwrap();
    collector(&World::new(LoginsCollector::new(files), None, "logins.json"));
    kernel_with_modules(folder.path());
    let modules = ModulesCollector::new(folder.path().join("proc"), folder.path().join("sys"));
    collector(&World::new(modules, None, "modules.json"));
}

#[test]
fn the_collector_of_files_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    fs::write(path.join("log"), "a line\n".repeat(1_000)).unwrap();
    let mut world = World::new(FilesCollector::new(), None, "file-001-log").in_vain(None);
    world.artefacts.push("files.json");
    world.request.options.paths = vec![format!("{}/*", path.display()).into()];
    collector(&world.state(move || {
        let file = fs::metadata(path.join("log")).unwrap();
        format!(
            "{:?} {:?} {:?}",
            file.accessed(),
            file.modified(),
            fs::read_dir(&path).unwrap().count()
        )
    }));
}

#[test]
fn the_collector_of_the_journal_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let program = super::journal::script(
        &folder,
        "i=0; while [ $i -lt 200 ]; do echo '{\"a\":1}'; i=$((i+1)); done",
    );
    let world = World::new(JournalCollector::new(program, None), None, "journal.jsonl");
    collector(&world);
}
