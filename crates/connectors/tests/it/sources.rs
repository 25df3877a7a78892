//! Event sources: what recorded and hostile events decode to.

mod accused;
mod any_bytes;
mod auditd;
mod bodies;
mod generic;
mod hostile;
mod recorded;
mod systems;

use std::path::Path;

use staunch_connectors::json::{Document, EVENT_BYTES_MAX, Split};
use staunch_connectors::sources::{Decoded, Falco, Source, Suricata, SuricataSettings};
use staunch_model::EventView;

/// Every file of recorded events, with the source that reads it.
fn recorded_files() -> Vec<(String, &'static str, Vec<u8>)> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut files = Vec::new();
    for (folder, source) in [
        ("falco-website", "falco"),
        ("falcosidekick", "falco"),
        ("suricata-eve", "suricata"),
    ] {
        for entry in std::fs::read_dir(data.join(folder)).expect("the folder is part of the repository") {
            let path = entry.expect("readable").path();
            if path.extension().is_some_and(|extension| extension == "jsonl") {
                let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
                files.push((name, source, std::fs::read(&path).expect("readable")));
            }
        }
    }
    files.sort();
    files
}

/// The events of `body`.
fn events(body: &[u8]) -> Vec<Document<'_>> {
    Split::new(body)
        .map(|element| element.parse(EVENT_BYTES_MAX).expect("a recorded event"))
        .collect()
}

fn source_of(name: &str) -> Box<dyn Source> {
    match name {
        "falco" => Box::new(Falco),
        _ => Box::new(Suricata::new(&SuricataSettings::default())),
    }
}

/// Decodes `text` and looks at the event.
fn with_event<T>(source: &dyn Source, text: &str, look: impl FnOnce(EventView<'_>) -> T) -> T {
    let document = Document::parse(text.as_bytes()).expect("well-formed");
    match source.decode(&document) {
        Decoded::Event(view) => look(view),
        other => panic!("{other:?}: {text}"),
    }
}
