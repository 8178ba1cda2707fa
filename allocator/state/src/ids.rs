//! Owns the identifiers that stand in commands, outcomes and changes.
//!
//! They are numbers here; their public spelling (`hold_…`, `101-A-12`) belongs to the edges of the
//! system. Must never be made inside `apply`: ids of new things come in with the command.

/// A shard's number. Shard 0 is the control group, 1… sell seats.
pub type ShardNo = u16;

/// An event's number, unique in the cluster, given out by the control group, counted from 1.
pub type EventNo = u32;

/// A section's place in its event's seat map, counted from 0.
pub type SectionNo = u16;

/// A category's place in its event's list, counted from 0.
pub type CategoryNo = u16;

/// A ticket type's place in its event's list, counted from 0; 0 where there is no list.
pub type TypeNo = u16;
/// The type of places that were taken before their event had any.
pub const NO_TYPE: TypeNo = TypeNo::MAX;

/// A channel of an event, counted from 1 in the order in which they were made; 0 is none.
pub type ChannelNo = u32;

/// A numbered seat's place in its event: all seated sections in seat-map order, row by row, from 0.
pub type SeatNo = u32;

/// A point in log time: Unix milliseconds as agreed through the log, never a local clock.
pub type LogTimeMs = u64;

/// Keyed hash of a buyer's session, e-mail or card. Zero is never a buyer.
pub type BuyerHash = u64;

/// Keyed hash of (scope, idempotency key).
pub type KeyHash = u128;

/// Keyed hash of a request's content, to tell a repeat from another use of the same key.
pub type RequestHash = u64;

/// Keyed hash of (event, code).
pub type CodeHash = u128;

/// A hold, unique in the cluster. The top 16 bits are its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldId(pub u128);

/// An order, unique in the cluster. The top 16 bits are its shard, the low 16 bits are zero:
/// ticket `n` of the order (counted from 1) is the order's number with `n` in those bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub u128);

/// A payment job of a shard, counted from 1 in the order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);
