//! Putting a large object in parts: begun, sent one after the other, and completed, or aborted.
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
//! - Whatever does not end with the object there, ends with a request to abort the upload.
//!
//! # Assumptions
//! The bucket computes the SHA-256 of each part, and tells as that of the object the SHA-256 of those hashes, with the
//! number of parts (`COMPOSITE`,
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>)

use std::fs::File;
use std::io::Read as _;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use staunch_model::{Failure, FailureKind, Printable, Sha256Hash};

use super::answered::{code_of, element, escaped, refusal, refusal_of, seconds, text_of, unescaped, version_of};
use super::kept::{Sums, Told};
use super::put::{Object, Placed, Where};
use super::{Answer, Bucket, OBJECT_BYTES_MAX, PUT_BYTES_MAX, Payload, is_outage, within};

/// The most parts of one object (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const PARTS_MAX: u64 = 10_000;

/// How often a part is sent, and a completion asked for, while nobody answers: one broken connection of hundreds begins
/// no day of work again.
const TRIES_MAX: u32 = 3;

/// How long a completion may take: S3 says that it can be several minutes.
const COMPLETE_WITHIN: Duration = Duration::from_secs(600);

/// The longest name of an upload, and tag of a part, that is taken.
const TOKEN_CHARS_MAX: usize = 1_024;

/// How objects are put in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartSizes {
    /// Objects of more bytes are.
    pub above: u64,
    /// The bytes of a part. Those of objects for which 10,000 such are not enough have more.
    pub least: u64,
}

impl PartSizes {
    /// Those of S3: what is put in one request is sent again as a whole, and a part is held in memory.
    pub const S3: Self = Self {
        above: 64 << 20,
        least: 16 << 20,
    };

