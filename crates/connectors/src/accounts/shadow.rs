//! One line of shadow(5): read, and written with another password field and another expiry.
//!
//! Never shows what is in it: none of this has a form for people, so that no hash gets into a log.

use std::ops::Range;

use super::only_line;

/// The expiry that an account has by Staunch's lock: 3 January 1970. Not 0, which some read as never (shadow(5)). Not
/// 1, which usermod(8) tells people to write when they lock an account: with a day of its own, what Staunch has written
/// is told from what somebody else has.
pub const EXPIRED: &[u8] = b"2";

/// What before a password says that none fits (passwd(1), usermod(8)).
pub const MARK: u8 = b'!';

/// Bytes of a day. The largest number has 20; with this much of both, a record of them is read whole.
const DAY_BYTES_MAX: usize = 64;

/// The line of one account.
#[allow(missing_debug_implementations, reason = "nothing shows a hash")]
pub struct Entry<'a> {
    /// Where it stands, without the line end.
    place: Range<usize>,
    fields: Vec<&'a [u8]>,
}

impl<'a> Entry<'a> {
    /// Finds `name` in the text of a shadow file.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub fn find(text: &'a [u8], name: &'a str) -> Result<Option<Self>, &'static str> {
        let Some((at, fields)) = only_line(text, name, 9)? else {
            return Ok(None);
        };
        let bytes = fields.iter().map(|it| it.len()).sum::<usize>() + fields.len() - 1;
        let entry = Self {
            place: at..at + bytes,
            fields,
        };
        if [entry.changed(), entry.expiry()]
            .iter()
            .any(|it| it.len() > DAY_BYTES_MAX)
        {
            return Err("one of its days is too long");
        }
        match entry.day() {
            Day::Unreadable => Err("its expiry is no day"),
            _ => Ok(Some(entry)),
        }
    }

    /// The password, as it is encrypted.
    #[must_use]
    pub fn password(&self) -> &'a [u8] {
        self.fields[1]
    }

    /// The day that the password was last changed.
    #[must_use]
    pub fn changed(&self) -> &'a [u8] {
        self.fields[2]
    }

    /// The day that the account expires.
    #[must_use]
    pub fn expiry(&self) -> &'a [u8] {
        self.fields[7]
    }

    /// Whether no password fits.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.password().first() == Some(&MARK)
    }

    /// Whether the account has expired on the day `today`, so that PAM lets nobody in by any way. What 0 means is not
    /// agreed on, so that it is no lock to count on.
    #[must_use]
    pub fn is_expired(&self, today: i64) -> bool {
        matches!(self.day(), Day::On(day) if day > 0 && day <= today)
    }

    /// Whether it has the expiry that Staunch writes.
    #[must_use]
    pub fn has_our_expiry(&self) -> bool {
        self.expiry() == EXPIRED
    }

    /// The text that this was found in, with the account locked.
    #[must_use]
    pub fn locked(&self, text: &[u8]) -> Vec<u8> {
        let password = match self.is_marked() {
            true => self.password().to_vec(),
            false => [&[MARK], self.password()].concat(),
        };
        self.with(text, &password, EXPIRED)
    }

    /// The text that this was found in, with these instead of what the line has. All else is as it was, byte for byte.
    #[must_use]
    pub fn with(&self, text: &[u8], password: &[u8], expiry: &[u8]) -> Vec<u8> {
        let mut fields = self.fields.clone();
        fields[1] = password;
        fields[7] = expiry;
        let mut new = Vec::with_capacity(text.len() + 8);
        new.extend_from_slice(&text[..self.place.start]);
        new.extend_from_slice(&fields.join(&b':'));
        new.extend_from_slice(&text[self.place.end..]);
        new
    }

    fn day(&self) -> Day {
        let text = self.expiry();
        if text.is_empty() {
            return Day::Never;
        }
        match std::str::from_utf8(text).ok().and_then(|it| it.parse::<i64>().ok()) {
            Some(day) if day < 0 => Day::Never,
            Some(day) if !text.starts_with(b"+") => Day::On(day),
            _ => Day::Unreadable,
        }
    }
}

/// When an account expires.
enum Day {
    Never,
    On(i64),
    Unreadable,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'a>(text: &'a [u8], name: &'a str) -> Entry<'a> {
        match Entry::find(text, name) {
            Ok(Some(entry)) => entry,
            Ok(None) => panic!("{name} is not found"),
            Err(why) => panic!("{why}"),
        }
    }

    #[test]
    fn only_two_fields_of_one_line_change() {
        let lines: [&[u8]; 4] = [
            b"root:*:19000:0:99999:7:::",
            b"a\0b:x\xff\nal:$y$j9T$q:19001:0:99999:7::20500:",
            b"alice:$y$j9T$x:19001:0:99999:7:30:20500:",
            b"ice:$y$j9T$z::::::",
        ];
        for end in [&b""[..], b"\n", b"\n\n"] {
            let text = [lines.join(&b'\n').as_slice(), end].concat();
            let entry = found(&text, "alice");
            assert_eq!((entry.password(), entry.changed()), (&b"$y$j9T$x"[..], &b"19001"[..]));
            let new = entry.with(&text, b"!$y$j9T$x", EXPIRED);
            let expect = String::from_utf8_lossy(&text).replace(
                "alice:$y$j9T$x:19001:0:99999:7:30:20500:",
                "alice:!$y$j9T$x:19001:0:99999:7:30:2:",
            );
            assert_eq!(String::from_utf8_lossy(&new), expect);
            let locked = found(&new, "alice");
            assert!(locked.has_our_expiry() && locked.is_marked() && locked.is_expired(20_000));
            assert!(locked.with(&new, b"$y$j9T$x", b"20500") == text, "and back");
        }
    }

    #[test]
    fn an_expiry_in_the_past_is_a_lock_and_nothing_else_is() {
        for (expiry, is_expired) in [
            ("", false),
            ("-1", false),
            ("0", false),
            ("1", true),
            ("2", true),
            ("19999", true),
            ("20000", true),
            ("20001", false),
        ] {
            let text = format!("alice:!:1:::::{expiry}:");
            assert_eq!(
                found(text.as_bytes(), "alice").is_expired(20_000),
                is_expired,
                "{expiry}"
            );
        }
        for expiry in ["x", "+1", "1 ", "99999999999999999999", "1.5"] {
            let text = format!("alice:!:1:::::{expiry}:");
            assert!(Entry::find(text.as_bytes(), "alice").is_err(), "{expiry}");
        }
    }

    #[test]
    fn a_day_that_no_record_can_hold_is_not_believed() {
        let long = "0".repeat(5_000);
        for line in [format!("alice:x:{long}:::::1:"), format!("alice:x:1:::::{long}1:")] {
            assert!(Entry::find(line.as_bytes(), "alice").is_err(), "{line}");
        }
    }

    #[test]
    fn what_is_not_one_whole_line_is_nobodys() {
        for text in [
            "alice:x:1::::::\nalice:y:1::::::\n",
            "alice:x:1::::::\n alice:y:1::::::\n",
            " alice:x:1::::::\n",
            "alice:x:1:::::\n",
            "alice:x:1:::::::\n",
            "alice\n",
            "alice:x\0:1::::::\n",
        ] {
            assert!(Entry::find(text.as_bytes(), "alice").is_err(), "{text}");
        }
        assert!(matches!(Entry::find(b"", "alice"), Ok(None)));
        assert!(matches!(Entry::find(b"#alice:x:1::::::\n", "alice"), Ok(None)));
    }
}
