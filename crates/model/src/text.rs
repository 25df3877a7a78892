//! Text from outside, made safe to show.

use std::fmt;

/// Shows `text` with every control character, bidirectional override and invisible separator escaped, and cut at
/// [`Printable::CHARS_MAX`] characters, so that text from an event can never steer a terminal or break a log line.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl Printable<'_> {
    /// The most characters shown; the rest is replaced by `…`.
    pub const CHARS_MAX: usize = 200;
}

/// True for characters that change how a terminal or viewer treats the text around them.
#[must_use]
pub fn is_unsafe_to_show(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        for c in chars.by_ref().take(Self::CHARS_MAX) {
            if is_unsafe_to_show(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                fmt::Write::write_char(f, c)?;
            }
        }
        if chars.next().is_some() {
            f.write_str("…")
        } else {
            Ok(())
        }
    }
}

/// `text` cut to at most `bytes_max` bytes at a character boundary.
#[must_use]
pub fn clip(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_overrides_are_escaped() {
        let shown = Printable("a\u{1b}[31mred\r\n\u{202e}x\u{0}\u{9b}").to_string();
        assert_eq!(shown, "a\\u{1b}[31mred\\u{d}\\u{a}\\u{202e}x\\u{0}\\u{9b}");
        assert!(Printable(&"x".repeat(5_000)).to_string().chars().count() == Printable::CHARS_MAX + 1);
        assert_eq!(clip("aé", 2), "a");
    }
}
