//! What health signals answer: the status of a page, or the value of a Prometheus query.
//!
//! Never asks anybody: an answer comes in, a reading goes out.

use serde_json::Value;
use staunch_model::{Comparison, Condition, HealthReading};

use crate::json::strict;

/// The most bytes of an answer of Prometheus: one sample has far less than one KiB.
pub const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Within which values a signal is healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// The least; `None` for none.
    pub min: Option<f64>,
    /// The most; `None` for none.
    pub max: Option<f64>,
}

/// What the status of a page says: 200 to 299 is healthy, and everything else is not.
#[must_use]
pub fn of_status(status: u16) -> HealthReading {
    HealthReading::new((200..300).contains(&status), &format!("HTTP {status}"))
}

/// What a page that does not answer says.
#[must_use]
pub fn of_silence(why: &str) -> HealthReading {
    HealthReading::new(false, why)
}

/// What an instant query of Prometheus says (`GET /api/v1/query`: a scalar, or a vector of one sample).
///
/// # Errors
/// Why that is no value; without anything of its text.
pub fn of_query(bytes: &[u8], bounds: Bounds) -> Result<HealthReading, &'static str> {
    value_of(bytes).map(|number| judge(number, bounds))
}

/// What an instant query of Prometheus says to a condition over it.
///
/// # Errors
/// As [`of_query`].
pub fn of_condition(bytes: &[u8], condition: &Condition) -> Result<HealthReading, &'static str> {
    let number = value_of(bytes)?;
    let shown = |number: f64| {
        if condition.is_percentage {
            format!("{} %", Shown(number * 100.0))
        } else {
            Shown(number).to_string()
        }
    };
    let (value, limit) = (shown(number), shown(condition.limit()));
    let why = match condition.comparison {
        _ if condition.holds(number) => return Ok(HealthReading::new(true, &value)),
        Comparison::Below => "is not below",
        Comparison::AtMost => "is above",
        Comparison::Above => "is not above",
        Comparison::AtLeast => "is below",
    };
    Ok(HealthReading::new(false, &format!("{value} {why} {limit}")))
}

/// The one value of an answer.
fn value_of(bytes: &[u8]) -> Result<f64, &'static str> {
    let value = strict::answer(bytes)?;
    if value.get("status").and_then(Value::as_str) != Some("success") {
        return Err("the query is refused");
    }
    let data = value.get("data").ok_or("its answer has no data")?;
    let result = data.get("result").ok_or("its answer has no result")?;
    let sample = match data.get("resultType").and_then(Value::as_str) {
        Some("scalar") => result,
        Some("vector") => match result.as_array().map(Vec::as_slice) {
            Some([]) => return Err("the query yields no value: nothing is measured"),
            Some([one]) => one.get("value").ok_or("its answer has no value")?,
            Some(_) => return Err("the query yields several values: put sum() or max() around it"),
            None => return Err("its answer has no result"),
        },
        _ => return Err("the query yields no single value"),
    };
    let text = sample.get(1).and_then(Value::as_str).ok_or("its answer has no value")?;
    let number: f64 = text.parse().map_err(|_| "the value is no number")?;
    if number.is_nan() {
        return Err("the value is not a number, as of a share of nothing");
    }
    Ok(number)
}

fn judge(number: f64, bounds: Bounds) -> HealthReading {
    let shown = Shown(number);
    match (bounds.min, bounds.max) {
        (Some(min), _) if number < min => HealthReading::new(false, &format!("{shown} is below {}", Shown(min))),
        (_, Some(max)) if number > max => HealthReading::new(false, &format!("{shown} is above {}", Shown(max))),
        _ => HealthReading::new(true, &shown.to_string()),
    }
}

