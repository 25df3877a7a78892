//! Files that list what is never touched: read at the start, and again when they change.
//!
//! Never takes a part of a file, and never lets a file that cannot be used take away what it protected before.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::Path;

use staunch_connectors::lists::{FILE_BYTES_MAX, plain, provided};
use staunch_connectors::ranges::Filter;
use staunch_engine::limits::LISTED_NETWORKS_MAX;
use staunch_engine::lists::{Changes, List};
use staunch_model::{Printable, Timestamp};
use staunch_runtime::telemetry::ListReading;
use staunch_runtime::{Busy, Handle};
use staunch_server::{Stamp, stamp};

use crate::config::{Config, ProtectedFile};
use crate::exit::{Exit, Fault};
use crate::files::open_regular;
use crate::watched::{Found, Watched};

/// The lists of a configuration, by the paths of their files.
pub(crate) type Lists = BTreeMap<Box<str>, List>;

/// Reads every list of `config`.
///
/// # Errors
/// The first file that cannot be used.
pub(crate) fn read(config: &Config) -> Result<Lists, Fault> {
    let mut lists = Lists::new();
    for file in &config.never_touch.files {
        lists.insert(name(&file.path), read_one(file)?);
    }
    check_room(lists.values().map(List::len).sum())?;
    Ok(lists)
}

/// Reads one list.
///
/// # Errors
/// Why it cannot be used, and what to do about it.
pub(crate) fn read_one(file: &ProtectedFile) -> Result<List, Fault> {
    let name = name(&file.path);
    let unreadable = |error: &io::Error| {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Usage,
        };
        Fault::doing(exit, format!("cannot read the list {name}"), error)
            .hint("mend it, or take it out of [[never_touch.files]]")
    };
    let mut bytes = Vec::new();
    let opened = open_regular(&file.path).map_err(|error| unreadable(&error))?;
    let mut opened = opened.take(FILE_BYTES_MAX + 1);
    opened.read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let what = format!("the list {name} has more than {FILE_BYTES_MAX} bytes");
        return Err(Fault::new(Exit::Usage, what).hint("is it the right file?"));
    }
    let filter = Filter {
        services: file.services.clone(),
        regions: file.regions.clone(),
    };
    let listed = match file.format.provider() {
        Some(provider) => provided(provider, &bytes, &filter, LISTED_NETWORKS_MAX),
        None => plain(&bytes, LISTED_NETWORKS_MAX),
    };
    let listed = listed.map_err(|invalid| {
        let at = invalid.line.map_or_else(String::new, |line| format!(", line {line}"));
        Fault::new(Exit::Usage, format!("the list {name}{at}: {}", invalid.what)).hint(invalid.hint)
    })?;
    let list = List::new(&Printable(&file.reason).to_string(), listed);
    check_room(list.len())?;
    Ok(list)
}

fn check_room(networks: usize) -> Result<(), Fault> {
    if networks <= LISTED_NETWORKS_MAX {
        return Ok(());
    }
    let what = format!("the lists of [[never_touch.files]] have {networks} networks, at most {LISTED_NETWORKS_MAX}");
    Err(Fault::new(Exit::Usage, what).hint("wider networks say the same in fewer lines"))
}

/// What a file is called in the record, in refusals and in metrics.
pub(crate) fn name(path: &Path) -> Box<str> {
    Printable(&path.display().to_string()).to_string().into()
}

/// The lists of a running server.
pub(crate) struct Watch {
    files: Vec<Listing>,
}

/// A file whose list is in force.
struct Listing {
    file: ProtectedFile,
    name: Box<str>,
    watched: Watched,
    networks: usize,
}

impl Listing {
    /// Reads `file`, with what it was like before that: what is written meanwhile is read at the next look.
    fn read(file: &ProtectedFile) -> Result<(Self, List), Fault> {
        let before = stamp(&file.path);
        let list = read_one(file)?;
        let listing = Self {
            file: file.clone(),
            name: name(&file.path),
            watched: Watched::read(before),
            networks: list.len(),
        };
        Ok((listing, list))
    }

    fn tell_in_force(&self, handle: &Handle) {
        tell(handle, &self.name, |it| {
            it.networks = self.networks as u64;
            it.read_at = handle.now();
            it.refused = None;
        });
    }

