//! Every way in which a request fails, as RFC 9457 wants it told.
//!
//! Never tells what is none of the client's business: paths of files and causes stay in the log.

use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use staunch_model::{Printable, WithCauses};
use staunch_ports::Malformed;
use staunch_runtime::{Busy, IntakeError};
use staunch_store::index::IndexError;

use crate::dto::{PROBLEM_TYPE, Problem};

/// A problem on its way to the client.
#[derive(Debug)]
pub(crate) struct Failed {
    problem: Box<Problem>,
    /// Seconds after which it is worth another try.
    retry_after: Option<u16>,
}

impl Failed {
    pub(crate) fn new(status: StatusCode, code: &str, title: &str, detail: impl Into<String>) -> Self {
        let kind = format!("{}{code}", Problem::TYPE_PREFIX);
        let (status, title, detail) = (status.as_u16(), title.to_owned(), detail.into());
        let problem = Box::new(Problem {
            kind,
            title,
            status,
            detail,
            ..Problem::default()
        });
        Self {
            problem,
            retry_after: None,
        }
    }

    /// What the client is told.
    pub(crate) fn into_problem(self) -> Box<Problem> {
        self.problem
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.problem.hint = Some(hint.into());
        self
    }

    pub(crate) fn with(mut self, edit: impl FnOnce(&mut Problem)) -> Self {
        edit(&mut self.problem);
        self
    }

    pub(crate) fn retry_after(mut self, seconds: u16) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "malformed",
            "the request cannot be read",
            detail,
        )
    }

    /// A query string that is none of its path.
    pub(crate) fn bad_query(error: &QueryRejection) -> Self {
        let text = error.body_text();
        let what = text
            .strip_prefix("Failed to deserialize query string: ")
            .unwrap_or(&text);
        let detail = match what.split_once(": ") {
            // What the standard library says of numbers.
            Some((name, why)) if why.contains("digit found in string") || why.contains("parse integer") => {
                format!("{name} must be a whole number")
            }
            Some((name, why)) if why.starts_with("number too") => {
                format!("{name} is no number that is used here: {why}")
            }
            _ => what.to_owned(),
        };
        Self::malformed(format!("the query string cannot be used: {}", Printable(&detail)))
            .hint("/v1/docs says what each path takes")
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "there is no such thing", detail)
    }

    pub(crate) fn too_large(max: usize) -> Self {
        let detail = format!("the body has more than {max} bytes");
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "the body is too large",
            detail,
        )
        .hint("send it in several requests")
    }

    /// A body with more events than are taken at once. Nothing of it was.
    fn too_many(malformed: &Malformed) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-many",
            "there are too many events in the body",
            Printable(&malformed.what).to_string(),
        )
        .hint("nothing of it was taken: send it in several requests")
        .with(|problem| problem.position = Some(malformed.offset as u64))
    }

    /// The engine did not answer, so that it is open what became of the request.
    pub(crate) fn in_doubt() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "in-doubt",
            "it is not known whether the request was carried out",
            "the engine has not answered: what was asked for may or may not have been made durable",
        )
        .hint("send it again: an event that was taken already joins its incident")
        .retry_after(5)
    }

    /// The same message is being dealt with.
    pub(crate) fn under_way() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "under-way",
            "the same message is being dealt with",
            "it arrived before and has not been answered yet",
        )
        .hint("send it again after the time in Retry-After, when it was not answered until then")
        .retry_after(5)
    }

    /// Another message with the same id was taken.
    pub(crate) fn reused_id() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "reused-id",
            "the id is that of another message",
            "a message with this id and another body was taken before; this one was not",
        )
        .hint("give every message an id of its own, and send the same bytes when it is sent again")
    }

    /// A question was not answered in time. Nothing was changed.
    pub(crate) fn no_answer() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-answer",
            "the engine does not answer",
            "the engine did not answer in time",
        )
        .retry_after(5)
    }

    /// There is no index to ask.
    pub(crate) fn no_index() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-index",
            "the index cannot be asked",
            "this installation runs without an index of the journal",
        )
        .hint("its log says why")
    }

    /// The index takes too long: for this question, or for others that are before it.
    pub(crate) fn slow_index() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "slow-index",
            "the index does not answer",
            "the index of the journal did not answer in time; containment goes on without it",
        )
        .hint("narrow the question: to a time, a state, a playbook or fewer rows")
        .retry_after(5)
    }

    /// A question to the index that failed.
    pub(crate) fn index(error: &IndexError) -> Self {
        if let IndexError::TooSlow { .. } = error {
            tracing::warn!(%error, "a question to the index was given up");
            return Self::slow_index();
        }
        if let IndexError::Awaited { why } = error {
            return Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no-index",
                "the index cannot be asked",
                format!("the index of the journal cannot be opened: {}", Printable(why)),
            )
            .hint("mend that: it is tried again every few seconds, and then made from the journal")
            .retry_after(5);
        }
        tracing::warn!(error = %WithCauses(error), "a question to the index failed");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-index",
            "the index cannot be asked",
            "the index of the journal gave no answer; containment goes on without it",
        )
        .retry_after(5)
    }
}

impl From<Busy> for Failed {
    fn from(busy: Busy) -> Self {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match busy {
            Busy::QueueFull => {
                let title = "too many events are waiting";
                Self::new(StatusCode::TOO_MANY_REQUESTS, "queue-full", title, busy.to_string())
                    .hint("nothing of it was taken: send it again after the time in Retry-After")
                    .retry_after(1)
            }
            Busy::JournalFull => Self::new(unavailable, "journal-full", "the journal is full", busy.to_string())
                .hint("make room on the journal's disk, then send it again")
                .retry_after(10),
            Busy::JournalLost => Self::new(unavailable, "journal-lost", "the journal is lost", busy.to_string())
                .hint("put the journal's files back where they were, or start staunch again")
                .retry_after(30),
            Busy::TooLarge { .. } => {
                let title = "this does not fit into the journal";
                Self::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "frame-too-large",
                    title,
                    busy.to_string(),
                )
                .hint("ask for less at once, or let a segment of the journal be larger (`journal.segment_bytes`)")
            }
            Busy::Stopping => Self::new(unavailable, "stopping", "staunch is stopping", busy.to_string())
                .hint("nothing of it was taken: send it again once staunch has started")
                .retry_after(5),
        }
    }
}

impl From<IntakeError> for Failed {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Busy(busy) => busy.into(),
            IntakeError::TooMany(malformed) => Self::too_many(&malformed),
            IntakeError::NoSource(_) => Self::not_found(error.to_string()),
            IntakeError::Malformed(malformed) => Self::malformed(Printable(&malformed.what).to_string())
                .hint(malformed.hint)
                .with(|problem| {
                    problem.position = Some(malformed.offset as u64);
                }),
        }
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.problem).expect("a problem has nothing that JSON cannot hold");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"staunch\""),
            );
        }
        response
    }
}
