//! What `verify_evidence` finds in a folder that somebody has tampered with: exactly that, and nothing beside it.

mod folder;
mod handling;
mod signatures;

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;

use staunch_model::{LogEntry, Logged, Manifest, Taken};
use staunch_ports::Vault as _;
use staunch_store::vault::logged::{Logbook, logged_in};
use staunch_store::vault::{EvidenceFolder, EvidenceSummary, Finding, HandlingLog, Unlogged, verify_evidence};
use staunch_store::{DirVault, DirVaultOptions, LogKey, LogReader, LogVerifier, SegmentJournal, TransparencyLog};
use staunch_testkit::contract::vault::{record, store};

use self::folder::{Folder, copy, flip, open_log, put, remove};
use crate::{ORIGIN, append_ok, log_key, small, with_epoch};

#[test]
fn an_untouched_folder_is_whole() {
    let folder = Folder::new();
    let (summary, findings) = folder.verify_with(&log_key().verifier(), Some(&folder.earlier));
    assert_eq!(findings, []);
    let checkpoint = summary.checkpoint.as_ref().expect("it is proved");
    assert_eq!((checkpoint.size, summary.entries), (314, 314));
    assert_eq!((summary.manifests, summary.records, summary.artefacts), (310, 2, 310));
    assert_eq!(summary.bytes, 308 * 50 + 500_000 + 8);
    assert!(summary.continues_earlier);
    // Against itself.
    let now = fs::read_to_string(folder.path("log/checkpoint")).expect("it is there");
    assert_eq!(folder.verify_with(&log_key().verifier(), Some(&now)).1, []);
    let (summary, findings) = folder.verify_with(&log_key().verifier(), None);
    assert!(findings.is_empty() && !summary.continues_earlier);
    // As a copy, by somebody who has the public key as text.
    let copied = folder.path("copied");
    for name in ["vault", "log"] {
        copy(&folder.path(name), &copied.join(name));
    }
    let key = LogVerifier::parse(&log_key().verifier().to_string()).expect("it is a key");
    let copy = EvidenceFolder {
        bucket: None,
        vault: &copied.join("vault"),
        log: &copied.join("log"),
        handling: &HandlingLog::in_folder(&copied),
        journal: None,
        key: &key,
        earlier: None,
    };
    let summary = verify_evidence(&copy, &mut |_| (), &mut |finding| panic!("{finding}"));
    assert_eq!(summary.entries, 314);
}

