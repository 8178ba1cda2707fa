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
/// Rows of a run's series: one a second.
pub const POINTS_MAX: usize = SECONDS_MAX as usize + 120;
/// How often a run's series gets a row.
pub const TICK: Duration = Duration::from_secs(1);
/// Codes of one kind of request that are told apart.
pub const CODES_MAX: usize = 32;
/// Holds of a load that are read back one by one; their seats are all checked.
pub const SAMPLE_MAX: usize = 2_048;
/// Holds of buyers that are audited one by one; the seats of all are checked.
pub const AUDITED_HOLDS_MAX: usize = 100_000;
/// Contradictions that are kept; all are counted.
pub const CONTRADICTIONS_MAX: usize = 100;
/// Arrivals that wait for a connection of one lane; beyond it they are counted as unsent.
pub const QUEUE_MAX: usize = 1_000_000;
/// How soon a load notices that it shall stop.
pub const STOP_POLL: Duration = Duration::from_millis(100);
/// A connection that rested so long may be ended by its server at any moment; ours gives a new one
/// five seconds for its first request. One that was used just now may not.
pub const REST_MIN: Duration = Duration::from_secs(1);
/// Pause before a broken connection is made again.
pub const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// Events made for a run.
pub const EVENTS_MAX: u64 = 1_000;
/// Arrivals a second of an open loop.
pub const RATE_MAX: f64 = 1_000_000.0;
