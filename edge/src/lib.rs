//! The public HTTP of onsale: the JSON interface of `/v1` and plain pages for people.
//!
//! ```text
//! socket → server (deadlines, caps) → dispatch (route, limit, key, body) → handlers → shards
//!                                                              availability ← feeds of all shards
//! ```
//!
//! The edge keeps nothing that matters: what was answered is known by the shards alone, so any edge
//! can answer any request. Must never decide about seats or money, and never store anything.

pub mod auth;
mod availability;
pub mod body;
pub mod config;
mod dispatch;
mod documents;
mod duration;
pub mod error;
mod event_view;
mod handlers;
mod idempotency;
mod json;
pub mod limits;
pub mod metrics;
mod offer_view;
pub mod openapi;
mod pages;
pub mod problem;
pub mod reply;
pub mod request;
pub mod routes;
mod server;
pub mod service;
mod session;

pub use config::Config;
pub use error::Error;
pub use service::{Handle, Service};
