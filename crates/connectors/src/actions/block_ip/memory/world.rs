//! The world behind the memory driver: what is in it, its time, and how it misbehaves when told to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use staunch_model::{Failure, FailureKind, Outcome, Span, Target, Timestamp};
use staunch_ports::Clock;

use super::super::address_of;

/// How many objects of each address family a world takes unless told otherwise.
const OBJECTS_MAX: u64 = 131_072;

/// What a driver can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// See [`staunch_ports::Action::observe`].
    Observe,
    /// See [`staunch_ports::Action::execute`].
    Execute,
    /// See [`staunch_ports::Action::undo`].
    Undo,
    /// See [`staunch_ports::Action::owned`].
    Owned,
}

/// How the world misbehaves in one call, for every request in it. A verb that only reads fails under all but
/// [`Fault::Slow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It says `Landed` and does nothing.
    Lie,
    /// It refuses with a failure of this kind and does nothing.
    Refuse(FailureKind),
    /// It carries the request out, but the answer is lost.
    InDoubtLanded,
    /// It does nothing, and the answer is lost.
    InDoubtLost,
    /// It carries the request out after this long. A world with a clock of its own lets that much time pass at once.
    Slow(Span),
}

impl Fault {
    /// The failure it shows.
    #[must_use]
    pub fn failure(self) -> Failure {
        match self {
            Self::Refuse(kind) => Failure::new(kind, "the memory driver was told to refuse"),
            Self::Lie | Self::InDoubtLanded | Self::InDoubtLost | Self::Slow(_) => {
                Failure::new(FailureKind::TimedOut, "the memory driver was told to lose the answer")
            }
        }
    }

    pub(super) fn is_carried_out(self) -> bool {
        matches!(self, Self::InDoubtLanded | Self::Slow(_))
    }

    pub(super) fn answer(self, carry_out: impl FnOnce() -> Outcome) -> Outcome {
        match self {
            Self::Lie => Outcome::Landed,
            Self::Refuse(_) => Outcome::DidNotHappen(self.failure()),
            Self::InDoubtLost => Outcome::InDoubt(self.failure()),
            Self::InDoubtLanded => {
                carry_out();
                Outcome::InDoubt(self.failure())
            }
            Self::Slow(_) => carry_out(),
        }
    }
}

/// A world in memory. Clones are handles of the same one.
#[derive(Clone, Debug, Default)]
pub struct MemoryWorld(Arc<Mutex<World>>);

impl MemoryWorld {
    /// An empty world whose time stands still until [`MemoryWorld::advance`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty world that goes by `clock`.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let world = Self::default();
        world.lock().clock = Some(clock);
        world
    }

    /// Lets time pass; holds end by it.
    pub fn advance(&self, span: Span) {
        let mut world = self.lock();
        world.ahead = world.ahead + span;
    }

    /// The time in this world.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.lock().now()
    }

    /// Sets how many objects of each address family it takes.
    pub fn set_capacity(&self, max: u64) {
        self.lock().max = max;
    }

    /// Makes the next call of `verb` misbehave; several calls take several faults, in order.
    pub fn inject(&self, verb: Verb, fault: Fault) {
        self.lock().faults.push_back((verb, fault));
    }

    /// Puts an object there, whatever was there before: `label` as text, without an end.
    pub fn put(&self, target: &Target, label: &str) {
        let object = Object {
            label: label.into(),
            ends: None,
            stopped_packets: 0,
        };
        self.lock().put(address_of(target), object);
    }

    /// Removes what is there, whosever it is.
    pub fn remove(&self, target: &Target) {
        self.lock().remove(address_of(target));
    }

    /// The label of what is there.
    #[must_use]
    pub fn label(&self, target: &Target) -> Option<Box<str>> {
        let mut world = self.lock();
        world.expire();
        world.objects.get(&address_of(target)).map(|it| it.label.clone())
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let mut world = self.lock();
        world.expire();
        world.objects.len()
    }

    /// Whether there are no objects.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts packets that an object stopped.
    pub fn stop_packets(&self, target: &Target, count: u64) {
        if let Some(object) = self.lock().objects.get_mut(&address_of(target)) {
            object.stopped_packets += count;
        }
    }

    /// Removes everything, rules included, until the next act makes them again.
    pub fn flush(&self) {
        let mut world = self.lock();
        world.objects.clear();
        world.ends.clear();
        world.used = [0; 2];
        world.set_enforcing(false);
        world.is_missing = true;
    }

    /// Switches the rules that act on the objects on or off.
    pub fn set_enforcing(&self, on: bool) {
        self.lock().set_enforcing(on);
    }

    /// Runs one call with the fault it is to suffer, if any; [`Fault::Slow`] has passed already.
    pub(super) fn attend<T>(&self, verb: Verb, call: impl FnOnce(&mut World, Option<Fault>) -> T) -> T {
        let mut world = self.lock();
        let at = world.faults.iter().position(|(it, _)| *it == verb);
        let fault = at.and_then(|at| world.faults.remove(at)).map(|(_, fault)| fault);
        if let Some(Fault::Slow(span)) = fault {
            if world.clock.is_some() {
                drop(world);
                std::thread::sleep(span.to_std());
                world = self.lock();
            } else {
                world.ahead = world.ahead + span;
            }
        }
        world.expire();
        call(&mut world, fault.filter(|it| !matches!(it, Fault::Slow(_))))
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        // A panic inside leaves at worst one request half counted, which is no reason to take a test down with it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An object in the world.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) label: Box<str>,
    pub(super) ends: Option<Timestamp>,
    pub(super) stopped_packets: u64,
}

