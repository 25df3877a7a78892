//! What the answers of a bucket say, and how what they say is written.
//!
//! Never asks a bucket, and reads no more of an answer than a bound.

use std::io::{self, Read as _};

use staunch_model::{Failure, FailureKind, Printable, Timestamp};

use super::Answer;

/// The longest name of a version that is taken: those of AWS have 32 characters.
const VERSION_CHARS_MAX: usize = 1_024;

/// The most bytes of an answer that says something: errors and locks.
const SAID_BYTES_MAX: u64 = 64 << 10;

/// The version that an answer names.
pub(super) fn version_of(answer: &Answer) -> Result<String, Failure> {
    let version = answer
        .headers
        .get("x-amz-version-id")
        .filter(|it| *it != "null" && it.len() <= VERSION_CHARS_MAX);
    version.cloned().ok_or_else(|| {
        let what = "the bucket has no versions, so it cannot lock: turn Object Lock on";
        Failure::new(FailureKind::Denied, what)
    })
}

/// What an answer says, up to a bound.
pub(super) fn text_of(answer: &mut Answer) -> Result<String, Failure> {
    text_within(answer, SAID_BYTES_MAX)
}

/// The same, up to this one.
pub(super) fn text_within(answer: &mut Answer, bytes_max: u64) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = answer.body.by_ref().take(bytes_max).read_to_end(&mut bytes);
    read.map_err(|error| cut_off(&error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The body of an answer did not come to its end.
pub(super) fn cut_off(error: &io::Error) -> Failure {
    let what = format!(
        "the answer of the bucket was cut off: {}",
        Printable(&error.to_string())
    );
    Failure::new(FailureKind::Unavailable, &what)
}

/// What a refusal means, where what was asked for names the object.
pub(super) fn refusal(answer: &mut Answer, doing: &str) -> Failure {
    let text = said_of(answer);
    refusal_of(answer.status, &text, doing)
}

/// The same, with this text.
pub(super) fn refusal_of(status: u16, text: &str, doing: &str) -> Failure {
    let code = code_of(text);
    let code = code.as_deref();
    let is_elsewhere = matches!(status, 300..=399 | 501) || code == Some("AuthorizationHeaderMalformed");
    let kind = match status {
        _ if code.is_some_and(is_passing) => FailureKind::Unavailable,
        _ if is_elsewhere => FailureKind::Invalid,
        401 | 403 => FailureKind::Denied,
        // It wants to be asked later.
        408 | 429 => FailureKind::Unavailable,
        400..=499 => FailureKind::Invalid,
        _ => FailureKind::Unavailable,
    };
    let hint = if is_elsewhere {
        ": look at the endpoint and the region"
    } else {
        ""
    };
    let what = format!(
        "cannot {doing}: the bucket answers with {status} ({}){hint}",
        Printable(code.unwrap_or("no code"))
    );
    Failure::new(kind, &what)
}

/// Whether a code says that the same may be taken later, whatever its status is: S3 has 400 and 403 for some of them
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>).
pub(super) fn is_passing(code: &str) -> bool {
    matches!(
        code,
        "RequestTimeout" | "RequestTimeTooSkewed" | "SlowDown" | "InternalError" | "ServiceUnavailable"
    )
}

/// What a refusal means for which the key may lack permissions. An answer to HEAD has no code.
pub(super) fn refusal_to_key(answer: &mut Answer, doing: &str, permissions: &str) -> Failure {
    let text = said_of(answer);
    let failure = refusal_of(answer.status, &text, doing);
    let is_of_key = code_of(&text).is_none_or(|it| it == "AccessDenied");
    if failure.kind == FailureKind::Denied && is_of_key {
        return Failure::new(failure.kind, &format!("{}: allow {permissions}", failure.what));
    }
    failure
}

/// What a refusal says.
fn said_of(answer: &mut Answer) -> String {
    text_of(answer).unwrap_or_else(|_| "<Code>cut off before its code</Code>".to_owned())
}

/// The code of an error. It is a word; what stands around it may say more than is ours to tell.
pub(super) fn code_of(text: &str) -> Option<String> {
    element(text, "Code").map(|it| it.chars().take(100).collect())
}

/// The text of the first element of this name.
pub(super) fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inner, _) = rest.split_once(&format!("</{name}>"))?;
    Some(inner.trim().to_owned())
}

/// The characters that XML gives a meaning, and what stands for them.
const ENTITIES: [(&str, &str); 5] = [
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&quot;", "\""),
    ("&apos;", "'"),
    // The last, so that what it makes is not read again.
    ("&amp;", "&"),
];

/// Text as it stands in XML.
pub(super) fn escaped(text: &str) -> String {
    let escape = |text: String, (entity, character): &(&str, &str)| text.replace(character, entity);
    ENTITIES.iter().rev().fold(text.to_owned(), escape)
}

/// The text that stands so in XML.
pub(super) fn unescaped(text: &str) -> String {
    let read = |text: String, (entity, character): &(&str, &str)| text.replace(entity, character);
    ENTITIES.iter().fold(text.to_owned(), read)
}

/// `2026-11-27T01:15:30Z`.
pub(super) fn seconds(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{}Z", text.split(['.', 'Z']).next().unwrap_or_default())
}

/// `20261127T011530Z`.
pub(super) fn amz_date(at: Timestamp) -> String {
    seconds(at).replace(['-', ':'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_judged_by_its_code_and_its_status() {
        let of = |status, code: &str| {
            let failure = refusal_of(status, &format!("<Error><Code>{code}</Code></Error>"), "put x");
            let what = format!("cannot put x: the bucket answers with {status} ({code})");
            assert!(failure.what.starts_with(&what), "{failure}");
            let has_hint = failure.what.contains("endpoint");
            (failure.kind, has_hint)
        };
        for (status, code) in [
            (400, "RequestTimeout"),
            (403, "RequestTimeTooSkewed"),
            (400, "SlowDown"),
            (500, "InternalError"),
            (503, "ServiceUnavailable"),
            (429, "TooManyRequests"),
            (408, "x"),
            (502, "x"),
        ] {
            assert_eq!(of(status, code), (FailureKind::Unavailable, false), "{status} {code}");
        }
        for (status, code, kind, has_hint) in [
            (403, "AccessDenied", FailureKind::Denied, false),
            (401, "x", FailureKind::Denied, false),
            (400, "InvalidRequest", FailureKind::Invalid, false),
            (301, "PermanentRedirect", FailureKind::Invalid, true),
            (307, "TemporaryRedirect", FailureKind::Invalid, true),
            (400, "AuthorizationHeaderMalformed", FailureKind::Invalid, true),
            (501, "NotImplemented", FailureKind::Invalid, true),
        ] {
            assert_eq!(of(status, code), (kind, has_hint), "{status} {code}");
        }
    }

    #[test]
    fn what_is_written_into_xml_is_read_again() {
        for text in ["a&b", "&lt;", "<\"'>", "&amp;lt;", "objects/ab/x.zst"] {
            assert_eq!(unescaped(&escaped(text)), text);
        }
        assert_eq!(escaped("<&"), "&lt;&amp;");
    }
}
