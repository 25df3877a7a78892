//! Fetching feeds over HTTP: on a schedule, with ETag, a deadline and a bound.
//!
//! Never replaces a copy by what cannot be read or says nothing, never follows a redirect to another place than was
//! configured, and never asks a server sooner than it wants to be asked.

mod due;
mod misp;

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use staunch_connectors::feeds::{FEED_BYTES_MAX, Format, MispEvents, manifest, next_page, read_filtered};
use staunch_connectors::lists::Invalid;
use staunch_connectors::lookups::retry_after;
use staunch_model::{Printable, Span, Timestamp};
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;
use staunch_runtime::Handle;
use ureq::http::{HeaderValue, Response, StatusCode};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, RequestBuilder};

use self::due::Asked;
use super::{Feeds, usable};
use crate::api_key;
use crate::client::percent_encoded;
use crate::client::secure::{self, Calling};
use crate::config::FeedSettings;
use crate::whole;
use crate::wiring::make_private_dir;

/// How long one answer may take, from the name to the last byte.
const DEADLINE: Duration = Duration::from_secs(60);

/// What is understood.
const ACCEPT: &str = "application/taxii+json;version=2.1, application/json, text/plain, */*;q=0.1";

/// Pages of one collection. Servers send a hundred objects and more in one, so that it is far above what is kept of a
/// feed.
const PAGES_MAX: usize = 4_096;

/// How long all pages of one collection, or all events of a feed, may take together.
const ALL_WITHIN: Duration = Duration::from_secs(300);

/// The longest ETag that is kept.
const ETAG_BYTES_MAX: usize = 1_024;

/// The thread that fetches. It ends after this is dropped; a copy is replaced at once or not at all.
pub(crate) struct Fetching {
    _stop: Sender<()>,
}

/// A feed and when it is fetched next.
struct Due {
    at: usize,
    settings: FeedSettings,
    next: Instant,
    failures: u32,
    /// What was read of the events of a MISP feed since its last copy, so that a try goes on where the last one failed.
    events: MispEvents,
}

/// Why a feed was not fetched.
#[derive(Debug, PartialEq, Eq)]
struct Unfetched {
    why: String,
    /// How long its server wants to be left alone; it need not say so.
    wanted: Option<Span>,
}

impl Unfetched {
    /// The server gives `answer`, which is none, and `why`.
    fn by(answer: &Response<Body>, why: String) -> Self {
        let may_want = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status());
        let wanted = answer.headers().get("retry-after").filter(|_| may_want);
        let wanted = wanted.and_then(|it| retry_after(it.to_str().ok()?, SystemClock.now()));
        Self { why, wanted }
    }
}

impl From<String> for Unfetched {
    fn from(why: String) -> Self {
        Self { why, wanted: None }
    }
}

/// What asks the server of a feed.
struct Asking<'a> {
    agent: &'a Agent,
    /// What is sent in the header `Authorization`.
    key: Option<HeaderValue>,
}

impl Asking<'_> {
    fn request(&self, url: &str) -> RequestBuilder<WithoutBody> {
        let request = self.agent.get(url).header("accept", ACCEPT);
        match &self.key {
            Some(key) => request.header("authorization", key),
            None => request,
        }
    }
}

impl Fetching {
    /// Begins to fetch those of `feeds` that have an address; nothing when none has.
    pub(crate) fn start(feeds: &Arc<Feeds>, handle: &Handle) -> Option<Self> {
        let (now, machine_now) = (Instant::now(), handle.machine_now());
        let due = |(at, settings, copied): (usize, FeedSettings, Option<Timestamp>)| Due {
            at,
            next: now + due::first(&settings, copied, Asked::last(&settings).as_ref(), machine_now),
            settings,
            failures: 0,
            events: MispEvents::default(),
        };
        let all: Vec<Due> = feeds.fetched().into_iter().map(due).collect();
        if all.is_empty() {
            return None;
        }
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let (feeds, handle) = (feeds.clone(), handle.clone());
        let work = move || fetch_all(all, &feeds, &handle, &stopped);
        match std::thread::Builder::new().name("feeds".into()).spawn(work) {
            Ok(_) => Some(Self { _stop: stop }),
            Err(error) => {
                tracing::error!(%error, "feeds are not fetched");
                None
            }
        }
    }
}

