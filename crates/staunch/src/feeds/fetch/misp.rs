//! Fetching the events of a MISP feed: those that its manifest names and that have changed since they were read.
//!
//! Never asks for anything but files beside the manifest, and never goes without an event that cannot be had: then the
//! last good copy stays.

use std::path::Path;
use std::time::{Duration, Instant};

use staunch_connectors::feeds::{FEED_BYTES_MAX, Listed, MispEvents};
use ureq::http::StatusCode;

use super::super::{EVENTS_BYTES_MAX, bounded, usable};
use super::{ALL_WITHIN, Asking, DEADLINE, Unfetched, broken, bytes_of, manifest, unusable};

/// How much may come, and how long that may take.
pub(super) struct Bounds {
    /// The longest file of an event.
    event_bytes: u64,
    /// The most bytes of all of them, with those that were read before.
    bytes: u64,
    /// How long those that are fetched may take together.
    within: Duration,
}

pub(super) const BOUNDS: Bounds = Bounds {
    event_bytes: FEED_BYTES_MAX,
    bytes: EVENTS_BYTES_MAX,
    within: ALL_WITHIN,
};

/// The events of the copy at `path`; `None` when there is none that can be read.
pub(super) fn kept(path: &Path) -> Option<MispEvents> {
    // Why it cannot be read is told when it is read for what it says.
    MispEvents::of_copy(&bounded("", path).ok()?).ok()
}

/// Fetches what `events` lacks of those that the manifest in `body` names, and makes the copy of all of them. Those
/// that it does not name are forgotten. `place` is where they are, and what follows their names.
pub(super) fn copy(
    asking: &Asking<'_>,
    place: (&str, &str),
    body: &[u8],
    events: &mut MispEvents,
    bounds: &Bounds,
) -> Result<Vec<u8>, Unfetched> {
    let listed = manifest(body).map_err(|invalid| unusable("its manifest", &invalid))?;
    events.keep_only(&listed);
    let until = Instant::now() + bounds.within;
    let lacking: Vec<_> = listed.iter().filter(|it| !events.has(it)).collect();
    for (at, it) in lacking.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // They are not asked for again.
            let (within, of) = (bounds.within, lacking.len());
            return Err(format!("its events take longer than {within:?}: {at} of {of} have come").into());
        }
        let file = fetch_event(asking, place, it, left, bounds)?;
        let taken = events.take(it, &file, bounds.bytes);
        taken.map_err(|invalid| unusable(&format!("the event {}", it.uuid()), &invalid))?;
    }
    let unusable = |invalid| unusable("what comes", &invalid);
    let copy = events.to_copy().map_err(unusable)?;
    // As it is read afterwards.
    let read = MispEvents::of_copy(&copy).and_then(MispEvents::reading);
    read.and_then(usable).map_err(unusable)?;
    Ok(copy)
}

