//! Look-ups against a server on this host. Time is given; nothing waits but for what is late on purpose.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

const KEY: &str = "k3y-that-nobody-may-see";

/// What the server answers from now on, and what it was asked.
#[derive(Default)]
struct Script {
    head: String,
    body: String,
    /// The requests, with their headers.
    asked: Vec<String>,
    /// Whether it keeps its answers to itself for the moment.
    holds: bool,
}

struct Remote {
    script: Mutex<Script>,
    changed: Condvar,
}

impl Remote {
    /// A server on this host, and its address.
    fn start() -> (Arc<Self>, String) {
        let remote = Arc::new(Self {
            script: Mutex::default(),
            changed: Condvar::new(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let url = format!("http://{}", listener.local_addr().expect("it has one"));
        let shared = remote.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let remote = shared.clone();
                std::thread::spawn(move || remote.answer(stream));
            }
        });
        (remote, url)
    }

    fn answer(&self, mut stream: std::net::TcpStream) {
        let lines = BufReader::new(&stream).lines().map_while(Result::ok);
        let request: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
        let mut script = self.lock();
        script.asked.push(request.join("\n"));
        self.changed.notify_all();
        while script.holds {
            script = self.changed.wait(script).expect("no test panics with it");
        }
        let Script { head, body, .. } = &*script;
        let length = body.len();
        let text = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        drop(script);
        // Whoever asked may have gone.
        drop(stream.write_all(text.as_bytes()));
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no test panics with it")
    }

    fn says(&self, head: &str, body: &str) {
        let mut script = self.lock();
        (script.head, script.body) = (head.to_owned(), body.to_owned());
    }

    fn scores(&self, score: u32) {
        self.says("200 OK", &format!("{{\"score\":{score}}}"));
    }

    fn holds(&self, holds: bool) {
        self.lock().holds = holds;
        self.changed.notify_all();
    }

    fn asked(&self) -> usize {
        self.lock().asked.len()
    }

    /// Waits until it was asked so often.
    fn wait_asked(&self, count: usize) {
        let mut script = self.lock();
        while script.asked.len() < count {
            script = self.changed.wait(script).expect("no test panics with it");
        }
    }
}

fn ip(last: u8) -> Target {
    Target::Address(IpAddr::from([203, 0, 113, last]))
}

fn at(secs: u64) -> Timestamp {
    Timestamp::EPOCH + Span::from_secs(1_000_000 + secs)
}

fn generic(url: &str, more: &str) -> Config {
    let text = format!(
        "[[lookups]]\nname = \"rep\"\nkind = \"generic\"\nurl = \"{url}/of/{{ip}}\"\npointer = \"/score\"\n\
         deadline = \"5s\"\nalso = [\"203.0.113.0/24\"]\n{more}"
    );
    crate::config::parse(&text).unwrap_or_else(|_| panic!("{text}"))
}

fn start(config: &Config) -> Arc<Lookups> {
    let started = Lookups::start(config, None).expect("there are threads");
    started.expect("there is a look-up")
}

/// The score in thousandths, nothing for one of 0, or why it is unknown.
fn score(lookups: &Lookups, target: &Target, now: Timestamp) -> Result<Option<u16>, String> {
    let standing = lookups.standing(target, now);
    standing
        .map(|it| it.map(|it| it.score.thousandths()))
        .map_err(Into::into)
}

#[track_caller]
fn unknown(lookups: &Lookups, target: &Target, now: Timestamp, why: &str) {
    let found = score(lookups, target, now).expect_err("it is unknown");
    assert!(found.contains(why), "{found}");
}

