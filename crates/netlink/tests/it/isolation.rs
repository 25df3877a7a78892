//! A table that cuts a network namespace off, as the kernel and `nft` show it.

use std::time::Duration;

use staunch_netlink::nftables::{
    ALLOWED_MAX, Allowed, Cut, Defect, IpVersion, Isolate, Isolated, Isolation, NftError, Transport,
};

use crate::setting::{HOUR, TIMEOUT, in_new_net, ip, nft, nft_load, until};

const TABLE: &str = "staunch_isolation";

fn opened() -> Isolation {
    Isolation::open(TABLE, TIMEOUT).unwrap()
}

fn network(text: &str) -> Allowed {
    let (address, prefix) = text.split_once('/').unwrap();
    Allowed::Network {
        address: ip(address),
        prefix: prefix.parse().unwrap(),
    }
}

fn service(address: &str, port: u16, user: Option<u32>) -> Allowed {
    Allowed::Service {
        address: ip(address),
        transport: Transport::Tcp,
        port,
        user,
    }
}

fn some() -> Vec<Allowed> {
    vec![
        network("192.0.2.0/24"),
        network("2001:db8::/32"),
        service("198.51.100.1", 443, Some(997)),
        service("2001:db8::5", 53, None),
    ]
}

fn isolate(ours: &mut Isolation, allowed: Option<&[Allowed]>, timeout: Duration) -> Result<(), NftError> {
    let seen = ours.look()?;
    let change = Isolate {
        allowed,
        timeout,
        comment: "ours",
    };
    ours.isolate(&seen, change)
}

fn is_cut(cuts: &[Option<Cut>; 2], near: Duration) -> bool {
    IpVersion::ALL.into_iter().zip(cuts).all(|(version, cut)| {
        cut.as_ref().is_some_and(|it| {
            it.version == version
                && it.comment.as_deref() == Some("ours")
                && it.expires.is_some_and(|left| left <= near && left + TIMEOUT >= near)
        })
    })
}

fn look(ours: &mut Isolation) -> Isolated {
    ours.look().unwrap()
}

