//! Another build of the program, measured in turn with this one.
//!
//! Each build has hosts and a namespace of its own, and its server runs all the time; one of them is asked at a time,
//! in turns of a fifth of a second, so that whatever else the machine does hits both. A machine that is shared changes
//! by more within minutes than two builds differ: what says something is the ratio, and in how many turns this build
//! was the slower one.
//!
//! Never measures one build while the other starts.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::block::{Field, source};
use crate::report::{Row, quantile};
use crate::server::{PLAYBOOK, Server, enter_namespace, program};
use crate::storm::burst;

/// Turns of each build, and alerts in one.
const TURNS: u32 = 60;
const ALERTS: u32 = 20;
/// Writes of 1,000 offenders of each build.
const BURSTS: u32 = 15;

/// Measures both and compares them.
pub(crate) fn measure(other: PathBuf) -> Result<Vec<Row>, String> {
    let programs = [program()?, other];
    let drops = in_turns(&programs, |program, baton| {
        let field = Field::set_up()?;
        let server = Server::start_program(program, "nftables", PLAYBOOK, "")?;
        let mut connection = server.connect()?;
        baton.begin();
        let mut turns = Vec::new();
        for turn in 0..TURNS {
            turns.push(baton.with(|| {
                let alerts = turn * ALERTS..(turn + 1) * ALERTS;
                alerts
                    .map(|at| field.time_alert(&server, &mut connection, source(at)))
                    .collect::<Result<Vec<f64>, String>>()
            })?);
        }
        Ok(turns)
    })?;
    let bursts = in_turns(&programs, |program, baton| {
        enter_namespace()?;
        let server = Server::start_program(program, "nftables", PLAYBOOK, "")?;
        let mut connection = server.connect()?;
        baton.begin();
        (0..BURSTS)
            .map(|round| baton.with(|| Ok(vec![1e3 * burst(&server, &mut connection, round)?])))
            .collect()
    })?;
    Ok(vec![
        row("POST to first drop, median", &drops, 0.5, 2),
        row("POST to first drop, p99", &drops, 0.99, 2),
        row("1,000 offenders, one write", &bursts, 0.5, 1),
    ])
}

/// What was measured of each build: its turns, each with its figures in milliseconds.
type Both = [Vec<Vec<f64>>; 2];

fn row(what: &'static str, [ours, other]: &Both, share: f64, decimals: usize) -> Row {
    let of_all = |turns: &Vec<Vec<f64>>| quantile(&mut turns.concat(), share);
    let of_turn = |turn: &Vec<f64>| quantile(&mut turn.clone(), share);
    let (figure, floor) = (of_all(ours), of_all(other));
    let slower = ours.iter().zip(other).filter(|(a, b)| of_turn(a) > of_turn(b)).count();
    let turns = ours.len();
    Row {
        what,
        figure: format!("{figure:.decimals$} ms"),
        floor: format!("{floor:.decimals$} ms"),
        bar: format!("{:.2}x, slower in {slower} of {turns} turns", figure / floor),
        reached: figure <= floor,
        numbers: vec![("ms", figure), ("other_ms", floor)],
    }
}

/// Runs `measure` for each of `programs` on a thread of its own.
fn in_turns(
    programs: &[PathBuf; 2],
    measure: impl Fn(&PathBuf, &Baton) -> Result<Vec<Vec<f64>>, String> + Sync,
) -> Result<Both, String> {
    let turn = Arc::new((Mutex::new(0), Condvar::new()));
    let run = |own: usize| {
        let baton = Baton {
            turn: turn.clone(),
            own,
        };
        measure(&programs[own], &baton)
    };
    std::thread::scope(|scope| {
        let second = scope.spawn(|| run(1));
        let first = scope.spawn(|| run(0)).join();
        let ended = |it: std::thread::Result<_>| it.map_err(|_| "a measuring thread panicked".to_owned())?;
        Ok([ended(first)?, ended(second.join())?])
    })
}

/// Lets two threads take turns. It is dropped when a thread has had its last one, and the other goes on alone.
struct Baton {
    turn: Arc<(Mutex<usize>, Condvar)>,
    own: usize,
}

/// In place of a turn: one of both has ended, and the other need not wait any more.
const ENDED: usize = usize::MAX;

impl Baton {
    /// Waits until the other thread is ready too, or has ended: a server that starts takes its time from the one that
    /// is measured.
    fn begin(&self) {
        self.with(|| ());
    }

    /// Waits for the turn of this thread, and passes the baton on when `job` is done.
    fn with<T>(&self, job: impl FnOnce() -> T) -> T {
        let (turn, passed) = &*self.turn;
        let held = turn.lock().unwrap_or_else(PoisonError::into_inner);
        drop(
            passed
                .wait_while(held, |turn| *turn != self.own && *turn != ENDED)
                .unwrap_or_else(PoisonError::into_inner),
        );
        let done = job();
        self.pass(1 - self.own);
        done
    }

    fn pass(&self, to: usize) {
        let (turn, passed) = &*self.turn;
        let mut turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        if *turn != ENDED {
            *turn = to;
        }
        passed.notify_all();
    }
}

impl Drop for Baton {
    fn drop(&mut self) {
        self.pass(ENDED);
    }
}
