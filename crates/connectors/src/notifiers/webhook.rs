//! What is sent to a webhook: a notice as JSON, signed as Standard Webhooks 1.0.0 says.
//!
//! Never sends anything. The id is the same for every try, so that a receiver can drop a repeat; the time and with it
//! the signature are those of the try.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::hmac;
use serde_json::json;
use staunch_model::{InstallationId, Notice, Timestamp};
use staunch_ports::notifier::About;

/// What a secret may begin with.
const SECRET_PREFIX: &str = "whsec_";

/// Bytes of a secret, as the specification wants them.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A secret that the receiver knows, too. Never shown.
pub struct Secret(hmac::Key);

impl Secret {
    /// The secret that `text` is: `whsec_` and the base64 of 24 to 64 bytes.
    ///
    /// # Errors
    /// What it should have been. The text is not repeated.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        let encoded = text.strip_prefix(SECRET_PREFIX).unwrap_or(text);
        let bytes = BASE64
            .decode(encoded)
            .ok()
            .filter(|it| SECRET_BYTES.contains(&it.len()));
        let bytes = bytes.ok_or("a secret of Standard Webhooks is whsec_ and the base64 of 24 to 64 bytes")?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// A notice as it is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What tells it from all others of all installations: `webhook-id`.
    pub id: String,
    /// JSON.
    pub body: String,
}

impl Message {
    /// `notice` of `installation`.
    #[must_use]
    pub fn new(installation: InstallationId, notice: &Notice, about: &About) -> Self {
        let id = format!("{installation}-{}", notice.id);
        let body = json!({
            "id": id,
            "level": notice.level.name(),
            "incident": notice.incident.map(|it| it.to_string()),
            "transaction": notice.transaction.map(|it| it.to_string()),
            "text": notice.text,
            "team": about.teams().first(),
            "time": about.at.to_string(),
            "instance": installation.to_string(),
        });
        Self {
            id,
            body: body.to_string(),
        }
    }

    /// The headers of a try at `now`, with their values.
    #[must_use]
    pub fn headers(&self, secret: &Secret, now: Timestamp) -> [(&'static str, String); 4] {
        let seconds = (now.as_micros() / 1_000_000).to_string();
        let tag = hmac::sign(&secret.0, format!("{}.{seconds}.{}", self.id, self.body).as_bytes());
        [
            ("content-type", "application/json".to_owned()),
            ("webhook-id", self.id.clone()),
            ("webhook-timestamp", seconds),
            ("webhook-signature", format!("v1,{}", BASE64.encode(tag))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use staunch_model::{Asset, IncidentId, NoticeId, NoticeLevel};

    use super::*;

    /// The vector of the specification's reference libraries.
    #[test]
    fn the_known_message_has_the_known_signature() {
        let message = Message {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            body: "{\"test\": 2432232314}".to_owned(),
        };
        let now = Timestamp::from_micros(1_614_265_330_000_000);
        for text in [
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            let secret = Secret::read(text).expect("it is one");
            let headers = message.headers(&secret, now);
            assert_eq!(headers[2].1, "1614265330");
            assert_eq!(headers[3].1, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
            assert_eq!(format!("{secret:?}"), "Secret");
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_without_showing_it() {
        for text in [
            "",
            "whsec_",
            "whsec_c2hvcnQ=",
            "not base64 at all, whatever it may be worth",
            "whsec_ MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            let why = Secret::read(text).expect_err("it is none");
            assert!(why.contains("24 to 64 bytes"), "{why}");
        }
    }

    #[test]
    fn a_notice_says_whose_it_is_and_keeps_its_id() {
        let notice = Notice {
            id: NoticeId(7),
            level: NoticeLevel::Page,
            incident: Some(IncidentId(3)),
            transaction: None,
            text: "stuck \"there\"".into(),
        };
        let asset = Asset {
            owner: Some("payments".into()),
            tier: None,
            data_class: None,
            environment: None,
            named: "10.0.0.0/8".into(),
            by: "file".into(),
        };
        let about = About {
            at: Timestamp::EPOCH,
            assets: vec![asset.clone(), asset],
            accounts: Vec::new(),
        };
        let message = Message::new(InstallationId([0xab; 8]), &notice, &about);
        assert_eq!(message.id, "abababababababab-NOTE-7");
        let body: serde_json::Value = serde_json::from_str(&message.body).expect("it is JSON");
        let expect = json!({
            "id": "abababababababab-NOTE-7", "level": "page", "incident": "INC-3", "transaction": null,
            "text": "stuck \"there\"", "team": "payments", "time": "1970-01-01T00:00:00.000Z", "instance": "abababababababab",
        });
        assert_eq!(body, expect);
        assert_eq!(about.teams(), ["payments"]);
    }
}
