//! Text from outside, made safe to show, and errors with their causes.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::net::IpAddr;

use crate::time::Span;

/// Shows `text` with every control character, bidirectional override and invisible separator escaped, and cut at
/// [`Printable::CHARS_MAX`] characters, so that text from an event can never steer a terminal or break a log line.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl Printable<'_> {
    /// The most characters shown; the rest is replaced by `…`.
    pub const CHARS_MAX: usize = 200;
}

/// Shows an error with its causes, on one line: `cannot read the journal: No space left on device`. A cause that says
/// what was said just before is not said again. It escapes nothing.
#[derive(Clone, Copy, Debug)]
pub struct WithCauses<'a>(pub &'a dyn Error);

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut cause = self.0.source();
        while let Some(it) = cause {
            let says = it.to_string();
            if says != said {
                write!(f, ": {says}")?;
                said = says;
            }
            cause = it.source();
        }
        Ok(())
    }
}

/// True for characters that change how a terminal or viewer treats the text around them.
#[must_use]
pub fn is_unsafe_to_show(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nearly all of it is safe, and that is quickly seen.
        let safe = |all, byte| all & matches!(byte, b' '..=b'~');
        if self.0.len() <= Self::CHARS_MAX && self.0.bytes().fold(true, safe) {
            return f.write_str(self.0);
        }
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

/// A number in decimal digits, whatever width is asked for: the standard library's way to write one is several times as
/// long, and most sentences of a guard hold two of them.
#[derive(Clone, Copy, Debug)]
pub struct Digits(pub u64);

const DIGITS: &str = "0123456789";
const PAIRS: &str = concat!(
    "0001020304050607080910111213141516171819",
    "2021222324252627282930313233343536373839",
    "4041424344454647484950515253545556575859",
    "6061626364656667686970717273747576777879",
    "8081828384858687888990919293949596979899",
);

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rest, last) = (self.0 / 100, (self.0 % 100) as usize);
        if rest > 0 {
            Self(rest).fmt(f)?;
            f.write_str(&PAIRS[2 * last..2 * last + 2])
        } else if last >= 10 {
            f.write_str(&PAIRS[2 * last..2 * last + 2])
        } else {
            f.write_str(&DIGITS[last..=last])
        }
    }
}

/// A sentence in the making: what `format!` gives in a fraction of the time, because most parts are not written by way
/// of the standard library's formatting.
#[derive(Debug)]
pub struct Sentence(String);

impl Default for Sentence {
    fn default() -> Self {
        Self::new()
    }
}

impl Sentence {
    /// One without words.
    #[must_use]
    pub fn new() -> Self {
        // One that is made while another one is finds no room, and makes its own.
        let mut made = ROOM.take();
        made.clear();
        Self(made)
    }

    /// Adds `text` as it is.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.0.push_str(text);
        self
    }

    /// Adds a number in decimal digits.
    pub fn number(&mut self, number: u64) -> &mut Self {
        let (rest, last) = (number / 100, (number % 100) as usize);
        if rest > 0 {
            self.number(rest).text(&PAIRS[2 * last..2 * last + 2])
        } else if last >= 10 {
            self.text(&PAIRS[2 * last..2 * last + 2])
        } else {
            self.text(&DIGITS[last..=last])
        }
    }

    /// Adds a span as it is shown to people.
    pub fn span(&mut self, span: Span) -> &mut Self {
        let [(number, unit), (rest, smaller)] = span.parts();
        self.number(number).text(unit);
        if rest > 0 {
            self.number(rest).text(smaller);
        }
        self
    }

    /// Adds an address.
    pub fn address(&mut self, ip: IpAddr) -> &mut Self {
        let IpAddr::V4(v4) = ip else {
            return self.show(ip);
        };
        let [a, b, c, d] = v4.octets();
        self.number(a.into()).text(".").number(b.into()).text(".");
        self.number(c.into()).text(".").number(d.into())
    }

    /// Adds whatever can be shown.
    pub fn show(&mut self, shown: impl fmt::Display) -> &mut Self {
        // Writing to it cannot fail.
        let _ = fmt::Write::write_fmt(&mut self.0, format_args!("{shown}"));
        self
    }

    /// The whole of it. There are no words left.
    #[must_use]
    pub fn boxed(&mut self) -> Box<str> {
        let boxed = self.0.as_str().into();
        let made = std::mem::take(&mut self.0);
        if made.capacity() <= ROOM_KEPT {
            ROOM.set(made);
        }
        boxed
    }
}

/// Text that fits into `N` bytes on the stack, or does not and is on the heap.
struct OnStack<const N: usize> {
    bytes: [u8; N],
    used: usize,
    rest: Option<String>,
}

impl<const N: usize> fmt::Write for OnStack<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if let Some(rest) = &mut self.rest {
            rest.push_str(text);
        } else if let Some(room) = self.bytes.get_mut(self.used..self.used + text.len()) {
            room.copy_from_slice(text.as_bytes());
            self.used += text.len();
        } else {
            let mut whole = self.as_str().to_owned();
            whole.push_str(text);
            self.rest = Some(whole);
        }
        Ok(())
    }
}

impl<const N: usize> OnStack<N> {
    const fn new() -> Self {
        Self {
            bytes: [0; N],
            used: 0,
            rest: None,
        }
    }

