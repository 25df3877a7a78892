//! The licences of what the binary is made of, and crates that must not be in the tree.
//!
//! Never has a list of its own: `deny.toml` has it, for this check and for cargo-deny.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Findings, cargo};
use crate::shell;
use crate::workspace::Workspace;

const BINARY: &str = "staunch";

/// Checks the dependency graph, and asks cargo-deny where it is installed.
pub(super) fn check(workspace: &Workspace) -> Result<Findings> {
    let text = fs::read_to_string(workspace.root.join("deny.toml")).context("cannot read deny.toml")?;
    let policy = Policy::parse(&text)?;
    let graph = Graph::parse(&workspace.metadata(&["--all-features"])?)?;
    let mut findings = judge(&graph, &policy);
    if shell::capture(shell::cargo(&workspace.root).args(["deny", "--version"]))?.success {
        let arguments = ["deny", "--all-features", "check", "licenses", "bans", "sources"];
        findings.extend(cargo::findings(shell::cargo(&workspace.root).args(arguments))?);
    }
    Ok(findings)
}

fn judge(graph: &Graph, policy: &Policy) -> Findings {
    let mut findings = Findings::new();
    let binary = graph.reach(|package| package.name == BINARY && package.is_ours, false);
    for (id, way) in &binary {
        let package = &graph.packages[id];
        let problem = match &package.licence {
            _ if package.is_ours => None,
            None => Some("has no licence field".to_owned()),
            Some(licence) if !is_allowed(licence, &policy.licences) => Some(format!("has the licence {licence:?}")),
            Some(_) => None,
        };
        if let Some(problem) = problem {
            findings.push(format!("{} {problem}: {}", package.name, graph.shown(way)));
        }
    }
    for (id, way) in graph.reach(|package| package.is_ours, true) {
        if policy.banned.contains(&graph.packages[&id].name) {
            findings.push(format!("{} is banned: {}", graph.packages[&id].name, graph.shown(&way)));
        }
    }
    findings
}

/// What `deny.toml` says.
#[derive(Debug)]
struct Policy {
    licences: BTreeSet<String>,
    banned: BTreeSet<String>,
}

impl Policy {
    fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse().context("cannot read deny.toml")?;
        let list = |section: &str, key: &str, field: Option<&str>| -> Result<BTreeSet<String>> {
            let entries = table
                .get(section)
                .and_then(|it| it.get(key))
                .and_then(toml::Value::as_array);
            let entries = entries.with_context(|| format!("deny.toml has no list {section}.{key}"))?;
            Ok(entries
                .iter()
                .filter_map(|entry| field.map_or(Some(entry), |field| entry.get(field)))
                .filter_map(|entry| entry.as_str().map(str::to_owned))
                .collect())
        };
        let policy = Self {
            licences: list("licenses", "allow", None)?,
            banned: list("bans", "deny", Some("crate"))?,
        };
        anyhow::ensure!(
            !policy.licences.is_empty() && !policy.banned.is_empty(),
            "a list of deny.toml is empty"
        );
        Ok(policy)
    }
}

/// True when the SPDX expression can be met with `allowed` licences alone.
///
/// `OR` binds weaker than `AND`, as SPDX has it; `WITH` is part of the licence; `/` is an old way to write `OR`.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    any_of(&words, &mut at, allowed) && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut met = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all_of(words, at, allowed);
    }
    met
}

fn all_of(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let Some(&word) = words.get(*at) else { return false };
    *at += 1;
    if word == "(" {
        let met = any_of(words, at, allowed);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return met && closed;
    }
    if words.get(*at) == Some(&"WITH") {
        let exception = words.get(*at + 1).copied().unwrap_or_default();
        *at += 2;
        return allowed.contains(&format!("{word} WITH {exception}"));
    }
    allowed.contains(word)
}

#[derive(Debug)]
struct Package {
    name: String,
    licence: Option<String>,
    is_ours: bool,
    /// The packages it depends on, and whether only its tests do.
    dependencies: Vec<(String, bool)>,
}

/// The packages of the lock file by their ids, on all platforms.
#[derive(Debug)]
struct Graph {
    packages: BTreeMap<String, Package>,
}

