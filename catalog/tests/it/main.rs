//! The catalog from outside: a real gRPC feed in front, a real gRPC client behind.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used)]

mod feed;
mod follow;
mod harness;
mod hostile;
mod model;
