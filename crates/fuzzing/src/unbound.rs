//! What Unbound lists: its local data, a zero byte, its local zones.
//!
//! What holds: lists are read whole or not at all; a domain that stands free has no zone of its own or above it, and
//! below it none without a label of Staunch; and a label that is found stands in the text, at a name that is its own.

use staunch_connectors::actions::sinkhole_domain::unbound::listed::{Listed, Standing};
use staunch_model::DomainName;

/// The domains that are looked at: one below the other.
const WANTED: [&str; 2] = ["evil.example", "a.evil.example"];

/// Reads both lists.
pub fn run(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (data, zones) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let wanted = WANTED.map(|it| it.parse::<DomainName>().expect("a domain"));
    let mut listed = Listed::of(&wanted);
    if listed.read_data(data).is_err() || listed.read_zones(zones).is_err() {
        return;
    }
    assert!(
        zones.is_empty() || zones.ends_with(b"\n"),
        "a list that was cut off was read"
    );
    let data = String::from_utf8_lossy(data).to_ascii_lowercase();
    let zones = String::from_utf8(zones.to_vec())
        .expect("zones are text")
        .to_ascii_lowercase();
    let labelled = |name: &str, label: &str| {
        let value = format!("\"{}\"", label.to_ascii_lowercase());
        let mut lines = data.lines();
        lines.any(|line| line.contains(&format!("{name}.")) && line.contains(&value))
    };
    for (domain, label, _) in listed.labels() {
        assert!(
            labelled(domain.as_str(), &label.to_string()),
            "{domain} has no label {label}"
        );
    }
    for domain in &wanted {
        match listed.standing(domain) {
            Standing::Held { label, .. } => assert!(labelled(domain.as_str(), &label.to_string())),
            Standing::Within { label, .. } => {
                let mut all = listed.labels();
                let above = |name: &str| domain.as_str().ends_with(&format!(".{name}"));
                assert!(
                    all.any(|(it, of, _)| of == label && above(it.as_str())),
                    "nobody holds {domain}"
                );
            }
            Standing::Foreign(what) => assert!(!what.is_empty()),
            Standing::Absent => {
                let whole = format!("{domain}.");
                for line in zones.lines() {
                    let name = line.split_ascii_whitespace().next().expect("a zone has a name");
                    // Labels that are empty are none.
                    let plain = name
                        .split('.')
                        .filter(|it| !it.is_empty())
                        .collect::<Vec<_>>()
                        .join(".");
                    assert!(
                        plain != domain.as_str()
                            && !domain.as_str().ends_with(&format!(".{plain}"))
                            && !plain.is_empty(),
                        "{domain} is not free: {line}"
                    );
                    assert!(
                        !format!("{plain}.").ends_with(&format!(".{whole}"))
                            || listed.labels().any(|(it, _, _)| it.as_str() == plain),
                        "{domain} has somebody else's below it: {line}"
                    );
                }
            }
        }
    }
}
