//! A server on this host in front of a bucket in memory.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use staunch_testkit::s3::{Asked, Behaviour, FakeBucket};

use crate::harness::Home;

pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

pub(crate) struct S3Server {
    pub(crate) address: SocketAddr,
    pub(crate) bucket: Arc<FakeBucket>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl S3Server {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        Self::with(Arc::new(FakeBucket::new(behaviour)), "127.0.0.1:0")
    }

    /// Serves a bucket that is there, as after a time without.
    pub(crate) fn with(bucket: Arc<FakeBucket>, listen: &str) -> Self {
        let listener = TcpListener::bind(listen).expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let ends = Arc::new(AtomicBool::new(false));
        let shared = (Arc::clone(&bucket), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.1.load(Ordering::Relaxed) {
                    return;
                }
                serve(stream.expect("somebody asks"), &shared.0);
            }
        });
        Self {
            address,
            bucket,
            ends,
            thread: Some(thread),
        }
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || thread::panicking(),
                "the bucket has found something wrong"
            );
        }
    }
}

fn serve(mut stream: TcpStream, bucket: &FakeBucket) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).expect("it sends") == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head is text");
    assert!(!head.contains(SECRET), "the secret key is shown");
    let mut lines = head.lines();
    let first: Vec<&str> = lines.next().expect("a first line").split(' ').collect();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    assert!(
        !headers.contains_key("transfer-encoding"),
        "S3 takes nothing whose size it is not told"
    );
    assert!(
        headers.contains_key("content-length") || !matches!(first[0], "PUT" | "POST"),
        "S3 takes nothing whose size it is not told"
    );
    let length = headers
        .get("content-length")
        .map_or(0, |it| it.parse().expect("a number"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("it sends all");
    let answered = bucket.answer(&Asked {
        method: first[0].to_owned(),
        target: first[1].to_owned(),
        headers,
        body,
    });
    let length = answered.body.len();
    let status = answered.status;
    let mut text = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n");
    for (name, value) in &answered.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    // Who asks may have given up.
    let mut send = || {
        stream.write_all(format!("{text}\r\n").as_bytes())?;
        if first[0] == "HEAD" {
            Ok(())
        } else {
            stream.write_all(&answered.body)
        }
    };
    drop(send());
}

/// Writes the key into the home.
pub(crate) fn key(home: &Home) {
    use std::os::unix::fs::PermissionsExt as _;
    let file = home.path("s3.key");
    std::fs::write(&file, format!("AKID {SECRET}\n")).expect("it is our directory");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
}
