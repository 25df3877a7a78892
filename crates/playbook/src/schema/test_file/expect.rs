//! What a test expects: states, plans, reasons and what the guards say.

use std::ops::Range;

use staunch_model::{GuardName, IncidentOutcome, Span, StateKind};

use super::super::{Walk, shape};
use crate::test_file::{Claim, Expect};
use crate::yaml::{Kind, Node};

impl Walk<'_, '_> {
    pub(super) fn expectation(&mut self, node: &Node) -> Option<Vec<Expect>> {
        let fields = self.fields(node, &shape::EXPECTATION)?;
        let at = match fields.get("at") {
            Some(node) => Some(self.duration(node, "at", Span::ZERO, shape::AT_MAX)?),
            None => None,
        };
        let mut claims: Vec<(Range<usize>, Claim)> = Vec::new();
        if let Some(node) = fields.get("state") {
            let states: Vec<_> = StateKind::ALL
                .iter()
                .map(|it| (it.name(), Some(*it)))
                .chain([("none", None)])
                .collect();
            for (key, value) in self.pairs(node, "`state`", "a target and its state") {
                let claim = Claim::State(self.aimed_at(key)?, self.word(value, "state", &states)?);
                claims.push((key.span.start..value.span.end, claim));
            }
        }
        if let Some(node) = fields.get("world") {
            for (key, value) in self.pairs(node, "`world`", "a target and what is in place there") {
                let claim = Claim::World(self.aimed_at(key)?, self.word(value, "world", &shape::places())?);
                claims.push((key.span.start..value.span.end, claim));
            }
        }
        for (key, asked) in [("refused", false), ("asked", true)] {
            let Some(node) = fields.get(key) else { continue };
            for (name, value) in self.pairs(node, "a mapping of targets", "a target and why") {
                claims.push((name.span.clone(), self.guarded(name, value, asked)?));
            }
        }
        if let Some(node) = fields.get("order") {
            let order = self.entries(node, "order", |walk, item| walk.aimed_at(item))?;
            claims.push((node.span.clone(), Claim::Order(order)));
        }
        for (key, claim) in [
            ("acts", Claim::Acts as fn(u64) -> Claim),
            ("incidents", Claim::Incidents),
            ("joined", Claim::Joined),
        ] {
            if let Some(node) = fields.get(key) {
                claims.push((node.span.clone(), claim(self.number(node, key, 0, u32::MAX)?.into())));
            }
        }
        if let Some(node) = fields.get("outcome") {
            let outcomes = IncidentOutcome::ALL.map(|it| (it.name(), it));
            claims.push((
                node.span.clone(),
                Claim::Outcome(self.word(node, "outcome", &outcomes)?),
            ));
        }
        if let Some(node) = fields.get("notices") {
            for (key, value) in self.pairs(node, "`notices`", "a level and how many") {
                let count = self.number(value, "notices", 0, u32::MAX)?.into();
                let claim = Claim::Notices(self.word(key, "notices", &shape::LEVELS)?, count);
                claims.push((key.span.start..value.span.end, claim));
            }
        }
        for (key, claim) in [
            ("notice", Claim::Notice as fn(String) -> Claim),
            ("command_refused", Claim::CommandRefused),
            ("no_match", Claim::NoMatch),
        ] {
            if let Some(node) = fields.get(key) {
                claims.push((node.span.clone(), claim(self.scalar(node, key)?.to_owned())));
            }
        }
        if let Some(node) = fields.get("evidence") {
            for (key, value) in self.pairs(node, "`evidence`", "a kind of evidence and what has become of it") {
                let kind = self.word(key, "evidence", &shape::evidence_kinds())?;
                let claim = Claim::Evidence(kind, self.word(value, "evidence", &shape::preserved())?);
                claims.push((key.span.start..value.span.end, claim));
            }
        }
        if let Some(node) = fields.get("recovery") {
            let stage = self.word(node, "recovery", &shape::recoveries())?;
            claims.push((node.span.clone(), Claim::Recovery(stage)));
        }
        if let Some(node) = fields.get("watches") {
            for (key, value) in self.pairs(node, "`watches`", "a health signal and how its watch ended") {
                let verdict = self.word(value, "watches", &shape::verdicts())?;
                let claim = Claim::Watch(self.named_signal(key)?, verdict);
                claims.push((key.span.start..value.span.end, claim));
            }
        }
        if claims.is_empty() {
            let hint = format!("add one of: {}", shape::EXPECTATION.names()[1..].join(", "));
            self.report
                .error_with_hint("P011", node.point(), "it expects nothing", hint);
            return None;
        }
        let expect = |(span, claim)| Expect { at, span, claim };
        Some(claims.into_iter().map(expect).collect())
    }

    /// `never-touch`, or a mapping of `guard` and `says`.
    pub(super) fn guarded(&mut self, name: &Node, value: &Node, asked: bool) -> Option<Claim> {
        let target = self.aimed_at(name)?;
        let guards = GuardName::ALL.map(|it| (it.name(), Some(it)));
        let (guard, says) = if matches!(value.kind, Kind::Mapping(_)) {
            let fields = self.fields(value, &shape::QUESTION)?;
            let guard = match fields.get("guard") {
                Some(node) => self.word(node, "guard", &guards)?,
                None => None,
            };
            let says = match fields.get("says") {
                Some(node) => Some(self.scalar(node, "says")?.to_owned()),
                None => None,
            };
            (guard, says)
        } else {
            (self.word(value, "guard", &guards)?, None)
        };
        Some(if asked {
            Claim::Asked { target, guard, says }
        } else {
            Claim::Refused { target, guard, says }
        })
    }
}
