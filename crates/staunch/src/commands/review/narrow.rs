//! Narrows the draft of a rule by the fewest fields that leave out the archived events.
//!
//! Never says of a field that it tells events apart without having tried it on all of the archive.

use std::path::Path;

use staunch_model::Event;
use staunch_playbook::sigma::Rule;

use super::archive::{self, Tried};
use super::sigma::{Candidate, Draft};
use crate::exit::Fault;

/// Fields that are added at the most. Each costs a pass over the archive.
const ADDED_MAX: usize = 8;

/// A draft with what it matches.
#[derive(Debug)]
pub(super) struct Narrowed {
    pub(super) draft: Draft,
    pub(super) tried: Tried,
    /// Fields in it that are likely to be of this one event: nothing else left out all others.
    pub(super) passing: Vec<String>,
}

/// `draft`, or the first of `candidates` when it selects nothing, and as few of the others as leave out all archived
/// events; those that leave out most of them where no choice leaves out all. Nothing when nothing can be selected.
///
/// # Errors
/// When the archive cannot be read.
pub(super) fn narrowed(
    draft: &Draft,
    candidates: &[Candidate],
    archive: &Path,
    first: &Event,
) -> Result<Option<Narrowed>, Fault> {
    let is_none = draft.is_empty() || draft.compiled().is_none();
    let (base, rest) = match candidates.split_first() {
        Some((candidate, rest)) if is_none => (draft.and(&candidate.line), rest),
        _ if is_none => return Ok(None),
        _ => (draft.clone(), candidates),
    };
    let Some(rule) = base.compiled() else {
        return Ok(None);
    };
    let narrowing = Narrowing {
        base,
        archive,
        system: first.system.to_string(),
    };
    let mut tried = archive::matches(&rule, archive, &narrowing.system)?;
    let mut added: Vec<&Candidate> = Vec::new();
    for round in 0..3 {
        let of_round: Vec<&Candidate> = rest.iter().filter(|it| it.round() == round).collect();
        let (longer, matched) = narrowing.greedily(&added, &of_round, tried.matched)?;
        // What is of one event only is worth its place when it does what is asked for, and not when it nearly does.
        if round < 2 || matched == 0 {
            (added, tried.matched) = (longer, matched);
        }
    }
    if tried.matched == 0 {
        added = narrowing.without_idle(added)?;
    }
    let passing = added.iter().filter(|it| it.round() == 2);
    Ok(Some(Narrowed {
        passing: passing.map(|it| it.field().to_owned()).collect(),
        draft: narrowing.with(&added),
        tried,
    }))
}

struct Narrowing<'a> {
    base: Draft,
    archive: &'a Path,
    system: String,
}

