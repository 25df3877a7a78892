//! Says of a domain what it is, and whether it must never be denied.
//!
//! Never asks the network: what a name leads to, who registered it and how many use it is not known here. A domain is
//! the same whatever host an event is of, so that the host of the event makes no difference: what acts on it is a
//! resolver, and who asks that resolver is cut off from it.
//!
//! # What is protected
//! To deny a domain is to deny all below it. So a name that is needed protects itself and every name above it; the
//! machine's own domains and those that an operator names protect all below them, too. A public suffix (`co.uk`,
//! `github.io`) stands for the names of others below it, by the list that is compiled in. What has public suffixes
//! below it and is none itself, such as `amazonaws.com`, is not known from that list.

use std::fs;
use std::io;
use std::path::PathBuf;

use staunch_model::{DomainName, Found, Printable, Target, TargetFacts};
use staunch_ports::{Seen, Targets};

use super::own_addresses::RESOLV_CONF;
use crate::proc::Proc;

/// Names that mean something of the network they are used in, or that the machinery of DNS needs, and all below them:
/// special-use names (RFC 6761, 6762, 8375), `internal` (reserved by ICANN in 2024), names that routers and directories
/// hand out, reverse zones, and the servers of the root and of `com` and `net`.
const RESERVED: [&str; 13] = [
    "arpa",
    "localhost",
    "localdomain",
    "local",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "workgroup",
    "root-servers.net",
    "gtld-servers.net",
];

/// Bytes that are read of the resolver's configuration; glibc reads no more than six domains of it in older versions,
/// and lines of any length in newer ones.
const RESOLV_CONF_BYTES_MAX: usize = 64 << 10;

/// How domains are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainOptions {
    /// Where the kernel tells the machine's name. Default: `/proc`.
    pub proc: PathBuf,
    /// Where the resolver's configuration is, with the domains in which it searches. Default: `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// Other names of this machine. Default: none.
    pub host_names: Vec<String>,
    /// Domains that are never denied, nor what is below or above them. Default: none.
    pub protected: Vec<DomainName>,
    /// Names that this program calls, and what for: those and what is above them are never denied. Default: none.
    pub needed: Vec<(String, String)>,
}

impl Default for DomainOptions {
    fn default() -> Self {
        Self {
            proc: PathBuf::from("/proc"),
            resolv_conf: PathBuf::from(RESOLV_CONF),
            host_names: Vec::new(),
            protected: Vec::new(),
            needed: Vec::new(),
        }
    }
}

/// Who tells domains.
#[derive(Clone, Debug)]
pub struct DomainTeller {
    options: DomainOptions,
}

impl DomainTeller {
    /// Makes one. It reads nothing before it is asked.
    #[must_use]
    pub const fn new(options: DomainOptions) -> Self {
        Self { options }
    }

    fn about(&self, domain: &DomainName) -> Result<TargetFacts, String> {
        Ok(TargetFacts {
            what: what(domain).into(),
            protected: self.protection(domain)?.map(Into::into),
        })
    }

    /// Why `domain` is never denied.
    fn protection(&self, domain: &DomainName) -> Result<Option<String>, String> {
        let name = domain.as_str();
        if let Some(reserved) = RESERVED.iter().find(|it| is_within(name, it) || is_within(it, name)) {
            return Ok(Some(format!("the machinery of a network needs {reserved}")));
        }
        if psl::suffix(name.as_bytes()).is_some_and(|it| it.is_known() && it == name) {
            return Ok(Some(
                "it is a public suffix: below it are names of many others".to_owned(),
            ));
        }
        let named = self.options.protected.iter().map(DomainName::as_str);
        if let Some(of) = related(name, named) {
            return Ok(Some(format!("{} is protected by the configuration", Printable(&of))));
        }
        if let Some(own) = related(name, self.own()?.iter().map(String::as_str)) {
            return Ok(Some(format!("{} is a domain of this machine", Printable(&own))));
        }
        let needed = self.options.needed.iter().find(|(needed, _)| is_within(needed, name));
        Ok(needed.map(|(needed, what_for)| format!("Staunch calls {} ({})", Printable(needed), Printable(what_for))))
    }

