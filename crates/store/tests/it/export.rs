//! Archives of evidence: what is found in one that somebody has tampered with, what a hostile one costs, and what an
//! implementation by others says of its proofs.

mod made;
mod others;

use std::fs;
use std::io::Write as _;

use staunch_model::{Failure, FailureKind, IncidentId, Sha256Hash};
use staunch_ports::Vault as _;
use staunch_store::export::Inventory;
use staunch_store::vault::logged::Logbook;
use staunch_store::{ArchiveFinding, ExportError, LogKey, TransparencyLog};
use staunch_testkit::contract::vault::{draft, noise, record, store};

use self::made::{Made, export, header, vault, verify};
use crate::{ORIGIN, log_key, quick_dir, temp_dir};

#[test]
fn an_archive_and_its_folder_are_proved_with_the_key_alone() {
    let made = Made::new();
    let it = &made.summary;
    assert_eq!((it.manifests, it.records, it.artefacts, it.missed), (17, 4, 16, 5));
    assert_eq!(it.artefact_bytes, 15 * 50 + 300_000);
    for path in [made.path("archive"), made.unpacked()] {
        let (summary, findings) = made.verify(&path);
        assert_eq!(findings, []);
        let checkpoint = summary.checkpoint.as_ref().expect("it is proved");
        assert_eq!((checkpoint.size, summary.entries), (296, 296));
        assert_eq!((summary.manifests, summary.records, summary.proofs), (17, 4, 21));
        assert_eq!((summary.artefacts, summary.bytes), (16, it.artefact_bytes));
        assert_eq!(summary.incident, Some(IncidentId(1)));
        assert!(summary.continues_earlier);
        let (_, findings) = verify(&path, &LogKey::from_seed(ORIGIN, &[8; 32]), None);
        assert!(
            matches!(findings.as_slice(), [ArchiveFinding::InventoryNotProved { .. }]),
            "{findings:?}"
        );
    }
    // The same evidence makes the same archive.
    let (again, _) = export(made.dir.path(), 1, &log_key()).expect("there is evidence");
    assert!(again == made.archive());
}

#[test]
fn what_was_missed_and_what_came_late_is_counted_once() {
    let dir = quick_dir();
    let vault = vault(dir.path());
    let log = TransparencyLog::open(&dir.path().join("log"), log_key(), None).expect("the log opens");
    let mut book = Logbook::new(log).expect("it is empty");
    let why = Failure::new(FailureKind::Denied, "no permission");
    let missed = vault
        .put_missed(draft(1, 1, "shadow"), why.clone())
        .expect("it is stored");
    let mut of_missed = record(&missed);
    of_missed.missed[0].manifest = Some(missed.hash);
    of_missed.failure = Some(why);
    of_missed.deadline = Some(of_missed.ended_at);
    let mut late = record(&store(&vault, 1, 2, b"flows"));
    late.missed.clear();
    late.deadline = Some(late.started_at);
    for record in [&of_missed, &late] {
        vault.put_record(record).expect("it is stored");
    }
    book.take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}"))
        .expect("it is logged");
    let (_, summary) = export(dir.path(), 1, &log_key()).expect("there is evidence");
    assert_eq!((summary.missed, summary.late), (1, 1));
}

#[test]
fn a_changed_byte_of_any_file_is_named() {
    let made = Made::new();
    let folder = made.unpacked();
    for (name, content) in made.files() {
        let name = name.strip_prefix("INC-1/").expect("all are below");
        for at in [0, content.len() / 2, content.len() - 1] {
            let mut changed = content.clone();
            changed[at] ^= 1;
            fs::write(folder.join(name), changed).expect("it is ours");
            let (_, findings) = made.verify(&folder);
            let told = findings.first().expect("it is found").to_string();
            let expected = match name {
                "INVENTORY" => "INVENTORY is not proved".to_owned(),
                "SHA256SUMS" => "SHA256SUMS was removed or changed".to_owned(),
                name => format!("{name} was changed"),
            };
            assert!(told.starts_with(&expected), "{name}, byte {at}: {findings:#?}");
        }
        fs::write(folder.join(name), &content).expect("it is ours");
        // Removed.
        fs::remove_file(folder.join(name)).expect("it is there");
        let (_, findings) = made.verify(&folder);
        let told = findings.first().expect("it is found").to_string();
        assert!(told.starts_with(&format!("{name} was removed")), "{findings:#?}");
        fs::write(folder.join(name), &content).expect("it is ours");
    }
    assert_eq!(made.verify(&folder).1, []);
}

