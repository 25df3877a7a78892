//! Adds elements, and moves the end of those that are there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use staunch_model::{Failure, FailureKind, Outcome, Owner};
use staunch_netlink::nftables::{Element, NewElement, NftError};
use staunch_ports::ExecuteRequest;

use super::super::super::{Label, hold};
use super::super::{HOLD_TOLERANCE, address_of, conflict, verb};
use super::connection::set_of;
use super::error::{failure, outcome};
use super::{BATCH_MAX, NftablesIp, ROUNDS_MAX, not_tried, span, stalled as is_stalled, unsettled};

/// The requests of one call and the answers they have so far.
struct Answers<'a> {
    requests: &'a [ExecuteRequest],
    outcomes: Vec<Option<Outcome>>,
}

impl Answers<'_> {
    fn address(&self, index: usize) -> IpAddr {
        address_of(&self.requests[index].target)
    }

    fn set(&mut self, index: usize, outcome: Outcome) {
        self.outcomes[index] = Some(outcome);
    }

    fn set_all(&mut self, indices: &[usize], outcome: &Outcome) {
        for index in indices {
            self.set(*index, outcome.clone());
        }
    }
}

impl NftablesIp {
    pub(super) fn execute_all(&mut self, requests: &[ExecuteRequest]) -> Vec<Outcome> {
        let mut answers = Answers {
            requests,
            outcomes: vec![None; requests.len()],
        };
        let mut new = Vec::with_capacity(requests.len());
        let mut stalled = false;
        for (index, request) in requests.iter().enumerate() {
            if let Some(refused) = hold::refused(verb(self.kind()), &request.target, request.hold) {
                answers.set(index, Outcome::DidNotHappen(refused));
            } else if request.renewal && stalled {
                answers.set(index, not_tried());
            } else if request.renewal {
                let outcome = self.renew(request);
                stalled = is_stalled(Some(&outcome));
                answers.set(index, outcome);
            } else {
                new.push(index);
            }
        }
        // An element in a set that no rule looks at would be a containment in name only.
        let broken = self.checked.is_some_and(|it| !it.intact);
        match (!new.is_empty() && broken).then(|| self.ensure_table()) {
            Some(Err(error)) => answers.set_all(&new, &outcome(&error)),
            _ => {
                for chunk in new.chunks(BATCH_MAX) {
                    if stalled {
                        answers.set_all(chunk, &not_tried());
                    } else {
                        self.add(&mut answers, chunk);
                        stalled = chunk.iter().any(|it| is_stalled(answers.outcomes[*it].as_ref()));
                    }
                }
            }
        }
        let verb = verb(self.kind());
        let kept_changing = |request: &ExecuteRequest| unsettled(&format!("{verb} {}", request.target));
        let outcomes = answers.outcomes.into_iter().zip(requests);
        outcomes
            .map(|(it, request)| it.unwrap_or_else(|| Outcome::DidNotHappen(kept_changing(request))))
            .collect()
    }

    /// Adds elements in one batch, and again without those that stood in its way.
    fn add(&mut self, answers: &mut Answers<'_>, indices: &[usize]) {
        let mut open = indices.to_vec();
        let mut remade = false;
        for _ in 0..ROUNDS_MAX {
            // One request for each address; a second one finds the element of the first in the next round.
            let mut taken = BTreeSet::new();
            let (batch, rest): (Vec<usize>, Vec<usize>) =
                open.iter().copied().partition(|it| taken.insert(answers.address(*it)));
            if batch.is_empty() {
                return;
            }
            open = match self.add_batch(answers, &batch) {
                Ok(()) => {
                    answers.set_all(&batch, &Outcome::Landed);
                    rest
                }
                Err(NftError::Exists { .. }) => match self.settle_present(answers, &batch) {
                    Ok(absent) => [absent, rest].concat(),
                    Err(error) => return answers.set_all(&open, &Outcome::DidNotHappen(failure(&error))),
                },
                Err(error @ NftError::Full { address }) => {
                    let first = batch.iter().position(|it| answers.address(*it) == address).unwrap_or(0);
                    let same_set = |it: &usize| set_of(answers.address(*it)) == set_of(address);
                    let (full, fits): (Vec<usize>, Vec<usize>) = batch[first..].iter().copied().partition(same_set);
                    answers.set_all(&full, &outcome(&error));
                    [&batch[..first], &fits, &rest].concat()
                }
                Err(NftError::Missing { .. }) if !remade => {
                    remade = true;
                    if let Err(error) = self.ensure_table() {
                        return answers.set_all(&open, &outcome(&error));
                    }
                    open
                }
                Err(error) => return answers.set_all(&open, &outcome(&error)),
            };
        }
    }

