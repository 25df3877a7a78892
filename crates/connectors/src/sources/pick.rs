//! What decoders of JSON with paths have in common.
//!
//! Never copies: everything borrows from the event.

use staunch_model::{Endpoint, EventKind, EventView, FieldValue, NothingKnown, RawFields, Severity, Timestamp};

use super::{Decoded, Source, address};
use crate::json::{Document, JsonError, Node};

/// A system whose events are read by looking fields up by their paths.
pub trait Reader: Send + Sync {
    /// The name of the system.
    const NAME: &'static str;

    /// See [`Source::inside`].
    const INSIDE: &'static [&'static [&'static str]] = &[];

    /// Reads an event.
    ///
    /// # Errors
    ///
    /// What it is instead.
    fn read<'a>(&self, root: Node<'a>) -> Result<Found<'a>, NotAnEvent>;

    /// See [`Source::written`].
    fn written<'a>(&self, _: Node<'a>) -> Option<&'a str> {
        None
    }

    /// See [`Source::unpacked`].
    fn unpacked(&self, _: Node<'_>, _bytes: &[u8]) -> Option<Result<Vec<u8>, JsonError>> {
        None
    }

    /// See [`staunch_ports::Source::with_headers`].
    fn with_headers(&self, _headers: &mut dyn Iterator<Item = (&str, &str)>, _body: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// What a reader found in an event. The fields are those of [`EventView`].
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    pub(super) kind: EventKind,
    pub(super) id: Option<&'a str>,
    pub(super) time: Option<Timestamp>,
    pub(super) severity: Severity,
    pub(super) signature: &'a str,
    pub(super) category: &'a str,
    pub(super) accused: Accused,
    pub(super) user: Option<&'a str>,
    pub(super) host: Option<&'a str>,
}

/// Who is taken for the attacking side, and why.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accused {
    pub(super) source: Endpoint,
    pub(super) destination: Endpoint,
    pub(super) why: &'static str,
}

impl Accused {
    /// Nobody.
    pub(super) fn none(why: &'static str) -> Self {
        Self {
            source: Endpoint::default(),
            destination: Endpoint::default(),
            why,
        }
    }

    /// The address at `node`, if it is one; otherwise nobody.
    pub(super) fn at(node: Option<Node<'_>>, why: &'static str, otherwise: &'static str) -> Self {
        let source = address::endpoint(node, None);
        if source.ip.is_none() {
            return Self::none(otherwise);
        }
        Self {
            source,
            ..Self::none(why)
        }
    }
}

/// Why a document is not an event. The fields are those of [`Decoded`].
#[derive(Clone, Copy, Debug)]
pub enum NotAnEvent {
    /// See [`Decoded::Ignored`].
    Ignored(&'static str),
    /// See [`Decoded::Malformed`].
    Malformed {
        /// What is missing or wrong.
        what: &'static str,
        /// What to look at.
        hint: &'static str,
    },
}

impl<T: Reader> Source for T {
    fn name(&self) -> &str {
        T::NAME
    }

    fn inside(&self) -> &'static [&'static [&'static str]] {
        T::INSIDE
    }

    fn written<'a>(&self, doc: &'a Document<'_>) -> Option<&'a str> {
        Reader::written(self, doc.root())
    }

    fn unpacked(&self, doc: &Document<'_>, bytes: &[u8]) -> Option<Result<Vec<u8>, JsonError>> {
        Reader::unpacked(self, doc.root(), bytes)
    }

    fn with_headers(&self, headers: &mut dyn Iterator<Item = (&str, &str)>, body: &[u8]) -> Option<Vec<u8>> {
        Reader::with_headers(self, headers, body)
    }

    fn decode<'a>(&'a self, doc: &'a Document<'_>) -> Decoded<'a> {
        match self.read(doc.root()) {
            Ok(found) => Decoded::Event(EventView {
                system: T::NAME,
                kind: found.kind,
                id: found.id,
                time: found.time,
                severity: found.severity,
                signature: found.signature,
                category: found.category,
                source: found.accused.source,
                destination: found.accused.destination,
                user: found.user,
                host: found.host,
                raw: doc as &dyn RawFields,
                around: &NothingKnown,
            }),
            Err(NotAnEvent::Ignored(reason)) => Decoded::Ignored(reason),
            Err(NotAnEvent::Malformed { what, hint }) => Decoded::Malformed { what, hint },
        }
    }

    fn explain(&self, doc: &Document<'_>) -> &'static str {
        match self.read(doc.root()) {
            Ok(found) => found.accused.why,
            Err(_) => "this is not an event",
        }
    }
}

/// The member `key` of an object.
pub(super) fn member<'a>(node: Node<'a>, key: &str) -> Option<Node<'a>> {
    node.members().find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// The value below the keys of `path`.
pub(super) fn below<'a>(node: Node<'a>, path: &[&str]) -> Option<Node<'a>> {
    path.iter().try_fold(node, |node, key| member(node, key))
}

/// Like [`below`], with keys in any case of letters.
pub(super) fn below_any_case<'a>(node: Node<'a>, path: &[&str]) -> Option<Node<'a>> {
    path.iter().try_fold(node, |node, key| {
        let mut members = node.members();
        members
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| value)
    })
}

/// The text of a value that says something.
pub(super) fn said(node: Option<Node<'_>>) -> Option<&str> {
    node?.text().filter(|text| !text.is_empty())
}

/// The number that a value is. Only for comparing it with the limits of a scale.
#[expect(
    clippy::cast_precision_loss,
    reason = "no scale reaches numbers that have no exact float"
)]
pub(super) fn number(node: Option<Node<'_>>) -> Option<f64> {
    match node?.value() {
        FieldValue::Int(number) => Some(number as f64),
        FieldValue::Float(number) => Some(number),
        _ => None,
    }
}

/// The one address that all of `nodes` are which are addresses; `Err` when there are different ones.
pub(super) fn one_address<'a>(nodes: impl Iterator<Item = Node<'a>>) -> Result<Option<Node<'a>>, Several> {
    let mut found: Option<(Node<'a>, std::net::IpAddr)> = None;
    for node in nodes {
        let Some(ip) = node.text().and_then(address::read) else {
            continue;
        };
        match found {
            Some((_, known)) if known != ip => return Err(Several),
            Some(_) => {}
            None => found = Some((node, ip)),
        }
    }
    Ok(found.map(|(node, _)| node))
}

/// There are different addresses.
pub(super) struct Several;
