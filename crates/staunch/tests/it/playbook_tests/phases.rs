//! Leases that grow, watches and recoveries in tests.

use std::path::Path;

use serde_json::Value;

use super::test;
use crate::harness::{Home, stderr, stdout};

/// A lease that grows: the second one is longer, the plan and the record say why, and what no test has reached is told.
#[test]
fn a_lease_that_grows_is_tested_and_covered() {
    let home = Home::new("");
    let dir = home.path("growing");
    std::fs::create_dir_all(&dir).expect("it is our directory");
    let alert = |time: &str| {
        format!(
            "{{\"timestamp\":\"2026-11-20T{time}.000000+0000\",\"event_type\":\"alert\",\"src_ip\":\"203.0.113.7\",\
             \"src_port\":32928,\"dest_ip\":\"10.0.0.22\",\"dest_port\":22,\"proto\":\"TCP\",\"direction\":\"to_server\",\
             \"alert\":{{\"signature\":\"ET SCAN Potential SSH Scan\",\"category\":\"\",\"severity\":2}}}}"
        )
    };
    let playbook = "playbook: growing\nsummary: Its leases grow.\ntrigger:\n  sources: [suricata]\n  \
                    when: event.severity >= medium\n  incident: event.source.ip\ncontain:\n  \
                    - block-ip: { target: event.source.ip, lease: { first: 1h, then: [3h, 9h] } }\n\
                    mode: { low: enforce, medium: approve, high: observe }\n";
    let tests = format!(
        "tests:\n  - name: who comes back is held for longer\n    events:\n      \
         - {{ at: 0s, source: suricata, json: '{}' }}\n      - {{ at: 2h, source: suricata, json: '{}' }}\n    expect:\n      \
         - {{ at: 1h1m, state: {{ 203.0.113.7: released }} }}\n      \
         - {{ at: 4h59m, state: {{ 203.0.113.7: in-force }}, acts: 2 }}\n      \
         - {{ at: 5h1m, state: {{ 203.0.113.7: released }} }}\n",
        alert("09:00:00"),
        alert("11:00:00")
    );
    std::fs::write(dir.join("growing.yaml"), playbook).expect("it is our directory");
    std::fs::write(dir.join("growing.test.yaml"), &tests).expect("it is our directory");
    let dir = dir.display().to_string();
    let output = test(&[&dir], true);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    let report: Value = serde_json::from_str(&text).expect("it is JSON");
    let parts = report["coverage"][0]["parts"].as_array().expect("a list");
    let leases = parts
        .iter()
        .find(|it| it["what"] == "leases")
        .expect("they are covered");
    assert_eq!((&leases["reached"], &leases["of"]), (&1.into(), &2.into()));
    assert_eq!(leases["missing"][0], "block-ip event.source.ip for 9h never given");

    // With leases that are all the same it would have ended by then, and the story has no word of coming back.
    let shorter = playbook.replace("{ first: 1h, then: [3h, 9h] }", "1h");
    std::fs::write(Path::new(&dir).join("growing.yaml"), shorter).expect("it is our directory");
    let output = test(&[&dir], false);
    assert_eq!(output.status.code(), Some(13), "{}", stderr(&output));
    assert!(
        !stdout(&output).contains("target that comes back"),
        "{}",
        stdout(&output)
    );
    std::fs::write(Path::new(&dir).join("growing.yaml"), playbook).expect("it is our directory");
    std::fs::write(
        Path::new(&dir).join("growing.test.yaml"),
        tests.replace("acts: 2", "acts: 3"),
    )
    .expect("it is ours");
    let text = stdout(&test(&[&dir], false));
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("TX-2 is for a target that comes back: 1 lease served, the last until"),
        "{text}"
    );
}

