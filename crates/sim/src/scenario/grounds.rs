//! What acts are judged by in some runs, beside what they are judged by in all.
//!
//! Never says how a judgement comes out: the engine does, and the model beside it.

use std::sync::{Arc, LazyLock};

use staunch_model::{Context, Mode, Modes, Playbook, Policy, Risk, RiskClass, RiskRow, RiskTable, Score, WhenUnknown};

/// What acts are judged by too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grounds {
    /// Nothing.
    Usual,
    /// How much of the traffic they would stop.
    Traffic,
    /// Their risk, which is medium: most playbooks ask a person then.
    MediumRisk,
    /// Their risk, which is high: most playbooks ask a person only then.
    HighRisk,
    /// Their risk, which is low unless an address is internal: most playbooks ask a person then.
    Internal,
    /// How dangerous the incident is by what feeds say: some playbooks ask a person when that is not enough.
    Feeds,
}

/// The most traffic that an act may stop: a fifth.
const TRAFFIC_SHARE_MAX_BP: u64 = 2_000;

/// The fewest flows whose share says something.
const FLOWS_MIN: u32 = 20;

impl Grounds {
    /// All of them, each at the place of its number.
    pub(super) const ALL: [Self; 6] = [
        Self::Usual,
        Self::Traffic,
        Self::MediumRisk,
        Self::HighRisk,
        Self::Internal,
        Self::Feeds,
    ];

    /// `policy`, with what is needed for judging by this.
    pub(super) fn added_to(self, mut policy: Policy) -> Policy {
        let (risk, asks): (_, &[RiskClass]) = match self {
            Self::Usual => return policy,
            Self::Traffic | Self::Feeds => (RiskClass::Low, &[]),
            Self::MediumRisk => (RiskClass::Medium, &[RiskClass::Medium, RiskClass::High]),
            Self::HighRisk => (RiskClass::High, &[RiskClass::High]),
            Self::Internal => (RiskClass::Low, &[RiskClass::Medium, RiskClass::High]),
        };
        for driver in &mut policy.drivers {
            driver.risk = risk;
        }
        for playbook in &mut policy.playbooks {
            let playbook = Arc::make_mut(playbook);
            if self == Self::Traffic {
                by_traffic(playbook);
            }
            if self == Self::Feeds {
                by_feeds(playbook);
            }
            let most = |class| {
                if asks.contains(&class) {
                    Mode::Approve
                } else {
                    Mode::Enforce
                }
            };
            let modes = playbook.modes;
            playbook.modes = Modes {
                low: modes.low.min(most(RiskClass::Low)),
                medium: modes.medium.min(most(RiskClass::Medium)),
                high: modes.high.min(most(RiskClass::High)),
            };
        }
        policy
    }
}

/// Has `playbook` ask for the share of the traffic. What it means when that is unknown differs between playbooks.
fn by_traffic(playbook: &mut Playbook) {
    playbook
        .context
        .extend([Context::TrafficShare, Context::FlowsMin(FLOWS_MIN)]);
    playbook.guards.traffic_share_max_bp = Some(TRAFFIC_SHARE_MAX_BP);
    playbook.guards.when_unknown = match &*playbook.name {
        "other" => WhenUnknown::Refuse,
        "keep" => WhenUnknown::Pass,
        _ => WhenUnknown::Ask,
    };
}

/// Has `playbook` ask for a risk, unless it is one that goes without.
fn by_feeds(playbook: &mut Playbook) {
    let least = match &*playbook.name {
        "enforce" | "keep" => Risk::High,
        "other" => Risk::Medium,
        "preserve" => Risk::Critical,
        _ => return,
    };
    playbook.context.push(Context::RiskMin(least));
    if &*playbook.name == "keep" {
        playbook.attack.push("T1110.001".into());
    }
}

/// The table that makes a risk of what feeds say: the usual one, or another.
pub(crate) fn risk_table(is_usual: bool) -> Arc<RiskTable> {
    static USUAL: LazyLock<Arc<RiskTable>> = LazyLock::new(Arc::default);
    static OTHER: LazyLock<Arc<RiskTable>> = LazyLock::new(|| Arc::new(other_table()));
    if is_usual { USUAL.clone() } else { OTHER.clone() }
}

fn other_table() -> RiskTable {
    let row = |risk| RiskRow::any("a row\u{1b}[1m", risk);
    let score = |thousandths| Some(Score::from_thousandths(thousandths));
    RiskTable {
        rows: vec![
            RiskRow {
                score_below: score(401),
                ..row(Risk::Low)
            },
            RiskRow {
                score_above: score(400),
                attack: vec!["T1110".into()],
                ..row(Risk::Critical)
            },
            RiskRow {
                internal: Some(false),
                score_above: score(800),
                ..row(Risk::High)
            },
            RiskRow {
                score_above: score(400),
                ..row(Risk::Low)
            },
        ],
        otherwise: Risk::Medium,
    }
}
