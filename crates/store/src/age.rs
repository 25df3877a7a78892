//! Encryption to recipients of age, version 1 (<https://c2sp.org/age>), with X25519: what is written here is read by
//! `age`, and what `age` has written is read here.
//!
//! Never shows a secret key, and never hands on a byte that was not authenticated. The primitives are those of `ring`
//! and `curve25519-dalek`; passphrases, plugins and keys of SSH are not spoken.

mod bech32;
mod header;
mod stream;

use std::{fmt, io};

use curve25519_dalek::montgomery::MontgomeryPoint;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use zeroize::Zeroizing;

pub use stream::{Decrypting, Encrypting};

/// The most recipients of one file.
pub const RECIPIENTS_MAX: usize = 20;

/// The secret that the chunks and the header of a file are protected with.
type FileKey = Zeroizing<[u8; 16]>;

/// Whom something is encrypted to: a public key.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient {
    text: Box<str>,
    key: [u8; 32],
}

/// What decrypts: a secret key, which is overwritten when it is dropped.
pub struct Identity {
    secret: Zeroizing<[u8; 32]>,
    /// The public key.
    public: [u8; 32],
}

/// Why a file cannot be decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgeError {
    /// It is none.
    #[error("it is no file of age that this build reads: {0}")]
    Malformed(&'static str),
    /// It is encrypted to others.
    #[error("it is encrypted to others: none of the identities can read it")]
    NoMatch,
    /// It is not what was encrypted.
    #[error("it was changed, or cut off: it is not what was encrypted")]
    Changed,
}

impl From<AgeError> for io::Error {
    fn from(error: AgeError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

impl Recipient {
    /// Reads one, such as `age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let key = bech32::decode("age", text)?;
        // A point of small order would make every secret the same.
        let is_sound = MontgomeryPoint(key).mul_clamped([0x42; 32]).0 != [0; 32];
        is_sound.then(|| Self { text: text.into(), key })
    }

    /// As it is written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Identity {
    /// Reads one, as `age-keygen` writes it: `AGE-SECRET-KEY-1…`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // In capital letters, as it is written.
        let is_capital = !text.bytes().any(|it| it.is_ascii_lowercase());
        let text = Zeroizing::new(text.to_ascii_lowercase());
        let secret = Zeroizing::new(bech32::decode("age-secret-key-", &text)?);
        is_capital.then(|| Self::of(secret))
    }

    fn of(secret: Zeroizing<[u8; 32]>) -> Self {
        let public = MontgomeryPoint::mul_base_clamped(*secret).0;
        Self { secret, public }
    }

    /// Reads all of a file of `age-keygen`: a line each, and lines that begin with `#`. `None` when one is none, or
    /// there is none.
    #[must_use]
    pub fn parse_all(text: &str) -> Option<Vec<Self>> {
        let lines = text.lines().map(str::trim);
        let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let all: Vec<Self> = keys.map(Self::parse).collect::<Option<_>>()?;
        (!all.is_empty()).then_some(all)
    }

    /// What is encrypted to whom this is the key of.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient {
            text: bech32::encode("age", self.public).into(),
            key: self.public,
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// HKDF with SHA-256 (RFC 5869), of 32 bytes.
fn derive(secret: &[u8], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    let info = [info];
    Salt::new(HKDF_SHA256, salt)
        .extract(secret)
        .expand(&info, HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut *key))
        .expect("it is as long as a hash");
    key
}

fn sealing(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("it has 32 bytes"))
}

/// Encrypts in place, and appends the tag.
fn seal(key: &LessSafeKey, nonce: [u8; 12], bytes: &mut Vec<u8>) {
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), bytes)
        .expect("it is far shorter than what the cipher takes");
}

/// Decrypts in place; what is left of the bytes.
fn unseal<'b>(key: &LessSafeKey, nonce: [u8; 12], bytes: &'b mut [u8]) -> Option<&'b mut [u8]> {
    key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), bytes)
        .ok()
}

/// What fills bytes with random ones.
type Random<'r> = dyn FnMut(&mut [u8]) -> io::Result<()> + 'r;

/// Random bytes of this machine.
fn fill(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(|error| io::Error::other(error.to_string()))
}
