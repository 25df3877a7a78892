//! The table, its elements and their conditions, with `nft` as the witness.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use staunch_netlink::nftables::{
    COMMENT_BYTES_MAX, Defect, DeleteIf, ELEMENTS_PER_BATCH_MAX, NewElement, Nft, NftError, TIMEOUT_MIN, TableOptions,
};

use crate::setting::{HOUR, OPTIONS, TIMEOUT, in_new_net, ip, made, nft, nft_load, until};

fn element(address: &str) -> NewElement<'static> {
    NewElement {
        address: ip(address),
        timeout: HOUR,
        comment: "t-1",
    }
}

/// Makes `count` addresses, every other one IPv6.
fn addresses(count: u32) -> Vec<IpAddr> {
    let base = u32::from(Ipv4Addr::new(10, 0, 0, 0));
    let make = |it: u32| match it % 2 {
        0 => IpAddr::from(Ipv4Addr::from(base + it)),
        _ => IpAddr::from(Ipv6Addr::from((0x2001_0db8_u128 << 96) + u128::from(it))),
    };
    (0..count).map(make).collect()
}

fn elements(addresses: &[IpAddr]) -> Vec<NewElement<'static>> {
    addresses
        .iter()
        .map(|address| NewElement {
            address: *address,
            timeout: HOUR,
            comment: "t-1",
        })
        .collect()
}

#[test]
fn nft_shows_the_table_as_written() {
    in_new_net("nft_shows_the_table_as_written", || {
        made();
        let shown = nft("list table inet staunch");
        let expected = "table inet staunch {
	set block4 {
		type ipv4_addr
		size 200000
		flags timeout
		counter
	}

	set block6 {
		type ipv6_addr
		size 200000
		flags timeout
		counter
	}

	chain pre {
		type filter hook prerouting priority raw - 10; policy accept;
		ip saddr @block4 counter packets 0 bytes 0 drop comment \"staunch 1\"
		ip6 saddr @block6 counter packets 0 bytes 0 drop comment \"staunch 1\"
	}

	chain transit {
		type filter hook forward priority raw - 10; policy accept;
		ip daddr @block4 counter packets 0 bytes 0 drop comment \"staunch 1\"
		ip6 daddr @block6 counter packets 0 bytes 0 drop comment \"staunch 1\"
	}

	chain out {
		type filter hook output priority raw - 10; policy accept;
		ip daddr @block4 counter packets 0 bytes 0 drop comment \"staunch 1\"
		ip6 daddr @block6 counter packets 0 bytes 0 drop comment \"staunch 1\"
	}

	chain flows {
		type filter hook input priority filter; policy accept;
		ct state established counter packets 0 bytes 0 comment \"staunch 1\"
	}
}
";
        assert_eq!(shown, expected);
    });
}

#[test]
fn ensuring_twice_changes_nothing_and_repairs_what_is_missing() {
    in_new_net("ensuring_twice_changes_nothing_and_repairs_what_is_missing", || {
        let mut ours = made();
        let before = nft("-a list ruleset");
        let generation = ours.generation().unwrap();
        ours.ensure_table(OPTIONS).unwrap();
        assert_eq!(nft("-a list ruleset"), before);
        assert_eq!(ours.generation().unwrap(), generation);

        ours.add_elements(&[element("192.0.2.1")]).unwrap();
        nft("flush chain inet staunch pre");
        nft("delete chain inet staunch transit");
        ours.ensure_table(OPTIONS).unwrap();
        assert!(ours.chains_intact().unwrap());
        assert_eq!(nft("list ruleset").matches(" drop ").count(), 6);
        assert!(ours.get_element(ip("192.0.2.1")).unwrap().is_some());

        ours.delete_table().unwrap();
        assert!(!ours.table_present().unwrap());
        assert_eq!(nft("list ruleset"), "");
        assert!(matches!(ours.delete_table().unwrap_err(), NftError::Missing { .. }));
    });
}

