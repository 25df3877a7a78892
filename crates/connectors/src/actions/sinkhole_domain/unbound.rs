//! Sinkholes a domain with a local zone of Unbound, over its control channel.
//!
//! # Expected flow
//! List the local data and the local zones, put our label at the domain as a TXT record, which makes a zone there that
//! lets all names through, and change that zone's type: `always_nxdomain`, or `redirect`, after which an address is put
//! beside the label. Undo removes the zone. To look is to list again and, where the resolver's address is known, to ask
//! it a question of DNS.
//!
//! # Guarantees
//! Executing twice equals executing once. The label is there before the zone denies anything, so that whatever
//! interrupts, no sinkhole is left without one. A zone without a label of Staunch at the domain, above or below it is
//! somebody else's: it is neither changed nor removed. Undo removes only what has this transaction's label; data that
//! somebody else has put below the domain stay. Local zones come before the cache, so that nothing has to be flushed:
//! it holds at once, also for names that were looked up before, and what was cached is answered again at once. The
//! answers carry no SOA, and no resolver keeps them (RFC 2308, section 5); an address is given for
//! [`ANSWER_TTL_SECONDS`].
//!
//! # Assumptions
//! The control channel is a Unix socket (`control-interface: /run/unbound.ctl`), where Unbound wants no certificate.
//! Who may use it may change everything about the resolver.
//!
//! # Caveats
//! Unbound does not count down: `expires_in` is `None`, and while Staunch is not there nothing lifts it. It keeps
//! nothing: after a restart or a reload all is gone, and `owned` says so. It cannot be told to change something only
//! if: a zone that somebody else makes at the domain between the look and the act is changed. A command that it reads
//! late is carried out late. A name elsewhere that is an alias (CNAME) into the domain is still followed, and clients
//! in a `view` without `view-first` have zones of their own. Listing costs Unbound 7 to 15 microseconds a zone in the
//! thread that answers (1.17, 200,000 zones, 2026-11-26): keep long block lists in RPZ. A control channel over TCP,
//! which needs certificates, is left out. With an address, who may ask the resolver for TXT can read the label.
//!
//! # Errors
//! `Denied` (this user may not use the socket), `Unavailable` (no socket, nobody there, or no answer to a question of
//! DNS), `Conflict` (somebody else's zone or data, or another transaction's), `Invalid` (Unbound says no), `Full` (it
//! lists more than is read); `InDoubt` when a command was sent and not answered in time.

mod control;
pub mod listed;
mod probe;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use staunch_model::{
    Description, DomainName, Failure, FailureKind, InstallationId, Observation, Outcome, Owner, Permissions, Presence,
    Target,
};
use staunch_ports::{Action, ExecuteRequest, Former, Owned, OwnedTarget, UndoRequest};

use super::super::former::lifted_and_read;
use super::super::{Label, Whose, hold};
use super::{description, domain_of, refused};
use control::{Control, ControlError};
use listed::{Lift, Listed, Standing, Unreadable};
use probe::Said;

/// For how long others may keep the address that a sinkhole answers with. Whoever keeps it goes there that much longer.
pub const ANSWER_TTL_SECONDS: u32 = 5;

/// The longest time after the look in which one call begins with a request.
const CALL_MAX: Duration = Duration::from_secs(4);

/// The type of a zone in which no name exists, whatever its data say.
const DENY: &str = "always_nxdomain";

/// The type of a zone in which every name has the data of the zone's own.
const REDIRECT: &str = "redirect";

/// The type of a zone that lets names without data through; what Unbound makes for data without a zone.
const TRANSPARENT: &str = "transparent";

/// What a sinkholed name resolves to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sinkhole {
    /// Nothing: it does not exist.
    #[default]
    NoSuchName,
    /// This address, and nothing but it.
    Address(IpAddr),
}

impl Sinkhole {
    const fn zone(self) -> &'static str {
        match self {
            Self::NoSuchName => DENY,
            Self::Address(_) => REDIRECT,
        }
    }
}

