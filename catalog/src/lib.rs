//! The catalog: published event documents, listed, filtered and searched.
//!
//! An instance follows the control group's change feed, keeps the documents in sled and searches
//! them with tantivy. Everything here can be rebuilt from the feed; losing it loses nothing.
//! Must never be asked what is available or what a seat costs: that is the shard's to say.
//!
//! # Layout
//! `service` wires it and follows the feed · `rpc` answers gRPC · `store` keeps documents on disk ·
//! `index` finds them · `text` says what a word is · `page` makes page tokens · `view` is what
//! readers see · `writer` is what the feed changes.

mod config;
mod error;
mod index;
pub mod limits;
pub mod metrics;
mod page;
mod rpc;
mod service;
mod store;
mod text;
mod view;
mod writer;

pub use config::Config;
pub use error::Error;
pub use service::{CONTROL_SHARD, Handle, Service};
