//! The name of an account, a zero byte, the record of a lock, a zero byte, and a shadow file.
//!
//! What holds: only the line of the account changes; lock and unlock give the file back byte for byte; a record is
//! read only as it was written, fits into what is read of one, and holds no password; and what is shown of another is
//! a line.

use staunch_connectors::accounts::shadow::Entry;
use staunch_connectors::actions::Label;
use staunch_connectors::actions::lock_account::shadow::record::{Kept, RECORD_BYTES_MAX, Record};
use staunch_model::{AccountName, InstallationId, Owner};

use crate::shown::assert_line;

const OURS: InstallationId = InstallationId([0xab; 8]);

/// A day in 2024.
const TODAY: i64 = 20_000;

/// Reads a record, and locks and unlocks an account.
pub fn run(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let name = parts.next().and_then(|it| std::str::from_utf8(it).ok());
    let Some(name) = name.and_then(|it| it.parse::<AccountName>().ok()) else {
        return;
    };
    record(parts.next().unwrap_or_default(), &name);
    let text = parts.next().unwrap_or_default();
    match Entry::find(text, name.as_str()) {
        Ok(Some(entry)) => lock(text, &name, &entry),
        Ok(None) => {}
        Err(why) => assert!(why.is_ascii() && why.len() < 80, "it is our own sentence"),
    }
}

fn record(text: &[u8], name: &AccountName) {
    let kept = Kept::parse(text, name);
    match &kept {
        Kept::Whole(record) => assert_eq!(record.write(name), text, "something else was read"),
        Kept::Other(label) => {
            assert_line(label);
            assert!(matches!(kept.owner(OURS), Owner::Foreign(_)), "it is taken for ours");
        }
    }
}

fn lock(text: &[u8], name: &AccountName, entry: &Entry<'_>) {
    // A lock of somebody else is left alone.
    if entry.is_expired(TODAY) {
        return;
    }
    let label = Label::parse("staunch:abababababababab:TX-7").expect("a label");
    let record = Record::of(label, 1_000, entry, None, false);
    let written = record.write(name);
    assert!((written.len() as u64) < RECORD_BYTES_MAX, "it would be cut");
    assert_eq!(
        Kept::parse(&written, name),
        Kept::Whole(record.clone()),
        "it reads back"
    );

    let locked = entry.locked(text);
    assert_one_line_changed(text, &locked, name);
    let found = Entry::find(&locked, name.as_str());
    let Ok(Some(changed)) = found else {
        panic!("the account is not found any more");
    };
    assert!(changed.is_marked() && changed.has_our_expiry() && changed.is_expired(TODAY));
    let (password, expiry) = record.given_back(&changed);
    assert!(
        changed.with(&locked, password, expiry) == text,
        "the file is another one"
    );
}

fn assert_one_line_changed(before: &[u8], after: &[u8], name: &AccountName) {
    let lines = |text: &[u8]| {
        text.split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>()
    };
    let (before, after) = (lines(before), lines(after));
    assert_eq!(before.len(), after.len());
    let head = format!("{name}:");
    let mut changed = 0;
    for (before, after) in before.iter().zip(&after).filter(|(before, after)| before != after) {
        assert!(before.starts_with(head.as_bytes()) && after.starts_with(head.as_bytes()));
        changed += 1;
    }
    assert_eq!(changed, 1, "one line is locked");
}