/// The file of an event.
fn fetch_event(
    asking: &Asking<'_>,
    (place, behind): (&str, &str),
    event: &Listed,
    left: Duration,
    bounds: &Bounds,
) -> Result<Vec<u8>, Unfetched> {
    let uuid = event.uuid();
    let request = asking.request(&format!("{place}{}{behind}", event.file()));
    let request = request.config().timeout_global(Some(left.min(DEADLINE))).build();
    let answer = request
        .call()
        .map_err(|error| format!("the event {uuid} does not come: {}", broken(&error)))?;
    if answer.status() != StatusCode::OK {
        let status = answer.status();
        let why = format!("the server answers with {status} to the request for the event {uuid}");
        return Err(Unfetched::by(&answer, why));
    }
    let bytes = bytes_of(answer, bounds.event_bytes);
    Ok(bytes.map_err(|why| format!("the event {uuid} does not come whole: {why}"))?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use tempfile::TempDir;

    use super::super::{agent, etag_file, fetch};
    use super::*;
    use crate::config::FeedSettings;
    use crate::loopback::Loopback;

    const FIRST: &str = "5f4a9c1e-0000-4000-8000-000000000001";
    const SECOND: &str = "5f4a9c1e-0000-4000-8000-000000000002";

    /// A feed, where it is fetched, and what was read of its events.
    struct Feed {
        server: Arc<Loopback>,
        settings: FeedSettings,
        events: MispEvents,
        dir: TempDir,
    }

    impl Feed {
        /// One below `/a`, whose address ends in `behind`.
        fn new(behind: &str) -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let (server, url) = Loopback::plain();
            server.says(Some("404 Not Found\n\n"));
            let text = format!("[[feeds]]\nname = \"f\"\nformat = \"misp\"\nurl = \"{url}/a/manifest.json{behind}\"\n");
            let config = crate::config::parse(&text).unwrap_or_else(|_| panic!("{text}"));
            let mut settings = config.feeds[0].clone();
            settings.path = dir.path().join("feeds").join("f.copy");
            Self {
                server,
                settings,
                events: MispEvents::default(),
                dir,
            }
        }

        /// Has a manifest with these events and times, and `more` in it.
        fn lists(&self, events: &[(&str, u64)], more: &str) {
            let entry = |(uuid, time): &(&str, u64)| format!("\"{uuid}\":{{\"timestamp\":\"{time}\"}}");
            let entries: Vec<_> = events.iter().map(entry).collect();
            let (target, text) = ("/a/manifest.json", entries.join(","));
            self.server
                .says_of(target, &format!("200 OK\netag: \"m\"\n\n{{{text}{more}}}"));
        }

        /// Has an event that names `address`.
        fn has(&self, uuid: &str, address: &str) {
            let target = format!("/a/{uuid}.json");
            self.server.says_of(&target, &format!("200 OK\n\n{}", event(address)));
        }

        /// Fetches it; also what was asked for meanwhile.
        fn fetch(&mut self) -> (Result<bool, String>, Vec<String>) {
            let before = self.server.asked().len();
            let agent = agent(&self.settings).expect("nothing is wrong with it");
            let result = fetch(&agent, &self.settings, &mut self.events).map_err(|it| it.why);
            let asked = self.server.asked().split_off(before);
            (result, asked.iter().map(|it| it.target().to_owned()).collect())
        }

        /// Fetches it within other bounds.
        fn bounded(&mut self, bounds: &Bounds) -> Result<Vec<u8>, String> {
            let agent = agent(&self.settings).expect("nothing is wrong with it");
            let asking = Asking {
                agent: &agent,
                key: None,
            };
            let place = self.settings.beside_manifest().expect("it is one");
            let manifest = format!("{{\"{FIRST}\":{{\"timestamp\":5}},\"{SECOND}\":{{\"timestamp\":5}}}}");
            copy(&asking, place, manifest.as_bytes(), &mut self.events, bounds).map_err(|it| it.why)
        }

        fn networks(&self) -> Vec<String> {
            let reading = kept(&self.settings.path).map(MispEvents::reading);
            let reading = reading.expect("there is a copy").expect("it can be read");
            reading.entries.iter().map(|it| it.network.to_string()).collect()
        }
    }

    fn event(address: &str) -> String {
        let attribute = format!(r#"{{"type":"ip-dst","value":"{address}","to_ids":true}}"#);
        format!(r#"{{"Event":{{"info":"c2","Attribute":[{attribute}]}}}}"#)
    }

    fn file(uuid: &str) -> String {
        format!("/a/{uuid}.json")
    }

    #[test]
    fn a_try_goes_on_where_the_last_one_failed_and_says_what_is_missing() {
        let mut feed = Feed::new("");
        feed.lists(&[(FIRST, 5), (SECOND, 5)], "");
        feed.has(FIRST, "203.0.113.7");
        let manifest = "/a/manifest.json".to_owned();
        let (result, asked) = feed.fetch();
        let why = format!("the server answers with 404 Not Found to the request for the event {SECOND}");
        assert_eq!(result, Err(why));
        assert_eq!(asked, [manifest.clone(), file(FIRST), file(SECOND)]);
        assert!(!feed.settings.path.exists() && !etag_file(&feed.settings).exists());

        feed.server.says_of(&file(SECOND), "200 OK\n\n{\"Event\":");
        let (result, asked) = feed.fetch();
        let why = result.expect_err("it is cut off");
        let what = format!("the event {SECOND} cannot be used: EOF while parsing");
        assert!(why.starts_with(&what), "{why}");
        assert_eq!(asked, [manifest.clone(), file(SECOND)]);

        feed.has(SECOND, "203.0.113.8");
        assert_eq!(feed.fetch(), (Ok(true), vec![manifest.clone(), file(SECOND)]));
        assert_eq!(feed.networks(), ["203.0.113.7/32", "203.0.113.8/32"]);
        assert_eq!(feed.events, MispEvents::default(), "they are in the copy");
        assert_eq!(
            fs::read_to_string(etag_file(&feed.settings)).ok().as_deref(),
            Some("\"m\"")
        );

        // A copy that cannot be read is none: everything is fetched, without the ETag of it.
        fs::write(&feed.settings.path, "{").expect("it is our directory");
        assert_eq!(feed.fetch(), (Ok(true), vec![manifest, file(FIRST), file(SECOND)]));
        let asked = feed.server.asked();
        assert!(asked.iter().all(|it| it.header("if-none-match").is_none()), "{asked:?}");
        assert_eq!(feed.networks(), ["203.0.113.7/32", "203.0.113.8/32"]);
    }

    #[test]
    fn a_manifest_that_names_something_else_has_nothing_asked_for() {
        let mut feed = Feed::new("");
        feed.has(FIRST, "203.0.113.7");
        for other in [
            "../../etc/passwd",
            "5f4a9c1e-0000-4000-8000-00000000000a/../x",
            "//192.0.2.1/000-4000-8000-0000000000",
            "5f4a9c1e-0000-4000-8000-00000000\\r\\na",
            "Event",
        ] {
            feed.lists(&[(FIRST, 5)], &format!(",\"{other}\":{{}}"));
            let (result, asked) = feed.fetch();
            let why = "its manifest cannot be used: it names something that is no event";
            assert_eq!(result, Err(why.to_owned()), "{other}");
            assert_eq!(asked, ["/a/manifest.json"], "{other}");
        }
        assert!(!feed.settings.path.exists());
    }

    #[test]
    fn what_says_nothing_leaves_the_copy_as_it_was() {
        let mut feed = Feed::new("");
        feed.lists(&[(FIRST, 5)], "");
        feed.has(FIRST, "203.0.113.7");
        assert_eq!(feed.fetch().0, Ok(true));
        feed.lists(&[], "");
        let why = "what comes cannot be used: it names no network".to_owned();
        assert_eq!(feed.fetch(), (Err(why), vec!["/a/manifest.json".to_owned()]));
        assert_eq!(feed.networks(), ["203.0.113.7/32"]);
    }

    #[test]
    fn events_are_bounded_each_and_together_in_bytes_and_in_time() {
        let mut feed = Feed::new("");
        feed.has(FIRST, "203.0.113.7");
        feed.has(SECOND, "203.0.113.8");
        let length = event("203.0.113.7").len() as u64;
        let (each, all) = (length + 1, 2 * length);
        let bounds = |event_bytes, bytes, within| Bounds {
            event_bytes,
            bytes,
            within: Duration::from_secs(within),
        };
        let why = feed.bounded(&bounds(length - 1, all, 60)).expect_err("it is too long");
        let what = format!("the event {FIRST} does not come whole: ");
        assert!(why.starts_with(&what), "{why}");
        let most = all - 1;
        let why = format!("the event {SECOND} cannot be used: the events have more than {most} bytes together");
        assert_eq!(feed.bounded(&bounds(each, most, 60)), Err(why.clone()));
        // What was read before counts, too.
        assert_eq!(feed.bounded(&bounds(each, most, 60)), Err(why));
        let why = "its events take longer than 0ns: 0 of 1 have come".to_owned();
        assert_eq!(feed.bounded(&bounds(each, all, 0)), Err(why));
        assert!(feed.bounded(&bounds(each, all, 60)).is_ok());
        assert!(feed.bounded(&bounds(each, all, 0)).is_ok(), "none is lacking");
    }

    #[test]
    fn every_request_has_the_key_and_the_query_and_no_redirect_is_followed() {
        let mut feed = Feed::new("");
        let key = feed.dir.path().join("key");
        fs::write(&key, "Bearer 3f1c-secret\n").expect("it is our directory");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("it is our file");
        feed.settings.key_file = Some(key);
        feed.lists(&[(FIRST, 5)], "");
        let (elsewhere, url) = Loopback::plain();
        let moved = format!("302 Found\nlocation: {url}/{FIRST}.json\n\n");
        feed.server.says_of(&file(FIRST), &moved);
        let why = format!("the server answers with 302 Found to the request for the event {FIRST}");
        assert_eq!(feed.fetch().0, Err(why));
        assert!(
            elsewhere.asked().is_empty(),
            "who is sent elsewhere would show the key there"
        );
        feed.has(FIRST, "203.0.113.7");
        assert_eq!(feed.fetch().0, Ok(true));
        let asked = feed.server.asked();
        assert_eq!(asked.len(), 4);
        let knows = |it: &crate::loopback::Request| it.header("authorization") == Some("Bearer 3f1c-secret");
        assert!(asked.iter().all(knows), "{asked:?}");

        let mut feed = Feed::new("?a=b");
        let manifest = format!("200 OK\n\n{{\"{FIRST}\":{{}}}}");
        feed.server.says_of("/a/manifest.json?a=b", &manifest);
        let with_query = format!("{}?a=b", file(FIRST));
        feed.server
            .says_of(&with_query, &format!("200 OK\n\n{}", event("203.0.113.7")));
        let asked = vec!["/a/manifest.json?a=b".to_owned(), with_query];
        assert_eq!(feed.fetch(), (Ok(true), asked));
    }
}