    /// The names of this machine, their domains, and the domains in which it looks for others.
    fn own(&self) -> Result<Vec<String>, String> {
        let proc = Proc::new(&self.options.proc);
        let kernel = |file: &str| {
            let text = proc.read(&proc.path(&format!("sys/kernel/{file}")));
            let text = text.map_err(|error| format!("cannot read this machine's {file}: {error}"))?;
            Ok::<_, String>(String::from_utf8_lossy(text.trim_ascii()).into_owned())
        };
        let mut own = Vec::new();
        for name in self.options.host_names.iter().cloned().chain([kernel("hostname")?]) {
            let name = plain(&name);
            // A name of one label has no domain.
            if let Some((_, domain)) = name.split_once('.') {
                // A host right below a public suffix is its own domain.
                let is_public = psl::suffix(domain.as_bytes()).is_some_and(|it| it == domain);
                own.push(if is_public { name.clone() } else { domain.to_owned() });
            }
        }
        own.push(plain(&kernel("domainname")?));
        own.extend(self.searched()?);
        // The kernel says so when there is none.
        own.retain(|it| !it.is_empty() && it != "(none)");
        Ok(own)
    }

    /// The domains of the lines `search` and `domain`.
    fn searched(&self) -> Result<Vec<String>, String> {
        let path = self.options.resolv_conf.display();
        let text = match fs::read(&self.options.resolv_conf) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(format!("cannot read {path}: {error}")),
        };
        if text.len() > RESOLV_CONF_BYTES_MAX {
            return Err(format!("{path} is longer than {RESOLV_CONF_BYTES_MAX} bytes"));
        }
        let text = String::from_utf8_lossy(&text);
        let mut searched = Vec::new();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            if matches!(words.next(), Some("search" | "domain")) {
                searched.extend(words.map(plain));
            }
        }
        Ok(searched)
    }
}

impl Targets for DomainTeller {
    fn find(&self, named: &Target, _: Seen<'_>) -> Found {
        self.look_again(named)
    }

    fn look_again(&self, target: &Target) -> Found {
        let facts = match target {
            Target::Domain(domain) => self.about(domain),
            _ => Err("it is no domain".to_owned()),
        };
        Found {
            target: target.clone(),
            facts: facts.map_err(Into::into),
        }
    }
}

/// What a domain is, in words.
fn what(domain: &DomainName) -> String {
    let name = domain.as_str();
    match psl::domain(name.as_bytes()) {
        Some(registered) if registered == name => {
            let suffix = String::from_utf8_lossy(registered.suffix().as_bytes()).into_owned();
            format!("a domain registered below {suffix}")
        }
        Some(registered) => format!("a name below {}", String::from_utf8_lossy(registered.as_bytes())),
        None => "a public suffix".to_owned(),
    }
}

/// The one of `names` that `name` is, is below, or is above.
fn related<'a>(name: &str, mut names: impl Iterator<Item = &'a str>) -> Option<String> {
    let found = names.find(|it| is_within(name, it) || is_within(it, name));
    found.map(str::to_owned)
}

/// Whether `name` is `domain` or below it.
fn is_within(name: &str, domain: &str) -> bool {
    let at = name.len().checked_sub(domain.len());
    at.is_some_and(|at| name[at..] == *domain && (at == 0 || name.as_bytes()[at - 1] == b'.'))
}