fn fetch_all(mut all: Vec<Due>, feeds: &Feeds, handle: &Handle, stopped: &Receiver<()>) {
    while let Some(due) = all.iter_mut().min_by_key(|it| it.next) {
        let wait = due.next.saturating_duration_since(Instant::now());
        if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let feed = Printable(&due.settings.name).to_string();
        let every = due.settings.every.to_std();
        let agent = agent(&due.settings).map_err(Unfetched::from);
        let fetched = agent.and_then(|agent| fetch(&agent, &due.settings, &mut due.events));
        let pause = match fetched {
            Ok(is_new) => {
                due.failures = 0;
                feeds.note(due.at, None, handle);
                tracing::debug!(feed, is_new, "a feed was fetched");
                every
            }
            Err(Unfetched { why, wanted }) => {
                let pause = due::after_failure(&due.settings, due.failures, wanted);
                due.failures = due.failures.saturating_add(1);
                let why = format!("the feed {feed} cannot be fetched: {}", Printable(&why));
                tracing::warn!(feed, why, again_in = ?pause, "a feed was not fetched; the last copy counts until it expires");
                feeds.note(due.at, Some(&why), handle);
                pause
            }
        };
        due.next = Instant::now() + pause;
    }
}

/// What fetches the feed of `settings`. It is made anew each time, which is seldom, so that a changed file of
/// authorities counts.
fn agent(settings: &FeedSettings) -> Result<Agent, String> {
    let calling = Calling {
        ca: settings.ca.as_deref(),
        within: DEADLINE,
        kept: 1,
        is_plain: false,
    };
    calling.agent().map_err(|fault| fault.told())
}

/// Why nothing came.
fn broken(error: &ureq::Error) -> String {
    secure::why_unsafe(error).map_or_else(|| error.to_string(), str::to_owned)
}

/// Fetches one feed; whether it is new, and not the same as before. What was read of the events of a MISP feed before,
/// and is in no copy, is in `events`; it stays there when this fails.
fn fetch(agent: &Agent, settings: &FeedSettings, events: &mut MispEvents) -> Result<bool, Unfetched> {
    let url = settings.url.as_deref().unwrap_or_default();
    let path = &settings.path;
    if let Some(dir) = path.parent() {
        make_private_dir(dir).map_err(|fault| fault.told())?;
    }
    Asked::note(settings)?;
    let kept = settings.beside_manifest().and_then(|_| misp::kept(path));
    // Without the copy that it is of, an ETag would keep the feed away.
    let is_there = match settings.beside_manifest() {
        Some(_) => kept.is_some(),
        None => path.exists(),
    };
    let known = fs::read_to_string(etag_file(settings)).ok().filter(|_| is_there);
    let known = known.filter(|it| is_etag(it));
    let key = match &settings.key_file {
        Some(file) => Some(api_key::read(file, "[[feeds]]").map_err(|fault| fault.told())?),
        None => None,
    };
    let asking = Asking { agent, key };
    let mut request = asking.request(url);
    if let Some(etag) = &known {
        request = request.header("if-none-match", etag);
    }
    let answer = request.call().map_err(|error| broken(&error))?;
    let status = answer.status();
    if status == StatusCode::NOT_MODIFIED && known.is_none() {
        let what = "although it was not asked whether something has changed";
        return Err(format!("the server answers with {status}, {what}").into());
    }
    if status == StatusCode::NOT_MODIFIED {
        let touched = File::options().append(true).open(path);
        let touched = touched.and_then(|file| file.set_modified(SystemTime::now()));
        touched.map_err(|error| format!("its copy cannot be marked as current: {error}"))?;
        return Ok(false);
    }
    if status != StatusCode::OK {
        return Err(Unfetched::by(&answer, format!("the server answers with {status}")));
    }
    let etag = answer.headers().get("etag").and_then(|it| it.to_str().ok());
    let etag = etag.filter(|it| is_etag(it)).map(str::to_owned);
    let body = bytes_of(answer, FEED_BYTES_MAX)?;
    if let Some(place) = settings.beside_manifest() {
        events.add(kept.unwrap_or_default());
        let copy = misp::copy(&asking, place, &body, events, &misp::BOUNDS)?;
        // What is to be fetched again is so though the manifest stays as it is.
        let etag = etag.filter(|_| events.are_current());
        keep(settings, &copy, etag)?;
        *events = MispEvents::default();
    } else {
        let (copy, etag) = whole_of(&asking, settings, body, etag)?;
        keep(settings, &copy, etag)?;
    }
    Ok(true)
}

