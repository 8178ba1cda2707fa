//! Payments: workers that lease jobs from the shards, talk to the gateway and report what it said;
//! webhooks; tickets; and a sandbox gateway.
//!
//! ```text
//! shard's outbox ──lease──▶ worker ──call──▶ gateway (Stripe, or `sandbox`)
//!       ▲                     │ ◀──answer──┘
//!       └──────report─────────┘   `checkout` says what an answer means
//! ```
//!
//! Nothing here is remembered: a worker may die at any point, its leases end and another one asks
//! the gateway again under the same keys. The reconciler of undecided payments is the outbox
//! itself: a job that is not settled becomes due again after at most
//! [`limits::RETRY_MS_MAX`] and asks the gateway how the payment stands, whether or not a webhook
//! ever came. Must never hold state that decides about money, nor see personal data.

// The sandbox writes objects of some fifty fields as one literal each.
#![recursion_limit = "256"]

pub mod checkout;
mod config;
mod error;
pub mod gateway;
pub mod limits;
pub mod metrics;
mod rpc;
pub mod sandbox;
mod service;
pub mod ticket;
pub mod webhook;
mod worker;

pub use config::Config;
pub use error::Error;
pub use service::{Handle, Service};
