//! Arguments with placeholders.

/// What can stand in an argument, between braces.
pub const PLACEHOLDERS: [&str; 4] = ["subject", "transaction", "key", "label"];

/// The first part of `argument` between braces that is none of `known`, or a brace that is never closed.
#[must_use]
pub fn unknown_placeholder<'a>(argument: &'a str, known: &[&str]) -> Option<&'a str> {
    let mut rest = argument;
    while let Some(start) = rest.find('{') {
        let after = &rest[start + 1..];
        let Some(end) = after.find('}') else {
            return Some(&rest[start..]);
        };
        if !known.contains(&&after[..end]) {
            return Some(&rest[start..start + end + 2]);
        }
        rest = &after[end + 1..];
    }
    None
}

/// `argument` with the `values` in the places of their names: in one pass, so that what is put in is never looked at
/// again. It stays one argument, whatever the values hold.
pub(super) fn filled(argument: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(argument.len());
    let mut rest = argument;
    while let Some(start) = rest.find('{') {
        text.push_str(&rest[..start]);
        let after = &rest[start + 1..];
        let value = after.find('}').and_then(|end| {
            let (_, value) = values.iter().find(|(name, _)| *name == &after[..end])?;
            Some((end, value))
        });
        match value {
            Some((end, value)) => {
                text.push_str(value);
                rest = &after[end + 1..];
            }
            None => {
                text.push('{');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_put_in_once() {
        let values = [("subject", "{key} $(x)"), ("key", "k")];
        for (argument, expect) in [
            ("{subject}", "{key} $(x)"),
            ("--user={subject};{key}", "--user={key} $(x);k"),
            ("{other}{", "{other}{"),
            ("", ""),
        ] {
            assert_eq!(filled(argument, &values), expect);
        }
    }

    #[test]
    fn what_is_no_placeholder_is_named() {
        let known = &PLACEHOLDERS[..1];
        for (argument, expect) in [
            ("{subject}", None),
            ("a{subject}b{subject}", None),
            ("{subject}{key}", Some("{key}")),
            ("{", Some("{")),
            ("{}", Some("{}")),
        ] {
            assert_eq!(unknown_placeholder(argument, known), expect);
        }
    }
}
