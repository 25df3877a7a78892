//! Who carries out an effect: a driver in place, its thread, or whoever preserves, reads health or tells people.
//!
//! Never decides whether an effect may leave: what comes here is a read, or its frame is durable.

use staunch_model::{ActionKind, Effect, Notice};
use staunch_ports::notifier::About;
use staunch_ports::{CollectRequest, ExecuteRequest, UndoRequest};

use super::EventLoop;
use crate::drivers::DriverRequest;
use crate::health::ReadOrder;
use crate::preserve::CollectOrder;
use crate::seat::Seat;

/// The most requests carried out in place at a time; more of them are worth waking the driver's thread, which works
/// while the loop goes on.
const IN_PLACE_MAX: usize = 8;

impl EventLoop {
    /// Carries out what is to be done in place, or sends it to the driver's thread where that cannot be. `None` when
    /// a driver took so long that another thread has the loop now.
    pub(super) fn carry_out(mut self: Box<Self>, seat: &Seat<Box<Self>>) -> Option<Box<Self>> {
        let drivers = self.drivers.clone();
        while let Some((kind, mut batch)) = self.state.in_place.pop_first() {
            let Some(driver) = drivers.borrow(kind) else {
                self.send_all(kind, batch);
                continue;
            };
            match seat.leave(self) {
                Ok(()) => {
                    driver.carry_out(&mut batch);
                    self = seat.fetch()?;
                }
                Err(it) => {
                    self = it;
                    drop(driver);
                    self.send_all(kind, batch);
                }
            }
        }
        Some(self)
    }

    pub(super) fn send_in_place(&mut self) {
        while let Some((kind, batch)) = self.state.in_place.pop_first() {
            self.send_all(kind, batch);
        }
    }

    fn send_all(&self, kind: ActionKind, batch: Vec<DriverRequest>) {
        for request in batch {
            self.drivers.order(kind, request);
        }
    }

    /// Whose the things are that the incident of `notice` is about.
    fn about(&self, notice: &Notice) -> About {
        let around = notice.incident.and_then(|it| self.engine.state().around.get(it));
        About {
            at: self.engine.state().now,
            assets: around.map_or_else(Vec::new, |it| it.assets().to_vec()),
            accounts: around.map_or_else(Vec::new, |it| it.accounts().to_vec()),
        }
    }

    /// Hands `effect` to whoever carries it out, and counts the reads that a local driver is answering. Requests to one
    /// driver are carried out in the order in which they come here.
    pub(super) fn perform(&mut self, effect: Effect) {
        let read = effect.is_read();
        let (kind, request) = match effect {
            Effect::Observe {
                transaction,
                ticket,
                kind,
                target,
                traffic,
                ..
            } => {
                let request = DriverRequest::Observe {
                    transaction,
                    ticket,
                    target,
                    traffic,
                };
                (kind, request)
            }
            Effect::Execute {
                transaction,
                ticket,
                kind,
                target,
                key,
                version,
                hold,
                renewal,
                send_by,
                deadline: _,
            } => {
                let request = ExecuteRequest {
                    transaction,
                    key,
                    target,
                    version,
                    hold,
                    renewal,
                };
                let request = DriverRequest::Execute {
                    ticket,
                    request,
                    send_by,
                };
                (kind, request)
            }
            Effect::Undo {
                label,
                transaction,
                ticket,
                kind,
                target,
                key,
                lease_ended,
                ..
            } => {
                let request = UndoRequest {
                    transaction: label,
                    key,
                    target,
                    lease_ended,
                };
                let request = DriverRequest::Undo {
                    transaction,
                    ticket,
                    request,
                };
                (kind, request)
            }
            Effect::Notify(notice) => {
                let about = self.about(&notice);
                drop(self.notices.send((notice, about)));
                return;
            }
            Effect::Collect {
                evidence,
                incident,
                kind,
                target,
                options,
                playbook,
                playbook_hash,
                deadline,
            } => {
                self.preserver.ask(CollectOrder {
                    kind,
                    transaction: self.engine.state().waiting_for(evidence),
                    request: CollectRequest {
                        evidence,
                        incident,
                        target,
                        options: *options,
                        time_left: deadline.since(self.clock.now()),
                    },
                    deadline,
                    playbook,
                    playbook_hash,
                });
                return;
            }
            Effect::ReadHealth {
                incident,
                watch,
                ticket,
                signal,
                deadline: _,
            } => {
                let order = ReadOrder {
                    incident,
                    watch,
                    ticket,
                };
                self.health.ask(&signal, order);
                return;
            }
        };
        let local = self.engine.state().driver(kind).is_some_and(|driver| driver.local);
        let in_place = &mut self.state.in_place;
        if in_place.contains_key(&kind) || self.drivers.has_time(kind) {
            self.state.reads_out += usize::from(read && local);
            let batch = in_place.entry(kind).or_default();
            batch.push(request);
            if batch.len() > IN_PLACE_MAX {
                let batch = std::mem::take(batch);
                in_place.remove(&kind);
                self.send_all(kind, batch);
            }
        } else {
            let sent = self.drivers.order(kind, request);
            self.state.reads_out += usize::from(sent && read && local);
        }
    }
}
