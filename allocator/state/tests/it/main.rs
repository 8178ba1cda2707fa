//! The state machine against a naive second implementation, against its own snapshots, and rule by
//! rule.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::manual_is_multiple_of)]

mod best_available;
mod channels;
mod codec;
mod codes;
mod compare;
mod control;
mod history;
mod hoarding;
mod kit;
mod naive;
mod offers;
mod openings;
mod orders;
mod properties;
mod rejections;
mod replicas;
mod tickets;
mod withdrawals;
