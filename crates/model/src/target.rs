//! What an action is aimed at, and what is known of it.

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::action::ActionKind;
use crate::process::Process;

/// What a kind of action is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aim {
    /// One address.
    Address,
    /// One process.
    Process,
    /// One account.
    Account,
    /// One host.
    Host,
    /// One domain.
    Domain,
    /// What a job is about.
    Job,
}

impl Aim {
    /// The kinds of action that are aimed at it.
    pub fn kinds(self) -> impl Iterator<Item = ActionKind> {
        ActionKind::ALL.into_iter().filter(move |kind| kind.aims_at() == self)
    }

    /// The words for it in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "an address",
            Self::Process => "the number of a process",
            Self::Account => "the name of an account",
            Self::Host => "the name of a host",
            Self::Domain => "the name of a domain",
            Self::Job => "the subject of a job",
        }
    }

    /// The word for many of them.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Address => "addresses",
            Self::Process => "processes",
            Self::Account => "accounts",
            Self::Host => "hosts",
            Self::Domain => "domains",
            Self::Job => "jobs",
        }
    }

    /// The word for one of them.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Process => "process",
            Self::Account => "account",
            Self::Host => "host",
            Self::Domain => "domain",
            Self::Job => "job",
        }
    }
}

/// What an action is aimed at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// One address.
    Address(IpAddr),
    /// One process of this machine.
    Process(Process),
    /// One account of this machine.
    Account(AccountName),
    /// One host.
    Host(HostName),
    /// One domain, and all below it.
    Domain(DomainName),
    /// What one job is about.
    Job(JobTarget),
}

impl PartialOrd for Target {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By kind, then by name: the order that would be derived. Maps of targets ask for it all the time, and nearly always
/// about two IPv4 addresses.
impl Ord for Target {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Address(IpAddr::V4(one)), Self::Address(IpAddr::V4(other))) => one.to_bits().cmp(&other.to_bits()),
            (one, other) => one.cmp_any(other),
        }
    }
}

impl Target {
    fn cmp_any(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Address(one), Self::Address(other)) => one.cmp(other),
            (Self::Process(one), Self::Process(other)) => one.cmp(other),
            (Self::Account(one), Self::Account(other)) => one.cmp(other),
            (Self::Host(one), Self::Host(other)) => one.cmp(other),
            (Self::Domain(one), Self::Domain(other)) => one.cmp(other),
            (Self::Job(one), Self::Job(other)) => one.cmp(other),
            (one, other) => one.aim().cmp(&other.aim()),
        }
    }
}

impl Target {
    const ACCOUNT: &str = "account:";
    const HOST: &str = "host:";
    const DOMAIN: &str = "domain:";
    const JOB: &str = "job:";

    /// The address, when it is one.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(ip) => Some(*ip),
            _ => None,
        }
    }

    /// The process, when it is one.
    #[must_use]
    pub const fn process(&self) -> Option<Process> {
        match self {
            Self::Process(process) => Some(*process),
            _ => None,
        }
    }

    /// What kind of target it is.
    #[must_use]
    pub const fn aim(&self) -> Aim {
        match self {
            Self::Address(_) => Aim::Address,
            Self::Process(_) => Aim::Process,
            Self::Account(_) => Aim::Account,
            Self::Host(_) => Aim::Host,
            Self::Domain(_) => Aim::Domain,
            Self::Job(_) => Aim::Job,
        }
    }

    /// Whether it is told from all others.
    #[must_use]
    pub const fn is_identified(&self) -> bool {
        match self {
            Self::Process(process) => process.is_identified(),
            Self::Address(_) | Self::Account(_) | Self::Host(_) | Self::Domain(_) | Self::Job(_) => true,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(ip) => crate::text::pad(f, format_args!("{ip}")),
            Self::Process(process) => crate::text::pad(f, format_args!("{process}")),
            Self::Account(name) => crate::text::pad(f, format_args!("{}{name}", Self::ACCOUNT)),
            Self::Host(name) => crate::text::pad(f, format_args!("{}{name}", Self::HOST)),
            Self::Domain(name) => crate::text::pad(f, format_args!("{}{name}", Self::DOMAIN)),
            Self::Job(name) => crate::text::pad(f, format_args!("{}{name}", Self::JOB)),
        }
    }
}

