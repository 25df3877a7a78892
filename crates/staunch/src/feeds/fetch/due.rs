//! When a feed is fetched: first after a start, again after a fetch, and after one that failed.
//!
//! Never asks anybody. What it has to know over a start is in a file beside the copy: what was asked last, and, as the
//! time of that file, when.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use staunch_model::{ContentHash, Span, Timestamp};

use crate::config::FeedSettings;
use crate::feeds::fetched;
use crate::whole;

/// The pause after a first failure; it doubles with each further one, up to the feed's own interval.
const PAUSE: Span = Span::from_secs(60);

/// What a feed was asked for last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The hash of the URL, in which there may be a key.
    url: String,
    at: Timestamp,
}

impl Asked {
    /// What the feed of `settings` was asked for last; `None` when that is not known.
    pub(super) fn last(settings: &FeedSettings) -> Option<Self> {
        let file = asked_file(&settings.path);
        Some(Self {
            at: fetched(&file)?,
            url: fs::read_to_string(file).ok()?,
        })
    }

    /// Notes that the feed of `settings` is asked for. Its copy stays, and an ETag of another address does not: it says
    /// nothing of what is at this one.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub(super) fn note(settings: &FeedSettings) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("when it is asked for cannot be noted: {error}");
        if Self::last(settings).is_some_and(|it| it.is_elsewhere(settings)) {
            super::forget_etag(settings).map_err(failed)?;
        }
        whole::keep(&asked_file(&settings.path), hash_of(settings.url.as_deref()).as_bytes()).map_err(failed)
    }

    fn is_elsewhere(&self, settings: &FeedSettings) -> bool {
        self.url != hash_of(settings.url.as_deref())
    }
}

fn hash_of(url: Option<&str>) -> String {
    ContentHash::of(url.unwrap_or_default().as_bytes()).to_string()
}

fn asked_file(copy: &Path) -> PathBuf {
    copy.with_extension("asked")
}

/// How long after a start at `now` the feed is fetched: when its copy of `copied`, where it has one that can be used,
/// is as old as it may become, and not sooner after the last request than its server wants.
pub(super) fn first(
    settings: &FeedSettings,
    copied: Option<Timestamp>,
    asked: Option<&Asked>,
    now: Timestamp,
) -> Duration {
    if asked.is_some_and(|it| it.is_elsewhere(settings)) {
        return Duration::ZERO;
    }
    // A clock that was set back makes nobody wait for longer.
    let left = |span: Span, from: Timestamp| span.to_std().saturating_sub(now.since(from).to_std());
    let by_copy = copied.map_or(Duration::ZERO, |at| left(settings.every, at));
    let by_server = asked.map_or(Duration::ZERO, |it| left(settings.least_interval(), it.at));
    by_copy.max(by_server)
}

/// How long the feed is left alone after a failure that `failures` others came before, when its server asks for
/// `wanted`.
pub(super) fn after_failure(settings: &FeedSettings, failures: u32, wanted: Option<Span>) -> Duration {
    let doubled = PAUSE.times(2_u64.saturating_pow(failures.min(16)));
    let pause = settings.every.min(doubled).max(settings.least_interval());
    pause.max(wanted.unwrap_or_default()).to_std()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn settings(more: &str) -> FeedSettings {
        let text = format!("[[feeds]]\nname = \"drop\"\nurl = \"https://feed.example/a\"\n{more}\n");
        let config = crate::config::parse(&text).unwrap_or_else(|_| panic!("{text}"));
        config.feeds[0].clone()
    }

    fn ago(minutes: u64) -> Timestamp {
        Timestamp::from_micros(NOW.as_micros() - Span::from_mins(minutes).as_micros())
    }

    fn asked(url: &str, minutes: u64) -> Asked {
        Asked {
            url: hash_of(Some(url)),
            at: ago(minutes),
        }
    }

    #[test]
    fn a_start_asks_for_no_copy_that_is_still_young() {
        let (here, drop) = (
            "https://feed.example/a",
            settings("format = \"spamhaus\"\nevery = \"2h\""),
        );
        let minutes = |settings: &FeedSettings, copied, asked: Option<Asked>| {
            first(settings, copied, asked.as_ref(), NOW).as_secs() / 60
        };
        assert_eq!(minutes(&drop, None, None), 0, "it was never fetched");
        assert_eq!(minutes(&drop, Some(ago(90)), None), 30);
        assert_eq!(minutes(&drop, Some(ago(500)), None), 0);
        assert_eq!(minutes(&drop, Some(ago(90)), Some(asked(here, 90))), 30);
        // The last try failed, whatever copy there is: Spamhaus is not asked within the hour.
        assert_eq!(minutes(&drop, Some(ago(500)), Some(asked(here, 10))), 50);
        assert_eq!(minutes(&drop, None, Some(asked(here, 10))), 50);
        assert_eq!(minutes(&drop, None, Some(asked(here, 70))), 0);
        assert_eq!(minutes(&settings("every = \"2h\""), None, Some(asked(here, 10))), 0);
        // Another address was written.
        let there = "https://feed.example/b";
        assert_eq!(minutes(&drop, Some(ago(1)), Some(asked(there, 1))), 0);
        // The clock was set back.
        let later = Timestamp::from_micros(NOW.as_micros() + Span::from_hours(50).as_micros());
        assert_eq!(minutes(&drop, Some(later), None), 120);
    }

    #[test]
    fn a_failure_is_followed_by_a_pause_that_the_server_may_make_longer() {
        let minutes =
            |settings: &FeedSettings, failures, wanted| after_failure(settings, failures, wanted).as_secs() / 60;
        let plain = settings("every = \"10m\"");
        let pauses: Vec<_> = (0..6).map(|it| minutes(&plain, it, None)).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 10, 10]);
        assert_eq!(minutes(&plain, u32::MAX, None), 10);
        assert_eq!(minutes(&plain, 0, Some(Span::from_mins(30))), 30);
        assert_eq!(minutes(&plain, 4, Some(Span::from_mins(1))), 10);
        let drop = settings("format = \"spamhaus\"\nevery = \"3h\"");
        let pauses: Vec<_> = (0..9).map(|it| minutes(&drop, it, None)).collect();
        assert_eq!(pauses, [60, 60, 60, 60, 60, 60, 64, 128, 180]);
        assert_eq!(minutes(&drop, 0, Some(Span::from_mins(1))), 60);
    }

    #[test]
    fn what_was_asked_last_is_known_after_a_start_and_an_etag_is_of_one_address() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut settings = settings("");
        settings.path = dir.path().join("drop.copy");
        let etag = dir.path().join("drop.etag");
        assert_eq!(Asked::last(&settings), None);
        fs::write(&etag, "\"one\"").expect("it is our directory");
        for _ in 0..2 {
            Asked::note(&settings).expect("it can be noted");
            assert!(etag.exists());
        }
        let last = Asked::last(&settings).expect("it is noted");
        let kept = fs::read_to_string(dir.path().join("drop.asked")).expect("it is there");
        assert!(!kept.contains("feed.example"), "a key may be in the URL: {kept}");
        assert!(!last.is_elsewhere(&settings), "{last:?}");
        settings.url = Some("https://feed.example/b".to_owned());
        assert!(last.is_elsewhere(&settings));
        Asked::note(&settings).expect("it can be noted");
        assert!(!etag.exists(), "it is of another address");
    }
}
