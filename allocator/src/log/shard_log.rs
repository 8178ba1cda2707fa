//! Owns one shard's side of the log: what it has handed to the writer, kept in memory for reading.
//!
//! Memory shows what was *submitted*, as openraft wants it; durable is what a callback has said to
//! be. A shard's requests reach the writer in the order in which memory changed: both happen under
//! the shard's lock. Must never touch a file.
//!
//! Bound: entries since the purge mark stay in memory. The snapshot policy bounds their number
//! (snapshot every n entries, keep m), the batcher their size (64 KiB), so at most
//! (n + m) · 64 KiB a shard; [`ShardLogState::ram_bytes`] says how much it is.

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use crossbeam::{
    channel::{Receiver, Sender},
    sync::Unparker,
};
use parking_lot::Mutex;

use super::{
    Mark, ShardNo,
    record::{Kind, Record},
    status::Status,
};

/// Called once, on the writer's thread, when a request is durable or never will be. Must
/// be quick and must not call the log.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Raft's term.
    pub term: u64,
    /// Raft's index; entries of a shard are contiguous.
    pub index: u64,
    /// Opaque: who was leader.
    pub origin: u64,
    /// Opaque: the payload's kind.
    pub tag: u8,
    /// Opaque, shared with whoever made it.
    pub payload: Bytes,
}

/// A [`Done`] that is called even when its request is dropped.
pub(crate) struct Callback(Option<Done>);

impl Callback {
    pub(crate) fn new(done: Done) -> Self {
        Self(Some(done))
    }

    pub(crate) fn call(mut self, result: io::Result<()>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(io::Error::other("the log has stopped; this was not written")));
        }
    }
}

/// What a shard asks of the writer: all of it or nothing is acknowledged.
pub(crate) struct Request {
    pub(crate) records: Vec<Record>,
    pub(crate) done: Callback,
}

/// What the writer's queue holds.
pub(crate) enum Message {
    Write(Request),
    /// Begin another segment.
    Roll,
    Stop,
}

/// A shard's memory.
#[derive(Debug, Default)]
pub(crate) struct Ram {
    pub(crate) vote: Option<Bytes>,
    pub(crate) purged: Option<Mark>,
    pub(crate) committed: Option<Mark>,
    /// The committed mark goes with the shard's next request.
    pub(crate) committed_is_new: bool,
    pub(crate) entries: VecDeque<LogRecord>,
    pub(crate) bytes: usize,
}

impl Ram {
    /// The index the next entry must have; `None`: any, the shard is new.
    fn next(&self) -> Option<u64> {
        let last = self.entries.back().map(|entry| entry.index);
        last.or_else(|| self.purged.as_ref().map(|mark| mark.index)).map(|index| index + 1)
    }

    fn take_committed(&mut self, shard: ShardNo) -> Option<Record> {
        if !std::mem::take(&mut self.committed_is_new) {
            return None;
        }
        let mark = self.committed.as_ref()?;
        Some(Record::new(shard, Kind::Committed, mark.index, mark.id.clone()))
    }
}

/// What all handles of a log share.
pub(crate) struct Core {
    pub(crate) queue: Sender<Message>,
    /// Wakes the writer.
    pub(crate) writer: Unparker,
    /// The other end: a bounded channel keeps what is in it when its reader goes.
    pub(crate) unread: Receiver<Message>,
    pub(crate) status: Arc<Status>,
    pub(crate) record_bytes_max: usize,
}

impl Core {
    /// Hands the writer a message, waiting while its queue is full.
    pub(crate) fn send(&self, message: Message) {
        // Its reader is gone only when the writer has ended, which `submit` sees.
        let _ = self.queue.send(message);
        self.writer.unpark();
    }
}

