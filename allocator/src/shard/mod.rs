//! A shard on this node: its queue, its leader's clock, its readers, and how a cluster is formed.
//!
//! Must never know openraft (that is [`crate::raft`]) nor the wire (that is [`crate::rpc`]).

pub mod batch;
pub mod group;
pub(crate) mod hand_over;
pub mod identity;
pub mod leadership;
pub mod log_time;
pub mod placement;
mod weight;

pub use batch::{Answer, Collector};
pub use group::{Group, Groups};
