//! The vaults, held to their contract; and the one in a directory, broken in every way we could think of.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use staunch_model::{EvidenceId, FailureKind, IncidentId, Sha256Hash, Taken, WriteOnce};
use staunch_ports::{SealedManifest, Vault};
use staunch_store::{DirVault, DirVaultOptions, FileHook, FileOp};
use staunch_testkit::MemoryVault;
use staunch_testkit::contract::vault::{
    self as contract, ARTEFACT_BYTES_MAX, LARGE_BYTES, Subject, artefact, draft, noise, record, store,
};

use crate::{quick_dir, temp_dir};

struct InDirectory {
    dir: tempfile::TempDir,
    vault: Option<Arc<dyn Vault>>,
    artefact_bytes_max: u64,
}

/// Without the immutable flag, because that would outlive the test.
fn options(artefact_bytes_max: u64) -> DirVaultOptions {
    DirVaultOptions {
        artefact_bytes_max,
        is_immutable: false,
        hook: None,
        ..DirVaultOptions::default()
    }
}

fn open(dir: &Path) -> DirVault {
    DirVault::open(dir, options(ARTEFACT_BYTES_MAX)).expect("the vault opens")
}

impl InDirectory {
    fn new(artefact_bytes_max: u64) -> Self {
        Self::within(temp_dir(), artefact_bytes_max)
    }

    fn within(dir: tempfile::TempDir, artefact_bytes_max: u64) -> Self {
        let mut it = Self {
            dir,
            vault: None,
            artefact_bytes_max,
        };
        it.reopen();
        it
    }
}

impl Subject for InDirectory {
    fn vault(&self) -> Arc<dyn Vault> {
        Arc::clone(self.vault.as_ref().expect("it is open"))
    }

    fn reopen(&mut self) {
        self.vault = None;
        let vault = DirVault::open(self.dir.path(), options(self.artefact_bytes_max)).expect("the vault opens");
        self.vault = Some(Arc::new(vault));
    }

    fn damage(&self, artefact: Sha256Hash) {
        flip(&self.dir.path().join(DirVault::object_name(artefact)));
    }

    fn unfinished(&self) -> usize {
        files(&self.dir.path().join("tmp")).len()
    }
}

struct InMemory(MemoryVault);

impl Subject for InMemory {
    fn vault(&self) -> Arc<dyn Vault> {
        Arc::new(self.0.clone())
    }

    fn reopen(&mut self) {}

    fn damage(&self, artefact: Sha256Hash) {
        self.0.damage(artefact);
    }

    fn unfinished(&self) -> usize {
        0
    }
}

/// Changes a byte in the middle of a file, whatever its permissions are.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("it is there");
    let at = bytes.len() / 2;
    bytes[at] ^= 0x10;
    fs::remove_file(path).expect("the directory is ours");
    fs::write(path, bytes).expect("the directory is ours");
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).expect("it is a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push(path);
        }
    }
    all.sort();
    all
}

#[test]
fn a_directory_keeps_the_contract() {
    contract::vault(|| Box::new(InDirectory::new(ARTEFACT_BYTES_MAX)));
}

#[test]
fn memory_keeps_the_contract() {
    contract::vault(|| Box::new(InMemory(MemoryVault::new(ARTEFACT_BYTES_MAX))));
}

#[test]
fn a_directory_takes_many_small_artefacts() {
    // In memory where there is a place for it: each artefact is synced four times, which is minutes on a disk.
    contract::many_small(&mut InDirectory::within(quick_dir(), ARTEFACT_BYTES_MAX));
}

#[test]
fn a_directory_takes_a_large_artefact_in_bounded_memory() {
    contract::bounded_memory(&InDirectory::new(LARGE_BYTES));
}

#[test]
fn what_is_sealed_is_for_its_owner_to_read() {
    let dir = temp_dir();
    let vault = open(dir.path());
    let sealed = store(&vault, 3, 17, b"evidence");
    let hash = vault.put_record(&record(&sealed)).expect("it is stored");
    let names = [
        DirVault::object_name(artefact(&sealed)),
        "manifests/INC-3/EV-17/00000001.json".to_owned(),
        format!("records/INC-3/EV-17/{hash}.json"),
    ];
    for name in &names {
        let path = dir.path().join(name);
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o400, "{name}");
        assert_eq!(mode(path.parent().expect("it is in one")), 0o700, "{name}");
    }
    let manifest = fs::read(dir.path().join(&names[1])).expect("it is there");
    assert_eq!(Sha256Hash::of(&manifest), sealed.hash, "sha256sum tells the same");
    let Taken::Stored { storage, .. } = &sealed.manifest.taken else {
        panic!("it was stored: {sealed:?}");
    };
    let stored = fs::read(dir.path().join(&names[0])).expect("it is there");
    assert_eq!(
        (storage.size, storage.sha256),
        (stored.len() as u64, Sha256Hash::of(&stored))
    );
    assert_eq!(storage.path.as_ref(), names[0]);
    assert_eq!(storage.write_once, WriteOnce::Permissions);
    assert_eq!(zstd::decode_all(&stored[..]).expect("zstdcat reads it"), b"evidence");
}

