//! Files that list networks, one a line.
//!
//! Never takes a part of a file: one mistake refuses all of it, with the line and a way to mend it. Who reads a file
//! that is being written must not protect half of what it is to say.

use std::net::IpAddr;

use ipnet::IpNet;
use staunch_model::{ListedNetwork, Printable};
use thiserror::Error;

use crate::ranges::{self, Filter, Provider};

/// The longest file that is read.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// The longest reason that a line can give: it is shown within one line of a refusal.
pub const REASON_CHARS_MAX: usize = 120;

/// Why a list cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what}")]
pub struct Invalid {
    /// The line with the mistake, from 1; `None` when it is the file as a whole.
    pub line: Option<u32>,
    /// What is wrong, safe to show.
    pub what: String,
    /// How to mend it.
    pub hint: String,
}

/// Reads a list of what is never touched: a network or an address on each line; what follows `#` or `;` is the reason
/// of that line.
///
/// # Errors
/// The first mistake, which a line after `networks_max` others is too; also when nothing is listed, which is what a
/// file looks like that is being written.
pub fn plain(bytes: &[u8], networks_max: usize) -> Result<Vec<ListedNetwork>, Invalid> {
    let listed = lines(bytes, networks_max)?;
    check(&listed)?;
    Ok(listed)
}

/// Reads the ranges of a provider as a list of what is never touched; the reason of each is its service and region.
///
/// # Errors
/// As [`ranges::read`], and for a range that is every address.
pub fn provided(
    provider: Provider,
    bytes: &[u8],
    filter: &Filter,
    networks_max: usize,
) -> Result<Vec<ListedNetwork>, Invalid> {
    let ranges = ranges::read(provider, bytes, filter, networks_max)?;
    let listed = ranges.into_iter().map(|it| ListedNetwork {
        network: it.network,
        line: it.line,
        reason: (!it.named.trim().is_empty()).then_some(it.named),
    });
    let listed: Vec<_> = listed.collect();
    check(&listed)?;
    Ok(listed)
}

/// What a list of what is never touched must not say.
fn check(listed: &[ListedNetwork]) -> Result<(), Invalid> {
    for it in listed {
        let invalid = |what: String, hint: &str| Invalid {
            line: Some(it.line),
            what,
            hint: hint.into(),
        };
        if it.network.prefix_len() == 0 {
            let what = format!("{} is every address: nothing would be contained", it.network);
            return Err(invalid(what, "to contain nothing, set the mode to observe"));
        }
        let length = it.reason.as_deref().map_or(0, |reason| reason.chars().count());
        if length > REASON_CHARS_MAX {
            let what = format!(
                "what is said of {} is longer than {REASON_CHARS_MAX} characters",
                it.network
            );
            return Err(invalid(
                what,
                "shorten it, or put it on a line of its own that begins with #",
            ));
        }
    }
    Ok(())
}

/// Reads the lines of a list, whatever it is for.
///
/// # Errors
/// As [`plain`], but for what only its use forbids.
pub(crate) fn lines(bytes: &[u8], networks_max: usize) -> Result<Vec<ListedNetwork>, Invalid> {
    let mut listed = Vec::new();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (line, text) in (1..).zip(bytes.split(|it| *it == b'\n')) {
        let invalid = |what: String, hint: &str| Invalid {
            line: Some(line),
            what,
            hint: hint.into(),
        };
        let Ok(text) = std::str::from_utf8(text) else {
            return Err(invalid("it is not text (UTF-8)".into(), "is it the right file?"));
        };
        let (network, comment) = match text.split_once(['#', ';']) {
            Some((network, comment)) => (network.trim(), comment.trim()),
            None => (text.trim(), ""),
        };
        if network.is_empty() {
            continue;
        }
        let network = parse_network(network).map_err(|(what, hint)| invalid(what, &hint))?;
        if listed.len() >= networks_max {
            return Err(invalid(
                format!("it lists more than {networks_max} networks"),
                "wider networks say the same in fewer lines",
            ));
        }
        listed.push(ListedNetwork {
            network,
            line,
            reason: (!comment.is_empty()).then(|| comment.into()),
        });
    }
    if listed.is_empty() {
        return Err(Invalid {
            line: None,
            what: "it lists no network".into(),
            hint: "is it cut off? A list that is to say nothing is taken out of the configuration".into(),
        });
    }
    Ok(listed)
}

/// The network or address that `text` says.
///
/// # Errors
/// What is wrong with it, and how to mend it. Both are safe to show.
pub fn parse_network(text: &str) -> Result<IpNet, (String, String)> {
    let parsed = text
        .parse::<IpNet>()
        .ok()
        .or_else(|| text.parse().ok().map(|ip: IpAddr| ip.to_canonical().into()));
    let Some(network) = parsed else {
        let shown: String = text.chars().take(64).collect();
        let what = format!("not a network or address: {}", Printable(&shown));
        return Err((what, "write for example 192.0.2.0/24, and # before words".into()));
    };
    if network.trunc() != network {
        let what = format!("{network} has bits set after its prefix");
        return Err((what, format!("write {} or {}", network.trunc(), network.addr())));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(String, u32, Option<String>)> {
        let listed = plain(text.as_bytes(), 4).expect("it is well formed");
        let line = |it: ListedNetwork| (it.network.to_string(), it.line, it.reason.map(Into::into));
        listed.into_iter().map(line).collect()
    }

    #[test]
    fn networks_addresses_and_reasons_are_read_with_their_lines() {
        let text = "\u{feff}# partners\r\n\r\n192.0.2.0/24\r\n198.51.100.7 ; the gateway\n\t2001:db8::/32 # ours # too\n\n::ffff:192.0.2.1";
        assert_eq!(
            lines(text),
            [
                ("192.0.2.0/24".into(), 3, None),
                ("198.51.100.7/32".into(), 4, Some("the gateway".into())),
                ("2001:db8::/32".into(), 5, Some("ours # too".into())),
                ("192.0.2.1/32".into(), 7, None),
            ]
        );
    }

    #[test]
    fn one_mistake_refuses_all_of_it_and_says_where() {
        let check = |text: &[u8], line: Option<u32>, what: &str| {
            let invalid = plain(text, 4).expect_err("it has a mistake");
            assert_eq!((invalid.line, invalid.what.as_str()), (line, what));
            assert!(!invalid.hint.is_empty());
        };
        let host_bits = "192.0.2.1/24 has bits set after its prefix";
        check(b"192.0.2.0/24\n192.0.2.1/24\n", Some(2), host_bits);
        check(
            b"10.0.0.0/8\nthe \x1b office",
            Some(2),
            "not a network or address: the \\u{1b} office",
        );
        check(
            b"10.0.0.0/8 11.0.0.0/8",
            Some(1),
            "not a network or address: 10.0.0.0/8 11.0.0.0/8",
        );
        check(b"10.0.0.0/33", Some(1), "not a network or address: 10.0.0.0/33");
        check(b"\xff\xfe1", Some(1), "it is not text (UTF-8)");
        check(
            b"0.0.0.0/0",
            Some(1),
            "0.0.0.0/0 is every address: nothing would be contained",
        );
        let long = format!("10.0.0.1 # {}", "x".repeat(121));
        let what = "what is said of 10.0.0.1/32 is longer than 120 characters";
        check(long.as_bytes(), Some(1), what);
        let five = b"10.0.0.1\n10.0.0.2\n#\n10.0.0.3\n10.0.0.4\n10.0.0.5\nno network";
        check(five, Some(6), "it lists more than 4 networks");
        check(b"", None, "it lists no network");
        check(b"# nothing\n\n", None, "it lists no network");
    }
}
