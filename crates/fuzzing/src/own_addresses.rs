//! Where this machine's own and its operators' addresses are found: the resolvers, the environment of a process, whose
//! the process is, and the file of a session.
//!
//! What holds: an address stands in its line or its variable; what is found, written anew, is found again; and no name
//! of a process makes another user of its own.

use staunch_connectors::enrichers::own_addresses::files::{has_login, logind_peer, resolvers, ssh_peer};

/// Reads the bytes as each of the four, and as the name of a process.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let found: Vec<_> = resolvers(&text).collect();
    let listed = text.matches("nameserver").count();
    assert!(found.len() <= listed, "more resolvers than there are lines");
    let anew: String = found.iter().map(|it| format!("nameserver {it}\n")).collect();
    assert!(resolvers(&anew).eq(found.iter().copied()), "they read back");
    environment(data);
    session(&text);
    if has_login(&text) {
        let mut users = text.lines().filter_map(|line| line.strip_prefix("Uid:"));
        let user = users.next().and_then(|it| it.split_ascii_whitespace().next());
        let user: u32 = user.and_then(|it| it.parse().ok()).expect("a user logs in");
        assert!(user == 0 || (1_000..61_184).contains(&user) || (65_536..u32::MAX).contains(&user));
    }
    // So does the kernel write a name.
    let name = text.replace('\\', "\\\\").replace('\n', "\\n");
    for (user, logs_in) in [(0, true), (33, false), (1_000, true), (65_534, false)] {
        let status = format!("Name:\t{name}\nUmask:\t0022\nUid:\t{user}\t0\t0\t0\n");
        assert_eq!(has_login(&status), logs_in, "the name makes another user: {name:?}");
    }
}

fn session(text: &str) {
    let Some(peer) = logind_peer(text) else {
        return;
    };
    let says = |line: &str| text.lines().any(|it| it == line);
    assert!(says("REMOTE=1"), "it is not from elsewhere");
    let state = text.lines().find_map(|it| it.strip_prefix("STATE="));
    assert_ne!(state, Some("closing"), "it has ended");
    let anew = format!("CLASS=user\nREMOTE=1\nREMOTE_HOST={peer}\n");
    assert_eq!(logind_peer(&anew), Some(peer));
}

fn environment(data: &[u8]) {
    let variables = || data.split(|byte| *byte == 0);
    // The variable under another name says nothing.
    let others: Vec<u8> = variables().flat_map(|it| [b"X", it, b"\0"].concat()).collect();
    assert_eq!(ssh_peer(&others), None);
    let Some(peer) = ssh_peer(data) else {
        return;
    };
    let of_sshd = |it: &&[u8]| it.starts_with(b"SSH_CONNECTION=") || it.starts_with(b"SSH_CLIENT=");
    let says = |it: &[u8]| {
        let value = String::from_utf8_lossy(it);
        let value = value.split('=').nth(1).unwrap_or_default();
        let address = value.split([' ', '%']).next().unwrap_or_default();
        address.parse() == Ok(peer)
    };
    assert!(variables().filter(of_sshd).any(says), "no variable of sshd says {peer}");
    assert_eq!(ssh_peer(format!("A=b\0SSH_CLIENT={peer} 1 22").as_bytes()), Some(peer));
}
