//! A backtest of 1,000,000 events of which few match, by the real program, against triage alone. The program has one
//! thread, so that its time on a core is what it takes on a machine that does nothing else.

#![allow(clippy::cast_precision_loss)]

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::report::Row;
use crate::triage;

const EVENTS: usize = 1_000_000;
/// One event in so many matches.
const MATCH_EVERY: usize = 10_000;
const BAR_SECONDS: f64 = 10.0;

pub(crate) fn measure() -> Result<Vec<Row>, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (events, playbooks) = (directory.path().join("events.jsonl"), directory.path().join("new"));
    let bytes = write_events(&events).map_err(|error| error.to_string())?;
    std::fs::create_dir(&playbooks).map_err(|error| error.to_string())?;
    for n in 0..triage::PLAYBOOKS {
        let path = playbooks.join(format!("bench-{n}.yaml"));
        std::fs::write(path, triage::playbook(n)).map_err(|error| error.to_string())?;
    }
    std::fs::write(playbooks.join("match.yaml"), crate::server::PLAYBOOK).map_err(|error| error.to_string())?;
    let floor = triage::per_second()?;
    let begun = Instant::now();
    let child = Command::new(crate::server::program()?)
        .args(["backtest", "--json", "--events"])
        .arg(&events)
        .arg("--playbooks")
        .arg(&playbooks)
        .env_remove("STAUNCH_CONFIG")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot start staunch: {error}"))?;
    let Watched {
        report,
        peak,
        cpu_seconds,
    } = watch(child)?;
    let took = begun.elapsed().as_secs_f64();
    let number = |pointer: &str| report.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or(0);
    let (read, matched) = (number("/read/events"), number("/new/events_matched"));
    if read != EVENTS as u64 || matched != (EVENTS / MATCH_EVERY) as u64 {
        return Err(format!("{read} events were read and {matched} matched"));
    }
    let triage_seconds = EVENTS as f64 / floor;
    let peak = peak as f64 / f64::from(1 << 20);
    Ok(vec![Row {
        what: "backtest of 1M events",
        figure: format!("{cpu_seconds:.2} s"),
        floor: format!("{triage_seconds:.2} s triage"),
        bar: format!("< 10 s of a core (wall {took:.1} s, {peak:.0} MiB)"),
        reached: cpu_seconds < BAR_SECONDS,
        numbers: vec![
            ("core_seconds", cpu_seconds),
            ("wall_seconds", took),
            ("triage_seconds", triage_seconds),
            ("event_bytes", bytes as f64 / EVENTS as f64),
            ("peak_mebibytes", peak),
        ],
    }])
}

/// Recorded alerts, a tenth of a second apart, some of them with words that match and an address of their own.
fn write_events(path: &Path) -> std::io::Result<u64> {
    let alerts = triage::events().map_err(std::io::Error::other)?;
    let mut file = BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
    let mut bytes = 0;
    for n in 0..EVENTS {
        let recorded = &alerts[n % alerts.len()];
        let tenths = n % 864_000;
        let time = format!(
            "2026-03-{:02}T{:02}:{:02}:{:02}.{}00000+0000",
            1 + n / 864_000,
            tenths / 36_000,
            tenths / 600 % 60,
            tenths / 10 % 60,
            tenths % 10
        );
        let line = if n % MATCH_EVERY == 0 {
            format!(
                r#"{{"timestamp":"{time}","event_type":"alert","src_ip":"198.18.{}.{}","src_port":1024,"dest_ip":"10.0.0.1","dest_port":22,"proto":"TCP","alert":{{"signature":"a brute force","category":"x","severity":1}}}}"#,
                n / MATCH_EVERY / 250,
                1 + n / MATCH_EVERY % 250
            )
        } else {
            with_time(recorded, &time)
        };
        bytes += line.len() as u64 + 1;
        file.write_all(line.as_bytes())?;
        file.write_all(b"\n")?;
    }
    file.flush()?;
    Ok(bytes)
}

/// `event` with `time` in the place of its own.
fn with_time(event: &str, time: &str) -> String {
    const KEY: &str = r#""timestamp":""#;
    let Some(start) = event.find(KEY).map(|at| at + KEY.len()) else {
        return event.to_owned();
    };
    let end = event[start..].find('"').map_or(event.len(), |at| start + at);
    format!("{}{time}{}", &event[..start], &event[end..])
}

/// What became of the program.
struct Watched {
    report: serde_json::Value,
    /// The most memory it held, in bytes.
    peak: u64,
    /// Time on a core, which other work on the machine does not change much.
    cpu_seconds: f64,
}

/// Waits for `child`.
fn watch(mut child: Child) -> Result<Watched, String> {
    let mut stdout = child.stdout.take().ok_or("no output")?;
    let status = format!("/proc/{}/status", child.id());
    let stat = format!("/proc/{}/stat", child.id());
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stdout, &mut text).map(|_| text)
    });
    let (mut peak, mut ticks) = (0, 0);
    let ended = loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: Option<u64> = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
        peak = peak.max(kib.unwrap_or(0) * 1024);
        // User and system time are the 14th and 15th fields; the name before them ends with a bracket.
        let text = std::fs::read_to_string(&stat).unwrap_or_default();
        let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
        let used: u64 = fields
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        ticks = ticks.max(used);
        if let Some(ended) = child.try_wait().map_err(|error| error.to_string())? {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = reader
        .join()
        .map_err(|_| "the reader panicked")?
        .map_err(|error| error.to_string())?;
    if !ended.success() {
        return Err(format!("staunch ended with {ended}"));
    }
    let report = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    // Linux counts them in hundredths of a second, whatever its own clock is.
    let cpu_seconds = ticks as f64 / 100.0;
    Ok(Watched {
        report,
        peak,
        cpu_seconds,
    })
}
