//! Owns a shard's snapshot files: how they are written so that they are whole or not there, read
//! back piece by piece with checksums, kept (the newest two) and received from a leader.
//!
//! A file is a head (magic, description, checksum), pieces of at most 256 KiB with a checksum each,
//! and an end with the total. What goes over the wire is the file, byte for byte. Must never let an
//! unfinished file be taken for a snapshot: writing is tmp, fsync, rename, fsync of the folder.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::types::SnapshotMeta;
use crate::{
    error::Error,
    limits::{SNAPSHOT_BYTES_MAX, SNAPSHOT_META_BYTES_MAX, SNAPSHOT_PIECE_BYTES, SNAPSHOTS_KEPT},
};

const MAGIC: &[u8; 8] = b"ONSNAP01";
const SUFFIX: &str = ".snapshot";
const REMEDY: &str = "Do not delete or edit files; replace this replica: \
    `onsale cluster remove-replica`, then `onsale cluster add-replica` with an empty folder";

/// A snapshot file: openraft's handle of snapshot data. The open file survives its own deletion.
#[derive(Debug)]
pub struct SnapshotFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Open for reading, or for writing while it is received.
    pub file: File,
}

/// The description in a snapshot's head.
#[derive(Serialize, Deserialize)]
struct Head {
    shard: u16,
    meta: SnapshotMeta,
}

/// A snapshot read back.
pub struct Loaded {
    /// What it contains.
    pub meta: SnapshotMeta,
    /// The shard's encoded state.
    pub state: Vec<u8>,
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
            match read(&path, self.shard) {
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
        let mut file = File::open(&path)?;
        let head = read_head(&mut file).map_err(|wrong| invalid(&path, &wrong))?.0;
        Ok(Some((head.meta, SnapshotFile { file: File::open(&path)?, path })))
    }

    /// Writes a snapshot; it is durable on return.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, meta: &SnapshotMeta, state: &[u8]) -> io::Result<SnapshotFile> {
        let mut incoming = self.incoming()?;
        let head = Head { shard: self.shard, meta: meta.clone() };
        let head = serde_json::to_vec(&head)?;
        let mut out = io::BufWriter::with_capacity(SNAPSHOT_PIECE_BYTES, &mut incoming.file);
        out.write_all(MAGIC)?;
        write_piece(&mut out, &head)?;
        for piece in state.chunks(SNAPSHOT_PIECE_BYTES) {
            write_piece(&mut out, piece)?;
        }
        out.write_all(&0_u32.to_le_bytes())?;
        out.write_all(&end_of(state.len() as u64))?;
        out.flush()?;
        drop(out);
        self.adopt(incoming, meta)
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

