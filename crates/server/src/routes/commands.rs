//! What operators ask for. Every command is in the journal with who gave it, from where, and why.

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode};
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use staunch_engine::NO_SUCH;
use staunch_engine::networks::canonical;
use staunch_model::{Command, CommandReply, ReleaseScope};
use staunch_runtime::{Busy, Recorded, Replier};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::app::{Caller, Shared};
use crate::auth::Right;
use crate::body;
use crate::dto::{
    DecisionRequest, ModeRequest, ProtectRequest, REASON_BYTES_MAX, RecoverRequest, ReleaseRequest, RenewRequest,
    UnprotectRequest, is_blank,
};
use crate::limits::{
    COMMAND_BYTES_MAX, LIFT_TIMEOUT, QUESTION_TIMEOUT, RESPONDER_PREFIX_MIN_V4, RESPONDER_PREFIX_MIN_V6,
};
use crate::problem::Failed;

type Answer = Result<Json<CommandReply>, Failed>;

/// A request that asks for something to be done: who asks, and a body that says what.
pub(crate) struct Asked {
    pub(super) app: Shared,
    pub(super) caller: Caller,
    headers: HeaderMap,
    body: Body,
}

impl FromRequest<Shared> for Asked {
    type Rejection = Failed;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Failed> {
        let (parts, body) = request.into_parts();
        // Who was admitted to a command is known by name.
        let caller = parts.extensions.get::<Caller>().cloned();
        Ok(Self {
            app: app.clone(),
            caller: caller.ok_or_else(Failed::no_answer)?,
            headers: parts.headers,
            body,
        })
    }
}

impl Asked {
    /// What the body says, and by whom.
    pub(super) async fn read<T: DeserializeOwned>(self) -> Result<(T, Shared, Caller), Failed> {
        let Self {
            app,
            caller,
            headers,
            body,
        } = self;
        let body = body::read(&headers, body, COMMAND_BYTES_MAX, &app.memory, &app.service.limits).await?;
        Ok((body::parse(&body.bytes)?, app, caller))
    }

    /// Gives the command that `order` makes of the body, which nobody may give without saying why.
    async fn give_because<T: DeserializeOwned>(self, order: impl FnOnce(T) -> (Command, String)) -> Answer {
        let (request, app, caller) = self.read().await?;
        let (command, reason) = order(request);
        must_say_why(&reason)?;
        give(&app, &caller, &reason, command).await
    }
}

