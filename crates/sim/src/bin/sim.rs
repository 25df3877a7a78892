//! `cargo xtask sim`: runs seeds, shows progress, and keeps what fails.
//!
//! Usage: `sim [--seeds N] [--from S] [--seed S] [--seconds N] [--keep DIR] [--json]`
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "talking to the person at the terminal is the purpose"
)]

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use staunch_sim::fault::{Counts, Fault};
use staunch_sim::{Scenario, Violation, minimise, run, run_traced};

/// Failing seeds that are looked for before a run is given up.
const FAILURES_MAX: usize = 5;

struct Options {
    /// How many are played; without it 10,000, or as many as fit into `seconds`.
    seeds: Option<u64>,
    from: u64,
    seed: Option<u64>,
    seconds: Option<u64>,
    keep: Option<PathBuf>,
    json: bool,
}

/// What the threads have found together.
#[derive(Default)]
struct Total {
    faults: Counts,
    transactions: u64,
    frames: u64,
    failures: Vec<(u64, Violation)>,
}

/// Has the linker put in mimalloc, which comes with a `malloc` that takes the place of the C library's.
///
/// Why not as the global allocator of Rust: see ADR 13.
#[cfg(feature = "quick")]
fn link_allocator() {
    std::hint::black_box(mimalloc::MiMalloc.version());
}

fn main() -> ExitCode {
    #[cfg(feature = "quick")]
    link_allocator();
    let options = match options() {
        Ok(options) => options,
        Err(what) => {
            eprintln!("error: {what}\nhint: sim [--seeds N] [--from S] [--seed S] [--seconds N] [--keep DIR] [--json]");
            return ExitCode::from(2);
        }
    };
    // Panics of the engine are findings, reported as such below.
    std::panic::set_hook(Box::new(|_| {}));
    if let Some(seed) = options.seed {
        return one(seed);
    }
    let mut kept = Vec::new();
    if let Some(dir) = &options.keep {
        match kept_seeds(dir) {
            Ok(seeds) => kept = seeds,
            Err(error) => {
                eprintln!("error: cannot read the kept seeds in {}: {error}", dir.display());
                return ExitCode::FAILURE;
            }
        }
    }
    many(&options, &kept)
}

/// Plays one seed, in lines.
fn one(seed: u64) -> ExitCode {
    let scenario = Scenario::from_seed(seed);
    let report = run_traced(&scenario);
    match &report.violation {
        None => {
            print!("{}", report.trace);
            eprintln!(
                "seed {seed}: {} transactions, {} frames, {} faults, every invariant held",
                report.transactions,
                report.frames,
                report.faults.total()
            );
            ExitCode::SUCCESS
        }
        Some(violation) => {
            show(seed, violation);
            ExitCode::FAILURE
        }
    }
}

/// Prints a failing seed, as small as it can be made.
fn show(seed: u64, violation: &Violation) {
    let scenario = Scenario::from_seed(seed);
    let small = minimise(&scenario, violation);
    let report = run_traced(&small);
    println!("seed {seed} breaks {violation}");
    println!(
        "made smaller: {} of {} happenings, {:?}, {} process(es)",
        small.happenings.len(),
        scenario.happenings.len(),
        small.world,
        small.replicas
    );
    print!("{}", report.trace);
    println!("repeat with: cargo xtask sim --seed {seed}\n");
}

fn many(options: &Options, kept: &[u64]) -> ExitCode {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let begun = Instant::now();
    let end = options.seconds.map(|seconds| begun + Duration::from_secs(seconds));
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let total = Mutex::new(Total::default());
    let seeds = options.seeds.or(options.seconds.is_none().then_some(10_000));
    let count = seeds.map(|seeds| seeds.saturating_add(kept.len() as u64));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(options, kept, count, end, &next, &done, &stop, &total));
        }
        scope.spawn(|| progress(count, threads, begun, &done, &stop));
    });
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    let done = done.load(Ordering::Relaxed);
    let took = begun.elapsed();
    let per_second = done as f64 / took.as_secs_f64();
    for (seed, violation) in &total.failures {
        show(*seed, violation);
        if let Some(dir) = &options.keep
            && let Err(error) = keep(dir, *seed, violation)
        {
            eprintln!("error: cannot keep seed {seed} in {}: {error}", dir.display());
        }
    }
    if options.json {
        let faults: Vec<String> = Fault::ALL
            .iter()
            .map(|fault| format!("\"{fault}\":{}", total.faults.of(*fault)))
            .collect();
        println!(
            "{{\"seeds\":{done},\"failed\":{},\"seconds\":{:.3},\"threads\":{threads},\"seeds_per_second\":{per_second:.0},\
             \"transactions\":{},\"frames\":{},\"faults\":{{{}}}}}",
            total.failures.len(),
            took.as_secs_f64(),
            total.transactions,
            total.frames,
            faults.join(",")
        );
    } else {
        println!(
            "{done} seeds ({} of them kept ones) in {:.1} s, {:.0} a second on each of {threads} threads",
            kept.len(),
            took.as_secs_f64(),
            per_second / threads as f64
        );
        println!(
            "{} transactions ({:.1} a seed, {:.0} a second on each thread), {} frames, {} faults:",
            total.transactions,
            total.transactions as f64 / done.max(1) as f64,
            total.transactions as f64 / took.as_secs_f64() / threads as f64,
            total.frames,
            total.faults.total()
        );
        for row in Fault::ALL.chunks(3) {
            let cells: Vec<String> = row
                .iter()
                .map(|fault| format!("{:<18}{:>7}", fault.name(), total.faults.of(*fault)))
                .collect();
            println!("  {}", cells.join("  "));
        }
        match total.failures.len() {
            0 => println!("every invariant held"),
            failed => println!("{failed} seeds FAILED"),
        }
    }
    if total.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[allow(clippy::too_many_arguments, reason = "the threads share everything by reference")]