#[test]
fn the_check_notices_everything_that_stops_a_drop() {
    in_new_net("the_check_notices_everything_that_stops_a_drop", || {
        let mut ours = Nft::open("staunch", TIMEOUT).unwrap();
        assert!(ours.defects(false).unwrap().contains(&Defect::TableMissing));
        let check = |sabotage: &str, expected: Defect| {
            let mut ours = made();
            assert!(ours.chains_intact().unwrap());
            nft(sabotage);
            assert_eq!(ours.defects(true).unwrap(), [expected], "{sabotage}");
            ours.delete_table().unwrap();
        };
        check("flush chain inet staunch pre", Defect::Rules { chain: "pre" });
        check("insert rule inet staunch out accept", Defect::Rules { chain: "out" });
        check(
            "delete chain inet staunch transit",
            Defect::ChainMissing { chain: "transit" },
        );
        check(
            "chain inet staunch pre { policy drop; }",
            Defect::ChainShape { chain: "pre" },
        );
        check("add table inet staunch { flags dormant; }", Defect::TableDormant);
        check("flush chain inet staunch flows", Defect::Rules { chain: "flows" });

        made();
        let listing = nft("-a list chain inet staunch pre");
        let line = listing.lines().find(|it| it.contains("ip6 saddr")).unwrap();
        nft(&format!(
            "delete rule inet staunch pre handle {}",
            line.rsplit(' ').next().unwrap()
        ));
        assert!(!ours.chains_intact().unwrap());
        ours.ensure_table(OPTIONS).unwrap();
        assert!(ours.chains_intact().unwrap());
        assert_eq!(nft("list chain inet staunch pre").matches(" drop ").count(), 2);
    });
}

#[test]
fn our_drops_go_before_rules_of_others_which_are_kept() {
    in_new_net("our_drops_go_before_rules_of_others_which_are_kept", || {
        let mut ours = made();
        nft("insert rule inet staunch pre ip saddr 192.0.2.9 accept");
        assert!(!ours.chains_intact().unwrap());
        ours.ensure_table(OPTIONS).unwrap();
        assert!(ours.chains_intact().unwrap());
        let shown = nft("list chain inet staunch pre");
        assert_eq!(shown.matches(" drop ").count(), 2, "{shown}");
        assert!(
            shown.find("192.0.2.9").unwrap() > shown.rfind(" drop ").unwrap(),
            "{shown}"
        );
    });
}

#[test]
fn a_table_of_another_shape_is_refused_and_untouched() {
    in_new_net("a_table_of_another_shape_is_refused_and_untouched", || {
        nft_load("table inet staunch {\n set block4 { type ipv4_addr; flags interval,timeout; }\n}\n");
        let before = nft("list ruleset");
        let error = Nft::open("staunch", TIMEOUT)
            .unwrap()
            .ensure_table(OPTIONS)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the table cannot be used: the set \"block4\" has another shape"
        );
        assert_eq!(nft("list ruleset"), before);
    });
}

#[test]
fn foreign_tables_are_untouched() {
    in_new_net("foreign_tables_are_untouched", || {
        nft_load(
            "table inet host {\n set block4 { type ipv4_addr; elements = { 192.0.2.1 } }\n chain pre { ip saddr @block4 drop\n }\n}\n",
        );
        nft_load("table ip staunch {\n chain pre { counter\n }\n}\n");
        let before = (nft("list table inet host"), nft("list table ip staunch"));
        let mut ours = made();
        ours.add_elements(&[element("192.0.2.1"), element("192.0.2.2")])
            .unwrap();
        ours.delete_elements(&[ip("192.0.2.1")]).unwrap();
        ours.delete_table().unwrap();
        assert_eq!((nft("list table inet host"), nft("list table ip staunch")), before);
    });
}

