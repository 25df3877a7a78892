//! `cargo xtask schema`: has a validator that others wrote hold the schemas of playbooks, and with them the playbooks.
//!
//! Never writes anything but into a folder of the target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::python::Tool;
use crate::{shell, workspace};

/// The validator (Apache 2.0), which editors' own are compared with: it reads YAML as the language server does.
const VALIDATOR: Tool = Tool {
    package: "check-jsonschema",
    version: "0.39.0",
    program: "check-jsonschema",
};

/// A playbook that the schema takes, and what is changed in it so that the schema refuses it.
const GOOD: &str = "playbook: tried\nsummary: Block.\ntrigger:\n  sources: [suricata]\n  when: event.severity >= high\n  \
                    incident: event.source.ip\ncontain:\n  - block-ip: { target: event.source.ip, lease: 1h }\n";
const MISTAKES: [(&str, &str); 4] = [
    ("summary:", "sumary:"),
    ("sources: [suricata]", "sources: [snort]"),
    ("lease: 1h", "lease: soon"),
    ("block-ip:", "block-all:"),
];

/// Runs the task.
pub(crate) fn run(_: &[String]) -> Result<ExitCode> {
    let root = workspace::root()?;
    shell::build_program(&root)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let tool = VALIDATOR.installed(&target)?;
    let dir = target.join("schema");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut playbooks: Vec<PathBuf> = fs::read_dir(root.join("playbooks"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    playbooks.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    playbooks.sort();
    let (tests, playbooks): (Vec<_>, Vec<_>) = playbooks
        .into_iter()
        .partition(|path| path.to_string_lossy().ends_with(".test.yaml"));
    let good = dir.join("good.yaml");
    fs::write(&good, GOOD)?;
    for (of, mut files) in [("playbook", playbooks), ("test", tests)] {
        anyhow::ensure!(!files.is_empty(), "there is no {of}");
        let schema = schema(&target, &dir, of)?;
        if of == "playbook" {
            files.push(good.clone());
        }
        let taken = shell::watch(Command::new(&tool).arg("--check-metaschema").arg(&schema))?
            && shell::watch(Command::new(&tool).arg("--schemafile").arg(&schema).args(&files))?;
        anyhow::ensure!(
            taken,
            "the validator refuses the schema of a {of}, or one of ours by it"
        );
    }
    let schema = dir.join("playbook.schema.json");
    for (right, wrong) in MISTAKES {
        let bad = dir.join("bad.yaml");
        fs::write(&bad, GOOD.replace(right, wrong))?;
        let output = Command::new(&tool)
            .arg("--schemafile")
            .arg(&schema)
            .arg(&bad)
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        anyhow::ensure!(
            output.status.code() == Some(1) && said.contains("bad.yaml"),
            "{wrong:?} is not refused as a mistake: {} {said}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    println!("refused, as it has to be: {} playbooks with a mistake", MISTAKES.len());
    Ok(ExitCode::SUCCESS)
}

/// The file with the schema of `of`, as the program prints it.
fn schema(target: &Path, dir: &Path, of: &str) -> Result<PathBuf> {
    let output = Command::new(target.join("debug/staunch"))
        .args(["schema", of])
        .output()?;
    anyhow::ensure!(
        output.status.success(),
        "staunch schema {of}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let file = dir.join(format!("{of}.schema.json"));
    fs::write(&file, output.stdout)?;
    Ok(file)
}
