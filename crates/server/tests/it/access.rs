//! Who may do what.

use staunch_server::Role;
use staunch_server::dto::{CommandReply, Commands, Health, Protections, Status, path};

use super::{Options, Staunch};

const EVENTS: &str = "/v1/events/test";
const BRUTE: &str = r#"{"rule": "brute", "ip": "203.0.113.7"}"#;

#[test]
fn health_needs_no_token_and_everything_else_does() {
    let staunch = Staunch::start(Options::default());
    let health: Health = staunch.stranger().get(path::HEALTH).json();
    assert_eq!(health.status, "ok");
    let get = [
        path::STATUS,
        path::CONTAINMENTS,
        path::APPROVALS,
        path::INCIDENTS,
        path::MODE,
        "/v1/incidents/INC-1",
        "/x",
    ];
    for path in get
        .into_iter()
        .chain([path::TRANSACTIONS, path::COMMANDS, path::NOTICES])
    {
        let answer = staunch.stranger().get(path);
        answer.problem(401, "unauthorized");
        assert!(answer.has("www-authenticate: bearer realm=\"staunch\""), "{answer:?}");
    }
    for path in [
        EVENTS,
        "/v1/plan/test",
        path::RELEASE,
        path::RENEW,
        path::APPROVE,
        path::DENY,
        path::MODE,
    ] {
        staunch.stranger().post(path, "{}").problem(401, "unauthorized");
    }
}

#[test]
fn wrong_and_revoked_tokens_are_turned_away() {
    let staunch = Staunch::start(Options::default());
    let bob = staunch.tokens.create("bob", Role::Operator).expect("a token");
    assert_eq!(staunch.with_token(&bob).get(path::STATUS).status, 200);
    staunch.tokens.revoke("bob").expect("revoked");
    staunch.with_token(&bob).get(path::STATUS).problem(401, "unauthorized");
    let mut wrong = staunch.operator.clone();
    let last = if wrong.pop() == Some('0') { '1' } else { '0' };
    wrong.push(last);
    staunch
        .with_token(&wrong)
        .get(path::STATUS)
        .problem(401, "unauthorized");
    for header in [
        "Authorization: Basic YTpi",
        "Authorization: Bearer",
        "Authorization: ",
        "Authorization: \u{ff}",
    ] {
        staunch
            .stranger()
            .header(header)
            .get(path::STATUS)
            .problem(401, "unauthorized");
    }
    let lower = staunch
        .stranger()
        .header(&format!("authorization: bearer {}", staunch.operator));
    assert_eq!(lower.get(path::STATUS).status, 200);
    let unproved = || lower.get(path::STATUS).json::<Status>().counts.requests_unproved;
    assert_eq!(unproved(), 0, "whoever looks around is no sensor");
    let events = format!("{}falco", path::EVENTS);
    staunch
        .with_token(&wrong)
        .post(&events, "{}")
        .problem(401, "unauthorized");
    staunch.stranger().post(&events, "{}").problem(401, "unauthorized");
    assert_eq!(unproved(), 2);
}

