//! Owns how one record lies in a frame: a header of 40 bytes, then the payload.
//!
//! ```text
//!  0 crc32c of the rest, begun with the segment's salt   4 payload length   8 shard
//! 10 kind   11 tag   12 zero   16 term   24 index   32 origin   40 payload
//! ```
//! The salt makes a record of another segment, or one that stands in somebody's payload, unreadable
//! here. Must never panic on any bytes.

use bytes::Bytes;

use super::{ShardNo, disk::AlignedBuf};

/// Length of a record without its payload.
pub const RECORD_HEADER_BYTES: usize = 40;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// First record of a segment; payload: [`super::segment::Begin`].
    Begin,
    /// In a segment's first frame: the shard's entries so far are `term..index`, in that order.
    Extent,
    /// A log entry.
    Entry,
    /// The shard's vote, opaque.
    Vote,
    /// Entries from `index` on are gone.
    Truncate,
    /// Entries up to `index` are gone; payload: the log id.
    Purge,
    /// Entries up to `index` are known to be committed; payload: the log id.
    Committed,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Begin,
            2 => Self::Extent,
            3 => Self::Entry,
            4 => Self::Vote,
            5 => Self::Truncate,
            6 => Self::Purge,
            7 => Self::Committed,
            _ => return None,
        })
    }

    fn to_byte(self) -> u8 {
        match self {
            Self::Begin => 1,
            Self::Extent => 2,
            Self::Entry => 3,
            Self::Vote => 4,
            Self::Truncate => 5,
            Self::Purge => 6,
            Self::Committed => 7,
        }
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is; 0 too for [`Kind::Begin`].
    pub shard: ShardNo,
    /// What it is.
    pub kind: Kind,
    /// Opaque to the log: the kind of an entry's payload.
    pub tag: u8,
    /// Term of an entry.
    pub term: u64,
    /// Index, see [`Kind`].
    pub index: u64,
    /// Opaque to the log: the leader who made an entry.
    pub origin: u64,
    /// The rest.
    pub payload: Bytes,
}

impl Record {
    /// A record of `kind` with nothing in it but what is given.
    pub fn new(shard: ShardNo, kind: Kind, index: u64, payload: Bytes) -> Self {
        Self { shard, kind, tag: 0, term: 0, index, origin: 0, payload }
    }

    /// Length with header.
    pub fn encoded_bytes(&self) -> usize {
        RECORD_HEADER_BYTES + self.payload.len()
    }

    /// Adds the record to a frame.
    pub fn encode(&self, salt: u64, frame: &mut AlignedBuf) {
        let mut head = [0_u8; RECORD_HEADER_BYTES];
        head[4..8].copy_from_slice(&(self.payload.len() as u32).to_le_bytes());
        head[8..10].copy_from_slice(&self.shard.to_le_bytes());
        head[10] = self.kind.to_byte();
        head[11] = self.tag;
        head[16..24].copy_from_slice(&self.term.to_le_bytes());
        head[24..32].copy_from_slice(&self.index.to_le_bytes());
        head[32..40].copy_from_slice(&self.origin.to_le_bytes());
        let crc = checksum(salt, &head[4..], &self.payload);
        head[0..4].copy_from_slice(&crc.to_le_bytes());
        frame.extend(&head);
        frame.extend(&self.payload);
    }

    /// Reads the record at the start of `bytes`; also its length there.
    pub fn decode(salt: u64, bytes: &[u8]) -> Result<(Self, usize), RecordError> {
        let head = bytes.get(..RECORD_HEADER_BYTES).ok_or(RecordError::Short)?;
        let len = read_u32(head, 4) as usize;
        let end = RECORD_HEADER_BYTES.checked_add(len).ok_or(RecordError::Length)?;
        let payload = bytes.get(RECORD_HEADER_BYTES..end).ok_or(RecordError::Length)?;
        if checksum(salt, &head[4..], payload) != read_u32(head, 0) {
            return Err(RecordError::Checksum);
        }
        let record = Self {
            shard: u16::from_le_bytes([head[8], head[9]]),
            kind: Kind::from_byte(head[10]).ok_or(RecordError::Kind)?,
            tag: head[11],
            term: read_u64(head, 16),
            index: read_u64(head, 24),
            origin: read_u64(head, 32),
            payload: Bytes::copy_from_slice(payload),
        };
        if read_u32(head, 12) != 0 {
            return Err(RecordError::Kind);
        }
        Ok((record, end))
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than a header has.
    #[error("the record's header is cut off")]
    Short,
    /// The payload would end after the frame.
    #[error("the record's length is impossible")]
    Length,
    /// A bit is wrong somewhere.
    #[error("the record's checksum is wrong")]
    Checksum,
    /// Right checksum, unknown kind: a later version wrote it.
    #[error("the record's kind is unknown: a later version of onsale wrote it")]
    Kind,
}

fn checksum(salt: u64, head: &[u8], payload: &[u8]) -> u32 {
    let begun = crc32c::crc32c(&salt.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(begun, head), payload)
}

/// Reads four bytes that the caller knows to be there; zero if they are not.
pub(crate) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// Reads eight bytes that the caller knows to be there; zero if they are not.
pub(crate) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}
