//! Who tells which kind of target.
//!
//! Never tells anything by itself.

use std::collections::BTreeMap;

use staunch_model::{Aim, Found, Target};
use staunch_ports::{Seen, Targets};

/// For each kind of target, who tells it.
#[derive(Default)]
pub struct ByAim(BTreeMap<Aim, Box<dyn Targets>>);

impl ByAim {
    /// The same, where `teller` tells targets of kind `aim`.
    #[must_use]
    pub fn with(mut self, aim: Aim, teller: impl Targets + 'static) -> Self {
        self.0.insert(aim, Box::new(teller));
        self
    }

    /// True when nobody tells anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn ask(&self, target: &Target, ask: impl FnOnce(&dyn Targets) -> Found) -> Found {
        match self.0.get(&target.aim()) {
            Some(teller) => ask(teller.as_ref()),
            None => Found {
                target: target.clone(),
                facts: Err(format!("acting on {} is not configured here", target.aim().plural()).into()),
            },
        }
    }
}

impl Targets for ByAim {
    fn find(&self, named: &Target, seen: Seen<'_>) -> Found {
        self.ask(named, |it| it.find(named, seen))
    }

    fn look_again(&self, target: &Target) -> Found {
        self.ask(target, |it| it.look_again(target))
    }
}
