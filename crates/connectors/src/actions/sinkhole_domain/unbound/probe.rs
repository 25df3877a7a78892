//! Asks the resolver itself, with a question of DNS, whether a name below a domain exists.
//!
//! Never has the question passed on: it is sent without "recursion desired", so that a resolver which does not hold the
//! sinkhole tells nobody. Unbound answers it of its local zones and refuses it otherwise (unbound.conf(5),
//! `access-control`).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use staunch_model::DomainName;

/// The label that is put before a domain, where there is room for it.
const BELOW: &str = "staunch";

/// The longest name (RFC 1035, 2.3.4), as text.
const NAME_BYTES_MAX: usize = 253;

/// Questions that are under way at the same time: few enough for any socket's buffer.
const AT_ONCE: usize = 32;

/// How often a question is asked.
const TRIES: u32 = 3;

/// How long the answers to one try are awaited. A resolver on this machine answers in tens of microseconds.
const WITHIN: Duration = Duration::from_millis(250);

/// How long all answers together are awaited.
const ALL_WITHIN: Duration = Duration::from_secs(1);

/// The longest answer of which anything is read: no more is asked for.
const ANSWER_BYTES_MAX: usize = 512;

/// What the resolver says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It does not exist.
    NoSuchName,
    /// Something of its own, which does not come from the domain.
    Local,
    /// Anything else, with the code of the answer (RFC 1035, 4.1.1).
    Other(u8),
}

/// Asks `resolver` about each of `domains`. `None` for those of which it said nothing in time.
///
/// # Errors
/// When it cannot be asked.
pub(super) fn ask(resolver: SocketAddr, domains: &[&DomainName]) -> io::Result<Vec<Option<Said>>> {
    let any: SocketAddr = match resolver {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    // The kernel leaves out what does not come from there.
    socket.connect(resolver)?;
    let mut said = vec![None; domains.len()];
    let until = Instant::now() + ALL_WITHIN;
    for (part, answers) in domains.chunks(AT_ONCE).zip(said.chunks_mut(AT_ONCE)) {
        let questions: Vec<Vec<u8>> = (0..).zip(part).map(|(id, domain)| question(id, domain)).collect();
        for _ in 0..TRIES {
            let open = questions.iter().zip(answers.iter()).filter(|(_, it)| it.is_none());
            for (question, _) in open {
                // What is not sent is not answered.
                drop(socket.send(question));
            }
            hear(&socket, &questions, answers)?;
            if answers.iter().all(Option::is_some) {
                break;
            }
        }
        // Who says nothing to all of them will say nothing to the others.
        if answers.iter().all(Option::is_none) || Instant::now() >= until {
            break;
        }
    }
    Ok(said)
}

fn hear(socket: &UdpSocket, questions: &[Vec<u8>], answers: &mut [Option<Said>]) -> io::Result<()> {
    let until = Instant::now() + WITHIN;
    let mut buffer = [0; ANSWER_BYTES_MAX];
    while answers.iter().any(Option::is_none) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left))?;
        // An error is one of an earlier question, such as that nobody listens; the deadline ends it.
        let Ok(count) = socket.recv(&mut buffer) else {
            continue;
        };
        if let Some((id, it)) = answer(&buffer[..count], questions) {
            answers[id] = Some(it);
        }
    }
    Ok(())
}

/// A question for the address of a name below `domain`, or of itself where there is no longer name.
fn question(id: u16, domain: &DomainName) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(12 + NAME_BYTES_MAX + 6);
    bytes.extend(id.to_be_bytes());
    // A standard query without "recursion desired", with one question.
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let room = BELOW.len() + 1 + domain.as_str().len() <= NAME_BYTES_MAX;
    for label in room.then_some(BELOW).into_iter().chain(domain.as_str().split('.')) {
        // A label of a domain has 63 bytes at the most.
        bytes.push(u8::try_from(label.len()).unwrap_or_default());
        bytes.extend(label.as_bytes());
    }
    // The root; type A, class IN.
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// Which of `questions` an answer belongs to, and what it says; `None` when it is none.
fn answer(bytes: &[u8], questions: &[Vec<u8>]) -> Option<(usize, Said)> {
    let id = usize::from(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]));
    let question = questions.get(id)?;
    let (flags, code) = (*bytes.get(2)?, *bytes.get(3)? & 0x0f);
    let is_answer = flags & 0x80 != 0 && flags & 0x78 == 0;
    let echoed = bytes.get(12..question.len())?.eq_ignore_ascii_case(&question[12..]);
    let is_authoritative = flags & 0x04 != 0;
    (is_answer && echoed).then_some((
        id,
        match code {
            3 if is_authoritative => Said::NoSuchName,
            0 if is_authoritative => Said::Local,
            code => Said::Other(code),
        },
    ))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn domain(name: &str) -> DomainName {
        name.parse().expect("a domain")
    }

    /// Asks somebody who answers each question with what `answers` makes of it.
    fn ask_one(name: &str, answers: impl Fn(Vec<u8>) -> Vec<Vec<u8>> + Send) -> Option<Said> {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let at = server.local_addr().expect("it has one");
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut buffer = [0; 600];
                let (count, from) = server.recv_from(&mut buffer).expect("a question");
                for it in answers(buffer[..count].to_vec()) {
                    server.send_to(&it, from).expect("it is sent");
                }
            });
            ask(at, &[&domain(name)]).expect("it can be asked").remove(0)
        })
    }

    fn coded(mut question: Vec<u8>, flags: u8, code: u8) -> Vec<u8> {
        (question[2], question[3]) = (flags, code);
        question
    }

    #[test]
    fn an_answer_counts_only_when_it_is_one_to_the_question() {
        let said = ask_one("evil.example", |it| {
            assert_eq!(it[2] & 1, 0, "nobody is to pass it on");
            assert!(it[12..].starts_with(b"\x07staunch\x04evil\x07example\0"));
            let other = [&it[..12], b"\x04good\x07example\0\0\x01\0\x01"].concat();
            vec![
                Vec::new(),
                it[..5].to_vec(),
                coded(it.clone(), 0x04, 0),
                coded(other, 0x84, 0),
                coded([&[9, 9], &it[2..]].concat(), 0x84, 0),
                coded(it, 0x84, 3),
            ]
        });
        assert_eq!(said, Some(Said::NoSuchName));
        for (flags, code, expect) in [
            (0x84, 0, Said::Local),
            (0x80, 0, Said::Other(0)),
            (0x80, 3, Said::Other(3)),
            (0x80, 5, Said::Other(5)),
        ] {
            let said = ask_one("evil.example", |it| vec![coded(it, flags, code)]);
            assert_eq!(said, Some(expect));
        }
    }

    #[test]
    fn the_longest_name_is_asked_for_itself() {
        let long = format!("{}example", "a.".repeat(123));
        assert_eq!(long.len(), NAME_BYTES_MAX);
        let question = question(1, &domain(&long));
        assert!(question[12..].starts_with(b"\x01a\x01a"), "{question:?}");
        assert_eq!(question.len(), 12 + 255 + 4);
    }

    #[test]
    fn nobody_says_nothing() {
        let nobody = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let at = nobody.local_addr().expect("it has one");
        let asked = [domain("evil.example"), domain("bad.example")];
        let asked: Vec<&DomainName> = asked.iter().collect();
        assert_eq!(ask(at, &asked).expect("it can be asked"), [None, None]);
        drop(nobody);
        assert_eq!(ask(at, &asked).expect("it can be asked"), [None, None]);
    }
}
