//! What a playbook keeps before it acts: the evidence that its acts could destroy, and any other.

use std::sync::Arc;

use staunch_model::{
    Aim, Description, EvidenceKind, EvidenceOptions, PreserveStep, Printable, Span, Step, TargetExtractor,
};

use super::fields::Fields;
use super::{Walk, shape};
use crate::parameters;
use crate::yaml::{Kind, Node};
use crate::{limits, suggest};

/// How long containment waits for what is in memory: it is read in milliseconds.
const DEADLINE_OF_MEMORY: Span = Span::from_secs(2);

/// How long it waits for what is on disk.
const DEADLINE_OF_DISK: Span = Span::from_secs(10);

/// How long packets are captured when the playbook does not say.
const CAPTURE: Span = Span::from_secs(2);

/// How far back the journal is read when the playbook does not say.
const JOURNAL: Span = Span::from_mins(10);

/// What containment waits for a capture beyond its length.
const SEALING: Span = Span::from_secs(2);

/// A piece of evidence with its target.
type Piece = (PreserveStep, TargetExtractor);

impl Walk<'_, '_> {
    /// The evidence, the most volatile first, whatever its order in the file.
    pub(super) fn preserve(&mut self, node: Option<&Node>) -> Option<Vec<Piece>> {
        let Some(node) = node else {
            return Some(Vec::new());
        };
        let items = self.list(node, "preserve", limits::EVIDENCE_MAX)?;
        let pieces: Vec<_> = items.iter().map(|item| self.evidence(item)).collect();
        let pieces = pieces.into_iter().collect::<Option<Vec<_>>>()?;
        for (at, (piece, _)) in pieces.iter().enumerate() {
            let repeats = |(other, _): &Piece| {
                other.evidence == piece.evidence && other.target == piece.target && other.options == piece.options
            };
            if pieces[..at].iter().any(repeats) {
                let hint = "remove it; what is kept once is kept";
                self.report
                    .warning("P030", items[at].point(), "this evidence repeats an earlier one", hint);
            }
        }
        let mut pieces = pieces;
        pieces.sort_by_key(|(piece, _)| EvidenceKind::ALL.iter().position(|it| *it == piece.evidence));
        Some(pieces)
    }

    fn evidence(&mut self, node: &Node) -> Option<Piece> {
        let (key, value) = match &node.kind {
            Kind::Scalar { .. } => (node, None),
            _ => {
                let (key, value) = self.single(node, "evidence", "flows: { target: event.source.ip }")?;
                (key, Some(value))
            }
        };
        let name = key.text()?;
        let Some(kind) = EvidenceKind::ALL.into_iter().find(|kind| kind.name() == name) else {
            let names = EvidenceKind::ALL.map(EvidenceKind::name);
            let message = format!("there is no evidence `{}`", Printable(name));
            let hint = suggest::hint(name, &names, "evidence");
            self.report.error_with_hint("P015", key.span.clone(), message, hint);
            return None;
        };
        self.told(kind, key);
        let Some(value) = value else {
            if shape::evidence(kind).keys.iter().any(|it| it.required) {
                let message = format!("`{kind}` has to say more");
                let hint = format!("write {}", example(kind));
                self.report.error_with_hint("P012", key.span.clone(), message, hint);
                return None;
            }
            let everywhere: TargetExtractor = Arc::new(|_| None);
            let options = EvidenceOptions {
                window: window_default(kind),
                ..EvidenceOptions::default()
            };
            return Some((piece(kind, "".into(), options, None), everywhere));
        };
        let fields = self.fields(value, shape::evidence(kind))?;
        let target = match kind.aims_at() {
            Some(aim) => {
                let node = self.required(&fields, "target")?;
                Some(self.target(node, aim)?)
            }
            None => None,
        };
        let options = self.evidence_options(&fields, kind)?;
        let deadline = match fields.get("deadline") {
            Some(node) => {
                let deadline = self.duration(node, "deadline", limits::PRESERVE_LEAST, limits::PRESERVE_MOST)?;
                let lasts = options.window.filter(|_| kind == EvidenceKind::Capture);
                if let Some(lasts) = lasts.filter(|lasts| *lasts >= deadline) {
                    let message = format!("packets are captured for {lasts}, and containment waits for {deadline}");
                    let hint = "the deadline has to be longer than the window, or this evidence is always missed";
                    self.report.error_with_hint("P091", node.span.clone(), message, hint);
                    return None;
                }
                Some(deadline)
            }
            None => None,
        };
        let (text, extractor) = target.unwrap_or_else(|| ("".into(), Arc::new(|_| None)));
        Some((piece(kind, text, options, deadline), extractor))
    }

    /// Warns of evidence of a process where nothing finds out which process an event means: it is missed each time.
    fn told(&mut self, kind: EvidenceKind, key: &Node) {
        let drivers = &self.context.drivers;
        let is_process = |driver: &Description| driver.kind.aims_at() == Aim::Process;
        if kind.aims_at() == Some(Aim::Process) && !drivers.is_empty() && !drivers.iter().any(is_process) {
            let message = format!("nothing here finds out which process an event means: `{kind}` is always missed");
            let hint = "set `enabled = true` under [processes], or this evidence is missed each time, and told as such";
            self.report.warning("P031", key.span.clone(), message, hint);
        }
    }

