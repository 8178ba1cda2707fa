//! Payments against its sandbox, over real HTTP and gRPC.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod action;
mod checkout;
mod gateway;
mod kill;
mod model;
mod sandbox;
mod shards;
mod support;
mod webhook;
mod worker;