impl From<IpAddr> for Target {
    fn from(ip: IpAddr) -> Self {
        Self::Address(ip)
    }
}

/// What is no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "none of an address, a process such as pid:4242@153452.1f3c9a07, account:NAME, host:NAME, domain:NAME and job:NAME:SUBJECT"
)]
pub struct NotATarget;

impl FromStr for Target {
    type Err = NotATarget;

    /// An IPv4 address that is written as one of IPv6 (`::ffff:0:0/96`) is one of IPv4.
    fn from_str(text: &str) -> Result<Self, NotATarget> {
        let target = if let Some(rest) = text.strip_prefix(Process::PREFIX) {
            Process::parse(rest).map(Self::Process)
        } else if let Some(rest) = text.strip_prefix(Self::ACCOUNT) {
            rest.parse().ok().map(Self::Account)
        } else if let Some(rest) = text.strip_prefix(Self::HOST) {
            rest.parse().ok().map(Self::Host)
        } else if let Some(rest) = text.strip_prefix(Self::DOMAIN) {
            rest.parse().ok().map(Self::Domain)
        } else if let Some(rest) = text.strip_prefix(Self::JOB) {
            rest.parse().ok().map(Self::Job)
        } else {
            let ip = text.parse::<IpAddr>().ok();
            ip.map(|ip| Self::Address(ip.to_canonical()))
        };
        target.ok_or(NotATarget)
    }
}

/// What is no name of the kind asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {}", .0.name())]
pub struct NotAName(Aim);

/// A name that is checked and put into the one form in which it is compared, when it is made.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $aim:expr, $form:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "Box<str>", into = "Box<str>")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NotAName;

            fn from_str(text: &str) -> Result<Self, NotAName> {
                $form(text).map(Self).ok_or(NotAName($aim))
            }
        }

        impl TryFrom<Box<str>> for $name {
            type Error = NotAName;

            fn try_from(text: Box<str>) -> Result<Self, NotAName> {
                text.parse()
            }
        }

        impl From<$name> for Box<str> {
            fn from(name: $name) -> Self {
                (*name.0).into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name! {
    /// The name of an account of a Unix machine: 1 to 32 of letters, digits, `_`, `-` and `.`, perhaps with `$` at the
    /// end, beginning with a letter or `_` (useradd(8), which is stricter: some distributions allow capitals and
    /// points).
    AccountName, Aim::Account, account_form
}

name! {
    /// The name of a host: 1 to 253 of lower-case letters, digits, `-`, `_` and `.`. Capitals are made small.
    HostName, Aim::Host, host_form
}

name! {
    /// The name of a domain: at least two labels of 1 to 63 letters, digits, `-` and `_`, at most 253 bytes, as it is
    /// sent in a question (RFC 1035: an international name in its ASCII form). Capitals are made small, and a point at
    /// the end is left out.
    DomainName, Aim::Domain, domain_form
}

name! {
    /// A job and what it is about, `NAME:SUBJECT`. The name: 1 to 64 of lower-case letters, digits and `-`, beginning
    /// with a letter. The subject: nothing for a job about the machine as a whole, or a text of at most
    /// [`JobTarget::SUBJECT_BYTES_MAX`] bytes of which every character can be shown, and which does not begin with `-`,
    /// so that no program takes it for an option.
    JobTarget, Aim::Job, job_form
}

impl JobTarget {
    /// The most bytes of a subject.
    pub const SUBJECT_BYTES_MAX: usize = 256;

    /// The job with this `name`, about `subject`; `None` when one of them is none.
    #[must_use]
    pub fn new(name: &str, subject: &str) -> Option<Self> {
        // A name has no `:`, so that it cannot reach into the subject.
        if !is_job_name(name) {
            return None;
        }
        format!("{name}:{subject}").parse().ok()
    }

    /// The name of the job.
    #[must_use]
    pub fn name(&self) -> &str {
        self.parts().0
    }

    /// What it is about; empty when that is the machine as a whole.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.as_str().split_once(':').expect("it was checked when it was made")
    }
}

/// Whether `text` can be the name of a job.
#[must_use]
pub fn is_job_name(text: &str) -> bool {
    text.len() <= 64
        && text.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn job_form(text: &str) -> Option<Arc<str>> {
    let (name, subject) = text.split_once(':')?;
    let fits = is_job_name(name)
        && subject.len() <= JobTarget::SUBJECT_BYTES_MAX
        && !subject.starts_with('-')
        && subject.trim() == subject
        && !subject.chars().any(crate::text::is_unsafe_to_show);
    fits.then(|| text.into())
}

fn account_form(text: &str) -> Option<Arc<str>> {
    let plain = text.strip_suffix('$').unwrap_or(text);
    let first = plain.bytes().next()?;
    let fits = (first.is_ascii_alphabetic() || first == b'_')
        && plain
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    (fits && text.len() <= 32).then(|| text.into())
}

fn host_form(text: &str) -> Option<Arc<str>> {
    let fits = !text.is_empty()
        && text.len() <= 253
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    fits.then(|| text.to_ascii_lowercase().into())
}

fn domain_form(text: &str) -> Option<Arc<str>> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    let is_address = text.parse::<IpAddr>().is_ok();
    let fits = text.len() <= 253 && text.contains('.') && text.split('.').all(label) && !is_address;
    fits.then(|| text.to_ascii_lowercase().into())
}

/// What is said of a target by those who can look at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFacts {
    /// What it is, in words that may hold anything: of a process, the path of its program and its user.
    pub what: Box<str>,
    /// Why it must never be touched; `None` when it may be.
    pub protected: Option<Box<str>>,
}

