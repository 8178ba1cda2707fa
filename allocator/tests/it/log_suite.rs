//! openraft's own storage suite on our log store.

#![allow(clippy::unwrap_used)]

use std::{
    io::{Read as _, Seek as _, Write as _},
    pin::pin,
    sync::Arc,
};

use futures_util::future::poll_immediate;
use onsale_allocator::{
    log::{Log, real_disk::RealDisk},
    raft::{
        log_store::LogStore,
        snapshot::{Durable, SnapshotFile},
        types::{
            Entry, LogId, Outcomes, Payload, SnapshotMeta, StorageError, StoredMembership,
            TypeConfig,
        },
    },
};
use openraft::{
    CommittedLeaderId, OptionalSend, RaftSnapshotBuilder, Snapshot,
    storage::{RaftLogStorage as _, RaftStateMachine},
    testing::{StoreBuilder, Suite},
};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::log_common::{open, remember, small, wait};

/// The least a state machine can be: it remembers what it was given last.
#[derive(Clone, Default)]
struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Default)]
struct State {
    applied: Option<LogId>,
    members: StoredMembership,
    snapshot: Option<SnapshotMeta>,
}

fn file_of(meta: &SnapshotMeta) -> SnapshotFile {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&serde_json::to_vec(meta).unwrap()).unwrap();
    SnapshotFile { path: "memory".into(), file }
}

impl RaftSnapshotBuilder<TypeConfig> for Memory {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        let mut state = self.state.lock();
        let meta = SnapshotMeta {
            last_log_id: state.applied,
            last_membership: state.members.clone(),
            snapshot_id: format!("{:?}", state.applied),
        };
        state.snapshot = Some(meta.clone());
        Ok(Snapshot { snapshot: Box::new(file_of(&meta)), meta })
    }
}

impl RaftStateMachine<TypeConfig> for Memory {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let state = self.state.lock();
        Ok((state.applied, state.members.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcomes>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut state = self.state.lock();
        let mut outcomes = Vec::new();
        for entry in entries {
            state.applied = Some(entry.log_id);
            if let Payload::Membership(members) = entry.payload {
                state.members = StoredMembership::new(Some(entry.log_id), members);
            }
            outcomes.push(Outcomes::default());
        }
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotFile>, StorageError> {
        let file = tempfile::tempfile().unwrap();
        Ok(Box::new(SnapshotFile { path: "memory".into(), file }))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<SnapshotFile>,
    ) -> Result<(), StorageError> {
        let mut file = snapshot.file;
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(&serde_json::from_slice::<SnapshotMeta>(&bytes).unwrap(), meta);
        *self.state.lock() = State {
            applied: meta.last_log_id,
            members: meta.last_membership.clone(),
            snapshot: Some(meta.clone()),
        };
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        let meta = self.state.lock().snapshot.clone();
        Ok(meta.map(|meta| Snapshot { snapshot: Box::new(file_of(&meta)), meta }))
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Memory, (Log, tempfile::TempDir)> for Builder {
    async fn build(&self) -> Result<((Log, tempfile::TempDir), LogStore, Memory), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = open(small(dir.path()), &RealDisk::new());
        let store = LogStore::new(log.shard(1));
        Ok(((log, dir), store, Memory::default()))
    }
}

#[test]
fn the_log_store_passes_the_storage_suite_of_openraft() {
    Suite::test_all(Builder).unwrap();
}

#[test]
fn votes_marks_and_entries_come_back_as_openraft_gave_them() {
    use onsale_state::command::{Batch, Command, CommandKind};
    use openraft::{
        RaftLogReader as _, Vote,
        storage::RaftLogStorage as _,
        storage::RaftLogStorageExt as _,
        testing::{log_id, membership_ent},
    };

    let batch = Batch {
        log_time_ms: 77,
        commands: vec![Command { not_after_ms: 99, kind: CommandKind::Tick }],
    };
    let proposal = onsale_allocator::raft::types::Proposal::new(batch);
    let normal = Entry { log_id: log_id(4, 2, 2), payload: Payload::Normal(proposal.clone()) };
    let blank = Entry { log_id: log_id(4, 2, 3), payload: Payload::Blank };
    let members = membership_ent::<TypeConfig>(3, 1, 1, vec![[1, 2, 3].into()]);
    let all = vec![members, normal, blank];
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (log, _) = open(small(dir.path()), &RealDisk::new());
        let mut store = LogStore::new(log.shard(1));
        store.purge(log_id(1, 3, 0)).await.unwrap();
        store.save_vote(&Vote::new_committed(4, 2)).await.unwrap();
        store.blocking_append(all.clone()).await.unwrap();
        store.save_committed(Some(log_id(4, 2, 2))).await.unwrap();
        log.shutdown();

        let (log, _) = open(small(dir.path()), &RealDisk::new());
        let mut store = LogStore::new(log.shard(1));
        assert_eq!(store.try_get_log_entries(..).await.unwrap(), all);
        assert_eq!(store.read_vote().await.unwrap(), Some(Vote::new_committed(4, 2)));
        assert_eq!(store.read_committed().await.unwrap(), Some(log_id(4, 2, 2)));
        let state = store.get_log_state().await.unwrap();
        assert_eq!(state.last_purged_log_id, Some(log_id(1, 3, 0)));
        assert_eq!(state.last_log_id, Some(log_id(4, 2, 3)));
        let gap = store.blocking_append(vec![Entry { log_id: log_id(4, 2, 5), ..all[2].clone() }]);
        assert!(gap.await.is_err(), "a gap in the log is refused");
    });
}

#[test]
fn a_vote_is_not_answered_when_the_log_has_stopped() {
    use openraft::{Vote, storage::RaftLogStorage as _};

    use onsale_allocator::log::sim_disk::{Fault, SimDisk};

    let (disk, (fatal, fatals)) = (SimDisk::new(1), remember());
    let config = small(&crate::log_common::sim_dir());
    let (log, _) = Log::open(config, Arc::new(disk.clone()), fatal).unwrap();
    let shard = log.shard(1);
    wait(|done| shard.save_vote(b"old".as_slice().into(), done)).unwrap();
    disk.plan(disk.operations() + 1, Fault::Error(std::io::ErrorKind::Other));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut store = LogStore::new(shard);
        assert!(store.save_vote(&Vote::new(2, 1)).await.is_err());
        assert!(store.save_vote(&Vote::new(3, 1)).await.is_err());
    });
    assert_eq!(fatals.lock().len(), 1);
}

#[tokio::test]
async fn nothing_is_purged_before_its_snapshot_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(small(dir.path()), &RealDisk::new());
    let (snapshots, durable) = watch::channel(Durable { index: Some(4), failed: false });
    let mut store = LogStore::new(log.shard(1)).behind(durable);
    let mark = LogId::new(CommittedLeaderId::new(1, 2), 9);
    {
        let mut purging = pin!(store.purge(mark));
        assert!(poll_immediate(purging.as_mut()).await.is_none(), "it waits");
        assert_eq!(log.shard(1).state().purged, None);
        snapshots.send_modify(|there| there.index = Some(9));
        purging.await.unwrap();
    }
    assert_eq!(log.shard(1).state().purged.map(|mark| mark.index), Some(9));
    let later = LogId::new(CommittedLeaderId::new(1, 2), 12);
    snapshots.send_modify(|there| there.failed = true);
    assert!(store.purge(later).await.is_err(), "that snapshot will never be there");
    assert_eq!(log.shard(1).state().purged.map(|mark| mark.index), Some(9));
}