#[test]
fn an_answer_is_kept_for_its_time_and_then_asked_for_again() {
    let (remote, url) = Remote::start();
    let lookups = start(&generic(&url, ""));
    remote.scores(87);
    let found = lookups
        .standing(&ip(1), at(0))
        .expect("it is known")
        .expect("it is bad");
    assert_eq!(
        (found.score.thousandths(), &*found.feed, found.as_of, found.expires),
        (870, "rep", at(0), at(3_600))
    );
    assert_eq!(found.network.to_string(), "203.0.113.1/32");
    remote.scores(0);
    assert_eq!(score(&lookups, &ip(1), at(59)), Ok(Some(870)));
    assert_eq!((remote.asked(), lookups.meter.of_cache("rep")), (1, (1, 1)));
    // More than a minute after the answer, which took as long as it did.
    assert_eq!(score(&lookups, &ip(1), at(90)), Ok(None));
    assert_eq!((remote.asked(), lookups.meter.of_cache("rep")), (2, (1, 2)));
    assert_eq!(lookups.meter.counted("rep", Outcome::Answered), 2);
}

#[test]
fn all_addresses_of_a_body_are_asked_of_at_the_same_time() {
    let (remote, url) = Remote::start();
    let lookups = start(&generic(&url, ""));
    remote.scores(50);
    remote.holds(true);
    let targets: Vec<_> = (0..8).map(ip).collect();
    let asking = {
        let targets = targets.clone();
        std::thread::spawn(move || lookups.standings(&targets, at(0)))
    };
    // None was answered when the last was asked.
    remote.wait_asked(targets.len());
    remote.holds(false);
    let standings = asking.join().expect("it does not panic");
    assert!(standings.iter().all(|it| matches!(it, Ok(Some(_)))), "{standings:?}");
}

#[test]
fn what_is_slow_is_unknown_and_known_to_the_next() {
    let (remote, url) = Remote::start();
    let mut late = generic(&url, "");
    late.lookups[0].deadline = Span::from_millis(10);
    let lookups = start(&late);
    remote.scores(90);
    remote.holds(true);
    unknown(&lookups, &ip(1), at(0), "look-up rep: it has not answered within 10ms");
    assert_eq!(lookups.meter.counted("rep", Outcome::Late), 1);
    // So many are under way, and no more.
    let targets: Vec<_> = (1..=UNDER_WAY_MAX + 5)
        .map(|it| ip(u8::try_from(it).expect("few")))
        .collect();
    let standings = lookups.standings(&targets, at(0));
    let busy = |it: &Standing| it.as_ref().is_err_and(|why| why.contains("too many questions"));
    assert_eq!(standings.iter().filter(|it| busy(it)).count(), 5, "{standings:?}");
    assert_eq!(lookups.meter.counted("rep", Outcome::Busy), 5);
    remote.holds(false);
    let shared = &lookups.services[0].shared;
    let mut state = shared.lock();
    while !state.under_way.is_empty() {
        state = shared.changed.wait(state).expect("no test panics with it");
    }
    drop(state);
    assert_eq!(score(&lookups, &ip(1), at(1)), Ok(Some(900)));
    assert_eq!(remote.asked(), UNDER_WAY_MAX);
}

#[test]
fn a_service_that_is_down_is_left_alone_after_a_few_tries() {
    let (remote, url) = Remote::start();
    let lookups = start(&generic(&url, ""));
    remote.says("503 Service Unavailable", "later");
    unknown(&lookups, &ip(1), at(0), "look-up rep: it answers with 503");
    // The same address is not asked of again at once.
    unknown(&lookups, &ip(1), at(1), "it answers with 503");
    assert_eq!(remote.asked(), 1);
    unknown(&lookups, &ip(2), at(1), "it answers with 503");
    unknown(&lookups, &ip(3), at(2), "it answers with 503");
    unknown(&lookups, &ip(4), at(3), "it is not asked until");
    assert_eq!(remote.asked(), 3);
    assert_eq!(lookups.meter.counted("rep", Outcome::Paused), 1);
    let reading = lookups.meter.readings()["rep"].clone();
    assert!(
        reading.failed.is_some() && reading.paused_until.is_some_and(|until| until >= at(12)),
        "{reading:?}"
    );
    remote.scores(10);
    assert_eq!(score(&lookups, &ip(4), at(40)), Ok(Some(100)));
    assert_eq!(lookups.meter.readings()["rep"], LookupReading::default());
}

