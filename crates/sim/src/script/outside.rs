//! What happens from outside: events, operators, and somebody else in the same world.
//!
//! Never reaches into the engine but by an input.

use staunch_model::{ActionKind, Command, Input, Operator, Owner, ReleaseScope, Target};

use super::{Ask, Happening, Script, Seen};

impl Script {
    pub(super) fn happen(&mut self, happening: Happening) {
        // Senders and operators try again when nobody answers.
        if !self.up
            && matches!(
                happening,
                Happening::Event { .. }
                    | Happening::EventInContext { .. }
                    | Happening::ContextTable(_)
                    | Happening::Found(_)
                    | Happening::Ask(_)
            )
        {
            self.waiting.push(happening);
            return;
        }
        match happening {
            Happening::Event { event, matches } => self.input(Input::Event { event, matches }),
            Happening::EventInContext {
                event,
                matches,
                context,
            } => self.input(Input::of_event(event, matches, Some(context))),
            Happening::ContextTable(table) => self.input(Input::ContextTable(table)),
            Happening::Found(found) => self.input(Input::Found(found)),
            Happening::Ask(ask) => self.ask(&ask),
            Happening::Tamper(target, label) => {
                let what = match &label {
                    Some(_) => format!("puts something of theirs at {target}"),
                    None => format!("removes what is at {target}"),
                };
                let owner = label.map(Owner::Foreign);
                for kind in self.kinds_at(&target) {
                    self.world.tamper((kind, target.clone()), owner.clone(), self.now);
                }
                self.see(Seen::Touched(what));
            }
            Happening::Flush => {
                self.world.flush(self.now);
                self.see(Seen::Touched("removes everything".to_owned()));
            }
            Happening::Enforcing(enforcing) => {
                self.world.enforcing = enforcing;
                let what = if enforcing {
                    "restores the rules"
                } else {
                    "removes the rules"
                };
                self.see(Seen::Touched(what.to_owned()));
            }
            Happening::Room(room) => {
                self.world.capacity_max = room;
                self.see(Seen::Touched(format!("leaves room for {room} objects")));
            }
            Happening::Signal(signal, healthy) => {
                let says = match healthy {
                    Some(true) => "is healthy",
                    Some(false) => "is not healthy",
                    None => "cannot be read",
                };
                self.see(Seen::Touched(format!("sees to it that {signal} {says}")));
                self.signals.insert(signal, healthy);
            }
            Happening::Crash(outage) => self.crash(outage),
        }
    }

    fn ask(&mut self, ask: &Ask) {
        let Some(command) = self.command(ask) else {
            return;
        };
        let by = Operator {
            name: "an operator".into(),
            from: "the test".into(),
            reason: "".into(),
        };
        self.input(Input::Operator { by, command });
    }

    /// What `ask` means now; `None` where it means nothing, which is a misfit.
    fn command(&mut self, ask: &Ask) -> Option<Command> {
        let target = match ask {
            Ask::ReleaseAll => return Some(Command::Release(ReleaseScope::All)),
            Ask::Mode(mode) => return Some(Command::SetMode(*mode)),
            Ask::Approve(target)
            | Ask::Deny(target)
            | Ask::Release(target)
            | Ask::Renew(target, _)
            | Ask::Recover(target)
            | Ask::StopRecovery(target) => target,
        };
        let Some((id, incident)) = self.newest(target).map(|it| (it.id, it.incident)) else {
            self.misfits.push(format!(
                "an operator asks for something at {target}, and no transaction has been there"
            ));
            return None;
        };
        Some(match ask {
            Ask::Approve(_) => Command::Approve(id),
            Ask::Deny(_) => Command::Deny(id),
            Ask::Renew(_, lease) => Command::Renew {
                transaction: id,
                lease: *lease,
                shorten: false,
            },
            Ask::Recover(_) => Command::Recover(incident),
            Ask::StopRecovery(_) => Command::StopRecovery(incident),
            Ask::Release(_) | Ask::ReleaseAll | Ask::Mode(_) => Command::Release(ReleaseScope::Transaction(id)),
        })
    }

    /// The kinds of action that may be in force at `target`.
    fn kinds_at(&self, target: &Target) -> Vec<ActionKind> {
        let drivers = self.setting.policy.drivers.iter().map(|driver| driver.kind);
        drivers.filter(|kind| kind.aims_at() == target.aim()).collect()
    }

    /// Whose what is in place at `target` is; ours before that of others.
    #[must_use]
    pub fn owner(&self, target: &Target) -> Option<&Owner> {
        let owners = self.kinds_at(target).into_iter();
        let owners = owners.filter_map(|kind| self.world.get(&(kind, target.clone())).map(|it| &it.owner));
        owners.min_by_key(|owner| !matches!(owner, Owner::Ours(_)))
    }
}
