//! Owns the change feed of a shard (design D11): what this replica applied lately, encoded once,
//! and handed to any number of followers by position.
//!
//! Must never wait for a follower: who is too far behind is told to start again. Must never skip
//! an entry's changes, or give out a part of them.

mod encode;
mod subscription;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use onsale_mesh::Failure;
use onsale_proto::Code;
use onsale_state::{Change, LogTimeMs, Shard};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::{
    limits::{
        FEED_BYTES_MAX, FEED_ENTRIES_MAX, FEED_FOLLOWERS_MAX, FEED_PIECE_BYTES,
        FEED_SNAPSHOT_LAG_BYTES_MAX, FEED_WAKE_PAUSE,
    },
    metrics::FeedMetrics,
};

pub use encode::{Snapshot, event_availability, published_document};
pub use subscription::Subscription;

/// The feed of one shard on this node. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    memory: Mutex<Memory>,
    /// Counts up whenever followers have something to look at.
    news: watch::Sender<u64>,
    /// There is news that followers have not been woken for.
    bell: Notify,
    /// Somebody rings.
    rings: AtomicBool,
    followers: AtomicUsize,
    metrics: FeedMetrics,
    entries_max: usize,
    bytes_max: usize,
}

/// What the feed remembers.
#[derive(Default)]
struct Memory {
    /// Entries with changes, in order.
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Positions from here on can be resumed: every entry with changes above it is remembered.
    floor: u64,
    /// What the last follower without a position began with.
    snapshot: Option<Snapshot>,
    /// Bytes of entries since.
    since_snapshot: usize,
    /// Entries that were encoded.
    encoded: u64,
    /// The last entry that was applied.
    tip: u64,
    tip_time_ms: LogTimeMs,
    /// It is known where this replica stands.
    started: bool,
}

struct Entry {
    index: u64,
    log_time_ms: LogTimeMs,
    message: Bytes,
}

/// What a follower finds at its position.
enum Look {
    /// Messages, and the position and time after them.
    Entries(Vec<Bytes>, u64, LogTimeMs),
    /// Nothing with changes; the last entry applied.
    Nothing(u64, LogTimeMs),
    /// This replica has not come so far.
    Ahead(u64, LogTimeMs),
    /// The position is not remembered any more.
    Gone(u64, LogTimeMs),
}

impl Hub {
    /// The feed of a shard of which nothing is known yet.
    #[must_use]
    pub fn new() -> Hub {
        Hub::with_bounds(FEED_ENTRIES_MAX, FEED_BYTES_MAX)
    }

    /// A feed with a smaller memory.
    #[must_use]
    pub fn with_bounds(entries_max: usize, bytes_max: usize) -> Hub {
        Hub::bounded(entries_max, bytes_max, FeedMetrics::none())
    }

    /// The feed of a node's shard.
    pub(crate) fn measured(metrics: FeedMetrics) -> Hub {
        Hub::bounded(FEED_ENTRIES_MAX, FEED_BYTES_MAX, metrics)
    }

    fn bounded(entries_max: usize, bytes_max: usize, metrics: FeedMetrics) -> Hub {
        let inner = Inner {
            memory: Mutex::new(Memory::default()),
            news: watch::Sender::new(0),
            bell: Notify::new(),
            rings: AtomicBool::new(false),
            followers: AtomicUsize::new(0),
            metrics,
            entries_max,
            bytes_max,
        };
        Hub { inner: Arc::new(inner) }
    }

    /// Takes in an applied entry's changes. `shard` is the state right after that entry; called
    /// for every entry, also those without changes, in order.
    pub fn publish(&self, index: u64, log_time_ms: LogTimeMs, changes: &[Change], shard: &Shard) {
        let message = encode::entry(index, log_time_ms, changes, shard);
        let mut memory = self.inner.memory.lock();
        if !memory.started {
            memory.started = true;
            memory.floor = index.saturating_sub(1);
        } else if index <= memory.tip {
            return;
        }
        memory.tip = index;
        memory.tip_time_ms = log_time_ms;
        let Some(message) = message else { return };
        memory.encoded += 1;
        self.inner.metrics.entries.increment(1);
        memory.since_snapshot += message.len();
        if memory.since_snapshot > FEED_SNAPSHOT_LAG_BYTES_MAX {
            memory.snapshot = None;
        }
        memory.bytes += message.len();
        memory.entries.push_back(Entry { index, log_time_ms, message });
        while memory.entries.len() > self.inner.entries_max || memory.bytes > self.inner.bytes_max {
            let Some(oldest) = memory.entries.pop_front() else {
                break;
            };
            memory.bytes -= oldest.message.len();
            memory.floor = oldest.index;
        }
        drop(memory);
        self.tell();
    }

