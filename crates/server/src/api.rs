//! What is said of the API: one description for each operation, beside its handler, so that none can be without.

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::app::Shared;

/// The schema of a type, with what it refers to left with the generator.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a request carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Carries {
    Nothing,
    /// JSON of this form.
    Json(SchemaOf),
    /// Events as their system sends them.
    Events,
}

/// What an operation answers when all is well.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answers {
    /// JSON of this form.
    Json(SchemaOf),
    /// Text of this type.
    Text(&'static str),
    /// Server-sent events, each with JSON of this form.
    Stream(SchemaOf),
}

/// One operation.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// Its name for programs that are generated from the description.
    pub(crate) id: &'static str,
    /// What it does, in a sentence without its full stop.
    pub(crate) summary: &'static str,
    /// What its query string may say, as an object.
    pub(crate) query: Option<SchemaOf>,
    pub(crate) carries: Carries,
    pub(crate) status: u16,
    pub(crate) answers: Answers,
}

impl Operation {
    fn new(method: Method, path: impl Into<String>, id: &'static str, summary: &'static str, answers: Answers) -> Self {
        Self {
            method,
            path: path.into(),
            id,
            summary,
            query: None,
            carries: Carries::Nothing,
            status: 200,
            answers,
        }
    }

    /// `GET` that answers with a `T`.
    pub(crate) fn get<T: JsonSchema>(path: impl Into<String>, id: &'static str, summary: &'static str) -> Self {
        Self::new(Method::GET, path, id, summary, Answers::Json(subschema::<T>))
    }

    /// `GET` that answers with text of the type `kind`.
    pub(crate) fn text(path: &'static str, id: &'static str, summary: &'static str, kind: &'static str) -> Self {
        Self::new(Method::GET, path, id, summary, Answers::Text(kind))
    }

    /// `GET` that answers with server-sent events.
    pub(crate) fn stream<T: JsonSchema>(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new(Method::GET, path, id, summary, Answers::Stream(subschema::<T>))
    }

    /// `POST` of a `B` that answers with a `T`.
    pub(crate) fn post<B: JsonSchema, T: JsonSchema>(
        path: &'static str,
        id: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            carries: Carries::Json(subschema::<B>),
            ..Self::new(Method::POST, path, id, summary, Answers::Json(subschema::<T>))
        }
    }

    /// `POST` of events that answers with a `T`.
    pub(crate) fn events<T: JsonSchema>(path: String, id: &'static str, summary: &'static str, status: u16) -> Self {
        Self {
            carries: Carries::Events,
            status,
            ..Self::new(Method::POST, path, id, summary, Answers::Json(subschema::<T>))
        }
    }

    /// The same, with a query string that may say what is in `Q`.
    pub(crate) fn query<Q: JsonSchema>(self) -> Self {
        Self {
            query: Some(Q::json_schema),
            ..self
        }
    }
}

fn subschema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Operations with their handlers.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) router: Router<Shared>,
    pub(crate) operations: Vec<Operation>,
}

impl Table {
    /// Has `handler` carry `operation` out.
    pub(crate) fn with<H, T>(mut self, operation: Operation, handler: H) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        let method = match operation.method {
            Method::POST => MethodFilter::POST,
            _ => MethodFilter::GET,
        };
        self.router = self.router.route(&operation.path, on(method, handler));
        self.operations.push(operation);
        self
    }
}
