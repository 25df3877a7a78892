//! Questions. What holds at present comes from the engine and is exact; what was comes from the index.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use staunch_model::{Exemption, IncidentId, Span, Timestamp, TransactionId};
use staunch_ports::Lsn;
use staunch_store::index::{IncidentFilter, IndexError, IndexReader, ROWS_MAX, TransactionFilter};
use tokio::time::timeout;

use super::drills;
use crate::app::{App, Shared};
use crate::dto::{
    Approval, Approvals, CommandQuery, Commands, Containments, FormerView, Health, INDEX_LAG_HEADER,
    INDEX_TROUBLE_HEADER, IncidentAnswer, IncidentQuery, Incidents, IndexView, ModeBecause, ModeView, NoticeQuery,
    Notices, PageQuery, ProtectionQuery, ProtectionView, Protections, RecoveryView, Status, TransactionQuery,
    Transactions,
};
use crate::etag::{self, ClockPart};
use crate::limits::{LISTED_SHOWN_MAX, ROWS_DEFAULT, TRANSACTIONS_PER_QUESTION_MAX, WHO_TIMEOUT};
use crate::problem::Failed;
use crate::view;

/// Whether the engine answers, and whether it can take events.
pub(crate) async fn health(State(app): State<Shared>) -> Result<Json<Health>, Failed> {
    app.ask(|_| ()).await?;
    let handle = &app.service.handle;
    let status = match (handle.journal_lost(), handle.journal_full()) {
        (Some(_), _) => "journal-lost",
        (None, Some(_)) => "journal-full",
        (None, None) => "ok",
    };
    Ok(Json(Health {
        status: status.to_owned(),
    }))
}

/// How Staunch stands.
pub(crate) async fn status(State(app): State<Shared>) -> Result<Response, Failed> {
    let service = &app.service;
    let configured = service.reloads.as_ref().map(|it| it.standing());
    let mut status = Status {
        version: service.version.to_string(),
        installation: Default::default(),
        started: app.started,
        uptime: Span::from_secs(app.started_at.elapsed().as_secs()),
        mode: set_by(&app, app.ask(view::mode).await?).await,
        drill: drills::under_way(service),
        open_to_loopback: app.open_to_loopback,
        configuration_read: configured.as_ref().map(|it| it.read_at),
        at_next_start: configured.map_or_else(Vec::new, |it| it.at_next_start),
        playbooks: Vec::new(),
        sources: service.intake.source_names().map(str::to_owned).collect(),
        inlets: service.intake.inlets(),
        lists: view::lists(service.handle.telemetry()),
        context: view::context(service.handle.telemetry()),
        feeds: view::feeds(service.handle.telemetry()),
        lookups: view::lookups(service.handle.telemetry(), service.handle.machine_now()),
        evidence: view::evidence(service.handle.telemetry()),
        counts: service.handle.telemetry().counts().into(),
        queue_depth: service.handle.queue_depth() as u64,
        incidents_open: 0,
        in_force: 0,
        in_force_by: Vec::new(),
        unverified: 0,
        under_way: 0,
        awaiting_approval: 0,
        stuck: 0,
        former: service.handle.former().len() as u64,
        exemptions: 0,
        exempted: Vec::new(),
        refusals: view::reasons(service.handle.telemetry().meter.refusal_counts()),
        rollbacks: view::reasons(service.handle.telemetry().meter.rollback_counts()),
        notices_pending: 0,
        swept_at: None,
        sweep_failures: Vec::new(),
        journal_lsn: None,
        journal_lost: service.handle.journal_lost().map(Into::into),
        journal_full: service.handle.journal_full(),
        sandbox_gaps: service.sandbox_gaps.to_vec(),
        index: None,
    };
    let now = service.handle.now();
    let (mut status, unverified) = app
        .ask(move |state| {
            let totals = view::totals(state, now.max(state.now));
            (status.exemptions, status.exempted) = view::exempted(state, now.max(state.now));
            let playbooks = state.policy.iter().flat_map(|policy| &policy.playbooks);
            status.installation = state.installation;
            status.playbooks = playbooks.map(|playbook| playbook.name.to_string()).collect();
            status.incidents_open = totals.incidents_open;
            status.in_force = totals.in_force;
            status.in_force_by = totals.in_force_by;
            status.under_way = totals.under_way;
            status.awaiting_approval = totals.awaiting_approval;
            status.stuck = totals.stuck;
            status.notices_pending = state.notices.len() as u64;
            status.evidence.preserving = state.evidence.values().filter(|it| it.is_open()).count() as u64;
            status.swept_at = state.swept_at.values().max().copied();
            status.sweep_failures = view::sweep_failures(state);
            (status, totals.unverified)
        })
        .await?;
    status.unverified = match unverified {
        Some(count) => count,
        None => unverified_one_by_one(&app, now).await?,
    };
    status.journal_lsn = app.journal_lsn();
    // An index that fails is no reason to say nothing of the rest.
    status.index = match app.look_up_now(IndexReader::position).await {
        Ok(position) => Some(app.index_view(position)),
        // One that could not be opened yet has nothing, and says why.
        Err(_) => app.index_trouble().map(|_| app.index_view(Lsn(0))),
    };
    Ok(etag::clocked(ClockPart::new("uptime", &status.uptime), status))
}

