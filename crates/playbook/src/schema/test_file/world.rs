//! What a test says of its world: what is known, what answers, what fails and what hurts.

use staunch_model::{ContextTable, FailureKind, Mode, Span, Target};

use super::super::{Walk, shape};
use crate::test_file::{Around, At, Context, Fault, FaultKind, Point, Signal, World, WorldKind, process};
use crate::yaml::{Kind, Node};

/// The share of the traffic of targets that a test says nothing of, in basis points: little.
const SHARE_USUAL: u64 = 10;

/// How long a crashed process is away unless the test says so.
const OUTAGE_USUAL: Span = Span::from_secs(1);

impl Walk<'_, '_> {
    pub(super) fn test_context(&mut self, node: Option<&Node>) -> Option<Context> {
        let mut context = Context {
            traffic: Vec::new(),
            traffic_of_others: Some(SHARE_USUAL),
            found: Vec::new(),
            around: Around::default(),
            guards: ContextTable::default(),
            never_touch: Vec::new(),
            mode: Mode::Enforce,
            approval_expiry: None,
            limits: Vec::new(),
        };
        let Some(node) = node else { return Some(context) };
        let fields = self.fields(node, &shape::CONTEXT)?;
        match fields.get("traffic") {
            Some(node) if node.text() == Some("unknown") => context.traffic_of_others = None,
            Some(node) => {
                for (key, value) in self.pairs(node, "`traffic`", "a target and its share") {
                    let share = self.share(value);
                    if key.text() == Some("others") {
                        context.traffic_of_others = share?;
                    } else {
                        context.traffic.push((self.aimed_at(key)?, share?));
                    }
                }
            }
            None => {}
        }
        if let Some(node) = fields.get("processes") {
            for (key, value) in self.pairs(node, "`processes`", "a number and what it is") {
                let pid = self.number(key, "processes", 1, u32::MAX)?;
                context
                    .found
                    .push((Target::Process(process(pid)), self.process(value)?));
            }
        }
        if let Some(node) = fields.get("targets") {
            for (key, value) in self.pairs(node, "`targets`", "a target and what it is") {
                context.found.push((self.aimed_at(key)?, self.other_target(value)?));
            }
        }
        context.around = self.around(&fields)?;
        if let Some(node) = fields.get("guards") {
            context.guards.rows = self.entries(node, "guards", |walk, item| walk.context_row(item))?;
        }
        match fields.get("never_touch") {
            Some(node) if matches!(node.kind, Kind::List(_)) => {
                context.never_touch = self.entries(node, "never_touch", |walk, item| {
                    Some((walk.network(item)?, "the test says so".to_owned()))
                })?;
            }
            Some(node) => {
                for (key, value) in self.pairs(node, "`never_touch`", "a network and why") {
                    let why = self.scalar(value, "never_touch")?.to_owned();
                    context.never_touch.push((self.network(key)?, why));
                }
            }
            None => {}
        }
        if let Some(node) = fields.get("mode") {
            context.mode = self.mode(node)?;
        }
        if let Some(node) = fields.get("approval_expiry") {
            context.approval_expiry =
                Some(self.duration(node, "approval_expiry", Span::from_secs(1), shape::AT_MAX)?);
        }
        if let Some(node) = fields.get("limits") {
            for (key, value) in self.pairs(node, "`limits`", "a limit and its number") {
                let limit = self.word(key, "limits", &shape::LIMITS)?;
                context.limits.push((limit, self.number(value, "limits", 1, u32::MAX)?));
            }
        }
        Some(context)
    }

    pub(super) fn world(&mut self, node: Option<&Node>) -> Option<World> {
        let mut world = World {
            kind: WorldKind::Kernel,
            risk: None,
            foreign: Vec::new(),
            capacity: None,
            enforcing: true,
            signals: Vec::new(),
        };
        let Some(node) = node else { return Some(world) };
        let fields = self.fields(node, &shape::WORLD)?;
        if let Some(node) = fields.get("kind") {
            world.kind = self.word(node, "kind", &shape::WORLD_KINDS)?;
        }
        if let Some(node) = fields.get("risk") {
            world.risk = Some(self.word(node, "risk", &shape::RISKS)?);
        }
        if let Some(node) = fields.get("in_place") {
            for (key, value) in self.pairs(node, "`in_place`", "a target and what is there") {
                let target = self.aimed_at(key)?;
                if self.word(value, "in_place", &shape::PLACES_BEFORE)? {
                    world.foreign.push(target);
                }
            }
        }
        if let Some(node) = fields.get("capacity") {
            world.capacity = Some(self.number(node, "capacity", 0, u32::MAX)?.into());
        }
        if let Some(node) = fields.get("enforcing") {
            world.enforcing = self.word(node, "enforcing", &shape::ENFORCING)?;
        }
        if let Some(node) = fields.get("signals") {
            world.signals = self.signals(node)?;
        }
        Some(world)
    }

