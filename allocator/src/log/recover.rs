//! Owns how segments are read back, and what is a torn write and what is damage.
//!
//! Reads only; the writer decides where the next segment begins. Must never panic on any bytes,
//! never return a record that was not written, never cut what may have been acknowledged (see the
//! module above for what cannot be told apart).

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
};

use super::{
    Damage, LogError, LogRecord, ShardNo, TornTail,
    disk::{BLOCK_BYTES, Disk, SECTOR_BYTES},
    ledger::{Ledger, NO_SEGMENT},
    record::{Kind, Record},
    segment::{Begin, FILLER, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameHeader, parse_file_name},
    segment_path,
};

/// What is kept of a segment besides its file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SegmentInfo {
    pub(crate) opened_at_ms: u64,
}

/// Where the log ends; all zero in an empty folder.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tail {
    pub(crate) segment: u64,
    pub(crate) end: u64,
    pub(crate) file_bytes: u64,
    pub(crate) frame_number: u64,
    pub(crate) frame_crc: u32,
}

/// What the segments add up to.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) ledger: Ledger,
    pub(crate) entries: BTreeMap<ShardNo, VecDeque<LogRecord>>,
    pub(crate) segments: BTreeMap<u64, SegmentInfo>,
    pub(crate) torn_tail: Option<TornTail>,
    pub(crate) tail: Tail,
}

/// Reads the whole log back.
pub(crate) fn replay(dir: &Path, disk: &dyn Disk) -> Result<Replay, LogError> {
    // After a kill without a power loss, what is read here may not be durable yet; it must be
    // before anything is built on it.
    disk.sync_dir(dir).map_err(|error| LogError::io("flush the folder", dir, error))?;
    let segments = list(dir, disk)?;
    let mut replay = Replay::default();
    let mut before: Option<Parsed> = None;
    for (place, &segment) in segments.iter().enumerate() {
        let path = segment_path(dir, segment);
        if place + 1 == segments.len() {
            disk.sync_file(&path).map_err(|error| LogError::io("flush", &path, error))?;
        }
        let bytes = disk.read(&path).map_err(|error| LogError::io("read", &path, error))?;
        let parsed = parse(&path, segment, &bytes).map_err(LogError::Damaged)?;
        if let Some(before) = before.take() {
            let whole = before.ends_at(&parsed).map_err(|bad| LogError::Damaged(bad.1))?;
            replay.take(whole)?;
        }
        before = Some(parsed);
    }
    if let Some(last) = before {
        replay.torn_tail = last.check_last().map_err(LogError::Damaged)?;
        replay.tail = last.tail();
        replay.take(last)?;
    }
    replay.check(dir)?;
    Ok(replay)
}

/// The segments of a folder, ascending and without a gap.
pub(crate) fn list(dir: &Path, disk: &dyn Disk) -> Result<Vec<u64>, LogError> {
    let names = disk.list(dir).map_err(|error| LogError::io("list", dir, error))?;
    let mut segments: Vec<u64> = names.iter().filter_map(|name| parse_file_name(name)).collect();
    segments.sort_unstable();
    for pair in segments.windows(2) {
        if pair[1] != pair[0] + 1 {
            let missing = segment_path(dir, pair[0] + 1);
            return Err(LogError::damaged(&missing, 0, "the file is missing"));
        }
    }
    Ok(segments)
}

impl Replay {
    fn take(&mut self, parsed: Parsed) -> Result<(), LogError> {
        let oldest = self.segments.is_empty();
        let info = SegmentInfo { opened_at_ms: parsed.begin.opened_at_ms };
        self.segments.insert(parsed.segment, info);
        for (place, frame) in parsed.frames.into_iter().enumerate() {
            for (offset, record) in frame.records {
                if oldest && place == 0 && record.kind == Kind::Extent {
                    self.ledger.shards.entry(record.shard).or_default().assume_extent(&record);
                    continue;
                }
                self.ledger
                    .apply(parsed.segment, &record)
                    .map_err(|what| LogError::damaged(&parsed.path, offset, what))?;
                self.keep(record);
            }
        }
        Ok(())
    }

    fn keep(&mut self, record: Record) {
        let entries = self.entries.entry(record.shard).or_default();
        match record.kind {
            Kind::Entry => entries.push_back(LogRecord {
                term: record.term,
                index: record.index,
                origin: record.origin,
                tag: record.tag,
                payload: record.payload,
            }),
            Kind::Truncate => {
                while entries.back().is_some_and(|entry| entry.index >= record.index) {
                    entries.pop_back();
                }
            }
            Kind::Purge => {
                while entries.front().is_some_and(|entry| entry.index <= record.index) {
                    entries.pop_front();
                }
            }
            Kind::Begin | Kind::Extent | Kind::Vote | Kind::Committed => {}
        }
    }

