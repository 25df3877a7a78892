//! Completing an upload in parts, and what is known of one whose answer was lost.
//!
//! Never takes what is there for the object without a hash of it, unless the bucket says that it is complete.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use staunch_model::{Failure, FailureKind, Sha256Hash};

use super::answered::{code_of, escaped, is_passing, refusal_of, text_of, version_of};
use super::kept::{OfParts, Sums, Told};
use super::parts::{Part, TRIES_MAX, Upload};
use super::put::Where;
use super::{Answer, Bucket, Payload, is_outage};

/// How long a completion may take: it can be several minutes
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>).
pub(super) const COMPLETE_WITHIN: Duration = Duration::from_secs(600);

/// How an upload ended.
pub(super) enum Ended {
    /// The bucket says that it is this version.
    Said(String, Sums),
    /// This version has its bytes. Whether the upload has become it is not known: somebody else may have put the same.
    Found(String, Sums),
    /// The name is taken.
    Taken,
    /// Somebody else puts an object under this name at the same moment.
    Contested,
}

/// What is known after a request to complete an upload.
enum Completed {
    /// It is there, as this version.
    As(String),
    /// It is there, and the answer does not say as which version.
    Unsaid,
    /// The name is taken.
    Taken,
    /// Somebody else puts an object under this name at the same moment.
    Contested,
    /// The bucket knows no such upload: it was completed before, or aborted.
    Gone,
    /// Nothing is known.
    Unknown(Failure),
}

impl Bucket {
    /// Completes an upload, where `before` is the version that had the name before.
    pub(super) fn complete(
        &self,
        upload: &Upload<'_>,
        parts: &[Part],
        whole: Sha256Hash,
        (at, before): (Where, Option<&str>),
        by: Instant,
    ) -> Result<Ended, Failure> {
        let mut hashes = Sha256::new();
        for part in parts {
            hashes.update(part.sha256.0);
        }
        let of_parts = OfParts {
            hash: STANDARD.encode(hashes.finalize()),
            count: Some(parts.len() as u64),
        };
        let sums = Sums::in_parts(whole, of_parts);
        let body = completion(parts);
        let mut tries = 0;
        loop {
            tries += 1;
            let (otherwise, unknown) = match self.try_complete(upload, &body, at, by)? {
                Completed::As(version) => return Ok(Ended::Said(version, sums)),
                // Nothing of ours can be there yet.
                Completed::Taken if tries == 1 => return Ok(Ended::Taken),
                // S3 has the whole upload begun again after it
                // (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>).
                Completed::Contested if tries == 1 => return Ok(Ended::Contested),
                // It may be our own that is in the way: a completion whose answer was lost.
                Completed::Contested => (Some(Ended::Contested), None),
                Completed::Taken => (Some(Ended::Taken), None),
                Completed::Gone | Completed::Unsaid => (None, None),
                Completed::Unknown(failure) => (None, Some(failure)),
            };
            // It may be there all the same: by this answer, or by one that was lost.
            let failure = match (self.find_completed(upload.name, before, &sums, by), unknown) {
                (Ok(Some(version)), _) => return Ok(Ended::Found(version, sums)),
                (Ok(None), None) => return otherwise.ok_or_else(|| lost(&self.address(upload.name))),
                (Err(failure), _) if !is_outage(&failure) => return Err(failure),
                (_, Some(failure)) | (Err(failure), None) => failure,
            };
            if tries == TRIES_MAX {
                return Err(failure);
            }
            self.pause(tries, by);
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
            Ok((text, answer)) => completed(&answer, &text, upload.name),
            Err(failure) if is_outage(&failure) => Ok(Completed::Unknown(failure)),
            Err(failure) => Err(failure),
        }
    }

    /// The newest version of the name, when it is another than before and the bucket tells that it is these
    /// bytes.
    fn find_completed(
        &self,
        name: &str,
        before: Option<&str>,
        sums: &Sums,
        by: Instant,
    ) -> Result<Option<String>, Failure> {
        let Some(head) = self.look(name, by)? else {
            return Ok(None);
        };
        let version = version_of(&head)?;
        let is_it = before != Some(&*version) && Told::by(&head.headers).is_of(sums) == Some(true);
        Ok(is_it.then_some(version))
    }
}

/// What an answer to a request to complete an upload means. S3 may say 200 before it knows, and then an error.
fn completed(answer: &Answer, text: &str, name: &str) -> Result<Completed, Failure> {
    let code = code_of(text);
    let failure = || refusal_of(answer.status, text, &format!("complete {name} in parts"));
    Ok(match (answer.status, code.as_deref()) {
        (412, _) | (200, Some("PreconditionFailed")) => Completed::Taken,
        (_, Some("NoSuchUpload")) => Completed::Gone,
        (409, _) | (200, Some("ConditionalRequestConflict")) => Completed::Contested,
        (200, None) if text.contains("<CompleteMultipartUploadResult") => match version_of(answer) {
            Ok(version) => Completed::As(version),
            Err(_) => Completed::Unsaid,
        },
        // It was cut off, or is none of what S3 says.
        (200, None) => {
            let what = format!("the bucket does not say whether {name} is complete");
            Completed::Unknown(Failure::new(FailureKind::Conflict, &what))
        }
        (200, Some(code)) if !is_passing(code) => return Err(Failure::new(FailureKind::Invalid, &failure().what)),
        _ if is_outage(&failure()) => Completed::Unknown(failure()),
        _ => return Err(failure()),
    })
}

/// It is of this object alone, and no outage of the bucket.
fn lost(address: &str) -> Failure {
    let what = format!("the bucket knows nothing of an upload in parts, nor of the object: {address}");
    Failure::new(FailureKind::Conflict, &what)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn an_answer_of_200_is_read_to_its_end() {
        let said = |status, text: &str, version: Option<&str>| {
            let headers = version.map(|it| ("x-amz-version-id".to_owned(), it.to_owned()));
            let answer = Answer {
                status,
                headers: headers.into_iter().collect::<BTreeMap<_, _>>(),
                body: Box::new(std::io::empty()),
            };
            let known = completed(&answer, text, "x");
            match known {
                Ok(Completed::As(version)) => version,
                Ok(Completed::Unsaid) => "unsaid".to_owned(),
                Ok(Completed::Taken) => "taken".to_owned(),
                Ok(Completed::Contested) => "contested".to_owned(),
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
        assert_eq!(said(200, "   ", Some("v1")), "unknown Conflict");
        assert_eq!(said(503, &error("SlowDown"), None), unknown);
        assert_eq!(said(200, &error("PreconditionFailed"), None), "taken");
        assert_eq!(said(412, &error("PreconditionFailed"), None), "taken");
        assert_eq!(said(200, &error("NoSuchUpload"), None), "gone");
        assert_eq!(said(404, &error("NoSuchUpload"), None), "gone");
        let refused = |kind: FailureKind| format!("refused {kind:?}");
        assert_eq!(said(200, &error("EntityTooSmall"), None), refused(FailureKind::Invalid));
        assert_eq!(said(400, &error("InvalidPart"), None), refused(FailureKind::Invalid));
        assert_eq!(said(403, &error("AccessDenied"), None), refused(FailureKind::Denied));
        let conflict = error("ConditionalRequestConflict");
        assert_eq!(said(409, &conflict, None), "contested");
        assert_eq!(said(200, &conflict, None), "contested");
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
