//! A disk in memory for tests: it forgets everything that was not flushed.
//!
//! After [`SimDisk::power_loss`] only this is left: contents of sectors that were flushed, and a
//! seeded choice of those that were not; file lengths likewise; directory entries as of the last
//! flush of the folder, plus a seeded choice of the later changes. Every operation has a number;
//! a crash or an error can be planned for each. Must never be used for anything that matters.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use super::disk::{AlignedBuf, Disk, FolderLock, SECTOR_BYTES, SegmentFile};

/// What goes wrong at an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power fails during it: it may be done in part. Everything after it fails too, until
    /// [`SimDisk::power_loss`] or [`SimDisk::kill`].
    Crash,
    /// It fails with this error, once; a write leaves a part of its sectors behind.
    Error(io::ErrorKind),
}

#[derive(Clone, Debug, Default)]
struct FileState {
    /// What a reader sees.
    data: Vec<u8>,
    /// What is flushed.
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
enum EntryChange {
    Create(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<u64, FileState>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    changes: Vec<EntryChange>,
    locks: BTreeMap<PathBuf, u64>,
    faults: BTreeMap<u64, Fault>,
    operations: u64,
    next_file: u64,
    epoch: u64,
    down: bool,
    space: Option<u64>,
    seed: u64,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk; `seed` chooses what survives.
    pub fn new(seed: u64) -> Self {
        let disk = Self::default();
        disk.state.lock().seed = seed;
        disk
    }

    /// Operations so far: every create, write, flush, length change, rename, remove, folder flush.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Lets the operation with this number (the next one has number [`SimDisk::operations`]) fail.
    pub fn plan(&self, operation: u64, fault: Fault) {
        self.state.lock().faults.insert(operation, fault);
    }

    /// Total bytes the disk holds; `None`: any.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.state.lock().space = bytes;
    }

    /// Is the power off, by a planned crash?
    pub fn is_down(&self) -> bool {
        self.state.lock().down
    }

    /// From now on every operation fails, as for a process that is no more.
    pub fn stop(&self) {
        self.state.lock().down = true;
    }

    /// Power on after a power loss: forgets what was not flushed, except for a seeded choice.
    /// Handles from before stay dead.
    pub fn power_loss(&self) {
        self.state.lock().power_loss();
    }

    /// A new process after a kill: the page cache keeps everything, nothing more is durable than
    /// before. Handles from before stay dead.
    pub fn kill(&self) {
        self.state.lock().restart();
    }

    /// Flips one bit of a file, flushed or not.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) {
        self.change(path, |data| {
            if let Some(byte) = data.get_mut(offset as usize) {
                *byte ^= 1 << (bit % 8);
            }
        });
    }

    /// Changes a file behind everybody's back.
    pub fn change(&self, path: &Path, change: impl Fn(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        let Some(&no) = state.names.get(path) else {
            return;
        };
        if let Some(file) = state.files.get_mut(&no) {
            change(&mut file.data);
            change(&mut file.durable);
        }
    }

    /// Files, in order.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state.lock().names.keys().cloned().collect()
    }

    fn run<T>(
        &self,
        epoch: Option<u64>,
        work: impl FnOnce(&mut State, Option<io::Error>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state.lock();
        if state.down || epoch.is_some_and(|epoch| epoch != state.epoch) {
            return Err(io::Error::other("the simulated power is off"));
        }
        let number = state.operations;
        state.operations += 1;
        let error = match state.faults.get(&number) {
            None => None,
            Some(Fault::Crash) => {
                state.down = true;
                Some(io::Error::other("the simulated power fails"))
            }
            Some(Fault::Error(kind)) => Some(io::Error::from(*kind)),
        };
        work(&mut state, error)
    }

    fn look<T>(&self, work: impl FnOnce(&State) -> io::Result<T>) -> io::Result<T> {
        let state = self.state.lock();
        if state.down {
            return Err(io::Error::other("the simulated power is off"));
        }
        work(&state)
    }
}

impl State {
    /// A small generator (SplitMix64), so that a seed tells the whole story.
    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn restart(&mut self) {
        self.down = false;
        self.epoch += 1;
        self.faults.clear();
        self.locks.clear();
    }

    fn power_loss(&mut self) {
        self.restart();
        // None of it, all of it, or any part of it.
        let mode = self.random() % 4;
        let changes = std::mem::take(&mut self.changes);
        let mut names = std::mem::take(&mut self.durable_names);
        for change in changes {
            if self.survives(mode) {
                apply_change(&mut names, &change);
            }
        }
        self.names.clone_from(&names);
        self.durable_names = names;
        let kept: BTreeSet<u64> = self.names.values().copied().collect();
        let mut files = std::mem::take(&mut self.files);
        files.retain(|no, _| kept.contains(no));
        for file in files.values_mut() {
            self.lose(file, mode);
        }
        self.files = files;
    }

    fn lose(&mut self, file: &mut FileState, mode: u64) {
        if file.data.len() != file.durable.len() && self.survives(mode) {
            file.durable.resize(file.data.len(), 0);
        }
        for sector in std::mem::take(&mut file.dirty) {
            if self.survives(mode) {
                let begin = sector * SECTOR_BYTES;
                let end = (begin + SECTOR_BYTES).min(file.data.len()).min(file.durable.len());
                if begin < end {
                    file.durable[begin..end].copy_from_slice(&file.data[begin..end]);
                }
            }
        }
        file.data.clone_from(&file.durable);
    }