/// A name as names are compared.
fn plain(name: &str) -> String {
    name.trim_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said on a machine `web-1.dc1.corp-name.org` that searches `staff.company.net` and `lab`.
    fn say(name: &str) -> Result<TargetFacts, Box<str>> {
        let dir = tempfile::tempdir().expect("a directory");
        let kernel = dir.path().join("sys/kernel");
        fs::create_dir_all(&kernel).expect("it is our directory");
        fs::write(kernel.join("hostname"), "Web-1.dc1.corp-name.org\n").expect("it is our directory");
        fs::write(kernel.join("domainname"), "(none)\n").expect("it is our directory");
        let resolv_conf = dir.path().join("resolv.conf");
        fs::write(
            &resolv_conf,
            "# search no.com\nnameserver 192.0.2.1\nsearch\tStaff.company.net. lab\n",
        )
        .expect("it is our directory");
        let teller = DomainTeller::new(DomainOptions {
            proc: dir.path().into(),
            resolv_conf,
            host_names: vec!["box.io".to_owned(), "alias".to_owned()],
            protected: vec!["shop.company.com".parse().expect("a domain")],
            needed: vec![("feeds.intel.com".to_owned(), "the feed drop".to_owned())],
        });
        let target = Target::Domain(name.parse().expect("a domain"));
        let found = teller.find(&target, Seen::default());
        assert_eq!(found, teller.look_again(&target));
        assert_eq!(found.target, target);
        found.facts
    }

    #[test]
    fn what_others_depend_on_is_protected() {
        for (name, says) in [
            ("co.uk", "public suffix"),
            ("github.io", "public suffix"),
            ("foo.ck", "public suffix"),
            ("7.0.168.192.in-addr.arpa", "arpa"),
            ("printer.local", "local"),
            ("db.prod.internal", "internal"),
            ("a.root-servers.net", "root-servers.net"),
            ("root-servers.net", "root-servers.net"),
            ("company.com", "shop.company.com is protected"),
            ("shop.company.com", "shop.company.com is protected"),
            ("pay.shop.company.com", "shop.company.com is protected"),
            ("dc1.corp-name.org", "a domain of this machine"),
            ("db.dc1.corp-name.org", "a domain of this machine"),
            ("corp-name.org", "a domain of this machine"),
            ("staff.company.net", "a domain of this machine"),
            ("company.net", "a domain of this machine"),
            ("rack.lab", "lab is a domain of this machine"),
            ("box.io", "a domain of this machine"),
            ("intel.com", "Staunch calls feeds.intel.com (the feed drop)"),
            ("feeds.intel.com", "Staunch calls"),
        ] {
            let facts = say(name).expect("it can be told");
            let why = facts.protected.unwrap_or_else(|| panic!("{name} is not protected"));
            assert!(why.contains(says), "{name}: {why}");
        }
    }

    #[test]
    fn others_are_not() {
        for (name, what) in [
            ("evil.com", "a domain registered below com"),
            ("evil.co.uk", "a domain registered below co.uk"),
            ("c2.evil.com", "a name below evil.com"),
            ("evil.github.io", "a domain registered below github.io"),
            ("evil.nosuchending", "a domain registered below nosuchending"),
            ("notlocal.com", "a domain registered below com"),
            ("local.evil.com", "a name below evil.com"),
            ("c2.intel.com", "a name below intel.com"),
            ("x.feeds.intel.com", "a name below intel.com"),
            ("other.io", "a domain registered below io"),
            ("notshop.company.com", "a name below company.com"),
            ("other.org", "a domain registered below org"),
        ] {
            let facts = say(name).expect("it can be told");
            assert_eq!((facts.protected, &*facts.what), (None, what), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_read_or_is_no_domain_is_not_known() {
        let teller = DomainTeller::new(DomainOptions {
            proc: "/nowhere".into(),
            ..DomainOptions::default()
        });
        let facts = |target: &str| teller.look_again(&target.parse().expect("a target")).facts;
        assert!(facts("domain:evil.com").is_err_and(|why| why.contains("hostname")));
        assert_eq!(facts("host:evil.com"), Err("it is no domain".into()));
        let dir = tempfile::tempdir().expect("a directory");
        let resolv_conf = dir.path().join("resolv.conf");
        let teller = DomainTeller::new(DomainOptions {
            resolv_conf: resolv_conf.clone(),
            ..DomainOptions::default()
        });
        let facts = || teller.look_again(&"domain:evil.com".parse().expect("a target")).facts;
        assert!(facts().is_ok(), "without a resolver nothing is searched");
        fs::write(&resolv_conf, "#".repeat(RESOLV_CONF_BYTES_MAX + 1)).expect("it is our directory");
        assert!(facts().is_err());
        fs::remove_file(&resolv_conf).expect("it is our directory");
        fs::create_dir(&resolv_conf).expect("it is our directory");
        assert!(facts().is_err());
    }
}
