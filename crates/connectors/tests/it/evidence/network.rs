//! What the kernel says of the network: links, routes, neighbours, sockets, flows and rules, in namespaces of our own.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use staunch_connectors::evidence::{FlowsCollector, NetworkCollector, RulesetCollector, SocketsCollector};

use super::{is_installed, list, one, request, run, take};
use crate::block_ip_setting::{
    at, connect_namespaces, connection, in_new_net, in_new_net_with_nft, ip, make_table_with, nft,
};

const SERVER: &str = "10.9.0.1";
const CLIENT: &str = "10.9.0.2";
const OTHER: &str = "10.9.0.3";

#[test]
fn links_routes_rules_and_neighbours_are_taken() {
    const TEST: &str = "links_routes_rules_and_neighbours_are_taken";
    if !is_installed(TEST, "ip") {
        return;
    }
    in_new_net(TEST, || {
        let _other = connect_namespaces(&[SERVER, "fd09::1"], &[CLIENT]);
        run("ip neigh add 10.9.0.77 lladdr 02:00:00:00:00:4d dev here");
        run("ip neigh add fd09::4d lladdr 02:00:00:00:00:4d dev here");
        run("ip route add 198.51.100.0/24 via 10.9.0.2 table 4242");
        run("ip -6 route add 2001:db8:7::/48 dev here table 4242");
        run("ip rule add fwmark 7 table 4242");
        let (kept, collected) = take(&mut NetworkCollector::new("/proc".into()), &request(None));
        assert!(collected.changes.is_empty());
        let json = kept.json("network.json");
        assert_eq!(json["complete"], true, "{}", json["problems"]);
        let here = one(&json, "links", &[("name", json!("here"))]);
        let index = here["index"].clone();
        assert_eq!(here["info"]["kind"], "veth");
        one(
            &json,
            "addresses",
            &[("local", json!(SERVER)), ("index", index.clone())],
        );
        one(
            &json,
            "addresses",
            &[("address", json!("fd09::1")), ("index", index.clone())],
        );
        let route = one(&json, "routes", &[("destination", json!("198.51.100.0"))]);
        assert_eq!((&route["gateway"], &route["table"]), (&json!(CLIENT), &json!(4_242)));
        assert_eq!((&route["destination_length"], &route["out_link"]), (&json!(24), &index));
        let route = one(&json, "routes", &[("destination", json!("2001:db8:7::"))]);
        assert_eq!((&route["table"], &route["family"]), (&json!(4_242), &json!(10)));
        let rule = one(&json, "rules", &[("mark", json!(7))]);
        assert_eq!(rule["table"], 4_242);
        for destination in ["10.9.0.77", "fd09::4d"] {
            let neighbour = one(&json, "neighbours", &[("destination", json!(destination))]);
            assert_eq!(neighbour["hardware_address"], json!({"hex": "02000000004d"}));
            assert_eq!(neighbour["index"], index);
        }
        let lo = one(&json, "links", &[("name", json!("lo"))]);
        // Statistics are not decoded, and not lost.
        assert!(
            lo["attribute 23"]["hex"].as_str().is_some_and(|it| it.len() > 100),
            "{lo}"
        );
    });
}

#[test]
fn every_socket_is_taken_with_its_holder() {
    in_new_net("every_socket_is_taken_with_its_holder", || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        let udp_port = udp.local_addr().unwrap().port();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a\nb");
        let _unix = UnixListener::bind(&path).unwrap();
        let (kept, _) = take(&mut SocketsCollector::new("/proc".into()), &request(None));
        let json = kept.json("sockets.json");
        let held = |socket: &serde_json::Value| {
            let holders = socket["holders"].as_array().unwrap();
            holders
                .iter()
                .any(|it| it["pid"] == std::process::id() && it["file"].is_u64())
        };
        let tcp = one(&json, "tcp", &[("local_port", json!(port))]);
        assert_eq!((&tcp["state"], &tcp["family"]), (&json!("listening"), &json!("inet")));
        assert!(held(tcp), "{tcp}");
        let udp = one(&json, "udp", &[("local_port", json!(udp_port))]);
        assert_eq!((&udp["local"], &udp["family"]), (&json!("::1"), &json!("inet6")));
        assert!(held(udp), "{udp}");
        let unix = one(&json, "unix", &[("name", json!(path.to_str().unwrap()))]);
        assert!(held(unix), "{unix}");
    });
}

#[test]
fn the_flows_of_an_address_are_taken_with_their_processes() {
    in_new_net("the_flows_of_an_address_are_taken_with_their_processes", || {
        make_table_with(None);
        let other = connect_namespaces(&[SERVER], &[CLIENT, OTHER]);
        let with_it = connection(&other, SERVER, CLIENT);
        let _with_other = connection(&other, SERVER, OTHER);
        let port = with_it.0.peer_addr().unwrap().port();
        // One that does not know that it talks IPv4.
        let any = TcpListener::bind("[::]:0").unwrap();
        let mapped = SocketAddr::new(ip(SERVER), any.local_addr().unwrap().port());
        let client = crate::block_ip_setting::inside(&other, || {
            use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
            use std::os::fd::AsRawFd as _;
            let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
            bind(
                socket.as_raw_fd(),
                &SockaddrStorage::from(SocketAddr::new(ip(CLIENT), 0)),
            )
            .unwrap();
            connect(socket.as_raw_fd(), &SockaddrStorage::from(mapped)).unwrap();
            socket
        });
        let accepted = any.accept().unwrap().0;
        let (kept, _) = take(&mut FlowsCollector::new("/proc".into()), &request(Some(at(CLIENT))));
        drop((client, accepted));
        let json = kept.json("flows.json");
        assert_eq!(json["complete"], true, "{}", json["problems"]);
        let tracked = list(&json, "tracked");
        assert_eq!(tracked.len(), 2, "{json}");
        let has_it = tracked.iter().any(|it| {
            it["original"]["source_port"] == port && it["original"]["source"] == CLIENT && it["established"] == true
        });
        assert!(has_it, "{json}");
        assert!(tracked.iter().all(|it| it["more"]["id"].is_u64()), "{json}");
        assert_eq!(list(&json, "sockets").len(), 2, "{json}");
        let socket = one(&json, "sockets", &[("remote_port", json!(port))]);
        assert_eq!(
            (&socket["remote"], &socket["state"]),
            (&json!(CLIENT), &json!("established"))
        );
        assert_eq!(socket["holders"][0]["pid"], std::process::id(), "{socket}");
        one(&json, "sockets", &[("remote", json!(format!("::ffff:{CLIENT}")))]);
        assert!(!String::from_utf8_lossy(&kept.artefact("flows.json").bytes).contains(OTHER));
    });
}

