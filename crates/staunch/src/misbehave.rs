//! Parts that misbehave on demand, around the real ones: the driver, the traffic feed and the clock.
//!
//! Never does so by itself: an order says what goes wrong and for which targets. Orders come from a file below the
//! directory of a stage, or, in an installation that declares a scope for drills, from an operator, for the targets of
//! that scope and for minutes at the most.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use staunch_model::{
    Description, DrillFault, DrillId, Fact, Failure, FailureKind, Observation, Outcome, Span, Target, Timestamp,
    TrafficShare,
};
use staunch_ports::clock::SystemClock;
use staunch_ports::{Action, Clock, Enricher, ExecuteRequest, Former, Owned, UndoRequest};
use staunch_server::Drills;
use staunch_server::dto::{DRILL_LASTS_MAX, DrillView};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misbehaviour {
    /// The driver says that it has acted, and has not.
    Lie,
    /// The driver acts, and keeps the answer for itself for a minute.
    Stall,
    /// The driver turns every act and undo away.
    Throttle,
    /// The driver acts, and its answer is lost.
    LoseReply,
    /// The traffic feed gives no answer.
    FeedDown,
}

impl Misbehaviour {
    const ALL: [Self; 5] = [Self::Lie, Self::Stall, Self::Throttle, Self::LoseReply, Self::FeedDown];

    /// Its word in orders.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Lie => "lie",
            Self::Stall => "stall",
            Self::Throttle => "throttle",
            Self::LoseReply => "lose-reply",
            Self::FeedDown => "feed-down",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

/// What an operator may order in an installation ends by itself and holds nothing up.
impl From<DrillFault> for Misbehaviour {
    fn from(fault: DrillFault) -> Self {
        match fault {
            DrillFault::Lie => Self::Lie,
            DrillFault::Throttle => Self::Throttle,
            DrillFault::LoseReply => Self::LoseReply,
            DrillFault::FeedDown => Self::FeedDown,
        }
    }
}

/// What the log of a server says when it has parts of this kind.
pub(crate) const CAN_MISBEHAVE: &str = "driver and traffic feed can be made to misbehave, for drills";

/// The order that sets the clock: this and the seconds it is off.
pub(crate) const CLOCK: &str = "clock";

/// Where orders come from.
#[derive(Clone, Debug)]
pub(crate) enum Orders {
    /// A file, for everything. An absent or empty one means that all goes well.
    File(PathBuf),
    /// An operator, for the scope of drills.
    Live(Arc<LiveOrders>),
}

impl Orders {
    /// What goes wrong with `target` at this moment.
    fn of(&self, target: &Target) -> Option<Misbehaviour> {
        match self {
            Self::File(file) => Misbehaviour::of_name(std::fs::read_to_string(file).unwrap_or_default().trim()),
            Self::Live(live) => live.of(target),
        }
    }
}

/// The orders of operators in an installation with a scope for drills.
#[derive(Debug)]
pub(crate) struct LiveOrders {
    scope: Vec<IpNet>,
    order: Mutex<Option<LiveOrder>>,
}

/// What one order has going wrong, for as long as it lasts.
#[derive(Clone, Copy, Debug)]
struct LiveOrder {
    drill: DrillId,
    fault: DrillFault,
    until: Instant,
}

impl LiveOrders {
    /// No order yet, for the targets in `scope`.
    pub(crate) fn new(scope: Vec<IpNet>) -> Self {
        Self {
            scope,
            order: Mutex::new(None),
        }
    }

    /// The order that is under way at this moment, and for how much longer.
    fn present(&self) -> Option<(LiveOrder, Duration)> {
        let order = (*self.lock())?;
        let left = order.until.checked_duration_since(Instant::now())?;
        Some((order, left))
    }

    fn of(&self, target: &Target) -> Option<Misbehaviour> {
        let ip = target.address()?;
        let (order, _) = self.present()?;
        self.scope
            .iter()
            .any(|it| it.contains(&ip.to_canonical()))
            .then_some(order.fault.into())
    }

