//! Who sends events, and the ways in which they come.

use std::path::PathBuf;

use staunch_model::{Printable, Span};
use staunch_server::auth::why_no_name;
use staunch_server::senders::SENDERS_MAX;

use super::super::mistake::{Mistake, Step};
use super::super::{Config, SyslogSource};
use super::Checker;

impl Checker<'_> {
    fn senders(&mut self, config: &Config, known: &[&str]) {
        let senders = &config.http.senders;
        if senders.len() > SENDERS_MAX {
            let what = format!("there are {} senders", senders.len());
            let hint = format!("name at most {SENDERS_MAX}");
            self.add(&["http", "senders"], what, hint);
        }
        for (at, sender) in senders.iter().enumerate() {
            let mut mistake = |key, what, hint: String| {
                let path = [Step::Key("http"), Step::Key("senders"), Step::At(at), Step::Key(key)];
                self.mistakes.push(Mistake::of_value(self.text, &path, what, hint));
            };
            let shown = Printable(&sender.name);
            if let Some(why) = why_no_name(&sender.name) {
                let hint = "choose another name for it".to_owned();
                mistake("name", format!("{shown} cannot be the name of a sender: {why}"), hint);
            } else if senders[..at].iter().any(|it| it.name == sender.name) {
                let hint = "give each a name of its own".to_owned();
                mistake("name", format!("there is a sender {shown} above"), hint);
            }
            if !known.contains(&sender.source.as_str()) {
                let what = format!("there is no source {}", Printable(&sender.source));
                mistake("source", what, one_of(known));
            }
            if sender.secret_files.iter().all(|it| it.as_os_str().is_empty()) {
                let what = "without a secret nothing can be proved".to_owned();
                mistake("secret_files", what, "name a file that holds the secret".to_owned());
            }
            let is_taken = |file: &&PathBuf| senders[..at].iter().any(|it| it.secret_files.contains(file));
            if let Some(shared) = sender.secret_files.iter().find(is_taken) {
                let shown = shared.display().to_string();
                let what = format!("{} is the secret of another sender too", Printable(&shown));
                mistake(
                    "secret_files",
                    what,
                    "give each a secret of its own: what one signs is good for all that have it".to_owned(),
                );
            }
            let (least, most) = (Span::from_secs(1), Span::from_hours(1));
            if !(least..=most).contains(&sender.window) {
                let what = format!(
                    "window is {}: clocks differ, and old requests must not be good",
                    sender.window
                );
                mistake("window", what, format!("write a time from \"{least}\" to \"{most}\""));
            }
        }
    }

    /// A value of an inlet that cannot work.
    fn inlet(&mut self, kind: &str, at: usize, key: &str, what: String, hint: &str) {
        let path = [Step::Key("sources"), Step::Key(kind), Step::At(at), Step::Key(key)];
        self.mistakes.push(Mistake::of_value(self.text, &path, what, hint));
    }

    fn source(&mut self, kind: &str, at: usize, source: &str, known: &[&str]) {
        if !known.contains(&source) {
            let what = format!("there is no source {}", Printable(source));
            self.inlet(kind, at, "source", what, &one_of(known));
        }
    }

    fn files(&mut self, config: &Config, known: &[&str]) {
        let files = &config.sources.files;
        for (at, file) in files.iter().enumerate() {
            self.source("files", at, &file.source, known);
            if file.path.as_os_str().is_empty() {
                let (what, hint) = ("the path is empty", "write the path of a file that a sensor appends to");
                self.inlet("files", at, "path", what.to_owned(), hint);
            } else if files[..at].iter().any(|it| it.path == file.path) {
                let shown = file.path.display().to_string();
                let what = format!("{} is followed already", Printable(&shown));
                let hint = "leave it out here: each of its events would count twice";
                self.inlet("files", at, "path", what, hint);
            }
        }
    }

    fn syslog(&mut self, config: &Config, known: &[&str]) {
        let all = &config.sources.syslog;
        for (at, it) in all.iter().enumerate() {
            self.source("syslog", at, &it.source, known);
            let is_taken = |other: &SyslogSource| other.listen == it.listen && it.listen.address.port() != 0;
            if all[..at].iter().any(is_taken) {
                let what = format!("{} is listened on already", it.listen);
                self.inlet("syslog", at, "listen", what, "choose another port");
            } else if it.from.is_empty() && !it.listen.address.ip().to_canonical().is_loopback() {
                let what = format!(
                    "{} is reached from other machines, and nobody is named who may send",
                    it.listen
                );
                let hint = "name the networks of the sensors: from = [\"192.0.2.0/24\"]; syslog knows no password";
                self.inlet("syslog", at, "listen", what, hint);
            }
            if it.app_names.iter().any(|name| name.trim().is_empty()) {
                let hint = "write names such as \"suricata\", or leave the key out to take all";
                self.inlet("syslog", at, "app_names", "a name is empty".to_owned(), hint);
            }
        }
    }

    fn sockets(&mut self, config: &Config, known: &[&str]) {
        let sockets = &config.sources.sockets;
        for (at, it) in sockets.iter().enumerate() {
            self.source("sockets", at, &it.source, known);
            let shown = it.path.display().to_string();
            if it.path.file_name().is_none() {
                let hint = "write the path of a socket, such as /run/staunch/events.sock";
                self.inlet("sockets", at, "path", "the path names no file".to_owned(), hint);
            } else if sockets[..at].iter().any(|other| other.path == it.path) {
                let what = format!("{} is listened on already", Printable(&shown));
                self.inlet("sockets", at, "path", what, "choose another path");
            }
            if it.mode & !0o777 != 0 || it.mode & 0o200 == 0 {
                let what = format!("{:#o} is no mode of a socket that its owner can write to", it.mode);
                self.inlet(
                    "sockets",
                    at,
                    "mode",
                    what,
                    "write an octal number such as 0o600 or 0o660",
                );
            }
        }
    }

    fn journald(&mut self, config: &Config, known: &[&str]) {
        let all = &config.sources.journald;
        for (at, it) in all.iter().enumerate() {
            self.source("journald", at, &it.source, known);
            for (key, names) in [("units", &it.units), ("identifiers", &it.identifiers)] {
                if names.iter().any(|name| name.trim().is_empty()) {
                    let hint = "write names, or leave the key out to take all";
                    self.inlet("journald", at, key, "a name is empty".to_owned(), hint);
                }
            }
            if all[..at].iter().any(|other| other.key() == it.key()) {
                let path = [Step::Key("sources"), Step::Key("journald"), Step::At(at)];
                let what = "the same entries are followed already".to_owned();
                let hint = "leave it out here: each of its events would count twice";
                self.mistakes.push(Mistake::of_value(self.text, &path, what, hint));
            }
        }
    }

    pub(super) fn sources(&mut self, config: &Config) {
        // Also those that cannot be made: what names one of them is right.
        let own = config.sources.generic.iter().map(|it| it.name.as_str());
        let own = own.filter(|it| !staunch_playbook::SYSTEMS.contains(it));
        let known: Vec<&str> = staunch_playbook::SYSTEMS.into_iter().chain(own).collect();
        self.files(config, &known);
        self.senders(config, &known);
        self.syslog(config, &known);
        self.sockets(config, &known);
        self.journald(config, &known);
        let Err(error) = staunch_connectors::sources::ports(&config.sources.settings()) else {
            return;
        };
        // The decoders name the key as `generic[1].source_ip`.
        let mut path = vec![Step::Key("sources")];
        for part in error.key.split('.') {
            match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
                Some((name, at)) => path.extend([Step::Key(name), Step::At(at.parse().unwrap_or(0))]),
                None => path.push(Step::Key(part)),
            }
        }
        self.mistakes
            .push(Mistake::of_value(self.text, &path, error.what.clone(), error.hint));
    }
}

fn one_of(known: &[&str]) -> String {
    format!("write one of {}", Printable(&known.join(", ")))
}
