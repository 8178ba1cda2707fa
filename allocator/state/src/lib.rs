//! The pure state machine of a shard: what may be held, by whom, until when, and what becomes of
//! it.
//!
//! ```text
//! seat:   available ──hold──▶ held ──sell──▶ sold
//!             ▲                │              │
//!             └─release/expire─┘◀─ capture refused
//!
//! hold:   Live ⇄ InCheckout ──▶ Sold        order: Processing ⇄ ActionRequired ─▶ Sold ─▶
//! Confirmed
//!           │         │          │                      │                          │
//!           ▼         ▼          ▼                      └────────▶ Failed ◀────────┘
//!        Released   Expired   Expired
//! ```
//!
//! [`Shard::apply`] takes a log entry's batch: log time, what time ends, then the commands in
//! order.
//! The same entries give the same outcomes, changes and hash chain on every replica. Nothing here
//! reads a clock, draws a random number, does IO, uses floats, or iterates over a seeded map.
//! Rejections are outcomes; a broken invariant is an assertion that stays on in release.

mod apply;
mod audit;
mod best_available;
mod buyer_limit;
mod chain;
mod channels;
mod codec;
mod codes;
mod control;
mod dedup;
mod error;
mod event;
mod event_places;
mod event_view;
mod general_admission;
mod hoarding;
mod hold;
mod hold_expiry;
mod holds;
mod index;
mod invariants;
mod job;
mod joint;
mod kills;
mod offer;
mod order_life;
mod quota_room;
mod shard;
mod shared_terms;
mod slab;
mod snapshot;
mod staff;
mod tickets;
mod view;
mod wishes;
mod withdrawal;

pub mod change;
pub mod command;
pub mod ids;
pub mod limits;
pub mod order;
pub mod outcome;
pub mod read_ahead;
mod row_names;
mod seat_map;
pub mod seat_word;

pub use apply::apply;
pub use change::Change;
pub use channels::{ChannelKeyHash, ChannelView};
pub use codes::CodesView;
pub use command::{Batch, Command, CommandKind};
pub use control::{ApiKeyRecord, DocumentRecord};
pub use error::DecodeError;
pub use event::EventState;
pub use event_view::{AreaWord, EventView, SectionAvailability};
pub use hold::HoldState;
pub use ids::{
    BuyerHash, CategoryNo, ChannelNo, EventNo, HoldId, JobId, KeyHash, LogTimeMs, NO_TYPE, OrderId,
    RequestHash, SeatNo, SectionNo, ShardNo, TypeNo,
};
pub use invariants::Violation;
pub use limits::Limits;
pub use order::{FailureCode, JobKind, OrderStatus};
pub use outcome::{
    AreaTaken, CodeFault, Done, Held, LeasedJob, Outcome, Place, QuotaTaken, Rejection,
};
pub use seat_map::{SeatKind, SeatMap};
pub use seat_word::{SeatState, SeatWord};
pub use shard::Shard;
pub use snapshot::Copy as SnapshotCopy;
pub use view::{Counts, HoldView, MovedTicket, OrderFailure, OrderView};
