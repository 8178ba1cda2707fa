//! Owns the names of everything this crate measures, and what each means.
//!
//! `docs/metrics.md` is held against [`ALL`]. Must never label by buyer, hold or order.

use std::sync::Arc;

use metrics::{counter, gauge, histogram};

use crate::timeline::Timeline;

/// Commands waiting for a shard's batcher.
pub const QUEUE_COMMANDS: &str = "onsale_allocator_queue_commands";
/// Commands refused because the queue was full.
pub const QUEUE_REFUSED_TOTAL: &str = "onsale_allocator_queue_refused_total";
/// Commands in a batch.
pub const BATCH_COMMANDS: &str = "onsale_allocator_batch_commands";
/// Bytes of a batch's commands.
pub const BATCH_BYTES: &str = "onsale_allocator_batch_bytes";
/// What closed a batch: `empty_queue`, `commands` or `bytes`.
pub const BATCH_CLOSED_TOTAL: &str = "onsale_allocator_batch_closed_total";
/// From a batch's first command's arrival in the queue to the batch's submission.
pub const QUEUE_SECONDS: &str = "onsale_allocator_queue_seconds";
/// From an append's submission to the log to its flush.
pub const FLUSH_SECONDS: &str = "onsale_allocator_flush_seconds";
/// From a batch's flush on its leader to the majority's.
pub const REPLICATE_SECONDS: &str = "onsale_allocator_replicate_seconds";
/// From a batch's application to its last reply.
pub const REPLY_SECONDS: &str = "onsale_allocator_reply_seconds";
/// From submission of a batch to its outcomes.
pub const COMMIT_SECONDS: &str = "onsale_allocator_commit_seconds";
/// Applying one entry.
pub const APPLY_SECONDS: &str = "onsale_allocator_apply_seconds";
/// Commands by outcome: `done`, `replayed`, `rejected`.
pub const COMMANDS_TOTAL: &str = "onsale_allocator_commands_total";
/// Batches whose outcome was not known.
pub const UNKNOWN_TOTAL: &str = "onsale_allocator_unknown_total";
/// Commands whose time was over before they were submitted.
pub const EXPIRED_IN_QUEUE_TOTAL: &str = "onsale_allocator_expired_in_queue_total";
/// Times this node saw a shard's leader change.
pub const LEADER_CHANGES_TOTAL: &str = "onsale_allocator_leader_changes_total";
/// 1 where this node leads the shard, else 0.
pub const LEADS: &str = "onsale_allocator_leads";
/// Index of the last applied entry.
pub const APPLIED_INDEX: &str = "onsale_allocator_applied_index";
/// Log time less the wall clock of this node, in seconds.
pub const LOG_TIME_SKEW_SECONDS: &str = "onsale_allocator_log_time_skew_seconds";
/// Ticks written because time had something to do.
pub const TICKS_TOTAL: &str = "onsale_allocator_ticks_total";
/// Building and writing a snapshot.
pub const SNAPSHOT_SECONDS: &str = "onsale_allocator_snapshot_seconds";
/// How long entries could not be applied because a part of a snapshot was copied.
pub const SNAPSHOT_STALL_SECONDS: &str = "onsale_allocator_snapshot_stall_seconds";
/// Bytes of the last snapshot written or installed.
pub const SNAPSHOT_BYTES: &str = "onsale_allocator_snapshot_bytes";
/// Snapshots forced because the log was too long or too old.
pub const SNAPSHOTS_FORCED_TOTAL: &str = "onsale_allocator_snapshots_forced_total";
/// Snapshots installed from a leader.
pub const SNAPSHOTS_INSTALLED_TOTAL: &str = "onsale_allocator_snapshots_installed_total";
/// Index up to which a majority's states agree with this replica's.
pub const CHECKPOINT_INDEX: &str = "onsale_allocator_checkpoint_index";
/// Times a replica here was found to differ from its peers.
pub const DIVERGED_TOTAL: &str = "onsale_allocator_diverged_total";
/// Followers of a shard's feed.
pub const FEED_FOLLOWERS: &str = "onsale_allocator_feed_followers";
/// Entries encoded for a shard's feed.
pub const FEED_ENTRIES_TOTAL: &str = "onsale_allocator_feed_entries_total";
/// Followers told to start again.
pub const FEED_RESETS_TOTAL: &str = "onsale_allocator_feed_resets_total";
/// Unanswered items of all streams.
pub const STREAM_UNANSWERED: &str = "onsale_allocator_stream_unanswered";

