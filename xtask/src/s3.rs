//! `cargo xtask s3`: has the program anchor checkpoints and keep evidence in buckets of moto, a server that others
//! wrote after S3, and holds the vault to its contract there. A server seals evidence of an incident there, in both
//! modes of retention, in parts and at once.
//!
//! Never reaches a bucket outside of this machine. Where moto is known to be wrong, that is said, and it is an error
//! when it has become right.

mod evidence;

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;

use anyhow::{Context as _, Result};

use crate::api::Program;
use crate::python::Tool;
use crate::{shell, workspace};

/// moto (Apache-2.0).
const MOTO: Tool = Tool {
    package: "moto[server,s3]",
    version: "5.2.5",
    program: "moto_server",
};

/// Lines that moto may say before it says where it listens.
const LINES_MAX: usize = 20;

/// The buckets: their name, what they are made with, and what anchoring there says. Only the first locks.
const BUCKETS: [(&str, &str, &str); 2] = [
    ("locked", "x-amz-bucket-object-lock-enabled: true\r\n", "\"new\": true"),
    ("plain", "", "cannot put staunch-proof-of-lock/"),
];

/// Runs the task.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    anyhow::ensure!(arguments.is_empty(), "s3 has no options");
    let root = workspace::root()?;
    shell::build_program(&root)?;
    let target = workspace::target(&root);
    let moto = Moto::start(&MOTO.installed(&target)?)?;
    let dir = target.join("s3");
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut config = "data_dir = \"data\"\n[evidence]\nimmutable = false\n".to_owned();
    for (bucket, headers, _) in BUCKETS {
        moto.make(bucket, headers)?;
        config.push_str(&format!(
            "[[evidence.anchors]]\nname = \"{bucket}\"\nkind = \"s3\"\nurl = \"http://{}/{bucket}/logs\"\n\
             key_file = \"s3.key\"\nlegal_hold = true\n",
            moto.address
        ));
    }
    // A server without anchors makes the log.
    fs::write(
        dir.join("staunch.toml"),
        "data_dir = \"data\"\n[evidence]\nimmutable = false\n",
    )?;
    let program = Program {
        binary: target.join("debug/staunch"),
        dir: dir.clone(),
    };
    program.says(&["token", "create", "s3", "--role", "operator"])?;
    drop(program.serve()?);
    fs::write(dir.join("staunch.toml"), config)?;
    key(&dir, "one")?;
    for (bucket, _, expected) in BUCKETS {
        said(&program, bucket, expected)?;
    }
    said(&program, "locked", "\"new\": false")?;
    // What is there already is taken up, and not replaced.
    let state = dir.join("data/evidence/anchors/locked/state.json");
    fs::remove_file(&state)?;
    said(&program, "locked", "\"new\": true")?;
    // A wrong key must be refused. moto looks at no signature unless it is told to.
    key(&dir, "another")?;
    fs::remove_file(&state)?;
    said(&program, "locked", "\"new\": true").context("moto is known to take any key, and has become right")?;
    let mut contract = shell::cargo(&root);
    contract.args([
        "run",
        "--quiet",
        "--package",
        "staunch-store",
        "--example",
        "vault_s3",
        "--",
    ]);
    contract.args([moto.address.as_str(), "locked"]);
    anyhow::ensure!(
        shell::watch(&mut contract)?,
        "the vault does not keep its contract in moto"
    );
    doctor(&program, &moto)?;
    for retention in ["governance", "compliance"] {
        evidence::kept(&program.binary, &dir.join(retention), &moto, retention)
            .with_context(|| format!("evidence under {retention}"))?;
        println!(
            "a server has kept evidence under {retention}, which is verified, exported, and not deleted by the key"
        );
    }
    println!(
        "anchored in a bucket that locks, refused one that does not; moto {} takes any key, which S3 does not",
        MOTO.version
    );
    Ok(ExitCode::SUCCESS)
}

/// Has the program look at buckets for evidence: one that locks, and one that does not.
fn doctor(program: &Program, moto: &Moto) -> Result<()> {
    for (bucket, expected) in [
        ("locked", "locks evidence: object lock in governance mode"),
        ("plain", "is no place for evidence"),
    ] {
        let config = format!(
            "data_dir = \"data\"\n[evidence]\nimmutable = false\n[evidence.s3]\nendpoint = \"http://{}\"\n\
             bucket = \"{bucket}\"\nprefix = \"doctor\"\nkey_file = \"s3.key\"\nlegal_hold = true\n",
            moto.address
        );
        fs::write(program.dir.join("staunch.toml"), config)?;
        let output = program.command(&["doctor"]).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        anyhow::ensure!(text.contains(expected), "{bucket}: not {expected:?} but {text}");
    }
    Ok(())
}

/// Anchors in one bucket, which says `expected`.
fn said(program: &Program, bucket: &str, expected: &str) -> Result<()> {
    let output = program.command(&["evidence", "anchor", bucket, "--json"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(text.contains(expected), "{bucket}: not {expected:?} but {text}{errors}");
    Ok(())
}

fn key(dir: &Path, secret: &str) -> Result<()> {
    let file = dir.join("s3.key");
    fs::write(&file, format!("staunch {secret}\n"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// A server that ends with this.
struct Moto {
    child: Child,
    address: String,
}

impl Moto {
    fn start(tool: &Path) -> Result<Self> {
        let mut child = Command::new(tool)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("moto does not start")?;
        let mut says = BufReader::new(child.stderr.take().context("its output is not there")?);
        let mut address = None;
        for _ in 0..LINES_MAX {
            let mut line = String::new();
            if says.read_line(&mut line)? == 0 {
                break;
            }
            if let Some((_, rest)) = line.split_once("Running on http://") {
                address = Some(rest.trim().trim_end_matches('/').to_owned());
                break;
            }
        }
        let mut moto = Self {
            child,
            address: String::new(),
        };
        moto.address = address.context("moto does not say where it listens")?;
        // It says a line for each request, and stops when nobody listens.
        thread::spawn(move || io::copy(&mut says, &mut io::sink()));
        Ok(moto)
    }

    /// Makes a bucket.
    fn make(&self, bucket: &str, headers: &str) -> Result<()> {
        let mut stream = TcpStream::connect(&self.address).context("moto does not listen")?;
        let host = &self.address;
        write!(
            stream,
            "PUT /{bucket} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        anyhow::ensure!(answer.contains(" 200 OK"), "the bucket {bucket} was not made: {answer}");
        Ok(())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
