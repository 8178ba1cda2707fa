//! Owns the records of holds: live ones, and the ended ones that are kept as long as their keys.
//!
//! Must never touch a seat.

use std::collections::VecDeque;

use crate::{
    event::PlaceRefs,
    ids::{BuyerHash, HoldId, KeyHash, LogTimeMs, RequestHash},
    index::Index,
    slab::{NONE, Slab, hash_of},
};

/// Where a hold is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum HoldState {
    /// Its seats are the buyer's until it expires.
    Live = 0,
    /// A payment is undecided; it cannot expire.
    InCheckout = 1,
    /// Its seats are an order's.
    Sold = 2,
    /// Given back by the buyer.
    Released = 3,
    /// Ended by time, or with an order that failed after its seats were sold.
    Expired = 4,
}

impl HoldState {
    pub(crate) fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::Live,
            1 => Self::InCheckout,
            2 => Self::Sold,
            3 => Self::Released,
            4 => Self::Expired,
            _ => return None,
        })
    }

    /// Do seats stand in state held for it?
    pub(crate) fn has_seats(self) -> bool {
        matches!(self, Self::Live | Self::InCheckout)
    }
}

/// A hold, and the dedup entry of the request that made it.
///
/// Two cache lines: who it is and what state it is in, then its times and places.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Hold {
    pub(crate) id: HoldId,
    pub(crate) key: KeyHash,
    pub(crate) request: RequestHash,
    pub(crate) buyer: BuyerHash,
    /// The event's slot.
    pub(crate) event: u32,
    /// The slot of the order that has it in checkout or has bought it; or [`NONE`].
    pub(crate) order: u32,
    /// The ttl with which it was granted: what its first answer said.
    pub(crate) ttl_ms: u32,
    pub(crate) price_list: u16,
    pub(crate) extensions: u16,
    pub(crate) held_at_ms: LogTimeMs,
    pub(crate) expires_at_ms: LogTimeMs,
    /// When it ended, with the payment of its order; 0 before.
    pub(crate) ended_at_ms: LogTimeMs,
    pub(crate) places: PlaceRefs,
    pub(crate) state: HoldState,
}

const _: () = assert!(size_of::<Option<Hold>>() == 128, "a hold has two cache lines");

/// All holds of a shard.
#[derive(Debug)]
pub(crate) struct Holds {
    pub(crate) slab: Slab<Hold>,
    ids: Index,
    /// Ended holds, in the order in which they are forgotten.
    pub(crate) ended: VecDeque<(LogTimeMs, u32)>,
    /// Holds that have seats.
    pub(crate) alive: usize,
}

impl Holds {
    pub(crate) fn new() -> Self {
        Self { slab: Slab::new(), ids: Index::new(), ended: VecDeque::new(), alive: 0 }
    }

    pub(crate) fn slot(&self, id: HoldId) -> Option<u32> {
        self.ids.find(hash_of(id.0), |slot| self.slab[slot].id == id)
    }

    pub(crate) fn insert(&mut self, hold: Hold) -> u32 {
        let id = hold.id;
        self.alive += usize::from(hold.state.has_seats());
        let slot = self.slab.insert(hold);
        self.ids.insert(hash_of(id.0), slot);
        slot
    }

    /// Moves a hold to another state, for good or for a while.
    pub(crate) fn set_state(&mut self, slot: u32, state: HoldState) {
        let hold = &mut self.slab[slot];
        self.alive -= usize::from(hold.state.has_seats());
        self.alive += usize::from(state.has_seats());
        hold.state = state;
    }

    /// The hold's life is over; its record stays until `forget_at_ms`.
    pub(crate) fn end(&mut self, slot: u32, now: LogTimeMs, forget_at_ms: LogTimeMs) {
        self.slab[slot].ended_at_ms = now;
        self.ended.push_back((forget_at_ms, slot));
    }

    /// Forgets a record; its key.
    pub(crate) fn remove(&mut self, slot: u32) -> KeyHash {
        let Hold { id, key, .. } = self.slab[slot];
        self.ids.remove(hash_of(id.0), slot);
        self.slab.remove(slot);
        key
    }

    /// Reads what `slot`, `insert` and `remove` will read first; see `Shard::warm_up`.
    pub(crate) fn touch(&self, id: HoldId) -> u64 {
        self.ids.touch(hash_of(id.0))
    }

    pub(crate) fn clear_order(&mut self, slot: u32) {
        self.slab[slot].order = NONE;
    }
}
