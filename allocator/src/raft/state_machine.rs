//! Owns how openraft applies entries to a shard, and how the shard is snapshotted and replaced.
//!
//! State lives in memory; it is the newest durable snapshot plus the log after it, so a snapshot is
//! reported to openraft (which then purges) only when it is durable. It is copied a little at a
//! time, between entries. Must never decide anything about seats, nor read a clock for the state.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use onsale_state::{Batch, Change, Outcome, Shard, SnapshotCopy};
use openraft::{
    AnyError, EntryPayload, RaftSnapshotBuilder, Snapshot, StorageIOError,
    storage::RaftStateMachine,
};
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{
    flushed::Appends,
    snapshot::{SnapshotFile, Store},
    types::{Entry, LogId, Outcomes, SnapshotMeta, StorageError, StoredMembership, TypeConfig},
};
use crate::{
    error::Error,
    limits::{SNAPSHOT_COPY_PAUSE, SNAPSHOT_COPY_RECORDS},
    metrics::ShardMetrics,
};

/// Who wants to know what was applied. Called on the one task that applies, under the shard's lock.
pub trait Observer: Send + Sync + 'static {
    /// The entry at `index` was applied; `shard` is the state right after it.
    fn applied(&self, index: u64, changes: &[Change], shard: &Shard);
    /// The state was replaced by a snapshot's.
    fn replaced(&self, index: u64, shard: &Shard);
}

/// What all handles of a shard's state machine share.
pub(super) struct Machine {
    shard: Arc<Mutex<Shard>>,
    marks: Mutex<Marks>,
    pub(super) store: Store,
    observer: Arc<dyn Observer>,
    appends: Arc<Appends>,
    metrics: ShardMetrics,
    /// A copy of the state is complete, or given up.
    copied: Condvar,
}

#[derive(Clone, Default)]
struct Marks {
    last_applied: Option<LogId>,
    membership: StoredMembership,
}

/// openraft's handle.
#[derive(Clone)]
pub(super) struct StateMachine(pub(super) Arc<Machine>);

impl Machine {
    /// Loads the newest snapshot into `shard`, if there is one.
    pub(super) fn open(
        shard: Arc<Mutex<Shard>>,
        store: Store,
        observer: Arc<dyn Observer>,
        appends: Arc<Appends>,
        metrics: ShardMetrics,
    ) -> Result<Machine, Error> {
        let mut marks = Marks::default();
        if let Some(loaded) = store.load()? {
            let state = Shard::decode_snapshot(&loaded.state);
            *shard.lock() = state.map_err(|error| Error::Other(format!("a snapshot: {error}")))?;
            marks.last_applied = loaded.meta.last_log_id;
            marks.membership = loaded.meta.last_membership;
            let last = marks.last_applied.map_or(0, |id| id.index);
            appends.learn_from_snapshot(last, &marks.membership);
        }
        let index = marks.last_applied.map_or(0, |id| id.index);
        observer.replaced(index, &shard.lock());
        let (marks, copied) = (Mutex::new(marks), Condvar::new());
        Ok(Machine { shard, marks, store, observer, appends, metrics, copied })
    }

    /// Index of the last applied entry, if there is one.
    pub(super) fn applied_index(&self) -> Option<u64> {
        self.marks.lock().last_applied.map(|id| id.index)
    }

    fn apply_one(&self, entry: Entry, changes: &mut Vec<Change>) -> Vec<Outcome> {
        let started = Instant::now();
        if matches!(entry.payload, EntryPayload::Normal(_)) {
            self.metrics.timeline.commit();
        }
        let mut outcomes = Vec::new();
        changes.clear();
        let index = entry.log_id.index;
        let mut shard = self.shard.lock();
        if let EntryPayload::Normal(proposal) = &entry.payload {
            let batch: &Batch = proposal.batch();
            outcomes.reserve(batch.commands.len());
            shard.apply(index, batch, &mut outcomes, changes);
        }
        self.observer.applied(index, changes, &shard);
        drop(shard);
        let mut marks = self.marks.lock();
        marks.last_applied = Some(entry.log_id);
        if let EntryPayload::Membership(members) = entry.payload {
            marks.membership = StoredMembership::new(Some(entry.log_id), members);
        }
        drop(marks);
        self.metrics.apply_seconds.record(started.elapsed());
        self.metrics.timeline.apply();
        self.metrics.applied_index.set(index as f64);
        count(&self.metrics, &outcomes);
        outcomes
    }

    /// Marks the state as it is now. Takes little time; the rest is [`Picture::write`]'s.
    fn begin_picture(self: &Arc<Self>) -> Picture {
        let started = Instant::now();
        let mut shard = self.shard.lock();
        let marks = self.marks.lock().clone();
        let copy = shard.begin_copy();
        drop(shard);
        let id = marks.last_applied.map_or_else(|| "empty".to_owned(), |id| id.to_string());
        let meta = SnapshotMeta {
            last_log_id: marks.last_applied,
            last_membership: marks.membership,
            snapshot_id: id,
        };
        self.metrics.snapshot_stall_seconds.record(started.elapsed());
        Picture { machine: self.clone(), meta, copy, started }
    }
}

/// A snapshot on its way to the disk. The state is kept as it was until this is dropped.
struct Picture {
    machine: Arc<Machine>,
    meta: SnapshotMeta,
    copy: SnapshotCopy,
    started: Instant,
}

