//! Lists of networks that are never touched.

use std::sync::Arc;

use ipnet::IpNet;
use staunch_engine::EngineState;
use staunch_engine::exempt::protection;
use staunch_engine::limits::{LIST_CHANGE_NETWORKS_MAX, LIST_CHANGE_TEXT_BYTES_MAX};
use staunch_engine::lists::{Changes, List, changes};
use staunch_model::{Command, Input, ListedNetwork, NoticeLevel, Span, StateKind};

use crate::life::IP;
use crate::sim::Sim;

const FILE: &str = "/etc/staunch/partners.txt";

fn listed(line: u32, network: &str, reason: Option<&str>) -> ListedNetwork {
    ListedNetwork {
        network: network.parse().unwrap(),
        line,
        reason: reason.map(Into::into),
    }
}

fn list(networks: &[ListedNetwork]) -> List {
    List::new("a partner", networks.to_vec())
}

/// Makes the file at `path` say what `list` says.
fn set(sim: &mut Sim, path: &str, list: Option<&List>) -> usize {
    let parts = changes(path, sim.state().lists.get(path), list);
    for part in &parts {
        sim.input(Input::Listed(Arc::new(part.clone())));
    }
    parts.len()
}

fn why(state: &EngineState, ip: &str) -> Option<String> {
    let (network, why) = protection(state, ip.parse().unwrap(), state.now)?;
    Some(format!("{network}: {why}"))
}

#[test]
fn what_a_file_lists_is_refused_with_file_and_line_until_it_is_listed_no_longer() {
    let mut sim = Sim::usual();
    let partners = list(&[
        listed(3, "203.0.113.0/24", None),
        listed(9, "203.0.113.0/28", Some("the payment\u{1b} provider")),
    ]);
    assert_eq!(set(&mut sim, FILE, Some(&partners)), 1);
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    let refusal = format!(
        "never-touch: {IP} is in 203.0.113.0/28, which is never touched: the payment\\u{{1b}} provider ({FILE}, line 9)"
    );
    assert_eq!(sim.refusal(1), refusal);
    assert_eq!(
        why(sim.state(), "203.0.113.200").unwrap(),
        format!("203.0.113.0/24: a partner ({FILE}, line 3)")
    );

    // A crash changes nothing about it. Another file says the same on.
    sim.crash(Span::from_secs(5));
    sim.run(Span::from_mins(20));
    assert_eq!(
        set(
            &mut sim,
            "/etc/staunch/more.txt",
            Some(&list(&[listed(1, &format!("{IP}/32"), None)]))
        ),
        1
    );
    assert_eq!(set(&mut sim, FILE, Some(&partners)), 0, "it is in force already");
    assert_eq!(set(&mut sim, FILE, None), 1);
    sim.event("enforce", IP);
    sim.run(Span::from_secs(20));
    let refusal =
        format!("never-touch: {IP} is in {IP}/32, which is never touched: a partner (/etc/staunch/more.txt, line 1)");
    assert_eq!(sim.refusal(2), refusal);

    sim.run(Span::from_mins(20));
    assert_eq!(set(&mut sim, "/etc/staunch/more.txt", None), 1);
    assert_eq!(sim.state().lists.iter().count(), 0);
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(3), Some(StateKind::InForce));
    sim.ends_clean();
}

#[test]
fn what_is_contained_when_it_is_listed_is_told_and_not_released() {
    let mut sim = Sim::usual();
    sim.event("enforce", IP);
    sim.run_until_kind(1, StateKind::InForce);
    set(&mut sim, FILE, Some(&list(&[listed(2, "203.0.113.0/24", None)])));
    sim.run(Span::from_secs(10));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    let pages = sim.told(NoticeLevel::Page).len();
    assert!(
        sim.told(NoticeLevel::Page)
            .iter()
            .any(|it| it.contains(&format!("a partner ({FILE}, line 2)"))),
        "{:?}",
        sim.told(NoticeLevel::Page)
    );
    // Another line of the same network is no news.
    set(&mut sim, FILE, Some(&list(&[listed(5, "203.0.113.0/24", None)])));
    sim.run(Span::from_secs(10));
    assert_eq!(sim.told(NoticeLevel::Page).len(), pages);
    let refused = sim.command(Command::Unprotect {
        network: "203.0.113.0/24".parse().unwrap(),
    });
    assert_eq!(
        refused,
        Err(format!(
            "203.0.113.0/24 is protected by line 5 of {FILE}, not by a command"
        ))
    );
}