/// All of a feed of which `body` came first, and the ETag of it, when it can be used.
fn whole_of(
    asking: &Asking<'_>,
    settings: &FeedSettings,
    mut body: Vec<u8>,
    mut etag: Option<String>,
) -> Result<(Vec<u8>, Option<String>), Unfetched> {
    let url = settings.url.as_deref().unwrap_or_default();
    if settings.format == Format::Stix && add_pages(asking, url, &mut body)? {
        // It is that of the first page, and says nothing of the others.
        etag = None;
    }
    let read = read_filtered(settings.format, &settings.filter(), &body).and_then(usable);
    read.map_err(|invalid| unusable("what comes", &invalid))?;
    Ok((body, etag))
}

/// Makes `copy` that of the last good answer, and `etag` the one of it.
fn keep(settings: &FeedSettings, copy: &[u8], etag: Option<String>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("its copy cannot be written: {error}");
    whole::keep(&settings.path, copy).map_err(failed)?;
    // After the copy: an ETag that is older than it only has it fetched once more.
    match etag {
        Some(etag) => whole::keep(&etag_file(settings), etag.as_bytes()).map_err(failed),
        None => forget_etag(settings).map_err(failed),
    }
}

fn forget_etag(settings: &FeedSettings) -> std::io::Result<()> {
    let file = etag_file(settings);
    if file.exists() { fs::remove_file(file) } else { Ok(()) }
}

/// Why nothing can be made of `what`.
fn unusable(what: &str, invalid: &Invalid) -> String {
    let at = invalid.line.map_or_else(String::new, |line| format!(" (line {line})"));
    format!("{what} cannot be used: {}{at}", invalid.what)
}

fn bytes_of(mut answer: Response<Body>, most: u64) -> Result<Vec<u8>, String> {
    let body = answer.body_mut().with_config().limit(most).read_to_vec();
    body.map_err(|error| format!("its body cannot be read: {error}"))
}

/// Fetches the pages behind the first one of a TAXII collection (TAXII 2.1, section 3.4), and whether there are any.
fn add_pages(asking: &Asking<'_>, url: &str, body: &mut Vec<u8>) -> Result<bool, Unfetched> {
    let more_of = |page: &[u8]| next_page(page).map_err(|invalid| invalid.what);
    let mut next = more_of(body)?;
    let is_paged = next.is_some();
    let mut pages = 1;
    // One thread fetches all feeds.
    let until = Instant::now() + ALL_WITHIN;
    while let Some(token) = next {
        pages += 1;
        if Instant::now() >= until {
            return Err(format!("its pages take longer than {ALL_WITHIN:?}").into());
        }
        if pages > PAGES_MAX {
            return Err(format!("it has more than {PAGES_MAX} pages").into());
        }
        let joint = if url.contains('?') { '&' } else { '?' };
        let request = asking.request(&format!("{url}{joint}next={}", percent_encoded(&token)));
        let answer = request.call().map_err(|error| broken(&error))?;
        if answer.status() != StatusCode::OK {
            let status = answer.status();
            let why = format!("the server answers with {status} to the request for page {pages}");
            return Err(Unfetched::by(&answer, why));
        }
        let left = FEED_BYTES_MAX.saturating_sub(body.len() as u64);
        let page = bytes_of(answer, left)?;
        next = more_of(&page)?;
        if next.as_ref() == Some(&token) {
            let why = "it says again and again that the same page is the next";
            return Err(why.to_owned().into());
        }
        body.push(b'\n');
        body.extend(page);
    }
    Ok(is_paged)
}

