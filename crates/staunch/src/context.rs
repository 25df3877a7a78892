//! What is known around events: files of assets and of accounts and databases of places, read at the start, and again
//! when they change.
//!
//! Never takes a part of a file, and never lets a file that cannot be used take away what it said before.

use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use staunch_connectors::context::{
    AssetEntry, AssetTable, ENTRIES_MAX, FILE_BYTES_MAX, Format, IdentityEntry, IdentityTable, assets, identities,
};
use staunch_connectors::geo::{self, Database};
use staunch_connectors::lists::Invalid;
use staunch_model::{Asset, ContextTable, Identity, Place, Rating, Surroundings, Target, Timestamp};
use staunch_ports::{Knowledge, Reputations};
use staunch_runtime::telemetry::ContextReading;
use staunch_runtime::{Busy, Handle};
use staunch_server::stamp;

use crate::config::{Config, ContextFile};
use crate::exit::{Exit, Fault};
use crate::feeds::Feeds;
use crate::files::open_regular;
use crate::lists::name;
use crate::output::now;
use crate::watched::{Found, Watched};

/// The longest place of an entry, in bytes: it is in every judgement about it.
const SHOWN_BYTES_MAX: usize = 128;

/// What a file is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Assets,
    Identities,
    Geo,
}

impl Kind {
    /// The word for it, which is also its key in the configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Assets => "assets",
            Self::Identities => "identities",
            Self::Geo => "geo",
        }
    }

    /// What a file of it is called.
    const fn words(self) -> &'static str {
        match self {
            Self::Assets => "file of assets",
            Self::Identities => "file of identities",
            Self::Geo => "database of places",
        }
    }
}

/// What a file says.
#[derive(Clone)]
pub(crate) enum Content {
    Assets(Arc<[AssetEntry]>),
    Identities(Arc<[IdentityEntry]>),
    Geo(Arc<Database>),
    /// A database that was never read: it knows of no place.
    Nothing,
}

impl Content {
    /// How many entries it has.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Assets(entries) => entries.len(),
            Self::Identities(entries) => entries.len(),
            Self::Geo(database) => database.len(),
            Self::Nothing => 0,
        }
    }
}

/// The files of `config`.
pub(crate) fn files(config: &Config) -> impl Iterator<Item = (Kind, ContextFile)> {
    let context = &config.context;
    let assets = context.assets.iter().cloned().map(|it| (Kind::Assets, it));
    let identities = context.identities.iter().cloned().map(|it| (Kind::Identities, it));
    let geo = context.geo.iter().map(|it| {
        let file = ContextFile {
            path: it.path.clone(),
            format: None,
        };
        (Kind::Geo, file)
    });
    assets.chain(identities).chain(geo)
}

/// Reads one file.
///
/// # Errors
/// Why it cannot be used, and what to do about it.
pub(crate) fn read_one(kind: Kind, file: &ContextFile) -> Result<Content, Fault> {
    let shown = name(&file.path);
    let words = kind.words();
    let bytes = bounded(kind, &file.path)?;
    let place = place(&shown);
    let refused = |Invalid { line, what, hint }: Invalid| {
        let at = line.map_or_else(String::new, |line| format!(", line {line}"));
        Fault::new(Exit::Usage, format!("the {words} {shown}{at}: {what}")).hint(hint)
    };
    if kind == Kind::Geo {
        let database = Database::new(bytes).map_err(refused)?;
        return Ok(Content::Geo(Arc::new(database)));
    }
    let Some(format) = file.format() else {
        let what = format!("it is not told how the {words} {shown} is written");
        return Err(Fault::new(Exit::Usage, what).hint("add its format"));
    };
    content(kind, format, place, &bytes).map_err(refused)
}

fn content(kind: Kind, format: Format, place: &str, bytes: &[u8]) -> Result<Content, Invalid> {
    Ok(match kind {
        Kind::Assets => Content::Assets(assets(format, place, bytes)?.into()),
        Kind::Identities => Content::Identities(identities(format, place, bytes)?.into()),
        Kind::Geo => Content::Nothing,
    })
}

