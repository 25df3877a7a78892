//! Evidence of an incident: a server seals it in a bucket, and what is there is verified, exported, and not deleted.
//!
//! Never puts anything that is kept for more than an hour.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Moto, key};
use crate::api::{ALERT, Program, post};

/// Bytes of a log file that cannot be packed, so that it goes to the bucket in parts.
const LARGE_BYTES: u64 = 70 << 20;

/// The network, what the file was, and its bytes.
const ARTEFACTS: u64 = 3;

/// How long all of it may take to be sealed and sent.
const WITHIN: Duration = Duration::from_secs(180);

/// How long moto may be silent.
const SILENT_MAX: Duration = Duration::from_secs(30);

/// What asks for evidence, before it acts.
const PLAYBOOK: &str = "playbook: keep-first\nsummary: Keep what a block destroys, then block.\ntrigger:\n  sources: \
    [suricata]\n  when: event.severity >= high\n  incident: event.source.ip\n  deduplicate: 1m\npreserve:\n  - network\n  \
    - files: { paths: [\"LARGE\"] }\ncontain:\n  - block-ip: { target: event.source.ip, lease: 10m }\n";

/// Has a server keep evidence in the bucket `locked` of `moto`, which `retention` holds there, as a program in `dir`.
pub(super) fn kept(binary: &Path, dir: &Path, moto: &Moto, retention: &str) -> Result<()> {
    fs::create_dir_all(dir.join("playbooks"))?;
    let large = dir.join("large.log");
    let mut noise = fs::File::open("/dev/urandom")?.take(LARGE_BYTES);
    std::io::copy(&mut noise, &mut fs::File::create(&large)?)?;
    let playbook = PLAYBOOK.replace("LARGE", &large.display().to_string());
    fs::write(dir.join("playbooks/keep-first.yaml"), playbook)?;
    let config = format!(
        "data_dir = \"data\"\nmode = \"enforce\"\n[evidence]\nimmutable = false\n[evidence.s3]\nendpoint = \"http://{}\"\n\
         bucket = \"locked\"\nprefix = \"{retention}\"\nkey_file = \"s3.key\"\nretention = \"{retention}\"\nretain = \"1h\"\n\
         [playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n",
        moto.address
    );
    fs::write(dir.join("staunch.toml"), config)?;
    key(dir, "one")?;
    let program = Program {
        binary: binary.to_owned(),
        dir: dir.to_owned(),
    };
    let token = program.says(&["token", "create", "s3", "--role", "operator"])?;
    let server = program.serve()?;
    post(&server.url, token.trim(), ALERT)?;
    let rows = wait_for("all of it is sealed", || sealed(&program))?;
    let found = rows
        .iter()
        .find(|it| it["kind"] == "files")
        .context("the file is missed")?;
    let id = found["evidence"].as_str().context("evidence has no id")?.to_owned();
    let storage = wait_for("the large one is sent", || {
        let shown: Value = serde_json::from_str(&program.says(&["evidence", "show", &id, "--json"])?)?;
        let receipts = shown["receipts"].as_array().cloned().unwrap_or_default();
        let is_large = |it: &Value| it["storage"]["size"].as_u64() >= Some(LARGE_BYTES);
        Ok(receipts.into_iter().find(is_large).map(|it| it["storage"].clone()))
    })?;
    let lock = format!("lock-{retention}");
    anyhow::ensure!(
        storage["write_once"] == lock.as_str(),
        "it is not under {lock}: {storage}"
    );
    wait_for("all of it is in the bucket, and proved", || {
        let output = program.command(&["evidence", "verify", "--json"]).output()?;
        let told: Value = serde_json::from_slice(&output.stdout)?;
        Ok((told["proved"] == true && told["in_bucket"] == ARTEFACTS).then_some(()))
    })?;
    export(&program)?;
    deleted(&program, moto, &storage, retention)
}

/// What is sealed, when that is all.
fn sealed(program: &Program) -> Result<Option<Vec<Value>>> {
    let listed: Value = serde_json::from_str(&program.says(&["evidence", "list", "--json"])?)?;
    let rows = listed.as_array().or_else(|| listed["evidence"].as_array());
    let rows = rows.context("evidence is no list")?;
    let failed = rows.iter().find(|it| !it["failure"].is_null());
    anyhow::ensure!(failed.is_none(), "evidence was missed: {failed:?}");
    Ok((rows.len() == 2).then(|| rows.clone()))
}

/// One archive has all of it, and proves itself.
fn export(program: &Program) -> Result<()> {
    let archive = program.dir.join("INC-1.evidence.tar.zst");
    let archive = archive.to_str().context("the path is no text")?;
    let exported = program.says(&["evidence", "export", "INC-1", "--output", archive, "--json"])?;
    let exported: Value = serde_json::from_str(&exported)?;
    anyhow::ensure!(exported["artefacts"] == ARTEFACTS, "not all is exported: {exported}");
    let public = program.says(&["evidence", "key"])?;
    let proved = program.says(&["evidence", "verify", archive, "--key", public.trim()])?;
    anyhow::ensure!(proved.contains("PROVED"), "the archive is not proved: {proved}");
    Ok(())
}

/// Nobody deletes it but who may bypass governance, and then it is missed.
fn deleted(program: &Program, moto: &Moto, storage: &Value, retention: &str) -> Result<()> {
    let path = storage["path"].as_str().and_then(|it| it.strip_prefix("s3:/"));
    let path = path.context("it is in no bucket")?;
    let version = storage["version"].as_str().context("it has no version")?;
    let refused = delete(moto, path, version, "")?;
    anyhow::ensure!(refused == 403, "a locked version could be deleted: {refused}");
    let bypassed = delete(moto, path, version, "x-amz-bypass-governance-retention: true\r\n")?;
    let output = program.command(&["evidence", "verify"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if retention == "compliance" {
        anyhow::ensure!(bypassed == 403, "what compliance holds could be deleted: {bypassed}");
        anyhow::ensure!(output.status.success(), "it is there and not proved: {text}");
    } else {
        anyhow::ensure!(bypassed == 204, "who bypasses governance cannot delete: {bypassed}");
        anyhow::ensure!(text.contains("not in the bucket"), "nobody misses what is gone: {text}");
    }
    Ok(())
}

/// Asks for a version to be deleted; the status.
fn delete(moto: &Moto, path: &str, version: &str, headers: &str) -> Result<u16> {
    let mut stream = TcpStream::connect(&moto.address).context("moto does not listen")?;
    stream.set_read_timeout(Some(SILENT_MAX))?;
    // It takes any key.
    write!(
        stream,
        "DELETE {path}?versionId={version} HTTP/1.1\r\nHost: {}\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential=staunch/20261127/us-east-1/s3/aws4_request,Signature=0\r\n{headers}Connection: close\r\n\r\n",
        moto.address
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok());
    status.with_context(|| format!("moto does not answer: {answer}"))
}

/// Looks until there is something.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let until = Instant::now() + WITHIN;
    loop {
        if let Some(found) = look().with_context(|| format!("waiting until {what}"))? {
            return Ok(found);
        }
        anyhow::ensure!(Instant::now() < until, "not within {WITHIN:?}: {what}");
        thread::sleep(Duration::from_millis(200));
    }
}
