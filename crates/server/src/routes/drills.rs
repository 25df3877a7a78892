//! Drills: what an operator has go wrong on purpose, where the configuration declares a scope for that.
//!
//! No state of the engine changes. An order is in the journal, with who gave it, from where and why, before anything
//! begins; it is a line at WARN too. An end is carried out at once and recorded then; when it is not recorded, or that
//! is in doubt, its line says so.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use staunch_model::{Command, DrillFault, Operator, Printable};

use super::commands::{Asked, give, must_say_why, said};
use crate::app::{Caller, Shared};
use crate::dto::{DRILL_LASTS_MAX, DrillRequest, DrillStopRequest, DrillStopped, DrillView};
use crate::problem::Failed;
use crate::service::Drills;

pub(crate) async fn view(State(app): State<Shared>) -> Result<Json<DrillView>, Failed> {
    Ok(Json(drills(&app)?.view()))
}

pub(crate) async fn order(asked: Asked) -> Result<Json<DrillView>, Failed> {
    let drills = drills(&asked.app)?;
    let (request, app, caller) = asked.read::<DrillRequest>().await?;
    must_say_why(&request.reason)?;
    to_the_end(async move {
        let _turn = app.drill.clone().lock_owned().await;
        if let Some(fault) = drills.view().fault {
            let title = "a drill is under way";
            let detail = format!("something goes wrong on purpose already: {fault}");
            let failed = Failed::new(StatusCode::CONFLICT, "drill-under-way", title, detail);
            return Err(failed.hint("`staunch drill stop` ends it; or wait until its time is over"));
        }
        let (fault, lasts) = (request.fault, request.lasts.min(DRILL_LASTS_MAX));
        let order = Command::Drill { fault, lasts };
        record(&app, &caller, &request.reason, order, (fault, "a drill was ordered")).await?;
        drills.order(fault, lasts);
        Ok(drills.view())
    })
    .await
}

pub(crate) async fn stop(asked: Asked) -> Result<Json<DrillStopped>, Failed> {
    let drills = drills(&asked.app)?;
    let (request, app, caller) = asked.read::<DrillStopRequest>().await?;
    said(request.reason.as_deref())?;
    to_the_end(async move {
        // At once, whatever an order waits for that came before; and in its turn, since that one may have begun by
        // then.
        let at_once = drills.stop();
        let _turn = app.drill.clone().lock_owned().await;
        let ended = drills.stop().or(at_once);
        let scope = drills.view().scope;
        if let Some(fault) = ended {
            let reason = request.reason.as_deref().unwrap_or_default();
            let was = (fault, "a drill was ended");
            let recorded = record(&app, &caller, reason, Command::StopDrill, was).await;
            if recorded.is_err() {
                tell(
                    &caller,
                    reason,
                    fault,
                    "a drill was ended, and that may not be in the journal",
                );
            }
            recorded?;
        }
        Ok(DrillStopped { ended, scope })
    })
    .await
}

/// Goes on with `work` when the client has gone: what is recorded is carried out.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Failed>> + Send + 'static,
) -> Result<Json<T>, Failed> {
    match tokio::spawn(work).await {
        Ok(answer) => answer.map(Json),
        Err(_) => Err(Failed::no_answer()),
    }
}

/// Makes `command` about `fault` durable, and a line in the log that says what has `happened`.
async fn record(
    app: &Shared,
    caller: &Caller,
    reason: &str,
    command: Command,
    (fault, happened): (DrillFault, &str),
) -> Result<(), Failed> {
    drop(give(app, caller, reason, command).await?);
    tell(caller, reason, fault, happened);
    Ok(())
}

fn tell(caller: &Caller, reason: &str, fault: DrillFault, happened: &str) {
    let Operator { name, from, reason } = caller.operator(reason);
    tracing::warn!(
        by = %Printable(&name),
        from = %Printable(&from),
        reason = %Printable(&reason),
        fault = fault.name(),
        "{happened}"
    );
}

fn drills(app: &Shared) -> Result<Arc<dyn Drills>, Failed> {
    let hint = "a scope for drills is declared under [drill] in the configuration";
    let drills = app.service.drills.clone();
    drills.ok_or_else(|| Failed::not_found("this installation declares no scope for drills").hint(hint))
}
