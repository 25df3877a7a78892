//! Finding playbooks: the files of directories, and those that come with Staunch.
//!
//! Never compiles anything itself; that is `staunch_playbook`'s business.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use staunch_model::{Aim, Printable};
use staunch_playbook::{
    BUILT_IN, CheckContext, Compiled, Diagnostic, SYSTEMS, Severity, check_configured, compile, compile_all, limits,
    signature,
};

use crate::config::{Config, place_of};
use crate::files::read_bounded;
use crate::output::{colors_on_stderr, say, say_rendered};
use crate::signing::{Trust, Unproved};

/// The texts of playbooks, by the name that diagnostics use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts {
    files: Vec<(String, String)>,
    /// Files that could not be read.
    pub(crate) unreadable: Vec<Unreadable>,
    /// Files that are not signed as they have to be.
    unproved: Vec<Diagnostic>,
    /// The configuration that names all of them, and its text.
    configuration: Option<(String, String)>,
}

/// A file that could not be read.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Unreadable {
    /// Which, safe to show.
    pub(crate) file: String,
    /// Why, safe to show.
    pub(crate) why: String,
}

/// What became of compiling: the playbooks, or nothing when one of them cannot be used.
pub(crate) struct Outcome {
    pub(crate) compiled: Vec<Compiled>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) usable: bool,
}

/// A playbook that looks at `generic` looks at every source that is described by a mapping, whatever its name.
fn widen_generic(compiled: &mut Compiled, context: &CheckContext) {
    let systems = &mut compiled.program.systems;
    if systems.iter().any(|it| &*it.0 == "generic") {
        let mapped = context
            .systems
            .iter()
            .filter(|name| !SYSTEMS.contains(&name.as_str()) && *name != "generic");
        systems.extend(mapped.map(|name| name.as_str().into()));
        systems.sort();
        systems.dedup();
    }
}

/// Whether a playbook that comes with Staunch can act: those about processes or accounts cannot where none is to be acted on.
fn fits(config: &Config, name: &str, text: &str) -> bool {
    let is_off = |aim| match aim {
        Aim::Process => !config.processes.enabled,
        Aim::Account => !config.accounts.enabled,
        Aim::Address | Aim::Host | Aim::Domain => false,
    };
    let cannot = |compiled: Compiled| {
        let steps = &compiled.program.playbook.steps;
        steps.iter().any(|step| is_off(step.action.aims_at()))
    };
    !compile(name, text, &CheckContext::default()).is_ok_and(cannot)
}

impl Texts {
    /// The playbooks of the configuration. Of those that come with Staunch, the ones that can act.
    pub(crate) fn configured(config: &Config) -> Self {
        let mut texts = Self::default();
        if config.playbooks.built_in {
            let fitting = BUILT_IN.iter().filter(|(name, text)| fits(config, name, text));
            let files = fitting.map(|(name, text)| (format!("built-in {name}"), (*text).to_owned()));
            texts.files.extend(files);
        }
        let built_in = texts.files.len();
        config.playbooks.dirs.iter().for_each(|dir| texts.add_dir(dir));
        texts.prove(config, built_in);
        let written = config.playbooks.written();
        texts.configuration = written.map(|(file, text)| (file.to_owned(), text.to_owned()));
        texts
    }

    /// The playbooks in `paths`, which are files or directories, signed as the configuration asks for.
    pub(crate) fn signed(paths: &[PathBuf], config: &Config) -> Self {
        let mut texts = Self::of_paths(paths);
        texts.prove(config, 0);
        texts
    }

    /// The playbooks in `paths`, which are files or directories.
    pub(crate) fn of_paths(paths: &[PathBuf]) -> Self {
        let mut texts = Self::default();
        for path in paths {
            if path.is_dir() {
                texts.add_dir(path);
            } else {
                texts.add_file(path);
            }
        }
        texts
    }

    /// One playbook that is in no file.
    pub(crate) fn of_text(name: &str, text: &str) -> Self {
        Self {
            files: vec![(name.to_owned(), text.to_owned())],
            ..Self::default()
        }
    }

