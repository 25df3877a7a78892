//! What a job answers when it is asked to look.
//!
//! What holds: an answer that is too long, or more than one line, is not read; nothing of an answer is in an error;
//! what is ours carries our label in the text; what is shown of another owner is bounded and safe to show.

use staunch_connectors::actions::exec_job::{ANSWER_BYTES_MAX, Answer};
use staunch_model::{InstallationId, Owner, Presence};

const OURS: InstallationId = InstallationId([0xab; 8]);

/// Reads an answer.
pub fn run(bytes: &[u8]) {
    let answer = match Answer::read(bytes) {
        Ok(answer) => answer,
        Err(error) => {
            assert!(error.to_string().is_ascii(), "it is our own sentence");
            return;
        }
    };
    assert!(bytes.len() <= ANSWER_BYTES_MAX);
    let text = std::str::from_utf8(bytes).expect("JSON is text");
    assert!(
        !text.trim_end_matches('\n').contains('\n'),
        "more than one line was read"
    );
    let seen = answer.observation(OURS);
    match &seen.presence {
        Presence::Absent => assert!(!answer.present && seen.enforcing),
        Presence::Present { owner, expires_in } => {
            assert!(answer.present && expires_in.is_none());
            match owner {
                Owner::Ours(transaction) => {
                    let label = format!("staunch:abababababababab:{transaction}");
                    assert_eq!(answer.owner.as_deref(), Some(label.as_str()));
                }
                Owner::Foreign(label) => {
                    assert!(!label.chars().any(staunch_model::text::is_unsafe_to_show));
                    assert!(label.chars().count() <= 4096, "it is cut");
                }
            }
        }
    }
    let said = serde_json::json!({
        "present": answer.present,
        "owner": answer.owner,
        "enforcing": answer.enforcing,
        "version": answer.version,
    });
    assert_eq!(Answer::read(said.to_string().as_bytes()), Ok(answer), "it reads back");
}
