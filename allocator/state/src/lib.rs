//! The pure state machine of a shard.
pub mod change;
pub mod command;
pub mod ids;
pub mod outcome;
