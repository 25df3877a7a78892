//! `cargo xtask schema`: checks the schemas of playbooks, their tests and snippets with check-jsonschema, ours against
//! them, and that they refuse mistakes.
//!
//! With `--editor`, also with the language server that editors run.
//!
//! Never writes anything but into a folder of the target directory.

mod editor;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use self::editor::Editor;
use crate::python::Tool;
use crate::{shell, workspace};

/// The validator (Apache 2.0), which editors' own are compared with: it reads YAML as the language server does.
const VALIDATOR: Tool = Tool {
    package: "check-jsonschema",
    version: "0.39.0",
    program: "check-jsonschema",
};

/// A file that a schema takes, and what is changed in it so that the schema refuses it.
struct Sample {
    of: &'static str,
    good: &'static str,
    mistakes: &'static [(&'static str, &'static str)],
}

const PLAYBOOK: Sample = Sample {
    of: "playbook",
    good: "playbook: tried\nsummary: Block.\ntrigger:\n  sources: [suricata]\n  when: event.severity >= high\n  incident: \
           event.source.ip\ncontain:\n  - block-ip: { target: event.source.ip, lease: 1h }\n",
    mistakes: &[
        ("summary:", "sumary:"),
        ("sources: [suricata]", "sources: [snort]"),
        ("lease: 1h", "lease: soon"),
        ("block-ip:", "block-all:"),
    ],
};

const TEST: Sample = Sample {
    of: "test",
    good: "events:\n  attack: { source: suricata, json: '{}' }\ntests:\n  - name: it is left alone\n    events: [{ at: 0s, \
           event: attack }]\n    expect: [{ at: 1m, incidents: 0 }]\n",
    mistakes: &[
        ("json: '{}'", "jsn: '{}'"),
        ("event: attack", "evnt: attack"),
        ("incidents: 0", "incidents: some"),
    ],
};

const SNIPPETS: Sample = Sample {
    of: "snippets",
    good: "conditions:\n  guessing: event.severity >= high\nblocks:\n  block-source:\n    block-ip: { target: \
           event.source.ip, lease: 1h }\n",
    mistakes: &[
        ("conditions:", "condition:"),
        ("guessing: event.severity >= high", "guessing: [1]"),
        ("blocks:", "block:"),
    ],
};

/// Runs the task.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let in_editor = match arguments {
        [] => false,
        [only] if only == "--editor" => true,
        _ => anyhow::bail!("schema has one option: --editor"),
    };
    let root = workspace::root()?;
    shell::build_program(&root)?;
    let target = workspace::target(&root);
    let tool = VALIDATOR.installed(&target)?;
    let dir = target.join("schema");
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut ours: Vec<PathBuf> = fs::read_dir(root.join("playbooks"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    ours.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    ours.sort();
    let (tests, playbooks): (Vec<_>, Vec<_>) = ours
        .into_iter()
        .partition(|path| path.to_string_lossy().ends_with(".test.yaml"));
    let mut editor = in_editor.then(|| Editor::start(&target)).transpose()?;
    for (sample, mut files) in [(PLAYBOOK, playbooks), (TEST, tests), (SNIPPETS, Vec::new())] {
        let good = dir.join(format!("good-{}.yaml", sample.of));
        fs::write(&good, sample.good)?;
        files.push(good);
        let schema = schema(&target, &dir, sample.of)?;
        are_taken(&tool, &schema, &files)?;
        mistakes_are_refused(&tool, &schema, &dir, &sample)?;
        if let Some(editor) = &mut editor {
            is_underlined(editor, &schema, &files, &sample)?;
        }
        let (of, refused) = (sample.of, sample.mistakes.len());
        println!(
            "{of}: {} files taken, {refused} with a mistake refused, as it has to be",
            files.len()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Sees that `schema` is one, and that it takes all of `files`.
fn are_taken(tool: &Path, schema: &Path, files: &[PathBuf]) -> Result<()> {
    let taken = shell::watch(Command::new(tool).arg("--check-metaschema").arg(schema))?
        && shell::watch(Command::new(tool).arg("--schemafile").arg(schema).args(files))?;
    anyhow::ensure!(
        taken,
        "the validator refuses {}, or a file of ours by it",
        schema.display()
    );
    Ok(())
}

/// Sees that each mistake of `sample` is refused as one.
fn mistakes_are_refused(tool: &Path, schema: &Path, dir: &Path, sample: &Sample) -> Result<()> {
    for (right, wrong) in sample.mistakes {
        anyhow::ensure!(sample.good.contains(right), "{right:?} is not in what is changed");
        let bad = dir.join("bad.yaml");
        fs::write(&bad, sample.good.replace(right, wrong))?;
        let output = Command::new(tool).arg("--schemafile").arg(schema).arg(&bad).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        anyhow::ensure!(
            output.status.code() == Some(1) && said.contains("bad.yaml"),
            "{wrong:?} is not refused as a mistake: {} {said}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// Sees that an editor underlines nothing in `files`, and something for each mistake of `sample`.
fn is_underlined(editor: &mut Editor, schema: &Path, files: &[PathBuf], sample: &Sample) -> Result<()> {
    for file in files {
        let said = editor.underlined(schema, &fs::read_to_string(file)?)?;
        anyhow::ensure!(said.is_empty(), "an editor underlines in {}: {said:#?}", file.display());
    }
    for (right, wrong) in sample.mistakes {
        let said = editor.underlined(schema, &sample.good.replace(right, wrong))?;
        anyhow::ensure!(!said.is_empty(), "an editor underlines nothing of {wrong:?}");
        println!("{wrong:?}, in an editor: {}", said.join("; "));
    }
    Ok(())
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
