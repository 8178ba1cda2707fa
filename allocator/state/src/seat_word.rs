//! Owns the layout of a seat's word: what readers of other threads see of one seat.
//!
//! Bits 0–1 are the state, bits 32–63 the slot of the hold (held) or order (sold) that owns it.
//! Slots are numbers of this replica's memory: they must never reach an outcome or a snapshot.

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
pub struct SeatWord(pub u64);

impl SeatWord {
    pub(crate) const AVAILABLE: Self = Self(0);

    pub(crate) fn owned(state: SeatState, slot: u32) -> Self {
        Self(u64::from(slot) << 32 | state as u64)
    }

    /// The seat's state.
    pub fn state(self) -> SeatState {
        SeatState::from_bits(self.0 as u8)
    }
}
