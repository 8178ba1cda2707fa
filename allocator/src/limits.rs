//! Owns the bounds of a node: queues, batches, waits, snapshots, and the proofs that they fit.
//!
//! What is policy stands in [`crate::Config`]; what bounds a shard's state stands in
//! `onsale_state::limits`. Must never hold a bound that replicas have to agree on.

use std::time::Duration;

/// Commands that wait for a shard's batcher when the configuration does not say otherwise.
pub const QUEUE_COMMANDS_MAX: usize = 8_192;
/// A waiting command from so many bytes on counts as large.
pub const LARGE_COMMAND_BYTES: usize = 4 << 10;
/// Bytes of large commands that wait for a shard's batcher, as they stand in an entry.
pub const QUEUE_LARGE_BYTES_MAX: usize = 32 << 20;
/// Streams of commands to one node.
pub const STREAMS_MAX: usize = 1_024;
/// Unanswered items of one stream; past it the stream is not read on.
pub const STREAM_UNANSWERED_MAX: usize = 8_192;
/// Answers in one stream message.
pub const STREAM_ANSWERS_MAX: usize = 1_024;
/// Longest budget an item may ask for.
pub const BUDGET_MAX: Duration = Duration::from_secs(30);
/// Rounds of other ready tasks that run before a batch is closed. Measured: see
/// `docs/adr/0004-what-made-a-hold-cheaper.md`.
pub const BATCH_GATHER_YIELDS: u32 = 16;
/// Batches of one shard that are on their way through the log at once. Measured: see
/// `docs/adr/0004-what-made-a-hold-cheaper.md`.
pub const BATCHES_IN_FLIGHT_MAX: usize = 2;

/// How long a batch may stay undecided before its commands are answered "unknown".
pub const BATCH_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a batch may stay undecided after its leader lost the lead.
pub const LOST_LEAD_WAIT_MAX: Duration = Duration::from_millis(500);
/// How often an idle leader looks whether time has something to do.
pub const TICK_INTERVAL: Duration = Duration::from_millis(250);
/// How old a peer's clock may be to count for the median.
pub const CLOCK_AGE_MAX: Duration = Duration::from_secs(60);
/// How long a read may wait for its index to be applied when the caller sets no deadline.
pub const READ_WAIT_MAX: Duration = Duration::from_secs(5);

/// Nodes of a cluster.
pub const NODES_MAX: usize = 7;
/// Selling shards of a cluster.
pub const SHARDS_MAX: u32 = 256;
/// Bytes of a cluster's name.
pub const CLUSTER_NAME_BYTES_MAX: usize = 64;

/// Bytes of entries in one append call; one larger entry travels alone.
pub const APPEND_BYTES_MAX: usize = 2 << 20;
/// Entries in one append call.
pub const APPEND_ENTRIES_MAX: u64 = 64;
/// Time for one append on the wire. Longer than openraft waits: one that it gave up goes on, so
/// that a large entry gets through a slow link at all.
pub const APPEND_TIMEOUT: Duration = Duration::from_secs(2);
/// Appends to one peer that wait for the connection; one is to be answered, the others only say
/// that more is committed.
pub const APPENDS_QUEUED_MAX: usize = 8;
/// How long a commit waits for an append that says it, too. Followers apply so much later at most.
pub const COMMIT_TOLD_WITHIN: Duration = Duration::from_millis(2);
/// A peer that answered so lately is told of a commit without waiting: less than a heartbeat, so
/// that one which no longer answers is noticed as soon as without.
pub const COMMIT_TOLD_AFTER_MAX: Duration = Duration::from_millis(30);
/// Appends of a shard that openraft may take for written while they are not. A leader has one for
/// each batch in flight; with more its core waits for the disk itself.
pub const APPENDS_AHEAD_MAX: u64 = BATCHES_IN_FLIGHT_MAX as u64;
const _: () = assert!(
    (SHARDS_MAX as u64 + 1) * (APPENDS_AHEAD_MAX + 1) <= crate::log::QUEUE_MAX as u64,
    "a core never waits for the log's queue"
);
/// How long a follower that no majority needs waits for its next entries after it has answered.
/// Measured: see `docs/adr/0007-who-waits-for-a-flush.md`.
pub const TRAIL_MAX: Duration = Duration::from_millis(10);
/// A follower that a majority needs and that owes an answer for so long lets nobody trail.
pub const PROMPT_ANSWER_MAX: Duration = Duration::from_millis(20);
/// Time for one vote call on the wire.
pub const VOTE_TIMEOUT: Duration = Duration::from_millis(400);
/// Time for a snapshot to be sent and installed.
pub const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of one piece of a snapshot, on disk and on the wire.
pub const SNAPSHOT_PIECE_BYTES: usize = 256 << 10;
/// Bytes of a snapshot after which it is flushed, while it is written.
pub const SNAPSHOT_FLUSH_BYTES: usize = 1 << 20;
/// Holds or orders that are copied in one go, while `apply` waits.
pub const SNAPSHOT_COPY_RECORDS: usize = 512;
/// Pause between two goes: who waits for the state gets it, and others the processor.
pub const SNAPSHOT_COPY_PAUSE: Duration = Duration::from_millis(1);
/// Snapshot pieces that wait for the connection.
pub const SNAPSHOT_PIECES_MAX: usize = 4;
/// Bytes of a snapshot that is read at all.
pub const SNAPSHOT_BYTES_MAX: u64 = 8 << 30;
/// Bytes of a snapshot's description.
pub const SNAPSHOT_META_BYTES_MAX: usize = 64 << 10;
/// Snapshots kept for each shard.
pub const SNAPSHOTS_KEPT: usize = 2;
/// Entries kept in the log after a snapshot took them in, for followers a little behind.
pub const ENTRIES_KEPT_AFTER_SNAPSHOT: u64 = 1_000;

