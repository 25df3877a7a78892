//! Putting a large object in parts (a multipart upload): begun, sent one after the other, and completed, or aborted.
//!
//! Never holds more of an object than one part, and never takes a completion for one that the bucket does not know.
//!
//! # Expected flow
//! The name is looked at, what an attempt before has left under it is aborted, an upload begins with the lock, each
//! part goes with its SHA-256, and the upload is completed
//!
//! # Guarantees
//! - Nothing is completed that is not the bytes whose SHA-256 was asked for.
//! - A completion whose answer was lost counts when the bucket has a new version whose hash is that of the hashes of
//!   these parts; otherwise it is not there.
//! - An upload of which the bucket does not say that it has become the object, ends with a request to abort it.
//!
//! # Assumptions
//! The bucket computes the SHA-256 of each part, and tells as that of the object the SHA-256 of those hashes, with the
//! number of parts (a composite checksum, `COMPOSITE`,
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>)
//!
//! # Caveats
//! When the answer to the request that begins an upload is lost, nobody knows what to abort: it stays an incomplete
//! multipart upload, without parts, until the next attempt or the next start lists it, or a rule of the bucket ends it

use std::fs::File;
use std::io::Read as _;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use staunch_model::{Failure, FailureKind, Printable, Sha256Hash};

use super::answered::{element, refusal, seconds, text_of, unescaped, version_of};
use super::complete::{COMPLETE_WITHIN, Ended};
use super::kept::OfParts;
use super::put::{Object, Placed, Where};
use super::{Bucket, OBJECT_BYTES_MAX, PUT_BYTES_MAX, Payload, is_outage, soon, within};

/// The most parts of one object (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const PARTS_MAX: u64 = 10_000;

/// How often a part is sent, and a completion asked for, while nobody answers: one broken connection of hundreds begins
/// no day of work again, nor does an outage of seconds.
pub(super) const TRIES_MAX: u32 = 3;

/// The longest name of an upload, and tag of a part, that is taken.
const TOKEN_CHARS_MAX: usize = 1_024;

/// How objects are put in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartSizes {
    /// Objects of more bytes are.
    pub above: u64,
    /// The bytes of a part. Those of objects for which 10,000 such are not enough have more.
    pub least: u64,
    /// How long nothing is asked after a request that nobody has answered; after the second, twice as long.
    pub pause: Duration,
}

impl PartSizes {
    /// Those of S3: what is put in one request is sent again as a whole, and a part is held in memory.
    pub const S3: Self = Self {
        above: 64 << 20,
        least: 16 << 20,
        pause: Duration::from_secs(5),
    };

    /// The bytes of each part but the last of an object of so many.
    #[must_use]
    pub const fn of(self, object_bytes: u64) -> u64 {
        let needed = object_bytes.div_ceil(PARTS_MAX);
        if needed > self.least { needed } else { self.least }
    }

    /// How long it may take to put an object of so many bytes: what each request may take that it needs, and what one
    /// part and the completion may take when they are tried again. What goes wrong more often is to fit into the 30
    /// seconds that each request has besides its bytes.
    pub(super) fn within(self, object_bytes: u64) -> Duration {
        if object_bytes <= self.above {
            return within(object_bytes);
        }
        let part = self.of(object_bytes);
        let parts = u32::try_from(object_bytes.div_ceil(part)).unwrap_or(u32::MAX);
        // To look at the name, to list and to abort what is there, and to begin.
        let before = within(0).saturating_mul(4);
        let again =
            (within(part) + COMPLETE_WITHIN).saturating_mul(TRIES_MAX) + self.pause.saturating_mul(2 * TRIES_MAX);
        before
            .saturating_add(within(part).saturating_mul(parts))
            .saturating_add(again)
    }
}

/// S3 takes no smaller parts, but for the last.
const PART_BYTES_MIN: u64 = 5 << 20;

const _: () = assert!(PartSizes::S3.least >= PART_BYTES_MIN);
const _: () = assert!(PartSizes::S3.above <= PUT_BYTES_MAX);
const _: () = assert!(PartSizes::S3.of(OBJECT_BYTES_MAX) <= PUT_BYTES_MAX);
const _: () = assert!(PartSizes::S3.of(OBJECT_BYTES_MAX) * PARTS_MAX >= OBJECT_BYTES_MAX);

/// An upload that has begun.
pub(super) struct Upload<'a> {
    pub(super) name: &'a str,
    pub(super) id: String,
}

/// A part that is there.
pub(super) struct Part {
    pub(super) tag: String,
    pub(super) sha256: Sha256Hash,
}

