//! Owns giving a shard's lead to another replica, and keeping leads spread over the nodes.
//!
//! The target has all entries but a few, then writes wait, it gets the rest, stands for election
//! and has this replica's vote at once: a leader has no lease to wait for. Writes wait for a few
//! milliseconds; nobody is told "unknown". Whatever goes wrong ends in the usual election. Must
//! never keep writes waiting for longer than [`HAND_OVER_WRITES_WAIT`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use onsale_mesh::{Deadline, ShardClient};
use onsale_proto::{Code, allocator::TakeLeadRequest};
use tokio::time::{timeout, timeout_at};
use tonic::Status;

use super::{Group, Groups, leadership, placement::Standing};
use crate::{
    error::ProposeError,
    limits::{
        BALANCE_INTERVAL, BATCHES_IN_FLIGHT_MAX, DESCRIBE_TIMEOUT, HAND_OVER_CATCH_UP,
        HAND_OVER_LAG_MAX, HAND_OVER_WRITES_WAIT, LEAVE_MAX,
    },
    raft::network::Peers,
};

/// Why a lead was not handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotHandedOver {
    /// This node does not lead (0: nobody known does).
    NotLeader(u64),
    /// That node has no vote in this shard.
    NoVoter,
    /// Members are being changed.
    Changing,
    /// That node does not have the entries in time, cannot be reached, or does not want to.
    Unfit(String),
}

impl From<NotHandedOver> for Status {
    fn from(error: NotHandedOver) -> Status {
        match error {
            NotHandedOver::NotLeader(leader) => ProposeError::NotLeader(leader).into(),
            NotHandedOver::NoVoter => {
                Code::NotFound.to_status("that node is no voter of this shard")
            }
            NotHandedOver::Changing => {
                Code::Unavailable.to_status("this shard's members are being changed; ask again")
            }
            NotHandedOver::Unfit(reason) => Code::Conflict.to_status(&reason),
        }
    }
}

impl Group {
    /// Gives the lead to `to`; on return it asked for it and this node leads no more.
    pub(crate) async fn hand_over(
        &self,
        to: u64,
        by_hand: bool,
        peers: &Peers,
    ) -> Result<(), NotHandedOver> {
        let replica = self.replica();
        let not_leader = || NotHandedOver::NotLeader(replica.leader());
        if !replica.leads() {
            return Err(not_leader());
        }
        let members = replica.members();
        if members.joint {
            return Err(NotHandedOver::Changing);
        }
        if !members.voters.contains(&to) {
            return Err(NotHandedOver::NoVoter);
        }
        replica.may_vote().await;
        replica.hurry(HAND_OVER_CATCH_UP + HAND_OVER_WRITES_WAIT);
        self.caught_up(to, HAND_OVER_LAG_MAX, HAND_OVER_CATCH_UP).await?;
        let until = tokio::time::Instant::now() + HAND_OVER_WRITES_WAIT;
        let busy = |_| NotHandedOver::Unfit("a batch is not decided in time".to_owned());
        let room = self.room().acquire_many(BATCHES_IN_FLIGHT_MAX as u32);
        let _writes_wait = timeout_at(until, room).await.map_err(busy)?;
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        self.caught_up(to, 0, left).await?;
        let status = replica.status();
        let request = TakeLeadRequest {
            shard: self.no().into(),
            from: status.leader,
            term: status.term,
            log_index: status.last_index,
            by_hand,
            ..TakeLeadRequest::default()
        };
        let grpc = members.nodes.get(&to).map_or("", String::as_str);
        let asked = peers.take_lead(to, grpc, request).await;
        asked.map_err(|status| {
            NotHandedOver::Unfit(format!("node {to} takes no lead: {}", status.message()))
        })?;
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        let mut changes = replica.changes();
        let lost = timeout(left, changes.lost_lead()).await;
        lost.map_err(|_| NotHandedOver::Unfit(format!("node {to} did not get elected in time")))
    }

    /// Waits until `to` lacks at most `lag_max` entries.
    pub(crate) async fn caught_up(
        &self,
        to: u64,
        lag_max: u64,
        within: Duration,
    ) -> Result<(), NotHandedOver> {
        let replica = self.replica();
        let mut changes = replica.changes();
        let waiting = async {
            loop {
                match replica.progress() {
                    None => return Err(NotHandedOver::NotLeader(replica.leader())),
                    Some(progress) if progress.lag(to) <= lag_max => return Ok(()),
                    Some(_) => {}
                }
                if !changes.next().await {
                    return Err(NotHandedOver::NotLeader(0));
                }
            }
        };
        let behind = |_| {
            let lag = replica.progress().map_or(0, |progress| progress.lag(to));
            NotHandedOver::Unfit(format!("node {to} is {lag} entries behind"))
        };
        timeout(within, waiting).await.map_err(behind)?
    }
}