/// Entries kept after a snapshot that was forced because of their size.
pub const ENTRIES_KEPT_AFTER_FORCED: u64 = 64;

/// How often this node looks whether a leader is silent.
pub const ELECTION_LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How long after a lease is over the first in line asks for the lead.
pub const ELECTION_MARGIN_MS: u64 = 20;
/// How often this node looks whether it leads more than its share.
pub const BALANCE_INTERVAL: Duration = Duration::from_millis(500);
/// Entries that the next leader may lack when writes begin to wait for it.
pub const HAND_OVER_LAG_MAX: u64 = 8;
/// How long the next leader may take to come so near.
pub const HAND_OVER_CATCH_UP: Duration = Duration::from_secs(2);
/// How long writes wait for a hand-over at the most.
pub const HAND_OVER_WRITES_WAIT: Duration = Duration::from_millis(700);
/// How long a stopping node may take to hand over all that it leads.
pub const LEAVE_MAX: Duration = Duration::from_secs(3);
/// How long the balancer leaves a lead alone that an operator moved.
pub const PINNED_MS: u64 = 10 * 60 * 1_000;
/// How long a change of a shard's members may take until it is asked for again.
pub const MEMBERSHIP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one call waits for a new replica to catch up.
pub const CATCH_UP_WAIT: Duration = Duration::from_secs(2);
/// Entries that a voter may lack to count as one that keeps up.
pub const LIVE_LAG_MAX: u64 = 1_024;
/// Entries that a new replica may lack when it gets its vote.
pub const CAUGHT_UP_LAG_MAX: u64 = 64;

/// One question to a peer while a cluster is formed, or about its status.
pub const DESCRIBE_TIMEOUT: Duration = Duration::from_millis(500);
/// Pause between rounds of questions while a cluster is formed.
pub const FORMING_PAUSE: Duration = Duration::from_millis(100);
/// How often a waiting node says what it waits for.
pub const FORMING_REPORT_INTERVAL: Duration = Duration::from_secs(3);
/// Smallest log segment: half of one must take the largest entry.
pub const LOG_SEGMENT_BYTES_MIN: u64 = 10 << 20;
/// How long a snapshot that was forced may take, and the purge after it, before it is given up.
pub const FORCED_SNAPSHOT_MAX: Duration = Duration::from_secs(60);
/// How often snapshots that were replaced are looked at for their age.
pub const SNAPSHOTS_LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Entries after which a replica remembers its chain, to be compared with its peers'.
pub const CHECKPOINT_ENTRIES: u64 = 64;
/// Checkpoints that a replica remembers.
pub const CHECKPOINTS_KEPT: usize = 256;
/// Checkpoints that a replica tells a peer.
pub const CHECKPOINTS_TOLD: usize = 32;
/// How often replicas ask each other for their checkpoints.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// How long a replica goes on beside one that differs, when the silent could say who is right.
pub const CHECKPOINT_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often the log's size and age are compared with their bounds.
pub const LOG_CARE_INTERVAL: Duration = Duration::from_secs(1);

const _: () = {
    assert!(APPEND_BYTES_MAX + onsale_state::limits::BATCH_DECODE_BYTES_MAX < MESSAGE_BYTES_MAX);
    assert!(
        LOG_SEGMENT_BYTES_MIN / 2 > onsale_state::limits::BATCH_DECODE_BYTES_MAX as u64 + 64 * 1024
    );
    // What is set further behind the last frame than a frame can be long counts as damage.
    assert!(
        onsale_state::limits::BATCH_DECODE_BYTES_MAX + 64 * 1024 + crate::log::FLUSH_BYTES_MAX
            < crate::log::segment::FRAME_BYTES_MAX
    );
    assert!(SNAPSHOT_PIECE_BYTES + SNAPSHOT_META_BYTES_MAX < MESSAGE_BYTES_MAX);
    assert!(CHECKPOINTS_TOLD <= CHECKPOINTS_KEPT);
    assert!(CHECKPOINTS_TOLD * 64 * (SHARDS_MAX as usize + 1) < MESSAGE_BYTES_MAX);
    assert!(CHECKPOINT_WAIT_MAX.as_millis() > 2 * CHECKPOINT_INTERVAL.as_millis());
    assert!(STREAM_ANSWERS_MAX <= STREAM_UNANSWERED_MAX);
    assert!(LOST_LEAD_WAIT_MAX.as_millis() < BATCH_WAIT_MAX.as_millis());
    assert!(TICK_INTERVAL.as_millis() < CLOCK_AGE_MAX.as_millis());
};