/// The end of a path, which is what tells it from others.
fn place(path: &str) -> &str {
    let start = path.len().saturating_sub(SHOWN_BYTES_MAX);
    let start = (start..path.len()).find(|at| path.is_char_boundary(*at));
    path.get(start.unwrap_or_default()..).unwrap_or(path)
}

fn bounded(kind: Kind, path: &Path) -> Result<Vec<u8>, Fault> {
    let (of, words, shown) = (kind.name(), kind.words(), name(path));
    let most = match kind {
        Kind::Geo => geo::FILE_BYTES_MAX,
        Kind::Assets | Kind::Identities => FILE_BYTES_MAX,
    };
    let unreadable = |error: std::io::Error| {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Usage,
        };
        Fault::doing(exit, format!("cannot read the {words} {shown}"), &error)
            .hint(format!("mend it, or take it out of [[context.{of}]]"))
    };
    let mut bytes = Vec::new();
    let opened = open_regular(path).map_err(unreadable)?;
    let mut opened = opened.take(most + 1);
    opened.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > most {
        let what = format!("the {words} {shown} has more than {most} bytes");
        return Err(Fault::new(Exit::Usage, what).hint("is it the right file?"));
    }
    Ok(bytes)
}

fn check_room(kind: Kind, entries: usize) -> Result<(), Fault> {
    if kind == Kind::Geo || entries <= ENTRIES_MAX {
        return Ok(());
    }
    let of = kind.name();
    let what = format!("the files of {of} have {entries} entries, at most {ENTRIES_MAX}");
    Err(Fault::new(Exit::Usage, what).hint("wider networks say the same in fewer entries"))
}

/// What is known around events, at the moment.
pub(crate) struct Context {
    files: Mutex<Vec<Held>>,
    tables: RwLock<Arc<Tables>>,
    feeds: Option<Arc<Feeds>>,
}

/// A file whose content is in force.
#[derive(Clone)]
struct Held {
    kind: Kind,
    file: ContextFile,
    name: Box<str>,
    content: Content,
    watched: Watched,
    /// Why it was refused, when it was.
    refused: Option<Box<str>>,
}

/// What all files say together.
#[derive(Default)]
struct Tables {
    assets: AssetTable,
    identities: IdentityTable,
    geo: Vec<Arc<Database>>,
}

/// What is known around events at one time.
struct At {
    tables: Arc<Tables>,
    feeds: Option<Arc<Feeds>>,
    now: Timestamp,
}

/// What was read of files that are to be in force.
pub(crate) struct Change(Vec<Held>);

