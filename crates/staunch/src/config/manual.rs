//! Makes the reference of the configuration out of the doc comments, and compares.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Where each section's keys are described: heading, struct, and the file that it is in.
const SECTIONS: [(&str, &str, &str); 48] = [
    ("", "Config", CONFIG),
    ("[http]", "HttpSettings", HTTP),
    ("[[http.senders]]", "HttpSender", HTTP),
    ("[http.tls]", "HttpTls", HTTP),
    ("[[http.tls.clients]]", "HttpTlsClient", HTTP),
    ("[playbooks]", "PlaybookSettings", CONFIG),
    ("[limits]", "LimitSettings", CONFIG),
    ("[never_touch]", "NeverTouchSettings", CONFIG),
    ("[[never_touch.networks]]", "ProtectedNetwork", CONFIG),
    ("[[never_touch.files]]", "ProtectedFile", CONFIG),
    ("[risk]", "RiskSettings", RISK),
    ("[[risk.rows]]", "RiskRowSettings", RISK),
    ("[[feeds]]", "FeedSettings", FEEDS),
    ("[[lookups]]", "LookupSettings", LOOKUPS),
    ("[context]", "ContextSettings", CONTEXT),
    ("[[context.assets]], [[context.identities]]", "ContextFile", CONTEXT),
    ("[[context.geo]]", "GeoDatabase", CONTEXT),
    ("[[context.guards]]", "ContextRowSettings", CONTEXT),
    ("[notifiers.NAME]", "NotifierSettings", NOTICES),
    ("[[routes]]", "RouteSettings", NOTICES),
    ("[health.NAME]", "HealthSettings", HEALTH),
    ("[prometheus]", "PrometheusSettings", HEALTH),
    ("[nftables]", "NftablesSettings", ACTING),
    ("[rate_limit]", "RateLimitSettings", ACTING),
    ("[host]", "HostSettings", ACTING),
    ("[processes]", "ProcessSettings", ACTING),
    ("[domains]", "DomainSettings", ACTING),
    ("[accounts]", "AccountSettings", ACTING),
    ("[isolation]", "IsolationSettings", ACTING),
    ("[jobs.NAME]", "JobSettings", JOBS),
    ("[traffic]", "TrafficSettings", CONFIG),
    ("[sources.suricata]", "SuricataSettings", SURICATA),
    ("[[sources.files]]", "FileSource", SOURCES),
    ("[[sources.syslog]]", "SyslogSource", SOURCES),
    ("[[sources.sockets]]", "SocketSource", SOURCES),
    ("[[sources.journald]]", "JournaldSource", SOURCES),
    ("[[sources.generic]]", "GenericSettings", GENERIC),
    ("[[sources.generic]] sample, only", "Test", GENERIC),
    ("[journal]", "JournalSettings", CONFIG),
    ("[archive]", "ArchiveSettings", CONFIG),
    ("[evidence]", "EvidenceSettings", EVIDENCE),
    ("[evidence.source]", "EvidencePlace", EVIDENCE),
    ("[evidence.s3]", "EvidenceBucket", EVIDENCE),
    ("[[evidence.anchors]]", "AnchorSettings", EVIDENCE),
    ("[drill]", "DrillSettings", CONFIG),
    ("[sandbox]", "SandboxSettings", CONFIG),
    ("[log]", "LogSettings", CONFIG),
    ("[telemetry]", "TelemetrySettings", TELEMETRY),
];

const CONFIG: &str = include_str!("../config.rs");
const ACTING: &str = include_str!("acting.rs");
const EVIDENCE: &str = include_str!("evidence.rs");
const HEALTH: &str = include_str!("health.rs");
const HTTP: &str = include_str!("http.rs");
const JOBS: &str = include_str!("jobs.rs");
const CONTEXT: &str = include_str!("context.rs");
const FEEDS: &str = include_str!("feeds.rs");
const LOOKUPS: &str = include_str!("lookups.rs");
const NOTICES: &str = include_str!("notices.rs");
const RISK: &str = include_str!("risk.rs");
const SOURCES: &str = include_str!("sources.rs");
const TELEMETRY: &str = include_str!("telemetry.rs");
const SURICATA: &str = include_str!("../../../connectors/src/sources/suricata.rs");
const GENERIC: &str = include_str!("../../../connectors/src/sources/generic.rs");

/// The keys of `name` in `source`, each with its doc comment as one paragraph.
fn keys(source: &str, name: &str) -> Vec<(String, String)> {
    let body = ["pub(crate) struct", "pub struct"]
        .iter()
        .find_map(|start| source.split(&format!("{start} {name} {{\n")).nth(1))
        .and_then(|rest| rest.split("\n}").next())
        .unwrap_or_else(|| panic!("there is no struct {name}"));
    let mut keys = Vec::new();
    let mut doc = String::new();
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            doc.push_str(text.trim());
            doc.push(' ');
        } else if let Some((key, _)) = line.split_once(": ").filter(|(key, _)| key.starts_with("pub")) {
            let key = key.rsplit(' ').next().unwrap_or(key).to_owned();
            keys.push((key, std::mem::take(&mut doc).trim().to_owned()));
        }
    }
    keys
}

#[test]
fn the_reference_is_what_the_doc_comments_say() {
    let mut text = String::from(
        "# Configuration\n\nOne TOML file, named with `--config` or `STAUNCH_CONFIG`, otherwise `/etc/staunch/staunch.toml`\n\
         when it is there. Every key has a default, so an empty file is a valid one. Unknown keys are mistakes. Relative\n\
         paths are relative to the file's directory. Lengths of time are texts such as `\"90s\"`, `\"10m\"` or `\"1h30m\"`.\n\n\
         `staunch check` finds mistakes in the file too. `staunch reload` and `SIGHUP` make a running server read\n\
         `[playbooks]`, `[never_touch]`, `[risk]` and `[context]` again; a file with mistakes changes nothing. All other keys\n\
         take effect at the next start: which of them have changed is in the answer, in the log, in `staunch status` and in\n\
         `staunch doctor`.\n\n\
         A server does not start with a file that has mistakes. Commands that ask one that runs warn of them and go on, as long as\n\
         the file still tells where it is (`data_dir`, `http.listen` and `http.tls`), and so does `release --all` without a server.\n",
    );
    let known: BTreeMap<&str, ()> = SECTIONS
        .iter()
        .map(|(heading, _, _)| (heading.trim_matches(['[', ']']), ()))
        .collect();
    for (heading, name, source) in SECTIONS {
        let title = if heading.is_empty() {
            "Top level".to_owned()
        } else {
            format!("`{heading}`")
        };
        write!(text, "\n## {title}\n\n| Key | Meaning |\n|---|---|\n").expect("a string takes all");
        for (key, doc) in keys(source, name) {
            // A section has a heading of its own.
            if heading.is_empty() && (known.contains_key(&*key) || key == "sources") {
                continue;
            }
            assert!(
                name == "Test" || doc.contains("Since v"),
                "{name}.{key} does not say since when it is there"
            );
            let doc = doc.trim_end_matches("Since v0.1.").trim_end();
            writeln!(text, "| `{key}` | {doc} |").expect("a string takes all");
        }
    }
    text.push_str("\nAll keys are there since v0.1.\n");
    crate::cli::tests::check_reference("configuration.md", &text);
}
