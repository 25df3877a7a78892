//! An axis of time on which a millisecond and a day can both be seen.
//!
//! It consists of parts, each to a scale of its own, and of gaps between them in which nothing happened. It is never
//! bent without a mark: whoever draws it shows the gaps with their lengths.

use staunch_model::Timestamp;

/// The most gaps.
const GAPS_MAX: usize = 6;
/// How many times as long as a burst before or after it a silence is, to be cut out: beside it, the burst were one
/// mark.
const SILENCE: u64 = 12;
/// The width of a gap, in the units of the picture.
const GAP: f64 = 46.0;
/// The least width of a part: its time has room above it.
const PART_MIN: f64 = 84.0;
/// What a part keeps free at its ends.
const MARGIN: f64 = 9.0;
/// The least distance of two ticks.
const TICKS_APART: f64 = 62.0;

/// A stretch of time to one scale.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) left: f64,
    pub(super) width: f64,
}

/// A place on the axis that has a name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) x: f64,
    /// Since the begin of its part, in microseconds.
    pub(super) since_us: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) parts: Vec<Part>,
}

impl Axis {
    /// The axis for what happened at `times`, from `left` on and `width` wide.
    pub(super) fn new(times: &[Timestamp], left: f64, width: f64) -> Self {
        let mut times = times.to_vec();
        times.sort_unstable();
        times.dedup();
        if times.is_empty() {
            times.push(Timestamp::EPOCH);
        }
        let mut runs: Vec<&[Timestamp]> = vec![&times];
        while runs.len() <= GAPS_MAX {
            // The silence that hides most.
            let worst = runs
                .iter()
                .enumerate()
                .filter_map(|(run, times)| silence(times).map(|(at, hidden)| (hidden, run, at)))
                .max_by_key(|(hidden, run, _)| (*hidden, std::cmp::Reverse(*run)));
            let Some((_, run, at)) = worst else { break };
            let (before, after) = runs[run].split_at(at);
            runs.splice(run..=run, [before, after]);
        }
        // What a part needs more than another is room for what happened in it.
        let steps: usize = runs.iter().map(|run| run.len() - 1).sum();
        let count = runs.len() as f64;
        let spare = (width - (count - 1.0) * GAP - count * PART_MIN).max(0.0);
        let mut at = left;
        let parts = runs
            .iter()
            .map(|run| {
                let share = if steps == 0 {
                    1.0 / count
                } else {
                    (run.len() - 1) as f64 / steps as f64
                };
                let part = Part {
                    from: run[0],
                    to: run[run.len() - 1],
                    left: at,
                    width: PART_MIN + spare * share,
                };
                at += part.width + GAP;
                part
            })
            .collect();
        Self { parts }
    }

    /// Where `at` is. Times outside of the axis are at its ends.
    pub(super) fn x(&self, at: Timestamp) -> f64 {
        let mut end = None;
        for part in &self.parts {
            if at < part.from {
                return end.map_or(part.begin(), |(x, from)| {
                    between((x, part.begin()), (from, part.from), at)
                });
            }
            if at <= part.to {
                return between((part.begin(), part.end()), (part.from, part.to), at);
            }
            end = Some((part.end(), part.to));
        }
        end.map_or(0.0, |(x, _)| x)
    }

    /// The gaps: from where to where, and how long, in microseconds.
    pub(super) fn gaps(&self) -> impl Iterator<Item = (f64, f64, u64)> {
        self.parts.windows(2).map(|pair| {
            let (before, after) = (&pair[0], &pair[1]);
            let us = after.from.since(before.to).as_micros();
            (before.left + before.width, after.left, us)
        })
    }
}

impl Part {
    pub(super) fn begin(&self) -> f64 {
        self.left + MARGIN
    }

    fn end(&self) -> f64 {
        if self.from == self.to {
            return self.begin();
        }
        self.left + self.width - MARGIN
    }

    /// Round lengths of time since its begin, as far as there is room for their names.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        let length = self.to.since(self.from).as_micros();
        let room = self.end() - self.begin();
        let step = steps().find(|step| room * *step as f64 >= TICKS_APART * length as f64);
        let Some(step) = step.filter(|_| length > 0) else {
            return Vec::new();
        };
        (1..=length / step)
            .map(|nth| Tick {
                x: self.begin() + room * (nth * step) as f64 / length as f64,
                since_us: nth * step,
            })
            .filter(|tick| tick.x + TICKS_APART / 3.0 <= self.left + self.width)
            .collect()
    }
}

