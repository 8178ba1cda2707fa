//! Owns why a node does not start or ends. What a command can come to is an outcome, and what a
//! caller is told is a `Failure`.
//!
//! Every text says what an operator can do about it. Must never carry personal data.

use std::path::PathBuf;

/// Why a node does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings cannot be used.
    #[error("the allocator's settings are wrong: {}", .0.join("; "))]
    Config(Vec<String>),
    /// The log cannot be opened or written.
    #[error(transparent)]
    Log(#[from] crate::log::LogError),
    /// A file or folder cannot be used.
    #[error("{path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder belongs to another node or cluster.
    #[error(
        "{folder} belongs to node {node} of cluster `{cluster}`; start it with that identity, or \
         give this node a folder of its own"
    )]
    ForeignFolder {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        node: u64,
        /// Of which cluster.
        cluster: String,
    },
    /// Settings that are fixed when a cluster is formed were changed.
    #[error("{what} is {now} in the settings but {formed} in {file}; it cannot be changed later")]
    FixedSetting {
        /// Which setting.
        what: &'static str,
        /// As formed.
        formed: String,
        /// As configured.
        now: String,
        /// Where the former stands.
        file: PathBuf,
    },
    /// A node whose folder is empty, of a cluster that knows it.
    #[error(
        "the cluster `{cluster}` exists (node {peer} has its data) but {folder} is empty: node \
         {node} lost its disk and must not come back under its number. Replace it: \
         `onsale cluster remove-replica --node {node} --grpc {ask}`; start it again with a new \
         node.id, an empty node.data_dir and cluster.join = true; then \
         `onsale cluster add-replica --node <the new number> --grpc <its address>`"
    )]
    Emptied {
        /// This node.
        node: u64,
        /// The cluster.
        cluster: String,
        /// The empty folder.
        folder: PathBuf,
        /// Who knows the cluster.
        peer: u64,
        /// `host:port` of a node that goes on.
        ask: String,
    },
    /// A peer with other settings.
    #[error(
        "node {peer} does not agree on what the cluster is (name, nodes, shards or limits): its \
         fingerprint is {theirs} (cluster `{cluster}`), ours is {ours}"
    )]
    Disagreement {
        /// The peer.
        peer: u64,
        /// Its fingerprint.
        theirs: String,
        /// Its cluster.
        cluster: String,
        /// Our fingerprint.
        ours: String,
    },
    /// A snapshot that cannot be used, and no other one that could stand in.
    #[error("{file} at byte {offset}: {reason}. {remedy}")]
    Snapshot {
        /// Which file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// The log starts after the newest snapshot that can be read.
    #[error(
        "shard {shard}: the log starts after entry {purged}, but the newest readable snapshot ends \
         at entry {snapshot}; replace this replica with `onsale cluster remove-replica` and \
         `add-replica`"
    )]
    Hole {
        /// Which shard.
        shard: u32,
        /// Last entry that is gone from the log.
        purged: u64,
        /// Last entry in the snapshot.
        snapshot: u64,
    },
    /// This replica's state is not the majority's.
    #[error(
        "shard {shard}: at entry {index} this replica's state is another than the majority's; the \
         node stops so that nobody is told an untruth. Keep its folder for `onsale verify`, then \
         replace it: `onsale cluster remove-replica`, then `onsale cluster add-replica` with an \
         empty folder"
    )]
    Diverged {
        /// Which shard.
        shard: u32,
        /// The first entry at which the comparison shows it.
        index: u64,
    },
    /// The replicas' states differ, and no majority of them agrees.
    #[error(
        "shard {shard}: at entry {index} the replicas' states differ and no majority agrees; all \
         stop so that nobody is told an untruth. Keep the folders and run `onsale verify` on each: \
         it says from which entry on whose state does not follow from the log"
    )]
    Divided {
        /// Which shard.
        shard: u32,
        /// The first entry at which the comparison shows it.
        index: u64,
    },
    /// A replica ended.
    #[error("shard {shard}: {reason}")]
    Replica {
        /// Which shard.
        shard: u32,
        /// Why.
        reason: String,
    },
    /// A task that a shard cannot do without has ended.
    #[error("a task of a shard has ended: {reason}; start the process again")]
    Task {
        /// Why.
        reason: String,
    },
    /// The operating system gave no randomness, or the like.
    #[error("{0}")]
    Other(String),
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Error {
        Error::Io { path: path.into(), source }
    }
}

/// Why a command or an exact read got no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads the shard (0: none is known); nothing was submitted.
    #[error("not the leader of this shard")]
    NotLeader(u64),
    /// It may have been applied or not: repeat the same command.
    #[error("the outcome is not known")]
    Unknown,
    /// The shard's queue is full; nothing was submitted.
    #[error("the shard's queue is full")]
    Overloaded,
}

impl From<ProposeError> for tonic::Status {
    fn from(error: ProposeError) -> tonic::Status {
        match error {
            ProposeError::NotLeader(leader) => onsale_proto::error::not_leader(leader),
            ProposeError::Unknown => {
                onsale_proto::Code::OutcomeUnknown.to_status("repeat it with the same key")
            }
            ProposeError::Overloaded => {
                onsale_proto::Code::Overloaded.to_status("the shard's queue is full")
            }
        }
    }
}
