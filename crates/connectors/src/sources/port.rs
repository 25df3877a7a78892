//! The sources behind the port: splitting a body, parsing each element, decoding it.

use std::sync::Arc;

use staunch_ports::{Malformed, NotRead, Sighting};

use super::{Auditd, Decoded, SettingsError, SourceSettings, all, body};
use crate::json::{EVENTS_PER_BODY_MAX, JsonError};

/// Every source of `settings`, as the runtime takes them.
///
/// # Errors
/// [`SettingsError`] when a mapping is wrong.
pub fn ports(settings: &SourceSettings) -> Result<Vec<Arc<dyn staunch_ports::Source>>, SettingsError> {
    let port = |source| Arc::new(Port(source)) as Arc<dyn staunch_ports::Source>;
    let mut ports: Vec<_> = all(settings)?.into_iter().map(port).collect();
    ports.push(Arc::new(Auditd));
    Ok(ports)
}

struct Port(Arc<dyn super::Source>);

impl staunch_ports::Source for Port {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn with_headers(&self, headers: &mut dyn Iterator<Item = (&str, &str)>, body: &[u8]) -> Option<Vec<u8>> {
        self.0.with_headers(headers, body)
    }

    fn read(&self, body: &[u8], visit: &mut dyn FnMut(usize, Sighting<'_>)) -> Result<(), NotRead> {
        let mut too_many = None;
        body::each(&*self.0, body, &mut |index, offset, document| match document {
            Err(error) if index == EVENTS_PER_BODY_MAX => too_many = Some(malformed(error)),
            Err(error) => visit(index, Sighting::Malformed(malformed(error))),
            Ok(document) => match self.0.decode(document) {
                Decoded::Event(view) => visit(index, Sighting::Event(&view)),
                Decoded::Ignored(reason) => visit(index, Sighting::Ignored(reason)),
                Decoded::Malformed { what, hint } => {
                    let malformed = Malformed {
                        offset,
                        what: what.into(),
                        hint: hint.into(),
                    };
                    visit(index, Sighting::Malformed(malformed));
                }
            },
        });
        too_many.map_or(Ok(()), |it| Err(NotRead::TooMany(it)))
    }

    fn explain(&self, body: &[u8]) -> Option<String> {
        let mut first = None;
        body::each(&*self.0, body, &mut |index, _, document| {
            if let (0, Ok(document)) = (index, document) {
                first = Some(self.0.explain(document).to_owned());
            }
        });
        first
    }
}

fn malformed(error: JsonError) -> Malformed {
    Malformed {
        offset: error.offset,
        what: error.what.into_owned(),
        hint: error.hint.to_owned(),
    }
}
