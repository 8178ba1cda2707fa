//! Owns when an event's holds and payment fences end.
//!
//! All holds of one ttl expire in the order in which they were granted, because log time never goes
//! back; so a queue for each ttl in use is an ordered structure at no cost. Entries of holds that
//! ended otherwise stay until they reach the front or outnumber the others.
//! Must never end a hold itself.

use std::collections::{BTreeSet, VecDeque};

use smallvec::SmallVec;

use crate::{
    hold::{Hold, HoldState},
    ids::{LogTimeMs, OrderId},
    slab::Slab,
};

/// Entries of a queue that may be stale before it is tidied.
const STALE_MIN: usize = 1024;

#[derive(Debug)]
struct TtlQueue {
    ttl_ms: u32,
    entries: VecDeque<(LogTimeMs, u32)>,
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
fn is_current(holds: &Slab<Hold>, event: u32, expires_at_ms: LogTimeMs, slot: u32) -> bool {
    holds.get(slot).is_some_and(|hold| {
        hold.event == event
            && hold.state == HoldState::Live
            && hold.expires_at_ms() == expires_at_ms
    })
}

impl EventClock {
    /// Remembers that a hold expires; `ttl_ms` names the queue, in which times must not go back.
    pub(crate) fn push(
        &mut self,
        holds: &Slab<Hold>,
        (event, slot): (u32, u32),
        ttl_ms: u32,
        expires_at_ms: LogTimeMs,
    ) {
        let live = self.live;
        let at = match self.queues.iter().position(|queue| queue.ttl_ms == ttl_ms) {
            Some(at) => at,
            None => {
                self.queues.retain(|queue| !queue.entries.is_empty());
                self.queues.push(TtlQueue { ttl_ms, entries: VecDeque::new() });
                self.queues.len() - 1
            }
        };
        let entries = &mut self.queues[at].entries;
        if entries.len() > 2 * live + STALE_MIN {
            entries.retain(|&(time, slot)| is_current(holds, event, time, slot));
        }
        // A hold that comes back from checkout, or from a snapshot, may be older than the last.
        let after = entries.back().is_none_or(|&(last, _)| last <= expires_at_ms);
        if after {
            entries.push_back((expires_at_ms, slot));
        } else {
            let at = entries.partition_point(|&(time, _)| time <= expires_at_ms);
            entries.insert(at, (expires_at_ms, slot));
        }
    }

    /// The slots whose entries are due, stale ones too; see `read_ahead`.
    pub(crate) fn due_slots(&self, now: LogTimeMs) -> impl Iterator<Item = u32> {
        let queues = self.queues.iter();
        let due = queues
            .flat_map(move |queue| queue.entries.iter().take_while(move |&&(time, _)| time <= now));
        due.map(|&(_, slot)| slot)
    }

    /// Drops stale fronts and takes entries that are due into `due`.
    pub(crate) fn take_due(
        &mut self,
        holds: &Slab<Hold>,
        event: u32,
        now: LogTimeMs,
        due: &mut Vec<u32>,
    ) {
        for queue in &mut self.queues {
            while let Some(&(time, slot)) = queue.entries.front() {
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
        let fronts = self.queues.iter().filter_map(|queue| queue.entries.front());
        let fence = self.fences.first().map(|&(time, _, _)| time);
        fronts.map(|&(time, _)| time).chain(fence).chain(self.release_at_ms).min()
    }

    /// When the first live hold ends if nothing is done, a fenced one at the end of its fence; or
    /// the first allotment is released.
    pub(crate) fn first_return(&mut self, holds: &Slab<Hold>, event: u32) -> Option<LogTimeMs> {
        self.take_due(holds, event, 0, &mut Vec::new());
        self.earliest()
    }
}
