//! Documents and flow logs of a cloud.

use std::io::Read as _;

use staunch_connectors::logs::{Format, LINE_BYTES_MAX, ReadError, read};

use super::{Broken, around, facts, told};

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