    fn survives(&mut self, mode: u64) -> bool {
        match mode {
            0 => false,
            1 => true,
            _ => self.random().is_multiple_of(2),
        }
    }

    fn file(&mut self, path: &Path) -> io::Result<&mut FileState> {
        let no = self.names.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        self.files.get_mut(&no).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&mut self, no: u64, offset: usize, bytes: &[u8], part: bool) -> io::Result<()> {
        let sectors = bytes.len().div_ceil(SECTOR_BYTES);
        // A torn write: any of its sectors, not only the first ones.
        let keep: Vec<bool> =
            (0..sectors).map(|_| !part || self.random().is_multiple_of(2)).collect();
        let file = self.files.get_mut(&no).ok_or(io::ErrorKind::NotFound)?;
        if file.data.len() < offset + bytes.len() {
            file.data.resize(offset + bytes.len(), 0);
        }
        for (sector, bytes) in bytes.chunks(SECTOR_BYTES).enumerate() {
            if keep[sector] {
                let begin = offset + sector * SECTOR_BYTES;
                file.data[begin..begin + bytes.len()].copy_from_slice(bytes);
                file.dirty.insert(begin / SECTOR_BYTES);
            }
        }
        Ok(())
    }

    fn used(&self) -> u64 {
        self.names.values().filter_map(|no| self.files.get(no)).map(|f| f.data.len() as u64).sum()
    }
}

fn apply_change(names: &mut BTreeMap<PathBuf, u64>, change: &EntryChange) {
    match change {
        EntryChange::Create(path, no) => {
            names.insert(path.clone(), *no);
        }
        EntryChange::Rename(from, to) => {
            if let Some(no) = names.remove(from) {
                names.insert(to.clone(), no);
            }
        }
        EntryChange::Remove(path) => {
            names.remove(path);
        }
    }
}

fn flush(file: &mut FileState) {
    file.dirty.clear();
    file.durable.clone_from(&file.data);
}

fn or_error(error: Option<io::Error>) -> io::Result<()> {
    error.map_or(Ok(()), Err)
}

impl Disk for SimDisk {
    fn lock(&self, dir: &Path) -> io::Result<Box<dyn FolderLock>> {
        let mut state = self.state.lock();
        let epoch = state.epoch;
        if state.locks.contains_key(dir) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        state.locks.insert(dir.to_owned(), epoch);
        Ok(Box::new(SimLock { disk: self.clone(), dir: dir.to_owned(), epoch }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.look(|state| {
            let names = state.names.keys().filter(|path| path.parent() == Some(dir));
            Ok(names.filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned())).collect())
        })
    }

    fn create(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let no = self.run(None, |state, error| {
            let no = state.next_file;
            state.next_file += 1;
            state.files.insert(no, FileState::default());
            let change = EntryChange::Create(path.to_owned(), no);
            apply_change(&mut state.names, &change);
            state.changes.push(change);
            or_error(error)?;
            Ok(no)
        })?;
        self.run(None, |state, error| {
            if state.space.is_some_and(|space| state.used() + bytes > space) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.write(no, 0, &vec![0; bytes as usize], error.is_some())?;
            or_error(error)
        })?;
        self.run(None, |state, error| {
            or_error(error)?;
            state.files.get_mut(&no).map(flush);
            Ok(())
        })
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let mut state = self.state.lock();
        state.file(path)?;
        let no = state.names.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimFile { disk: self.clone(), no, epoch: state.epoch }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.look(|state| {
            let no = state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
            Ok(state.files.get(no).ok_or(io::ErrorKind::NotFound)?.data.clone())
        })
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.run(None, |state, error| {
            or_error(error)?;
            state.file(path).map(flush)
        })
    }

    fn set_len(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.run(None, |state, error| {
            state.file(path)?.data.resize(bytes as usize, 0);
            or_error(error)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(None, |state, error| {
            state.file(from)?;
            let change = EntryChange::Rename(from.to_owned(), to.to_owned());
            apply_change(&mut state.names, &change);
            state.changes.push(change);
            or_error(error)
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.run(None, |state, error| {
            state.file(path)?;
            let change = EntryChange::Remove(path.to_owned());
            apply_change(&mut state.names, &change);
            state.changes.push(change);
            or_error(error)
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.run(None, |state, error| {
            or_error(error)?;
            // One folder is all the log has; a flush of another one flushes nothing here.
            let path_of = |change: &EntryChange| match change {
                EntryChange::Create(path, _) | EntryChange::Remove(path) => path.clone(),
                EntryChange::Rename(_, to) => to.clone(),
            };
            let (done, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut state.changes)
                .into_iter()
                .partition(|change| path_of(change).parent() == Some(dir));
            state.changes = rest;
            for change in done {
                apply_change(&mut state.durable_names, &change);
            }
            Ok(())
        })
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    dir: PathBuf,
    epoch: u64,
}

impl FolderLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.epoch == self.epoch {
            state.locks.remove(&self.dir);
        }
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    no: u64,
    epoch: u64,
}

impl SegmentFile for SimFile {
    fn write_at(&mut self, offset: u64, blocks: &AlignedBuf) -> io::Result<()> {
        self.disk.run(Some(self.epoch), |state, error| {
            state.write(self.no, offset as usize, blocks.as_slice(), error.is_some())?;
            or_error(error)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.run(Some(self.epoch), |state, error| {
            or_error(error)?;
            state.files.get_mut(&self.no).map(flush);
            Ok(())
        })
    }
}
