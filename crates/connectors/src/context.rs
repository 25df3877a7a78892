//! Files that say what assets and accounts are: whose, how important, of which kind.
//!
//! Never takes a part of a file: one mistake refuses all of it, with its place and a way to mend it. Nothing is made
//! up: what a file does not say is not known.

mod rows;
mod table;

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use staunch_model::{Asset, Identity, IdentityKind, Printable};

use crate::lists::{Invalid, parse_network};
use rows::Row;

pub use table::{AssetTable, IdentityTable};

/// The longest file that is read.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// The most entries of one file, and of all files of a kind together; fewer in the tests of this crate, which reach it.
pub const ENTRIES_MAX: usize = if cfg!(test) { 1_000 } else { 100_000 };

/// The longest text that a file can say of an entry, in characters: it is shown within one line of a judgement.
pub const TEXT_CHARS_MAX: usize = 64;

/// The longest name of a host (RFC 1035) or of an account, in characters.
pub const NAME_CHARS_MAX: usize = 255;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// YAML: a list of mappings.
    Yaml,
    /// CSV with the names of its columns in the first line.
    Csv,
    /// JSON: an array of objects.
    Json,
}

impl Format {
    /// The format that a file with this ending usually has.
    #[must_use]
    pub fn of_ending(ending: &str) -> Option<Self> {
        match ending {
            "yaml" | "yml" => Some(Self::Yaml),
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// What a file says of one network or host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetEntry {
    /// What it is about.
    pub subject: Subject,
    /// What it says.
    pub asset: Asset,
}

/// What an entry is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A network, or one address.
    Network(IpNet),
    /// A host by its name, in small letters.
    Host(Box<str>),
}

/// What a file says of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityEntry {
    /// Its name, in small letters.
    pub account: Box<str>,
    /// What it says.
    pub identity: Identity,
}

/// Reads a file of assets, which is called `file` in what is shown.
///
/// # Errors
/// The first mistake; also when it says nothing, which is what a file looks like that is being written.
pub fn assets(format: Format, file: &str, bytes: &[u8]) -> Result<Vec<AssetEntry>, Invalid> {
    const COLUMNS: [&str; 6] = ["network", "host", "owner", "tier", "data_class", "environment"];
    let rows = rows::read(format, "assets", &COLUMNS, bytes)?;
    let mut texts = Texts::default();
    let mut seen = BTreeSet::new();
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        let subject = match (row.get("network"), row.get("host")) {
            (Some(network), None) => {
                let network = parse_network(network).map_err(|(what, hint)| row.invalid(what, hint))?;
                Subject::Network(network)
            }
            (None, Some(host)) => Subject::Host(name(&row, "host", host)?),
            (Some(_), Some(_)) => {
                let what = "it names both a network and a host";
                return Err(row.invalid(what, "make two entries of it"));
            }
            (None, None) => {
                let what = "it names neither a network nor a host";
                return Err(row.invalid(what, "add `network: 192.0.2.0/24` or `host: db-1`"));
            }
        };
        let named = match &subject {
            Subject::Network(network) => network.to_string(),
            Subject::Host(host) => host.to_string(),
        };
        if !seen.insert(subject.clone()) {
            let what = format!("{} is there already", Printable(&named));
            return Err(row.invalid(what, "say everything of it in one entry"));
        }
        let mut text = |key: &str| texts.of(&row, key);
        entries.push(AssetEntry {
            asset: Asset {
                owner: text("owner")?,
                tier: text("tier")?,
                data_class: text("data_class")?,
                environment: text("environment")?,
                named: named.into(),
                by: row.place(file).into(),
            },
            subject,
        });
    }
    Ok(entries)
}

/// Reads a file of accounts, which is called `file` in what is shown.
///
/// # Errors
/// As [`assets`].
pub fn identities(format: Format, file: &str, bytes: &[u8]) -> Result<Vec<IdentityEntry>, Invalid> {
    const COLUMNS: [&str; 4] = ["account", "team", "kind", "break_glass"];
    let rows = rows::read(format, "identities", &COLUMNS, bytes)?;
    let mut texts = Texts::default();
    let mut seen = BTreeSet::new();
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(account) = row.get("account") else {
            return Err(row.invalid("it names no account", "add `account: alice`"));
        };
        let account = name(&row, "account", account)?;
        if !seen.insert(account.clone()) {
            let what = format!("the account {} is there already", Printable(&account));
            return Err(row.invalid(what, "say everything of it in one entry"));
        }
        let kind = match row.get("kind") {
            None => None,
            Some("human") => Some(IdentityKind::Human),
            Some("service") => Some(IdentityKind::Service),
            Some(other) => {
                let what = format!("the kind of an account is not {}", Printable(clipped(other)));
                return Err(row.invalid(what, "write human or service"));
            }
        };
        let break_glass = match row.get("break_glass") {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                let what = format!("break_glass is not {}", Printable(clipped(other)));
                return Err(row.invalid(what, "write true or false"));
            }
        };
        entries.push(IdentityEntry {
            account,
            identity: Identity {
                team: texts.of(&row, "team")?,
                kind,
                break_glass,
                by: row.place(file).into(),
            },
        });
    }
    Ok(entries)
}

