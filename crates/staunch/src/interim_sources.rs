//! Interim: decoders as `staunch_ports::Source`, until `staunch_connectors::sources::ports` is there.
use std::sync::Arc;

use staunch_connectors::json::Split;
use staunch_connectors::sources::{self, Decoded, SettingsError, SourceSettings};
use staunch_ports::{Malformed, Sighting, Source};

struct Port(Arc<dyn sources::Source>);

impl Source for Port {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn read(&self, body: &[u8], visit: &mut dyn FnMut(usize, Sighting<'_>)) -> Result<(), Malformed> {
        for element in Split::new(body) {
            match element.parse(1 << 20) {
                Ok(doc) => match self.0.decode(&doc) {
                    Decoded::Event(view) => visit(element.index, Sighting::Event(&view)),
                    Decoded::Ignored(why) => visit(element.index, Sighting::Ignored(why)),
                    Decoded::Malformed { what, hint } => visit(
                        element.index,
                        Sighting::Malformed(Malformed {
                            offset: element.offset,
                            what: what.into(),
                            hint: hint.into(),
                        }),
                    ),
                },
                Err(error) => visit(
                    element.index,
                    Sighting::Malformed(Malformed {
                        offset: error.offset,
                        what: error.what.into(),
                        hint: error.hint.into(),
                    }),
                ),
            }
        }
        Ok(())
    }
    fn explain(&self, body: &[u8]) -> Option<String> {
        let doc = Split::new(body).next()?.parse(1 << 20).ok()?;
        Some(self.0.explain(&doc).to_owned())
    }
}

pub(crate) fn ports(settings: &SourceSettings) -> Result<Vec<Arc<dyn Source>>, SettingsError> {
    Ok(sources::all(settings)?
        .into_iter()
        .map(|it| Arc::new(Port(it)) as Arc<dyn Source>)
        .collect())
}
