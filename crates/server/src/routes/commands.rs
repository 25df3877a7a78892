//! What operators ask for. Every command is in the journal with who gave it, from where, and why.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use serde::de::DeserializeOwned;
use staunch_model::{Command, CommandReply, ReleaseScope};
use staunch_runtime::Replier;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::app::{Caller, Shared};
use crate::body;
use crate::dto::{
    DecisionRequest, ModeRequest, ProtectRequest, REASON_BYTES_MAX, ReleaseRequest, RenewRequest, UnprotectRequest,
};
use crate::limits::{COMMAND_BYTES_MAX, LIFT_TIMEOUT};
use crate::problem::Failed;

type Answer = Result<Json<CommandReply>, Failed>;

pub(crate) async fn release(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let request: ReleaseRequest = read(&app, &headers, body).await?;
    let order = match request.trust {
        None => Command::Release(request.scope),
        Some(trust) => Command::ReleaseTrusting {
            scope: request.scope,
            trust,
        },
    };
    let mut answer = command(&app, &caller, &request.reason, order).await?;
    if request.scope == ReleaseScope::Former {
        // The command is durable; what it asks for is outside of the engine's state.
        let handle = app.service.handle.clone();
        let lifted = app.wait(&app.plans, LIFT_TIMEOUT, move || handle.lift_former()).await?;
        answer.0.former = lifted.map_err(|failure| {
            let title = "not everything could be lifted";
            Failed::new(StatusCode::BAD_GATEWAY, "not-lifted", title, failure.to_string())
                .hint("the command is recorded; `staunch containment list` shows what is left after the next sweep")
        })?;
    }
    Ok(answer)
}

pub(crate) async fn renew(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let request: RenewRequest = read(&app, &headers, body).await?;
    let renewal = Command::Renew {
        transaction: request.transaction,
        lease: request.lease,
        shorten: request.shorten,
    };
    command(&app, &caller, &request.reason, renewal).await
}

pub(crate) async fn approve(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let request: DecisionRequest = read(&app, &headers, body).await?;
    command(&app, &caller, &request.reason, Command::Approve(request.transaction)).await
}

pub(crate) async fn deny(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let request: DecisionRequest = read(&app, &headers, body).await?;
    command(&app, &caller, &request.reason, Command::Deny(request.transaction)).await
}

pub(crate) async fn set_mode(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let request: ModeRequest = read(&app, &headers, body).await?;
    command(&app, &caller, &request.reason, Command::SetMode(request.mode)).await
}

pub(crate) async fn protect(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let request: ProtectRequest = read(&app, &headers, body).await?;
    let protect = Command::Protect {
        network: request.network,
        lasts: request.lasts,
    };
    command(&app, &caller, &request.reason, protect).await
}

pub(crate) async fn unprotect(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let request: UnprotectRequest = read(&app, &headers, body).await?;
    let network = request.network;
    command(&app, &caller, &request.reason, Command::Unprotect { network }).await
}

pub(super) async fn read<T: DeserializeOwned>(app: &Shared, headers: &HeaderMap, body: Body) -> Result<T, Failed> {
    let body = body::read(headers, body, COMMAND_BYTES_MAX, &app.memory, &app.service.limits).await?;
    body::parse(&body.bytes)
}

/// A reason is kept for as long as what it is for: it has a bound.
pub(super) fn check_reason(reason: &str) -> Result<(), Failed> {
    if reason.len() <= REASON_BYTES_MAX {
        return Ok(());
    }
    let detail = format!(
        "the reason has {} bytes; at most {REASON_BYTES_MAX} are kept",
        reason.len()
    );
    Err(Failed::malformed(detail).hint("give a shorter reason"))
}

/// Gives `command` and waits until it is durable.
async fn command(app: &Shared, caller: &Caller, reason: &str, command: Command) -> Answer {
    check_reason(reason)?;
    let (done, answer) = oneshot::channel();
    // Nobody waits any more when the client has gone; the command is carried out all the same.
    let reply: Replier<CommandReply> = Box::new(move |result| drop(done.send(result)));
    app.service.handle.command(caller.operator(reason), command, reply)?;
    let reply = match timeout(app.service.limits.answer_timeout, answer).await {
        Ok(Ok(result)) => result?,
        Ok(Err(_)) | Err(_) => return Err(Failed::in_doubt().hint("look at the state before you give it again")),
    };
    match reply.refused {
        None => Ok(Json(reply)),
        Some(why) => {
            // The engine says so of ids that it does not know; whatever exists is refused for what it is.
            if why.starts_with("there is no ") {
                return Err(Failed::not_found(why.into_string()));
            }
            let title = "the command was refused";
            Err(Failed::new(StatusCode::CONFLICT, "refused", title, why.into_string()))
        }
    }
}