#[test]
fn nft_shows_what_is_cut_and_what_is_let_through() {
    in_new_net("nft_shows_what_is_cut_and_what_is_let_through", || {
        let mut ours = opened();
        assert_eq!(look(&mut ours).defects[0], Defect::TableMissing);
        isolate(&mut ours, Some(&some()), HOUR).unwrap();
        let seen = look(&mut ours);
        assert_eq!(seen.defects, []);
        assert_eq!(seen.allowed, some());
        assert!(is_cut(&seen.cuts, HOUR), "{seen:?}");
        let shown = nft("list table inet staunch_isolation");
        for part in [
            "type nf_proto",
            "flags timeout",
            "ipv4 timeout 1h expires",
            "ipv6 timeout 1h expires",
            "comment \"ours\"",
            "type filter hook input priority -350; policy accept;",
            "type filter hook forward priority -350; policy accept;",
            "type filter hook output priority -350; policy accept;",
            "meta nfproto != @isolated accept",
            "meta iiftype loopback accept",
            "meta oiftype loopback accept",
            "ip saddr 192.0.2.0/24 accept",
            "ip daddr 192.0.2.0/24 accept",
            "ip6 saddr 2001:db8::/32 accept",
            "ip saddr 198.51.100.1 tcp sport 443 accept",
            "ip daddr 198.51.100.1 tcp dport 443 meta skuid 997 accept",
            "ip6 daddr 2001:db8::5 tcp dport 53 accept",
            "ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept",
            "ip6 daddr ff02::1:2 udp sport 546 udp dport 547 accept",
            "ip6 hoplimit 255 icmpv6 type",
            "counter packets 0 bytes 0 drop",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        // What it shows can be loaded again, and is the same.
        nft("flush ruleset");
        nft_load(&shown);
        let again = look(&mut ours);
        assert_eq!((again.defects, again.allowed), (vec![], some()), "{shown}");
        assert!(is_cut(&again.cuts, HOUR));
    });
}

#[test]
fn the_kernel_lifts_it_and_an_end_can_be_moved() {
    in_new_net("the_kernel_lifts_it_and_an_end_can_be_moved", || {
        let mut ours = opened();
        isolate(&mut ours, Some(&some()), HOUR).unwrap();
        isolate(&mut ours, None, HOUR * 2).unwrap();
        assert!(is_cut(&look(&mut ours).cuts, HOUR * 2));
        isolate(&mut ours, None, Duration::from_millis(200)).unwrap();
        until("the kernel has lifted it", || {
            (look(&mut ours).cuts == [None, None]).then_some(())
        });
        // What is left is whole, and can cut again at once.
        assert_eq!(look(&mut ours).defects, []);
        isolate(&mut ours, None, HOUR).unwrap();
        assert!(is_cut(&look(&mut ours).cuts, HOUR));
        let seen = look(&mut ours);
        ours.lift(&seen, &IpVersion::ALL).unwrap();
        assert_eq!(look(&mut ours).cuts, [None, None]);
    });
}

#[test]
fn nothing_is_done_to_a_ruleset_that_has_changed() {
    in_new_net("nothing_is_done_to_a_ruleset_that_has_changed", || {
        let mut ours = opened();
        let seen = look(&mut ours);
        nft("add table inet other");
        let change = Isolate {
            allowed: Some(&[]),
            timeout: HOUR,
            comment: "ours",
        };
        assert!(matches!(ours.isolate(&seen, change), Err(NftError::Moved { .. })));
        assert!(!nft("list ruleset").contains(TABLE));
        isolate(&mut ours, Some(&[]), HOUR).unwrap();
        let seen = look(&mut ours);
        nft("delete element inet staunch_isolation isolated { ipv6 }");
        assert!(matches!(ours.lift(&seen, &IpVersion::ALL), Err(NftError::Moved { .. })));
        assert!(nft("list ruleset").contains("ipv4 timeout 1h"));
    });
}

#[test]
fn each_lost_part_is_a_defect_and_is_mended() {
    in_new_net("each_lost_part_is_a_defect_and_is_mended", || {
        let mut ours = opened();
        for (harm, defect) in [
            (
                "flush chain inet staunch_isolation input",
                Defect::Rules { chain: "input" },
            ),
            (
                "insert rule inet staunch_isolation output accept",
                Defect::Rules { chain: "output" },
            ),
            (
                "insert rule inet staunch_isolation forward ip saddr 192.0.2.1 accept",
                Defect::Rules { chain: "forward" },
            ),
            ("delete table inet staunch_isolation", Defect::TableMissing),
        ] {
            isolate(&mut ours, Some(&some()), HOUR).unwrap();
            assert_eq!(look(&mut ours).defects, []);
            nft(harm);
            assert_eq!(look(&mut ours).defects[0], defect, "{harm}");
        }
        // A rule that somebody has put before ours is kept, after them.
        isolate(&mut ours, Some(&some()), HOUR).unwrap();
        nft("insert rule inet staunch_isolation output counter accept");
        isolate(&mut ours, Some(&[]), HOUR).unwrap();
        let seen = look(&mut ours);
        assert_eq!((seen.defects, seen.allowed), (vec![], vec![]));
        let shown = nft("list chain inet staunch_isolation output");
        assert!(shown.trim_end().ends_with("bytes 0 accept\n\t}\n}"), "{shown}");
    });
}

#[test]
fn a_table_of_somebody_else_is_left_alone() {
    in_new_net("a_table_of_somebody_else_is_left_alone", || {
        for text in [
            "table inet staunch_isolation { chain input { type filter hook input priority 0; policy drop; }; }",
            "table inet staunch_isolation { set isolated { type ipv4_addr; flags timeout; }; }",
            "table inet staunch_isolation { set isolated { type nf_proto; }; }",
            "table inet staunch_isolation { chain theirs { accept; }; }",
            "table inet staunch_isolation { flags dormant; set isolated { type nf_proto; flags timeout; }; }",
        ] {
            nft_load(text);
            let before = nft("list ruleset");
            let error = isolate(&mut opened(), Some(&some()), HOUR).unwrap_err();
            assert!(matches!(error, NftError::Mismatch { .. }), "{text}: {error}");
            assert_eq!(nft("list ruleset"), before);
            nft("flush ruleset");
        }
    });
}

#[test]
fn bounds_are_kept() {
    in_new_net("bounds_are_kept", || {
        let mut ours = opened();
        let many: Vec<Allowed> = (0..=ALLOWED_MAX)
            .map(|it| network(&format!("10.0.{}.{}/32", it / 256, it % 256)))
            .collect();
        let error = isolate(&mut ours, Some(&many), HOUR).unwrap_err();
        assert!(matches!(error, NftError::TooManyAllowed { .. }), "{error}");
        let error = isolate(&mut ours, Some(&[]), Duration::ZERO).unwrap_err();
        assert!(matches!(error, NftError::CutInvalid { .. }), "{error}");
        isolate(&mut ours, Some(&many[1..]), HOUR).unwrap();
        assert_eq!(look(&mut ours).allowed, many[1..]);
    });
}
