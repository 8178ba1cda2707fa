//! Owns every way in which this crate can fail as a whole. What may happen to one payment is not
//! here: those are answers, see [`crate::gateway::Answer`].

use std::path::{Path, PathBuf};

/// Why a worker or a sandbox cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration makes no sense; all that is wrong with it.
    #[error("payments configuration: {}", .0.join("; "))]
    Config(Vec<String>),
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file's content is not what was written.
    #[error(
        "{path} is damaged at byte {offset}: restore the file from a copy, or move it away to \
         start with empty books"
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// From where on.
        offset: u64,
    },
    /// The signing key file is not a key.
    #[error("{path} has {bytes} bytes, a signing key has 32: restore it, or remove it to make one")]
    SigningKey {
        /// Which.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// Another process has the file.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// The sandbox's journal does not work any more.
    #[error("sandbox journal: {0}")]
    Journal(String),
    /// The listener failed.
    #[error("listener: {0}")]
    Listener(std::io::Error),
    /// The HTTP client cannot be made.
    #[error("HTTP client: {0}")]
    Client(String),
    /// The operating system gives no randomness.
    #[error("randomness: {0}")]
    Randomness(String),
}

impl Error {
    pub(crate) fn file(path: &Path, error: std::io::Error) -> Error {
        Error::File { path: path.to_path_buf(), error }
    }
}