impl Context {
    /// Reads the files of `config`; what `feeds` say is known too.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub(crate) fn start(config: &Config, feeds: Option<Arc<Feeds>>) -> Result<Arc<Self>, Fault> {
        let context = Self {
            files: Mutex::default(),
            tables: RwLock::default(),
            feeds,
        };
        let mut refused = Vec::new();
        let mut change = context.again(config, &mut refused)?;
        for (at, fault) in refused {
            if let Some(it) = change.0.get_mut(at) {
                it.refuse(&fault);
            }
        }
        context.put(change.0);
        Ok(Arc::new(context))
    }

    /// The same as knowledge; `None` while nothing is kept that could know of anything.
    pub(crate) fn knowledge(self: &Arc<Self>, config: &Config) -> Option<Arc<dyn Knowledge>> {
        (self.feeds.is_some() || !config.context.is_empty()).then(|| self.clone() as Arc<dyn Knowledge>)
    }

    /// Reads the files that `config` names. One that cannot be used and whose content is in force goes into `refused`.
    fn again(&self, config: &Config, refused: &mut Vec<(usize, Fault)>) -> Result<Change, Fault> {
        let known = self.lock().clone();
        let mut all: Vec<Held> = Vec::new();
        for (kind, file) in files(config) {
            let before = stamp(&file.path);
            let held = known.iter().find(|it| it.kind == kind && it.file == file);
            match (read_one(kind, &file), held) {
                (Ok(content), _) => all.push(Held {
                    kind,
                    name: name(&file.path),
                    file,
                    content,
                    watched: Watched::read(before),
                    refused: None,
                }),
                // Where addresses are is good to know, and no more.
                (Err(fault), None) if kind == Kind::Geo => {
                    refused.push((all.len(), fault));
                    all.push(Held {
                        kind,
                        name: name(&file.path),
                        file,
                        content: Content::Nothing,
                        watched: Watched::unread(before),
                        refused: None,
                    });
                }
                (Err(fault), None) => return Err(fault),
                (Err(fault), Some(held)) => {
                    refused.push((all.len(), fault));
                    all.push(Held {
                        watched: held.watched.seen(before),
                        ..held.clone()
                    });
                }
            }
        }
        for kind in [Kind::Assets, Kind::Identities] {
            check_room(kind, entries(&all, kind))?;
        }
        Ok(Change(all))
    }

    /// Reads the files that `config` names, to be put in force with [`Context::take`], and says why some were not read.
    ///
    /// # Errors
    /// As [`Context::start`], for files that are new. Others that cannot be used are told, and what they said stays.
    pub(crate) fn read_again(&self, config: &Config, handle: &Handle) -> Result<(Change, Vec<Fault>), Fault> {
        let mut refused = Vec::new();
        let mut change = self.again(config, &mut refused)?;
        for (at, fault) in &refused {
            if let Some(it) = change.0.get_mut(*at) {
                it.refuse(fault);
                it.count(handle);
            }
        }
        Ok((change, refused.into_iter().map(|(_, fault)| fault).collect()))
    }

    /// Puts `change` in force.
    pub(crate) fn take(&self, change: Change, handle: &Handle) {
        let is_kept = |kind: &str, name: &str| change.0.iter().any(|it| it.kind.name() == kind && &*it.name == name);
        handle
            .telemetry()
            .context()
            .retain(|(kind, name), _| is_kept(kind, name));
        self.put(change.0);
        self.tell(handle);
    }

    /// Looks at all files, and puts in force what has changed and stayed like that since the last look.
    pub(crate) fn look(&self, handle: &Handle) {
        let mut all = self.lock().clone();
        let mut changed = false;
        for at in 0..all.len() {
            let total = |kind| entries(&all, kind);
            let (assets, identities) = (total(Kind::Assets), total(Kind::Identities));
            let Some(it) = all.get_mut(at) else { continue };
            let others = match it.kind {
                Kind::Assets => assets,
                Kind::Identities => identities,
                Kind::Geo => it.content.len(),
            } - it.content.len();
            changed |= it.look(others, handle);
        }
        if changed {
            self.put(all);
        } else {
            *self.lock() = all;
        }
    }

    /// Says how the files stand.
    pub(crate) fn tell(&self, handle: &Handle) {
        self.lock().iter().for_each(|it| it.tell(handle));
    }

    fn put(&self, files: Vec<Held>) {
        let (mut assets, mut identities, mut geo) = (Vec::new(), Vec::new(), Vec::new());
        for it in &files {
            match &it.content {
                Content::Assets(entries) => assets.push(entries.clone()),
                Content::Identities(entries) => identities.push(entries.clone()),
                Content::Geo(database) => geo.push(database.clone()),
                Content::Nothing => {}
            }
        }
        let tables = Arc::new(Tables {
            assets: AssetTable::new(assets),
            identities: IdentityTable::new(&identities),
            geo,
        });
        *self.tables.write().unwrap_or_else(PoisonError::into_inner) = tables;
        *self.lock() = files;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Held>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entries(all: &[Held], kind: Kind) -> usize {
    let of_kind = all.iter().filter(|it| it.kind == kind);
    of_kind.map(|it| it.content.len()).sum()
}

impl Held {
    /// Takes over what the file says, when it has changed and has stayed like that since the last look. True when it
    /// was taken.
    fn look(&mut self, others: usize, handle: &Handle) -> bool {
        let now = stamp(&self.file.path);
        match self.watched.look(now) {
            Found::Nothing => return false,
            Found::Back => {
                // It was moved away and has come back as it was.
                self.refused = None;
                tracing::info!(file = %self.name, "the file is what it was when it was read");
                self.tell(handle);
                return false;
            }
            Found::Changed => {}
        }
        let read = read_one(self.kind, &self.file);
        let read = read.and_then(|it| check_room(self.kind, others + it.len()).map(|()| it));
        if stamp(&self.file.path) != now {
            return false;
        }
        match read {
            Ok(content) => {
                self.content = content;
                self.watched.take(now);
                self.refused = None;
                let (kind, entries) = (self.kind.name(), self.content.len());
                tracing::info!(file = %self.name, kind, entries, "a file of context was read again");
                self.tell(handle);
                true
            }
            Err(fault) => {
                self.refuse(&fault);
                self.count(handle);
                false
            }
        }
    }

    fn refuse(&mut self, fault: &Fault) {
        let why = fault.told();
        tracing::error!(
            file = %self.name,
            kind = self.kind.name(),
            why,
            hint = fault.advice(),
            entries = self.content.len(),
            "a file of context was refused whole; what it said before stays in force"
        );
        self.watched.refuse();
        self.refused = Some(why.into());
    }

    /// Counts that it was refused.
    fn count(&self, handle: &Handle) {
        {
            let mut context = handle.telemetry().context();
            let reading = context.entry((self.kind.name(), self.name.clone())).or_default();
            reading.refusals += 1;
        }
        self.tell(handle);
    }

    fn tell(&self, handle: &Handle) {
        let mut context = handle.telemetry().context();
        let reading = context.entry((self.kind.name(), self.name.clone())).or_default();
        reading.refused.clone_from(&self.refused);
        if self.refused.is_none() {
            *reading = ContextReading {
                entries: self.content.len() as u64,
                read_at: handle.now(),
                refused: None,
                refusals: reading.refusals,
            };
        }
    }
}

impl Knowledge for Context {
    fn current(&self) -> Arc<dyn Surroundings> {
        Arc::new(At {
            tables: self.tables.read().unwrap_or_else(PoisonError::into_inner).clone(),
            feeds: self.feeds.clone(),
            now: now(),
        })
    }
}

impl Surroundings for At {
    fn asset_at(&self, ip: std::net::IpAddr) -> Option<&Asset> {
        self.tables.assets.at(ip)
    }

    fn asset_named(&self, name: &str) -> Option<&Asset> {
        self.tables.assets.named(name)
    }

    fn identity(&self, account: &str) -> Option<&Identity> {
        self.tables.identities.get(account)
    }

    fn place(&self, ip: std::net::IpAddr) -> Place<'_> {
        geo::find(self.tables.geo.iter().map(|it| &**it), ip)
    }

    fn rating(&self, ip: std::net::IpAddr) -> Option<Rating> {
        let standing = self.feeds.as_ref()?.standing(&Target::Address(ip), self.now).ok()?;
        Some(standing.map_or_else(Rating::default, |it| Rating {
            score: it.score,
            confidence: Some(it.confidence),
        }))
    }
}

/// Pins the table of the context guard, unless it holds already. One without rows is not pinned in the place of none.
pub(crate) fn pin(handle: &Handle, table: Arc<ContextTable>) -> Result<(), Busy> {
    match handle.query(|state| state.context_table.clone())? {
        Some(it) if it == table => Ok(()),
        None if table.rows.is_empty() => Ok(()),
        _ => handle.set_context_table(table),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_an_entry_is_the_end_of_a_long_path() {
        assert_eq!(place("/etc/staunch/assets.yaml"), "/etc/staunch/assets.yaml");
        let long = "ä".repeat(100) + "/assets.yaml";
        let shown = place(&long);
        assert!(
            shown.len() <= SHOWN_BYTES_MAX && shown.ends_with("ä/assets.yaml"),
            "{shown}"
        );
    }
}
