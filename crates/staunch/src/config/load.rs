//! Reading a configuration from its file.
//!
//! Never uses half of one: what has a mistake is refused whole, but for who asks for what can be read of it
//! ([`Unusable::salvage`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use staunch_model::Printable;

use super::mistake::Mistake;
use super::salvage::{self, Salvage};
use super::{Config, check, form};
use crate::exit::{Exit, Fault, MistakeInFile};
use crate::files::{is_missing, read_bounded};
use crate::output::{answers_in_json, say, say_rendered, warn_json, warn_of};

/// Where the configuration is looked for when none is named. It need not exist.
pub(crate) const DEFAULT_PATH: &str = "/etc/staunch/staunch.toml";

/// The largest file: hundreds of networks and mappings fit.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A configuration and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    /// The file; `None` when the defaults hold.
    pub(crate) file: Option<PathBuf>,
    /// What is in the file.
    pub(crate) text: String,
}

/// Why a configuration cannot be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// It cannot be read.
    Unreadable(Fault),
    /// There are mistakes in it.
    Mistaken {
        /// The file, not escaped.
        file: String,
        /// What is in it.
        text: String,
        /// What is wrong with that; one at least.
        mistakes: Vec<Mistake>,
    },
}

impl From<Fault> for Unusable {
    fn from(fault: Fault) -> Self {
        Self::Unreadable(fault)
    }
}

/// Reads the configuration in `named`, else in [`DEFAULT_PATH`], else the defaults.
///
/// # Errors
/// [`Exit::Usage`] with every mistake; [`Exit::NotFound`] when the one that is named is not there.
pub(crate) fn load(named: Option<&Path>) -> Result<Loaded, Fault> {
    read(named).map_err(|unusable| unusable.fault())
}

impl Unusable {
    /// The fault of a command that cannot go on without it.
    pub(crate) fn fault(self) -> Fault {
        match self {
            Self::Unreadable(fault) => fault,
            Self::Mistaken { file, text, mistakes } => {
                let told = told(&mistakes, &file, &text);
                Fault::new(Exit::Usage, counted(mistakes.len(), &file))
                    .hint("mend what is wrong and try again; nothing was changed")
                    .with_mistakes(told)
            }
        }
    }

    /// What can be read of it all the same, with values that may not work.
    pub(crate) fn salvage(&self) -> Option<Salvage> {
        self.salvage_without(&[])
    }

    /// The same, without the tables that a mistake is in.
    pub(crate) fn salvage_sound(&self) -> Option<Salvage> {
        let Self::Mistaken { text, mistakes, .. } = self else {
            return None;
        };
        // Of what can be read key by key, only the key is left out.
        let is_of_form = toml::from_str::<Config>(text).is_err();
        let tables: Vec<String> = mistakes.iter().filter_map(|it| it.table(text)).collect();
        self.salvage_without(if is_of_form { &[] } else { &tables })
    }

    fn salvage_without(&self, tables: &[String]) -> Option<Salvage> {
        let Self::Mistaken { file, text, .. } = self else {
            return None;
        };
        let mut found = salvage::salvage(text, tables)?;
        found
            .config
            .resolve_paths(Path::new(file).parent().unwrap_or(Path::new("")));
        Some(found)
    }

    /// Says to the person at the terminal what is wrong with it, and that the command goes on.
    pub(crate) fn say_going_on(&self) {
        match self {
            Self::Unreadable(fault) => {
                warn_of(fault);
                say("going on without the configuration");
            }
            Self::Mistaken { file, text, mistakes } => {
                let told = told(mistakes, file, text);
                let text = format!(
                    "{}; going on with what can be read of it",
                    counted(mistakes.len(), file)
                );
                if answers_in_json() {
                    return warn_json(&json!({ "warning": text, "mistakes": told }));
                }
                told.iter().for_each(|mistake| say_rendered(&mistake.rendered));
                say(&format!("warning: {text}"));
            }
        }
    }
}

fn told(mistakes: &[Mistake], file: &str, text: &str) -> Vec<MistakeInFile> {
    let color = crate::output::colors_on_stderr();
    mistakes.iter().map(|it| it.told(file, text, color)).collect()
}

fn counted(mistakes: usize, file: &str) -> String {
    let noun = match mistakes {
        1 => "mistake",
        // Of those of form no more are looked for.
        form::MISTAKES_MAX => "mistakes or more",
        _ => "mistakes",
    };
    format!("{mistakes} {noun} in the configuration {}", Printable(file))
}

