//! Which crate may import which.
//!
//! Looks at direct dependencies only: when every edge is allowed, so is every path.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Findings;
use crate::workspace::Workspace;

const PREFIX: &str = "staunch-";
/// The crate that only tests may import, and what is for development only.
const TESTS_ONLY: &str = "testkit";
/// A crate of which nothing is in the program, so that it may import [`TESTS_ONLY`] as anything else.
const MEASURES: &str = "bars";
/// The crates that may not import it, even in tests: their tests stand alone.
const STANDS_ALONE: [&str; 2] = ["model", "xtask"];

/// A crate by its folder, and what it may import. `staunch-model` is `model` here.
type Edges = (&'static str, &'static [&'static str]);

#[rustfmt::skip]
const ALLOWED: &[Edges] = &[
    ("model",      &[]),
    ("netlink",    &[]),
    ("engine",     &["model"]),
    ("ports",      &["model"]),
    ("playbook",   &["model"]),
    ("sim",        &["model", "engine", "playbook"]),
    ("runtime",    &["model", "engine", "ports"]),
    ("store",      &["model", "ports"]),
    ("connectors", &["model", "ports", "netlink"]),
    ("server",     &["model", "engine", "ports", "runtime", "store"]),
    ("staunch",    &["model", "engine", "ports", "runtime", "store", "netlink", "connectors", "playbook", "server", "sim"]),
    ("testkit",    &["model", "engine", "ports", "runtime"]),
    // Nobody may import it: it is for `fuzz/`, which is a workspace of its own.
    ("fuzzing",    &["model", "engine", "ports", "runtime", "store", "netlink", "connectors", "playbook", "server"]),
    // Nobody may import it: it measures the others, and the program from outside.
    ("bars",       &["model", "engine", "ports", "runtime", "store", "netlink", "connectors", "playbook"]),
    ("xtask",      &[]),
];

/// Checks the dependencies of every package of the workspace.
pub(super) fn check(workspace: &Workspace) -> Result<Findings> {
    judge(&workspace.metadata(&["--no-deps"])?)
}

fn judge(metadata: &Value) -> Result<Findings> {
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    let mut folders = BTreeMap::new();
    let mut findings = Findings::new();
    for package in packages {
        let name = package["name"].as_str().context("a package has no name")?;
        let folder = folder_of(package).context("a package has no folder")?;
        if name != package_name(folder) {
            findings.push(format!(
                "the package in the folder {folder} is called {name}, not {}",
                package_name(folder)
            ));
        }
        folders.insert(name, folder);
    }
    for package in packages {
        let from = folders[package["name"].as_str().context("a package has no name")?];
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == from) else {
            findings.push(format!("{from} has no row in the table of allowed edges"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let Some(&to) = dependency["name"].as_str().and_then(|name| folders.get(name)) else {
                continue;
            };
            let is_dev = dependency["kind"] == "dev";
            if to == TESTS_ONLY && !is_dev && from != MEASURES {
                findings.push(format!("{from} -> {to}: {to} is a dev-dependency only"));
            } else if !(allowed.contains(&to) || (to == TESTS_ONLY && !STANDS_ALONE.contains(&from))) {
                let kind = if is_dev { " (dev-dependency)" } else { "" };
                let may = if allowed.is_empty() {
                    "nothing of ours".to_owned()
                } else {
                    allowed.join(", ")
                };
                findings.push(format!("{from} -> {to}{kind}: {from} may import {may}"));
            }
        }
    }
    Ok(findings)
}

/// The name of the folder a package is in.
fn folder_of(package: &Value) -> Option<&str> {
    package["manifest_path"].as_str()?.rsplit('/').nth(1)
}

/// The name of the package in a folder.
fn package_name(folder: &str) -> String {
    if matches!(folder, "staunch" | "xtask") {
        folder.to_owned()
    } else {
        format!("{PREFIX}{folder}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `edges` are package, dependency and its kind; an empty dependency only names the package.
    fn check(edges: &[(&str, &str, Option<&str>)], expect: &[&str]) {
        let mut packages: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for (from, to, kind) in edges {
            packages
                .entry(from)
                .or_default()
                .push(json!({ "name": to, "kind": kind }));
            if to.starts_with(PREFIX) {
                packages.entry(to).or_default();
            }
        }
        let packages: Vec<Value> = packages
            .into_iter()
            .map(|(name, dependencies)| {
                let folder = name.strip_prefix(PREFIX).unwrap_or(name);
                json!({ "name": name, "manifest_path": format!("/x/{folder}/Cargo.toml"), "dependencies": dependencies })
            })
            .collect();
        assert_eq!(
            judge(&json!({ "packages": packages })).expect("the metadata is whole"),
            expect
        );
    }

    #[test]
    fn allowed_edges_pass() {
        check(
            &[
                ("staunch-engine", "staunch-model", None),
                ("staunch-connectors", "staunch-netlink", None),
                ("staunch-connectors", "staunch-testkit", Some("dev")),
                ("staunch-netlink", "staunch-testkit", Some("dev")),
                ("staunch", "staunch-server", None),
                ("staunch-bars", "staunch-testkit", None),
                ("staunch-store", "serde", None),
            ],
            &[],
        );
    }

    #[test]
    fn forbidden_edges_are_named() {
        check(
            &[("staunch-engine", "staunch-ports", None)],
            &["engine -> ports: engine may import model"],
        );
        check(
            &[("staunch-store", "staunch-engine", Some("dev"))],
            &["store -> engine (dev-dependency): store may import model, ports"],
        );
        check(
            &[("staunch", "staunch-testkit", None)],
            &["staunch -> testkit: testkit is a dev-dependency only"],
        );
        check(
            &[("staunch", "staunch-bars", Some("dev"))],
            &[
                "staunch -> bars (dev-dependency): staunch may import model, engine, ports, runtime, store, netlink, \
               connectors, playbook, server, sim",
            ],
        );
        check(
            &[("staunch-model", "staunch-testkit", Some("dev"))],
            &["model -> testkit (dev-dependency): model may import nothing of ours"],
        );
        check(
            &[("staunch-server", "staunch-fuzzing", Some("dev"))],
            &["server -> fuzzing (dev-dependency): server may import model, engine, ports, runtime, store"],
        );
        check(
            &[("xtask", "staunch-model", Some("build"))],
            &["xtask -> model: xtask may import nothing of ours"],
        );
    }

    #[test]
    fn a_crate_without_a_row_or_with_another_name_is_found() {
        check(
            &[("staunch-extra", "", None)],
            &["extra has no row in the table of allowed edges"],
        );
        let odd =
            json!({ "packages": [{ "name": "model", "manifest_path": "/x/model/Cargo.toml", "dependencies": [] }] });
        assert_eq!(
            judge(&odd).expect("the metadata is whole"),
            ["the package in the folder model is called model, not staunch-model"]
        );
    }

    #[test]
    fn the_table_has_no_cycle() {
        fn depth(of: &str, seen: usize) -> usize {
            assert!(seen <= ALLOWED.len(), "{of} is on a cycle");
            let (_, allowed) = ALLOWED
                .iter()
                .find(|(name, _)| *name == of)
                .expect("every name has a row");
            allowed.iter().map(|to| depth(to, seen + 1)).max().unwrap_or(seen)
        }
        for (name, _) in ALLOWED {
            depth(name, 0);
        }
    }
}