    fn lock(&self) -> MutexGuard<'_, Option<LiveOrder>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drills for LiveOrders {
    fn view(&self) -> DrillView {
        let present = self.present();
        DrillView {
            scope: self.scope.iter().map(ToString::to_string).collect(),
            drill: present.map(|(order, _)| order.drill),
            fault: present.map(|(order, _)| order.fault),
            left: present.map(|(_, left)| Span::from_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))),
        }
    }

    fn order(&self, drill: DrillId, fault: DrillFault, lasts: Span) {
        let until = Instant::now() + lasts.min(DRILL_LASTS_MAX).to_std();
        *self.lock() = Some(LiveOrder { drill, fault, until });
    }

    fn stop(&self, only: Option<DrillId>) -> Option<(DrillId, DrillFault)> {
        let ended = self.lock().take_if(|it| only.is_none_or(|only| only == it.drill))?;
        (Instant::now() < ended.until).then_some((ended.drill, ended.fault))
    }
}

/// A driver that misbehaves as it is ordered to.
pub(crate) struct Driver {
    inner: Box<dyn Action>,
    orders: Orders,
}

impl Driver {
    /// Puts `inner` under `orders`.
    pub(crate) fn new(inner: Box<dyn Action>, orders: Orders) -> Self {
        Self { inner, orders }
    }

    /// Answers of `requests` in their order: those that are given `early`, and the others of `inner`, all at once.
    fn split<R: Clone>(
        requests: &[R],
        early: Vec<Option<Outcome>>,
        inner: impl FnOnce(&[R]) -> Vec<Outcome>,
    ) -> Vec<Outcome> {
        let passed: Vec<R> = requests
            .iter()
            .zip(&early)
            .filter(|(_, answer)| answer.is_none())
            .map(|(request, _)| request.clone())
            .collect();
        let mut answers = if passed.is_empty() { Vec::new() } else { inner(&passed) }.into_iter();
        early
            .into_iter()
            .filter_map(|answer| answer.or_else(|| answers.next()))
            .collect()
    }
}

/// The answer of a driver that turns requests away.
fn throttled() -> Outcome {
    Outcome::DidNotHappen(Failure::new(
        FailureKind::Unavailable,
        "too many requests, try again later (a drill)",
    ))
}

impl Action for Driver {
    fn describe(&self) -> Description {
        self.inner.describe()
    }

    fn observe(&mut self, targets: &[Target]) -> Vec<Result<Observation, Failure>> {
        self.inner.observe(targets)
    }

    fn execute(&mut self, requests: &[ExecuteRequest]) -> Vec<Outcome> {
        const STALLED: Duration = Duration::from_secs(60);
        let orders: Vec<_> = requests.iter().map(|it| self.orders.of(&it.target)).collect();
        let early = orders.iter().map(|order| match order {
            Some(Misbehaviour::Lie) => Some(Outcome::Landed),
            Some(Misbehaviour::Throttle) => Some(throttled()),
            _ => None,
        });
        let mut outcomes = Self::split(requests, early.collect(), |passed| self.inner.execute(passed));
        for (outcome, order) in outcomes.iter_mut().zip(&orders) {
            if *order == Some(Misbehaviour::LoseReply) {
                let failure = Failure::new(FailureKind::TimedOut, "the reply was lost (a drill)");
                *outcome = Outcome::InDoubt(failure);
            }
        }
        if orders.contains(&Some(Misbehaviour::Stall)) {
            std::thread::sleep(STALLED);
        }
        outcomes
    }

    fn undo(&mut self, requests: &[UndoRequest]) -> Vec<Outcome> {
        let early = requests.iter().map(|request| {
            let order = self.orders.of(&request.target);
            (order == Some(Misbehaviour::Throttle)).then(throttled)
        });
        let early = early.collect();
        Self::split(requests, early, |passed| self.inner.undo(passed))
    }

    fn owned(&mut self) -> Result<Owned, Failure> {
        self.inner.owned()
    }

