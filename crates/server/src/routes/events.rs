//! Events in, and what would be done about one.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use staunch_model::Printable;
use staunch_runtime::{IntakeError, TakenReplier};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::app::{App, Shared};
use crate::body;
use crate::dto::{EventPlan, Taken};
use crate::limits::DECODE_INLINE_BYTES_MAX;
use crate::problem::Failed;

/// Takes a body of events. The answer leaves when everything in it that matched is durable.
pub(crate) async fn take(
    State(app): State<Shared>,
    source: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failed> {
    let source = known_source(&app, source)?;
    let limits = &app.service.limits;
    let body::Bytes { bytes, share } = body::read(&headers, body, limits.body_bytes_max, &app.memory, limits).await?;
    let bytes = with_headers(&app, &source, &headers, bytes);
    let (done, answer) = oneshot::channel();
    let reply: TakenReplier = Box::new(move |result| {
        // Its events were in memory until now, whether or not the client has waited.
        drop(share);
        // Nobody waits any more when the client has gone.
        drop(done.send(result));
    });
    if bytes.len() < DECODE_INLINE_BYTES_MAX {
        app.service.intake.take(&source, &bytes, reply);
        drop(bytes);
    } else {
        let intake = app.service.intake.clone();
        tokio::task::spawn_blocking(move || intake.take(&source, &bytes, reply));
    }
    let result: Result<_, IntakeError> = match timeout(limits.answer_timeout, answer).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) | Err(_) => return Err(Failed::in_doubt()),
    };
    let taken: Taken = result?.into();
    if taken.malformed > 0 && taken.accepted == 0 && taken.ignored == 0 {
        return Err(nothing_readable(taken));
    }
    Ok((StatusCode::ACCEPTED, Json(taken)).into_response())
}

/// What would be done about the first event of a body.
pub(crate) async fn plan(
    State(app): State<Shared>,
    source: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<EventPlan>, Failed> {
    let source = known_source(&app, source)?;
    let limits = &app.service.limits;
    let body = body::read(&headers, body, limits.body_bytes_max, &app.memory, limits).await?;
    let body::Bytes { bytes, share } = body;
    let bytes = with_headers(&app, &source, &headers, bytes);
    let intake = app.service.intake.clone();
    let plan = app
        .wait(&app.plans, limits.answer_timeout, move || {
            let plan = intake.plan(&source, &bytes);
            drop(share);
            plan
        })
        .await??;
    Ok(Json(plan.into()))
}

/// The body with what the source reads of the headers.
fn with_headers(app: &App, source: &str, headers: &HeaderMap, body: Vec<u8>) -> Vec<u8> {
    let headers = headers.iter();
    let mut headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let whole = app.service.intake.with_headers(source, &mut headers, &body);
    whole.unwrap_or(body)
}

/// The source, before its body is read: there is no use in reading one that goes nowhere.
fn known_source(app: &App, source: Result<Path<String>, PathRejection>) -> Result<String, Failed> {
    let named = source.map(|Path(name)| name).unwrap_or_default();
    let mut names = app.service.intake.source_names();
    if names.any(|name| name == named) {
        return Ok(named);
    }
    let known: Vec<String> = app.service.intake.source_names().map(str::to_owned).collect();
    Err(Failed::not_found(format!("there is no source {}", Printable(&named)))
        .hint(format!("post to one of: {}", known.join(", ")))
        .with(|problem| problem.known = known))
}

fn nothing_readable(taken: Taken) -> Failed {
    let first = taken.errors.first();
    let detail = match (taken.malformed, first) {
        (1, Some(first)) => first.what.clone(),
        (count, Some(first)) => format!("none of the {count} elements can be read; the first: {}", first.what),
        (count, None) => format!("none of the {count} elements can be read"),
    };
    let position = first.map(|first| first.offset);
    let failed = Failed::malformed(detail).with(|problem| problem.position = position);
    let failed = match first {
        Some(first) => failed.hint(first.hint.clone()),
        None => failed,
    };
    failed.with(|problem| problem.errors = taken.errors)
}