/// What a playbook lists is lifted in the order of the list, also what was completed first.
#[test]
fn a_recovery_in_an_order_of_its_own_is_tested() {
    let playbook = "playbook: ordered\nsummary: Blocks and slows down, and gets back.\ntrigger:\n  sources: [suricata]\n  \
                    when: event.severity >= medium\n  incident: event.source.ip\ncontain:\n  \
                    - block-ip: { target: event.source.ip, lease: 1h }\n  \
                    - rate-limit-ip: { target: event.destination.ip, lease: 1h }\nrecover:\n  \
                    - release: { actions: [block-ip, rate-limit-ip] }\nmode: { low: enforce, medium: enforce, high: enforce }\n";
    let alert = "{\"timestamp\":\"2026-11-20T09:00:00.000000+0000\",\"event_type\":\"alert\",\"src_ip\":\"203.0.113.7\",\
                 \"src_port\":32928,\"dest_ip\":\"10.0.0.22\",\"dest_port\":22,\"proto\":\"TCP\",\"direction\":\"to_server\",\
                 \"alert\":{\"signature\":\"ET SCAN Potential SSH Scan\",\"category\":\"\",\"severity\":2}}";
    let tests = format!(
        "events:\n  one: {{ source: suricata, json: '{alert}' }}\ntests:\n  - name: back\n    \
         events: [{{ at: 0s, event: one }}]\n    happens: [{{ at: 5m, operator: recover 203.0.113.7 }}]\n    expect:\n      \
         - {{ at: 1m, order: [203.0.113.7, 10.0.0.22] }}\n      - {{ at: 6m, recovery: recovered }}\n      \
         - {{ at: 6m, state: {{ 203.0.113.7: released, 10.0.0.22: released }} }}\n"
    );
    let home = Home::new("");
    for (order, passes) in [("block-ip, rate-limit-ip", true), ("rate-limit-ip", false)] {
        let playbook = playbook.replace("block-ip, rate-limit-ip", order);
        std::fs::write(home.path("ordered.yaml"), playbook).expect("it is our directory");
        std::fs::write(home.path("ordered.test.yaml"), &tests).expect("it is our directory");
        let output = test(&[&home.path("ordered.yaml").display().to_string()], false);
        let text = stdout(&output);
        assert_eq!(output.status.success(), passes, "{text}{}", stderr(&output));
        assert!(!text.contains("invariant"), "{text}");
    }
}

