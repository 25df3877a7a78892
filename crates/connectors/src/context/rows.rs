//! Rows of named texts, whichever way a file is written.
//!
//! Nesting, aliases and everything else that could make much of little are refused while they are read.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use staunch_model::Printable;

use super::{ENTRIES_MAX, Format, clipped};
use crate::feeds::of_json;
use crate::lists::Invalid;

/// One entry of a file.
pub(super) struct Row {
    at: Place,
    /// The columns that it names and what it says there, which is never empty.
    values: Vec<(&'static str, Box<str>)>,
}

/// Where an entry is.
#[derive(Clone, Copy)]
enum Place {
    Line(u32),
    Entry(usize),
}

impl Row {
    /// What it says of `column`.
    pub(super) fn get(&self, column: &str) -> Option<&str> {
        self.values
            .iter()
            .find(|(it, _)| *it == column)
            .map(|(_, text)| &**text)
    }

    /// A mistake in it.
    pub(super) fn invalid(&self, what: impl Into<String>, hint: impl Into<String>) -> Invalid {
        self.at.invalid(what, hint)
    }

    /// Where it is, within the file called `file`.
    pub(super) fn place(&self, file: &str) -> String {
        match self.at {
            Place::Line(line) => format!("{file}, line {line}"),
            Place::Entry(number) => format!("{file}, entry {number}"),
        }
    }