    fn refuse(&mut self, fault: &Fault, handle: &Handle) {
        self.watched.refuse();
        let why = fault.told();
        tracing::error!(
            list = %self.name,
            why,
            hint = fault.advice(),
            networks = self.networks,
            "a list of what is never touched was refused whole; what it said before stays in force"
        );
        tell(handle, &self.name, |it| {
            it.refused = Some(why.as_str().into());
            it.refusals += 1;
        });
    }
}

/// What is read of new files, to be put in force.
pub(crate) struct Change {
    watch: Watch,
    lists: Lists,
    refused: Vec<Fault>,
}

impl Watch {
    /// Reads the files of `config`.
    ///
    /// # Errors
    /// The first one that cannot be used.
    pub(crate) fn start(config: &Config) -> Result<(Self, Lists), Fault> {
        let nothing = Self { files: Vec::new() };
        let mut refused = Vec::new();
        let Change { watch, lists, .. } = nothing.again(config, &mut refused)?;
        Ok((watch, lists))
    }

    /// Says how the files stand, once they are in force.
    pub(crate) fn tell(&self, handle: &Handle) {
        self.files.iter().for_each(|it| it.tell_in_force(handle));
    }

    /// Reads the files that `config` names. One that cannot be used and whose list is in force goes into `refused`.
    ///
    /// # Errors
    /// The first one that cannot be used and was not in force: what it is to protect would be missing.
    fn again(&self, config: &Config, refused: &mut Vec<(usize, Fault)>) -> Result<Change, Fault> {
        let mut change = Change {
            watch: Self { files: Vec::new() },
            lists: Lists::new(),
            refused: Vec::new(),
        };
        for file in &config.never_touch.files {
            let known = self.files.iter().find(|it| it.file.path == file.path);
            match (Listing::read(file), known) {
                (Ok((watched, list)), _) => {
                    change.lists.insert(watched.name.clone(), list);
                    change.watch.files.push(watched);
                }
                (Err(fault), None) => return Err(fault),
                (Err(fault), Some(known)) => {
                    refused.push((change.watch.files.len(), fault));
                    change.watch.files.push(Listing {
                        file: file.clone(),
                        name: known.name.clone(),
                        watched: known.watched.seen(stamp(&file.path)),
                        networks: known.networks,
                    });
                }
            }
        }
        check_room(change.watch.files.iter().map(|it| it.networks).sum())?;
        Ok(change)
    }

    /// Reads the files that `config` names, to be put in force with [`Watch::take`].
    ///
    /// # Errors
    /// As [`Watch::start`], for files that are new. Others that cannot be used are told, and what they said stays.
    pub(crate) fn read_again(&self, config: &Config, handle: &Handle) -> Result<Change, Fault> {
        let mut refused = Vec::new();
        let mut change = self.again(config, &mut refused)?;
        for (at, fault) in refused {
            if let Some(it) = change.watch.files.get_mut(at) {
                it.refuse(&fault, handle);
            }
            change.refused.push(fault);
        }
        Ok(change)
    }

    /// Protects what `change` lists, beside all that was listed before.
    ///
    /// # Errors
    /// [`Busy`]: a part of it may be in force.
    pub(crate) fn protect(&self, change: &Change, handle: &Handle) -> Result<(), Busy> {
        let changes = change.missing(handle)?;
        changes.first.into_iter().try_for_each(|part| handle.change_list(part))
    }

    /// Puts `change` in force: lists that it does not have are listed no longer.
    ///
    /// # Errors
    /// [`Busy`]: a part of it may be in force.
    pub(crate) fn take(&mut self, change: Change, handle: &Handle) -> Result<(), Busy> {
        put(change.missing(handle)?, handle)?;
        let gone = std::mem::replace(&mut self.files, change.watch.files);
        for it in gone {
            if !self.files.iter().any(|kept| kept.name == it.name) {
                forget(handle, &it.name);
            }
        }
        for it in self.files.iter().filter(|it| !it.watched.is_refused()) {
            it.tell_in_force(handle);
        }
        Ok(())
    }

