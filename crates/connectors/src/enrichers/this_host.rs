//! Which names of hosts are this machine.
//!
//! Never guesses: what may be of another machine is not of this one.

use std::path::PathBuf;

use staunch_model::{HostName, Printable};

use crate::proc::Proc;

/// The names by which events mean this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThisHost {
    /// Where the kernel tells its own name. Default: `/proc`.
    pub proc: PathBuf,
    /// Names that events give it beside its own (`uname -n`). Capitals make no difference. Default: none.
    pub names: Vec<String>,
    /// Whether an event that names no host is of this machine. Default: false.
    pub unnamed: bool,
}

impl Default for ThisHost {
    fn default() -> Self {
        Self {
            proc: PathBuf::from("/proc"),
            names: Vec::new(),
            unnamed: false,
        }
    }
}

impl ThisHost {
    /// Whether `host` is a name of this machine.
    ///
    /// # Errors
    /// When its own name cannot be read.
    pub fn is_named(&self, host: &str) -> Result<bool, String> {
        let own = self.own()?;
        let mut names = std::iter::once(&own).chain(&self.names);
        Ok(names.any(|name| name.eq_ignore_ascii_case(host)))
    }

    /// Its own name (`uname -n`), in the form of targets.
    ///
    /// # Errors
    /// When it cannot be read, or is no name.
    pub fn name(&self) -> Result<HostName, String> {
        let own = self.own()?;
        own.parse().map_err(|_| {
            format!(
                "this machine's name, {}, is not one that a target can have",
                Printable(&own)
            )
        })
    }

    /// Checks that `what`, such as a process, which an event saw on `host`, is of this machine.
    ///
    /// # Errors
    /// Why it may be of another one.
    pub fn check(&self, what: &str, host: Option<&str>) -> Result<(), String> {
        let Some(host) = host.filter(|it| !it.is_empty()) else {
            return if self.unnamed {
                Ok(())
            } else {
                Err(format!(
                    "the event does not say on which host, and {what} may be of any"
                ))
            };
        };
        if self.is_named(host)? {
            return Ok(());
        }
        Err(format!(
            "it is {what} of {}, and this machine is {}",
            Printable(host),
            Printable(&self.own()?)
        ))
    }

    fn own(&self) -> Result<String, String> {
        let proc = Proc::new(&self.proc);
        let own = proc.read(&proc.path("sys/kernel/hostname"));
        let own = own.map_err(|error| format!("cannot read this machine's name: {error}"))?;
        Ok(String::from_utf8_lossy(own.trim_ascii()).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_this_machine_is_of_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = dir.path().join("sys/kernel");
        std::fs::create_dir_all(&at).expect("made");
        std::fs::write(at.join("hostname"), "web-1\n").expect("written");
        let mut host = ThisHost {
            proc: dir.path().into(),
            names: vec!["web-1.example.net".to_owned()],
            unnamed: false,
        };
        for name in ["web-1", "WEB-1", "Web-1.example.NET"] {
            assert_eq!(host.check("a process", Some(name)), Ok(()));
        }
        let other = "it is a process of web-2\\u{1b}, and this machine is web-1".to_owned();
        assert_eq!(host.check("a process", Some("web-2\u{1b}")), Err(other));
        for nothing in [None, Some("")] {
            assert!(host.check("an account", nothing).is_err());
        }
        host.unnamed = true;
        assert_eq!(host.check("an account", None), Ok(()));
        host.proc = dir.path().join("none");
        assert!(
            host.check("an account", Some("web-1.example.net")).is_err(),
            "it fails closed"
        );
    }
}