#[test]
fn an_archive_that_was_cut_or_changed_anywhere_is_not_proved() {
    let made = Made::new();
    let archive = made.archive();
    let cut = |at: usize| made.written(&archive[..at]);
    for at in [1, 100, archive.len() / 2, archive.len() - 1] {
        let findings = cut(at);
        let last = findings.last().expect("it is found");
        assert!(matches!(last, ArchiveFinding::Truncated { .. }), "{at}: {findings:?}");
    }
    let plain = zstd::decode_all(&*archive).expect("it is zstd");
    let mut same = 0;
    for at in (6..archive.len()).step_by(archive.len() / 97) {
        let mut changed = archive.clone();
        changed[at] ^= 4;
        // There are bits in a frame that say nothing: with another there, it holds the same.
        if zstd::decode_all(&*changed).is_ok_and(|it| it == plain) {
            same += 1;
        } else {
            assert_ne!(made.written(&changed), [], "byte {at}");
        }
    }
    assert!(same <= 3, "{same} of 97 changes said nothing");
    let mut longer = archive;
    longer.push(0);
    let findings = made.written(&longer);
    assert!(
        matches!(findings.as_slice(), [ArchiveFinding::Malformed { .. }]),
        "{findings:?}"
    );
    let not_packed = made.written(b"no archive");
    assert!(
        matches!(not_packed.as_slice(), [ArchiveFinding::Malformed { .. }]),
        "{not_packed:?}"
    );
}

#[test]
fn files_that_are_taken_out_put_in_or_moved_are_named() {
    let made = Made::new();
    let files = made.files();
    assert_eq!(made.packed(&files), [], "it is packed as archives are");
    for (at, (name, _)) in files.iter().enumerate().skip(2) {
        let mut less = files.clone();
        less.remove(at);
        let name = name.strip_prefix("INC-1/").expect("all are below").to_owned();
        let findings = made.packed(&less);
        assert_eq!(
            findings.first(),
            Some(&ArchiveFinding::Removed { name }),
            "{findings:?}"
        );
    }
    // Two in each other's place.
    let mut moved = files.clone();
    moved.swap(5, 9);
    assert_ne!(made.packed(&moved), []);
    // Twice, outside, and further ones.
    let twice = files[6].0.clone();
    for name in [
        "INC-1/../../etc/passwd",
        "/etc/passwd",
        "INC-1/extra",
        "INC-2/log/checkpoint",
        &twice,
    ] {
        let mut more = files.clone();
        more.push((name.to_owned(), b"x".to_vec()));
        let findings = made.packed(&more);
        let is_told = |it: &ArchiveFinding| matches!(it, ArchiveFinding::Foreign { name: told } if told == name);
        assert!(findings.iter().any(is_told), "{name}: {findings:?}");
    }
    // In a folder: further files, a link in the place of a file, a link in the place of a directory.
    let folder = made.unpacked();
    fs::write(folder.join("objects/extra"), "x").expect("it is ours");
    let findings = made.verify(&folder).1;
    let name = "objects/extra".to_owned();
    assert_eq!(findings, [ArchiveFinding::Foreign { name }]);
    fs::remove_file(folder.join("objects/extra")).expect("it is there");
    fs::rename(folder.join("timeline.json"), made.path("elsewhere")).expect("it is there");
    std::os::unix::fs::symlink(made.path("elsewhere"), folder.join("timeline.json")).expect("it is ours");
    assert_eq!(made.verify(&folder).1.len(), 1);
    fs::rename(made.path("elsewhere"), folder.join("timeline.json")).expect("it is there");
    fs::rename(folder.join("log"), made.path("moved")).expect("it is there");
    std::os::unix::fs::symlink(made.path("moved"), folder.join("log")).expect("it is ours");
    assert_ne!(made.verify(&folder).1, []);
}

