//! Reading the configuration again, on an operator's command.
//!
//! Never reads anything itself. The command is in the journal, with how many mistakes were found, before anything of
//! what was read is in force.

use axum::Json;
use axum::http::StatusCode;
use staunch_model::{Command, Operator};
use staunch_runtime::{Handle, Recorded, Replier};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::commands::{Asked, must_say_why};
use crate::dto::{MISTAKES_MAX, Mistake, ReloadRequest, Reloaded};
use crate::limits::RELOAD_TIMEOUT;
use crate::problem::Failed;
use crate::service::{NotRecorded, NotReloaded};

pub(crate) async fn again(asked: Asked) -> Result<Json<Reloaded>, Failed> {
    let (request, app, caller) = asked.read::<ReloadRequest>().await?;
    must_say_why(&request.reason)?;
    let reloads = app.service.reloads.clone();
    let reloads = reloads.ok_or_else(|| Failed::not_found("there is nothing that this server could read again"))?;
    let (by, handle) = (caller.operator(&request.reason), app.service.handle.clone());
    let patience = app.service.limits.answer_timeout;
    let (done, answer) = oneshot::channel();
    reloads.reload(
        Box::new(move |mistakes| record(&handle, by, mistakes, patience).map_err(NotRecorded)),
        // Nobody waits any more when the client has gone; the reload goes on all the same.
        Box::new(move |result| drop(done.send(result))),
    );
    match timeout(RELOAD_TIMEOUT, answer).await {
        Ok(Ok(Ok(reloaded))) => Ok(Json(reloaded)),
        Ok(Ok(Err(not))) => Err(failed(not)),
        Ok(Err(_)) | Err(_) => Err(in_doubt()),
    }
}

/// Gives the command and waits until it is durable.
fn record(handle: &Handle, by: Operator, mistakes: u32, patience: std::time::Duration) -> Result<(), Failed> {
    let (done, answer) = std::sync::mpsc::sync_channel(1);
    // Nobody waits any more after the deadline.
    let reply: Replier<Recorded> = Box::new(move |result| drop(done.send(result)));
    handle.command(by, Command::Reload { mistakes }, reply)?;
    match answer.recv_timeout(patience) {
        // That it was refused is what was to be recorded.
        Ok(result) => Ok(result.map(drop)?),
        Err(_) => Err(in_doubt()),
    }
}

fn failed(not: NotReloaded) -> Failed {
    match not {
        NotReloaded::Mistakes(mistakes) => has_mistakes(mistakes),
        NotReloaded::NotRecorded(NotRecorded(failed)) => failed,
        NotReloaded::TooMany => {
            let (title, detail) = ("others are waited for", "other reloads are waited for already");
            Failed::new(StatusCode::SERVICE_UNAVAILABLE, "busy", title, detail).retry_after(5)
        }
        NotReloaded::Partly(busy) => Failed::from(busy).hint(HINT),
    }
}

/// What to do when it is not known how much of a reload is in force.
const HINT: &str = "a part of what was read may be in force: ask for it again once the engine answers";

fn in_doubt() -> Failed {
    Failed::in_doubt().hint(HINT)
}

fn has_mistakes(mut mistakes: Vec<Mistake>) -> Failed {
    let count = mistakes.len();
    mistakes.truncate(MISTAKES_MAX);
    let (noun, were) = if count == 1 {
        ("mistake", "was")
    } else {
        ("mistakes", "were")
    };
    let title = "the configuration has mistakes";
    let detail = format!("{count} {noun} {were} found; what was read before stays in force");
    Failed::new(StatusCode::UNPROCESSABLE_ENTITY, "mistakes", title, detail)
        .hint("mend them and ask again; `staunch check` on the server's machine finds them without a reload")
        .with(|problem| problem.mistakes = mistakes)
}
