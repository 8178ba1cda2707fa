//! Owns when a replica asks for its shard's lead, and which leader should give a shard away so that
//! leads are spread over the nodes.
//!
//! Pure but for [`keep_leaders`], which acts on it. Must never decide who *does* lead: that is the
//! election's part. Must never flap: a shard is only given away where that makes the two nodes
//! more equal, and by one node at a time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::Groups;
use crate::{
    limits::{ELECTION_LOOK_INTERVAL, ELECTION_MARGIN_MS},
    raft::Role,
};

/// The place of `node` in line for the shard's lead: 0 is who should lead. `ids` are the nodes,
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

/// How long a replica waits before it asks for the lead, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Silence of the leader before the first question.
    pub silence_ms: u64,
    /// Between the first two questions; twice as much after each that came to nothing.
    pub again_ms: u64,
}

impl Patience {
    /// Of the replica at this place in line. A follower grants its vote once the lease is over, so
    /// the first in line asks right then, and once more before the next in line asks: the others
    /// may have heard the leader a heartbeat later.
    ///
    /// Each question is a new term that makes the votes of the one before worthless: where votes
    /// take longer than the pause, the pause must grow or nobody is ever elected.
    #[must_use]
    pub fn of(rank: u64, election_ms: u64) -> Patience {
        let step_ms = election_ms / 2;
        let silence_ms = election_ms + ELECTION_MARGIN_MS + rank.min(6) * step_ms;
        // Not the same for any two, lest they meet again and again.
        let again_ms = election_ms / 4 + rank.min(6) * (election_ms / 5);
        Patience { silence_ms, again_ms }
    }

    /// The pause after so many questions that came to nothing.
    #[must_use]
    pub fn pause_ms(&self, tries: u32) -> u64 {
        self.again_ms << tries.saturating_sub(1).min(DOUBLINGS_MAX)
    }
}

/// How often the pause between two questions doubles.
const DOUBLINGS_MAX: u32 = 4;
/// As many fruitless questions a refusal counts for that came from a replica with more entries.
const OUTRUN_TRIES: u32 = 4;

/// Stands for election wherever a leader has been silent for too long. Never ends.
pub(crate) async fn keep_leaders(node: u64, groups: Groups, election_ms: u64) {
    let mut watches: Vec<Watch> = groups.iter().map(|_| Watch::default()).collect();
    let mut looked_at = Instant::now();
    let mut every = tokio::time::interval(ELECTION_LOOK_INTERVAL);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let since_look = looked_at.elapsed();
        looked_at = Instant::now();
        for (group, watch) in groups.iter().zip(&mut watches) {
            let replica = group.replica();
            let (role, leader) = replica.role_and_leader();
            if leader != 0 {
                watch.leader = leader;
            }
            replica.note_leading(role == Role::Leader);
            match role {
                Role::Leader => {
                    replica.heard();
                    continue;
                }
                Role::Follower | Role::Candidate => {}
                Role::Learner | Role::Ended => continue,
            }
            let patience = watch.patience(group.no().into(), node, &replica.voters(), election_ms);
            if watch.silent_ms(replica.silent_ms(), since_look) < patience.silence_ms {
                watch.tries = 0;
                continue;
            }
            let asked_ms = watch.asked_at.map(|at| at.elapsed().as_millis() as u64);
            if watch.tries > 0 && replica.take_outrun() {
                // Its next question would only make the other one's votes worthless.
                watch.tries = watch.tries.max(OUTRUN_TRIES);
            }
            if watch.tries == 0
                || asked_ms.is_none_or(|asked_ms| asked_ms >= patience.pause_ms(watch.tries))
            {
                watch.asked_at = Some(Instant::now());
                watch.tries = watch.tries.saturating_add(1);
                tracing::info!(shard = group.no(), "the leader is silent; standing for election");
                replica.stand().await;
            }
        }
    }
}

/// What is remembered of a shard between two looks.
#[derive(Default)]
struct Watch {
    /// The last leader known.
    leader: u64,
    asked_at: Option<Instant>,
    /// Questions since then that came to nothing.
    tries: u32,
    /// Silence that this node was there to notice.
    noticed_ms: u64,
}

impl Watch {
    /// How long the leader has been silent. Whoever was not on the processor cannot say that others
    /// were silent meanwhile: a look that comes late counts for little, and still for something.
    fn silent_ms(&mut self, silent_ms: u64, since_look: Duration) -> u64 {
        let look_ms = since_look.min(ELECTION_LOOK_INTERVAL * 4).as_millis() as u64;
        self.noticed_ms = silent_ms.min(self.noticed_ms.saturating_add(look_ms));
        self.noticed_ms
    }

    /// The one who is silent does not stand in line.
    fn patience(&self, shard: u32, node: u64, voters: &[u64], election_ms: u64) -> Patience {
        let mut line: Vec<u64> =
            voters.iter().copied().filter(|id| *id != self.leader || *id == node).collect();
        line.sort_unstable();
        Patience::of(rank(shard, node, &line), election_ms)
    }
}

/// A lead to give away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which shard's.
    pub shard: u32,
    /// To whom.
    pub to: u64,
}