    /// Every entry the marks ask for is there.
    fn check(&self, dir: &Path) -> Result<(), LogError> {
        for (shard, ledger) in &self.ledger.shards {
            if ledger.oldest_segment() == Some(NO_SEGMENT) {
                let oldest = self.segments.keys().next().copied().unwrap_or(1);
                let missing = segment_path(dir, oldest.saturating_sub(1));
                let what = format!(
                    "the file is missing: shard {shard} needs its entries from {} on",
                    ledger.first
                );
                return Err(LogError::damaged(&missing, 0, what));
            }
        }
        Ok(())
    }
}

/// A frame that reads back.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) offset: u64,
    pub(crate) header: FrameHeader,
    /// With their offsets in the file.
    pub(crate) records: Vec<(u64, Record)>,
}

impl Frame {
    fn end(&self) -> u64 {
        self.offset + self.header.frame_bytes()
    }
}

/// Why reading a segment ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nothing but zeros, or the end of the file.
    Clean,
    /// An unfinished write of this many bytes.
    Torn(u64),
    /// Something was here that does not read back.
    Damaged(Damage),
}

/// A segment, read as far as it goes.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) path: PathBuf,
    pub(crate) segment: u64,
    pub(crate) begin: Begin,
    /// At least one.
    pub(crate) frames: Vec<Frame>,
    pub(crate) end: u64,
    pub(crate) stop: Stop,
    pub(crate) file_bytes: u64,
}

impl Parsed {
    fn tail(&self) -> Tail {
        let header = self.frames.last().map(|frame| frame.header);
        Tail {
            segment: self.segment,
            end: self.end,
            file_bytes: self.file_bytes,
            frame_number: header.map_or(0, |header| header.number),
            frame_crc: header.map_or(0, |header| header.crc),
        }
    }

    /// A segment that is followed by `next`, which says where this one ends. Whatever stands
    /// behind that end was cut at an earlier opening. An error gives the segment back as it is.
    pub(crate) fn ends_at(mut self, next: &Self) -> Result<Self, (Box<Self>, Damage)> {
        let end = next.begin.previous_end;
        if self.end < end {
            let damage = match &self.stop {
                Stop::Damaged(damage) => damage.clone(),
                Stop::Clean | Stop::Torn(_) => Damage {
                    file: self.path.clone(),
                    offset: self.end,
                    what: format!("a frame is missing; by the next segment they go on to {end}"),
                },
            };
            return Err((Box::new(self), damage));
        }
        let kept = self.frames.iter().rfind(|frame| frame.end() <= end);
        let last = kept.map(|frame| (frame.end(), frame.header.number + 1, frame.header.crc));
        let first = next.frames.first().map(|frame| frame.header);
        if last != first.map(|header| (end, header.number, header.previous_crc)) {
            let damage = Damage {
                file: next.path.clone(),
                offset: 0,
                what: format!("this segment does not follow {}", self.path.display()),
            };
            return Err((Box::new(self), damage));
        }
        self.frames.retain(|frame| frame.end() <= end);
        self.end = end;
        Ok(self)
    }

    /// A segment that no other follows: says what is cut, or that it must not be.
    pub(crate) fn check_last(&self) -> Result<Option<TornTail>, Damage> {
        if self.file_bytes != self.begin.segment_bytes {
            return Err(Damage {
                file: self.path.clone(),
                offset: self.file_bytes.min(self.begin.segment_bytes),
                what: format!(
                    "the file has {} bytes, but was made with {}",
                    self.file_bytes, self.begin.segment_bytes
                ),
            });
        }
        match &self.stop {
            Stop::Clean => Ok(None),
            Stop::Torn(bytes) => {
                Ok(Some(TornTail { file: self.path.clone(), offset: self.end, bytes: *bytes }))
            }
            Stop::Damaged(damage) => Err(damage.clone()),
        }
    }
}

/// Reads a segment's frames up to the first that does not read back. The first frame must.
pub(crate) fn parse(path: &Path, segment: u64, bytes: &[u8]) -> Result<Parsed, Damage> {
    let damage = |offset: u64, what: String| Damage { file: path.to_owned(), offset, what };
    let first = FrameHeader::decode(bytes)
        .map_err(|_| damage(0, "the segment's header is damaged".to_owned()))?;
    if first.segment != segment {
        return Err(damage(16, format!("this is segment {}, not {segment}", first.segment)));
    }
    let mut frames =
        vec![read_frame(bytes, 0, first).map_err(|(offset, what)| damage(offset, what))?];
    let begin = match frames[0].records.first() {
        Some((offset, record)) => {
            Begin::from_record(record).map_err(|what| damage(*offset, what))?
        }
        None => {
            return Err(damage(0, "the segment does not start with its begin record".into()));
        }
    };
    let mut at = frames[0].end();
    let mut last = first;
    while let Some(frame) = next_frame(bytes, at, &last) {
        (at, last) = (frame.end(), frame.header);
        frames.push(frame);
    }
    let stop = classify(bytes, at, &last)
        .unwrap_or_else(|(offset, what)| Stop::Damaged(damage(offset, what)));
    let file_bytes = bytes.len() as u64;
    Ok(Parsed { path: path.to_owned(), segment, begin, frames, end: at, stop, file_bytes })
}

