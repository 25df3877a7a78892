//! Entity tags (RFC 9110, sections 8.8.3 and 13.1.2): who has an answer already is not sent it again.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::problem::Failed;

/// Bytes of a tag's hash: two answers that differ have equal tags once in 2^64 answers.
const HASH_BYTES: usize = 16;

/// Marks `response`, an answer in JSON that is whole, with its tag; when `asked` names that tag, leaves its body out. Other
/// answers stay as they are.
pub(crate) async fn tagged(asked: &HeaderMap, response: Response) -> Response {
    if response.status() != StatusCode::OK || !is_json(response.headers()) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return Failed::no_answer().into_response();
    };
    let tag = tag_of(&bytes);
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

fn tag_of(bytes: &[u8]) -> String {
    let hash = blake3::hash(bytes).to_hex();
    format!("\"{}\"", &hash[..2 * HASH_BYTES])
}

/// Whether a header `If-None-Match` names `tag`. Weak tags are compared as strong ones, as the RFC says of this header.
fn names(list: &str, tag: &str) -> bool {
    let mut tags = list.split(',').map(str::trim);
    tags.any(|it| it == "*" || it.strip_prefix("W/").unwrap_or(it) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_every_form_of_the_header() {
        let tag = tag_of(b"{}");
        assert_eq!(tag.len(), 34);
        assert_ne!(tag, tag_of(b"{ }"));
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
}