    fn evidence_options(&mut self, fields: &Fields<'_>, kind: EvidenceKind) -> Option<EvidenceOptions> {
        let paths = match fields.get("paths") {
            Some(node) => self.entries_up_to(node, "paths", limits::EVIDENCE_PATHS_MAX, Self::evidence_path)?,
            None => Vec::new(),
        };
        if kind == EvidenceKind::Files && paths.is_empty() {
            // Without the key, its absence is told.
            let node = self.required(fields, "paths")?;
            let hint = "write for example: paths: [/var/log/auth.log]";
            self.report
                .error_with_hint("P022", node.span.clone(), "`paths` names no file", hint);
            return None;
        }
        let units = match fields.get("units") {
            Some(node) => self.entries_up_to(node, "units", limits::EVIDENCE_PATHS_MAX, Self::unit)?,
            None => Vec::new(),
        };
        let window = match fields.get("window") {
            Some(node) if kind == EvidenceKind::Capture => {
                Some(self.duration(node, "window", limits::PRESERVE_LEAST, limits::CAPTURE_MOST)?)
            }
            Some(node) => Some(self.duration(node, "window", Span::from_secs(1), limits::JOURNAL_MOST)?),
            None => window_default(kind),
        };
        let bytes_max = match fields.get("mib_max") {
            Some(node) => Some(u64::from(self.number(node, "mib_max", 1, limits::EVIDENCE_MIB_MAX)?) << 20),
            None => None,
        };
        Some(EvidenceOptions {
            paths,
            units,
            window,
            bytes_max,
        })
    }

    /// A path: absolute, without detours, `*` for any part of one name.
    fn evidence_path(&mut self, node: &Node) -> Option<Box<str>> {
        parameters::refuse(node, "a path", "write the path itself", self.report)?;
        let path = self.scalar(node, "paths")?;
        let plain = path.starts_with('/')
            && path.len() <= limits::EVIDENCE_PATH_BYTES_MAX
            && !path.chars().any(char::is_control)
            && path[1..].split('/').all(|name| !matches!(name, "" | "." | ".."));
        if !plain {
            let message = format!("`{}` names no file", Printable(path));
            let hint = "write an absolute path without `.`, `..` and `//`; `*` stands for any part of one name";
            self.report.error_with_hint("P090", node.span.clone(), message, hint);
            return None;
        }
        Some(path.into())
    }

    /// The name of a unit, as systemd allows it (systemd.unit(5)).
    fn unit(&mut self, node: &Node) -> Option<Box<str>> {
        parameters::refuse(node, "the name of a unit", "write the name itself", self.report)?;
        let name = self.scalar(node, "units")?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        if name.is_empty() || name.len() > 255 || name.starts_with('-') || !name.bytes().all(allowed) {
            let message = format!("`{}` is not the name of a unit of systemd", Printable(name));
            let hint = "write for example: units: [ssh.service]";
            self.report.error_with_hint("P090", node.span.clone(), message, hint);
            return None;
        }
        Some(name.into())
    }

    /// Refuses evidence that is written below what might destroy it. It would be taken first all the same, and whoever
    /// reads the playbook has to see that.
    pub(super) fn evidence_first(&mut self, fields: &Fields<'_>) {
        if let (Some(preserve), Some(contain)) = (fields.get("preserve"), fields.get("contain"))
            && contain.span.start < preserve.span.start
        {
            let message = "the evidence stands below what is contained";
            let hint = "put `preserve` above `contain`: evidence is taken first, and a playbook says what is done in the \
                        order in which it is";
            self.report.error_with_hint("P099", preserve.point(), message, hint);
        }
    }

    /// Tells what an act for good destroys that nothing keeps.
    pub(super) fn unkept(&mut self, fields: &Fields<'_>, pieces: &[Piece], steps: &[Step]) {
        let contain = fields.get("contain");
        let ends = |step: &&Step| step.action.is_irreversible() && step.action.aims_at() == Aim::Process;
        let keeps = |step: &Step| {
            let of_step = |piece: &PreserveStep| piece.evidence == EvidenceKind::Process && piece.target == step.target;
            pieces.iter().any(|(piece, _)| of_step(piece))
        };
        let unkept = steps.iter().filter(ends).find(|step| !keeps(step));
        if let (Some(step), Some(contain)) = (unkept, contain) {
            let message = format!("nothing keeps the process that `{}` ends", step.action);
            let hint = format!("add `preserve: [{{ process: {{ target: {} }} }}]`", step.target);
            self.report.warning("P092", contain.point(), &message, &hint);
        }
    }
}

fn piece(kind: EvidenceKind, target: Box<str>, options: EvidenceOptions, deadline: Option<Span>) -> PreserveStep {
    let usual = match kind {
        EvidenceKind::Capture => options.window.unwrap_or(CAPTURE) + SEALING,
        _ if kind.volatility() <= 2 => DEADLINE_OF_MEMORY,
        _ => DEADLINE_OF_DISK,
    };
    PreserveStep {
        evidence: kind,
        target,
        options: Box::new(options),
        deadline: deadline.unwrap_or(usual),
    }
}

const fn window_default(kind: EvidenceKind) -> Option<Span> {
    match kind {
        EvidenceKind::Capture => Some(CAPTURE),
        EvidenceKind::Journal => Some(JOURNAL),
        _ => None,
    }
}

/// How a piece of evidence that has to say more is written.
const fn example(kind: EvidenceKind) -> &'static str {
    match kind {
        EvidenceKind::Process => "process: { target: event.raw.output_fields[\"proc.pid\"] }",
        EvidenceKind::Files => "files: { paths: [/var/log/auth.log] }",
        EvidenceKind::Capture => "capture: { target: event.source.ip, window: 2s }",
        _ => "flows: { target: event.source.ip }",
    }
}
