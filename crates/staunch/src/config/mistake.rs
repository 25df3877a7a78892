//! Mistakes in the configuration: where they are and how to mend them.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use staunch_model::Printable;
use toml::de::{DeTable, DeValue};

use super::Config;
use crate::exit::MistakeInFile;
use crate::output::wrap;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The bytes of the file that it is about.
    pub(crate) span: Range<usize>,
    /// What is wrong, safe to show.
    pub(crate) what: String,
    /// How to mend it.
    pub(crate) hint: String,
}

/// The columns before a hint below a snippet, at the most: the number of a line, and `= hint: `.
const HINT_INDENT: usize = 16;

/// A step of the way to a value: a key or a position.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    Key(&'a str),
    At(usize),
}

impl Mistake {
    /// The mistake that the TOML reader found.
    pub(crate) fn of_form(text: &str, error: &toml::de::Error) -> Self {
        let span = error.span().unwrap_or(0..0);
        let message = error.message().lines().next().unwrap_or_default();
        let unknown = ["field", "variant"].into_iter().find_map(|kind| {
            let rest = message.strip_prefix("unknown ")?.strip_prefix(kind)?;
            let (written, known) = quoted(rest)?;
            Some((kind, written, known))
        });
        let hint = match &unknown {
            Some(("field", written, known)) => of_unknown_key(written, known),
            Some((_, written, known)) => of_unknown(written, known, "allowed"),
            None if message.contains("missing field") => "add the key".to_owned(),
            None if message.contains("duplicate key") => "keep one of the two".to_owned(),
            // The reader of TOML says "expected" of form only, and all else comes from the keys.
            None if message.contains("expected") && !message.contains("invalid") => {
                "check quotes, brackets and the = between a key and its value".to_owned()
            }
            None => "docs/reference/configuration.md says what each key takes".to_owned(),
        };
        let what = match &unknown {
            // What is known is in the hint.
            Some(("field", written, _)) => format!("unknown key `{written}`"),
            Some((_, written, _)) => format!("unknown value `{written}`"),
            None => in_words(message),
        };
        Self {
            span: within(text, &span),
            what: Printable(&what).to_string(),
            hint,
        }
    }

    /// A value that cannot work, at `path`.
    pub(crate) fn of_value(text: &str, path: &[Step<'_>], what: String, hint: impl Into<String>) -> Self {
        Self {
            span: within(text, &find(text, path)),
            what,
            hint: hint.into(),
        }
    }

    /// The line and the column in characters, both from 1.
    pub(crate) fn position(&self, text: &str) -> (usize, usize) {
        let before = &text[..self.span.start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (line_of(text, self.span.start), before[line_start..].chars().count() + 1)
    }

    /// The table of the top that it is in; `None` above the first one.
    pub(crate) fn table(&self, text: &str) -> Option<String> {
        let line_end = text[self.span.start..]
            .find('\n')
            .map_or(text.len(), |it| self.span.start + it);
        let mut before = text[..line_end].lines().rev();
        let heading = before.find_map(|line| line.trim_start().strip_prefix('['))?;
        let name = heading.trim_start_matches('[').split(['.', ']']).next()?;
        Some(name.trim().trim_matches('"').to_owned())
    }

    /// The mistake as a part of a fault.
    pub(crate) fn told(&self, file: &str, text: &str, color: bool) -> MistakeInFile {
        let (line, column) = self.position(text);
        MistakeInFile {
            file: file.to_owned(),
            line,
            column,
            what: self.what.clone(),
            hint: self.hint.clone(),
            rendered: self.render(file, text, color),
        }
    }

    /// The mistake with the line that it is in.
    pub(crate) fn render(&self, file: &str, text: &str, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let (line, column) = self.position(text);
        let shown = Printable(file).to_string();
        // The snippet shows lines of the file: one that could steer a terminal is left out.
        if text
            .chars()
            .any(|c| c != '\n' && c != '\t' && c != '\r' && staunch_model::text::is_unsafe_to_show(c))
        {
            return format!(
                "error: {}\n --> {shown}:{line}:{column}\nhint: {}\n\n",
                self.what, self.hint
            );
        }
        let text = without_secrets(text);
        let snippet = Snippet::source(text.as_str())
            .path(shown.as_str())
            .annotation(AnnotationKind::Primary.span(self.span.clone()));
        // The renderer puts lines of a message below each other; what it writes before them differs with the line's
        // number.
        let hint = wrapped_hint(&self.hint);
        let hint = Level::HELP.with_name("hint").message(hint.as_str());
        let group = Level::ERROR
            .primary_title(self.what.as_str())
            .element(snippet)
            .element(hint);
        format!("{}\n\n", renderer.render(&[group]))
    }
}

/// `text` with stars in place of what may be a secret in an address: a user and a password, and a query. Every place
/// stays where it is, since the snippet points at them.
fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    let hide = |shown: &mut String, secret: &str| shown.extend(secret.bytes().map(|_| '*'));
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\''))
            .unwrap_or(after.len());
        let (address, after) = after.split_at(end);
        let (address, query) = address.find('?').map_or((address, ""), |at| address.split_at(at + 1));
        let host_end = address.find('/').unwrap_or(address.len());
        let user_end = address[..host_end].rfind('@').unwrap_or(0);
        hide(&mut shown, &address[..user_end]);
        shown.push_str(&address[user_end..]);
        hide(&mut shown, query);
        rest = after;
    }
    shown.push_str(rest);
    shown
}

