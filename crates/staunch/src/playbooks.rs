//! Finding playbooks: the files of directories, and those that come with Staunch.
//!
//! Never compiles anything itself; that is `staunch_playbook`'s business.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;
use staunch_model::Printable;
use staunch_playbook::{
    BUILT_IN, CheckContext, Compiled, Diagnostic, SNIPPETS_FILE, SYSTEMS, Severity, Snippets, Source, check_configured,
    compile, compile_source, compile_sources, limits, signature,
};

use crate::config::{Config, place_of, wrapped_hint};
use crate::files::read_bounded;
use crate::output::{answers_in_json, colors_on_stderr, is_stderr_terminal, say, say_rendered, warn, warn_json, wrap};
use crate::signing::{Trust, Unproved};
use crate::wiring;

/// The code of the warning that no driver carries out a step.
const NO_DRIVER: &str = "P031";

/// What to do about playbooks that cannot be read.
pub(crate) const PATHS_HINT: &str = "name a playbook or a directory of playbooks that can be read, here or in `dirs` under [playbooks] in the configuration";

/// The texts of playbooks, by the name that diagnostics use.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    files: Vec<File>,
    /// The snippets beside them.
    snippets: Vec<Beside>,
    /// Files that could not be read.
    pub(crate) unreadable: Vec<Unreadable>,
    /// Whose signatures count, where that is asked for, and from which file on.
    trust: Option<(Trust, usize)>,
    /// The configuration that names all of them, and its text.
    configuration: Option<(String, String)>,
    /// Whether they are those of the configuration, and not what somebody has named.
    are_configured: bool,
}

/// A playbook's text.
#[derive(Clone, Debug)]
struct File {
    name: String,
    text: String,
    /// Which of the snippets it may use.
    snippets: Option<usize>,
}

/// The snippets of a directory.
#[derive(Clone, Debug)]
struct Beside {
    path: PathBuf,
    /// `None` when they cannot be read.
    snippets: Option<Snippets>,
    /// Whether all playbooks of the directory are there.
    whole: bool,
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
    /// Playbooks as they come with Staunch that ask for what the configuration does not switch on.
    pub(crate) idle: Vec<String>,
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

/// Whether `it` warns of a step that nothing carries out here.
fn is_without_driver(it: &Diagnostic) -> bool {
    it.severity == Severity::Warning && it.code == NO_DRIVER
}

/// The same with lines that fit a terminal: what the renderer writes before them is `error[P010]: `, or the room of a
/// line number and `= hint: `.
fn fitted(diagnostic: &Diagnostic) -> Diagnostic {
    let before = "warning[P010]: ".len();
    let message = wrap(&diagnostic.message, before).replace(&format!("\n{}", " ".repeat(before)), "\n");
    Diagnostic {
        message,
        hint: diagnostic.hint.as_deref().map(wrapped_hint),
        ..diagnostic.clone()
    }
}

/// The name of a file without its ending, safe to show.
fn stem(file: &str) -> String {
    let stem = Path::new(file).file_stem();
    Printable(&stem.map_or_else(|| file.into(), |it| it.to_string_lossy())).to_string()
}

/// Says which playbooks of those that come with Staunch ask for what is not switched on; nothing when there is none.
pub(crate) fn say_idle(idle: &[String]) {
    if idle.is_empty() {
        return;
    }
    let text = format!(
        "note: as they come with Staunch, these playbooks ask for what the configuration does not switch on: {}",
        idle.join(", ")
    );
    say(&wrap(&text, 0));
    say(&wrap(
        "hint: `enabled = true` under [processes], [domains] or [accounts] does; until then their steps are refused, which \
         harms nothing",
        0,
    ));
}

/// Whether a playbook that comes with Staunch can act: each of its actions is enabled.
fn fits(config: &Config, name: &str, text: &str) -> bool {
    let can_act = |compiled: Compiled| {
        let steps = &compiled.program.playbook.steps;
        steps.iter().all(|step| wiring::is_enabled(config, step.action))
    };
    // One that does not compile is told about.
    compile(name, text, &CheckContext::default()).ok().is_none_or(can_act)
}

impl Texts {
    /// The playbooks of the configuration. Of those that come with Staunch, the ones that can act.
    pub(crate) fn configured(config: &Config) -> Self {
        let mut texts = Self {
            are_configured: true,
            ..Self::default()
        };
        if config.playbooks.built_in {
            let fitting = BUILT_IN.iter().filter(|(name, text)| fits(config, name, text));
            let files = fitting.map(|(name, text)| File::alone(&format!("built-in {name}"), text));
            texts.files.extend(files);
        }
        let built_in = texts.files.len();
        config.playbooks.dirs.iter().for_each(|dir| texts.add_dir(dir));
        texts.ask_for_signatures(config, built_in);
        let written = config.playbooks.written();
        texts.configuration = written.map(|(file, text)| (file.to_owned(), text.to_owned()));
        texts
    }

