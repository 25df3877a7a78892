//! Takes the loaded modules of the kernel, with what `/sys/module` says of them.
//!
//! Never loads or unloads one, and reads no memory of the kernel.
//!
//! # Expected flow
//! Reads `/proc/modules`, then the small files of each module in `/sys/module`
//!
//! # Guarantees
//! A module that is in one of the two and not in the other is told apart: some rootkits leave only one list
//!
//! # Assumptions
//! None
//!
//! # Caveats
//! A rootkit in the kernel can leave both lists; on a kernel without modules there is none to tell
//!
//! # Errors
//! `Unavailable`, `TimedOut`

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use staunch_model::{EvidenceId, EvidenceKind, Failure, FailureKind, Span};
use staunch_ports::{CollectRequest, Collected, Collector, Collects, Sink};

use super::document::{self, Document};
use super::facts::lines;
use super::limits::Deadline;
use super::value::Text;

const KIND: EvidenceKind = EvidenceKind::Modules;
const TAKES_MAX: Span = Span::from_secs(10);

/// Bytes of the list: each line has about 60, and a large machine some hundred modules.
const LIST_BYTES_MAX: u64 = 4 << 20;

/// Bytes of a small file.
const FILE_BYTES_MAX: u64 = 4 << 10;

/// What is read of each module.
const FILES: [&str; 5] = ["initstate", "srcversion", "version", "taint", "refcnt"];

/// What is read of the kernel.
const KERNEL: [&str; 4] = [
    "version",
    "sys/kernel/tainted",
    "sys/kernel/modules_disabled",
    "cmdline",
];

/// See the module.
#[derive(Clone, Debug)]
pub struct ModulesCollector {
    proc: PathBuf,
    sys: PathBuf,
}

#[derive(Serialize)]
struct Told<'a> {
    name: Text<'a>,
    /// Its line in the list; `None` when it is not there.
    listed: Option<Text<'a>>,
    /// False when it is listed and the kernel shows no directory of it.
    has_directory: bool,
    files: BTreeMap<&'static str, Vec<Text<'a>>>,
}

impl ModulesCollector {
    /// Makes one that finds the kernel's files in `proc` and `sys`.
    #[must_use]
    pub fn new(proc: PathBuf, sys: PathBuf) -> Self {
        Self { proc, sys }
    }

    fn write(&self, document: &mut Document<'_>, deadline: Deadline) -> Result<(), Failure> {
        for name in KERNEL {
            if let Ok(bytes) = read(&self.proc.join(name), FILE_BYTES_MAX) {
                document.field(name.rsplit('/').next().unwrap_or(name), &Text(bytes.trim_ascii_end()))?;
            }
        }
        let list = match read(&self.proc.join("modules"), LIST_BYTES_MAX) {
            Ok(list) => Some(list),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(Failure::new(
                    FailureKind::Unavailable,
                    &format!("cannot read the modules: {error}"),
                ));
            }
        };
        document.field("kernel_loads_modules", &list.is_some())?;
        let list = list.unwrap_or_default();
        if list.len() as u64 == LIST_BYTES_MAX {
            document.problem("the list of modules is cut");
        }
        let mut listed = BTreeMap::new();
        for line in lines(&list) {
            let name = line.split(|byte| *byte == b' ').next().unwrap_or_default();
            listed.insert(name, line);
        }
        let directories = self.directories(document);
        let names: BTreeSet<&[u8]> = listed
            .keys()
            .copied()
            .chain(directories.iter().map(|it| &**it))
            .collect();
        document.begin_list("modules")?;
        let mut left_out = 0;
        for name in names {
            if deadline.is_over() {
                left_out += 1;
                continue;
            }
            let directory = self.sys.join("module").join(std::ffi::OsStr::from_bytes(name));
            let mut contents = Vec::new();
            for file in FILES {
                if let Ok(bytes) = read(&directory.join(file), FILE_BYTES_MAX) {
                    contents.push((file, bytes));
                }
            }
            let files = contents
                .iter()
                .map(|(file, bytes)| (*file, lines(bytes).map(Text).collect()));
            document.item(&Told {
                name: Text(name),
                listed: listed.get(name).map(|it| Text(it)),
                has_directory: directories.contains(name),
                files: files.collect(),
            })?;
        }
        document.end_list();
        if left_out > 0 {
            document.problem(&format!("{left_out} modules are left out"));
        }
        Ok(())
    }

    /// The modules that have a directory. Parts of the kernel that have parameters have one too, but no state.
    fn directories(&self, document: &mut Document<'_>) -> BTreeSet<Box<[u8]>> {
        let path = self.sys.join("module");
        match fs::read_dir(&path) {
            Ok(entries) => {
                let entries = entries.filter_map(Result::ok);
                let modules = entries.filter(|it| it.path().join("initstate").exists());
                modules.map(|it| it.file_name().as_bytes().into()).collect()
            }
            Err(error) => {
                document.problem(&format!("cannot read {}: {error}", path.display()));
                BTreeSet::new()
            }
        }
    }
}

impl Collector for ModulesCollector {
    fn describe(&self) -> Collects {
        Collects {
            name: "linux/modules",
            kind: KIND,
            needs: &[],
            changes: &[],
            takes_max: TAKES_MAX,
        }
    }

    fn observe(&mut self, _: &CollectRequest) -> Result<(), Failure> {
        match read(&self.proc.join("version"), FILE_BYTES_MAX) {
            Ok(_) => Ok(()),
            Err(error) => {
                let what = format!("cannot read {}: {error}", self.proc.display());
                Err(Failure::new(FailureKind::Unavailable, &what))
            }
        }
    }

    fn execute(&mut self, request: &CollectRequest, sink: &mut dyn Sink) -> Result<Collected, Failure> {
        let deadline = Deadline::of(request, TAKES_MAX);
        let locator = self.proc.join("modules").display().to_string();
        let method = "read of /proc/modules and of initstate, srcversion, version, taint and refcnt in /sys/module/*";
        document::write(KIND, document::about(KIND, &locator, method), sink, |document| {
            deadline.check("modules")?;
            self.write(document, deadline)
        })?;
        Ok(Collected::default())
    }

    fn undo(&mut self, _: EvidenceId) -> Result<(), Failure> {
        Ok(())
    }
}

fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}