/// Flushes of the log: one for all shards that wait.
pub const LOG_FLUSHES_TOTAL: &str = "onsale_allocator_log_flushes_total";
/// Time spent writing and flushing the log.
pub const LOG_FLUSH_SECONDS_TOTAL: &str = "onsale_allocator_log_flush_seconds_total";
/// Requests that the flushes carried.
pub const LOG_REQUESTS_TOTAL: &str = "onsale_allocator_log_requests_total";
/// Requests that one flush carried.
pub const LOG_FLUSH_REQUESTS: &str = "onsale_allocator_log_flush_requests";
/// Records (entries, votes, marks) written to the log.
pub const LOG_RECORDS_TOTAL: &str = "onsale_allocator_log_records_total";
/// Bytes written to the log.
pub const LOG_BYTES_TOTAL: &str = "onsale_allocator_log_bytes_total";
/// Times the log's writer had to wait for a new segment.
pub const LOG_STALLS_TOTAL: &str = "onsale_allocator_log_stalls_total";
/// Segments from the oldest needed one to the one being written.
pub const LOG_SEGMENTS: &str = "onsale_allocator_log_segments";

/// Every metric of this crate: name and meaning.
pub const ALL: &[(&str, &str)] = &[
    (QUEUE_COMMANDS, "Commands waiting for a shard's batcher, by shard."),
    (QUEUE_REFUSED_TOTAL, "Commands refused because the shard's queue was full, by shard."),
    (BATCH_COMMANDS, "Commands in one batch (histogram), by shard."),
    (BATCH_BYTES, "Bytes of one batch's commands (histogram), by shard."),
    (BATCH_CLOSED_TOTAL, "Batches by what closed them: empty_queue, commands, bytes."),
    (
        QUEUE_SECONDS,
        "From a batch's first command to the batch's submission (histogram), by shard.",
    ),
    (FLUSH_SECONDS, "From an append to its flush on this node (histogram), by shard."),
    (REPLICATE_SECONDS, "From a batch's flush on its leader to its commit (histogram), by shard."),
    (REPLY_SECONDS, "From a batch's application to its last reply (histogram), by shard."),
    (COMMIT_SECONDS, "From a batch's submission to its outcomes (histogram), by shard."),
    (APPLY_SECONDS, "Applying one entry (histogram), by shard."),
    (COMMANDS_TOTAL, "Applied commands by outcome: done, replayed, rejected."),
    (UNKNOWN_TOTAL, "Batches that were submitted and whose outcome was not known, by shard."),
    (EXPIRED_IN_QUEUE_TOTAL, "Commands whose time was over before they were submitted, by shard."),
    (LEADER_CHANGES_TOTAL, "Times this node saw a shard's leader change, by shard."),
    (LEADS, "1 where this node leads the shard, else 0, by shard."),
    (APPLIED_INDEX, "Index of the last applied entry, by shard."),
    (LOG_TIME_SKEW_SECONDS, "Log time less this node's wall clock, by shard; leaders only."),
    (TICKS_TOTAL, "Entries written because time had something to do, by shard."),
    (SNAPSHOT_SECONDS, "Building and writing one snapshot (histogram), by shard."),
    (SNAPSHOT_STALL_SECONDS, "One stop of apply while a snapshot is copied (histogram), by shard."),
    (SNAPSHOT_BYTES, "Bytes of the last snapshot written or installed, by shard."),
    (SNAPSHOTS_FORCED_TOTAL, "Snapshots forced because the log was too long or old, by shard."),
    (SNAPSHOTS_INSTALLED_TOTAL, "Snapshots installed from a leader, by shard."),
    (CHECKPOINT_INDEX, "Entry up to which a majority agrees with this replica's state, by shard."),
    (DIVERGED_TOTAL, "Replicas found to differ from their peers; the node stops, by shard."),
    (FEED_FOLLOWERS, "Followers of the shard's feed on this node, by shard."),
    (FEED_ENTRIES_TOTAL, "Entries encoded for the feed, once for all followers, by shard."),
    (FEED_RESETS_TOTAL, "Followers told to start again because they fell behind, by shard."),
    (STREAM_UNANSWERED, "Unanswered items of all streams of this node."),
    (LOG_FLUSHES_TOTAL, "Flushes of the log; one carries all shards that wait."),
    (LOG_FLUSH_SECONDS_TOTAL, "Seconds spent writing and flushing the log."),
    (LOG_REQUESTS_TOTAL, "Requests (appends, votes, marks) that the flushes carried."),
    (LOG_FLUSH_REQUESTS, "Requests that one flush carried (histogram)."),
    (LOG_RECORDS_TOTAL, "Records (entries, votes, marks) written to the log."),
    (LOG_BYTES_TOTAL, "Bytes written to the log."),
    (LOG_STALLS_TOTAL, "Times the log's writer had to make a segment itself."),
    (LOG_SEGMENTS, "Log segments from the oldest needed one to the one being written."),
];

