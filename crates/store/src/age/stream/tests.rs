use std::io::{self, Read as _, Write as _};

use staunch_model::Sha256Hash;

use super::*;
use crate::age::Identity;

/// Made for these tests; it protects nothing.
const KEY: &str = "AGE-SECRET-KEY-1MPXQNZ8AMUWS4QH282THTU74EXVCZGWZDDV8AVJ8U7SLKVYSPZEQUGLHRW";
const PUBLIC: &str = "age15fmqtrfjp6htye4gj4yz02dsmqw67xarh7cr8sz7a0484vnk5amq8qg30y";

/// What the crate `age` 0.11.5 has written, and how many bytes are in it.
const WRITTEN: [(&[u8], usize); 5] = [
    (include_bytes!("../../../tests/data/age/empty.age"), 0),
    (include_bytes!("../../../tests/data/age/small.age"), 100),
    (include_bytes!("../../../tests/data/age/two.age"), 100),
    (include_bytes!("../../../tests/data/age/chunk.age"), 65_536),
    (include_bytes!("../../../tests/data/age/chunks.age"), 65_636),
];

fn plain(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from(at * 31 % 251).expect("it is below 251"))
        .collect()
}

fn identity() -> Identity {
    Identity::parse(KEY).expect("it is one")
}

fn other() -> Identity {
    Identity::of([7; 32].into())
}

fn decrypt(bytes: &[u8], identities: &[Identity]) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    Decrypting::begin(bytes, identities)?.read_to_end(&mut plain)?;
    Ok(plain)
}

/// Written in parts of `part` bytes, with random bytes that are known.
fn encrypt(bytes: &[u8], recipients: &[Recipient], part: usize) -> Vec<u8> {
    let mut seed = 0_u8;
    let mut random = |bytes: &mut [u8]| {
        for byte in bytes {
            seed = seed.wrapping_mul(17).wrapping_add(91);
            *byte = seed;
        }
        Ok(())
    };
    let mut encrypting = Encrypting::begin_with(Vec::new(), recipients, &mut random).expect("it is memory");
    for part in bytes.chunks(part) {
        encrypting.write_all(part).expect("it is memory");
    }
    encrypting.finish().expect("it is memory")
}

fn kind(error: &io::Error) -> Option<AgeError> {
    error.get_ref()?.downcast_ref().copied()
}

#[test]
fn what_age_has_written_is_read() {
    assert_eq!(identity().recipient().text(), PUBLIC);
    assert!(!format!("{:?}", identity()).contains("MPXQ"));
    for (bytes, length) in WRITTEN {
        assert_eq!(
            decrypt(bytes, &[other(), identity()]).expect("it is for us"),
            plain(length)
        );
        let error = decrypt(bytes, &[other()]).expect_err("it is not for them");
        assert_eq!(kind(&error), Some(AgeError::NoMatch), "{error}");
    }
}

#[test]
fn what_is_written_is_read() {
    let recipients = [other().recipient(), identity().recipient()];
    for length in [0, 1, 65_535, 65_536, 65_537, 131_072, 200_000] {
        for part in [1 << 20, 4_099] {
            let bytes = encrypt(&plain(length), &recipients, part);
            for identity in [identity(), other()] {
                assert_eq!(decrypt(&bytes, &[identity]).expect("it is for us"), plain(length));
            }
        }
    }
}

/// The files with these hashes were read by the crate `age` 0.11.5 on 2026-11-27.
#[test]
fn what_is_written_is_what_age_has_read() {
    let recipients = [identity().recipient(), other().recipient()];
    for (length, expected) in READ_BY_AGE {
        let bytes = encrypt(&plain(length), &recipients, 10_000);
        assert_eq!(Sha256Hash::of(&bytes).to_string(), expected, "{length}");
    }
}

const READ_BY_AGE: [(usize, &str); 5] = [
    (0, "41595e439a956b617cb7439ee5eeadc230caa2a1a9d08574c9dae8fcb6e1dfd2"),
    (100, "5bc99b150a94b0ad12737ffee77d3f10a6a4d2615b2390b6526c502db6b83992"),
    (
        65_536,
        "07d42d3db116fd0dd71edc635cdf1791b6663b830abce7026beb9373f8191bb2",
    ),
    (
        65_537,
        "0bf904499da3393bd8009ac07cf688ddeb7971a9908af823588dc62606e4b214",
    ),
    (
        131_072,
        "20a4cf7fe602ac56fbfba145d2020389fe45bdf3345e53aead7fa4b60a5002c2",
    ),
];