    fn add_batch(&mut self, answers: &Answers<'_>, batch: &[usize]) -> Result<(), NftError> {
        let labels: Vec<String> = batch.iter().map(|it| self.label(&answers.requests[*it])).collect();
        let elements: Vec<NewElement<'_>> = batch
            .iter()
            .zip(&labels)
            .map(|(index, comment)| NewElement {
                address: answers.address(*index),
                timeout: answers.requests[*index].hold.to_std(),
                comment,
            })
            .collect();
        self.with(|it| it.nft.add_elements(&elements))?;
        let addresses: Vec<IpAddr> = elements.iter().map(|it| it.address).collect();
        self.landed(&addresses, true);
        Ok(())
    }

    /// Answers those whose address has an element already, and returns the others.
    fn settle_present(&mut self, answers: &mut Answers<'_>, batch: &[usize]) -> Result<Vec<usize>, NftError> {
        let addresses: Vec<IpAddr> = batch.iter().map(|it| answers.address(*it)).collect();
        let found = self.with(|it| it.elements(&addresses))?;
        let mut absent = Vec::new();
        for (index, element) in batch.iter().zip(found) {
            match element {
                Some(element) => {
                    let outcome = self.accept(&answers.requests[*index], &element);
                    answers.set(*index, outcome);
                }
                None => absent.push(*index),
            }
        }
        Ok(absent)
    }

    /// Answers a request whose address has an element already: our own from an earlier attempt is as good as new.
    fn accept(&mut self, request: &ExecuteRequest, element: &Element) -> Outcome {
        match Label::owner(element.comment.as_deref(), self.options.installation) {
            Owner::Ours(transaction) if transaction == request.transaction => {
                let ends_early = element
                    .expires
                    .is_none_or(|it| span(it) + HOLD_TOLERANCE < request.hold);
                if ends_early {
                    self.renew(request)
                } else {
                    Outcome::Landed
                }
            }
            Owner::Ours(transaction) => Outcome::DidNotHappen(conflict(
                self.kind(),
                &request.target,
                &format!("an element of {transaction} is in place"),
            )),
            Owner::Foreign(label) => Outcome::DidNotHappen(conflict(
                self.kind(),
                &request.target,
                &format!("somebody else's element is in place ({label})"),
            )),
        }
    }

    /// Moves the end of our element to one hold from now.
    fn renew(&mut self, request: &ExecuteRequest) -> Outcome {
        let (target, label) = (&request.target, self.label(request));
        // How many changes a renewal makes depends on the kernel, so the table is checked again after it.
        self.checked = self.checked.filter(|it| !it.intact);
        let renewed = self.with(|it| it.nft.renew(address_of(target), &label, request.hold.to_std()));
        match renewed {
            Ok(element)
                if element
                    .expires
                    .is_some_and(|it| span(it) + HOLD_TOLERANCE >= request.hold) =>
            {
                Outcome::Landed
            }
            Ok(_) => Outcome::DidNotHappen(Failure::new(
                FailureKind::Unavailable,
                &format!(
                    "cannot renew the {} of {target}: the kernel kept its old end",
                    verb(self.kind())
                ),
            )),
            Err(NftError::Absent { .. } | NftError::Missing { .. }) => {
                Outcome::DidNotHappen(conflict(self.kind(), target, "nothing is in place to be renewed"))
            }
            Err(NftError::Foreign { comment, .. }) => Outcome::DidNotHappen(conflict(
                self.kind(),
                target,
                &format!(
                    "the element in place is not ours to renew ({})",
                    comment.unwrap_or_default()
                ),
            )),
            // It may have been the reading back that failed.
            Err(error @ NftError::Failed { .. }) => Outcome::InDoubt(failure(&error)),
            Err(error) => outcome(&error),
        }
    }

    fn label(&self, request: &ExecuteRequest) -> String {
        Label {
            installation: self.options.installation,
            transaction: request.transaction,
        }
        .to_string()
    }
}
