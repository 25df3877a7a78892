//! Conditions of Sigma rules: `selection and not 1 of filter_*`.

use super::Refused;
use super::value::Pattern;

/// Brackets and `not` in one another.
const DEPTH_MAX: usize = 32;

/// Words and brackets.
const TOKENS_MAX: usize = 1_000;

/// A condition. Numbers are positions of searches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Search(usize),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
}

impl Condition {
    /// Reads `text`, which names searches of `names`.
    pub(super) fn read(text: &str, names: &[&str]) -> Result<Self, Refused> {
        let tokens = tokens(text)?;
        let mut reader = Reader {
            tokens: &tokens,
            at: 0,
            names,
        };
        let condition = reader.either(0)?;
        match reader.peek() {
            None => Ok(condition),
            Some(token) => Err(Refused::Condition(token.to_owned())),
        }
    }

    /// Whether it holds, given which searches do.
    pub(super) fn holds(&self, search: &dyn Fn(usize) -> bool) -> bool {
        match self {
            Self::Search(at) => search(*at),
            Self::All(parts) => parts.iter().all(|part| part.holds(search)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(search)),
            Self::Not(part) => !part.holds(search),
        }
    }
}

/// The words and brackets of `text`.
fn tokens(text: &str) -> Result<Vec<&str>, Refused> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '(' | ')' => 1,
            '|' => return Err(Refused::Aggregation),
            _ => {
                let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '*' | '?' | '.');
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            }
        };
        if end == 0 || tokens.len() >= TOKENS_MAX {
            return Err(Refused::Condition(rest.to_owned()));
        }
        tokens.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    Ok(tokens)
}

struct Reader<'t> {
    tokens: &'t [&'t str],
    at: usize,
    names: &'t [&'t str],
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<&'t str> {
        self.tokens.get(self.at).copied()
    }

    /// Takes the next token if it is this word.
    fn take(&mut self, word: &str) -> bool {
        let is = self.peek().is_some_and(|it| it.eq_ignore_ascii_case(word));
        self.at += usize::from(is);
        is
    }

    fn either(&mut self, depth: usize) -> Result<Condition, Refused> {
        let mut parts = vec![self.both(depth)?];
        while self.take("or") {
            parts.push(self.both(depth)?);
        }
        Ok(one_or(parts, Condition::Any))
    }

    fn both(&mut self, depth: usize) -> Result<Condition, Refused> {
        let mut parts = vec![self.operand(depth)?];
        while self.take("and") {
            parts.push(self.operand(depth)?);
        }
        Ok(one_or(parts, Condition::All))
    }

    fn operand(&mut self, depth: usize) -> Result<Condition, Refused> {
        if depth > DEPTH_MAX {
            return Err(Refused::TooLarge);
        }
        if self.take("not") {
            return Ok(Condition::Not(Box::new(self.operand(depth + 1)?)));
        }
        if self.take("(") {
            let inner = self.either(depth + 1)?;
            return if self.take(")") {
                Ok(inner)
            } else {
                Err(Refused::Condition(self.peek().unwrap_or("its end").to_owned()))
            };
        }
        let word = self.peek().ok_or_else(|| Refused::Condition("its end".to_owned()))?;
        self.at += 1;
        let of = self.peek().is_some_and(|it| it.eq_ignore_ascii_case("of"));
        if of {
            self.at += 1;
            return self.several(word);
        }
        match self.names.iter().position(|name| *name == word) {
            Some(at) => Ok(Condition::Search(at)),
            // Words of the language that do not belong here, and brackets.
            None if ["and", "or", "not", "(", ")", "them", "near"].contains(&&*word.to_lowercase()) => {
                Err(Refused::Condition(word.to_owned()))
            }
            None => Err(Refused::UnknownSearch(word.to_owned())),
        }
    }

    /// What stands after `1 of`.
    fn several(&mut self, count: &str) -> Result<Condition, Refused> {
        let together: fn(Vec<Condition>) -> Condition = match &*count.to_lowercase() {
            "1" | "any" => Condition::Any,
            "all" => Condition::All,
            _ => return Err(Refused::Condition(count.to_owned())),
        };
        let name = self.peek().ok_or_else(|| Refused::Condition("its end".to_owned()))?;
        self.at += 1;
        let pattern = Pattern::read(name, false);
        let named = (0..).zip(self.names).filter(|(_, it)| {
            if name.eq_ignore_ascii_case("them") {
                !it.starts_with('_')
            } else {
                pattern.is(it)
            }
        });
        let parts: Vec<Condition> = named.map(|(at, _)| Condition::Search(at)).collect();
        if parts.is_empty() {
            return Err(Refused::UnknownSearch(name.to_owned()));
        }
        Ok(one_or(parts, together))
    }
}

fn one_or(mut parts: Vec<Condition>, together: fn(Vec<Condition>) -> Condition) -> Condition {
    match parts.len() {
        1 => parts.remove(0),
        _ => together(parts),
    }
}
