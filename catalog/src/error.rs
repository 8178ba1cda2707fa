//! Owns why a catalog cannot run. Must never hold what a caller did wrong: that is a
//! `onsale_mesh::Failure`.

use std::path::PathBuf;

use onsale_mesh::Failure;
use onsale_proto::Code;

/// Why a catalog cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings are wrong.
    #[error("configuration: {}", .0.join("; "))]
    Config(Vec<String>),
    /// Another process has the folder.
    #[error("{0} is in use by another process; give each catalog a data_dir of its own")]
    Locked(PathBuf),
    /// The folder cannot be made, opened or moved.
    #[error("{path}: {source}")]
    Folder {
        /// Which folder or file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// sled failed; remedy: stop, remove the folder, start.
    #[error("document store: {0}; it can be removed, the feed fills it again")]
    Store(String),
    /// The stored documents cannot be read.
    #[error("document store is unreadable: {0}")]
    Unreadable(String),
    /// tantivy failed.
    #[error("search index: {0}")]
    Index(#[from] tantivy::TantivyError),
    /// A thread of ours ended early.
    #[error("a catalog task ended early: {0}")]
    Task(String),
}

impl From<sled::Error> for Error {
    fn from(error: sled::Error) -> Error {
        Error::Store(error.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        // Callers get no paths and no inner details; those are in the log.
        tracing::error!(%error, "the catalog failed to answer");
        Failure::new(Code::Internal, "the catalog cannot read its documents")
    }
}
