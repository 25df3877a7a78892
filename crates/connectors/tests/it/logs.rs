//! Logs: what their lines are told to say, and what becomes of lines that say nothing.

use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;

use staunch_connectors::logs::{
    DOCUMENT_BYTES_MAX, Fact, Format, LINE_BYTES_MAX, Missing, ReadError, Same, Tally, guess, read,
};
use staunch_model::Timestamp;

fn around() -> Timestamp {
    "2026-11-27T00:00:00Z".parse().expect("a time")
}

fn facts(format: Option<Format>, bytes: &[u8]) -> (Format, Vec<Fact>, Tally) {
    let mut found = Vec::new();
    let mut from = bytes;
    let (format, tally) = read(&mut from, format, around(), &mut |fact| found.push(fact)).expect("it is read");
    assert_eq!(tally.facts, found.len() as u64, "{tally:?}");
    assert_eq!(
        tally.items,
        tally.facts + tally.passed_over + tally.untimed + tally.unreadable,
        "{tally:?}"
    );
    (format, found, tally)
}

/// What is said, a line for each fact: the time, the kind, the words.
fn told(format: Option<Format>, text: &str) -> Vec<String> {
    let (_, facts, _) = facts(format, text.as_bytes());
    let line = |it: Fact| format!("{} {} {}", it.time, it.kind.name(), it.what);
    facts.into_iter().map(line).collect()
}

#[test]
fn recorded_logs_are_known_by_their_beginning_and_read_to_their_end() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let folders = [
        ("alertmanager", Format::Alertmanager, 1),
        ("auditd", Format::Auditd, 5),
        ("cloudevents", Format::CloudEvents, 1),
        ("cloudtrail", Format::CloudTrail, 15),
        ("crowdsec", Format::CrowdSec, 3),
        ("falco-website", Format::Falco, 5),
        ("falcosidekick", Format::Falco, 1),
        ("guardduty", Format::GuardDuty, 3),
        ("kubernetes-audit", Format::KubernetesAudit, 10),
        ("okta", Format::Okta, 2),
        ("suricata-eve", Format::Suricata, 100),
        ("wazuh", Format::Wazuh, 3),
    ];
    for (folder, format, at_least) in folders {
        let mut all = 0;
        for entry in std::fs::read_dir(data.join(folder)).expect("the folder is part of the repository") {
            let path = entry.expect("readable").path();
            let extension = path.extension().and_then(|it| it.to_str());
            if !matches!(extension, Some("json" | "jsonl" | "log")) {
                continue;
            }
            let bytes = std::fs::read(&path).expect("readable");
            let name = path.display();
            assert_eq!(guess(&bytes[..bytes.len().min(64 << 10)]), Some(format), "{name}");
            let (read_as, facts, tally) = facts(None, &bytes);
            assert_eq!(read_as, format, "{name}");
            assert!(tally.items > 0, "{name}: {tally:?}");
            for fact in &facts {
                assert!(fact.what.starts_with(format.name()), "{name}: {fact:?}");
            }
            all += facts.len();
        }
        assert!(all >= at_least, "{folder} says {all} facts");
    }
}