fn follows(header: &FrameHeader, last: &FrameHeader) -> bool {
    header.segment == last.segment
        && header.salt == last.salt
        && header.number == last.number + 1
        && header.previous_crc == last.crc
}

fn next_frame(bytes: &[u8], at: u64, last: &FrameHeader) -> Option<Frame> {
    let header = FrameHeader::decode(bytes.get(at as usize..)?).ok()?;
    if !follows(&header, last) {
        return None;
    }
    read_frame(bytes, at, header).ok()
}

/// Reads a frame's body; an error is the offset of what is wrong with it.
fn read_frame(bytes: &[u8], at: u64, header: FrameHeader) -> Result<Frame, (u64, String)> {
    let begin = at as usize + FRAME_HEADER_BYTES;
    let end = begin + header.body_bytes as usize;
    if bytes.len() < at as usize + header.frame_bytes() as usize {
        return Err((bytes.len() as u64, format!("the frame at {at} is cut off")));
    }
    let body = &bytes[begin..end];
    let mut records = Vec::new();
    let mut place = 0;
    while place < body.len() {
        let offset = (begin + place) as u64;
        let (record, length) = Record::decode(header.salt, &body[place..])
            .map_err(|error| (offset, format!("{error} (frame {} at {at})", header.number)))?;
        records.push((offset, record));
        place += length;
    }
    if records.len() != header.records as usize || crc32c::crc32c(body) != header.body_crc {
        return Err((at, format!("the checksum of frame {} is wrong", header.number)));
    }
    let filler = &bytes[end..at as usize + header.frame_bytes() as usize];
    if let Some(place) = filler.iter().position(|&byte| byte != FILLER) {
        let offset = (end + place) as u64;
        return Err((offset, format!("the filler of frame {} is damaged", header.number)));
    }
    Ok(Frame { offset: at, header, records })
}

/// What stands at `at`, where no frame reads back. An error is damage.
fn classify(bytes: &[u8], at: u64, last: &FrameHeader) -> Result<Stop, (u64, String)> {
    let rest = bytes.get(at as usize..).unwrap_or_default();
    let Some(used) = rest.iter().rposition(|&byte| byte != 0).map(|place| place + 1) else {
        return Ok(Stop::Clean);
    };
    let number = last.number + 1;
    if let Some((offset, later)) = later_frame(rest, at, last) {
        let inner = wrong_place(bytes, at, last);
        let what = format!(
            "frame {number} does not read back, but frame {later} at {offset} proves that it was \
             acknowledged: {}",
            inner.1
        );
        return Err((inner.0, what));
    }
    if used > FRAME_BYTES_MAX {
        let offset = at + used as u64 - 1;
        return Err((offset, "a byte is set where nothing was ever written".to_owned()));
    }
    let zero = |sector: &[u8]| sector.iter().all(|&byte| byte == 0);
    if zero(&rest[..SECTOR_BYTES.min(rest.len())]) {
        return Ok(Stop::Torn(used as u64));
    }
    if let Ok(header) = FrameHeader::decode(rest)
        && follows(&header, last)
    {
        let frame = &rest[..(header.frame_bytes() as usize).min(rest.len())];
        if frame.chunks(SECTOR_BYTES).any(zero) {
            return Ok(Stop::Torn(used as u64));
        }
    }
    let (offset, what) = wrong_place(bytes, at, last);
    Err((
        offset,
        format!("{what}; the frame had been written to its end, so this is no torn write"),
    ))
}

/// The first later frame of this segment: block-aligned, like all of them.
fn later_frame(rest: &[u8], at: u64, last: &FrameHeader) -> Option<(u64, u64)> {
    rest.chunks(BLOCK_BYTES).enumerate().skip(1).find_map(|(block, bytes)| {
        let header = FrameHeader::decode(bytes).ok()?;
        let ours = header.segment == last.segment && header.salt == last.salt;
        (ours && header.number > last.number + 1)
            .then_some((at + (block * BLOCK_BYTES) as u64, header.number))
    })
}

/// As exact as can be told, where the frame at `at` is wrong and why.
fn wrong_place(bytes: &[u8], at: u64, last: &FrameHeader) -> (u64, String) {
    let number = last.number + 1;
    match bytes.get(at as usize..).map(FrameHeader::decode) {
        Some(Ok(header)) if follows(&header, last) => match read_frame(bytes, at, header) {
            Err(place) => place,
            Ok(_) => (at, format!("frame {number} is not where it belongs")),
        },
        Some(Ok(header)) => (at, format!("frame {} where {number} belongs", header.number)),
        _ => (at, format!("the header of frame {number} is damaged")),
    }
}
