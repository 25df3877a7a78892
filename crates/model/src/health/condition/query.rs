//! Whether a text can be a query in PromQL, or in MetricsQL: what no server would take is found where it is written.
//!
//! Never looks at names, types or functions, and takes what it does not know: brackets, quotation marks and the order
//! of words and operators are what it looks at. What is wrong beyond that, the server says.

/// Operators and modifiers that are words, after which, and before which, a word may stand: those of PromQL
/// (<https://prometheus.io/docs/prometheus/latest/querying/operators/>), and those that MetricsQL has besides
/// (<https://docs.victoriametrics.com/victoriametrics/metricsql/>).
const KEYWORDS: [&str; 16] = [
    "and",
    "or",
    "unless",
    "atan2",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "offset",
    "bool",
    "default",
    "if",
    "ifnot",
    "limit",
];

/// Words that may stand behind an operand, and change what is before them.
const SUFFIXES: [&str; 3] = ["keep_metric_names", "anchored", "smoothed"];

/// What was read last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// Nothing, an opening bracket or a comma: an operand may follow.
    Nothing,
    /// A word that is an operator or modifier, or the name of a metric that is called so: anything may follow.
    Keyword,
    /// An operator between two operands, which the second has to follow.
    Operator,
    /// A name or a number, which no other may follow.
    Operand,
    /// A closing bracket or a text, of which that depends on what it belongs to.
    Closed,
}

/// Looks whether `query` can be one.
///
/// # Errors
/// Why it cannot, without anything of its text.
pub(super) fn check(query: &str) -> Result<(), &'static str> {
    let mut open = Vec::new();
    let (mut last, mut is_template) = (Last::Nothing, false);
    let mut rest = query.chars().peekable();
    while let Some(c) = rest.next() {
        last = match c {
            ' ' => continue,
            '"' | '\'' | '`' => {
                skip_text(c, &mut rest).ok_or("a quotation mark in its query is not closed")?;
                Last::Closed
            }
            '(' | '[' | '{' => {
                open.push(c);
                Last::Nothing
            }
            ')' | ']' | '}' => {
                if last == Last::Operator {
                    return Err("its query has an operator with nothing after it");
                }
                let opened = open.pop().ok_or("its query closes a bracket that is not open")?;
                if !matches!((opened, c), ('(', ')') | ('[', ']') | ('{', '}')) {
                    return Err("its query closes a bracket of another kind than it has opened");
                }
                Last::Closed
            }
            '#' => return Err("its query has a comment, which what comes after it would be part of"),
            ',' => Last::Nothing,
            // Between the two times of a subquery.
            ':' if open.last() == Some(&'[') => Last::Nothing,
            '+' | '-' => Last::Operator,
            // All labels, in MetricsQL.
            '*' if last == Last::Nothing && rest.peek() == Some(&')') => Last::Operand,
            '*' | '/' | '%' | '^' | '@' | '<' | '>' if matches!(last, Last::Nothing | Last::Operator) => {
                return Err("its query has an operator with nothing before it");
            }
            '*' | '/' | '%' | '^' | '@' => Last::Operator,
            '<' | '>' | '=' | '!' => {
                // `</` and `>/` cut off a part of a histogram.
                let is_compared = rest.next_if_eq(&'=').is_some() || c != '=' && rest.next_if_eq(&'/').is_some();
                // Of labels, whether they are so and whether they match is asked as well.
                let of_label = open.last() == Some(&'{') && (c == '=' || rest.next_if_eq(&'~').is_some());
                if !is_compared && !of_label && !is_template && matches!(c, '=' | '!') {
                    return Err(
                        "its query has an operator that PromQL does not know: equality is ==, and its opposite !=",
                    );
                }
                if c == '=' && of_label && !is_compared {
                    rest.next_if_eq(&'~');
                }
                Last::Operator
            }
            ';' | '?' | '&' | '|' | '$' | '~' => {
                return Err("its query has a character that PromQL does not know outside of quotation marks");
            }
            c => {
                let mut word = String::from(c);
                let is_time = open.last() == Some(&'[');
                loop {
                    // What is behind a backslash is of the name, in MetricsQL.
                    if word.ends_with('\\') {
                        word.extend(rest.next());
                    }
                    match rest.next_if(|c| is_of_word(*c) && !(is_time && *c == ':')) {
                        Some(more) => word.push(more),
                        None => break,
                    }
                }
                let word = word.to_ascii_lowercase();
                // Templates of MetricsQL give names to queries.
                is_template |= word == "with";
                if KEYWORDS.contains(&word.as_str()) {
                    Last::Keyword
                } else if last != Last::Operand {
                    Last::Operand
                } else if SUFFIXES.contains(&word.as_str()) {
                    Last::Closed
                } else {
                    return Err(
                        "its query has two names with no operator between them: it is PromQL, and no description",
                    );
                }
            }
        };
    }
    if !open.is_empty() {
        return Err("a bracket in its query is not closed");
    }
    match last {
        Last::Operator | Last::Nothing => Err("its query has an operator with nothing after it"),
        Last::Operand | Last::Closed | Last::Keyword => Ok(()),
    }
}

