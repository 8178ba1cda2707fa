//! Owns the comparison of replicas (design D16): every few entries each remembers its chain, asks
//! the others for theirs, and judges for itself. Whoever is outside the majority halts, the leader
//! too; where no majority can agree, all halt.
//!
//! A chain covers entries, outcomes and changes from the first on, so that two replicas which agree
//! at an index agree about all before it. Must never repair anything: what differs is for people.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use futures_util::future::join_all;
use onsale_proto::allocator::{CheckpointsResponse, ShardCheckpoints};
use onsale_state::ShardNo;

use crate::{
    Error,
    limits::{
        CHECKPOINT_ENTRIES, CHECKPOINT_INTERVAL, CHECKPOINT_WAIT_MAX, CHECKPOINTS_KEPT,
        CHECKPOINTS_TOLD,
    },
    raft::network::Peers,
    shard::{Group, Groups},
};

/// A chain's hash.
pub type Chain = [u8; 32];

/// What one replica was at its last checkpoints.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    passed: VecDeque<(u64, Chain)>,
}

impl Checkpoints {
    /// The entry at `index` was applied; `chain` is the state's after it.
    pub(crate) fn pass(&mut self, index: u64, chain: impl FnOnce() -> Chain) {
        if !index.is_multiple_of(CHECKPOINT_ENTRIES) {
            return;
        }
        if self.passed.len() == CHECKPOINTS_KEPT {
            self.passed.pop_front();
        }
        self.passed.push_back((index, chain()));
    }

    /// The state was replaced: what it was before is not known.
    pub(crate) fn clear(&mut self) {
        self.passed.clear();
    }

    /// For a peer: the last few, as they stand in an answer.
    pub(crate) fn tell(&self, shard: ShardNo) -> ShardCheckpoints {
        let last = self.passed.len().saturating_sub(CHECKPOINTS_TOLD);
        let told = self.passed.range(last..);
        let (indexes, chains) = told.map(|(index, chain)| (*index, chain.to_vec().into())).unzip();
        ShardCheckpoints { shard: shard.into(), indexes, chains }
    }

    fn all(&self) -> Vec<(u64, Chain)> {
        self.passed.iter().copied().collect()
    }
}

/// What a replica makes of its own chain and those it knows of the voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// A majority agrees with this replica.
    Agreed,
    /// Nobody differs, as far as is known.
    Open,
    /// Somebody differs, and who is right depends on voters that were not heard.
    Differs,
    /// A majority agrees, and this replica is outside.
    Outside,
    /// No majority can agree any more.
    Divided,
}

/// `chains` are the voters', as far as they are known; a learner's own is not among them.
fn judge(own: &Chain, voters: usize, chains: &BTreeMap<u64, Chain>) -> Verdict {
    let mut votes: BTreeMap<&Chain, usize> = BTreeMap::new();
    chains.values().for_each(|chain| *votes.entry(chain).or_default() += 1);
    let majority = voters / 2 + 1;
    let most = votes.values().copied().max().unwrap_or(0);
    if most >= majority {
        let ours = votes.get(own).copied().unwrap_or(0);
        return if ours == most { Verdict::Agreed } else { Verdict::Outside };
    }
    let silent = voters.saturating_sub(chains.len());
    match votes.keys().all(|chain| *chain == own) {
        true => Verdict::Open,
        false if most + silent < majority => Verdict::Divided,
        false => Verdict::Differs,
    }
}

/// What the replicas of one shard told, by index.
#[derive(Debug, Default)]
struct Comparison {
    told: BTreeMap<u64, BTreeMap<u64, Chain>>,
    /// Up to here a majority agrees with this replica.
    agreed: u64,
    /// Since when somebody differs without a verdict.
    differs_since: Option<Instant>,
}

impl Comparison {
    fn hear(&mut self, node: u64, index: u64, chain: Chain) {
        if index > self.agreed {
            self.told.entry(index).or_default().insert(node, chain);
        }
        while self.told.len() > CHECKPOINTS_KEPT {
            self.told.pop_first();
        }
    }

    /// The index at which this replica must halt, and whether that is because no majority agrees.
    fn judge(
        &mut self,
        node: u64,
        own: &[(u64, Chain)],
        voters: &BTreeSet<u64>,
        now: Instant,
    ) -> Option<(u64, Verdict)> {
        let mut differs = None;
        let agreed = self.agreed;
        for (index, chain) in own.iter().filter(|(index, _)| *index > agreed) {
            let mut chains = self.told.get(index).cloned().unwrap_or_default();
            chains.insert(node, *chain);
            chains.retain(|node, _| voters.contains(node));
            match judge(chain, voters.len(), &chains) {
                Verdict::Open => {}
                Verdict::Agreed => (self.agreed, differs) = (*index, None),
                Verdict::Differs => differs = differs.or(Some(*index)),
                halt => return Some((*index, halt)),
            }
        }
        self.told = self.told.split_off(&(self.agreed + 1));
        let Some(index) = differs else {
            self.differs_since = None;
            return None;
        };
        let since = *self.differs_since.get_or_insert(now);
        let late = now.duration_since(since) >= CHECKPOINT_WAIT_MAX;
        late.then_some((index, Verdict::Divided))
    }
}

/// Compares this node's replicas with their peers'.
pub(crate) struct Comparer<'a> {
    pub(crate) node: u64,
    pub(crate) peers: &'a Peers,
    pub(crate) groups: &'a Groups,
}

