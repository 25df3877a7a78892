//! What sensors write: Suricata and Falco.

use staunch_connectors::logs::Same;

use super::{facts, told};

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
