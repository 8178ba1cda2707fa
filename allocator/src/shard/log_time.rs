//! Owns log time on the leader's side (design D5): forward by the monotonic clock from the last
//! entry's time, corrected towards the median of the voters' wall clocks, never back.
//!
//! Both clocks come from outside: the monotonic one as numbers, the wall clock from whoever opened
//! the node. Must never let one wrong clock move anything, nor decide anything inside `apply`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::limits::CLOCK_AGE_MAX;

/// Tells the time: Unix milliseconds of a wall clock, which may be wrong or jump.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The peers' wall clocks as their calls told them, for all shards of a node.
#[derive(Clone)]
pub struct Clocks {
    inner: Arc<ClocksInner>,
}

struct ClocksInner {
    wall: WallClock,
    start: Instant,
    peers: Mutex<BTreeMap<u64, Seen>>,
}

/// A wall clock at a point of our monotonic clock.
#[derive(Clone, Copy)]
struct Seen {
    wall_ms: u64,
    mono_ms: u64,
}

impl Default for Clocks {
    fn default() -> Self {
        Self::new(Arc::new(onsale_proto::time::now_ms))
    }
}

impl Clocks {
    /// Nothing heard yet; `wall` is this node's own clock.
    #[must_use]
    pub fn new(wall: WallClock) -> Self {
        let peers = Mutex::new(BTreeMap::new());
        Self { inner: Arc::new(ClocksInner { wall, start: Instant::now(), peers }) }
    }

    /// What this node's own wall clock shows.
    pub(crate) fn wall_ms(&self) -> u64 {
        (self.inner.wall)()
    }

    /// Milliseconds of the monotonic clock since this process knows it.
    pub(crate) fn mono_ms(&self) -> u64 {
        u64::try_from(self.inner.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A call of `node` said that its wall clock shows `wall_ms`.
    pub(crate) fn heard(&self, node: u64, wall_ms: u64) {
        let seen = Seen { wall_ms, mono_ms: self.mono_ms() };
        if wall_ms > 0 && node > 0 {
            self.inner.peers.lock().insert(node, seen);
        }
    }

    /// What the wall clocks of these nodes show now, as far as they were heard lately.
    fn now(&self, nodes: impl Iterator<Item = u64>) -> Vec<u64> {
        let mono_ms = self.mono_ms();
        let peers = self.inner.peers.lock();
        nodes
            .filter_map(|node| {
                let seen = peers.get(&node)?;
                let age_ms = mono_ms.saturating_sub(seen.mono_ms);
                let known = Duration::from_millis(age_ms) <= CLOCK_AGE_MAX;
                known.then(|| seen.wall_ms.saturating_add(age_ms))
            })
            .collect()
    }

    /// The median of the voters' wall clocks, ours included; `None` unless a majority is known.
    pub(crate) fn median(&self, own: u64, voters: &[u64]) -> Option<Median> {
        let mut clocks = self.now(voters.iter().copied().filter(|node| *node != own));
        if voters.contains(&own) {
            clocks.push(self.wall_ms());
        }
        median(clocks, voters.len())
    }
}

/// What the clock in the middle shows; of an even number, what both in the middle show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Median {
    /// The slower one.
    pub low_ms: u64,
    /// The faster one.
    pub high_ms: u64,
}

/// The median, if more than half of the voters' clocks are known.
fn median(mut clocks: Vec<u64>, voters: usize) -> Option<Median> {
    if clocks.len() * 2 <= voters {
        return None;
    }
    clocks.sort_unstable();
    let low_ms = *clocks.get((clocks.len() - 1) / 2)?;
    Some(Median { low_ms, high_ms: *clocks.get(clocks.len() / 2)? })
}

/// One shard's log time as its leader gives it out.
#[derive(Clone, Copy, Debug)]
pub struct LogTime {
    last_ms: u64,
    /// The monotonic clock when `last_ms` was given out or applied.
    at_mono_ms: u64,
}

impl LogTime {
    /// Starts from the time of the last applied entry.
    #[must_use]
    pub fn new(last_ms: u64, mono_ms: u64) -> Self {
        Self { last_ms, at_mono_ms: mono_ms }
    }

    /// An entry with this log time was applied.
    pub fn applied(&mut self, log_time_ms: u64, mono_ms: u64) {
        if log_time_ms > self.last_ms {
            *self = Self::new(log_time_ms, mono_ms);
        }
    }