    fn former(&self) -> Vec<Former> {
        self.inner.former()
    }

    fn lift_former(&mut self) -> Result<u64, Failure> {
        self.inner.lift_former()
    }
}

/// A traffic feed that is down when it is ordered to.
pub(crate) struct Feed {
    inner: Arc<dyn Enricher>,
    orders: Orders,
}

impl Feed {
    /// Puts `inner` under `orders`.
    pub(crate) fn new(inner: Arc<dyn Enricher>, orders: Orders) -> Self {
        Self { inner, orders }
    }
}

impl Enricher for Feed {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn refresh(&self, now: Timestamp) {
        self.inner.refresh(now);
    }

    fn traffic_share(&self, target: &Target, now: Timestamp) -> Fact<TrafficShare> {
        if self.orders.of(target) == Some(Misbehaviour::FeedDown) {
            return Fact {
                value: Err("the feed gives no answer (a drill)".into()),
                source: self.inner.name().into(),
                age: Span::ZERO,
            };
        }
        self.inner.traffic_share(target, now)
    }
}

/// The machine's clock, set wrong as the file of orders says.
pub(crate) struct WrongClock(pub(crate) PathBuf);

impl Clock for WrongClock {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now();
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        let off = text
            .trim()
            .strip_prefix(CLOCK)
            .and_then(|seconds| seconds.trim().parse::<i64>().ok())
            .unwrap_or_default();
        let span = Span::from_secs(off.unsigned_abs());
        if off < 0 { now - span } else { now + span }
    }

    fn passed(&self) -> Span {
        SystemClock.passed()
    }
}

#[cfg(test)]
mod tests {
    use staunch_connectors::actions::block_ip::{MemoryBlockIp, MemoryWorld};
    use staunch_model::{ContentHash, EffectKey, IncidentId, InstallationId, TransactionId};

    use super::*;

    fn request(number: u64, address: &str) -> ExecuteRequest {
        let transaction = TransactionId(number);
        ExecuteRequest {
            transaction,
            key: EffectKey::new(
                InstallationId::default(),
                IncidentId(1),
                ContentHash::of(b""),
                transaction,
            ),
            target: Target::Address(address.parse().expect("an address")),
            version: 0,
            hold: Span::from_mins(5),
            renewal: false,
        }
    }

    #[test]
    fn only_the_scope_misbehaves_and_only_until_the_deadline() {
        let live = Arc::new(LiveOrders::new(vec!["192.0.2.0/28".parse().expect("a network")]));
        let world = MemoryWorld::with_clock(Arc::new(SystemClock));
        let inner = Box::new(MemoryBlockIp::new(world, InstallationId::default()));
        let mut driver = Driver::new(inner, Orders::Live(live.clone()));
        live.order(DrillId(7), DrillFault::Throttle, Span::from_mins(1));
        let outcomes = driver.execute(&[
            request(1, "198.51.100.1"),
            request(2, "192.0.2.3"),
            request(3, "192.0.2.17"),
        ]);
        assert_eq!(outcomes, [Outcome::Landed, throttled(), Outcome::Landed]);
        live.order(DrillId(8), DrillFault::Throttle, Span::ZERO);
        assert_eq!((live.view().fault, live.stop(Some(DrillId(8)))), (None, None));
        assert_eq!(driver.execute(&[request(4, "192.0.2.4")]), [Outcome::Landed]);
        live.order(DrillId(9), DrillFault::Lie, Span::from_hours(24));
        assert!(live.view().left.is_some_and(|left| left <= DRILL_LASTS_MAX));
        // What another order had going wrong has ended: this one goes on.
        assert_eq!(live.stop(Some(DrillId(8))), None);
        assert_eq!(live.view().drill, Some(DrillId(9)));
        assert_eq!(live.stop(Some(DrillId(9))), Some((DrillId(9), DrillFault::Lie)));
        assert_eq!((live.view().drill, live.stop(None)), (None, None));
        assert_eq!(driver.execute(&[request(5, "192.0.2.5")]), [Outcome::Landed]);
    }
}
