//! What happens in a test: its events, and what others and operators do in between.

use staunch_model::{Mode, Printable, Span};

use super::super::{Walk, shape};
use super::Named;
use super::values::aimed;
use crate::suggest;
use crate::test_file::{Event, Happens, What};
use crate::yaml::Node;

const SOMEBODY: &str = "write `removes the block of ADDRESS`, `lets go of pid:NUMBER`, `puts something at TARGET`, \
                        `removes everything`, `removes the rules` or `restores the rules`";

const OPERATOR: &str = "write `approve TARGET`, `deny TARGET`, `release TARGET`, `renew TARGET for 2h`, \
                        `release everything`, `recover TARGET`, `stop recovery of TARGET` or `mode observe`";

impl Walk<'_, '_> {
    pub(super) fn event(&mut self, node: &Node, named: &[Named<'_>]) -> Option<Event> {
        let fields = self.fields(node, &shape::EVENT)?;
        let at = self.at(&fields)?;
        let Some(reference) = fields.get("event") else {
            let source = self.required(&fields, "source");
            let source = source.and_then(|node| self.text_at(node, "source"));
            let json = self.required(&fields, "json");
            let json = json.and_then(|node| self.text_at(node, "json"));
            return Some(Event {
                at,
                source: source?,
                json: json?,
            });
        };
        let name = self.scalar(reference, "event")?;
        let Some(found) = named.iter().find(|it| it.name == name) else {
            let known: Vec<&str> = named.iter().map(|it| it.name).collect();
            let message = format!("there is no event `{}`", Printable(name));
            let hint = suggest::hint(name, &known, "named under `events`");
            self.report
                .error_with_hint("P061", reference.span.clone(), message, hint);
            return None;
        };
        Some(Event {
            at,
            source: found.source.clone(),
            json: found.json.clone(),
        })
    }

    pub(super) fn happening(&mut self, node: &Node) -> Option<Happens> {
        let fields = self.fields(node, &shape::HAPPENING)?;
        let at = self.at(&fields)?;
        let given = ["somebody", "operator", "signals", "crash"].map(|key| fields.get(key));
        let what = match given {
            [Some(node), None, None, None] => self.phrase(node, "somebody", SOMEBODY, somebody)?,
            [None, Some(node), None, None] => self.phrase(node, "operator", OPERATOR, operator)?,
            [None, None, Some(node), None] => What::Signals(self.signals(node)?),
            [None, None, None, Some(node)] => What::Crash(self.duration(node, "crash", Span::ZERO, shape::AT_MAX)?),
            _ => {
                let hint = "give `at` and one of: somebody, operator, signals, crash";
                let message = "a happening is one thing at one time";
                self.report.error_with_hint("P060", node.point(), message, hint);
                return None;
            }
        };
        Some(Happens { at, what })
    }

    pub(super) fn phrase(
        &mut self,
        node: &Node,
        key: &str,
        hint: &str,
        read: fn(&str) -> Option<What>,
    ) -> Option<What> {
        let written = self.scalar(node, key)?;
        let what = read(written);
        if what.is_none() {
            let message = format!("`{}` is not something that happens", Printable(written));
            self.report.error_with_hint("P060", node.span.clone(), message, hint);
        }
        what
    }
}

fn somebody(written: &str) -> Option<What> {
    Some(match written {
        "removes everything" => What::RemovesAll,
        "removes the rules" => What::Rules(false),
        "restores the rules" => What::Rules(true),
        _ => {
            let removed = ["removes the block of ", "lets go of "];
            if let Some(rest) = removed.iter().find_map(|it| written.strip_prefix(it)) {
                What::Removes(aimed(rest)?)
            } else {
                What::Replaces(aimed(written.strip_prefix("puts something at ")?)?)
            }
        }
    })
}

fn operator(written: &str) -> Option<What> {
    let words: Vec<&str> = written.split_whitespace().collect();
    Some(match words[..] {
        ["release", "everything"] => What::ReleaseAll,
        ["recover", at] => What::Recover(aimed(at)?),
        ["stop", "recovery", "of", at] => What::StopRecovery(aimed(at)?),
        ["approve", at] => What::Approve(aimed(at)?),
        ["deny", at] => What::Deny(aimed(at)?),
        ["release", at] => What::Release(aimed(at)?),
        ["renew", at, "for", lease] => What::Renew(aimed(at)?, lease.parse().ok()?),
        ["mode", mode] => {
            let modes = [Mode::Observe, Mode::Approve, Mode::Enforce];
            What::Mode(modes.into_iter().find(|it| it.name() == mode)?)
        }
        _ => return None,
    })
}
