//! Owns the recomputation of one shard: from its first entry, or from the oldest snapshot that the
//! log joins on to.
//!
//! Must never apply an entry that is not known to be committed.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use onsale_state::{Batch, Change, Limits, Outcome, Shard};

use super::{
    Broken, Finding, Proof, ShardReport, Undecided,
    files::{FoundEntry, FoundShard, FoundSnapshot},
};
use crate::{
    limits::{VERIFY_EVERY_ENTRIES, VERIFY_FINDINGS_MAX},
    log::REMEDY,
    shard::placement::Identity,
};

/// A shard's hash chain after each index that was recomputed, ascending.
pub(super) struct Chain {
    pub(super) shard: u16,
    pub(super) links: Vec<Link>,
}

/// The chain after one index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u64,
    pub(super) hash: [u8; 32],
}

/// The work on one shard.
struct Replay<'a> {
    shard: Shard,
    report: ShardReport,
    links: Vec<Link>,
    damage: &'a mut Vec<Finding>,
    outcomes: Vec<Outcome>,
    changes: Vec<Change>,
}

/// Recomputes a shard.
pub(super) fn replay(
    mut found: FoundShard,
    setup: Option<&Identity>,
    damage: &mut Vec<Finding>,
) -> (ShardReport, Chain) {
    let committed =
        [found.committed, found.purged, found.snapshots.last().map(|snapshot| snapshot.index)];
    let committed = committed.into_iter().flatten().max().unwrap_or(0);
    let snapshots = std::mem::take(&mut found.snapshots);
    let mut states = decode(snapshots, damage);
    let (proof, shard) = begin(&found, &mut states, setup, damage);
    let entries = std::mem::take(&mut found.entries);
    let last = entries.last_key_value().map(|(index, _)| *index);
    let undecided = entries
        .range(committed + 1..)
        .next()
        .map(|(first, _)| Undecided { first: *first, last: last.unwrap_or(*first) });
    let verified_to = match proof {
        Proof::FirstEntry => 0,
        Proof::Snapshot(index) => index,
    };
    let report = ShardReport {
        shard: found.no,
        proof,
        entries: 0,
        commands: 0,
        verified_to,
        committed,
        undecided,
        snapshots_compared: 0,
        chain: [0; 32],
        log_time_ms: 0,
        counts: [0; 3],
        broken: Vec::new(),
    };
    let (outcomes, changes) = (Vec::new(), Vec::new());
    let mut work = Replay { shard, report, links: Vec::new(), damage, outcomes, changes };
    work.run(proof, &entries, committed, states);
    let report = work.report.finish(&work.shard);
    (report, Chain { shard: found.no, links: work.links })
}

/// A snapshot and its state.
struct Known {
    found: FoundSnapshot,
    shard: Shard,
}

fn decode(snapshots: Vec<FoundSnapshot>, damage: &mut Vec<Finding>) -> Vec<Known> {
    let mut known = Vec::new();
    for found in snapshots {
        match Shard::decode_snapshot(&found.state) {
            Ok(shard) => known.push(Known { found, shard }),
            Err(error) => {
                let what = format!("its checksums fit, its state does not: {error}");
                damage.push(finding(&found.file, 0, what));
            }
        }
    }
    known
}

/// Where the recomputation begins.
fn begin(
    found: &FoundShard,
    states: &mut Vec<Known>,
    setup: Option<&Identity>,
    damage: &mut Vec<Finding>,
) -> (Proof, Shard) {
    let first = found.entries.first_key_value().map(|(index, _)| *index);
    let limits = setup.map_or_else(Limits::default, |identity| identity.limits.into());
    let shards = setup.map_or(1, |identity| u16::try_from(identity.shards).unwrap_or(u16::MAX));
    let empty = || (Proof::FirstEntry, Shard::new(found.no, shards, limits));
    if found.purged.is_none() && first.is_some_and(|first| first <= 1) {
        return empty();
    }
    // The log goes on right after what was purged.
    let needed = found.purged.unwrap_or(0).max(first.unwrap_or(1).saturating_sub(1));
    states.retain(|known| known.found.index >= needed || first.is_none());
    if states.is_empty() {
        if first.is_some() {
            let (file, offset) = found
                .entries
                .first_key_value()
                .map(|(_, entry)| (entry.file.clone(), entry.offset))
                .unwrap_or_default();
            let what = format!(
                "shard {}: the log begins after entry {needed}, and no snapshot that can be read \
                 reaches it",
                found.no
            );
            damage.push(finding(&file, offset, what));
        }
        return empty();
    }
    let start = states.remove(0);
    (Proof::Snapshot(start.found.index), start.shard)
}