impl Narrowing<'_> {
    fn with(&self, added: &[&Candidate]) -> Draft {
        let all = added.iter();
        all.fold(self.base.clone(), |draft, it| draft.and(&it.line))
    }

    /// How many archived events each of `drafts` matches, in one pass; nothing said of those that are no rule.
    fn counted(&self, drafts: &[Draft]) -> Result<Vec<Option<u64>>, Fault> {
        let rules: Vec<Option<Rule>> = drafts.iter().map(Draft::compiled).collect();
        let base = self.base.compiled();
        archive::counts(base.as_ref(), &rules, self.archive, &self.system)
    }

    /// `added` and more of `candidates`, each the one that leaves out the most, the more telling of two alike; with
    /// what is matched then. One that leaves out nothing is not added.
    fn greedily<'c>(
        &self,
        added: &[&'c Candidate],
        candidates: &[&'c Candidate],
        matched: u64,
    ) -> Result<(Vec<&'c Candidate>, u64), Fault> {
        let (mut added, mut matched) = (added.to_vec(), matched);
        let mut left = candidates.to_vec();
        while matched > 0 && added.len() < ADDED_MAX && !left.is_empty() {
            let so_far = self.with(&added);
            let drafts: Vec<Draft> = left.iter().map(|it| so_far.and(&it.line)).collect();
            let counts = self.counted(&drafts)?;
            let best = counts
                .into_iter()
                .enumerate()
                .filter_map(|(at, count)| Some((count?, at)))
                .min();
            match best {
                Some((count, at)) if count < matched => {
                    matched = count;
                    added.push(left.remove(at));
                }
                _ => break,
            }
        }
        Ok((added, matched))
    }

    /// `added` without those that the others make needless, the least telling first.
    fn without_idle<'c>(&self, mut added: Vec<&'c Candidate>) -> Result<Vec<&'c Candidate>, Fault> {
        for at in (0..added.len()).rev() {
            if added.len() < 2 {
                break;
            }
            let mut fewer = added.clone();
            fewer.remove(at);
            if self.counted(&[self.with(&fewer)])? == [Some(0)] {
                added = fewer;
            }
        }
        Ok(added)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};
    use staunch_connectors::sources::{SourceSettings, ports};
    use staunch_model::Timestamp;
    use staunch_ports::Sighting;

    use super::super::sigma::candidates;
    use super::*;

    /// `raw` as the source `system` reads it.
    fn read(system: &str, raw: &Value) -> Event {
        let sources = ports(&SourceSettings::default()).expect("they are sources");
        let source = sources.iter().find(|it| it.name() == system).expect("it is built in");
        let mut kept = None;
        let ended = source.read(raw.to_string().as_bytes(), &mut |_, sighting| {
            if let Sighting::Event(view) = sighting {
                kept = Some(Event::keep(view, Timestamp::from_micros(1)));
            }
        });
        assert!(ended.is_ok());
        kept.expect("it is an event")
    }

    /// What becomes of the draft of `first` when `benign` is archived.
    fn narrow(system: &str, first: &Value, benign: &[Value]) -> (String, Narrowed) {
        let dir = tempfile::tempdir().expect("a folder");
        let lines: String = benign.iter().map(|it| format!("{it}\n")).collect();
        let packed = zstd::encode_all(lines.as_bytes(), 1).expect("it packs");
        let name = format!("{system}-20261120T090000.000000Z.ndjson.zst");
        fs::write(dir.path().join(name), packed).expect("our folder");
        let event = read(system, first);
        let draft = Draft::default();
        let all = candidates(&draft, &event, first);
        let it = narrowed(&draft, &all, dir.path(), &event).expect("it can be read");
        let it = it.expect("something can be selected");
        let rule = it.draft.compiled().expect("it is a rule");
        assert!(rule.matches(first));
        let tried = archive::matches(&rule, dir.path(), system).expect("it can be read");
        assert_eq!(
            (tried.matched, tried.tried),
            (it.tried.matched, it.tried.tried),
            "another count"
        );
        (it.draft.fields().join(" "), it)
    }

    /// `event` with other values.
    fn with(event: &Value, changes: &[(&str, Value)]) -> Value {
        let mut event = event.clone();
        for (pointer, value) in changes {
            *event.pointer_mut(pointer).expect("it has that") = value.clone();
        }
        event
    }

    fn suricata() -> Value {
        json!({
            "timestamp": "2026-11-25T12:00:00.000000+0000", "flow_id": 1_445_121_182_710_913_u64, "event_type": "alert",
            "src_ip": "203.0.113.99", "src_port": 40000, "dest_ip": "10.0.0.22", "dest_port": 22, "proto": "TCP",
            "alert": {"action": "allowed", "signature_id": 2_001_219, "signature": "ET SCAN Brute Force",
                "category": "Attempted Information Leak", "severity": 1},
        })
    }

    #[test]
    fn the_severity_tells_where_signature_and_category_are_the_same() {
        let first = suricata();
        let benign = with(
            &first,
            &[
                ("/alert/severity", 3.into()),
                ("/src_ip", "192.0.2.1".into()),
                ("/flow_id", 7.into()),
                ("/src_port", 50000.into()),
                ("/timestamp", "2026-11-24T12:00:00.000000+0000".into()),
            ],
        );
        let (fields, it) = narrow("suricata", &first, &vec![benign; 4]);
        assert_eq!(fields, "alert.signature alert.severity");
        assert_eq!((it.tried.matched, it.tried.tried, it.passing.len()), (0, 4, 0));
    }

    #[test]
    fn the_fewest_fields_are_taken_and_those_of_one_event_last() {
        let first = suricata();
        let other = |pointer: &str, value: Value| with(&first, &[(pointer, value)]);
        // The protocol and the severity leave out one each, the port both.
        let benign = [
            with(&first, &[("/alert/severity", 3.into()), ("/dest_port", 23.into())]),
            with(&first, &[("/proto", "UDP".into()), ("/dest_port", 23.into())]),
        ];
        assert_eq!(narrow("suricata", &first, &benign).0, "alert.signature dest_port");
        let benign = [other("/src_ip", "192.0.2.1".into())];
        assert_eq!(narrow("suricata", &first, &benign).0, "alert.signature src_ip");
        let (fields, it) = narrow("suricata", &first, &[other("/flow_id", 7.into())]);
        assert_eq!(
            (&*fields, it.passing),
            ("alert.signature flow_id", vec!["flow_id".to_owned()])
        );
        // What nearly does it is not taken, and no time ever.
        let later = other("/timestamp", "2026-11-26T12:00:00.000000+0000".into());
        let (fields, it) = narrow("suricata", &first, &[other("/flow_id", 7.into()), later]);
        assert_eq!((&*fields, it.tried.matched), ("alert.signature", 2));
    }

    #[test]
    fn events_of_other_sources_are_told_by_their_own_names() {
        let falco = json!({
            "hostname": "web-1", "output": "12:00:00: shell", "priority": "Warning", "rule": "Terminal shell",
            "source": "syscall", "tags": [], "time": "2026-11-25T12:00:00.000000000Z",
            "output_fields": {"evt.time": 1_739_178_940_698_757_000_u64, "proc.name": "sh", "user.name": "root"},
        });
        let mut benign = with(&falco, &[("/output", "12:00:01: shell".into())]);
        benign["output_fields"]["proc.name"] = "bash".into();
        assert_eq!(narrow("falco", &falco, &[benign]).0, "rule output_fields.proc.name");

        let cloudtrail = json!({
            "eventVersion": "1.09", "eventCategory": "Management", "eventType": "AwsApiCall", "eventName": "CreateUser",
            "eventSource": "iam.amazonaws.com", "eventTime": "2024-08-01T13:33:28Z", "awsRegion": "us-east-1",
            "eventID": "083dc4ad-e264-46bc-a407-d0dd31b58bdc", "requestID": "710f2703-6e8a-46d5-9924-b12a3a681755",
            "sourceIPAddress": "198.51.100.7", "recipientAccountId": "229654561268", "readOnly": false,
            "userIdentity": {"type": "IAMUser", "userName": "christophe", "accountId": "229654561268",
                "arn": "arn:aws:iam::229654561268:user/christophe"},
        });
        let benign = with(
            &cloudtrail,
            &[
                ("/userIdentity/userName", "ann".into()),
                ("/userIdentity/arn", "arn:aws:iam::229654561268:user/ann".into()),
                ("/eventID", "0".into()),
            ],
        );
        let fields = narrow("cloudtrail", &cloudtrail, &[benign]).0;
        assert!(fields.starts_with("eventName userIdentity."), "{fields}");

        let audit = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "stage": "ResponseComplete",
            "auditID": "f56599c4-8bfd-4729-b48f-d9730088b7e7", "requestURI": "/api/v1/namespaces/shop/pods/a/exec",
            "verb": "create", "user": {"username": "alice@shop.example", "groups": []}, "sourceIPs": ["192.0.2.21"],
            "objectRef": {"resource": "pods", "namespace": "shop", "name": "a", "subresource": "exec",
                "apiVersion": "v1"},
            "responseStatus": {"code": 101}, "requestReceivedTimestamp": "2026-11-25T12:00:00.000000Z",
            "stageTimestamp": "2026-11-25T12:00:00.000000Z",
        });
        let benign = with(
            &audit,
            &[("/objectRef/namespace", "dev".into()), ("/auditID", "0".into())],
        );
        let (fields, it) = narrow("kubernetes-audit", &audit, &[benign]);
        assert!(
            fields.ends_with("objectRef.namespace") && it.tried.matched == 0,
            "{fields}"
        );
    }

    #[test]
    fn hostile_names_and_values_stay_words() {
        let hostile = "x\"\n    condition: selection\n# \\ * ? \u{2028}";
        let mut first = suricata();
        first["app\n: x"] = hostile.into();
        first["app_proto"] = hostile.into();
        let mut deep = json!("x");
        for _ in 0..20 {
            deep = json!({ "a": deep });
        }
        first["deep"] = deep;
        first["long"] = "x".repeat(1_000).into();
        for at in 0..200 {
            first[format!("more{at}")] = at.into();
        }
        let benign = with(&first, &[("/app_proto", "ssh".into())]);
        let (fields, it) = narrow("suricata", &first, &[benign]);
        assert_eq!((&*fields, it.tried.matched), ("alert.signature app_proto", 0));
    }
}