#[test]
fn one_process_writes_and_others_read() {
    let dir = temp_dir();
    let vault = open(dir.path());
    let sealed = store(&vault, 1, 1, b"x");
    let second = DirVault::open(dir.path(), options(1)).expect_err("somebody writes");
    assert_eq!(second.kind, FailureKind::Conflict);
    let reader = DirVault::read_only(dir.path());
    let mut bytes = Vec::new();
    io::copy(&mut reader.open(artefact(&sealed)).expect("it is there"), &mut bytes).expect("it is whole");
    assert_eq!(bytes, b"x");
    assert_eq!(reader.begin(None).err().map(|it| it.kind), Some(FailureKind::Denied));
    assert_eq!(reader.check().err().map(|it| it.kind), Some(FailureKind::Denied));
    drop(vault);
    open(dir.path());
}

/// What a manifest says of the immutable flag is read from the file itself.
#[test]
fn the_immutable_flag_is_set_where_there_is_one() {
    let dir = temp_dir();
    let options = DirVaultOptions {
        is_immutable: true,
        ..options(ARTEFACT_BYTES_MAX)
    };
    let vault = DirVault::open(dir.path(), options.clone()).expect("the vault opens");
    let found = vault.check().expect("it can be used");
    let sealed = store(&vault, 1, 1, b"evidence");
    let again = store(&vault, 1, 1, b"evidence");
    let hash = vault.put_record(&record(&sealed)).expect("it is stored");
    assert_eq!(vault.put_record(&record(&sealed)), Ok(hash));
    let missed = staunch_model::Failure::new(FailureKind::Denied, "no permission");
    vault.put_missed(draft(1, 1, "x"), missed).expect("it is stored");
    drop(vault);
    let vault = DirVault::open(dir.path(), options).expect("the vault opens");
    assert_eq!(store(&vault, 1, 1, b"more").manifest.sequence, 4);
    let all: Vec<_> = files(dir.path())
        .into_iter()
        .filter(|it| !it.ends_with("lock"))
        .collect();
    assert_eq!(all.len(), 7);
    for path in &all {
        let file = fs::File::open(path).expect("it is ours to read");
        let flags = ioctl_getflags(&file);
        let is_frozen = flags.is_ok_and(|flags| flags.contains(IFlags::IMMUTABLE));
        assert_eq!(is_frozen, found == WriteOnce::ImmutableFlag, "{}", path.display());
        if is_frozen {
            assert!(
                fs::OpenOptions::new().append(true).open(path).is_err(),
                "{}",
                path.display()
            );
            assert!(fs::remove_file(path).is_err(), "{}", path.display());
            let flags = ioctl_getflags(&file).expect("it has flags");
            ioctl_setflags(&file, flags - IFlags::IMMUTABLE).expect("who sets it can take it away");
        }
    }
    for it in [&sealed, &again] {
        let Taken::Stored { storage, .. } = &it.manifest.taken else {
            panic!("it was stored: {it:?}");
        };
        assert_eq!(storage.write_once, found);
    }
    if found != WriteOnce::ImmutableFlag {
        staunch_testkit::skip(
            "vault::the_immutable_flag_is_set_where_there_is_one",
            "no immutable flag here",
        );
    }
}

/// Lets so many changes of the directory happen, and none after them: what is there then is what a killed process
/// leaves.
pub(crate) struct Cut {
    left: AtomicUsize,
    kind: io::ErrorKind,
    pub(crate) last: Mutex<String>,
}

impl Cut {
    pub(crate) fn after(changes: usize, kind: io::ErrorKind) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicUsize::new(changes),
            kind,
            last: Mutex::default(),
        })
    }
}