/// How far Staunch goes by itself.
pub(crate) async fn mode(State(app): State<Shared>) -> Result<Json<ModeView>, Failed> {
    let mode = app.ask(view::mode).await?;
    Ok(Json(set_by(&app, mode).await))
}

/// `mode` with who set it, when that was a person and the index knows who.
async fn set_by(app: &Shared, mut mode: ModeView) -> ModeView {
    if mode.because == ModeBecause::Operator {
        // An index that fails or hangs is no reason to say nothing of the mode.
        let asked = timeout(WHO_TIMEOUT, app.look_up(IndexReader::mode_command)).await;
        let command = asked.ok().and_then(Result::ok).flatten();
        view::name_who_set(&mut mode, command);
    }
    mode
}

/// Everything that holds something in the world, or a page of it.
pub(crate) async fn containments(
    State(app): State<Shared>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, Failed> {
    let page = Page::of(query)?;
    let now = app.service.handle.now();
    let mut containments = Vec::new();
    let mut after = Some(page.after);
    while let Some(from) = after.filter(|_| !page.is_full(containments.len())) {
        let (some, next) = app
            .ask(move |state| view::containments(state, from, TRANSACTIONS_PER_QUESTION_MAX, now.max(state.now)))
            .await?;
        containments.extend(some);
        after = next;
    }
    let next = page.cut(&mut containments, |it| it.transaction);
    let former = app.service.handle.former().into_iter().filter(|_| page.is_first());
    let former = former
        .map(|(action, it)| FormerView {
            action,
            target: it.target.to_string(),
            label: it.label.into(),
            expires_in: it.expires_in,
        })
        .collect();
    let answer = Containments {
        now,
        containments,
        next,
        former,
    };
    Ok(etag::clocked(ClockPart::new("now", &now), answer))
}

/// A page of a list by transaction.
#[derive(Clone, Copy)]
struct Page {
    after: TransactionId,
    /// `None` for a page of everything.
    limit: Option<usize>,
}

impl Page {
    fn of(query: Result<Query<PageQuery>, QueryRejection>) -> Result<Self, Failed> {
        let Query(query) = query.map_err(|error| Failed::bad_query(&error))?;
        let limit = query.limit.map(|asked| limit(Some(asked))).transpose()?;
        Ok(Self {
            after: query.after.unwrap_or(TransactionId(0)),
            limit: limit.map(|it| it as usize),
        })
    }

    fn is_first(&self) -> bool {
        self.after == TransactionId(0)
    }

    /// Whether `count` rows are more than it holds, so that there is a next one.
    fn is_full(&self, count: usize) -> bool {
        self.limit.is_some_and(|limit| count > limit)
    }

    /// Leaves of `rows` what it holds, and says behind which the next one begins.
    fn cut<T>(&self, rows: &mut Vec<T>, id: impl Fn(&T) -> TransactionId) -> Option<TransactionId> {
        let limit = self.limit.filter(|limit| rows.len() > *limit)?;
        rows.truncate(limit);
        rows.last().map(id)
    }
}

/// How far the recovery of an incident is.
pub(crate) async fn recovery(
    State(app): State<Shared>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<RecoveryView>, Failed> {
    let named = id.map(|Path(id)| id).unwrap_or_default();
    let id: IncidentId = named.parse().map_err(Failed::not_found)?;
    let (view, known) = app
        .ask(move |state| {
            let known = state.incidents.contains_key(&id);
            (view::recovery(state, id), (known, known || id.0 <= state.last_incident))
        })
        .await?;
    let (known, was_there) = known;
    view.map(Json).ok_or_else(|| {
        if !was_there {
            Failed::not_found(format!("there is no {id}")).hint("`staunch incident list` shows those there are")
        } else if known {
            Failed::not_found(format!("the playbook of {id} has no recover phase"))
                .hint(format!("`staunch release --incident {id}` lifts what it holds"))
        } else {
            Failed::not_found(format!("{id} is not open, so there is nothing to recover"))
                .hint(format!("`staunch incident show {id}` says how it went"))
        }
    })
}

/// What is never touched: everything, or what is around one address.
pub(crate) async fn protections(
    State(app): State<Shared>,
    query: Result<Query<ProtectionQuery>, QueryRejection>,
) -> Result<Response, Failed> {
    let Query(query) = query.map_err(|error| Failed::bad_query(&error))?;
    let now = app.service.handle.now();
    let address = query.address.map(|ip| ip.to_canonical());
    let is_page = query.limit.is_some() || query.after.is_some();
    if is_page && address.is_some() {
        return Err(Failed::malformed(
            "limit and after are for all networks, not for those around an address",
        ));
    }
    let limit = limit(query.limit)? as usize;
    // The engine only hands out what there is; how it is shown is worked out here.
    let (policy, exemptions, (listed, left_out), held_by) = app
        .ask(move |state| {
            let is_asked = |it: &&Exemption| address.is_none_or(|ip| it.network.contains(&ip));
            let exemptions = state.exemptions.holding_at(now.max(state.now));
            let exemptions: Vec<_> = exemptions.filter(is_asked).cloned().collect();
            let held_by: Vec<_> = address.iter().flat_map(|ip| view::holding(state, *ip)).collect();
            let listed = if is_page {
                view::listed_page(state, query.after, limit)
            } else {
                view::listed(state, address, LISTED_SHOWN_MAX)
            };
            (state.policy.clone(), exemptions, listed, held_by)
        })
        .await?;
    let mut protections = view::protections(policy.as_deref(), listed, &exemptions);
    if let Some(ip) = address {
        protections.retain(|it| it.network.contains(&ip));
        let personal = |it: &ProtectionView| it.by.is_some();
        let listed = |it: &ProtectionView| it.file.is_some();
        protections.sort_by_key(|it| (personal(it), listed(it), Reverse(it.network.prefix_len())));
    }
    let (next, left_out) = if is_page {
        view::page_of(&mut protections, query.after, limit, left_out)
    } else {
        (None, left_out)
    };
    let answer = Protections {
        now,
        protections,
        left_out,
        next,
        held_by,
    };
    Ok(etag::clocked(ClockPart::new("now", &now), answer))
}

/// Looks at each containment, a bounded number in each question, so that the engine is not held up.
pub(super) async fn unverified_one_by_one(app: &App, now: Timestamp) -> Result<u64, Failed> {
    let mut unverified = 0;
    let mut after = Some(TransactionId(0));
    while let Some(from) = after {
        let (some, next) = app
            .ask(move |state| view::unverified(state, from, TRANSACTIONS_PER_QUESTION_MAX, now.max(state.now)))
            .await?;
        unverified += some;
        after = next;
    }
    Ok(unverified)
}

/// What a person must decide, with what was concluded about it.
pub(crate) async fn approvals(
    State(app): State<Shared>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, Failed> {
    let page = Page::of(query)?;
    let mut approvals: Vec<Approval> = Vec::new();
    let mut after = Some(page.after);
    while let Some(from) = after.filter(|_| !page.is_full(approvals.len())) {
        let (some, next) = app
            .ask(move |state| view::approvals(state, from, TRANSACTIONS_PER_QUESTION_MAX))
            .await?;
        approvals.extend(some);
        after = next;
    }
    let next = page.cut(&mut approvals, |it| it.transaction);
    let wanted = !approvals.is_empty() && app.service.index.is_some();
    if wanted {
        let ids: Vec<TransactionId> = approvals.iter().map(|it| it.transaction).collect();
        // The question can be answered without the judgements, but only just.
        if let Ok(mut judgements) = app.look_up(move |index| index.judgements(&ids)).await {
            for approval in &mut approvals {
                approval.judgement = judgements.remove(&approval.transaction);
            }
        }
    }
    let now = app.service.handle.now();
    let answer = Approvals { now, approvals, next };
    Ok(etag::clocked(ClockPart::new("now", &now), answer))
}

/// Incidents, newest first.
pub(crate) async fn incidents(
    State(app): State<Shared>,
    query: Result<Query<IncidentQuery>, QueryRejection>,
) -> Result<Response, Failed> {
    let Query(query) = query.map_err(|error| Failed::bad_query(&error))?;
    let limit = limit(query.limit)?;
    let filter = IncidentFilter {
        status: query.status,
        outcome: query.outcome,
        playbook: query.playbook,
        text: query.text,
        since: query.since,
        before: query.before,
        limit: limit + 1,
    };
    let (mut incidents, index) = from_index(&app, move |index| index.incidents(&filter)).await?;
    let next = cut(&mut incidents, limit, |it| it.id);
    Ok(indexed(&index.clone(), Incidents { incidents, next, index }))
}

/// One incident with what belongs to it.
pub(crate) async fn incident(
    State(app): State<Shared>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Failed> {
    let named = id.map(|Path(id)| id).unwrap_or_default();
    let now = app.service.handle.now();
    let id: IncidentId = named.parse().map_err(Failed::not_found)?;
    let (detail, index) = from_index(&app, move |index| index.incident(id)).await?;
    match detail {
        Some(detail) => {
            let ids: Vec<TransactionId> = detail.transactions.iter().map(|it| it.id).collect();
            let addresses: BTreeSet<IpAddr> = detail
                .transactions
                .iter()
                .filter_map(|it| it.target.parse().ok())
                .collect();
            let (protected, exempted, absorbs_until) = app
                .ask(move |state| {
                    let now = now.max(state.now);
                    let live = ids.iter().filter_map(|id| state.transactions.get(id));
                    let protected = live.filter_map(|it| view::protected(state, it, now)).collect();
                    let exempted = view::exempted_around(state, &addresses, now);
                    (protected, exempted, view::absorbs_until(state, id, now))
                })
                .await?;
            let answer = IncidentAnswer {
                detail,
                protected,
                exempted,
                absorbs_until,
                index: index.clone(),
            };
            Ok(indexed(&index, answer))
        }
        None => {
            let known = app.ask(move |state| state.incidents.contains_key(&id)).await?;
            let behind = index.lag.filter(|frames| *frames > 0);
            let hint = |usual: &str| match &index.trouble {
                Some(why) => format!(
                    "the index cannot be written: {why}. It catches up by itself once it can; `staunch doctor` says what \
                     is wrong"
                ),
                None => usual.to_owned(),
            };
            Err(match (known, behind) {
                (true, _) => Failed::not_found(format!("{id} is not in the index yet"))
                    .hint(hint("it has just been opened: ask again in a moment")),
                (false, Some(frames)) => Failed::not_found(format!(
                    "there is no {id} in the index, which is {frames} frames behind the journal"
                ))
                .hint(hint("ask again in a moment")),
                (false, None) => Failed::not_found(format!("there is no {id}")),
            })
        }
    }
}

/// Transactions, newest first.
pub(crate) async fn transactions(
    State(app): State<Shared>,
    query: Result<Query<TransactionQuery>, QueryRejection>,
) -> Result<Response, Failed> {
    let Query(query) = query.map_err(|error| Failed::bad_query(&error))?;
    let limit = limit(query.limit)?;
    let filter = TransactionFilter {
        state: query.state,
        target: query.target,
        before: query.before,
        limit: limit + 1,
    };
    let (mut transactions, index) = from_index(&app, move |index| index.transactions(&filter)).await?;
    let next = cut(&mut transactions, limit, |it| it.id);
    Ok(indexed(
        &index.clone(),
        Transactions {
            transactions,
            next,
            index,
        },
    ))
}

/// Commands, newest first.
pub(crate) async fn commands(
    State(app): State<Shared>,
    query: Result<Query<CommandQuery>, QueryRejection>,
) -> Result<Response, Failed> {
    let Query(query) = query.map_err(|error| Failed::bad_query(&error))?;
    let limit = limit(query.limit)?;
    let (mut commands, index) = from_index(&app, move |index| index.commands(query.before, limit + 1)).await?;
    let next = cut(&mut commands, limit, |it| it.lsn);
    Ok(indexed(&index.clone(), Commands { commands, next, index }))
}

/// Notices, newest first.
pub(crate) async fn notices(
    State(app): State<Shared>,
    query: Result<Query<NoticeQuery>, QueryRejection>,
) -> Result<Response, Failed> {
    let Query(query) = query.map_err(|error| Failed::bad_query(&error))?;
    let limit = limit(query.limit)?;
    let (mut notices, index) = from_index(&app, move |index| index.notices(query.before, limit + 1)).await?;
    let next = cut(&mut notices, limit, |it| it.id);
    Ok(indexed(&index.clone(), Notices { notices, next, index }))
}

/// An answer of the index, and how far it follows the journal at the least.
async fn from_index<R: Send + 'static>(
    app: &App,
    question: impl FnOnce(&IndexReader) -> Result<R, IndexError> + Send + 'static,
) -> Result<(R, IndexView), Failed> {
    let (answer, position): (R, Lsn) = app
        .look_up(|index| {
            let position = index.position()?;
            Ok((question(index)?, position))
        })
        .await?;
    Ok((answer, app.index_view(position)))
}

fn indexed(index: &IndexView, answer: impl Serialize) -> Response {
    let mut headers = HeaderMap::new();
    if let Some(lag) = index.lag {
        headers.insert(INDEX_LAG_HEADER, lag.into());
    }
    // What is no text of a header is in the body.
    let trouble = index.trouble.as_ref();
    if let Some(trouble) = trouble.and_then(|it| HeaderValue::from_str(it).ok()) {
        headers.insert(INDEX_TROUBLE_HEADER, trouble);
    }
    (headers, Json(answer)).into_response()
}

/// Leaves `limit` of `rows`, of which one more was asked for, and says behind which the next page begins, if there is
/// one.
fn cut<T, K>(rows: &mut Vec<T>, limit: u32, key: impl Fn(&T) -> K) -> Option<K> {
    let is_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    rows.last().map(key).filter(|_| is_more)
}

fn limit(asked: Option<u32>) -> Result<u32, Failed> {
    match asked {
        None => Ok(ROWS_DEFAULT),
        Some(limit @ 1..=ROWS_MAX) => Ok(limit),
        Some(limit) => Err(Failed::malformed(format!(
            "limit is {limit}; it must be 1 to {ROWS_MAX}"
        ))),
    }
}