    /// The playbooks in `paths`, which are files or directories, signed as the configuration asks for.
    pub(crate) fn signed(paths: &[PathBuf], config: &Config) -> Self {
        let mut texts = Self::of_paths(paths);
        texts.ask_for_signatures(config, 0);
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
            files: vec![File::alone(name, text)],
            ..Self::default()
        }
    }

    /// The same, but that the file `name` has the text `text`, and that no signatures are asked for.
    pub(crate) fn changed(&self, name: &str, text: &str) -> Self {
        let files = self.files.iter().map(|it| File {
            text: if it.name == name { text } else { &it.text }.to_owned(),
            ..it.clone()
        });
        Self {
            files: files.collect(),
            snippets: self.snippets.clone(),
            configuration: self.configuration.clone(),
            ..Self::default()
        }
    }

    /// The name and the text of each.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|it| (it.name.as_str(), it.text.as_str()))
    }

    /// How many files of snippets there are.
    pub(crate) fn snippet_files(&self) -> usize {
        self.snippets.iter().filter(|it| it.snippets.is_some()).count()
    }

    /// Each with the snippets that it may use.
    pub(crate) fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        self.files.iter().map(|it| Source {
            file: &it.name,
            text: &it.text,
            snippets: it.snippets.and_then(|at| self.snippets[at].snippets.as_ref()),
        })
    }

    /// What `trust` says of each.
    pub(crate) fn proofs<'t>(
        &self,
        trust: &'t Trust,
        context: &CheckContext,
    ) -> Vec<(&str, Result<&'t str, Unproved>)> {
        let proof = |it: (&File, Source<'_>)| {
            let compiled = compile_source(it.1, context).ok();
            let contributed = compiled.as_ref().map(|it| &*it.contributed);
            trust.prove(Path::new(&it.0.name), &it.0.text, contributed)
        };
        let each = self.files.iter().zip(self.sources());
        each.map(|it| (it.0.name.as_str(), proof(it))).collect()
    }

    /// Has the signatures of all but the first `built_in` looked at, where that is asked for.
    fn ask_for_signatures(&mut self, config: &Config, built_in: usize) {
        if config.playbooks.require_signature {
            self.trust = Some((Trust::new(&config.playbooks.trusted_keys), built_in));
        }
    }

    /// What is not signed as it has to be. What is proved is the text that was read, with what the snippets that were
    /// read contribute to it, and no other is compiled.
    fn unproved(&self, context: &CheckContext) -> Vec<Diagnostic> {
        let Some((trust, built_in)) = &self.trust else {
            return Vec::new();
        };
        let mut unproved = Vec::new();
        for (file, (name, proof)) in self.files.iter().zip(self.proofs(trust, context)).skip(*built_in) {
            match proof {
                Ok(_) => {}
                Err(Unproved::Unsigned) => unproved.extend(signature::unsigned(name, &file.text)),
                Err(Unproved::Wrong(why)) => unproved.extend(signature::wrongly_signed(name, &file.text, &why)),
            }
        }
        unproved
    }

    /// What is wrong with snippets that no playbook here may use, so that it was not said with one.
    fn of_lonely_snippets(&self) -> Vec<Diagnostic> {
        let lonely = |at: &usize| !self.files.iter().any(|it| it.snippets == Some(*at));
        let all = (0..self.snippets.len()).filter(lonely);
        all.filter_map(|at| self.snippets[at].snippets.as_ref())
            .flat_map(|it| it.diagnostics().to_vec())
            .collect()
    }

    /// Which snippets of whole directories nothing uses.
    fn unused(&self, compiled: &[Compiled]) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for (at, beside) in self.snippets.iter().enumerate() {
            let Some(snippets) = beside.snippets.as_ref().filter(|_| beside.whole) else {
                continue;
            };
            let users = self
                .files
                .iter()
                .zip(compiled)
                .filter(|(file, _)| file.snippets == Some(at));
            let used = users.flat_map(|(_, compiled)| &compiled.snippets).collect();
            found.extend(snippets.unused(&used));
        }
        found
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.files.len()
    }

    /// Compiles all of them together.
    pub(crate) fn compile(&self, context: &CheckContext) -> Outcome {
        let unproved = self.unproved(context);
        let lonely = self.of_lonely_snippets();
        match compile_sources(self.sources(), context) {
            Ok(compiled) if !unproved.is_empty() => {
                let warnings = compiled.into_iter().flat_map(|it| it.warnings);
                Outcome {
                    compiled: Vec::new(),
                    diagnostics: unproved.into_iter().chain(warnings).chain(lonely).collect(),
                    idle: Vec::new(),
                    usable: false,
                }
            }
            Ok(mut compiled) => {
                compiled.iter_mut().for_each(|it| widen_generic(it, context));
                let mut diagnostics: Vec<_> = compiled.iter().flat_map(|it| it.warnings.clone()).collect();
                diagnostics.extend(lonely);
                diagnostics.extend(self.unused(&compiled));
                if let Some((file, text)) = &self.configuration {
                    let place = |keys: &[&str]| place_of(text, keys);
                    diagnostics.extend(check_configured((file, text), place, context, &compiled));
                }
                if errors(&diagnostics) > 0 {
                    compiled.clear();
                }
                let usable = self.unreadable.is_empty() && errors(&diagnostics) == 0;
                let idle = self.take_idle(&mut diagnostics);
                Outcome {
                    compiled,
                    diagnostics,
                    idle,
                    usable,
                }
            }
            Err(diagnostics) => Outcome {
                compiled: Vec::new(),
                diagnostics: unproved.into_iter().chain(diagnostics).chain(lonely).collect(),
                idle: Vec::new(),
                usable: false,
            },
        }
    }

    /// Takes out of `diagnostics` what copies of the playbooks that come with Staunch, unchanged, ask for and nothing
    /// here carries out: who has not touched them has not asked for it. Returns the names of those playbooks.
    fn take_idle(&self, diagnostics: &mut Vec<Diagnostic>) -> Vec<String> {
        if !self.are_configured {
            return Vec::new();
        }
        let comes_with_staunch = |file: &str| {
            let found = self.files.iter().find(|it| it.name == file);
            found.is_some_and(|it| BUILT_IN.iter().any(|(_, text)| *text == it.text))
        };
        let mut idle = BTreeSet::new();
        diagnostics.retain(|it| {
            let is_idle = is_without_driver(it) && comes_with_staunch(&it.file);
            if is_idle {
                idle.insert(stem(&it.file));
            }
            !is_idle
        });
        idle.into_iter().collect()
    }

    /// Shows every mistake on stderr.
    pub(crate) fn tell(&self, diagnostics: &[Diagnostic]) {
        self.tell_those(diagnostics.iter());
    }

    /// As [`Texts::tell`], with one line for all steps that nothing carries out here. `staunch check` tells each.
    pub(crate) fn tell_briefly(&self, diagnostics: &[Diagnostic]) {
        self.tell_those(diagnostics.iter().filter(|it| !is_without_driver(it)));
        let idle = diagnostics.iter().filter(|it| is_without_driver(it));
        let idle: BTreeSet<String> = idle.map(|it| stem(&it.file)).collect();
        if idle.is_empty() {
            return;
        }
        let names: Vec<String> = idle.into_iter().collect();
        let text = format!(
            "note: nothing on this machine carries out what these playbooks ask for: {}",
            names.join(", ")
        );
        say(&wrap(&text, 0));
        say(&format!(
            "hint: `staunch check` tells what each of them needs ({NO_DRIVER})\n"
        ));
    }

    fn tell_those<'d>(&self, diagnostics: impl Iterator<Item = &'d Diagnostic>) {
        let configuration = self.configuration.iter().map(|(name, text)| (&**name, &**text));
        let snippets = self
            .snippets
            .iter()
            .filter_map(|it| Some(it.snippets.as_ref()?.source()));
        let texts: BTreeMap<&str, &str> = self.files().chain(configuration).chain(snippets).collect();
        if answers_in_json() {
            for it in &self.unreadable {
                warn(&format!("cannot read {}: {}", it.file, it.why));
            }
            return diagnostics.for_each(|it| warn_json(&json!({ "diagnostic": it })));
        }
        for unreadable in &self.unreadable {
            say(&format!(
                "error: {}\nhint: {}\n",
                wrap(&format!("cannot read {}: {}", unreadable.file, unreadable.why), 7),
                wrap(PATHS_HINT, 6)
            ));
        }
        for diagnostic in diagnostics {
            let text = texts.get(&*diagnostic.file).copied().unwrap_or_default();
            let fitted = is_stderr_terminal().then(|| fitted(diagnostic));
            let shown = fitted.as_ref().unwrap_or(diagnostic);
            say_rendered(&format!("{}\n\n", shown.render(text, colors_on_stderr())));
        }
    }

    fn add_dir(&mut self, dir: &Path) {
        match list_playbooks(dir) {
            Ok(files) => {
                files.iter().for_each(|file| self.add_file(file));
                if let Some(at) = self.snippets_in(&dir.join(SNIPPETS_FILE)) {
                    self.snippets[at].whole = true;
                }
            }
            Err(error) => self.unreadable(dir, &error.to_string()),
        }
    }

    /// Adds a playbook with the snippets beside it, or those alone.
    fn add_file(&mut self, path: &Path) {
        if is_snippets(path) {
            if self.snippets_in(path).is_none() {
                self.unreadable(path, "there is no such file");
            }
            return;
        }
        let snippets = self.snippets_in(&path.with_file_name(SNIPPETS_FILE));
        if let Some(text) = self.read(path) {
            self.files.push(File {
                name: path.display().to_string(),
                text,
                snippets,
            });
        }
    }

    /// Which snippets are those in `path`, if there are some. They are read once.
    fn snippets_in(&mut self, path: &Path) -> Option<usize> {
        if let Some(known) = self.snippets.iter().position(|it| it.path == path) {
            return Some(known);
        }
        if fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return None;
        }
        let text = self.read(path);
        self.snippets.push(Beside {
            path: path.to_owned(),
            snippets: text.map(|text| Snippets::read(&path.display().to_string(), &text)),
            whole: false,
        });
        Some(self.snippets.len() - 1)
    }

    fn read(&mut self, path: &Path) -> Option<String> {
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
            Ok(text) => Some(text),
            Err(why) => {
                self.unreadable(path, &why);
                None
            }
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

impl File {
    /// One beside which there are no snippets.
    fn alone(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            text: text.to_owned(),
            snippets: None,
        }
    }
}

/// Whether the file in `path` is one of snippets, by its name.
pub(crate) fn is_snippets(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == SNIPPETS_FILE)
}

/// How many of `diagnostics` are errors.
pub(crate) fn errors(diagnostics: &[Diagnostic]) -> usize {
    diagnostics.iter().filter(|it| it.severity == Severity::Error).count()
}

/// The playbooks of a directory, by name. Tests of playbooks and their snippets are not playbooks.
pub(crate) fn list_playbooks(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_playbook = (name.ends_with(".yaml") || name.ends_with(".yml")) && !name.starts_with('.');
        let is_test = name.ends_with(".test.yaml") || name.ends_with(".test.yml");
        if is_playbook && !is_test && !is_snippets(&path) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