#[test]
fn nobody_at_the_address_is_told_from_a_bad_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    let url = format!("http://{}", listener.local_addr().expect("it has one"));
    drop(listener);
    let lookups = start(&generic(&url, ""));
    unknown(&lookups, &ip(1), at(0), "it cannot be reached: connection refused");
    assert_eq!(lookups.meter.counted("rep", Outcome::Down), 1);
}

#[test]
fn a_service_over_its_quota_is_left_alone_for_as_long_as_it_asks() {
    let (remote, url) = Remote::start();
    let lookups = start(&generic(&url, ""));
    remote.says("429 Too Many Requests\r\nretry-after: 3600", "");
    unknown(&lookups, &ip(1), at(0), "its quota is used up (429)");
    remote.scores(10);
    unknown(&lookups, &ip(2), at(3_500), "it is not asked until");
    assert_eq!(
        (remote.asked(), lookups.meter.counted("rep", Outcome::OverQuota)),
        (1, 1)
    );
    assert_eq!(score(&lookups, &ip(2), at(3_700)), Ok(Some(100)));
}

#[test]
fn nonsense_and_answers_without_end_are_unknown() {
    let (remote, url) = Remote::start();
    let lookups = start(&generic(&url, ""));
    let huge = format!("{{\"score\":1,\"more\":\"{}\"}}", "x".repeat(100_000));
    let table = [
        ("200 OK", "<html>sign in</html>", "no JSON"),
        ("200 OK", "{\"score\":400}", "outside of its scale"),
        ("200 OK", "{\"score\":1,\"score\":0}", "a key occurs twice"),
        ("200 OK", &huge, "more than 65536 bytes"),
        ("302 Found\r\nlocation: http://127.0.0.1:1/", "", "it answers with 302"),
        ("404 Not Found", "", "it answers with 404"),
    ];
    for (at_, (head, body, why)) in (0..).zip(table) {
        remote.says(head, body);
        // Later by more than it is left alone each time.
        unknown(&lookups, &ip(at_), at(u64::from(at_) * 100), why);
    }
    assert_eq!(lookups.meter.counted("rep", Outcome::Nonsense), 6);
}

#[test]
fn abuseipdb_is_asked_with_its_key_which_nobody_sees() {
    let (remote, url) = Remote::start();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("key");
    fs::write(&file, format!("{KEY}\n")).expect("it is our directory");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let text = format!(
        "[[lookups]]\nname = \"abuse\"\nkind = \"abuseipdb\"\nurl = \"{url}/api/v2/check\"\nkey_file = \"{}\"\n\
         deadline = \"5s\"\nconfidence = 80\nalso = [\"203.0.113.0/24\"]\n",
        file.display()
    );
    let config = crate::config::parse(&text).unwrap_or_else(|_| panic!("{text}"));
    let lookups = start(&config);
    remote.says(
        "200 OK",
        "{\"data\":{\"ipAddress\":\"203.0.113.1\",\"abuseConfidenceScore\":100,\"totalReports\":7}}",
    );
    let found = lookups
        .standing(&ip(1), at(0))
        .expect("it is known")
        .expect("it is bad");
    assert_eq!(
        (found.score, found.confidence, &*found.label),
        (Score::MAX, 80, "7 reports")
    );
    let asked = remote.lock().asked[0].to_ascii_lowercase();
    assert!(
        asked.starts_with("get /api/v2/check?ipaddress=203.0.113.1&maxageindays=30 http/1.1\n"),
        "{asked}"
    );
    assert!(
        asked.contains(&format!("key: {KEY}")) && asked.contains("accept: application/json"),
        "{asked}"
    );
    // It is sent back in an answer, and not told.
    remote.says("401 Unauthorized", KEY);
    let why = score(&lookups, &ip(2), at(0)).expect_err("it is unknown");
    assert!(
        why.contains("it does not take the key (401)") && !why.contains(KEY),
        "{why}"
    );
    unknown(&lookups, &ip(3), at(30), "it is not asked until");

    // A key that others may read, or none at all, is not used.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("it is ours");
    unknown(&start(&config), &ip(1), at(0), "others than its owner can open it");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    fs::write(&file, format!("{KEY}\nand more\n")).expect("it is our directory");
    let fault = check(&config.lookups[0]).expect_err("it is no key");
    assert!(
        fault.told().contains("there is no key in") && !fault.told().contains(KEY),
        "{}",
        fault.told()
    );
    assert_eq!(remote.asked(), 2);
}