/// A target that an event names, as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Which.
    pub target: Target,
    /// What it is, or why that cannot be told.
    pub facts: Result<TargetFacts, Box<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_ordered_by_kind_and_then_by_name() {
        let texts = [
            "203.0.113.7",
            "203.0.113.10",
            "9.0.0.1",
            "2001:db8::7",
            "::1",
            "pid:4242@153452.00001f3c",
            "pid:77@153452.00001f3c",
            "account:bob",
            "account:alice",
            "host:web-1.example.net",
            "domain:evil.example",
        ];
        let targets: Vec<Target> = texts.iter().map(|text| text.parse().expect("a target")).collect();
        let place = |it: &Target| {
            let name = (it.address().is_none() && it.process().is_none()).then(|| it.to_string());
            (it.aim(), it.address(), it.process(), name)
        };
        for one in &targets {
            for other in &targets {
                assert_eq!(one.cmp(other), place(one).cmp(&place(other)), "{one} {other}");
                assert_eq!(one.cmp(other) == Ordering::Equal, one == other, "{one} {other}");
            }
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for text in [
            "203.0.113.7",
            "2001:db8::7",
            "pid:4242@153452.00001f3c",
            "account:alice",
            "account:Backup_01$",
            "host:web-1.example.net",
            "domain:evil.example",
            "domain:_dmarc.xn--bcher-kva.example",
            "job:quarantine-mailbox:alice@example.com",
            "job:lock-door:",
            "job:a:b:c d; rm -rf / $(x)",
            &format!("job:a:{}", "a".repeat(256)),
        ] {
            let target: Target = text.parse().expect(text);
            assert_eq!(target.to_string(), text);
        }
        let same: Target = "domain:EVIL.example.".parse().expect("a domain");
        assert_eq!(same.to_string(), "domain:evil.example");
    }

    #[test]
    fn what_is_no_name_is_no_target() {
        let long = format!("account:{}", "a".repeat(33));
        let subject = format!("job:name:{}", "a".repeat(257));
        let label = format!("domain:{}.example", "a".repeat(64));
        let domain = format!("domain:{}example", "a.".repeat(124));
        for text in [
            "account:",
            "account:-rf",
            "account:0",
            "account:a:b",
            "account:a/b",
            "account:a b",
            "account:a\nroot::0:0",
            "account:é",
            "host:",
            "host:a b",
            "host:../etc",
            "domain:com",
            "domain:.",
            "domain:a..example",
            "domain:.example",
            "domain:a b.example",
            "domain:203.0.113.7",
            "domain:bücher.example",
            "job:",
            "job:name",
            "job::subject",
            "job:Name:subject",
            "job:name:-rf",
            "job:name: subject",
            "job:name:a\nb",
            "job:name:a\u{1b}[2J",
            "job:name:a\u{202e}b",
            &subject,
            &long,
            &label,
            &domain,
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
