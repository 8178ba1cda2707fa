//! Owns the bounds on how parts talk to each other, with proofs of how they depend on one another.
//!
//! Must never hold a policy of one role: those stand in the role's own limits file.

use std::time::Duration;

/// What a public request may take in all, repeats included.
pub const REQUEST_BUDGET: Duration = Duration::from_secs(3);
/// What one attempt at one node may take.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(500);
/// Attempts within one request. While a dead leader is still named by the others, every second
/// attempt is made at once: the pauses of the rest must last for the whole budget.
pub const ATTEMPTS_MAX: u32 = 128;
/// First and longest pause between attempts; the actual one is between half and whole.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(10);
/// See [`BACKOFF_FIRST`]. A shard whose leader died has another one within some 400 ms; this much
/// later at most its callers know.
pub const BACKOFF_MAX: Duration = Duration::from_millis(100);

/// How often a client asks who the cluster's members are.
pub const MEMBERS_PAUSE: Duration = Duration::from_secs(2);
/// How often it asks at most.
pub const MEMBERS_PAUSE_MIN: Duration = Duration::from_millis(100);
/// What one step of a change of leaders or members may take at its leader.
pub const CLUSTER_CHANGE_WAIT: Duration = Duration::from_secs(15);
/// How long a follower keeps to a replica from which it hears nothing at all: a feed says where it
/// stands at least once a second.
pub const FEED_SILENCE_MAX: Duration = Duration::from_secs(5);
/// Tries in a row that found no replica to follow before a follower says so.
pub const FOLLOW_TRIES_QUIET: u32 = 16;

/// Commands that wait for room in the stream to one node.
pub const STREAM_QUEUE_MAX: usize = 8_192;
/// Commands in one stream message.
pub const STREAM_BATCH_MAX: usize = 512;
/// How often a message waits for what is ready to go with it, as long as there is more each time.
pub const STREAM_GATHER_YIELDS: usize = 8;
/// Messages that wait for the connection.
pub const STREAM_MESSAGES_MAX: usize = 64;

/// Time to open a connection between nodes.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
/// A silent connection is asked whether it lives.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// How long the answer to that may take.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// HTTP/2 flow control per stream.
pub const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// HTTP/2 flow control per connection.
pub const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Streams that one peer may have open on one connection.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 4_096;
/// The largest message any service accepts: a feed snapshot or a piece of a Raft snapshot.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// How long a stopping server waits for calls under way. Long-lived streams use it up, so a process
/// with servers in three tiers stops within a few of these.
pub const DRAIN_MAX: Duration = Duration::from_secs(2);

const _: () = assert!(ATTEMPT_TIMEOUT.as_millis() * 2 < REQUEST_BUDGET.as_millis());
const _: () = assert!(
    (ATTEMPTS_MAX / 2) as u128 * (BACKOFF_MAX.as_millis() / 2) >= REQUEST_BUDGET.as_millis()
);
const _: () = assert!(BACKOFF_FIRST.as_millis() <= BACKOFF_MAX.as_millis());
const _: () = assert!(CONNECT_TIMEOUT.as_millis() < ATTEMPT_TIMEOUT.as_millis());
const _: () = assert!(DRAIN_MAX.as_millis() > 2 * ATTEMPT_TIMEOUT.as_millis());
const _: () = assert!(STREAM_WINDOW_BYTES <= CONNECTION_WINDOW_BYTES);
/// Seats, and areas, that a refusal names in a gRPC status: it travels in one header.
pub const STATUS_PLACES_MAX: usize = 64;