#[test]
fn the_whole_ruleset_is_taken_whosever_it_is() {
    in_new_net_with_nft("the_whole_ruleset_is_taken_whosever_it_is", || {
        nft(
            "table ip6 theirs {\n set s { type ipv6_addr; flags interval; elements = { 2001:db8::/32 }; }\n \
             chain d { }\n chain c {\n type filter hook input priority -7; policy drop;\n \
             ip6 saddr @s counter accept comment \"why\"\n limit rate 3/second log prefix \"seen\"\n jump d\n }\n }\n \
             table inet ours {\n counter named { }\n \
             map m { type ipv4_addr : verdict; elements = { 192.0.2.9 : drop }; }\n }\n",
        );
        let (kept, _) = take(&mut RulesetCollector::new("/proc".into()), &request(None));
        let json = kept.json("ruleset.json");
        assert_eq!(json["complete"], true, "{}", json["problems"]);
        assert_eq!(
            (&json["generation"], &json["attempts"]),
            (&json["generation_after"], &json!(1))
        );
        one(&json, "tables", &[("name", json!("theirs")), ("family", json!(10))]);
        let chain = one(&json, "chains", &[("name", json!("c")), ("table", json!("theirs"))]);
        assert_eq!((&chain["hook"]["priority"], &chain["policy"]), (&json!(-7), &json!(0)));
        let rules = list(&json, "rules");
        assert_eq!(rules.len(), 3, "{json}");
        let names: Vec<&str> = list(&rules[0], "expressions")
            .iter()
            .map(|it| it["name"].as_str().unwrap())
            .collect();
        assert!(
            names.contains(&"lookup") && names.ends_with(&["counter", "immediate"]),
            "{names:?}"
        );
        let verdict = &list(&rules[0], "expressions").last().unwrap()["data"]["data"]["verdict"];
        assert_eq!(verdict["code"], 1, "accepted");
        let jump = &list(&rules[2], "expressions").last().unwrap()["data"]["data"]["verdict"];
        assert_eq!((&jump["code"], &jump["chain"]), (&json!(-3), &json!("d")));
        let text = rules[1].to_string();
        assert!(text.contains("\"seen\"") && text.contains("\"rate\":3"), "{text}");
        one(&json, "objects", &[("name", json!("named"))]);
        let elements = |set: &str| {
            let of_set = list(&json, "elements").iter().filter(|it| it["set"] == set);
            of_set.flat_map(|it| list(it, "elements").to_vec()).collect::<Vec<_>>()
        };
        let network = json!({ "value": { "hex": "20010db8000000000000000000000000" } });
        assert!(elements("s").iter().any(|it| it["key"] == network), "{json}");
        let of_map = elements("m");
        assert_eq!(
            (of_map.len(), &of_map[0]["data"]["verdict"]["code"]),
            (1, &json!(0)),
            "dropped"
        );
    });
}

#[test]
fn a_ruleset_that_changes_is_of_one_generation_or_says_that_it_is_not() {
    in_new_net_with_nft(
        "a_ruleset_that_changes_is_of_one_generation_or_says_that_it_is_not",
        || {
            nft("add table inet t; add set inet t s { type ipv4_addr; size 65535; }");
            let elements: Vec<String> = (0..4_000).map(|it| format!("10.1.{}.{}", it / 250, it % 250)).collect();
            nft(&format!("add element inet t s {{ {} }}", elements.join(",")));
            let done = AtomicBool::new(false);
            let mut repeated = false;
            std::thread::scope(|scope| {
                let namespace = staunch_netlink::namespace::NetNs::current().unwrap();
                let done = &done;
                scope.spawn(move || {
                    namespace.enter().unwrap();
                    while !done.load(Ordering::Relaxed) {
                        nft("add element inet t s { 10.2.0.1 }\ndelete element inet t s { 10.2.0.1 }\n");
                    }
                });
                for _ in 0..100 {
                    if repeated {
                        break;
                    }
                    let mut kept = staunch_testkit::contract::collector::Kept::default();
                    let mut collector = RulesetCollector::new("/proc".into());
                    use staunch_ports::Collector as _;
                    match collector.execute(&request(None), &mut kept) {
                        Ok(_) => {
                            let json = kept.json("ruleset.json");
                            let same = json["generation"] == json["generation_after"];
                            assert_eq!(same, json["complete"] == true, "{}", json["problems"]);
                            repeated |= json["attempts"] != 1;
                        }
                        // It never rested.
                        Err(failure) => {
                            assert_eq!(failure.kind, staunch_model::FailureKind::Conflict, "{failure}");
                            repeated = true;
                        }
                    }
                }
                done.store(true, Ordering::Relaxed);
            });
            assert!(repeated, "it never changed while it was read");
        },
    );
}
