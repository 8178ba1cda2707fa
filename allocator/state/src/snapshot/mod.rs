//! Owns the spelling of a shard's whole state: everything that decides later outcomes, sorted, so
//! that equal states have equal bytes whatever their past.
//!
//! Slots, bitmaps, counters and queues are not in it; reading it makes them again.

mod copy;
mod read;
mod tickets;
mod write;

/// The format's version.
const VERSION: u8 = 1;

pub use copy::Copy;
