//! Keys and values of a configuration that cannot be read. Twenty of them are looked for, not only the first; what is
//! missing is told only when it is the first, because it may be what was left out.

use std::mem;
use std::ops::Range;

use serde::Deserialize as _;
use toml::de::{DeArray, DeTable, DeValue, Deserializer, Error};

use super::Config;
use super::mistake::Mistake;

/// The most that are told at once, and that are looked for, since each look reads the whole again. Who has more has
/// another file than was meant.
pub(super) const MISTAKES_MAX: usize = 20;

/// What is wrong with `text`, of which the reader says `first`, in the order of the file. What is no TOML ends with
/// that.
pub(super) fn mistakes(text: &str, first: &Error) -> Vec<Mistake> {
    let mut mistakes = vec![Mistake::of_form(text, first)];
    let Ok(mut table) = DeTable::parse(text) else {
        return mistakes;
    };
    let mut at = first.span();
    for _ in 1..MISTAKES_MAX {
        // What is wrong is left out, and the rest is read again.
        if !at.take().is_some_and(|span| remove(table.get_mut(), &span)) {
            break;
        }
        if let Err(error) = Config::deserialize(Deserializer::from(table.clone())) {
            let of_what_is_left = ["missing field", "invalid length"];
            if !of_what_is_left.iter().any(|it| error.message().contains(it)) {
                mistakes.push(Mistake::of_form(text, &error));
            }
            at = error.span();
        }
    }
    mistakes.sort_by_key(|it| it.span.start);
    mistakes
}

/// Removes the innermost thing that `span` is of from `table`: a key with its value, or one of a list. False when it is
/// not there.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    let mut is_removed = false;
    for (key, mut value) in mem::take(table) {
        if !is_removed {
            // The head of a table of a list is the key and a part of the value.
            let is_key = key.span().contains(&span.start);
            is_removed = is_key || remove_within(value.get_mut(), span);
            if is_key {
                continue;
            }
            if !is_removed && value.span().contains(&span.start) {
                is_removed = true;
                continue;
            }
        }
        table.insert(key, value);
    }
    is_removed
}

fn remove_within(value: &mut DeValue<'_>, span: &Range<usize>) -> bool {
    let array = match value {
        DeValue::Table(table) => return remove(table, span),
        DeValue::Array(array) => array,
        _ => return false,
    };
    let mut is_removed = false;
    for mut value in mem::replace(array, DeArray::new()) {
        if !is_removed {
            is_removed = remove_within(value.get_mut(), span);
            if !is_removed && value.span().contains(&span.start) {
                is_removed = true;
                continue;
            }
        }
        array.push(value);
    }
    is_removed
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    #[track_caller]
    fn says(text: &str, expect: &[&str]) {
        let mistakes = parse(text).expect_err("there are some");
        let found: Vec<_> = mistakes.iter().map(|it| &*it.what).collect();
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn all_that_cannot_be_read_is_told_in_the_order_of_the_file() {
        let text = "mod = \"enforce\"\nmode = \"enforced\"\n[http]\nlisten = 5\nlisen = 6\n[htpp]\na = 1\n\
                    [[sources.files]]\npath = 7\n[[sources.files]]\nsorce = \"suricata\"\n[log]\nlevel = 3\n";
        let mistakes = parse(text).expect_err("there are some");
        let found: Vec<_> = mistakes.iter().map(|it| it.position(text).0).collect();
        assert_eq!(found, [1, 2, 4, 5, 6, 9, 11, 13], "{mistakes:#?}");
    }

    #[test]
    fn each_of_a_list_is_told() {
        says(
            "[never_touch]\nnetworks = [{ network = \"192.0.2.0/24\", reason = \"ours\" }, \"192.0.2.1\", 5]\n",
            &[
                "invalid type: string \"192.0.2.1\", expected a table",
                "invalid type: integer `5`, expected a table",
            ],
        );
    }

    #[test]
    fn a_list_of_an_unknown_key_is_told_once() {
        says("[[lists]]\npath = \"x\"\n[[lists]]\n", &["unknown key `lists`"]);
        says("[lists]\npath = \"x\"\n", &["unknown key `lists`"]);
    }

    #[test]
    fn what_was_left_out_is_not_told_as_missing() {
        says(
            "[[sources.files]]\npath = \"x\"\nsource = 3\n",
            &["invalid type: integer `3`, expected a string"],
        );
        says("[[sources.files]]\nsource = \"suricata\"\n", &["missing field `path`"]);
        let mistakes = parse("[never_touch]\nnetworks = [[\"192.0.2.0/24\", 5]]\n").expect_err("it is a list");
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    }

    #[test]
    fn no_more_are_told_than_anybody_reads() {
        let one = "[[sources.files]]\npath = \"x\"\nsource = \"suricata\"\nsorce = 1\n";
        assert_eq!(parse(&one.repeat(500)).expect_err("there are some").len(), 20);
        // Of these the first is told, and they are not looked through to the end all the same.
        says(&"[[sources.files]]\n".repeat(500), &["missing field `path`"]);
    }

    #[test]
    fn what_is_no_toml_is_one_mistake() {
        let mistakes = parse("mod = 1\n[http\nlisten = 5\n").expect_err("it is none");
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    }
}
