//! Time stamps of checkpoints by RFC 3161: the request, and what an answer says.
//!
//! Never verifies the signature of the authority: that needs its certificate, and `openssl ts -verify` does it. What is
//! read here is whether an answer was granted, and that it is of these bytes and of this request.

use std::fmt;

use staunch_model::Sha256Hash;

/// The most bytes of an answer. Those with a whole chain of certificates have some 10 KiB.
pub const STAMP_BYTES_MAX: u64 = 64 << 10;

/// SHA-256 (RFC 5754, section 2.2).
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// Signed data (RFC 5652, section 5.1).
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// `id-ct-TSTInfo` (RFC 3161, section 2.4.2).
const TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const NULL: u8 = 0x05;
const OBJECT: u8 = 0x06;
const TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const TAGGED_0: u8 = 0xa0;

/// A request for a time stamp (RFC 3161, section 2.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StampRequest {
    imprint: Sha256Hash,
    nonce: [u8; 8],
}

/// Why an answer is no time stamp of what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StampError {
    /// The authority has not granted it.
    #[error("the authority has not granted it: status {status}")]
    NotGranted {
        /// What it says: 2 is a rejection, 3 to wait, 4 and 5 a revocation (RFC 3161, section 2.4.2).
        status: u8,
    },
    /// It cannot be read.
    #[error("it is no time stamp: {0}")]
    Malformed(&'static str),
    /// It is a time stamp of something else.
    #[error("it is the time stamp of something else: {0}")]
    Other(&'static str),
}

/// What a granted time stamp says, without who says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// What was stamped.
    pub imprint: Sha256Hash,
    /// When, in UTC.
    pub time: StampTime,
    /// The nonce of the request, as it is encoded.
    nonce: Option<Vec<u8>>,
}

/// When a time stamp was made, to the second, as the authority says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StampTime([u8; 14]);

impl fmt::Display for StampTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = std::str::from_utf8(&self.0).map_err(|_| fmt::Error)?;
        let (year, month, day) = (&digits[..4], &digits[4..6], &digits[6..8]);
        let (hour, minute, second) = (&digits[8..10], &digits[10..12], &digits[12..]);
        write!(f, "{year}-{month}-{day}T{hour}:{minute}:{second}Z")
    }
}

impl StampRequest {
    /// Asks for a stamp of `bytes`, with a nonce of `random` bits.
    #[must_use]
    pub fn new(bytes: &[u8], random: [u8; 8]) -> Self {
        let mut nonce = random;
        // A whole number that is positive and has eight bytes, whatever the random bits are.
        nonce[0] = (nonce[0] & 0x3f) | 0x40;
        let imprint = Sha256Hash::of(bytes);
        Self { imprint, nonce }
    }

    /// Its encoding in DER. The certificate of the authority is asked for.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let algorithm = element(SEQUENCE, &[element(OBJECT, &[SHA256]), element::<[u8; 0]>(NULL, &[])]);
        let imprint = element(SEQUENCE, &[algorithm, element(OCTETS, &[self.imprint.0])]);
        let (version, nonce) = (element(INTEGER, &[[1]]), element(INTEGER, &[self.nonce]));
        element(SEQUENCE, &[version, imprint, nonce, element(BOOLEAN, &[[0xff]])])
    }

    /// Reads one that [`Self::to_bytes`] wrote.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let read = || {
            let mut fields = Der(bytes).only(SEQUENCE)?;
            fields.next(INTEGER)?;
            let imprint = imprint(&mut fields)?;
            let nonce = fields.next(INTEGER)?.0.try_into().map_err(|_| "its nonce")?;
            Ok::<_, &str>(Self { imprint, nonce })
        };
        read().ok().filter(|it| it.to_bytes() == bytes)
    }
}

impl Stamp {
    /// Reads an answer (RFC 3161, section 2.4.2).
    ///
    /// # Errors
    /// When it is not granted, or cannot be read.
    pub fn parse(answer: &[u8]) -> Result<Self, StampError> {
        if answer.len() as u64 > STAMP_BYTES_MAX {
            return Err(StampError::Malformed("it is too long"));
        }
        let malformed = StampError::Malformed;
        let mut answer = Der(answer).only(SEQUENCE).map_err(malformed)?;
        let status = answer
            .next(SEQUENCE)
            .and_then(|mut it| it.next(INTEGER))
            .map_err(malformed)?;
        match status.0 {
            // Granted, and granted with changes.
            [0 | 1] => {}
            [status] => return Err(StampError::NotGranted { status: *status }),
            _ => return Err(malformed("its status")),
        }
        let info = info(answer).map_err(malformed)?;
        Self::of_info(info).map_err(malformed)
    }