/// Where the last `<` or `>` is that is in no text.
pub(super) fn last_comparison(condition: &str) -> Option<usize> {
    let mut rest = condition.char_indices().peekable();
    let mut found = None;
    while let Some((at, c)) = rest.next() {
        match c {
            '"' | '\'' | '`' => drop(skip_text(c, &mut rest.by_ref().map(|(_, c)| c))),
            '<' | '>' => found = Some(at),
            _ => {}
        }
    }
    found
}

/// Skips what is behind the quotation mark `quote`, with the one that closes it; `None` when none does.
fn skip_text(quote: char, rest: &mut impl Iterator<Item = char>) -> Option<()> {
    loop {
        match rest.next()? {
            // Between backticks it stands for itself.
            '\\' if quote != '`' => drop(rest.next()),
            end if end == quote => return Some(()),
            _ => {}
        }
    }
}

/// Whether a character is one of a name, a duration or a number, as the servers take them: letters of any script.
fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | ':' | '.' | '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_takes_is_a_query() {
        for query in [
            "up",
            "42",
            "-up",
            "1e-3 * up",
            "job:requests:rate5m",
            "sum(rate(errors[1m])) / sum(rate(requests[1m]))",
            "sum by (job) (rate(errors{code=~\"5..\", path!~'/a\\'b'}[5m:1m] offset 5m))",
            "SUM without(instance)(a) AND ON(job) b",
            "a / on(x) group_left(y) b",
            "a > bool 1",
            "a == bool on(x) b",
            "a != 0 and b >= -1",
            "a{b=\"c\",d!=\"e\",f=~\"g\",h!~\"i\"}",
            "on * limit",
            "histogram_count(h </ 5) / histogram_count(h >/ 0.5)",
            "WITH (x = rate(errors[1m])) x",
            "a * on(x) group_left(*) b",
            "histogram_quantile(0.99, sum(rate(b_bucket[5m])) by (le)) * 1000",
            "rate(a[5m] @ end())",
            "a @ 1609746000.5 offset -1w",
            "{\"http.requests\", code=\"500\"}",
            "label_replace(up, \"a\", `$1`, \"b\", \"(.*)\")",
            "sum(a{b=\"}\"}) unless c",
            "a % 2",
            "2 ^ -a",
            "{__name__=~\"a.+\",}",
            "0x1F + Inf",
            "a[5m]",
            "sum(up) default 0",
            "up ifnot down",
            "rate(a[5m] anchored) keep_metric_names",
            "a * 2 keep_metric_names",
            "max_over_time(rate(a[5m])[30m: 1m]) + b[30m : 1m] + c[1h30m:]",
            "limit",
            "rate(default)",
            "on",
            "температура + größe",
            "foo\\-bar{a\\ b=\"c\"}",
            "a[5m] smoothed",
            "a{b=\"\\\"c\"} or on() vector(0)",
        ] {
            assert_eq!(check(query), Ok(()), "{query}");
        }
    }

    #[test]
    fn what_none_takes_is_told_by_its_kind() {
        for (query, why) in [
            ("error ratio", "two names"),
            ("the share of errors", "two names"),
            ("5m errors", "two names"),
            ("a <", "nothing after it"),
            ("a =", "equality is =="),
            ("sum(a) /", "nothing after it"),
            ("(a +)", "nothing after it"),
            ("", "nothing after it"),
            ("* a", "nothing before it"),
            ("a * / b", "nothing before it"),
            ("sum(/a)", "nothing before it"),
            ("a = 5", "equality is =="),
            ("a ! b", "equality is =="),
            ("sum(a", "not closed"),
            ("sum(a))", "not open"),
            ("sum(a]", "another kind"),
            ("a{b=\"c}", "quotation mark"),
            ("a{b=\"c\\\"}", "quotation mark"),
            ("a # the share", "comment"),
            ("a & b", "does not know"),
            ("a?", "does not know"),
        ] {
            let found = check(query).expect_err(query);
            assert!(found.contains(why), "{query}: {found}");
        }
    }
}