#[test]
fn no_byte_can_be_another_or_left_out() {
    let bytes = encrypt(&plain(65_600), &[identity().recipient()], 1_000);
    let header = bytes.len() - 65_600 - 2 * TAG - 16;
    let near_ends = (0..header + 40).chain(header + 65_536..header + 65_536 + 60);
    for at in near_ends.chain([bytes.len() - 1]) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let error = decrypt(&changed, &[identity()]).expect_err("it was changed");
        assert!(kind(&error).is_some(), "{at}: {error}");
        let error = decrypt(&bytes[..at], &[identity()]).expect_err("it is cut off");
        assert!(kind(&error).is_some(), "{at}: {error}");
    }
    // Between two chunks, which are whole.
    let cut = header + 16 + 65_536 + TAG;
    let mut plain_so_far = Vec::new();
    let mut reading = Decrypting::begin(&bytes[..cut], &[identity()]).expect("the header is whole");
    reading.read_to_end(&mut plain_so_far).expect_err("it is cut off");
    assert!(plain_so_far.is_empty(), "the last chunk is not the last");
    reading.read(&mut [0]).expect_err("it stays so");
    let longer = [&bytes[..], b"x"].concat();
    decrypt(&longer, &[identity()]).expect_err("there is more");
}

#[test]
fn headers_have_one_form_and_a_bound() {
    let bytes = encrypt(b"x", &[identity().recipient()], 1);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let header = text.split("\n---").next().expect("it has one").to_owned();
    let rest = &bytes[header.len()..];
    let of = |header: &str| decrypt(&[header.as_bytes(), rest].concat(), &[identity()]).expect_err("it is another");
    for (from, to) in [
        ("v1", "v2"),
        ("-> X25519", "-> x25519"),
        ("-> X25519", "->  X25519"),
        ("-> X25519", "X25519"),
        ("\n", "\r\n"),
        ("-> X25519 ", "-> X25519 AAAA"),
    ] {
        let changed = header.replacen(from, to, 1);
        assert_ne!(changed, header);
        let error = of(&changed);
        assert!(kind(&error).is_some(), "{from}: {error}");
    }
    let long = format!("{header}\n{}", "-> x\n\n".repeat(20_000));
    let error = of(&long);
    assert!(error.to_string().contains("too long"), "{error}");
    assert!(kind(&of(&"x".repeat(100_000))).is_some());
    // A share of small order would give a secret that everybody knows.
    let zero = "A".repeat(43);
    let share = header
        .split("X25519 ")
        .nth(1)
        .and_then(|it| it.split('\n').next())
        .expect("it has one");
    assert!(matches!(
        kind(&of(&header.replace(share, &zero))),
        Some(AgeError::Malformed(_))
    ));
}

#[test]
fn keys_are_read_in_one_form() {
    assert_eq!(
        Recipient::parse(PUBLIC).map(|it| it.text().to_owned()).as_deref(),
        Some(PUBLIC)
    );
    assert!(Recipient::parse(&PUBLIC.to_uppercase()).is_none());
    assert!(Recipient::parse(KEY).is_none());
    // The point of order 1.
    let zero = crate::age::bech32::encode("age", [0; 32]);
    assert!(Recipient::parse(&zero).is_none());
    assert!(Identity::parse(&KEY.to_lowercase()).is_none());
    assert!(Identity::parse(PUBLIC).is_none());
    let file = format!("# created: today\n# public key: {PUBLIC}\n{KEY}\n\n");
    assert_eq!(Identity::parse_all(&file).map(|all| all.len()), Some(1));
    assert!(Identity::parse_all("# nothing\n").is_none());
    assert!(Identity::parse_all(&format!("{KEY}\nnonsense\n")).is_none());
}

/// Reads so many bytes and then fails as a connection does.
struct CutOff<'b>(&'b [u8]);

impl Read for CutOff<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")),
            read => Ok(read),
        }
    }
}

#[test]
fn who_could_not_be_read_accuses_nobody() {
    let identity = Identity::parse(KEY).expect("a key");
    let mut encrypting = Encrypting::begin(Vec::new(), &[identity.recipient()]).expect("it begins");
    encrypting.write_all(&[7; 200_000]).expect("there is room");
    let bytes = encrypting.finish().expect("it ends");
    let mut reading = Decrypting::begin(CutOff(&bytes[..100_000]), &[identity]).expect("its header is there");
    for _ in 0..2 {
        let error = io::copy(&mut reading, &mut io::sink()).expect_err("it is cut off");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    }
}
