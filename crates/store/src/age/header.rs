//! The header of a file of age: for each recipient a stanza that holds the key of the file, and a code that proves all
//! of it.

use std::io::{self, BufRead, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use curve25519_dalek::montgomery::MontgomeryPoint;
use ring::hmac;
use zeroize::Zeroizing;

use super::{AgeError, FileKey, Identity, Random, Recipient, derive, seal, sealing, unseal};

const VERSION: &str = "age-encryption.org/v1";
const INFO: &[u8] = b"age-encryption.org/v1/X25519";

/// The most bytes of a header: hundreds of recipients.
const HEADER_BYTES_MAX: u64 = 64 << 10;

/// Columns of a line of base64; a shorter one ends a stanza.
const COLUMNS: usize = 64;

/// Writes the header of a file with this key.
pub(super) fn write(key: &FileKey, recipients: &[Recipient], random: &mut Random<'_>) -> io::Result<String> {
    let mut text = format!("{VERSION}\n");
    for recipient in recipients {
        let mut ephemeral = Zeroizing::new([0; 32]);
        random(&mut *ephemeral)?;
        let share = MontgomeryPoint::mul_base_clamped(*ephemeral).0;
        let secret = Zeroizing::new(MontgomeryPoint(recipient.key).mul_clamped(*ephemeral).0);
        let mut body = key.to_vec();
        seal(&sealing(&wrapping(&secret, &share, &recipient.key)), [0; 12], &mut body);
        let (share, body) = (STANDARD_NO_PAD.encode(share), STANDARD_NO_PAD.encode(body));
        // 32 bytes are 43 letters, which is less than a line.
        text.push_str(&format!("-> X25519 {share}\n{body}\n"));
    }
    text.push_str("---");
    let code = STANDARD_NO_PAD.encode(hmac::sign(&code_of(key), text.as_bytes()).as_ref());
    Ok(format!("{text} {code}\n"))
}

/// Reads a header to its end; the key of the file, once the header is proved with it.
///
/// # Errors
/// What reading says, or an [`AgeError`] within.
pub(super) fn read(from: &mut impl BufRead, identities: &[Identity]) -> io::Result<FileKey> {
    let mut lines = Lines {
        from,
        text: String::new(),
    };
    if lines.next()? != VERSION {
        return Err(AgeError::Malformed("it has another version").into());
    }
    let mut key = None;
    let mut has_known = false;
    loop {
        let line = lines.next()?;
        if let Some(code) = line.strip_prefix("--- ") {
            let code = STANDARD_NO_PAD.decode(code);
            let code = code.map_err(|_| AgeError::Malformed("its code has another form"))?;
            let key: FileKey = match key {
                Some(key) => key,
                None if has_known => return Err(AgeError::NoMatch.into()),
                None => return Err(AgeError::Malformed("it is encrypted to no key of X25519").into()),
            };
            let end = lines.text.rfind("---").map_or(0, |at| at + 3);
            let proved = hmac::verify(&code_of(&key), &lines.text.as_bytes()[..end], &code);
            return proved.map(|()| key).map_err(|_| AgeError::Changed.into());
        }
        let stanza = line
            .strip_prefix("-> ")
            .ok_or(AgeError::Malformed("its header has another form"))?;
        let body = lines.body()?;
        let arguments: Vec<&str> = stanza.split(' ').collect();
        if arguments
            .iter()
            .any(|it| it.is_empty() || !it.bytes().all(|it| it.is_ascii_graphic()))
        {
            return Err(AgeError::Malformed("a stanza has another form").into());
        }
        if let ["X25519", rest @ ..] = &arguments[..] {
            has_known = true;
            let found = unwrapped(rest, &body, identities)?;
            key = key.or(found);
        }
    }
}

/// The key in a stanza; `None` when it is for others.
fn unwrapped(arguments: &[&str], body: &[u8], identities: &[Identity]) -> Result<Option<FileKey>, AgeError> {
    let malformed = AgeError::Malformed("a stanza of X25519 has another form");
    let [share] = arguments else { return Err(malformed) };
    let share = STANDARD_NO_PAD.decode(share).map_err(|_| malformed)?;
    let share: [u8; 32] = share.try_into().map_err(|_| malformed)?;
    if body.len() != 32 {
        return Err(malformed);
    }
    for identity in identities {
        let secret = Zeroizing::new(MontgomeryPoint(share).mul_clamped(*identity.secret).0);
        if *secret == [0; 32] {
            return Err(malformed);
        }
        let mut body = Zeroizing::new(body.to_vec());
        let key = sealing(&wrapping(&secret, &share, &identity.public));
        if let Some(key) = unseal(&key, [0; 12], &mut body) {
            return <[u8; 16]>::try_from(&*key)
                .map(|key| Some(FileKey::new(key)))
                .map_err(|_| malformed);
        }
    }
    Ok(None)
}

fn wrapping(secret: &[u8; 32], share: &[u8; 32], recipient: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    derive(secret, &[&share[..], &recipient[..]].concat(), INFO)
}

fn code_of(key: &FileKey) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &*derive(&**key, b"", b"header"))
}

/// The lines of a header, and all of its text so far.
struct Lines<'a, R> {
    from: &'a mut R,
    text: String,
}

impl<R: BufRead> Lines<'_, R> {
    fn next(&mut self) -> io::Result<String> {
        let room = HEADER_BYTES_MAX.saturating_sub(self.text.len() as u64);
        let mut line = Vec::new();
        self.from.by_ref().take(room).read_until(b'\n', &mut line)?;
        let malformed = || io::Error::from(AgeError::Malformed("its header is cut off, too long, or no text"));
        let line = String::from_utf8(line).map_err(|_| malformed())?;
        self.text.push_str(&line);
        line.strip_suffix('\n').map(str::to_owned).ok_or_else(malformed)
    }

    /// The body of a stanza.
    fn body(&mut self) -> io::Result<Vec<u8>> {
        let mut text = String::new();
        loop {
            let line = self.next()?;
            if line.len() > COLUMNS {
                return Err(AgeError::Malformed("a line of its header is too long").into());
            }
            text.push_str(&line);
            if line.len() < COLUMNS {
                let body = STANDARD_NO_PAD.decode(text);
                return body.map_err(|_| AgeError::Malformed("a stanza has another form").into());
            }
        }
    }
}
