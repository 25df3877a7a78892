//! How senders sign: which headers, over which bytes, and what a secret looks like.
//!
//! Never decides whether a time is good or a message came before.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::hmac;
use serde::{Deserialize, Serialize};
use staunch_model::Timestamp;
use subtle::{Choice, ConstantTimeEq as _};

/// Bytes of an HMAC-SHA256.
const TAG_BYTES: usize = 32;

/// Signatures in one request. A sender whose secret is changed makes two.
const SIGNATURES_MAX: usize = 8;

/// Bytes of the id of a message.
const ID_BYTES_MAX: usize = 256;

/// Digits of a time in seconds: enough for the year 33658.
const TIME_DIGITS_MAX: usize = 12;

/// Bytes of a secret that is a text. Below it, it can be guessed.
const TEXT_SECRET_BYTES_MIN: usize = 16;

/// Bytes of a secret in base64, as the specification of Standard Webhooks wants them.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What a secret of Standard Webhooks may begin with.
const SECRET_PREFIX: &str = "whsec_";

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How a sender signs. All of them are HMAC-SHA256 with a secret that both sides know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Scheme {
    /// Standard Webhooks 1.0.0: over id, time and body.
    #[serde(rename = "standard-webhooks")]
    StandardWebhooks,
    /// As GitHub and many others sign: `X-Hub-Signature-256`, over the body.
    #[serde(rename = "github")]
    GitHub,
    /// Slack: over time and body.
    #[serde(rename = "slack")]
    Slack,
    /// PagerDuty V3: over the body.
    #[serde(rename = "pagerduty")]
    PagerDuty,
}

/// What the headers of a request claim.
pub(super) struct Claim<'a> {
    /// The id of the message, for schemes that sign one.
    pub(super) id: Option<&'a str>,
    /// When it was signed, for schemes that sign that.
    pub(super) time: Option<Timestamp>,
    /// What is signed before the body.
    before: Vec<&'a [u8]>,
    /// Each is enough.
    tags: Vec<[u8; TAG_BYTES]>,
}

impl Scheme {
    /// The header of the signature.
    const fn header(self) -> &'static str {
        match self {
            Self::StandardWebhooks => "webhook-signature",
            Self::GitHub => "x-hub-signature-256",
            Self::Slack => "x-slack-signature",
            Self::PagerDuty => "x-pagerduty-signature",
        }
    }

    /// True when `headers` carry a signature of this scheme, whatever it is worth.
    pub(super) fn is_in(self, headers: &HeaderMap) -> bool {
        headers.contains_key(self.header())
    }

    /// What `headers` claim; `None` when they are not those of this scheme.
    pub(super) fn read(self, headers: &HeaderMap) -> Option<Claim<'_>> {
        let text = |name| only(headers, name);
        let signature = text(self.header())?;
        let (mut id, mut time, mut before) = (None, None, Vec::new());
        let tags = match self {
            Self::StandardWebhooks => {
                let (claimed, seconds) = (text("webhook-id")?, text("webhook-timestamp")?);
                // A dot in it would let the same signature stand for another id with another body.
                let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'.';
                if claimed.is_empty() || claimed.len() > ID_BYTES_MAX || !claimed.bytes().all(plain) {
                    return None;
                }
                (id, time) = (Some(claimed), Some(time_of(seconds)?));
                before.extend([claimed.as_bytes(), b".", seconds.as_bytes(), b"."]);
                tags(signature.split(' '), "v1,", |it| BASE64.decode(it).ok())?
            }
            Self::GitHub => tags([signature], "sha256=", unhex)?,
            Self::Slack => {
                let seconds = text("x-slack-request-timestamp")?;
                time = Some(time_of(seconds)?);
                before.extend([b"v0:", seconds.as_bytes(), b":"]);
                tags([signature], "v0=", unhex)?
            }
            Self::PagerDuty => tags(signature.split(',').map(str::trim), "v1=", unhex)?,
        };
        Some(Claim { id, time, before, tags })
    }

    /// The key that a line of a file of secrets is.
    ///
    /// # Errors
    /// What it should have been. The line itself is not repeated.
    pub(super) fn key(self, line: &str) -> Result<hmac::Key, &'static str> {
        let key = |secret: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, secret);
        match self {
            Self::StandardWebhooks => {
                let encoded = line.strip_prefix(SECRET_PREFIX).unwrap_or(line);
                let secret = BASE64
                    .decode(encoded)
                    .ok()
                    .filter(|it| SECRET_BYTES.contains(&it.len()));
                let secret =
                    secret.ok_or("a secret of Standard Webhooks is whsec_ and the base64 of 24 to 64 bytes")?;
                Ok(key(&secret))
            }
            Self::GitHub | Self::Slack | Self::PagerDuty if line.len() < TEXT_SECRET_BYTES_MIN => {
                Err("a secret must have at least 16 characters")
            }
            Self::GitHub | Self::Slack | Self::PagerDuty => Ok(key(line.as_bytes())),
        }
    }
}

impl Claim<'_> {
    /// True when one of `keys` makes one of the signatures. Takes the same time whether and which one.
    pub(super) fn is_signed_with(&self, keys: &[hmac::Key], body: &[u8]) -> bool {
        let mut good = Choice::from(0);
        for key in keys {
            let mut made = hmac::Context::with_key(key);
            self.before.iter().for_each(|part| made.update(part));
            made.update(body);
            let made = made.sign();
            for tag in &self.tags {
                good |= made.as_ref().ct_eq(tag);
            }
        }
        good.into()
    }
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.to_str().ok())?
}

/// The signatures in `parts` that begin with `prefix`. Those of other versions are left out.
fn tags<'a>(
    parts: impl IntoIterator<Item = &'a str>,
    prefix: &str,
    decode: impl Fn(&str) -> Option<Vec<u8>>,
) -> Option<Vec<[u8; TAG_BYTES]>> {
    let mut tags = Vec::new();
    for part in parts {
        let Some(encoded) = part.strip_prefix(prefix) else {
            continue;
        };
        if tags.len() == SIGNATURES_MAX {
            return None;
        }
        tags.push(decode(encoded)?.try_into().ok()?);
    }
    (!tags.is_empty()).then_some(tags)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    // Only digests are as long as this.
    if text.len() != 2 * TAG_BYTES || !text.bytes().all(|it| it.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = text.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// The time that seconds since 1970 in decimal digits are.
fn time_of(seconds: &str) -> Option<Timestamp> {
    if seconds.len() > TIME_DIGITS_MAX || !seconds.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let micros = seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?;
    Some(Timestamp::from_micros(micros))
}