#[test]
fn nft_reads_our_timeouts_and_comments_and_we_read_those_of_nft() {
    in_new_net("nft_reads_our_timeouts_and_comments_and_we_read_those_of_nft", || {
        let mut ours = made();
        let long = "x".repeat(COMMENT_BYTES_MAX);
        ours.add_elements(&[
            NewElement {
                address: ip("192.0.2.1"),
                timeout: HOUR,
                comment: "transaction 7",
            },
            NewElement {
                address: ip("2001:db8::1"),
                timeout: Duration::from_secs(90),
                comment: &long,
            },
            NewElement {
                address: ip("192.0.2.3"),
                timeout: HOUR,
                comment: "",
            },
        ])
        .unwrap();
        let shown = nft("-j list set inet staunch block4");
        assert!(
            shown.contains(r#""val": "192.0.2.1", "timeout": 3600, "expires": 3"#),
            "{shown}"
        );
        assert!(shown.contains(r#""comment": "transaction 7""#), "{shown}");
        let shown = nft("list set inet staunch block6");
        assert!(
            shown.contains("2001:db8::1 counter packets 0 bytes 0 timeout 1m30s expires 1m"),
            "{shown}"
        );
        assert!(shown.contains(&format!("comment \"{long}\"")), "{shown}");

        nft("add element inet staunch block4 { 192.0.2.2 timeout 5m comment \"byhand\" }");
        let found = ours
            .get_elements(&[ip("192.0.2.2"), ip("192.0.2.9"), ip("2001:db8::1"), ip("192.0.2.3")])
            .unwrap();
        let by_hand = found[0].as_ref().unwrap();
        assert_eq!(by_hand.comment.as_deref(), Some("byhand"));
        assert_eq!(by_hand.timeout, Some(Duration::from_secs(300)));
        assert!(by_hand.expires.unwrap() <= Duration::from_secs(300));
        assert_eq!((by_hand.packets, by_hand.bytes), (Some(0), Some(0)));
        assert_eq!(found[1], None);
        assert_eq!(found[2].as_ref().unwrap().comment.as_deref(), Some(long.as_str()));
        assert_eq!(found[3].as_ref().unwrap().comment, None);

        let mapped = ours.get_element(ip("::ffff:192.0.2.1")).unwrap().unwrap();
        assert_eq!(mapped.address, ip("192.0.2.1"));
    });
}

#[test]
fn a_thousand_in_one_batch_are_added_listed_and_deleted() {
    in_new_net("a_thousand_in_one_batch_are_added_listed_and_deleted", || {
        let mut ours = made();
        let mut all = addresses(1_000);
        let long = "y".repeat(COMMENT_BYTES_MAX);
        let news: Vec<_> = all
            .iter()
            .map(|it| NewElement {
                address: *it,
                timeout: HOUR,
                comment: &long,
            })
            .collect();
        let before = ours.generation().unwrap();
        ours.add_elements(&news).unwrap();
        assert_ne!(ours.generation().unwrap(), before);
        assert!(
            ours.get_elements(&all)
                .unwrap()
                .iter()
                .zip(&all)
                .all(|(it, at)| it.as_ref().unwrap().address == *at)
        );
        // `nft` too may be shown a part only while the kernel resizes the set.
        until("nft shows all", || {
            (nft("list set inet staunch block4").matches("comment").count() == 500).then_some(())
        });
        all.sort();
        assert_eq!(
            ours.list_elements()
                .unwrap()
                .iter()
                .map(|it| it.address)
                .collect::<Vec<_>>(),
            all
        );
        ours.delete_elements(&all).unwrap();
        assert!(ours.list_elements().unwrap().is_empty());
    });
}

#[test]
fn a_batch_with_one_that_exists_adds_nothing_and_names_it() {
    in_new_net("a_batch_with_one_that_exists_adds_nothing_and_names_it", || {
        let mut ours = made();
        let all = addresses(1_000);
        ours.add_elements(&elements(&all[777..778])).unwrap();
        let error = ours.add_elements(&elements(&all)).unwrap_err();
        assert!(
            matches!(error, NftError::Exists { address } if address == all[777]),
            "{error:?}"
        );
        assert_eq!(ours.list_elements().unwrap().len(), 1);

        // The socket is still in step, after all kinds of refusals.
        let error = ours.delete_elements(&all).unwrap_err();
        assert!(
            matches!(error, NftError::Absent { address } if address == all[0]),
            "{error:?}"
        );
        assert_eq!(ours.list_elements().unwrap().len(), 1);
        let present = ours.delete_present(&all).unwrap();
        assert_eq!(present.iter().filter(|it| **it).count(), 1);
        assert!(present[777]);

        // Every one of a thousand refused: more answers than an unprivileged receive buffer holds.
        ours.add_elements(&elements(&all)).unwrap();
        let error = ours.add_elements(&elements(&all)).unwrap_err();
        assert!(
            matches!(error, NftError::Exists { address } if address == all[0]),
            "{error:?}"
        );
        ours.delete_elements(&all).unwrap();
    });
}

#[test]
fn bad_elements_are_refused_before_the_kernel_sees_them() {
    in_new_net("bad_elements_are_refused_before_the_kernel_sees_them", || {
        let mut ours = made();
        let mut check = |timeout, comment: &str| {
            ours.add_elements(&[
                element("192.0.2.1"),
                NewElement {
                    address: ip("192.0.2.2"),
                    timeout,
                    comment,
                },
            ])
            .unwrap_err()
        };
        assert!(matches!(check(Duration::ZERO, ""), NftError::TimeoutInvalid { .. }));
        assert!(matches!(check(Duration::MAX, ""), NftError::TimeoutInvalid { .. }));
        assert!(matches!(check(HOUR, "a\"b"), NftError::CommentInvalid { .. }));
        assert!(matches!(check(HOUR, "a\0b"), NftError::CommentInvalid { .. }));
        assert!(matches!(
            check(HOUR, &"x".repeat(COMMENT_BYTES_MAX + 1)),
            NftError::CommentInvalid { .. }
        ));
        let many = elements(&addresses(u32::try_from(ELEMENTS_PER_BATCH_MAX).unwrap() + 1));
        assert!(matches!(
            ours.add_elements(&many).unwrap_err(),
            NftError::TooMany { .. }
        ));
        assert!(ours.list_elements().unwrap().is_empty());
        ours.add_elements(&[]).unwrap();
    });
}

#[test]
fn a_full_set_refuses_and_keeps_what_it_has() {
    in_new_net("a_full_set_refuses_and_keeps_what_it_has", || {
        let mut ours = Nft::open("staunch", TIMEOUT).unwrap();
        ours.ensure_table(TableOptions {
            elements_max: 2,
            track_flows: false,
        })
        .unwrap();
        let news = [element("192.0.2.1"), element("192.0.2.2"), element("192.0.2.3")];
        let error = ours.add_elements(&news).unwrap_err();
        assert!(
            matches!(error, NftError::Full { address } if address == ip("192.0.2.3")),
            "{error:?}"
        );
        assert!(ours.list_elements().unwrap().is_empty());
        ours.add_elements(&news[..2]).unwrap();
    });
}

#[test]
fn a_missing_table_is_not_an_absent_element() {
    in_new_net("a_missing_table_is_not_an_absent_element", || {
        let mut ours = Nft::open("staunch", TIMEOUT).unwrap();
        let address = ip("192.0.2.1");
        assert!(matches!(
            ours.get_element(address).unwrap_err(),
            NftError::Missing { .. }
        ));
        assert!(matches!(
            ours.delete_elements(&[address]).unwrap_err(),
            NftError::Missing { .. }
        ));
        assert!(matches!(ours.list_elements().unwrap_err(), NftError::Missing { .. }));
        let error = ours.add_elements(&[element("192.0.2.1")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot add 192.0.2.1 in the set \"block4\" of table \"inet staunch\": the table, or what it should hold, is missing"
        );
        nft("add table inet staunch");
        assert!(matches!(
            ours.get_element(address).unwrap_err(),
            NftError::Missing { .. }
        ));
    });
}

#[test]
fn an_element_expires_by_itself() {
    in_new_net("an_element_expires_by_itself", || {
        let mut ours = made();
        ours.add_elements(&[NewElement {
            address: ip("192.0.2.1"),
            timeout: TIMEOUT_MIN,
            comment: "",
        }])
        .unwrap();
        until("the element has expired", || {
            ours.get_element(ip("192.0.2.1")).unwrap().is_none().then_some(())
        });
        assert!(matches!(
            ours.delete_elements(&[ip("192.0.2.1")]).unwrap_err(),
            NftError::Absent { .. }
        ));
    });
}

#[test]
fn renewing_counts_from_now_and_keeps_the_comment() {
    in_new_net("renewing_counts_from_now_and_keeps_the_comment", || {
        let mut ours = made();
        let address = ip("2001:db8::1");
        ours.add_elements(&[NewElement {
            address,
            timeout: HOUR,
            comment: "t-1",
        }])
        .unwrap();
        for timeout in [HOUR * 2, Duration::from_secs(60), HOUR] {
            let renewed = ours.renew(address, "t-1", timeout).unwrap();
            assert_eq!(renewed.timeout, Some(timeout));
            assert!(renewed.expires.unwrap() > timeout - Duration::from_secs(5));
            assert_eq!(renewed.comment.as_deref(), Some("t-1"));
        }
        // The same timeout again: the deadline has to move all the same.
        let before = until("time has passed on the element", || {
            let expires = ours.get_element(address).unwrap().unwrap().expires.unwrap();
            (expires < HOUR - Duration::from_millis(50)).then_some(expires)
        });
        assert!(ours.renew(address, "t-1", HOUR).unwrap().expires.unwrap() > before);
        let shown = nft("list set inet staunch block6");
        assert!(
            shown.contains("timeout 1h") && shown.contains("comment \"t-1\""),
            "{shown}"
        );

        assert!(matches!(
            ours.renew(address, "t-2", HOUR).unwrap_err(),
            NftError::Foreign { .. }
        ));
        assert!(matches!(
            ours.renew(ip("192.0.2.1"), "t-1", HOUR).unwrap_err(),
            NftError::Absent { .. }
        ));
        assert!(ours.get_element(ip("192.0.2.1")).unwrap().is_none());
    });
}

#[test]
fn a_conditional_delete_spares_the_element_of_another() {
    in_new_net("a_conditional_delete_spares_the_element_of_another", || {
        let mut ours = made();
        let address = ip("192.0.2.1");
        assert_eq!(ours.delete_if(address, "t-1").unwrap(), DeleteIf::Absent);
        ours.add_elements(&[element("192.0.2.1")]).unwrap();
        let other = DeleteIf::Other {
            comment: Some("t-1".to_owned()),
        };
        assert_eq!(ours.delete_if(address, "t-2").unwrap(), other);
        assert!(ours.get_element(address).unwrap().is_some());
        assert_eq!(ours.delete_if(address, "t-1").unwrap(), DeleteIf::Deleted);
        assert!(ours.get_element(address).unwrap().is_none());
    });
}

#[test]
fn a_change_for_another_generation_does_not_land() {
    in_new_net("a_change_for_another_generation_does_not_land", || {
        let mut ours = made();
        let seen = ours.generation().unwrap();
        ours.add_elements_at(seen, &[element("192.0.2.1")]).unwrap();
        // Our own change made a new generation.
        let error = ours.add_elements_at(seen, &[element("192.0.2.2")]).unwrap_err();
        assert!(matches!(error, NftError::Moved { .. }), "{error:?}");
        let seen = ours.generation().unwrap();
        nft("add table ip other");
        let error = ours.delete_elements_at(seen, &[ip("192.0.2.1")]).unwrap_err();
        assert!(matches!(error, NftError::Moved { .. }), "{error:?}");
        assert_eq!(ours.list_elements().unwrap().len(), 1);
        let seen = ours.generation().unwrap();
        ours.delete_elements_at(seen, &[ip("192.0.2.1")]).unwrap();
    });
}

#[test]
fn a_hundred_thousand_elements_are_listed() {
    in_new_net("a_hundred_thousand_elements_are_listed", || {
        let mut ours = made();
        let all = addresses(100_000);
        for chunk in all.chunks(1_000) {
            ours.add_elements(&elements(chunk)).unwrap();
        }
        let listed = ours.list_elements().unwrap();
        assert_eq!(listed.len(), all.len());
        assert!(listed.iter().all(|it| it.has_comment("t-1")));
    });
}