#[test]
fn an_artefact_is_not_unpacked_beyond_what_its_manifest_says() {
    let folder = Folder::new();
    let bomb = zstd::encode_all(&*vec![0; 64 << 20], 1).expect("it is packed");
    put(&folder.objects[0], &bomb);
    match folder.only() {
        Finding::ArtefactChanged { what, .. } => {
            assert!(what.contains("more than the 500000 bytes of its manifest"), "{what}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_changed_byte_of_an_artefact_is_found_wherever_it_is() {
    let folder = Folder::new();
    let object = &folder.objects[0];
    let sound = fs::read(object).expect("it is there");
    let name = || {
        object
            .strip_prefix(folder.path("vault"))
            .expect("it is below")
            .display()
            .to_string()
    };
    let changed = |what: &str| match folder.only() {
        Finding::ArtefactChanged { name: found, .. } => assert_eq!(found, name(), "{what}"),
        other => panic!("{what}: {other}"),
    };
    for at in [0, 4, 5, sound.len() / 2, sound.len() - 1] {
        flip(object, at);
        changed(&format!("byte {at}"));
        put(object, &sound);
    }
    put(object, &sound[..sound.len() - 1]);
    changed("cut");
    // A frame that decompressors pass over.
    put(object, &[&sound[..], &[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7]].concat());
    changed("longer");
    put(object, &zstd::encode_all(&b"another"[..], 3).expect("it is compressed"));
    changed("another");
    put(object, &sound);
    assert_eq!(folder.verify(), []);
}

#[test]
fn a_removed_artefact_is_found() {
    let folder = Folder::new();
    remove(&folder.objects[1]);
    assert!(
        matches!(folder.only(), Finding::ArtefactRemoved { manifest, .. } if manifest.ends_with("EV-9/00000001.json"))
    );
}

#[test]
fn a_changed_or_removed_manifest_or_record_is_found() {
    for at in [0, 100, 300] {
        let folder = Folder::new();
        flip(&folder.path("vault/manifests/INC-1/EV-0/00000033.json"), at);
        assert!(matches!(folder.only(), Finding::Changed { .. }), "byte {at}");
    }
    for name in [
        "INC-1/EV-0/00000001.json",
        "INC-1/EV-0/00000033.json",
        "INC-1/EV-9/00000001.json",
    ] {
        let folder = Folder::new();
        let name = format!("manifests/{name}");
        remove(&folder.path("vault").join(&name));
        assert!(
            matches!(folder.only(), Finding::Removed { name: found, .. } if found == name),
            "{name}"
        );
    }
    let folder = Folder::new();
    flip(&folder.record, 200);
    assert!(matches!(folder.only(), Finding::Changed { .. }));
    remove(&folder.record);
    assert!(matches!(folder.only(), Finding::Removed { .. }));
}

#[test]
fn a_changed_or_removed_file_of_the_log_is_found_and_named() {
    let names = [
        "tile/entries/000",
        "tile/0/000",
        "tile/entries/001.p/58",
        "tile/0/001.p/58",
        "tile/1/000.p/1",
    ];
    for name in names {
        let folder = Folder::new();
        let path = folder.path("log").join(name);
        flip(&path, 20);
        assert_eq!(folder.only(), Finding::LogFileChanged { name: name.to_owned() });
        remove(&path);
        assert_eq!(folder.only(), Finding::LogFileMissing { name: name.to_owned() });
    }
}

#[test]
fn a_tile_that_a_wider_one_has_superseded_is_its_beginning_or_gone() {
    let folder = Folder::new();
    let mut found = 0;
    for dir in ["tile/entries/001.p", "tile/0/001.p"] {
        for width in fs::read_dir(folder.path("log").join(dir)).expect("it is there") {
            let width = width.expect("an entry").file_name();
            if width == "58" {
                continue;
            }
            found += 1;
            let name = format!("{dir}/{}", width.display());
            let path = folder.path("log").join(&name);
            let sound = fs::read(&path).expect("it is there");
            for changed in [&[&[1][..], &sound].concat(), &sound[..sound.len() - 1], &[]] {
                put(&path, changed);
                let name = name.clone();
                assert_eq!(folder.only(), Finding::LogFileChanged { name });
            }
            remove(&path);
            assert_eq!(folder.verify(), [], "nothing was in it that is not in the wider one");
            put(&path, &sound);
        }
    }
    assert!(found > 2, "{found} were looked at");
}

#[test]
fn a_changed_checkpoint_is_found() {
    let folder = Folder::new();
    let path = folder.path("log/checkpoint");
    for at in [0, 22, 40, 130] {
        let sound = fs::read(&path).expect("it is there");
        flip(&path, at);
        assert!(
            matches!(folder.only(), Finding::CheckpointNotProved { .. }),
            "byte {at}"
        );
        put(&path, &sound);
    }
    remove(&path);
    assert_eq!(folder.only(), Finding::CheckpointMissing);
}

/// What a vault shows by itself, when nothing of its log is left.
#[test]
fn a_gap_in_a_chain_of_manifests_is_found_without_a_log() {
    for (removed, follows) in [("00000001", "00000002"), ("00000033", "00000034")] {
        let folder = Folder::new();
        remove(&folder.path("log/checkpoint"));
        let dir = "manifests/INC-1/EV-0";
        remove(&folder.path("vault").join(format!("{dir}/{removed}.json")));
        let findings = folder.verify();
        let name = format!("{dir}/{follows}.json");
        let artefact = &findings[2];
        assert_eq!(
            findings[..2],
            [Finding::CheckpointMissing, Finding::ChainBroken { name }]
        );
        assert!(
            matches!(artefact, Finding::Unreferenced { .. }) && findings.len() == 3,
            "{findings:#?}"
        );
    }
    // One that was put in place of another, with a number that fits.
    let folder = Folder::new();
    remove(&folder.path("log/checkpoint"));
    let dir = folder.path("vault/manifests/INC-1/EV-0");
    let text = fs::read_to_string(dir.join("00000005.json")).expect("it is there");
    put(&dir.join("00000005.json"), text.replace("web-1", "web-2").as_bytes());
    let name = "manifests/INC-1/EV-0/00000006.json".to_owned();
    assert_eq!(
        folder.verify(),
        [Finding::CheckpointMissing, Finding::ChainBroken { name }]
    );
}

/// The last entry, with the tile that it was in, is taken away; or the checkpoint is put back to before it as well.
#[test]
fn a_removed_last_entry_is_found() {
    let folder = Folder::new();
    let bundle = fs::read(folder.path("log/tile/entries/001.p/58")).expect("it is there");
    let mut at = 0;
    for _ in 0..57 {
        at += 2 + usize::from(u16::from_be_bytes([bundle[at], bundle[at + 1]]));
    }
    put(&folder.path("log/tile/entries/001.p/58"), &bundle[..at]);
    let name = "tile/entries/001.p/58".to_owned();
    assert_eq!(folder.only(), Finding::LogFileChanged { name });
}

/// The log is put back to what it was, and is whole in itself.
#[test]
fn a_log_that_was_put_back_is_found() {
    let folder = Folder::new();
    let now = fs::read_to_string(folder.path("log/checkpoint")).expect("it is there");
    put(&folder.path("log/checkpoint"), folder.earlier.as_bytes());
    for name in ["tile/entries/001.p/58", "tile/0/001.p/58"] {
        remove(&folder.path("log").join(name));
    }
    // Evidence that is left over shows it.
    let findings = folder.verify();
    assert_eq!(findings.len(), 3, "{findings:#?}");
    assert!(
        findings
            .iter()
            .all(|it| matches!(it, Finding::Unlogged { .. }) && it.may_be_left_behind())
    );
    // When that is gone, too, only a checkpoint from before does.
    remove(&folder.record);
    for evidence in ["EV-8", "EV-9"] {
        fs::remove_dir_all(folder.path("vault/manifests/INC-1").join(evidence)).expect("the directory is ours");
    }
    folder.objects.iter().for_each(|object| remove(object));
    assert_eq!(folder.verify(), []);
    let (summary, findings) = folder.verify_with(&log_key().verifier(), Some(&now));
    let put_back = Finding::RolledBack {
        earlier: 314,
        found: 311,
    };
    assert_eq!(findings, [put_back]);
    assert!(!summary.continues_earlier);
}

#[test]
fn entries_beyond_the_checkpoint_are_found() {
    let folder = Folder::new();
    put(&folder.path("log/checkpoint"), folder.earlier.as_bytes());
    let findings = folder.verify();
    let name = "tile/entries/001.p/58".to_owned();
    assert!(findings.contains(&Finding::Unsigned { name }), "{findings:#?}");
    assert_eq!(findings.len(), 4, "{findings:#?}");
}

/// Everything that can be computed is computed anew for another history, with the true key or with another.
#[test]
fn a_history_that_was_written_anew_is_found() {
    let folder = Folder::new();
    let read_entries = || {
        let (reader, _) = LogReader::open(&folder.path("log"), &log_key().verifier()).expect("it opens");
        let mut entries = Vec::new();
        let mut visit = |_, entry: &[u8]| {
            entries.push(entry.to_vec());
            ControlFlow::Continue(())
        };
        reader.entries(0, &mut visit).expect("it can be read");
        entries
    };
    let mut entries = read_entries();
    let checkpoint = fs::read(folder.path("log/checkpoint")).expect("it is there");
    entries.swap(2, 7);
    let rewrite = |key: LogKey| {
        fs::remove_dir_all(folder.path("log")).expect("the directory is ours");
        let mut log = TransparencyLog::open(&folder.path("log"), key, None).expect("the log opens");
        log.append(&entries).expect("there is room");
    };
    // By somebody with the key: only the earlier checkpoint tells.
    rewrite(log_key());
    assert_eq!(folder.only(), Finding::HistoryRewritten { earlier: 311 });
    assert_eq!(folder.verify_with(&log_key().verifier(), None).1, []);
    // Without the key, under the old checkpoint.
    put(&folder.path("log/checkpoint"), &checkpoint);
    let findings = folder.verify();
    assert!(
        findings.contains(&Finding::HistoryChanged { size: 314 }),
        "{findings:#?}"
    );
    // Without the key, under a key of the same name.
    rewrite(LogKey::from_seed(ORIGIN, &[9; 32]));
    assert!(matches!(folder.only(), Finding::CheckpointNotProved { .. }));
}

#[test]
fn what_somebody_has_put_there_is_found() {
    let folder = Folder::new();
    let vault = folder.path("vault");
    let foreign = [
        "readme.txt",
        "objects/aa/x.zst",
        "objects/loose",
        "manifests/INC-1/EV-1/1.json",
        "manifests/INC-01/EV-1/00000001.json",
        "records/INC-1/EV-9/x.json",
    ];
    for name in foreign {
        let path = vault.join(name);
        fs::create_dir_all(path.parent().expect("it is below")).expect("the directory is ours");
        put(&path, b"x");
        let finding = folder.only();
        let is_named = matches!(&finding, Finding::Foreign { name: found } if name.starts_with(found))
            || matches!(&finding, Finding::Unreadable { name: found, .. } if name == found);
        assert!(is_named, "{name}: {finding}");
        remove(&path);
        if name.contains("INC-01") {
            fs::remove_dir_all(vault.join("manifests/INC-01")).expect("it is ours");
        }
    }
    // An artefact that is whole, and of nothing.
    let hash = staunch_model::Sha256Hash::of(b"planted");
    let object = vault.join(DirVault::object_name(hash));
    fs::create_dir_all(object.parent().expect("it is below")).expect("the directory is ours");
    put(
        &object,
        &zstd::encode_all(&b"planted"[..], 3).expect("it is compressed"),
    );
    assert!(matches!(folder.only(), Finding::Unreferenced { .. }));
    remove(&object);
    // A manifest of somebody who writes with the vault's own hands.
    let options = DirVaultOptions {
        is_immutable: false,
        ..DirVaultOptions::default()
    };
    let writer = DirVault::open(&vault, options).expect("the vault opens");
    store(&writer, 1, 0, b"planted");
    assert!(matches!(folder.only(), Finding::Unlogged { .. }));
}

/// Evidence without a fault in itself, of somebody who has no key.
#[test]
fn what_is_not_in_the_log_is_counted_apart_and_says_nothing_of_what_is() {
    let folder = Folder::new();
    let (sound, findings) = folder.verify_with(&log_key().verifier(), Some(&folder.earlier));
    assert_eq!((findings, sound.unlogged.is_empty()), (Vec::new(), true));
    let options = DirVaultOptions {
        is_immutable: false,
        ..DirVaultOptions::default()
    };
    let vault = DirVault::open(&folder.path("vault"), options).expect("the vault opens");
    let forged = store(&vault, 9, 999, b"forged");
    vault.put_record(&record(&forged)).expect("it is stored");
    // A further manifest of an artefact that is there, which says something else of it, and comes after it or before.
    let dir = folder.path("vault/manifests");
    let genuine = fs::read(dir.join("INC-1/EV-9/00000001.json")).expect("it is there");
    for (incident, evidence, sequence) in [(1, 9, 2), (0, 9, 1)] {
        let mut manifest = Manifest::parse(&genuine).expect("it is one");
        let Taken::Stored { size, storage, .. } = &mut manifest.taken else {
            panic!("it was stored");
        };
        *size = 1;
        storage.sha256 = staunch_model::Sha256Hash::of(b"else");
        (manifest.custody.incident, manifest.sequence) = (staunch_model::IncidentId(incident), sequence);
        manifest.previous = (sequence > 1).then(|| staunch_model::Sha256Hash::of(&genuine));
        let dir = dir.join(format!("INC-{incident}/EV-{evidence}"));
        fs::create_dir_all(&dir).expect("the directory is ours");
        put(&dir.join(format!("{sequence:08}.json")), &manifest.to_bytes());
    }
    // What nothing stands for.
    let object = folder
        .path("vault")
        .join(DirVault::object_name(staunch_model::Sha256Hash::of(b"loose")));
    fs::create_dir_all(object.parent().expect("it is below")).expect("the directory is ours");
    put(&object, &zstd::encode_all(&b"loose"[..], 3).expect("it is compressed"));

    let (summary, findings) = folder.verify_with(&log_key().verifier(), Some(&folder.earlier));
    assert!(findings.iter().all(Finding::may_be_left_behind), "{findings:#?}");
    assert_eq!(findings.len(), 5, "{findings:#?}");
    let unlogged = Unlogged {
        artefacts: 2,
        manifests: 3,
        records: 1,
        lines: 0,
    };
    assert_eq!(summary.unlogged, unlogged);
    let rest = EvidenceSummary {
        unlogged: Unlogged::default(),
        findings: 0,
        ..summary
    };
    assert_eq!(rest, sound, "what is in the log is what it was");
}

#[test]
fn the_hashes_in_a_log_are_those_that_its_checkpoint_stands_for() {
    let folder = Folder::new();
    let log = folder.path("log");
    let other = LogKey::from_seed(ORIGIN, &[9; 32]);
    let all = logged_in(&log, Some(&log_key().verifier())).expect("it is whole");
    assert_eq!(all.entries.len(), 312);
    let signed = all.checkpoint.as_ref().expect("it is signed");
    let places: BTreeSet<u64> = all.entries.values().copied().collect();
    assert_eq!(places.len(), 312, "each has a place of its own");
    assert!(places.last() < Some(&signed.size), "{signed:?}");
    let record = fs::read(&folder.record).expect("it is there");
    let hash = staunch_model::Sha256Hash::of(&record);
    assert!(all.has(&hash));
    // At the place that is told stands its entry.
    let mut at_place = None;
    LogReader::new(&log, signed.size)
        .entries(all.entries[&hash], &mut |place, entry| {
            at_place = Some((place, LogEntry::parse(entry).expect("it is ours").logged));
            ControlFlow::Break(())
        })
        .expect("it is whole");
    assert!(
        matches!(at_place, Some((place, Logged::Collection { record, .. })) if place == all.entries[&hash] && record == hash),
        "{at_place:?}"
    );
    assert_eq!(logged_in(&log, None).expect("it is whole"), all);
    assert!(logged_in(&log, Some(&other.verifier())).is_err());
    // An older checkpoint stands for less; what follows is in no log.
    let now = fs::read(log.join("checkpoint")).expect("it is there");
    put(&log.join("checkpoint"), folder.earlier.as_bytes());
    let before = logged_in(&log, None).expect("it is whole");
    let is_same = |(hash, place)| all.entries.get(hash) == Some(place);
    let before = before.entries;
    assert!(before.len() == 309 && before.iter().all(is_same), "{}", before.len());
    put(&log.join("checkpoint"), &now);
    // An entry in the place of another, under the checkpoint of before.
    let bundle = log.join("tile/entries/001.p/58");
    let bytes = fs::read(&bundle).expect("it is there");
    let at = bytes
        .windows(5)
        .rposition(|it| it == b"INC-1")
        .expect("the last is of it");
    flip(&bundle, at + 4);
    let error = logged_in(&log, None).expect_err("it was changed");
    assert!(
        error.to_string().contains("not those that the checkpoint stands for"),
        "{error}"
    );
    put(&bundle, &bytes);
    remove(&log.join("checkpoint"));
    let none = logged_in(&log, None).expect("there is none");
    assert!(none.entries.is_empty() && none.checkpoint.is_none(), "{none:?}");
}

#[test]
fn links_are_not_followed() {
    let folder = Folder::new();
    let object = &folder.objects[0];
    let aside = folder.path("aside");
    fs::rename(object, &aside).expect("the directory is ours");
    std::os::unix::fs::symlink(&aside, object).expect("the directory is ours");
    assert!(matches!(folder.only(), Finding::ArtefactChanged { .. }));
}

#[test]
fn a_journal_that_was_changed_or_cut_is_found() {
    let folder = Folder::new();
    let journal = folder.path("journal");
    // Another journal with other frames.
    fs::remove_dir_all(&journal).expect("the directory is ours");
    fs::create_dir(&journal).expect("the directory is ours");
    let (mut other, _) = with_epoch(SegmentJournal::open(&journal, small()).expect("the journal opens"));
    append_ok(&mut other, &[b"one", b"TWO"]);
    drop(other);
    let findings = folder.verify();
    assert_eq!(findings.len(), 2, "{findings:#?}");
    assert!(
        matches!(findings[0], Finding::FramesChanged { last: 2 | 3, .. }),
        "{findings:#?}"
    );
    assert!(matches!(findings[1], Finding::FramesRemoved { .. }), "{findings:#?}");
}

#[test]
fn an_earlier_checkpoint_of_nobody_counts_for_nothing() {
    let folder = Folder::new();
    let other = LogKey::from_seed(ORIGIN, &[9; 32]);
    let note = other.sign(folder.earlier.split("\n\n").next().expect("a text"));
    for note in ["", "x", note.as_str()] {
        let (summary, findings) = folder.verify_with(&log_key().verifier(), Some(note));
        assert!(
            matches!(findings[..], [Finding::EarlierNotProved { .. }]),
            "{findings:#?}"
        );
        assert!(!summary.continues_earlier);
    }
}

/// What a killed writer leaves is told apart from what somebody has done.
#[test]
fn what_a_crash_leaves_is_said_to_be_that() {
    let folder = Folder::new();
    let options = DirVaultOptions {
        is_immutable: false,
        ..DirVaultOptions::default()
    };
    let vault = DirVault::open(&folder.path("vault"), options).expect("the vault opens");
    store(&vault, 5, 50, b"sealed and not logged");
    drop(vault);
    assert!(folder.only().may_be_left_behind());
    let mut book = Logbook::new(open_log(&folder.path("log"))).expect("it can be read");
    let vault = DirVault::read_only(&folder.path("vault"));
    assert_eq!(
        book.take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}")),
        Ok(1)
    );
    assert_eq!(folder.verify(), []);
}
