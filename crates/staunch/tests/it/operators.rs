//! What operators can do when the server is crowded, gone, elsewhere, or a former installation has left something.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use staunch_netlink::nftables::{NewElement, Nft};
use staunch_server::dto::Status;

use crate::harness::{
    DEADLINE, Home, SMALL, Server, element, elements, exploit_from, in_namespace, staunch, stderr, wait_until,
};

const ATTACKER: &str = "203.0.113.1";

fn contains(server: &Server) {
    server.take(&exploit_from(ATTACKER));
    wait_until("the containment", || element(ATTACKER).is_some());
}

/// `count` connections that have begun a request and will never end it.
fn half_open(server: &Server, count: usize) -> Vec<TcpStream> {
    let address = server.url.strip_prefix("http://").expect("it is plain HTTP");
    (0..count)
        .filter_map(|_| {
            let mut stream = TcpStream::connect(address).ok()?;
            // Those that are turned away cannot be written to.
            drop(stream.write_all(b"GET /v1/status HTTP/1.1\r\n"));
            Some(stream)
        })
        .collect()
}

#[test]
fn half_open_connections_do_not_crowd_out_operators() {
    in_namespace("operators::half_open", || {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("it can be read");
        setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to the hard limit");
        let home = Home::new(SMALL);
        let server = home.serve();
        contains(&server);
        let crowd = half_open(&server, 1_100);
        assert_eq!(crowd.len(), 1_100);
        let button = home.run(&["release", "--all", "--reason", "ours", "--yes", "--json"]);
        assert_eq!(button.status.code(), Some(0), "{button:?}");
        let answer: serde_json::Value = serde_json::from_slice(&button.stdout).expect("it is JSON");
        assert_eq!(
            (&answer["way"], &answer["affected"][0]),
            (&"server".into(), &"TX-1".into())
        );
        wait_until("the release", || elements().is_empty());
        drop(crowd);
    });
}

#[test]
fn operators_on_this_machine_have_a_way_of_their_own() {
    in_namespace("operators::socket", || {
        let home = Home::new(SMALL);
        assert!(
            home.run(&["token", "create", "soar", "--role", "sender"])
                .status
                .success()
        );
        let Ok(server) = home.try_serve(&[]) else {
            panic!("{}", home.log())
        };
        let socket = home.data().join("operators.sock");
        let mode = fs::metadata(&socket).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            server.run(&["status"]).status.code(),
            Some(8),
            "by the network a token is needed"
        );
        let data = home.data().display().to_string();
        let named = server.run(&["status", "--data-dir", &data]);
        assert_eq!(
            named.status.code(),
            Some(8),
            "a URL that is named goes first: {named:?}"
        );
        let named = staunch(&["status", "--data-dir", &data]).output().expect("it starts");
        assert!(named.status.success(), "{named:?}");
        let broken = home.path("broken.toml").display().to_string();
        fs::write(&broken, "data_dir = 7").expect("it is our directory");
        let refused = staunch(&["status", "--config", &broken]).output().expect("it starts");
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        // A slip of the pen in the file does not keep anybody from a server that runs.
        let around = staunch(&["status", "--config", &broken, "--data-dir", &data]);
        let around = { around }.output().expect("it starts");
        assert!(around.status.success(), "{around:?}");
        assert!(
            stderr(&around).contains("going on with what can be read of it"),
            "{around:?}"
        );
        let here = home.run(&["mode", "approve", "--reason", "ours", "--yes"]);
        assert!(here.status.success(), "{here:?}");
        drop(server);
        let journal = home.run(&["journal", "cat"]);
        assert!(
            String::from_utf8_lossy(&journal.stdout).contains("operators-socket"),
            "{journal:?}"
        );
        // What the killed server has left is in nobody's way.
        let Ok(_again) = home.try_serve(&[]) else {
            panic!("{}", home.log())
        };
        assert!(home.run(&["status"]).status.success());
    });
}