    /// The name and the text of each.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Looks at the signatures of all but the first `built_in`, where that is asked for. What is proved is the text that
    /// was read, and no other is compiled.
    fn prove(&mut self, config: &Config, built_in: usize) {
        if !config.playbooks.require_signature {
            return;
        }
        let trust = Trust::new(&config.playbooks.trusted_keys);
        for (name, text) in &self.files[built_in..] {
            match trust.prove(Path::new(name), text) {
                Ok(_) => {}
                Err(Unproved::Unsigned) => self.unproved.extend(signature::unsigned(name, text)),
                Err(Unproved::Wrong(why)) => self.unproved.extend(signature::wrongly_signed(name, text, &why)),
            }
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.files.len()
    }

    /// Compiles all of them together.
    pub(crate) fn compile(&self, context: &CheckContext) -> Outcome {
        match compile_all(self.files(), context) {
            Ok(compiled) if !self.unproved.is_empty() => {
                let warnings = compiled.into_iter().flat_map(|it| it.warnings);
                Outcome {
                    compiled: Vec::new(),
                    diagnostics: self.unproved.iter().cloned().chain(warnings).collect(),
                    usable: false,
                }
            }
            Ok(mut compiled) => {
                compiled.iter_mut().for_each(|it| widen_generic(it, context));
                let mut diagnostics: Vec<_> = compiled.iter().flat_map(|it| it.warnings.clone()).collect();
                if let Some((file, text)) = &self.configuration {
                    let place = |keys: &[&str]| place_of(text, keys);
                    diagnostics.extend(check_configured((file, text), place, context, &compiled));
                }
                if errors(&diagnostics) > 0 {
                    compiled.clear();
                }
                let usable = self.unreadable.is_empty() && errors(&diagnostics) == 0;
                Outcome {
                    compiled,
                    diagnostics,
                    usable,
                }
            }
            Err(diagnostics) => Outcome {
                compiled: Vec::new(),
                diagnostics: self.unproved.iter().cloned().chain(diagnostics).collect(),
                usable: false,
            },
        }
    }

    /// Shows every mistake on stderr.
    pub(crate) fn tell(&self, diagnostics: &[Diagnostic]) {
        let texts: BTreeMap<&str, &str> = self
            .files
            .iter()
            .chain(&self.configuration)
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        for unreadable in &self.unreadable {
            say(&format!(
                "error: cannot read {}: {}\nhint: name a playbook or a directory of playbooks that can be read, here or in `dirs` under [playbooks] \
                 in the configuration\n",
                unreadable.file, unreadable.why
            ));
        }
        for diagnostic in diagnostics {
            let text = texts.get(&*diagnostic.file).copied().unwrap_or_default();
            // A snippet shows lines of the file: a file that could steer a terminal gets a line without them.
            let steers = |c: char| !matches!(c, '\n' | '\r' | '\t') && staunch_model::text::is_unsafe_to_show(c);
            if text.contains(steers) {
                say(&format!(
                    "{diagnostic}\nhint: {}\n",
                    diagnostic.hint.as_deref().unwrap_or("remove control characters")
                ));
            } else {
                say_rendered(&format!("{}\n\n", diagnostic.render(text, colors_on_stderr())));
            }
        }
    }

    fn add_dir(&mut self, dir: &Path) {
        match list_playbooks(dir) {
            Ok(files) => files.iter().for_each(|file| self.add_file(file)),
            Err(error) => self.unreadable(dir, &error.to_string()),
        }
    }

    fn add_file(&mut self, path: &Path) {
        let too_large = |bytes: u64| format!("it has {bytes} bytes, at most {} are read", limits::FILE_BYTES_MAX);
        let text = fs::metadata(path)
            .map_err(|error| error.to_string())
            .and_then(|metadata| {
                if metadata.len() > limits::FILE_BYTES_MAX as u64 {
                    return Err(too_large(metadata.len()));
                }
                read_bounded(path, limits::FILE_BYTES_MAX as u64).map_err(|error| error.to_string())
            });
        match text {
            Ok(text) => self.files.push((path.display().to_string(), text)),
            Err(why) => self.unreadable(path, &why),
        }
    }

    fn unreadable(&mut self, path: &Path, why: &str) {
        let file = Printable(&path.display().to_string()).to_string();
        self.unreadable.push(Unreadable {
            file,
            why: Printable(why).to_string(),
        });
    }
}

/// How many of `diagnostics` are errors.
pub(crate) fn errors(diagnostics: &[Diagnostic]) -> usize {
    diagnostics.iter().filter(|it| it.severity == Severity::Error).count()
}

/// The playbooks of a directory, by name. Tests of playbooks are not playbooks.
pub(crate) fn list_playbooks(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_playbook = (name.ends_with(".yaml") || name.ends_with(".yml")) && !name.starts_with('.');
        let is_test = name.ends_with(".test.yaml") || name.ends_with(".test.yml");
        if is_playbook && !is_test {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