    fn of_info(info: &[u8]) -> Result<Self, &'static str> {
        let mut fields = Der(info).only(SEQUENCE)?;
        fields.next(INTEGER)?;
        fields.next(OBJECT)?;
        let imprint = imprint(&mut fields)?;
        fields.next(INTEGER)?;
        let time = time(fields.next(TIME)?.0)?;
        fields.skip(SEQUENCE)?;
        fields.skip(BOOLEAN)?;
        let nonce = match fields.peek() {
            Some(INTEGER) => Some(fields.next(INTEGER)?.0.to_vec()),
            _ => None,
        };
        Ok(Self { imprint, time, nonce })
    }

    /// Whether it is the answer to `request`, which is of `bytes`.
    ///
    /// # Errors
    /// When it is not.
    pub fn answers(&self, request: &StampRequest, bytes: &[u8]) -> Result<(), StampError> {
        let of = Sha256Hash::of(bytes);
        if request.imprint != of {
            return Err(StampError::Other("the request is of other bytes"));
        }
        if self.imprint != of {
            return Err(StampError::Other("it is of other bytes"));
        }
        if self.nonce.as_deref() != Some(&request.nonce) {
            return Err(StampError::Other("it answers another request"));
        }
        Ok(())
    }
}

/// The `TSTInfo` in an answer, whose status was read.
fn info(mut answer: Der<'_>) -> Result<&[u8], &'static str> {
    let mut content = answer.next(SEQUENCE)?;
    content.object(SIGNED_DATA, "it is no signed data")?;
    let mut signed = content.next(TAGGED_0)?.only(SEQUENCE)?;
    signed.next(INTEGER)?;
    signed.next(SET)?;
    let mut inner = signed.next(SEQUENCE)?;
    inner.object(TST_INFO, "what is signed is no time stamp")?;
    Ok(inner.next(TAGGED_0)?.only(OCTETS)?.0)
}

fn imprint(fields: &mut Der<'_>) -> Result<Sha256Hash, &'static str> {
    let mut imprint = fields.next(SEQUENCE)?;
    imprint
        .next(SEQUENCE)?
        .object(SHA256, "it is of another kind of hash")?;
    let hash = imprint.next(OCTETS)?.0;
    hash.try_into()
        .map(Sha256Hash)
        .map_err(|_| "its imprint has another length")
}

/// `YYYYMMDDhhmmss[.s...]Z`.
fn time(text: &[u8]) -> Result<StampTime, &'static str> {
    const NO_TIME: &str = "its time";
    let (digits, rest) = text.split_first_chunk::<14>().ok_or(NO_TIME)?;
    let is_fraction = |it: &[u8]| it.len() > 1 && it[0] == b'.' && it[1..].iter().all(u8::is_ascii_digit);
    let fraction = rest.strip_suffix(b"Z").ok_or(NO_TIME)?;
    if digits.iter().all(u8::is_ascii_digit) && (fraction.is_empty() || is_fraction(fraction)) {
        Ok(StampTime(*digits))
    } else {
        Err(NO_TIME)
    }
}

/// Elements in DER that are read one after the other.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The content of the next element, which has this tag.
    fn next(&mut self, tag: u8) -> Result<Self, &'static str> {
        const CUT: &str = "it is cut off";
        let [found, length, rest @ ..] = self.0 else {
            return Err(CUT);
        };
        if *found != tag {
            return Err("it has other fields");
        }
        let (length, rest) = match length {
            0..=0x7f => (usize::from(*length), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f)).ok_or(CUT)?;
                (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return Err("a length is not in DER"),
        };
        let (content, rest) = rest.split_at_checked(length).ok_or(CUT)?;
        self.0 = rest;
        Ok(Self(content))
    }

    /// The content of an element behind which there is nothing.
    fn only(mut self, tag: u8) -> Result<Self, &'static str> {
        let content = self.next(tag)?;
        if self.0.is_empty() {
            Ok(content)
        } else {
            Err("there is more behind it")
        }
    }

    /// Passes over an element that may be there.
    fn skip(&mut self, tag: u8) -> Result<(), &'static str> {
        if self.peek() == Some(tag) {
            self.next(tag)?;
        }
        Ok(())
    }

    fn object(&mut self, known: &[u8], otherwise: &'static str) -> Result<(), &'static str> {
        if self.next(OBJECT)?.0 == known {
            Ok(())
        } else {
            Err(otherwise)
        }
    }
}

