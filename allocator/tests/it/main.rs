//! The allocator's integration tests: one binary.
#![allow(missing_docs)]

mod log_common;
mod log_kill;
mod log_power_loss;
mod log_records;
mod log_recovery;
mod log_suite;
mod cluster;
mod cluster_buyers;
mod cluster_failures;
mod cluster_support;
mod feed;
mod rpc_convert;
mod rpc_document;
