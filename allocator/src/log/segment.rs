//! Owns how a segment lies on disk: its name, its frames, its first frame.
//!
//! A segment is a file of fixed size that was filled with zeros and flushed before its first use.
//! Each flush adds one *frame*: a header of 64 bytes, records, filler up to the next block. A block
//! belongs to one frame and is written once, so nothing acknowledged is ever rewritten. Frames are
//! numbered through the whole log and each carries its predecessor's checksum: a valid frame proves
//! that the one before it was durable, because the writer has one frame in flight at a time.
//!
//! ```text
//!  0 magic   8 crc32c of 12..64   12 crc32c of the body   16 segment   24 salt   32 frame number
//! 40 body length   44 predecessor's header crc   48 records   52 zero   64 body
//! ```
//! Filler is not zero, and is checked. So a frame of which a sector reads as zeros was not written
//! to its end, and
//! one without such a sector was: bad checksums in the latter are damage, not a torn write.
//! Must never panic on any bytes.

use bytes::Bytes;

use super::{
    disk::{AlignedBuf, BLOCK_BYTES},
    record::{Kind, Record, read_u32, read_u64},
};

/// Length of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 64;

/// Fills a frame's last block.
pub const FILLER: u8 = 0xA5;

/// No frame is longer: a full flush and the largest single record (a seat map in one command).
/// What is set further behind the last frame was never written by us.
pub const FRAME_BYTES_MAX: usize = 6 << 20;

/// Version of everything in this file and in `record`.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"ONSALELG";
const SUFFIX: &str = ".segment";

/// A prepared segment: zeros, flushed. It gets its first frame under this name, so that a file with
/// a segment's name always has one. At most one exists.
pub const SPARE_NAME: &str = "spare.zeros";

/// A segment that is being prepared.
pub const SPARE_TMP_NAME: &str = "spare.tmp";

/// File name of a segment.
pub fn file_name(segment: u64) -> String {
    format!("{segment:016}{SUFFIX}")
}

/// Segment of a file name.
pub fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let well_formed = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_digit());
    if well_formed { digits.parse().ok() } else { None }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Checksum of this header; the next frame repeats it.
    pub crc: u32,
    /// Checksum of the body.
    pub body_crc: u32,
    /// The segment.
    pub segment: u64,
    /// Random, the segment's own.
    pub salt: u64,
    /// Counted from 1 through all segments.
    pub number: u64,
    /// Length of the records together.
    pub body_bytes: u32,
    /// [`FrameHeader::crc`] of the frame before; 0 in the very first.
    pub previous_crc: u32,
    /// How many records.
    pub records: u32,
}

/// Why bytes are no frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Fewer bytes than a header has, or not its magic.
    NoHeader,
    /// A bit is wrong somewhere.
    Checksum,
}

impl FrameHeader {
    /// Reads a header.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let head = bytes.get(..FRAME_HEADER_BYTES).ok_or(HeaderError::NoHeader)?;
        if head[..8] != MAGIC {
            return Err(HeaderError::NoHeader);
        }
        let crc = read_u32(head, 8);
        if crc32c::crc32c(&head[12..]) != crc {
            return Err(HeaderError::Checksum);
        }
        Ok(Self {
            crc,
            body_crc: read_u32(head, 12),
            segment: read_u64(head, 16),
            salt: read_u64(head, 24),
            number: read_u64(head, 32),
            body_bytes: read_u32(head, 40),
            previous_crc: read_u32(head, 44),
            records: read_u32(head, 48),
        })
    }

    /// Length of the whole frame on disk.
    pub fn frame_bytes(&self) -> u64 {
        frame_bytes(self.body_bytes as usize)
    }
}

/// Length on disk of a frame whose records take `body_bytes`.
pub fn frame_bytes(body_bytes: usize) -> u64 {
    (FRAME_HEADER_BYTES + body_bytes).next_multiple_of(BLOCK_BYTES) as u64
}

/// A frame being filled.
#[derive(Debug)]
pub struct FrameBuf {
    buf: AlignedBuf,
    records: u32,
}

impl FrameBuf {
    /// An empty frame with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut frame = Self { buf: AlignedBuf::with_capacity(bytes), records: 0 };
        frame.clear();
        frame
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.buf.extend(&[0; FRAME_HEADER_BYTES]);
        self.records = 0;
    }

    /// No record in it?
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// How many records are in it.
    pub fn records(&self) -> u64 {
        u64::from(self.records)
    }

    /// Length of its records.
    pub fn body_bytes(&self) -> usize {
        self.buf.len() - FRAME_HEADER_BYTES
    }

    /// Adds a record.
    pub fn push(&mut self, salt: u64, record: &Record) {
        record.encode(salt, &mut self.buf);
        self.records += 1;
    }

    /// Writes the header and the filler: ready for the disk. Returns the header's checksum.
    pub fn seal(&mut self, segment: u64, salt: u64, number: u64, previous_crc: u32) -> u32 {
        let body_bytes = self.body_bytes() as u32;
        let records = self.records;
        let bytes = self.buf.as_mut_slice();
        let body_crc = crc32c::crc32c(&bytes[FRAME_HEADER_BYTES..]);
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[12..16].copy_from_slice(&body_crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&segment.to_le_bytes());
        bytes[24..32].copy_from_slice(&salt.to_le_bytes());
        bytes[32..40].copy_from_slice(&number.to_le_bytes());
        bytes[40..44].copy_from_slice(&body_bytes.to_le_bytes());
        bytes[44..48].copy_from_slice(&previous_crc.to_le_bytes());
        bytes[48..52].copy_from_slice(&records.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[12..FRAME_HEADER_BYTES]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        self.buf.pad_to_block(FILLER);
        crc
    }

    /// The sealed frame.
    pub fn blocks(&self) -> &AlignedBuf {
        &self.buf
    }
}

/// Payload of a segment's first record: what came before, so that the end of the previous segment
/// is decided once and for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Size of this segment's file.
    pub segment_bytes: u64,
    /// Frames of the previous segment end here; 0 in the first segment.
    pub previous_end: u64,
    /// Unix milliseconds by the local clock, for people and for age limits only.
    pub opened_at_ms: u64,
}

impl Begin {
    const BYTES: usize = 28;

    /// As a record.
    pub fn to_record(self) -> Record {
        let mut bytes = Vec::with_capacity(Self::BYTES);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.segment_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.previous_end.to_le_bytes());
        bytes.extend_from_slice(&self.opened_at_ms.to_le_bytes());
        Record::new(0, Kind::Begin, 0, Bytes::from(bytes))
    }

    /// From a record; an error says what is wrong with it.
    pub fn from_record(record: &Record) -> Result<Self, String> {
        let bytes = &record.payload;
        if record.kind != Kind::Begin || bytes.len() < 4 {
            return Err("the segment does not start with its begin record".to_owned());
        }
        let version = read_u32(bytes, 0);
        if version != FORMAT_VERSION || bytes.len() != Self::BYTES {
            return Err(format!("log format {version}; this program reads {FORMAT_VERSION}"));
        }
        Ok(Self {
            segment_bytes: read_u64(bytes, 4),
            previous_end: read_u64(bytes, 12),
            opened_at_ms: read_u64(bytes, 20),
        })
    }
}
