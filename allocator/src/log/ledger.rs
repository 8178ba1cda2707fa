//! Owns what the records so far add up to, without the entries themselves: votes, marks, and in
//! which segments a shard's entries lie.
//!
//! The writer keeps one while it writes, recovery builds the same one while it reads; so a new
//! segment's first frame and the rule which segment may go are computed in one place. Must never
//! do IO.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{
    Mark, ShardNo,
    record::{Kind, Record},
};

/// Stands for a segment that is not there any more.
pub const NO_SEGMENT: u64 = 0;

/// One shard's marks and where its entries lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardLedger {
    /// Last vote.
    pub vote: Option<Bytes>,
    /// Last purge mark.
    pub purged: Option<Mark>,
    /// Last committed mark.
    pub committed: Option<Mark>,
    /// First entry kept.
    pub first: u64,
    /// Index after the last entry kept; equal to `first` when there is none.
    pub next: u64,
    /// (segment, first index in it), ascending in both.
    spans: VecDeque<(u64, u64)>,
}

impl ShardLedger {
    /// No entries kept?
    pub fn is_empty(&self) -> bool {
        self.first == self.next
    }

    /// The oldest segment with an entry that is kept.
    pub fn oldest_segment(&self) -> Option<u64> {
        self.spans.front().map(|span| span.0)
    }

    /// Takes a record that stands in `segment`. An error says what is impossible about it.
    pub fn apply(&mut self, segment: u64, record: &Record) -> Result<(), String> {
        match record.kind {
            Kind::Entry => return self.entry(segment, record.index),
            Kind::Vote => self.vote = Some(record.payload.clone()),
            Kind::Truncate => self.truncate(record.index),
            Kind::Purge => self.purge(record),
            Kind::Committed => self.committed = Some(mark_of(record)),
            Kind::Extent => return self.extent(record),
            Kind::Begin => {}
        }
        Ok(())
    }

    /// Takes an [`Kind::Extent`] of the oldest segment there is: entries that must have lain in
    /// older ones. They may be purged by later records; if they are not, a file is missing.
    pub fn assume_extent(&mut self, record: &Record) {
        (self.first, self.next) = (record.term, record.index);
        if !self.is_empty() {
            self.spans = VecDeque::from([(NO_SEGMENT, self.first)]);
        }
    }

    fn extent(&self, record: &Record) -> Result<(), String> {
        let said = record.term..record.index;
        if said == (self.first..self.next) || (said.is_empty() && self.is_empty()) {
            return Ok(());
        }
        Err(format!(
            "shard {}: entries {}..{} should stand in the segments before this one, but {}..{} do",
            record.shard, said.start, said.end, self.first, self.next
        ))
    }

    fn entry(&mut self, segment: u64, index: u64) -> Result<(), String> {
        let expected = match (&self.purged, self.is_empty()) {
            (None, true) => index,
            (Some(mark), true) => mark.index + 1,
            (_, false) => self.next,
        };
        if index != expected {
            return Err(format!("entry {index} where {expected} is expected: a gap"));
        }
        if self.is_empty() {
            self.first = index;
            self.spans.clear();
        }
        self.next = index + 1;
        if self.spans.back().is_none_or(|span| span.0 != segment) {
            self.spans.push_back((segment, index));
        }
        Ok(())
    }

    fn truncate(&mut self, from: u64) {
        if from >= self.next {
            return;
        }
        self.next = from.max(self.first);
        while self.spans.back().is_some_and(|span| span.1 >= self.next) {
            self.spans.pop_back();
        }
    }

    fn purge(&mut self, record: &Record) {
        self.purged = Some(mark_of(record));
        if record.index >= self.first && !self.is_empty() {
            self.first = (record.index + 1).min(self.next);
        }
        if self.is_empty() {
            self.spans.clear();
        }
        while self.spans.get(1).is_some_and(|span| span.1 <= self.first) {
            self.spans.pop_front();
        }
    }
}

fn mark_of(record: &Record) -> Mark {
    Mark { index: record.index, id: record.payload.clone() }
}

/// All shards.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By shard.
    pub shards: BTreeMap<ShardNo, ShardLedger>,
}

impl Ledger {
    /// Takes a record that stands in `segment`.
    pub fn apply(&mut self, segment: u64, record: &Record) -> Result<(), String> {
        if record.kind == Kind::Begin {
            return Ok(());
        }
        self.shards.entry(record.shard).or_default().apply(segment, record)
    }

    /// The oldest segment any shard needs and the first shard that needs it.
    pub fn oldest_needed(&self) -> Option<(u64, ShardNo)> {
        self.shards
            .iter()
            .filter_map(|(shard, ledger)| Some((ledger.oldest_segment()?, *shard)))
            .min()
    }

    /// Everything but the entries, as records for the first frame of a new segment.
    pub fn restate(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for (&shard, ledger) in &self.shards {
            if let Some(vote) = &ledger.vote {
                records.push(Record::new(shard, Kind::Vote, 0, vote.clone()));
            }
            let marks = [(Kind::Purge, &ledger.purged), (Kind::Committed, &ledger.committed)];
            for (kind, mark) in marks {
                if let Some(mark) = mark {
                    records.push(Record::new(shard, kind, mark.index, mark.id.clone()));
                }
            }
            let mut extent = Record::new(shard, Kind::Extent, ledger.next, Bytes::new());
            extent.term = ledger.first;
            records.push(extent);
        }
        records
    }
}
