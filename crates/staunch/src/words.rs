//! Frames in words: one line for what happened, one for each thing that became true.

use staunch_model::{
    ActionKind, Asset, Change, Description, Found, Frame, IncidentId, Input, Known, KnownAccount, Observation, Outcome,
    Owner, Presence, Printable, Record, Target, Timestamp,
};
use staunch_ports::StoredFrame;

use crate::output::{Output, Tone, counted};

/// The lines of one frame, each safe to show.
pub(crate) fn frame(output: &Output, stored: &StoredFrame) -> String {
    let at = Timestamp::from_micros(stored.now_us);
    let head = format!("{:>6}  {at}  ", stored.lsn);
    match postcard::from_bytes::<Frame>(&stored.payload) {
        Ok(frame) => {
            let mut text = format!(
                "{}{}\n",
                output.paint(Tone::Faint, &head),
                one_line(&input(&frame.input))
            );
            for it in &frame.records {
                text.push_str(&format!("{:>6}  {}\n", "", one_line(&record(it))));
            }
            text
        }
        Err(error) => format!(
            "{head}cannot be read by this build: {}\n",
            Printable(&error.to_string())
        ),
    }
}

fn one_line(text: &str) -> String {
    Printable(text).to_string()
}

/// What happened, in words.
pub(crate) fn input(input: &Input) -> String {
    match input {
        Input::Started { installation, build } => format!("started: {build}, installation {installation}"),
        Input::Policy(policy) => {
            let (playbooks, protected) = (policy.playbooks.len(), policy.never_touch.len());
            format!(
                "policy: mode {}, {playbooks} playbooks, {protected} protected networks",
                policy.mode_max
            )
        }
        Input::HealthRead {
            incident,
            watch,
            result,
            ..
        } => match result {
            Ok(reading) if reading.healthy => format!("{watch} of {incident} healthy: {}", reading.says),
            Ok(reading) => format!("{watch} of {incident} NOT healthy: {}", reading.says),
            Err(failure) => format!("{watch} of {incident} not read: {failure}"),
        },
        Input::Event { event, matches } | Input::EventInContext { event, matches, .. } => {
            let from = event
                .source
                .ip
                .map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
            format!(
                "event: {} {} from {from}, {} matches: {}",
                event.system,
                event.severity,
                matches.len(),
                event.signature
            )
        }
        Input::Observed {
            transaction, result, ..
        } => match result {
            Ok(seen) => format!("observed for {transaction}: {}", presence_words(seen)),
            Err(failure) => format!("could not look for {transaction}: {failure}"),
        },
        Input::Executed {
            transaction, outcome, ..
        } => format!("act of {transaction}: {}", outcome_words(outcome)),
        Input::Undone {
            transaction, outcome, ..
        } => format!("undo of {transaction}: {}", outcome_words(outcome)),
        Input::Notified { notice, result: Ok(()) } => format!("{notice} was taken"),
        Input::Notified {
            notice,
            result: Err(failure),
        } => format!("{notice} was not taken: {failure}"),
        Input::Swept(found) => format!(
            "sweep: {} vanished, {} orphans",
            found.vanished.len(),
            found.orphans.len()
        ),
        Input::Operator { by, command } => {
            let reason = if by.reason.is_empty() {
                String::new()
            } else {
                format!(", because {}", by.reason)
            };
            format!("{} from {}: {}{reason}", by.name, by.from, command)
        }
        Input::Tick => "time passed".to_owned(),
        Input::Collected {
            evidence,
            result: Ok(sealed),
        } => format!("{evidence} stored: {} bytes, {}", sealed.bytes, sealed.hash),
        Input::Collected {
            evidence,
            result: Err(failure),
        } => format!("{evidence} could not be taken: {failure}"),
        Input::Listed(change) => {
            let (added, removed) = (counted(change.added.len() as u64, "network"), change.removed.len());
            let list = Printable(&change.list);
            format!("list {list}: {added} added, {removed} removed")
        }
        Input::Risk(table) => format!("table of risks: {} rows", table.rows.len()),
        Input::Known(known) => standing(known),
        Input::Found(found) => found_out(found),
        Input::ContextTable(table) => format!("context guard: {} rows", table.rows.len()),
        Input::Trouble(what) => format!("trouble: {what}"),
    }
}

fn outcome_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Landed => "landed".to_owned(),
        Outcome::DidNotHappen(failure) => format!("did not happen: {failure}"),
        Outcome::InDoubt(failure) => format!("in doubt: {failure}"),
    }
}

/// What feeds say, in words.
fn standing(known: &Known) -> String {
    let target = &known.target;
    match &known.standing {
        Ok(None) => format!("no feed names {target}"),
        Ok(Some(it)) => format!(
            "\"{}\" gives {target} the score {}, for {}",
            Printable(&it.feed),
            it.score,
            it.network
        ),
        Err(why) => format!("what feeds say of {target} is unknown: {}", Printable(why)),
    }
}

