//! Files of a machine that others write to, or name: passwords, processes, resolvers, and who is logged in.
//!
//! The first byte says which. What holds: of a shadow file only the fields of the account that is meant change, and
//! they can be put back; the name of a process, whatever is in it, does not change its numbers; and nobody is logged
//! in without the words that say so.

use staunch_connectors::readers::{
    logind_session, process_stat, resolver_lines, shadow_entry, shadow_with, ssh_session,
};

/// Reads a file.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    match kind % 4 {
        0 => shadow(rest),
        1 => process(rest),
        2 => resolvers(&String::from_utf8_lossy(rest)),
        _ => sessions(rest),
    }
}

/// The name of an account on the first line, then a shadow file.
fn shadow(data: &[u8]) {
    const LOCKED: &[u8] = b"!$y$x";
    const EXPIRED: &[u8] = b"2";
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let Ok(name) = std::str::from_utf8(&data[..end]) else {
        return;
    };
    if name.is_empty() || name.contains(':') {
        return;
    }
    let text = data.get(end + 1..).unwrap_or_default();
    let Ok(Some((password, expiry))) = shadow_entry(text, name) else {
        return;
    };
    let locked = shadow_with(text, name, LOCKED, EXPIRED)
        .expect("it was found")
        .expect("it is there");
    assert_eq!(shadow_entry(&locked, name), Ok(Some((LOCKED, EXPIRED))));
    let lines = |text: &[u8]| {
        text.split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>()
    };
    let (before, after) = (lines(text), lines(&locked));
    assert_eq!(before.len(), after.len(), "a line was added or lost");
    let changed = before.iter().zip(&after).filter(|(before, after)| before != after);
    assert!(changed.count() <= 1, "the line of another account was changed");
    let back = shadow_with(&locked, name, password, expiry)
        .expect("it was found")
        .expect("it is there");
    assert_eq!(back, text, "it cannot be put back");
}

/// The name of a process.
fn process(name: &[u8]) {
    // Whatever the bytes are, as a line they may be none.
    let _ = process_stat(name);
    let mut line = b"4711 (".to_vec();
    line.extend_from_slice(name);
    line.extend_from_slice(b") S 17 4711 4711 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 153452 9 10\n");
    assert_eq!(process_stat(&line), Some((4_711, 17, 153_452, name)));
}

fn resolvers(text: &str) {
    let found = resolver_lines(text);
    let named = text
        .lines()
        .filter(|line| line.trim_start().starts_with("nameserver"))
        .count();
    assert!(found.len() <= named, "a resolver is on no line of its own");
}

fn sessions(bytes: &[u8]) {
    if ssh_session(bytes).is_some() {
        let variables = bytes.split(|byte| *byte == 0);
        let mut said = variables.filter(|it| it.starts_with(b"SSH_CONNECTION=") || it.starts_with(b"SSH_CLIENT="));
        assert!(said.next().is_some(), "sshd has not said so");
    }
    let text = String::from_utf8_lossy(bytes);
    if logind_session(&text).is_some() {
        assert!(text.lines().any(|line| line == "REMOTE=1"), "it is not from elsewhere");
        assert!(!text.lines().any(|line| line == "STATE=closing") || text.matches("STATE=").count() > 1);
    }
}