impl Comparer<'_> {
    /// Until a replica must halt; says why.
    pub(crate) async fn run(&self) -> Error {
        let mut every = tokio::time::interval(CHECKPOINT_INTERVAL);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut comparisons: Vec<Comparison> = Vec::new();
        comparisons.resize_with(self.groups.len(), Comparison::default);
        loop {
            every.tick().await;
            let voters: Vec<BTreeSet<u64>> =
                self.groups.iter().map(|group| group.voters().into_iter().collect()).collect();
            let asked: BTreeSet<u64> = voters.iter().flatten().copied().collect();
            let asking =
                asked.into_iter().filter(|peer| *peer != self.node).map(|peer| async move {
                    (peer, self.peers.checkpoints(peer, CHECKPOINT_INTERVAL).await)
                });
            for (peer, answer) in join_all(asking).await {
                take_in(&mut comparisons, peer, answer);
            }
            for ((group, voters), comparison) in
                self.groups.iter().zip(&voters).zip(&mut comparisons)
            {
                if let Some(error) = self.judge(group, voters, comparison) {
                    return error;
                }
            }
        }
    }

    fn judge(
        &self,
        group: &Group,
        voters: &BTreeSet<u64>,
        comparison: &mut Comparison,
    ) -> Option<Error> {
        let own = group.checkpoints(Checkpoints::all);
        let halt = comparison.judge(self.node, &own, voters, Instant::now());
        group.agree(comparison.agreed);
        let (index, verdict) = halt?;
        group.metrics().diverged.increment(1);
        let shard = u32::from(group.no());
        Some(match verdict {
            Verdict::Divided => Error::Divided { shard, index },
            _ => Error::Diverged { shard, index },
        })
    }
}

fn take_in(comparisons: &mut [Comparison], peer: u64, answer: Option<CheckpointsResponse>) {
    for told in answer.into_iter().flat_map(|answer| answer.shards) {
        let Some(comparison) = comparisons.get_mut(told.shard as usize) else { continue };
        for (index, chain) in told.indexes.into_iter().zip(told.chains) {
            if let Ok(chain) = Chain::try_from(&*chain) {
                comparison.hear(peer, index, chain);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Chain = [1; 32];
    const B: Chain = [2; 32];
    const C: Chain = [3; 32];

    fn chains(told: &[Chain]) -> BTreeMap<u64, Chain> {
        (1..).zip(told.iter().copied()).collect()
    }

    #[test]
    fn whoever_is_outside_the_majority_halts_and_nobody_else() {
        assert_eq!(judge(&A, 3, &chains(&[A, A, B])), Verdict::Agreed);
        assert_eq!(judge(&B, 3, &chains(&[A, A, B])), Verdict::Outside);
        assert_eq!(judge(&B, 5, &chains(&[A, A, A, B])), Verdict::Outside);
        assert_eq!(judge(&C, 3, &chains(&[A, A])), Verdict::Outside, "a learner");
        assert_eq!(judge(&A, 1, &chains(&[A])), Verdict::Agreed);
    }

    #[test]
    fn without_a_possible_majority_all_halt() {
        assert_eq!(judge(&A, 3, &chains(&[A, B, C])), Verdict::Divided);
        assert_eq!(judge(&A, 2, &chains(&[A, B])), Verdict::Divided);
        assert_eq!(judge(&A, 4, &chains(&[A, A, B, B])), Verdict::Divided);
        assert_eq!(judge(&A, 5, &chains(&[A, B, B, C])), Verdict::Differs, "the fifth may be B");
    }

    #[test]
    fn silence_alone_halts_nobody() {
        assert_eq!(judge(&A, 3, &chains(&[A])), Verdict::Open);
        assert_eq!(judge(&A, 5, &chains(&[A, A])), Verdict::Open);
        assert_eq!(judge(&A, 3, &chains(&[A, B])), Verdict::Differs);
    }

    #[test]
    fn a_difference_that_the_silent_could_decide_halts_after_a_while() {
        let (mut comparison, voters) = (Comparison::default(), BTreeSet::from([1, 2, 3]));
        let start = Instant::now();
        let own = [(CHECKPOINT_ENTRIES, A)];
        comparison.hear(2, CHECKPOINT_ENTRIES, B);
        assert_eq!(comparison.judge(1, &own, &voters, start), None);
        let late = start + CHECKPOINT_WAIT_MAX;
        let halt = Some((CHECKPOINT_ENTRIES, Verdict::Divided));
        assert_eq!(comparison.judge(1, &own, &voters, late), halt);
        comparison.hear(3, CHECKPOINT_ENTRIES, A);
        assert_eq!(comparison.judge(1, &own, &voters, late), None, "the third decides");
        assert_eq!(comparison.agreed, CHECKPOINT_ENTRIES);
        assert_eq!(comparison.differs_since, None);
    }

    #[test]
    fn what_is_told_is_bounded_and_the_newest_stay() {
        let (mut checkpoints, mut comparison) = (Checkpoints::default(), Comparison::default());
        for index in 0..CHECKPOINT_ENTRIES * 2 * CHECKPOINTS_KEPT as u64 {
            checkpoints.pass(index, || A);
            comparison.hear(2, index, A);
        }
        assert_eq!(checkpoints.passed.len(), CHECKPOINTS_KEPT);
        assert_eq!(comparison.told.len(), CHECKPOINTS_KEPT);
        let told = checkpoints.tell(3);
        assert_eq!((told.shard, told.chains.len()), (3, CHECKPOINTS_TOLD));
        assert_eq!(told.indexes.last(), checkpoints.passed.back().map(|(index, _)| index));
    }
}
