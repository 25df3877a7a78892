//! Reads addresses out of the text of system files.
//!
//! Pure: it is given the text, and skips lines that it cannot read.

use std::net::IpAddr;
use std::ops::RangeInclusive;

/// What sshd sets for a session, after authentication: the client's address first, then ports.
const SESSION_VARIABLES: [&str; 2] = ["SSH_CONNECTION", "SSH_CLIENT"];

/// Users that do not log in: accounts of services, those that systemd makes up for a service, and nobody (systemd,
/// "Users, Groups, UIDs and GIDs on systemd Systems").
const SERVICE_USERS: [RangeInclusive<u32>; 3] = [1..=999, 61_184..=65_535, u32::MAX..=u32::MAX];

/// The resolvers listed in the text of `resolv.conf`.
pub fn resolvers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = words
            .next()
            .filter(|it| *it == "nameserver")
            .and_then(|_| words.next())?;
        // A link-local address comes with its link: fe80::1%eth0.
        address.split('%').next()?.parse().ok()
    })
}

/// The client's address in an environment, as `/proc/<pid>/environ` has it, of a process within an SSH session.
#[must_use]
pub fn ssh_peer(environment: &[u8]) -> Option<IpAddr> {
    environment.split(|byte| *byte == 0).find_map(|entry| {
        let (name, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
        let value = SESSION_VARIABLES.contains(&name).then_some(value)?;
        // The address is followed by ports, which a variable that was cut or made up may lack.
        let (address, _ports) = value.split_once(' ')?;
        address.split('%').next()?.parse().ok()
    })
}

/// The client's address in the file of a session of systemd-logind: one that a person has opened from elsewhere, and
/// that has not ended.
#[must_use]
pub fn logind_peer(session: &str) -> Option<IpAddr> {
    let value = |key: &str| {
        session
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    };
    let is_of_person = value("CLASS").is_some_and(|class| class.starts_with("user"));
    if value("REMOTE") != Some("1") || !is_of_person || value("STATE") == Some("closing") {
        return None;
    }
    // With `UseDNS yes` it is a name, which may be anybody's.
    value("REMOTE_HOST")?.split('%').next()?.parse().ok()
}

/// Whether the user of a process can log in, by the text of `/proc/<pid>/status`: root and people, not the accounts of
/// services. A service that an attacker has taken over must not name addresses that are never blocked.
#[must_use]
pub fn has_login(status: &str) -> bool {
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let user = user.and_then(|ids| ids.split_ascii_whitespace().next()?.parse::<u32>().ok());
    user.is_some_and(|user| !SERVICE_USERS.iter().any(|users| users.contains(&user)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|it| it.parse().unwrap()).collect()
    }

    #[test]
    fn resolvers_are_read_and_the_rest_is_skipped() {
        let text = "# nameserver 192.0.2.9\nsearch example.org\nnameserver 192.0.2.53\n  nameserver\tfe80::1%eth0 \n\
                    nameserver\nnameserver nonsense\nnameserver2 192.0.2.8\noptions edns0\n";
        assert_eq!(resolvers(text).collect::<Vec<_>>(), ips(&["192.0.2.53", "fe80::1"]));
    }

    #[test]
    fn the_client_of_a_session_is_read() {
        let check = |environment: &[u8], expect: Option<&str>| {
            let shown = String::from_utf8_lossy(environment);
            assert_eq!(ssh_peer(environment), expect.map(|it| it.parse().unwrap()), "{shown}");
        };
        check(
            b"HOME=/root\0SSH_CONNECTION=192.0.2.1 50012 10.0.0.1 22\0",
            Some("192.0.2.1"),
        );
        check(b"SSH_CLIENT=2001:db8::2 50012 22\0A=b", Some("2001:db8::2"));
        check(b"\xff\0SSH_CLIENT=fe80::1%eth0 50012 22", Some("fe80::1"));
        check(b"SSH_CONNECTION=UNKNOWN 65535 UNKNOWN 65535\0", None);
        check(b"SSH_CONNECTION=192.0.2.1", None);
        check(b"NOT_SSH_CONNECTION=192.0.2.1 1 10.0.0.1 22\0SSH_CONNECTION\0\0", None);
        check(b"", None);
    }

    #[test]
    fn the_client_of_a_session_of_logind_is_read() {
        let session = |changed: &str| {
            let text = "# This is private data. Do not parse.\nUID=1000\nUSER=ada\nACTIVE=1\nSTATE=active\nREMOTE=1\n\
                        REMOTE_HOST=192.0.2.7\nSERVICE=sshd\nCLASS=user\nLEADER=4711\n";
            let (key, _) = changed.split_once('=').unwrap_or_default();
            let lines = text
                .lines()
                .filter(|line| key.is_empty() || !line.starts_with(&format!("{key}=")));
            let lines: Vec<&str> = lines.chain([changed]).collect();
            logind_peer(&lines.join("\n")).map(|it| it.to_string())
        };
        for open in ["", "STATE=online", "CLASS=user-early", "SERVICE=cockpit"] {
            assert_eq!(session(open).as_deref(), Some("192.0.2.7"), "{open}");
        }
        assert_eq!(session("REMOTE_HOST=2001:db8::7").as_deref(), Some("2001:db8::7"));
        assert_eq!(session("REMOTE_HOST=fe80::7%eth0").as_deref(), Some("fe80::7"));
        for none in [
            "REMOTE=0",
            "STATE=closing",
            "CLASS=greeter",
            "CLASS=",
            "REMOTE_HOST=",
            "REMOTE_HOST=attacker.example",
        ] {
            assert_eq!(session(none), None, "{none}");
        }
        assert_eq!(logind_peer(""), None);
    }

    #[test]
    fn accounts_of_services_have_no_login() {
        let status = |user: &str| format!("Name:\tbash\nUmask:\t0022\nUid:\t{user}\t0\t0\t0\nGid:\t0\n");
        for user in ["0", "1000", "60000", "1200000001"] {
            assert!(has_login(&status(user)), "{user}");
        }
        for user in ["1", "33", "999", "61184", "65534", "4294967295", "x"] {
            assert!(!has_login(&status(user)), "{user}");
        }
        assert!(!has_login(""));
    }
}