/// The word that was written, and those that are known, of ` `x`, expected one of `a`, `b``. What was written may have
/// quotes of its own; what is known has none.
fn quoted(rest: &str) -> Option<(&str, Vec<&str>)> {
    let rest = rest.trim_start().strip_prefix('`')?;
    let (written, known) = match rest.rsplit_once("`, expected ") {
        Some(both) => both,
        None => (rest.rsplit_once('`')?.0, ""),
    };
    Some((written, known.split('`').skip(1).step_by(2).collect()))
}

/// `message`, which may end with the name that a type has in our code, in the words of whoever wrote the file.
fn in_words(message: &str) -> String {
    let Some((before, name)) = message.rsplit_once("expected ") else {
        return message.to_owned();
    };
    let words = match name.strip_prefix("struct ") {
        Some(name) if name.chars().all(char::is_alphanumeric) => "a table",
        _ if matches!(name, "u8" | "u16" | "u32" | "u64" | "usize") => "a whole number",
        _ => name,
    };
    format!("{before}expected {words}")
}

/// The hint for a word that is none of `known`.
fn of_unknown(written: &str, known: &[&str], all_are: &str) -> String {
    match nearest(written, known) {
        _ if known.is_empty() => "remove it".to_owned(),
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("{all_are}: {}", known.join(", ")),
    }
}

/// The hint for a key that its table does not have: one that is nearly the same, or the table that has it.
fn of_unknown_key(written: &str, known: &[&str]) -> String {
    if nearest(written, known).is_none() {
        match &*homes_of(written) {
            [] => {}
            homes if homes.iter().any(String::is_empty) => {
                return format!("`{written}` belongs to the top of the file, above the first [table]");
            }
            homes if homes.len() <= HOMES_TOLD_MAX => {
                return format!("`{written}` is a key of {}", homes.join(" and of "));
            }
            // So many have it that it tells nothing.
            _ => {}
        }
    }
    of_unknown(written, known, "known keys")
}

/// The most tables that are named as those that a key may belong to.
const HOMES_TOLD_MAX: usize = 3;

/// The tables that have a key `written`, such as `[http]`; an empty one is the top of the file.
fn homes_of(written: &str) -> Vec<String> {
    let top = keys_of("");
    let mut homes = Vec::new();
    if top.iter().any(|key| key == written) {
        homes.push(String::new());
    }
    for section in &top {
        let (header, keys) = table(section);
        if keys.iter().any(|key| key == written) {
            homes.push(header);
        }
        for key in keys {
            let (header, keys) = table(&format!("{section}.{key}"));
            if keys.iter().any(|key| key == written) {
                homes.push(header);
            }
        }
    }
    homes
}

