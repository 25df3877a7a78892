//! The table of risks: how dangerous an incident is.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use staunch_model::{Printable, Risk, RiskRow, RiskTable, Score};

/// The table of risks. The first row that holds decides how dangerous an incident is; the plan names it. A playbook can
/// ask a person below a risk: `guards: { risk_min: high }`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RiskSettings {
    /// The rows, in order. Default three: `low` for an internal address with a score below 0.3, `critical` for a score
    /// above 0.8, `high` for a score above 0.4 in a playbook against brute force (T1110). At most 64. Since v0.1.
    pub(crate) rows: Vec<RiskRowSettings>,
    /// The risk when no row holds: `low`, `medium`, `high` or `critical`. Default `medium`. Since v0.1.
    pub(crate) otherwise: Risk,
}

/// A row of the table of risks: everything that it names must hold.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RiskRowSettings {
    /// What it is called in the plan. Since v0.1.
    pub(crate) name: String,
    /// `true`: the target is an internal address (private, unique local or link-local); `false`: it is not. Default
    /// either. Since v0.1.
    pub(crate) internal: Option<bool>,
    /// The score that feeds and look-ups give the target is above this, from 0 to 1. An unknown score is above nothing.
    /// Default any. Since v0.1.
    #[serde(default, deserialize_with = "score", serialize_with = "as_number")]
    pub(crate) score_above: Option<Score>,
    /// The score is below this. An unknown score is below nothing; one that feeds could give and do not is 0. Default
    /// any. Since v0.1.
    #[serde(default, deserialize_with = "score", serialize_with = "as_number")]
    pub(crate) score_below: Option<Score>,
    /// The playbook answers one of these techniques of MITRE ATT&CK; `T1110` includes `T1110.003`. Default any. Since
    /// v0.1.
    #[serde(default)]
    pub(crate) attack: Vec<String>,
    /// The risk: `low`, `medium`, `high` or `critical`. Since v0.1.
    pub(crate) risk: Risk,
}

impl Default for RiskSettings {
    fn default() -> Self {
        let RiskTable { rows, otherwise } = RiskTable::default();
        let row = |it: RiskRow| RiskRowSettings {
            name: it.name.into(),
            internal: it.internal,
            score_above: it.score_above,
            score_below: it.score_below,
            attack: it.attack.into_iter().map(Into::into).collect(),
            risk: it.risk,
        };
        Self {
            rows: rows.into_iter().map(row).collect(),
            otherwise,
        }
    }
}

impl RiskSettings {
    /// The table.
    pub(crate) fn table(&self) -> RiskTable {
        let row = |it: &RiskRowSettings| RiskRow {
            name: Printable(&it.name).to_string().into(),
            internal: it.internal,
            score_above: it.score_above,
            score_below: it.score_below,
            attack: it.attack.iter().map(|it| it.as_str().into()).collect(),
            risk: it.risk,
        };
        RiskTable {
            rows: self.rows.iter().map(row).collect(),
            otherwise: self.otherwise,
        }
    }
}

/// A score from 0 to 1. More than three decimals are a mistake: they would not be what decides.
pub(super) fn score<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Score>, D::Error> {
    let number = f64::deserialize(deserializer)?;
    let thousandths = number * 1_000.0;
    let is_whole = (thousandths - thousandths.round()).abs() < 1e-6;
    if !(0.0..=1_000.0).contains(&thousandths) || !is_whole {
        let what = format!("{number} is no score: write a number from 0 to 1 with at most three decimals");
        return Err(serde::de::Error::custom(what));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1000")]
    let thousandths = thousandths.round() as u16;
    Ok(Some(Score::from_thousandths(thousandths)))
}

/// A score as it is written in the file.
#[allow(
    clippy::trivially_copy_pass_by_ref,
    clippy::ref_option,
    reason = "serde asks for it so"
)]
fn as_number<S: Serializer>(score: &Option<Score>, serializer: S) -> Result<S::Ok, S::Error> {
    match score {
        Some(score) => some_as_number(score, serializer),
        None => serializer.serialize_none(),
    }
}

/// The same of one that is always there.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
pub(super) fn some_as_number<S: Serializer>(score: &Score, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(f64::from(score.thousandths()) / 1_000.0)
}
