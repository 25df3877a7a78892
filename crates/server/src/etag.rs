//! Entity tags (RFC 9110, sections 8.8.3 and 13.1.2): who has an answer already is not sent it again.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use crate::problem::Failed;

/// The part of an answer that says what time it is: its text in the body, such as `"now":"2026-11-26T00:00:00Z"`. It is
/// no part of the tag, which is weak then. Text of a string never looks like it, because quotes are escaped there.
#[derive(Clone, Debug)]
pub(crate) struct ClockPart(String);

impl ClockPart {
    /// The field `name` with `value`.
    pub(crate) fn new(name: &str, value: &impl Serialize) -> Self {
        // What cannot be written is not in the body either.
        let value = serde_json::to_string(value).unwrap_or_default();
        Self(format!("\"{name}\":{value}"))
    }
}

/// `answer` as JSON, with a tag that leaves `clock` out.
pub(crate) fn clocked(clock: ClockPart, answer: impl Serialize) -> Response {
    let mut response = Json(answer).into_response();
    response.extensions_mut().insert(clock);
    response
}

/// Bytes of a tag's hash: two answers that differ have equal tags once in 2^64 answers.
const HASH_BYTES: usize = 16;

/// Marks `response`, an answer in JSON that is whole, with its tag; when `asked` names that tag, leaves its body out.
/// Other answers stay as they are.
pub(crate) async fn tagged(asked: &HeaderMap, response: Response) -> Response {
    if response.status() != StatusCode::OK || !is_json(response.headers()) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return Failed::no_answer().into_response();
    };
    let clock = head.extensions.get::<ClockPart>();
    let tag = clock.map_or_else(|| tag_of(&[&bytes]), |clock| tag_without(&bytes, clock));
    let has = asked
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|list| names(list, &tag));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        head.headers.insert(header::ETAG, tag);
    }
    if !has {
        return Response::from_parts(head, Body::from(bytes));
    }
    head.status = StatusCode::NOT_MODIFIED;
    head.headers.remove(header::CONTENT_TYPE);
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::empty())
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|it| it.as_bytes().starts_with(b"application/json"))
}

fn tag_of(parts: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    let hash = hasher.finalize().to_hex();
    format!("\"{}\"", &hash[..2 * HASH_BYTES])
}

/// The tag of `bytes` without `clock`: weak, since answers that have it need not be the same to the byte.
fn tag_without(bytes: &[u8], ClockPart(clock): &ClockPart) -> String {
    match memchr::memmem::find(bytes, clock.as_bytes()) {
        Some(at) => format!("W/{}", tag_of(&[&bytes[..at], &bytes[at + clock.len()..]])),
        None => tag_of(&[bytes]),
    }
}

/// Whether a header `If-None-Match` names `tag`. Weak tags are compared as strong ones, as the RFC says of this header.
fn names(list: &str, tag: &str) -> bool {
    let strong = |it: &'_ str| it.strip_prefix("W/").unwrap_or(it).to_owned();
    let mut tags = list.split(',').map(str::trim);
    tags.any(|it| it == "*" || strong(it) == strong(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_every_form_of_the_header() {
        let tag = tag_of(&[b"{}"]);
        assert_eq!(tag.len(), 34);
        assert_ne!(tag, tag_of(&[b"{ }"]));
        for list in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"a\" ,  {tag}, \"b\""),
            "*".to_owned(),
        ] {
            assert!(names(&list, &tag), "{list}");
        }
        for list in ["", "\"a\"", tag.trim_matches('"'), "W/"] {
            assert!(!names(list, &tag), "{list}");
        }
    }

    #[test]
    fn the_time_is_no_part_of_a_tag() {
        let body = |now: &str, text: &str| format!("{{\"now\":\"{now}\",\"text\":{}}}", serde_json::json!(text));
        let tag = |now: &str, text: &str| tag_without(body(now, text).as_bytes(), &ClockPart::new("now", &now));
        assert!(tag("1", "a").starts_with("W/\""));
        assert_eq!(tag("1", "a"), tag("2", "a"));
        assert_ne!(tag("1", "a"), tag("1", "b"));
        // What looks like it in a text counts.
        assert_ne!(tag("1", "\"now\":\"1\""), tag("1", "\"now\":\"2\""));
        assert!(names(&tag("1", "a"), &tag("2", "a")) && !names(&tag("1", "a"), &tag("1", "b")));
    }
}
