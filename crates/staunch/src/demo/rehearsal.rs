//! A driver that misbehaves on demand, for the demo: around the real one, told by a file what to do next.

use std::path::PathBuf;
use std::time::Duration;

use staunch_model::{Description, Failure, Observation, Outcome, Target};
use staunch_ports::{Action, ExecuteRequest, Owned, UndoRequest};

/// What the file may say.
pub(crate) const LIE: &str = "lie";
/// See [`LIE`]: acts, and then keeps the answer for itself for a minute.
pub(crate) const STALL: &str = "stall";

/// The misbehaving driver.
pub(crate) struct Rehearsal {
    inner: Box<dyn Action>,
    file: PathBuf,
}

impl Rehearsal {
    /// Puts `inner` under the orders of `file`. An absent or empty file means that all goes well.
    pub(crate) fn new(inner: Box<dyn Action>, file: PathBuf) -> Self {
        Self { inner, file }
    }
}

impl Action for Rehearsal {
    fn describe(&self) -> Description {
        self.inner.describe()
    }

    fn observe(&mut self, targets: &[Target]) -> Vec<Result<Observation, Failure>> {
        self.inner.observe(targets)
    }

    fn execute(&mut self, requests: &[ExecuteRequest]) -> Vec<Outcome> {
        let order = std::fs::read_to_string(&self.file).unwrap_or_default();
        match order.trim() {
            LIE => requests.iter().map(|_| Outcome::Landed).collect(),
            STALL => {
                let outcomes = self.inner.execute(requests);
                std::thread::sleep(Duration::from_secs(60));
                outcomes
            }
            _ => self.inner.execute(requests),
        }
    }

    fn undo(&mut self, requests: &[UndoRequest]) -> Vec<Outcome> {
        self.inner.undo(requests)
    }

    fn owned(&mut self) -> Result<Owned, Failure> {
        self.inner.owned()
    }
}