impl Graph {
    fn parse(metadata: &Value) -> Result<Self> {
        let array = |value: &Value, what: &str| {
            value
                .as_array()
                .cloned()
                .with_context(|| format!("cargo metadata has no {what}"))
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let ours: BTreeSet<String> = array(&metadata["workspace_members"], "workspace members")?
            .iter()
            .filter_map(text)
            .collect();
        let mut dependencies = BTreeMap::new();
        for node in array(&metadata["resolve"]["nodes"], "resolved graph")? {
            let edges = array(&node["deps"], "dependencies")?
                .iter()
                .filter_map(|edge| {
                    let kinds = edge["dep_kinds"].as_array()?;
                    Some((text(&edge["pkg"])?, kinds.iter().all(|kind| kind["kind"] == "dev")))
                })
                .collect::<Vec<_>>();
            dependencies.insert(text(&node["id"]).context("a node has no id")?, edges);
        }
        let mut packages = BTreeMap::new();
        for package in array(&metadata["packages"], "packages")? {
            let id = text(&package["id"]).context("a package has no id")?;
            let package = Package {
                name: text(&package["name"]).context("a package has no name")?,
                licence: text(&package["license"]),
                is_ours: ours.contains(&id),
                dependencies: dependencies.remove(&id).unwrap_or_default(),
            };
            packages.insert(id, package);
        }
        Ok(Self { packages })
    }

    /// Every package that can be reached from the packages of `start`, with the shortest way to it.
    fn reach(&self, start: impl Fn(&Package) -> bool, with_tests: bool) -> BTreeMap<String, Vec<String>> {
        let mut ways: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut queue = VecDeque::new();
        for (id, _) in self.packages.iter().filter(|(_, package)| start(package)) {
            ways.insert(id.clone(), vec![id.clone()]);
            queue.push_back(id.clone());
        }
        while let Some(id) = queue.pop_front() {
            for (to, is_dev) in &self.packages[&id].dependencies {
                if !ways.contains_key(to) && (with_tests || !is_dev) {
                    let mut way = ways[&id].clone();
                    way.push(to.clone());
                    ways.insert(to.clone(), way);
                    queue.push_back(to.clone());
                }
            }
        }
        ways
    }

    fn shown(&self, way: &[String]) -> String {
        way.iter()
            .map(|id| self.packages[id].name.as_str())
            .collect::<Vec<_>>()
            .join(" -> ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const POLICY: &str = r#"
        [licenses]
        allow = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]
        [bans]
        deny = [{ crate = "aws-lc-rs", reason = "one provider" }]
    "#;

    #[test]
    fn expressions_are_met_by_allowed_licences() {
        let policy = Policy::parse(POLICY).expect("the policy is whole");
        let cases = [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT OR GPL-3.0-only", true),
            ("MIT AND GPL-3.0-only", false),
            ("MIT AND (GPL-3.0-only OR Apache-2.0)", true),
            ("GPL-3.0-only OR MIT AND Apache-2.0", true),
            ("(MIT OR Apache-2.0) AND BUSL-1.1", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("MIT WITH LLVM-exception", false),
            ("MIT/Apache-2.0", true),
            ("", false),
            ("(MIT", false),
            ("MIT MIT", false),
        ];
        for (expression, allowed) in cases {
            assert_eq!(is_allowed(expression, &policy.licences), allowed, "{expression}");
        }
    }

    #[test]
    fn the_binary_and_the_tests_are_judged_apart() {
        let package = |id: &str, licence: Option<&str>| json!({ "id": id, "name": id, "license": licence });
        let edge = |to: &str, kind: Option<&str>| json!({ "pkg": to, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "workspace_members": ["staunch", "testkit"],
            "packages": [
                package("staunch", Some("Apache-2.0")), package("testkit", None), package("a", Some("MIT")),
                package("b", Some("AGPL-3.0-only")), package("c", Some("GPL-2.0-only")), package("d", None),
                package("aws-lc-rs", Some("ISC")), package("unused", Some("GPL-2.0-only")),
            ],
            "resolve": { "nodes": [
                { "id": "staunch", "deps": [edge("a", None), edge("testkit", Some("dev")), edge("d", Some("build"))] },
                { "id": "a", "deps": [edge("b", None)] },
                { "id": "testkit", "deps": [edge("c", None), edge("aws-lc-rs", None)] },
            ] },
        });
        let graph = Graph::parse(&metadata).expect("the metadata is whole");
        assert_eq!(
            judge(&graph, &Policy::parse(POLICY).expect("the policy is whole")),
            [
                "b has the licence \"AGPL-3.0-only\": staunch -> a -> b",
                "d has no licence field: staunch -> d",
                "aws-lc-rs is banned: testkit -> aws-lc-rs",
            ]
        );
    }
}
