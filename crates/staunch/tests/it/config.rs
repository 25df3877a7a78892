//! Mistakes in the configuration: where, what, and how to mend it.

use crate::harness::{Home, stderr, stdout};

/// Checks that `config` is refused at `place` with `words`.
fn check(config: &str, place: &str, words: &[&str]) {
    let home = Home::new("");
    std::fs::write(home.config(), config).expect("it is our directory");
    let output = home.run(&["check"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{config}\n{said}");
    assert!(
        said.contains(&format!("staunch.toml:{place}\n")),
        "{config}\nnot at {place}:\n{said}"
    );
    assert!(said.contains("hint: "), "{said}");
    for word in words {
        assert!(said.contains(word), "{config}\ndoes not say {word:?}:\n{said}");
    }
}

#[test]
fn every_mistake_has_a_place_and_a_hint() {
    let table: &[(&str, &str, &[&str])] = &[
        (
            "moed = \"observe\"\n",
            "1:1",
            &["unknown key `moed`", "did you mean `mode`?"],
        ),
        ("mode = \"observ\"\n", "1:8", &["`observ`", "did you mean `observe`?"]),
        ("\n[http]\nlissten = \"x\"\n", "3:1", &["did you mean `listen`?"]),
        ("[http]\nlisten = \"localhost\"\n", "2:10", &["socket address"]),
        ("[http\n", "1:6", &["unclosed"]),
        (
            "mode = \"observe\"\nmode = \"observe\"\n",
            "2:1",
            &["duplicate", "keep one of the two"],
        ),
        ("[limits]\nlease_max = \"10\"\n", "2:13", &["not a duration", "1h30m"]),
        (
            "[limits]\nlease_max = \"400d\"\n",
            "2:13",
            &["must end by itself", "\"90d\""],
        ),
        ("[limits]\nactions_in_flight_max = 0\n", "2:25", &["from 1 to 1024"]),
        ("[evidence]\nkeep = \"1h\"\n", "2:8", &["\"1d\" to \"36500d\""]),
        (
            "[evidence]\ntlp = \"white\"\n",
            "2:7",
            &["unknown value", "amber-strict"],
        ),
        (
            "[evidence]\nclassification = \"\"\n",
            "2:18",
            &["0 characters", "1 to 100 characters, or leave it out"],
        ),
        (
            "[evidence]\nsource = { region = \"a\\nb\" }\n",
            "2:21",
            &["control characters", "in one line"],
        ),
        (
            "[limits]\nacts_per_group_hour_max = 501\n",
            "2:27",
            &["above acts_per_action_hour_max (500)"],
        ),
        (
            "[limits]\nsweep_interval = \"10ms\"\n",
            "2:18",
            &["from \"1s\" to \"1h\""],
        ),
        ("[limits]\nacts_per_hour_max = -1\n", "2:21", &["invalid value"]),
        (
            "[[feeds]]\nname = \"a\"\nurl = \"https://ada:secret@feeds.example/\"\n",
            "3:7",
            &["a user or a password", "key_file"],
        ),
        (
            "[[feeds]]\nname = \"a\"\nurl = \"http://feeds.example/\"\nkey_file = \"/k\"\n",
            "3:7",
            &["would send its key where others can read it", "https://"],
        ),
        (
            "[[feeds]]\nname = \"a\"\npath = \"a.txt\"\nkey_file = \"/k\"\n",
            "4:12",
            &["has a key and is not fetched"],
        ),
        (
            "[telemetry]\notlp = \"127.0.0.1:4318\"\n",
            "2:8",
            &["no address of a receiver", "\"http://127.0.0.1:4318\""],
        ),
        (
            "[telemetry]\notlp = \"https://ada:secret@traces.example\"\n",
            "2:8",
            &["a user or a password", "no credentials are sent"],
        ),
        (
            "[[sources.syslog]]\nlisten = \"127.0.0.1:514\"\n",
            "2:10",
            &["udp:// or tcp://"],
        ),
        (
            "[[sources.syslog]]\nlisten = \"tcp://0.0.0.0:514\"\n",
            "2:10",
            &["nobody is named who may send", "from = "],
        ),
        (
            "[[sources.syslog]]\nlisten = \"udp://127.0.0.1:514\"\n[[sources.syslog]]\nlisten = \"udp://127.0.0.1:514\"\n",
            "4:10",
            &["is listened on already"],
        ),
        (
            "[[sources.syslog]]\nlisten = \"udp://127.0.0.1:514\"\nhand_on = \"all\"\n",
            "3:11",
            &["message", "entry"],
        ),
        (
            "[[sources.sockets]]\npath = \"events.sock\"\nmode = 600\n",
            "3:8",
            &["0o1130 is no mode", "0o600"],
        ),
        ("[[sources.journald]]\nunits = [\"\"]\n", "2:9", &["a name is empty"]),
        (
            "[[sources.journald]]\nunits = [\"a\"]\n[[sources.journald]]\nunits = [\"a\"]\n",
            "3:1",
            &["followed already"],
        ),
        (
            "[[sources.sockets]]\npath = \"a.sock\"\nsource = \"snort\"\n",
            "3:10",
            &["there is no source snort"],
        ),
        (
            "[[sources.files]]\npath = \"eve.json\"\nsource = \"snort\"\n",
            "3:10",
            &["there is no source snort", "suricata"],
        ),
        (
            "[[sources.generic]]\nname = \"a\\u001bb\"\nsignature = \"s\"\nsource_ip = \"ip\"\n[[sources.files]]\npath = \"eve.json\"\nsource = \
             \"snort\"\n",
            "7:10",
            &["there is no source snort", "auditd, a\\u{1b}b", "2 mistakes"],
        ),
        (
            "[[sources.files]]\npath = \"eve.json\"\n[[sources.files]]\npath = \"eve.json\"\n",
            "4:8",
            &["is followed already"],
        ),
        (
            "[[sources.files]]\nbegin = \"start\"\n",
            "1:1",
            &["missing field `path`"],
        ),
        (
            "[[never_touch.networks]]\nnetwork = \"10.0.0.1/8\"\nreason = \"x\"\n",
            "2:11",
            &["write 10.0.0.0/8 or 10.0.0.1"],
        ),
        (
            "[[never_touch.networks]]\nnetwork = \"ten\"\nreason = \"x\"\n",
            "2:11",
            &["not a network", "192.0.2.0/24"],
        ),
        (
            "[[never_touch.networks]]\nnetwork = \"10.0.0.0/8\"\n",
            "1:1",
            &["missing field `reason`", "add the key"],
        ),
        (
            "[[never_touch.networks]]\nnetwork = \"10.0.0.0/8\"\nreason = \" \"\n",
            "3:10",
            &["say in 1 to 120"],
        ),
        ("[http.tls]\ncertificate = \"a\"\n", "1:1", &["missing field `key`"]),
        (
            "[http.tls]\ncertificate = \"a\"\nkey = \"b\"\nclient_auth = \"required\"\n",
            "4:15",
            &["nobody is trusted", "client_ca"],
        ),
        (
            "[http.tls]\ncertificate = \"a\"\nkey = \"b\"\nclient_ca = \"c\"\n[[http.tls.clients]]\nname = \"a b\"\nrole = \"sender\"\ndns = \"d\"\n",
            "6:8",
            &["cannot be the name of a client"],
        ),
        (
            "[http.tls]\ncertificate = \"a\"\nkey = \"b\"\nclient_ca = \"c\"\n[[http.tls.clients]]\nname = \"a\"\nrole = \"sender\"\n",
            "5:1",
            &["has 0 names", "common_name"],
        ),
        ("[nftables]\ntable = \"a b\"\n", "2:9", &["letters, digits"]),
        (
            "[[http.senders]]\nname = \"a b\"\nsource = \"falco\"\nscheme = \"github\"\nsecret_files = [\"x\"]\n",
            "2:8",
            &["cannot be the name of a sender"],
        ),
        (
            "[[http.senders]]\nname = \"a\"\nsource = \"snort\"\nscheme = \"github\"\nsecret_files = [\"x\"]\n",
            "3:10",
            &["there is no source snort", "suricata"],
        ),
        (
            "[[http.senders]]\nname = \"a\"\nsource = \"falco\"\nscheme = \"hmac\"\nsecret_files = [\"x\"]\n",
            "4:10",
            &["`hmac`", "standard-webhooks"],
        ),
        (
            "[[http.senders]]\nname = \"a\"\nsource = \"falco\"\nscheme = \"github\"\nsecret_files = []\n",
            "5:16",
            &["name a file"],
        ),
        (
            "[[http.senders]]\nname = \"a\"\nsource = \"falco\"\nscheme = \"github\"\nsecret_files = [\"x\"]\n\
             [[http.senders]]\nname = \"b\"\nsource = \"falco\"\nscheme = \"pagerduty\"\nsecret_files = [\"y\", \"x\"]\n",
            "10:16",
            &["is the secret of another sender too", "a secret of its own"],
        ),
        (
            "[[http.senders]]\nname = \"a\"\nsource = \"falco\"\nscheme = \"github\"\nsecret_files = [\"x\"]\nwindow = \"1d\"\n",
            "6:10",
            &["from \"1s\" to \"1h\""],
        ),
        (
            "[journal]\nsegment_bytes = 1000\n",
            "2:17",
            &["from 8388608", "the longest event"],
        ),
        ("[journal]\nreserve_bytes = 60000000\n", "2:17", &["the reserve"]),
        (
            "[archive]\nfile_bytes_max = 1000\n",
            "2:18",
            &["from 4194304", "a block of events"],
        ),
        (
            "[archive]\nbytes_max = 9000000\n",
            "2:13",
            &["one file must fit", "67108864"],
        ),
        (
            "[[never_touch.files]]\npath = \"a\"\nreason = \"x\"\n[[never_touch.files]]\npath = \"a\"\nreason = \"y\"\n",
            "4:1",
            &["named twice"],
        ),
        (
            "[[risk.rows]]\nname = \"x\"\nrisk = \"low\"\n",
            "2:8",
            &["names no condition", "otherwise"],
        ),
        (
            "[[risk.rows]]\nname = \"x\"\nscore_above = 0.5\nscore_below = 0.5\nrisk = \"low\"\n",
            "3:15",
            &["no score is above 0.5 and below 0.5"],
        ),
        (
            "[[risk.rows]]\nname = \"x\"\nscore_above = 1.5\nrisk = \"low\"\n",
            "3:15",
            &["1.5 is no score", "from 0 to 1"],
        ),
        (
            "[[risk.rows]]\nname = \"x\"\nattack = [\"T11\"]\nrisk = \"low\"\n",
            "3:10",
            &["T11 is no technique"],
        ),
        (
            "[[feeds]]\nname = \"a\"\npath = \"x\"\n[[feeds]]\nname = \"a\"\npath = \"y\"\n",
            "5:8",
            &["two feeds are called a"],
        ),
        (
            "[[feeds]]\nname = \"a\"\npath = \"x\"\nexpires_after = \"1s\"\n",
            "4:17",
            &["what is old says little"],
        ),
        (
            "[[feeds]]\nname = \"a\"\n",
            "2:8",
            &["read from nowhere", "path or url"],
        ),
        (
            "[[feeds]]\nname = \"a\"\nurl = \"ftp://x\"\n",
            "3:7",
            &["cannot be fetched", "https://"],
        ),
        (
            "[[lookups]]\nname = \"a\"\nkind = \"abuseipdb\"\n",
            "3:8",
            &["nobody without a key", "key_file"],
        ),
        (
            "[[lookups]]\nname = \"a\"\nkind = \"generic\"\npointer = \"/a\"\nurl = \"http://192.0.2.1/{ip}\"\n",
            "5:7",
            &["without encryption only this machine"],
        ),
        (
            "[[lookups]]\nname = \"a\"\nkind = \"generic\"\npointer = \"/a\"\nurl = \"https://a.example/\"\n",
            "5:7",
            &["where the address stands: {ip}"],
        ),
        (
            "[[lookups]]\nname = \"a\"\nkind = \"generic\"\npointer = \"/a\"\nurl = \"https://u:p@a.example/{ip}\"\n",
            "5:7",
            &["a user or a password"],
        ),
        (
            "[[lookups]]\nname = \"a\"\nkind = \"generic\"\npointer = \"a\"\nurl = \"https://a.example/{ip}\"\n",
            "4:11",
            &["begins with a slash"],
        ),
        (
            "[[lookups]]\nname = \"a\"\nkind = \"abuseipdb\"\nkey_file = \"k\"\ncache = \"2h\"\n",
            "1:1",
            &["expires_after is 1h", "at least for as long as it is kept"],
        ),
        (
            "[[lookups]]\nname = \"a\"\nkind = \"abuseipdb\"\nkey_file = \"k\"\ndeadline = \"1m\"\n",
            "5:12",
            &["events wait for it", "from \"10ms\" to \"5s\""],
        ),
        (
            "[[feeds]]\nname = \"a\"\nformat = \"spamhaus\"\nurl = \"https://a.example/\"\nevery = \"59m\"\n",
            "5:9",
            &["Spamhaus locks out who", "from \"1h\" to \"7d\""],
        ),
        ("[traffic]\nrefresh = \"1m\"\n", "2:11", &["30s"]),
        ("[log]\nlevel = \"loud\"\n", "2:9", &["`loud`"]),
        (
            "[[sources.generic]]\nname = \"Bad\"\nsignature = \"a\"\n",
            "2:8",
            &["not a name"],
        ),
        (
            "[[sources.generic]]\nname = \"falco\"\nsignature = \"a\"\n",
            "2:8",
            &["there is a source"],
        ),
        (
            "[[sources.generic]]\nname = \"a\"\nsignature = \"a\"\nseverity = \"High\"\n",
            "4:12",
            &["is the word high, or the name of a field", "in small letters"],
        ),
        (
            "[[sources.generic]]\nname = \"a\"\nsignature = \"a\"\nsourceip = \"b\"\n",
            "4:1",
            &["did you mean `source_ip`?"],
        ),
    ];
    for (config, place, words) in table {
        check(config, place, words);
    }
}

#[test]
fn all_values_that_cannot_work_are_told_at_once() {
    let config = "[limits]\nlease_max = \"400d\"\n[nftables]\ntable = \"\"\n";
    check(config, "2:13", &["lease_max", "2 mistakes"]);
    check(config, "4:9", &["name of a table"]);
}

#[test]
fn text_in_the_file_cannot_steer_the_terminal() {
    let home = Home::new("");
    std::fs::write(home.config(), "[log]\nlevel = \"\u{9b}31mloud\"\n").expect("it is our directory");
    let said = stderr(&home.run(&["check"]));
    assert!(
        !said
            .chars()
            .any(|c| c != '\n' && staunch_model::text::is_unsafe_to_show(c)),
        "{said:?}"
    );
    assert!(said.contains("2:9"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_said() {
    let output = crate::harness::staunch(&["check", "--config", "/nowhere/staunch.toml"])
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(5));
    assert!(
        stderr(&output).contains("cannot read the configuration /nowhere/staunch.toml"),
        "{output:?}"
    );
}

#[test]
fn what_holds_is_shown_with_the_line_that_says_so() {
    let home = Home::new("");
    let text = "mode = \"approve\"\n\n[http]\ntokens_file = \"t\"\n";
    std::fs::write(home.config(), text).expect("it is our directory");
    let set = stdout(&home.run(&["config", "show"]));
    let lines: Vec<Vec<&str>> = set.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["mode", "=", "\"approve\"", "#", "line", "1"]);
    assert_eq!(lines.len(), 4, "{set}");
    assert!(lines[3][2].starts_with("\"/") && lines[3][2].ends_with("/t\""), "{set}");
    assert_eq!(lines[3][3..], ["#", "line", "4"]);

    // What is shown can be used.
    let effective = stdout(&home.run(&["config", "show", "--effective"]));
    assert!(effective.contains("[limits]\n"), "{effective}");
    std::fs::write(home.config(), &effective).expect("it is our directory");
    let again = stdout(&home.run(&["config", "show"]));
    let without_origins = |text: &str| {
        let lines = text
            .lines()
            .map(|line| line.split("# ").next().unwrap_or(line).trim_end().to_owned());
        lines.collect::<Vec<_>>()
    };
    assert_eq!(without_origins(&again), without_origins(&effective));
}