/// What giving leads away needs.
#[derive(Clone)]
pub(crate) struct Leads {
    pub(crate) groups: Groups,
    pub(crate) standing: Arc<Standing>,
    pub(crate) client: ShardClient,
    pub(crate) peers: Peers,
}

impl Leads {
    /// Keeps this node's share of leads no greater than that of others. Never ends.
    pub(crate) async fn keep_spread(self) {
        let mut formed = self.standing.formed();
        let _ = formed.wait_for(|formed| *formed).await;
        let mut seen: BTreeMap<u32, (u64, Instant)> = BTreeMap::new();
        loop {
            tokio::time::sleep(BALANCE_INTERVAL).await;
            let Some(give) = self.to_give_away(&mut seen).await else {
                continue;
            };
            let Some(group) = self.groups.get(give.shard as usize) else {
                continue;
            };
            match group.hand_over(give.to, false, &self.peers).await {
                Ok(()) => {
                    tracing::info!(shard = give.shard, to = give.to, "handed over to spread leads");
                }
                Err(error) => {
                    tracing::info!(shard = give.shard, to = give.to, ?error, "kept the lead");
                }
            }
        }
    }

    /// Looks at who leads what; `seen` remembers since when.
    async fn to_give_away(
        &self,
        seen: &mut BTreeMap<u32, (u64, Instant)>,
    ) -> Option<leadership::Move> {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        let mut free = BTreeMap::new();
        let mut settled = true;
        for group in self.groups.iter() {
            let shard = u32::from(group.no());
            let leader = group.leader();
            let since = match seen.get(&shard) {
                Some((known, since)) if *known == leader => *since,
                _ => Instant::now(),
            };
            seen.insert(shard, (leader, since));
            settled &= leader != 0 && since.elapsed() >= leadership::SETTLED_AFTER;
            for voter in group.replica().members().voters_next {
                counts.entry(voter).or_default();
            }
            *counts.entry(leader).or_default() += 1;
            if !group.replica().is_pinned() {
                free.insert(shard, leader);
            }
        }
        // Cheap to see in most rounds, before anybody is asked anything.
        leadership::give_away(self.standing.node, &free, &counts).filter(|_| settled)?;
        for node in counts.keys().copied().collect::<Vec<_>>() {
            if node != self.standing.node && !self.may_lead(node).await {
                counts.remove(&node);
            }
        }
        leadership::give_away(self.standing.node, &free, &counts)
    }

    /// Whether a node answers, stays, and follows all shards.
    async fn may_lead(&self, node: u64) -> bool {
        let described = self.client.describe(node, Deadline::after(DESCRIBE_TIMEOUT)).await;
        described.is_ok_and(|described| {
            described.node == node
                && !described.leaving
                && described.shards.iter().all(|shard| shard.leader > 0)
        })
    }

    /// Takes no lead from here on, and hands over every one there is: one shard after the other,
    /// to whoever leads least. What cannot be handed over in time is left to an election.
    pub(crate) async fn leave(&self) {
        for group in self.groups.iter() {
            group.replica().leave();
        }
        let leaving = async {
            let live = self.live_peers().await;
            for group in self.groups.iter().filter(|group| group.leads()) {
                self.give_up(group, &live).await;
            }
        };
        if timeout(LEAVE_MAX, leaving).await.is_err() {
            tracing::warn!("not every lead could be handed over in time");
        }
    }

    /// The other voters of any shard that answer and stay.
    async fn live_peers(&self) -> BTreeSet<u64> {
        let voters = self.groups.iter().flat_map(|group| group.replica().members().voters);
        let mut voters: BTreeSet<u64> = voters.collect();
        voters.remove(&self.standing.node);
        let asking = voters.iter().map(|id| async move { (*id, self.may_lead(*id).await) });
        let answers = join_all(asking).await.into_iter();
        answers.filter(|(_, may_lead)| *may_lead).map(|(id, _)| id).collect()
    }

    async fn give_up(&self, group: &Group, live: &BTreeSet<u64>) {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for group in self.groups.iter() {
            *counts.entry(group.leader()).or_default() += 1;
        }
        let mut targets: Vec<u64> = group.replica().members().voters.into_iter().collect();
        targets.retain(|id| live.contains(id));
        targets.sort_by_key(|id| (counts.get(id).copied().unwrap_or(0), *id));
        for to in targets {
            match group.hand_over(to, false, &self.peers).await {
                Ok(()) => {
                    tracing::info!(shard = group.no(), to, "handed over before stopping");
                    return;
                }
                Err(NotHandedOver::NotLeader(_)) => return,
                Err(error) => tracing::info!(shard = group.no(), to, ?error, "another one"),
            }
        }
    }
}