/// How the driver works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnboundOptions {
    /// Whose sinkholes are ours.
    pub installation: InstallationId,
    /// The socket of the control channel. Default: `/run/unbound.ctl`.
    pub control: PathBuf,
    /// What sinkholed names resolve to. Default: nothing.
    pub answer: Sinkhole,
    /// Where the resolver answers, to be asked whether a sinkhole holds. Default: it is not asked.
    pub resolver: Option<SocketAddr>,
    /// How long a change may take. Default: 1 s.
    pub timeout: Duration,
    /// How long each of the two lists may take that a look reads. Default: 2 s.
    pub list_timeout: Duration,
}

impl UnboundOptions {
    /// The defaults for `installation`.
    #[must_use]
    pub fn new(installation: InstallationId) -> Self {
        Self {
            installation,
            control: PathBuf::from("/run/unbound.ctl"),
            answer: Sinkhole::default(),
            resolver: None,
            timeout: Duration::from_secs(1),
            list_timeout: Duration::from_secs(2),
        }
    }
}

/// The driver. It keeps nothing that a new one would not find.
#[derive(Debug)]
pub struct UnboundSinkhole {
    options: UnboundOptions,
    control: Control,
    /// What other installations had there when everything was last listed.
    former: Vec<Former>,
}

impl UnboundSinkhole {
    /// Makes a driver. It opens nothing before it is asked.
    #[must_use]
    pub fn new(options: UnboundOptions) -> Self {
        let control = Control {
            path: options.control.clone(),
            timeout: options.timeout,
            list_timeout: options.list_timeout,
        };
        Self {
            options,
            control,
            former: Vec::new(),
        }
    }

    /// How many domains are held with a label of Staunch that is meant by `whose`.
    ///
    /// # Errors
    /// When Unbound does not list them.
    pub fn count_labelled(&self, whose: Whose) -> Result<usize, Failure> {
        let listed = self.look([])?;
        Ok(listed
            .labels()
            .filter(|(_, it, _)| whose.means(it.installation))
            .count())
    }

    /// Lifts everything with a label of Staunch that is meant by `whose`, and returns how many domains were held.
    ///
    /// The last resort for when the engine cannot be reached: nothing is recorded.
    ///
    /// # Errors
    /// The first failure, when not all of it could be lifted; the others are tried all the same.
    pub fn release_everything(&self, whose: Whose) -> Result<u64, Failure> {
        let first = self.look([])?;
        let meant: Vec<(&DomainName, Label)> = first
            .labels()
            .filter(|(_, it, _)| whose.means(it.installation))
            .map(|(domain, label, _)| (domain, label))
            .collect();
        if meant.is_empty() {
            return Ok(0);
        }
        let mut listed = self.look(meant.iter().map(|(domain, _)| *domain))?;
        let (mut released, mut failed) = (0, None);
        for (domain, label) in meant {
            match self.lift(&mut listed, domain, label) {
                Outcome::Landed => released += 1,
                Outcome::DidNotHappen(failure) | Outcome::InDoubt(failure) => drop(failed.get_or_insert(failure)),
            }
        }
        failed.map_or(Ok(released), Err)
    }

