//! The nesting guard for bytes that the tape has refused: says where they go too deep, and keeps them from the parser's
//! own values, which have no bound.

/// The offset of the first bracket that opens a level beyond `depth_max`, if there is one.
///
/// Nearly all events have fewer brackets than that in all, and counting them costs a few instructions for 16 bytes.
/// Only the others are read byte by byte. Brackets inside strings make the count too high, never too low.
pub(super) fn too_deep(bytes: &[u8], depth_max: usize) -> Option<usize> {
    if opening_brackets(bytes) <= depth_max {
        None
    } else {
        first_beyond(bytes, depth_max)
    }
}

/// Counts `{` and `[`, which differ in the bit `0x20` only. Chunks of at most 255 keep the counters in one byte each,
/// which is what makes the compiler use vector instructions (2026-11-20: eight times faster than `filter().count()`);
/// of a multiple of 64, nothing is left over for single bytes but at the end.
fn opening_brackets(bytes: &[u8]) -> usize {
    let in_chunk = |chunk: &[u8]| {
        chunk
            .iter()
            .fold(0_u8, |count, byte| count.wrapping_add(u8::from(byte | 0x20 == b'{')))
    };
    bytes.chunks(192).map(|chunk| usize::from(in_chunk(chunk))).sum()
}

/// Follows strings and brackets as a parser does. Up to the first syntax error both agree on what is a string, and
/// behind it no parser goes.
fn first_beyond(bytes: &[u8], depth_max: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at + 1)? - 1,
            b'{' | b'[' if depth == depth_max => return Some(at),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The offset behind the quote that ends the string whose text begins at `at`; `None` when it has no end.
pub(super) fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += bytes.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_brackets_outside_strings_open_levels() {
        assert_eq!(too_deep(b"[[[]]]", 3), None);
        assert_eq!(too_deep(b"[[[[]]]]", 3), Some(3));
        assert_eq!(too_deep(br#"["[[[[\"[[["]"#, 3), None, "a string");
        assert_eq!(too_deep(b"[],[],[],[],[]", 1), None, "one after the other");
        assert_eq!(
            too_deep(b"]]]][[", 1),
            Some(5),
            "closing more than was opened does not lend depth"
        );
        assert_eq!(too_deep(b"[[[\"", 3), None);
        assert_eq!(too_deep(b"[[[[\"\\", 3), Some(3));
        assert_eq!(opening_brackets(&b"{".repeat(1_000)), 1_000);
    }
}
