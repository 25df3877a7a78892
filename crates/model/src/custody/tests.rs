use super::*;
use crate::FailureKind;

fn manifest() -> Manifest {
    Manifest {
        schema_version: CUSTODY_SCHEMA_VERSION,
        sequence: 2,
        previous: Some(Sha256Hash([7; 32])),
        custody: ManifestDraft {
            installation: InstallationId([1; 8]),
            evidence: EvidenceId(17),
            incident: IncidentId(3),
            transaction: Some(TransactionId(4)),
            kind: EvidenceKind::Files,
            target: None,
            name: "auth.log".into(),
            media_type: "text/plain".into(),
            source: EvidenceSource {
                kind: "host".into(),
                host: "web-1".into(),
                boot_id: Some("6f9c".into()),
                machine_id: None,
                provider: None,
                account: None,
                region: None,
                resource: None,
            },
            volatility: 4,
            collected_at: Timestamp::from_micros(1_764_000_000_000_001),
            collected_at_monotonic: Span::from_micros(12_345_678),
            clock_offset: Some(ClockOffset {
                offset_us: -3,
                error_max_us: Some(500),
                told_by: "adjtimex".into(),
            }),
            collector: CollectorIdentity {
                name: "linux/files".into(),
                version: "0.1.0".into(),
                build: None,
                host: "web-1".into(),
                tools: Vec::new(),
            },
            authority: Authority::Playbook {
                name: "credential-compromise".into(),
                hash: ContentHash::of(b"x"),
            },
            method: "openat2(O_RDONLY|O_NOFOLLOW), read".into(),
            locator: "/var/log/auth.log \u{7}\"\\é".into(),
            modified: None,
            handling: vec![Handling {
                at: Timestamp::from_micros(1_764_000_000_000_001),
                actor: "staunch".into(),
                action: HandlingAction::Collect,
                reason: "preserve before containment".into(),
                from: None,
                to: None,
            }],
            changes_caused: vec!["the time of last access of /var/log/auth.log".into()],
            classification: None,
            tlp: Some(Tlp::AmberStrict),
            keep_until: None,
        },
        taken: Taken::Missed(Failure::new(FailureKind::Denied, "no permission")),
        uuid: None,
        signature: None,
    }
}

#[test]
fn there_is_one_encoding_and_it_reads_back() {
    let manifest = manifest();
    let bytes = manifest.to_bytes();
    assert_eq!(Manifest::parse(&bytes), Ok(manifest.clone()));
    assert_eq!(manifest.hash(), Sha256Hash::of(&bytes));
    let text = String::from_utf8(bytes).expect("JSON is text");
    assert!(
        text.starts_with(r#"{"schema_version":1,"sequence":2,"previous":"0707"#),
        "{text}"
    );
    assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
}

#[test]
fn a_signature_is_the_last_that_a_manifest_says_and_is_not_of_itself() {
    let unsigned = manifest();
    let signed = Manifest {
        signature: Some("\u{2014} web-1/staunch AbC+/==".into()),
        ..unsigned.clone()
    };
    let text = String::from_utf8(signed.to_bytes()).expect("JSON is text");
    let field = ",\"signature\":\"\u{2014} web-1/staunch AbC+/==\"";
    assert_eq!(text.replace(field, ""), signed.signed_text());
    assert!(text.ends_with(&format!("{field}}}\n")), "{text}");
    assert_eq!(signed.signed_text().as_bytes(), unsigned.to_bytes());
    assert_eq!(Manifest::parse(text.as_bytes()), Ok(signed));
}

#[test]
fn another_form_of_the_same_is_not_read() {
    let text = String::from_utf8(manifest().to_bytes()).expect("JSON is text");
    let changed = |from: &str, to: &str| {
        let other = text.replacen(from, to, 1);
        assert_ne!(other, text, "{from} is not in it");
        Manifest::parse(other.as_bytes()).expect_err("it is another form")
    };
    assert_eq!(changed("\"sequence\":2", "\"sequence\": 2"), NotCustody::NotCanonical);
    assert_eq!(changed("\n", ""), NotCustody::NotCanonical);
    assert_eq!(changed("\n", "\n\n"), NotCustody::NotCanonical);
    assert_eq!(changed("é", "\\u00e9"), NotCustody::NotCanonical);
    assert_eq!(changed("EV-17", "ev-17"), NotCustody::NotCanonical);
    assert_eq!(changed("\"modified\":null,", ""), NotCustody::NotCanonical);
    assert_eq!(
        changed("\"schema_version\":1", "\"schema_version\":2"),
        NotCustody::Version { found: 2 }
    );
    assert!(matches!(
        changed("\"sequence\":2", "\"sequence\":2,\"x\":1"),
        NotCustody::Malformed(_)
    ));
    assert!(matches!(
        changed("\"sequence\":2", "\"sequence\":2,\"sequence\":2"),
        NotCustody::Malformed(_)
    ));
    let long = vec![b' '; usize::try_from(MANIFEST_BYTES_MAX).expect("small") + 1];
    assert!(matches!(Manifest::parse(&long), Err(NotCustody::TooLong { .. })));
}

#[test]
fn entries_of_the_log_have_one_encoding() {
    let entry = LogEntry::new(Logged::Frames {
        first: 1,
        last: 9,
        chain: FrameChain([0xab; 16]),
    });
    let bytes = entry.to_bytes();
    assert_eq!(LogEntry::parse(&bytes), Ok(entry));
    let text = String::from_utf8(bytes).expect("JSON is text");
    let chain = "ab".repeat(16);
    let expected = r#"{"schema_version":1,"logged":{"frames":{"first":1,"last":9,"chain":"#;
    assert_eq!(text, format!("{expected}\"{chain}\"}}}}}}\n"));
    let largest = LogEntry::new(Logged::Manifest {
        incident: IncidentId(u64::MAX),
        evidence: EvidenceId(u64::MAX),
        sequence: u64::MAX,
        manifest: Sha256Hash([255; 32]),
    });
    assert!(largest.to_bytes().len() as u64 <= LOG_ENTRY_BYTES_MAX);
}

#[test]
fn every_byte_of_a_manifest_counts() {
    let manifest = manifest();
    let bytes = manifest.to_bytes();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        if let Ok(other) = Manifest::parse(&changed) {
            assert_ne!(other, manifest, "byte {at}");
            assert_eq!(other.to_bytes(), changed, "byte {at}");
        }
    }
}