impl FileHook for Cut {
    fn before(&self, op: &FileOp<'_>) -> io::Result<()> {
        let counted = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if counted.is_err() {
            let mut last = self.last.lock().expect("nothing panics in here");
            if last.is_empty() {
                *last = format!("{op:?}");
            }
            return Err(self.kind.into());
        }
        Ok(())
    }
}

/// Stores two artefacts, one of them twice, and their record.
fn collect(vault: &dyn Vault) -> Result<SealedManifest, staunch_model::Failure> {
    let mut last = None;
    for bytes in [noise(1, 300_000), b"small".to_vec(), b"small".to_vec()] {
        let mut deposit = vault.begin(None)?;
        // An error of it comes back from sealing.
        let _ = deposit.write_all(&bytes);
        last = Some(deposit.seal(draft(1, 1, "artefact"))?);
    }
    let last = last.expect("there are three");
    vault.put_record(&record(&last))?;
    Ok(last)
}

#[test]
fn a_crash_at_any_change_leaves_what_can_be_gone_on_with() {
    let mut cuts = 0;
    for changes in 0.. {
        let dir = temp_dir();
        let hook = Cut::after(changes, io::ErrorKind::Other);
        let with_hook = DirVaultOptions {
            hook: Some(Arc::<Cut>::clone(&hook)),
            ..options(ARTEFACT_BYTES_MAX)
        };
        let done = DirVault::open(dir.path(), with_hook).and_then(|vault| collect(&vault));
        let at = hook.last.lock().expect("nothing panics in here").clone();
        let vault = open(dir.path());
        assert!(files(&dir.path().join("tmp")).is_empty(), "{at}");
        let before = check_whole(&vault, dir.path(), &at);
        if done.is_ok() {
            assert_eq!(before, 3);
            break;
        }
        collect(&vault).unwrap_or_else(|failure| panic!("{at}: {failure}"));
        assert_eq!(check_whole(&vault, dir.path(), &at), before + 3, "{at}");
        cuts += 1;
    }
    assert!(cuts > 40, "only {cuts} changes were cut off");
}

/// The names that a power failure could take away: made, and their directory not synced since.
#[derive(Default)]
struct Names(Mutex<BTreeSet<String>>);

impl Names {
    /// As after the death of a process of which nothing is known: any name may be lost.
    fn unknown(dir: &Path) -> Arc<Self> {
        let mut names = BTreeSet::new();
        let mut dirs = vec![dir.to_owned()];
        while let Some(next) = dirs.pop() {
            for entry in fs::read_dir(next).expect("a directory").map(|it| it.expect("an entry")) {
                let path = entry.path();
                let name = path.strip_prefix(dir).expect("it is below").to_str().expect("a name");
                names.insert(name.to_owned());
                dirs.extend(path.is_dir().then_some(path));
            }
        }
        Arc::new(Self(Mutex::new(names)))
    }

    /// Those on the way to `name`.
    fn lost(&self, name: &str) -> Vec<String> {
        let names = self.0.lock().expect("nothing panics in here");
        let is_above = |above: &&String| name == *above || name.starts_with(&format!("{above}/"));
        names.iter().filter(is_above).cloned().collect()
    }
}

impl FileHook for Names {
    fn before(&self, op: &FileOp<'_>) -> io::Result<()> {
        let mut names = self.0.lock().expect("nothing panics in here");
        match op {
            FileOp::MakeDir { name } | FileOp::Create { name } | FileOp::Link { to: name, .. } => {
                names.insert((*name).to_owned());
            }
            FileOp::Remove { name } => {
                names.remove(*name);
            }
            FileOp::SyncDir { name } => names.retain(|it| it.rsplit_once('/').map_or("", |(above, _)| above) != *name),
            _ => {}
        }
        Ok(())
    }
}

#[test]
fn what_is_sealed_has_durable_names_up_to_the_root() {
    let dir = temp_dir();
    let hooked = |names: &Arc<Names>| DirVaultOptions {
        hook: Some(Arc::<Names>::clone(names)),
        ..options(ARTEFACT_BYTES_MAX)
    };
    let mut names = Arc::new(Names::default());
    // Then as a process that has taken over a directory whose maker was killed.
    for bytes in [b"one".as_slice(), b"two", b"one"] {
        let vault = DirVault::open(dir.path(), hooked(&names)).expect("the vault opens");
        let sealed = store(&vault, 1, 1, bytes);
        let sequence = sealed.manifest.sequence;
        let object = DirVault::object_name(artefact(&sealed));
        let hash = vault.put_record(&record(&sealed)).expect("it is stored");
        for name in [
            object,
            format!("manifests/INC-1/EV-1/{sequence:08}.json"),
            format!("records/INC-1/EV-1/{hash}.json"),
        ] {
            assert!(dir.path().join(&name).exists(), "{name}");
            assert_eq!(names.lost(&name), [""; 0], "{name} could be lost with these");
        }
        drop(vault);
        names = Names::unknown(dir.path());
        assert_ne!(names.lost("manifests/INC-1/EV-1"), [""; 0]);
    }
}