    /// Looks at all files, and puts in force what has changed and stayed like that since the last look.
    pub(crate) fn look(&mut self, handle: &Handle) {
        let mut networks: Vec<_> = self.files.iter().map(|it| it.networks).collect();
        let mut changed = Vec::new();
        for (at, it) in self.files.iter_mut().enumerate() {
            let others = networks.iter().enumerate().filter(|(other, _)| *other != at);
            let others = others.map(|(_, count)| count).sum();
            if let Some((stamp, list)) = it.look(others, handle)
                && let Some(count) = networks.get_mut(at)
            {
                *count = list.len();
                changed.push((it, stamp, list));
            }
        }
        if changed.is_empty() {
            return;
        }
        let lists = changed.iter().map(|(it, _, list)| (&*it.name, Some(list)));
        if let Err(error) = missing(lists, handle).and_then(|changes| put(changes, handle)) {
            for (it, _, _) in changed {
                tracing::error!(list = %it.name, %error, "the list was not put in force; it is tried again");
            }
            return;
        }
        for (it, stamp, list) in changed {
            it.watched.take(stamp);
            it.networks = list.len();
            tracing::info!(list = %it.name, networks = it.networks, "a list of what is never touched was read again");
            it.tell_in_force(handle);
        }
    }
}

impl Listing {
    /// What the file says, when it has changed and has stayed like that since the last look.
    fn look(&mut self, others: usize, handle: &Handle) -> Option<(Stamp, List)> {
        let now = stamp(&self.file.path);
        match self.watched.look(now) {
            Found::Nothing => return None,
            Found::Back => {
                // It was moved away and has come back as it was.
                tracing::info!(list = %self.name, "the list is what it was when it was read");
                self.tell_in_force(handle);
                return None;
            }
            Found::Changed => {}
        }
        let list = read_one(&self.file).and_then(|list| check_room(others + list.len()).map(|()| list));
        if stamp(&self.file.path) != now {
            return None;
        }
        match list {
            Ok(list) => Some((now, list)),
            Err(fault) => {
                self.refuse(&fault, handle);
                None
            }
        }
    }
}

impl Change {
    /// How many networks are listed with it.
    pub(crate) fn networks(&self) -> usize {
        self.watch.files.iter().map(|it| it.networks).sum()
    }

    /// Why lists that are in force were not read again.
    pub(crate) fn refused(&self) -> &[Fault] {
        &self.refused
    }

    /// What is in force otherwise than it says.
    fn missing(&self, handle: &Handle) -> Result<Changes, Busy> {
        // Those that are in force are asked for: after an error they are not what was taken last.
        let known: Vec<Box<str>> = handle.query(|state| state.lists.iter().map(|(path, _)| path.into()).collect())?;
        let kept = |path: &str| self.watch.files.iter().any(|it| &*it.name == path);
        let gone = known.iter().filter(|path| !kept(path)).map(|path| (&**path, None));
        let lists = self.lists.iter().map(|(path, list)| (&**path, Some(list)));
        missing(lists.chain(gone), handle)
    }
}

/// What makes each of `lists` what it is to be; `None` for one that goes.
fn missing<'a>(lists: impl Iterator<Item = (&'a str, Option<&'a List>)>, handle: &Handle) -> Result<Changes, Busy> {
    let mut changes = Changes::default();
    for (name, after) in lists {
        let owned = name.to_owned();
        // What is in force is asked for each time: after an error that is not what was read last.
        let before = handle.query(move |state| state.lists.get(&owned).cloned())?;
        changes.add(name, before.as_ref(), after);
    }
    Ok(changes)
}

/// Puts `changes` in force, part by part.
fn put(changes: Changes, handle: &Handle) -> Result<(), Busy> {
    changes.in_order().try_for_each(|part| handle.change_list(part))
}

fn tell(handle: &Handle, name: &str, change: impl FnOnce(&mut ListReading)) {
    let mut lists = handle.telemetry().lists();
    change(lists.entry(name.into()).or_insert_with(|| ListReading {
        networks: 0,
        read_at: Timestamp::EPOCH,
        refused: None,
        refusals: 0,
    }));
}

fn forget(handle: &Handle, name: &str) {
    handle.telemetry().lists().remove(name);
}
