//! MISP over HTTP: a feed with its manifest, and a single event.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::{NAMED, PLAYBOOK, feed_server, metric, plan, words};
use crate::harness::{Home, SMALL, element, exploit_from, in_namespace, wait_until};

const FIRST: &str = "5f4a9c1e-0000-4000-8000-000000000001";
const SECOND: &str = "5f4a9c1e-0000-4000-8000-000000000002";
const THIRD: &str = "5f4a9c1e-0000-4000-8000-000000000003";

/// What a server of a MISP feed has, and what it was asked.
#[derive(Default)]
struct Site {
    /// Of the paths that there are, the ETags and the bodies.
    files: BTreeMap<String, (String, String)>,
    /// The paths of requests with their ETags, in order; empty for one without.
    asked: Vec<(String, String)>,
}

impl Site {
    /// How often the files of these events were asked for.
    fn asked_of<const N: usize>(&self, uuids: [&str; N]) -> [usize; N] {
        uuids.map(|uuid| {
            let path = format!("/osint/{uuid}.json");
            self.asked.iter().filter(|(asked, _)| *asked == path).count()
        })
    }

    fn asked_with(&self, etag: &str) -> bool {
        self.asked
            .contains(&("/osint/manifest.json".to_owned(), etag.to_owned()))
    }

