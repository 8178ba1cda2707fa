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

/// What makes files durable; between this and the disk tests put a power loss.
trait Files: Send + Sync + std::fmt::Debug {
    fn sync(&self, file: &SnapshotFile) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

#[derive(Debug)]
struct RealFiles;

impl Files for RealFiles {
    fn sync(&self, file: &SnapshotFile) -> io::Result<()> {
        file.file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

/// The snapshots of one shard on this node.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    files: Box<dyn Files>,
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
        Store::open_on(data_dir, shard, Box::new(RealFiles))
    }

    fn open_on(data_dir: &Path, shard: u16, files: Box<dyn Files>) -> Result<Store, Error> {
        let dir = data_dir.join("snapshots").join(format!("shard-{shard}"));
        make_dir_durable(&dir).map_err(|error| Error::io(&dir, error))?;
        for entry in fs::read_dir(&dir).map_err(|error| Error::io(&dir, error))? {
            let path = entry.map_err(|error| Error::io(&dir, error))?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                fs::remove_file(&path).map_err(|error| Error::io(&path, error))?;
            }
        }
        let (received, durable) = (AtomicU64::new(0), watch::Sender::default());
        Ok(Store { dir, files, shard, received, durable, damaged: Mutex::default() })
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
        self.files.sync(&incoming)?;
        let index = meta.last_log_id.map_or(0, |id| id.index);
        let path = self.dir.join(format!("{index:020}{SUFFIX}"));
        self.files.rename(&incoming.path, &path)?;
        self.files.sync_dir(&self.dir)?;
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
mod tests;
