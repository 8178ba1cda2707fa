//! Owns a shard's snapshot files: how they are written so that they are whole or not there, read
//! back piece by piece with checksums, kept (the newest two) and received from a leader.
//!
//! Must never let an unfinished file be taken for a snapshot: writing is tmp, fsync, rename, fsync
//! of the folder.

mod file;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::watch;

pub use self::file::{Loaded, Writer, read_any};
use super::types::SnapshotMeta;
use crate::{
    error::Error,
    limits::{SNAPSHOT_FLUSH_BYTES, SNAPSHOT_PIECE_BYTES, SNAPSHOTS_KEPT},
};

const SUFFIX: &str = ".snapshot";

/// A snapshot file: openraft's handle of snapshot data. The open file survives its own deletion.
#[derive(Debug)]
pub struct SnapshotFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Open for reading, or for writing while it is received.
    pub file: File,
}

/// The snapshots of one shard on this node.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    shard: u16,
    received: AtomicU64,
    durable: watch::Sender<Durable>,
    /// Files that did not read back when the shard was loaded.
    damaged: Mutex<Vec<PathBuf>>,
}

/// What the snapshots on disk cover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// The last entry in the newest one; `None` while there is none.
    pub index: Option<u64>,
    /// One could not be installed, and this replica ends.
    pub failed: bool,
}

impl Store {
    /// Opens (or makes) the shard's folder below `data_dir` and clears away unfinished files.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(data_dir: &Path, shard: u16) -> Result<Store, Error> {
        let dir = data_dir.join("snapshots").join(format!("shard-{shard}"));
        make_dir_durable(&dir).map_err(|error| Error::io(&dir, error))?;
        for entry in fs::read_dir(&dir).map_err(|error| Error::io(&dir, error))? {
            let path = entry.map_err(|error| Error::io(&dir, error))?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                fs::remove_file(&path).map_err(|error| Error::io(&path, error))?;
            }
        }
        let (received, durable) = (AtomicU64::new(0), watch::Sender::default());
        Ok(Store { dir, shard, received, durable, damaged: Mutex::default() })
    }

    /// Whether there is any snapshot file.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.files().map_err(|error| Error::io(&self.dir, error))?.is_empty())
    }

    /// The newest snapshot that can be read; an older one stands in for a damaged one, and the log
    /// says so.
    ///
    /// # Errors
    /// The newest one's damage, when none can be read.
    pub fn load(&self) -> Result<Option<Loaded>, Error> {
        let files = self.files().map_err(|error| Error::io(&self.dir, error))?;
        let mut first = None;
        for path in files {
            match file::read(&path, self.shard) {
                Ok(loaded) => {
                    self.now_durable(loaded.meta.last_log_id.map(|id| id.index));
                    return Ok(Some(loaded));
                }
                Err(error) => {
                    tracing::error!(%error, "a snapshot cannot be read; trying the one before");
                    self.damaged.lock().push(path);
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(None), Err)
    }

    /// Follows what the snapshots on disk cover.
    pub fn durable(&self) -> watch::Receiver<Durable> {
        self.durable.subscribe()
    }

    /// A snapshot that was promised will never be there.
    pub(super) fn failed(&self) {
        self.durable.send_modify(|durable| durable.failed = true);
    }

    fn now_durable(&self, index: Option<u64>) {
        self.durable.send_modify(|durable| durable.index = durable.index.max(index));
    }

    /// The newest snapshot file that is not known to be damaged, and its description.
    ///
    /// # Errors
    /// When the folder or the file's head cannot be read.
    pub fn newest(&self) -> io::Result<Option<(SnapshotMeta, SnapshotFile)>> {
        let files = self.files()?;
        let damaged = self.damaged.lock().clone();
        let Some(path) = files.into_iter().find(|path| !damaged.contains(path)) else {
            return Ok(None);
        };
        let meta = file::meta_of(&path)?;
        Ok(Some((meta, SnapshotFile { file: File::open(&path)?, path })))
    }

    /// Writes a snapshot of whatever `fill` puts into it; it is durable on return. Says how many
    /// bytes that was.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(
        &self,
        meta: &SnapshotMeta,
        fill: impl FnOnce(&mut Writer<'_>) -> io::Result<()>,
    ) -> io::Result<(u64, SnapshotFile)> {
        let mut incoming = self.incoming()?;
        let mut unflushed = 0;
        let mut after_piece = |file: &File| {
            unflushed += SNAPSHOT_PIECE_BYTES;
            if unflushed >= SNAPSHOT_FLUSH_BYTES {
                // Little by little: one large flush would keep the log's waiting.
                file.sync_data()?;
                unflushed = 0;
            }
            Ok(())
        };
        let mut writer = Writer::begin(&mut incoming.file, self.shard, meta, &mut after_piece)?;
        fill(&mut writer)?;
        let bytes = writer.finish()?;
        Ok((bytes, self.adopt(incoming, meta)?))
    }

    /// A file to write a snapshot to; it counts once it is adopted.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn incoming(&self) -> io::Result<SnapshotFile> {
        let no = self.received.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("incoming-{no}.tmp"));
        let options = File::options().read(true).write(true).create(true).truncate(true).clone();
        Ok(SnapshotFile { file: options.open(&path)?, path })
    }

    /// Makes a complete file the shard's newest snapshot, durably, and deletes the oldest ones.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn adopt(&self, incoming: SnapshotFile, meta: &SnapshotMeta) -> io::Result<SnapshotFile> {
        incoming.file.sync_all()?;
        let index = meta.last_log_id.map_or(0, |id| id.index);
        let path = self.dir.join(format!("{index:020}{SUFFIX}"));
        fs::rename(&incoming.path, &path)?;
        File::open(&self.dir)?.sync_all()?;
        self.damaged.lock().retain(|damaged| *damaged != path);
        self.now_durable(meta.last_log_id.map(|id| id.index));
        for old in self.files()?.into_iter().skip(SNAPSHOTS_KEPT) {
            match fs::remove_file(old) {
                // Another snapshot, made at the same time, was faster.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(SnapshotFile { file: File::open(&path)?, path })
    }

    /// Deletes what a newer snapshot has replaced and is older than `age`: what was erased since
    /// (design D15) must not stay in it. The newest stays, and what stands in for a damaged one.
    ///
    /// # Errors
    /// When the folder cannot be read or a file not be deleted.
    pub fn drop_old(&self, age: Duration) -> io::Result<()> {
        let files = self.files()?;
        let damaged = self.damaged.lock().clone();
        let good = files.iter().position(|file| !damaged.contains(file));
        for file in files.iter().skip(good.map_or(files.len(), |newest| newest + 1)) {
            let written = fs::metadata(file)?.modified()?;
            if written.elapsed().is_ok_and(|elapsed| elapsed > age) {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }

    /// Reads a received file whole, checksums and all.
    ///
    /// # Errors
    /// When it is damaged or belongs to another shard.
    pub fn check(&self, path: &Path) -> Result<Loaded, Error> {
        file::read(path, self.shard)
    }

    /// All snapshot files, newest first.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(SUFFIX) {
                files.push(path);
            }
        }
        files.sort_unstable();
        files.reverse();
        Ok(files)
    }
}

/// Makes a folder and its parents, each entered durably into the one above.
pub(crate) fn make_dir_durable(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_dir_durable(parent)?;
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        return File::open(parent)?.sync_all();
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
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
            assert!(store.check(&path).is_err(), "byte {at}");
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
}
