//! `GET /metrics`: how Staunch stands and what it has done, in the text format of Prometheus (version 0.0.4). Never
//! changes anything, and never names an address that an event has.

mod counted;
mod elsewhere;
mod evidence;
mod files;
mod inlets;
mod standing;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;
use staunch_store::index::IndexReader;

use self::counted::counted;
use self::elsewhere::{feeds, lookups};
use self::evidence::{copies, log, vault};
use self::files::{context, lists};
use self::inlets::inlets;
use self::standing::{Standing, standing_now};
use super::queries::unverified_one_by_one;
use crate::app::Shared;
use crate::problem::Failed;

/// The content type of the format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything, for Prometheus to scrape.
pub(crate) async fn metrics(State(app): State<Shared>) -> Result<Response, Failed> {
    let now = app.service.handle.now();
    let standing = app.ask(move |state| Standing::of(state, now.max(state.now))).await?;
    let unverified = match standing.totals.unverified {
        Some(count) => count,
        None => unverified_one_by_one(&app, now).await?,
    };
    // An index that fails is no reason to say nothing of the rest.
    let position = app.look_up_now(IndexReader::position).await.ok();
    let lag = position.and_then(|position| app.index_view(position).lag);
    let mut registry = Registry::with_prefix("staunch");
    let telemetry = app.service.handle.telemetry();
    counted(&mut registry, telemetry);
    lists(&mut registry, telemetry, now);
    context(&mut registry, telemetry, now);
    feeds(&mut registry, telemetry, app.service.handle.machine_now());
    lookups(&mut registry, telemetry);
    vault(&mut registry, telemetry);
    log(&mut registry, telemetry);
    copies(&mut registry, telemetry, app.service.handle.machine_now());
    inlets(&mut registry, app.service.intake.inlets());
    standing_now(&mut registry, &app, &standing, unverified, lag);
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).map_err(|_| Failed::no_answer())?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

/// A gauge is signed.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