/// Watches and the recover phase: a containment that hurts is lifted, a recovery that hurts is taken back, one that
/// does not is done; and what no test has reached is told.
#[test]
fn watches_and_recoveries_are_tested_and_covered() {
    let playbook = "playbook: back\nsummary: Blocks, and gets back.\ntrigger:\n  sources: [suricata]\n  \
                    when: event.severity >= medium\n  incident: event.source.ip\ncontain:\n  \
                    - block-ip: { target: event.source.ip, lease: 1h, watch: { health: shop, for: 1m } }\nrecover:\n  \
                    - request-change: { text: Rotate the key. }\n  - release\n  \
                    - soak: { health: errors, for: 5m }\nmode: { low: enforce, medium: approve, high: observe }\n";
    let alert = "{\"timestamp\":\"2026-11-20T09:00:00.000000+0000\",\"event_type\":\"alert\",\"src_ip\":\"203.0.113.7\",\
                 \"src_port\":32928,\"dest_ip\":\"10.0.0.22\",\"dest_port\":22,\"proto\":\"TCP\",\"direction\":\"to_server\",\
                 \"alert\":{\"signature\":\"ET SCAN Potential SSH Scan\",\"category\":\"\",\"severity\":2}}";
    let event = "    events: [{ at: 0s, event: one }]\n";
    let tests = format!(
        "events:\n  one: {{ source: suricata, json: '{alert}' }}\ntests:\n  \
         - name: what hurts is lifted\n{event}    happens:\n      - {{ at: 20s, signals: {{ shop: unhealthy }} }}\n    expect:\n      \
         - {{ at: 10s, state: {{ 203.0.113.7: in-force }}, watches: {{ shop: running }}, recovery: waiting }}\n      \
         - {{ at: 40s, state: {{ 203.0.113.7: released }}, watches: {{ shop: hurt }}, world: {{ 203.0.113.7: absent }} }}\n  \
         - name: a signal that was not healthy before tells nothing\n    world: {{ signals: {{ shop: unhealthy }} }}\n{event}    \
         expect:\n      - {{ at: 5m, state: {{ 203.0.113.7: in-force }}, watches: {{ shop: no-baseline }} }}\n  \
         - name: a signal that cannot be read lifts nothing\n{event}    happens:\n      \
         - {{ at: 20s, signals: {{ shop: unreadable }} }}\n    expect:\n      \
         - {{ at: 5m, state: {{ 203.0.113.7: in-force }}, watches: {{ shop: blind }} }}\n  \
         - name: back to normal\n{event}    happens:\n      - {{ at: 5m, operator: recover 203.0.113.7 }}\n    expect:\n      \
         - {{ at: 6m, state: {{ 203.0.113.7: released }}, recovery: running }}\n      \
         - {{ at: 11m, recovery: recovered, watches: {{ shop: healthy, errors: healthy }}, notice: Rotate the key }}\n  \
         - name: what hurts in a recovery is contained again\n{event}    happens:\n      \
         - {{ at: 5m, operator: recover 203.0.113.7 }}\n      - {{ at: 7m, signals: {{ errors: unhealthy }} }}\n    expect:\n      \
         - {{ at: 8m, state: {{ 203.0.113.7: in-force }}, recovery: back, watches: {{ errors: hurt }}, acts: 2 }}\n  \
         - name: a recovery is stopped\n{event}    happens:\n      - {{ at: 5m, operator: recover 203.0.113.7 }}\n      \
         - {{ at: 6m, operator: stop recovery of 203.0.113.7 }}\n    expect: [{{ at: 7m, recovery: stopped }}]\n"
    );
    let home = Home::new("");
    let run = |tests: &str, json: bool| {
        std::fs::write(home.path("back.yaml"), playbook).expect("it is our directory");
        std::fs::write(home.path("back.test.yaml"), tests).expect("it is our directory");
        test(&[&home.path("back.yaml").display().to_string()], json)
    };
    let output = run(&tests, true);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    let report: Value = serde_json::from_str(&text).expect("it is JSON");
    let parts = report["coverage"][0]["parts"].as_array().expect("a list");
    let part = |what: &str| parts.iter().find(|it| it["what"] == what).expect("it is covered");
    assert_eq!(
        (&part("watches")["reached"], &part("watches")["of"]),
        (&4.into(), &4.into())
    );
    assert_eq!(
        (&part("recovery")["reached"], &part("recovery")["of"]),
        (&3.into(), &3.into())
    );

    // Each of these expectations can fail.
    for (right, wrong) in [
        ("shop: hurt", "shop: healthy"),
        ("shop: no-baseline", "shop: running"),
        ("shop: blind", "shop: moot"),
        ("recovery: recovered", "recovery: running"),
        ("recovery: back", "recovery: recovered"),
        ("recovery: stopped", "recovery: none"),
        ("acts: 2", "acts: 1"),
    ] {
        let output = run(&tests.replace(right, wrong), false);
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(13), "{wrong}: {text}{}", stderr(&output));
        assert_eq!(text.matches("FAIL").count(), 1, "{wrong}: {text}");
        assert!(text.contains("1 of 6 tests failed"), "{wrong}: {text}");
    }
    // What was not tried is told, and a signal that nothing watches is a mistake.
    let (first, _) = tests
        .split_once("  - name: a signal that was not")
        .expect("the second test");
    let text = stdout(&run(first, false));
    for missing in [
        "shop over block-ip event.source.ip never healthy to the end",
        "errors over recovery, step 3 never hurting",
        "2. release all, in reverse order of completion, each verified never done",
    ] {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(missing), "{missing}: {text}");
    }
    let output = run(&tests.replace("{ shop: unreadable }", "{ shp: unreadable }"), false);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    let said = stderr(&output);
    assert!(
        said.contains("watches no health signal `shp`") && said.contains("it watches: errors, shop"),
        "{said}"
    );
}
