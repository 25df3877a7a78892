//! From a body to documents: splitting it, taking events out of what they are wrapped in, parsing each.
//!
//! Never decodes. A list of events inside an object, a single event inside one, an event that is written as a text,
//! and one of which a part is packed each become documents of their own, so that a playbook finds the fields of an
//! event at the same place however it was delivered, and what is kept of it can be read again by itself.

use staunch_model::RawFields as _;

use super::Source;
use crate::json::{Document, EVENT_BYTES_MAX, EVENTS_PER_BODY_MAX, Element, JsonError, Split, Within};

/// Calls `visit` with each event of `body`: its position, the byte of the body at which it begins, and the event or why
/// it cannot be read. A malformed event does not spoil its neighbours. One at [`EVENTS_PER_BODY_MAX`] says that there
/// are more events than are read, and is the last.
pub fn each(source: &dyn Source, body: &[u8], visit: &mut Visit<'_>) {
    if source.inside().is_empty() {
        for element in Split::new(body) {
            parsed(source, element.index, &element, visit);
        }
        return;
    }
    let mut index = 0;
    for element in Split::new(body) {
        if element.index == EVENTS_PER_BODY_MAX {
            // Although those before may have held fewer events.
            index = EVENTS_PER_BODY_MAX;
        }
        let Some(inner) = element.content.as_ref().ok().and_then(|bytes| unwrap(source, bytes)) else {
            if !counted(&mut index, element.offset, visit) {
                return;
            }
            parsed(source, index - 1, &element, visit);
            continue;
        };
        let (start, bytes) = match inner {
            Ok(inner) => inner,
            Err(error) => {
                if !counted(&mut index, element.offset, visit) {
                    return;
                }
                visit(index - 1, element.offset, Err(error.shifted(element.offset)));
                continue;
            }
        };
        let base = element.offset + start;
        for mut element in Split::new(bytes) {
            element.offset += base;
            element.content = element.content.map_err(|error| error.shifted(base));
            if element.index == EVENTS_PER_BODY_MAX {
                index = EVENTS_PER_BODY_MAX;
            }
            if !counted(&mut index, element.offset, visit) {
                return;
            }
            if element
                .content
                .as_ref()
                .is_ok_and(|bytes| unwrap(source, bytes).is_some())
            {
                visit(index - 1, element.offset, Err(wrapped_twice(element.offset)));
            } else {
                parsed(source, index - 1, &element, visit);
            }
        }
    }
}

/// Takes the position and the place of an event, and the event.
pub type Visit<'v> = dyn FnMut(usize, usize, Result<&Document<'_>, JsonError>) + 'v;

/// Counts one more event; says so and returns false when there are too many.
fn counted(index: &mut usize, offset: usize, visit: &mut Visit<'_>) -> bool {
    if *index == EVENTS_PER_BODY_MAX {
        let error = JsonError::of(
            offset,
            "there are more events in the body than are taken at once (10,000)",
            "send the rest in another request",
        );
        visit(*index, offset, Err(error));
        return false;
    }
    *index += 1;
    true
}

/// The place of the events inside `bytes`, and their bytes; `None` when `bytes` are an event themselves.
fn unwrap<'b>(source: &dyn Source, bytes: &'b [u8]) -> Option<Result<(usize, &'b [u8]), JsonError>> {
    source.inside().iter().find_map(|path| {
        let mut base = 0;
        let mut inner = bytes;
        for key in *path {
            let within = Within::find(inner, key)?;
            if let Err(error) = Document::parse(&within.around(inner)) {
                let offset = base + within.place_of(error.offset);
                return Some(Err(JsonError { offset, ..error }));
            }
            base += within.place.start;
            inner = &inner[within.place];
        }
        Some(Ok((base, inner)))
    })
}

fn parsed(source: &dyn Source, index: usize, element: &Element<'_>, visit: &mut Visit<'_>) {
    let document = match element.parse(EVENT_BYTES_MAX) {
        Ok(document) => document,
        Err(error) => return visit(index, element.offset, Err(error)),
    };
    if let Some(unpacked) = source.unpacked(&document, document.bytes()) {
        // A place in what was packed is no place in the body.
        let at_event = |error| JsonError {
            offset: element.offset,
            ..error
        };
        match unpacked {
            Err(error) => visit(index, element.offset, Err(at_event(error))),
            Ok(bytes) => match Document::parse(&bytes) {
                Ok(document) => visit(index, element.offset, Ok(&document)),
                Err(error) => visit(index, element.offset, Err(at_event(error))),
            },
        }
        return;
    }
    let Some(text) = source.written(&document) else {
        return visit(index, element.offset, Ok(&document));
    };
    // A place in the text is no place in the body, where it has escape sequences.
    let offset = element.offset;
    match Document::parse(text.as_bytes()) {
        Ok(inner) if source.written(&inner).is_some() || unwrap(source, text.as_bytes()).is_some() => {
            visit(index, offset, Err(wrapped_twice(offset)));
        }
        Ok(inner) => visit(index, offset, Ok(&inner)),
        Err(error) => visit(index, offset, Err(JsonError { offset, ..error })),
    }
}

/// What is kept of an event must be that event when it is read by itself.
fn wrapped_twice(offset: usize) -> JsonError {
    JsonError::of(
        offset,
        "an event that was wrapped holds events itself",
        "no known system sends this; look at who sent it",
    )
}
