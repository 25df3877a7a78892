//! Every built-in playbook, and one with several steps and evidence, cut after every frame: once, and once more while
//! it is being taken up again.

use std::sync::Arc;

use staunch_model::{ActionKind, Modes, Playbook, Policy, Span};
use staunch_playbook::{BUILT_IN, CheckContext, compile};
use staunch_sim::fault::Rates;
use staunch_sim::scenario::{Cut, Dated, Happening, Order, When, policy};
use staunch_sim::world::{ON_A_MACHINE, WorldKind};
use staunch_sim::{Scenario, run, run_traced};

/// What becomes of the containment.
#[derive(Clone, Copy, Debug)]
enum Story {
    /// Its lease ends.
    LeaseEnds,
    /// A person releases it.
    Released,
    /// The rules are not in place, so that it is rolled back.
    RolledBack,
}

fn worlds() -> impl Iterator<Item = WorldKind> {
    let worlds = [WorldKind::Kernel, WorldKind::Limiter, WorldKind::Api, WorldKind::Cloud];
    worlds.into_iter().chain(ON_A_MACHINE.map(WorldKind::Machine))
}

fn policies() -> Vec<(String, WorldKind, Policy)> {
    let base = |world| policy(world, 0);
    let mut all = Vec::new();
    for world in worlds() {
        for (name, text) in BUILT_IN {
            let compiled = compile(name, text, &CheckContext::default()).expect("a built-in playbook is sound");
            let playbook = (*compiled.program.playbook).clone();
            if playbook.steps.iter().all(|step| step.action == world.action()) {
                all.push((format!("{name} in {world:?}"), world, only(base(world), playbook)));
            }
        }
        let preserve = base(world).playbooks.iter().find(|it| &*it.name == "preserve").cloned();
        let preserve = preserve.expect("the simulator has one with evidence");
        all.push((
            format!("preserve in {world:?}"),
            world,
            only(base(world), (*preserve).clone()),
        ));
    }
    for (name, _) in BUILT_IN {
        assert!(all.iter().any(|(of, ..)| of.starts_with(name)), "{name} has a world");
    }
    all
}

/// `policy` with this playbook alone, which acts by itself.
fn only(mut policy: Policy, mut playbook: Playbook) -> Policy {
    let enforce = staunch_model::Mode::Enforce;
    playbook.modes = Modes {
        low: enforce,
        medium: enforce,
        high: enforce,
    };
    policy.playbooks = vec![Arc::new(playbook)];
    policy
}

fn scenario(world: WorldKind, policy: &Policy, story: Story, cuts: Vec<Cut>) -> Scenario {
    let event = Happening::Event {
        playbook: 0,
        key: 1,
        targets: vec![Some(1), Some(2), Some(4)]
            .into_iter()
            .take(policy.playbooks[0].steps.len())
            .collect(),
        dated: Dated::Ago(Span::ZERO),
        copies: 1,
    };
    let mut happenings = vec![(Span::from_secs(1), event)];
    match story {
        Story::LeaseEnds => {}
        Story::Released => happenings.push((Span::from_secs(20), Happening::Command(Order::ReleaseAll))),
        Story::RolledBack => happenings.insert(0, (Span::ZERO, Happening::Unenforced(Span::from_secs(10)))),
    }
    Scenario {
        seed: 1,
        world,
        replicas: 1,
        rates: Rates::NONE,
        adversary_percent: 0,
        sync: Span::from_micros(100),
        raw_clock: false,
        sweep_takes: Span::ZERO,
        traffic_varies: false,
        asks_feeds: false,
        policies: vec![Arc::new(policy.clone())],
        cuts,
        happenings,
    }
}

#[test]
fn survive_a_crash_at_every_frame_and_another_one_while_recovering() {
    let (mut runs, mut frames_in_all) = (0, 0);
    for (name, world, policy) in policies() {
        for story in [Story::LeaseEnds, Story::Released, Story::RolledBack] {
            let whole = run(&scenario(world, &policy, story, Vec::new()));
            assert_eq!(whole.violation, None, "{name}, {story:?}");
            assert!(whole.transactions > 0, "{name} acts");
            frames_in_all += whole.frames;
            let frames = usize::try_from(whole.frames).expect("a run is short");
            for at in 3..=frames {
                for when in [When::Written, When::Synced, When::Sent] {
                    for outage in [Span::ZERO, Span::from_secs(10)] {
                        let first = Cut {
                            frames: at,
                            when,
                            outage,
                        };
                        let mut check = |cuts: Vec<Cut>| {
                            let scenario = scenario(world, &policy, story, cuts.clone());
                            let violation = run(&scenario).violation;
                            assert_eq!(
                                violation,
                                None,
                                "{name}, {story:?}, {cuts:?}\n{}",
                                run_traced(&scenario).trace
                            );
                            runs += 1;
                        };
                        check(vec![first]);
                        // The next frames are those of the recovery.
                        for again in 0..3 {
                            let second = Cut {
                                frames: at + again,
                                when: [When::Written, When::Synced, When::Sent][again % 3],
                                outage: Span::ZERO,
                            };
                            check(vec![first, second]);
                        }
                    }
                }
            }
        }
    }
    assert!(frames_in_all > 300, "the stories have {frames_in_all} frames in all");
    assert!(runs > 5_000, "{runs} runs");
}

#[test]
fn every_action_is_in_a_world_that_seeds_draw() {
    let drawn: Vec<_> = (0..500).map(|seed| Scenario::from_seed(seed).world.action()).collect();
    for action in ActionKind::ALL {
        assert!(drawn.contains(&action), "{action} is simulated nowhere");
    }
}
