//! Look-ups: how long events wait for what services say of their addresses, when it was said before, and while the
//! service hangs. The server measures it, in buckets of which each is twice the one before.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use crate::report::Row;
use crate::server::Server;

/// Addresses that events come from again and again.
const ADDRESSES: u16 = 20;

/// Events from them.
const EVENTS: u16 = 4_000;

/// Events from new addresses while the service hangs.
const COLD: u16 = 20;

/// What a look-up may add to an event whose address it knows, in seconds.
const WARM_MAX: f64 = 0.005;

/// How long an event waits for a service.
const DEADLINE: Duration = Duration::from_millis(300);

/// The bucket that the deadline is in, in seconds.
const COLD_MAX: f64 = 0.328;

pub(crate) fn measure() -> Result<Vec<Row>, String> {
    // One address in 200 is asked of, which is below the hundredth that the quantile leaves out.
    let warm = run(true, EVENTS, ADDRESSES, 0.99)?;
    let cold = run(false, COLD, COLD, 1.0)?;
    Ok(vec![
        Row {
            what: "look-up, warm, p99",
            figure: format!("<= {:.2} ms", warm * 1e3),
            floor: "-".to_owned(),
            bar: "<= 5 ms".to_owned(),
            reached: warm <= WARM_MAX,
            numbers: vec![("seconds_at_most", warm)],
        },
        Row {
            what: "look-up, hangs, max",
            figure: format!("<= {:.0} ms", cold * 1e3),
            floor: format!("{} ms", DEADLINE.as_millis()),
            bar: "<= 328 ms".to_owned(),
            reached: cold <= COLD_MAX,
            numbers: vec![("seconds_at_most", cold), ("deadline_seconds", DEADLINE.as_secs_f64())],
        },
    ])
}

/// Posts so many events from so many addresses, and returns the bound below which `share` of them waited, in seconds.
fn run(answers: bool, events: u16, addresses: u16, share: f64) -> Result<f64, String> {
    let server = Server::start_with("memory", &lookup(&service(answers)?))?;
    let mut connection = server.connect()?;
    for number in 0..events {
        server.post(&mut connection, event(number % addresses).as_bytes())?;
    }
    let metrics = metrics(&server)?;
    let buckets = metrics.lines().filter_map(|line| {
        let (bound, count) = line
            .strip_prefix("staunch_lookup_wait_seconds_bucket{le=\"")?
            .split_once("\"} ")?;
        Some((bound.parse::<f64>().ok()?, count.parse::<f64>().ok()?))
    });
    let buckets: Vec<_> = buckets.collect();
    let (_, all) = *buckets.last().ok_or("nothing was measured")?;
    if all < f64::from(events) {
        return Err(format!("{all} events have waited, not {events}"));
    }
    let found = buckets.iter().find(|(_, count)| *count >= share * all);
    found
        .map(|(bound, _)| *bound)
        .ok_or_else(|| "no bucket has so many".to_owned())
}

fn metrics(server: &Server) -> Result<String, String> {
    let mut connection = server.connect()?;
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    connection
        .write_all(request.as_bytes())
        .map_err(|error| error.to_string())?;
    let mut text = String::new();
    connection
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    Ok(text)
}

fn event(number: u16) -> String {
    let [high, low] = number.to_be_bytes();
    let ip = Ipv4Addr::new(198, 51, high, low);
    format!(
        r#"{{"timestamp":"2026-11-26T10:00:00.000000+0000","event_type":"alert","src_ip":"{ip}","src_port":40000,"dest_ip":"10.0.0.80","dest_port":22,"proto":"TCP","alert":{{"action":"allowed","gid":1,"signature_id":1,"rev":1,"signature":"a brute force","category":"x","severity":1}}}}"#
    )
}

fn lookup(address: &str) -> String {
    let deadline = DEADLINE.as_millis();
    format!(
        "[[lookups]]\nname = \"bench\"\nkind = \"generic\"\nurl = \"http://{address}/{{ip}}\"\npointer = \"/score\"\n\
         deadline = \"{deadline}ms\"\ncache = \"1h\"\nalso = [\"198.51.0.0/16\"]\n"
    )
}

/// A service on this machine that gives everything a score, or takes questions and never answers; its address.
fn service(answers: bool) -> Result<String, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming().flatten() {
            if !answers {
                held.push(stream);
                continue;
            }
            std::thread::spawn(move || {
                let mut writer = &stream;
                for line in BufReader::new(&stream).lines().map_while(Result::ok) {
                    if line.is_empty() {
                        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{\"score\":90}";
                        if writer.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    Ok(address.to_string())
}
