//! Snapshot files: whole or not there, also after a power loss.

use std::{collections::BTreeMap, sync::Arc};

use openraft::CommittedLeaderId;

use super::*;
use crate::raft::types::LogId;

fn meta(index: u64) -> SnapshotMeta {
    let last_log_id = Some(LogId::new(CommittedLeaderId::new(1, 2), index));
    SnapshotMeta { last_log_id, snapshot_id: format!("s{index}"), ..SnapshotMeta::default() }
}

fn put(store: &Store, index: u64, state: &[u8]) -> PathBuf {
    let written = store.write(&meta(index), |writer| {
        let (first, second) = state.split_at(state.len() / 3);
        writer.put(first)?;
        writer.put(second)
    });
    let (bytes, file) = written.expect("writes");
    assert_eq!(bytes, state.len() as u64);
    file.path
}

#[test]
fn the_newest_of_two_kept_snapshots_is_read_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path(), 3).expect("opens");
    assert!(store.load().expect("loads").is_none() && store.is_empty().expect("reads"));
    let state: Vec<u8> = (0..SNAPSHOT_PIECE_BYTES * 2 + 77).map(|at| at as u8).collect();
    for index in [5, 90, 1_000] {
        put(&store, index, &state[..state.len() - index as usize]);
    }
    assert_eq!(store.files().expect("lists").len(), SNAPSHOTS_KEPT);
    let loaded = store.load().expect("loads").expect("is there");
    assert_eq!(loaded.meta, meta(1_000));
    assert_eq!(loaded.state, state[..state.len() - 1_000]);
    let (newest, _) = store.newest().expect("reads").expect("is there");
    assert_eq!(newest, meta(1_000));
}

#[test]
fn a_flipped_byte_anywhere_is_found_and_the_snapshot_before_stands_in() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path(), 1).expect("opens");
    put(&store, 1, b"the older state");
    let path = put(&store, 2, b"the newer state");
    let good = fs::read(&path).expect("reads");
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&path, &bad).expect("writes");
        let Err(Error::Snapshot { file, offset, .. }) = store.check(&path) else {
            panic!("byte {at} is not missed");
        };
        assert!(file == path && offset <= at as u64, "byte {at}: {offset} of {file:?}");
        let loaded = store.load().expect("loads").expect("is there");
        assert_eq!(loaded.state, b"the older state", "byte {at}");
        let (newest, _) = store.newest().expect("reads").expect("is there");
        assert_eq!(newest, meta(1), "byte {at}: what is damaged is not sent to a follower");
    }
    for length in 0..good.len() {
        fs::write(&path, &good[..length]).expect("writes");
        assert!(store.check(&path).is_err(), "{length} bytes");
    }
}

#[test]
fn what_was_replaced_goes_when_it_is_old_and_the_newest_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path(), 1).expect("opens");
    put(&store, 1, b"with a name that was erased");
    put(&store, 2, b"without");
    store.drop_old(Duration::from_secs(3_600)).expect("lists");
    assert_eq!(store.files().expect("lists").len(), 2, "it is not old yet");
    for file in store.files().expect("lists") {
        let file = File::options().write(true).open(file).expect("opens");
        let yesterday = std::time::SystemTime::now() - Duration::from_secs(86_400);
        file.set_modified(yesterday).expect("dates back");
    }
    store.drop_old(Duration::from_secs(3_600)).expect("deletes");
    assert_eq!(store.files().expect("lists").len(), 1);
    assert_eq!(store.load().expect("loads").expect("is there").state, b"without");
}

#[test]
fn an_unfinished_file_is_never_a_snapshot() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path(), 1).expect("opens");
    let incoming = store.incoming().expect("opens");
    assert!(store.load().expect("loads").is_none());
    drop(store);
    let store = Store::open(dir.path(), 1).expect("opens again");
    assert!(!incoming.path.exists() && store.is_empty().expect("reads"));
}

/// A disk whose power fails at its nth operation.
#[derive(Clone, Debug)]
struct PowerLoss(Arc<Mutex<Power>>);

#[derive(Debug, Default)]
struct Power {
    operations_left: usize,
    /// What each file had when it was last flushed, under its name of now.
    flushed: BTreeMap<PathBuf, Vec<u8>>,
    /// The names when the folder was last flushed.
    names: BTreeMap<PathBuf, Vec<u8>>,
}

impl PowerLoss {
    fn step(&self, step: impl FnOnce(&mut Power) -> io::Result<()>) -> io::Result<()> {
        let mut power = self.0.lock();
        let left = power.operations_left.checked_sub(1);
        power.operations_left = left.ok_or_else(|| io::Error::other("the power has failed"))?;
        step(&mut power)
    }
}

impl Files for PowerLoss {
    fn sync(&self, file: &SnapshotFile) -> io::Result<()> {
        self.step(|power| {
            power.flushed.insert(file.path.clone(), fs::read(&file.path)?);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|power| {
            let content = power.flushed.remove(from).unwrap_or_default();
            power.flushed.insert(to.to_owned(), content);
            fs::rename(from, to)
        })
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        self.step(|power| {
            power.names = power.flushed.clone();
            Ok(())
        })
    }
}

#[test]
fn whatever_a_power_loss_leaves_what_was_called_durable_is_there() {
    let mut announced = Vec::new();
    for operations_left in 0..12 {
        // The names of now may have come to the disk by themselves, or not.
        for names_survive in [false, true] {
            let dir = tempfile::tempdir().expect("a folder");
            let power = Power { operations_left, ..Power::default() };
            let disk = PowerLoss(Arc::new(Mutex::new(power)));
            let store = Store::open_on(dir.path(), 1, Box::new(disk.clone())).expect("opens");
            for index in [5, 90, 1_000] {
                let state = vec![index as u8; 3_000];
                let _ = store.write(&meta(index), |writer| writer.put(&state));
            }
            let durable = store.durable().borrow().index;
            let folder = store.dir.clone();
            drop(store);
            for file in fs::read_dir(&folder).expect("lists") {
                fs::remove_file(file.expect("a file").path()).expect("is lost");
            }
            let power = disk.0.lock();
            let left = if names_survive { &power.flushed } else { &power.names };
            for (path, content) in left {
                fs::write(path, content).expect("is left");
            }
            let store = Store::open(dir.path(), 1).expect("opens again");
            let loaded = store.load().unwrap_or_default();
            let newest = loaded.and_then(|loaded| loaded.meta.last_log_id).map(|id| id.index);
            assert!(newest >= durable, "{operations_left}: {durable:?} was said, {newest:?} is");
            announced.push(durable);
        }
    }
    announced.dedup();
    assert_eq!(announced, [None, Some(5), Some(90), Some(1_000)]);
}
