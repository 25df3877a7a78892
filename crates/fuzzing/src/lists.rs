//! Lists of networks.
//!
//! What holds: a list is read whole or refused with a line of it and a hint, in words that can be shown; what is read
//! lies on the lines that are named, in their order, and every line that says something is read; written anew it is
//! read as the same. Ranges of providers have no host bits and short reasons, and a filter only leaves out.

use std::fmt::Write as _;

use staunch_connectors::lists::{REASON_CHARS_MAX, plain, provided};
use staunch_connectors::ranges::{Filter, Provider};

use crate::shown::assert_line;

/// Reads a list; a file of JSON also as the ranges of each provider.
pub fn run(data: &[u8]) {
    if data.contains(&b'{') {
        ranges(data);
    }
    let lines = data.split(|it| *it == b'\n').count();
    let listed = match plain(data, usize::MAX) {
        Ok(listed) => listed,
        Err(invalid) => {
            assert!(invalid.line.is_none_or(|line| line >= 1 && line as usize <= lines));
            assert!(!invalid.what.is_empty() && !invalid.hint.is_empty());
            assert_line(&invalid.what);
            assert_line(&invalid.hint);
            return;
        }
    };
    let text = std::str::from_utf8(data).expect("it was read");
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let says = |line: &&str| !line.split(['#', ';']).next().unwrap_or_default().trim().is_empty();
    assert_eq!(text.split('\n').filter(says).count(), listed.len());
    let mut again = String::new();
    let mut at = 0;
    for it in &listed {
        assert!(it.line > at && it.line as usize <= lines);
        assert!(it.network.prefix_len() > 0 && it.network.trunc() == it.network);
        assert!(
            it.reason
                .as_ref()
                .is_none_or(|reason| reason.chars().count() <= REASON_CHARS_MAX)
        );
        while at + 1 < it.line {
            again.push('\n');
            at += 1;
        }
        write!(again, "{} # {}", it.network, it.reason.as_deref().unwrap_or_default()).expect("a string takes all");
        again.push('\n');
        at = it.line;
    }
    assert_eq!(plain(again.as_bytes(), usize::MAX).as_ref(), Ok(&listed));
}

/// A filter that names what a file has means some of what is meant without one.
fn ranges(data: &[u8]) {
    let lines = data.split(|it| *it == b'\n').count();
    for provider in [Provider::Aws, Provider::Gcp, Provider::Azure] {
        let all = match provided(provider, data, &Filter::default(), usize::MAX) {
            Ok(all) => all,
            Err(invalid) => {
                assert!(invalid.line.is_none_or(|line| line >= 1 && line as usize <= lines));
                assert!(!invalid.what.is_empty() && !invalid.hint.is_empty());
                assert_line(&invalid.what);
                assert_line(&invalid.hint);
                continue;
            }
        };
        for it in &all {
            assert!(it.line >= 1 && it.line as usize <= lines);
            assert!(it.network.prefix_len() > 0 && it.network.trunc() == it.network);
            let reason = it.reason.as_deref().unwrap_or_default();
            assert!(reason.chars().count() <= REASON_CHARS_MAX);
        }
        let first = all.iter().find_map(|it| it.reason.as_deref());
        let Some(service) = first.and_then(|it| it.split(',').next()) else {
            continue;
        };
        let filter = Filter {
            services: vec![service.to_owned()],
            regions: Vec::new(),
        };
        if let Ok(some) = provided(provider, data, &filter, usize::MAX) {
            let networks: Vec<_> = all.iter().map(|it| it.network).collect();
            assert!(some.iter().all(|it| networks.contains(&it.network)));
        }
    }
}