/// What `node` should give away: it leads the most of all, some voter at least two fewer. `leaders`
/// are the shards' leaders by shard, without those that must stay; `counts` are all leads of each
/// node that may lead.
#[must_use]
pub fn give_away(
    node: u64,
    leaders: &BTreeMap<u32, u64>,
    counts: &BTreeMap<u64, usize>,
) -> Option<Move> {
    let own = *counts.get(&node)?;
    let most = counts.values().copied().max()?;
    // The first of those who lead the most, so that two never fill up the same third.
    let first = counts.iter().find(|(_, count)| **count == most).map(|(id, _)| *id);
    let (to, least) = counts.iter().min_by_key(|(id, count)| (**count, **id))?;
    if first != Some(node) || own < least + 2 {
        return None;
    }
    let ids: Vec<u64> = counts.keys().copied().collect();
    let mut mine: Vec<u32> =
        leaders.iter().filter(|(_, leader)| **leader == node).map(|(shard, _)| *shard).collect();
    // Rather what the other should lead, rather not what this node should.
    mine.sort_by_key(|shard| (rank(*shard, *to, &ids), *shard));
    let shard = mine.first().copied()?;
    Some(Move { shard, to: *to })
}

/// How long a node that came back, or a new leader, is left alone before leads move.
pub const SETTLED_AFTER: Duration = Duration::from_millis(500);

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
    fn the_lease_is_over_when_the_first_asks_and_it_asks_again_before_the_next_does() {
        for election_ms in [300, 1_000] {
            let first = Patience::of(0, election_ms);
            assert!(first.silence_ms > election_ms);
            for rank in 1..7 {
                let (before, own) =
                    (Patience::of(rank - 1, election_ms), Patience::of(rank, election_ms));
                assert!(own.silence_ms > before.silence_ms + first.again_ms, "rank {rank}");
                assert!(own.again_ms > before.again_ms, "rank {rank}");
            }
        }
    }

    #[test]
    fn who_gets_no_answer_asks_less_and_less_often_and_never_at_the_pace_of_another() {
        let (first, second) = (Patience::of(0, 300), Patience::of(1, 300));
        let pauses: Vec<u64> = (1..8).map(|tries| first.pause_ms(tries)).collect();
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]), "{pauses:?}");
        assert!(pauses.last().is_some_and(|pause| (1_000..3_000).contains(pause)), "{pauses:?}");
        assert!((1..8).all(|tries| first.pause_ms(tries) != second.pause_ms(tries)));
    }

    #[test]
    fn whoever_survives_a_leader_asks_as_if_it_had_never_been_there() {
        let watch = Watch { leader: 1, ..Watch::default() };
        let shard = 3;
        let voters = [1, 2, 3];
        let silences: Vec<u64> =
            [2, 3].map(|node| watch.patience(shard, node, &voters, 300).silence_ms).into();
        assert!(silences.contains(&Patience::of(0, 300).silence_ms), "{silences:?}");
        assert_ne!(silences[0], silences[1]);
    }

    #[test]
    fn a_node_that_slept_does_not_blame_its_leader_but_one_that_is_always_late_still_asks() {
        let mut watch = Watch::default();
        let look = ELECTION_LOOK_INTERVAL;
        assert!(watch.silent_ms(5_000, Duration::from_secs(5)) < 50, "it slept for five seconds");
        assert!(watch.silent_ms(3, look) <= 3, "the leader was heard");
        let looks = (1..).map(|n| n * 100);
        let asks = looks.map(|ms| watch.silent_ms(ms, Duration::from_millis(100)));
        let late = asks.take(20).filter(|silent_ms| *silent_ms < 320).count();
        assert!((7..12).contains(&late), "after {late} looks");
    }

    fn spread(leaders: &BTreeMap<u32, u64>, nodes: &[u64]) -> BTreeMap<u64, usize> {
        let led = |node: &u64| leaders.values().filter(|leader| *leader == node).count();
        nodes.iter().map(|node| (*node, led(node))).collect()
    }

    #[test]
    fn leads_come_to_be_spread_and_then_nothing_moves() {
        for (shards, nodes) in [(5_u32, 3_u64), (16, 3), (16, 5), (3, 5), (1, 3), (256, 7)] {
            let ids: Vec<u64> = (1..=nodes).collect();
            // One leads all: everybody else has just come back.
            let mut leaders: BTreeMap<u32, u64> = (0..shards).map(|shard| (shard, 1)).collect();
            let mut moves = 0;
            loop {
                let counts = spread(&leaders, &ids);
                let all: Vec<Move> =
                    ids.iter().filter_map(|id| give_away(*id, &leaders, &counts)).collect();
                assert!(all.len() <= 1, "one at a time: {all:?}");
                let Some(Move { shard, to }) = all.first().copied() else { break };
                leaders.insert(shard, to);
                moves += 1;
                assert!(moves <= shards, "it ends");
            }
            let counts = spread(&leaders, &ids);
            let (most, least) = (counts.values().max(), counts.values().min());
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{counts:?}");
        }
    }

    #[test]
    fn a_lead_that_must_stay_is_not_given_away() {
        let counts = BTreeMap::from([(1, 3), (2, 0)]);
        let stays = BTreeMap::from([(4, 2)]);
        assert_eq!(give_away(1, &stays, &counts), None);
        let free = BTreeMap::from([(7, 1)]);
        assert_eq!(give_away(1, &free, &counts), Some(Move { shard: 7, to: 2 }));
    }
}
