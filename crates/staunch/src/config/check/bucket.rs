//! The bucket that evidence is kept in, whom it is encrypted to, and who tells the time of it.

use staunch_model::{Printable, Span};
use staunch_store::age::{RECIPIENTS_MAX, Recipient};

use super::super::Config;
use super::super::lookups::is_on_this_machine;
use super::super::mistake::{Mistake, Step};
use super::{Checker, has_user};

/// The longest name of a host, with a port.
const SERVER_CHARS_MAX: usize = 260;

/// The longest prefix: an object has at most 1,024 bytes of name, and those of evidence take some 200.
const PREFIX_CHARS_MAX: usize = 200;

impl Checker<'_> {
    pub(super) fn recipients(&mut self, config: &Config) {
        let all = &config.evidence.recipients;
        if all.len() > RECIPIENTS_MAX {
            let what = format!("there are {} recipients", all.len());
            self.add(
                &["evidence", "recipients"],
                what,
                format!("name at most {RECIPIENTS_MAX}"),
            );
        }
        for (at, it) in all.iter().enumerate() {
            let mut mistake = |what: String, hint: &str| {
                let path = [Step::Key("evidence"), Step::Key("recipients"), Step::At(at)];
                self.mistakes.push(Mistake::of_value(self.text, &path, what, hint));
            };
            if it.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
                // It is not shown.
                let hint = "write its public key (`age-keygen -y`), make a new secret one, and keep that elsewhere";
                mistake("it is a secret key, which does not belong here".to_owned(), hint);
            } else if Recipient::parse(it).is_none() {
                let what = format!("{} is no public key of age", Printable(it));
                mistake(
                    what,
                    "write one as `age-keygen` prints it: age1 and 58 small letters and digits",
                );
            } else if all.iter().take(at).any(|other| other == it) {
                mistake("it is named twice".to_owned(), "take it out");
            }
        }
    }

    pub(super) fn clock(&mut self, config: &Config) {
        let Some(server) = &config.evidence.clock else { return };
        let is_part = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-' | b':' | b'[' | b']');
        let is_named = !server.is_empty() && server.len() <= SERVER_CHARS_MAX && server.bytes().all(is_part);
        let port = match server.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => port,
            _ => "123",
        };
        if !is_named || port.parse::<u16>().is_err() {
            let what = format!("{} is no time server", Printable(server));
            self.add(
                &["evidence", "clock"],
                what,
                "write for example \"time.example\" or \"192.0.2.1:123\"",
            );
        }
    }

    pub(super) fn bucket(&mut self, config: &Config) {
        let Some(it) = &config.evidence.s3 else { return };
        let mut mistake = |key: &str, what: String, hint: &str| self.add(&["evidence", "s3", key], what, hint);
        let endpoint = it.endpoint.trim_end_matches('/');
        let host = endpoint.split_once("://").map_or("", |(_, host)| host);
        if has_user(endpoint) {
            let what = "the address has a user or a password in it".to_owned();
            mistake(
                "endpoint",
                what,
                "leave it out, and name the file of the key as key_file",
            );
        } else if !(endpoint.starts_with("https://") || endpoint.starts_with("http://") && is_on_this_machine(endpoint))
        {
            let what = format!("{} cannot be asked in safety", Printable(endpoint));
            mistake("endpoint", what, "write an address that begins with https://");
        } else if host.is_empty() || host.contains(['/', '?', '#', '%']) {
            let what = format!("{} is more than the address of a service", Printable(endpoint));
            mistake(
                "endpoint",
                what,
                "write the bucket as bucket, and what stands before names as prefix",
            );
        }
        // https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
        let letter = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || matches!(it, b'-' | b'.');
        if !(3..=63).contains(&it.bucket.len()) || !it.bucket.bytes().all(letter) {
            let what = format!("{} cannot be the name of a bucket", Printable(&it.bucket));
            mistake("bucket", what, "write 3 to 63 small letters, digits, `-` and `.`");
        }
        let letter = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.' | b'/');
        let is_prefix = it.prefix.len() <= PREFIX_CHARS_MAX && it.prefix.bytes().all(letter);
        if !is_prefix || it.prefix.split('/').any(|part| part == "." || part == "..") {
            let what = format!("{} cannot stand before the names of objects", Printable(&it.prefix));
            mistake("prefix", what, "write letters, digits, `-`, `_`, `.` and `/`");
        }
        if it.region.is_empty() || !it.region.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-') {
            let what = format!("{} cannot be a region", Printable(&it.region));
            mistake("region", what, "write one such as eu-central-1");
        }
        for (key, found, least, most, why) in [
            (
                "retain",
                it.retain,
                Span::from_hours(1),
                Span::from_hours(3650 * 24),
                "what is kept for ever cannot be deleted by anybody",
            ),
            (
                "wait",
                it.wait,
                Span::from_secs(1),
                Span::from_mins(1),
                "containment waits for evidence until its deadline",
            ),
        ] {
            if !(least..=most).contains(&found) {
                let hint = format!("write a time from \"{least}\" to \"{most}\"");
                mistake(key, format!("{key} is {found}: {why}"), &hint);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    const GOOD: &str = "[evidence.s3]\nendpoint = \"https://s3.example\"\nbucket = \"evidence\"\nkey_file = \"k\"\n";

    fn mistakes(text: &str) -> String {
        match parse(text) {
            Ok(_) => String::new(),
            Err(mistakes) => format!("{mistakes:?}"),
        }
    }

    #[test]
    fn what_cannot_be_a_bucket_of_evidence_is_refused() {
        assert_eq!(mistakes(GOOD), "");
        assert_eq!(
            mistakes(&GOOD.replace("https://s3.example", "http://127.0.0.1:9000")),
            ""
        );
        let more = format!("{GOOD}prefix = \"web-1/a\"\nretention = \"compliance\"\nretain = \"30d\"\n");
        assert_eq!(mistakes(&more), "");
        for (from, to, expect) in [
            ("https://s3.example", "http://s3.example", "in safety"),
            (
                "https://s3.example",
                "https://me:word@s3.example",
                "a user or a password",
            ),
            (
                "https://s3.example",
                "https://s3.example/bucket",
                "more than the address",
            ),
            ("\"evidence\"", "\"Evidence\"", "the name of a bucket"),
            ("\"evidence\"", "\"a/b\"", "the name of a bucket"),
            ("key_file = \"k\"\n", "", "key_file"),
            ("\"k\"\n", "\"k\"\nprefix = \"../x\"\n", "before the names"),
            ("\"k\"\n", "\"k\"\nregion = \"x y\"\n", "cannot be a region"),
            ("\"k\"\n", "\"k\"\nretain = \"1m\"\n", "retain is"),
            ("\"k\"\n", "\"k\"\nwait = \"1h\"\n", "wait is"),
            ("\"k\"\n", "\"k\"\nretention = \"forever\"\n", "compliance"),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD, "{from} is not in it");
            let found = mistakes(&text);
            assert!(found.contains(expect), "{text}: {found}");
        }
    }

    #[test]
    fn a_time_server_is_a_host() {
        let of = |server: &str| mistakes(&format!("[evidence]\nclock = \"{server}\"\n"));
        for good in ["time.example", "192.0.2.1:1123", "2001:db8::1", "[2001:db8::1]:123"] {
            assert_eq!(of(good), "", "{good}");
        }
        for bad in ["", "ntp://time.example", "time.example:x", "time.example:70000", "a b"] {
            assert!(of(bad).contains("is no time server"), "{bad}");
        }
    }

    #[test]
    fn what_is_no_recipient_is_refused() {
        const KEY: &str = "age15fmqtrfjp6htye4gj4yz02dsmqw67xarh7cr8sz7a0484vnk5amq8qg30y";
        let of = |recipients: &str| mistakes(&format!("[evidence]\nrecipients = [{recipients}]\n"));
        assert_eq!(of(&format!("\"{KEY}\"")), "");
        assert!(of(&format!("\"{KEY}\", \"{KEY}\"")).contains("named twice"));
        assert!(of(&format!("\"{}x\"", &KEY[..61])).contains("no public key of age"));
        let secret = "AGE-SECRET-KEY-1MPXQNZ8AMUWS4QH282THTU74EXVCZGWZDDV8AVJ8U7SLKVYSPZEQUGLHRW";
        let told = of(&format!("\"{secret}\""));
        assert!(told.contains("it is a secret key"), "{told}");
        let many = format!("\"{KEY}\",").repeat(21);
        assert!(of(&many).contains("there are 21 recipients"));
    }
}