    /// Takes what `column` says, one of `columns`.
    fn take(&mut self, columns: &[&'static str], column: &str, text: &str) -> Result<(), Invalid> {
        let column = known(columns, column).map_err(|(what, hint)| self.invalid(what, hint))?;
        if self.get(column).is_some() {
            return Err(self.invalid(format!("{column} is there twice"), "say it once"));
        }
        let text = text.trim();
        if !text.is_empty() {
            self.values.push((column, text.into()));
        }
        Ok(())
    }
}

impl Place {
    fn invalid(self, what: impl Into<String>, hint: impl Into<String>) -> Invalid {
        let what = what.into();
        let (line, what) = match self {
            Self::Line(line) => (Some(line), what),
            Self::Entry(number) => (None, format!("entry {number}: {what}")),
        };
        Invalid {
            line,
            what,
            hint: hint.into(),
        }
    }
}

/// Reads a file with these `columns`. In YAML and JSON, the list may stand under the key `name`.
///
/// # Errors
/// The first mistake, also when there is no entry or there are more than [`ENTRIES_MAX`].
pub(super) fn read(
    format: Format,
    name: &'static str,
    columns: &[&'static str],
    bytes: &[u8],
) -> Result<Vec<Row>, Invalid> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let rows = match format {
        Format::Csv => csv(columns, bytes)?,
        Format::Yaml => yaml(name, columns, bytes)?,
        Format::Json => json(name, columns, bytes)?,
    };
    if rows.is_empty() {
        return Err(Invalid {
            line: None,
            what: "it says nothing".into(),
            hint: "is it cut off? A file that is to say nothing is taken out of the configuration".into(),
        });
    }
    Ok(rows)
}

fn known(columns: &[&'static str], column: &str) -> Result<&'static str, (String, String)> {
    columns.iter().copied().find(|it| *it == column).ok_or_else(|| {
        (
            format!("there is no column {}", Printable(clipped(column))),
            format!("there are {}", columns.join(", ")),
        )
    })
}

fn too_many(at: Option<u32>) -> Invalid {
    Invalid {
        line: at,
        what: format!("it has more than {ENTRIES_MAX} entries"),
        hint: "wider networks say the same in fewer entries".into(),
    }
}

fn csv(columns: &[&'static str], bytes: &[u8]) -> Result<Vec<Row>, Invalid> {
    let of_csv = |error: csv::Error| {
        let line = error.position().and_then(|it| u32::try_from(it.line()).ok());
        Invalid {
            line: line.filter(|line| *line > 0),
            what: Printable(&error.to_string()).to_string(),
            hint: "write the names of the columns in the first line, and as many values in each other one".into(),
        }
    };
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(true)
        .comment(Some(b'#'))
        .from_reader(bytes);
    let first = Place::Line(1);
    let mut header: Vec<&'static str> = Vec::new();
    for column in reader.headers().map_err(of_csv)? {
        let column = known(columns, column.trim()).map_err(|(what, hint)| first.invalid(what, hint))?;
        if header.contains(&column) {
            return Err(first.invalid(format!("the column {column} is there twice"), "leave one of them out"));
        }
        header.push(column);
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(of_csv)?;
        let line = record.position().map_or(0, csv::Position::line);
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        if rows.len() >= ENTRIES_MAX {
            return Err(too_many(Some(line)));
        }
        let mut row = Row {
            at: Place::Line(line),
            values: Vec::new(),
        };
        for (column, text) in header.iter().zip(&record) {
            row.take(columns, column, text)?;
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Where the reading of YAML is.
enum Yaml {
    /// Before anything.
    Start,
    /// In the mapping around the list, before its key.
    Around,
    /// After the key of the list.
    Named,
    /// In the list.
    List,
    /// In an entry, before a column.
    Row(Row),
    /// In an entry, after the name of a column.
    Value(Row, Box<str>),
    /// After the list.
    Done,
}

fn yaml(name: &str, columns: &[&'static str], bytes: &[u8]) -> Result<Vec<Row>, Invalid> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let lines = bytes
            .iter()
            .take(error.valid_up_to())
            .filter(|it| **it == b'\n')
            .count();
        let place = Place::Line(u32::try_from(lines + 1).unwrap_or(u32::MAX));
        place.invalid("it is not text (UTF-8)", "is it the right file?")
    })?;
    let mut rows = Vec::new();
    let mut state = Yaml::Start;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let line = u32::try_from(error.marker().line()).unwrap_or(u32::MAX);
            let what = Printable(error.info()).to_string();
            Place::Line(line.max(1)).invalid(what, "it is not YAML; look at this line and the one before")
        })?;
        let at = Place::Line(u32::try_from(span.start.line()).unwrap_or(u32::MAX));
        let is_anchored = match &event {
            Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                *anchor > 0
            }
            Event::Alias(_) => true,
            _ => false,
        };
        if is_anchored {
            return Err(at.invalid("anchors and aliases are not read", "write out what they stand for"));
        }
        let no_list = || {
            let hint = format!("write `{name}:` and below it entries that begin with `-`");
            at.invalid("it is not a list of entries", hint)
        };
        state = match (state, event) {
            (state, Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Nothing) => state,
            (Yaml::Start, Event::DocumentStart(_)) => Yaml::Start,
            (Yaml::Start, Event::MappingStart(..)) => Yaml::Around,
            (Yaml::Around, Event::Scalar(key, ..)) if key == name => Yaml::Named,
            (Yaml::Start | Yaml::Named, Event::SequenceStart(..)) => Yaml::List,
            (Yaml::List, Event::MappingStart(..)) => {
                if rows.len() >= ENTRIES_MAX {
                    let Place::Line(line) = at else {
                        return Err(too_many(None));
                    };
                    return Err(too_many(Some(line)));
                }
                let values = Vec::new();
                Yaml::Row(Row { at, values })
            }
            (Yaml::List, Event::SequenceEnd) => Yaml::Done,
            (Yaml::Row(row), Event::Scalar(column, ..)) => Yaml::Value(row, column.into()),
            (Yaml::Row(row), Event::MappingEnd) => {
                rows.push(row);
                Yaml::List
            }
            (Yaml::Value(mut row, column), Event::Scalar(value, style, ..)) => {
                let is_null = style == ScalarStyle::Plain && matches!(&*value, "~" | "null");
                row.take(columns, &column, if is_null { "" } else { &value })?;
                Yaml::Row(row)
            }
            (Yaml::Value(row, column), _) => {
                let column = known(columns, &column).map_err(|(what, hint)| row.invalid(what, hint))?;
                return Err(row.invalid(not_plain(column), "write one value"));
            }
            (Yaml::Done, Event::MappingEnd) => Yaml::Done,
            _ => return Err(no_list()),
        };
    }
    Ok(rows)
}

fn not_plain(column: &str) -> String {
    format!("{column} is not a text, a number or a truth value")
}

fn json(name: &'static str, columns: &[&'static str], bytes: &[u8]) -> Result<Vec<Row>, Invalid> {
    const HINT: &str = "write an array of objects, or an object with one under its name";
    let mut invalid = None;
    let mut rows = Vec::new();
    let seed = Entries {
        name,
        columns,
        rows: &mut rows,
        invalid: &mut invalid,
    };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = seed.deserialize(&mut reader).and_then(|()| reader.end());
    match (invalid, read) {
        (Some(invalid), _) => Err(invalid),
        (None, Err(error)) => Err(of_json(&error, HINT)),
        (None, Ok(())) => Ok(rows),
    }
}

/// Reads entries of JSON one by one, so that no more of a file is kept than its rows.
struct Entries<'s> {
    name: &'static str,
    columns: &'s [&'static str],
    rows: &'s mut Vec<Row>,
    /// The mistake because of which reading ended.
    invalid: &'s mut Option<Invalid>,
}

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an array of entries, or an object with one under \"{}\"", self.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let wrong = || A::Error::custom(format!("only \"{}\" may be there", self.name));
        match map.next_key::<String>()? {
            Some(key) if key == self.name => {}
            _ => return Err(wrong()),
        }
        let name = self.name;
        map.next_value_seed(Rows(self))?;
        match map.next_key::<String>()? {
            None => Ok(()),
            Some(_) => Err(A::Error::custom(format!("only \"{name}\" may be there"))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        Rows(self).visit_seq(seq)
    }
}

