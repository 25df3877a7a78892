//! The YAML language server, which most editors run: what it says of a file with our schema.
//!
//! It is spoken to as an editor does, over its stdin and stdout in messages of the Language Server Protocol.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::shell;

/// The package (MIT) of the npm registry, at one version.
const PACKAGE: &str = "yaml-language-server";
const VERSION: &str = "1.25.0";

/// How long an answer is waited for: the first one takes a second, with the schema read.
const DEADLINE: Duration = Duration::from_secs(60);

/// The longest message that is read.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A language server that runs until this is dropped.
pub(super) struct Editor {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    opened: u32,
}

impl Editor {
    /// Starts the server. It is installed into `target` the first time.
    ///
    /// # Errors
    /// When Node.js is not there, the package cannot be had, or the server does not answer.
    pub(super) fn start(target: &Path) -> Result<Self> {
        let program = installed(target)?;
        let mut child = Command::new("node")
            .arg(program)
            .arg("--stdio")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start node")?;
        let to = child.stdin.take().context("its stdin is piped")?;
        let stdout = child.stdout.take().context("its stdout is piped")?;
        let (sender, from) = mpsc::channel();
        thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            // What cannot be read ends it, and then nothing comes any more, which is told.
            while let Ok(message) = read(&mut stdout) {
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut editor = Self {
            child,
            to,
            from,
            opened: 0,
        };
        let asked = json!({"processId": null, "rootUri": null, "capabilities": {}});
        editor.say(&json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": asked}))?;
        editor.wait_for(|message| message["id"] == 1 && message.get("result").is_some())?;
        editor.say(&json!({"jsonrpc": "2.0", "method": "initialized", "params": {}}))?;
        Ok(editor)
    }

    /// What is underlined of `text` with `schema`, each with its line.
    ///
    /// # Errors
    /// When the server does not say.
    pub(super) fn underlined(&mut self, schema: &Path, text: &str) -> Result<Vec<String>> {
        self.opened += 1;
        let uri = format!("file:///tried/{}.yaml", self.opened);
        // As it stands in the file of somebody who uses it.
        let place = schema.display().to_string().replace('%', "%25").replace(' ', "%20");
        let text = format!("# yaml-language-server: $schema=file://{place}\n{text}");
        let document = json!({"uri": uri, "languageId": "yaml", "version": 1, "text": text});
        let opened = json!({"textDocument": document});
        self.say(&json!({"jsonrpc": "2.0", "method": "textDocument/didOpen", "params": opened}))?;
        let said = self.wait_for(|message| {
            message["method"] == "textDocument/publishDiagnostics" && message["params"]["uri"] == uri.as_str()
        })?;
        let all = said["params"]["diagnostics"].as_array().context("it says none")?;
        // Lines are counted from 0, and the first one is ours: so these are the lines of the file.
        let one = |it: &Value| format!("line {}: {}", it["range"]["start"]["line"], it["message"]);
        Ok(all.iter().map(one).collect())
    }

    fn wait_for(&mut self, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        let end = Instant::now() + DEADLINE;
        loop {
            let message = self.from.recv_timeout(end.saturating_duration_since(Instant::now()));
            let message = message.context("the language server says nothing more")?;
            if is_it(&message) {
                return Ok(message);
            }
            // It asks for what editors have, such as settings: there is nothing.
            if let (Some(id), Some(_)) = (message.get("id"), message.get("method")) {
                self.say(&json!({"jsonrpc": "2.0", "id": id, "result": null}))?;
            }
        }
    }

    fn say(&mut self, message: &Value) -> Result<()> {
        let text = message.to_string();
        write!(self.to, "Content-Length: {}\r\n\r\n{text}", text.len())?;
        self.to.flush().context("the language server listens no more")
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

fn read(from: &mut BufReader<ChildStdout>) -> Result<Value> {
    let mut length = None;
    loop {
        let mut line = String::new();
        anyhow::ensure!(from.read_line(&mut line)? > 0, "it has ended");
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().ok(),
            Some(_) => {}
            None => break,
        }
    }
    let length = length.filter(|length| *length <= MESSAGE_BYTES_MAX);
    let mut body = vec![0; length.context("a message without its length")?];
    from.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

fn installed(target: &Path) -> Result<PathBuf> {
    let home = target.join(format!("{PACKAGE}-{VERSION}"));
    let program = home.join("node_modules").join(PACKAGE).join("bin").join(PACKAGE);
    if !program.exists() {
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--silent",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--prefix",
        ])
        .arg(&home)
        .arg(format!("{PACKAGE}@{VERSION}"));
        let is_installed = shell::watch(&mut npm).context("npm is missing: apt-get install npm")?;
        anyhow::ensure!(
            is_installed && program.exists(),
            "{PACKAGE}@{VERSION} cannot be installed from the npm registry: is the network there?"
        );
    }
    Ok(program)
}