fn work(
    options: &Options,
    kept: &[u64],
    count: Option<u64>,
    end: Option<Instant>,
    next: &AtomicU64,
    done: &AtomicU64,
    stop: &AtomicBool,
    total: &Mutex<Total>,
) {
    let mut mine = Total::default();
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        if count.is_some_and(|count| at >= count)
            || stop.load(Ordering::Relaxed)
            || end.is_some_and(|end| Instant::now() >= end)
        {
            break;
        }
        let seed = match usize::try_from(at).ok().and_then(|at| kept.get(at)) {
            Some(seed) => *seed,
            None => options.from + at - kept.len() as u64,
        };
        let report = run(&Scenario::from_seed(seed));
        mine.faults.merge(&report.faults);
        mine.transactions += report.transactions;
        mine.frames += report.frames;
        done.fetch_add(1, Ordering::Relaxed);
        if let Some(violation) = report.violation {
            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
            total.failures.push((seed, violation));
            if total.failures.len() >= FAILURES_MAX {
                stop.store(true, Ordering::Relaxed);
            }
        }
    }
    stop_if_last(next, count, end, stop);
    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
    total.faults.merge(&mine.faults);
    total.transactions += mine.transactions;
    total.frames += mine.frames;
}

fn stop_if_last(next: &AtomicU64, count: Option<u64>, end: Option<Instant>, stop: &AtomicBool) {
    if count.is_some_and(|count| next.load(Ordering::Relaxed) >= count) || end.is_some_and(|end| Instant::now() >= end)
    {
        stop.store(true, Ordering::Relaxed);
    }
}

fn progress(count: Option<u64>, threads: usize, begun: Instant, done: &AtomicU64, stop: &AtomicBool) {
    let step = if std::io::stderr().is_terminal() { 1 } else { 20 };
    let mut shown = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        std::thread::park_timeout(Duration::from_millis(50));
        if shown.elapsed() >= Duration::from_secs(step) {
            shown = Instant::now();
            let done = done.load(Ordering::Relaxed);
            let per_second = done as f64 / begun.elapsed().as_secs_f64() / threads as f64;
            let of = count.map(|count| format!(" of at most {count}")).unwrap_or_default();
            eprintln!("{done}{of} seeds, {per_second:.0} a second on each of {threads} threads");
        }
    }
}

/// The seeds in the files of `dir`: the first word of each line that is not a comment.
fn kept_seeds(dir: &Path) -> std::io::Result<Vec<u64>> {
    let mut seeds = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|it| it != "txt") {
            continue;
        }
        for line in fs::read_to_string(&path)?.lines().filter(|line| !line.starts_with('#')) {
            if let Some(seed) = line.split_whitespace().next() {
                let seed = seed
                    .parse()
                    .map_err(|_| std::io::Error::other(format!("{seed:?} in {} is not a seed", path.display())))?;
                seeds.push(seed);
            }
        }
    }
    seeds.sort_unstable();
    seeds.dedup();
    Ok(seeds)
}

/// Adds a failing seed to those that are run first from now on.
fn keep(dir: &Path, seed: u64, violation: &Violation) -> std::io::Result<()> {
    if kept_seeds(dir)?.contains(&seed) {
        return Ok(());
    }
    let path = dir.join("failed.txt");
    let mut text = fs::read_to_string(&path).unwrap_or_default();
    text.push_str(&format!("{seed} {violation}\n"));
    fs::write(path, text)
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        seeds: None,
        from: 0,
        seed: None,
        seconds: None,
        keep: None,
        json: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text:?} is not a number"));
        match argument.as_str() {
            "--seeds" => options.seeds = Some(number(value()?)?),
            "--from" => options.from = number(value()?)?,
            "--seed" => options.seed = Some(number(value()?)?),
            "--seconds" => options.seconds = Some(number(value()?)?),
            "--keep" => options.keep = Some(PathBuf::from(value()?)),
            "--json" => options.json = true,
            other => return Err(format!("there is no option {other:?}")),
        }
    }
    Ok(options)
}