    /// What Unbound lists that concerns `domains`, and all that has a label.
    fn look<'a>(&self, domains: impl IntoIterator<Item = &'a DomainName>) -> Result<Listed, Failure> {
        let mut listed = Listed::of(domains);
        let list = |what: &'static str, read: &mut dyn FnMut(control::Answer) -> Result<(), Unreadable>| {
            let answer = self.control.list(what)?;
            read(answer).map_err(|error| match error {
                Unreadable::Io(source) => ControlError::Exchange { source },
                Unreadable::TooMuch(bound) => ControlError::TooMuch(bound),
                Unreadable::Garbled => ControlError::Garbled(what),
            })
        };
        list("list_local_data", &mut |it| listed.read_data(it))
            .and_then(|()| list("list_local_zones", &mut |it| listed.read_zones(it)))
            .map_err(|error| error.failure("see what the resolver holds"))?;
        Ok(listed)
    }

    /// Whether the resolver itself answers for each of `domains` as a zone of its type does; true where it is not to be
    /// asked.
    fn holds(&self, domains: &[(&DomainName, &str)]) -> Vec<Result<bool, Failure>> {
        let Some(resolver) = self.options.resolver.filter(|_| !domains.is_empty()) else {
            return vec![Ok(true); domains.len()];
        };
        let unavailable = |why: &str| {
            let what = format!("cannot ask the resolver at {resolver} whether the sinkhole holds: {why}");
            Failure::new(FailureKind::Unavailable, &what)
        };
        let names: Vec<&DomainName> = domains.iter().map(|(domain, _)| *domain).collect();
        match probe::ask(resolver, &names) {
            Ok(said) => {
                let each = said.into_iter().zip(domains).map(|(said, (_, kind))| match said {
                    Some(said) => Ok(said
                        == if *kind == REDIRECT {
                            Said::Local
                        } else {
                            Said::NoSuchName
                        }),
                    None => Err(unavailable("it did not answer")),
                });
                each.collect()
            }
            Err(error) => vec![Err(unavailable(&error.to_string())); domains.len()],
        }
    }

    fn observe_all(&self, domains: &[&DomainName]) -> Result<Vec<Result<Observation, Failure>>, Failure> {
        let listed = self.look(domains.iter().copied())?;
        let standings: Vec<Standing> = domains.iter().map(|it| listed.standing(it)).collect();
        let kind_of = |standing: &Standing| match standing {
            Standing::Held { kind, .. } => kind.clone(),
            Standing::Within { kind, .. } => Some(kind.clone()),
            Standing::Absent | Standing::Foreign(_) => None,
        };
        let kinds: Vec<_> = standings.iter().map(kind_of).collect();
        let sinkholed = domains.iter().zip(&kinds).filter_map(|(domain, kind)| {
            let kind = kind.as_deref().filter(|it| is_sinkhole(it))?;
            Some((*domain, kind))
        });
        let mut holds = self.holds(&sinkholed.collect::<Vec<_>>()).into_iter();
        let each = standings.into_iter().zip(&kinds).map(|(standing, kind)| {
            let ours = |label: Label| Label::owner(Some(&label.to_string()), self.options.installation);
            let holds = match kind.as_deref() {
                Some(kind) if is_sinkhole(kind) => holds.next().unwrap_or(Ok(false)),
                _ => Ok(false),
            };
            let (owner, enforcing) = match standing {
                Standing::Absent => (None, true),
                Standing::Held { label, .. } | Standing::Within { label, .. } => (Some(ours(label)), holds?),
                Standing::Foreign(text) => (Some(Label::owner(Some(&text), self.options.installation)), true),
            };
            Ok(Observation {
                presence: owner.map_or(Presence::Absent, |owner| Presence::Present {
                    owner,
                    expires_in: None,
                }),
                enforcing,
                version: 0,
                capacity: None,
                stopped_packets: None,
            })
        });
        Ok(each.collect())
    }

    fn execute_one(&self, listed: &mut Listed, request: &ExecuteRequest) -> Outcome {
        let target = &request.target;
        if let Some(failure) = hold::refused("sinkhole", target, request.hold) {
            return Outcome::DidNotHappen(failure);
        }
        let domain = domain_of(target);
        let conflict = |why: String| Outcome::DidNotHappen(refused(target, FailureKind::Conflict, &why));
        let own = Label {
            installation: self.options.installation,
            transaction: request.transaction,
        };
        match listed.standing(domain) {
            Standing::Held { label, kind } if label == own => match kind {
                // One that was made with another answer keeps it.
                Some(kind) if *kind == *DENY || (*kind == *REDIRECT && self.is_whole(listed, domain)) => {
                    Outcome::Landed
                }
                // It was interrupted, or somebody has changed the zone.
                Some(_) => self.sinkhole(listed, domain, own, true),
                None => conflict("somebody else's zone is in the way".to_owned()),
            },
            Standing::Held { label, .. } | Standing::Within { label, .. } => match self.owner(label) {
                Owner::Ours(transaction) => conflict(format!("{transaction} holds it")),
                Owner::Foreign(label) => conflict(format!("{label} holds it")),
            },
            Standing::Foreign(what) => conflict(format!("there is {what}")),
            Standing::Absent if request.renewal => conflict("it is not sinkholed any more".to_owned()),
            Standing::Absent => self.sinkhole(listed, domain, own, false),
        }
    }

    fn owner(&self, label: Label) -> Owner {
        Label::owner(Some(&label.to_string()), self.options.installation)
    }

    /// Makes the zone that denies `domain`, its label first.
    fn sinkhole(&self, listed: &mut Listed, domain: &DomainName, label: Label, is_labelled: bool) -> Outcome {
        let doing = format!("sinkhole {}", Target::Domain(domain.clone()));
        let zone = self.options.answer.zone();
        let mut commands = Vec::with_capacity(3);
        if !is_labelled {
            commands.push(format!("local_data {domain}. {ANSWER_TTL_SECONDS} IN TXT \"{label}\""));
        }
        commands.push(format!("local_zone {domain}. {zone}"));
        // Last, so that nothing of ours but the label is ever in a zone that lets names through: without it nothing is
        // there.
        if let Sinkhole::Address(address) = self.options.answer {
            let kind = if address.is_ipv4() { "A" } else { "AAAA" };
            commands.push(format!("local_data {domain}. {ANSWER_TTL_SECONDS} IN {kind} {address}"));
        }
        for (at, command) in commands.iter().enumerate() {
            let Err(error) = self.control.change(command) else {
                let is_denied = command.starts_with("local_zone ") || at + 1 == commands.len();
                listed.enter(domain, label, if is_denied { zone } else { TRANSPARENT });
                continue;
            };
            return match error.outcome(&doing) {
                // What is there by now is taken back; where that fails it is in doubt.
                Outcome::DidNotHappen(failure) if at > 0 => match self.lift(listed, domain, label) {
                    Outcome::Landed => Outcome::DidNotHappen(failure),
                    Outcome::DidNotHappen(_) | Outcome::InDoubt(_) => Outcome::InDoubt(failure),
                },
                outcome => outcome,
            };
        }
        Outcome::Landed
    }

    /// Whether what is at `domain`, which is denied, is all that belongs to the answer.
    fn is_whole(&self, listed: &Listed, domain: &DomainName) -> bool {
        matches!(self.options.answer, Sinkhole::NoSuchName) || listed.has_address(domain)
    }

    /// Removes what has `label` at `domain`, and nothing else.
    fn lift(&self, listed: &mut Listed, domain: &DomainName, label: Label) -> Outcome {
        let target = Target::Domain(domain.clone());
        let doing = format!("lift the sinkhole of {target}");
        match listed.standing(domain) {
            Standing::Held { label: there, .. } if there == label => {}
            // With two labels there, which of them is whose data cannot be told.
            Standing::Foreign(what) if what.contains(&label.to_string()) => {
                let what = format!("cannot {doing}: there is {what}");
                return Outcome::DidNotHappen(Failure::new(FailureKind::Conflict, &what));
            }
            _ => return Outcome::Landed,
        }
        let lift = listed.lift(domain);
        let commands = match lift {
            Lift::Zone => vec![format!("local_zone_remove {domain}.")],
            Lift::Label => vec![
                format!("local_zone {domain}. {TRANSPARENT}"),
                format!("local_data_remove {domain}."),
            ],
            Lift::Data => vec![format!("local_data_remove {domain}.")],
            Lift::InTheWay => {
                let what = format!(
                    "cannot {doing}: somebody else has put data at that name, which would be removed too; \
                     `unbound-control list_local_data` shows them"
                );
                return Outcome::DidNotHappen(Failure::new(FailureKind::Conflict, &what));
            }
        };
        for (at, command) in commands.iter().enumerate() {
            if let Err(error) = self.control.change(command) {
                return match error.outcome(&doing) {
                    // What came before has taken effect.
                    Outcome::DidNotHappen(failure) if at > 0 => Outcome::InDoubt(failure),
                    outcome => outcome,
                };
            }
        }
        listed.leave(domain, lift);
        Outcome::Landed
    }

    fn read_owned(&mut self) -> Result<Owned, Failure> {
        let listed = self.look([])?;
        let mut targets = Vec::new();
        let mut former = Vec::new();
        let mut first = None;
        for (domain, label, kind) in listed.labels() {
            let target = Target::Domain(domain.clone());
            if label.installation != self.options.installation {
                former.push(Former {
                    target,
                    label: label.to_string().into(),
                    expires_in: None,
                });
            } else if let Some(kind) = kind.filter(|it| is_sinkhole(it)) {
                first.get_or_insert((domain, kind));
                targets.push(OwnedTarget {
                    transaction: label.transaction,
                    target,
                });
            }
        }
        // One says for all whether the resolver that answers is the one that lists them.
        let first = first.into_iter().collect::<Vec<_>>();
        let enforcing = self.holds(&first).into_iter().next().unwrap_or(Ok(true))?;
        self.former = former;
        Ok(Owned {
            targets,
            enforcing,
            unread: Vec::new(),
        })
    }

    /// Has each of `requests` done, of which `domains` are known before, until there is no more time.
    fn each<R>(
        &self,
        requests: &[R],
        domains: impl Iterator<Item = DomainName>,
        one: impl Fn(&Self, &mut Listed, &R) -> Outcome,
    ) -> Vec<Outcome> {
        if requests.is_empty() {
            return Vec::new();
        }
        let domains: Vec<DomainName> = domains.collect();
        let mut listed = match self.look(&domains) {
            Ok(listed) => listed,
            Err(failure) => return vec![Outcome::DidNotHappen(failure); requests.len()],
        };
        let until = Instant::now() + CALL_MAX;
        let each = requests.iter().map(|request| {
            if Instant::now() < until {
                one(self, &mut listed, request)
            } else {
                let what = "not tried: earlier requests of the same batch took too long";
                Outcome::DidNotHappen(Failure::new(FailureKind::Unavailable, what))
            }
        });
        each.collect()
    }
}

