//! The write-ahead log of a node, shared by all its shards (design D8).
//!
//! Owns every log file. One thread writes: it takes all waiting requests of all shards, writes them
//! as one frame of whole blocks, flushes once, then calls back in order. Must never acknowledge
//! what is not durable, never reorder a shard's requests, never know openraft.
//!
//! ```text
//! ShardLog (memory) ──► queue ──► writer ──► segment … segment    `segment`: how they lie on disk
//!                                   │            ▲                `recover`: how they are read
//!                                   back
//!                                   └─► helper ──┘ prepares the next, deletes the oldest
//! ```
//!
//! # What a crash can do
//! A frame is valid as a whole or not at all. The one frame in flight at a crash was never
//! acknowledged; it is cut, and the recovery says so. Every opening begins a new segment whose
//! first frame says where the previous one ends, so what was cut stays cut, and no old block is
//! written again. Anything else that does not read back is damage, and the log refuses to open:
//! cutting it
//! would forget votes and entries a majority counted on.
//!
//! # What cannot be told apart
//! Only the very last frame has no successor to prove that it was acknowledged. Segments start as
//! zeros and filler is not zero, so a torn last frame has a sector of zeros and a damaged one has
//! none: that is refused too. What is left is a disk that loses or zeroes whole sectors of exactly
//! the last frame (it lied about the flush), or a damaged last frame whose payload holds 512
//! aligned zero bytes. This replica then forgets its last flush: entries come back from the leader,
//! and a
//! majority that still has them keeps them; but a forgotten vote, or an entry that the other
//! majority member loses too before it is copied again, is beyond what Raft tolerates with a disk
//! that lies. The same holds for a deleted newest segment.
//!
//! # Errors
//! The first error of a write or flush stops the log: it is never tried again (the kernel may have
//! dropped the dirty pages), every later call fails, and the [`FatalHook`] ends the process. Space
//! is taken when a segment is made, so a full disk shows there, before anything is written.

pub mod disk;
pub mod error;
mod helper;
mod ledger;
pub mod real_disk;
pub mod record;
mod recover;
mod scan;
pub mod segment;
mod shard_log;
pub mod sim_disk;
mod status;
mod writer;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use bytes::Bytes;
use crossbeam::{channel::bounded, sync::Parker};
use parking_lot::Mutex;

use self::{
    disk::{BLOCK_BYTES, Disk},
    recover::Replay,
    shard_log::{Core, Message, Ram, state_of},
    status::Status,
    writer::Writer,
};
pub use self::{
    error::{Damage, LogError, REMEDY},
    scan::{ScanReport, ScannedRecord, SegmentReport, scan},
    shard_log::{Done, LogRecord, ShardLog, ShardLogState},
    status::{LogStats, OldestHolder},
};

/// A shard's number; the same as `onsale_state::ids::ShardNo`.
pub type ShardNo = u16;

/// Called once, on the writer's thread, with the error that stopped the log. Ends the process;
/// tests pass their own.
pub type FatalHook = Arc<dyn Fn(&LogError) + Send + Sync>;

/// Default size of a segment.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// Smallest segment that is of use.
pub const SEGMENT_BYTES_MIN: u64 = 16 << 10;

/// Default number of requests waiting for the writer; a full queue makes callers wait.
pub const QUEUE_MAX: usize = 1024;

/// Default size at which a frame takes no more requests.
pub const FLUSH_BYTES_MAX: usize = 1 << 20;

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The folder; nothing else may be in it.
    pub dir: PathBuf,
    /// Size of a new segment: a multiple of 4096, at least [`SEGMENT_BYTES_MIN`]. May change from
    /// one opening to the next.
    pub segment_bytes: u64,
    /// Requests waiting for the writer, at least 1.
    pub queue_max: usize,
    /// A frame with this many bytes takes no more requests; at least one block.
    pub flush_bytes_max: usize,
    /// Make segments ahead and delete them on a thread of its own. Without it the writer does both
    /// in line, so that a run on a simulated disk is the same every time.
    pub background: bool,
}

impl LogConfig {
    /// The defaults, for this folder.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: SEGMENT_BYTES,
            queue_max: QUEUE_MAX,
            flush_bytes_max: FLUSH_BYTES_MAX,
            background: true,
        }
    }

    /// Largest payload of a record: it must fit into a segment beside the first frame.
    pub fn record_bytes_max(&self) -> usize {
        usize::try_from(self.segment_bytes / 2).unwrap_or(usize::MAX).min(u32::MAX as usize / 2)
            - BLOCK_BYTES / 2
    }

    fn check(&self) -> Result<(), LogError> {
        let refuse = |text: String| Err(LogError::Config(text));
        if self.segment_bytes < SEGMENT_BYTES_MIN
            || !self.segment_bytes.is_multiple_of(BLOCK_BYTES as u64)
        {
            return refuse(format!(
                "segment_bytes is {}; it must be a multiple of {BLOCK_BYTES} and at least \
                 {SEGMENT_BYTES_MIN}",
                self.segment_bytes
            ));
        }
        if self.queue_max == 0 || self.flush_bytes_max < BLOCK_BYTES {
            return refuse("queue_max must be 1 or more, flush_bytes_max a block or more".into());
        }
        Ok(())
    }
}

/// An index and the log id that goes with it, opaque to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Log index.
    pub index: u64,
    /// The log id, as its owner wrote it.
    pub id: Bytes,
}

