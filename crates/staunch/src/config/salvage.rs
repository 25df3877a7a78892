//! What can be read of a configuration with mistakes, for commands that have to find its server and what it holds.
//!
//! A server that runs goes on with what it read at its start: who operates it must get through to it. Never used to start one.

use serde::Deserialize as _;
use toml::{Table, Value};

use super::Config;
use super::mistake::nearest;

/// The part of a configuration that can be read.
#[derive(Clone, Debug)]
pub(crate) struct Salvage {
    pub(crate) config: Config,
    /// Whether its data directory is certainly the one that is meant, and with it the socket for operators.
    pub(crate) knows_data_dir: bool,
    /// Whether the address, and whether it speaks TLS, is certainly what is meant.
    pub(crate) knows_address: bool,
    /// Whether the tables in the kernel are certainly those that are meant.
    pub(crate) knows_table: bool,
}

/// The part of `text` that can be read, key by key; nothing of what is no TOML.
pub(super) fn salvage(text: &str) -> Option<Salvage> {
    let all: Table = text.parse().ok()?;
    let mut kept = Table::new();
    // Tables and keys, or keys of the top alone.
    let mut lost: Vec<(Option<String>, String)> = Vec::new();
    for (key, value) in all {
        if is_read(&key, value.clone()) {
            kept.insert(key, value);
            continue;
        }
        let Value::Table(inner) = value else {
            lost.push((None, key));
            continue;
        };
        let mut kept_inner = Table::new();
        for (inner_key, value) in inner {
            if is_read(
                &key,
                Value::Table(Table::from_iter([(inner_key.clone(), value.clone())])),
            ) {
                kept_inner.insert(inner_key, value);
            } else {
                lost.push((Some(key.clone()), inner_key));
            }
        }
        if is_read(&key, Value::Table(kept_inner.clone())) {
            kept.insert(key, Value::Table(kept_inner));
        } else {
            lost.push((None, key));
        }
    }
    let config = Config::deserialize(kept.clone()).ok()?;
    let has = |table: &str, key: &str| {
        let table = kept.get(table).and_then(Value::as_table);
        table.is_some_and(|it| it.contains_key(key))
    };
    let is_lost = |table: Option<&str>, wanted: &[&str]| {
        let mut of_table = lost.iter().filter(|(of, _)| of.as_deref() == table);
        of_table.any(|(_, key)| nearest(key, wanted).is_some())
    };
    let lost_http = is_lost(None, &["http"]);
    Some(Salvage {
        config,
        knows_data_dir: kept.contains_key("data_dir") || !is_lost(None, &["data_dir"]),
        knows_address: !(lost_http
            || !has("http", "listen") && is_lost(Some("http"), &["listen"])
            || !has("http", "tls") && is_lost(Some("http"), &["tls"])),
        knows_table: !(is_lost(None, &["nftables"])
            || !has("nftables", "table") && is_lost(Some("nftables"), &["table"])),
    })
}

/// Whether a configuration of this key and nothing else can be read.
fn is_read(key: &str, value: Value) -> bool {
    Config::deserialize(Table::from_iter([(key.to_owned(), value)])).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_misspelt_is_kept() {
        let text = "mod = \"enforce\"\ndata_dir = \"/d\"\n[http]\nlisten = \"127.0.0.1:1\"\nbody_bytes = 1\n\
                    [nftables]\ntabel = \"x\"\n[isolation]\nmanagement = [\"10.0.0.0/8\"]\n";
        let found = salvage(text).expect("it is TOML");
        assert!(found.knows_data_dir && found.knows_address, "{found:?}");
        assert_eq!(found.config.data_dir, std::path::Path::new("/d"));
        assert_eq!(found.config.http.listen.port(), 1);
        assert_eq!(found.config.isolation.management.len(), 1);
        assert_eq!(found.config.nftables.table, Config::default().nftables.table);
        assert!(!found.knows_table, "{found:?}");
    }

    #[test]
    fn the_tables_in_the_kernel_are_not_guessed() {
        let knows = |text| salvage(text).map(|it| it.knows_table);
        for text in [
            "mod = \"enforce\"\n",
            "[nftables]\ntimeot = \"1s\"\n",
            "[nftables]\ntable = \"st2\"\ntabel = \"st3\"\n",
        ] {
            assert_eq!(knows(text), Some(true), "{text}");
        }
        for text in [
            "[nftables]\ntabel = \"st2\"\n",
            "[nftables]\ntable = 2\n",
            "[nftable]\ntable = \"st2\"\n",
            "nftables = \"st2\"\n",
        ] {
            assert_eq!(knows(text), Some(false), "{text}");
        }
    }

    #[test]
    fn what_may_have_named_the_place_makes_it_uncertain() {
        let knows = |text| salvage(text).map(|it| (it.knows_data_dir, it.knows_address));
        assert_eq!(knows("data_dri = \"/d\"\n"), Some((false, true)));
        assert_eq!(knows("data_dir = 5\n"), Some((false, true)));
        assert_eq!(knows("[htpp]\nlisten = \"127.0.0.1:1\"\n"), Some((true, false)));
        assert_eq!(knows("[http]\nlisen = \"127.0.0.1:1\"\n"), Some((true, false)));
        assert_eq!(knows("[http]\nlisten = \"here\"\n"), Some((true, false)));
        // The server speaks TLS, and a token is not to be sent in the clear.
        let tls = "[http.tls]\ncertificate = \"a\"\nkee = \"b\"\n";
        assert_eq!(knows(tls), Some((true, false)));
        assert_eq!(knows("mode = [\n"), None);
    }
}
