//! What `staunch backtest` reads: pipes, packed and torn files, directories, and in which order.

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::{Bench, alert, at, playbook};
use crate::harness::{Ended, staunch, stderr, stdout, wait_until};

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

fn gzip(text: &str) -> Vec<u8> {
    let mut to = GzEncoder::new(Vec::new(), Compression::default());
    to.write_all(text.as_bytes()).expect("into memory");
    to.finish().expect("into memory")
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

#[test]
fn gzip_is_read_and_utf_16_is_told_as_such() {
    let (bench, new) = bench();
    let read = |name: &str, content: &[u8]| {
        let file = bench.write(name, content);
        bench.report(&["--events", &file, "--playbooks", &new])["read"].clone()
    };
    // By what is in it, and in several parts as they come when logs are put together.
    let two = [gzip(&lines(700)), gzip(&lines(700))].concat();
    for (name, content, events) in [("events.gz", &two, 1_400), ("no-ending", &gzip(&lines(3)), 3)] {
        let found = read(name, content);
        assert_eq!(
            (&found["events"], &found["malformed"]),
            (&events.into(), &0.into()),
            "{found}"
        );
    }
    let found = read("torn.gz", &two[..two.len() - 9]);
    assert!(found["inputs"][0]["torn"].is_string(), "{found}");
    assert!(found["events"].as_u64().is_some_and(|it| it >= 700), "{found}");
    let mut wrong = gzip(&lines(3));
    let at_checksum = wrong.len() - 8;
    wrong[at_checksum] ^= 1;
    let file = bench.write("wrong.gz", &wrong);
    let output = bench.run(&["--events", &file, "--playbooks", &new, "--fail-on", "malformed"]);
    assert_eq!(output.status.code(), Some(12), "{output:?}");

    let wide = |text: &str, big: bool| -> Vec<u8> {
        let units = text.encode_utf16();
        units
            .flat_map(|it| if big { it.to_be_bytes() } else { it.to_le_bytes() })
            .collect()
    };
    for (name, content) in [
        ("little.json", wide(&format!("\u{feff}{}", lines(2)), false)),
        ("big.json", wide(&format!("\u{feff}{}", lines(2)), true)),
        ("unmarked.json", wide(&lines(2), false)),
    ] {
        let file = bench.write(name, &content);
        let output = bench.run(&["--events", &file, "--playbooks", &new]);
        assert_eq!(output.status.code(), Some(2), "{name}: {output:?}");
        assert!(
            stderr(&output).contains("hint: text in UTF-16: convert it with iconv"),
            "{output:?}"
        );
    }
}

#[test]
fn a_directory_says_what_is_skipped_and_rotated_files_are_read() {
    let (bench, new) = bench();
    for name in ["eve.json", "eve.json.1", "eve.json-20260301", "eve.ndjson.10"] {
        bench.write(&format!("logs/{name}"), lines(2));
    }
    for name in ["eve.json.2.gz", "eve.json-20260228.gz", "other.jsonl.gz"] {
        bench.write(&format!("logs/{name}"), gzip(&lines(2)));
    }
    bench.write("logs/eve.json.3.zst", zstd(&lines(2)));
    for name in ["notes.txt", "fast.log", "sub/eve.json"] {
        bench.write(&format!("logs/{name}"), "what is no event");
    }
    let logs = bench.home.path("logs");
    let pipe = logs.join("pipe.json");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    std::os::unix::fs::symlink("nowhere", logs.join("gone.json")).expect("a link");
    let arguments = ["--events", &logs.display().to_string(), "--playbooks", &new];
    let report = bench.report(&arguments);
    assert_eq!(report["read"]["events"], 16, "{report}");
    let expected = serde_json::json!({ "count": 4, "first": [
        "fast.log", "notes.txt", "pipe.json (no regular file)", "sub (a directory)",
    ] });
    assert_eq!(report["read"]["skipped"], expected, "{report}");
    assert_eq!(report["read"]["absent"].as_array().map(Vec::len), Some(1), "{report}");
    let text = stdout(&bench.run(&arguments)).replace("\n              ", " ");
    assert!(
        text.contains("skipped 4 files: fast.log, notes.txt, pipe.json (no regular file), sub (a directory)"),
        "{text}"
    );
    assert!(
        text.contains("gone.json leads nowhere: nothing was read of it"),
        "{text}"
    );
    let page = bench.home.path("page.html").display().to_string();
    bench.run(&[&arguments[..], &["--html", &page]].concat());
    let page = std::fs::read_to_string(page).expect("it was written");
    assert!(
        page.contains("fast.log") && page.contains("gone.json leads nowhere"),
        "{page}"
    );
    // What could not be read is a reason to fail, what is no file of events is none.
    let fails = || {
        bench
            .run(&[&arguments[..], &["--fail-on", "malformed"]].concat())
            .status
            .code()
    };
    assert_eq!(fails(), Some(12));
    std::fs::remove_file(logs.join("gone.json")).expect("it is there");
    assert_eq!(fails(), Some(0));
    // A link that was named is what was asked for.
    let named = bench.run(&["--events", &logs.join("gone.json").display().to_string()]);
    assert_eq!(named.status.code(), Some(5), "{named:?}");
}

#[test]
fn what_can_be_read_only_once_is_not_read_twice() {
    let (bench, new) = bench();
    for names in [["-", "-"], ["-", "/dev/stdin"], ["/dev/stdin", "/proc/self/fd/0"]] {
        let output = fed(
            &bench,
            &["--playbooks", &new, "--events", names[0], names[1]],
            &lines(2),
        );
        assert_eq!(output.status.code(), Some(2), "{names:?}: {output:?}");
        let error: Value = serde_json::from_slice(&output.stderr).expect("an error in JSON");
        let named = if names[1] == "-" { "stdin" } else { names[1] };
        let twice = format!("{named} is given twice");
        assert!(
            error["error"].as_str().is_some_and(|it| it.starts_with(&twice)),
            "{error}"
        );
        assert!(error["hint"].is_string(), "{error}");
    }
}

#[test]
fn an_input_that_runs_backwards_is_told_as_such() {
    let (bench, new) = bench();
    // Newest first, ten minutes apart: from the third on they are older than a quarter of an hour.
    let backwards: Vec<String> = (0..6)
        .rev()
        .map(|n| alert(&format!("203.0.113.{n}"), at(10 * n), "Brute"))
        .collect();
    let file = bench.write("export.jsonl", backwards.join("\n"));
    let page = bench.home.path("page.html").display().to_string();
    let arguments = ["--events", &file, "--playbooks", &new, "--html", &page];
    let report = bench.report(&arguments);
    assert_eq!(report["new"]["addresses"]["refused"], 4, "{report}");
    assert_eq!(report["read"]["late"], 4, "{report}");
    assert_eq!(report["read"]["inputs"][0]["late"], 4, "{report}");
    let what = "4 of its events were held back for their age, because the input runs backwards: sort it by time";
    let text = stdout(&bench.run(&arguments)).replace("\n              ", " ");
    assert!(text.contains(&format!("export.jsonl: {what}")), "{text}");
    let page = std::fs::read_to_string(page).expect("it was written");
    assert!(page.contains(what), "{page}");

    // In order, and with an event that is a little late, there is nothing to say. An event that is wrong by itself is
    // not late.
    let mut forwards: Vec<String> = backwards.into_iter().rev().collect();
    forwards.swap(0, 1);
    forwards.push(alert(
        "203.0.114.1",
        "2199-01-01T00:00:00Z".parse().expect("a time"),
        "Brute",
    ));
    let file = bench.write("sorted.jsonl", forwards.join("\n"));
    let output = bench.run(&["--events", &file, "--playbooks", &new]);
    assert!(!stdout(&output).contains("runs backwards"), "{output:?}");
}

#[test]
fn a_page_takes_the_place_of_nothing_but_a_page() {
    let (bench, new) = bench();
    let events = lines(2);
    let file = bench.write("events/a.jsonl", &events);
    let link = bench.home.path("link.html");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    let link = link.display().to_string();
    let folder = bench.home.path("events").display().to_string();
    let of_new = bench.home.path("new/a.yaml").display().to_string();
    let config = bench.home.config().display().to_string();
    // A list that the configuration names, and anything else that is there.
    let other = bench.write("never-touch.txt", "192.0.2.0/24\n");
    let (rule, settings) = (std::fs::read(&of_new).ok(), std::fs::read(&config).ok());
    for (past, page) in [
        (&file, &file),
        (&folder, &file),
        (&file, &link),
        (&file, &of_new),
        (&file, &config),
        (&file, &other),
    ] {
        let output = bench.run(&["--events", past, "--playbooks", &new, "--html", page]);
        assert_eq!(output.status.code(), Some(2), "{page}: {output:?}");
        assert!(
            stderr(&output).contains("hint: name another file with --html"),
            "{output:?}"
        );
    }
    assert_eq!(std::fs::read_to_string(&file).ok(), Some(events));
    assert_eq!(
        (std::fs::read(&of_new).ok(), std::fs::read(&config).ok()),
        (rule, settings)
    );
    let output = bench.home.run(&["backtest", "--events", &file, "--html", "-"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(stderr(&output).contains("hint: "), "{output:?}");
    assert!(!Path::new("-").exists());
}