#[test]
fn what_suricata_sees_and_says_is_told_apart() {
    let lines = concat!(
        r#"{"timestamp":"2026-11-27T00:00:09.5+0000","event_type":"flow","src_ip":"203.0.113.9","src_port":4242,"dest_ip":"192.0.2.1","dest_port":80,"proto":"TCP","app_proto":"http","flow":{"bytes_toserver":10,"bytes_toclient":20,"start":"2026-11-27T00:00:01.25+0000"}}"#,
        "\n",
        r#"{"timestamp":"2026-11-27T00:00:02Z","event_type":"dns","src_ip":"192.0.2.1","src_port":53000,"dest_ip":"192.0.2.53","dest_port":53,"proto":"UDP","dns":{"type":"query","rrname":"C2.example.","rrtype":"A"}}"#,
        "\n",
        r#"{"timestamp":"2026-11-27T00:00:02.5Z","event_type":"dns","src_ip":"192.0.2.1","src_port":53000,"dest_ip":"192.0.2.53","dest_port":53,"proto":"UDP","dns":{"version":3,"type":"response","rcode":"NOERROR","queries":[{"rrname":"c2.example","rrtype":"A"}],"answers":[{"rdata":"198.51.100.7"}]}}"#,
        "\n",
        r#"{"timestamp":"2026-11-27T00:00:03Z","event_type":"stats"}"#,
        "\n",
        r#"{"timestamp":"2026-11-27T00:00:04Z","event_type":"alert","src_ip":"203.0.113.9","src_port":4242,"dest_ip":"192.0.2.1","dest_port":80,"proto":"TCP","alert":{"signature":"ET EXPLOIT","severity":1}}"#,
        "\nthis is no event\n",
    );
    assert_eq!(
        told(None, lines),
        [
            "2026-11-27T00:00:01.250Z connection suricata: tcp 203.0.113.9:4242 -> 192.0.2.1:80, http, 10 bytes there, 20 back",
            "2026-11-27T00:00:02.000Z query suricata: query[A] C2.example., 192.0.2.1:53000 -> 192.0.2.53:53",
            "2026-11-27T00:00:02.500Z message suricata: answer NOERROR 198.51.100.7 to query[A] c2.example, 192.0.2.1:53000 -> 192.0.2.53:53",
            "2026-11-27T00:00:04.000Z event suricata high: ET EXPLOIT, packet 203.0.113.9:4242 -> 192.0.2.1:80",
        ]
    );
    let (_, facts, tally) = facts(None, lines.as_bytes());
    assert_eq!((tally.items, tally.passed_over, tally.unreadable), (6, 1, 1));
    assert!(
        tally
            .first_unreadable
            .as_deref()
            .is_some_and(|it| it.starts_with("6: ")),
        "{tally:?}"
    );
    // The answer, not only the question, names who was asked for.
    assert!(
        facts[2]
            .parties
            .addresses
            .contains(&"198.51.100.7".parse().expect("an address"))
    );
    let ip = |text: &str| text.parse().ok();
    assert_eq!(
        facts[3].same,
        Some(Same::event("ET EXPLOIT", ip("192.0.2.1"), ip("203.0.113.9")))
    );
    let client = "192.0.2.1".parse().expect("an address");
    assert_eq!(facts[1].same, Some(Same::query(client, "c2.example", "a")));
}

