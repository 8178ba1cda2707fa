//! Owns the errors of reading bytes. What a command can come to is an outcome, not an error.

/// Why bytes are not a batch or a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end too early.
    #[error("the bytes end in the middle of a value")]
    Truncated,
    /// Written by another version of this crate.
    #[error("format version {0} is unknown")]
    Version(u8),
    /// A count or size is above its bound.
    #[error("{what} is above its bound")]
    TooLarge {
        /// Which one.
        what: &'static str,
    },
    /// A value that cannot be.
    #[error("{what} is not valid")]
    Invalid {
        /// Which one.
        what: &'static str,
    },
    /// There are bytes after the end.
    #[error("there are bytes after the end")]
    TrailingBytes,
}
