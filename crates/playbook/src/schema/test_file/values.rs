//! The values of a test file: targets, networks, times, shares, and pairs of them.

use ipnet::IpNet;
use staunch_model::{Mode, NotATarget, Printable, Span, Target, TargetFacts, Timestamp};

use super::super::fields::Fields;
use super::super::{Walk, shape};
use crate::test_file::{At, USUAL, process};
use crate::yaml::{Kind, Node};

impl Walk<'_, '_> {
    pub(super) fn members<T>(
        &mut self,
        fields: &Fields<'_>,
        key: &'static str,
        each: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        match fields.get(key) {
            Some(node) => self.entries(node, key, each),
            None => Some(Vec::new()),
        }
    }

    /// The keys and values of a mapping whose keys are not known beforehand.
    pub(super) fn pairs<'n>(&mut self, node: &'n Node, what: &str, of: &str) -> &'n [(Node, Node)] {
        match &node.kind {
            Kind::Mapping(pairs) => {
                for (key, value) in pairs {
                    if key.is_null() || value.is_null() {
                        let message = format!("in {what}, something is missing here");
                        let hint = format!("write {of}");
                        self.report.error_with_hint("P006", key.point(), message, hint);
                    }
                }
                pairs
            }
            Kind::Refused => &[],
            _ => {
                let message = format!("{what} is a mapping, and this is {}", node.describe());
                let hint = format!("write {{ ... }} with {of}");
                self.report.error_with_hint("P006", node.point(), message, hint);
                &[]
            }
        }
    }

    pub(super) fn text_at(&mut self, node: &Node, key: &str) -> Option<At<String>> {
        let value = self.scalar(node, key)?.to_owned();
        Some(At {
            value,
            span: node.span.clone(),
        })
    }

    pub(super) fn at(&mut self, fields: &Fields<'_>) -> Option<Span> {
        let node = self.required(fields, "at")?;
        self.duration(node, "at", Span::ZERO, shape::AT_MAX)
    }

    pub(super) fn mode(&mut self, node: &Node) -> Option<Mode> {
        let modes = [Mode::Observe, Mode::Approve, Mode::Enforce].map(|mode| (mode.name(), mode));
        self.word(node, "mode", &modes)
    }

    pub(super) fn share(&mut self, node: &Node) -> Option<Option<u64>> {
        if node.text() == Some("unknown") {
            return Some(None);
        }
        self.percentage(node, "traffic").map(Some)
    }

    pub(super) fn aimed_at(&mut self, node: &Node) -> Option<Target> {
        let Aimed(target) = self.parsed(
            node,
            "a target",
            "write for example 203.0.113.7, pid:4242, account:alice, host:web-1, domain:evil.example or job:lock-door:alice",
        )?;
        Some(target)
    }

    /// What the machine says of a process.
    pub(super) fn process(&mut self, node: &Node) -> Option<Result<TargetFacts, String>> {
        if node.text() == Some("gone") {
            return Some(Err("it has ended".to_owned()));
        }
        let fields = self.fields(node, &shape::PROCESS)?;
        let program = self.required(&fields, "program")?;
        let program = self.scalar(program, "program")?.to_owned();
        let protected = match fields.get("protected") {
            Some(node) => Some(self.scalar(node, "protected")?.into()),
            None => None,
        };
        let what = format!("{program} of user 1000").into();
        Some(Ok(TargetFacts { what, protected }))
    }

    /// What is said of a target that is no process.
    pub(super) fn other_target(&mut self, node: &Node) -> Option<Result<TargetFacts, String>> {
        if node.text() == Some("gone") {
            return Some(Err("it is not there".to_owned()));
        }
        let fields = self.fields(node, &shape::OTHER_TARGET)?;
        let what = match fields.get("what") {
            Some(node) => self.scalar(node, "what")?.into(),
            None => USUAL.into(),
        };
        let protected = match fields.get("protected") {
            Some(node) => Some(self.scalar(node, "protected")?.into()),
            None => None,
        };
        Some(Ok(TargetFacts { what, protected }))
    }

    pub(super) fn network(&mut self, node: &Node) -> Option<IpNet> {
        self.parsed(node, "a network", "write for example 198.51.100.0/24")
    }

    pub(super) fn timestamp(&mut self, node: &Node) -> Option<Timestamp> {
        self.parsed(node, "a time", "write for example 2026-01-31T12:00:00Z")
    }

    pub(super) fn parsed<T: std::str::FromStr>(&mut self, node: &Node, what: &str, hint: &str) -> Option<T> {
        // Nothing is not an address either: members of lists have nobody else who says so.
        let written = node.text().or_else(|| self.scalar(node, what))?;
        let found = written.parse().ok();
        if found.is_none() {
            let message = format!("`{}` is not {what}", Printable(written));
            self.report.error_with_hint("P060", node.span.clone(), message, hint);
        }
        found
    }
}

/// A target as a test writes it: a process by its number alone.
struct Aimed(Target);

impl std::str::FromStr for Aimed {
    type Err = NotATarget;

    fn from_str(text: &str) -> Result<Self, NotATarget> {
        let target = match text.parse()? {
            Target::Process(it) if it.is_identified() => return Err(NotATarget),
            Target::Process(it) => Target::Process(process(it.pid)),
            other => other,
        };
        Ok(Self(target))
    }
}

pub(super) fn aimed(text: &str) -> Option<Target> {
    text.parse().ok().map(|Aimed(target)| target)
}
