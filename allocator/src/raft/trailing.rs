//! Owns which followers get an entry at once, and which a moment later, together with what has come
//! since.
//!
//! A majority has to have an entry; the rest has to have it soon. An append costs a follower and
//! the network about what a hundred commands in it do, so those that no majority needs take few and
//! large ones. The line for the lead says who: the first in it get everything at once, and would
//! lead next. Must never keep an entry from a majority: where one of those is slow, gone, or not
//! known to keep up, nobody trails.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    limits::{PROMPT_ANSWER_MAX, TRAIL_MAX},
    shard::leadership::rank,
};

/// How promptly the peers of one shard's leader answer. All its connections share one.
#[derive(Debug)]
pub(super) struct Trailing {
    shard: u32,
    node: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    peers: BTreeMap<u64, Peer>,
    hurry_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    /// Its last answer was one, and nothing has failed since.
    answers: bool,
    /// Since when it owes an answer.
    asked_at: Option<Instant>,
}

impl Trailing {
    /// On this node; nobody has answered yet.
    pub(super) fn new(shard: u16, node: u64) -> Self {
        Self { shard: shard.into(), node, state: Mutex::default() }
    }

    /// A peer was sent something that it has to answer.
    pub(super) fn asked(&self, peer: u64, now: Instant) {
        self.state.lock().peers.entry(peer).or_default().asked_at.get_or_insert(now);
    }

    /// It did.
    pub(super) fn answered(&self, peer: u64) {
        self.state.lock().peers.insert(peer, Peer { answers: true, asked_at: None });
    }

    /// It did not, or cannot be reached.
    pub(super) fn failed(&self, peer: u64) {
        self.state.lock().peers.insert(peer, Peer::default());
    }

    /// Nobody trails for so long.
    pub(super) fn hurry(&self, time: Duration) {
        self.state.lock().hurry_until = Some(Instant::now() + time);
    }

    /// How long a peer that has just answered may wait for its next entries. `voters` are those of
    /// a membership that is not being changed, ascending.
    pub(super) fn pause(&self, peer: u64, voters: &[u64], now: Instant) -> Duration {
        let state = self.state.lock();
        if state.hurry_until.is_some_and(|until| now < until) || !voters.contains(&self.node) {
            return Duration::ZERO;
        }
        let line: Vec<u64> = voters.iter().copied().filter(|id| *id != self.node).collect();
        // With this node, these are a majority.
        let prompt_max = (voters.len() / 2) as u64;
        let is_prompt = |id: u64| rank(self.shard, id, &line) < prompt_max;
        if !line.contains(&peer) || is_prompt(peer) {
            return Duration::ZERO;
        }
        let mut prompt = line.iter().filter(|id| is_prompt(**id));
        let keeps_up = |id: &u64| {
            let peer = state.peers.get(id).copied().unwrap_or_default();
            let owes = |at| now.saturating_duration_since(at) > PROMPT_ANSWER_MAX;
            peer.answers && !peer.asked_at.is_some_and(owes)
        };
        if prompt.all(keeps_up) { TRAIL_MAX } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Node 1 leads shard 0 of three or five nodes, so 2 is first in line.
    fn trailing(answering: &[u64]) -> Trailing {
        let trailing = Trailing::new(0, 1);
        answering.iter().for_each(|peer| trailing.answered(*peer));
        trailing
    }

    fn trail(trailing: &Trailing, voters: &[u64], now: Instant) -> Vec<u64> {
        let trails = |peer: &u64| !trailing.pause(*peer, voters, now).is_zero();
        voters.iter().copied().filter(trails).collect()
    }

    #[test]
    fn who_no_majority_needs_trails() {
        let now = Instant::now();
        let trailing = trailing(&[2, 3, 4, 5]);
        assert_eq!(trail(&trailing, &[1, 2, 3], now), [3]);
        assert_eq!(trail(&trailing, &[1, 2, 3, 4, 5], now), [4, 5]);
        assert_eq!(trail(&trailing, &[1, 2, 3, 4], now), [4]);
        assert!(trail(&trailing, &[1, 2], now).is_empty());
        assert!(trail(&trailing, &[1], now).is_empty());
        assert!(trailing.pause(9, &[1, 2, 3], now).is_zero(), "a learner has to catch up");
        assert!(trail(&trailing, &[2, 3, 4], now).is_empty(), "a leader without a vote");
        assert!(trail(&trailing, &[], now).is_empty(), "a membership that is being changed");
    }

    #[test]
    fn another_shard_has_another_line() {
        let trailing = Trailing::new(1, 1);
        trailing.answered(3);
        assert_eq!(trail(&trailing, &[1, 2, 3], Instant::now()), [2]);
    }

    #[test]
    fn nobody_trails_behind_who_does_not_answer() {
        let now = Instant::now();
        let voters = [1, 2, 3];
        assert!(trail(&trailing(&[3]), &voters, now).is_empty(), "not heard yet");
        let trailing = trailing(&[2, 3]);
        trailing.asked(2, now);
        assert_eq!(trail(&trailing, &voters, now + PROMPT_ANSWER_MAX), [3]);
        let late = now + PROMPT_ANSWER_MAX + Duration::from_millis(1);
        trailing.asked(2, late);
        assert!(trail(&trailing, &voters, late).is_empty(), "late, however often it is asked");
        trailing.answered(2);
        assert_eq!(trail(&trailing, &voters, late), [3]);
        trailing.failed(2);
        assert!(trail(&trailing, &voters, late).is_empty());
    }

    #[test]
    fn nobody_trails_while_a_lead_is_handed_over() {
        let trailing = trailing(&[2, 3]);
        trailing.hurry(Duration::from_secs(1));
        let now = Instant::now();
        assert!(trail(&trailing, &[1, 2, 3], now).is_empty());
        assert_eq!(trail(&trailing, &[1, 2, 3], now + Duration::from_secs(2)), [3]);
    }
}
