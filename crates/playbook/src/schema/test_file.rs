//! The keys of a test file: from the tree to the tests.

mod around;

use std::collections::BTreeSet;
use std::ops::Range;

use ipnet::IpNet;
use staunch_model::{
    ContextTable, FailureKind, GuardName, IncidentOutcome, Mode, NotATarget, Printable, Span, StateKind, Target,
    TargetFacts, Timestamp,
};

use super::fields::Fields;
use super::{Walk, shape};
use crate::diagnostic::{Diagnostic, Report};
use crate::parameters::{self, Values};
use crate::test_file::{
    Around, At, Claim, Context, Event, Expect, Fault, FaultKind, Happens, Signal, Test, TestFile, USUAL, What, World,
    WorldKind, process,
};
use crate::yaml::{Kind, Node};
use crate::{CheckContext, limits, suggest, yaml};

/// The share of the traffic of targets that a test says nothing of, in basis points: little.
const SHARE_USUAL: u64 = 10;

/// How long a crashed process is away unless the test says so.
const OUTAGE_USUAL: Span = Span::from_secs(1);

const SOMEBODY: &str = "write `removes the block of ADDRESS`, `lets go of pid:NUMBER`, `puts something at TARGET`, \
                        `removes everything`, `removes the rules` or `restores the rules`";
const OPERATOR: &str = "write `approve TARGET`, `deny TARGET`, `release TARGET`, `renew TARGET for 2h`, \
                        `release everything`, `recover TARGET`, `stop recovery of TARGET` or `mode observe`";

/// Reads the tests of `text`.
///
/// # Errors
/// Every mistake in the file, in its order.
pub fn parse(file: &str, text: &str) -> Result<TestFile, Vec<Diagnostic>> {
    let mut report = Report::new(file, text);
    let context = CheckContext::default();
    let tests = yaml::parse(text, &mut report).and_then(|root| {
        let mut walk = Walk {
            text,
            context: &context,
            report: &mut report,
            values: &Values::default(),
            used: &mut BTreeSet::new(),
            snippets: None,
            snippets_used: &mut BTreeSet::new(),
        };
        walk.test_file(&root)
    });
    match tests {
        Some(tests) if !report.has_errors() => Ok(tests),
        _ => Err(report.finish()),
    }
}

/// An event with a name, for several tests.
struct Named<'n> {
    name: &'n str,
    source: At<String>,
    json: At<String>,
}

impl Walk<'_, '_> {
    fn test_file(&mut self, root: &Node) -> Option<TestFile> {
        let fields = self.fields(root, &shape::TEST_FILE)?;
        let playbook = fields.get("playbook").and_then(|node| self.text_at(node, "playbook"));
        let environment = fields.get("environment").and_then(|node| self.environment(node));
        let named = fields.get("events").map_or_else(Vec::new, |node| self.named(node));
        let tests = self.required(&fields, "tests")?;
        let items = self.list(tests, "tests", shape::TESTS_MAX)?;
        if items.is_empty() {
            let hint = "a test is `- name: what it shows` with `events` and `expect`";
            self.report
                .error_with_hint("P011", tests.span.clone(), "there is no test in it", hint);
        }
        let tests: Vec<_> = items.iter().filter_map(|item| self.test(item, &named)).collect();
        for (at, test) in tests.iter().enumerate() {
            if tests[..at].iter().any(|it| it.name.value == test.name.value) {
                let message = format!("two tests are called `{}`", Printable(&test.name.value));
                let hint = "give each test a name of its own";
                self.report
                    .error_with_hint("P005", test.name.span.clone(), message, hint);
            }
        }
        Some(TestFile {
            playbook,
            environment,
            tests,
        })
    }

    /// The environment whose values the tests are about.
    fn environment(&mut self, node: &Node) -> Option<At<String>> {
        let name = self.text_at(node, "environment")?;
        if parameters::is_environment(&name.value) && name.value != parameters::DEFAULT {
            return Some(name);
        }
        let message = format!("`{}` is not the name of an environment", Printable(&name.value));
        let hint = "names are small letters, digits and single hyphens; leave the key out for the defaults";
        self.report.error_with_hint("P012", name.span, message, hint);
        None
    }