/// Everything that has a name is whole; how many manifests there are.
fn check_whole(vault: &DirVault, dir: &Path, at: &str) -> usize {
    let mut count = 0;
    let mut previous = None;
    let visit = &mut |it: SealedManifest| {
        count += 1;
        assert_eq!(
            (it.manifest.sequence, it.manifest.previous),
            (count as u64, previous),
            "{at}"
        );
        previous = Some(it.hash);
        let mut reader = vault.open(artefact(&it)).expect("it is there");
        io::copy(&mut reader, &mut io::sink()).unwrap_or_else(|error| panic!("{at}: {error}"));
        std::ops::ControlFlow::Continue(())
    };
    vault
        .manifests(IncidentId(1), visit)
        .unwrap_or_else(|failure| panic!("{at}: {failure}"));
    let mut seen = |_| std::ops::ControlFlow::Continue(());
    vault
        .records(IncidentId(1), &mut seen)
        .unwrap_or_else(|failure| panic!("{at}: {failure}"));
    for path in files(&dir.join("objects")) {
        let name = path.file_stem().and_then(|it| it.to_str()).expect("a name").to_owned();
        let bytes = zstd::decode_all(fs::File::open(&path).expect("it is there")).expect("it is whole");
        assert_eq!(Sha256Hash::of(&bytes).to_string(), name, "{at}");
    }
    count
}

#[test]
fn a_full_disk_is_told_as_one_and_leaves_nothing() {
    let mut full = 0;
    for changes in 4.. {
        let dir = temp_dir();
        let vault = open(dir.path());
        drop(vault);
        let hook = Cut::after(changes, io::ErrorKind::StorageFull);
        let with_hook = DirVaultOptions {
            hook: Some(hook),
            ..options(ARTEFACT_BYTES_MAX)
        };
        let vault = DirVault::open(dir.path(), with_hook).expect("the vault opens");
        match collect(&vault) {
            Ok(_) => break,
            Err(failure) => assert_eq!(failure.kind, FailureKind::Full, "{failure}"),
        }
        full += 1;
    }
    assert!(full > 20, "only {full} changes failed");
}

#[test]
fn what_is_left_of_a_manifest_is_reported_and_the_rest_is_shown() {
    let dir = temp_dir();
    let vault = open(dir.path());
    let all: Vec<_> = (0..3_u8).map(|it| store(&vault, 1, 1, &[it])).collect();
    flip(&dir.path().join("manifests/INC-1/EV-1/00000002.json"));
    let mut seen = Vec::new();
    let visit = &mut |it: SealedManifest| {
        seen.push(it.manifest.sequence);
        std::ops::ControlFlow::Continue(())
    };
    // Whatever the byte was, the manifest is not the one that was sealed: either it cannot be read, or the chain shows
    // it.
    let shown = vault.manifests(IncidentId(1), visit);
    assert!(shown.is_err() || seen == [1, 2, 3]);
    assert!(seen.contains(&1) && seen.contains(&3));
    let hash = vault.put_record(&record(&all[0])).expect("it is stored");
    flip(&dir.path().join(format!("records/INC-1/EV-1/{hash}.json")));
    let failure = vault
        .record(IncidentId(1), EvidenceId(1), hash)
        .expect_err("it was changed");
    assert_eq!(failure.kind, FailureKind::Conflict);
    // And evidence can still be stored.
    assert_eq!(store(&vault, 1, 1, b"more").manifest.sequence, 4);
}

#[test]
fn links_and_pipes_in_a_vault_are_not_followed() {
    let dir = temp_dir();
    let vault = open(dir.path());
    let sealed = store(&vault, 1, 1, b"evidence");
    let path = dir.path().join(DirVault::object_name(artefact(&sealed)));
    let aside = dir.path().join("aside");
    fs::rename(&path, &aside).expect("the directory is ours");
    std::os::unix::fs::symlink(&aside, &path).expect("the directory is ours");
    assert!(vault.open(artefact(&sealed)).is_err());
}