/// The key under which a host or an account is looked up: ASCII letters without case.
fn key(name: &str) -> Box<str> {
    name.to_ascii_lowercase().into()
}

fn name(row: &Row, what: &str, name: &str) -> Result<Box<str>, Invalid> {
    if name.chars().count() > NAME_CHARS_MAX {
        let what = format!("its {what} has more than {NAME_CHARS_MAX} characters");
        return Err(row.invalid(what, "is it the right column?"));
    }
    Ok(key(name))
}

/// The beginning of `text`.
fn clipped(text: &str) -> &str {
    staunch_model::text::clip(text, TEXT_CHARS_MAX)
}

/// Texts of a file, each kept once: most entries share owner, tier and environment with many others.
#[derive(Default)]
struct Texts(BTreeSet<Arc<str>>);

impl Texts {
    fn of(&mut self, row: &Row, key: &str) -> Result<Option<Arc<str>>, Invalid> {
        let Some(text) = row.get(key) else { return Ok(None) };
        if text.chars().count() > TEXT_CHARS_MAX {
            let what = format!("its {key} has more than {TEXT_CHARS_MAX} characters");
            return Err(row.invalid(what, "shorten it"));
        }
        if let Some(known) = self.0.get(text) {
            return Ok(Some(known.clone()));
        }
        let kept: Arc<str> = text.into();
        self.0.insert(kept.clone());
        Ok(Some(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "# ours\nassets:\n  - network: 10.1.0.0/16\n    owner: payments\n    tier: critical\n    data_class: pci\n\
                        \x20   environment: production\n  - network: 10.1.2.0/24\n    tier: low\n  - host: DB-1\n    owner: \"data\"\n";
    const CSV: &str = "network,host,owner,tier,data_class,environment\n10.1.0.0/16,,payments,critical,pci,production\n\
                       10.1.2.0/24,,,low,,\n,DB-1,data,,,\n";
    const JSON: &str = r#"{"assets": [
        {"network": "10.1.0.0/16", "owner": "payments", "tier": "critical", "data_class": "pci",
         "environment": "production"},
        {"network": "10.1.2.0/24", "tier": "low", "owner": null},
        {"host": "DB-1", "owner": "data"}]}"#;

    /// What a file says, without where.
    fn said(format: Format, text: &str) -> Vec<(Subject, [Option<String>; 4])> {
        let entries = assets(format, "f", text.as_bytes()).expect("it is well formed");
        let one = |it: AssetEntry| {
            let all = [it.asset.owner, it.asset.tier, it.asset.data_class, it.asset.environment];
            (it.subject, all.map(|it| it.map(|it| it.to_string())))
        };
        entries.into_iter().map(one).collect()
    }

    #[test]
    fn all_formats_say_the_same() {
        let yaml = said(Format::Yaml, YAML);
        assert_eq!(said(Format::Csv, CSV), yaml);
        assert_eq!(said(Format::Json, JSON), yaml);
        let word = |it: &str| Some(it.to_owned());
        let network = |it: &str| Subject::Network(it.parse().expect("a network"));
        assert_eq!(
            yaml,
            [
                (
                    network("10.1.0.0/16"),
                    [word("payments"), word("critical"), word("pci"), word("production")]
                ),
                (network("10.1.2.0/24"), [None, word("low"), None, None]),
                (Subject::Host("db-1".into()), [word("data"), None, None, None]),
            ]
        );
        let places = |format, text: &str| -> Vec<String> {
            let entries = assets(format, "f", text.as_bytes()).expect("it is well formed");
            entries.iter().map(|it| it.asset.by.to_string()).collect()
        };
        assert_eq!(places(Format::Yaml, YAML), ["f, line 3", "f, line 8", "f, line 10"]);
        assert_eq!(places(Format::Csv, CSV), ["f, line 2", "f, line 3", "f, line 4"]);
        assert_eq!(places(Format::Json, JSON), ["f, entry 1", "f, entry 2", "f, entry 3"]);
    }

    #[test]
    fn accounts_are_read_from_all_formats() {
        let yaml = "- account: root\n  kind: human\n  break_glass: true\n- account: CI-Bot\n  team: platform\n  kind: service\n";
        let csv = "account,team,kind,break_glass\nroot,,human,true\nCI-Bot,platform,service,false\n";
        let json = r#"[{"account":"root","kind":"human","break_glass":true},
                       {"account":"CI-Bot","team":"platform","kind":"service"}]"#;
        for (format, text) in [(Format::Yaml, yaml), (Format::Csv, csv), (Format::Json, json)] {
            let read = identities(format, "f", text.as_bytes()).expect("it is well formed");
            let said: Vec<_> = read
                .iter()
                .map(|it| {
                    let identity = &it.identity;
                    (
                        &*it.account,
                        identity.team.as_deref(),
                        identity.kind,
                        identity.break_glass,
                    )
                })
                .collect();
            assert_eq!(
                said,
                [
                    ("root", None, Some(IdentityKind::Human), true),
                    ("ci-bot", Some("platform"), Some(IdentityKind::Service), false),
                ],
                "{format:?}"
            );
        }
    }