impl Replay<'_> {
    fn run(
        &mut self,
        proof: Proof,
        entries: &std::collections::BTreeMap<u64, FoundEntry>,
        committed: u64,
        states: Vec<Known>,
    ) {
        self.check_state();
        let start = self.report.verified_to;
        if proof != Proof::FirstEntry {
            self.links.push(Link { index: start, hash: self.shard.chain() });
        }
        let mut states = states.into_iter().peekable();
        let mut previous: Option<u64> = (proof != Proof::FirstEntry).then_some(start);
        let from = if proof == Proof::FirstEntry { 0 } else { start + 1 };
        for (&index, entry) in entries.range(from..) {
            if index > committed {
                break;
            }
            if let Some(previous) = previous
                && index != previous + 1
            {
                let what = format!("shard {}: entry {index} follows {previous}", self.report.shard);
                self.damage.push(finding(&entry.file, entry.offset, what));
                return;
            }
            while let Some(known) = states.next_if(|known| known.found.index < index) {
                self.compare(&known);
            }
            if !self.apply(index, entry) {
                return;
            }
            previous = Some(index);
            self.report.verified_to = index;
            self.links.push(Link { index, hash: self.shard.chain() });
            if self.report.entries.is_multiple_of(VERIFY_EVERY_ENTRIES) {
                self.check_state();
            }
        }
        for known in states {
            if known.found.index <= self.report.verified_to {
                self.compare(&known);
            } else {
                // Later than every entry that is left: its own state is all there is to check.
                self.shard = known.shard;
                self.report.verified_to = known.found.index;
                self.links.push(Link { index: known.found.index, hash: self.shard.chain() });
            }
        }
        self.check_state();
    }

    /// Applies an entry; false when going on makes no sense.
    fn apply(&mut self, index: u64, entry: &FoundEntry) -> bool {
        let Some(bytes) = &entry.batch else {
            return true;
        };
        let batch = match Batch::decode(bytes) {
            Ok(batch) => batch,
            Err(error) => {
                let what = format!("shard {} entry {index}: {error}", self.report.shard);
                self.damage.push(finding(&entry.file, entry.offset, what));
                return false;
            }
        };
        let before_ms = self.shard.log_time_ms();
        let (shard, outcomes, changes) = (&mut self.shard, &mut self.outcomes, &mut self.changes);
        let applied = catch_unwind(AssertUnwindSafe(|| {
            shard.apply(index, &batch, outcomes, changes);
        }));
        if let Err(panic) = applied {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
            self.broken("assertion", index, said.unwrap_or("an assertion failed").to_owned());
            return false;
        }
        self.report.entries += 1;
        self.report.commands += batch.commands.len() as u64;
        if self.outcomes.len() != batch.commands.len() {
            self.broken("INV-5", index, "there is not one outcome for each command".to_owned());
        }
        if self.shard.log_time_ms() < before_ms {
            self.broken("INV-9", index, "log time went back".to_owned());
        }
        true
    }

    /// Holds the recomputed state against a snapshot of the same index.
    fn compare(&mut self, known: &Known) {
        let index = known.found.index;
        self.report.snapshots_compared += 1;
        let file = known.found.file.display();
        if known.shard.chain() != self.shard.chain() {
            let detail = format!("{file} has another hash chain than its log");
            return self.broken("INV-6", index, detail);
        }
        let mut state = Vec::with_capacity(known.found.state.len());
        self.shard.encode_snapshot(&mut state);
        if state != known.found.state {
            let detail = format!("{file} holds another state than its log gives");
            self.broken("INV-6", index, detail);
        }
    }

    fn check_state(&mut self) {
        let index = self.report.verified_to;
        for violation in self.shard.check_invariants() {
            self.broken(violation.id, index, violation.detail);
        }
    }

    fn broken(&mut self, id: &str, index: u64, detail: String) {
        if self.report.broken.len() < VERIFY_FINDINGS_MAX {
            self.report.broken.push(Broken { id: id.to_owned(), index, detail });
        }
    }
}

impl ShardReport {
    fn finish(mut self, shard: &Shard) -> ShardReport {
        let counts = shard.counts();
        self.chain = shard.chain();
        self.log_time_ms = shard.log_time_ms();
        self.counts = [counts.events, counts.holds, counts.orders];
        self
    }
}

fn finding(file: &Path, offset: u64, what: String) -> Finding {
    Finding { file: file.to_owned(), offset, what, remedy: REMEDY.to_owned() }
}
