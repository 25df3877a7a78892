//! The table of `sources::suricata::sides`, row by row, on recorded alerts.

use staunch_connectors::sources::{Suricata, SuricataSettings};

use super::{recorded_files, with_event};

/// The first recorded line of `file` that holds all of `parts`.
fn alert(file: &str, parts: &[&str]) -> String {
    let (_, _, body) = recorded_files()
        .into_iter()
        .find(|(name, ..)| name == file)
        .expect("a recorded file");
    let text = String::from_utf8(body).expect("UTF-8");
    let mut lines = text.lines().filter(|line| line.contains("\"event_type\":\"alert\""));
    lines
        .find(|line| parts.iter().all(|part| line.contains(part)))
        .expect("a recorded alert")
        .to_owned()
}

/// Checks who is accused of attacking whom in `line` when `home` are the home networks (the default ones when empty).
fn check(row: &str, line: &str, home: &[&str], expect: Option<(&str, &str)>) {
    let mut settings = SuricataSettings::default();
    if !home.is_empty() {
        settings.home_networks = home.iter().map(|network| network.parse().expect("a network")).collect();
    }
    with_event(&Suricata::new(&settings), line, |view| {
        let (source, destination) = (
            view.source.ip.map(|ip| ip.to_string()),
            view.destination.ip.map(|ip| ip.to_string()),
        );
        assert_eq!(
            source.as_deref().zip(destination.as_deref()),
            expect,
            "row {row}: {line}"
        );
        assert_eq!(view.source.ip.is_some(), view.destination.ip.is_some(), "row {row}");
        assert!(
            view.source.ip.is_some() || view.source.port.is_none(),
            "row {row}: a port without an address"
        );
    });
}

/// `line` with each of `changes` made once or more.
fn changed(line: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(line.to_owned(), |line, (from, to)| {
        assert!(line.contains(from), "{from} is in {line}");
        line.replace(from, to)
    })
}

const IPV4_INSIDE: &str = "10.16.1.11";

#[test]
fn a_rule_that_names_the_outside_end_is_believed() {
    let answer = alert("eve-http", &["GPL ATTACK_RESPONSE id check", "to_client"]);
    check("a", &answer, &[], Some(("82.165.177.154", IPV4_INSIDE)));
    with_event(&Suricata::new(&SuricataSettings::default()), &answer, |view| {
        assert_eq!((view.source.port, view.destination.port), (Some(80), Some(54186)));
    });
}

#[test]
fn who_came_from_outside_is_accused_whichever_way_the_packet_went() {
    let jaws = alert("eve-http", &["JAWS", "to_server", "\"dest_ip\":\"40.110.35.23\""]);
    check("b", &jaws, &["40.110.35.0/24"], Some(("41.108.52.138", "40.110.35.23")));
    let log4j = alert("eve-http", &["log4j"]);
    check(
        "b",
        &log4j,
        &["172.16.238.10/32"],
        Some(("172.16.238.1", "172.16.238.10")),
    );
    let answer = alert(
        "eve-http",
        &["invalid checksum", "to_client", "\"src_ip\":\"40.110.35.23\""],
    );
    check(
        "b, answer",
        &answer,
        &["40.110.35.0/24"],
        Some(("41.108.52.138", "40.110.35.23")),
    );
    let banner = alert("eve-http", &["SimpleHTTP ServerBanner", "to_client"]);
    check(
        "b, answer",
        &banner,
        &["172.16.238.11/32"],
        Some(("172.16.238.10", "172.16.238.11")),
    );
}

#[test]
fn an_answer_to_a_successful_attack_accuses_the_one_outside() {
    let answer = alert("eve-http", &["GPL ATTACK_RESPONSE id check", "to_client"]);
    check(
        "c",
        &answer,
        &["82.165.177.154/32"],
        Some((IPV4_INSIDE, "82.165.177.154")),
    );
    let other_rule = changed(&answer, &[("GPL ATTACK_RESPONSE id check", "an id check")]);
    check("d", &other_rule, &["82.165.177.154/32"], None);
}

#[test]
fn who_a_client_went_out_to_is_accused() {
    check(
        "f, answer",
        &alert("eve-tls", &["FINGERPRINT", "to_client"]),
        &[],
        Some(("24.244.4.23", IPV4_INSIDE)),
    );
    let dropper = alert("eve-http", &["Android Dropper Checkin"]);
    check("f", &dropper, &[], Some(("72.16.97.212", "192.168.86.18")));
    check(
        "f",
        &alert("eve-http", &["LocalNRD Spyware"]),
        &[],
        Some(("208.75.250.50", "192.168.2.7")),
    );
    check(
        "f",
        &alert("eve-quic", &["to_client"]),
        &[],
        Some(("172.217.164.142", "10.0.2.15")),
    );
    let blocked = changed(&dropper, &[("\"action\":\"allowed\"", "\"action\":\"blocked\"")]);
    check("f, blocked", &blocked, &[], Some(("72.16.97.212", "192.168.86.18")));
}

#[test]
fn the_victim_of_an_inside_host_is_not_accused() {
    let log4j = alert("eve-http", &["log4j"]);
    check("e", &log4j, &["172.16.238.1/32"], None);
    let jaws = alert("eve-http", &["JAWS", "\"dest_ip\":\"40.110.35.23\""]);
    check("e", &jaws, &["41.108.0.0/16"], None);
}

