//! By the first byte: a file of age, the key of a recipient, or a file of identities.
//!
//! What holds: what is decrypted with the key of the seeds ends as it was proved; a key is written as it was read; and what is
//! said of the others can be shown.

use std::io::Read as _;

use staunch_store::age::{Decrypting, Identity, Recipient};

use crate::shown::assert_line;

/// The key that the seeds are encrypted to; it protects nothing.
pub const KEY: &str = "AGE-SECRET-KEY-1MPXQNZ8AMUWS4QH282THTU74EXVCZGWZDDV8AVJ8U7SLKVYSPZEQUGLHRW";

/// Reads one of them.
pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    match (kind % 3, std::str::from_utf8(bytes).ok()) {
        (0, _) => decrypt(bytes),
        (1, Some(text)) => {
            if let Some(recipient) = Recipient::parse(text) {
                assert_eq!(recipient.text(), text);
            }
        }
        (2, Some(text)) => {
            for identity in Identity::parse_all(text).unwrap_or_default() {
                let recipient = identity.recipient();
                assert_eq!(Recipient::parse(recipient.text()), Some(recipient));
            }
        }
        _ => {}
    }
}

fn decrypt(bytes: &[u8]) {
    let identity = Identity::parse(KEY).expect("it is one");
    let mut reader = match Decrypting::begin(bytes, &[identity]) {
        Ok(reader) => reader,
        Err(error) => return assert_line(&error.to_string()),
    };
    let mut plain = Vec::new();
    match reader.read_to_end(&mut plain) {
        Ok(_) => assert!(plain.len() < bytes.len(), "it has become longer"),
        Err(error) => {
            assert_line(&error.to_string());
            assert!(reader.read(&mut [0]).is_err(), "it goes on after an error");
        }
    }
}