/// The unfinished frame that was cut at the last opening; none of it was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The file.
    pub file: PathBuf,
    /// Where the good part ends.
    pub offset: u64,
    /// Bytes from there to the last one that is not zero.
    pub bytes: u64,
}

/// What an opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Per shard: vote, marks, extent. The entries are in memory, see [`ShardLog::read`].
    pub shards: BTreeMap<ShardNo, ShardLogState>,
    /// What was cut, if anything.
    pub torn_tail: Option<TornTail>,
    /// Segments read.
    pub segments: usize,
}

/// A node's log. Dropping it stops the writer after what is queued; [`ShardLog`]s fail from then
/// on.
pub struct Log {
    core: Arc<Core>,
    shards: Mutex<BTreeMap<ShardNo, Arc<Mutex<Ram>>>>,
    writer: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Log {
    /// Locks the folder, reads everything back, begins a new segment, starts the writer.
    ///
    /// # Errors
    /// [`LogError::Locked`] when somebody else is in the folder, [`LogError::Damaged`] when
    /// acknowledged data is damaged or missing, [`LogError::Io`] when the disk refuses.
    pub fn open(
        config: LogConfig,
        disk: Arc<dyn Disk>,
        fatal: FatalHook,
    ) -> Result<(Self, Recovered), LogError> {
        config.check()?;
        let lock = disk.lock(&config.dir).map_err(|error| match error.kind() {
            std::io::ErrorKind::ResourceBusy => LogError::Locked(config.dir.clone()),
            _ => LogError::io("lock the folder", &config.dir, error),
        })?;
        let replay = recover::replay(&config.dir, disk.as_ref())?;
        if let Some(torn) = &replay.torn_tail {
            tracing::warn!(
                file = %torn.file.display(), offset = torn.offset, bytes = torn.bytes,
                "cut an unfinished write at the end of the log; none of it was acknowledged"
            );
        }
        let Replay { ledger, mut entries, segments, torn_tail, tail } = replay;
        let mut shards = BTreeMap::new();
        for (&shard, marks) in &ledger.shards {
            let entries = entries.remove(&shard).unwrap_or_default();
            let ram = Ram {
                vote: marks.vote.clone(),
                purged: marks.purged.clone(),
                committed: marks.committed.clone(),
                committed_is_new: false,
                bytes: entries.iter().map(|entry| entry.payload.len()).sum(),
                entries,
            };
            shards.insert(shard, ram);
        }
        let recovered = Recovered {
            shards: shards.iter().map(|(shard, ram)| (*shard, state_of(ram))).collect(),
            torn_tail,
            segments: segments.len(),
        };
        let status = Arc::new(Status::default());
        let (queue, requests) = bounded::<Message>(config.queue_max);
        let parker = Parker::new();
        let core = Core {
            queue,
            writer: parker.unparker().clone(),
            unread: requests.clone(),
            status: Arc::clone(&status),
            record_bytes_max: config.record_bytes_max(),
        };
        let writer = Writer::begin(config, disk, lock, ledger, segments, tail, status)?;
        let writer = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.run(requests, &parker, fatal))
            .map_err(|error| LogError::System(error.to_string()))?;
        let shards = shards.into_iter().map(|(no, ram)| (no, Arc::new(Mutex::new(ram)))).collect();
        let log = Self { core: Arc::new(core), shards: Mutex::new(shards), writer: Some(writer) };
        Ok((log, recovered))
    }

    /// A shard's log; a shard never heard of begins empty.
    pub fn shard(&self, shard: ShardNo) -> ShardLog {
        let ram = Arc::clone(self.shards.lock().entry(shard).or_default());
        ShardLog::new(shard, ram, Arc::clone(&self.core))
    }

    /// The shard that keeps the oldest segment, when that is not the one being written.
    pub fn oldest_holder(&self) -> Option<OldestHolder> {
        self.core.status.holder()
    }

    /// When the segment being written was begun, Unix milliseconds by the local clock.
    pub fn segment_opened_at_ms(&self) -> u64 {
        self.core.status.opened_at_ms()
    }

    /// Begins another segment soon, so that the one being written can go one day; entries that
    /// nobody adds to must not stay for ever in a segment that is never full.
    pub fn begin_segment(&self) {
        // A full queue fills the segment by itself.
        if self.core.queue.try_send(Message::Roll).is_ok() {
            self.core.writer.unpark();
        }
    }

    /// Totals since the opening.
    pub fn stats(&self) -> LogStats {
        self.core.status.stats()
    }

    /// Why the log has stopped, if it has.
    pub fn stopped(&self) -> Option<String> {
        self.core.status.poison().map(str::to_owned)
    }

    /// Writes what is queued, stops the writer and unlocks the folder. The same as dropping it, but
    /// committed marks that still wait for company are written too.
    pub fn shutdown(mut self) {
        let shards: Vec<ShardNo> = self.shards.lock().keys().copied().collect();
        for shard in shards {
            self.shard(shard).push_committed();
        }
        self.stop();
    }

    fn stop(&mut self) {
        let Some(writer) = self.writer.take() else {
            return;
        };
        self.core.send(Message::Stop);
        if writer.thread().id() != std::thread::current().id() {
            let _ = writer.join();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where a segment lies.
fn segment_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(segment::file_name(segment))
}