/// The handles of one shard, made once: looking a metric up by name costs more than the command.
#[derive(Clone)]
pub(crate) struct ShardMetrics {
    pub(crate) queue_commands: metrics::Gauge,
    pub(crate) queue_refused: metrics::Counter,
    pub(crate) batch_commands: metrics::Histogram,
    pub(crate) batch_bytes: metrics::Histogram,
    pub(crate) closed_by_queue: metrics::Counter,
    pub(crate) closed_by_commands: metrics::Counter,
    pub(crate) closed_by_bytes: metrics::Counter,
    pub(crate) timeline: Arc<Timeline>,
    pub(crate) commit_seconds: metrics::Histogram,
    pub(crate) apply_seconds: metrics::Histogram,
    pub(crate) done: metrics::Counter,
    pub(crate) replayed: metrics::Counter,
    pub(crate) rejected: metrics::Counter,
    pub(crate) unknown: metrics::Counter,
    pub(crate) expired: metrics::Counter,
    pub(crate) leader_changes: metrics::Counter,
    pub(crate) leads: metrics::Gauge,
    pub(crate) applied_index: metrics::Gauge,
    pub(crate) skew_seconds: metrics::Gauge,
    pub(crate) ticks: metrics::Counter,
    pub(crate) snapshot_seconds: metrics::Histogram,
    pub(crate) snapshot_stall_seconds: metrics::Histogram,
    pub(crate) snapshot_bytes: metrics::Gauge,
    pub(crate) snapshots_forced: metrics::Counter,
    pub(crate) snapshots_installed: metrics::Counter,
    pub(crate) checkpoint_index: metrics::Gauge,
    pub(crate) diverged: metrics::Counter,
    pub(crate) feed: FeedMetrics,
}

/// The handles of a shard's feed.
#[derive(Clone)]
pub(crate) struct FeedMetrics {
    pub(crate) followers: metrics::Gauge,
    pub(crate) entries: metrics::Counter,
    pub(crate) resets: metrics::Counter,
}

impl FeedMetrics {
    /// Of a feed that nobody measures.
    pub(crate) fn none() -> Self {
        let (entries, resets) = (metrics::Counter::noop(), metrics::Counter::noop());
        Self { followers: metrics::Gauge::noop(), entries, resets }
    }
}