/// Feeds that say the same of everything.
struct Feed(Standing);

impl Reputations for Feed {
    fn standing(&self, _: &Target, _: Timestamp) -> Standing {
        self.0.clone()
    }
}

#[test]
fn only_what_no_feed_names_is_asked_of_and_the_worst_decides() {
    let (remote, url) = Remote::start();
    let second = format!(
        "[[lookups]]\nname = \"two\"\nkind = \"generic\"\nurl = \"{url}/two/{{ip}}\"\npointer = \"/score\"\nscale = 50\n\
         deadline = \"5s\"\nalso = [\"203.0.113.0/24\"]\n"
    );
    let config = generic(&url, &second);
    let with = |feed: Standing| {
        let started = Lookups::start(&config, Some(Arc::new(Feed(feed)))).expect("there are threads");
        started.expect("there is a look-up")
    };
    remote.scores(40);
    let named = Reputation {
        score: Score::from_thousandths(10),
        confidence: 1,
        feed: "drop".into(),
        network: IpNet::from(IpAddr::from([203, 0, 113, 1])),
        label: "".into(),
        as_of: at(0),
        expires: at(10),
    };
    assert_eq!(score(&with(Ok(Some(named))), &ip(1), at(0)), Ok(Some(10)));
    // The whole is not global, and one of a feed's own was not asked of either.
    let private = Target::Address(IpAddr::from([10, 0, 0, 1]));
    assert_eq!(score(&with(Ok(None)), &private, at(0)), Ok(None));
    assert_eq!(remote.asked(), 0);
    assert_eq!(score(&with(Ok(None)), &ip(1), at(0)), Ok(Some(800)));
    assert_eq!(remote.asked(), 2);
    // What a feed does not know is not known because services say nothing bad.
    let stale = || Err("feed drop is too old".into());
    assert_eq!(score(&with(stale()), &ip(1), at(0)), Ok(Some(800)));
    remote.scores(0);
    unknown(&with(stale()), &ip(1), at(0), "feed drop is too old");
    // One of two that is above its scale.
    remote.scores(60);
    assert_eq!(score(&with(Ok(None)), &ip(1), at(0)), Ok(Some(600)));
}

