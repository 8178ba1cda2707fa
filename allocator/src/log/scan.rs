//! Owns the reading of a log for people and for `onsale verify`: everything that reads back, and
//! everything that does not.
//!
//! Reads only. Must never lock, create, flush or change anything: it works on a folder no process
//! uses, on a copy, on a read-only mount.

use std::path::{Path, PathBuf};

use super::{
    Damage, LogError, ShardNo, TornTail,
    disk::Disk,
    record::{Kind, Record},
    recover::{Parsed, parse},
    segment::parse_file_name,
    segment_path,
};

/// A record and where it stands.
#[derive(Clone, Debug)]
pub struct ScannedRecord<'a> {
    /// The file.
    pub file: &'a Path,
    /// Where its header begins.
    pub offset: u64,
    /// The frame it was flushed with, counted from 1.
    pub frame: u64,
    /// The record.
    pub record: Record,
}

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its number.
    pub segment: u64,
    /// The file.
    pub file: PathBuf,
    /// Frames that read back.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Where the last of them ends.
    pub end: u64,
}

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// The files, in order.
    pub segments: Vec<SegmentReport>,
    /// An unfinished write at the very end: normal after a crash.
    pub torn_tail: Option<TornTail>,
    /// Acknowledged data that does not read back; [`super::REMEDY`] says what to do.
    pub damage: Vec<Damage>,
    /// Shards that are mentioned.
    pub shards: Vec<ShardNo>,
}

/// Reads all segments of a folder in order and shows every record that was acknowledged or may
/// have been to `visit`. Damage does not end the scan; later segments are read all the same. Gaps
/// in a shard's entries are the visitor's to notice: with damage they follow from it.
///
/// # Errors
/// [`LogError::Io`] when the folder or a file cannot be read at all.
pub fn scan(
    dir: &Path,
    disk: &dyn Disk,
    visit: &mut dyn FnMut(ScannedRecord<'_>),
) -> Result<ScanReport, LogError> {
    let names = disk.list(dir).map_err(|error| LogError::io("list", dir, error))?;
    let mut segments: Vec<u64> = names.iter().filter_map(|name| parse_file_name(name)).collect();
    segments.sort_unstable();
    let mut report = ScanReport::default();
    let mut before: Option<Parsed> = None;
    let mut before_no: Option<u64> = None;
    for segment in segments {
        let path = segment_path(dir, segment);
        if let Some(no) = before_no.filter(|no| no + 1 != segment) {
            let file = segment_path(dir, no + 1);
            report.damage.push(Damage { file, offset: 0, what: "the file is missing".into() });
            report.finish(before.take(), None, visit);
        }
        before_no = Some(segment);
        let bytes = disk.read(&path).map_err(|error| LogError::io("read", &path, error))?;
        match parse(&path, segment, &bytes) {
            Ok(parsed) => {
                report.finish(before.take(), Some(&parsed), visit);
                before = Some(parsed);
            }
            Err(damage) => {
                report.finish(before.take(), None, visit);
                report.damage.push(damage);
            }
        }
    }
    if let Some(last) = before {
        match last.check_last() {
            Ok(torn) => report.torn_tail = torn,
            Err(damage) => report.damage.push(damage),
        }
        report.show(last, visit);
    }
    Ok(report)
}

impl ScanReport {
    /// Shows a segment that is followed by `next`, if that could be read.
    fn finish(
        &mut self,
        before: Option<Parsed>,
        next: Option<&Parsed>,
        visit: &mut dyn FnMut(ScannedRecord<'_>),
    ) {
        let Some(mut parsed) = before else { return };
        if let Some(next) = next {
            parsed = match parsed.ends_at(next) {
                Ok(parsed) => parsed,
                Err((parsed, damage)) => {
                    self.damage.push(damage);
                    *parsed
                }
            };
        }
        self.show(parsed, visit);
    }

    fn show(&mut self, parsed: Parsed, visit: &mut dyn FnMut(ScannedRecord<'_>)) {
        self.segments.push(SegmentReport {
            segment: parsed.segment,
            file: parsed.path.clone(),
            frames: parsed.frames.len() as u64,
            records: parsed.frames.iter().map(|frame| frame.records.len() as u64).sum(),
            end: parsed.end,
        });
        for frame in parsed.frames {
            for (offset, record) in frame.records {
                if record.kind != Kind::Begin
                    && let Err(place) = self.shards.binary_search(&record.shard)
                {
                    self.shards.insert(place, record.shard);
                }
                visit(ScannedRecord {
                    file: &parsed.path,
                    offset,
                    frame: frame.header.number,
                    record,
                });
            }
        }
    }
}