impl ShardMetrics {
    pub(crate) fn new(shard: u16) -> Self {
        let no = shard.to_string();
        let closed = |by: &'static str| counter!(BATCH_CLOSED_TOTAL, "by" => by);
        let outcome = |kind: &'static str| counter!(COMMANDS_TOTAL, "outcome" => kind);
        Self {
            queue_commands: gauge!(QUEUE_COMMANDS, "shard" => no.clone()),
            queue_refused: counter!(QUEUE_REFUSED_TOTAL, "shard" => no.clone()),
            batch_commands: histogram!(BATCH_COMMANDS, "shard" => no.clone()),
            batch_bytes: histogram!(BATCH_BYTES, "shard" => no.clone()),
            closed_by_queue: closed("empty_queue"),
            closed_by_commands: closed("commands"),
            closed_by_bytes: closed("bytes"),
            timeline: Arc::new(Timeline::new(
                histogram!(QUEUE_SECONDS, "shard" => no.clone()),
                histogram!(FLUSH_SECONDS, "shard" => no.clone()),
                histogram!(REPLICATE_SECONDS, "shard" => no.clone()),
                histogram!(REPLY_SECONDS, "shard" => no.clone()),
            )),
            commit_seconds: histogram!(COMMIT_SECONDS, "shard" => no.clone()),
            apply_seconds: histogram!(APPLY_SECONDS, "shard" => no.clone()),
            done: outcome("done"),
            replayed: outcome("replayed"),
            rejected: outcome("rejected"),
            unknown: counter!(UNKNOWN_TOTAL, "shard" => no.clone()),
            expired: counter!(EXPIRED_IN_QUEUE_TOTAL, "shard" => no.clone()),
            leader_changes: counter!(LEADER_CHANGES_TOTAL, "shard" => no.clone()),
            leads: gauge!(LEADS, "shard" => no.clone()),
            applied_index: gauge!(APPLIED_INDEX, "shard" => no.clone()),
            skew_seconds: gauge!(LOG_TIME_SKEW_SECONDS, "shard" => no.clone()),
            ticks: counter!(TICKS_TOTAL, "shard" => no.clone()),
            snapshot_seconds: histogram!(SNAPSHOT_SECONDS, "shard" => no.clone()),
            snapshot_stall_seconds: histogram!(SNAPSHOT_STALL_SECONDS, "shard" => no.clone()),
            snapshot_bytes: gauge!(SNAPSHOT_BYTES, "shard" => no.clone()),
            snapshots_forced: counter!(SNAPSHOTS_FORCED_TOTAL, "shard" => no.clone()),
            snapshots_installed: counter!(SNAPSHOTS_INSTALLED_TOTAL, "shard" => no.clone()),
            checkpoint_index: gauge!(CHECKPOINT_INDEX, "shard" => no.clone()),
            diverged: counter!(DIVERGED_TOTAL, "shard" => no.clone()),
            feed: FeedMetrics {
                followers: gauge!(FEED_FOLLOWERS, "shard" => no.clone()),
                entries: counter!(FEED_ENTRIES_TOTAL, "shard" => no.clone()),
                resets: counter!(FEED_RESETS_TOTAL, "shard" => no),
            },
        }
    }
}

/// Says what the log has done since it was opened.
pub(crate) fn say_log(stats: &crate::log::LogStats, segments: u64) {
    counter!(LOG_FLUSHES_TOTAL).absolute(stats.flushes);
    counter!(LOG_REQUESTS_TOTAL).absolute(stats.requests);
    counter!(LOG_RECORDS_TOTAL).absolute(stats.records);
    counter!(LOG_BYTES_TOTAL).absolute(stats.bytes);
    counter!(LOG_STALLS_TOTAL).absolute(stats.stalls);
    // A counter holds whole numbers; seconds need the fraction.
    gauge!(LOG_FLUSH_SECONDS_TOTAL).set(stats.flush_us as f64 / 1e6);
    gauge!(LOG_SEGMENTS).set(segments as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_stands_in_the_list_once() {
        let source = include_str!("metrics.rs");
        let named = source.lines().filter(|line| {
            line.starts_with("pub const ") && line.contains(": &str = \"onsale_allocator_")
        });
        let mut names: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a name stands twice");
        assert_eq!(named.count(), names.len(), "a metric is missing in ALL");
    }
}