impl Bucket {
    /// Puts `size` bytes of a file in parts.
    pub(super) fn put_in_parts(
        &self,
        object: &Object<'_>,
        (file, size): (&File, u64),
        at: Where,
        by: Instant,
    ) -> Result<Placed, Failure> {
        // A taken name is seen before hours of sending, and a version from before is not taken for this one.
        // Where nothing may be, it need not be known that nothing is: the completion holds the bucket to it.
        let head = match at {
            Where::Free => self.look(object.name, by)?,
            Where::Over => self.head(object.name, None, by)?,
        };
        let before = match head {
            Some(head) => Some(version_of(&head)?),
            None => None,
        };
        if at == Where::Free && before.is_some() {
            return Ok(Placed::Taken);
        }
        if let Err(failure) = self.abort_unfinished(object.name, &|name| name == object.name, soon(by)) {
            tracing::warn!(
                %failure, name = object.name,
                "uploads of this object that did not end are not aborted; have a rule of the bucket do it"
            );
        }
        let upload = self.begin(object, by)?;
        let ended = self
            .send_parts(&upload, object.sha256, (file, size), by)
            .and_then(|parts| self.complete(&upload, &parts, object.sha256, (at, before.as_deref()), by));
        if !matches!(ended, Ok(Ended::Said(..))) {
            // It may be late because the time is up; it costs money for as long as it is there. One that has become
            // the object is not there, which is as good.
            let aborted = self.abort(upload.name, &upload.id, Instant::now() + within(0));
            if let Err(failure) = aborted {
                tracing::warn!(
                    %failure, name = upload.name, upload = %Printable(&upload.id),
                    "the parts of an upload that failed may be left in the bucket; the next attempt and the next start abort \
                     it where the key may, otherwise have a rule of the bucket do it"
                );
            }
        }
        Ok(match ended? {
            Ended::Said(version, sums) | Ended::Found(version, sums) => Placed::New(version, sums),
            Ended::Taken => Placed::Taken,
            Ended::Contested => Placed::Contested,
        })
    }

    /// What a bucket tells of the parts of a file, when they are cut as the settings say.
    pub(crate) fn parts_of(&self, file: &File, size: u64) -> Result<Option<OfParts>, Failure> {
        let sizes = self.settings().parts;
        if size <= sizes.above {
            return Ok(None);
        }
        let mut hashes = Sha256::new();
        each_part(file, size, sizes.of(size), &mut |part| {
            hashes.update(Sha256Hash::of(part).0);
            Ok(())
        })?;
        Ok(Some(OfParts {
            hash: STANDARD.encode(hashes.finalize()),
            count: Some(size.div_ceil(sizes.of(size))),
        }))
    }

    fn begin<'a>(&self, object: &Object<'a>, by: Instant) -> Result<Upload<'a>, Failure> {
        let until = seconds(object.lock.until);
        let mut headers = vec![
            ("x-amz-checksum-algorithm", "SHA256"),
            ("x-amz-checksum-type", "COMPOSITE"),
            ("x-amz-object-lock-mode", object.lock.mode.header()),
            ("x-amz-object-lock-retain-until-date", &*until),
        ];
        if object.lock.has_legal_hold {
            headers.push(("x-amz-object-lock-legal-hold", "ON"));
        }
        let nothing = Payload::Bytes(b"");
        let mut answer = self.ask("POST", object.name, &[("uploads", "")], &headers, nothing, soon(by))?;
        if answer.status != 200 {
            return Err(refusal(&mut answer, &format!("begin to put {} in parts", object.name)));
        }
        let id = element(&text_of(&mut answer)?, "UploadId").map(|it| unescaped(&it));
        let id = id.filter(|it| is_token(it)).ok_or_else(|| {
            let what = format!(
                "the bucket begins an upload in parts and gives it no name: {}",
                object.name
            );
            Failure::new(FailureKind::Invalid, &what)
        })?;
        Ok(Upload { name: object.name, id })
    }

    fn send_parts(
        &self,
        upload: &Upload<'_>,
        sha256: Sha256Hash,
        (file, size): (&File, u64),
        by: Instant,
    ) -> Result<Vec<Part>, Failure> {
        let mut parts = Vec::new();
        let whole = each_part(file, size, self.settings().parts.of(size), &mut |part| {
            parts.push(self.put_part(upload, parts.len() + 1, part, by)?);
            Ok(())
        })?;
        if whole != sha256 {
            let what = format!(
                "the file that was to be sent has changed: its SHA-256 is {whole}: {}",
                self.address(upload.name)
            );
            return Err(Failure::new(FailureKind::Conflict, &what));
        }
        Ok(parts)
    }

    fn put_part(&self, upload: &Upload<'_>, number: usize, bytes: &[u8], by: Instant) -> Result<Part, Failure> {
        let sha256 = Sha256Hash::of(bytes);
        let mut tries = 1;
        loop {
            let this_by = by.min(Instant::now() + within(bytes.len() as u64));
            match self.try_part(upload, number, (bytes, sha256), this_by) {
                Err(failure) if is_outage(&failure) && tries < TRIES_MAX => {
                    self.pause(tries, by);
                    tries += 1;
                }
                tried => return tried,
            }
        }
    }

    /// Waits after so many tries that nobody has answered, as long as there is time.
    pub(super) fn pause(&self, tries: u32, by: Instant) {
        let pause = self.settings().parts.pause.saturating_mul(tries);
        std::thread::sleep(pause.min(by.saturating_duration_since(Instant::now())));
    }

    fn try_part(
        &self,
        upload: &Upload<'_>,
        number: usize,
        (bytes, sha256): (&[u8], Sha256Hash),
        by: Instant,
    ) -> Result<Part, Failure> {
        let (checksum, number) = (STANDARD.encode(sha256.0), number.to_string());
        let headers = [
            // With Object Lock, S3 takes no part without it.
            ("x-amz-checksum-sha256", &*checksum),
            ("x-amz-sdk-checksum-algorithm", "SHA256"),
        ];
        let query = [("partNumber", &*number), ("uploadId", &*upload.id)];
        let payload = Payload::Bytes(bytes);
        let mut answer = self.ask_with("PUT", upload.name, &query, &headers, payload, sha256, by)?;
        if answer.status != 200 {
            return Err(refusal(&mut answer, &format!("put a part of {}", upload.name)));
        }
        if answer
            .headers
            .get("x-amz-checksum-sha256")
            .is_some_and(|it| *it != checksum)
        {
            let what = format!(
                "the bucket has another SHA-256 for part {number} of {} than it was sent",
                upload.name
            );
            return Err(Failure::new(FailureKind::Invalid, &what));
        }
        let tag = answer.headers.get("etag").filter(|it| is_token(it)).cloned();
        let tag = tag.ok_or_else(|| {
            let what = format!("the bucket takes part {number} of {} and gives it no tag", upload.name);
            Failure::new(FailureKind::Invalid, &what)
        })?;
        Ok(Part { tag, sha256 })
    }
}

