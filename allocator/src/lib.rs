//! The seat allocator: Raft groups over the pure state machine of `onsale-state`, their log, their
//! change feed and the gRPC services in front of them.
//!
//! A node holds one replica of every shard ([`shard`]); openraft is known to [`raft`] only, log
//! files to `log` only. Must never serve HTTP, know a payment gateway, or answer "yes" to anything
//! that is not in the log.

mod care;
mod checkpoints;
pub mod config;
pub mod document;
pub mod error;
pub mod feed;
pub mod front;
pub mod limits;
pub mod log;
pub mod metrics;
mod offer;
pub mod raft;
pub mod rpc;
pub mod service;
pub mod shard;
mod surroundings;
mod timeline;
pub mod verify;

pub use config::Config;
pub use error::{Error, ProposeError};
pub use service::{Handle, Service};
pub use surroundings::Surroundings;
