//! The edge over real sockets, with small gRPC servers behind it.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, clippy::result_large_err)]

mod availability;
mod backend;
mod bad_input;
mod buying;
mod client;
mod fixture;
mod organizing;
mod pages;
mod slow_clients;
mod walk;
