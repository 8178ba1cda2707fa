//! Owns every named bound of the crate.
//!
//! Must never be repeated as a number elsewhere.

use std::time::Duration;

// ---- gateway ------------------------------------------------------------------------------------

/// One call to the gateway, from connecting to the last byte.
pub const GATEWAY_CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Connecting to the gateway.
pub const GATEWAY_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of one answer of the gateway.
pub const GATEWAY_ANSWER_BYTES_MAX: usize = 1 << 20;
/// Bytes of an id that the gateway gave.
pub const GATEWAY_ID_BYTES_MAX: usize = 255;
/// Bytes of an address to which a buyer is sent.
pub const NEXT_ACTION_URL_BYTES_MAX: usize = 2_048;
/// Bytes of a reason.
pub const REASON_BYTES_MAX: usize = 64;
/// Failures in a row that shut the gateway's gate.
pub const GATEWAY_FAILURES_MAX: u32 = 8;
/// How long the gate is shut at first, and at most.
pub const GATEWAY_PAUSE_FIRST: Duration = Duration::from_millis(500);
/// How long the gate is shut at most.
pub const GATEWAY_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Calls of one job: a job that needs more is not understood and is tried again later.
pub const CALLS_PER_JOB_MAX: u32 = 6;
/// Past this age the gateway may have forgotten a key (it keeps them 24 h): look up, never repeat.
pub const REPEAT_AGE_MAX_MS: u64 = 20 * 60 * 60 * 1000;

// ---- worker -------------------------------------------------------------------------------------

/// Jobs of one lease; the shards allow no more.
pub const JOBS_PER_LEASE_MAX: u32 = 64;
/// Jobs of one shard in this worker's hands, unless configured.
pub const JOBS_PER_SHARD_DEFAULT: u32 = 128;
/// Jobs of one shard in this worker's hands, at most.
pub const JOBS_PER_SHARD_MAX: u32 = 4_096;
/// How long a job is leased.
pub const LEASE: Duration = Duration::from_secs(30);
/// The lease's end by our clock comes this much before its end in the shard.
pub const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// How long a lease call waits for due jobs.
pub const LEASE_WAIT: Duration = Duration::from_secs(2);
/// What a lease call may take besides waiting.
pub const LEASE_BUDGET: Duration = Duration::from_secs(3);
/// What one attempt to report a result may take.
pub const SETTLE_BUDGET: Duration = Duration::from_secs(3);
/// Pause after a shard did not answer.
pub const SHARD_PAUSE: Duration = Duration::from_millis(200);
/// First pause of a job that got no answer; doubles with each attempt.
pub const RETRY_FIRST_MS: u32 = 200;
/// Longest pause of a job: nothing stays undecided longer than this without being asked about.
pub const RETRY_MS_MAX: u32 = 30_000;
/// Pause between looks at a payment that waits for its buyer, in the first minute.
pub const ACTION_POLL_MS: u32 = 1_000;
/// The same, later.
pub const ACTION_POLL_LATER_MS: u32 = 5_000;
/// Leases after which a waiting payment is looked at less often.
pub const ACTION_POLLS_FAST_MAX: u32 = 60;
/// How long jobs under way may take to finish at shutdown.
pub const DRAIN_MAX: Duration = Duration::from_secs(8);
/// Pause between attempts to register the signing key.
pub const REGISTER_PAUSE: Duration = Duration::from_millis(250);

// ---- webhooks, tickets --------------------------------------------------------------------------

/// Bytes of a webhook's body.
pub const WEBHOOK_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a signature header.
pub const WEBHOOK_SIGNATURE_BYTES_MAX: usize = 4_096;
/// Signatures looked at in one header (there are two while a secret is rotated).
pub const WEBHOOK_SIGNATURES_MAX: usize = 8;
/// How far a webhook's time may be from ours, in seconds.
pub const WEBHOOK_TOLERANCE_SECONDS: u64 = 300;
/// Webhooks handled at once.
pub const WEBHOOKS_IN_FLIGHT_MAX: usize = 64;
/// What handling one webhook may take in the shard.
pub const WAKE_BUDGET: Duration = Duration::from_secs(2);
/// Characters of a ticket's code.
pub const TICKET_CODE_CHARS_MAX: usize = 1_024;

// ---- sandbox ------------------------------------------------------------------------------------

/// Bytes of a request to the sandbox.
pub const SANDBOX_BODY_BYTES_MAX: usize = 64 * 1024;
/// Requests the sandbox works on at once; others wait.
pub const SANDBOX_IN_FLIGHT_MAX: usize = 4_096;
/// Parameters of a request.
pub const FORM_FIELDS_MAX: usize = 256;
/// Bytes of a parameter's name.
pub const FORM_NAME_BYTES_MAX: usize = 256;
/// Characters of an idempotency key.
pub const SANDBOX_KEY_CHARS_MAX: usize = 255;
/// How long the sandbox keeps idempotency keys.
pub const SANDBOX_KEY_AGE_MAX_MS: u64 = 24 * 60 * 60 * 1000;
/// Largest amount of one payment, in minor units, as at the gateway.
pub const SANDBOX_AMOUNT_MAX: u64 = 99_999_999;
/// Metadata pairs of one object.
pub const SANDBOX_METADATA_MAX: usize = 50;
/// Characters of a metadata key.
pub const SANDBOX_METADATA_KEY_MAX: usize = 40;
/// Characters of a metadata value.
pub const SANDBOX_METADATA_VALUE_MAX: usize = 500;
/// Events kept for `GET /v1/events`.
pub const SANDBOX_EVENTS_MAX: usize = 10_000;
/// Webhooks waiting to be sent; more are dropped and counted (whoever waits for one asks too).
pub const SANDBOX_WEBHOOK_QUEUE_MAX: usize = 10_000;
/// Webhooks being sent at once, retries included.
pub const SANDBOX_WEBHOOKS_IN_FLIGHT_MAX: usize = 256;
/// Attempts to deliver one webhook.
pub const SANDBOX_WEBHOOK_ATTEMPTS_MAX: u32 = 8;
/// First pause before a webhook is sent again; doubles.
pub const SANDBOX_WEBHOOK_PAUSE_FIRST: Duration = Duration::from_millis(250);
/// One attempt to deliver a webhook.
pub const SANDBOX_WEBHOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the sandbox's requests under way may take to finish at shutdown.
pub const SANDBOX_DRAIN_MAX: Duration = Duration::from_secs(2);
/// Bytes of one line of the journal.
pub const SANDBOX_JOURNAL_LINE_BYTES_MAX: usize = 8 * SANDBOX_BODY_BYTES_MAX;

const _: () = assert!(LEASE_MARGIN.as_millis() < LEASE.as_millis());
const _: () = assert!(GATEWAY_CALL_TIMEOUT.as_millis() < LEASE.as_millis());
const _: () = assert!(REPEAT_AGE_MAX_MS < SANDBOX_KEY_AGE_MAX_MS);
const _: () =
    assert!(ACTION_POLL_MS <= ACTION_POLL_LATER_MS && ACTION_POLL_LATER_MS <= RETRY_MS_MAX);