#[test]
fn links_bombs_and_floods_are_refused_early() {
    let made = Made::new();
    let begin = |files: usize| {
        let mut bytes = Vec::new();
        for (name, content) in made.files().into_iter().take(files) {
            bytes.extend(header(&name, content.len(), b'0'));
            bytes.extend(&content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes
    };
    for kind in *b"125L" {
        let mut bytes = begin(4);
        bytes.extend(header("INC-1/link", 0, kind));
        let findings = made.written(&zstd::encode_all(&*bytes, 1).expect("it is packed"));
        let is_refused =
            matches!(findings.last(), Some(ArchiveFinding::Malformed { what, .. }) if what.contains("link"));
        assert!(is_refused, "{findings:?}");
    }
    // 16 GiB of zeros in half a megabyte, in a file that is there and in one that is not.
    for name in [made.files()[2].0.clone(), "INC-1/zeros".to_owned()] {
        let mut packed = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("it begins");
        packed.write_all(&begin(2)).expect("it is memory");
        packed
            .write_all(&header(&name, (8 << 30) - 1, b'0'))
            .expect("it is memory");
        let zeros = vec![0; 1 << 20];
        for _ in 0..64 {
            packed.write_all(&zeros).expect("it is memory");
        }
        let findings = made.written(&packed.finish().expect("it is memory"));
        let refused = findings.last().expect("it is found").to_string();
        assert!(
            refused.contains("larger than what was signed") || refused.contains("too much"),
            "{refused}"
        );
    }
    // More names than are told.
    let mut bytes = begin(2);
    for number in 0..5_000 {
        bytes.extend(header(&format!("INC-1/{number}"), 0, b'0'));
    }
    let findings = made.written(&zstd::encode_all(&*bytes, 1).expect("it is packed"));
    assert!(findings.len() < 1_100, "{}", findings.len());
}

/// Signs an archive anew, as somebody with the key can.
fn signed_anew(files: &mut [(String, Vec<u8>)]) {
    let sums: String = files[2..]
        .iter()
        .map(|(name, content)| format!("{}  {}\n", Sha256Hash::of(content), name.trim_start_matches("INC-1/")))
        .collect();
    let inventory = Inventory {
        incident: IncidentId(1),
        sums: Sha256Hash::of(sums.as_bytes()),
        files: files.len() as u64 - 2,
        bytes: files[2..].iter().map(|(_, content)| content.len() as u64).sum(),
    };
    files[0].1 = log_key().sign(&inventory.to_text()).into_bytes();
    files[1].1 = sums.into_bytes();
}

/// The files of an archive with their names.
type Files = Vec<(String, Vec<u8>)>;

#[test]
fn what_was_left_out_by_somebody_with_the_key_is_found_by_the_log() {
    let made = Made::new();
    let files = made.files();
    let told = |change: &dyn Fn(&mut Files)| {
        let mut files = files.clone();
        change(&mut files);
        signed_anew(&mut files);
        let findings: Vec<String> = made.packed(&files).iter().map(ToString::to_string).collect();
        findings
    };
    assert_eq!(told(&|_| ()), [""; 0]);
    // The last evidence: its manifest and record with their proofs, and the artefact.
    let of_last = |name: &str| name.contains("EV-7/");
    let findings = told(&|files| files.retain(|(name, _)| !of_last(name)));
    assert!(
        findings
            .iter()
            .any(|it| it.starts_with("manifests/EV-7/00000001.json was removed; entry")),
        "{findings:?}"
    );
    assert!(
        findings.iter().any(|it| it.starts_with("records/EV-7/")),
        "{findings:?}"
    );
    // An artefact.
    let findings = told(&|files| {
        let at = files
            .iter()
            .position(|(name, _)| name.contains("objects/"))
            .expect("there are some");
        files.remove(at);
    });
    assert!(
        matches!(findings.as_slice(), [one] if one.starts_with("the artefact objects/")),
        "{findings:?}"
    );
    // The last entries of the log, with the checkpoint that was signed then.
    let findings = told(&|files| {
        let at = files
            .iter()
            .position(|(name, _)| name.ends_with("001.p/40"))
            .expect("the last bundle");
        files.remove(at);
    });
    assert!(
        findings.iter().any(|it| it.contains("history was changed")),
        "{findings:?}"
    );
    // A proof, and one that is of another file.
    let findings = told(&|files| files.retain(|(name, _)| !name.ends_with("EV-7/00000001.json.tlog-proof")));
    assert_eq!(findings, ["manifests/EV-7/00000001.json has no proof beside it"]);
    let findings = told(&|files| {
        let of = |end: &str| {
            files
                .iter()
                .position(|(name, _)| name.ends_with(end))
                .expect("it is there")
        };
        let (one, other) = (of("EV-7/00000001.json.tlog-proof"), of("EV-5/00000001.json.tlog-proof"));
        files[one].1 = files[other].1.clone();
    });
    assert!(
        matches!(findings.as_slice(), [one] if one.contains("its entry is of something else")),
        "{findings:?}"
    );
    // Two bundles in each other's place.
    let findings = told(&|files| {
        let bundles = files
            .iter()
            .position(|(name, _)| name.contains("tile/entries"))
            .expect("there are two");
        let content = files[bundles].1.clone();
        files[bundles].1 = std::mem::replace(&mut files[bundles + 1].1, content);
    });
    assert_ne!(findings, [""; 0]);
    // An artefact that unpacks to more than its manifest says: the bytes that are stored are signed, and no manifest
    // is.
    let findings = told(&|files| {
        let it = files
            .iter_mut()
            .find(|(name, _)| name.contains("objects/"))
            .expect("there are some");
        it.1 = zstd::encode_all(&*vec![0; 64 << 20], 1).expect("it is packed");
    });
    assert!(
        matches!(findings.as_slice(), [one] if one.contains("unpacks to more than the")),
        "{findings:?}"
    );
}

#[test]
fn a_history_that_was_signed_anew_or_put_back_shows_against_an_earlier_checkpoint() {
    let made = Made::new();
    let other = temp_dir();
    let vault = vault(other.path());
    let log = TransparencyLog::open(&other.path().join("log"), log_key(), None).expect("the log opens");
    let mut book = Logbook::new(log).expect("it is empty");
    store(&vault, 1, 1, b"another history");
    book.take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}"))
        .expect("it is logged");
    let (short, _) = export(other.path(), 1, &log_key()).expect("there is evidence");
    let findings = made.written(&short);
    assert!(findings[0].to_string().contains("the log was put back"), "{findings:?}");
    for number in 0..200 {
        store(&vault, 1, 1, &noise(number, 20));
    }
    book.take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}"))
        .expect("it is logged");
    let (long, _) = export(other.path(), 1, &log_key()).expect("there is evidence");
    let findings = made.written(&long);
    assert!(
        matches!(findings.as_slice(), [one] if one.to_string().contains("history was signed anew")),
        "{findings:?}"
    );
    let (summary, findings) = verify(&made.path("tampered"), &log_key(), None);
    assert!(findings.is_empty() && !summary.continues_earlier, "{findings:?}");
    let (_, findings) = verify(&made.path("archive"), &log_key(), Some("no note"));
    assert!(
        findings[0].to_string().contains("earlier checkpoint is not proved"),
        "{findings:?}"
    );
}