    pub(super) fn named_signal(&mut self, node: &Node) -> Option<At<String>> {
        Some(At {
            value: self.signal_or_condition(node)?.into(),
            span: node.span.clone(),
        })
    }

    /// What health signals say.
    pub(super) fn signals(&mut self, node: &Node) -> Option<Vec<(At<String>, Signal)>> {
        let pairs = self.pairs(node, "`signals`", "a health signal and what it says");
        let each = pairs.iter().map(|(key, value)| {
            let signal = self.named_signal(key);
            Some((signal?, self.word(value, "signals", &shape::signals())?))
        });
        each.collect()
    }

    pub(super) fn fault(&mut self, node: &Node) -> Option<Fault> {
        let fields = self.fields(node, &shape::FAULT)?;
        let length = match fields.get("for") {
            Some(node) => self.duration(node, "for", Span::ZERO, shape::AT_MAX)?,
            None => OUTAGE_USUAL,
        };
        let kinds = fault_kinds(length);
        let at = self
            .required(&fields, "at")
            .and_then(|node| self.word(node, "at", &shape::FAULTS_AT));
        // Evidence is sealed or it is not: who takes it neither guesses nor lies.
        let kinds = match at {
            Some(Point::Preserve) => kinds
                .iter()
                .filter(|(_, kind)| is_of_evidence(*kind))
                .copied()
                .collect(),
            _ => kinds.to_vec(),
        };
        let kind = self
            .required(&fields, "kind")
            .and_then(|node| self.word(node, "kind", &kinds));
        if let Some(node) = fields.get("for")
            && !matches!(kind, None | Some(FaultKind::Crash(_) | FaultKind::ReplyLate(_)))
        {
            let message = "only a `crash` and a `reply-late` last";
            let hint = "leave `for` out";
            self.report.error_with_hint("P012", node.span.clone(), message, hint);
            return None;
        }
        let evidence = match fields.get("evidence") {
            Some(node) if at.is_some_and(|it| it != Point::Preserve) => {
                let message = "only what goes wrong with `preserve` is of a kind of evidence";
                let hint = "write `at: preserve`, or leave `evidence` out";
                self.report.error_with_hint("P012", node.span.clone(), message, hint);
                return None;
            }
            Some(node) => Some(self.word(node, "evidence", &shape::evidence_kinds())?),
            None => None,
        };
        let of = match fields.get("of") {
            Some(node) => Some(self.aimed_at(node)?),
            None => None,
        };
        let times = match fields.get("times") {
            Some(node) if node.text() == Some("always") => None,
            Some(node) => Some(self.number(node, "times", 1, shape::TIMES_MAX)?),
            None => Some(1),
        };
        Some(Fault {
            span: node.span.clone(),
            at: at?,
            of,
            evidence,
            kind: kind?,
            times,
        })
    }
}

const fn is_of_evidence(kind: FaultKind) -> bool {
    !matches!(kind, FaultKind::InDoubt | FaultKind::InDoubtLanded | FaultKind::Lies)
}

/// The kinds of faults; a crash keeps the process away for `length`, and a late answer comes so much later.
pub(in crate::schema) fn fault_kinds(length: Span) -> [(&'static str, FaultKind); 12] {
    [
        ("denied", FaultKind::Fails(FailureKind::Denied)),
        ("throttled", FaultKind::Fails(FailureKind::Unavailable)),
        ("conflict", FaultKind::Fails(FailureKind::Conflict)),
        ("full", FaultKind::Fails(FailureKind::Full)),
        ("invalid", FaultKind::Fails(FailureKind::Invalid)),
        ("request-lost", FaultKind::RequestLost),
        ("reply-lost", FaultKind::ReplyLost),
        ("reply-late", FaultKind::ReplyLate(length)),
        ("in-doubt", FaultKind::InDoubt),
        ("in-doubt-landed", FaultKind::InDoubtLanded),
        ("lies", FaultKind::Lies),
        ("crash", FaultKind::Crash(length)),
    ]
}