/// Where the silence of `times` ends that hides most, and how much that is.
fn silence(times: &[Timestamp]) -> Option<(usize, u64)> {
    let lengths: Vec<u64> = times
        .windows(2)
        .map(|pair| pair[1].since(pair[0]).as_micros())
        .collect();
    let hidden = |at: usize| {
        let longest = lengths[at] / SILENCE;
        let after = burst(lengths[at + 1..].iter(), longest);
        let before = burst(lengths[..at].iter().rev(), longest);
        [before, after]
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, us)| count * u64::from((lengths[at] / us.max(&1)).max(2).ilog2()))
            .sum::<u64>()
    };
    (0..lengths.len())
        .map(|at| (at + 1, hidden(at)))
        .filter(|(_, hidden)| *hidden > 0)
        .max_by_key(|(at, hidden)| (*hidden, std::cmp::Reverse(*at)))
}

/// How many steps follow each other that last no more than `longest` in all, and how long they last.
fn burst<'a>(lengths: impl Iterator<Item = &'a u64>, longest: u64) -> (u64, u64) {
    let (mut count, mut all) = (0, 0_u64);
    for us in lengths {
        if all.saturating_add(*us) > longest {
            break;
        }
        all += us;
        count += 1;
    }
    (count, all)
}

fn between((left, right): (f64, f64), (from, to): (Timestamp, Timestamp), at: Timestamp) -> f64 {
    let whole = to.since(from).as_micros();
    if whole == 0 {
        return left;
    }
    left + (right - left) * at.since(from).as_micros() as f64 / whole as f64
}

/// Lengths that people count in, in microseconds.
fn steps() -> impl Iterator<Item = u64> {
    let small = (0..6).flat_map(|power| [1, 2, 5].map(|it| it * 10_u64.pow(power)));
    let seconds = [
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200,
    ];
    let days = (0..6).flat_map(|power| [1, 2, 5].map(|it| it * 86_400 * 10_u64.pow(power)));
    small.chain(seconds.into_iter().chain(days).map(|it| it * 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + us)
    }

    #[test]
    fn microseconds_and_days_are_told_apart_and_stay_in_order() {
        let times: Vec<Timestamp> = [0, 350, 800, 6_000, 300_000, 2_000_000, 600_000_000, 3 * 86_400_000_000]
            .map(at)
            .to_vec();
        let axis = Axis::new(&times, 100.0, 900.0);
        assert!(axis.parts.len() > 3 && axis.parts.len() <= GAPS_MAX + 1, "{axis:?}");
        let places: Vec<f64> = times.iter().map(|it| axis.x(*it)).collect();
        for pair in places.windows(2) {
            assert!(pair[1] - pair[0] >= 8.0, "{places:?}");
        }
        // A burst amid long silence has a part of its own.
        let burst = Axis::new(&[0, 3_600_000_000, 3_600_000_900, 7_200_000_000].map(at), 0.0, 900.0);
        assert!(
            burst.x(at(3_600_000_900)) - burst.x(at(3_600_000_000)) > 50.0,
            "{burst:?}"
        );
        let last = axis.parts.last().expect("a part");
        assert!(last.left + last.width <= 1_000.5, "{axis:?}");
        let hidden: u64 = axis.gaps().map(|(_, _, us)| us).sum();
        let shown: u64 = axis.parts.iter().map(|it| it.to.since(it.from).as_micros()).sum();
        assert_eq!(hidden + shown, 3 * 86_400_000_000);
        // Between the parts too, and nowhere outside.
        let inside = axis.x(at(86_400_000_000));
        assert!(inside > places[6] && inside < places[7]);
        assert_eq!(axis.x(at(u64::MAX / 4)), places[7]);
        assert_eq!(axis.x(Timestamp::EPOCH), places[0]);
    }

    #[test]
    fn an_even_course_has_no_gap_and_round_ticks_that_have_room() {
        let times: Vec<Timestamp> = (0..10).map(|it| at(it * 70_000_000)).collect();
        let axis = Axis::new(&times, 0.0, 900.0);
        assert_eq!(axis.gaps().count(), 0);
        let ticks = axis.parts[0].ticks();
        assert_eq!(ticks[0].since_us, 60_000_000);
        for pair in ticks.windows(2) {
            assert!(pair[1].x - pair[0].x >= TICKS_APART);
        }
        for times in [vec![], vec![at(5)], vec![at(5), at(5)]] {
            let axis = Axis::new(&times, 0.0, 900.0);
            assert_eq!((axis.parts.len(), axis.parts[0].ticks().len()), (1, 0));
        }
        let far = Axis::new(&[Timestamp::EPOCH, Timestamp::from_micros(u64::MAX - 1)], 0.0, 900.0);
        assert!(far.x(at(0)).is_finite());
        assert!(far.parts[0].ticks().len() < 20);
    }
}
