//! Owns the exit codes that scripts rely on (contract).
//!
//! Must never be bypassed: every way out of the process goes through these.

use std::{fmt, process::ExitCode};

use onsale_mesh::Failure;
use onsale_proto::Code;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is done.
    Done = 0,
    /// Something failed.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// What was asked for is not there.
    NotFound = 3,
    /// Somebody else's state is in the way.
    Conflict = 4,
    /// An invariant is broken.
    Broken = 5,
}

/// Why, and with which code.
#[derive(Debug)]
pub struct Failed {
    /// The code.
    pub exit: Exit,
    /// For people: what, where, and what to do.
    pub reason: String,
}

impl Failed {
    /// Something failed.
    pub fn new(reason: impl Into<String>) -> Failed {
        Failed { exit: Exit::Failed, reason: reason.into() }
    }

    /// The command line or the configuration is wrong.
    pub fn usage(reason: impl Into<String>) -> Failed {
        Failed { exit: Exit::Usage, reason: reason.into() }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Failed {
        let exit = match failure.code {
            Code::NotFound => Exit::NotFound,
            Code::Conflict => Exit::Conflict,
            Code::InvalidRequest => Exit::Usage,
            _ => Exit::Failed,
        };
        Failed { exit, reason: failure.to_string() }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}