const MESSAGE_BYTES_MAX: usize = onsale_mesh::limits::MESSAGE_BYTES_MAX;

/// Entries with changes that a shard's feed remembers for followers that resume.
pub const FEED_ENTRIES_MAX: usize = 16_384;
/// Bytes of encoded changes that a shard's feed remembers.
pub const FEED_BYTES_MAX: usize = 16 << 20;
/// Followers of one shard on one node.
pub const FEED_FOLLOWERS_MAX: usize = 4_096;
/// Pause between two wakings of a shard's followers: what came meanwhile is theirs in one go.
pub const FEED_WAKE_PAUSE: Duration = Duration::from_millis(10);
/// Bytes of entries after which a snapshot that a follower began with serves no other.
pub const FEED_SNAPSHOT_LAG_BYTES_MAX: usize = 1 << 20;
/// Messages that a follower has in hand; the rest waits in the feed's memory.
pub const FEED_BURST_MAX: usize = 64;
/// Bytes after which a snapshot goes on in another message.
pub const FEED_PIECE_BYTES: usize = 16 << 20;
/// How long a follower that is ahead of this replica waits for it.
pub const FEED_CATCH_UP_MAX: Duration = Duration::from_secs(5);
/// How long entries without changes may go unmentioned.
pub const FEED_QUIET_MAX: Duration = Duration::from_millis(250);
/// How long a follower hears nothing when nothing happens.
pub const FEED_SILENCE_MAX: Duration = Duration::from_secs(1);

/// What a unary call may take whose caller set no deadline (contract).
pub const UNARY_TIMEOUT: Duration = Duration::from_millis(500);
/// What creating or changing an event may take whose caller set no deadline: three entries in two
/// groups.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest deadline that is honoured.
pub const UNARY_TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// How long a call waits for an event that this process has not heard of yet.
pub const EVENT_WAIT_MAX: Duration = Duration::from_millis(250);
/// Bytes of an idempotency key (contract).
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Bytes of a buyer's number.
pub const BUYER_BYTES_MAX: usize = 255;
/// Bytes of a presale or voucher code.
pub const CODE_BYTES_MAX: usize = 64;
/// How long leasing jobs may wait for one to be due.
pub const LEASE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Pause before unfinished events are looked at again.
pub const RESUME_PAUSE: Duration = Duration::from_millis(500);
/// Streams relayed at once by a process without a replica.
pub const RELAYED_STREAMS_MAX: usize = 1_024;
/// Unanswered items of one relayed stream; past it the stream is not read on.
pub const RELAYED_UNANSWERED_MAX: usize = 1_024;

/// Bytes of an event's or section's name, city or venue.
pub const TITLE_BYTES_MAX: usize = 200;
/// Bytes of an event's description.
pub const DESCRIPTION_BYTES_MAX: usize = 20_000;
/// Seats of one row.
pub const ROW_SEATS_MAX: u32 = 10_000;
/// Extensions of one hold.
pub const EXTENSIONS_MAX: u32 = 1_000;
/// The last point in time that can be written: the end of the year 9999.
pub const TIME_MS_MAX: u64 = 253_402_300_799_999;

const _: () = {
    assert!(FEED_SNAPSHOT_LAG_BYTES_MAX < FEED_BYTES_MAX);
    assert!(FEED_WAKE_PAUSE.as_millis() * 10 < FEED_QUIET_MAX.as_millis());
    assert!(FEED_BURST_MAX < FEED_ENTRIES_MAX);
    assert!(FEED_QUIET_MAX.as_millis() < FEED_SILENCE_MAX.as_millis());
    assert!(FEED_PIECE_BYTES + onsale_state::limits::DOCUMENT_BYTES_MAX < MESSAGE_BYTES_MAX);
    assert!(UNARY_TIMEOUT.as_millis() < UNARY_TIMEOUT_MAX.as_millis());
    assert!(EVENT_WAIT_MAX.as_millis() < UNARY_TIMEOUT.as_millis());
    assert!(ROW_SEATS_MAX <= 0xffff && EXTENSIONS_MAX <= 0xffff, "16 bits in the state");
};

/// Entries after which an offline verification looks at the whole state again.
pub const VERIFY_EVERY_ENTRIES: u64 = 20_000;
/// Findings of one kind that an offline verification writes down; the rest is counted.
pub const VERIFY_FINDINGS_MAX: usize = 100;