/// The array of entries.
struct Rows<'s>(Entries<'s>);

impl<'de> DeserializeSeed<'de> for Rows<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Rows<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let it = self.0;
        while let Some(Cells(cells)) = seq.next_element()? {
            let mut row = Row {
                at: Place::Entry(it.rows.len() + 1),
                values: Vec::new(),
            };
            let taken = if it.rows.len() >= ENTRIES_MAX {
                Err(too_many(None))
            } else {
                cells.iter().try_for_each(|(column, cell)| {
                    let text = match cell {
                        Cell::Text(text) => text.as_str(),
                        Cell::Other => {
                            let column = known(it.columns, column).map_err(|(what, hint)| row.invalid(what, hint))?;
                            return Err(row.invalid(not_plain(column), "write one value"));
                        }
                    };
                    row.take(it.columns, column, text)
                })
            };
            if let Err(invalid) = taken {
                *it.invalid = Some(invalid);
                return Err(A::Error::custom("a mistake"));
            }
            it.rows.push(row);
        }
        Ok(())
    }
}

/// The members of an object, also those that are there twice.
struct Cells(Vec<(String, Cell)>);

enum Cell {
    Text(String),
    Other,
}

impl<'de> Deserialize<'de> for Cells {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Cells;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object for each entry")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cells, A::Error> {
                let mut cells = Vec::new();
                while let Some((column, value)) = map.next_entry::<String, serde_json::Value>()? {
                    let cell = match value {
                        serde_json::Value::Null => Cell::Text(String::new()),
                        serde_json::Value::Bool(value) => Cell::Text(value.to_string()),
                        serde_json::Value::Number(value) => Cell::Text(value.to_string()),
                        serde_json::Value::String(value) => Cell::Text(value),
                        serde_json::Value::Array(_) | serde_json::Value::Object(_) => Cell::Other,
                    };
                    cells.push((column, cell));
                }
                Ok(Cells(cells))
            }
        }
        deserializer.deserialize_map(Members)
    }
}
