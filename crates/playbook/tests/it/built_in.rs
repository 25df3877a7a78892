//! The playbooks that come with Staunch.

use staunch_model::{EventKind, EventView, Severity};
use staunch_playbook::{BUILT_IN, CheckContext, Compiled, compile_all};

use crate::event::{Raw, alert, raw};

fn built_in(name: &str) -> Compiled {
    let all = compile_all(BUILT_IN.iter().copied(), &CheckContext::default());
    let all = all.unwrap_or_else(|found| panic!("{found:#?}"));
    assert!(all.iter().all(|it| it.warnings.is_empty()), "{all:?}");
    all.into_iter()
        .find(|it| &*it.program.playbook.name == name)
        .expect("a built-in playbook")
}

fn fires(compiled: &Compiled, severity: Severity, signature: &str, category: &str) -> bool {
    let raw = raw();
    let event = EventView {
        severity,
        signature,
        category,
        ..alert(&raw)
    };
    (compiled.program.when)(&event)
}

#[test]
fn brute_force_is_told_from_noise() {
    let compiled = built_in("brute-force-block");
    for (severity, signature, expect) in [
        (
            Severity::Medium,
            "ET SCAN LibSSH Based Frequent SSH Connections Likely BruteForce Attack",
            true,
        ),
        (Severity::High, "SSH brute force from one address", true),
        (Severity::Medium, "Repeated failed LOGIN ATTEMPTS for root", true),
        (Severity::Low, "SSH brute force from one address", false),
        (
            Severity::High,
            "ET POLICY SSH session in progress on Expected Port",
            false,
        ),
        (Severity::High, "", false),
    ] {
        assert_eq!(fires(&compiled, severity, signature, ""), expect, "{signature}");
    }
}

/// Scenarios of CrowdSec's hub, whose severity is always unknown, with the kind of the decision that came along. Of
/// what is nothing to remedy CrowdSec says no word.
#[test]
fn what_crowdsec_bans_is_told_from_what_it_does_not() {
    let compiled = built_in("crowdsec-block");
    let to_remedy = Raw::new(serde_json::json!({ "remediation": true }));
    let refused = Raw::new(serde_json::json!({ "remediation": false }));
    let nothing = Raw::new(serde_json::json!({}));
    for (scenario, decision, raw, expect) in [
        ("crowdsecurity/ssh-bf", "ban", &to_remedy, true),
        ("crowdsecurity/http-probing", "ban", &to_remedy, true),
        ("manual 'ban' from 'localhost'", "ban", &nothing, true),
        ("crowdsecurity/ssh-bf", "", &to_remedy, true),
        ("crowdsecurity/ssh-slow-bf_user-enum", "", &to_remedy, true),
        ("crowdsecurity/http-bf-wordpress_bf", "", &to_remedy, true),
        ("crowdsecurity/ssh-bf", "", &nothing, false),
        ("crowdsecurity/ssh-bf", "", &refused, false),
        ("crowdsecurity/http-generic-bf", "captcha", &to_remedy, false),
        ("crowdsecurity/http-crawl-non_statics", "", &to_remedy, false),
        ("crowdsecurity/bf-of-something-else", "", &to_remedy, false),
        ("", "", &to_remedy, false),
    ] {
        let event = EventView {
            severity: Severity::Unknown,
            signature: scenario,
            category: decision,
            ..alert(raw)
        };
        assert_eq!((compiled.program.when)(&event), expect, "{scenario} {decision}");
    }
}

/// Signatures and categories as Suricata wrote them for the captures of OISF's suricata-verify.
#[test]
fn exploit_attempts_are_told_from_noise() {
    let compiled = built_in("exploit-attempt-block");
    let admin = "Attempted Administrator Privilege Gain";
    #[rustfmt::skip]
    let table = [
        (Severity::High, "ET EXPLOIT Selenium Server Chrome 3.141.59 Remote Code Execution", admin, true),
        (Severity::High, "ET EXPLOIT Selenium Server Grid Chrome 3.141.59 Remote Code Execution - Successful", "Successful Administrator Privilege Gain", true),
        (Severity::High, "ET MALWARE JAWS Webserver Unauthenticated Shell Command Execution", "Web Application Attack", true),
        (Severity::High, "SMTP EHLO", "Attempted User Privilege Gain", true),
        (Severity::High, "ET EXPLOIT Apache log4j RCE Attempt - lower/upper TCP Bypass M1 (Outbound) (CVE-2021-44228)", admin, false),
        (Severity::High, "ET MALWARE LocalNRD Spyware Checkin (Original Sig Fails to Fire)", "A Network Trojan was detected", false),
        (Severity::Medium, "ET POLICY DCERPC  SVCCTL OpenSCManagerW Request", "Potentially Bad Traffic", false),
        (Severity::Medium, "GPL ATTACK_RESPONSE id check returned root", "Potentially Bad Traffic", false),
        (Severity::Low, "ET INFO Python SimpleHTTP ServerBanner", "Misc activity", false),
        (Severity::Low, "SURICATA IPv4 invalid checksum", "Generic Protocol Command Decode", false),
        (Severity::Low, "MQTT CONNECT password", "", false),
    ];
    for (severity, signature, category, expect) in table {
        assert_eq!(fires(&compiled, severity, signature, category), expect, "{signature}");
    }
    let nothing = Raw::new(serde_json::json!({}));
    let telemetry = EventView {
        kind: EventKind::Telemetry,
        category: admin,
        ..alert(&nothing)
    };
    assert!(!(compiled.program.when)(&telemetry), "a flow record is no alert");
}

/// What Suricata wrote for real connections to servers of attackers, and what looks like it.
#[test]
fn calls_to_attackers_are_told_from_noise() {
    let compiled = built_in("command-and-control-block");
    let raw = Raw::new(serde_json::json!({ "app_proto": "http" }));
    let lookup = Raw::new(serde_json::json!({ "app_proto": "dns" }));
    let trojan = "A Network Trojan was detected";
    #[rustfmt::skip]
    let table = [
        (Severity::High, "ET MALWARE LocalNRD Spyware Checkin (Original Sig Fails to Fire)", trojan, true),
        (Severity::High, "ET MOBILE_MALWARE Android Dropper Checkin Activity (POST)", trojan, true),
        (Severity::High, "MALWARE-CNC User-Agent known malicious user-agent string - Mirai", "", true),
        (Severity::Low, "ET CNC Shadowserver Reported CnC Server Port 80 Group 1", "", false),
        (Severity::High, "ET EXPLOIT Selenium Server Chrome 3.141.59 Remote Code Execution", "Attempted Administrator Privilege Gain", false),
        (Severity::Medium, "Suspicious short host value - bsize", "Potentially Bad Traffic", false),
    ];
    for (severity, signature, category, expect) in table {
        let mut event = EventView {
            severity,
            signature,
            category,
            ..alert(&raw)
        };
        assert_eq!((compiled.program.when)(&event), expect, "{signature}");
        event.raw = &lookup;
        assert!(!(compiled.program.when)(&event), "{signature} as a lookup");
    }
}