#[test]
fn what_a_service_lists_as_good_is_not_bad_because_others_say_so() {
    let (remote, url) = Remote::start();
    let (good, good_url) = Remote::start();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("key");
    fs::write(&file, KEY).expect("it is our directory");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let abuse = format!(
        "[[lookups]]\nname = \"abuse\"\nkind = \"abuseipdb\"\nurl = \"{good_url}/check\"\nkey_file = \"{}\"\n\
         deadline = \"5s\"\nalso = [\"203.0.113.0/24\"]\n",
        file.display()
    );
    let config = generic(&url, &abuse);
    let with = |feed: Standing| {
        let started = Lookups::start(&config, Some(Arc::new(Feed(feed)))).expect("there are threads");
        started.expect("there is a look-up")
    };
    let lists = |is_listed: bool, score: u32| {
        let data = format!("\"abuseConfidenceScore\":{score},\"isWhitelisted\":{is_listed}");
        good.says("200 OK", &format!("{{\"data\":{{{data}}}}}"));
    };
    let is_good = |lookups: &Lookups, last: u8| {
        let it = lookups
            .standing(&ip(last), at(0))
            .expect("it is known")
            .expect("it is named");
        assert_eq!(
            (it.score.thousandths(), &*it.feed, &*it.label, it.as_of, it.expires),
            (0, "abuse", "whitelisted", at(0), at(3_600))
        );
    };
    remote.scores(90);
    lists(true, 100);
    // Another service says that it is bad.
    is_good(&with(Ok(None)), 1);
    assert_eq!((remote.asked(), good.asked()), (1, 1));
    // A feed does: who can say that it is good is asked, and nobody else.
    let named = Reputation {
        score: Score::from_thousandths(950),
        confidence: 90,
        feed: "drop".into(),
        network: IpNet::from(IpAddr::from([203, 0, 113, 1])),
        label: "".into(),
        as_of: at(0),
        expires: at(10),
    };
    is_good(&with(Ok(Some(named.clone()))), 1);
    assert_eq!((remote.asked(), good.asked()), (1, 2));
    // What a feed would say is not known.
    is_good(&with(Err("feed drop is too old".into())), 1);

    // Of what it does not list, what it says makes no feed say more or less; nor does that it says nothing.
    lists(false, 100);
    assert_eq!(score(&with(Ok(Some(named.clone()))), &ip(1), at(0)), Ok(Some(950)));
    good.says("503 Service Unavailable", "");
    assert_eq!(score(&with(Ok(Some(named))), &ip(1), at(0)), Ok(Some(950)));
    // Of two of one body, each has its own.
    lists(true, 0);
    let lookups = with(Ok(None));
    let private = Target::Address(IpAddr::from([10, 0, 0, 1]));
    let standings = lookups.standings(&[private, ip(2)], at(0));
    assert_eq!(standings[0], Ok(None));
    is_good(&lookups, 2);
}

#[test]
fn of_too_many_addresses_the_last_are_kept() {
    let (remote, url) = Remote::start();
    let started = Lookups::start_bounded(&generic(&url, ""), None, 2).expect("there are threads");
    let lookups = started.expect("there is a look-up");
    remote.scores(10);
    for last in [1, 2, 1, 3, 1, 2] {
        assert_eq!(score(&lookups, &ip(last), at(0)), Ok(Some(100)));
    }
    assert_eq!((remote.asked(), lookups.meter.of_cache("rep")), (4, (2, 4)));
}

/// The certificate counts by the authorities that `ca` names, and by those of the machine without it.
#[test]
fn a_service_whose_certificate_nobody_vouches_for_is_unknown() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ca, other) = (dir.path().join("ca.pem"), dir.path().join("other.pem"));
    let (server, url) = crate::loopback::Loopback::secured(&ca);
    crate::loopback::Loopback::secured(&other);
    server.says(Some("200 OK\n\n{\"score\":87}"));
    let trusting = |ca: &std::path::Path| start(&generic(&url, &format!("ca = \"{}\"", ca.display())));
    assert_eq!(score(&trusting(&ca), &ip(1), at(0)), Ok(Some(870)));
    let why = "look-up rep: there is no safe connection with it: none of the authorities that are trusted has issued its \
               certificate";
    for stranger in [trusting(&other), start(&generic(&url, ""))] {
        unknown(&stranger, &ip(1), at(0), why);
        let failed = stranger.meter.readings()["rep"].failed.clone();
        assert!(failed.is_some_and(|it| it.contains("certificate")), "it is told");
        assert_eq!(stranger.meter.counted("rep", Outcome::Down), 1);
    }
    let elsewhere = generic(
        &url.replace("127.0.0.1", "localhost"),
        &format!("ca = \"{}\"", ca.display()),
    );
    unknown(&start(&elsewhere), &ip(1), at(0), "its certificate is for another name");
    assert_eq!(server.asked().len(), 1, "nobody else was asked");
}
