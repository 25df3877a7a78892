//! Drills: what an operator has go wrong on purpose, where the configuration declares a scope for that.
//!
//! No state of the engine changes. An order is in the journal, with who gave it, from where and why, before anything
//! begins; the position of its frame is its id. It begins only while who gave it waits for the answer: whoever gets
//! none, or an error, has nothing going wrong. An order that is durable when nobody waits any more is followed by its
//! end. What is under way is ended at once, and that is recorded then. Each of these is a line at WARN too, also when
//! it could not be recorded.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use staunch_model::{Command, DrillFault, DrillId, Operator, Printable};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::commands::{Asked, give, hand_over, must_say_why, said, taken};
use crate::app::{Caller, Shared};
use crate::dto::{DRILL_LASTS_MAX, DrillRequest, DrillStopRequest, DrillStopped, DrillUnderWay, DrillView};
use crate::problem::Failed;
use crate::service::{Drills, Service};

pub(crate) async fn view(State(app): State<Shared>) -> Result<Json<DrillView>, Failed> {
    Ok(Json(drills(&app)?.view()))
}

pub(crate) async fn order(asked: Asked) -> Result<Json<DrillView>, Failed> {
    let drills = drills(&asked.app)?;
    let (request, app, caller) = asked.read::<DrillRequest>().await?;
    must_say_why(&request.reason)?;
    let patience = app.service.limits.answer_timeout;
    let (asker, mut answer) = oneshot::channel();
    tokio::spawn(Order { drills, app, caller }.begin(request, asker));
    if let Ok(answered) = timeout(patience, &mut answer).await {
        return answered.unwrap_or_else(|_| Err(never_begins())).map(Json);
    }
    // From here on it cannot begin, unless it just has.
    answer.close();
    answer.try_recv().unwrap_or_else(|_| Err(never_begins())).map(Json)
}

pub(crate) async fn stop(asked: Asked) -> Result<Json<DrillStopped>, Failed> {
    let drills = drills(&asked.app)?;
    let (request, app, caller) = asked.read::<DrillStopRequest>().await?;
    said(request.reason.as_deref())?;
    to_the_end(async move {
        let (only, reason) = (request.drill, request.reason.as_deref().unwrap_or_default());
        // At once, whatever an order waits for that came before; and in its turn, since that one may have begun by
        // then.
        let at_once = drills.stop(only);
        let _turn = app.drill.clone().lock_owned().await;
        let in_turn = drills.stop(only);
        let under_way = under_way(&app.service);
        let mut recorded = Ok(());
        for (drill, fault) in at_once.into_iter().chain(in_turn) {
            recorded = recorded.and(record_end(&app, &caller, reason, drill, fault).await);
        }
        recorded?;
        let ended = in_turn.or(at_once);
        Ok(DrillStopped {
            ended: ended.map(|(_, fault)| fault),
            drill: ended.map(|(drill, _)| drill),
            scope: drills.view().scope,
            under_way,
        })
    })
    .await
}

/// What goes wrong on purpose at present.
pub(super) fn under_way(service: &Service) -> Option<DrillUnderWay> {
    let view = service.drills.as_ref()?.view();
    Some(DrillUnderWay {
        id: view.drill?,
        fault: view.fault?,
        scope: view.scope,
        until: service.handle.machine_now() + view.left?,
    })
}

/// Who orders a drill, and where.
struct Order {
    drills: Arc<dyn Drills>,
    app: Shared,
    caller: Caller,
}

