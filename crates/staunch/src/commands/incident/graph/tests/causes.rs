//! What is called a cause, and what is one connection.

use super::*;

/// A graph of an incident that names no address but that of an act, and of `sealed`.
fn of_process(sealed: Vec<Sealed>, blocked: &str) -> Graph {
    let mut detail = detail("C2");
    detail.incident.source = None;
    detail.events.iter_mut().for_each(|it| it.source = None);
    detail.transactions[1].target = blocked.to_owned();
    let read = Read {
        sealed,
        ..Read::default()
    };
    graph(&detail, read, 60)
}

fn socket(local: (&str, u16), remote: (&str, u16), holder: Option<(u32, u64)>) -> Value {
    let holders: Vec<Value> = holder
        .iter()
        .map(|(pid, started)| json!({"pid": pid, "started": started, "name": "x"}))
        .collect();
    json!({"protocol": "tcp", "state": "established", "local": local.0, "local_port": local.1, "remote": remote.0,
        "remote_port": remote.1, "holders": holders})
}

fn id<'g>(graph: &'g Graph, label: &str) -> Option<&'g str> {
    Some(&node(graph, label).id)
}

#[test]
fn an_ancestor_that_only_started_others_is_no_cause_in_any_format() {
    let lineage = json!({"processes": [
        process(1, 0, 1, "init"), process(800, 1, DAY_TICKS - 3_000, "sshd"), process(900, 800, DAY_TICKS - 2_000, "bash"),
        process(4242, 900, DAY_TICKS - 1_000, "curl")]});
    let graph = of_process(vec![sealed(2, EvidenceKind::Processes, lineage)], "203.0.113.9");
    assert_eq!(graph.first_cause.as_deref(), id(&graph, "4242 curl"));
    assert_eq!(graph.oldest_ancestor.as_deref(), id(&graph, "1 init"));
    let value: Value = serde_json::from_str(&json(&graph).expect("JSON")).expect("JSON");
    assert_eq!(value["first_cause"].as_str(), id(&graph, "4242 curl"));
    assert_eq!(value["oldest_ancestor"].as_str(), id(&graph, "1 init"));
    let told = text(&Output::plain(), &graph);
    assert!(told.contains("process 1 init  (oldest known ancestor)  "), "{told}");
    assert!(told.contains("process 4242 curl  (first known cause)  "), "{told}");
    let dot = dot::write(&graph);
    let line = |label: &str| dot.lines().find(|it| it.contains(label)).expect("a node").to_owned();
    assert!(line("1 init").contains("oldest known ancestor\"];"), "{dot}");
    assert!(line("4242 curl").contains("first known cause\", penwidth=3];"), "{dot}");
    let svg = svg::draw(&graph);
    assert!(svg.contains(">process: oldest known ancestor</text>"), "{svg}");
    assert!(svg.contains(">process: first known cause</text>"), "{svg}");
    // That of the process, and the act that contained it.
    assert_eq!(svg.matches("class=\"box end\"").count(), 2, "{svg}");
}

#[test]
fn who_holds_a_connection_to_an_address_of_the_incident_may_be_its_cause() {
    let begun = DAY_TICKS - 2_000;
    let processes = |shell: u64| {
        json!({"processes": [
            process(1, 0, 1, "init"), process(900, 1, shell, "beacon"), process(4242, 900, DAY_TICKS - 1_000, "sh")]})
    };
    let sockets =
        |shell: u64| json!({"tcp": [socket(("10.0.0.80", 40_000), ("203.0.113.9", 443), Some((900, shell)))]});
    let graph_of = |shell: u64| {
        let sealed = vec![
            sealed(2, EvidenceKind::Processes, processes(shell)),
            sealed(3, EvidenceKind::Sockets, sockets(shell)),
        ];
        of_process(sealed, "203.0.113.9")
    };
    let graph = graph_of(begun);
    assert_eq!(graph.first_cause.as_deref(), id(&graph, "900 beacon"));

    // One that has run for a day before is as old as what it is known to have done, and an event came before that.
    let mut detail = detail("C2");
    detail.transactions[0].target = "pid:900@5.0badcafe".to_owned();
    let sockets = json!({"tcp": [socket(("10.0.0.80", 40_000), ("198.51.100.7", 443), Some((900, 5)))]});
    let read = Read {
        sealed: vec![
            sealed(
                2,
                EvidenceKind::Processes,
                json!({"processes": [process(900, 1, 5, "java")]}),
            ),
            sealed(3, EvidenceKind::Sockets, sockets),
        ],
        ..Read::default()
    };
    let graph = super::graph(&detail, read, 60);
    assert_eq!(graph.first_cause.as_deref(), id(&graph, "203.0.113.9"));
}

#[test]
fn both_ends_of_a_connection_within_the_host_are_one_connection() {
    let (client, server) = (("203.0.113.1", 58_292), ("203.0.113.99", 4_444));
    let tcp = json!({"tcp": [
        socket(client, server, Some((4242, DAY_TICKS - 1_000))), socket(server, client, Some((77, DAY_TICKS - 5_000))),
        socket(server, ("0.0.0.0", 0), None)]});
    let processes = json!({"processes": [
        process(4242, 77, DAY_TICKS - 1_000, "sh"), process(77, 1, DAY_TICKS - 5_000, "c2")]});
    let graph = of_process(
        vec![
            sealed(2, EvidenceKind::Processes, processes),
            sealed(3, EvidenceKind::Sockets, tcp),
        ],
        "203.0.113.99",
    );
    let connections: Vec<&Node> = graph.nodes.iter().filter(|it| it.kind == Kind::Connection).collect();
    let [connection] = connections[..] else {
        panic!("{connections:#?}");
    };
    assert_eq!(connection.facts, ["from 203.0.113.1:58292", "to 203.0.113.99:4444"]);
    let told = told(&graph);
    for edge in [
        "4242 sh - holds-> tcp established",
        "tcp established - held by-> 77 c2",
        "tcp established -~connected to-> 203.0.113.99",
    ] {
        assert!(told.iter().any(|it| it == edge), "no {edge} in {told:#?}");
    }
    // What holds it began it, and is what the address was blocked for.
    assert_eq!(graph.first_cause.as_deref(), id(&graph, "4242 sh"));
    // The other address is one of this host, and of no interest.
    assert!(!graph.nodes.iter().any(|it| it.label == "203.0.113.1"), "{told:#?}");
}

#[test]
fn a_connection_of_an_address_of_the_incident_does_not_stand_apart() {
    // Nobody holds it, and the address is one of this host.
    let tcp = json!({"tcp": [socket(("203.0.113.99", 4_444), ("192.0.2.7", 50_000), None)]});
    let graph = of_process(vec![sealed(3, EvidenceKind::Sockets, tcp)], "203.0.113.99");
    let told = told(&graph);
    assert!(
        told.contains(&"203.0.113.99 -~connected from-> tcp established".to_owned()),
        "{told:#?}"
    );
}
