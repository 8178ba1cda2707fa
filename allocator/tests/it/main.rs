//! The allocator's integration tests: one binary.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod cluster;
mod cluster_buyers;
mod cluster_checkpoints;
mod cluster_failures;
mod cluster_flush;
mod cluster_log;
mod cluster_members;
mod cluster_soak;
mod cluster_support;
mod cluster_time;
mod feed;
mod feed_many;
mod log_common;
mod log_kill;
mod log_power_loss;
mod log_records;
mod log_recovery;
mod log_suite;
mod rpc_calls;
mod rpc_channels;
mod rpc_convert;
mod rpc_document;
mod rpc_offers;
mod verify;
