//! What every role needs to talk to the others: the shard client that finds leaders, deadlines,
//! channels and servers with our settings, telemetry, health.
//!
//! Must never know what a hold or an event means, nor which role uses it.

pub mod breaker;
pub mod channel;
mod deadline;
mod failure;
mod follower;
mod leader_calls;
pub mod limits;
pub mod ops;
mod peers;
pub mod server;
mod shard_client;
mod submit_stream;
pub mod telemetry;

pub use deadline::Deadline;
pub use failure::{Failure, More};
pub use follower::Follower;
pub use shard_client::{DIRECT, Node, ShardClient};