/// The header of the table `name` and the keys that it takes. One that is no list is tried first: the reader would take
/// a list for its values in their order.
fn table(name: &str) -> (String, Vec<String>) {
    let one = format!("[{name}]");
    let keys = keys_of(&one);
    if !keys.is_empty() {
        return (one, keys);
    }
    let of_list = format!("[[{name}]]");
    let keys = keys_of(&of_list);
    (of_list, keys)
}

/// The keys that a table takes, as the reader says when it meets one that is none; none of what is no such table.
pub(super) fn keys_of(header: &str) -> Vec<String> {
    let Err(error) = toml::from_str::<Config>(&format!("{header}\n\"?\" = 0\n")) else {
        return Vec::new();
    };
    let message = error.message().lines().next().unwrap_or_default();
    let listed = message.strip_prefix("unknown field ").and_then(quoted);
    let known = listed.map_or(Vec::new(), |(_, known)| known);
    known.into_iter().map(str::to_owned).collect()
}

/// The word of `known` that `written` is probably a misspelling of.
pub(crate) fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let written: Vec<char> = written.chars().take(64).collect();
    let near = |word: &'a str| (distance(&written, &word.chars().collect::<Vec<_>>()), word);
    let allowed = |word: &str| (word.len().max(written.len()) / 3).max(1);
    let best = known
        .iter()
        .map(|word| near(word))
        .min_by_key(|(distance, _)| *distance);
    best.filter(|(distance, word)| *distance <= allowed(word))
        .map(|(_, word)| word)
}

