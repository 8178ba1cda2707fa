//! Owns what the writer tells everybody else: whether it still lives, what it has done, who holds
//! back the oldest segment.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{ShardNo, shard_log::Poison};

/// The shard that keeps the oldest segment from being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldestHolder {
    /// Snapshot and purge this one to get rid of the segment.
    pub shard: ShardNo,
    /// The segment.
    pub segment: u64,
    /// When the segment was begun, Unix milliseconds by the local clock: for limits of age.
    pub opened_at_ms: u64,
    /// Segments from there to the one being written, both included.
    pub segments: u64,
}

/// Totals since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Frames written and flushed.
    pub flushes: u64,
    /// Requests they carried.
    pub requests: u64,
    /// Records they carried.
    pub records: u64,
    /// Bytes written, with headers and filler.
    pub bytes: u64,
    /// Time spent in write and flush, microseconds.
    pub flush_us: u64,
    /// Segments begun.
    pub segments: u64,
    /// Times the writer had to make a segment itself, because none was prepared.
    pub stalls: u64,
}

#[derive(Debug)]
pub(crate) struct Status {
    flush_requests: metrics::Histogram,
    poison: Poison,
    ended: AtomicBool,
    holder: Mutex<Option<OldestHolder>>,
    flushes: AtomicU64,
    requests: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    flush_us: AtomicU64,
    segments: AtomicU64,
    opened_at_ms: AtomicU64,
    stalls: AtomicU64,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            flush_requests: metrics::histogram!(crate::metrics::LOG_FLUSH_REQUESTS),
            poison: Poison::default(),
            ended: AtomicBool::default(),
            holder: Mutex::default(),
            flushes: AtomicU64::default(),
            requests: AtomicU64::default(),
            records: AtomicU64::default(),
            bytes: AtomicU64::default(),
            flush_us: AtomicU64::default(),
            segments: AtomicU64::default(),
            opened_at_ms: AtomicU64::default(),
            stalls: AtomicU64::default(),
        }
    }
}

impl Status {
    /// Why the log has stopped, if it has.
    pub(crate) fn poison(&self) -> Option<&str> {
        self.poison.get().map(String::as_str)
    }

    /// Stops the log for good; the first reason stays.
    pub(crate) fn set_poison(&self, reason: String) {
        let _ = self.poison.set(reason);
    }

    /// The writer reads no more requests.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    pub(crate) fn set_ended(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    pub(crate) fn holder(&self) -> Option<OldestHolder> {
        *self.holder.lock()
    }

    pub(crate) fn set_holder(&self, holder: Option<OldestHolder>) {
        *self.holder.lock() = holder;
    }

    pub(crate) fn count_flush(&self, bytes: u64, records: u64, flush_us: u64) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
        self.flush_us.fetch_add(flush_us, Ordering::Relaxed);
    }

    pub(crate) fn count_requests(&self, requests: usize) {
        if requests > 0 {
            self.flush_requests.record(requests as f64);
        }
        self.requests.fetch_add(requests as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_segment(&self, opened_at_ms: u64) {
        self.segments.fetch_add(1, Ordering::Relaxed);
        self.opened_at_ms.store(opened_at_ms, Ordering::Relaxed);
    }

    /// When the segment being written was begun, Unix milliseconds by the local clock.
    pub(crate) fn opened_at_ms(&self) -> u64 {
        self.opened_at_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn count_stall(&self) {
        self.stalls.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> LogStats {
        LogStats {
            flushes: self.flushes.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            flush_us: self.flush_us.load(Ordering::Relaxed),
            segments: self.segments.load(Ordering::Relaxed),
            stalls: self.stalls.load(Ordering::Relaxed),
        }
    }
}