    /// Reads a received file whole, checksums and all.
    ///
    /// # Errors
    /// When it is damaged or belongs to another shard.
    pub fn check(&self, path: &Path) -> Result<Loaded, Error> {
        read(path, self.shard)
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

/// Reads one snapshot file of whatever shard, checksums and all; for the verifier.
///
/// # Errors
/// Which file is damaged where.
pub fn read_any(path: &Path) -> Result<(u16, Loaded), Error> {
    let mut file = File::open(path).map_err(|error| Error::io(path, error))?;
    read_from(&mut file).map_err(|wrong| wrong.into_error(path))
}

fn read(path: &Path, shard: u16) -> Result<Loaded, Error> {
    let (of, loaded) = read_any(path)?;
    if of != shard {
        let reason = format!("it is of shard {of}, not {shard}");
        return Err(Wrong { offset: 0, reason }.into_error(path));
    }
    Ok(loaded)
}

/// What is wrong with a file, and where.
struct Wrong {
    offset: u64,
    reason: String,
}

impl Wrong {
    fn into_error(self, path: &Path) -> Error {
        Error::Snapshot {
            file: path.to_owned(),
            offset: self.offset,
            reason: self.reason,
            remedy: REMEDY.to_owned(),
        }
    }
}

fn read_head(file: &mut File) -> Result<(Head, u64), Wrong> {
    let mut magic = [0; 8];
    fill(file, &mut magic, 0)?;
    if &magic != MAGIC {
        return Err(Wrong { offset: 0, reason: "it is not a snapshot of this version".to_owned() });
    }
    let mut offset = 8;
    let head = read_piece(file, &mut offset, SNAPSHOT_META_BYTES_MAX)?.unwrap_or_default();
    let head = serde_json::from_slice(&head)
        .map_err(|error| Wrong { offset: 8, reason: format!("its description: {error}") })?;
    Ok((head, offset))
}

fn read_from(file: &mut File) -> Result<(u16, Loaded), Wrong> {
    let (Head { shard, meta }, mut offset) = read_head(file)?;
    let mut state = Vec::new();
    while let Some(piece) = read_piece(file, &mut offset, SNAPSHOT_PIECE_BYTES)? {
        state.extend_from_slice(&piece);
        if state.len() as u64 > SNAPSHOT_BYTES_MAX {
            return Err(Wrong { offset, reason: "it is larger than any snapshot".to_owned() });
        }
    }
    let mut rest = Vec::new();
    file.take(13).read_to_end(&mut rest).map_err(|error| Wrong::io(offset, &error))?;
    if rest != end_of(state.len() as u64) {
        return Err(Wrong { offset, reason: "its end does not fit its content".to_owned() });
    }
    Ok((shard, Loaded { meta, state }))
}

impl Wrong {
    fn io(offset: u64, error: &io::Error) -> Wrong {
        Wrong { offset, reason: error.to_string() }
    }
}

fn fill(file: &mut File, bytes: &mut [u8], offset: u64) -> Result<(), Wrong> {
    file.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Wrong { offset, reason: "it ends too early".to_owned() },
        _ => Wrong::io(offset, &error),
    })
}

/// The next piece; `None` at the end mark, whose checksum and total are still to be read.
fn read_piece(file: &mut File, offset: &mut u64, max: usize) -> Result<Option<Vec<u8>>, Wrong> {
    let mut length = [0; 4];
    fill(file, &mut length, *offset)?;
    let length = u32::from_le_bytes(length) as usize;
    if length == 0 {
        return Ok(None);
    }
    if length > max {
        return Err(Wrong { offset: *offset, reason: "a length is out of range".to_owned() });
    }
    let mut crc = [0; 4];
    fill(file, &mut crc, *offset)?;
    let mut piece = vec![0; length];
    fill(file, &mut piece, *offset)?;
    if crc32c::crc32c(&piece) != u32::from_le_bytes(crc) {
        return Err(Wrong { offset: *offset, reason: "a checksum does not fit".to_owned() });
    }
    *offset += 8 + length as u64;
    Ok(Some(piece))
}

/// What follows the last piece: checksum and total.
fn end_of(total: u64) -> [u8; 12] {
    let total = total.to_le_bytes();
    let mut end = [0; 12];
    end[..4].copy_from_slice(&crc32c::crc32c(&total).to_le_bytes());
    end[4..].copy_from_slice(&total);
    end
}

fn write_piece(out: &mut impl io::Write, piece: &[u8]) -> io::Result<()> {
    out.write_all(&(piece.len() as u32).to_le_bytes())?;
    out.write_all(&crc32c::crc32c(piece).to_le_bytes())?;
    out.write_all(piece)
}

fn invalid(path: &Path, wrong: &Wrong) -> io::Error {
    let text = format!("{} at byte {}: {}", path.display(), wrong.offset, wrong.reason);
    io::Error::new(io::ErrorKind::InvalidData, text)
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

    #[test]
    fn the_newest_of_two_kept_snapshots_is_read_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path(), 3).expect("opens");
        assert!(store.load().expect("loads").is_none() && store.is_empty().expect("reads"));
        let state: Vec<u8> = (0..SNAPSHOT_PIECE_BYTES * 2 + 77).map(|at| at as u8).collect();
        for index in [5, 90, 1_000] {
            store.write(&meta(index), &state[..state.len() - index as usize]).expect("writes");
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
        store.write(&meta(1), b"the older state").expect("writes");
        let path = store.write(&meta(2), b"the newer state").expect("writes").path;
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
