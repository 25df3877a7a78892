//! Traces of transactions, as a receiver of OTLP sees them: with its own definitions of the messages.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::harness::{DEADLINE, Home, Server, brute_force_from, wait_until};

const PLAYBOOK: &str = "playbook: short\nsummary: Block for a while.\ntrigger:\n  sources: [suricata]\n  \
    when: event.signature.contains(\"Brute Force\")\n  incident: event.source.ip\n  deduplicate: 1m\n\
    context: [never-touch]\ncontain:\n  - block-ip: { target: event.source.ip, lease: 1h }\n\
    mode: { low: enforce, medium: approve, high: observe }\n";

/// What a receiver answers.
#[derive(Clone, Copy)]
enum Answer {
    Takes,
    Status(&'static str),
    Never,
}

/// Answers the first requests as `answers` say and takes all that come after; tells what each brought.
fn receive(listener: TcpListener, answers: &'static [Answer]) -> Receiver<ExportTraceServiceRequest> {
    let (told, requests) = channel();
    std::thread::spawn(move || {
        // Connections without an answer stay open.
        let mut held = Vec::new();
        let mut answers = answers.iter();
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            if let Some(stream) = serve(stream, &told, &mut answers) {
                held.push(stream);
            }
        }
    });
    requests
}

/// Serves the requests of one connection; gives it back when it is not to be answered.
fn serve(
    stream: TcpStream,
    told: &Sender<ExportTraceServiceRequest>,
    answers: &mut std::slice::Iter<'_, Answer>,
) -> Option<TcpStream> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut head) = (0, String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            let lower = line.to_lowercase();
            if let Some(number) = lower.strip_prefix("content-length: ") {
                length = number.trim().parse().expect("a number");
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&lower);
        }
        assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
        assert!(head.contains("content-type: application/x-protobuf"), "{head}");
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("the body is whole");
        let request = ExportTraceServiceRequest::decode(&body[..]).expect("it is what OpenTelemetry defines");
        // The test may have ended.
        drop(told.send(request));
        let answer = match answers.next().unwrap_or(&Answer::Takes) {
            Answer::Takes => "200 OK",
            Answer::Status(status) => status,
            Answer::Never => return Some(reader.into_inner()),
        };
        let answer = format!("HTTP/1.1 {answer}\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n");
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return None;
        }
    }
}

fn start(port: u16) -> (Home, Server) {
    let home = Home::new(&format!(
        "mode = \"enforce\"\n[telemetry]\notlp = \"http://127.0.0.1:{port}\"\n[never_touch]\ndiscover = false\n\
         networks = [{{ network = \"198.51.100.0/24\", reason = \"ours\" }}]\n[journal]\nsegment_bytes = 8388608\n\
         reserve_bytes = 131072\n[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n"
    ));
    home.playbook("short.yaml", PLAYBOOK);
    let server = home
        .try_serve(&["--driver", "memory", "--allow-unauthenticated-loopback"])
        .unwrap_or_else(|failed| panic!("it did not start: {failed:?}"));
    (home, server)
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it has one").port();
    (listener, port)
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |it: &KeyValue| match it.value.clone().and_then(|it| it.value) {
        Some(any_value::Value::StringValue(text)) => text,
        other => panic!("{}: {other:?}", it.key),
    };
    attributes.iter().map(|it| (it.key.clone(), text(it))).collect()
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let all = request.resource_spans.into_iter().flat_map(|it| it.scope_spans);
    all.flat_map(|it| it.spans).collect()
}

/// Waits for a root span whose transaction is about `target`, and returns it with all that came until then.
fn trace_of(requests: &Receiver<ExportTraceServiceRequest>, target: &str) -> (Span, Vec<Span>) {
    let mut all = Vec::new();
    loop {
        let request = requests.recv_timeout(DEADLINE).expect("spans come");
        all.extend(spans(request));
        let is_it = |it: &&Span| it.parent_span_id.is_empty() && texts(&it.attributes)["staunch.target"] == target;
        if let Some(root) = all.iter().find(is_it) {
            return (root.clone(), all);
        }
    }
}

fn metric(server: &Server, name: &str) -> u64 {
    let mut answer = ureq::get(format!("{}/metrics", server.url)).call().expect("it answers");
    let text = answer.body_mut().read_to_string().expect("it is text");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.expect("it is there").parse().expect("a number")
}

