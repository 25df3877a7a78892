//! Drills: what an operator has go wrong on purpose, where the configuration declares a scope for that.
//!
//! Not in the journal: no state of the engine changes. Each order is a line at WARN with who gave it, from where and
//! why.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use staunch_model::Printable;

use super::commands::{Asked, must_say_why};
use crate::app::Shared;
use crate::dto::{DrillRequest, DrillView};
use crate::problem::Failed;
use crate::service::Drills;

pub(crate) async fn view(State(app): State<Shared>) -> Result<Json<DrillView>, Failed> {
    Ok(Json(drills(&app)?.view()))
}

pub(crate) async fn order(asked: Asked) -> Result<Json<DrillView>, Failed> {
    let drills = drills(&asked.app)?;
    let (request, _, caller) = asked.read::<DrillRequest>().await?;
    must_say_why(&request.reason)?;
    if request.fault.is_some() && drills.view().fault.is_some() {
        let title = "a drill is under way";
        let detail = "something goes wrong on purpose already";
        let failed = Failed::new(StatusCode::CONFLICT, "drill-under-way", title, detail);
        return Err(failed.hint("end it first by an order without a fault, or wait until its time is over"));
    }
    drills.order(request.fault.as_deref(), request.lasts).map_err(|known| {
        Failed::malformed("there is no such fault").with(|problem| {
            problem.known = known.into_iter().map(str::to_owned).collect();
        })
    })?;
    let by = caller.operator(&request.reason);
    let view = drills.view();
    tracing::warn!(
        by = %Printable(&by.name),
        from = %Printable(&by.from),
        reason = %Printable(&by.reason),
        fault = view.fault.as_deref().unwrap_or("none"),
        scope = view.scope.join(", "),
        "a drill was ordered"
    );
    Ok(Json(view))
}

fn drills(app: &Shared) -> Result<Arc<dyn Drills>, Failed> {
    let hint = "a scope for drills is declared under [drill] in the configuration";
    let drills = app.service.drills.clone();
    drills.ok_or_else(|| Failed::not_found("this installation declares no scope for drills").hint(hint))
}