#[test]
fn a_sender_may_post_events_and_nothing_else() {
    let staunch = Staunch::start(Options::default());
    let sender = staunch.with_token(&staunch.tokens.create("siem", Role::Sender).expect("a token"));
    assert_eq!(sender.post(EVENTS, BRUTE).status, 202);
    for path in [path::STATUS, path::CONTAINMENTS, path::MODE, EVENTS] {
        sender.get(path).problem(403, "forbidden");
    }
    for path in [path::RELEASE, path::MODE, "/v1/plan/test"] {
        let problem = sender
            .post(path, r#"{"scope": "all", "reason": "ours"}"#)
            .problem(403, "forbidden");
        assert!(problem.detail.contains("siem"), "{problem:?}");
    }
}

#[test]
fn a_viewer_looks_and_a_responder_decides() {
    let staunch = Staunch::start(Options::default());
    let token = |name, role| staunch.tokens.create(name, role).expect("a token");
    let viewer = staunch.with_token(&token("ben", Role::Viewer));
    let responder = staunch.with_token(&token("cleo", Role::Responder));
    let looks = [
        path::STATUS,
        path::CONTAINMENTS,
        path::PROTECTIONS,
        path::METRICS,
        path::MODE,
    ];
    for (who, name) in [(&viewer, "ben"), (&responder, "cleo")] {
        for path in looks {
            assert_eq!(who.get(path).status, 200, "{name} {path}");
        }
        assert_eq!(
            who.post("/v1/plan/test", BRUTE).status,
            200,
            "{name} asks what would be done"
        );
        for (path, body) in [
            (EVENTS, BRUTE),
            (path::MODE, r#"{"mode": "enforce"}"#),
            (path::DRILL, "{}"),
            (path::RELOAD, "{}"),
        ] {
            let problem = who.post(path, body).problem(403, "forbidden");
            assert!(problem.detail.contains(name), "{problem:?}");
        }
    }
    let decisions = [
        (path::RELEASE, r#"{"scope": "all", "reason": "ours"}"#, 200),
        (path::PROTECT, r#"{"network": "192.0.2.0/24", "reason": "ours"}"#, 200),
        (path::UNPROTECT, r#"{"network": "192.0.2.0/24", "reason": "ours"}"#, 200),
        (path::APPROVE, r#"{"transaction": "TX-9", "reason": "ours"}"#, 409),
        (path::DENY, r#"{"transaction": "TX-9", "reason": "ours"}"#, 409),
        (
            path::RENEW,
            r#"{"transaction": "TX-9", "lease": "1h", "reason": "ours"}"#,
            404,
        ),
        (path::RECOVER, r#"{"incident": "INC-9", "reason": "ours"}"#, 404),
        (path::DRILL_STOP, "{}", 200),
    ];
    for (path, body, status) in decisions {
        viewer.post(path, body).problem(403, "forbidden");
        let answer = responder.post(path, body).status;
        assert!(
            answer == status || (400..410).contains(&answer) && answer != 403 && status != 200,
            "{path}: {answer}"
        );
    }
}

#[test]
fn loopback_may_be_let_in_without_a_token_but_not_pages_in_a_browser() {
    let staunch = Staunch::start(Options {
        open_to_loopback: true,
        ..Options::default()
    });
    assert_eq!(staunch.stranger().get(path::STATUS).status, 200);
    let answer = staunch
        .stranger()
        .post(path::MODE, r#"{"mode": "observe", "reason": "drill"}"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    staunch.wait_for_index();
    let commands: Commands = staunch.client().get(path::COMMANDS).json();
    assert_eq!(
        (&*commands.commands[0].by, &*commands.commands[0].reason),
        ("loopback", "drill")
    );
    assert!(commands.commands[0].from.starts_with("127.0.0.1:"), "{commands:?}");
    // A token that is wrong is never as good as none.
    staunch
        .with_token("stn_wrong")
        .get(path::STATUS)
        .problem(401, "unauthorized");
    for header in [
        "Origin: http://evil.example",
        "Host: evil.example",
        "Host: evil.example:80",
        "Sec-Fetch-Site: cross-site",
    ] {
        staunch
            .stranger()
            .header(header)
            .get(path::STATUS)
            .problem(403, "forbidden");
    }
    for header in [
        "Host: localhost:8080",
        "Host: [::1]:8080",
        "Host: 127.0.0.1",
        "Sec-Fetch-Site: none",
    ] {
        assert_eq!(
            staunch.stranger().header(header).get(path::STATUS).status,
            200,
            "{header}"
        );
    }
}

#[test]
fn every_answer_has_the_protecting_headers_and_no_cors() {
    let staunch = Staunch::start(Options::default());
    let client = staunch.client().header("Origin: http://evil.example");
    for answer in [
        client.get(path::STATUS),
        client.get("/nothing"),
        staunch.stranger().get(path::STATUS),
    ] {
        assert!(answer.has("x-content-type-options: nosniff"), "{answer:?}");
        assert!(answer.has("cache-control: no-store"), "{answer:?}");
        assert!(!answer.head.contains("access-control"), "{answer:?}");
    }
}

#[test]
fn what_is_never_touched_is_read_page_by_page() {
    let staunch = Staunch::start(Options::default());
    let client = staunch.client();
    for at in 1..=5 {
        let body = format!(r#"{{"network": "198.51.100.{at}/32", "reason": "ours"}}"#);
        client.post(path::PROTECT, &body).json::<CommandReply>();
    }
    let whole: Protections = client.get(path::PROTECTIONS).json();
    assert_eq!((whole.next, whole.left_out), (None, 0));
    let mut paged = Vec::new();
    let mut pages = 0;
    let mut after = String::new();
    loop {
        let page: Protections = client.get(&format!("{}?limit=2{after}", path::PROTECTIONS)).json();
        pages += 1;
        paged.extend(page.protections);
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(paged, whole.protections);
    assert!(pages > 2, "{pages}");
    for query in ["limit=0", "limit=1001", "limit=2&address=198.51.100.1", "after=x"] {
        client
            .get(&format!("{}?{query}", path::PROTECTIONS))
            .problem(400, "malformed");
    }
}

/// To protect everything there is would be to turn containment off, by a role that may not set the mode.
#[test]
fn a_responder_protects_no_network_so_wide_that_containment_is_off() {
    let staunch = Staunch::start(Options::default());
    let token = staunch.tokens.create("cleo", Role::Responder).expect("a token");
    let responder = staunch.with_token(&token);
    let body = |network: &str| format!(r#"{{"network": "{network}", "reason": "ours"}}"#);
    for wide in [
        "0.0.0.0/0",
        "::/0",
        "10.0.0.0/8",
        "198.18.0.0/15",
        "2000::/3",
        "2001:db8::/31",
        // IPv4, as addresses of IPv6.
        "::ffff:0:0/96",
        "::ffff:10.0.0.0/104",
    ] {
        let problem = responder.post(path::PROTECT, &body(wide)).problem(403, "forbidden");
        assert!(
            problem.detail.contains("cleo may look and decide"),
            "{wide}: {problem:?}"
        );
        let hint = problem.hint.expect("it says what to do");
        assert!(
            hint.contains("operator") && hint.contains("staunch mode observe"),
            "{wide}: {hint}"
        );
    }
    let left: Protections = staunch.client().get(path::PROTECTIONS).json();
    assert!(left.protections.iter().all(|it| it.by.is_none()), "{left:?}");
    for narrow in [
        "198.18.0.0/16",
        "203.0.113.9/32",
        "2001:db8::/32",
        "::ffff:198.18.0.0/112",
    ] {
        let answer = responder.post(path::PROTECT, &body(narrow));
        assert_eq!(answer.status, 200, "{narrow}: {answer:?}");
    }
    for wide in ["0.0.0.0/0", "::/0"] {
        let answer = staunch.client().post(path::PROTECT, &body(wide));
        assert_eq!(answer.status, 200, "an operator may: {answer:?}");
        // To take it back gives back what may be contained.
        assert_eq!(responder.post(path::UNPROTECT, &body(wide)).status, 200);
    }
}

#[test]
fn what_a_sandbox_leaves_open_is_in_the_status() {
    let gaps = &["this process is refused no system call: a unit says so"];
    let staunch = Staunch::start(Options {
        sandbox_gaps: gaps,
        ..Options::default()
    });
    let status: Status = staunch.client().get(path::STATUS).json();
    assert_eq!(status.sandbox_gaps, gaps);
}
