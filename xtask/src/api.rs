//! `cargo xtask api`: has Schemathesis send what the API's own description allows, and what it forbids, to a real
//! server.
//!
//! Never touches anything but that server: its driver only pretends, and it listens on loopback.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};

use crate::python::Tool;
use crate::{shell, workspace};

/// Schemathesis (MIT).
const SCHEMATHESIS: Tool = Tool {
    package: "schemathesis",
    version: "4.32.5",
    program: "schemathesis",
};

/// Requests made up for each operation, in the phase that makes most of them.
const EXAMPLES: &str = "40";

/// What is sent is the same in every run unless another seed is named.
const SEED: &str = "1";

/// Checks that do not hold here. `positive_data_acceptance`: that text is a network, or a length of time that fits, is
/// more than a schema can say.
const EXCLUDED: &str = "positive_data_acceptance";

/// What the server's metrics were in the end, in the folder of the last run: `cargo xtask promtool` looks at them.
pub(crate) const SCRAPE: &str = "metrics";

/// An alert of an attack, so that there is something to be asked about.
pub(crate) const ALERT: &str = r#"{"event_type":"alert","src_ip":"203.0.113.9","src_port":4000,"dest_ip":"10.0.0.22","dest_port":80,"proto":"TCP","alert":{"action":"allowed","gid":1,"signature_id":1,"rev":1,"signature":"ET EXPLOIT Apache log4j RCE Attempt","category":"Attempted Administrator Privilege Gain","severity":1},"direction":"to_server"}"#;

/// What Schemathesis is told besides: how to prove who it is.
const SETTINGS: &str = "[headers]\nAuthorization = \"Bearer ${STAUNCH_TOKEN}\"\n";

/// With one of each that metrics are told of by name, so that promtool sees those too. Nobody is at the addresses.
const CONFIGURATION: &str = r#"data_dir = "data"
mode = "enforce"
[[never_touch.files]]
path = "list.txt"
reason = "a partner"
[[feeds]]
name = "drop"
path = "list.txt"
[[context.assets]]
path = "assets.csv"
[[lookups]]
name = "own"
kind = "generic"
url = "http://127.0.0.1:1/{ip}"
pointer = "/score"
[[evidence.anchors]]
name = "nowhere"
kind = "git"
repository = "/nonexistent/anchors.git"
[[sources.files]]
path = "eve.json"
"#;

/// Runs the task.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let (seed, examples) = read(arguments)?;
    let root = workspace::root()?;
    shell::build_program(&root)?;
    let target = workspace::target(&root);
    let tool = SCHEMATHESIS.installed(&target)?;
    let dir = target.join("api");
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    fs::write(dir.join("staunch.toml"), CONFIGURATION)?;
    fs::write(dir.join("list.txt"), "192.0.2.0/24\n")?;
    fs::write(dir.join("assets.csv"), "network,tier\n10.0.0.0/8,0\n")?;
    let program = Program {
        binary: target.join("debug/staunch"),
        dir: dir.clone(),
    };
    let token = program.says(&["token", "create", "fuzz", "--role", "operator"])?;
    let server = program.serve()?;
    post(&server.url, token.trim(), ALERT)?;
    // Not on the command line, which is shown.
    fs::write(dir.join("schemathesis.toml"), SETTINGS)?;
    let good = shell::watch(
        Command::new(&tool)
            .arg("run")
            .arg(format!("{}/v1/openapi.json", server.url))
            // It has no end; its own tests are in crates/server.
            .args(["--exclude-path", "/v1/stream"])
            .args(["--exclude-checks", EXCLUDED])
            .args(["--max-examples", &examples, "--seed", &seed])
            .args(["--request-timeout", "20", "--no-color"])
            .env("STAUNCH_TOKEN", token.trim())
            .current_dir(&dir),
    )?;
    let scrape = get(&server.url, token.trim(), "/metrics")?;
    fs::write(dir.join(SCRAPE), scrape).context("cannot keep the scrape")?;
    // By the operators' socket.
    program
        .says(&["status"])
        .context("the server does not answer any more")?;
    drop(server);
    let log = fs::read_to_string(dir.join("log")).context("the server has no log")?;
    anyhow::ensure!(
        !log.contains("panicked"),
        "the server panicked; see {}/log",
        dir.display()
    );
    println!("{}", program.says(&["journal", "verify"])?.trim());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The seed and the number of examples.
fn read(arguments: &[String]) -> Result<(String, String)> {
    let (mut seed, mut examples) = (SEED.to_owned(), EXAMPLES.to_owned());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let place = match argument.as_str() {
            "--seed" => &mut seed,
            "--examples" => &mut examples,
            other => anyhow::bail!("api has no option {other}"),
        };
        let value = rest.next().with_context(|| format!("{argument} needs a number"))?;
        value
            .parse::<u32>()
            .with_context(|| format!("{value:?} is no number"))?;
        value.clone_into(place);
    }
    Ok((seed, examples))
}

/// The body of the answer at `path`.
fn get(url: &str, token: &str, path: &str) -> Result<String> {
    let address = url.strip_prefix("http://").context("the server speaks plain HTTP")?;
    let mut stream = TcpStream::connect(address).context("the server does not listen")?;
    // Of HTTP 1.0, so that the answer is one piece.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no body")?;
    let status = head.lines().next().unwrap_or_default();
    anyhow::ensure!(status.contains(" 200 "), "{path} is not answered: {status}");
    Ok(body.to_owned())
}

/// Posts `body` as events of Suricata.
pub(crate) fn post(url: &str, token: &str, body: &str) -> Result<()> {
    let address = url.strip_prefix("http://").context("the server speaks plain HTTP")?;
    let mut stream = TcpStream::connect(address).context("the server does not listen")?;
    let length = body.len();
    write!(
        stream,
        "POST /v1/events/suricata HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    anyhow::ensure!(answer.contains("\"matched\":1"), "the alert was not taken: {answer}");
    Ok(())
}

/// The program in a directory of its own.
pub(crate) struct Program {
    pub(crate) binary: PathBuf,
    pub(crate) dir: PathBuf,
}

impl Program {
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .env("STAUNCH_CONFIG", self.dir.join("staunch.toml"));
        command
    }

    pub(crate) fn says(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).output().context("the program does not start")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "staunch {}: {errors}", arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(crate) fn serve(&self) -> Result<Served> {
        let log = fs::File::create(self.dir.join("log"))?;
        let mut child = self
            .command(&["serve", "--driver", "memory", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("the program does not start")?;
        let stdout = child.stdout.take().context("its output is not there")?;
        let mut served = Served {
            child,
            url: String::new(),
        };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let url = line.trim().strip_prefix("listening on ");
        url.context("the server does not start; see the log")?
            .clone_into(&mut served.url);
        Ok(served)
    }
}

/// A server that ends with this.
pub(crate) struct Served {
    child: Child,
    pub(crate) url: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_and_examples_are_read() {
        let all = |texts: &[&str]| texts.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
        let both = read(&all(&["--seed", "7", "--examples", "9"])).expect("both are numbers");
        assert_eq!(both, ("7".to_owned(), "9".to_owned()));
        for wrong in [&["--seed"][..], &["--seed", "x"], &["--fast"]] {
            assert!(read(&all(wrong)).is_err(), "{wrong:?}");
        }
    }
}