/// The edit distance in which swapped neighbours count once.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (rows[i][j] + usize::from(x != y))
                .min(rows[i][j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// `hint` in lines that fit. What is to be copied, which is in backquotes, stays in one.
pub(crate) fn wrapped_hint(hint: &str) -> String {
    const KEPT: &str = "\u{a0}";
    let parts = hint.split('`').enumerate().map(|(at, part)| match at % 2 {
        1 => part.replace(' ', KEPT),
        _ => part.to_owned(),
    });
    let kept = parts.collect::<Vec<_>>().join("`");
    let lines = wrap(&kept, HINT_INDENT).replace(&format!("\n{}", " ".repeat(HINT_INDENT)), "\n");
    lines.replace(KEPT, " ")
}

/// The bytes of the value with these keys, or of the nearest thing around it that is in the file.
pub(crate) fn place_of(text: &str, keys: &[&str]) -> Range<usize> {
    let path: Vec<Step<'_>> = keys.iter().map(|key| Step::Key(key)).collect();
    find(text, &path)
}

/// The bytes of the value with exactly these keys; `None` when it is not in the file.
pub(crate) fn place_of_exactly(text: &str, keys: &[&str]) -> Option<Range<usize>> {
    let path: Vec<Step<'_>> = keys.iter().map(|key| Step::Key(key)).collect();
    exactly(DeTable::parse(text).ok()?.get_ref(), &path)
}

/// The bytes of the value at `path`, or of the nearest thing around it that is in the file.
fn find(text: &str, path: &[Step<'_>]) -> Range<usize> {
    let Ok(root) = DeTable::parse(text) else { return 0..0 };
    let longest = (1..=path.len()).rev();
    longest
        .filter_map(|length| exactly(root.get_ref(), &path[..length]))
        .next()
        .unwrap_or(0..0)
}

/// The bytes of the value at `path` of `root`.
pub(super) fn exactly(root: &DeTable<'_>, path: &[Step<'_>]) -> Option<Range<usize>> {
    let (Step::Key(first), rest) = path.split_first()? else {
        return None;
    };
    let mut value = root.get(*first)?;
    for step in rest {
        value = match (value.get_ref(), step) {
            (DeValue::Table(table), Step::Key(key)) => table.get(*key)?,
            (DeValue::Array(array), Step::At(at)) => array.get(*at)?,
            _ => return None,
        };
    }
    Some(value.span())
}

/// The line of `text` that the byte `at` is in, from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// `span` cut to `text`, on character boundaries.
fn within(text: &str, span: &Range<usize>) -> Range<usize> {
    let boundary = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = boundary(span.start);
    start..boundary(span.end).max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mistake of a file that is `text`.
    fn mistake(text: &str) -> Mistake {
        let mistakes = crate::config::parse(text).expect_err("there is one");
        mistakes.into_iter().next().expect("there is one")
    }

    #[track_caller]
    fn says(text: &str, what: &str, hint: &str) {
        let found = mistake(text);
        assert_eq!(found.what, what, "{text}");
        assert_eq!(found.hint, hint, "{text}");
    }

    #[test]
    fn the_key_that_was_meant_is_named_and_no_other() {
        says("mod = \"enforce\"\n", "unknown key `mod`", "did you mean `mode`?");
        says("[htpp]\n", "unknown key `htpp`", "did you mean `http`?");
        let files = "[[sources.files]]\npath = \"x\"\nsorce = \"suricata\"\n";
        says(files, "unknown key `sorce`", "did you mean `source`?");
        says(
            "mode = \"enforced\"\n",
            "unknown value `enforced`",
            "did you mean `enforce`?",
        );
    }

    #[test]
    fn types_are_named_as_who_writes_the_file_knows_them() {
        for (text, what) in [
            (
                "[limits]\nacts_per_hour_max = \"many\"\n",
                "invalid type: string \"many\", expected a whole number",
            ),
            ("http = 1\n", "invalid type: integer `1`, expected a table"),
        ] {
            says(text, what, "docs/reference/configuration.md says what each key takes");
        }
    }

    /// The words of the reader put what was written between the same quotes.
    #[test]
    fn quotes_in_what_was_written_end_no_word() {
        says(
            "mode = \"a`, expected `\u{202e}b\"\n",
            "unknown value `a`, expected `\\u{202e}b`",
            "allowed: observe, approve, enforce",
        );
    }

    #[test]
    fn what_may_be_secret_in_an_address_is_not_shown_and_places_stay() {
        for (text, expect) in [
            (
                "url = \"https://ann:pässword@h/x?key=1\"\n",
                "url = \"https://*************@h/x?*****\"\n",
            ),
            (
                "a = 'http://h:1/a@b' # http://u@h\n",
                "a = 'http://h:1/a@b' # http://*@h\n",
            ),
            ("://", "://"),
            ("x", "x"),
        ] {
            assert_eq!(without_secrets(text), expect);
            assert_eq!(without_secrets(text).len(), text.len(), "in bytes");
        }
        let text = "[[feeds]]\nname = \"a\"\nformat = \"plain\"\nurl = \"https://ann:hunter2@192.0.2.1/list\"\n";
        let found = crate::config::parse(text).expect_err("it holds a password");
        let shown: String = found.iter().map(|it| it.render("staunch.toml", text, false)).collect();
        assert!(
            shown.contains("a user or a password") && !shown.contains("hunter2"),
            "{shown}"
        );
    }

    #[test]
    fn a_key_of_another_table_is_sent_there() {
        // Who appends a key to a file writes it into the last table.
        says(
            "[log]\nlevel = \"info\"\nmode = \"enforce\"\n",
            "unknown key `mode`",
            "`mode` belongs to the top of the file, above the first [table]",
        );
        says(
            "listen = \"127.0.0.1:1\"\n",
            "unknown key `listen`",
            "`listen` is a key of [http] and of [[sources.syslog]]",
        );
        says(
            "[http]\nhome_networks = []\n",
            "unknown key `home_networks`",
            "`home_networks` is a key of [sources.suricata]",
        );
    }

    #[test]
    fn a_key_like_no_other_gets_those_that_there_are_within_80_columns() {
        let text = format!("{}nonsense = 1\n", "\n".repeat(1200));
        let found = mistake(&text);
        assert!(found.hint.starts_with("known keys: data_dir, mode, http"), "{found:?}");
        let shown = found.render("staunch.toml", &text, false);
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        assert!(shown.contains("telemetry"), "{shown}");
    }
}
