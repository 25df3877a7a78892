//! That the seeds of a target, and the target itself, get to what its properties are about.

use std::path::Path;

use staunch_fuzzing::{frames, http};
use staunch_model::Frame;
use staunch_server::dto::path;

/// What is asked of the engine or of the index is answered later than what the server knows by itself.
#[test]
fn all_that_a_connection_asks_is_answered_before_it_ends() {
    let asked = [
        path::HEALTH,
        path::STATUS,
        path::METRICS,
        path::INCIDENTS,
        path::STREAM,
        path::DOCS,
    ];
    let requests = asked.map(|path| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    let answers = http::answers(requests.concat().as_bytes());
    let answered = String::from_utf8_lossy(&answers).matches("HTTP/1.1 200 OK\r\n").count();
    assert_eq!(answered, asked.len());
}

/// Seeds that this build cannot read any more lead nowhere: make them anew, as `fuzz/corpus/SOURCE.md` says.
#[test]
fn the_histories_and_the_snapshot_are_of_this_build() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/frames");
    let seed = |name: &str| std::fs::read(corpus.join(name)).expect("it is committed");
    for count in [1, 2, 4, 8, 12] {
        let payloads = frames::payloads(&seed(&format!("history-{count}"))[1..]);
        assert_eq!(payloads.len(), count);
        let unread = payloads.iter().find(|it| postcard::from_bytes::<Frame>(&it.1).is_err());
        assert_eq!(unread, None, "history-{count}");
    }
    let engine = frames::read(&seed("snapshot")[1..]).expect("a snapshot");
    assert!(!engine.state().transactions.is_empty() && engine.state().policy.is_some());
}
