//! Owns what the control group (shard 0) keeps: event documents, hashes of API keys, public
//! signing keys.
//!
//! Documents are opaque here. Must never hold a secret.

use std::collections::BTreeMap;

use crate::ids::{EventNo, KeyHash, ShardNo};

/// An event's document, as readers see it and as it is being changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentRecord {
    /// The event's public id.
    pub event_id: Box<str>,
    /// The event's number.
    pub event: EventNo,
    /// The shard that sells it.
    pub shard: ShardNo,
    /// Who may change it.
    pub organizer: Box<str>,
    /// The revision readers see, and its bytes.
    pub published: Option<(u64, Box<[u8]>)>,
    /// A revision stored but not yet in force in its shard, and its bytes.
    pub prepared: Option<(u64, Box<[u8]>)>,
    /// The key whose request stored `prepared`.
    pub(crate) prepared_by: Option<KeyHash>,
    /// The last revision that its shard refused for good; its number is not used again.
    pub(crate) dropped: u64,
}

/// Whose an API key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// `organizer`, `support`, `finance` or `operator`.
    pub role: Box<str>,
    /// E.g. an organizer's id.
    pub owner: Box<str>,
}

#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) documents: BTreeMap<Box<str>, DocumentRecord>,
    pub(crate) api_keys: BTreeMap<[u8; 32], ApiKeyRecord>,
    pub(crate) signing_keys: BTreeMap<u32, [u8; 32]>,
}

impl Control {
    pub(crate) fn new() -> Self {
        Self {
            documents: BTreeMap::new(),
            api_keys: BTreeMap::new(),
            signing_keys: BTreeMap::new(),
        }
    }
}