    /// Starts again at an index, after opening and after a snapshot was installed: older positions
    /// are gone.
    pub fn reset(&self, index: u64, log_time_ms: LogTimeMs) {
        let mut memory = self.inner.memory.lock();
        *memory = Memory {
            floor: index,
            tip: index,
            tip_time_ms: log_time_ms,
            started: true,
            ..Memory::default()
        };
        drop(memory);
        self.tell();
    }

    /// The last index this feed was told of; 0 before the first.
    #[must_use]
    pub fn tip(&self) -> u64 {
        self.inner.memory.lock().tip
    }

    /// The state as it stands now, as a follower's beginning. Called where nothing can be applied
    /// meanwhile: under the lock under which `publish` and `reset` are called. Entries without
    /// commands move the feed but not the shard, so that the later of the two indexes counts.
    #[must_use]
    pub fn snapshot(&self, shard: &Shard) -> Snapshot {
        Snapshot::of(shard, shard.last_index().max(self.tip()), FEED_PIECE_BYTES)
    }

    /// Follows from after `from`; from 0, `snapshot` is asked for the state as it is now.
    ///
    /// # Errors
    /// `overloaded` when the shard has as many followers as it may.
    pub fn follow(
        &self,
        from: u64,
        snapshot: impl FnOnce() -> Snapshot,
    ) -> Result<Subscription, Failure> {
        let place = Place::take(&self.inner)?;
        let news = self.inner.news.subscribe();
        if from > 0 {
            return Ok(Subscription::resume(self.clone(), place, news, from));
        }
        if let Some(snapshot) = self.recent_snapshot() {
            return Ok(Subscription::start(self.clone(), place, news, snapshot));
        }
        let snapshot = snapshot();
        let mut memory = self.inner.memory.lock();
        let bytes: usize = snapshot.messages.iter().map(Bytes::len).sum();
        if bytes <= FEED_PIECE_BYTES {
            memory.since_snapshot = 0;
            memory.snapshot = Some(snapshot.clone());
        }
        if !memory.started {
            memory.started = true;
            memory.floor = snapshot.index;
            memory.tip = snapshot.index;
            memory.tip_time_ms = snapshot.log_time_ms;
        }
        drop(memory);
        Ok(Subscription::start(self.clone(), place, news, snapshot))
    }

    /// Entries that were encoded: each once, however many follow.
    #[must_use]
    pub fn encoded(&self) -> u64 {
        self.inner.memory.lock().encoded
    }

    /// Wakes followers when there is something for them, and not more often than they need; without
    /// this being run, each entry wakes them.
    pub async fn ring(&self) {
        self.inner.rings.store(true, Ordering::Release);
        loop {
            self.inner.bell.notified().await;
            self.wake();
            tokio::time::sleep(FEED_WAKE_PAUSE).await;
        }
    }

    /// A snapshot that somebody began with a moment ago: what came since is remembered.
    fn recent_snapshot(&self) -> Option<Snapshot> {
        let memory = self.inner.memory.lock();
        memory.snapshot.clone().filter(|snapshot| snapshot.index >= memory.floor)
    }

    fn look(&self, position: u64, most: usize) -> Look {
        let memory = self.inner.memory.lock();
        let (tip, time) = (memory.tip, memory.tip_time_ms);
        if position > tip || !memory.started {
            return Look::Ahead(tip, time);
        }
        if position < memory.floor {
            return Look::Gone(tip, time);
        }
        let first = memory.entries.partition_point(|entry| entry.index <= position);
        let Some(last) = memory.entries.range(first..).take(most).last() else {
            return Look::Nothing(tip, time);
        };
        let (index, time) = (last.index, last.log_time_ms);
        let messages = memory.entries.range(first..).take(most);
        Look::Entries(messages.map(|entry| entry.message.clone()).collect(), index, time)
    }

    fn tell(&self) {
        if self.inner.rings.load(Ordering::Acquire) {
            self.inner.bell.notify_one();
        } else {
            self.wake();
        }
    }

    fn wake(&self) {
        self.inner.news.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

/// A follower's place among the others; given back when dropped.
struct Place(Arc<Inner>);

impl Place {
    fn take(inner: &Arc<Inner>) -> Result<Place, Failure> {
        let taken = inner.followers.fetch_add(1, Ordering::Relaxed);
        let place = Place(inner.clone());
        inner.metrics.followers.increment(1);
        if taken >= FEED_FOLLOWERS_MAX {
            let detail = format!("the shard has {FEED_FOLLOWERS_MAX} followers on this node");
            return Err(Failure::new(Code::Overloaded, detail));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.followers.decrement(1);
    }
}