/// An element in DER. What is written here is shorter than 128 bytes.
fn element<P: AsRef<[u8]>>(tag: u8, parts: &[P]) -> Vec<u8> {
    let content: Vec<u8> = parts.iter().flat_map(AsRef::as_ref).copied().collect();
    let length = u8::try_from(content.len()).ok().filter(|it| *it < 0x80);
    let mut element = vec![tag, length.expect("requests have some 70 bytes")];
    element.extend(content);
    element
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKPOINT: &[u8] = b"web-1/staunch\n12\nroot\n";

    fn long(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
        let content = parts.concat();
        let length = u16::try_from(content.len()).expect("it is short").to_be_bytes();
        let mut element = vec![tag, 0x82, length[0], length[1]];
        element.extend(content);
        element
    }

    fn answer(status: u8, of: &[u8], nonce: &[u8], time: &[u8]) -> Vec<u8> {
        let algorithm = element(SEQUENCE, &[element(OBJECT, &[SHA256])]);
        let info = long(
            SEQUENCE,
            &[
                element(INTEGER, &[[1]]),
                element(OBJECT, &[[0x2a, 3]]),
                element(SEQUENCE, &[algorithm, element(OCTETS, &[Sha256Hash::of(of).0])]),
                element(INTEGER, &[[9]]),
                element(TIME, &[time]),
                element(SEQUENCE, &[element(INTEGER, &[[1]])]),
                element(BOOLEAN, &[[0xff]]),
                element(INTEGER, &[nonce]),
            ],
        );
        let inner = long(
            SEQUENCE,
            &[element(OBJECT, &[TST_INFO]), long(TAGGED_0, &[long(OCTETS, &[info])])],
        );
        let signed = long(SEQUENCE, &[element(INTEGER, &[[3]]), element(SET, &[[0_u8; 0]]), inner]);
        let content = long(SEQUENCE, &[element(OBJECT, &[SIGNED_DATA]), long(TAGGED_0, &[signed])]);
        let status = element(SEQUENCE, &[element(INTEGER, &[[status]])]);
        long(SEQUENCE, &[status, content])
    }

    #[test]
    fn a_stamp_answers_its_request_and_no_other() {
        let request = StampRequest::new(CHECKPOINT, [0xff; 8]);
        assert_eq!(StampRequest::parse(&request.to_bytes()), Some(request));
        let stamp = |it: &[u8]| Stamp::parse(it).expect("it can be read");
        let good = stamp(&answer(0, CHECKPOINT, &request.nonce, b"20261127011530.25Z"));
        assert_eq!(good.time.to_string(), "2026-11-27T01:15:30Z");
        assert_eq!(good.answers(&request, CHECKPOINT), Ok(()));
        let of_other = stamp(&answer(0, b"other", &request.nonce, b"20261127011530Z"));
        assert_eq!(
            of_other.answers(&request, CHECKPOINT),
            Err(StampError::Other("it is of other bytes"))
        );
        let replayed = stamp(&answer(0, CHECKPOINT, &[0x41; 8], b"20261127011530Z"));
        let other = Err(StampError::Other("it answers another request"));
        assert_eq!(replayed.answers(&request, CHECKPOINT), other);
        assert!(good.answers(&request, b"other").is_err());
    }

    #[test]
    fn what_is_refused_or_damaged_is_no_stamp() {
        let nonce = StampRequest::new(CHECKPOINT, [0; 8]).nonce;
        let refused = Stamp::parse(&answer(2, CHECKPOINT, &nonce, b"20261127011530Z"));
        assert_eq!(refused, Err(StampError::NotGranted { status: 2 }));
        for time in [
            &b"2026112701153Z"[..],
            b"20261127011530",
            b"20261127011530.Z",
            b"2026112701153aZ",
        ] {
            let error = Stamp::parse(&answer(0, CHECKPOINT, &nonce, time)).expect_err("it has no time");
            assert_eq!(error, StampError::Malformed("its time"));
        }
        let whole = answer(0, CHECKPOINT, &nonce, b"20261127011530Z");
        for end in 0..whole.len() {
            assert!(Stamp::parse(&whole[..end]).is_err(), "cut at {end}");
        }
        let longer = [whole.as_slice(), &[0]].concat();
        assert_eq!(
            Stamp::parse(&longer),
            Err(StampError::Malformed("there is more behind it"))
        );
    }
}
