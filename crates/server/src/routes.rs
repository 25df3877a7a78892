//! The routes, and who handles them.

mod commands;
mod drills;
mod events;
mod metrics;
mod queries;
mod stream;

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::middleware;
use axum::routing::{get, post};

use crate::app::{Shared, around};
use crate::dto::path;
use crate::problem::Failed;

/// The API.
pub(crate) fn router(app: Shared) -> Router {
    Router::new()
        .route(&format!("{}{{source}}", path::EVENTS), post(events::take))
        .route(&format!("{}{{source}}", path::PLAN), post(events::plan))
        .route(path::HEALTH, get(queries::health))
        .route(path::METRICS, get(metrics::metrics))
        .route(path::STATUS, get(queries::status))
        .route(path::CONTAINMENTS, get(queries::containments))
        .route(path::APPROVALS, get(queries::approvals))
        .route(path::INCIDENTS, get(queries::incidents))
        .route(&format!("{}/{{id}}", path::INCIDENTS), get(queries::incident))
        .route(path::TRANSACTIONS, get(queries::transactions))
        .route(path::COMMANDS, get(queries::commands))
        .route(path::NOTICES, get(queries::notices))
        .route(path::STREAM, get(stream::happening))
        .route(path::RELEASE, post(commands::release))
        .route(path::RENEW, post(commands::renew))
        .route(path::APPROVE, post(commands::approve))
        .route(path::DENY, post(commands::deny))
        .route(path::MODE, get(queries::mode).post(commands::set_mode))
        .route(path::PROTECTIONS, get(queries::protections))
        .route(path::PROTECT, post(commands::protect))
        .route(path::UNPROTECT, post(commands::unprotect))
        .route(path::DRILL, get(drills::view).post(drills::order))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn_with_state(app.clone(), around))
        .with_state(app)
}

async fn no_route(uri: Uri) -> Failed {
    Failed::not_found(format!("there is nothing at {}", staunch_model::Printable(uri.path())))
}

async fn no_method(uri: Uri) -> Failed {
    let detail = format!("{} does not take this method", staunch_model::Printable(uri.path()));
    Failed::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method",
        "the method is not allowed",
        detail,
    )
}
