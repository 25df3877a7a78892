//! What can be changed: the configuration file and the playbooks, each under the name that diffs have for it.
//!
//! Never writes any of them. A name is the path below the directory of the configuration, else the name of the file
//! alone.

use std::path::Path;

use super::diff::is_plain;
use crate::config::Config;
use crate::playbooks::Texts;

/// How playbooks that come with the program are named.
const BUILT_IN: &str = "built-in ";

/// A file that a diff can be of.
#[derive(Clone, Debug)]
pub(in crate::commands::review) struct Subject {
    /// Its name in diffs.
    pub(in crate::commands::review) file: String,
    /// What it is.
    pub(in crate::commands::review) what: What,
    /// What is in it.
    pub(in crate::commands::review) text: String,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands::review) enum What {
    Configuration,
    /// A playbook, by the name that diagnostics have for it.
    Playbook(String),
    /// One that comes with the program, so that there is no file.
    BuiltIn(String),
}

/// The files of a configuration.
#[derive(Debug)]
pub(in crate::commands::review) struct Subjects {
    all: Vec<Subject>,
}

impl Subjects {
    /// Those of `config`, whose playbooks are `texts`. One whose name a diff cannot have is left out.
    pub(in crate::commands::review) fn of(config: &Config, texts: &Texts) -> Self {
        let written = config.playbooks.written();
        let base = written.and_then(|(file, _)| Path::new(file).parent());
        let mut all = Vec::new();
        if let Some((file, text)) = written
            && let Some(file) = name(base, file)
        {
            all.push(Subject {
                file,
                what: What::Configuration,
                text: text.to_owned(),
            });
        }
        for (known_as, text) in texts.files() {
            let (file, what) = match known_as.strip_prefix(BUILT_IN) {
                Some(file) => (name(None, file), What::BuiltIn(known_as.to_owned())),
                None => (name(base, known_as), What::Playbook(known_as.to_owned())),
            };
            all.extend(file.map(|file| Subject {
                file,
                what,
                text: text.to_owned(),
            }));
        }
        Self { all }
    }

    /// The configuration file.
    pub(in crate::commands::review) fn configuration(&self) -> Option<&Subject> {
        self.all.iter().find(|it| it.what == What::Configuration)
    }

    /// The playbook that diagnostics know as `name`.
    pub(in crate::commands::review) fn playbook(&self, name: &str) -> Option<&Subject> {
        self.all.iter().find(|it| it.known_as() == Some(name))
    }

    /// The one that a diff names, if it is just one.
    pub(in crate::commands::review) fn named(&self, file: &str) -> Option<&Subject> {
        let mut all = self.all.iter().filter(|it| it.file == file);
        all.next().filter(|_| all.next().is_none())
    }
}

impl Subject {
    /// The name that diagnostics have for it, of a playbook.
    pub(in crate::commands::review) fn known_as(&self) -> Option<&str> {
        match &self.what {
            What::Configuration => None,
            What::Playbook(name) | What::BuiltIn(name) => Some(name),
        }
    }
}

/// The name of `path` in diffs; `None` when it would need quotes.
fn name(base: Option<&Path>, path: &str) -> Option<String> {
    let path = Path::new(path);
    let below = base
        .and_then(|base| path.strip_prefix(base).ok())
        .and_then(Path::to_str);
    let alone = || path.file_name().and_then(|it| it.to_str());
    below
        .filter(|it| is_plain(it))
        .or_else(alone)
        .filter(|it| is_plain(it))
        .map(ToOwned::to_owned)
}