#[test]
fn a_misspelt_key_keeps_nobody_from_looking_and_from_letting_go() {
    in_namespace("operators::misspelt", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        contains(&server);
        home.configure(&SMALL.replace("mode =", "mod ="));
        for command in [&["status"][..], &["incident", "list"], &["containment", "list"]] {
            let looked = home.run(command);
            assert!(looked.status.success(), "{looked:?}");
            let said = stderr(&looked);
            for part in [
                "did you mean `mode`?",
                "warning: 1 mistake in the configuration",
                "going on",
            ] {
                assert!(said.contains(part), "{part}: {said}");
            }
        }
        let status: Status = serde_json::from_slice(&home.run(&["status", "--json"]).stdout).expect("it is JSON");
        assert_eq!(status.in_force, 1, "it is the server of this data directory");
        // What may have been the data directory is not guessed.
        let mistaken = fs::read_to_string(home.config())
            .expect("it is ours")
            .replace("data_dir", "data_dri");
        fs::write(home.path("other.toml"), mistaken).expect("it is our directory");
        let other = home.path("other.toml").display().to_string();
        let refused = staunch(&["status", "--config", &other]).output().expect("it starts");
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        // Nor where another Staunch may hold something.
        server.kill();
        for (from, to) in [
            ("data_dir", "data_dri"),
            ("[journal]", "[nftables]\ntabel = \"other\"\n[journal]"),
        ] {
            let mistaken = fs::read_to_string(home.config())
                .expect("it is ours")
                .replace("mod =", "mode =");
            fs::write(home.path("other.toml"), mistaken.replace(from, to)).expect("it is our directory");
            for direct in [&[][..], &["--direct"]] {
                let asked = [&["release", "--all", "--yes", "--config", &other][..], direct].concat();
                let refused = staunch(&asked).output().expect("it starts");
                assert_eq!(refused.status.code(), Some(2), "{from}: {refused:?}");
                assert!(stderr(&refused).contains("nothing was released"), "{refused:?}");
            }
        }
        assert!(element(ATTACKER).is_some());
        // The table is the one that the file names, although something else in it cannot be read.
        home.configure(&SMALL.replace("mode =", "mod ="));
        let released = home.run(&["release", "--all", "--yes", "--json"]);
        assert_eq!(released.status.code(), Some(10), "{released:?}");
        let answer: serde_json::Value = serde_json::from_slice(&released.stdout).expect("it is JSON");
        assert_eq!(
            (&answer["released"], &answer["former_left"]),
            (&1.into(), &0.into()),
            "{answer}"
        );
        assert!(element(ATTACKER).is_none());
    });
}

#[test]
fn only_a_local_server_that_does_not_answer_is_gone_around() {
    in_namespace("operators::around", || {
        let home = Home::new(&SMALL.replace("[journal]", "[http]\nconnections_max = 4\n[journal]"));
        let at_the_configured_address = ["--allow-unauthenticated-loopback", "--listen", "127.0.0.1:7450"];
        let Ok(server) = home.try_serve(&at_the_configured_address) else {
            panic!("{}", home.log())
        };
        contains(&server);

        let elsewhere = home.run(&["release", "--all", "--yes", "--url", "http://127.0.0.1:1"]);
        assert_eq!(elsewhere.status.code(), Some(3), "{elsewhere:?}");
        assert!(
            stderr(&elsewhere).contains("nothing was released here"),
            "{elsewhere:?}"
        );
        let both = home.run(&["release", "--all", "--direct", "--yes", "--url", "http://127.0.0.1:1"]);
        assert_eq!(both.status.code(), Some(2), "{both:?}");
        assert!(
            element(ATTACKER).is_some(),
            "another server's answer is no reason to let go here"
        );

        // A server that turns everybody away is healthy all the same.
        fs::remove_file(home.data().join("operators.sock")).expect("it is there");
        let crowd = half_open(&server, 4);
        let busy = home.run(&["release", "--all", "--reason", "ours", "--yes"]);
        assert_eq!(busy.status.code(), Some(9), "{busy:?}");
        assert!(stderr(&busy).contains("--direct"), "{busy:?}");
        assert!(element(ATTACKER).is_some(), "it was not gone around");
        drop(crowd);

        let asked = home.run(&["release", "--all", "--direct", "--yes"]);
        assert_eq!(asked.status.code(), Some(10), "{asked:?}");
        assert!(elements().is_empty());

        // Without a server here there is nobody else to ask.
        server.kill();
        let server = home.serve();
        server.take(&exploit_from("203.0.113.2"));
        wait_until("the containment", || element("203.0.113.2").is_some());
        server.kill();
        let gone = home.run(&["release", "--all", "--yes"]);
        assert_eq!(gone.status.code(), Some(10), "{gone:?}");
        assert!(stderr(&gone).contains("it is gone around"), "{gone:?}");
        assert!(elements().is_empty());
    });
}

