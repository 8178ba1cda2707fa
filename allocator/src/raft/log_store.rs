//! Owns how openraft's entries, votes and marks stand in the node's log.
//!
//! An entry's batch is stored as the very bytes it arrived in. Must never answer openraft before
//! the log says "durable", except for an append that needs another node to be committed: what
//! follows from it waits elsewhere, see [`super::flushed`].

use std::{
    collections::VecDeque,
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use openraft::{
    AnyError, CommittedLeaderId, LeaderId, LogState, OptionalSend, RaftLogReader, StorageIOError,
    storage::{LogFlushed, RaftLogStorage},
};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::{
    flushed::Appends,
    snapshot::Durable,
    types::{Entry, LogId, Payload, Proposal, StorageError, TypeConfig, Vote},
};
use crate::{
    limits::APPEND_BYTES_MAX,
    log::{Done, LogRecord, ShardLog},
    timeline::Timeline,
};

/// Entries whose batch is kept decoded, so that what was just appended is not decoded again to be
/// applied.
const DECODED_ENTRIES_MAX: usize = 256;

const BLANK: u8 = 0;
/// Tag of an entry whose payload is an encoded batch.
pub(crate) const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// One shard's log as openraft sees it. Clones are handles to the same.
#[derive(Clone)]
pub struct LogStore {
    log: ShardLog,
    decoded: Arc<Mutex<VecDeque<Entry>>>,
    snapshots: Option<watch::Receiver<Durable>>,
    timeline: Option<Arc<Timeline>>,
    /// Who waits for this replica's flushes in openraft's stead.
    appends: Option<Arc<Appends>>,
}

impl LogStore {
    /// On a shard's log.
    #[must_use]
    pub fn new(log: ShardLog) -> Self {
        Self { log, decoded: Arc::default(), snapshots: None, timeline: None, appends: None }
    }

    /// Lets no purge mark pass what these snapshots cover. openraft purges while a received
    /// snapshot is still being installed; after a crash in between the entries would be nowhere.
    #[must_use]
    pub fn behind(self, snapshots: watch::Receiver<Durable>) -> Self {
        Self { snapshots: Some(snapshots), ..self }
    }

    /// Says when appends are flushed.
    pub(super) fn timed(self, timeline: Arc<Timeline>) -> Self {
        Self { timeline: Some(timeline), ..self }
    }

    /// Lets openraft go on while what needs another node is flushed. Whoever does so has to wait
    /// for these appends before it answers a leader, and before openraft hears a peer's answer.
    /// Up to `applied` the replica's state knows better than the log.
    pub(super) fn ahead_of(self, appends: Arc<Appends>, applied: Option<u64>) -> Self {
        let start = applied.map_or(0, |index| index.saturating_add(1));
        for record in self.log.read(start..u64::MAX, usize::MAX) {
            if record.tag == MEMBERSHIP
                && let Ok(Entry { log_id, payload: Payload::Membership(membership) }) =
                    decode_entry(record)
            {
                appends.learn(log_id.index, &membership);
            }
        }
        Self { appends: Some(appends), ..self }
    }

    /// Whether this vote is for this node itself, where it is no quorum alone. openraft would lead
    /// again with it at once, in the same term and behind the last entry on disk. But
    /// others may have entries of that term that this disk lost, and would take the new ones with
    /// their ids for them: the lead has to be won again, in a term of its own.
    fn may_not_resume(&self, vote: &Vote) -> bool {
        let appends = self.appends.as_ref();
        appends.is_some_and(|appends| {
            appends.is_of(vote.leader_id.node_id) && !appends.commits_alone()
        })
    }

    async fn snapshot_of(&mut self, index: u64) -> io::Result<()> {
        let Some(snapshots) = &mut self.snapshots else {
            return Ok(());
        };
        let covered = snapshots.wait_for(|there| there.failed || there.index >= Some(index)).await;
        match covered {
            Ok(there) if there.index >= Some(index) => Ok(()),
            _ => Err(io::Error::other("there is no snapshot of what is to be purged")),
        }
    }

    /// An error says which entry cannot be read, and why.
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry>, (u64, String)> {
        let records = self.log.read(start..end, bytes_max);
        let mut entries = Vec::with_capacity(records.len());
        for record in records {
            let index = record.index;
            entries.push(match self.find_decoded(&record) {
                Some(entry) => entry,
                None => decode_entry(record).map_err(|what| (index, what))?,
            });
        }
        Ok(entries)
    }

    /// A term has one leader and a leader one entry per index, so equal ids are equal entries.
    fn find_decoded(&self, record: &LogRecord) -> Option<Entry> {
        let decoded = self.decoded.lock();
        let first = decoded.front()?.log_id.index;
        let place = usize::try_from(record.index.checked_sub(first)?).ok()?;
        decoded.get(place).filter(|entry| entry.log_id == log_id_of(record)).cloned()
    }

    fn keep_decoded(&self, entries: &[Entry]) {
        let mut decoded = self.decoded.lock();
        for entry in entries {
            let follows =
                decoded.back().is_none_or(|last| last.log_id.index + 1 == entry.log_id.index);
            if !follows {
                decoded.clear();
            }
            if decoded.len() == DECODED_ENTRIES_MAX {
                decoded.pop_front();
            }
            decoded.push_back(entry.clone());
        }
    }

    fn drop_decoded(&self, gone: impl Fn(u64) -> bool) {
        let mut decoded = self.decoded.lock();
        while decoded.back().is_some_and(|entry| gone(entry.log_id.index)) {
            decoded.pop_back();
        }
        while decoded.front().is_some_and(|entry| gone(entry.log_id.index)) {
            decoded.pop_front();
        }
    }
}

/// Whether openraft need not wait for the flush of these entries, which are begun. A change of
/// membership is waited for, so that what it commits by itself is on disk.
fn may_go_ahead(appends: Option<&Appends>, entries: &[Entry]) -> bool {
    let Some(appends) = appends else { return false };
    let mut ahead = appends.need_others() && appends.have_room();
    for entry in entries {
        if let Payload::Membership(membership) = &entry.payload {
            appends.learn(entry.log_id.index, membership);
            ahead = false;
        }
    }
    ahead
}

/// Hands a callback to `submit` and waits until it is called.
async fn durable(submit: impl FnOnce(Done)) -> io::Result<()> {
    let (sender, receiver) = oneshot::channel();
    submit(Box::new(move |result| {
        let _ = sender.send(result);
    }));
    receiver.await.unwrap_or_else(|_| Err(io::Error::other("the log has gone")))
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start, end, usize::MAX).map_err(entry_error)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        self.read(start, end, APPEND_BYTES_MAX).map_err(entry_error)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let state = self.log.state();
        let purged = state.purged.as_ref().map(|mark| decode_log_id(&mark.id)).transpose();
        let last_purged_log_id = purged.map_err(|what| read_error(&what))?;
        let last = state.last.map(|(term, index, origin)| log_id(term, origin, index));
        Ok(LogState { last_purged_log_id, last_log_id: last.or(last_purged_log_id) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = encode_vote(vote);
        durable(|done| self.log.save_vote(vote, done))
            .await
            .map_err(|error| StorageIOError::write_vote(AnyError::new(&error)).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        let vote = self.log.state().vote.map(|vote| decode_vote(&vote)).transpose();
        let vote = vote
            .map_err(|what| StorageError::from(StorageIOError::read_vote(AnyError::error(what))))?;
        Ok(vote
            .map(|vote| Vote { committed: vote.committed && !self.may_not_resume(&vote), ..vote }))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        if let Some(committed) = committed {
            self.log.save_committed(committed.index, encode_log_id(&committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        let mark = self.log.state().committed;
        let committed = mark.map(|mark| decode_log_id(&mark.id)).transpose();
        committed.map_err(|what| read_error(&what))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        // What a snapshot has taken in already is not written again.
        let purged = self.log.state().purged.map(|mark| mark.index);
        let entries: Vec<Entry> =
            entries.into_iter().filter(|entry| Some(entry.log_id.index) > purged).collect();
        let mut records = Vec::with_capacity(entries.len());
        for entry in &entries {
            records.push(encode_entry(entry).map_err(|error| {
                StorageError::from(StorageIOError::write_log_entry(
                    entry.log_id,
                    AnyError::error(error),
                ))
            })?);
        }
        self.keep_decoded(&entries);
        let timed = self.timeline.clone().map(|timeline| (timeline, Instant::now()));
        let appends = self.appends.clone().map(|appends| (appends.begin(), appends));
        let ahead = may_go_ahead(appends.as_ref().map(|(_, appends)| &**appends), &entries);
        let (now, later) = if ahead { (Some(callback), None) } else { (None, Some(callback)) };
        let flushed = move |result: io::Result<()>| {
            if let Some((timeline, appended)) = timed {
                timeline.flush(appended);
            }
            if let Some((number, appends)) = appends {
                appends.ended(number, result.is_ok());
            }
            if let Some(callback) = later {
                callback.log_io_completed(result);
            }
        };
        self.log.append(records, Box::new(flushed));
        if let Some(callback) = now {
            // What the log refuses at once, openraft hears at once.
            callback.log_io_completed(self.appends.as_ref().map_or(Ok(()), |it| it.check()));
        }
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.drop_decoded(|index| index >= log_id.index);
        if let Some(appends) = &self.appends {
            appends.forget_from(log_id.index);
        }
        durable(|done| self.log.truncate_from(log_id.index, done))
            .await
            .map_err(|error| StorageIOError::write_logs(AnyError::new(&error)).into())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.snapshot_of(log_id.index).await.map_err(|error| {
            StorageError::from(StorageIOError::write_logs(AnyError::new(&error)))
        })?;
        self.drop_decoded(|index| index <= log_id.index);
        durable(|done| self.log.purge_to(log_id.index, encode_log_id(&log_id), done))
            .await
            .map_err(|error| StorageIOError::write_logs(AnyError::new(&error)).into())
    }
}

fn entry_error((index, what): (u64, String)) -> StorageError {
    StorageIOError::read_log_at_index(index, AnyError::error(what)).into()
}

fn read_error(what: &str) -> StorageError {
    StorageIOError::read_logs(AnyError::error(what)).into()
}

fn log_id(term: u64, leader: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, leader), index)
}

fn log_id_of(record: &LogRecord) -> LogId {
    log_id(record.term, record.origin, record.index)
}

fn encode_entry(entry: &Entry) -> Result<LogRecord, serde_json::Error> {
    let (tag, payload) = match &entry.payload {
        Payload::Blank => (BLANK, Bytes::new()),
        Payload::Normal(proposal) => (NORMAL, proposal.bytes().clone()),
        Payload::Membership(members) => (MEMBERSHIP, serde_json::to_vec(members)?.into()),
    };
    Ok(LogRecord {
        term: entry.log_id.leader_id.term,
        index: entry.log_id.index,
        origin: entry.log_id.leader_id.node_id,
        tag,
        payload,
    })
}

/// Reads an entry from its record; an error says what is wrong.
pub fn decode_entry(record: LogRecord) -> Result<Entry, String> {
    let log_id = log_id_of(&record);
    let payload = match record.tag {
        BLANK => Payload::Blank,
        NORMAL => {
            let proposal = Proposal::decode(record.payload);
            Payload::Normal(proposal.map_err(|error| format!("batch of {log_id}: {error}"))?)
        }
        MEMBERSHIP => {
            let members = serde_json::from_slice(&record.payload);
            Payload::Membership(members.map_err(|error| format!("members of {log_id}: {error}"))?)
        }
        tag => return Err(format!("entry {log_id} has the unknown kind {tag}")),
    };
    Ok(Entry { log_id, payload })
}

fn encode_log_id(log_id: &LogId) -> Bytes {
    let leader = &log_id.leader_id;
    let numbers = [leader.term, leader.node_id, log_id.index];
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// Reads the log id of a purge or committed mark; an error says what is wrong.
pub fn decode_log_id(bytes: &[u8]) -> Result<LogId, String> {
    let numbers: [u8; 24] =
        bytes.try_into().map_err(|_| format!("a log id of {} bytes", bytes.len()))?;
    Ok(log_id(number(&numbers, 0), number(&numbers, 8), number(&numbers, 16)))
}

fn encode_vote(vote: &Vote) -> Bytes {
    let mut bytes = Vec::with_capacity(17);
    bytes.extend_from_slice(&vote.leader_id.term.to_le_bytes());
    bytes.extend_from_slice(&vote.leader_id.node_id.to_le_bytes());
    bytes.push(u8::from(vote.committed));
    bytes.into()
}

/// Reads a vote; an error says what is wrong.
pub fn decode_vote(bytes: &[u8]) -> Result<Vote, String> {
    let fields: [u8; 17] =
        bytes.try_into().map_err(|_| format!("a vote of {} bytes", bytes.len()))?;
    let leader_id = LeaderId::new(number(&fields, 0), number(&fields, 8));
    Ok(Vote { leader_id, committed: fields[16] != 0 })
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}
