//! Processes: they decide, write, sync, end, recover, and take over from one another.

use super::end::same;
use super::*;

impl Sim<'_> {
    /// The process that leads, unless it stands still.
    pub(super) fn leader(&self) -> Option<usize> {
        self.replicas
            .iter()
            .position(|it| it.up && it.epoch == self.log.epoch && it.paused_until <= self.now)
    }

    /// Others take over when a leader has been silent for long enough.
    pub(super) fn call_others(&mut self, silent: usize) {
        for other in 0..self.replicas.len() {
            if other != silent {
                let at = self.now + LEAD + Span::from_millis(other as u64);
                self.contend_later(at, other);
            }
        }
    }

    pub(super) fn crash(&mut self, replica: usize, outage: Span, again_after: u8) {
        let it = &mut self.replicas[replica];
        it.up = false;
        it.life += 1;
        it.ends_after = None;
        let engine = std::mem::take(&mut it.engine);
        let undecided = !it.group.is_empty();
        it.group.clear();
        it.syncing.clear();
        let life = it.life;
        let leads = it.epoch == self.log.epoch;
        self.say(|| format!("P{replica} ends"));
        if leads {
            let lost = self.lose_tail(replica, life);
            self.last_known = (!undecided && !lost).then_some((self.log.frames.len(), engine));
        }
        let at = self.now + outage;
        self.later(at, Item::Start { replica, again_after });
        self.call_others(replica);
    }

    /// What was written but not synced is there, or not, or in part. Returns true when some of it is lost.
    pub(super) fn lose_tail(&mut self, replica: usize, life: u32) -> bool {
        let unsynced = self.log.frames.len() - self.log.durable;
        if unsynced == 0 {
            return false;
        }
        let keys = [1, replica as u64, u64::from(life), self.log.frames.len() as u64];
        let mut chance = Chance::at(self.scenario.seed, &keys);
        let kept = usize::try_from(chance.below(unsynced as u64 + 1)).expect("small");
        // A frame that is torn or has a flipped bit does not verify, so it and what follows is cut.
        self.counts.add(match (kept == unsynced, chance.percent(50)) {
            (true, _) => Fault::TailKept,
            (false, true) => Fault::TailTorn,
            (false, false) => Fault::TailLost,
        });
        self.log.frames.truncate(self.log.durable + kept);
        self.say(|| format!("of {unsynced} frames that were not synced, {kept} are there"));
        self.make_durable();
        kept < unsynced
    }

    pub(super) fn start(&mut self, replica: usize, again_after: u8) {
        if self.replicas[replica].up {
            return;
        }
        if self.replicas.iter().any(|it| it.leads(self.log.epoch, self.now)) {
            self.contend_later(self.now + LEAD, replica);
            return;
        }
        // A writer that has been silent too long has its open batch cut off by the new epoch.
        if self.log.durable < self.log.frames.len() {
            self.lose_tail(replica, u32::MAX);
        }
        self.log.epoch += 1;
        self.say(|| format!("P{replica} starts"));
        for frame in &self.acknowledged {
            if !self.log.frames.iter().any(|it| Arc::ptr_eq(&it.frame, frame)) {
                self.fail(
                    Invariant::AcknowledgedKept,
                    "an acknowledged event is not in the journal".to_owned(),
                );
                return;
            }
        }
        let mut engine = self.recover(replica);
        if let Some((frames, known)) = self.last_known.take()
            && frames == self.log.frames.len()
            && !same(&mut engine, &known)
        {
            self.fail(
                Invariant::ReplayEqualsLive,
                "the recovered state is not the one that was live".to_owned(),
            );
            return;
        }
        let it = &mut self.replicas[replica];
        it.clock = Clock::new(it.clock.ahead_us, self.scenario.raw_clock, engine.state().now, self.now);
        it.engine = engine;
        it.up = true;
        it.epoch = self.log.epoch;
        it.paused_until = Timestamp::EPOCH;
        it.ends_after = (again_after > 0 && !self.quiet).then_some(again_after);
        let policy = &self.scenario.policies[0];
        if it.engine.state().policy.is_none() {
            self.input(replica, Input::Policy(policy.clone()), false);
        }
        if self.replicas[replica].up {
            let started = Input::Started {
                installation: INSTALLATION,
                build: "simulated".into(),
            };
            self.input(replica, started, false);
        }
    }

    pub(super) fn recover(&mut self, replica: usize) -> Engine {
        let frames = self.log.frames.len();
        let snapshot = self.log.snapshot.as_mut().filter(|it| it.frames <= frames);
        let snapshot = snapshot.and_then(|it| Some((it.frames, it.read()?)));
        if is(Mutant::RecoveryDecidesAgain) {
            let mut engine = snapshot.map_or_else(Engine::new, |(_, engine)| engine);
            let now = self.replicas[replica].clock.read(self.now);
            for entry in &self.log.frames {
                engine.step(&entry.frame.input, now);
            }
            return engine;
        }
        let Some((from, mut engine)) = snapshot else {
            self.catch_up();
            return self.folded.1.clone();
        };
        for entry in &self.log.frames[from..] {
            if let Err(error) = engine.replay(&entry.frame, entry.now) {
                self.fail(Invariant::ReplayEqualsLive, format!("a frame does not fit: {error}"));
                break;
            }
        }
        engine
    }

    /// Applies frames of the journal to what those before them gave, up to the one at `end`. They are durable by then,
    /// so that none of them is lost afterwards.
    pub(super) fn fold(&mut self, end: usize) {
        let (folded, engine) = &mut self.folded;
        let mut unfit = None;
        for entry in self.log.frames.get(*folded..end).unwrap_or_default() {
            *folded += 1;
            if let Err(error) = engine.replay(&entry.frame, entry.now) {
                unfit = Some((format!("a frame does not fit: {error}"), entry.durable_at));
                break;
            }
        }
        if let Some((what, at)) = unfit {
            self.violate(Invariant::ReplayEqualsLive, what, at);
        }
    }

    /// Holds the durable frames against the model that have not been yet.
    ///
    /// Many at a time, when the model is asked or the run ends, since the processor then has the model's code and data
    /// at hand. Whatever is wrong with a frame is found with the time at which that became durable, and before all that
    /// happened after it, as if it had been found at once; a run that is traced does so at once.
    pub(super) fn judge(&mut self) {
        while self.judged < self.log.durable && self.violation.is_none() {
            let entry = &self.log.frames[self.judged];
            let at = entry.durable_at;
            if let Err((invariant, what)) = self.model.frame(&entry.frame, entry.now) {
                self.fold(self.judged);
                self.violate(invariant, what, at);
            }
            self.judged += 1;
        }
    }

    /// Looks at every durable frame that was not looked at: by the model, and by applying it.
    pub(super) fn catch_up(&mut self) {
        self.judge();
        self.fold(self.log.durable);
    }

    /// One turn of a process, and what waits for it to be durable.
    pub(super) fn input(&mut self, replica: usize, input: Input, acknowledges: bool) {
        let it = &mut self.replicas[replica];
        if !it.up {
            return;
        }
        let now = it.clock.read(self.now);
        let step = it.engine.step(&input, now);
        if matches!(input, Input::Tick) && step.records.is_empty() {
            return;
        }
        let frame = Arc::new(Frame {
            input,
            records: step.records,
        });
        if is(Mutant::ReplyBeforeSync) && acknowledges {
            self.acknowledged.push(frame.clone());
        }
        let early = is(Mutant::EffectBeforeSync);
        let mut effects = step.effects;
        for effect in effects.extract_if(.., |effect| early || effect.is_read()) {
            let intent = (!effect.is_read()).then(|| (usize::MAX, frame.clone()));
            self.dispatch(replica, effect, intent);
        }
        self.replicas[replica].group.push(Held {
            now: step.now,
            frame,
            effects,
            acknowledges,
            at: usize::MAX,
        });
        if self.replicas[replica].syncing.is_empty() {
            self.append(replica);
        }
    }

    /// Writes what is decided, and begins to sync it.
    pub(super) fn append(&mut self, replica: usize) {
        if self.replicas[replica].group.is_empty() {
            return;
        }
        if self.replicas[replica].epoch != self.log.epoch && !is(Mutant::FencingIgnored) {
            self.say(|| format!("P{replica} has been replaced, and ends"));
            self.crash(replica, Span::from_secs(1), 0);
            return;
        }
        let it = &mut self.replicas[replica];
        let mut group = std::mem::take(&mut it.group);
        let epoch = it.epoch;
        let mut ends = false;
        for held in &mut group {
            held.at = self.log.frames.len();
            let at = self.now.since(START);
            self.trace.frame(at, replica, held.at, &held.frame);
            self.log.frames.push(Entry {
                now: held.now,
                epoch,
                frame: held.frame.clone(),
                durable_at: self.now,
            });
            if let Some(left) = &mut self.replicas[replica].ends_after {
                *left = left.saturating_sub(1);
                ends |= *left == 0;
            }
        }
        self.replicas[replica].syncing = group;
        if ends {
            self.counts.add(Fault::CrashInRecovery);
            self.crash(replica, Span::from_millis(5), 0);
            return;
        }
        if self.cuts(When::Written, replica) {
            return;
        }
        if self.fail_sync && !self.quiet {
            self.fail_sync = false;
            self.counts.add(Fault::SyncFailed);
            self.crash(replica, Span::from_millis(10), 0);
            return;
        }
        let slow = self.now < self.slow_until;
        let sync = if slow {
            Span::from_millis(700)
        } else {
            self.scenario.sync
        };
        if sync == Span::ZERO || self.quiet {
            self.synced(replica);
        } else {
            let life = self.replicas[replica].life;
            self.later(self.now + sync, Item::Synced { replica, life });
        }
    }

    pub(super) fn synced(&mut self, replica: usize) {
        if self.replicas[replica].epoch == self.log.epoch || is(Mutant::FencingIgnored) {
            self.make_durable();
        }
        if self.cuts(When::Synced, replica) {
            return;
        }
        let mut synced = std::mem::take(&mut self.replicas[replica].syncing);
        for held in synced.drain(..) {
            let there = self
                .log
                .frames
                .get(held.at)
                .is_some_and(|entry| Arc::ptr_eq(&entry.frame, &held.frame));
            if !there {
                // Another process has taken over while this one stood still.
                self.crash(replica, Span::from_secs(1), 0);
                return;
            }
            if held.acknowledges && !is(Mutant::ReplyBeforeSync) {
                self.acknowledged.push(held.frame.clone());
            }
            for effect in held.effects {
                self.dispatch(replica, effect, Some((held.at, held.frame.clone())));
            }
        }
        if !self.replicas[replica].up {
            return;
        }
        if self.replicas[replica].group.capacity() == 0 {
            // Its room is used for the next.
            self.replicas[replica].group = synced;
        }
        if self.cuts(When::Sent, replica) {
            return;
        }
        self.maybe_snapshot(replica);
        if self.replicas[replica].syncing.is_empty() {
            self.append(replica);
        }
    }

    /// Ends the process when the scenario says so.
    pub(super) fn cuts(&mut self, when: When, replica: usize) -> bool {
        let cut = self.scenario.cuts.get(self.next_cut).copied();
        let Some(cut) = cut.filter(|it| it.when == when && self.log.frames.len() >= it.frames) else {
            return false;
        };
        self.next_cut += 1;
        self.counts.add(Fault::Crash);
        self.crash(replica, cut.outage, 0);
        true
    }

    /// Every frame that is written is durable from here on.
    pub(super) fn make_durable(&mut self) {
        while self.log.durable < self.log.frames.len() && self.violation.is_none() {
            let before = self
                .log
                .durable
                .checked_sub(1)
                .map_or(0, |at| self.log.frames[at].epoch);
            let entry = &mut self.log.frames[self.log.durable];
            entry.durable_at = self.now;
            if entry.epoch < before {
                self.fail(
                    Invariant::OneLeader,
                    "a process that had been replaced wrote to the journal".to_owned(),
                );
                return;
            }
            self.log.durable += 1;
            if self.trace.is_kept() {
                self.catch_up();
            }
        }
    }

    pub(super) fn maybe_snapshot(&mut self, replica: usize) {
        let it = &self.replicas[replica];
        // One that has been replaced may be done with its own frames, and knows nothing of those after them.
        let whole = it.epoch == self.log.epoch && it.group.is_empty() && self.log.durable == self.log.frames.len();
        if whole && self.log.frames.len() % 64 == 40 {
            self.log.snapshot = Some(Snapshot {
                frames: self.log.frames.len(),
                engine: it.engine.clone(),
                is_read: false,
            });
        }
    }
}
