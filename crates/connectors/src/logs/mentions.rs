//! Addresses that stand anywhere in a record: as a value, as a network of one, with a port, or as a word in a text.
//!
//! Who attacks need not be a side of what a source reports: a rule that lets somebody in names an address as a value of
//! its request, and a command line names one as an argument.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::json::Node;
use crate::sources::address;

/// The shortest text that may be an address: `::1`.
const ADDRESS_BYTES_MIN: usize = 3;

/// The longest one: an IPv6 address that ends in an IPv4 one, and a port behind it.
const ADDRESS_BYTES_MAX: usize = 64;

/// Calls `found` with each address that stands in `text` between signs that no address has. What is escaped in front of
/// it, as `%2F` or `\n`, is a sign. A network of more than one address names none.
pub(super) fn each(text: &str, found: &mut dyn FnMut(IpAddr)) {
    if memchr::memchr2(b'.', b':', text.as_bytes()).is_none() {
        return;
    }
    let mut at = 0;
    while let Some(begin) = text[at..].find(is_of_word).map(|it| at + it) {
        let end = text[begin..]
            .find(|c| !is_of_word(c))
            .map_or(text.len(), |it| begin + it);
        let is_one = |ip: &IpAddr| prefix(&text[end..]).is_none_or(|length| names_one(*ip, length));
        let words = [Some(begin), behind_escape(text, begin)];
        let words = words.into_iter().flatten().filter_map(|begin| text.get(begin..end));
        words.filter_map(one).filter(is_one).for_each(&mut *found);
        at = end;
    }
}

/// Calls `found` with each address that stands in a text of `node` or below it, names of members too.
pub(super) fn below(node: Node<'_>, found: &mut dyn FnMut(IpAddr)) {
    if let Some(text) = node.text() {
        return each(text, found);
    }
    for (name, value) in node.members() {
        each(name, found);
        below(value, found);
    }
    for item in node.items() {
        below(item, found);
    }
}

/// Letters and digits count, so that a part of a longer word is none.
fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | ':')
}

/// Where a word begins that has an escaped sign in front, of which its first letters are the rest.
fn behind_escape(text: &str, begin: usize) -> Option<usize> {
    let rest = &text.as_bytes()[begin..];
    match text.as_bytes()[..begin].last()? {
        b'%' => (rest.iter().take(2).filter(|it| it.is_ascii_hexdigit()).count() == 2).then_some(begin + 2),
        b'\\' => Some(begin + 1),
        _ => None,
    }
}

/// The address of a word, perhaps with a port behind it or a name in front of it: `192.0.2.1:80`, `src:192.0.2.1`.
fn one(word: &str) -> Option<IpAddr> {
    if !(ADDRESS_BYTES_MIN..=ADDRESS_BYTES_MAX).contains(&word.len()) || !word.contains(['.', ':']) {
        return None;
    }
    // `::` at the end is a part of an address.
    let bare = if word.ends_with("::") {
        word
    } else {
        word.trim_end_matches(['.', ':'])
    };
    address::read(bare).or_else(|| {
        let part = bare.split(':').find(|it| it.contains('.'))?;
        address::read(part)
    })
}

/// The length of the prefix that `rest` begins with, as in `/24`; of a path there is none.
fn prefix(rest: &str) -> Option<u8> {
    let rest = rest.strip_prefix('/')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let is_path = rest[digits..].starts_with(|c: char| is_of_word(c) || matches!(c, '-' | '_' | '/'));
    rest[..digits].parse().ok().filter(|_| !is_path)
}

/// Whether an address with a prefix is one address: all of it, or one within its network, as interfaces have it.
fn names_one(ip: IpAddr, length: u8) -> bool {
    // What is no length of a prefix is something else behind the address.
    IpNet::new(ip, length).map_or(true, |it| it.prefix_len() == it.max_prefix_len() || it.network() != ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_as_words_wherever_they_stand() {
        let rows: [(&str, &[&str]); 31] = [
            ("203.0.113.47", &["203.0.113.47"]),
            ("203.0.113.47/32", &["203.0.113.47"]),
            ("203.0.113.0/24", &[]),
            (
                "inet 203.0.113.47/24 brd 203.0.113.255",
                &["203.0.113.47", "203.0.113.255"],
            ),
            ("http://203.0.113.0/24/x", &["203.0.113.0"]),
            ("http://203.0.113.47/x.sh", &["203.0.113.47"]),
            ("2001:db8::/32", &[]),
            ("2001:db8::1/128", &["2001:db8::1"]),
            ("[2001:db8::1]:443", &["2001:db8::1"]),
            ("::ffff:203.0.113.47", &["203.0.113.47"]),
            ("2001:db8::", &["2001:db8::"]),
            ("::1", &["::1"]),
            ("10.0.0.5:41->203.0.113.47:4444", &["10.0.0.5", "203.0.113.47"]),
            ("from 203.0.113.47.", &["203.0.113.47"]),
            ("from 203.0.113.47: no", &["203.0.113.47"]),
            ("src:203.0.113.47:80,dst:192.0.2.1", &["203.0.113.47", "192.0.2.1"]),
            ("src=203.0.113.47;x", &["203.0.113.47"]),
            ("eve@203.0.113.47", &["203.0.113.47"]),
            ("203.0.113.47-203.0.113.48", &["203.0.113.47", "203.0.113.48"]),
            ("ldap%3A%2F%2F203.0.113.47%3A1389", &["203.0.113.47"]),
            ("%201.2.3.4", &["201.2.3.4", "1.2.3.4"]),
            ("a\\n203.0.113.47\\n", &["203.0.113.47"]),
            ("fe80::1%eth0", &["fe80::1"]),
            ("\u{e9}203.0.113.47", &[]),
            ("203.0.113.47\u{e9}", &[]),
            ("\u{201c}203.0.113.47\u{201d}", &["203.0.113.47"]),
            ("1203.0.113.47", &[]),
            ("203.0.113.470", &[]),
            ("203.0.113.47.example.com", &[]),
            ("v203.0.113.47", &[]),
            ("12:00:01 a.b.c.d 1.2.3", &[]),
        ];
        for (text, expect) in rows {
            let mut found = Vec::new();
            each(text, &mut |ip| found.push(ip.to_string()));
            assert_eq!(found, expect, "{text}");
        }
    }
}
