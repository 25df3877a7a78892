use super::*;

/// What a message is read as: `facility.severity time|host|program|process|kind|text`.
fn check(frame: &str, expect: &str) {
    check_bytes(frame.as_bytes(), expect);
}

fn check_bytes(frame: &[u8], expect: &str) {
    let found = match parse(frame) {
        Ok(it) => {
            let word = |word: Option<&str>| word.unwrap_or("-").to_owned();
            format!(
                "{}.{} {}|{}|{}|{}|{}|{}",
                it.facility,
                it.severity,
                word(it.timestamp),
                word(it.hostname),
                word(it.app_name),
                word(it.process_id),
                word(it.message_id),
                String::from_utf8_lossy(it.text)
            )
        }
        Err(error) => format!("{error:?}"),
    };
    assert_eq!(found, expect, "{:?}", String::from_utf8_lossy(frame));
}

/// The examples of RFC 5424, section 6.5.
#[test]
fn the_examples_of_rfc_5424() {
    check_bytes(
        b"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \xef\xbb\xbf'su root' failed for lonvick on /dev/pts/8",
        "4.2 2003-10-11T22:14:15.003Z|mymachine.example.com|su|-|ID47|'su root' failed for lonvick on /dev/pts/8",
    );
    check(
        "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.",
        "20.5 2003-08-24T05:14:15.000003-07:00|192.0.2.1|myproc|8710|-|%% It's time to make the do-nuts.",
    );
    let data = r#"[exampleSDID@32473 iut="3" eventSource="Application" eventID="1011"]"#;
    let header = "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47";
    let read = "20.5 2003-10-11T22:14:15.003Z|mymachine.example.com|evntslog|-|ID47";
    check(
        &format!("{header} {data} An application event log entry..."),
        &format!("{read}|An application event log entry..."),
    );
    check(
        &format!("{header} {data}[examplePriority@32473 class=\"high\"]"),
        &format!("{read}|"),
    );
}

