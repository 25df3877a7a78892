//! The routes, and who handles them.

mod commands;
mod description;
mod drills;
mod events;
mod metrics;
mod queries;
mod reload;
mod stream;

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::middleware;
use serde_json::Value;

use crate::api::{Operation, Table};
use crate::app::{Shared, around};
use crate::dto::{
    Approvals, CommandQuery, CommandReply, Commands, Containments, DecisionRequest, DrillRequest, DrillStopRequest,
    DrillStopped, DrillView, EventPlan, Health, IncidentAnswer, IncidentQuery, Incidents, ModeRequest, ModeView,
    NoticeQuery, Notices, PageQuery, ProtectRequest, ProtectionQuery, Protections, RecoverRequest, RecoveryView,
    ReleaseRequest, ReloadRequest, Reloaded, RenewRequest, Status, StreamEntry, StreamQuery, Taken, TransactionQuery,
    Transactions, UnprotectRequest, path,
};
use crate::problem::Failed;

/// Every operation, with its handler.
pub(crate) fn table() -> Table {
    use Operation as Op;
    let events = format!("{}{{source}}", path::EVENTS);
    let plan = format!("{}{{source}}", path::PLAN);
    let incident = format!("{}/{{id}}", path::INCIDENTS);
    let recovery = format!("{}/{{id}}", path::RECOVERIES);
    Table::default()
        .with(
            Op::events::<Taken>(events, "postEvents", "Takes events", 202),
            events::take,
        )
        .with(
            Op::events::<EventPlan>(plan, "planEvent", "Says what would be done about one event", 200),
            events::plan,
        )
        .with(
            Op::get::<Health>(path::HEALTH, "getHealth", "Says whether the engine answers"),
            queries::health,
        )
        .with(
            Op::text(path::METRICS, "getMetrics", "Metrics for Prometheus", "text/plain"),
            metrics::metrics,
        )
        .with(
            Op::get::<Status>(path::STATUS, "getStatus", "Says how Staunch stands"),
            queries::status,
        )
        .with(
            Op::get::<Containments>(
                path::CONTAINMENTS,
                "listContainments",
                "Lists what holds something in the world",
            )
            .query::<PageQuery>(),
            queries::containments,
        )
        .with(
            Op::get::<Approvals>(path::APPROVALS, "listApprovals", "Lists what a person must decide")
                .query::<PageQuery>(),
            queries::approvals,
        )
        .with(
            Op::get::<Incidents>(path::INCIDENTS, "listIncidents", "Lists incidents, newest first")
                .query::<IncidentQuery>(),
            queries::incidents,
        )
        .with(
            Op::get::<IncidentAnswer>(incident, "getIncident", "Shows an incident with what belongs to it"),
            queries::incident,
        )
        .with(
            Op::get::<Transactions>(
                path::TRANSACTIONS,
                "listTransactions",
                "Lists transactions, newest first",
            )
            .query::<TransactionQuery>(),
            queries::transactions,
        )
        .with(
            Op::get::<Commands>(
                path::COMMANDS,
                "listCommands",
                "Lists what people asked for, newest first",
            )
            .query::<CommandQuery>(),
            queries::commands,
        )
        .with(
            Op::get::<Notices>(
                path::NOTICES,
                "listNotices",
                "Lists what people were told, newest first",
            )
            .query::<NoticeQuery>(),
            queries::notices,
        )
        .with(
            Op::stream::<StreamEntry>(path::STREAM, "stream", "Tells what happens, as it happens")
                .query::<StreamQuery>(),
            stream::happening,
        )
        .with(
            Op::post::<ReleaseRequest, CommandReply>(path::RELEASE, "release", "Lifts containment"),
            commands::release,
        )
        .with(
            Op::post::<RenewRequest, CommandReply>(path::RENEW, "renew", "Lets a containment run longer"),
            commands::renew,
        )
        .with(
            Op::get::<RecoveryView>(recovery, "getRecovery", "Says how far the recovery of an incident is"),
            queries::recovery,
        )
        .with(
            Op::post::<RecoverRequest, CommandReply>(
                path::RECOVER,
                "recover",
                "Starts or stops the recovery of an incident",
            ),
            commands::recover,
        )
        .with(
            Op::post::<DecisionRequest, CommandReply>(path::APPROVE, "approve", "Lets a waiting transaction act"),
            commands::approve,
        )
        .with(
            Op::post::<DecisionRequest, CommandReply>(path::DENY, "deny", "Refuses a waiting transaction"),
            commands::deny,
        )
        .with(
            Op::get::<ModeView>(path::MODE, "getMode", "Says how far Staunch goes by itself"),
            queries::mode,
        )
        .with(
            Op::post::<ModeRequest, CommandReply>(path::MODE, "setMode", "Sets how far Staunch goes by itself"),
            commands::set_mode,
        )
        .with(
            Op::get::<Protections>(
                path::PROTECTIONS,
                "listProtections",
                "Lists what is never touched, and why",
            )
            .query::<ProtectionQuery>(),
            queries::protections,
        )
        .with(
            Op::post::<ProtectRequest, CommandReply>(path::PROTECT, "protect", "Exempts a network from containment"),
            commands::protect,
        )
        .with(
            Op::post::<UnprotectRequest, CommandReply>(path::UNPROTECT, "unprotect", "Takes an exemption back"),
            commands::unprotect,
        )
        .with(
            Op::post::<ReloadRequest, Reloaded>(
                path::RELOAD,
                "reload",
                "Reads playbooks, protections, risks and context again",
            ),
            reload::again,
        )
        .with(
            Op::get::<DrillView>(path::DRILL, "getDrill", "Says what goes wrong on purpose"),
            drills::view,
        )
        .with(
            Op::post::<DrillRequest, DrillView>(path::DRILL, "orderDrill", "Has something go wrong on purpose"),
            drills::order,
        )
        .with(
            Op::post::<DrillStopRequest, DrillStopped>(
                path::DRILL_STOP,
                "stopDrill",
                "Ends at once what goes wrong on purpose",
            ),
            drills::stop,
        )
        .with(
            Op::get::<Value>(path::OPENAPI, "getOpenApi", "This description"),
            description::document,
        )
        .with(
            Op::text(
                path::DOCS,
                "getDocs",
                "This description as a page for people",
                "text/html",
            ),
            description::page,
        )
}

/// The API.
pub(crate) fn router(app: Shared) -> Router {
    table()
        .router
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