#[test]
fn what_cannot_be_proved_is_not_exported() {
    let made = Made::new();
    assert!(matches!(
        export(made.dir.path(), 9, &log_key()),
        Err(ExportError::Nothing { .. })
    ));
    let other = LogKey::from_seed(ORIGIN, &[8; 32]);
    assert!(matches!(export(made.dir.path(), 1, &other), Err(ExportError::Log(_))));
    let vault = vault(made.dir.path());
    store(&vault, 1, 7, b"after the log");
    assert!(matches!(
        export(made.dir.path(), 1, &log_key()),
        Err(ExportError::Unlogged { count: 1, .. })
    ));
    let removed = made.path("vault/manifests/INC-1/EV-7/00000002.json");
    fs::remove_file(removed).expect("it is there");
    let removed = made.path("vault/manifests/INC-1/EV-7/00000001.json");
    fs::remove_file(removed).expect("it is there");
    assert!(matches!(
        export(made.dir.path(), 1, &log_key()),
        Err(ExportError::Changed { .. })
    ));
    let object = fs::read_dir(made.path("vault/objects"))
        .expect("objects")
        .next()
        .expect("one")
        .expect("one");
    assert!(object.path().is_dir());
}

#[test]
fn an_artefact_that_was_changed_is_not_exported() {
    let made = Made::new();
    let (name, _) = made
        .files()
        .into_iter()
        .find(|(name, _)| name.contains("objects/"))
        .expect("there are some");
    let path = made.path("vault").join(name.trim_start_matches("INC-1/"));
    let mut bytes = fs::read(&path).expect("it is there");
    bytes[8] ^= 1;
    fs::remove_file(&path).expect("it is ours");
    fs::write(&path, &bytes).expect("it is ours");
    let told = export(made.dir.path(), 1, &log_key()).expect_err("it was changed");
    assert!(matches!(told, ExportError::Changed { .. }), "{told:?}");
    fs::write(&path, &bytes[..9]).expect("it is ours");
    let told = export(made.dir.path(), 1, &log_key()).expect_err("it was changed");
    assert!(matches!(told, ExportError::Changed { .. }), "{told:?}");
}
