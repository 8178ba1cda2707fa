//! Owns who asks for a shard's lead and when, on the side of one replica: when its leader was last
//! heard, standing for election, giving the lead away.
//!
//! openraft's own election timer is off: it asks after twice the lease and draws its timeout once
//! per process (see `docs/adr/0006-who-asks-for-the-lead-and-when.md`). Must never vote: that is
//! openraft's part, and so is every promise about terms.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Instant,
};

use super::Replica;
use crate::limits::ELECTION_MARGIN_MS;

/// What a replica remembers about its leader.
pub(super) struct Lead {
    since: Instant,
    /// Milliseconds after `since` at which a leader or a candidate that got our vote was heard.
    heard_ms: AtomicU64,
    /// Milliseconds after `since` at which this replica was first seen to lead; 0 where it
    /// does not.
    leads_since_ms: AtomicU64,
    /// A lease, and a little.
    lease_ms: u64,
    /// A voter refused its vote because it has more entries.
    outrun: AtomicBool,
    /// This node is stopping.
    leaving: AtomicBool,
    /// Milliseconds after `since` up to which an operator wants the lead to stay; 0 is not at all.
    pinned_until_ms: AtomicU64,
}

impl Lead {
    pub(super) fn new(election_ms: u64) -> Lead {
        Lead {
            since: Instant::now(),
            heard_ms: AtomicU64::new(0),
            leads_since_ms: AtomicU64::new(0),
            lease_ms: election_ms + ELECTION_MARGIN_MS,
            outrun: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            pinned_until_ms: AtomicU64::new(0),
        }
    }

    pub(super) fn heard_now(&self) {
        self.heard_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    pub(super) fn outrun(&self) {
        self.outrun.store(true, Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Replica {
    /// Milliseconds since this replica heard of its leader, or gave its vote.
    pub(crate) fn silent_ms(&self) -> u64 {
        self.lead.now_ms().saturating_sub(self.lead.heard_ms.load(Ordering::Relaxed))
    }

    /// Says whether this replica leads at the moment.
    pub(crate) fn note_leading(&self, leads: bool) {
        let since_ms = &self.lead.leads_since_ms;
        if !leads {
            since_ms.store(0, Ordering::Relaxed);
        } else if since_ms.load(Ordering::Relaxed) == 0 {
            since_ms.store(self.lead.now_ms().max(1), Ordering::Relaxed);
        }
    }

    /// Waits until this leader may vote for another one: it keeps the lease of its own election,
    /// too.
    pub(crate) async fn may_vote(&self) {
        self.note_leading(self.leads());
        let led_ms = self.lead.now_ms() - self.lead.leads_since_ms.load(Ordering::Relaxed);
        let left_ms = self.lead.lease_ms.saturating_sub(led_ms);
        tokio::time::sleep(std::time::Duration::from_millis(left_ms)).await;
    }

    /// The leader was heard just now, or leads here.
    pub(crate) fn heard(&self) {
        self.lead.heard_now();
    }

    /// Whether a voter said since the last call that it has more entries: it should lead.
    pub(crate) fn take_outrun(&self) -> bool {
        self.lead.outrun.swap(false, Ordering::Relaxed)
    }

    /// Stands for election; nothing happens where this replica leads or has no vote.
    pub(crate) async fn stand(&self) {
        if !self.is_leaving() {
            let _ = self.raft.trigger().elect().await;
        }
    }

    /// From here on this replica asks for no lead and is given none.
    pub(crate) fn leave(&self) {
        self.lead.leaving.store(true, Ordering::Relaxed);
    }

    /// Whether [`Self::leave`] was called.
    pub(crate) fn is_leaving(&self) -> bool {
        self.lead.leaving.load(Ordering::Relaxed)
    }

    /// An operator gave this replica the lead: it is not given away for so long.
    pub(crate) fn pin(&self, for_ms: u64) {
        let until_ms = self.lead.now_ms().saturating_add(for_ms);
        self.lead.pinned_until_ms.store(until_ms, Ordering::Relaxed);
    }

    /// Whether an operator wants the lead to stay here for now.
    pub(crate) fn is_pinned(&self) -> bool {
        self.lead.pinned_until_ms.load(Ordering::Relaxed) > self.lead.now_ms()
    }
}