    /// The events that have names.
    fn named<'n>(&mut self, node: &'n Node) -> Vec<Named<'n>> {
        let pairs = self.pairs(node, "`events`", "a name for each event");
        let mut named = Vec::new();
        for (key, value) in pairs {
            let Some(fields) = self.fields(value, &shape::NAMED_EVENT) else {
                continue;
            };
            let source = self.required(&fields, "source");
            let source = source.and_then(|node| self.text_at(node, "source"));
            let json = self.required(&fields, "json");
            let json = json.and_then(|node| self.text_at(node, "json"));
            if let (Some(name), Some(source), Some(json)) = (key.text(), source, json) {
                named.push(Named { name, source, json });
            }
        }
        named
    }

    fn test(&mut self, node: &Node, named: &[Named<'_>]) -> Option<Test> {
        let fields = self.fields(node, &shape::TEST)?;
        let name = self.required(&fields, "name");
        let name = name
            .and_then(|node| self.text_at(node, "name"))
            .and_then(|it| self.title(it));
        let start = fields.get("start").and_then(|node| self.timestamp(node));
        let context = self.test_context(fields.get("context"));
        let world = self.world(fields.get("world"));
        let faults = self.members(&fields, "faults", Self::fault);
        let events = self.required(&fields, "events");
        let events = events.and_then(|node| self.list(node, "events", limits::KEYS_MAX));
        let events = events.unwrap_or_default();
        let events: Vec<_> = events.iter().map(|item| self.event(item, named)).collect();
        let happens = self.members(&fields, "happens", Self::happening);
        let expected = self.required(&fields, "expect");
        let expect = expected.and_then(|node| self.list(node, "expect", limits::KEYS_MAX));
        if let (Some([]), Some(node)) = (expect, expected) {
            let hint = "say what is to be true: `- { at: 10s, state: { 203.0.113.7: in-force } }`";
            self.report
                .error_with_hint("P011", node.span.clone(), "the test expects nothing", hint);
        }
        let expect = expect.unwrap_or_default();
        let expect: Vec<_> = expect.iter().map(|item| self.expectation(item)).collect();
        Some(Test {
            name: name?,
            start,
            context: context?,
            world: world?,
            faults: faults?,
            events: events.into_iter().collect::<Option<_>>()?,
            happens: happens?,
            expect: expect
                .into_iter()
                .collect::<Option<Vec<_>>>()?
                .into_iter()
                .flatten()
                .collect(),
        })
    }

    fn title(&mut self, name: At<String>) -> Option<At<String>> {
        let unsafe_to_show = name.value.chars().any(staunch_model::text::is_unsafe_to_show);
        if unsafe_to_show || name.value.chars().count() > shape::TITLE_CHARS_MAX {
            let message = "the name is not one line of plain text, or is too long";
            let hint = format!("write at most {} characters", shape::TITLE_CHARS_MAX);
            self.report.error_with_hint("P012", name.span, message, hint);
            return None;
        }
        Some(name)
    }

    // ---- what a test starts with ----

    fn test_context(&mut self, node: Option<&Node>) -> Option<Context> {
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

    fn world(&mut self, node: Option<&Node>) -> Option<World> {
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

    fn named_signal(&mut self, node: &Node) -> Option<At<String>> {
        Some(At {
            value: self.signal(node)?.into(),
            span: node.span.clone(),
        })
    }

    /// What health signals say.
    fn signals(&mut self, node: &Node) -> Option<Vec<(At<String>, Signal)>> {
        let pairs = self.pairs(node, "`signals`", "a health signal and what it says");
        let each = pairs.iter().map(|(key, value)| {
            let signal = self.named_signal(key);
            Some((signal?, self.word(value, "signals", &shape::signals())?))
        });
        each.collect()
    }

    fn fault(&mut self, node: &Node) -> Option<Fault> {
        let fields = self.fields(node, &shape::FAULT)?;
        let outage = match fields.get("for") {
            Some(node) => self.duration(node, "for", Span::ZERO, shape::AT_MAX)?,
            None => OUTAGE_USUAL,
        };
        let kinds = fault_kinds(outage);
        let at = self
            .required(&fields, "at")
            .and_then(|node| self.word(node, "at", &shape::FAULTS_AT));
        let kind = self
            .required(&fields, "kind")
            .and_then(|node| self.word(node, "kind", &kinds));
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
            at: at?,
            of,
            kind: kind?,
            times,
        })
    }

    // ---- what happens ----

    fn event(&mut self, node: &Node, named: &[Named<'_>]) -> Option<Event> {
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

    fn happening(&mut self, node: &Node) -> Option<Happens> {
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

    fn phrase(&mut self, node: &Node, key: &str, hint: &str, read: fn(&str) -> Option<What>) -> Option<What> {
        let written = self.scalar(node, key)?;
        let what = read(written);
        if what.is_none() {
            let message = format!("`{}` is not something that happens", Printable(written));
            self.report.error_with_hint("P060", node.span.clone(), message, hint);
        }
        what
    }

    // ---- what is expected ----

    fn expectation(&mut self, node: &Node) -> Option<Vec<Expect>> {
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
    fn guarded(&mut self, name: &Node, value: &Node, asked: bool) -> Option<Claim> {
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

    // ---- small things ----

    fn members<T>(
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
    fn pairs<'n>(&mut self, node: &'n Node, what: &str, of: &str) -> &'n [(Node, Node)] {
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

    fn text_at(&mut self, node: &Node, key: &str) -> Option<At<String>> {
        let value = self.scalar(node, key)?.to_owned();
        Some(At {
            value,
            span: node.span.clone(),
        })
    }

    fn at(&mut self, fields: &Fields<'_>) -> Option<Span> {
        let node = self.required(fields, "at")?;
        self.duration(node, "at", Span::ZERO, shape::AT_MAX)
    }

    fn mode(&mut self, node: &Node) -> Option<Mode> {
        let modes = [Mode::Observe, Mode::Approve, Mode::Enforce].map(|mode| (mode.name(), mode));
        self.word(node, "mode", &modes)
    }

    fn share(&mut self, node: &Node) -> Option<Option<u64>> {
        if node.text() == Some("unknown") {
            return Some(None);
        }
        self.percentage(node, "traffic").map(Some)
    }

    fn aimed_at(&mut self, node: &Node) -> Option<Target> {
        let Aimed(target) = self.parsed(
            node,
            "a target",
            "write for example 203.0.113.7, pid:4242, account:alice, host:web-1, domain:evil.example or job:lock-door:alice",
        )?;
        Some(target)
    }

    /// What the machine says of a process.
    fn process(&mut self, node: &Node) -> Option<Result<TargetFacts, String>> {
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
    fn other_target(&mut self, node: &Node) -> Option<Result<TargetFacts, String>> {
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

    fn network(&mut self, node: &Node) -> Option<IpNet> {
        self.parsed(node, "a network", "write for example 198.51.100.0/24")
    }

    fn timestamp(&mut self, node: &Node) -> Option<Timestamp> {
        self.parsed(node, "a time", "write for example 2026-01-31T12:00:00Z")
    }

    fn parsed<T: std::str::FromStr>(&mut self, node: &Node, what: &str, hint: &str) -> Option<T> {
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

fn aimed(text: &str) -> Option<Target> {
    text.parse().ok().map(|Aimed(target)| target)
}

/// The kinds of faults; a crash keeps the process away for `outage`.
pub(super) fn fault_kinds(outage: Span) -> [(&'static str, FaultKind); 11] {
    [
        ("denied", FaultKind::Fails(FailureKind::Denied)),
        ("throttled", FaultKind::Fails(FailureKind::Unavailable)),
        ("conflict", FaultKind::Fails(FailureKind::Conflict)),
        ("full", FaultKind::Fails(FailureKind::Full)),
        ("invalid", FaultKind::Fails(FailureKind::Invalid)),
        ("request-lost", FaultKind::RequestLost),
        ("reply-lost", FaultKind::ReplyLost),
        ("in-doubt", FaultKind::InDoubt),
        ("in-doubt-landed", FaultKind::InDoubtLanded),
        ("lies", FaultKind::Lies),
        ("crash", FaultKind::Crash(outage)),
    ]
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `text` has exactly these mistakes, as `line:column code`.
    fn check(text: &str, expect: &[&str]) {
        let found = match parse("x.test.yaml", text) {
            Ok(_) => Vec::new(),
            Err(found) => found,
        };
        let found: Vec<String> = found
            .iter()
            .map(|it| format!("{}:{} {} {}", it.line, it.column, it.code, it.message))
            .collect();
        assert_eq!(found, expect, "{text}");
    }

    const GOOD: &str = "tests:
  - name: a
    events: [{ at: 0s, source: generic, json: '{}' }]
    happens: [{ at: 1m, operator: renew 203.0.113.7 for 2h }]
    expect: [{ state: { 203.0.113.7: in-force }, acts: 1 }]
";

    #[test]
    fn a_good_file_is_read() {
        check(GOOD, &[]);
        let file = parse("x", GOOD).expect("it is good");
        let test = &file.tests[0];
        assert_eq!(test.expect.len(), 2);
        let address: Target = "203.0.113.7".parse().expect("an address");
        assert_eq!(test.happens[0].what, What::Renew(address.clone(), Span::from_hours(2)));
        assert_eq!(test.expect[0].claim, Claim::State(address, Some(StateKind::InForce)));
    }

    /// Whatever is refused is refused for a reason, at every length of a real file.
    #[test]
    fn a_file_that_is_cut_is_refused_for_a_reason() {
        for (name, text) in crate::BUILT_IN_TESTS {
            for end in (0..text.len()).step_by(211) {
                let cut = text.get(..end).unwrap_or_default();
                if let Err(found) = parse(name, cut) {
                    assert!(!found.is_empty(), "{name} up to {end}");
                }
            }
            assert!(parse(name, text).is_ok());
        }
    }

    #[test]
    fn mistakes_point_at_their_place() {
        check(
            &GOOD.replace("expect:", "expcet:"),
            &["5:5 P010 a test has no key `expcet`"],
        );
        check(
            &GOOD.replace("in-force", "inforce"),
            &["5:38 P013 `inforce` is not a value of `state`"],
        );
        check(
            &GOOD.replace("renew 203.0.113.7 for 2h", "shout"),
            &["4:35 P060 `shout` is not something that happens"],
        );
        check(
            &GOOD.replace("source: generic, json: '{}'", "event: nothing"),
            &["3:31 P061 there is no event `nothing`"],
        );
        check(&GOOD.replace("at: 0s", "at: 0"), &["3:20 P016 `0` is not a duration"]);
        check(
            &GOOD.replace("{ 203.0.113.7: in", "{ 203.0.113.700: in"),
            &["5:25 P060 `203.0.113.700` is not a target"],
        );
        check(
            &GOOD.replace("[{ state: { 203.0.113.7: in-force }, acts: 1 }]", "[]"),
            &["5:13 P011 the test expects nothing"],
        );
        check(
            &GOOD.replace(
                "{ state: { 203.0.113.7: in-force }, acts: 1 }",
                "{ state: { 203.0.113.7: } }",
            ),
            &["5:25 P006 in `state`, something is missing here"],
        );
        check(
            &GOOD.replace("{ state: { 203.0.113.7: in-force }, acts: 1 }", "{ order: [~] }"),
            &["5:24 P006 an entry of `order` has no value"],
        );
        check("tests: []\n", &["1:8 P011 there is no test in it"]);
    }
}
