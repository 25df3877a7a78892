//! Events in, and the plan for one.

use std::io::Write as _;

use staunch_model::{IncidentId, Mode};
use staunch_server::HttpLimits;
use staunch_server::dto::{EventPlan, Ruling, Status, Taken, TriggerOutcome, path};

use super::world::EVENTS_MAX;
use super::{Options, Staunch, until};

const EVENTS: &str = "/v1/events/test";
const BRUTE: &str = r#"{"rule": "brute", "ip": "203.0.113.7"}"#;

#[test]
fn what_was_taken_is_told_exactly() {
    let staunch = Staunch::start(Options::default());
    let body = format!("{BRUTE}\n{{\"rule\": \"harmless\"}}\nsample\nignore\nbroken\n{BRUTE}");
    let answer = staunch.client().post(EVENTS, &body);
    assert_eq!(answer.status, 202, "{answer:?}");
    let taken: Taken = answer.json();
    assert_eq!((taken.accepted, taken.matched, taken.samples), (4, 2, 1));
    assert_eq!((taken.ignored, taken.malformed), (1, 1));
    assert_eq!(taken.incidents, [IncidentId(1)]);
    let [error] = &taken.errors[..] else {
        panic!("one error: {taken:?}")
    };
    let offset = body.find("broken").expect("it is there") as u64;
    assert_eq!((error.index, error.offset, &*error.hint), (4, offset, "mend it"));
    assert_eq!(error.what, "not JSON\\u{1b}");
    until("it is blocked", || staunch.world.is_blocked("203.0.113.7"));
}

#[test]
fn what_matches_nothing_is_accepted_and_forgotten() {
    let staunch = Staunch::start(Options::default());
    let taken: Taken = staunch.client().post(EVENTS, r#"{"rule": "harmless"}"#).json();
    assert_eq!((taken.accepted, taken.matched, taken.incidents.len()), (1, 0, 0));
    let taken: Taken = staunch.client().post(EVENTS, "").json();
    assert_eq!(taken, Taken::default());
}

#[test]
fn a_body_of_which_nothing_can_be_read_is_refused_with_the_position() {
    let staunch = Staunch::start(Options::default());
    let problem = staunch.client().post(EVENTS, "!").problem(400, "malformed");
    assert_eq!((problem.position, problem.hint.as_deref()), (Some(0), Some("mend it")));
    let problem = staunch
        .client()
        .post(EVENTS, "\nbroken\nbroken too")
        .problem(400, "malformed");
    assert_eq!((problem.errors.len(), problem.position), (2, Some(0)));
    assert_eq!(problem.errors[1].index, 1);
    assert!(problem.detail.contains("none of the 2 elements"), "{problem:?}");
}

#[test]
fn an_unknown_source_is_told_the_known_ones_before_its_body_is_read() {
    let staunch = Staunch::start(Options::default());
    for path in ["/v1/events/tset", "/v1/plan/tset", "/v1/events/%1b%5b31m"] {
        let problem = staunch.client().post(path, BRUTE).problem(404, "not-found");
        assert_eq!(problem.known, ["test"]);
        assert!(!problem.detail.contains('\u{1b}'), "{problem:?}");
    }
    // The answer comes although the body never does.
    let stream = staunch.client().open(
        "POST",
        "/v1/events/tset",
        &["Content-Length: 1000", "Connection: close"],
    );
    super::client::answer(stream).problem(404, "not-found");
}

#[test]
fn a_packed_body_is_unpacked_and_an_unknown_packing_refused() {
    let staunch = Staunch::start(Options::default());
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(BRUTE.as_bytes()).expect("into memory");
        encoder.finish().expect("into memory")
    };
    let zstd = zstd::bulk::compress(BRUTE.as_bytes(), 1).expect("into memory");
    for (encoding, packed) in [("gzip", &gzip), ("X-Gzip", &gzip), ("zstd", &zstd)] {
        let client = staunch.client().header(&format!("Content-Encoding: {encoding}"));
        let taken: Taken = client.send("POST", EVENTS, packed).json();
        assert_eq!(taken.matched, 1, "{encoding}");
        let cut = client.send("POST", EVENTS, &packed[..packed.len() - 1]);
        cut.problem(400, "malformed");
        client.send("POST", EVENTS, b"x").problem(400, "malformed");
    }
    for unknown in ["br", "deflate", "gzip, zstd", "gzip\r\nContent-Encoding: gzip"] {
        let client = staunch.client().header(&format!("Content-Encoding: {unknown}"));
        client.post(EVENTS, "x").problem(415, "encoding");
    }
    let client = staunch.client().header("Content-Encoding: identity");
    assert_eq!(client.post(EVENTS, "").status, 202);
}

