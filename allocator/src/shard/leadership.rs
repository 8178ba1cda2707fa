//! Owns who should lead a shard: leaders spread over the nodes, election timeouts staggered so that
//! the node whose turn it is asks first.
//!
//! openraft 0.9 draws one election timeout per process start, and followers refuse votes until
//! their lease (the longest timeout of their own settings) is over. Must never decide who *does*
//! lead: that is the election's part.

/// The place of `node` in line for the shard's lead: 0 is who should lead. `ids` are all nodes,
/// ascending.
#[must_use]
pub fn rank(shard: u32, node: u64, ids: &[u64]) -> u64 {
    let nodes = ids.len().max(1) as u64;
    let place = ids.iter().position(|id| *id == node).unwrap_or(0) as u64;
    (place + nodes - u64::from(shard) % nodes) % nodes
}

/// The node that should lead the shard; 0 when there are no nodes.
#[must_use]
pub fn preferred(shard: u32, ids: &[u64]) -> u64 {
    ids.iter().copied().find(|id| rank(shard, *id, ids) == 0).unwrap_or(0)
}

/// A replica's election timeout in milliseconds, from and to.
///
/// A follower asks for votes after its lease and its timeout, that is at twice these; its peers
/// grant once their own leases are over. The steps are chosen so that for up to seven nodes every
/// lease is over when the first in line asks, and the next in line asks a tick later.
#[must_use]
pub fn election_timeout_ms(rank: u64, election_ms: u64) -> (u64, u64) {
    let step = election_ms / 6;
    let from = election_ms + rank.min(6) * step;
    (from, from + (step / 2).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaders_are_spread_over_the_nodes() {
        let ids = [3, 5, 9];
        let leaders: Vec<u64> = (0..6).map(|shard| preferred(shard, &ids)).collect();
        assert_eq!(leaders, [3, 5, 9, 3, 5, 9]);
        for shard in 0..6 {
            let mut ranks: Vec<u64> = ids.iter().map(|id| rank(shard, *id, &ids)).collect();
            ranks.sort_unstable();
            assert_eq!(ranks, [0, 1, 2]);
        }
    }

    #[test]
    fn every_lease_is_over_when_the_first_in_line_asks_and_no_two_ask_at_once() {
        let (from, to) = election_timeout_ms(0, 400);
        let first_asks = to + from;
        for rank in 1..7 {
            let (from, to) = election_timeout_ms(rank, 400);
            let (_, before) = election_timeout_ms(rank - 1, 400);
            assert!(to <= first_asks, "lease of rank {rank}");
            assert!(from > before, "rank {rank} may ask before rank {}", rank - 1);
            assert!(from < to);
        }
    }
}
