//! Health signals.

use staunch_model::{Printable, Span};
use staunch_server::auth::why_no_name;

use super::super::Config;
use super::Checker;

/// The most health signals: each has a thread of its own.
const SIGNALS_MAX: usize = 32;

impl Checker<'_> {
    pub(super) fn prometheus(&mut self, config: &Config) {
        let Some(it) = &config.prometheus else {
            return;
        };
        if let Some(why) = it.why_no_url() {
            let what = format!("Prometheus cannot be asked at its url: {why}");
            self.add(
                &["prometheus", "url"],
                what,
                "write for example \"http://127.0.0.1:9090\"",
            );
        }
        self.deadline(&["prometheus", "deadline"], it.deadline);
    }

    fn deadline(&mut self, at: &[&str], deadline: Span) {
        let (least, most) = (Span::from_millis(50), Span::from_millis(1_500));
        if !(least..=most).contains(&deadline) {
            let what = format!("deadline is {deadline}: containment waits for the first reading");
            let hint = format!("write a time from \"{least}\" to \"{most}\"");
            self.add(at, what, hint);
        }
    }

    pub(super) fn health(&mut self, config: &Config) {
        let signals = &config.health;
        if signals.len() > SIGNALS_MAX {
            let what = format!(
                "there are {} health signals: each has a thread of its own",
                signals.len()
            );
            self.add(&["health"], what, format!("name at most {SIGNALS_MAX}"));
        }
        for (name, it) in signals {
            let shown = Printable(name);
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if why_no_name(name).is_some() || !name.chars().all(plain) {
                let what = format!("{shown} cannot be the name of a health signal");
                let hint = "names are small letters, digits and hyphens, at most 64";
                self.add(&["health", name], what, hint);
            }
            if let Some(why) = it.why_no_url() {
                let what = format!("{shown} cannot be asked at its url: {why}");
                let hint = "write for example \"https://shop.example/healthz\"";
                self.add(&["health", name, "url"], what, hint);
            }
            self.deadline(&["health", name, "deadline"], it.deadline);
            let bounded = it.min.is_some() || it.max.is_some();
            if it.query.is_some() && !bounded {
                let what = format!("nothing says which values of {shown} are healthy");
                self.add(&["health", name], what, "add `max` or `min`");
            }
            if it.query.is_none() && bounded {
                let what = format!("{shown} asks a page, which has no value");
                self.add(&["health", name], what, "remove `max` and `min`, or add `query`");
            }
            let never = matches!((it.min, it.max), (Some(min), Some(max)) if min > max);
            if never || [it.min, it.max].iter().flatten().any(|it| !it.is_finite()) {
                let what = format!("no value of {shown} is healthy");
                self.add(
                    &["health", name],
                    what,
                    "write numbers, and not more for `min` than for `max`",
                );
            }
        }
    }
}
