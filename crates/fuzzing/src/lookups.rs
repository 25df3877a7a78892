//! Answers of services that are asked about addresses.
//!
//! What holds: an answer is a score within bounds and a short label, or is refused in words that can be shown and that
//! have nothing of it; nobody is left alone for more than a day; an address that is special is not global.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use staunch_connectors::feeds::is_special;
use staunch_connectors::lookups::{Answer, Form, RETRY_AFTER_MAX, is_global, read, retry_after};
use staunch_model::{Score, Timestamp};

use crate::shown::assert_line;

/// Reads an answer: the first byte says of which kind of service. Of a generic one, the pointer is the first line.
pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    let ip = IpAddr::from([203, 0, 113, 9]);
    match kind % 4 {
        0 => answer(&Form::AbuseIpdb, ip, bytes),
        1 => {
            let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
            let (pointer, rest) = bytes.split_at(at);
            let form = Form::Generic {
                pointer: String::from_utf8_lossy(pointer).into(),
                scale: 1 + u32::from(*kind),
            };
            answer(&form, ip, rest);
        }
        2 => {
            let text = String::from_utf8_lossy(bytes);
            let now = Timestamp::from_micros(1_700_000_000_000_000);
            assert!(retry_after(&text, now).is_none_or(|it| it <= RETRY_AFTER_MAX));
        }
        _ => {
            let ip = match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
                (Ok(v4), _) => IpAddr::V4(Ipv4Addr::from(v4)),
                (_, Ok(v6)) => IpAddr::V6(Ipv6Addr::from(v6)),
                _ => return,
            };
            assert!(!is_global(ip) || !is_special(ip.into()), "{ip}");
        }
    }
}

fn answer(form: &Form, ip: IpAddr, bytes: &[u8]) {
    match read(form, ip, bytes) {
        Ok(Answer::Scored { score, label }) => {
            assert!(score <= Score::MAX && label.len() <= 32, "{score} {label}");
            assert_line(&label);
        }
        Ok(Answer::Good(label)) => {
            assert!(*form == Form::AbuseIpdb, "no other lists addresses as good");
            assert_line(label);
        }
        Err(why) => assert_line(why),
    }
}
