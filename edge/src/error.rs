//! Owns why the edge cannot start or go on.
//!
//! Must never be what a request is answered with: that is `problem`'s part.

/// Why the edge cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Settings that cannot be, one sentence each.
    #[error("the edge's settings are wrong: {}", .0.join("; "))]
    Config(Vec<String>),
    /// The listener failed for good.
    #[error("the public listener failed: {0}")]
    Listener(#[from] std::io::Error),
    /// The route table or the embedded schemas contradict each other.
    #[error("the route table is wrong: {0}")]
    Routes(String),
}