    /// The bytes of each part but the last of an object of so many.
    #[must_use]
    pub const fn of(self, object_bytes: u64) -> u64 {
        let needed = object_bytes.div_ceil(PARTS_MAX);
        if needed > self.least { needed } else { self.least }
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
struct Part {
    tag: String,
    sha256: Sha256Hash,
}

/// What is known after a request to complete an upload.
enum Completed {
    /// It is there, as this version.
    As(String),
    /// It is there, and the answer does not say as which version.
    Unsaid,
    /// The name is taken.
    Taken,
    /// The bucket knows no such upload: it was completed before, or aborted.
    Gone,
    /// Nothing is known.
    Unknown(Failure),
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
        let before = match self.head(object.name, None, by)? {
            Some(head) => Some(version_of(&head)?),
            None => None,
        };
        if at == Where::Free && before.is_some() {
            return Ok(Placed::Taken);
        }
        if let Err(failure) = self.abort_unfinished(object.name, &|name| name == object.name, by) {
            tracing::debug!(%failure, name = object.name, "what was left of uploads of this object is not known");
        }
        let upload = self.begin(object, by)?;
        let placed = self
            .send_parts(&upload, object.sha256, (file, size), by)
            .and_then(|parts| self.complete(&upload, &parts, object.sha256, (at, before.as_deref()), by));
        if !matches!(placed, Ok(Placed::New(..))) {
            // It may be late because the time is up; it costs money for as long as it is there.
            let aborted = self.abort(upload.name, &upload.id, Instant::now() + within(0));
            if let Err(failure) = aborted {
                tracing::warn!(
                    %failure, name = upload.name, upload = %Printable(&upload.id),
                    "the parts of an upload that failed are left in the bucket; the next attempt and the next start abort it"
                );
            }
        }
        placed
    }

    /// The SHA-256 of the hashes of the parts of a file, as a bucket tells it.
    pub(crate) fn hash_of_parts(&self, file: &File, size: u64) -> Result<Option<String>, Failure> {
        let sizes = self.settings().parts;
        if size <= sizes.above {
            return Ok(None);
        }
        let mut hashes = Sha256::new();
        each_part(file, size, sizes.of(size), &mut |part| {
            hashes.update(Sha256Hash::of(part).0);
            Ok(())
        })?;
        Ok(Some(STANDARD.encode(hashes.finalize())))
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
        let by = by.min(Instant::now() + within(0));
        let mut answer = self.ask("POST", object.name, &[("uploads", "")], &headers, nothing, by)?;
        if answer.status != 200 {
            return Err(refusal(&mut answer, "begin to put an object in parts"));
        }
        let id = element(&text_of(&mut answer)?, "UploadId").map(|it| unescaped(&it));
        let id = id.filter(|it| is_token(it)).ok_or_else(|| {
            let what = "the bucket begins an upload in parts and gives it no name";
            Failure::new(FailureKind::Invalid, what)
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
            let by = by.min(Instant::now() + within(bytes.len() as u64));
            match self.try_part(upload, number, (bytes, sha256), by) {
                Err(failure) if is_outage(&failure) && tries < TRIES_MAX => tries += 1,
                tried => return tried,
            }
        }
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
            return Err(refusal(&mut answer, "put a part of an object"));
        }
        if answer
            .headers
            .get("x-amz-checksum-sha256")
            .is_some_and(|it| *it != checksum)
        {
            let what = format!("the bucket has another SHA-256 for part {number} than it was sent");
            return Err(Failure::new(FailureKind::Invalid, &what));
        }
        let tag = answer.headers.get("etag").filter(|it| is_token(it)).cloned();
        let tag = tag.ok_or_else(|| {
            let what = format!("the bucket takes part {number} and gives it no tag");
            Failure::new(FailureKind::Invalid, &what)
        })?;
        Ok(Part { tag, sha256 })
    }

    /// Completes an upload, where `before` is the version that had the name before.
    fn complete(
        &self,
        upload: &Upload<'_>,
        parts: &[Part],
        whole: Sha256Hash,
        (at, before): (Where, Option<&str>),
        by: Instant,
    ) -> Result<Placed, Failure> {
        let mut hashes = Sha256::new();
        for part in parts {
            hashes.update(part.sha256.0);
        }
        let sums = Sums::in_parts(whole, STANDARD.encode(hashes.finalize()));
        let body = completion(parts);
        let mut tries = 0;
        loop {
            tries += 1;
            let (is_taken, unknown) = match self.try_complete(upload, &body, at, by)? {
                Completed::As(version) => return Ok(Placed::New(version, sums)),
                // Nothing of ours can be there yet.
                Completed::Taken if tries == 1 => return Ok(Placed::Taken),
                Completed::Taken => (true, None),
                Completed::Gone | Completed::Unsaid => (false, None),
                Completed::Unknown(failure) => (false, Some(failure)),
            };
            // It may be there all the same: by this answer, or by one that was lost.
            let failure = match (self.find_completed(upload.name, before, &sums, by), unknown) {
                (Ok(Some(version)), _) => return Ok(Placed::New(version, sums)),
                (Ok(None), None) if is_taken => return Ok(Placed::Taken),
                (Ok(None), None) => return Err(lost(&self.address(upload.name))),
                (_, Some(failure)) | (Err(failure), None) => failure,
            };
            if tries == TRIES_MAX {
                return Err(failure);
            }
        }
    }

    fn try_complete(&self, upload: &Upload<'_>, body: &str, at: Where, by: Instant) -> Result<Completed, Failure> {
        let headers: &[(&str, &str)] = match at {
            Where::Free => &[("if-none-match", "*")],
            Where::Over => &[],
        };
        let (query, sha256) = ([("uploadId", &*upload.id)], Sha256Hash::of(body.as_bytes()));
        let (payload, by) = (
            Payload::Bytes(body.as_bytes()),
            by.min(Instant::now() + COMPLETE_WITHIN),
        );
        let asked = self.ask_with("POST", upload.name, &query, headers, payload, sha256, by);
        match asked.and_then(|mut answer| Ok((text_of(&mut answer)?, answer))) {
            Ok((text, answer)) => completed(&answer, &text),
            Err(failure) if is_outage(&failure) => Ok(Completed::Unknown(failure)),
            Err(failure) => Err(failure),
        }
    }

    /// The version that the name has by now, when it is another than before and has these parts.
    fn find_completed(
        &self,
        name: &str,
        before: Option<&str>,
        sums: &Sums,
        by: Instant,
    ) -> Result<Option<String>, Failure> {
        let Some(head) = self.head(name, None, by)? else {
            return Ok(None);
        };
        let version = version_of(&head)?;
        let is_it = before != Some(&*version) && Told::by(&head.headers).is_parts_of(sums);
        Ok(is_it.then_some(version))
    }
}

/// What an answer to a request to complete an upload means. S3 may say 200 before it knows, and then an error.
fn completed(answer: &Answer, text: &str) -> Result<Completed, Failure> {
    const DOING: &str = "complete an object in parts";
    let code = code_of(text);
    let failure = || refusal_of(answer.status, text, DOING);
    Ok(match (answer.status, code.as_deref()) {
        (412, _) | (200, Some("PreconditionFailed")) => Completed::Taken,
        (_, Some("NoSuchUpload")) => Completed::Gone,
        (409, _) | (200, Some("ConditionalRequestConflict")) => {
            let what = "the bucket is asked for the same object by somebody else";
            return Err(Failure::new(FailureKind::Unavailable, what));
        }
        (200, None) if text.contains("<CompleteMultipartUploadResult") => match version_of(answer) {
            Ok(version) => Completed::As(version),
            Err(_) => Completed::Unsaid,
        },
        // It was cut off, or is none of what S3 says.
        (200, None) => {
            let what = "the bucket does not say whether an object in parts is complete";
            Completed::Unknown(Failure::new(FailureKind::Unavailable, what))
        }
        (200, Some("InternalError" | "SlowDown" | "ServiceUnavailable" | "RequestTimeout")) => {
            Completed::Unknown(Failure::new(FailureKind::Unavailable, &failure().what))
        }
        (200, Some(_)) => return Err(Failure::new(FailureKind::Invalid, &failure().what)),
        _ if is_outage(&failure()) => Completed::Unknown(failure()),
        _ => return Err(failure()),
    })
}

fn lost(address: &str) -> Failure {
    let what = format!("the bucket knows nothing of an upload in parts, nor of the object: {address}");
    Failure::new(FailureKind::Unavailable, &what)
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

/// What names the parts of an upload.
fn completion(parts: &[Part]) -> String {
    let mut text = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_owned();
    for (number, part) in (1..).zip(parts) {
        text.push_str(&format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag><ChecksumSHA256>{}</ChecksumSHA256></Part>",
            escaped(&part.tag),
            STANDARD.encode(part.sha256.0)
        ));
    }
    text.push_str("</CompleteMultipartUpload>");
    text
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= TOKEN_CHARS_MAX
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
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

    #[test]
    fn an_answer_of_200_is_read_to_its_end() {
        let said = |status, text: &str, version: Option<&str>| {
            let headers = version.map(|it| ("x-amz-version-id".to_owned(), it.to_owned()));
            let answer = Answer {
                status,
                headers: headers.into_iter().collect::<BTreeMap<_, _>>(),
                body: Box::new(std::io::empty()),
            };
            let known = completed(&answer, text);
            match known {
                Ok(Completed::As(version)) => version,
                Ok(Completed::Unsaid) => "unsaid".to_owned(),
                Ok(Completed::Taken) => "taken".to_owned(),
                Ok(Completed::Gone) => "gone".to_owned(),
                Ok(Completed::Unknown(failure)) => format!("unknown {:?}", failure.kind),
                Err(failure) => format!("refused {:?}", failure.kind),
            }
        };
        let error = |code: &str| format!("   \n<Error><Code>{code}</Code></Error>");
        let unknown = "unknown Unavailable";
        let result = "  <CompleteMultipartUploadResult xmlns=\"x\"></CompleteMultipartUploadResult>";
        assert_eq!(said(200, result, Some("v1")), "v1");
        assert_eq!(said(200, result, None), "unsaid");
        assert_eq!(said(200, &error("InternalError"), Some("v1")), unknown);
        assert_eq!(said(200, "   ", Some("v1")), unknown);
        assert_eq!(said(503, &error("SlowDown"), None), unknown);
        assert_eq!(said(200, &error("PreconditionFailed"), None), "taken");
        assert_eq!(said(412, &error("PreconditionFailed"), None), "taken");
        assert_eq!(said(200, &error("NoSuchUpload"), None), "gone");
        assert_eq!(said(404, &error("NoSuchUpload"), None), "gone");
        let refused = |kind: FailureKind| format!("refused {kind:?}");
        assert_eq!(said(200, &error("EntityTooSmall"), None), refused(FailureKind::Invalid));
        assert_eq!(said(400, &error("InvalidPart"), None), refused(FailureKind::Invalid));
        assert_eq!(said(403, &error("AccessDenied"), None), refused(FailureKind::Denied));
        assert_eq!(
            said(409, &error("ConditionalRequestConflict"), None),
            refused(FailureKind::Unavailable)
        );
    }

    #[test]
    fn a_tag_is_text() {
        let part = Part {
            tag: "\"a&<b\"".to_owned(),
            sha256: Sha256Hash::of(b"x"),
        };
        let text = completion(&[part]);
        assert!(text.contains("<ETag>&quot;a&amp;&lt;b&quot;</ETag>"), "{text}");
        assert!(text.contains("<PartNumber>1</PartNumber>"), "{text}");
    }
}
