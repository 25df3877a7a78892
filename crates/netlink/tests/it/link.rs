//! Links, addresses and routes.

use staunch_netlink::link::{Destination, InterfaceAddress, LinkError, Links};
use staunch_netlink::namespace::{NetNs, run_in_new_net};

use crate::setting::{TIMEOUT, command, connect_namespaces, in_new_net, inside, ip};

#[test]
fn a_new_namespace_has_its_loopback_up() {
    in_new_net("a_new_namespace_has_its_loopback_up", || {
        let addresses: Vec<_> = Links::open(TIMEOUT).unwrap().addresses().unwrap();
        assert!(addresses.contains(&InterfaceAddress {
            address: ip("127.0.0.1"),
            prefix: 8,
            index: 1
        }));
        assert!(command("ip", &["link", "show", "lo"]).unwrap().contains(",UP"));
    });
}

#[test]
fn addresses_and_gateways_are_those_that_ip_shows() {
    in_new_net("addresses_and_gateways_are_those_that_ip_shows", || {
        let _other = connect_namespaces(&["10.9.0.1", "fd09::1"], &["10.9.0.2", "fd09::2"]);
        let mut links = Links::open(TIMEOUT).unwrap();
        assert!(links.gateways().unwrap().is_empty());
        links.add_route(None, ip("10.9.0.2"), None).unwrap();
        links.add_route(None, ip("fd09::2"), Some("here")).unwrap();
        links
            .add_route(Some((ip("198.51.100.0"), 24)), ip("10.9.0.3"), Some("here"))
            .unwrap();
        assert_eq!(links.gateways().unwrap(), [ip("10.9.0.2"), ip("fd09::2")]);

        let index = links.index("here").unwrap();
        let ours: Vec<_> = links
            .addresses()
            .unwrap()
            .into_iter()
            .filter(|it| it.index == index)
            .collect();
        assert!(ours.contains(&InterfaceAddress {
            address: ip("10.9.0.1"),
            prefix: 24,
            index
        }));
        assert!(ours.contains(&InterfaceAddress {
            address: ip("fd09::1"),
            prefix: 64,
            index
        }));

        let routes = command("ip", &["route"]).unwrap();
        assert!(routes.contains("default via 10.9.0.2 dev here"), "{routes}");
        assert!(routes.contains("198.51.100.0/24 via 10.9.0.3 dev here"), "{routes}");
        let shown = command("ip", &["-o", "addr", "show", "here"]).unwrap();
        assert!(shown.contains("10.9.0.1/24") && shown.contains("fd09::1/64"), "{shown}");
    });
}

#[test]
fn several_paths_and_other_tables_are_told_apart() {
    in_new_net("several_paths_and_other_tables_are_told_apart", || {
        let _other = connect_namespaces(&["10.9.0.1"], &["10.9.0.2"]);
        let paths = [
            "route", "add", "default", "nexthop", "via", "10.9.0.2", "nexthop", "via", "10.9.0.3",
        ];
        command("ip", &paths).unwrap();
        command("ip", &["route", "add", "default", "via", "10.9.0.9", "table", "77"]).unwrap();
        assert_eq!(
            Links::open(TIMEOUT).unwrap().gateways().unwrap(),
            [ip("10.9.0.2"), ip("10.9.0.3")]
        );
    });
}

#[test]
fn refusals_say_what_is_missing_or_taken() {
    in_new_net("refusals_say_what_is_missing_or_taken", || {
        let mut links = Links::open(TIMEOUT).unwrap();
        let error = links.set_up("absent").unwrap_err();
        assert!(matches!(error, LinkError::Missing { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            "cannot set the link \"absent\" up: there is no such object"
        );
        links.create_pair("a", "b").unwrap();
        assert!(matches!(
            links.create_pair("a", "c").unwrap_err(),
            LinkError::Exists { .. }
        ));
        links.add_address("a", ip("10.9.0.1"), 24).unwrap();
        assert!(matches!(
            links.add_address("a", ip("10.9.0.1"), 24).unwrap_err(),
            LinkError::Exists { .. }
        ));
        assert!(matches!(
            links.add_route(None, ip("203.0.113.1"), None).unwrap_err(),
            LinkError::Missing { .. }
        ));
        let nobody = Destination::<NetNs>::Process(u32::MAX >> 1);
        assert!(matches!(
            links.move_link("a", &nobody).unwrap_err(),
            LinkError::Missing { .. }
        ));
    });
}

#[test]
fn a_socket_stays_in_the_namespace_it_was_opened_in() {
    in_new_net("a_socket_stays_in_the_namespace_it_was_opened_in", || {
        let mut links = Links::open(TIMEOUT).unwrap();
        links.create_pair("a", "b").unwrap();
        let other = run_in_new_net(|| NetNs::current().unwrap()).unwrap();
        inside(&other, || {
            links.index("a").unwrap();
            assert!(Links::open(TIMEOUT).unwrap().index("a").is_err());
        });
    });
}
