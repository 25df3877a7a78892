//! Who follows the journal: the index, the log of what happens, and traces.

use std::sync::Arc;

use staunch_connectors::otlp::Resource;
use staunch_model::WithCauses;
use staunch_playbook::Compiled;
use staunch_ports::{Follower, Lsn};
use staunch_store::index::{AwaitedIndex, Index, IndexReader};

use super::Opened;
use crate::config::Config;
use crate::exit::Fault;
use crate::narrator::Narrator;
use crate::traces::{Sending, Tracer};

/// Those that every server has, and a way to ask the index. The journal ends at `journal_start`.
pub(super) fn all(config: &Config, journal_start: Lsn) -> (Vec<Box<dyn Follower>>, IndexReader) {
    let (index, reader) = index(config);
    let narrator = Narrator::new(config.journal_dir(), journal_start);
    (vec![index, Box::new(narrator)], reader)
}

/// The index, and a way to ask it. Containment does not depend on it: without it only the questions of people go
/// unanswered.
fn index(config: &Config) -> (Box<dyn Follower>, IndexReader) {
    let (file, journal) = (config.index_file(), config.journal_dir());
    match Index::open(&file, &journal) {
        Ok(index) => {
            let reader = index.reader();
            (Box::new(index), reader)
        }
        Err(error) => {
            tracing::error!(
                error = %WithCauses(&error),
                "there is no index: incidents cannot be listed, containment goes on; it is tried again every few seconds"
            );
            let index = AwaitedIndex::new(&file, &journal, &error);
            let reader = index.reader();
            (Box::new(index), reader)
        }
    }
}

/// Has traces made of what happens, where there is a receiver for them.
///
/// # Errors
/// When there can be no thread that sends them.
pub(crate) fn traces(config: &Config, opened: &mut Opened, compiled: &[Compiled]) -> Result<Option<Sending>, Fault> {
    let Some(url) = &config.telemetry.otlp else {
        return Ok(None);
    };
    let resource = Resource {
        version: env!("CARGO_PKG_VERSION").into(),
        installation: opened.installation.to_string().into(),
    };
    let (sending, outbox) = Sending::start(url, resource)?;
    let names = compiled
        .iter()
        .map(|it| (it.program.playbook.hash, it.program.playbook.name.clone()));
    let tracer = Tracer::new(
        config.journal_dir(),
        opened.journal_start,
        opened.installation,
        names.collect(),
        Arc::clone(&sending.before),
        outbox,
    );
    opened.parts.followers.push(Box::new(tracer));
    Ok(Some(sending))
}
