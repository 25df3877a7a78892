//! Signs requests to S3: AWS Signature Version 4, in the header `Authorization`, of the whole body.
//!
//! Never sends anything, and never shows a secret key. What it does:
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>

use std::fmt;

use ring::hmac::{HMAC_SHA256, Key, sign};
use staunch_model::Sha256Hash;
use zeroize::Zeroizing;

/// A key of S3.
pub struct Credentials {
    id: String,
    secret: Zeroizing<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the name of the key and the secret key, with a space between.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let (id, secret) = (words.next()?.to_owned(), Zeroizing::new(words.next()?.to_owned()));
        words.next().is_none().then_some(Self { id, secret })
    }
}

/// A request without its signature.
pub(super) struct Unsigned {
    method: &'static str,
    path: String,
    query: String,
    /// In the order of their names, which are in lower case.
    headers: Vec<(String, String)>,
    payload: String,
}

impl Unsigned {
    /// A request of `host`; `payload` is the SHA-256 of its body in hexadecimal. Names of headers are in lower case.
    pub(super) fn new(
        method: &'static str,
        host: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        payload: &str,
    ) -> Self {
        let mut pairs: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name, false), encoded(value, false)))
            .collect();
        pairs.sort();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).trim().to_owned());
        let mut headers: Vec<_> = headers.iter().map(owned).collect();
        headers.push(("host".into(), host.into()));
        headers.push(("x-amz-content-sha256".into(), payload.into()));
        Self {
            method,
            path: encoded(path, true),
            query: pairs.join("&"),
            headers,
            payload: payload.to_owned(),
        }
    }

    /// The path and the query, as they are sent.
    pub(super) fn target(&self) -> String {
        if self.query.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{}", self.path, self.query)
        }
    }

    /// All headers, at `date` (`20261127T011530Z`).
    pub(super) fn headers(mut self, date: &str, region: &str, by: &Credentials) -> Vec<(String, String)> {
        self.headers.push(("x-amz-date".into(), date.into()));
        self.headers.sort();
        let lines: String = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| &**name).collect();
        let names = names.join(";");
        let canonical = [self.method, &self.path, &self.query, &lines, &names, &self.payload].join("\n");
        let day = date.get(..8).unwrap_or(date);
        let scope = format!("{day}/{region}/s3/aws4_request");
        let text = format!(
            "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
            Sha256Hash::of(canonical.as_bytes())
        );
        let mut key = Zeroizing::new([b"AWS4", by.secret.as_bytes()].concat());
        for part in [day, region, "s3", "aws4_request"] {
            key = Zeroizing::new(hmac(&key, part));
        }
        let signature: String = hmac(&key, &text).iter().map(|byte| format!("{byte:02x}")).collect();
        let value = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}",
            by.id
        );
        self.headers.push(("authorization".into(), value));
        self.headers
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    sign(&Key::new(HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// Every byte but those that RFC 3986 calls unreserved is encoded; in a path, `/` is not either.
fn encoded(text: &str, is_path: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            b'/' if is_path => encoded.push('/'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the page that is named above: method, path, query, headers, body, signature.
    type Example = (
        &'static str,
        &'static str,
        &'static [(&'static str, &'static str)],
        &'static [(&'static str, &'static str)],
        &'static str,
        &'static str,
    );

    const EXAMPLES: [Example; 4] = [
        (
            "GET",
            "/test.txt",
            &[],
            &[("range", "bytes=0-9")],
            "",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test$file.text",
            &[],
            &[
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            "Welcome to Amazon S3.",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            "/",
            &[("lifecycle", "")],
            &[],
            "",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET",
            "/",
            &[("prefix", "J"), ("max-keys", "2")],
            &[],
            "",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ];

    #[test]
    fn requests_are_signed_as_in_the_published_examples() {
        let by = Credentials::parse("AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let by = by.expect("a key");
        assert!(!format!("{by:?}").contains("wJalr"));
        for (method, path, query, headers, body, signature) in EXAMPLES {
            let host = "examplebucket.s3.amazonaws.com";
            let payload = Sha256Hash::of(body.as_bytes()).to_string();
            let signed = Unsigned::new(method, host, path, query, headers, &payload);
            let headers = signed.headers("20130524T000000Z", "us-east-1", &by);
            let (_, value) = headers.last().expect("it is the last");
            assert!(
                value.ends_with(&format!("Signature={signature}")),
                "{method} {path}: {value}"
            );
        }
    }
}