/// As [`load`], and says nothing.
///
/// # Errors
/// [`Unusable`].
pub(crate) fn read(named: Option<&Path>) -> Result<Loaded, Unusable> {
    let path = match named {
        Some(path) if path.as_os_str().is_empty() => {
            let fault = Fault::new(Exit::Usage, "--config, or STAUNCH_CONFIG in the environment, is empty");
            return Err(fault.hint("name a configuration file, or unset STAUNCH_CONFIG").into());
        }
        Some(path) => path.to_owned(),
        None if Path::new(DEFAULT_PATH).exists() => DEFAULT_PATH.into(),
        None => {
            return Ok(Loaded {
                config: Config::default(),
                file: None,
                text: String::new(),
            });
        }
    };
    let shown = path.display().to_string();
    let unreadable = |error: &std::io::Error| {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::Denied,
            _ if is_missing(error) => Exit::NotFound,
            _ => Exit::Usage,
        };
        Fault::doing(
            exit,
            format!("cannot read the configuration {}", Printable(&shown)),
            error,
        )
        .hint("name another file with --config or STAUNCH_CONFIG")
    };
    let size = std::fs::metadata(&path).map_err(|error| unreadable(&error))?.len();
    if size > FILE_BYTES_MAX {
        let what = format!(
            "the configuration {} has {size} bytes, at most {FILE_BYTES_MAX} are read",
            Printable(&shown)
        );
        return Err(Fault::new(Exit::Usage, what)
            .hint("check that it is the right file")
            .into());
    }
    let text = read_bounded(&path, FILE_BYTES_MAX).map_err(|error| unreadable(&error))?;
    match parse(&text) {
        Ok(mut config) => {
            config.resolve_paths(path.parent().unwrap_or(Path::new("")));
            config.playbooks.written = Some(Arc::new((shown, text.clone())));
            Ok(Loaded {
                config,
                file: Some(path),
                text,
            })
        }
        Err(mistakes) => Err(Unusable::Mistaken {
            file: shown,
            text,
            mistakes,
        }),
    }
}

/// Reads and checks `text`.
///
/// # Errors
/// What is wrong with it: the keys and values that cannot be read, or else all values that cannot work.
pub(crate) fn parse(text: &str) -> Result<Config, Vec<Mistake>> {
    let config: Config = toml::from_str(text).map_err(|error| form::mistakes(text, &error))?;
    let mistakes = check::check(&config, text);
    if mistakes.is_empty() { Ok(config) } else { Err(mistakes) }
}

impl Config {
    fn resolve_paths(&mut self, base: &Path) {
        let resolve = |path: &mut PathBuf| *path = base.join(&path);
        resolve(&mut self.data_dir);
        self.http.tokens_file.iter_mut().for_each(resolve);
        let senders = self.http.senders.iter_mut();
        senders.flat_map(|it| &mut it.secret_files).for_each(resolve);
        if let Some(tls) = &mut self.http.tls {
            resolve(&mut tls.certificate);
            resolve(&mut tls.key);
            tls.client_ca.iter_mut().for_each(resolve);
        }
        self.playbooks.dirs.iter_mut().for_each(resolve);
        let lists = self.never_touch.files.iter_mut();
        lists.map(|it| &mut it.path).for_each(resolve);
        let files = self.feeds.iter_mut().filter(|it| it.url.is_none());
        files.map(|it| &mut it.path).for_each(resolve);
        let lookups = self.lookups.iter_mut();
        lookups
            .flat_map(|it| it.key_file.iter_mut().chain(&mut it.ca))
            .for_each(resolve);
        self.feeds.iter_mut().filter_map(|it| it.ca.as_mut()).for_each(resolve);
        for notifier in self.notifiers.values_mut() {
            resolve(&mut notifier.key_file);
            notifier.ca.iter_mut().for_each(resolve);
        }
        let signals = self.health.values_mut();
        signals
            .flat_map(|it| it.key_file.iter_mut().chain(&mut it.ca))
            .for_each(resolve);
        let prometheus = self.prometheus.iter_mut();
        prometheus
            .flat_map(|it| it.key_file.iter_mut().chain(&mut it.ca))
            .for_each(resolve);
        let context = self.context.assets.iter_mut().chain(&mut self.context.identities);
        context.map(|it| &mut it.path).for_each(resolve);
        self.context.geo.iter_mut().map(|it| &mut it.path).for_each(resolve);
        self.archive
            .dir
            .iter_mut()
            .chain(&mut self.evidence.dir)
            .for_each(resolve);
        let anchors = self.evidence.anchors.iter_mut();
        anchors
            .flat_map(|it| it.ca.iter_mut().chain(&mut it.key_file))
            .for_each(resolve);
        if let Some(bucket) = &mut self.evidence.s3 {
            resolve(&mut bucket.key_file);
            bucket.ca.iter_mut().for_each(resolve);
        }
        self.sources.files.iter_mut().map(|it| &mut it.path).for_each(resolve);
        self.sources.sockets.iter_mut().map(|it| &mut it.path).for_each(resolve);
        self.sources
            .journald
            .iter_mut()
            .filter_map(|it| it.directory.as_mut())
            .for_each(resolve);
    }
}
