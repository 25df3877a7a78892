//! An entry of the journal of this machine, into which anybody may write.
//!
//! What holds: what is read is what a plain reader of JSON finds, where all of it is text, and no more of it than was
//! written; an entry written anew reads the same; why there is none is our own sentence; and bytes that are a message
//! stay one.

use serde_json::{Value, json};
use staunch_connectors::inlets::journald::entry::{Entry, read};

/// Reads the bytes as an entry, and then an entry that has them for a message.
pub fn run(data: &[u8]) {
    match read(data) {
        Ok(entry) => read_entry(data, &entry),
        Err(why) => assert!(why.is_ascii() && why.len() < 80, "it is our own sentence: {why}"),
    }
    let mut messages = vec![json!(data)];
    messages.extend(std::str::from_utf8(data).map(|text| json!(text)));
    for message in messages {
        let line = json!({"__CURSOR": "s=1;i=2", "MESSAGE": message}).to_string();
        let entry = read(line.as_bytes()).expect("an entry");
        assert_eq!(entry.cursor, "s=1;i=2");
        assert!(entry.messages == [data] && !entry.is_cut, "the message is another one");
    }
}

fn read_entry(line: &[u8], entry: &Entry) {
    assert!(!entry.cursor.is_empty() && entry.cursor.bytes().all(|it| it.is_ascii_graphic()));
    let bytes: usize = entry.messages.iter().map(Vec::len).sum();
    assert!(bytes + entry.cursor.len() < line.len(), "it has more than was written");
    // What is in fields that nobody asks for need not be text.
    if let Ok(line) = std::str::from_utf8(line) {
        let plain: Value = serde_json::from_str(line).expect("an entry is JSON");
        assert!(plain.is_object(), "an entry is an object");
        assert_eq!(plain["__CURSOR"], entry.cursor.as_str());
        match &plain["MESSAGE"] {
            Value::String(text) => assert!(entry.messages == [text.as_bytes()] && !entry.is_cut),
            Value::Null => assert!(entry.messages.is_empty()),
            _ => {}
        }
    }
    let mut several: Vec<Value> = entry.messages.iter().map(|it| json!(it)).collect();
    if entry.is_cut {
        several.push(Value::Null);
    }
    let mut anew = json!({"__CURSOR": entry.cursor});
    if !several.is_empty() {
        anew["MESSAGE"] = several.into();
    }
    assert_eq!(read(anew.to_string().as_bytes()).as_ref(), Ok(entry), "it reads back");
}
