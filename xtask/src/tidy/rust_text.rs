//! Tells the code of a Rust file from its comments and literals.
//!
//! Never fails: what it does not understand is code.

/// A Rust file, taken apart.
#[derive(Debug, Default)]
pub(super) struct RustText {
    /// The file with comments and literals blanked; line ends are where they were.
    pub(super) code: String,
    /// The content of each string literal as it is written, and the line it begins on, from 1.
    pub(super) strings: Vec<(usize, String)>,
}

impl RustText {
    pub(super) fn parse(text: &str) -> Self {
        let mut taken = Self::default();
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let before = text[..at].chars().next_back();
            let length = if let Some((length, content)) = literal(rest, before) {
                if let Some(content) = content {
                    let line = text[..at].matches('\n').count() + 1;
                    taken.strings.push((line, content.to_owned()));
                }
                taken.blank(&rest[..length]);
                length
            } else if let Some(length) = comment(rest) {
                taken.blank(&rest[..length]);
                length
            } else {
                let c = rest.chars().next().expect("`at` is before the end");
                taken.code.push(c);
                c.len_utf8()
            };
            at += length;
        }
        taken
    }

    /// Which lines of the code belong to `#[cfg(test)]` modules, from 0.
    pub(super) fn test_lines(&self) -> Vec<bool> {
        let lines: Vec<&str> = self.code.lines().collect();
        let mut is_test = vec![false; lines.len()];
        let mut at = 0;
        while at < lines.len() {
            let end = if is_test_attribute(lines[at]) {
                end_of_module(&lines, at)
            } else {
                None
            };
            if let Some(end) = end {
                is_test[at..=end].fill(true);
                at = end;
            }
            at += 1;
        }
        is_test
    }

    /// The names of `#[cfg(test)]` modules that are files of their own.
    pub(super) fn test_modules(&self) -> Vec<&str> {
        let lines: Vec<&str> = self.code.lines().collect();
        (0..lines.len())
            .filter(|&at| is_test_attribute(lines[at]))
            .filter_map(|at| module_line(&lines, at))
            .filter_map(|at| lines[at].trim().strip_suffix(';')?.rsplit(' ').next())
            .collect()
    }

    fn blank(&mut self, text: &str) {
        self.code
            .extend(text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
    }
}

fn is_test_attribute(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test,")
}

/// The line of the `mod` that the attribute on line `at` belongs to.
fn module_line(lines: &[&str], at: usize) -> Option<usize> {
    let line = (at + 1..lines.len()).find(|&line| !lines[line].trim().is_empty() && !is_attribute(lines[line]))?;
    let words = lines[line].trim_start();
    (words.starts_with("mod ") || words.starts_with("pub mod ") || words.starts_with("pub(crate) mod ")).then_some(line)
}

fn is_attribute(line: &str) -> bool {
    line.trim_start().starts_with("#[")
}

/// The line that closes the module which the attribute on line `at` belongs to, found by the indentation that rustfmt
/// gives it.
fn end_of_module(lines: &[&str], at: usize) -> Option<usize> {
    let start = module_line(lines, at)?;
    if !lines[start].trim_end().ends_with('{') {
        return None;
    }
    let indent = &lines[start][..lines[start].len() - lines[start].trim_start().len()];
    (start + 1..lines.len()).find(|&line| {
        lines[line]
            .strip_prefix(indent)
            .is_some_and(|rest| rest.trim_end() == "}")
    })
}

/// The length of the comment at the start of `rest`.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        if tail.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += 1;
        }
    }
    Some(rest.len())
}

/// The length of the literal at the start of `rest`, and its content when it is a string.
fn literal(rest: &str, before: Option<char>) -> Option<(usize, Option<&str>)> {
    if rest.starts_with('\'') {
        return character(rest).map(|length| (length, None));
    }
    // `r"` is a raw string, but not at the end of a longer name.
    let in_name = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let prefix = rest.find(|c| !matches!(c, 'b' | 'c' | 'r')).unwrap_or(rest.len());
    if prefix > 2 || (in_name && prefix > 0) {
        return None;
    }
    if rest[..prefix].ends_with('r') {
        let hashes = rest[prefix..].find(|c| c != '#')?;
        let open = prefix + hashes;
        if !rest[open..].starts_with('"') {
            return None;
        }
        let close = format!("\"{}", "#".repeat(hashes));
        let content = &rest[open + 1..];
        let end = content.find(&close).unwrap_or(content.len());
        return Some(((open + 1 + end + close.len()).min(rest.len()), Some(&content[..end])));
    }
    let content = rest[prefix..].strip_prefix('"')?;
    let mut escaped = false;
    let end = content.find(|c| {
        let is_end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        is_end
    });
    let end = end.unwrap_or(content.len());
    Some(((prefix + end + 2).min(rest.len()), Some(&content[..end])))
}

/// The length of the character literal at the start of `rest`, which may be a lifetime instead.
fn character(rest: &str) -> Option<usize> {
    let mut characters = rest.char_indices().skip(1);
    let (_, first) = characters.next()?;
    if first == '\\' {
        characters.next()?;
        return rest.get(3..)?.find('\'').map(|end| 3 + end + 1);
    }
    let (at, second) = characters.next()?;
    (second == '\'' && first != '\'').then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, code: &str, strings: &[&str]) {
        let taken = RustText::parse(text);
        let words: Vec<&str> = taken.code.split_whitespace().collect();
        assert_eq!(words.join(" "), code, "{text}");
        let found: Vec<&str> = taken.strings.iter().map(|(_, content)| content.as_str()).collect();
        assert_eq!(found, strings, "{text}");
        assert_eq!(taken.code.matches('\n').count(), text.matches('\n').count(), "{text}");
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        check("a // b \"c\"\nd", "a d", &[]);
        check("a /* b /* c */ \"d\" */ e", "a e", &[]);
        check(
            r#"f("a \" b", 'x', '"', '\'', '\u{7f}') + b"c""#,
            "f( , , , , ) +",
            &[r#"a \" b"#, "c"],
        );
        check(
            r##"r#"a "b" // c"# + r"d\" + br"e""##,
            "+ +",
            &[r#"a "b" // c"#, "d\\", "e"],
        );
        check("fn f<'a>(x: &'a str) -> r#type", "fn f<'a>(x: &'a str) -> r#type", &[]);
        check("bar\"x\" /", "bar /", &["x"]);
        check("'é' \"é\" é", "é", &["é"]);
        check("\"open", "", &["open"]);
        check("'\\\\' a", "a", &[]);
    }

    #[test]
    fn strings_know_their_line() {
        assert_eq!(
            RustText::parse("a\n\"b\n\" \"c\"").strings,
            [(2, "b\n".to_owned()), (3, "c".to_owned())]
        );
    }

    #[test]
    fn test_modules_are_found() {
        let text = "mod a;\n#[cfg(test)]\nmod tests {\n    mod b {\n    }\n}\nfn c() {}\n#[cfg(test)]\n#[path = \"x\"]\nmod d;\n";
        let taken = RustText::parse(text);
        assert_eq!(
            taken.test_lines(),
            [false, true, true, true, true, true, false, false, false, false]
        );
        assert_eq!(taken.test_modules(), ["d"]);
    }
}
