//! Owns the layout of a seat's word: what readers of other threads see of one seat.
//!
//! Bits 0–1 are the state, the others the slot of the hold (held) or order (sold) that owns it.
//! Slots are numbers of this replica's memory: they must never reach an outcome or a snapshot.

use crate::limits::SLOTS_MAX;

/// The state of a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SeatState {
    /// May be held.
    Available = 0,
    /// Somebody's for a while.
    Held = 1,
    /// Somebody's for good.
    Sold = 2,
    /// Withdrawn by the organizer.
    Killed = 3,
}

impl SeatState {
    /// The state of a two-bit number; only the low two bits count.
    pub fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Available,
            1 => Self::Held,
            2 => Self::Sold,
            _ => Self::Killed,
        }
    }
}

/// A seat's word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeatWord(pub u32);

impl SeatWord {
    pub(crate) const AVAILABLE: Self = Self(0);
    /// Nobody's, and set aside for a channel: to everybody else as good as held.
    pub(crate) const SET_ASIDE: Self = Self((SLOTS_MAX - 1) << 2 | SeatState::Held as u32);

    /// The word of a state; a slot counts only where somebody owns the seat.
    pub(crate) fn of(state: SeatState, slot: u32) -> Self {
        match state {
            SeatState::Available => Self::AVAILABLE,
            _ => Self::owned(state, slot),
        }
    }

    pub(crate) fn owned(state: SeatState, slot: u32) -> Self {
        assert!(slot < SLOTS_MAX - 1, "a table has more slots than its limit allows");
        Self(slot << 2 | state as u32)
    }

    /// The seat's state.
    pub fn state(self) -> SeatState {
        SeatState::from_bits(self.0 as u8)
    }
}
