//! Owns the log's way to the operating system.
//!
//! Writes go past the page cache and are durable when they return (`O_DIRECT|O_DSYNC`); where the
//! file system refuses that (tmpfs, some network file systems), they are plain writes followed by
//! `fdatasync`. Segments are written with zeros when they are made, so neither way changes metadata
//! later. Must never report a failed flush as done.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use super::disk::{AlignedBuf, Disk, FolderLock, SegmentFile};

/// Zeros are written and flushed in pieces of this size, so that making a segment does not hold up
/// the flushes of the one in use for long.
const ZEROS_BYTES: usize = 1 << 20;

/// Name of the file that is locked.
const LOCK_NAME: &str = "lock";

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk {
    buffered: bool,
}

impl RealDisk {
    /// Direct writes where they work, else plain ones with `fdatasync`.
    pub fn new() -> Self {
        Self { buffered: false }
    }

    /// Plain writes with `fdatasync`, as if the file system refused the direct ones.
    pub fn buffered() -> Self {
        Self { buffered: true }
    }
}

impl Disk for RealDisk {
    fn lock(&self, dir: &Path) -> io::Result<Box<dyn FolderLock>> {
        make_folder(dir)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join(LOCK_NAME))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::ResourceBusy.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(dir)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn create(&self, path: &Path, bytes: u64) -> io::Result<()> {
        if !self.buffered && write_zeros(path, bytes, libc::O_DIRECT).is_ok() {
            return Ok(());
        }
        // Not this file system's way, or a full disk: the second attempt says which.
        write_zeros(path, bytes, 0)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let direct = if self.buffered { None } else { open_direct(path) };
        let synced = direct.is_some();
        let file = match direct {
            Some(file) => file,
            None => OpenOptions::new().write(true).open(path)?,
        };
        let plain = OpenOptions::new().write(true).open(path)?;
        Ok(Box::new(RealSegment { file, plain, synced, written: false }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.sync_all()
    }

    fn set_len(&self, path: &Path, bytes: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.set_len(bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

#[derive(Debug)]
struct Lock {
    _file: File,
}

impl FolderLock for Lock {}

#[derive(Debug)]
struct RealSegment {
    file: File,
    plain: File,
    /// Writes through `file` are durable when they return.
    synced: bool,
    written: bool,
}

impl SegmentFile for RealSegment {
    fn write_at(&mut self, offset: u64, blocks: &AlignedBuf) -> io::Result<()> {
        let result = self.file.write_all_at(blocks.as_slice(), offset);
        let refused = |error: &io::Error| error.kind() == io::ErrorKind::InvalidInput;
        if self.synced && !self.written && result.as_ref().is_err_and(refused) {
            // Opened, but direct writes are not to be had: nothing was written yet, go plain.
            self.synced = false;
            self.file = self.plain.try_clone()?;
            return self.write_at(offset, blocks);
        }
        self.written |= result.is_ok();
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.synced { Ok(()) } else { self.file.sync_data() }
    }
}

fn open_direct(path: &Path) -> Option<File> {
    OpenOptions::new().write(true).custom_flags(libc::O_DIRECT | libc::O_DSYNC).open(path).ok()
}

/// Makes a folder and its parents durable, each in its own parent.
fn make_folder(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_folder(parent)?;
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn write_zeros(path: &Path, bytes: u64, flags: i32) -> io::Result<()> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .custom_flags(flags)
        .open(path)?;
    let mut zeros = AlignedBuf::with_capacity(ZEROS_BYTES);
    zeros.extend(&vec![0; ZEROS_BYTES]);
    let mut at = 0;
    while at < bytes {
        let piece = (bytes - at).min(ZEROS_BYTES as u64) as usize;
        file.write_all_at(&zeros.as_slice()[..piece], at)?;
        file.sync_data()?;
        at += piece as u64;
    }
    file.sync_all()
}
