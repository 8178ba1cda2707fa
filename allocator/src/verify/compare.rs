//! Owns the comparison of replicas: at every index that two of them recomputed, the hash chain is
//! the same.
//!
//! Must never compare what is not known to be committed.

use std::path::PathBuf;

use super::{Difference, replay::Chain};

/// The first difference of each shard between each folder and the ones before it.
pub(super) fn compare(dirs: &[PathBuf], chains: &[Vec<Chain>]) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (at, mine) in chains.iter().enumerate() {
        for (before, theirs) in chains[..at].iter().enumerate() {
            for chain in mine {
                let other = theirs.iter().find(|other| other.shard == chain.shard);
                if let Some(index) = other.and_then(|other| first_difference(other, chain)) {
                    differences.push(Difference {
                        shard: chain.shard,
                        index,
                        one: dirs[before].clone(),
                        other: dirs[at].clone(),
                    });
                }
            }
        }
    }
    differences
}

fn first_difference(one: &Chain, other: &Chain) -> Option<u64> {
    let (mut left, mut right) = (one.links.iter().peekable(), other.links.iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        if a.index < b.index {
            left.next();
        } else if b.index < a.index {
            right.next();
        } else if a.hash != b.hash {
            return Some(a.index);
        } else {
            left.next();
            right.next();
        }
    }
    None
}
