//! `staunch demo`: the whole of Staunch in 20 seconds, on a stage that nobody else can see.
//!
//! Nothing is faked but what the text names as misbehaving. Every claim that is printed is checked, most by sending
//! packets; one false claim makes the demo fail.

/// Prints a line. A reader that has gone, as in `staunch demo | head`, ends nothing; whether anything else hinders is
/// said by [`is_told`].
macro_rules! tell {
    ($($words:tt)*) => {
        crate::demo::print(format_args!($($words)*))
    };
}

mod aftermath;
mod case;

use std::fmt;
use std::io::{self, Write as _};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::exit::Exit;
use crate::misbehave::Misbehaviour;
use crate::stage::{self, ATTACKER, BALANCER, OTHERS, SERVER, Server, Stage, within};

/// Runs the demo. Must be called while the process has one thread only.
///
/// # Errors
/// When the stage cannot be built or a claim is false.
pub(crate) fn run() -> Result<()> {
    let begun = Instant::now();
    tell!("Staunch demo: three hosts in network namespaces; only its own is touched.\n");
    is_told()?;
    stage::enter().context(
        "that is where the demo plays\n\
         hint: run it as root (`sudo target/release/staunch demo`), or allow user namespaces as named above",
    )?;
    stage::listen()?;
    let mut play = Play::begin()?;
    let played = play.all_scenes();
    play.leave_nothing();
    played?;
    let false_claims = play.false_claims;
    let claims = play.claims;
    drop(play);
    tell!(
        "\n{} of {claims} claims checked and true, in {:.1} s.",
        claims - false_claims,
        begun.elapsed().as_secs_f64()
    );
    if false_claims > 0 {
        say(
            "What is awaited has 2 to 10 seconds: on a machine that is slow or busy, a claim can be false because of that \
             alone. `staunch demo` again, while it is idle, tells.",
        );
        bail!("{false_claims} claim(s) turned out false; they are marked with a cross above");
    }
    tell!("The journal, the index and the namespaces of this demo are gone now.");
    tell!("Next: `staunch init` writes a configuration; docs/guide/first-hour.md goes on.");
    is_told()
}

/// Why a line could not be printed, the first one.
static UNTOLD: OnceLock<io::Error> = OnceLock::new();

fn print(line: fmt::Arguments<'_>) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{line}").and_then(|()| stdout.flush())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        // The first reason is enough.
        drop(UNTOLD.set(error));
    }
}

/// Whether everything could be printed so far.
fn is_told() -> Result<()> {
    match UNTOLD.get() {
        None => Ok(()),
        Some(error) => bail!("cannot write what it tells: {error}"),
    }
}

/// A play under way.
struct Play {
    stage: Stage,
    server: Server,
    /// Whether processes can be frozen here.
    freezes: bool,
    claims: usize,
    false_claims: usize,
}

impl Play {
    fn begin() -> Result<Self> {
        let stage = Stage::build()?;
        let freezes = case::can_freeze();
        let server = Server::start(&case::setup(freezes))?;
        tell!("  web server     {SERVER}, protected by `staunch serve` with a real journal");
        tell!("  load balancer  {BALANCER}, carries the traffic");
        tell!("  attacker       {ATTACKER}, and a few more addresses");
        let mut play = Self {
            stage,
            server,
            freezes,
            claims: 0,
            false_claims: 0,
        };
        // Staunch reads the flows every second; it shall have seen the balancer before the first alert.
        let known = within(Duration::from_secs(4), || play.server.knows_traffic());
        play.claim(
            known,
            "Staunch has read from the kernel's flows who carries the traffic",
        );
        let both = play.stage.gets_in(ATTACKER)? && play.stage.balancer_is_served();
        play.claim(
            both,
            "before anything happens, attacker and load balancer both reach the web server",
        );
        Ok(play)
    }

    fn all_scenes(&mut self) -> Result<()> {
        for scene in [
            Self::block,
            Self::join,
            Self::refuse,
            Self::lie,
            Self::kill,
            Self::lease,
        ] {
            scene(self)?;
            goes_on()?;
        }
        let case = self.keep()?;
        goes_on()?;
        for scene in [Self::look_back, Self::learn, Self::recover] {
            scene(self, &case)?;
            goes_on()?;
        }
        Ok(())
    }

    /// Lifts what is still in place, however far the play came. A group that a process is frozen in is one of the
    /// machine's, which does not go with the namespaces.
    fn leave_nothing(&mut self) {
        if !self.freezes {
            return;
        }
        // Without a server: one that Ctrl-C has reached as well is about to end, and asking it would be a race.
        let ended = self.server.kill();
        let release = ["release", "--all", "--yes", "--reason", "the demo is over"];
        let lifted = ended.and_then(|()| self.server.exit_code(&release));
        if !matches!(lifted, Ok(Some(code)) if code == 0 || code == i32::from(Exit::Direct.code())) {
            say("(Not all could be lifted: a frozen process may have left a group of cgroup v2.)");
        }
    }

    fn block(&mut self) -> Result<()> {
        scene(1, "An attack is blocked in the kernel");
        say("Suricata's alert of a real attack on a web server is posted, with the time set to now.");
        let mut answer = Value::Null;
        let server = &self.server;
        let took = self.stage.time_to_drop(ATTACKER, || {
            answer = server.post_alert(ATTACKER, "Web Application Attack")?;
            Ok(())
        })?;
        match took {
            Some(ms) => self.claim(
                true,
                &format!("first dropped packet {ms:.2} ms after the alert was sent"),
            ),
            None => self.claim(false, "packets of the attacker are dropped"),
        }
        let in_force = self.server.wait_for_state(ATTACKER, "in-force")?;
        self.claim(
            in_force,
            "Staunch has read the block back from the kernel: in force, for 10 minutes",
        );
        let closed = !self.stage.gets_in(ATTACKER)?;
        self.claim(closed, "a new connection of the attacker does not get in");
        let served = self.stage.balancer_is_served();
        self.claim(served, "the load balancer's traffic goes on");
        Ok(())
    }

