//! Owns every bound of the harness: a run always ends.

use std::time::Duration;

/// Time to open a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for one answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes (a seat map of 200,000 seats is smaller).
pub const RESPONSE_BYTES_MAX: usize = 64 << 20;
/// The largest head of an answer, in bytes.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// Time that one intention of a buyer may take, repeats included.
pub const INTENTION_BUDGET: Duration = Duration::from_secs(20);
/// Pause between two attempts where the answer does not say.
pub const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause that a `Retry-After` may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);
/// How long an order may stay undecided before the audit calls it undecided.
pub const ORDER_DECISION_MAX: Duration = Duration::from_secs(30);
/// How long the audit waits for the feed to catch up with acknowledged answers.
pub const FEED_LAG_MAX: Duration = Duration::from_secs(10);
/// Buyers of a flash sale.
pub const BUYERS_MAX: usize = 5_000;
/// Connections of a load run.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Seconds of a run or a round.
pub const SECONDS_MAX: u64 = 3_600;
/// Seats of one event, by the contract.
pub const EVENT_SEATS_MAX: u64 = 200_000;
/// Seats of one load run.
pub const SEATS_MAX: u64 = 10_000_000;
/// Rounds of a comparison, runs of a start measurement.
pub const ROUNDS_MAX: u32 = 100;
/// Time for a server to say that it is ready; recovery of a full log included.
pub const READY_MAX: Duration = Duration::from_secs(60);
/// Time for a server to end after it was asked to.
pub const STOP_MAX: Duration = Duration::from_secs(15);
/// A round is void when the machine was away for more than this share of it.
pub const STEAL_SHARE_MAX: f64 = 0.02;
/// Violations that are printed; all are counted.
pub const PRINTED_VIOLATIONS_MAX: usize = 20;