    fn as_str(&self) -> &str {
        match &self.rest {
            Some(rest) => rest,
            None => std::str::from_utf8(&self.bytes[..self.used]).unwrap_or_default(),
        }
    }
}

/// Room of a text in the making that is kept for the next one.
const ROOM_KEPT: usize = 4 * 1024;

thread_local! {
    static ROOM: Cell<String> = const { Cell::new(String::new()) };
}

/// What `format!(…).into()` gives, with one allocation: `boxed(format_args!(…))`.
#[must_use]
pub fn boxed(text: fmt::Arguments<'_>) -> Box<str> {
    if let Some(text) = text.as_str() {
        return text.into();
    }
    let mut made = Sentence::new();
    // Writing to it cannot fail.
    let _ = fmt::Write::write_fmt(&mut made.0, text);
    made.boxed()
}

/// Writes `text` to `f` with the width that is asked for.
pub(crate) fn pad(f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>) -> fmt::Result {
    if f.width().is_none() && f.precision().is_none() {
        return f.write_fmt(text);
    }
    let mut made = OnStack::<64>::new();
    fmt::Write::write_fmt(&mut made, text)?;
    f.pad(made.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TransactionId;

    /// An error with the words and the cause that it is given.
    #[derive(Debug)]
    struct Of(&'static str, Option<Box<Of>>);

    impl fmt::Display for Of {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Of {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|it| it as _)
        }
    }

    #[test]
    fn every_cause_is_said_and_none_twice_in_a_row() {
        let of = |what, cause| Some(Box::new(Of(what, cause)));
        let disk = of("no space", of("no space", of("error 28", None)));
        let error = Of("cannot write", of("the disk", disk));
        assert_eq!(
            WithCauses(&error).to_string(),
            "cannot write: the disk: no space: error 28"
        );
        assert_eq!(WithCauses(&Of("alone", None)).to_string(), "alone");
    }

    #[test]
    fn text_that_fits_and_text_that_does_not_is_what_it_says() {
        for length in [0, 1, 191, 192, 193, 1_000, 5_000] {
            let long = "é".repeat(length);
            assert_eq!(*boxed(format_args!("{length}{long}.")), format!("{length}{long}."));
        }
        assert_eq!(*boxed(format_args!("as it is")), *"as it is");
        struct Nested;
        impl fmt::Display for Nested {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&boxed(format_args!("<{}>", Digits(1))))
            }
        }
        assert_eq!(*boxed(format_args!("a{Nested}{}b{Nested}", Digits(2))), *"a<1>2b<1>");
        let id = TransactionId(7);
        assert_eq!(format!("{id}|{id:>6}|{id:<6}|{id:.2}"), "TX-7|  TX-7|TX-7  |TX");
    }

    #[test]
    fn digits_are_those_of_the_number() {
        let mut numbers: Vec<u64> = (0..1_200).chain([u64::MAX, u64::MAX - 1]).collect();
        numbers.extend((0..20).flat_map(|power| [10_u64.pow(power) - 1, 10_u64.pow(power), 10_u64.pow(power) + 1]));
        for number in numbers {
            assert_eq!(Digits(number).to_string(), number.to_string());
            assert_eq!(
                *Sentence::new().text("<").number(number).text(">").boxed(),
                *format!("<{number}>")
            );
        }
    }

    #[test]
    fn a_sentence_is_what_its_parts_are_shown_as() {
        for ip in ["0.0.0.0", "203.0.113.7", "255.10.100.99", "2001:db8::1"] {
            let ip: IpAddr = ip.parse().expect("an address");
            assert_eq!(*Sentence::new().address(ip).boxed(), *ip.to_string());
        }
        for us in (0..64).flat_map(|power| [(1_u64 << power) - 1, 1 << power, (1 << power) / 60 * 60]) {
            for span in [us, us / 1_000 * 1_000, us / 60_000_000 * 60_000_000].map(Span::from_micros) {
                assert_eq!(*Sentence::new().span(span).boxed(), *span.to_string());
            }
        }
        let long = "é".repeat(150);
        let made = Sentence::new()
            .text("a ")
            .show(TransactionId(7))
            .text(&long)
            .number(5)
            .boxed();
        assert_eq!(*made, *format!("a TX-7{long}5"));
    }

    #[test]
    fn control_characters_and_overrides_are_escaped() {
        let shown = Printable("a\u{1b}[31mred\r\n\u{202e}x\u{0}\u{9b}").to_string();
        assert_eq!(shown, "a\\u{1b}[31mred\\u{d}\\u{a}\\u{202e}x\\u{0}\\u{9b}");
        assert!(Printable(&"x".repeat(5_000)).to_string().chars().count() == Printable::CHARS_MAX + 1);
        for length in [0, 1, Printable::CHARS_MAX, Printable::CHARS_MAX + 1] {
            let text = "~ ".repeat(length)[..length].to_owned();
            let cut = if length > Printable::CHARS_MAX { "…" } else { "" };
            let shown = Printable(&text).to_string();
            assert_eq!(shown, format!("{}{cut}", &text[..length.min(Printable::CHARS_MAX)]));
        }
        assert_eq!(Printable("\u{7f}").to_string(), "\\u{7f}");
        assert_eq!(clip("aé", 2), "a");
    }
}