#[test]
fn a_change_of_any_length_comes_in_parts_and_opens_nothing_that_both_lists_protect() {
    let many = |from: u32, count: usize, reason: Option<&str>| {
        let lines = (from..)
            .take(count)
            .map(|at| listed(at, &format!("10.{}.{}.0/24", at >> 8, at & 255), reason));
        List::new("a partner", lines)
    };
    let mut sim = Sim::usual();
    let old = many(0, LIST_CHANGE_NETWORKS_MAX + 10, None);
    assert_eq!(set(&mut sim, FILE, Some(&old)), 2);
    let new = many(100, LIST_CHANGE_NETWORKS_MAX + 10, None);
    let both: IpNet = "10.1.0.0/24".parse().unwrap();
    let parts = changes(FILE, Some(&old), Some(&new));
    assert_eq!(
        parts
            .iter()
            .map(|it| (it.added.len(), it.removed.len()))
            .collect::<Vec<_>>(),
        [(100, 100)]
    );
    for part in parts {
        sim.input(Input::Listed(Arc::new(part)));
        assert!(sim.state().lists.find(both).is_some());
    }
    assert_eq!(sim.state().lists.get(FILE), Some(&new));
    assert_eq!(why(sim.state(), "10.0.1.1"), None, "it is listed no longer");

    let reason = "x".repeat(LIST_CHANGE_TEXT_BYTES_MAX / 100);
    assert_eq!(changes(FILE, None, Some(&many(0, 250, Some(&reason)))).len(), 3);
    let renamed = List::new("a friend", [listed(100, "10.0.100.0/24", None)]);
    assert_eq!(
        set(&mut sim, "/etc/a", Some(&list(&[listed(100, "10.0.100.0/24", None)]))),
        1
    );
    assert_eq!(set(&mut sim, "/etc/a", Some(&renamed)), 1, "the reason is a change too");
    assert_eq!(
        why(sim.state(), "10.0.100.7").unwrap(),
        "10.0.100.0/24: a friend (/etc/a, line 100)"
    );
}

#[test]
fn the_first_of_equal_lines_holds_and_mapped_addresses_are_those_that_they_map() {
    let twice = list(&[
        listed(1, "::ffff:203.0.113.7/128", Some("first")),
        listed(2, "203.0.113.7/32", Some("second")),
    ]);
    assert_eq!(twice.len(), 1);
    assert_eq!(
        twice.networks().collect::<Vec<_>>(),
        [("203.0.113.7/32".parse().unwrap(), 1, "first")]
    );
}

#[test]
fn what_goes_from_one_list_to_another_is_protected_after_every_part() {
    const LISTS: [&str; 2] = ["/etc/a", "/etc/b"];
    let other = |at: u32| listed(at, &format!("10.{}.{}.0/24", at >> 8, at & 255), None);
    let moving = listed(1, "203.0.113.0/24", None);
    // Enough of others that adding and removing share a part in one list and come in several parts in the other.
    let many = u32::try_from(LIST_CHANGE_NETWORKS_MAX).unwrap() + 10;
    let with: Vec<_> = [moving].into_iter().chain((0..5).map(other)).collect();
    let without: Vec<_> = (5..many).map(other).collect();
    for [from, to] in [LISTS, [LISTS[1], LISTS[0]]] {
        let mut sim = Sim::usual();
        set(&mut sim, from, Some(&list(&with)));
        set(&mut sim, to, Some(&list(&without)));
        let mut all = Changes::default();
        // In the order of their names, whichever of them has it.
        for path in LISTS {
            let after = if path == from { &without } else { &with };
            all.add(path, sim.state().lists.get(path), Some(&list(after)));
        }
        for part in all.in_order() {
            sim.input(Input::Listed(Arc::new(part)));
            assert!(why(sim.state(), IP).is_some(), "it goes from {from} to {to}");
        }
        assert_eq!(sim.state().lists.get(from), Some(&list(&without)));
        assert_eq!(sim.state().lists.get(to), Some(&list(&with)));

        // One that goes as a whole.
        let mut all = Changes::default();
        for path in LISTS {
            let after = (path == from).then(|| list(&with));
            all.add(path, sim.state().lists.get(path), after.as_ref());
        }
        for part in all.in_order() {
            sim.input(Input::Listed(Arc::new(part)));
            assert!(why(sim.state(), IP).is_some(), "it goes back from {to} to {from}");
        }
        assert_eq!(
            sim.state().lists.iter().map(|(path, _)| path).collect::<Vec<_>>(),
            [from]
        );
    }
}