    fn join(&mut self) -> Result<()> {
        scene(2, "The same alert again");
        let before = self.server.containments()?.len();
        let answer = self.server.post_alert(ATTACKER, "Web Application Attack")?;
        let incident = answer["incidents"][0].as_str().unwrap_or("none").to_owned();
        let after = self.server.containments()?.len();
        let text = format!("it joined {incident}: still {after} containment, nothing was done twice");
        self.claim(before == after && after == 1 && incident == "INC-1", &text);
        Ok(())
    }

    fn refuse(&mut self) -> Result<()> {
        scene(3, "A false alert about the load balancer");
        say("The same alert, with the load balancer's address in it.");
        let answer = self.server.post_alert(BALANCER, "Web Application Attack")?;
        let incident = answer["incidents"][0].as_str().unwrap_or_default().to_owned();
        let transaction = self.server.wait_for_transaction(&incident, "refused")?;
        let why = transaction["reason"].as_str().unwrap_or_default().to_owned();
        let refused = transaction["state"] == "refused" && why.contains("% of the traffic");
        self.claim(refused, &format!("refused, {why}"));
        let served = self.stage.balancer_is_served();
        self.claim(served, "the load balancer's traffic goes on");
        Ok(())
    }

    fn lie(&mut self) -> Result<()> {
        scene(4, "A driver that lies");
        say("For this scene the driver reports success and does nothing.");
        self.server.order(Misbehaviour::Lie.name())?;
        let answer = self.server.post_alert(OTHERS[0], "Web Application Attack")?;
        let incident = answer["incidents"][0].as_str().unwrap_or_default().to_owned();
        let transaction = self.server.wait_for_transaction(&incident, "rolled-back")?;
        self.server.order("")?;
        let why = transaction["reason"].as_str().unwrap_or_default().to_owned();
        let caught = transaction["state"] == "rolled-back" && why.contains("post-check");
        self.claim(caught, &format!("caught and rolled back: {why}"));
        let listed = self
            .server
            .containments()?
            .iter()
            .any(|it| it["target"] == OTHERS[0].to_string());
        let open = self.stage.gets_in(OTHERS[0])?;
        self.claim(
            !listed && open,
            "Staunch does not claim a block, and the address does get in: it says what is",
        );
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        scene(5, "kill -9 in the middle of an action");
        say("For this scene the driver blocks the address and never answers. Then Staunch is killed.");
        self.server.order(Misbehaviour::Stall.name())?;
        self.server.post_alert(OTHERS[1], "Web Application Attack")?;
        let executing = self.server.wait_for_state(OTHERS[1], "executing")?;
        let blocked = {
            let stage = &self.stage;
            within(Duration::from_secs(2), || {
                stage.gets_in(OTHERS[1]).is_ok_and(|gets_in| !gets_in)
            })
        };
        self.server.order("")?;
        self.server.kill()?;
        self.claim(
            executing && blocked,
            "killed while the block was in the kernel and its outcome unknown",
        );
        let begun = Instant::now();
        self.server.restart()?;
        let in_force = self.server.wait_for_state(OTHERS[1], "in-force")?;
        let text = format!(
            "restarted: it asked the kernel instead of guessing, and found the block in force ({:.0} ms)",
            begun.elapsed().as_secs_f64() * 1e3
        );
        self.claim(in_force, &text);
        let first = self.server.wait_for_state(ATTACKER, "in-force")?;
        let closed = !self.stage.gets_in(ATTACKER)? && !self.stage.gets_in(OTHERS[1])?;
        self.claim(
            first && closed,
            "the block of scene 1 is still in force, and neither address gets in",
        );
        Ok(())
    }

    fn lease(&mut self) -> Result<()> {
        scene(6, "A lease runs out");
        let answer = self.server.post_alert(OTHERS[2], "Demo Short Lease")?;
        let incident = answer["incidents"][0].as_str().unwrap_or_default().to_owned();
        let in_force = self.server.wait_for_state(OTHERS[2], "in-force")?;
        let closed = !self.stage.gets_in(OTHERS[2])?;
        self.claim(in_force && closed, "blocked for two seconds");
        let transaction = self.server.wait_for_transaction(&incident, "released")?;
        let open = self.stage.gets_in(OTHERS[2])?;
        self.claim(
            transaction["state"] == "released" && open,
            "two seconds later: released, verified, and it gets in again",
        );
        let closed = !self.stage.gets_in(ATTACKER)?;
        self.claim(closed, "the attacker of scene 1 still does not");
        Ok(())
    }

    fn claim(&mut self, holds: bool, text: &str) {
        // What was not awaited is neither true nor false.
        if stage::is_interrupted() {
            return;
        }
        self.claims += 1;
        self.false_claims += usize::from(!holds);
        let mark = if holds { "\u{2713}" } else { "\u{2717} FALSE:" };
        tell!("{}", wrapped(&format!("  {mark} {text}"), 4));
    }
}

/// # Errors
/// When the play is to end.
fn goes_on() -> Result<()> {
    if stage::is_interrupted() {
        bail!("it was interrupted");
    }
    Ok(())
}

fn scene(number: u32, title: &str) {
    tell!("\n{number}. {title}");
}

fn say(text: &str) {
    tell!("{}", wrapped(&format!("  {text}"), 2));
}

/// `text` in lines of at most 80 columns, the later ones indented by `indent`.
fn wrapped(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for (position, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if column + 1 + width > 80 && column > indent {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if position > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out
}
