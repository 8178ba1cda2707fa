//! Owns how a snapshot lies in a file: a head (magic, description, checksum), pieces of at most
//! 256 KiB with a checksum each, and an end with the total. What goes over the wire is the file,
//! byte for byte.
//!
//! Must never believe a byte that no checksum covers, nor say "damaged" without file and offset.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::super::types::SnapshotMeta;
use crate::{
    error::Error,
    limits::{SNAPSHOT_BYTES_MAX, SNAPSHOT_META_BYTES_MAX, SNAPSHOT_PIECE_BYTES},
};

const MAGIC: &[u8; 8] = b"ONSNAP01";

const REMEDY: &str = "Do not delete or edit files; replace this replica: \
    `onsale cluster remove-replica`, then `onsale cluster add-replica` with an empty folder";

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

/// Writes a snapshot's bytes, in whatever portions they come, as a file. Nothing counts before
/// [`Writer::finish`].
pub struct Writer<'a> {
    file: &'a mut File,
    piece: Vec<u8>,
    total: u64,
    /// Called after each piece.
    after_piece: &'a mut dyn FnMut(&File) -> io::Result<()>,
}

impl<'a> Writer<'a> {
    pub(super) fn begin(
        file: &'a mut File,
        shard: u16,
        meta: &SnapshotMeta,
        after_piece: &'a mut dyn FnMut(&File) -> io::Result<()>,
    ) -> io::Result<Self> {
        let head = serde_json::to_vec(&Head { shard, meta: meta.clone() })?;
        file.write_all(MAGIC)?;
        write_piece(file, &head)?;
        Ok(Self { file, piece: Vec::with_capacity(SNAPSHOT_PIECE_BYTES), total: 0, after_piece })
    }

    /// Adds bytes of the state.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) =
                bytes.split_at(bytes.len().min(SNAPSHOT_PIECE_BYTES - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == SNAPSHOT_PIECE_BYTES {
                self.end_piece()?;
            }
        }
        Ok(())
    }

    fn end_piece(&mut self) -> io::Result<()> {
        write_piece(self.file, &self.piece)?;
        self.total += self.piece.len() as u64;
        self.piece.clear();
        (self.after_piece)(self.file)
    }

    /// Ends the file; says how many bytes the state has.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        if !self.piece.is_empty() {
            self.end_piece()?;
        }
        self.file.write_all(&0_u32.to_le_bytes())?;
        self.file.write_all(&end_of(self.total))?;
        Ok(self.total)
    }
}

/// What follows the last piece: checksum and total.
fn end_of(total: u64) -> [u8; 12] {
    let total = total.to_le_bytes();
    let mut end = [0; 12];
    end[..4].copy_from_slice(&crc32c::crc32c(&total).to_le_bytes());
    end[4..].copy_from_slice(&total);
    end
}

fn write_piece(out: &mut File, piece: &[u8]) -> io::Result<()> {
    let mut head = [0; 8];
    head[..4].copy_from_slice(&(piece.len() as u32).to_le_bytes());
    head[4..].copy_from_slice(&crc32c::crc32c(piece).to_le_bytes());
    out.write_all(&head)?;
    out.write_all(piece)
}

/// Reads one snapshot file of whatever shard, checksums and all; for the verifier.
///
/// # Errors
/// Which file is damaged where.
pub fn read_any(path: &Path) -> Result<(u16, Loaded), Error> {
    let mut file = File::open(path).map_err(|error| Error::io(path, error))?;
    read_from(&mut file).map_err(|wrong| wrong.into_error(path))
}

pub(super) fn read(path: &Path, shard: u16) -> Result<Loaded, Error> {
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

/// The description of a snapshot that is not read yet.
pub(super) fn meta_of(path: &Path) -> io::Result<SnapshotMeta> {
    let mut file = File::open(path)?;
    match read_head(&mut file) {
        Ok((head, _)) => Ok(head.meta),
        Err(wrong) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, wrong.into_error(path).to_string()))
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
