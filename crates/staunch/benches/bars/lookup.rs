//! Look-ups: how much longer an event takes whose address a service was asked about before, and how long one may take while the
//! service hangs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use crate::report::{Row, quantile};
use crate::server::Server;

/// Addresses that events come from again and again.
const ADDRESSES: u16 = 200;

/// Events from them, after the first of each.
const EVENTS: u16 = 4_000;

/// Events from new addresses while the service hangs.
const COLD: u16 = 100;

/// What a look-up may add to an event whose address it knows.
const WARM_MAX: Duration = Duration::from_millis(5);

/// How long an event waits for a service.
const DEADLINE: Duration = Duration::from_millis(300);

pub(crate) fn measure() -> Result<Vec<Row>, String> {
    let floor = warm(&Server::start("memory")?)?;
    let answers = service(true)?;
    let figure = warm(&Server::start_with("memory", &lookup(&answers))?)?;
    let hangs = service(false)?;
    let cold = cold(&Server::start_with("memory", &lookup(&hangs))?)?;
    let added = figure - floor;
    let bar = WARM_MAX.as_secs_f64();
    let most = DEADLINE.as_secs_f64() + bar + floor;
    Ok(vec![
        Row {
            what: "event, look-up warm, p99",
            figure: format!("{:.2} ms", figure * 1e3),
            floor: format!("{:.2} ms", floor * 1e3),
            bar: format!("<= 5 ms more ({:.2} ms)", added * 1e3),
            reached: added <= bar,
            numbers: vec![("seconds", figure), ("floor_seconds", floor)],
        },
        Row {
            what: "event, look-up hangs, max",
            figure: format!("{:.0} ms", cold * 1e3),
            floor: format!("{:.0} ms", DEADLINE.as_secs_f64() * 1e3),
            bar: "<= the deadline + 5 ms".to_owned(),
            reached: cold <= most,
            numbers: vec![("seconds", cold), ("deadline_seconds", DEADLINE.as_secs_f64())],
        },
    ])
}

/// Seconds from an event to its 202, at the 99th percentile, from addresses that had an event before.
fn warm(server: &Server) -> Result<f64, String> {
    let mut connection = server.connect()?;
    for number in 0..ADDRESSES {
        server.post(&mut connection, event(number).as_bytes())?;
    }
    let mut took = Vec::new();
    for number in 0..EVENTS {
        let body = event(number % ADDRESSES);
        let begun = Instant::now();
        server.post(&mut connection, body.as_bytes())?;
        took.push(begun.elapsed().as_secs_f64());
    }
    Ok(quantile(&mut took, 0.99))
}

/// The longest time from an event of a new address to its 202, in seconds.
fn cold(server: &Server) -> Result<f64, String> {
    let mut connection = server.connect()?;
    let mut longest: f64 = 0.0;
    for number in 0..COLD {
        let body = event(number);
        let begun = Instant::now();
        server.post(&mut connection, body.as_bytes())?;
        longest = longest.max(begun.elapsed().as_secs_f64());
    }
    Ok(longest)
}

fn event(number: u16) -> String {
    let [high, low] = number.to_be_bytes();
    let ip = Ipv4Addr::new(198, 51, high, low);
    format!(
        r#"{{"timestamp":"2026-11-26T10:00:00.000000+0000","event_type":"alert","src_ip":"{ip}","src_port":40000,"dest_ip":"192.0.2.80","dest_port":22,"proto":"TCP","alert":{{"action":"allowed","gid":1,"signature_id":1,"rev":1,"signature":"a brute force","category":"x","severity":1}}}}"#
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
