//! What every notifier is held to, from the log to a service.
//!
//! Never tests how one fails: each service has ways of its own.

use staunch_model::{IncidentId, Notice, NoticeId, NoticeLevel, Timestamp, TransactionId};
use staunch_ports::Notifier;
use staunch_ports::notifier::About;

/// What a notifier has told people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What tells it from others: the same each time that a notice is sent.
    pub id: String,
    /// How urgent it is said to be.
    pub level: NoticeLevel,
    /// Everything that it says.
    pub text: String,
}

/// Runs the whole suite. `tell` has a fresh notifier tell what the given function has it tell, and returns what people
/// saw of it, in order.
///
/// # Panics
/// When the notifier breaks the contract.
pub fn notifier(tell: impl Fn(&mut dyn FnMut(&mut dyn Notifier)) -> Vec<Told>) {
    every_level_is_told_as_it_is(&tell);
    a_notice_sent_twice_has_one_id(&tell);
    hostile_and_long_text_is_taken(&tell);
}

type Tell<'a> = &'a dyn Fn(&mut dyn FnMut(&mut dyn Notifier)) -> Vec<Told>;

fn notice(id: u64, level: NoticeLevel, text: &str) -> Notice {
    Notice {
        id: NoticeId(id),
        level,
        incident: Some(IncidentId(3)),
        transaction: Some(TransactionId(4)),
        text: text.into(),
    }
}

fn about() -> About {
    About {
        at: Timestamp::from_micros(1_700_000_000_000_000),
        ..About::default()
    }
}

fn every_level_is_told_as_it_is(tell: Tell<'_>) {
    let levels = [NoticeLevel::Info, NoticeLevel::Warning, NoticeLevel::Page];
    let told = tell(&mut |notifier| {
        assert!(!notifier.name().is_empty(), "it has a name");
        for (id, level) in (1..).zip(levels) {
            let whole = notice(id, level, "something has happened");
            notifier.notify(&whole, &about()).expect("it is taken");
        }
        // About nothing in particular.
        let bare = Notice {
            incident: None,
            transaction: None,
            ..notice(4, NoticeLevel::Page, "something is wrong")
        };
        notifier.notify(&bare, &About::default()).expect("it is taken");
    });
    let seen: Vec<NoticeLevel> = told.iter().map(|it| it.level).collect();
    assert_eq!(seen, [levels[0], levels[1], levels[2], NoticeLevel::Page], "{told:?}");
    for it in &told[..3] {
        assert!(it.text.contains("something has happened"), "{it:?}");
        assert!(
            it.text.contains("INC-3") && it.text.contains("TX-4"),
            "whose it is: {it:?}"
        );
    }
    assert!(!told[3].text.contains("INC-"), "{:?}", told[3]);
}

fn a_notice_sent_twice_has_one_id(tell: Tell<'_>) {
    let told = tell(&mut |notifier| {
        for id in [1, 2, 1] {
            let again = notice(id, NoticeLevel::Page, "something has happened");
            notifier.notify(&again, &about()).expect("it is taken");
        }
    });
    let ids: Vec<&str> = told.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids.len(), 3, "{told:?}");
    assert_eq!(ids[0], ids[2], "a repeat can be told");
    assert_ne!(ids[0], ids[1], "two notices are two");
}

fn hostile_and_long_text_is_taken(tell: Tell<'_>) {
    let texts = [
        "",
        "\u{1b}[31m\r\nINJECTED: yes\0\u{202e}",
        "\",\"level\":\"info\"}\n{",
        &"é".repeat(10_000),
    ];
    let told = tell(&mut |notifier| {
        for (id, text) in (1..).zip(texts) {
            let hostile = notice(id, NoticeLevel::Page, text);
            notifier.notify(&hostile, &about()).expect("it is taken");
        }
    });
    assert_eq!(told.len(), texts.len(), "each is one: {told:?}");
    assert!(told.iter().all(|it| it.level == NoticeLevel::Page), "{told:?}");
    let raw = |c: char| c == '\u{1b}' || c == '\n' || c == '\r' || c == '\0';
    assert!(
        told.iter().all(|it| !it.text.contains(raw)),
        "nothing steers a terminal: {told:?}"
    );
}