    /// What the next entry's time would be. `median` is that of the voters' wall clocks, `None`
    /// while too few are known. Between two clocks in the middle nothing is corrected: one of them
    /// may be the wrong one.
    #[must_use]
    pub fn peek(&self, mono_ms: u64, median: Option<Median>) -> u64 {
        let elapsed_ms = mono_ms.saturating_sub(self.at_mono_ms);
        let steady_ms = self.last_ms.saturating_add(elapsed_ms);
        match median {
            // Behind the clocks (an outage, or drift): catch up at once, holds are as long as told.
            Some(Median { low_ms, .. }) if low_ms > steady_ms => low_ms,
            // Ahead of them: half speed until they have caught up.
            Some(Median { high_ms, .. }) if high_ms < steady_ms => {
                high_ms.max(self.last_ms.saturating_add(elapsed_ms / 2))
            }
            _ => steady_ms,
        }
    }

    /// Gives out the next entry's time.
    pub fn next(&mut self, mono_ms: u64, median: Option<Median>) -> u64 {
        let next_ms = self.peek(mono_ms, median);
        if next_ms > self.last_ms {
            *self = Self::new(next_ms, mono_ms);
        }
        next_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;

    fn all_show(ms: u64) -> Option<Median> {
        Some(Median { low_ms: ms, high_ms: ms })
    }

    #[test]
    fn time_goes_on_by_the_monotonic_clock_while_no_majority_of_clocks_is_known() {
        let mut time = LogTime::new(1_000, 50);
        assert_eq!(time.next(60, None), 1_010);
        assert_eq!(time.next(60, None), 1_010, "no time, no step");
        assert_eq!(time.next(75, None), 1_025);
        assert_eq!(median(vec![5], 3), None, "one of three is no majority");
        assert_eq!(median(vec![], 1), None);
        assert_eq!(median(vec![5], 1), all_show(5));
    }

    #[test]
    fn one_wrong_clock_moves_nothing_in_either_direction() {
        let now = 20_000 * DAY;
        for wrong in [0, now - DAY, now + DAY, u64::MAX] {
            for place in 0..3 {
                let mut clocks = vec![now, now + 1];
                clocks.insert(place, wrong);
                let median_ms = median(clocks, 3);
                let mut time = LogTime::new(now - 10, 0);
                let next = time.next(10, median_ms);
                assert!((now..=now + 1).contains(&next), "{wrong} in place {place}: {next}");
            }
        }
    }

    #[test]
    fn with_two_of_three_clocks_known_neither_alone_moves_anything() {
        let now = 20_000 * DAY;
        for wrong in [0, now - DAY, now + DAY] {
            let both = median(vec![wrong, now], 3);
            let mut time = LogTime::new(now - 100, 0);
            assert_eq!(time.next(100, both), now, "{wrong}: the monotonic clock goes on");
        }
        // Both agree that an hour is missing.
        let mut time = LogTime::new(now - 3_600_000, 0);
        assert_eq!(time.next(100, median(vec![now + 7, now], 3)), now);
    }

    #[test]
    fn the_first_entry_after_an_outage_catches_up() {
        let mut time = LogTime::new(1_000, 0);
        assert_eq!(time.next(5, all_show(1_000 + DAY)), 1_000 + DAY);
        assert_eq!(time.next(10, all_show(1_005 + DAY)), 1_005 + DAY);
    }

    #[test]
    fn time_ahead_of_the_clocks_slows_down_until_they_have_caught_up_and_never_goes_back() {
        let mut time = LogTime::new(10_000, 0);
        let mut last = 10_000;
        let mut wall = 9_000;
        for mono in (0..4_000).step_by(100) {
            let next = time.next(mono, all_show(wall));
            assert!(next >= last && next - last <= 100, "{last} to {next}");
            last = next;
            wall += 100;
        }
        assert_eq!(last, wall - 100, "the clocks have caught up");
    }

    #[test]
    fn an_applied_entry_of_another_leader_is_where_time_goes_on_from() {
        let mut time = LogTime::new(1_000, 0);
        time.applied(5_000, 70);
        assert_eq!(time.peek(80, None), 5_010);
        time.applied(4_000, 90);
        assert_eq!(time.peek(90, None), 5_020, "an older entry changes nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_was_not_heard_for_long_does_not_count() {
        let clocks = Clocks::new(Arc::new(|| 7));
        clocks.heard(2, 5_000_000);
        clocks.heard(3, 6_000_000);
        let both = |low_ms, high_ms| Some(Median { low_ms, high_ms });
        assert_eq!(clocks.median(9, &[2, 3]), both(5_000_000, 6_000_000));
        assert_eq!(clocks.median(1, &[1, 2, 3]), all_show(5_000_000), "our own counts");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(clocks.median(9, &[2, 3]), both(5_010_000, 6_010_000));
        tokio::time::advance(CLOCK_AGE_MAX).await;
        assert_eq!(clocks.median(9, &[2, 3]), None);
    }
}