/// Puts something that is not Staunch's into the table.
fn plant(address: &str, comment: &str) {
    let element = NewElement {
        address: address.parse().expect("an address"),
        timeout: Duration::from_secs(600),
        comment,
    };
    let mut nft = Nft::open("staunch", DEADLINE).expect("this thread may");
    nft.add_elements(&[element]).expect("the table is there");
}

#[test]
fn what_a_former_installation_has_left_is_seen_and_can_be_lifted() {
    in_namespace("operators::former", || {
        let home = Home::new(&format!("{SMALL}[limits]\nsweep_interval = \"1s\"\n"));
        let lose_everything = |server: Server| {
            server.kill();
            fs::remove_dir_all(home.data()).expect("it is ours");
        };
        let server = home.serve();
        contains(&server);
        plant("198.51.100.9", "fail2ban");
        lose_everything(server);

        let server = home.serve();
        let former = || server.get::<Status>("/v1/status").former;
        wait_until("the first sweep", || former() == 1);
        assert!(home.log().contains("release --all --former"), "{}", home.log());
        assert!(server.ok(&["status"]).contains("FORMER INSTALLATIONS"));
        let list = server.ok(&["containment", "list"]);
        let label = element(ATTACKER).and_then(|it| it.comment).expect("it has a label");
        for part in [ATTACKER, &label, "another installation"] {
            assert!(list.contains(part), "{part}: {list}");
        }
        assert!(!list.contains("198.51.100.9"), "it is not Staunch's: {list}");

        server.take(&exploit_from("203.0.113.2"));
        wait_until("the containment", || element("203.0.113.2").is_some());
        let usual = server.run(&["release", "--all", "--reason", "ours", "--yes"]);
        assert!(stderr(&usual).contains("1 of former installations stay"), "{usual:?}");
        wait_until("the release", || element("203.0.113.2").is_none());
        assert!(element(ATTACKER).is_some());

        server.ok(&["release", "--all", "--former", "--reason", "ours", "--yes"]);
        assert!(element(ATTACKER).is_none(), "it is lifted when the command says so");
        assert!(element("198.51.100.9").is_some(), "it carries no label of Staunch");
        assert_eq!(former(), 0);
        contains(&server);
        lose_everything(server);
        let journal_is_new = home.serve();
        wait_until("the first sweep", || {
            journal_is_new.get::<Status>("/v1/status").former == 1
        });
        assert!(
            journal_is_new
                .run(&["release", "--all", "--former", "--reason", "ours", "--yes"])
                .status
                .success()
        );
        journal_is_new.kill();
        let journal = home.run(&["journal", "cat"]);
        let told = String::from_utf8_lossy(&journal.stdout).into_owned();
        assert!(told.contains("release what a former installation has left"), "{told}");
    });
}

#[test]
fn a_former_installation_can_be_lifted_without_a_server() {
    in_namespace("operators::former_directly", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        contains(&server);
        server.kill();
        fs::remove_dir_all(home.data()).expect("it is ours");
        home.serve().kill();
        plant("198.51.100.9", "fail2ban");
        let ours = home.run(&["release", "--all", "--yes"]);
        assert_eq!(ours.status.code(), Some(10), "{ours:?}");
        assert!(stderr(&ours).contains("1 of former installations stay"), "{ours:?}");
        assert!(element(ATTACKER).is_some());
        let all = home.run(&["release", "--all", "--former", "--yes"]);
        assert_eq!(all.status.code(), Some(10), "{all:?}");
        assert!(element(ATTACKER).is_none());
        assert!(element("198.51.100.9").is_some(), "it carries no label of Staunch");
    });
}
