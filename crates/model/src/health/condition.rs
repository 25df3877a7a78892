//! Conditions over a query of Prometheus, as playbooks write them: `sum(rate(errors[1m])) < 2 %`.
//!
//! Never asks anybody: a condition is a text and what it says.

mod query;

use std::fmt;

use crate::text::is_unsafe_to_show;

/// The most characters of a condition, as it is written and as it is shown.
pub const CONDITION_CHARS_MAX: usize = 500;

const TOO_LONG: &str = "it has more than 500 characters";

/// What the value of a query is held against. While it holds, the business is well.
///
/// Its text, which [`Condition::parse`] reads again, is its name: two with the same text are the same signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// An instant query in PromQL that yields one value.
    pub query: Box<str>,
    /// How the value is compared.
    pub comparison: Comparison,
    /// With which number, as it is written.
    pub number: f64,
    /// Whether it is written as a percentage.
    pub is_percentage: bool,
}

/// How a value is compared with a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// It is below the limit.
    Below,
    /// It is at most the limit.
    AtMost,
    /// It is above the limit.
    Above,
    /// It is at least the limit.
    AtLeast,
}

impl Comparison {
    /// The operator for it.
    #[must_use]
    pub const fn operator(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::AtLeast => ">=",
        }
    }

    /// Whether `value` compares so with `limit`.
    #[must_use]
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Below => value < limit,
            Self::AtMost => value <= limit,
            Self::Above => value > limit,
            Self::AtLeast => value >= limit,
        }
    }
}

impl Condition {
    /// Reads a condition: a query, one of `<`, `<=`, `>` and `>=`, and a number or a percentage. Of the query, what no
    /// server would take is refused as far as brackets, quotation marks and the order of words show it.
    ///
    /// # Errors
    /// Why it is none, without anything of its text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.chars().count() > CONDITION_CHARS_MAX {
            return Err(TOO_LONG);
        }
        if text.chars().any(is_unsafe_to_show) {
            return Err("it is not one line of plain characters");
        }
        let at = query::last_comparison(text).ok_or("it compares nothing")?;
        let (query, rest) = text.split_at(at);
        let (comparison, limit) = match (rest.strip_prefix('<'), rest.strip_prefix('>')) {
            (Some(rest), _) => rest
                .strip_prefix('=')
                .map_or((Comparison::Below, rest), |rest| (Comparison::AtMost, rest)),
            (_, Some(rest)) => rest
                .strip_prefix('=')
                .map_or((Comparison::Above, rest), |rest| (Comparison::AtLeast, rest)),
            _ => return Err("it compares nothing"),
        };
        let query = query.trim_end();
        if query.is_empty() {
            return Err("it has no query before the comparison");
        }
        query::check(query)?;
        let limit = limit.trim();
        let (number, is_percentage) = match limit.strip_suffix('%') {
            Some(number) => (number.trim_end(), true),
            None => (limit, false),
        };
        let is_plain = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E');
        let parsed = number.chars().all(is_plain).then(|| number.parse::<f64>().ok());
        let number = parsed
            .flatten()
            .filter(|it| it.is_finite())
            .ok_or("what it compares with is no number: the query comes first, and the number last")?;
        let condition = Self {
            query: query.into(),
            comparison,
            number,
            is_percentage,
        };
        // Its text is its name, and is read again.
        if condition.to_string().chars().count() > CONDITION_CHARS_MAX {
            return Err(TOO_LONG);
        }
        Ok(condition)
    }

    /// The limit, as a share of one where it is written as a percentage.
    #[must_use]
    pub fn limit(&self) -> f64 {
        if self.is_percentage {
            self.number / 100.0
        } else {
            self.number
        }
    }

    /// Whether `value` is healthy. What is no number is not.
    #[must_use]
    pub fn holds(&self, value: f64) -> bool {
        self.comparison.holds(value, self.limit())
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.is_percentage { " %" } else { "" };
        write!(f, "{} {} {}{sign}", self.query, self.comparison.operator(), self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Condition {
        Condition::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn a_query_is_compared_with_a_number_or_a_percentage() {
        let share = parse(" sum(rate(e{path=~\"<.>\"}[1m])) / sum(rate(r[1m])) < 2 % ");
        assert_eq!(*share.query, *"sum(rate(e{path=~\"<.>\"}[1m])) / sum(rate(r[1m]))");
        assert_eq!((share.comparison, share.limit()), (Comparison::Below, 0.02));
        assert!(share.holds(0.019) && !share.holds(0.02) && !share.holds(f64::NAN));
        for (text, comparison, limit) in [
            ("a<1", Comparison::Below, 1.0),
            ("a <= 1.5", Comparison::AtMost, 1.5),
            ("a > -2", Comparison::Above, -2.0),
            ("a >= 1e3", Comparison::AtLeast, 1_000.0),
            ("a > 1 < 5", Comparison::Below, 5.0),
        ] {
            let found = parse(text);
            assert_eq!((found.comparison, found.limit()), (comparison, limit), "{text}");
        }
        assert_eq!(*parse("a > 1 < 5").query, *"a > 1");
    }

    #[test]
    fn its_text_is_read_again_as_the_same() {
        for text in ["a < 2%", "a<=0.1", "a > 33.3 %", "a >= -1e-7", "a < 1e300", "a < 0.7 %"] {
            let condition = parse(text);
            let again = parse(&condition.to_string());
            assert_eq!(again, condition, "{text}");
        }
        assert_eq!(parse("a<0.7%").to_string(), "a < 0.7 %");
    }

    #[test]
    fn the_limit_itself_is_on_the_side_that_the_operator_says() {
        let held = [
            Comparison::Below,
            Comparison::AtMost,
            Comparison::Above,
            Comparison::AtLeast,
        ]
        .map(|it| (it.holds(1.0, 2.0), it.holds(2.0, 2.0), it.holds(3.0, 2.0)));
        assert_eq!(
            held,
            [
                (true, false, false),
                (true, true, false),
                (false, false, true),
                (false, true, true)
            ]
        );
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for (text, why) in [
            ("error ratio", "compares nothing"),
            ("a == 1", "compares nothing"),
            ("up{path=\"x<5\"} == 1", "compares nothing"),
            ("2 > a", "number last"),
            ("< 2 %", "no query"),
            ("error ratio < 2 %", "two names"),
            ("a << 2", "nothing after it"),
            ("a <> 2", "nothing after it"),
            ("a =< 2", "equality is =="),
            ("sum(a < 2", "not closed"),
            ("a # < 2", "comment"),
            ("a <", "no number"),
            ("a < 2 per cent", "no number"),
            ("a < inf", "no number"),
            ("a < NaN", "no number"),
            ("a < 1e999", "no number"),
            ("a\n< 2", "one line"),
            ("a\u{202e} < 2", "one line"),
        ] {
            let found = Condition::parse(text).expect_err(text);
            assert!(found.contains(why), "{text}: {found}");
        }
        let long = format!("{} < 2", "a".repeat(CONDITION_CHARS_MAX));
        assert!(Condition::parse(&long).expect_err("long").contains("500"));
        // The longest that there is, and one that is longer only as it is shown.
        let query = "a".repeat(CONDITION_CHARS_MAX - " < 2 %".len());
        let longest = parse(&format!("{query}<2%"));
        assert_eq!(parse(&longest.to_string()), longest);
        assert!(Condition::parse(&format!("{query}a<2%")).is_err());
    }
}