#[test]
fn a_transaction_is_a_trace_from_its_event_to_its_check() {
    let (listener, port) = listener();
    let requests = receive(listener, &[]);
    let (home, server) = start(port);
    let hostile = brute_force_from("203.0.113.9").replace("SSH Brute Force", "\\u001b[2J\\u202e Brute Force");
    server.take(&hostile);
    let request = requests.recv_timeout(DEADLINE).expect("spans come");
    let resource = texts(
        &request.resource_spans[0]
            .resource
            .as_ref()
            .expect("there is one")
            .attributes,
    );
    assert_eq!(resource["service.name"], "staunch");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(resource["service.instance.id"].len(), 16);
    let spans_of_it = spans(request);
    let root = spans_of_it
        .iter()
        .find(|it| it.parent_span_id.is_empty())
        .expect("a root");
    assert_eq!(
        (root.trace_id.len(), root.span_id.len(), &*root.name),
        (16, 8, "contain")
    );
    let about = texts(&root.attributes);
    let expected = [
        ("staunch.transaction", "TX-1"),
        ("staunch.incident", "INC-1"),
        ("staunch.playbook", "short"),
        ("staunch.action", "block-ip"),
        ("staunch.target", "203.0.113.9"),
        ("staunch.lease", "1h"),
        ("staunch.result", "in-force"),
        ("staunch.event.system", "suricata"),
        ("source.address", "203.0.113.9"),
        ("destination.address", "10.0.0.80"),
    ];
    for (name, value) in expected {
        assert_eq!(about.get(name).map(String::as_str), Some(value), "{name}: {about:?}");
    }
    let signature = &about["staunch.event.signature"];
    assert!(signature.contains("\\u{1b}[2J\\u{202e} Brute Force"), "{signature:?}");
    let mut parts: Vec<_> = spans_of_it.iter().filter(|it| it.span_id != root.span_id).collect();
    parts.sort_by_key(|it| (it.start_time_unix_nano, it.end_time_unix_nano));
    let names: Vec<_> = parts.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["triage", "wait", "pre-check", "execute", "post-check"]);
    let mut before = root.start_time_unix_nano;
    for part in &parts {
        assert_eq!((&part.trace_id, &part.parent_span_id), (&root.trace_id, &root.span_id));
        assert_eq!(part.start_time_unix_nano, before, "{} follows", part.name);
        before = part.end_time_unix_nano;
    }
    assert_eq!(before, root.end_time_unix_nano, "nothing is left out");

    // What is never touched is a trace too, and one that was not acted on.
    server.take(&brute_force_from("198.51.100.7"));
    let (refused, _) = trace_of(&requests, "198.51.100.7");
    let about = texts(&refused.attributes);
    assert_eq!(about["staunch.result"], "refused");
    assert_eq!(about["staunch.refused.reason"], "never-touch");
    assert!(about["staunch.refused.why"].contains("198.51.100.0/24"), "{about:?}");
    assert_eq!(refused.status, None, "a refusal is no failure");

    // A release is in the trace of its transaction, also after a restart.
    server.kill();
    let server = home
        .try_serve(&["--driver", "memory", "--allow-unauthenticated-loopback"])
        .unwrap_or_else(|failed| panic!("it did not start: {failed:?}"));
    server.ok(&["release", "--all", "--yes", "--reason", "enough"]);
    let mut release = None;
    while release.is_none() {
        let request = requests.recv_timeout(DEADLINE).expect("spans come");
        release = spans(request).into_iter().find(|it| it.trace_id == root.trace_id);
    }
    let release = release.expect("it came");
    assert_eq!(release.parent_span_id, root.span_id);
    let about = texts(&release.attributes);
    for (name, value) in [("staunch.transaction", "TX-1"), ("staunch.action", "block-ip")] {
        assert_eq!(about.get(name).map(String::as_str), Some(value), "{name}: {about:?}");
    }
    assert!(metric(&server, "staunch_spans_lost_total") == 0);
    wait_until("the count", || metric(&server, "staunch_spans_sent_total") >= 1);
}

#[test]
fn a_receiver_that_is_away_gets_its_spans_later() {
    let (listener, port) = listener();
    drop(listener);
    let (home, server) = start(port);
    server.take(&brute_force_from("203.0.113.9"));
    wait_until("the failure", || {
        home.log().contains("the receiver of traces takes no spans")
    });
    assert_eq!(server.containments().len(), 1, "containment goes on");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("it is free again");
    let requests = receive(listener, &[Answer::Status("503 Service Unavailable")]);
    let first = requests.recv_timeout(DEADLINE).expect("it is tried again");
    let second = requests
        .recv_timeout(DEADLINE)
        .expect("and again, since it was not taken");
    assert_eq!(first, second);
    assert_eq!(spans(second).len(), 6);
    wait_until("the count", || metric(&server, "staunch_spans_sent_total") == 6);
    assert_eq!(metric(&server, "staunch_spans_lost_total"), 0);
    assert!(home.log().contains("takes spans again"), "{}", home.log());
}

#[test]
fn a_receiver_that_refuses_or_hangs_costs_spans_and_nothing_else() {
    let (listener, port) = listener();
    let requests = receive(
        listener,
        &[Answer::Status("400 Bad Request"), Answer::Never, Answer::Never],
    );
    let (home, server) = start(port);
    server.take(&brute_force_from("203.0.113.9"));
    wait_until("the loss", || metric(&server, "staunch_spans_lost_total") == 6);
    server.take(&brute_force_from("203.0.113.10"));
    requests.recv_timeout(DEADLINE).expect("the first");
    requests.recv_timeout(DEADLINE).expect("the one that hangs");
    // While a request hangs, events are taken and acted on, more of them than wait for the receiver.
    let offenders = (0..1_500_u32).map(|at| format!("203.0.{}.{}", 114 + at / 250, 1 + at % 250));
    let body: Vec<_> = offenders.map(|ip| brute_force_from(&ip)).collect();
    for some in body.chunks(100) {
        server.take(&some.join("\n"));
    }
    wait_until("the loss", || metric(&server, "staunch_spans_lost_total") > 6);
    assert!(server.containments().iter().any(|it| it.target == "203.0.113.10"));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0), "{}", home.log());
}