#[test]
fn an_inside_end_is_accused_only_when_rule_and_connection_agree() {
    let answer = alert("eve-http", &["GPL ATTACK_RESPONSE id check", "to_client"]);
    let turned = [
        (
            "\"source\":{\"ip\":\"82.165.177.154\",\"port\":80}",
            "\"source\":{\"ip\":\"10.16.1.11\",\"port\":54186}",
        ),
        (
            "\"target\":{\"ip\":\"10.16.1.11\",\"port\":54186}",
            "\"target\":{\"ip\":\"82.165.177.154\",\"port\":80}",
        ),
    ];
    let turned = changed(&answer, &turned);
    check("g", &turned, &[], Some((IPV4_INSIDE, "82.165.177.154")));
    let unconfirmed = changed(
        &turned,
        &[("\"flow\":", "\"flow_\":"), ("\"direction\":\"to_client\",", "")],
    );
    check("i", &unconfirmed, &[], None);
    let unrelated = changed(
        &answer,
        &[(
            "\"source\":{\"ip\":\"82.165.177.154\"",
            "\"source\":{\"ip\":\"198.51.100.9\"",
        )],
    );
    check(
        "a rule that names a third address is not heard",
        &unrelated,
        &[],
        Some(("82.165.177.154", IPV4_INSIDE)),
    );
}

#[test]
fn without_a_connection_the_outside_end_is_accused_unless_it_may_be_the_victim() {
    let packet = alert("eve-http", &["all IP", "\"src_ip\":\"10.0.1.72\""]);
    assert!(!packet.contains("\"direction\""));
    check("h", &packet, &["10.0.2.0/24"], Some(("10.0.1.72", "10.0.2.31")));
    check(
        "h",
        &packet,
        &["10.0.1.0/24"],
        Some(("10.0.1.72", "10.0.2.31")).map(|(a, b)| (b, a)),
    );
    let no_connection = [("\"flow\":", "\"flow_\":"), ("\"direction\":\"to_server\",", "")];
    let log4j = changed(&alert("eve-http", &["log4j"]), &no_connection);
    check(
        "h",
        &log4j,
        &["172.16.238.10/32"],
        Some(("172.16.238.1", "172.16.238.10")),
    );
    check("h, as e", &log4j, &["172.16.238.1/32"], None);
}

#[test]
fn direction_says_who_opened_a_connection_when_no_flow_is_written() {
    let log4j = changed(&alert("eve-http", &["log4j"]), &[("\"flow\":", "\"flow_\":")]);
    check("e, by direction", &log4j, &["172.16.238.1/32"], None);
    let to_client = changed(&log4j, &[("to_server", "to_client")]);
    check(
        "b, by direction",
        &to_client,
        &["172.16.238.1/32"],
        Some(("172.16.238.10", "172.16.238.1")),
    );
}

#[test]
fn ends_on_the_same_side_are_told_apart_by_the_rule_only() {
    check(
        "j",
        &alert("eve-http", &["Selenium Server Chrome", "to_server"]),
        &[],
        Some(("127.0.0.1", "127.0.0.1")),
    );
    let answer = alert("eve-http", &["Selenium Server Grid Chrome", "to_client"]);
    check("j, answer", &answer, &[], Some(("127.0.0.1", "127.0.0.1")));
    with_event(&Suricata::new(&SuricataSettings::default()), &answer, |view| {
        assert_eq!(
            (view.source.port, view.destination.port),
            (Some(63516), Some(8080)),
            "the sender is the victim"
        );
    });
    check("k", &alert("eve-http", &["log4j"]), &[], None);
    check("k", &alert("eve-dcerpc", &["SVCCTL"]), &[], None);
    check("k, IPv6", &alert("eve-mqtt", &["CONNACK"]), &[], None);
    let named = alert("eve-http", &["GPL ATTACK_RESPONSE id check", "to_client"]);
    check("l", &named, &["192.0.2.0/24"], Some(("82.165.177.154", IPV4_INSIDE)));
    check("m", &alert("eve-http", &["JAWS"]), &[], None);
    check("m", &alert("eve-smtp", &["SMTP EHLO"]), &[], None);
}

#[test]
fn nobody_is_accused_without_two_hosts_of_one_connection() {
    let dropper = alert("eve-http", &["Android Dropper Checkin"]);
    let sender = (
        "\"src_ip\":\"192.168.86.18\",\"src_port\"",
        "\"src_ip\":\"198.51.100.1\",\"src_port\"",
    );
    check("n", &changed(&dropper, &[sender]), &[], None);
    for outer in [
        "239.1.2.3",
        "255.255.255.255",
        "0.0.0.0",
        "ff02::fb",
        "::",
        "72.16.97.0/24",
        "fe80::1%eth0",
        "c2.example",
    ] {
        let line = changed(&dropper, &[("72.16.97.212", outer)]);
        check("o", &line, &[], None);
    }
    check("o", &changed(&dropper, &[("\"dest_ip\"", "\"dest\"")]), &[], None);
    check(
        "mapped",
        &changed(&dropper, &[("72.16.97.212", "::ffff:72.16.97.212")]),
        &[],
        Some(("72.16.97.212", "192.168.86.18")),
    );
    let long = "2001:0db8:0000:0000:0000:0000:0000:0001";
    check(
        "IPv6",
        &changed(&dropper, &[("72.16.97.212", long)]),
        &[],
        Some(("2001:db8::1", "192.168.86.18")),
    );
}
