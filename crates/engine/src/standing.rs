//! How many transactions are in each state, by what they do.

use staunch_model::{ActionKind, StateKind};

/// A count for each kind of action and each state. They change with every step of every transaction, so each has its
/// place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing([[u32; StateKind::ALL.len()]; ActionKind::ALL.len()]);

impl Standing {
    /// The counts that are not zero, by kind and state.
    pub fn iter(&self) -> impl Iterator<Item = (ActionKind, StateKind, u64)> {
        let of_kind = |(kind, counts): (ActionKind, &'_ [u32; StateKind::ALL.len()])| {
            let counts = *counts;
            let counts = StateKind::ALL
                .into_iter()
                .map(move |state| (state, counts[state as usize]));
            counts.map(move |(state, count)| (kind, state, u64::from(count)))
        };
        let kinds = ActionKind::ALL.into_iter().map(|kind| (kind, &self.0[kind as usize]));
        kinds.flat_map(of_kind).filter(|(_, _, count)| *count > 0)
    }

    /// Puts `count` in the place of what was counted.
    pub fn set(&mut self, kind: ActionKind, state: StateKind, count: u32) {
        self.0[kind as usize][state as usize] = count;
    }

    pub(crate) fn add(&mut self, kind: ActionKind, state: StateKind) {
        self.0[kind as usize][state as usize] += 1;
    }

    /// Takes one out that was added.
    pub(crate) fn take(&mut self, kind: ActionKind, state: StateKind) {
        self.0[kind as usize][state as usize] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_and_not_taken_out_is_counted() {
        let mut standing = Standing::default();
        for kind in ActionKind::ALL {
            for state in StateKind::ALL {
                standing.add(kind, state);
            }
        }
        assert_eq!(standing.iter().count(), ActionKind::ALL.len() * StateKind::ALL.len());
        assert!(standing.iter().all(|(_, _, count)| count == 1));
        standing.add(ActionKind::ExecJob, StateKind::Stuck);
        for kind in ActionKind::ALL {
            for state in StateKind::ALL {
                standing.take(kind, state);
            }
        }
        let left: Vec<_> = standing.iter().collect();
        assert_eq!(left, [(ActionKind::ExecJob, StateKind::Stuck, 1)]);
    }
}