pub(crate) async fn release(asked: Asked) -> Answer {
    let (request, app, caller) = asked.read::<ReleaseRequest>().await?;
    must_say_why(&request.reason)?;
    let scope = request.scope;
    let order = match request.trust {
        None => Command::Release(scope),
        Some(trust) => Command::ReleaseTrusting { scope, trust },
    };
    let mut answer = give(&app, &caller, &request.reason, order).await?;
    if scope == ReleaseScope::Former {
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

pub(crate) async fn renew(asked: Asked) -> Answer {
    let renewal = |it: RenewRequest| {
        let command = Command::Renew {
            transaction: it.transaction,
            lease: it.lease,
            shorten: it.shorten,
        };
        (command, it.reason)
    };
    asked.give_because(renewal).await
}

pub(crate) async fn recover(asked: Asked) -> Answer {
    let recovery = |it: RecoverRequest| {
        let command = if it.stop {
            Command::StopRecovery(it.incident)
        } else {
            Command::Recover(it.incident)
        };
        (command, it.reason)
    };
    asked.give_because(recovery).await
}

pub(crate) async fn approve(asked: Asked) -> Answer {
    let (request, app, caller) = asked.read::<DecisionRequest>().await?;
    must_say_why(&request.reason)?;
    let (intake, transaction) = (app.service.intake.clone(), request.transaction);
    if intake.tells_targets() {
        // What was known when the question was asked may be hours old.
        app.wait(&app.plans, QUESTION_TIMEOUT, move || intake.look_again(transaction))
            .await??;
    }
    give(&app, &caller, &request.reason, Command::Approve(transaction)).await
}

pub(crate) async fn deny(asked: Asked) -> Answer {
    let no = |it: DecisionRequest| (Command::Deny(it.transaction), it.reason);
    asked.give_because(no).await
}

pub(crate) async fn set_mode(asked: Asked) -> Answer {
    asked
        .give_because(|it: ModeRequest| (Command::SetMode(it.mode), it.reason))
        .await
}

pub(crate) async fn protect(asked: Asked) -> Answer {
    let (request, app, caller) = asked.read::<ProtectRequest>().await?;
    must_say_why(&request.reason)?;
    let network = canonical(request.network);
    if is_wide(network) && !caller.may(Right::Operate) {
        return Err(too_wide(network, &caller));
    }
    let command = Command::Protect {
        network: request.network,
        lasts: request.lasts,
    };
    give(&app, &caller, &request.reason, command).await
}

pub(crate) async fn unprotect(asked: Asked) -> Answer {
    let taken_back = |it: UnprotectRequest| (Command::Unprotect { network: it.network }, it.reason);
    asked.give_because(taken_back).await
}

/// Whether a protection of `network`, which is canonical, takes so much away from containment that it is like a mode.
fn is_wide(network: IpNet) -> bool {
    match network {
        IpNet::V4(it) => it.prefix_len() < RESPONDER_PREFIX_MIN_V4,
        IpNet::V6(it) => it.prefix_len() < RESPONDER_PREFIX_MIN_V6,
    }
}

/// Why `caller` may not protect `network`, who may, and what does the same openly.
fn too_wide(network: IpNet, caller: &Caller) -> Failed {
    let (least, bits) = match network {
        IpNet::V4(_) => (RESPONDER_PREFIX_MIN_V4, "IPv4"),
        IpNet::V6(_) => (RESPONDER_PREFIX_MIN_V6, "IPv6"),
    };
    let detail = format!(
        "{network} is wider than /{least}, the widest {bits} network that a responder may protect: {} may look and decide \
         on what is contained, and not turn containment off",
        caller.name()
    );
    Failed::new(
        StatusCode::FORBIDDEN,
        "forbidden",
        "the caller may not do this",
        detail,
    )
    .hint(
        "protect the networks that are meant; or have an operator protect this one, or set `staunch mode observe`, which \
         everybody sees",
    )
}

/// What changes what is in force, or how far Staunch goes, is recorded with who, from where, and why.
pub(super) fn must_say_why(reason: &str) -> Result<(), Failed> {
    if is_blank(reason) {
        return Err(
            Failed::malformed("`reason` is blank, and this is recorded with its reason")
                .hint("say in `reason` why, for those who look at it later"),
        );
    }
    check_reason(reason)
}

/// A reason that may be left out, and then is empty in the record. One that is given says something.
pub(super) fn said(reason: Option<&str>) -> Result<&str, Failed> {
    let Some(reason) = reason else { return Ok("") };
    if is_blank(reason) {
        return Err(Failed::malformed("`reason` is blank").hint("say in `reason` why, or leave it out"));
    }
    check_reason(reason)?;
    Ok(reason)
}

/// A reason is kept for as long as what it is for: it has a bound.
fn check_reason(reason: &str) -> Result<(), Failed> {
    if reason.len() <= REASON_BYTES_MAX {
        return Ok(());
    }
    let detail = format!(
        "the reason has {} bytes; at most {REASON_BYTES_MAX} are kept",
        reason.len()
    );
    Err(Failed::malformed(detail).hint("give a shorter reason"))
}

/// Gives `command`, with a reason that was looked at, and waits until it is durable.
pub(super) async fn give(app: &Shared, caller: &Caller, reason: &str, command: Command) -> Answer {
    let answer = hand_over(app, caller, reason, command)?;
    let recorded = match timeout(app.service.limits.answer_timeout, answer).await {
        Ok(Ok(result)) => result?,
        Ok(Err(_)) | Err(_) => return Err(Failed::in_doubt().hint("look at the state before you give it again")),
    };
    taken(recorded.reply).map(Json)
}

/// Hands `command` over to the engine. What is returned tells when it is durable, however long that takes.
pub(super) fn hand_over(
    app: &Shared,
    caller: &Caller,
    reason: &str,
    command: Command,
) -> Result<oneshot::Receiver<Result<Recorded, Busy>>, Failed> {
    let (done, answer) = oneshot::channel();
    // Nobody waits any more when the client has gone; the command is carried out all the same.
    let reply: Replier<Recorded> = Box::new(move |result| drop(done.send(result)));
    app.service.handle.command(caller.operator(reason), command, reply)?;
    Ok(answer)
}

/// The reply to a command that was not refused.
pub(super) fn taken(reply: CommandReply) -> Result<CommandReply, Failed> {
    match reply.refused {
        None => Ok(reply),
        Some(why) => {
            // The engine says so of ids that it does not know; whatever exists is refused for what it is.
            if why.starts_with(NO_SUCH) {
                return Err(Failed::not_found(why.into_string()));
            }
            let title = "the command was refused";
            Err(Failed::new(StatusCode::CONFLICT, "refused", title, why.into_string()))
        }
    }
}