/// Hands over one part after the other of so many bytes of a file, and returns the SHA-256 of all. One part at a time
/// is in memory.
fn each_part(
    file: &File,
    size: u64,
    part_bytes: u64,
    take: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<Sha256Hash, Failure> {
    let failed = |what: &str| {
        let what = format!("cannot read what is to be sent in parts: {what}");
        Failure::new(FailureKind::Invalid, &what)
    };
    let mut left = size;
    let mut whole = Sha256::new();
    let mut part = Vec::new();
    while left > 0 {
        let bytes = left.min(part_bytes);
        part.clear();
        let room = usize::try_from(bytes).map_err(|_| failed("a part does not fit into memory"))?;
        part.try_reserve_exact(room)
            .map_err(|error| failed(&error.to_string()))?;
        let read = file.take(bytes).read_to_end(&mut part);
        read.map_err(|error| failed(&error.to_string()))?;
        if part.len() as u64 != bytes {
            return Err(failed("the file has become shorter"));
        }
        whole.update(&part);
        take(&part)?;
        left -= bytes;
    }
    Ok(Sha256Hash(whole.finalize().into()))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= TOKEN_CHARS_MAX
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn ten_thousand_parts_are_enough_for_any_object() {
        let sizes = PartSizes::S3;
        for (object, part) in [
            (sizes.above + 1, 16 << 20),
            (10 << 30, 16 << 20),
            (16 << 30, 16 << 20),
            (PARTS_MAX * sizes.least, 16 << 20),
            (PARTS_MAX * sizes.least + 1, (16 << 20) + 1),
            (OBJECT_BYTES_MAX, 549_755_814),
        ] {
            assert_eq!(sizes.of(object), part, "{object}");
            assert!(object.div_ceil(sizes.of(object)) <= PARTS_MAX, "{object}");
        }
    }

    #[test]
    fn there_is_time_for_each_part_and_for_what_is_tried_again() {
        let sizes = PartSizes::S3;
        assert_eq!(sizes.within(sizes.above), within(sizes.above));
        for bytes in [sizes.above + 1, 1 << 30, 1 << 40, OBJECT_BYTES_MAX] {
            let parts = bytes.div_ceil(sizes.of(bytes)).try_into().expect("at most 10,000");
            let each = within(sizes.of(bytes));
            let least = each * parts + (each + COMPLETE_WITHIN) * (TRIES_MAX - 1);
            assert!(sizes.within(bytes) > least, "{bytes}");
        }
    }

    #[test]
    fn a_file_is_cut_into_parts_and_hashed_as_a_whole() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"0123456789").expect("room");
        let cut = |size, part_bytes| {
            std::io::Seek::rewind(&mut &file).expect("it can be read again");
            let mut parts = Vec::new();
            let whole = each_part(&file, size, part_bytes, &mut |part| {
                parts.push(String::from_utf8_lossy(part).into_owned());
                Ok(())
            });
            (parts, whole)
        };
        let all = Ok(Sha256Hash::of(b"0123456789"));
        assert_eq!(
            cut(10, 4),
            (vec!["0123".into(), "4567".into(), "89".into()], all.clone())
        );
        assert_eq!(cut(10, 5), (vec!["01234".into(), "56789".into()], all));
        let (parts, whole) = cut(11, 4);
        assert_eq!(parts.len(), 2, "a part that is not whole is not sent");
        assert!(whole.is_err_and(|it| it.to_string().contains("shorter")));
    }
}
