//! How dangerous an incident is: what feeds say of an address, and the table that makes a risk of it.

use std::fmt;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::target::Target;
use crate::time::{Span, Timestamp};

/// A score from 0 to 1, in thousandths: decisions know no fractions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Score(u16);

impl Score {
    /// The highest.
    pub const MAX: Self = Self(1_000);

    /// `thousandths`, or the highest when that is more.
    #[must_use]
    pub const fn from_thousandths(thousandths: u16) -> Self {
        if thousandths > Self::MAX.0 {
            Self::MAX
        } else {
            Self(thousandths)
        }
    }

    /// The score in thousandths.
    #[must_use]
    pub const fn thousandths(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1_000, self.0 % 1_000);
        match rest {
            0 => write!(f, "{whole}.0"),
            rest if rest % 100 == 0 => write!(f, "{whole}.{}", rest / 100),
            rest if rest % 10 == 0 => write!(f, "{whole}.{:02}", rest / 10),
            rest => write!(f, "{whole}.{rest:03}"),
        }
    }
}

/// What a feed says of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reputation {
    /// How bad it is.
    pub score: Score,
    /// How sure the feed is, in percent.
    pub confidence: u8,
    /// The feed.
    pub feed: Box<str>,
    /// The network that the feed names.
    pub network: IpNet,
    /// What the feed calls it: a list's number, an indicator's name. May be empty.
    pub label: Box<str>,
    /// When the feed said so.
    pub as_of: Timestamp,
    /// When that counts no longer.
    pub expires: Timestamp,
}

/// What is known of a target: the worst that feeds say, nothing, or why that is not known.
pub type Standing = Result<Option<Reputation>, Box<str>>;

/// What is known of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The target.
    pub target: Target,
    /// What feeds say of it.
    pub standing: Standing,
}

/// How dangerous an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// It may well be nothing.
    Low,
    /// Nothing speaks for more or less.
    Medium,
    /// It is likely an attack.
    High,
    /// It is known to be one.
    Critical,
}

impl Risk {
    /// All of them, the least dangerous first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A row of the table: everything that it names must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RiskRow {
    /// What it is called in the plan.
    pub name: Box<str>,
    /// Whether the target must be an internal address, or must not be one.
    pub internal: Option<bool>,
    /// The score must be above.
    pub score_above: Option<Score>,
    /// The score must be below.
    pub score_below: Option<Score>,
    /// The playbook must answer one of these techniques of MITRE ATT&CK, or a part of one; any when there is none.
    pub attack: Vec<Box<str>>,
    /// The risk.
    pub risk: Risk,
}

/// The table: the first row that holds decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RiskTable {
    /// The rows, in order.
    pub rows: Vec<RiskRow>,
    /// The risk when no row holds.
    pub otherwise: Risk,
}

impl Default for RiskTable {
    fn default() -> Self {
        let score = |thousandths| Some(Score::from_thousandths(thousandths));
        Self {
            rows: vec![
                RiskRow {
                    internal: Some(true),
                    score_below: score(300),
                    ..RiskRow::any("internal, with a low score", Risk::Low)
                },
                RiskRow {
                    score_above: score(800),
                    ..RiskRow::any("a very high score", Risk::Critical)
                },
                RiskRow {
                    score_above: score(400),
                    attack: vec!["T1110".into()],
                    ..RiskRow::any("brute force, with a score", Risk::High)
                },
            ],
            otherwise: Risk::Medium,
        }
    }
}

impl RiskTable {
    /// The risk, and the position of the row that decided; `None` when no row holds. An unknown `score` is neither
    /// above nor below anything. `attack` are the techniques that the playbook answers.
    #[must_use]
    pub fn decide(&self, internal: bool, score: Option<Score>, attack: &[Box<str>]) -> (Risk, Option<usize>) {
        let held = self.rows.iter().position(|row| row.holds(internal, score, attack));
        let risk = held
            .and_then(|at| self.rows.get(at))
            .map_or(self.otherwise, |row| row.risk);
        (risk, held)
    }
}

impl RiskRow {
    /// A row called `name` that always holds: what it is to name is set beside it.
    #[must_use]
    pub fn any(name: &str, risk: Risk) -> Self {
        Self {
            name: name.into(),
            internal: None,
            score_above: None,
            score_below: None,
            attack: Vec::new(),
            risk,
        }
    }

    fn holds(&self, internal: bool, score: Option<Score>, attack: &[Box<str>]) -> bool {
        let is_part = |of: &str, technique: &str| {
            let rest = technique.strip_prefix(of);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.internal.is_none_or(|wanted| wanted == internal)
            && self
                .score_above
                .is_none_or(|least| score.is_some_and(|score| score > least))
            && self
                .score_below
                .is_none_or(|most| score.is_some_and(|score| score < most))
            && (self.attack.is_empty()
                || attack
                    .iter()
                    .any(|technique| self.attack.iter().any(|of| is_part(of, technique))))
    }
}

impl Reputation {
    /// True when it still counts at `now`.
    #[must_use]
    pub fn counts_at(&self, now: Timestamp) -> bool {
        now < self.expires
    }

    /// How old it is.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Span {
        now.since(self.as_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_row_that_holds_decides() {
        let table = RiskTable::default();
        let check = |internal, score: Option<u16>, attack: &str, risk, row: Option<usize>| {
            let attack: Vec<Box<str>> = vec![attack.into()];
            let decided = table.decide(internal, score.map(Score::from_thousandths), &attack);
            assert_eq!(decided, (risk, row), "{internal} {score:?} {attack:?}");
        };
        check(true, Some(0), "T1190", Risk::Low, Some(0));
        check(true, Some(299), "T1190", Risk::Low, Some(0));
        check(true, Some(300), "T1190", Risk::Medium, None);
        check(true, Some(801), "T1190", Risk::Critical, Some(1));
        check(false, Some(0), "T1110", Risk::Medium, None);
        check(false, Some(800), "T1190", Risk::Medium, None);
        check(false, Some(801), "T1110", Risk::Critical, Some(1));
        check(false, Some(401), "T1110", Risk::High, Some(2));
        check(false, Some(401), "T1110.003", Risk::High, Some(2));
        check(false, Some(401), "T11100", Risk::Medium, None);
        check(false, Some(400), "T1110", Risk::Medium, None);
        // What is unknown is neither low nor high.
        check(true, None, "T1110", Risk::Medium, None);
        check(false, None, "T1110", Risk::Medium, None);
    }

    #[test]
    fn scores_are_shown_as_people_write_them() {
        let shown = |thousandths| Score::from_thousandths(thousandths).to_string();
        assert_eq!(
            [0, 5, 50, 800, 950, 1_000, 1_001].map(shown),
            ["0.0", "0.005", "0.05", "0.8", "0.95", "1.0", "1.0"]
        );
    }
}