impl Order {
    /// Records what `request` asks for, and has it begin when `asker` still waits for that then.
    async fn begin(self, request: DrillRequest, mut asker: oneshot::Sender<Result<DrillView, Failed>>) {
        let Self { drills, app, caller } = self;
        // Nothing is kept of who does not wait any more, however long the one before takes.
        let turn = tokio::select! {
            turn = app.drill.clone().lock_owned() => turn,
            () = asker.closed() => return,
        };
        if asker.is_closed() {
            return;
        }
        // An answer that nobody takes any more is about nothing that has begun.
        let refuse = |asker: oneshot::Sender<_>, why| drop(asker.send(Err(why)));
        if let Some(it) = under_way(&app.service) {
            return refuse(asker, one_at_a_time(&it));
        }
        let (fault, lasts, reason) = (request.fault, request.lasts.min(DRILL_LASTS_MAX), request.reason);
        let mut landing = match hand_over(&app, &caller, &reason, Command::Drill { fault, lasts }) {
            Ok(landing) => landing,
            Err(failed) => return refuse(asker, failed),
        };
        let landed = tokio::select! {
            landed = &mut landing => landed,
            () = asker.closed() => {
                // It does not begin: nobody has to wait for what becomes of its record.
                drop(turn);
                landing.await
            }
        };
        let drill = match landed {
            Ok(Ok(recorded)) => taken(recorded.reply).map(|_| DrillId(recorded.frame.0)),
            Ok(Err(busy)) => Err(busy.into()),
            Err(_) => Err(never_begins()),
        };
        let drill = match drill {
            Ok(drill) => drill,
            Err(failed) => return refuse(asker, failed),
        };
        if !asker.is_closed() {
            tell(&caller, &reason, drill, fault, "a drill was ordered");
            drills.order(drill, fault, lasts);
            if asker.send(Ok(drills.view())).is_ok() {
                return;
            }
            drills.stop(Some(drill));
        }
        let unheard = "nobody waited for the answer to its order any more";
        // The line of its end says when that is not recorded.
        drop(record_end(&app, &caller, unheard, drill, fault).await);
    }
}

fn one_at_a_time(under_way: &DrillUnderWay) -> Failed {
    let title = "a drill is under way";
    let detail = format!(
        "something goes wrong on purpose already: {}, {}",
        under_way.fault, under_way.id
    );
    Failed::new(StatusCode::CONFLICT, "drill-under-way", title, detail)
        .hint("`staunch drill stop` ends it; or wait until its time is over")
}

/// What becomes of an order that was not durable in time.
fn never_begins() -> Failed {
    let detail = "the engine has not answered in time: the drill does not go on. Its order may still come into the journal, and \
                  then its end comes behind it";
    Failed::in_doubt()
        .with(|problem| {
            problem.title = "it is not known whether the order was recorded".to_owned();
            detail.clone_into(&mut problem.detail);
        })
        .hint("GET /v1/drill says what goes wrong on purpose, if anything does; order the drill anew once the engine answers")
}

/// Goes on with `work` when the client has gone: what has ended is recorded.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Failed>> + Send + 'static,
) -> Result<Json<T>, Failed> {
    match tokio::spawn(work).await {
        Ok(answer) => answer.map(Json),
        Err(_) => Err(Failed::no_answer()),
    }
}

/// Makes durable that `drill` does not go on, and a line in the log that says so.
async fn record_end(
    app: &Shared,
    caller: &Caller,
    reason: &str,
    drill: DrillId,
    fault: DrillFault,
) -> Result<(), Failed> {
    let recorded = give(app, caller, reason, Command::EndDrill { drill }).await;
    let happened = match &recorded {
        Ok(_) => "a drill was ended",
        Err(_) => "a drill was ended, and that may not be in the journal",
    };
    tell(caller, reason, drill, fault, happened);
    match recorded {
        Ok(_) => Ok(()),
        Err(failed) => Err(failed.with(|problem| {
            problem.detail = format!(
                "{drill} has ended, and that may not be in the journal: {}",
                problem.detail
            );
        })),
    }
}

fn tell(caller: &Caller, reason: &str, drill: DrillId, fault: DrillFault, happened: &str) {
    let Operator { name, from, reason } = caller.operator(reason);
    tracing::warn!(
        by = %Printable(&name),
        from = %Printable(&from),
        reason = %Printable(&reason),
        %drill,
        fault = fault.name(),
        "{happened}"
    );
}

fn drills(app: &Shared) -> Result<Arc<dyn Drills>, Failed> {
    let hint = "a scope for drills is declared under [drill] in the configuration";
    let drills = app.service.drills.clone();
    drills.ok_or_else(|| Failed::not_found("this installation declares no scope for drills").hint(hint))
}
