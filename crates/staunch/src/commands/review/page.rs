//! A document of headings, facts, tables and lists, written as Markdown or as a page that stands alone.
//!
//! Text in it is hostile until it is written: neither form lets it become markup.

mod html;

use std::fmt::Write as _;

use staunch_model::text::is_unsafe_to_show;

pub(super) use self::html::html;

/// One part of a document.
pub(super) enum Block {
    Heading(&'static str),
    /// Words of ours, or text from outside.
    Text(String),
    /// What people are asked to write here.
    Prompt(&'static str),
    List(Vec<String>),
    Table(Vec<&'static str>, Vec<Vec<String>>),
}

/// `blocks` as Markdown.
pub(super) fn markdown(title: &str, blocks: &[Block]) -> String {
    let mut text = format!("# {}\n", inline(title));
    let mut line = |line: String| {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{line}");
    };
    for block in blocks {
        match block {
            Block::Heading(words) => line(format!("\n## {words}")),
            Block::Text(words) => line(format!("\n{}", paragraph(words))),
            Block::Prompt(words) => line(format!("\n> {words}\n\n(to be written)")),
            Block::List(items) if items.is_empty() => line("\nNone is recorded.".to_owned()),
            Block::List(items) => {
                line(String::new());
                items.iter().for_each(|item| line(format!("- {}", paragraph(item))));
            }
            Block::Table(_, rows) if rows.is_empty() => line("\nNone is recorded.".to_owned()),
            Block::Table(head, rows) => {
                line(format!("\n| {} |", head.join(" | ")));
                line(format!("|{}", "---|".repeat(head.len())));
                for row in rows {
                    let cells: Vec<String> = row.iter().map(|cell| inline(cell)).collect();
                    line(format!("| {} |", cells.join(" | ")));
                }
            }
        }
    }
    text
}

/// `text` as words of Markdown that begin a line.
fn paragraph(text: &str) -> String {
    let safe = inline(text);
    let first = safe.chars().next();
    let digits = safe.bytes().take_while(u8::is_ascii_digit).count();
    // A heading, a quotation, a list, a rule; of a numbered list the sign behind the number.
    if first.is_some_and(|c| matches!(c, '#' | '>' | '-' | '+' | '=')) {
        format!("\\{safe}")
    } else if digits > 0 && safe[digits..].starts_with(['.', ')']) {
        format!("{}\\{}", &safe[..digits], &safe[digits..])
    } else {
        safe
    }
}

/// `text` as words of Markdown (CommonMark 0.31, and the tables and links of GitHub's): only what could be markup where
/// it stands has a backslash, because people go on writing in it.
fn inline(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let all: Vec<char> = text.trim().chars().collect();
    for (at, c) in all.iter().copied().enumerate() {
        if is_unsafe_to_show(c) {
            safe.push_str("\\\\");
            safe.extend(c.escape_unicode().skip(1));
            continue;
        }
        let before = at.checked_sub(1).map(|at| all[at]);
        let after = all.get(at + 1).copied();
        let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let www = || {
            let head: String = all[at.saturating_sub(3)..at].iter().collect();
            head.eq_ignore_ascii_case("www")
        };
        let is_markup = match c {
            '\\' | '`' | '*' | '<' | '[' | ']' | '|' => true,
            // Inside of a word it is a letter.
            '_' => !(is_word(before) && is_word(after)),
            '~' => before == Some('~') || after == Some('~'),
            '&' => after.is_some_and(|it| it == '#' || it.is_ascii_alphabetic()),
            // What makes a link of an address or of a name by itself.
            ':' => after == Some('/'),
            '@' => is_word(after),
            '.' => www(),
            _ => false,
        };
        if is_markup {
            safe.push('\\');
        }
        safe.push(c);
    }
    safe
}

/// `text` as a scalar of YAML in double quotes, which is also a string of JSON.
pub(super) fn quoted(text: &str) -> String {
    let mut safe = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                safe.push('\\');
                safe.push(c);
            }
            c if is_unsafe_to_show(c) || c == '\u{feff}' => {
                let mut units = [0; 2];
                // YAML reads a pair of surrogates as two characters; nothing to be escaped is outside the basic plane
                // but for tags, which are written as they are.
                if let [unit] = c.encode_utf16(&mut units) {
                    let _ = write!(safe, "\\u{unit:04x}");
                } else {
                    safe.push(c);
                }
            }
            c => safe.push(c),
        }
    }
    safe.push('"');
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a | b\n# c <script>x</script> [x](http://e) `d` \"q\" \u{1b}[31m\u{2028}";

    #[test]
    fn hostile_text_is_text_in_markdown_and_in_the_page() {
        let blocks = [
            Block::Text(HOSTILE.into()),
            Block::List(vec![HOSTILE.into()]),
            Block::Table(vec!["a"], vec![vec![HOSTILE.into()]]),
        ];
        let text = markdown(HOSTILE, &blocks);
        assert!(!text.contains('\u{1b}') && !text.contains("\n# c"), "{text}");
        assert!(!text.contains(" <script") && !text.contains(" [x]"), "{text}");
        let page = html(HOSTILE, &blocks);
        assert!(!page.contains("<script") && !page.contains('\u{1b}'), "{page}");
    }

    #[test]
    fn words_that_are_no_markup_are_written_as_they_are() {
        for plain in [
            "INC-6: post-incident report",
            "2026-11-27T07:30:16.670Z",
            "event.severity >= medium (203.0.113.9 -> 10.0.0.5), 5% of 3 + 4 = 7 # x",
            "limits_max is 3; it's \"so\"! 1.5 2001:db8::1",
        ] {
            assert_eq!(paragraph(plain), plain);
        }
    }

    #[test]
    fn whatever_could_be_markup_is_none() {
        for (hostile, safe) in [
            ("# a", "\\# a"),
            ("> a", "\\> a"),
            ("- a", "\\- a"),
            ("---", "\\---"),
            ("===", "\\==="),
            ("1. a", "1\\. a"),
            ("  12) a", "12\\) a"),
            ("<b>", "\\<b>"),
            ("![x](http://e)", "!\\[x\\](http\\://e)"),
            ("WWW.e.com", "WWW\\.e.com"),
            ("a@b.c", "a\\@b.c"),
            ("_a_ b_c", "\\_a\\_ b_c"),
            ("**a**", "\\*\\*a\\*\\*"),
            ("~~a~~", "\\~\\~a\\~\\~"),
            ("&lt; &#60; a & b", "\\&lt; \\&#60; a & b"),
            ("a | b\\", "a \\| b\\\\"),
            ("a\n# b", "a\\\\u{a}# b"),
        ] {
            assert_eq!(paragraph(hostile), safe, "{hostile}");
        }
    }

    #[test]
    fn quoted_text_is_one_line_and_reads_back() {
        let line = quoted(HOSTILE);
        assert!(!line.contains('\n') && !line.contains('\u{2028}'), "{line}");
        let back: String = serde_json::from_str(&line).expect("it is a string");
        assert_eq!(back, HOSTILE);
    }
}
