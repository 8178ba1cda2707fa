//! Owns the offline proof of what replicas have on disk (design D16): every checksum, every
//! invariant, the hash chain, and that replicas agree.
//!
//! Reads only; takes no lock. Must never call an entry damaged that was only not committed yet, nor
//! believe anything because a file says so: what can be recomputed is recomputed.

mod compare;
mod files;
mod replay;
mod report;

use std::path::{Path, PathBuf};

pub use report::{
    Broken, Difference, Finding, Proof, ReplicaReport, Report, ShardReport, Undecided,
};

/// Verifies one or more nodes' folders.
#[must_use]
pub fn verify(dirs: &[PathBuf]) -> Report {
    let mut report = Report::default();
    let mut chains = Vec::with_capacity(dirs.len());
    for dir in dirs {
        let (replica, chain) = verify_one(dir);
        report.replicas.push(replica);
        chains.push(chain);
    }
    report.differences = compare::compare(dirs, &chains);
    report
}

/// One folder, and each shard's chain by index.
fn verify_one(dir: &Path) -> (ReplicaReport, Vec<replay::Chain>) {
    let mut replica = ReplicaReport { dir: dir.to_owned(), ..ReplicaReport::default() };
    let found = files::read(dir, &mut replica);
    replica.is_empty = found.is_empty();
    let mut chains = Vec::new();
    for shard in found.shards {
        let no = shard.no;
        let (shard, chain) = replay::replay(shard, found.setup.as_ref(), &mut replica.damage);
        tracing::debug!(shard = no, "replayed");
        replica.shards.push(shard);
        chains.push(chain);
    }
    (replica, chains)
}
