//! Owns the types that openraft is made of here: what an entry carries, what applying it gives.
//!
//! Must never decode a batch twice: it is decoded once, where its bytes arrive.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use onsale_state::{Batch, DecodeError, Outcome};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::raft::snapshot::SnapshotFile;

openraft::declare_raft_types!(
    /// openraft's type parameters for one shard.
    pub TypeConfig:
        D = Proposal,
        R = Outcomes,
        NodeId = u64,
        Node = Member,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = SnapshotFile,
        AsyncRuntime = openraft::TokioRuntime,
);

/// What a membership says of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// `host:port` of a node that was added; empty for one that the cluster was formed with, whose
    /// address stands in the settings.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub grpc: String,
}

/// A log entry.
pub type Entry = openraft::Entry<TypeConfig>;
/// What an entry carries.
pub type Payload = openraft::EntryPayload<TypeConfig>;
/// Term, leader and index of an entry.
pub type LogId = openraft::LogId<u64>;
/// Whom this replica voted for, and whether a quorum did.
pub type Vote = openraft::Vote<u64>;
/// The shard's voters and learners.
pub type Membership = openraft::Membership<u64, Member>;
/// A membership and the entry it came with.
pub type StoredMembership = openraft::StoredMembership<u64, Member>;
/// What a snapshot contains.
pub type SnapshotMeta = openraft::SnapshotMeta<u64, Member>;
/// An error of the storage below openraft.
pub type StorageError = openraft::StorageError<u64>;

/// A batch as bytes and decoded. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Proposal(Arc<(Bytes, Batch)>);

impl Proposal {
    /// Encodes a batch.
    #[must_use]
    pub fn new(batch: Batch) -> Self {
        let mut bytes = Vec::new();
        batch.encode(&mut bytes);
        // Not the room that it grew into: it stays until a snapshot has taken the entry in.
        Self(Arc::new((Bytes::copy_from_slice(&bytes), batch)))
    }

    /// Decodes a batch that came from a log or another node.
    ///
    /// # Errors
    /// When the bytes are not a batch.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let batch = Batch::decode(&bytes)?;
        Ok(Self(Arc::new((bytes, batch))))
    }

    /// As it stands in the log.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0.0
    }

    /// The commands and their time.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.0.1
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batch = self.batch();
        write!(f, "Proposal({} commands at {})", batch.commands.len(), batch.log_time_ms)
    }
}

impl Serialize for Proposal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.bytes())
    }
}

impl<'de> Deserialize<'de> for Proposal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        Self::decode(bytes.into()).map_err(D::Error::custom)
    }
}

/// The outcomes of a batch, in its order; empty for an entry without commands.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Outcomes(pub Vec<Outcome>);

// openraft asks for serde where outcomes might be sent on; ours never leave the process this way.
impl Serialize for Outcomes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Outcomes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer)?;
        Ok(Self::default())
    }
}