/// What an act of `driver` does, in words that follow its name.
pub(crate) fn does(driver: &Description) -> &'static str {
    match driver.kind {
        ActionKind::BlockIp if driver.cuts_established => "cuts new and established connections",
        ActionKind::BlockIp => "cuts new connections only",
        ActionKind::RateLimitIp => "drops the packets above the rate that the configuration sets",
        ActionKind::FreezeProcess => "stops the process and those that descend from it, which keep all they have",
        ActionKind::KillProcess => "ends the process and those that descend from it, for good",
        ActionKind::IsolateHost => "cuts this machine off from all but those that manage it and what Staunch needs",
        ActionKind::LockAccount => "lets nobody log in as it, and stops what runs in its sessions",
        ActionKind::SinkholeDomain => "has the resolver deny that it, and all below it, exists",
        ActionKind::ExecJob => "runs a program of yours in a sandbox, as the configuration says",
    }
}

/// What a target is, in words.
fn found_out(found: &Found) -> String {
    let target = &found.target;
    match &found.facts {
        Ok(facts) => format!("{target} is {}", Printable(&facts.what)),
        Err(why) => format!("what {target} is, cannot be told: {}", Printable(why)),
    }
}

/// What is known around an event, in words.
fn around(incident: IncidentId, targets: &[(Target, Option<Asset>)], account: Option<&KnownAccount>) -> String {
    let targets = targets.iter().map(|(target, asset)| match asset {
        Some(asset) => format!("{target} is {asset}"),
        None => format!("nothing is known of {target}"),
    });
    let account = account.map(|it| match &it.identity {
        Some(identity) => format!("{} is {identity}", Printable(&it.name)),
        None => format!("nothing is known of the account {}", Printable(&it.name)),
    });
    let known: Vec<_> = targets.chain(account).collect();
    format!("{incident}: {}", known.join("; "))
}

/// What became true, in words.
pub(crate) fn record(record: &Record) -> String {
    match record {
        Record::Started { .. } => "what was under way is taken up again".to_owned(),
        Record::PolicyPinned(_) => "the policy is pinned".to_owned(),
        Record::IncidentOpened { incident, key, .. } => format!("{incident} opened for {key}"),
        Record::EventJoined { incident } => format!("{incident} joined by the event"),
        Record::TransactionPlanned {
            transaction,
            incident,
            kind,
            target,
            lease,
            ..
        } => {
            format!("{transaction} planned for {incident}: {kind} {target} for {lease}")
        }
        Record::CameBack {
            transaction,
            times,
            ended,
        } => format!(
            "{transaction} is for a target that comes back: {times} lease{} served, the last until {ended}",
            if *times == 1 { "" } else { "s" }
        ),
        Record::StepWithoutTarget { incident, step } => {
            format!("{incident}: step {} has nothing to be aimed at", u32::from(*step) + 1)
        }
        Record::Transaction { transaction, change } => format!("{transaction} {}", change_words(change)),
        Record::OrphanAdopted {
            transaction,
            label,
            target,
            ..
        } => {
            format!("{transaction} takes up the orphan of {label} at {target}, to lift it")
        }
        Record::SweepDone { .. } => "the sweep is done".to_owned(),
        Record::SweepFailed { kind, failure } => format!("the sweep of {kind} failed: {failure}"),
        Record::OutcomeReached { incident, outcome } => format!("{incident} is {outcome}"),
        Record::IncidentClosed { incident, .. } => format!("{incident} closed"),
        Record::IncidentForgotten { incident } => format!("{incident} no longer kept in memory"),
        Record::BreakerOpened { failures } => format!("the circuit breaker opened after {failures} failures"),
        Record::ModeSet { mode } => format!("the mode is {mode}"),
        Record::NoticeQueued(notice) => format!("{} to send: {}", notice.id, notice.text),
        Record::NoticeSent { notice } => format!("{notice} sent"),
        Record::NoticeFailed {
            notice,
            retry_at: Some(at),
        } => format!("{notice} not sent, again at {at}"),
        Record::NoticeFailed { notice, retry_at: None } => format!("{notice} given up"),
        Record::NoticeResent { notice } => format!("{notice} sent once more"),
        Record::CommandDone { affected } if affected.len() == 1 => "done, 1 transaction affected".to_owned(),
        Record::CommandDone { affected } => format!("done, {} transactions affected", affected.len()),
        Record::CommandRefused { why } => format!("refused: {why}"),
        Record::RiskTablePinned(_) => "the table of risks is pinned".to_owned(),
        Record::Known(known) => standing(known),
        Record::Found(found) => format!("what {} is, is known", found.target),
        Record::ContextTablePinned(_) => "the context guard is pinned".to_owned(),
        Record::AroundKnown {
            incident,
            targets,
            account,
        } => around(*incident, targets, account.as_deref()),
        Record::AssetsKnown { incident, assets } => {
            let assets: Vec<String> = assets.iter().map(ToString::to_string).collect();
            format!("the events of {incident} name {}", assets.join("; "))
        }
        Record::ListChanged(change) => {
            let (added, removed) = (change.added.len(), change.removed.len());
            let list = Printable(&change.list);
            let are = if added == 1 { "is" } else { "are" };
            let added = counted(added as u64, "network");
            format!("{added} of {list} {are} never touched from here on, {removed} no longer")
        }
        Record::Exempted(it) => format!("{} is never touched: {}", it.network, staunch_engine::exempt::why(it)),
        Record::ExemptionEnded { network } => format!("{network} is protected no longer"),
        Record::EvidencePlanned {
            evidence,
            incident,
            kind,
            target,
            deadline,
            ..
        } => {
            let of = target.as_ref().map_or_else(
                || {
                    if kind.aims_at().is_none() {
                        "this machine".to_owned()
                    } else {
                        "nothing".to_owned()
                    }
                },
                Target::to_string,
            );
            format!("{evidence} asked for by {incident}: {kind} of {of}, until {deadline}")
        }
        Record::EvidencePostponed {
            evidence,
            failure,
            until,
        } => format!("{evidence} again at {until}: {failure}"),
        Record::EvidenceResent { evidence } => format!("{evidence} asked for again"),
        Record::EvidenceSealed { evidence, sealed } => format!("{evidence} sealed as {}", sealed.hash),
        Record::EvidenceMissed { evidence, failure } => format!("{evidence} DEGRADED, containment goes on: {failure}"),
        Record::WatchPlanned { .. }
        | Record::WatchRead { .. }
        | Record::WatchAsked { .. }
        | Record::WatchStarted { .. }
        | Record::WatchEnded { .. }
        | Record::RecoveryPlanned { .. }
        | Record::RecoveryStarted { .. }
        | Record::RecoveryAt { .. }
        | Record::ContainedAgain { .. }
        | Record::RecoveryEnded { .. } => staunch_model::recover::words(record)
            .map_or_else(String::new, |(incident, what)| format!("{incident}: {what}")),
    }
}

