//! By the first byte: a file of age, the key of a recipient, or a file of identities.
//!
//! What holds: what is decrypted with the key of the seeds ends as it was proved; a key is written as it was read, by
//! an encoder that is written down here a second time; a secret key is read back; and what is said of the others can be
//! shown.

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
                let key = data_of(text).expect("what was read as a key has the form of one");
                assert_eq!(recipient.text(), bech32("age", &key), "there is one way to write a key");
            }
        }
        (2, Some(text)) => {
            let lines = text
                .lines()
                .map(str::trim)
                .filter(|it| !it.is_empty() && !it.starts_with('#'));
            for (identity, line) in Identity::parse_all(text).unwrap_or_default().iter().zip(lines) {
                let secret = data_of(&line.to_ascii_lowercase()).expect("what was read as a key has the form of one");
                assert_eq!(line, bech32("age-secret-key-", &secret).to_ascii_uppercase());
                let recipient = identity.recipient();
                let public = data_of(recipient.text()).expect("it is written as a key");
                assert_eq!(
                    recipient.text(),
                    bech32("age", &public),
                    "it is written with its own checksum"
                );
                let read = Recipient::parse(recipient.text()).expect("what is written is read");
                assert!(read == recipient, "it is another key");
            }
        }
        _ => {}
    }
}

/// The letters of Bech32, each for five bits (BIP 173).
const LETTERS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// The 32 bytes that stand behind the last `1` of a text in small letters, whatever its checksum is.
fn data_of(text: &str) -> Option<[u8; 32]> {
    let (_, data) = text.rsplit_once('1')?;
    let data = data.as_bytes().split_last_chunk::<6>()?.0;
    let mut bits = Vec::new();
    for letter in data {
        let value = LETTERS.iter().position(|it| it == letter)?;
        bits.extend((0..5).rev().map(|bit| value >> bit & 1));
    }
    let bytes = bits
        .chunks_exact(8)
        .map(|byte| byte.iter().fold(0_u8, |all, bit| all << 1 | u8::from(*bit == 1)));
    bytes.collect::<Vec<u8>>().try_into().ok()
}

/// Bytes as Bech32 has them, by the generators of BIP 173 bit for bit.
fn bech32(prefix: &str, bytes: &[u8]) -> String {
    let mut bits: Vec<u32> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)))
        .collect();
    bits.resize(bits.len().next_multiple_of(5), 0);
    let data: Vec<u32> = bits
        .chunks_exact(5)
        .map(|five| five.iter().fold(0, |all, bit| all << 1 | bit))
        .collect();
    let prefix_values = prefix
        .bytes()
        .map(|it| u32::from(it >> 5))
        .chain([0])
        .chain(prefix.bytes().map(|it| u32::from(it & 31)));
    let mut checksum = 1_u32;
    for value in prefix_values.chain(data.iter().copied()).chain([0; 6]) {
        let top = checksum >> 25;
        checksum = (checksum & 0x01ff_ffff) << 5 ^ value;
        for (bit, generator) in [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3]
            .into_iter()
            .enumerate()
        {
            if top >> bit & 1 == 1 {
                checksum ^= generator;
            }
        }
    }
    checksum ^= 1;
    let check = (0..6).rev().map(|at| checksum >> (5 * at) & 31);
    let letters = data
        .iter()
        .copied()
        .chain(check)
        .map(|value| char::from(LETTERS[value as usize]));
    format!("{prefix}1{}", letters.collect::<String>())
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
