//! The log as a notifier. Webhooks are held to the same contract where they are called, in `staunch`.

use staunch_connectors::notifiers::LogNotifier;
use staunch_model::NoticeLevel;
use staunch_testkit::contract::notifier::{Told, notifier};
use tracing::Level;

#[path = "../../src/testing.rs"]
#[allow(dead_code, reason = "only a part of it is needed here")]
mod testing;

#[test]
fn the_log_keeps_the_contract() {
    notifier(|told| {
        let lines = testing::logged(|| told(&mut LogNotifier));
        let told = lines.into_iter().map(|(level, text)| {
            let id = text.split("notice=").nth(1).and_then(|rest| rest.split(';').next());
            Told {
                id: id.expect("it has one").to_owned(),
                level: match level {
                    Level::ERROR => NoticeLevel::Page,
                    Level::WARN => NoticeLevel::Warning,
                    _ => NoticeLevel::Info,
                },
                text,
            }
        });
        told.collect()
    });
}
