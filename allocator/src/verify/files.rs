//! Owns reading a node's folder for a verification: identity, snapshots, log.
//!
//! Must never change anything in it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{Finding, ReplicaReport};
use crate::{
    error::Error,
    log::{self, LogError, REMEDY, ScannedRecord, real_disk::RealDisk, record::Kind},
    raft::{log_store, snapshot},
    shard::placement::Identity,
};

/// What a folder holds.
#[derive(Default)]
pub(super) struct Found {
    /// How the shards were made, where the folder says so.
    pub(super) setup: Option<Identity>,
    pub(super) shards: Vec<FoundShard>,
}

impl Found {
    pub(super) fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }
}

/// What a folder holds of one shard.
#[derive(Default)]
pub(super) struct FoundShard {
    pub(super) no: u16,
    /// Readable snapshots, oldest first.
    pub(super) snapshots: Vec<FoundSnapshot>,
    /// Entries that are kept, by index.
    pub(super) entries: BTreeMap<u64, FoundEntry>,
    pub(super) purged: Option<u64>,
    pub(super) committed: Option<u64>,
}

pub(super) struct FoundSnapshot {
    pub(super) index: u64,
    pub(super) file: PathBuf,
    pub(super) state: Vec<u8>,
}

pub(super) struct FoundEntry {
    /// An encoded batch; `None` in an entry of Raft's own.
    pub(super) batch: Option<Bytes>,
    pub(super) file: PathBuf,
    pub(super) offset: u64,
}

/// Reads everything that is there; what does not read back goes into the report.
pub(super) fn read(dir: &Path, report: &mut ReplicaReport) -> Found {
    let mut found = Found::default();
    match Identity::read(dir) {
        Ok(identity) => {
            report.node = identity.as_ref().map(|identity| identity.node);
            found.setup = identity;
        }
        Err(error) => report.damage.push(unreadable(&dir.join("identity.json"), &error)),
    }
    let mut shards = BTreeMap::new();
    read_snapshots(dir, &mut shards, report);
    read_log(dir, &mut shards, report);
    found.shards = shards.into_iter().map(|(no, shard)| FoundShard { no, ..shard }).collect();
    found
}

fn read_snapshots(dir: &Path, shards: &mut BTreeMap<u16, FoundShard>, report: &mut ReplicaReport) {
    for folder in list(&dir.join("snapshots"), report) {
        for file in list(&folder, report) {
            if file.extension().is_none_or(|extension| extension != "snapshot") {
                let name = file.display();
                report.notes.push(format!("{name} is a snapshot that was never finished"));
                continue;
            }
            match snapshot::read_any(&file) {
                Ok((shard, loaded)) => {
                    let index = loaded.meta.last_log_id.map_or(0, |id| id.index);
                    let state = loaded.state;
                    let snapshots = &mut shards.entry(shard).or_default().snapshots;
                    snapshots.push(FoundSnapshot { index, file, state });
                }
                // Taken away between listing and reading: a newer one has its place.
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => report.damage.push(unreadable(&file, &error)),
            }
        }
    }
    for shard in shards.values_mut() {
        shard.snapshots.sort_by_key(|snapshot| snapshot.index);
    }
}

fn read_log(dir: &Path, shards: &mut BTreeMap<u16, FoundShard>, report: &mut ReplicaReport) {
    let dir = dir.join("log");
    if !dir.is_dir() {
        return;
    }
    let disk = RealDisk::buffered();
    match log::scan(&dir, &disk, &mut |record| take(shards, record)) {
        Ok(scanned) => {
            if let Some(torn) = scanned.torn_tail {
                report.notes.push(format!(
                    "{}: offset {}: an unfinished write of {} bytes; it was never acknowledged, \
                     the next start cuts it",
                    torn.file.display(),
                    torn.offset,
                    torn.bytes
                ));
            }
            report.damage.extend(scanned.damage.into_iter().map(|damage| Finding {
                file: damage.file,
                offset: damage.offset,
                what: damage.what,
                remedy: REMEDY.to_owned(),
            }));
        }
        Err(LogError::Damaged(damage)) => report.damage.push(Finding {
            file: damage.file,
            offset: damage.offset,
            what: damage.what,
            remedy: REMEDY.to_owned(),
        }),
        Err(error) => report.damage.push(Finding {
            file: dir,
            offset: 0,
            what: error.to_string(),
            remedy: "make the files readable and verify again".to_owned(),
        }),
    }
}

fn take(shards: &mut BTreeMap<u16, FoundShard>, scanned: ScannedRecord<'_>) {
    let record = scanned.record;
    if record.kind == Kind::Begin {
        return;
    }
    let shard = shards.entry(record.shard).or_default();
    match record.kind {
        Kind::Entry => {
            // An entry written again takes the place of what was there and of all after it.
            shard.entries.split_off(&record.index);
            let batch = (record.tag == log_store::NORMAL).then_some(record.payload);
            let (file, offset) = (scanned.file.to_owned(), scanned.offset);
            shard.entries.insert(record.index, FoundEntry { batch, file, offset });
        }
        Kind::Truncate => {
            shard.entries.split_off(&record.index);
        }
        Kind::Purge => {
            shard.purged = shard.purged.max(Some(record.index));
            shard.entries = shard.entries.split_off(&(record.index + 1));
        }
        Kind::Committed => shard.committed = shard.committed.max(Some(record.index)),
        Kind::Begin | Kind::Extent | Kind::Vote => {}
    }
}

fn list(dir: &Path, report: &mut ReplicaReport) -> Vec<PathBuf> {
    let listed = fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>());
    match listed {
        Ok(mut paths) => {
            paths.sort();
            paths
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            report.damage.push(unreadable(dir, &Error::io(dir, error)));
            Vec::new()
        }
    }
}

fn unreadable(file: &Path, error: &Error) -> Finding {
    match error {
        Error::Snapshot { file, offset, reason, remedy } => Finding {
            file: file.clone(),
            offset: *offset,
            what: reason.clone(),
            remedy: remedy.clone(),
        },
        other => Finding {
            file: file.to_owned(),
            offset: 0,
            what: other.to_string(),
            remedy: "make the file readable and verify again".to_owned(),
        },
    }
}
