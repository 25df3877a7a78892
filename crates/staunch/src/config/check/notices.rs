//! Who is told.

use staunch_model::{Printable, Span};
use staunch_server::auth::why_no_name;

use super::super::Config;
use super::super::mistake::{Mistake, Step};
use super::Checker;

/// The most notifiers: each has a thread of its own.
const NOTIFIERS_MAX: usize = 16;

/// The most routes: all are looked through for each notice.
const ROUTES_MAX: usize = 64;

/// The name of the notifier that always has everything.
const LOG: &str = "log";

impl Checker<'_> {
    pub(super) fn notices(&mut self, config: &Config) {
        let notifiers = &config.notifiers;
        if notifiers.len() > NOTIFIERS_MAX {
            let what = format!("there are {} notifiers: each has a thread of its own", notifiers.len());
            self.add(&["notifiers"], what, format!("name at most {NOTIFIERS_MAX}"));
        }
        for (name, it) in notifiers {
            let shown = Printable(name);
            if let Some(why) = why_no_name(name) {
                let what = format!("{shown} cannot be the name of a notifier: {why}");
                self.add(&["notifiers", name], what, "choose another name for it");
            }
            if name == LOG {
                let what = "the log has every notice, whatever routes say".to_owned();
                self.add(&["notifiers", name], what, "choose another name for it");
            }
            if let Some(why) = it.why_no_url() {
                let what = format!("{shown} cannot be called at its url: {why}");
                let hint = "write for example \"https://notices.example/staunch\"";
                self.add(&["notifiers", name, "url"], what, hint);
            }
            let (least, most) = (Span::from_millis(100), Span::from_secs(30));
            if !(least..=most).contains(&it.deadline) {
                let what = format!("deadline is {}: other notices and a stop wait for it", it.deadline);
                let hint = format!("write a time from \"{least}\" to \"{most}\"");
                self.add(&["notifiers", name, "deadline"], what, hint);
            }
            if !config.routes.iter().any(|route| route.to.contains(name)) {
                let what = format!("no route leads to {shown}: it is told nothing");
                self.add(&["notifiers", name], what, "name it in `to` of a route: [[routes]]");
            }
        }
        self.routes(config);
    }

    fn routes(&mut self, config: &Config) {
        let routes = &config.routes;
        if routes.len() > ROUTES_MAX {
            let what = format!("there are {} routes: nobody reads through them", routes.len());
            self.add(&["routes"], what, format!("write at most {ROUTES_MAX}"));
        }
        for (at, route) in routes.iter().enumerate() {
            let mut mistake = |key: &str, what: String, hint: &str| {
                let path = [Step::Key("routes"), Step::At(at), Step::Key(key)];
                self.mistakes.push(Mistake::of_value(self.text, &path, what, hint));
            };
            for name in &route.to {
                if name == LOG {
                    let what = "the log has every notice, whatever routes say".to_owned();
                    mistake("to", what, "leave it out");
                } else if !config.notifiers.contains_key(name) {
                    let what = format!("there is no notifier {}", Printable(name));
                    mistake("to", what, "describe it under [notifiers], or name another");
                }
            }
            for (key, value) in [
                ("team", &route.team),
                ("environment", &route.environment),
                ("tier", &route.tier),
                ("data_class", &route.data_class),
            ] {
                if value.as_ref().is_some_and(|it| it.trim().is_empty()) {
                    let what = format!("{key} is empty, and nothing is of that name");
                    mistake(key, what, "leave it out for any, or write a name");
                }
            }
            let (assets, identities) = (&config.context.assets, &config.context.identities);
            if let Some(key) = route.key_of_assets()
                && assets.is_empty()
            {
                let what = "no file says what assets are, so the route never holds".to_owned();
                mistake(key, what, "name one under [[context.assets]]");
            }
            if let Some(key) = route.key_of_accounts()
                && identities.is_empty()
            {
                let what = "no file says whose accounts are, so the route never holds".to_owned();
                mistake(key, what, "name one under [[context.identities]]");
            }
            // Of either file, so that it is told by what is told above.
            let is_told = route.key_of_assets().is_some() || route.key_of_accounts().is_some();
            if route.team.is_some() && !is_told && assets.is_empty() && identities.is_empty() {
                let what = "no file says whose things are, so the route never holds".to_owned();
                mistake(
                    "team",
                    what,
                    "name one under [[context.assets]] or [[context.identities]]",
                );
            }
            if route.is_default() && routes.iter().take(at).any(super::super::RouteSettings::is_default) {
                let what = "two routes hold when no other does".to_owned();
                mistake("to", what, "name all of them in `to` of one");
            }
        }
    }
}
