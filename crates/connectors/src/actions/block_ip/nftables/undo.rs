//! Removes elements, and only those with the expected label.

use std::collections::BTreeMap;
use std::net::IpAddr;

use staunch_model::Outcome;
use staunch_netlink::nftables::{DeleteIf, Element, Nft, NftError};
use staunch_ports::UndoRequest;

use super::super::super::{Label, Whose};
use super::super::address_of;
use super::connection::Connection;
use super::error::outcome;
use super::{BATCH_MAX, NftablesIp, ROUNDS_MAX, ReleaseError, not_tried, open, stalled, unsettled};

/// What a try to remove a whole batch at once came to.
enum Removal {
    /// Nothing of ours is left of it; these were removed.
    Done(Vec<IpAddr>),
    /// Somebody changed the ruleset between reading and removing; nothing was removed.
    Overtaken,
}

impl NftablesIp {
    pub(super) fn undo_all(&mut self, requests: &[UndoRequest]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(requests.len());
        for chunk in requests.chunks(BATCH_MAX) {
            if stalled(outcomes.last()) {
                outcomes.extend(chunk.iter().map(|_| not_tried()));
            } else {
                outcomes.extend(self.undo_chunk(chunk));
            }
        }
        outcomes
    }

    fn undo_chunk(&mut self, requests: &[UndoRequest]) -> Vec<Outcome> {
        let wanted: Vec<(IpAddr, String)> = requests
            .iter()
            .map(|it| {
                let label = Label {
                    installation: self.options.installation,
                    transaction: it.transaction,
                };
                (address_of(&it.target), label.to_string())
            })
            .collect();
        for _ in 0..ROUNDS_MAX {
            match self.with(|it| remove_labelled(it, &wanted, || {})) {
                Ok(Removal::Done(removed)) => {
                    if !removed.is_empty() {
                        self.landed(&removed, false);
                    }
                    return vec![Outcome::Landed; requests.len()];
                }
                Ok(Removal::Overtaken) => {}
                Err(error) => return vec![outcome(&error); requests.len()],
            }
        }
        // Somebody changes the ruleset all the time; for one element the moment between reading and removing is short.
        let mut outcomes = Vec::with_capacity(wanted.len());
        for (address, label) in &wanted {
            let outcome = if stalled(outcomes.last()) {
                not_tried()
            } else {
                self.undo_one(*address, label)
            };
            outcomes.push(outcome);
        }
        outcomes
    }

    fn undo_one(&mut self, address: IpAddr, label: &str) -> Outcome {
        match self.with(|it| it.nft.delete_if(address, label)) {
            Ok(DeleteIf::Deleted) => {
                self.landed(&[address], false);
                Outcome::Landed
            }
            Ok(DeleteIf::Absent | DeleteIf::Other { .. }) | Err(NftError::Missing { .. }) => Outcome::Landed,
            Err(NftError::Moved { .. }) => Outcome::DidNotHappen(unsettled(&format!("release {address}"))),
            Err(error) => outcome(&error),
        }
    }
}

/// Removes those of the addresses whose element has the label that goes with it, if the ruleset does not change
/// meanwhile; `meanwhile` happens between reading and removing.
fn remove_labelled(
    connection: &mut Connection,
    wanted: &[(IpAddr, String)],
    meanwhile: impl FnOnce(),
) -> Result<Removal, NftError> {
    let at = connection.nft.generation()?;
    let addresses: Vec<IpAddr> = wanted.iter().map(|(address, _)| *address).collect();
    let found = connection.elements(&addresses)?;
    meanwhile();
    let is_ours = |element: &Option<Element>, label: &str| element.as_ref().is_some_and(|it| it.has_comment(label));
    let mut ours: Vec<IpAddr> = wanted
        .iter()
        .zip(&found)
        .filter(|((_, label), element)| is_ours(element, label))
        .map(|((address, _), _)| *address)
        .collect();
    ours.sort_unstable();
    ours.dedup();
    match connection.nft.delete_elements_at(at, &ours) {
        Ok(()) => Ok(Removal::Done(ours)),
        // An element that expired meanwhile does not change the generation, but is as good as a change.
        Err(NftError::Moved { .. } | NftError::Absent { .. } | NftError::Missing { .. }) => Ok(Removal::Overtaken),
        Err(error) => Err(error),
    }
}

