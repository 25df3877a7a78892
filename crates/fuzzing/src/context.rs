//! Files of assets and of accounts, in every format.
//!
//! What holds: a file is read whole or refused with a hint, in words that can be shown; what is read is short, has no
//! host bits, is there once, and is found again under its own name.

use std::sync::Arc;

use staunch_connectors::context::{
    AssetTable, Format, IdentityTable, NAME_CHARS_MAX, Subject, TEXT_CHARS_MAX, assets, identities,
};
use staunch_connectors::lists::Invalid;
use staunch_model::Asset;

use crate::shown::assert_line;

/// Reads a file: the first byte says of what and in which format.
pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    let format = match kind % 3 {
        0 => Format::Yaml,
        1 => Format::Csv,
        _ => Format::Json,
    };
    if kind / 3 % 2 == 0 {
        match assets(format, "file", bytes) {
            Ok(entries) => {
                let table = AssetTable::new(vec![entries.clone().into()]);
                for it in &entries {
                    assert_asset(&it.asset);
                    let found = match &it.subject {
                        Subject::Network(network) => {
                            assert_eq!(network.trunc(), *network);
                            // A narrower network may begin with the same address.
                            table.at(network.network()).is_some()
                        }
                        Subject::Host(host) => {
                            assert!(host.chars().count() <= NAME_CHARS_MAX);
                            table.named(&host.to_ascii_uppercase()) == Some(&it.asset)
                        }
                    };
                    assert!(found, "{:?}", it.subject);
                }
            }
            Err(invalid) => assert_invalid(&invalid),
        }
        return;
    }
    match identities(format, "file", bytes) {
        Ok(entries) => {
            let entries: Arc<[_]> = entries.into();
            let table = IdentityTable::new([&entries]);
            for it in &*entries {
                assert!(it.account.chars().count() <= NAME_CHARS_MAX);
                assert_eq!(table.get(&it.account.to_ascii_uppercase()), Some(&it.identity));
                assert_line(&it.identity.to_string());
            }
        }
        Err(invalid) => assert_invalid(&invalid),
    }
}

fn assert_asset(asset: &Asset) {
    assert_line(&asset.to_string());
    let texts = [&asset.owner, &asset.tier, &asset.data_class, &asset.environment];
    for text in texts.into_iter().flatten() {
        assert!(!text.is_empty() && text.chars().count() <= TEXT_CHARS_MAX);
    }
}

fn assert_invalid(invalid: &Invalid) {
    assert!(!invalid.what.is_empty() && !invalid.hint.is_empty());
    assert!(invalid.line.is_none_or(|line| line > 0));
    assert_line(&invalid.what);
    assert_line(&invalid.hint);
}