    #[test]
    fn one_mistake_refuses_all_of_a_file_and_says_where() {
        let check = |format, text: &str, line: Option<u32>, what: &str| {
            let invalid = assets(format, "f", text.as_bytes()).expect_err("it has a mistake");
            assert_eq!((invalid.line, &*invalid.what), (line, what), "{text}");
            assert!(!invalid.hint.is_empty(), "{text}");
        };
        use Format::{Csv, Json, Yaml};
        check(Yaml, "", None, "it says nothing");
        check(Yaml, "assets: []\n", None, "it says nothing");
        check(Csv, "network,tier\n", None, "it says nothing");
        check(Json, "[]", None, "it says nothing");
        check(
            Yaml,
            "- network: 10.0.0.0/8\n- network: 10.0.0.1/8\n",
            Some(2),
            "10.0.0.1/8 has bits set after its prefix",
        );
        check(
            Yaml,
            "- network: 10.0.0.0/8\n  teir: low\n",
            Some(1),
            "there is no column teir",
        );
        check(
            Csv,
            "network,teir\n10.0.0.0/8,low\n",
            Some(1),
            "there is no column teir",
        );
        check(
            Json,
            r#"[{"network":"10.0.0.0/8"},{"teir":"low"}]"#,
            None,
            "entry 2: there is no column teir",
        );
        check(Yaml, "- tier: low\n", Some(1), "it names neither a network nor a host");
        check(
            Csv,
            "network,host\n10.0.0.0/8,a\n",
            Some(2),
            "it names both a network and a host",
        );
        check(Csv, "host,tier\na,1\nA,2\n", Some(3), "a is there already");
        check(Csv, "host,host\na,b\n", Some(1), "the column host is there twice");
        check(Yaml, "- host: a\n  host: b\n", Some(1), "host is there twice");
        check(
            Json,
            r#"[{"host":"a","host":"b"}]"#,
            None,
            "entry 1: host is there twice",
        );
        check(
            Yaml,
            "- &a\n  host: a\n- *a\n",
            Some(1),
            "anchors and aliases are not read",
        );
        check(
            Yaml,
            "- host: [a]\n",
            Some(1),
            "host is not a text, a number or a truth value",
        );
        check(
            Json,
            r#"[{"host":{"a":1}}]"#,
            None,
            "entry 1: host is not a text, a number or a truth value",
        );
        check(Yaml, "host: a\n", Some(1), "it is not a list of entries");
        check(
            Yaml,
            &format!("- host: a\n  tier: {}\n", "x".repeat(65)),
            Some(1),
            "its tier has more than 64 characters",
        );
        let invalid = assets(Csv, "f", b"host\n\xff\n").expect_err("it is no text");
        assert_eq!(invalid.line, Some(2));
        let invalid = assets(Json, "f", b"[{\"host\":\"a\"}").expect_err("it is cut off");
        assert_eq!(invalid.line, Some(1));
        let many = "host,tier\n".to_owned() + &(0..=ENTRIES_MAX).map(|at| format!("h{at},1\n")).collect::<String>();
        check(Csv, &many, Some(1_002), "it has more than 1000 entries");
        let many: String = (0..=ENTRIES_MAX).map(|at| format!("- host: h{at}\n")).collect();
        check(Yaml, &many, Some(1_001), "it has more than 1000 entries");
        let many: Vec<String> = (0..=ENTRIES_MAX).map(|at| format!("{{\"host\":\"h{at}\"}}")).collect();
        check(
            Json,
            &format!("[{}]", many.join(",")),
            None,
            "it has more than 1000 entries",
        );
        // What is shown of a hostile file is escaped.
        let invalid = assets(Csv, "f", b"ho\x1b[2Jst\na\n").expect_err("no such column");
        assert_eq!(invalid.what, "there is no column ho\\u{1b}[2Jst");
    }
}