    /// Has a manifest with these events and times.
    fn lists(&mut self, etag: &str, events: &[(&str, u64)]) {
        let entry = |(uuid, time): &(&str, u64)| {
            format!(r#""{uuid}":{{"info":"c2","date":"2026-01-01","timestamp":"{time}","Tag":[]}}"#)
        };
        let entries: Vec<_> = events.iter().map(entry).collect();
        self.put("manifest", etag, format!("{{{}}}", entries.join(",")));
    }

    fn put(&mut self, name: &str, etag: &str, body: String) {
        self.files
            .insert(format!("/osint/{name}.json"), (etag.to_owned(), body));
    }
}

/// The file of an event that names these addresses.
fn event(time: u64, addresses: &[&str]) -> String {
    let attribute = |it: &&str| format!(r#"{{"type":"ip-dst","value":"{it}","to_ids":true,"comment":"c2"}}"#);
    let attributes: Vec<_> = addresses.iter().map(attribute).collect();
    let attributes = attributes.join(",");
    format!(r#"{{"Event":{{"info":"a campaign","timestamp":"{time}","Attribute":[{attributes}]}}}}"#)
}

/// A server of a MISP feed on this host, and the address of its manifest.
fn misp_server() -> (Arc<Mutex<Site>>, String) {
    let site = Arc::new(Mutex::new(Site::default()));
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = listener.local_addr().expect("it has one");
    let shared = site.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (mut path, mut asked_etag) = (String::new(), String::new());
            for line in BufReader::new(&stream).lines() {
                let Ok(line) = line else { break };
                if line.is_empty() {
                    break;
                }
                if let Some(rest) = line.strip_prefix("GET ") {
                    path = rest.split(' ').next().unwrap_or_default().to_owned();
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("if-none-match: ") {
                    asked_etag = value.to_owned();
                }
            }
            let mut site = shared.lock().expect("no test panics with it");
            site.asked.push((path.clone(), asked_etag.clone()));
            let (status, etag, body) = match site.files.get(&path) {
                None => ("404 Not Found", "", ""),
                Some((etag, _)) if !etag.is_empty() && *etag == asked_etag => ("304 Not Modified", etag.as_str(), ""),
                Some((etag, body)) => ("200 OK", etag.as_str(), body.as_str()),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\netag: {etag}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            // Whoever asked may have gone.
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    (site, format!("http://{address}/osint/manifest.json"))
}

fn configured(url: &str) -> Home {
    let home = Home::new(&format!(
        "{SMALL}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n[http]\nlisten = \"127.0.0.1:7450\"\n\
         [[feeds]]\nname = \"drop\"\nurl = \"{url}\"\nformat = \"misp\"\nevery = \"1s\"\nscore = 0.9\n"
    ));
    home.playbook("sure.yaml", PLAYBOOK);
    home
}

#[test]
fn of_a_misp_feed_the_events_that_have_changed_are_fetched_and_those_that_vanish_say_nothing_more() {
    in_namespace("feeds::misp", || {
        let (site, url) = misp_server();
        let site = || site.lock().expect("no test panics with it");
        site().put(FIRST, "", event(5, &[NAMED]));
        site().put(SECOND, "", event(5, &["192.0.2.1"]));
        site().lists("\"one\"", &[(FIRST, 5), (SECOND, 5)]);
        let home = configured(&url);
        let server = home.serve();
        wait_until("the feed", || metric(&server, "networks") == Some(2.0));
        let paths = ["manifest.json", &format!("{FIRST}.json"), &format!("{SECOND}.json")];
        let asked = site().asked[..3].to_vec();
        assert_eq!(asked, paths.map(|it| (format!("/osint/{it}"), String::new())));
        server.take(&exploit_from(NAMED));
        wait_until("the block", || element(NAMED).is_some());
        wait_until("a request with the ETag", || site().asked_with("\"one\""));

        // One changes, and it alone is asked for.
        site().put(SECOND, "", event(6, &["192.0.2.1", "192.0.2.2"]));
        site().lists("\"two\"", &[(FIRST, 5), (SECOND, 6)]);
        wait_until("the changed event", || metric(&server, "networks") == Some(3.0));
        wait_until("a request with the next ETag", || site().asked_with("\"two\""));
        assert_eq!(site().asked_of([FIRST, SECOND]), [1, 2]);

        // One is cut off, then away: what was read before counts, also of the others, and it is said which it is.
        site().put(SECOND, "", event(7, &["192.0.2.1"])[..40].to_owned());
        site().lists("\"three\"", &[(SECOND, 7)]);
        wait_until("the failure", || metric(&server, "failed") == Some(1.0));
        let why = || {
            let doctor = home.run(&["doctor"]).stdout;
            words(&String::from_utf8(doctor).expect("it is text"))
        };
        let cut_off = format!("the feed drop cannot be fetched: the event {SECOND} cannot be used");
        wait_until("why", || why().contains(&cut_off));
        site().files.remove(&format!("/osint/{SECOND}.json"));
        let away = format!("the server answers with 404 Not Found to the request for the event {SECOND}");
        wait_until("why", || why().contains(&away));
        assert_eq!(
            (metric(&server, "networks"), metric(&server, "stale")),
            (Some(3.0), Some(0.0))
        );
        let (text, risk) = plan(&home, &[], NAMED);
        let said = format!("score 0.9 by \"drop\", which names {NAMED}/32 as c2");
        assert!(text.contains(&said) && risk["verdict"] == "passed", "{text}");

        // Mended, the one that has gone from the manifest says nothing more.
        site().put(SECOND, "", event(7, &["192.0.2.1"]));
        wait_until("the mending", || metric(&server, "failed") == Some(0.0));
        wait_until("what is left", || metric(&server, "networks") == Some(1.0));
        let (_, risk) = plan(&home, &[], NAMED);
        assert_eq!(risk["verdict"], "ask", "{risk}");
        assert_eq!(site().asked_of([FIRST]), [1]);
        server.kill();

        // The copy is there at the next start, also while the server of the feed is not; then it is gone on with.
        let files = std::mem::take(&mut site().files);
        site().asked.clear();
        let server = home.serve();
        assert_eq!(metric(&server, "networks"), Some(1.0));
        wait_until("the failure", || metric(&server, "failed") == Some(1.0));
        assert!(site().asked_with("\"three\""));
        site().files = files;
        site().put(THIRD, "", event(7, &[NAMED]));
        site().lists("\"four\"", &[(SECOND, 7), (THIRD, 7)]);
        wait_until("the new event", || metric(&server, "networks") == Some(2.0));
        assert_eq!(site().asked_of([SECOND, THIRD]), [0, 1]);
    });
}

#[test]
fn a_single_event_of_misp_is_fetched_like_any_other_feed() {
    in_namespace("feeds::misp_event", || {
        let (answer, url) = feed_server();
        let says = |etag, body: String| {
            let mut answer = answer.lock().expect("no test panics with it");
            (answer.status, answer.etag, answer.body) = ("200 OK", etag, body);
        };
        says("\"one\"", event(5, &[NAMED]));
        let home = configured(&url);
        let server = home.serve();
        wait_until("the event", || metric(&server, "networks") == Some(1.0));
        let (text, _) = plan(&home, &[], NAMED);
        let said = format!("score 0.9 by \"drop\", which names {NAMED}/32 as c2");
        assert!(text.contains(&said), "{text}");
        // A manifest is no event.
        says("\"two\"", format!("{{\"{FIRST}\":{{\"timestamp\":\"5\"}}}}"));
        wait_until("the failure", || metric(&server, "failed") == Some(1.0));
        assert_eq!(metric(&server, "networks"), Some(1.0));
        says("\"three\"", event(6, &[NAMED, "192.0.2.1"]));
        wait_until("the changed event", || metric(&server, "networks") == Some(2.0));
        server.kill();
        assert_eq!(metric(&home.serve(), "networks"), Some(2.0));
    });
}
