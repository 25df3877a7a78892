//! A document as a page that loads nothing and runs nothing.
//!
//! A column is as wide as what is in it: short words are on one line, a time is on one or on two, and what is long has
//! the room that is left, whatever else is in the row. On a narrow screen each row of a wide table is a list of its
//! cells, with the head of its column before each. In print no row is split, heads are on every page, and a heading is
//! with what follows it. The paper is the printer's: no rule names a size.

use std::fmt::Write as _;

use staunch_model::Timestamp;

use super::Block;
use crate::backtest::html::escape;

const STYLE: &str = "\
body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
h1,h2{line-height:1.25}h2{margin:1.8rem 0 .5rem}p,li,td{overflow-wrap:anywhere}
.prompt{color:#555;border-left:.25rem solid #99c;padding-left:.75rem}
table{border-collapse:collapse;width:100%;font-size:.92rem;line-height:1.4}
th,td{text-align:left;vertical-align:top;padding:.25rem .8rem .25rem 0;border-bottom:1px solid #ccd}
th:last-child,td:last-child{padding-right:0}
th{color:#555;font-weight:600}td.w{white-space:nowrap}td.t{font-variant-numeric:tabular-nums}td.t span{white-space:nowrap}
.few td.t{white-space:nowrap}
td.s{min-width:8.5em}td.l{min-width:13em}
@media screen and (max-width:44rem){body{margin:1rem auto}.few td.t{white-space:normal}td.s,td.l{min-width:0}
.many,.many tbody,.many tr{display:block}.many thead,.many td.none{display:none}.many tr{border-bottom:1px solid #99a;padding:.5rem 0}
.many td{display:flow-root;border:0;padding:.05rem 0 .05rem 6.5rem}
.many td::before{content:attr(data-head);float:left;width:6rem;margin-left:-6.5rem;color:#555;white-space:normal}}
@page{margin:15mm}
@media print{body{font-size:10pt;max-width:none;margin:0;padding:0;color:#000}th,.prompt{color:#333}h1{margin-top:0}
thead{display:table-header-group}tr,li{break-inside:avoid}h1,h2,thead{break-after:avoid}p{orphans:3;widows:3}
tbody tr:nth-child(-n+2),tbody tr:last-child{break-before:avoid}table{font-size:8.5pt}}";

/// `blocks` as a page.
pub(in crate::commands::review) fn html(title: &str, blocks: &[Block]) -> String {
    let title = escape(title);
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
    );
    let mut line = |line: String| {
        // Writing into a string cannot fail.
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
            Block::Table(head, rows) => table(head, rows, &mut line),
        }
    }
    text.push_str("</body></html>\n");
    text
}

fn table(head: &[&str], rows: &[Vec<String>], line: &mut impl FnMut(String)) {
    let columns: Vec<Column> = (0..head.len()).map(|at| Column::of(rows, at)).collect();
    let class = if head.len() > COLUMNS_FEW { "many" } else { "few" };
    let heads: String = head
        .iter()
        .map(|it| format!("<th scope=\"col\">{}</th>", escape(it)))
        .collect();
    line(format!(
        "<table class=\"{class}\"><thead><tr>{heads}</tr></thead><tbody>"
    ));
    for row in rows {
        let cells = row.iter().zip(head).zip(&columns);
        let cells: String = cells.map(|((cell, head), column)| column.cell(head, cell)).collect();
        line(format!("<tr>{cells}</tr>"));
    }
    line("</tbody></table>".to_owned());
}

/// So many columns have room beside each other on a screen of any width.
const COLUMNS_FEW: usize = 3;

/// The longest word that is kept on one line.
const WORD_CHARS_MAX: usize = 16;

/// The longest cell of a column that needs no room to be long in.
const SHORT_CHARS_MAX: usize = 28;

/// What is in a column, as far as its width depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    /// Times, or none.
    Times,
    /// One short word each.
    Words,
    Short,
    Long,
}

impl Column {
    fn of(rows: &[Vec<String>], at: usize) -> Self {
        let cells = || rows.iter().filter_map(|row| row.get(at)).map(|it| it.trim());
        let is_time = |it: &str| it.parse::<Timestamp>().is_ok();
        let is_word = |it: &str| it.chars().count() <= WORD_CHARS_MAX && !it.contains(char::is_whitespace);
        if cells().any(is_time) && cells().all(|it| it == "-" || is_time(it)) {
            Self::Times
        } else if cells().all(is_word) {
            Self::Words
        } else if cells().all(|it| it.chars().count() <= SHORT_CHARS_MAX) {
            Self::Short
        } else {
            Self::Long
        }
    }

    /// `text` in this column, whose head is `head`.
    fn cell(self, head: &str, text: &str) -> String {
        let class = match self {
            Self::Times => "t",
            Self::Words => "w",
            Self::Short => "s",
            Self::Long => "l",
        };
        // As it is told, down to its last digit.
        let content = match text.split_once('T') {
            Some((day, time)) if self == Self::Times => {
                format!("<span>{}</span> <span>{}</span>", escape(day), escape(time))
            }
            _ => breakable(text),
        };
        // On a narrow screen, what is not there takes no line.
        let none = if text == "-" { " none" } else { "" };
        format!(
            "<td class=\"{class}{none}\" data-head=\"{}\">{content}</td>",
            escape(head)
        )
    }
}

/// `text`, which is broken where parts of a path or of an id meet, when it must be.
fn breakable(text: &str) -> String {
    let mut markup = String::new();
    let mut part = String::new();
    for c in text.chars() {
        part.push(c);
        let meets = matches!(c, '/' | '@') && part.chars().any(char::is_alphanumeric);
        if meets {
            markup.push_str(&escape(&part));
            markup.push_str("<wbr>");
            part.clear();
        } else if c.is_whitespace() {
            markup.push_str(&escape(&part));
            part.clear();
        }
    }
    markup.push_str(&escape(&part));
    markup
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(head: &[&'static str], rows: &[&[&str]]) -> String {
        let rows = rows.iter().map(|row| row.iter().map(|it| (*it).to_owned()).collect());
        html("a", &[Block::Table(head.to_vec(), rows.collect())])
    }

    #[test]
    fn what_is_long_has_room_beside_words_and_times_that_are_not_broken() {
        let why = "missed at 2026-11-28T15:56:28.278Z: there is none in /var/log/journal";
        let page = tell(
            &["Id", "Of", "Asked", "Degraded"],
            &[
                &["EV-31", "203.0.113.99", "2026-11-28T15:56:28.207Z", "-"],
                &["EV-32", "pid:14138@5094660.b647a4b9", "-", why],
            ],
        );
        let first = "<tr><td class=\"w\" data-head=\"Id\">EV-31</td><td class=\"s\" data-head=\"Of\">203.0.113.99</td>\
                     <td class=\"t\" data-head=\"Asked\"><span>2026-11-28</span> <span>15:56:28.207Z</span></td>\
                     <td class=\"l none\" data-head=\"Degraded\">-</td></tr>";
        assert!(page.contains(first), "{page}");
        assert!(
            page.contains("<td class=\"t none\" data-head=\"Asked\">-</td>"),
            "{page}"
        );
        assert!(
            page.contains("<table class=\"many\"><thead><tr><th scope=\"col\">Id</th>"),
            "{page}"
        );
        // They are broken where their parts meet.
        assert!(
            page.contains("data-head=\"Of\">pid:14138@<wbr>5094660.b647a4b9</td>"),
            "{page}"
        );
        assert!(
            page.contains("there is none in /var/<wbr>log/<wbr>journal</td>"),
            "{page}"
        );
        // A text that looks like a time in a column of others stays as it is.
        let mixed = tell(&["At"], &[&["2026-11-28T15:56:28.207Z"], &["yes"]]);
        assert!(mixed.contains(">2026-11-28T15:56:28.207Z</td>"), "{mixed}");
    }

    #[test]
    fn a_time_to_the_microsecond_is_told_to_it() {
        let page = tell(&["At"], &[&["2026-11-28T02:16:03.363215Z"]]);
        assert!(
            page.contains("<span>2026-11-28</span> <span>02:16:03.363215Z</span>"),
            "{page}"
        );
    }

    #[test]
    fn print_keeps_rows_whole_repeats_heads_and_names_no_paper() {
        let page = tell(&["What", "Recorded"], &[&["incident", "INC-1"]]);
        let (_, print) = page.split_once("@media print{").expect("rules for print");
        for rule in [
            "thead{display:table-header-group}",
            "tr,li{break-inside:avoid}",
            "h1,h2,thead{break-after:avoid}",
        ] {
            assert!(print.contains(rule), "{rule}: {page}");
        }
        assert!(
            page.contains("@page{margin:15mm}") && !page.contains("size:A"),
            "{page}"
        );
        // Two columns have room beside each other on any screen.
        assert!(page.contains("<table class=\"few\"><thead>"), "{page}");
    }
}
