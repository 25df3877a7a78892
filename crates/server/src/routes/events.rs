//! Events in, and what would be done about one.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use staunch_model::Printable;
use staunch_runtime::{IntakeError, TakenReplier};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::app::{App, Entry, Shared, unsigned};
use crate::body;
use crate::dto::{EventPlan, Taken};
use crate::limits::DECODE_INLINE_BYTES_MAX;
use crate::problem::Failed;
use crate::senders::{Arrival, Ticket};

/// Takes a body of events. The answer leaves when everything in it that matched is durable.
pub(crate) async fn take(
    State(app): State<Shared>,
    Extension(entry): Extension<Entry>,
    source: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failed> {
    let limits = &app.service.limits;
    let (source, body, ticket) = match entry {
        Entry::Proved(_) => {
            let source = known_source(&app, source)?;
            let body::Bytes { bytes, share } =
                body::read(&headers, body, limits.body_bytes_max, &app.memory, limits).await?;
            let bytes = with_headers(&app, &source, &headers, bytes);
            (source, body::Bytes { bytes, share }, None)
        }
        Entry::IfSigned => match signed(&app, source, headers, body).await? {
            Some((source, body, ticket)) => (source, body, Some(ticket)),
            None => {
                let taken = Taken {
                    repeated: true,
                    ..Taken::default()
                };
                return Ok((StatusCode::ACCEPTED, Json(taken)).into_response());
            }
        },
    };
    let body::Bytes { bytes, share } = body;
    let name = source.clone();
    let (done, answer) = oneshot::channel();
    let reply: TakenReplier = Box::new(move |result| {
        // Its events were in memory until now, whether or not the client has waited.
        drop(share);
        let taken = result
            .as_ref()
            .is_ok_and(|it| it.malformed == 0 || it.accepted > 0 || it.ignored > 0);
        if let Some(ticket) = ticket.filter(|_| taken) {
            // Before anybody is told.
            ticket.taken();
        }
        // Nobody waits any more when the client has gone.
        drop(done.send(result));
    });
    if bytes.len() < DECODE_INLINE_BYTES_MAX && !app.service.intake.may_wait() {
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
    let vain = taken.without_key + taken.beyond_limit;
    if vain > 0
        && let Some(untold) = app.told_of_vain_matches.happened(app.service.handle.machine_now())
    {
        // Who sent it reads it in the answer, if anybody reads that.
        let (without_key, beyond_limit) = (taken.without_key, taken.beyond_limit);
        tracing::warn!(
            source = name,
            without_key,
            beyond_limit,
            untold,
            "playbooks matched, and nothing follows: `staunch source test` shows why"
        );
    }
    if taken.malformed > 0 && taken.accepted == 0 && taken.ignored == 0 {
        return Err(nothing_readable(taken));
    }
    Ok((StatusCode::ACCEPTED, Json(taken)).into_response())
}

/// Reads a body that claims to be signed. Its source and a right to take it; nothing when it was taken before.
async fn signed(
    app: &Shared,
    source: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Option<(String, body::Bytes, Ticket)>, Failed> {
    let limits = &app.service.limits;
    let source = source.map(|Path(name)| name).unwrap_or_default();
    // A stranger is not told which sources there are.
    if !app.service.senders.may_sign(&source, &headers) {
        return Err(unsigned());
    }
    let bytes_max = limits.body_bytes_max;
    let sent = body::receive(&headers, body, bytes_max, &app.memory_of_strangers, limits).await?;
    let at_once = sent.bytes.len() < DECODE_INLINE_BYTES_MAX;
    let prove = {
        let (app, source) = (app.clone(), source.clone());
        move || {
            let now = app.service.handle.machine_now();
            let signed = app.service.senders.prove(&source, &headers, &sent.bytes, now);
            (sent, signed)
        }
    };
    let (sent, signed) = if at_once {
        prove()
    } else {
        let proving = tokio::task::spawn_blocking(prove);
        proving.await.map_err(|_| Failed::no_answer())?
    };
    let signed = signed.ok_or_else(unsigned)?;
    match signed.arrival {
        Arrival::First(ticket) => {
            tracing::debug!(sender = &*signed.name, source, "a signed body");
            Ok(Some((source, sent.unpack(bytes_max).await?, ticket)))
        }
        Arrival::Again => Ok(None),
        Arrival::UnderWay => Err(Failed::under_way()),
        Arrival::Changed => Err(Failed::reused_id()),
    }
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