/// A number with at most six decimals.
struct Shown(f64);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{:.6}", self.0);
        let text = if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.')
        } else {
            &text
        };
        f.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_PERCENT: Bounds = Bounds {
        min: None,
        max: Some(0.02),
    };

    fn vector(samples: &str) -> String {
        format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":[{samples}]}}}}")
    }

    fn sample(value: &str) -> String {
        vector(&format!(
            "{{\"metric\":{{\"job\":\"shop\"}},\"value\":[1435781451.781,\"{value}\"]}}"
        ))
    }

    #[test]
    fn a_page_is_healthy_when_it_says_so() {
        for (status, healthy) in [
            (200, true),
            (204, true),
            (199, false),
            (301, false),
            (404, false),
            (503, false),
        ] {
            let reading = of_status(status);
            assert_eq!(reading.healthy, healthy, "{status}");
            assert_eq!(*reading.says, format!("HTTP {status}"));
        }
        assert!(!of_silence("nobody answers").healthy);
    }

    #[test]
    fn a_value_is_held_against_its_bounds() {
        let read = |value: &str, bounds| {
            let reading = of_query(sample(value).as_bytes(), bounds).expect("a value");
            (reading.healthy, reading.says.into_string())
        };
        assert_eq!(read("0.02", TWO_PERCENT), (true, "0.02".into()));
        assert_eq!(read("0.031", TWO_PERCENT), (false, "0.031 is above 0.02".into()));
        assert_eq!(read("+Inf", TWO_PERCENT), (false, "inf is above 0.02".into()));
        let least = Bounds {
            min: Some(3.0),
            max: None,
        };
        assert_eq!(read("2", least), (false, "2 is below 3".into()));
        assert_eq!(read("3", least), (true, "3".into()));
        assert_eq!(read("1e3", least), (true, "1000".into()));
        let scalar = b"{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[1435781451.781,\"1\"]}}";
        assert!(of_query(scalar, Bounds::default()).expect("a value").healthy);
    }

    #[test]
    fn a_value_is_held_against_a_condition_in_its_own_unit() {
        let read = |value: &str, condition: &str| {
            let condition = Condition::parse(condition).expect("a condition");
            let reading = of_condition(sample(value).as_bytes(), &condition).expect("a value");
            (reading.healthy, reading.says.into_string())
        };
        assert_eq!(read("0.019", "a < 2 %"), (true, "1.9 %".into()));
        assert_eq!(read("0.02", "a < 2 %"), (false, "2 % is not below 2 %".into()));
        assert_eq!(read("0.031", "a <= 0.02"), (false, "0.031 is above 0.02".into()));
        assert_eq!(read("+Inf", "a <= 2 %"), (false, "inf % is above 2 %".into()));
        assert_eq!(read("3", "a > 3"), (false, "3 is not above 3".into()));
        assert_eq!(read("2", "a >= 3"), (false, "2 is below 3".into()));
        assert_eq!(read("3", "a >= 3"), (true, "3".into()));
        let condition = Condition::parse("a < 2 %").expect("a condition");
        let nothing = of_condition(sample("NaN").as_bytes(), &condition).expect_err("no number");
        assert!(nothing.contains("not a number"), "{nothing}");
    }

    #[test]
    fn what_is_no_value_is_unknown_and_nothing_of_it_is_shown() {
        let two = vector("{\"metric\":{},\"value\":[1,\"1\"]},{\"metric\":{},\"value\":[1,\"2\"]}");
        for (answer, why) in [
            (sample("NaN"), "share of nothing"),
            (sample("secret"), "no number"),
            (vector(""), "no value: nothing is measured"),
            (two, "several values"),
            ("{\"status\":\"error\",\"error\":\"secret\"}".to_owned(), "is refused"),
            ("{\"status\":\"success\"}".to_owned(), "no data"),
            (
                "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[]}}".to_owned(),
                "no single value",
            ),
            (vector("{\"metric\":{}}"), "no value"),
            (vector("{\"metric\":{},\"value\":[1,2]}"), "no value"),
            ("<html>secret</html>".to_owned(), "no JSON"),
            (String::new(), "no JSON"),
            ("[".repeat(60_000), "no JSON"),
            (
                sample("1").replace("\"value\"", "\"value\":[0,\"9\"],\"value\""),
                "a key occurs twice",
            ),
        ] {
            let found = of_query(answer.as_bytes(), TWO_PERCENT).expect_err("it is no value");
            assert!(found.contains(why), "{answer:.80}: {found}");
            assert!(!found.contains("secret"), "{found}");
        }
    }
}