/// A shard's marks and the extent of its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardLogState {
    /// Last vote.
    pub vote: Option<Bytes>,
    /// Last purge mark.
    pub purged: Option<Mark>,
    /// Last committed mark.
    pub committed: Option<Mark>,
    /// Index of the first entry kept.
    pub first_index: Option<u64>,
    /// (term, index, origin) of the last entry kept.
    pub last: Option<(u64, u64, u64)>,
    /// Payload bytes in memory.
    pub ram_bytes: usize,
}

/// One shard's log. Clones are handles to the same.
#[derive(Clone)]
pub struct ShardLog {
    shard: ShardNo,
    ram: Arc<Mutex<Ram>>,
    core: Arc<Core>,
}

impl std::fmt::Debug for ShardLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardLog").field("shard", &self.shard).finish_non_exhaustive()
    }
}

impl ShardLog {
    pub(crate) fn new(shard: ShardNo, ram: Arc<Mutex<Ram>>, core: Arc<Core>) -> Self {
        Self { shard, ram, core }
    }

    /// Whose log this is.
    pub fn shard(&self) -> ShardNo {
        self.shard
    }

    /// Adds entries, readable at once. `done` is called when they are durable. Refused, and nothing
    /// changed, when they do not follow the last entry without a gap or one is too large.
    ///
    /// Waits while the writer's queue is full; with the few requests of a shard that may wait for
    /// the disk (`limits::APPENDS_AHEAD_MAX` and one) it never is.
    pub fn append(&self, entries: Vec<LogRecord>, done: Done) {
        let done = Callback::new(done);
        let mut ram = self.ram.lock();
        if let Err(error) = self.check(&ram, &entries) {
            drop(ram);
            return done.call(Err(error));
        }
        let mut records = Vec::with_capacity(entries.len() + 1);
        records.extend(ram.take_committed(self.shard));
        for entry in entries {
            records.push(Record {
                shard: self.shard,
                kind: Kind::Entry,
                tag: entry.tag,
                term: entry.term,
                index: entry.index,
                origin: entry.origin,
                payload: entry.payload.clone(),
            });
            ram.bytes += entry.payload.len();
            ram.entries.push_back(entry);
        }
        self.submit(records, done);
    }

    /// Remembers a vote. A promise: act on it only after `done`.
    pub fn save_vote(&self, vote: Bytes, done: Done) {
        let mut ram = self.ram.lock();
        ram.vote = Some(vote.clone());
        let mut records = Vec::from_iter(ram.take_committed(self.shard));
        records.push(Record::new(self.shard, Kind::Vote, 0, vote));
        self.submit(records, Callback::new(done));
    }

    /// Drops the entries from `index` on, at once for readers. Refused below the purge mark: those
    /// are committed.
    pub fn truncate_from(&self, index: u64, done: Done) {
        let done = Callback::new(done);
        let mut ram = self.ram.lock();
        if let Some(mark) = &ram.purged
            && index <= mark.index
        {
            let error =
                format!("shard {}: truncate at {index} <= purged {}", self.shard, mark.index);
            drop(ram);
            return done.call(Err(io::Error::new(io::ErrorKind::InvalidInput, error)));
        }
        while ram.entries.back().is_some_and(|entry| entry.index >= index) {
            let entry = ram.entries.pop_back();
            ram.bytes -= entry.map_or(0, |entry| entry.payload.len());
        }
        let mut records = Vec::from_iter(ram.take_committed(self.shard));
        records.push(Record::new(self.shard, Kind::Truncate, index, Bytes::new()));
        self.submit(records, done);
    }

    /// Drops the entries up to `index`, at once for readers; the next entry is `index + 1` or
    /// later. Segments nobody needs any more go after the mark is durable. An older mark than the
    /// last changes nothing.
    pub fn purge_to(&self, index: u64, id: Bytes, done: Done) {
        let mut ram = self.ram.lock();
        let mut records = Vec::from_iter(ram.take_committed(self.shard));
        if ram.purged.as_ref().is_none_or(|mark| mark.index < index) {
            ram.purged = Some(Mark { index, id: id.clone() });
            while ram.entries.front().is_some_and(|entry| entry.index <= index) {
                let entry = ram.entries.pop_front();
                ram.bytes -= entry.map_or(0, |entry| entry.payload.len());
            }
            records.push(Record::new(self.shard, Kind::Purge, index, id));
        }
        self.submit(records, Callback::new(done));
    }

