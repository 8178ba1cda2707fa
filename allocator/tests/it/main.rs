//! The allocator's integration tests: one binary.
#![allow(missing_docs)]

mod cluster;
mod cluster_buyers;
mod cluster_failures;
mod cluster_support;