#[test]
fn structured_data_end_where_they_end() {
    let check = |data: &str, expect: &str| check(&format!("<14>1 - - app - - {data}"), expect);
    let fine = "1.6 -|-|app|-|-|{\"a\": \"]\"}";
    check("- {\"a\": \"]\"}", fine);
    check("[a] {\"a\": \"]\"}", fine);
    check(r#"[a b="\"] {" c="\\"][d e="]"] {"a": "]"}"#, fine);
    for damaged in [
        "",
        "[",
        "[]",
        "[a",
        "[a b]",
        "[a b=c]",
        "[a b=\"c]",
        "[a b=\"c\\",
        "[a b=\"c\\\"",
        "[a ]",
        "[a]x",
        "-x",
        "x",
        "[a b=\"c\"d=\"e\"]",
    ] {
        check(damaged, "StructuredData");
    }
}

#[test]
fn a_header_of_rfc_5424_is_whole_or_none() {
    for damaged in [
        "<14>1 ",
        "<14>1 - - app -",
        "<14>1 - - app - ",
        "<14>1 -  app - - -",
        "<14>1 - a\u{7f} app - - -",
        "<14>1 - h\u{e4}st app - - -",
    ] {
        check(damaged, "Header");
    }
    check(&format!("<14>1 - {} app - - - x", "h".repeat(256)), "Header");
    check(
        &format!("<14>1 - {} app - - - x", "h".repeat(255)),
        &format!("1.6 -|{}|app|-|-|x", "h".repeat(255)),
    );
}

/// The examples of RFC 3164, section 5.4.
#[test]
fn the_examples_of_rfc_3164() {
    check(
        "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
        "4.2 Oct 11 22:14:15|mymachine|su|-|-|'su root' failed for lonvick on /dev/pts/8",
    );
    check("Use the BFG!", "Priority");
    check(
        "<165>Aug 24 05:34:00 CST 1987 mymachine myproc[10]: %% It's time to make the do-nuts.  %%  Ingredients: Mix=OK",
        "20.5 Aug 24 05:34:00|CST|-|-|-|1987 mymachine myproc[10]: %% It's time to make the do-nuts.  %%  Ingredients: Mix=OK",
    );
    check(
        "<0>1990 Oct 22 10:52:01 TZ-6 scapegoat.dmz.example.org 10.1.2.3 sched[0]: That's All Folks!",
        "0.0 -|-|-|-|-|1990 Oct 22 10:52:01 TZ-6 scapegoat.dmz.example.org 10.1.2.3 sched[0]: That's All Folks!",
    );
}

#[test]
fn what_programs_and_relays_send() {
    let json = r#"{"event_type":"alert","src_ip":"203.0.113.7"}"#;
    let header = "21.6 Nov  6 03:00:00";
    // Suricata to the local socket, without and with a cookie; then through a relay.
    check(
        &format!("<174>Nov  6 03:00:00 suricata[123]: {json}"),
        &format!("{header}|-|suricata|123|-|{json}"),
    );
    check(
        &format!("<174>Nov  6 03:00:00 sensor-1 suricata[123]: @cee: {json}\n"),
        &format!("{header}|sensor-1|suricata|123|-|{json}"),
    );
    check(
        &format!("<174>2026-11-06T03:00:00.123456+00:00 sensor-1 suricata: {json}"),
        &format!("21.6 2026-11-06T03:00:00.123456+00:00|sensor-1|suricata|-|-|{json}"),
    );
    check(
        &format!("<174>Nov  6 03:00:00 {json}"),
        &format!("{header}|-|-|-|-|{json}"),
    );
    check(
        &format!("<174>Nov  6 03:00:00 sensor-1 {json}"),
        &format!("{header}|sensor-1|-|-|-|{json}"),
    );
    check(
        &format!("<174>Nov  6 03:00:00 suricata:{json}\0"),
        &format!("{header}|-|suricata|-|-|{json}"),
    );
    check(&format!("<174>{json}"), &format!("21.6 -|-|-|-|-|{json}"));
    check(
        &format!("<174>suricata: {json}"),
        &format!("21.6 -|-|suricata|-|-|{json}"),
    );
    check(
        "<13>Nov  6 03:00:00 2001:db8::1 sshd[7]: Failed password for root from 203.0.113.7 port 22 ssh2",
        "1.5 Nov  6 03:00:00|2001:db8::1|sshd|7|-|Failed password for root from 203.0.113.7 port 22 ssh2",
    );
    check(
        "<13>Nov  6 03:00:00 audispd: type=USER_LOGIN msg=audit(1.0:1): pid=1",
        "1.5 Nov  6 03:00:00|-|audispd|-|-|type=USER_LOGIN msg=audit(1.0:1): pid=1",
    );
    check(
        "<13>type=USER_LOGIN msg=audit(1.0:1): pid=1",
        "1.5 -|-|-|-|-|type=USER_LOGIN msg=audit(1.0:1): pid=1",
    );
    check(
        "<189>Nov  6 2026 03:00:00.123: %SYS-5-CONFIG_I: Configured",
        "23.5 Nov  6 2026 03:00:00.123|-|-|-|-|%SYS-5-CONFIG_I: Configured",
    );
    check("<13>su[12] text", "1.5 -|-|su|12|-|text");
    check("<13>see http://example.org/", "1.5 -|-|-|-|-|see http://example.org/");
    check("<13>", "1.5 -|-|-|-|-|");
}

#[test]
fn what_does_not_begin_with_a_priority_is_none() {
    for other in [
        "",
        "<",
        "<>x",
        "<13",
        "<13 >x",
        "<1234>x",
        "<192>x",
        "<-1>x",
        "< 1>x",
        "13>x",
        "\u{feff}<13>x",
    ] {
        check(other, "Priority");
    }
    check("<191>x", "23.7 -|-|-|-|-|x");
    check("<007>x", "0.7 -|-|-|-|-|x");
}

#[test]
fn bytes_that_are_no_text_are_handed_on_as_they_are() {
    let frame = b"<13>Nov  6 03:00:00 host app: \xff\xfe";
    assert_eq!(parse(frame).expect("a message").text, b"\xff\xfe");
    let frame = b"<13>Nov  6 03:00:00\xff host app: x";
    assert_eq!(parse(frame).expect("a message").text, &frame[4..]);
}
