//! The gRPC services of a node, and the border between messages and commands.
//!
//! Must never decide anything about seats: that is the state machine's part, behind the log.

pub(crate) mod cluster;
pub mod control;
pub mod convert;
pub mod deadline;
pub mod directory;
pub mod feed;
pub mod hold;
pub mod job;
mod members;
pub mod node;
pub(crate) mod raft;
pub(crate) mod staff;
pub mod status;
pub(crate) mod submit;
