//! Owns the absolute end of a piece of work, handed on from call to call.
//!
//! Must never be stretched on the way: whoever is called gets what is left.

use std::time::Duration;

use tokio::time::Instant;

/// When a piece of work must be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// So much from now.
    #[must_use]
    pub fn after(timeout: Duration) -> Deadline {
        Deadline(Instant::now() + timeout)
    }

    /// So much from a moment that was read before.
    #[must_use]
    pub fn after_instant(now: Instant, timeout: Duration) -> Deadline {
        Deadline(now + timeout)
    }

    /// What was left at a moment; zero when it had passed.
    #[must_use]
    pub fn remaining_at(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    /// What is left; zero when it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// What is left, but at most this.
    #[must_use]
    pub fn min(self, timeout: Duration) -> Duration {
        self.remaining().min(timeout)
    }

    /// The point itself, for `tokio::time::timeout_at`.
    #[must_use]
    pub fn instant(self) -> Instant {
        self.0
    }
}
