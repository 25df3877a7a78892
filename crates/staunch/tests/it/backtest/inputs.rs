//! What `staunch backtest` reads: pipes, packed and torn files, directories, and in which order.

use std::io::Write as _;
use std::process::{Output, Stdio};

use serde_json::Value;

use super::{Bench, alert, at, playbook};
use crate::harness::{Ended, staunch, stdout, wait_until};

/// A bench with one playbook, which blocks whoever guesses passwords, and the directory of it.
fn bench() -> (Bench, String) {
    let bench = Bench::new();
    bench.write(
        "new/a.yaml",
        playbook("block", "event.signature.contains(\"Brute\")", ""),
    );
    let new = bench.home.path("new").display().to_string();
    (bench, new)
}

/// `count` alerts, one a line, a second apart.
fn lines(count: u64) -> String {
    let lines = (0..count).map(|n| {
        let time = at(0) + staunch_model::Span::from_secs(n);
        alert(&format!("203.0.{}.{}", n / 250, n % 250), time, "Brute") + "\n"
    });
    lines.collect()
}

fn zstd(text: &str) -> Vec<u8> {
    zstd::bulk::compress(text.as_bytes(), 3).expect("it compresses")
}

/// Runs a backtest with `arguments` and gives it `input`. One that waits for ever is ended.
fn fed(bench: &Bench, arguments: &[&str], input: &str) -> Output {
    let child = staunch(&[&["backtest", "--json"], arguments].concat())
        .env("STAUNCH_CONFIG", bench.home.config())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut child = Ended(child);
    let mut stdin = child.0.stdin.take().expect("it is piped");
    let input = input.to_owned();
    // Who refuses its arguments reads nothing.
    let writes = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    end_of(child, writes)
}

/// What `child` says until it has ended, which it does.
fn end_of(mut child: Ended, writes: std::thread::JoinHandle<()>) -> Output {
    let (out, err) = (child.0.stdout.take(), child.0.stderr.take());
    let read = |from: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.expect("it is piped").read_to_end(&mut bytes).expect("a pipe");
            bytes
        })
    };
    let out = read(out.map(|it| Box::new(it) as _));
    let err = read(err.map(|it| Box::new(it) as _));
    let mut status = None;
    wait_until("the end of the backtest", || {
        status = child.0.try_wait().expect("it is ours");
        status.is_some()
    });
    let output = Output {
        status: status.expect("it has ended"),
        stdout: out.join().expect("it reads"),
        stderr: err.join().expect("it reads"),
    };
    writes.join().expect("it writes");
    output
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn what_can_be_read_only_once_is_read_from_its_beginning() {
    let (bench, new) = bench();
    // More than is read at once.
    let events = lines(1_000);
    assert!(events.len() > 512 << 10, "{}", events.len());
    for name in ["-", "/dev/stdin"] {
        let output = fed(&bench, &["--events", name, "--playbooks", &new], &events);
        let report = json(&output);
        assert_eq!(report["read"]["events"], 1_000, "{name}: {report}");
        assert_eq!(report["read"]["malformed"], 0, "{name}: {report}");
    }
    let pipe = bench.home.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let named = pipe.display().to_string();
    // Beside a file whose events are of the same time.
    let file = bench.write("file.jsonl", lines(10));
    let child = staunch(&["backtest", "--json", "--playbooks", &new, "--events", &named, &file])
        .env("STAUNCH_CONFIG", bench.home.config())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let child = Ended(child);
    let writes = std::thread::spawn(move || std::fs::write(pipe, events).expect("somebody reads"));
    let report = json(&end_of(child, writes));
    assert_eq!(report["read"]["events"], 1_010, "{report}");
    let of_each: Vec<_> = report["read"]["inputs"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| &it["events"])
        .collect();
    assert_eq!(of_each, [&Value::from(1_000), &Value::from(10)], "{report}");
    // None of them is held back for its age: they are merged by their times.
    let guards = report["new"]["guards"].as_array().expect("a list");
    assert!(guards.iter().all(|it| it["guard"] != "freshness"), "{report}");
}

#[test]
fn what_is_torn_is_malformed_and_says_what_is_lost() {
    let (bench, new) = bench();
    let fails = |name: &str, content: &[u8]| {
        let file = bench.write(name, content);
        let arguments = ["--events", &file, "--playbooks", &new, "--fail-on", "malformed"];
        let output = bench.run(&arguments);
        assert_eq!(output.status.code(), Some(12), "{name}: {output:?}");
        stdout(&output).replace("\n              ", " ")
    };
    let whole = zstd(&lines(3));
    let second = zstd(&lines(2_000));
    let torn = fails("torn.jsonl.zst", &[&whole[..], &second[..second.len() / 2]].concat());
    assert!(torn.contains("torn.jsonl.zst is torn: "), "{torn}");
    assert!(torn.contains(" events were read of it, and the rest is lost"), "{torn}");
    assert!(torn.contains("=> --fail-on: malformed"), "{torn}");

    // Its checksum, which is its last four bytes, is not that of what it holds.
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).expect("it compresses");
    encoder.include_checksum(true).expect("it has one");
    encoder.write_all(lines(3).as_bytes()).expect("into memory");
    let mut wrong = encoder.finish().expect("into memory");
    *wrong.last_mut().expect("it has bytes") ^= 1;
    let text = fails("wrong.jsonl.zst", &wrong);
    assert!(
        text.contains("wrong.jsonl.zst is torn: 0 events were read of it, and the rest is lost"),
        "{text}"
    );
    assert!(text.contains("checksum"), "{text}");

    let file = bench.write("whole.jsonl.zst", &whole);
    let output = bench.run(&["--events", &file, "--playbooks", &new, "--fail-on", "malformed"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
