//! The process: its start, its end, and its turns.
//!
//! Never loses a frame: the journal is synced at once.

use std::sync::Arc;

use staunch_engine::Engine;
use staunch_model::{Frame, Input, InstallationId, Span};

use super::{Item, Script, Seen};
use crate::check::Invariant;
use crate::run::end::same;

impl Script {
    pub(super) fn start(&mut self) {
        if self.up {
            return;
        }
        let mut engine = Engine::new();
        for (now, frame) in &self.log {
            if let Err(error) = engine.replay(frame, *now) {
                self.fail(Invariant::ReplayEqualsLive, format!("a frame does not fit: {error}"));
                return;
            }
        }
        if !same(&mut engine, &self.engine) {
            let what = "the recovered state is not the one that was live".to_owned();
            self.fail(Invariant::ReplayEqualsLive, what);
            return;
        }
        self.engine = engine;
        self.up = true;
        if self.log.is_empty() {
            let policy = self.setting.policy.clone();
            self.input(Input::Policy(policy));
        } else {
            self.see(Seen::Started);
        }
        self.input(Input::Started {
            installation: InstallationId([7; 8]),
            build: "simulated".into(),
        });
        for happening in std::mem::take(&mut self.waiting) {
            self.happen(happening);
        }
    }

    pub(super) fn crash(&mut self, outage: Span) {
        if self.up {
            self.up = false;
            self.life += 1;
            self.see(Seen::Ended);
            self.later(self.now + outage, Item::Start);
        }
    }

    /// One turn. Its frame is durable at once, and then its effects leave.
    pub(super) fn input(&mut self, input: Input) {
        let step = self.engine.step(&input, self.now);
        if matches!(input, Input::Tick) && step.records.is_empty() {
            return;
        }
        let frame = Arc::new(Frame {
            input,
            records: step.records,
        });
        self.log.push((step.now, frame.clone()));
        if let Err((invariant, what)) = self.model.frame(&frame, step.now) {
            self.fail(invariant, what);
        }
        self.learn(&frame);
        self.see(Seen::Frame(frame));
        for effect in step.effects {
            self.send(effect);
        }
    }
}
