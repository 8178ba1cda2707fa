//! Owns when an event's holds and payment fences end.
//!
//! All holds of one ttl expire in the order in which they were granted, because log time never goes
//! back; so a queue for each ttl in use is an ordered structure at no cost. Entries of holds that
//! ended otherwise stay until they reach the front or outnumber the others.
//! Must never end a hold itself.

use std::collections::{BTreeSet, VecDeque};

use smallvec::SmallVec;

use crate::{
    hold::HoldState,
    holds::Holds,
    ids::{LogTimeMs, OrderId},
};

/// Entries of a queue that may be stale before it is tidied.
const STALE_MIN: usize = 1024;

/// Times of a queue are at most this far before the first.
const BEFORE_FIRST_MS: LogTimeMs = 1 << 31;

/// Where times no longer fit 32 bits, another queue of the same ttl begins.
#[derive(Debug)]
struct TtlQueue {
    ttl_ms: u32,
    base_ms: LogTimeMs,
    /// When after the base, and the hold's slot.
    entries: VecDeque<(u32, u32)>,
}

impl TtlQueue {
    fn time(&self, after: u32) -> LogTimeMs {
        self.base_ms + LogTimeMs::from(after)
    }

    /// How long after the base, if this queue can tell.
    fn after(&self, time: LogTimeMs) -> Option<u32> {
        time.checked_sub(self.base_ms).and_then(|after| u32::try_from(after).ok())
    }
}

/// The times at which something of an event ends.
#[derive(Debug, Default)]
pub(crate) struct EventClock {
    queues: SmallVec<[TtlQueue; 1]>,
    /// Ends of payment fences, with the order's slot.
    pub(crate) fences: BTreeSet<(LogTimeMs, OrderId, u32)>,
    /// When the first allotment is released.
    pub(crate) release_at_ms: Option<LogTimeMs>,
    /// Holds that may expire: live and not fenced.
    pub(crate) live: usize,
    /// Nothing ends before this; what the shard's list of due events says.
    pub(crate) next_at_ms: Option<LogTimeMs>,
}

/// Is this queue entry still what it says?
fn is_current(holds: &Holds, event: u32, expires_at_ms: LogTimeMs, slot: u32) -> bool {
    holds.get(slot).is_some_and(|hold| {
        hold.event() == event
            && hold.state() == HoldState::Live
            && hold.expires_at_ms() == expires_at_ms
    })
}

impl EventClock {
    /// Remembers that a hold expires; `ttl_ms` names the queue, in which times must not go back.
    pub(crate) fn push(
        &mut self,
        holds: &Holds,
        (event, slot): (u32, u32),
        ttl_ms: u32,
        expires_at_ms: LogTimeMs,
    ) {
        let stale_max = 2 * self.live + STALE_MIN;
        // Mostly there is one queue, and nothing in it ends later.
        if let [queue] = self.queues.as_mut_slice()
            && queue.ttl_ms == ttl_ms
            && let Some(after) = queue.after(expires_at_ms)
            && queue.entries.back().is_none_or(|&(last, _)| last <= after)
            && queue.entries.len() <= stale_max
        {
            return queue.entries.push_back((after, slot));
        }
        let has_room =
            |queue: &TtlQueue| queue.after(expires_at_ms).filter(|_| queue.ttl_ms == ttl_ms);
        let known = self.queues.iter().enumerate();
        let known = known.map(|(at, queue)| (at, has_room(queue))).find(|known| known.1.is_some());
        let (at, after) = match known {
            Some((at, Some(after))) => (at, after),
            _ => self.begin_queue(ttl_ms, expires_at_ms),
        };
        let TtlQueue { base_ms, entries, .. } = &mut self.queues[at];
        if entries.len() > stale_max {
            let time = |after| *base_ms + LogTimeMs::from(after);
            entries.retain(|&(after, slot)| is_current(holds, event, time(after), slot));
        }
        // A hold that comes back from checkout, or from a snapshot, may be older than the last.
        if entries.back().is_none_or(|&(last, _)| last <= after) {
            entries.push_back((after, slot));
        } else {
            let at = entries.partition_point(|&(before, _)| before <= after);
            entries.insert(at, (after, slot));
        }
    }

    /// A new queue's place, and how long after its base this time is.
    #[cold]
    fn begin_queue(&mut self, ttl_ms: u32, time: LogTimeMs) -> (usize, u32) {
        self.queues.retain(|queue| !queue.entries.is_empty());
        let base_ms = time.saturating_sub(BEFORE_FIRST_MS);
        self.queues.push(TtlQueue { ttl_ms, base_ms, entries: VecDeque::new() });
        (self.queues.len() - 1, (time - base_ms) as u32)
    }

    /// The slots whose entries are due, stale ones too; see `read_ahead`.
    pub(crate) fn due_slots(&self, now: LogTimeMs) -> impl Iterator<Item = u32> {
        let queues = self.queues.iter();
        let due = queues.flat_map(move |queue| {
            queue.entries.iter().take_while(move |&&(after, _)| queue.time(after) <= now)
        });
        due.map(|&(_, slot)| slot)
    }

    /// Drops stale fronts and takes entries that are due into `due`.
    pub(crate) fn take_due(
        &mut self,
        holds: &Holds,
        event: u32,
        now: LogTimeMs,
        due: &mut Vec<u32>,
    ) {
        for queue in &mut self.queues {
            while let Some(&(after, slot)) = queue.entries.front() {
                let time = queue.time(after);
                let current = is_current(holds, event, time, slot);
                if current && time > now {
                    break;
                }
                queue.entries.pop_front();
                if current {
                    due.push(slot);
                }
            }
        }
        self.queues.retain(|queue| !queue.entries.is_empty());
    }

    /// A lower bound of when something ends.
    pub(crate) fn earliest(&self) -> Option<LogTimeMs> {
        let first = |queue: &TtlQueue| queue.entries.front().map(|&(after, _)| queue.time(after));
        let fronts = self.queues.iter().filter_map(first);
        let fence = self.fences.first().map(|&(time, _, _)| time);
        fronts.chain(fence).chain(self.release_at_ms).min()
    }

    /// When the first live hold ends if nothing is done, a fenced one at the end of its fence; or
    /// the first allotment is released.
    pub(crate) fn first_return(&mut self, holds: &Holds, event: u32) -> Option<LogTimeMs> {
        self.take_due(holds, event, 0, &mut Vec::new());
        self.earliest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_are_years_apart_are_kept_exactly() {
        let (mut clock, holds) = (EventClock::default(), Holds::new());
        let times = [1 << 40, (1 << 40) + 1, 7, (1 << 40) - BEFORE_FIRST_MS - 1, u64::MAX, 0];
        for (slot, time) in (0..).zip(times) {
            clock.push(&holds, (0, slot), 1000, time);
        }
        for (slot, time) in (0..).zip(times) {
            let is_due = |now| clock.due_slots(now).any(|due| due == slot);
            assert!(is_due(time), "{time}");
            assert!(time == 0 || !is_due(time - 1), "{time}");
        }
        assert_eq!(clock.earliest(), Some(0));
    }
}
