//! What can be read of a configuration with mistakes, for commands that have to find its server and what it holds.
//!
//! A server that runs goes on with what it read at its start: who operates it must get through to it. Never used to
//! start one.

use serde::Deserialize as _;
use toml::{Table, Value};

use super::Config;
use super::mistake::{keys_of, nearest};

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
    /// The tables of the configuration of which something cannot be read, or that are meant by what is like their
    /// names.
    pub(crate) lost_tables: Vec<String>,
}

/// A key that cannot be read.
struct Lost {
    /// The table that it is in; `None` at the top.
    table: Option<String>,
    key: String,
    /// Whether it is a table itself.
    is_table: bool,
}

/// The part of `text` that can be read, key by key, without the tables in `mistaken`; nothing of what is no TOML.
pub(super) fn salvage(text: &str, mistaken: &[String]) -> Option<Salvage> {
    let mut all: Table = text.parse().ok()?;
    let mut kept = Table::new();
    let mut lost: Vec<Lost> = Vec::new();
    for name in mistaken {
        lost.extend(all.remove(name).map(|value| Lost {
            table: None,
            key: name.clone(),
            is_table: value.is_table(),
        }));
    }
    for (key, value) in all {
        if is_read(&key, value.clone()) {
            kept.insert(key, value);
            continue;
        }
        let of_top = |key, is_table| Lost {
            table: None,
            key,
            is_table,
        };
        let Value::Table(inner) = value else {
            lost.push(of_top(key, false));
            continue;
        };
        let mut kept_inner = Table::new();
        for (inner_key, value) in inner {
            let alone = Value::Table(Table::from_iter([(inner_key.clone(), value.clone())]));
            if is_read(&key, alone) {
                kept_inner.insert(inner_key, value);
            } else {
                lost.push(Lost {
                    table: Some(key.clone()),
                    key: inner_key,
                    is_table: value.is_table(),
                });
            }
        }
        if is_read(&key, Value::Table(kept_inner.clone())) {
            kept.insert(key, Value::Table(kept_inner));
        } else {
            lost.push(of_top(key, true));
        }
    }
    let config = Config::deserialize(kept.clone()).ok()?;
    let has = |table: &str, key: &str| {
        let table = kept.get(table).and_then(Value::as_table);
        table.is_some_and(|it| it.contains_key(key))
    };
    let top = keys_of("");
    // What is like another key is that one; what is like none may be anything.
    let may_be = |lost: &Lost, wanted: &str, known: &[String]| {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        nearest(&lost.key, &known).is_none_or(|near| near == wanted)
    };
    let is_lost_table = |wanted: &str| {
        let is_one = |it: &Lost| it.is_table && may_be(it, wanted, &top) || nearest(&it.key, &[wanted]).is_some();
        lost.iter().filter(|it| it.table.is_none()).any(is_one)
    };
    let is_lost_key = |table: &str, wanted: &[&str]| {
        let known = keys_of(&format!("[{table}]"));
        let is_one = |it: &Lost| wanted.iter().any(|wanted| may_be(it, wanted, &known));
        let mut of_table = lost.iter().filter(|it| it.table.as_deref() == Some(table));
        of_table.any(is_one)
    };
    let may_be_data_dir = |it: &Lost| match it.table {
        None => !it.is_table && may_be(it, "data_dir", &top),
        // In a table that does not take it.
        Some(_) => nearest(&it.key, &["data_dir"]).is_some(),
    };
    let name_of_table = |it: &Lost| {
        let known: Vec<&str> = top.iter().map(String::as_str).collect();
        it.table
            .clone()
            .or_else(|| nearest(&it.key, &known).map(str::to_owned))
            .or_else(|| known.contains(&&*it.key).then(|| it.key.clone()))
    };
    let lost_tables = lost.iter().filter_map(name_of_table).collect();
    let wants_of_http: Vec<&str> = ["listen", "tls"].into_iter().filter(|it| !has("http", it)).collect();
    Some(Salvage {
        config,
        knows_data_dir: kept.contains_key("data_dir") || !lost.iter().any(may_be_data_dir),
        knows_address: !(is_lost_table("http") || is_lost_key("http", &wants_of_http)),
        lost_tables,
        knows_table: has("nftables", "table") || !(is_lost_table("nftables") || is_lost_key("nftables", &["table"])),
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
        let found = salvage(text, &[]).expect("it is TOML");
        assert!(found.knows_data_dir && found.knows_address, "{found:?}");
        assert_eq!(found.config.data_dir, std::path::Path::new("/d"));
        assert_eq!(found.config.http.listen.port(), 1);
        assert_eq!(found.config.isolation.management.len(), 1);
        assert_eq!(found.config.nftables.table, Config::default().nftables.table);
        assert!(!found.knows_table, "{found:?}");
    }

    #[test]
    fn the_tables_in_the_kernel_are_not_guessed() {
        let knows = |text| salvage(text, &[]).map(|it| it.knows_table);
        for text in [
            "mod = \"enforce\"\n",
            "[nftables]\ntimeot = \"1s\"\n",
            "[nftables]\ntable = \"st2\"\ntabel = \"st3\"\n",
            "[nft]\ntable = \"st3\"\n[nftables]\ntable = \"st2\"\n",
            "[limit]\nacts_per_hour_max = 1\n",
        ] {
            assert_eq!(knows(text), Some(true), "{text}");
        }
        for text in [
            "[nftables]\ntabel = \"st2\"\n",
            "[nftables]\ntable = 2\n",
            "[nftable]\ntable = \"st2\"\n",
            "nftables = \"st2\"\n",
            // Like no key that there is.
            "[nft]\ntable = \"st2\"\n",
            "[firewall]\nname = \"st2\"\n",
            "[nftables]\nname = \"st2\"\n",
        ] {
            assert_eq!(knows(text), Some(false), "{text}");
        }
    }

    #[test]
    fn what_may_have_named_the_place_makes_it_uncertain() {
        let knows = |text| salvage(text, &[]).map(|it| (it.knows_data_dir, it.knows_address));
        assert_eq!(knows("data_dri = \"/d\"\n"), Some((false, true)));
        assert_eq!(knows("data_dir = 5\n"), Some((false, true)));
        assert_eq!(knows("[htpp]\nlisten = \"127.0.0.1:1\"\n"), Some((true, false)));
        assert_eq!(knows("[http]\nlisen = \"127.0.0.1:1\"\n"), Some((true, false)));
        assert_eq!(knows("[http]\nlisten = \"here\"\n"), Some((true, false)));
        // The server speaks TLS, and a token is not to be sent in the clear.
        let tls = "[http.tls]\ncertificate = \"a\"\nkee = \"b\"\n";
        assert_eq!(knows(tls), Some((true, false)));
        assert_eq!(knows("[web]\nport = 1\n"), Some((true, false)));
        assert_eq!(knows("[paths]\ndata_dir = \"/d\"\n"), Some((false, false)));
        assert_eq!(knows("directory = \"/d\"\n"), Some((false, true)));
        assert_eq!(knows("mod = \"enforce\"\n"), Some((true, true)));
        assert_eq!(knows("mode = [\n"), None);
    }
}