#[test]
fn a_document_of_cloudtrail_is_read_as_its_records() {
    let record = |name: &str, id: u32| {
        format!(
            r#"{{"eventVersion":"1.08","eventTime":"2026-11-27T00:00:0{id}Z","eventSource":"iam.amazonaws.com","eventName":"{name}","sourceIPAddress":"203.0.113.9","userIdentity":{{"arn":"arn:aws:iam::1:user/eve"}}}}"#
        )
    };
    let one_line = format!(
        r#"{{"Records":[{},{}]}}"#,
        record("CreateAccessKey", 1),
        record("DeleteTrail", 2)
    );
    let pretty = one_line
        .replace('[', "[\n  ")
        .replace("},{", "},\n  {")
        .replace("{\"Rec", "{\n\"Rec");
    let lines = format!("{}\n{}\n", record("CreateAccessKey", 1), record("DeleteTrail", 2));
    for text in [&one_line, &pretty, &lines] {
        assert_eq!(
            told(None, text),
            [
                "2026-11-27T00:00:01.000Z event cloudtrail: CreateAccessKey (iam.amazonaws.com), by arn:aws:iam::1:user/eve, from 203.0.113.9",
                "2026-11-27T00:00:02.000Z event cloudtrail: DeleteTrail (iam.amazonaws.com), by arn:aws:iam::1:user/eve, from 203.0.113.9",
            ],
            "{text}"
        );
    }
    // Longer than a line may be: it is a document all the same.
    let many: Vec<String> = (0..6_000).map(|_| record("CreateAccessKey", 1)).collect();
    let long = format!(r#"{{"Records":[{}]}}"#, many.join(","));
    assert!(long.len() > LINE_BYTES_MAX, "{}", long.len());
    assert_eq!(facts(None, long.as_bytes()).1.len(), 6_000);
}

#[test]
fn a_document_that_is_cut_is_read_up_to_there() {
    let record = |id: u32| {
        format!(
            r#"{{"eventVersion":"1.08","eventTime":"2026-11-27T00:00:0{id}Z","eventSource":"iam.amazonaws.com","eventName":"Call{id}","requestParameters":{{"a":[{{"b":"]}}"}}]}}}}"#
        )
    };
    let list = format!("[{},{},{}]", record(1), record(2), record(3));
    let compact = format!("{{\"Records\":{list}}}");
    let pretty = compact
        .replace('[', "[\n  ")
        .replace("},{", "},\n  {")
        .replace("{\"Rec", "{\n\"Rec");
    // Each record begins a line with its bracket.
    let lines = compact.replace("},{", "},\n{");
    for text in [&compact, &pretty, &lines, &list] {
        let third = text.rfind("{\"eventVersion").expect("there are three");
        // Within the third record, before it, and before and behind the comma.
        let comma = text[..third].rfind(',').expect("it follows another");
        for cut in [text.len() - 20, third + 5, third, comma + 1, comma] {
            for behind in ["", "\n"] {
                let cut = format!("{}{behind}", &text[..cut]);
                let (format, found, tally) = facts(None, cut.as_bytes());
                assert_eq!(format, Format::CloudTrail);
                let ids: Vec<&str> = found.iter().map(|it| it.what.as_str()).collect();
                assert_eq!(
                    ids,
                    [1, 2].map(|it| format!("cloudtrail: Call{it} (iam.amazonaws.com)")),
                    "{cut}"
                );
                assert_eq!((tally.items, tally.ends_early), (2, true), "{cut}");
            }
        }
        let (_, found, tally) = facts(None, text.as_bytes());
        assert_eq!((found.len(), tally.ends_early), (3, false), "{text}");
    }
    // All records are there, and the end of what is around them is not.
    let (_, found, tally) = facts(None, &compact.as_bytes()[..compact.len() - 1]);
    assert_eq!((found.len(), tally.ends_early), (3, true));

    // What is not of the format is counted before the cut, as it is without one.
    let odd = format!("{{\"Records\":[{},7,{},{{\"ev", record(1), record(2));
    let (_, found, tally) = facts(None, odd.as_bytes());
    assert_eq!(
        (found.len(), tally.unreadable, tally.ends_early),
        (2, 1, true),
        "{tally:?}"
    );
    assert!(tally.first_unreadable.is_some_and(|it| it.starts_with("2: ")));

    // Nothing is whole.
    let (_, _, tally) = facts(Some(Format::CloudTrail), b"{\"Records\":[{\"ev");
    assert_eq!(
        tally.first_unreadable.as_deref(),
        Some("1: the document ends before it is whole")
    );
    assert!(!tally.ends_early);

    // One that other lines follow is no end.
    let amid = format!("{{\"Records\":[{}\n{}\n", record(1), record(2));
    let (_, found, tally) = facts(Some(Format::CloudTrail), amid.as_bytes());
    assert_eq!((found.len(), tally.items, tally.ends_early), (2, 3, false), "{tally:?}");
    assert_eq!(
        tally.first_unreadable.as_deref(),
        Some("2: the document ends before it is whole")
    );
}

#[test]
fn a_document_whose_reading_fails_is_read_up_to_there() {
    let record = r#"{"eventVersion":"1.08","eventTime":"2026-11-27T00:00:01Z","eventSource":"s","eventName":"Call"}"#;
    for count in [2, 3 * LINE_BYTES_MAX / record.len()] {
        let all = vec![record; count].join(",\n");
        let text = format!("{{\n\"Records\":[{all},{{\"eventV");
        let mut from = std::io::BufReader::new(text.as_bytes().chain(Broken));
        let mut found = 0;
        let error = read(&mut from, None, around(), &mut |_| found += 1).expect_err("it breaks off");
        let ReadError::BrokenOff { format, tally, source } = error else {
            panic!("{error:?}");
        };
        // No document has more than 10,000 that are read.
        let most = count.min(10_000);
        assert_eq!((format, tally.facts, found), (Format::CloudTrail, most as u64, most));
        assert_eq!(source.to_string(), "broken");
    }
}

#[test]
fn flow_logs_are_read_by_their_heading_or_as_version_2() {
    let record = "2 123456789010 eni-1 203.0.113.9 192.0.2.1 4242 22 6 20 4249 1795737605 1795737665 ACCEPT OK";
    let expect = "2026-11-27T00:00:05.000Z connection vpc-flow: tcp 203.0.113.9:4242 -> 192.0.2.1:22, ACCEPT, 20 packets, 4249 bytes";
    assert_eq!(told(None, record), [expect]);
    let heading = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status";
    assert_eq!(told(None, &format!("{heading}\n{record}\n")), [expect]);
    let ordered = "start dstaddr srcaddr dstport srcport protocol packets bytes action\n\
                   1795737605 192.0.2.1 203.0.113.9 22 4242 6 20 4249 ACCEPT\n";
    assert_eq!(told(None, ordered), [expect]);
    let odd = format!(
        "{record}\n2 123456789010 eni-1 - - - - - - - 1431280876 1431280934 - NODATA\n2 1 eni-1 203.0.113.9\n\
         2 1 eni-1 nobody 192.0.2.1 1 2 6 1 1 1795737605 1795737665 ACCEPT OK\n\
         2 1 eni-1 203.0.113.9 192.0.2.1 1 2 6 1 1 - - ACCEPT OK\n"
    );
    let (format, _, tally) = facts(None, odd.as_bytes());
    assert_eq!(format, Format::VpcFlow);
    assert_eq!(
        (tally.facts, tally.passed_over, tally.unreadable, tally.untimed),
        (1, 1, 2, 1)
    );
    let first = tally.first_unreadable.expect("one is told");
    assert_eq!(first, "3: it has another number of fields");
    // Either direction is the same connection.
    let back = "2 1 eni-1 192.0.2.1 203.0.113.9 22 4242 6 18 9000 1795737605 1795737665 ACCEPT OK";
    assert_eq!(
        facts(None, back.as_bytes()).1[0].same,
        facts(None, record.as_bytes()).1[0].same
    );
}

#[test]
fn audit_records_are_put_together_wherever_their_lines_stand() {
    let mut lines = String::from(
        "type=SYSCALL msg=audit(1795737605.100:7): arch=c000003e syscall=59 success=yes ppid=10 pid=4242 auid=1000 \
         comm=\"curl\" exe=\"/usr/bin/curl\" key=\"exec\"\n\
         type=USER_LOGIN msg=audit(1795737606.200:8): pid=99 auid=1000 msg='op=login acct=\"eve\" exe=\"/usr/sbin/sshd\" \
         hostname=? addr=203.0.113.9 terminal=ssh res=failed'\n",
    );
    // Its other records come after those of many others.
    for serial in 100..140 {
        lines.push_str(&format!(
            "type=DAEMON_ROTATE msg=audit(1795737607.000:{serial}): op=rotate\n"
        ));
    }
    lines.push_str(
        "type=EXECVE msg=audit(1795737605.100:7): argc=2 a0=\"curl\" a1=\"http://198.51.100.7/x\"\n\
         type=PROCTITLE msg=audit(1795737605.100:7): proctitle=6375726C00687474703A2F2F3139382E35312E3130302E372F78\n\
         some text of somebody: type=SYSCALL msg=audit(1795737605.100:7): pid=1\n",
    );
    let (format, found, tally) = facts(None, lines.as_bytes());
    assert_eq!(format, Format::Auditd);
    assert_eq!(
        (tally.facts, tally.passed_over, tally.unreadable),
        (2, 40, 1),
        "{tally:?}"
    );
    let told: Vec<String> = found
        .iter()
        .map(|it| format!("{} {}", it.kind.name(), it.what))
        .collect();
    assert!(
        told.contains(
            &"process auditd: started /usr/bin/curl, pid 4242, user 1000: curl http://198.51.100.7/x".to_owned()
        ),
        "{told:?}"
    );
    let login = found.iter().find(|it| it.kind.name() == "login").expect("a login");
    assert!(login.what.contains("eve") && login.what.contains("failed"), "{login:?}");
    let process = found.iter().find(|it| it.kind.name() == "process").expect("a process");
    assert_eq!(process.parties.pids, [4242, 10]);
    assert_eq!(
        process.parties.addresses,
        ["198.51.100.7".parse::<IpAddr>().expect("an address")]
    );
    let same = Same::Process {
        pid: 4242,
        program: "/usr/bin/curl".to_owned(),
    };
    assert_eq!(process.same, Some(same));
}

#[test]
fn lines_of_programs_say_who_and_when_as_far_as_they_do() {
    let lines = "\
Nov 27 00:00:01 web sshd[812]: Accepted publickey for alice from 203.0.113.9 port 4242 ssh2: ED25519 SHA256:x
Nov 27 00:00:02 web sshd[813]: Failed password for invalid user x from 10.0.0.1 from 203.0.113.9 port 4243 ssh2
Nov 27 00:00:03 web dnsmasq[5]: query[AAAA] c2.example from 192.0.2.1
Nov 27 00:00:04 web dnsmasq[5]: 17 192.0.2.1/40000 query[A] c2.example from 192.0.2.1
Nov 27 00:00:05 web dnsmasq[5]: reply c2.example is 198.51.100.7
2026-11-27T00:00:06.5Z app: refused 203.0.113.9:4242, 4.3.2.1.in-addr.arpa and v1.2.3.4-rc
<38>1 2026-11-27T00:00:07Z web su 99 - - 'su root' failed for eve
2026-11-27 00:00:08,250 ERROR no zone
    at a line of its own
";
    let (format, found, tally) = facts(Some(Format::Log), lines.as_bytes());
    assert_eq!(format, Format::Log);
    assert_eq!((tally.items, tally.facts, tally.untimed), (9, 8, 1));
    let kinds: Vec<&str> = found.iter().map(|it| it.kind.name()).collect();
    assert_eq!(
        kinds,
        [
            "login", "login", "query", "query", "message", "message", "message", "message"
        ]
    );
    let ip = |text: &str| text.parse().expect("an address");
    let login = |account: &str, succeeded| {
        Some(Same::Login {
            account: account.to_owned(),
            from: Some(ip("203.0.113.9")),
            succeeded,
        })
    };
    assert_eq!(found[0].same, login("alice", true));
    // Who tries chooses the name, and not where he comes from.
    assert_eq!(found[1].same, login("x from 10.0.0.1", false));
    assert_eq!(found[2].same, Some(Same::query(ip("192.0.2.1"), "c2.example", "AAAA")));
    assert_eq!(found[3].same, Some(Same::query(ip("192.0.2.1"), "c2.example", "A")));
    assert_eq!(found[5].parties.addresses, [ip("203.0.113.9")]);
    assert_eq!(found[0].parties.pids, [812]);
    assert_eq!(found[0].missing, [Missing::Year, Missing::Zone]);
    assert_eq!(found[7].missing, [Missing::Zone]);
    assert_eq!(found[6].missing, []);
    assert_eq!(
        found[0].what,
        "log: web sshd[812]: Accepted publickey for alice from 203.0.113.9 port 4242 ssh2: ED25519 SHA256:x"
    );
    // Of dnsmasq alone, questions and answers count; it is known by its name.
    let only = lines.lines().skip(2).take(3).collect::<Vec<_>>().join("\n");
    let more = "\nNov 27 00:00:06 web dnsmasq[5]: forwarded c2.example to 192.0.2.53\n\
                Nov 27 00:00:07 web dnsmasq[5]: 18 192.0.2.1/40000 cached b.example is <CNAME>\n\
                Nov 27 00:00:08 web dnsmasq[5]: started, version 2.90 cachesize 150\n";
    let (format, found, tally) = facts(None, (only + more).as_bytes());
    assert_eq!((format, found.len(), tally.passed_over), (Format::Dnsmasq, 4, 2));
    assert_eq!(found[2].parties.addresses, [ip("198.51.100.7")]);
    assert_eq!(found[2].parties.names, ["web", "c2.example"]);
    assert_eq!(found[3].parties.names, ["web", "b.example"]);
}

#[test]
fn access_logs_say_who_asked_for_what() {
    let lines = r#"203.0.113.47 - - [27/Nov/2026:07:29:51 +0100] "GET /wp-login.php HTTP/1.1" 404 153 "-" "Mozilla/5.0"
2001:db8::1 - eve [27/Nov/2026:07:29:52 +0000] "POST /x HTTP/1.1" 200 -
shop.example:443 203.0.113.9 - - [27/Nov/2026:07:29:53 +0000] "GET / HTTP/2.0" 200 15 "http://a \"b" "x \" y"
203.0.113.48 - x [27/Nov/2020:00:00:00 +0000] \" [27/Nov/2026:07:29:54 +0000] "GET / HTTP/1.1" 401 0 "-" "-"
203.0.113.47 - - [27/Nov/2026:07:29:51 +0000] "GET /
"#;
    let expect = [
        "2026-11-27T06:29:51.000Z message access: 203.0.113.47: GET /wp-login.php HTTP/1.1, 404, 153 bytes, by Mozilla/5.0",
        "2026-11-27T07:29:52.000Z message access: 2001:db8::1 as eve: POST /x HTTP/1.1, 200",
        r#"2026-11-27T07:29:53.000Z message access: 203.0.113.9: GET / HTTP/2.0, 200, 15 bytes, by x \" y"#,
        // Who asks cannot write another time.
        r#"2026-11-27T07:29:54.000Z message access: 203.0.113.48 as x [27/Nov/2020:00:00:00 +0000] \": GET / HTTP/1.1, 401, 0 bytes"#,
    ];
    assert_eq!(told(None, lines), expect);
    let (format, found, tally) = facts(None, lines.as_bytes());
    assert_eq!((format, tally.unreadable), (Format::Access, 1));
    let first = |at: usize| found[at].parties.addresses[0].to_string();
    assert_eq!(
        [first(0), first(1), first(2)],
        ["203.0.113.47", "2001:db8::1", "203.0.113.9"]
    );
    assert_eq!(found[1].parties.names, ["eve"]);
    // As lines of a log they are the same.
    let (_, as_lines, tally) = facts(Some(Format::Log), lines.as_bytes());
    assert_eq!((as_lines.len(), tally.untimed), (4, 1));
    assert_eq!(as_lines[0].what.replacen("log", "access", 1), found[0].what);
}

#[test]
fn logs_of_errors_queries_and_seconds_are_known_by_themselves() {
    let bind = "27-Nov-2026 07:29:56.123 queries: info: client @0x7f 203.0.113.47#53412 (evil.example.com): \
                query: evil.example.com IN A +E(0)K (10.0.0.5)\n";
    for line in [
        bind.to_owned(),
        bind.replace("queries: info: ", ""),
        bind.replace("@0x7f ", "").replace("queries: info: ", "queries: "),
        bind.replace(": query:", ": view internal: query:"),
        bind.replace(
            "27-Nov-2026 07:29:56.123 queries: info:",
            "Nov 27 07:29:56.123 ns1 named[7]:",
        ),
    ] {
        let (format, found, _) = facts(None, line.as_bytes());
        assert_eq!((format, found[0].kind.name()), (Format::Log, "query"), "{line}");
        let client = "203.0.113.47".parse().expect("an address");
        assert_eq!(
            found[0].same,
            Some(Same::query(client, "evil.example.com", "A")),
            "{line}"
        );
        assert_eq!(found[0].time.to_string(), "2026-11-27T07:29:56.123Z");
    }
    let nginx = "2026/11/27 07:29:54 [error] 12#12: *3 open() \"/x\" failed, client: 203.0.113.47, server: _\n";
    let (format, found, _) = facts(None, nginx.as_bytes());
    assert_eq!(
        (format, found[0].time.to_string().as_str()),
        (Format::Log, "2026-11-27T07:29:54.000Z")
    );
    assert_eq!(
        found[0].parties.addresses,
        ["203.0.113.47".parse::<IpAddr>().expect("an address")]
    );
    for (stamp, at) in [
        ("1795764613", "2026-11-27T07:30:13.000Z"),
        ("1795764614.500", "2026-11-27T07:30:14.500Z"),
        ("1795764614500", "2026-11-27T07:30:14.500Z"),
    ] {
        assert_eq!(
            told(None, &format!("{stamp} 203.0.113.47 x")),
            [format!("{at} message log: 203.0.113.47 x")]
        );
    }
}

#[test]
fn a_format_is_not_guessed_by_words_that_others_choose() {
    let record = |agent: &str| {
        format!(
            r#"{{"eventTime":"2026-11-27T00:00:01Z","eventSource":"iam.amazonaws.com","eventName":"X","userAgent":"{agent}","requestParameters":{{"tags":{{"__REALTIME_TIMESTAMP":"1","event_type":"a","timestamp":"b","specversion":"1"}}}}}}"#
        )
    };
    for agent in ["audit.k8s.io/x", "event_type", "GuardDuty Finding", "specversion"] {
        let line = record(agent);
        for text in [line.clone(), format!(r#"{{"Records":[{line}]}}"#), format!("[{line}]")] {
            assert_eq!(guess(text.as_bytes()), Some(Format::CloudTrail), "{text}");
        }
    }
    // Also where a document breaks off.
    let long = format!(r#"{{"Records":[{}"#, record("x"));
    assert_eq!(guess(&long.as_bytes()[..140]), Some(Format::CloudTrail));
    assert_eq!(guess(br#"{"a":{"specversion":"1"}}"#), None);
}

#[test]
fn all_arguments_count_where_the_title_of_a_process_is_cut() {
    let lines = "type=SYSCALL msg=audit(1795737605.100:7): syscall=59 success=yes pid=1 exe=\"/bin/a\"\n\
                 type=EXECVE msg=audit(1795737605.100:7): argc=4 a0=\"a\" a1_len=4 a1[0]=\"b\" a1[1]=\"c\"\n\
                 type=EXECVE msg=audit(1795737605.100:7): a2=\"--fetch\" a3=\"http://203.0.113.47/x\"\n\
                 type=PROCTITLE msg=audit(1795737605.100:7): proctitle=\"a\"\n\
                 type=SYSCALL msg=audit(1795737606.000:8): syscall=42 success=yes pid=2 exe=\"/bin/b\" key=\"net\"\n\
                 type=SOCKADDR msg=audit(1795737606.000:8): saddr=02000050CB00712F0000000000000000\n\
                 type=PROCTITLE msg=audit(1795737606.000:8): proctitle=\"b -x\"\n";
    assert_eq!(
        told(None, lines),
        [
            "2026-11-27T00:00:05.100Z process auditd: started /bin/a, pid 1: a bc --fetch http://203.0.113.47/x",
            "2026-11-27T00:00:06.000Z event auditd: SYSCALL net, /bin/b, pid 2, socket address 203.0.113.47:80: b -x",
        ]
    );
    for fact in facts(None, lines.as_bytes()).1 {
        assert_eq!(
            fact.parties.addresses,
            ["203.0.113.47".parse::<IpAddr>().expect("an address")]
        );
    }
}

#[test]
fn an_alert_of_falco_shows_the_process_and_where_it_talks_to() {
    let line = |fields: &str| {
        format!(
            r#"{{"hostname":"vm","output":"x (connection=10.0.0.5:41->203.0.113.47:4444)","priority":"Critical","rule":"Shell","source":"syscall","time":"2026-11-27T07:30:10Z","output_fields":{{{fields}}}}}"#
        )
    };
    let all = line(r#""fd.name":"10.0.0.5:41->203.0.113.47:4444","proc.name":"bash","proc.pid":31597"#);
    let told_all = &told(None, &all)[0];
    assert!(
        told_all.contains(", process bash (pid 31597), 10.0.0.5:41->203.0.113.47:4444"),
        "{told_all}"
    );
    let few = &told(None, &line(r#""proc.name":"bash""#))[0];
    assert!(few.contains(", process bash, 10.0.0.5, 203.0.113.47"), "{few}");
}

#[test]
fn the_journal_says_what_programs_said() {
    let lines = concat!(
        r#"{"__REALTIME_TIMESTAMP":"1795737605000000","_SOURCE_REALTIME_TIMESTAMP":"1795737604000000","MESSAGE":"Accepted password for eve from 203.0.113.9 port 1 ssh2","SYSLOG_IDENTIFIER":"sshd","_PID":"7","_HOSTNAME":"web"}"#,
        "\n",
        r#"{"__REALTIME_TIMESTAMP":"1795737606000000","MESSAGE":[104,105,255],"_COMM":"x"}"#,
        "\n",
        r#"{"__REALTIME_TIMESTAMP":"1795737606000000","_COMM":"says nothing"}"#,
    );
    assert_eq!(
        told(None, lines),
        [
            "2026-11-27T00:00:04.000Z login journal: sshd[7]: Accepted password for eve from 203.0.113.9 port 1 ssh2",
            "2026-11-27T00:00:06.000Z message journal: x: hi\u{fffd}",
        ]
    );
}

#[test]
fn what_is_too_long_or_unknown_is_told() {
    let long = format!(
        "2026-11-27T00:00:01Z a\n2026-11-27T00:00:02Z {}\n2026-11-27T00:00:03Z b\n",
        "x".repeat(LINE_BYTES_MAX)
    );
    let (_, found, tally) = facts(None, long.as_bytes());
    let told: Vec<&str> = found.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(told, ["log: a", "log: b"]);
    assert_eq!(
        tally.first_unreadable.as_deref(),
        Some("2: it is longer than a line may be")
    );
    for bytes in [b"what is this\n", &[0xff; 100][..], b"{\"a\":1}\n"] {
        let mut from = bytes;
        let error = read(&mut from, None, around(), &mut |_| {}).expect_err("nobody knows it");
        assert_eq!(error.to_string(), "its format is not known by its first lines");
    }
    for bytes in [&b""[..], b"\n\n"] {
        let mut from = bytes;
        let error = read(&mut from, None, around(), &mut |_| {}).expect_err("there is nothing");
        assert_eq!(error.to_string(), "it is empty");
    }
    let mut endless = std::io::BufReader::new(Endless);
    let error = read(&mut endless, Some(Format::CloudTrail), around(), &mut |_| {}).expect_err("it is too large");
    assert!(error.to_string().contains("64 MiB"), "{error}");
    assert_eq!(DOCUMENT_BYTES_MAX, 64 << 20);
}

#[test]
fn what_stands_before_a_failure_is_read_and_the_failure_is_told() {
    for length in [60, 3 * LINE_BYTES_MAX] {
        let line = "2026-11-27T00:00:01Z a\n";
        let text = line.repeat(length / line.len());
        let mut from = std::io::BufReader::new(text.as_bytes().chain(Broken));
        let mut count = 0;
        let error = read(&mut from, None, around(), &mut |_| count += 1).expect_err("it breaks off");
        assert_eq!(count, length / line.len());
        let ReadError::BrokenOff { format, tally, source } = error else {
            panic!("{error:?}");
        };
        assert_eq!(
            (format, tally.items, tally.facts),
            (Format::Log, count as u64, count as u64)
        );
        assert_eq!(source.to_string(), "broken");
    }
}

/// Bytes that cannot be had.
struct Broken;

impl std::io::Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("broken"))
    }
}

/// An array that does not end.
struct Endless;

impl std::io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        buffer.fill(b'[');
        Ok(buffer.len())
    }
}
