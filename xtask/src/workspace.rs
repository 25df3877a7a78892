//! The checkout: where it is, which files belong to it, and what cargo says of its packages.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shell;

/// Where cargo puts what it builds of the checkout at `root`.
pub(crate) fn target(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}

/// A checkout of the project.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Its top folder.
    pub(crate) root: PathBuf,
    /// The files that belong to it, relative to `root`, in order: what git tracks, and what it would add.
    pub(crate) files: Vec<PathBuf>,
}

impl Workspace {
    /// Finds the checkout that this program was started in.
    ///
    /// # Errors
    /// When there is none, or its files cannot be listed.
    pub(crate) fn find() -> Result<Self> {
        let root = root()?;
        let files = list(&root)?;
        Ok(Self { root, files })
    }

    /// The files whose name ends in `.extension`.
    pub(crate) fn with_extension<'s>(&'s self, extension: &'s str) -> impl Iterator<Item = &'s Path> {
        self.files
            .iter()
            .map(PathBuf::as_path)
            .filter(move |path| path.extension().is_some_and(|e| e == extension))
    }

    /// The Rust files under one of `folders`.
    pub(crate) fn rust_files<'s>(&'s self, folders: &'s [&str]) -> impl Iterator<Item = &'s Path> {
        self.with_extension("rs")
            .filter(|path| folders.iter().any(|folder| path.starts_with(folder)))
    }

    /// The text of a file, or `None` when it is not text.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read(&self, file: &Path) -> Result<Option<String>> {
        let bytes = fs::read(self.root.join(file)).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(String::from_utf8(bytes).ok())
    }

    /// What `cargo metadata` says.
    ///
    /// # Errors
    /// When cargo does not answer.
    pub(crate) fn metadata(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = shell::cargo(&self.root);
        command.args(["metadata", "--format-version", "1"]).args(arguments);
        serde_json::from_slice(&shell::stdout_of(&mut command)?).context("cannot read what cargo metadata printed")
    }
}

/// The top folder of the checkout.
pub(crate) fn root() -> Result<PathBuf> {
    // `cargo run` sets the variable; a copy of the binary that is started by hand looks around itself.
    let start = match env::var_os("CARGO_MANIFEST_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => env::current_dir().context("cannot tell the current folder")?,
    };
    start
        .ancestors()
        .find(|folder| folder.join("xtask/Cargo.toml").is_file())
        .map(Path::to_owned)
        .with_context(|| format!("{} is not inside a checkout of Staunch", start.display()))
}

fn list(root: &Path) -> Result<Vec<PathBuf>> {
    let mut command = shell::program("git");
    command
        .current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let files: BTreeSet<PathBuf> = match shell::stdout_of(&mut command) {
        Ok(names) => String::from_utf8_lossy(&names)
            .split_terminator('\0')
            .map(PathBuf::from)
            .collect(),
        // A source archive has no git: everything but what a build leaves behind.
        Err(_) => {
            let mut files = BTreeSet::new();
            walk(root, Path::new(""), &mut files)?;
            files
        }
    };
    Ok(files.into_iter().filter(|file| root.join(file).is_file()).collect())
}

fn walk(root: &Path, folder: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    let full = root.join(folder);
    for entry in fs::read_dir(&full).with_context(|| format!("cannot list {}", full.display()))? {
        let entry = entry.with_context(|| format!("cannot list {}", full.display()))?;
        let path = folder.join(entry.file_name());
        if entry.path().is_dir() {
            if path != Path::new("target") && path != Path::new(".git") {
                walk(root, &path, files)?;
            }
        } else {
            files.insert(path);
        }
    }
    Ok(())
}
