//! A client that says exactly what a test wants to say.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde::de::DeserializeOwned;
use staunch_server::dto::{PROBLEM_TYPE, Problem};

use super::PATIENCE;

#[derive(Clone, Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    headers: Vec<String>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, token: Option<&str>) -> Self {
        let headers = token
            .map(|token| format!("Authorization: Bearer {token}"))
            .into_iter()
            .collect();
        Self { address, headers }
    }

    pub(crate) fn header(mut self, header: &str) -> Self {
        self.headers.push(header.to_owned());
        self
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, b"")
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, body.as_bytes())
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let mut stream = self.open(
            method,
            path,
            &[&format!("Content-Length: {}", body.len()), "Connection: close"],
        );
        stream.write_all(body).expect("the server takes the body");
        answer(stream)
    }

    /// A connection on which the head of a request was sent.
    pub(crate) fn open(&self, method: &str, path: &str, headers: &[&str]) -> TcpStream {
        let mut stream = connect(self.address);
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !self.headers.iter().any(|header| header.starts_with("Host:")) {
            head.push_str(&format!("Host: {}\r\n", self.address));
        }
        for header in self.headers.iter().map(String::as_str).chain(headers.iter().copied()) {
            head.push_str(&format!("{header}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).expect("the server takes the head");
        stream
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream
}

/// Reads the answer up to the end of the stream.
pub(crate) fn answer(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the server answers and closes");
    parse(&bytes)
}

pub(crate) fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8(bytes.to_vec()).expect("answers are text");
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("an answer has a head: {text:?}"));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status");
    Answer {
        status,
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

impl Answer {
    /// The body of a success.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        assert!((200..300).contains(&self.status), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The body of a failure with this status and code.
    pub(crate) fn problem(&self, status: u16, code: &str) -> Problem {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.has(&format!("content-type: {PROBLEM_TYPE}")), "{self:?}");
        let problem: Problem = serde_json::from_str(&self.body).expect("a problem");
        assert_eq!((problem.code(), problem.status), (code, status), "{self:?}");
        assert!(!problem.title.is_empty() && !problem.detail.is_empty(), "{self:?}");
        problem
    }

    pub(crate) fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line == header)
    }
}
