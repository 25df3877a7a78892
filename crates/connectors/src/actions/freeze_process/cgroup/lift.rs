//! Takes groups away, and gives what is in them back to the groups that they are in.

use std::io;

use super::super::Label;
use super::group::{Group, GroupError};
use super::look::Look;

/// How often a group is emptied before it is left as it is: somebody keeps moving processes in.
const ROUNDS_MAX: usize = 16;

impl Look<'_> {
    /// Lifts every group with `label`, and returns how many there were. All are tried.
    pub(in crate::actions) fn lift(&self, label: &Label) -> Result<usize, GroupError> {
        let mut lifted = 0;
        let mut failed = None;
        // Those below others come first, so that nothing has to be moved twice.
        let mut groups: Vec<&Group> = self.groups(label).collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.path().components().count()));
        for group in groups {
            match lift(group) {
                Ok(()) => lifted += 1,
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(lifted), Err)
    }
}

/// Gives back what is in `group`, and removes it. One that is not there is lifted.
pub(super) fn lift(group: &Group) -> Result<(), GroupError> {
    match empty(group) {
        Err(error) if error.is_gone() => Ok(()),
        Err(error) => {
            // Where it cannot be given back, it can at least go on.
            group.set_frozen(false)?;
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

fn empty(group: &Group) -> Result<(), GroupError> {
    let parent = group.parent();
    let mut busy = None;
    for _ in 0..ROUNDS_MAX {
        for below in group.children()? {
            raise(&below, &parent)?;
        }
        give(group, &parent)?;
        // It is empty: whoever comes in now goes on.
        group.set_frozen(false)?;
        match group.remove() {
            Err(error) if error.is_busy() => busy = Some(error),
            removed => return removed,
        }
    }
    let kept = || io::Error::other("somebody keeps moving processes into it");
    Err(busy.unwrap_or_else(|| GroupError::new("remove", group.path(), kept())))
}

/// Moves every process of `from` to `to`.
fn give(from: &Group, to: &Group) -> Result<(), GroupError> {
    for pid in from.processes()? {
        match to.take(pid) {
            Err(error) if error.is_ended() => {}
            given => given?,
        }
    }
    Ok(())
}

/// Moves a group with a label, which was made in one that is to be lifted, to `parent`: what it holds stays frozen. A
/// group that is not Staunch's is in the way.
fn raise(group: &Group, parent: &Group) -> Result<(), GroupError> {
    if group.label().is_none() {
        let source = io::Error::from_raw_os_error(nix::libc::EBUSY);
        return Err(GroupError::new("move", group.path(), source));
    }
    let place = parent.child(&group.name());
    let frozen = group.is_set()?;
    place.make()?;
    if place.label().is_none() {
        // Somebody who may make groups there was quicker.
        let source = io::Error::from_raw_os_error(nix::libc::EBUSY);
        return Err(GroupError::new("use", place.path(), source));
    }
    place.set_frozen(frozen)?;
    for below in group.children()? {
        raise(&below, &place)?;
    }
    give(group, &place)?;
    group.remove()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_is_not_there_is_lifted() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        assert!(lift(&Group::at(folder.path().join("gone"))).is_ok());
    }
}