fn etag_file(settings: &FeedSettings) -> PathBuf {
    settings.path.with_extension("etag")
}

fn is_etag(text: &str) -> bool {
    let visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    !text.is_empty() && text.len() <= ETAG_BYTES_MAX && text.bytes().all(visible)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::loopback::Loopback;

    /// Fetches a feed of which nothing was fetched by this server; or why not.
    fn fetch_once(settings: &FeedSettings) -> Result<bool, String> {
        let fetched = fetch(&agent(settings)?, settings, &mut MispEvents::default());
        fetched.map_err(|it| it.why)
    }

    #[test]
    fn a_server_says_how_long_it_is_to_be_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let (server, url) = Loopback::plain();
        let wanted = |format: &str, answer: &str| {
            server.says(Some(answer));
            let url = format!("{url}/manifest.json");
            let text = format!("[[feeds]]\nname = \"drop\"\nurl = \"{url}\"\nformat = \"{format}\"\n");
            let config = crate::config::parse(&text).unwrap_or_else(|_| panic!("{text}"));
            let mut settings = config.feeds[0].clone();
            settings.path = dir.path().join("drop.copy");
            let agent = agent(&settings).expect("nothing is wrong with it");
            let fetched = fetch(&agent, &settings, &mut MispEvents::default());
            fetched.expect_err("there is no answer").wanted
        };
        let (minute, day) = (Some(Span::from_mins(1)), Some(Span::from_hours(24)));
        let after = |status: &str, header: &str| format!("{status}\nretry-after: {header}\n\n");
        assert_eq!(wanted("plain", &after("429 Too Many Requests", "60")), minute);
        assert_eq!(wanted("misp", &after("503 Service Unavailable", "60")), minute);
        assert_eq!(wanted("plain", &after("503 Service Unavailable", "9999999")), day);
        assert_eq!(wanted("plain", &after("500 Internal Server Error", "60")), None);
        assert_eq!(wanted("plain", &after("503 Service Unavailable", "soon")), None);
        assert_eq!(wanted("plain", "429 Too Many Requests\n\n"), None);

        // The pages behind the first, and the events of a manifest.
        let page = r#"{"objects":[],"more":true,"next":"2"}"#;
        server.says_of("/manifest.json?next=2", &after("429 Too Many Requests", "60"));
        assert_eq!(wanted("stix", &format!("200 OK\n\n{page}")), minute);
        let uuid = "5f4a9c1e-0000-4000-8000-000000000001";
        server.says_of(&format!("/{uuid}.json"), &after("429 Too Many Requests", "60"));
        assert_eq!(wanted("misp", &format!("200 OK\n\n{{\"{uuid}\":{{}}}}")), minute);
    }

    #[test]
    fn a_feed_whose_certificate_nobody_vouches_for_leaves_the_copy_as_it_was() {
        let dir = tempfile::tempdir().expect("a directory");
        let (ca, other) = (dir.path().join("ca.pem"), dir.path().join("other.pem"));
        let (server, url) = Loopback::secured(&ca);
        Loopback::secured(&other);
        server.says(Some("200 OK\n\n203.0.113.0/24\n"));
        let copy = dir.path().join("feeds").join("drop.feed");
        let fetched = |ca: Option<&Path>| {
            let ca = ca.map_or_else(String::new, |it| format!("ca = \"{}\"\n", it.display()));
            let text = format!("[[feeds]]\nname = \"drop\"\nurl = \"{url}/list\"\n{ca}");
            let config = crate::config::parse(&text).unwrap_or_else(|_| panic!("{text}"));
            let mut settings = config.feeds[0].clone();
            settings.path.clone_from(&copy);
            fetch_once(&settings)
        };
        let why =
            "there is no safe connection with it: none of the authorities that are trusted has issued its certificate";
        assert_eq!(fetched(Some(&other)), Err(why.to_owned()));
        assert!(!copy.exists());
        assert_eq!(fetched(Some(&ca)), Ok(true));
        assert_eq!(fs::read_to_string(&copy).expect("it is there"), "203.0.113.0/24\n");
        assert_eq!(fetched(None), Err(why.to_owned()));
        assert!(copy.exists(), "it counts until it expires");
        assert_eq!(server.asked().len(), 1);
    }

    #[test]
    fn an_authority_that_shows_its_own_certificate_is_told_so() {
        let dir = tempfile::tempdir().expect("a directory");
        let ca = dir.path().join("ca.pem");
        let (server, url) = Loopback::secured_by_itself(&ca);
        let text = format!(
            "[[feeds]]\nname = \"drop\"\nurl = \"{url}/list\"\nca = \"{}\"\n",
            ca.display()
        );
        let config = crate::config::parse(&text).unwrap_or_else(|_| panic!("{text}"));
        let mut settings = config.feeds[0].clone();
        settings.path = dir.path().join("drop.copy");
        let fetched = fetch_once(&settings);
        let why = fetched.expect_err("it is no certificate of a server");
        assert!(why.contains("that of an authority (CA:TRUE)"), "{why}");
        assert_eq!(server.asked().len(), 0);
    }

    #[test]
    fn what_says_nothing_is_refused_and_leaves_the_copy_as_it_was() {
        let dir = tempfile::tempdir().expect("a directory");
        let (server, url) = Loopback::plain();
        let copy = dir.path().join("feeds").join("drop.copy");
        let fetched = |format: &str, answer: &str| {
            server.says(Some(answer));
            let text = format!("[[feeds]]\nname = \"drop\"\nurl = \"{url}/list\"\nformat = \"{format}\"\n");
            let config = crate::config::parse(&text).unwrap_or_else(|_| panic!("{text}"));
            let mut settings = config.feeds[0].clone();
            settings.path.clone_from(&copy);
            let result = fetch_once(&settings);
            (result, fs::read_to_string(&copy).ok())
        };
        let good = Some("203.0.113.0/24\n".to_owned());
        // There is no copy that it could be about.
        let unasked = |(result, kept): (Result<bool, String>, Option<String>), expect: &Option<String>| {
            let why = result.expect_err("it was not asked");
            assert!(why.contains("304") && why.contains("it was not asked whether"), "{why}");
            assert_eq!(&kept, expect);
        };
        unasked(fetched("plain", "304 Not Modified\n\n"), &None);
        assert_eq!(fetched("plain", "200 OK\n\n203.0.113.0/24\n"), (Ok(true), good.clone()));
        // There is one, and no ETag of it.
        let before = fs::metadata(&copy).and_then(|it| it.modified()).expect("it is there");
        unasked(fetched("plain", "304 Not Modified\n\n"), &good);
        let after = fs::metadata(&copy).and_then(|it| it.modified()).expect("it is there");
        assert_eq!(before, after, "it is no newer");

        let bundle = r#"{"type":"bundle","id":"bundle--1","objects":[]}"#;
        let domain = r#"{"type":"bundle","objects":[{"type":"indicator","pattern_type":"stix","pattern":"[domain-name:value='a.example']"}]}"#;
        for (format, body, what) in [
            ("plain", "0.0.0.0/0\n", "(1 special, 0 not understood)"),
            ("plain", "0.0.0.0/1\n128.0.0.0/1\n", "(2 special, 0 not understood)"),
            ("plain", "\n", "it lists no network"),
            ("stix", bundle, "it names no network"),
            ("stix", domain, "(0 special, 1 not understood)"),
        ] {
            let (result, kept) = fetched(format, &format!("200 OK\n\n{body}"));
            let why = result.expect_err("nothing of it counts");
            assert!(why.starts_with("what comes cannot be used: "), "{why}");
            assert!(why.contains(what), "{format} {body}: {why}");
            assert_eq!(kept, good, "{format} {body}");
        }
        // One that takes back all that it has said does say something.
        let revoked = r#"{"type":"bundle","objects":[{"type":"indicator","id":"indicator--1","revoked":true}]}"#;
        let (result, kept) = fetched("stix", &format!("200 OK\n\n{revoked}"));
        assert_eq!((result, kept.as_deref().map(str::trim)), (Ok(true), Some(revoked)));
    }
}
