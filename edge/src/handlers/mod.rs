//! Owns what each route of `/v1` does: one file per thing.
//!
//! Must never decide about seats or money: that is the shard's part. Must never keep anything
//! between requests.

pub(crate) mod availability;
pub(crate) mod channels;
pub(crate) mod checkout;
pub(crate) mod codes;
pub(crate) mod document;
pub(crate) mod document_form;
pub(crate) mod events;
pub(crate) mod gateway;
pub(crate) mod holds;
pub(crate) mod kills;
pub(crate) mod meta;
pub(crate) mod mix;
pub(crate) mod offer_form;
pub(crate) mod orders;
pub(crate) mod organizer;
pub(crate) mod places;
pub(crate) mod plain_wish;
pub(crate) mod reserve;
pub(crate) mod support;
pub(crate) mod wish;