/// Whether a zone of this type denies its names, or gives them an address of ours.
fn is_sinkhole(kind: &str) -> bool {
    [DENY, REDIRECT].contains(&kind)
}

impl Action for UnboundSinkhole {
    fn describe(&self) -> Description {
        let socket: Box<str> = format!(
            "write to Unbound's control socket, {}: root, or its group",
            staunch_model::Printable(&self.options.control.display().to_string())
        )
        .into();
        let permissions = Permissions {
            act: socket.clone(),
            check: socket.clone(),
            undo: socket,
        };
        // The last request may need three changes, and two to be taken back.
        let in_flight_max = self.options.list_timeout * 2 + CALL_MAX + self.options.timeout * 5;
        description("unbound", in_flight_max, permissions)
    }

    fn observe(&mut self, targets: &[Target]) -> Vec<Result<Observation, Failure>> {
        if targets.is_empty() {
            return Vec::new();
        }
        let domains: Vec<&DomainName> = targets.iter().map(domain_of).collect();
        self.observe_all(&domains)
            .unwrap_or_else(|failure| vec![Err(failure); targets.len()])
    }

    fn execute(&mut self, requests: &[ExecuteRequest]) -> Vec<Outcome> {
        let domains = requests.iter().map(|it| domain_of(&it.target).clone());
        self.each(requests, domains, |driver, listed, request| {
            driver.execute_one(listed, request)
        })
    }

    fn undo(&mut self, requests: &[UndoRequest]) -> Vec<Outcome> {
        let domains = requests.iter().map(|it| domain_of(&it.target).clone());
        self.each(requests, domains, |driver, listed, request| {
            let label = Label {
                installation: driver.options.installation,
                transaction: request.transaction,
            };
            driver.lift(listed, domain_of(&request.target), label)
        })
    }

    fn owned(&mut self) -> Result<Owned, Failure> {
        self.read_owned()
    }

    fn former(&self) -> Vec<Former> {
        self.former.clone()
    }

    fn lift_former(&mut self) -> Result<u64, Failure> {
        let lifted = self.release_everything(Whose::Others(self.options.installation));
        lifted_and_read(self, lifted)
    }
}

#[cfg(test)]
mod tests;
