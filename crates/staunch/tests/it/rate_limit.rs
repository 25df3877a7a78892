//! From an alert to an address of which a part gets through.

use nix::sys::signal::Signal;
use staunch_model::{ActionKind, StateKind};
use staunch_netlink::nftables::Nft;

use crate::harness::{DEADLINE, Home, SMALL, brute_force_from, elements, in_namespace, wait_until};

const PLAYBOOK: &str = "playbook: brute-force-block
summary: Limit an address that guesses passwords, for one hour.
trigger:
  sources: [suricata]
  when: event.signature.contains(\"Brute Force\")
  incident: event.source.ip
contain:
  - rate-limit-ip: { target: event.source.ip, lease: 1h }
mode: { low: enforce }
";
const ATTACKER: &str = "203.0.113.7";

fn limited() -> usize {
    let mut nft = Nft::open("staunch_limit", DEADLINE).expect("this thread may");
    nft.list_elements().map_or(0, |elements| elements.len())
}

#[test]
fn an_address_is_limited_and_not_blocked() {
    in_namespace("rate_limit::an_address_is_limited", || {
        let home = Home::new(&format!(
            "{SMALL}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n"
        ));
        home.playbook("limit.yaml", PLAYBOOK);
        let server = home.serve();
        server.take(&brute_force_from(ATTACKER));
        wait_until("the containment", || {
            let all = server.containments();
            all.iter().any(|it| it.state == StateKind::InForce)
        });
        assert_eq!(server.containments()[0].action, ActionKind::RateLimitIp);
        assert_eq!((limited(), elements().len()), (1, 0));
        server.ok(&["release", "TX-1", "--yes", "--reason", "a test"]);
        wait_until("the release", || server.containments().is_empty());
        assert_eq!(limited(), 0);

        // Another limit takes effect with the next start, when nothing is limited.
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0));
        home.configure(&format!(
            "{SMALL}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n[rate_limit]\npackets_per_second = 5\n"
        ));
        let server = home.serve();
        server.take(&brute_force_from("203.0.113.8"));
        wait_until("the containment", || limited() == 1);
        server.kill();

        home.configure(&format!(
            "{SMALL}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n"
        ));
        let server = home.serve();
        assert!(home.log().contains("keep their rate"), "{}", home.log());
        server.take(&brute_force_from("203.0.113.9"));
        wait_until("the containment", || limited() == 2);
        let mut nft = Nft::open("staunch_limit", DEADLINE).expect("this thread may");
        let found = nft.limit_found().expect("it can be read");
        assert_eq!(found.map(|it| it.packets_per_second), Some(5));
        let doctor = home.run(&["doctor"]);
        let shown = String::from_utf8_lossy(&doctor.stdout).replace('\n', " ");
        let words: Vec<&str> = shown.split_whitespace().collect();
        assert!(words.join(" ").contains("hold 2 of ours"), "{shown}");
        server.kill();
        let released = home.run(&["release", "--all", "--direct", "--yes", "--reason", "a test"]);
        assert_eq!(released.status.code(), Some(10));
        assert_eq!(limited(), 0);
        home.serve();
    });
}
