//! Intake while a list of 100,000 networks is taken up: how long events wait for their answer before, and meanwhile.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::report::Row;
use crate::server::Server;

/// Networks of the list that is in force at the start.
const NETWORKS: u32 = 100_000;

/// How long events come before the list changes.
const BEFORE: Duration = Duration::from_secs(2);

/// How long the list may take until it is in force.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(30);

/// The longest that an event may wait for its answer while the list is taken up: for two turns of the engine, each of
/// which may take 50 ms (see the bar of `prefixes`).
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Between two looks at whether the list is in force, which are made as often before it changes.
const LOOK: Duration = Duration::from_millis(50);

/// When an event was posted, and how long its answer took.
type Posted = (Instant, Duration);

pub(crate) fn measure() -> Result<Vec<Row>, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let list = directory.path().join("listed.txt");
    put(&list, NETWORKS)?;
    let more = format!(
        "[[never_touch.files]]\npath = \"{}\"\nreason = \"listed\"\n",
        list.display()
    );
    let server = Server::start_with("memory", &more)?;
    server.wait_for("/lists/0/networks", u64::from(NETWORKS), Duration::from_secs(10))?;
    let stop = AtomicBool::new(false);
    let (posted, changed, in_force) = std::thread::scope(|scope| {
        let posting = scope.spawn(|| post_until(&server, &stop));
        let quiet = look_until(&server, NETWORKS + 1, BEFORE);
        let changed = Instant::now();
        let taken_up = put(&list, NETWORKS + 1).and_then(|()| look_until(&server, NETWORKS + 1, TAKEN_UP_WITHIN));
        stop.store(true, Ordering::Relaxed);
        let posted = posting.join().map_err(|_| "the posting thread panicked".to_owned())?;
        let taken_up = taken_up?.ok_or("the list did not come into force")?;
        if quiet?.is_some() {
            return Err("the list was in force before it was there".to_owned());
        }
        Ok::<_, String>((posted?, changed, taken_up))
    })?;
    let (before, meanwhile): (Vec<Posted>, Vec<Posted>) = posted.into_iter().partition(|(at, _)| *at < changed);
    let longest = |of: &[Posted]| of.iter().map(|(_, took)| *took).max();
    let (usual, wait) = longest(&before).zip(longest(&meanwhile)).ok_or("no event was posted")?;
    let ms = |it: Duration| it.as_secs_f64() * 1e3;
    Ok(vec![Row {
        what: "an event while a list of 100,000 is read again",
        figure: format!("{:.1} ms at most", ms(wait)),
        floor: format!("{:.1} ms before", ms(usual)),
        bar: format!("< {} ms", WAIT_MAX.as_millis()),
        reached: wait < WAIT_MAX,
        numbers: vec![
            ("longest_milliseconds", ms(wait)),
            ("longest_before_milliseconds", ms(usual)),
            (
                "until_in_force_milliseconds",
                ms(in_force.saturating_duration_since(changed)),
            ),
        ],
    }])
}

/// Looks for at most `limit` whether the list with so many networks is in force, and returns when it was.
fn look_until(server: &Server, networks: u32, limit: Duration) -> Result<Option<Instant>, String> {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if server.status("/lists/0/networks")? == u64::from(networks) {
            return Ok(Some(Instant::now()));
        }
        std::thread::sleep(LOOK);
    }
    Ok(None)
}

/// Posts one event after the other, each from an address of its own, until told to stop.
fn post_until(server: &Server, stop: &AtomicBool) -> Result<Vec<Posted>, String> {
    let mut connection = server.connect()?;
    let mut posted = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number);
        let begun = Instant::now();
        server.post(&mut connection, event(ip).as_bytes())?;
        posted.push((begun, begun.elapsed()));
    }
    Ok(posted)
}

/// Puts a list of so many addresses in the place of the one that is there.
fn put(list: &Path, networks: u32) -> Result<(), String> {
    let first = u32::from(Ipv4Addr::new(20, 0, 0, 0));
    let mut text = String::new();
    for number in 0..networks {
        // No two of them are neighbours, which could be one network. Writing into a string cannot fail.
        let _ = writeln!(text, "{}", Ipv4Addr::from(first + 7 * number));
    }
    let part = list.with_extension("part");
    fs::write(&part, text)
        .and_then(|()| fs::rename(&part, list))
        .map_err(|error| error.to_string())
}

fn event(ip: Ipv4Addr) -> String {
    format!(
        r#"{{"timestamp":"2026-11-26T10:00:00.000000+0000","event_type":"alert","src_ip":"{ip}","src_port":40000,"dest_ip":"10.0.0.80","dest_port":22,"proto":"TCP","alert":{{"action":"allowed","gid":1,"signature_id":1,"rev":1,"signature":"a brute force","category":"x","severity":1}}}}"#
    )
}
