//! Repeated keys: found in a parsed value, then located in its bytes.

use std::collections::BTreeSet;

use super::guard::string_end;

/// Remembers which keys of one object may have been met.
#[derive(Default)]
pub(super) struct Seen([u64; 16]);

impl Seen {
    /// Marks the print of `key`; true when none with the same print was met before.
    #[inline]
    pub(super) fn is_new(&mut self, key: &str) -> bool {
        let print = print_of(key.as_bytes());
        let (word, bit) = (print >> 6 & 15, 1_u64 << (print & 63));
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }
}

/// A number of ten bits that differs for most keys of one object. Equal keys have equal prints; that is all that is
/// needed of it. It looks at the ends of a key only, since there is one for each member of each event.
#[inline]
fn print_of(key: &[u8]) -> usize {
    let ends = match (key.first_chunk::<4>(), key.last_chunk::<4>()) {
        (Some(first), Some(last)) => u32::from_le_bytes(*first).rotate_left(7) ^ u32::from_le_bytes(*last),
        _ => key.iter().fold(0, |print, byte| (print << 8) | u32::from(*byte)),
    };
    // The multiplier is 2^32 divided by the golden ratio, which spreads neighbours (Knuth, TAOCP 3, 6.4).
    (ends.wrapping_mul(0x9e37_79b1) >> 22) as usize
}

/// The offset of the first repeated key in `bytes`, which must have parsed. Slow: for the error message only.
pub(super) fn locate(bytes: &[u8]) -> Option<usize> {
    let mut levels: Vec<BTreeSet<String>> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => levels.push(BTreeSet::new()),
            b'}' | b']' => drop(levels.pop()),
            b'"' => {
                let end = string_end(bytes, at + 1)?;
                let is_key = bytes[end..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
                if is_key && !levels.last_mut()?.insert(sonic_rs::from_slice(&bytes[at..end]).ok()?) {
                    return Some(at);
                }
                at = end - 1;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<(&str, usize)>) {
        let tape = super::super::tape::Tape::parse(text.as_bytes()).expect("valid apart from its keys");
        assert_eq!(tape.repeated(), expect.map(|(key, _)| key), "{text}");
        assert_eq!(locate(text.as_bytes()), expect.map(|(_, offset)| offset), "{text}");
    }

    #[test]
    fn repeated_keys_are_found_and_located() {
        check(r#"{"a":1,"b":{"a":1},"c":[{"a":1},{"a":2}]}"#, None);
        check(r#"{"a":1,"a":1}"#, Some(("a", 7)));
        check(r#"{"x":[{"":1, "\u0061" : 2,"a":"{\"a\":"}]}"#, Some(("a", 26)));
        check(r#"{"":1,"":2}"#, Some(("", 6)));
        let many: String = (0..200).map(|n| format!("\"key{n}\":0,")).collect();
        check(&format!("{{{many}\"z\":1}}"), None);
        check(&format!("{{{many}\"key7\":1}}"), Some(("key7", many.len() + 1)));
        let twice: String = "\"late\":0,\"late\":1".to_owned();
        check(&format!("{{{many}{twice}}}"), Some(("late", many.len() + 10)));
    }

    /// 100,000 keys with one print: comparing each with all before it would take minutes.
    #[test]
    fn an_object_of_nothing_but_keys_is_read_in_good_time() {
        let many: String = (0..100_000).map(|n| format!("\"aaaa{n:06}aaaa\":0,")).collect();
        check(&format!("{{{many}\"z\":1}}"), None);
        check(
            &format!("{{{many}\"aaaa000000aaaa\":1}}"),
            Some(("aaaa000000aaaa", many.len() + 1)),
        );
    }
}
