//! Paths into events: `a.b["c.d"][0]`.

use crate::json::Node;

/// Keys of a path.
const KEYS_MAX: usize = 16;

/// Bytes of a path as written.
const BYTES_MAX: usize = 256;

/// Where a field is, from the top of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Box<[Box<str>]>);

impl Path {
    /// Reads a path: keys with dots between them, `["..."]` for a key with other characters in it, `[0]` for an item of
    /// an array. Inside quotes `\"` and `\\` stand for themselves.
    ///
    /// # Errors
    ///
    /// What is wrong, and at which character.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > BYTES_MAX {
            return Err(format!("a path has 1 to {BYTES_MAX} bytes"));
        }
        let mut keys: Vec<Box<str>> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let at = || {
                format!(
                    "character {} of the path",
                    text[..text.len() - rest.len()].chars().count() + 1
                )
            };
            let key;
            (key, rest) = match rest.strip_prefix('[') {
                Some(within) => bracket(within).ok_or_else(|| format!("{}: expected [0] or [\"key\"]", at()))?,
                None => {
                    let tail = if keys.is_empty() {
                        Some(rest)
                    } else {
                        rest.strip_prefix('.')
                    };
                    plain(tail.unwrap_or_default()).ok_or_else(|| format!("{}: expected a key", at()))?
                }
            };
            keys.push(key.into());
        }
        if keys.len() > KEYS_MAX {
            return Err(format!("a path has at most {KEYS_MAX} keys"));
        }
        Ok(Self(keys.into()))
    }

    /// The value at this path below `root`.
    #[must_use]
    pub fn of<'a>(&self, root: Node<'a>) -> Option<Node<'a>> {
        root.at(&self.0)
    }
}

/// The key that `text` begins with, and the rest behind it.
fn plain(text: &str) -> Option<(String, &str)> {
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (key, rest) = text.split_at(end);
    let valid = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | '$' | ':' | '/'));
    valid.then(|| (key.to_owned(), rest))
}

/// The key or index before the bracket that closes, and the rest behind it.
fn bracket(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let (index, rest) = text.split_once(']')?;
        let valid = (1..=5).contains(&index.len()) && index.bytes().all(|byte| byte.is_ascii_digit());
        return valid.then(|| (index.to_owned(), rest));
    };
    let mut key = String::new();
    loop {
        let end = rest.find(['"', '\\'])?;
        key.push_str(&rest[..end]);
        if rest[end..].starts_with('"') {
            return Some((key, rest[end + 1..].strip_prefix(']')?));
        }
        key.push(rest[end + 1..].chars().next().filter(|c| matches!(c, '"' | '\\'))?);
        rest = &rest[end + 2..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read() {
        let rows: [(&str, &[&str]); 6] = [
            ("a", &["a"]),
            ("a.b_c.@d", &["a", "b_c", "@d"]),
            (r#"a.b["c.d"][0]"#, &["a", "b", "c.d", "0"]),
            (r#"["x y"]["\"\\"].z"#, &["x y", "\"\\", "z"]),
            ("[0][12]", &["0", "12"]),
            ("größe", &["größe"]),
        ];
        for (text, expect) in rows {
            let path = Path::parse(text).expect(text);
            assert_eq!(path.0.iter().map(|key| &**key).collect::<Vec<_>>(), expect, "{text}");
        }
    }

    #[test]
    fn bad_paths_say_where() {
        let rows = [
            ("", "a path has 1 to 256 bytes"),
            (".a", "character 1 of the path: expected a key"),
            ("a..b", "character 2 of the path: expected a key"),
            ("a.", "character 2 of the path: expected a key"),
            ("é.[0]", "character 2 of the path: expected a key"),
            ("a[", "character 2 of the path: expected [0] or [\"key\"]"),
            ("a[x]", "character 2 of the path: expected [0] or [\"key\"]"),
            ("a[-1]", "character 2 of the path: expected [0] or [\"key\"]"),
            ("a[\"b]", "character 2 of the path: expected [0] or [\"key\"]"),
            ("a[\"b\\n\"]", "character 2 of the path: expected [0] or [\"key\"]"),
            ("a[*]", "character 2 of the path: expected [0] or [\"key\"]"),
            ("a]b", "character 1 of the path: expected a key"),
            ("[0]a", "character 4 of the path: expected a key"),
            ("a b", "character 1 of the path: expected a key"),
        ];
        for (text, expect) in rows {
            assert_eq!(Path::parse(text).expect_err(text), expect, "{text}");
        }
        assert!(Path::parse(&"a.".repeat(17)).is_err());
        assert!(Path::parse(&"a".repeat(257)).is_err());
    }
}
