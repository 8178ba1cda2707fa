//! Owns everything that can be wrong with the log, in words an operator can act on.
//!
//! Must never carry a payload: entries hold personal data.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What to do about damage; printed with every [`Damage`].
pub const REMEDY: &str = "do not delete or edit files; restore this file from a copy of the \
    folder, or give this replica up: `onsale cluster remove-replica`, then `onsale cluster \
    add-replica` with an empty folder";

/// Acknowledged data that cannot be read back. The log refuses to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Byte offset in the file, as exact as can be told.
    pub offset: u64,
    /// What was found there.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, what } = self;
        write!(f, "{}: offset {offset}: {what}; remedy: {REMEDY}", file.display())
    }
}

/// Why the log does not open, or is of no use any more.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The disk said no.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The disk's answer.
        #[source]
        source: Arc<io::Error>,
    },
    /// Another process (or another log of this process) uses the folder.
    #[error(
        "the folder {} is in use by another process; one folder belongs to one process: stop the \
         other one, or give this one its own folder",
        .0.display()
    )]
    Locked(PathBuf),
    /// Acknowledged data is damaged or missing.
    #[error("the log is damaged: {0}")]
    Damaged(Damage),
    /// A setting is out of its range.
    #[error("log setting: {0}")]
    Config(String),
    /// No randomness or no thread to be had, or a mistake of our own was caught.
    #[error("the log cannot go on: {0}")]
    System(String),
}

impl LogError {
    /// An error of the disk while doing `action` to `path`.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source: Arc::new(source) }
    }

    /// Damage in `file` at `offset`.
    pub(crate) fn damaged(file: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged(Damage { file: file.to_owned(), offset, what: what.into() })
    }

    /// As an [`io::Error`], of the same kind where there is one.
    pub fn to_io(&self) -> io::Error {
        let kind = match self {
            Self::Io { source, .. } => source.kind(),
            Self::Locked(_) => io::ErrorKind::ResourceBusy,
            Self::Damaged(_) => io::ErrorKind::InvalidData,
            Self::Config(_) => io::ErrorKind::InvalidInput,
            Self::System(_) => io::ErrorKind::Other,
        };
        io::Error::new(kind, self.to_string())
    }
}
