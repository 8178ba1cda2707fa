//! Owns the exit codes that scripts rely on: 0 done · 1 failed · 2 usage · 3 not found ·
//! 4 conflict · 5 invariant broken.

use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is done.
    Done = 0,
    /// Something failed, or a threshold was missed.
    Failed = 1,
    /// The command line or a scenario file is wrong.
    Usage = 2,
    /// A file, a program or an event is not there.
    NotFound = 3,
    /// Something else is in the way.
    Conflict = 4,
    /// Oversold, or an acknowledged answer was lost.
    Broken = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// A failure that has an exit code of its own; others end as [`Exit::Failed`].
#[derive(Debug)]
pub struct Ended {
    /// The code.
    pub exit: Exit,
    /// What, and what to do.
    pub why: String,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Ended {}

/// A failure with its exit code.
pub fn ended(exit: Exit, why: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Ended { exit, why: why.into() })
}

/// The exit code of a failure.
pub fn of(error: &anyhow::Error) -> Exit {
    let known = error.chain().find_map(|cause| cause.downcast_ref::<Ended>());
    known.map_or(Exit::Failed, |ended| ended.exit)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_failure_keeps_its_code_under_context() {
        let error = Err::<(), _>(ended(Exit::NotFound, "no redis")).context("compare");
        assert_eq!(of(&error.expect_err("failed")), Exit::NotFound);
        assert_eq!(of(&anyhow::anyhow!("x")), Exit::Failed);
    }
}
