//! What a host and its programs write: audit records, the journal, logs of access and of errors.

use std::net::IpAddr;

use staunch_connectors::logs::{Format, Missing, Same};

use super::{facts, told};

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
