//! A document of headings, facts, tables and lists, written as Markdown or as a page that stands alone.
//!
//! Text in it is hostile until it is written: neither form lets it become markup.

use std::fmt::Write as _;

use staunch_model::text::is_unsafe_to_show;

use crate::backtest::html::escape;
use crate::commands::tabletop::minutes::escaped;

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

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;\
background:#fff}table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.25rem .6rem \
.25rem 0;border-bottom:1px solid #ccd;min-width:5.2em;overflow-wrap:anywhere}.prompt{color:#555;\
border-left:.25rem solid #99c;padding-left:.75rem}";

/// `blocks` as Markdown.
pub(super) fn markdown(title: &str, blocks: &[Block]) -> String {
    let mut text = format!("# {}\n", escaped(title));
    let mut line = |line: String| {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{line}");
    };
    for block in blocks {
        match block {
            Block::Heading(words) => line(format!("\n## {words}")),
            Block::Text(words) => line(format!("\n{}", escaped(words))),
            Block::Prompt(words) => line(format!("\n> {words}\n\n(to be written)")),
            Block::List(items) if items.is_empty() => line("\nNone is recorded.".to_owned()),
            Block::List(items) => {
                line(String::new());
                items.iter().for_each(|item| line(format!("- {}", escaped(item))));
            }
            Block::Table(_, rows) if rows.is_empty() => line("\nNone is recorded.".to_owned()),
            Block::Table(head, rows) => {
                line(format!("\n| {} |", head.join(" | ")));
                line(format!("|{}", "---|".repeat(head.len())));
                for row in rows {
                    let cells: Vec<String> = row.iter().map(|cell| escaped(cell)).collect();
                    line(format!("| {} |", cells.join(" | ")));
                }
            }
        }
    }
    text
}

/// `blocks` as a page that loads nothing and runs nothing.
pub(super) fn html(title: &str, blocks: &[Block]) -> String {
    let title = escape(title);
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>{title}</title>\n<style>{STYLE}</style></head>\
         <body>\n<h1>{title}</h1>\n"
    );
    let mut line = |line: String| {
        let _ = writeln!(text, "{line}");
    };
    for block in blocks {
        match block {
            Block::Heading(words) => line(format!("<h2>{}</h2>", escape(words))),
            Block::Text(words) => line(format!("<p>{}</p>", escape(words))),
            Block::Prompt(words) => line(format!("<p class=\"prompt\">{}</p>", escape(words))),
            Block::List(items) if items.is_empty() => line("<p>None is recorded.</p>".to_owned()),
            Block::List(items) => {
                let items: String = items.iter().map(|it| format!("<li>{}</li>", escape(it))).collect();
                line(format!("<ul>{items}</ul>"));
            }
            Block::Table(_, rows) if rows.is_empty() => line("<p>None is recorded.</p>".to_owned()),
            Block::Table(head, rows) => {
                let head: String = head.iter().map(|it| format!("<th>{}</th>", escape(it))).collect();
                line(format!("<table><tr>{head}</tr>"));
                for row in rows {
                    let cells: String = row.iter().map(|it| format!("<td>{}</td>", escape(it))).collect();
                    line(format!("<tr>{cells}</tr>"));
                }
                line("</table>".to_owned());
            }
        }
    }
    text.push_str("</body></html>\n");
    text
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
                // YAML reads a pair of surrogates as two characters; nothing to be escaped is outside the basic plane but
                // for tags, which are written as they are.
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
    fn quoted_text_is_one_line_and_reads_back() {
        let line = quoted(HOSTILE);
        assert!(!line.contains('\n') && !line.contains('\u{2028}'), "{line}");
        let back: String = serde_json::from_str(&line).expect("it is a string");
        assert_eq!(back, HOSTILE);
    }
}
