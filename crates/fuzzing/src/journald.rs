//! Lines of the journal of systemd, which everybody on a machine may write to.
//!
//! What holds: a cursor is printable and short of blanks, so that it can be an argument; messages are no longer than
//! the line; and an entry that is written anew reads as the same.

use serde_json::{Value, json};
use staunch_connectors::readers::{JournalEntry, journal_entry};

/// Reads a line.
pub fn run(data: &[u8]) {
    let Ok(entry) = journal_entry(data) else {
        return;
    };
    assert!(!entry.cursor.is_empty() && entry.cursor.bytes().all(|byte| byte.is_ascii_graphic()));
    let bytes: usize = entry.messages.iter().map(Vec::len).sum();
    assert!(bytes <= data.len(), "a message is longer than its line");
    let again = journal_entry(&written(&entry)).expect("it was one");
    // How many parts were too long is not kept.
    assert_eq!(again, entry);
}

fn written(entry: &JournalEntry) -> Vec<u8> {
    let mut fields = json!({ "__CURSOR": entry.cursor });
    let parts = entry.messages.iter().map(|it| json!(it));
    let cut = entry.is_cut.then_some(Value::Null);
    let mut all: Vec<Value> = parts.chain(cut).collect();
    match all.len() {
        0 => {}
        1 => fields["MESSAGE"] = all.remove(0),
        _ => fields["MESSAGE"] = Value::Array(all),
    }
    fields.to_string().into_bytes()
}
