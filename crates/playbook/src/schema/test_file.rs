//! The keys of a test file: from the tree to the tests.

mod around;
mod expect;
mod happens;
mod values;
mod world;

use std::collections::BTreeSet;

use staunch_model::Printable;

use super::{Walk, shape};
use crate::diagnostic::{Diagnostic, Report};
use crate::parameters::{self, Values};
use crate::test_file::{At, Test, TestFile};
use crate::yaml::Node;
use crate::{CheckContext, limits, yaml};

pub(super) use world::fault_kinds;

/// Reads the tests of `text`.
///
/// # Errors
/// Every mistake in the file, in its order.
pub fn parse(file: &str, text: &str) -> Result<TestFile, Vec<Diagnostic>> {
    let mut report = Report::new(file, text);
    let context = CheckContext::default();
    let to_begin = "a file of tests has `tests:` with a list, and each test a `name:` and what happens";
    let tests = yaml::parse_with(text, to_begin, &mut report).and_then(|root| {
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
}

#[cfg(test)]
mod tests {
    use staunch_model::{Span, StateKind, Target};

    use super::*;
    use crate::test_file::{Claim, What};

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
