//! Every recorded event, as a table for each file.

use std::fmt::Write as _;
use std::path::Path;

use staunch_connectors::sources::Decoded;
use staunch_model::{Endpoint, EventView, Printable};

use super::systems::{system, table};
use super::{events, recorded_files, source_of};

#[test]
fn recorded_events_decode_to_these_tables() {
    let files = recorded_files();
    assert_eq!(files.len(), 15);
    for (name, source, body) in files {
        let source = source_of(source);
        let mut table = String::new();
        for (number, document) in (1..).zip(events(&body)) {
            let Decoded::Event(view) = source.decode(&document) else {
                panic!("{name} line {number}")
            };
            assert_eq!(view.system, source.name());
            row(&mut table, number, &view, source.explain(&document));
        }
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(name, table);
        });
    }
}

/// Of every record that Suricata wrote, not only of the selection that other tests show.
#[test]
fn every_record_of_suricata_decodes_to_these_tables() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/suricata-eve-whole");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is part of the repository")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "zst"))
        .collect();
    files.sort();
    let mut records = 0;
    for path in files {
        let body = zstd::decode_all(&std::fs::read(&path).expect("readable")[..]).expect("it is whole");
        let table = table(&*system("suricata"), &body);
        records += table.lines().count();
        let name = path.file_name().expect("a name").to_string_lossy();
        let name = name.trim_end_matches(".jsonl.zst");
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(format!("whole-{name}"), table);
        });
    }
    assert_eq!(records, 430);
}

pub(super) fn row(table: &mut String, number: usize, view: &EventView<'_>, why: &str) {
    let time = view.time.map_or("no time".to_owned(), |time| time.to_string());
    let kind = format!("{:?}", view.kind).to_lowercase();
    let _ = write!(table, "{number:>3} {time} {kind} {}", view.severity);
    for (name, text) in [("", view.signature), ("category ", view.category)] {
        let _ = write!(table, " | {name}{}", Printable(text));
    }
    for (name, text) in [("id", view.id), ("user", view.user), ("host", view.host)] {
        if let Some(text) = text {
            let _ = write!(table, " | {name} {}", Printable(text));
        }
    }
    let _ = writeln!(
        table,
        " | {} -> {} ({why})",
        endpoint(view.source),
        endpoint(view.destination)
    );
}

fn endpoint(endpoint: Endpoint) -> String {
    match (endpoint.ip, endpoint.port) {
        (Some(ip), Some(port)) => std::net::SocketAddr::new(ip, port).to_string(),
        (Some(ip), None) => ip.to_string(),
        (None, None) => "-".to_owned(),
        (None, Some(port)) => format!("-:{port}"),
    }
}