    /// Remembers what is committed. Not flushed by itself: it goes with the shard's next request.
    pub fn save_committed(&self, index: u64, id: Bytes) {
        let mut ram = self.ram.lock();
        ram.committed = Some(Mark { index, id });
        ram.committed_is_new = true;
    }

    /// Entries of `range` that are kept, from its start: at least one if there is one, then as many
    /// as fit into `bytes_max` of payload.
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> Vec<LogRecord> {
        let ram = self.ram.lock();
        let Some(first) = ram.entries.front().map(|entry| entry.index) else {
            return Vec::new();
        };
        let skip = range.start.saturating_sub(first) as usize;
        let take = range.end.saturating_sub(range.start.max(first)) as usize;
        let mut bytes = 0_usize;
        ram.entries
            .iter()
            .skip(skip)
            .take(take)
            .enumerate()
            .take_while(|(place, entry)| {
                bytes = bytes.saturating_add(entry.payload.len());
                *place == 0 || bytes <= bytes_max
            })
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    /// Marks and extent, as submitted.
    pub fn state(&self) -> ShardLogState {
        state_of(&self.ram.lock())
    }

    /// Sends a committed mark that still waits for company, so that a restart finds it.
    pub(crate) fn push_committed(&self) {
        let mut ram = self.ram.lock();
        if let Some(record) = ram.take_committed(self.shard) {
            self.submit(vec![record], Callback::new(Box::new(|_| ())));
        }
    }

    fn check(&self, ram: &Ram, entries: &[LogRecord]) -> io::Result<()> {
        let refuse = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        let mut next = ram.next();
        for entry in entries {
            if next.is_some_and(|next| next != entry.index) {
                return refuse(format!(
                    "shard {}: entry {} does not follow the log, whose next index is {next:?}",
                    self.shard, entry.index
                ));
            }
            if entry.payload.len() > self.core.record_bytes_max {
                return refuse(format!(
                    "shard {}: entry {} has {} bytes, at most {} fit",
                    self.shard,
                    entry.index,
                    entry.payload.len(),
                    self.core.record_bytes_max
                ));
            }
            next = Some(entry.index + 1);
        }
        Ok(())
    }

    /// The caller holds the shard's lock, so that the queue has the order of the memory.
    fn submit(&self, records: Vec<Record>, done: Callback) {
        if let Some(reason) = self.core.status.poison() {
            return done.call(Err(io::Error::other(format!("the log has stopped: {reason}"))));
        }
        self.core.send(Message::Write(Request { records, done }));
        // Either the writer, which first says that it ends and then empties the queue, has seen
        // this request, or we see here that it has ended.
        if self.core.status.has_ended() {
            drop_unread(&self.core.unread);
        }
    }
}

/// Drops what nobody will write; the requests call back.
pub(crate) fn drop_unread(queue: &Receiver<Message>) {
    while let Ok(message) = queue.try_recv() {
        drop(message);
    }
}

/// What a shard's memory amounts to.
pub(crate) fn state_of(ram: &Ram) -> ShardLogState {
    ShardLogState {
        vote: ram.vote.clone(),
        purged: ram.purged.clone(),
        committed: ram.committed.clone(),
        first_index: ram.entries.front().map(|entry| entry.index),
        last: ram.entries.back().map(|entry| (entry.term, entry.index, entry.origin)),
        ram_bytes: ram.bytes,
    }
}

/// Set once, read often: why the log has stopped.
pub(crate) type Poison = OnceLock<String>;