/// How many elements with a label of Staunch there are. A table that is missing holds none.
///
/// # Errors
/// [`ReleaseError`], for want of a better one: nothing was released.
pub fn count_labelled(table: &str, whose: Whose) -> Result<usize, ReleaseError> {
    open(table)
        .and_then(|mut nft| labelled(&mut nft, whose))
        .map(|found| found.len())
        .map_err(|source| ReleaseError {
            table: table.to_owned(),
            released: 0,
            source,
        })
}

/// Deletes every element with a label of Staunch that is meant by `whose`, and returns how many there were.
///
/// The last resort for when the engine cannot be reached: nothing is recorded. A table that is missing holds nothing.
///
/// # Errors
/// [`ReleaseError`], which says how many were released before it.
pub fn release_everything(table: &str, whose: Whose) -> Result<usize, ReleaseError> {
    let mut released = 0;
    let result = open(table).and_then(|mut nft| {
        for _ in 0..ROUNDS_MAX {
            let labelled = labelled(&mut nft, whose)?;
            if labelled.is_empty() {
                return Ok(());
            }
            for (address, label) in &labelled {
                match nft.delete_if(*address, label) {
                    Ok(DeleteIf::Deleted) => released += 1,
                    // The next round sees what became of it.
                    Ok(_) | Err(NftError::Moved { .. } | NftError::Missing { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Err(NftError::Moved {
            doing: "release everything".to_owned(),
        })
    });
    match result {
        Ok(()) => Ok(released),
        Err(source) => Err(ReleaseError {
            table: table.to_owned(),
            released,
            source,
        }),
    }
}

fn labelled(nft: &mut Nft, whose: Whose) -> Result<BTreeMap<IpAddr, String>, NftError> {
    let elements = match nft.list_elements() {
        Err(NftError::Missing { .. }) if !nft.table_present()? => return Ok(BTreeMap::new()),
        elements => elements?,
    };
    let labels = elements.into_iter().filter_map(|it| Some((it.address, it.comment?)));
    Ok(labels
        .filter(|(_, comment)| Label::parse(comment).is_some_and(|label| whose.means(label.installation)))
        .collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use staunch_netlink::namespace::run_in_new_net;
    use staunch_netlink::nftables::{NewElement, TableOptions};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);
    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn element(comment: &str) -> NewElement<'_> {
        NewElement {
            address: ADDRESS,
            timeout: Duration::from_secs(600),
            comment,
        }
    }

    fn an_element_replaced_meanwhile_is_left() {
        let mut connection = Connection::open("staunch", None, TIMEOUT).unwrap();
        let table = TableOptions {
            elements_max: 16,
            track_flows: false,
        };
        connection.nft.ensure_table(table).unwrap();
        connection.nft.add_elements(&[element("ours")]).unwrap();
        let mut other = Nft::open("staunch", TIMEOUT).unwrap();
        let wanted = [(ADDRESS, "ours".to_owned())];
        let removal = remove_labelled(&mut connection, &wanted, || {
            other.delete_elements(&[ADDRESS]).unwrap();
            other.add_elements(&[element("theirs")]).unwrap();
        });
        assert!(matches!(removal.unwrap(), Removal::Overtaken));
        assert!(other.get_element(ADDRESS).unwrap().unwrap().has_comment("theirs"));
        let again = remove_labelled(&mut connection, &wanted, || {}).unwrap();
        assert!(matches!(again, Removal::Done(it) if it.is_empty()));
        assert!(other.get_element(ADDRESS).unwrap().unwrap().has_comment("theirs"));
    }

    #[test]
    fn what_is_replaced_between_reading_and_removing_is_left() {
        let test = "what_is_replaced_between_reading_and_removing_is_left";
        if let Err(error) = run_in_new_net(an_element_replaced_meanwhile_is_left) {
            staunch_testkit::skip(test, &error.to_string());
        }
    }
}
