//! `staunch evidence anchor`

use serde::Serialize;
use staunch_model::Printable;
use staunch_store::LogVerifier;

use super::{KEY_BYTES_MAX, folder};
use crate::anchors::{Anchor, Outcome};
use crate::cli::DataArgs;
use crate::exit::{Exit, Fault};
use crate::files::read_bounded;
use crate::output::{Output, Tone, wrap};

/// What became of one anchor.
#[derive(Debug, Serialize)]
struct Brought {
    anchor: String,
    /// The size of the log whose checkpoint is there.
    size: Option<u64>,
    /// Whether it was brought there by this.
    new: bool,
    /// Why it is not there.
    failure: Option<String>,
}

pub(super) fn run(name: Option<&str>, data: &DataArgs, json: bool) -> Result<Exit, Fault> {
    let config = super::super::load_existing(data)?;
    let dir = folder(None, data)?;
    let settings: Vec<_> = config
        .evidence
        .anchors
        .iter()
        .filter(|it| name.is_none_or(|name| it.name == name))
        .collect();
    if settings.is_empty() {
        let message = match name {
            Some(name) => format!("there is no anchor {}", Printable(name)),
            None => "there are no anchors".to_owned(),
        };
        return Err(
            Fault::new(Exit::NotFound, message).hint("write one as [[evidence.anchors]] into the configuration")
        );
    }
    let file = config.evidence_key_file();
    let text = read_bounded(&file, KEY_BYTES_MAX).map_err(|error| {
        Fault::doing(Exit::NotFound, format!("cannot read {}", file.display()), &error)
            .hint("a server writes it when it starts with `[evidence] enabled`")
    })?;
    let key = LogVerifier::parse(text.trim()).ok_or_else(|| {
        Fault::new(Exit::Corrupt, format!("there is no public key in {}", file.display()))
            .hint("a start of the server writes it, when it is not there")
    })?;
    let brought: Vec<Brought> = settings
        .into_iter()
        .map(|settings| {
            let (size, new, failure) = match Anchor::new(settings, &dir, &key).bring() {
                Ok(Outcome::Empty) => (None, false, Some("the log has no checkpoint".to_owned())),
                Ok(Outcome::Known(size)) => (Some(size), false, None),
                Ok(Outcome::New(size)) => (Some(size), true, None),
                Err(failure) => (None, false, Some(failure.to_string())),
            };
            let anchor = settings.name.clone();
            Brought {
                anchor,
                size,
                new,
                failure,
            }
        })
        .collect();
    Output::new(json).show(&brought, |output| brought.iter().map(|it| line(output, it)).collect())?;
    Ok(if brought.iter().all(|it| it.failure.is_none()) {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

fn line(output: &Output, it: &Brought) -> String {
    let (tone, what) = match (&it.failure, it.size) {
        (Some(failure), _) => (Tone::Bad, format!("not anchored: {failure}")),
        (None, Some(size)) if it.new => (Tone::Good, format!("anchored at {size} entries")),
        (None, size) => (
            Tone::Good,
            format!("was anchored already, at {} entries", size.unwrap_or_default()),
        ),
    };
    let line = wrap(&Printable(&format!("{}: {what}", it.anchor)).to_string(), 2);
    format!("{}\n", output.paint(tone, &line))
}
