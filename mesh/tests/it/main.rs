//! The shard client against real gRPC servers that redirect, break and stay silent.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod follower;
mod node;
mod shard_client;