/// What is in the world.
pub(super) struct World {
    pub(super) objects: BTreeMap<IpAddr, Object>,
    /// When objects end, soonest first.
    ends: BTreeSet<(Timestamp, IpAddr)>,
    /// How many objects of each family there are.
    used: [u64; 2],
    pub(super) max: u64,
    pub(super) version: u64,
    pub(super) enforcing: bool,
    /// Whether everything was flushed, so that an act has to make the rules first.
    pub(super) is_missing: bool,
    clock: Option<Arc<dyn Clock>>,
    /// How far time is ahead of the clock.
    ahead: Span,
    faults: VecDeque<(Verb, Fault)>,
}

impl World {
    pub(super) fn now(&self) -> Timestamp {
        self.clock.as_ref().map_or(Timestamp::EPOCH, |it| it.now()) + self.ahead
    }

    pub(super) fn used(&self, address: IpAddr) -> u64 {
        self.used[usize::from(address.is_ipv6())]
    }

    pub(super) fn put(&mut self, address: IpAddr, object: Object) {
        self.remove(address);
        self.ends.extend(object.ends.map(|it| (it, address)));
        self.objects.insert(address, object);
        self.used[usize::from(address.is_ipv6())] += 1;
        self.version += 1;
    }

    pub(super) fn remove(&mut self, address: IpAddr) {
        if let Some(object) = self.objects.remove(&address) {
            if let Some(end) = object.ends {
                self.ends.remove(&(end, address));
            }
            self.used[usize::from(address.is_ipv6())] -= 1;
            self.version += 1;
        }
    }

    pub(super) fn set_end(&mut self, address: IpAddr, end: Timestamp) {
        if let Some(object) = self.objects.get_mut(&address) {
            if let Some(old) = object.ends.replace(end) {
                self.ends.remove(&(old, address));
            }
            self.ends.insert((end, address));
            self.version += 1;
        }
    }

    pub(super) fn set_enforcing(&mut self, on: bool) {
        self.enforcing = on;
        self.is_missing = false;
        self.version += 1;
    }

    /// Removes what has ended, which is no change of the version: nobody changed anything.
    fn expire(&mut self) {
        let now = self.now();
        while let Some((_, address)) = self.ends.first().copied().filter(|(end, _)| *end <= now) {
            let version = self.version;
            self.remove(address);
            self.version = version;
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            ends: BTreeSet::new(),
            used: [0; 2],
            max: OBJECTS_MAX,
            version: 1,
            enforcing: true,
            is_missing: false,
            clock: None,
            ahead: Span::ZERO,
            faults: VecDeque::new(),
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            objects,
            max,
            version,
            enforcing,
            faults,
            ..
        } = self;
        f.debug_struct("World")
            .field("objects", objects)
            .field("max", max)
            .field("version", version)
            .field("enforcing", enforcing)
            .field("faults", faults)
            .finish_non_exhaustive()
    }
}