fn change_words(change: &Change) -> String {
    match change {
        Change::PreCheckStarted(_) => "pre-check".to_owned(),
        Change::Refused { reason, .. } => format!("refused: {reason}"),
        Change::WouldExecute { .. } => "would act, but only observes".to_owned(),
        Change::ApprovalRequested { expires, .. } => format!("waits for approval until {expires}"),
        Change::Approved { by } => format!("approved by {by}"),
        Change::ExecuteIntended { hold, .. } => format!("intends to act, to hold for {hold}"),
        Change::Landed(_) => "acted; post-check".to_owned(),
        Change::Unproved { failure, .. } => format!("acted with unproved outcome: {failure}"),
        Change::Postponed { failure, until } => format!("again at {until}: {failure}"),
        Change::Resent(_) => "the last request sent again".to_owned(),
        Change::PostCheckPassed { lease_until } => format!("in force until {lease_until}"),
        Change::RollbackStarted { cause, .. } => format!("rolling back: {cause}"),
        Change::UndoLanded { settled_at } => format!("undone, settles until {settled_at}"),
        Change::ProbedPresent(_) => "still there after the undo; undone again".to_owned(),
        Change::ProbedAbsent => "rolled back, and verified".to_owned(),
        Change::GaveUp(why) => format!("STUCK after {} attempts: {}", why.attempts, why.last),
        Change::ReleaseStarted { cause, .. } => format!("releasing: {cause}"),
        Change::Lifted(_) => "lifted; a last look".to_owned(),
        Change::ReleaseVerified => "released, and verified".to_owned(),
        Change::RenewStarted { until, by, .. } => format!("renewal until {until} asked for by {by}"),
        Change::Renewed { lease_until } => format!("renewed until {lease_until}"),
        Change::RenewCheckStarted { failure: None, .. } => "renewal landed, says the driver; a look is sent".to_owned(),
        Change::RenewCheckStarted {
            failure: Some(failure), ..
        } => format!("renewal not proved: {failure}; a look is sent"),
        Change::RenewFailed(failure) => format!("not renewed: {failure}"),
        Change::Joined(incident) => format!("joined by {incident}"),
        Change::LetGo(incident) => format!("let go by {incident}"),
        Change::StaleReply { ticket } => format!("got a late reply to effect {ticket}"),
    }
}

fn presence_words(seen: &Observation) -> String {
    let what = match &seen.presence {
        Presence::Absent => "nothing is there".to_owned(),
        Presence::Present { owner, expires_in } => {
            let whose = match owner {
                Owner::Ours(transaction) => transaction.to_string(),
                Owner::Foreign(label) => format!("somebody else ({label})"),
            };
            let ends = expires_in.map_or_else(|| "without an end".to_owned(), |span| format!("for {span} more"));
            format!("there, of {whose}, {ends}")
        }
    };
    if seen.enforcing {
        what
    } else {
        format!("{what}; NOT ENFORCED")
    }
}