#[test]
fn a_body_that_is_too_large_unpacked_is_refused() {
    let staunch = Staunch::start(Options {
        http: HttpLimits {
            body_bytes_max: 1 << 20,
            ..HttpLimits::default()
        },
        ..Options::default()
    });
    let bomb = zstd::bulk::compress(&vec![b'\n'; 64 << 20], 1).expect("into memory");
    assert!(bomb.len() < 64 << 10);
    let client = staunch.client().header("Content-Encoding: zstd");
    client.send("POST", EVENTS, &bomb).problem(413, "too-large");
}

#[test]
fn a_large_body_is_taken_too() {
    let staunch = Staunch::start(Options::default());
    let body = format!("{}{BRUTE}", "ignore\n".repeat(20_000));
    let taken: Taken = staunch.client().post(EVENTS, &body).json();
    assert_eq!((taken.ignored, taken.matched), (20_000, 1));
}

/// A sender looks at the status: with 202 it may forget all of it.
#[test]
fn of_a_body_with_too_many_events_nothing_is_taken() {
    let staunch = Staunch::start(Options::default());
    let body = format!("{BRUTE}\n{}", "ignore\n".repeat(EVENTS_MAX - 1));
    let problem = staunch
        .client()
        .post(EVENTS, &format!("{body}{BRUTE}"))
        .problem(413, "too-many");
    assert_eq!(problem.position, Some(body.len() as u64));
    let hint = problem.hint.as_deref().unwrap_or_default();
    assert!(hint.starts_with("nothing of it was taken"), "{problem:?}");
    let status: Status = staunch.client().get(path::STATUS).json();
    let counts = status.counts;
    assert_eq!(
        (
            counts.events_turned_away,
            counts.events_accepted,
            counts.events_malformed
        ),
        (1, 0, 0)
    );
    assert!(!staunch.world.is_blocked("203.0.113.7"));
    let taken: Taken = staunch.client().post(EVENTS, &body).json();
    assert_eq!((taken.accepted, taken.ignored), (1, EVENTS_MAX as u64 - 1));
    assert_eq!(taken.incidents, [IncidentId(1)]);
    // A plan is made of the first event, whatever follows it.
    let made: EventPlan = staunch.client().post("/v1/plan/test", &format!("{body}{BRUTE}")).json();
    assert_eq!(made.plan.responses.len(), 1);
}

#[test]
fn the_plan_tells_what_would_be_done_and_does_nothing() {
    let staunch = Staunch::start(Options::default());
    let made: EventPlan = staunch.client().post("/v1/plan/test", BRUTE).json();
    assert_eq!(
        (&*made.event.signature, made.event.because.as_deref()),
        ("brute", Some("it says so"))
    );
    let [response] = &made.plan.responses[..] else {
        panic!("one response: {made:?}")
    };
    assert_eq!((&*response.playbook, &*response.key), ("brute", "203.0.113.7"));
    let [step] = &response.steps[..] else {
        panic!("one step: {made:?}")
    };
    assert_eq!(
        (step.ruling, step.target.as_deref()),
        (Ruling::Act, Some("203.0.113.7"))
    );
    assert_eq!(step.judgement.as_ref().map(|it| it.mode), Some(Mode::Enforce));
    assert!(!staunch.world.is_blocked("203.0.113.7"));
    let careful: EventPlan = staunch
        .client()
        .post("/v1/plan/test", r#"{"rule": "careful", "ip": "203.0.113.7"}"#)
        .json();
    assert_eq!(careful.plan.responses[0].steps[0].ruling, Ruling::Ask);
    let nothing: EventPlan = staunch.client().post("/v1/plan/test", r#"{"rule": "harmless"}"#).json();
    assert!(nothing.plan.responses.is_empty());
    let outcomes = |made: &EventPlan| made.triggers.iter().map(|it| it.outcome).collect::<Vec<_>>();
    assert_eq!(outcomes(&made), [TriggerOutcome::Matches, TriggerOutcome::DoesNotHold]);
    assert_eq!(outcomes(&nothing), [TriggerOutcome::DoesNotHold; 2]);
    let without: EventPlan = staunch.client().post("/v1/plan/test", r#"{"rule": "brute"}"#).json();
    assert_eq!(outcomes(&without)[0], TriggerOutcome::WithoutKey);
    staunch
        .client()
        .post("/v1/plan/test", "broken")
        .problem(400, "malformed");
    staunch
        .client()
        .post("/v1/plan/test", "ignore")
        .problem(400, "malformed");
}
