//! Owns what the log asks of a disk, so that faults can be put between.
//!
//! Two implementations: [`RealDisk`](super::real_disk::RealDisk) and, for tests,
//! [`SimDisk`](super::sim_disk::SimDisk), which forgets what was not flushed. The log must never
//! touch a file by any other way.
//!
//! What the log takes for granted: a flushed block reads back as written; a sector of 512 bytes is
//! written whole or not at all; a rename is done whole or not at all; directory entries are lost
//! in a power loss unless their directory was flushed.

use std::{fmt::Debug, io, path::Path};

/// Unit of every write to a segment: offset, length and memory are multiples of it.
pub const BLOCK_BYTES: usize = 4096;

/// What a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// Files in folders, as far as the log needs them.
pub trait Disk: Send + Sync + Debug + 'static {
    /// Makes the folder if need be (durably) and keeps every other process out of it until the
    /// guard is dropped. Fails with [`io::ErrorKind::ResourceBusy`] when somebody else is in.
    fn lock(&self, dir: &Path) -> io::Result<Box<dyn FolderLock>>;

    /// Names of the files in a folder, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a file of `bytes` zeros, each of them written and flushed, so that later writes change
    /// no metadata. The directory entry is *not* durable before [`Disk::sync_dir`].
    fn create(&self, path: &Path, bytes: u64) -> io::Result<()>;

    /// Opens a file made by [`Disk::create`] for writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;

    /// Reads a whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Makes durable whatever any handle, of a dead process too, has written to the file.
    fn sync_file(&self, path: &Path) -> io::Result<()>;

    /// Cuts a file to `bytes`. Durable at some later time.
    fn set_len(&self, path: &Path, bytes: u64) -> io::Result<()>;

    /// Gives a file another name in its folder. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after [`Disk::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the folder's entries durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// Keeps a folder locked while it lives.
pub trait FolderLock: Send + Debug {}

/// A segment open for writing.
pub trait SegmentFile: Send + Debug {
    /// Writes whole blocks. They may be durable at once or only after [`SegmentFile::flush`].
    fn write_at(&mut self, offset: u64, blocks: &AlignedBuf) -> io::Result<()>;

    /// Makes every write through this handle durable.
    fn flush(&mut self) -> io::Result<()>;
}

/// A growing buffer that starts at a multiple of [`BLOCK_BYTES`] in memory, as `O_DIRECT` asks,
/// made without unsafe code: a vector longer than needed, used from its first aligned byte.
#[derive(Debug)]
pub struct AlignedBuf {
    store: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuf {
    /// An empty buffer with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        let store = vec![0; bytes.next_multiple_of(BLOCK_BYTES) + BLOCK_BYTES];
        // `align_offset` may decline in theory; then O_DIRECT is refused and the disk falls back.
        let start = store.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
        Self { store, start, len: 0 }
    }

    /// Bytes in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing in use?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets the content, keeps the room.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds bytes at the end.
    pub fn extend(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        self.reserve(end);
        self.store[self.start + self.len..self.start + end].copy_from_slice(bytes);
        self.len = end;
    }

    /// Fills up to the next block with `filler`.
    pub fn pad_to_block(&mut self, filler: u8) {
        let end = self.len.next_multiple_of(BLOCK_BYTES);
        self.reserve(end);
        self.store[self.start + self.len..self.start + end].fill(filler);
        self.len = end;
    }

    /// What is in use.
    pub fn as_slice(&self) -> &[u8] {
        &self.store[self.start..self.start + self.len]
    }

    /// What is in use, to change.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.store[self.start..self.start + self.len]
    }

    fn reserve(&mut self, bytes: usize) {
        if self.start + bytes > self.store.len() {
            let mut larger = Self::with_capacity(bytes.max(2 * self.len));
            larger.extend(self.as_slice());
            *self = larger;
        }
    }
}