impl Picture {
    /// Copies what is left, a little at a time.
    async fn complete(&mut self) {
        while self.copy_some() {
            tokio::time::sleep(SNAPSHOT_COPY_PAUSE).await;
        }
        self.machine.copied.notify_all();
    }

    /// Writes the complete copy down.
    fn write(self) -> io::Result<SnapshotFile> {
        let machine = &self.machine;
        let copy = &self.copy;
        let (bytes, file) =
            machine.store.write(&self.meta, |writer| copy.write(|bytes| writer.put(bytes)))?;
        machine.metrics.snapshot_bytes.set(bytes as f64);
        machine.metrics.snapshot_seconds.record(self.started.elapsed());
        Ok(file)
    }

    fn copy_some(&mut self) -> bool {
        let mut shard = self.machine.shard.lock();
        let started = Instant::now();
        let more = shard.copy_some(&mut self.copy, SNAPSHOT_COPY_RECORDS);
        self.machine.metrics.snapshot_stall_seconds.record(started.elapsed());
        // Whoever waits comes next, not this thread again.
        MutexGuard::unlock_fair(shard);
        more
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        self.machine.shard.lock().end_copy();
        self.machine.copied.notify_all();
    }
}

fn count(metrics: &ShardMetrics, outcomes: &[Outcome]) {
    let (mut done, mut replayed, mut rejected) = (0, 0, 0);
    for outcome in outcomes {
        match (&outcome.result, outcome.replayed) {
            (Err(_), _) => rejected += 1,
            (Ok(_), true) => replayed += 1,
            (Ok(_), false) => done += 1,
        }
    }
    metrics.done.increment(done);
    metrics.replayed.increment(replayed);
    metrics.rejected.increment(rejected);
}

/// openraft's handle for writing one snapshot: of the state as it was when the handle was made.
pub(super) struct Builder {
    machine: Arc<Machine>,
    picture: Option<Picture>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        let mut picture = self.picture.take().unwrap_or_else(|| self.machine.begin_picture());
        picture.complete().await;
        let meta = picture.meta.clone();
        let written = tokio::task::spawn_blocking(move || picture.write()).await;
        let file = written.map_err(io::Error::other).flatten();
        let file = file.map_err(|error| cannot_write(&error))?;
        Ok(Snapshot { meta, snapshot: Box::new(file) })
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let marks = self.0.marks.lock().clone();
        Ok((marks.last_applied, marks.membership))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcomes>, StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let mut changes = Vec::new();
        let mut outcomes = Vec::new();
        for entry in entries {
            let log_id = entry.log_id;
            // A broken invariant must end this node before it answers anybody again.
            let applying = AssertUnwindSafe(|| self.0.apply_one(entry, &mut changes));
            let applied = catch_unwind(applying).map_err(|_| {
                let reason = "applying it broke an invariant; see the panic above";
                StorageError::from(StorageIOError::apply(log_id, AnyError::error(reason)))
            })?;
            outcomes.push(Outcomes(applied));
        }
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { machine: self.0.clone(), picture: Some(self.0.begin_picture()) }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotFile>, StorageError> {
        self.0.store.incoming().map(Box::new).map_err(|error| cannot_write(&error))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<SnapshotFile>,
    ) -> Result<(), StorageError> {
        let (machine, meta) = (self.0.clone(), meta.clone());
        let installing = tokio::task::spawn_blocking(move || machine.install(&meta, *snapshot));
        let installed = installing.await.map_err(io::Error::other).flatten();
        if installed.is_err() {
            self.0.store.failed();
        }
        installed.map_err(|error| cannot_write(&error))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        let newest = self.0.store.newest().map_err(|error| {
            StorageError::from(StorageIOError::read_snapshot(None, AnyError::new(&error)))
        })?;
        Ok(newest.map(|(meta, file)| Snapshot { meta, snapshot: Box::new(file) }))
    }
}

impl Machine {
    fn install(&self, meta: &SnapshotMeta, file: SnapshotFile) -> io::Result<()> {
        // First of all durable: openraft purges the log meanwhile, and waits for this.
        let file = self.store.adopt(file, meta)?;
        let loaded = self.store.check(&file.path).map_err(io::Error::other)?;
        let state = Shard::decode_snapshot(&loaded.state).map_err(io::Error::other)?;
        self.metrics.snapshot_bytes.set(loaded.state.len() as f64);
        let last = meta.last_log_id.map_or(0, |id| id.index);
        self.appends.learn_from_snapshot(last, &meta.last_membership);
        let mut shard = self.shard.lock();
        // A snapshot of ours that is being made is of the state that goes.
        while shard.is_being_copied() {
            self.copied.wait(&mut shard);
        }
        let before = std::mem::replace(&mut *shard, state);
        let mut marks = self.marks.lock();
        marks.last_applied = meta.last_log_id;
        marks.membership = meta.last_membership.clone();
        drop(marks);
        self.observer.replaced(meta.last_log_id.map_or(0, |id| id.index), &shard);
        drop(shard);
        drop(before);
        self.metrics.snapshots_installed.increment(1);
        Ok(())
    }
}

fn cannot_write(error: &io::Error) -> StorageError {
    StorageIOError::write_snapshot(None, AnyError::new(error)).into()
}
