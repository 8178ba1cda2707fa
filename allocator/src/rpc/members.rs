//! Owns how an operator's change of leaders or replicas is done by the leader of the shard that it
//! concerns: one step of one shard, idempotent, so that whoever drives it may start again anywhere.
//!
//! Must never leave a shard with voters of whom no majority lives.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use onsale_mesh::{Deadline, channel};
use onsale_proto::{
    Code,
    allocator::{
        AddReplicaRequest, DescribeRequest, RemoveReplicaRequest, ReplicaChangeResponse,
        TransferLeaderRequest, TransferLeaderResponse,
        cluster_service_client::ClusterServiceClient,
    },
    error::not_leader,
};
use tokio::time::timeout;
use tonic::Status;

use crate::{
    limits::{CATCH_UP_WAIT, CAUGHT_UP_LAG_MAX, DESCRIBE_TIMEOUT, LIVE_LAG_MAX, NODES_MAX},
    raft::membership::Members,
    shard::{
        Group,
        hand_over::{Leads, NotHandedOver},
    },
};

const VOTER: &str = "voter";
const LEARNER: &str = "learner";
const NONE: &str = "none";

impl Leads {
    /// Hands the lead of a shard to a node; done already is done.
    pub(super) async fn transfer(
        &self,
        group: &Group,
        request: &TransferLeaderRequest,
    ) -> Result<TransferLeaderResponse, Status> {
        if !group.leads() {
            return Err(not_leader(group.leader()));
        }
        let changed = request.to != self.standing.node;
        if changed {
            group.hand_over(request.to, true, &self.peers).await?;
        } else {
            group.replica().pin(crate::limits::PINNED_MS);
        }
        Ok(TransferLeaderResponse { leader: request.to, changed })
    }

    /// Brings the shard's replica on a node a step further.
    pub(super) async fn add(
        &self,
        group: &Group,
        request: &AddReplicaRequest,
    ) -> Result<ReplicaChangeResponse, Status> {
        let replica = group.replica();
        if !replica.leads() {
            return Err(not_leader(group.leader()));
        }
        let (node, members) = (request.node, replica.members());
        let is_new = !members.nodes.contains_key(&node);
        self.check_address(&members, request)?;
        if is_new {
            if members.nodes.len() >= NODES_MAX {
                let detail = format!("a cluster has at most {NODES_MAX} nodes");
                return Err(Code::Conflict.to_status(&detail));
            }
            self.check_newcomer(request).await?;
            replica.add_learner(node, &request.grpc).await?;
        } else if members.voters_next.contains(&node) && !members.joint {
            return Ok(change(group, VOTER, node, false));
        }
        match group.caught_up(node, CAUGHT_UP_LAG_MAX, CATCH_UP_WAIT).await {
            Ok(()) => {}
            Err(NotHandedOver::Unfit(_)) => return Ok(change(group, LEARNER, node, is_new)),
            Err(error) => return Err(error.into()),
        }
        let mut voters = replica.members().voters_next;
        voters.insert(node);
        replica.set_voters(voters).await?;
        tracing::info!(shard = group.no(), node, "a voter was added");
        Ok(change(group, VOTER, node, true))
    }

    /// Takes the shard's replica away from a node.
    pub(super) async fn remove(
        &self,
        group: &Group,
        request: &RemoveReplicaRequest,
    ) -> Result<ReplicaChangeResponse, Status> {
        let replica = group.replica();
        if !replica.leads() {
            return Err(not_leader(group.leader()));
        }
        let (node, members) = (request.node, replica.members());
        if !members.nodes.contains_key(&node) {
            return Ok(change(group, NONE, node, false));
        }
        let mut rest = members.voters_next.clone();
        rest.remove(&node);
        let live = self.live(group, &rest).await;
        if live.len() <= rest.len() / 2 {
            let detail = format!(
                "shard {}: without node {node} its voters are {rest:?}, of whom {live:?} live and \
                 keep up; that is no majority, so it would stand still. Start the others first",
                group.no()
            );
            return Err(Code::Conflict.to_status(&detail));
        }
        if request.check_only {
            let role = if members.is_learner(node) { LEARNER } else { VOTER };
            return Ok(change(group, role, node, false));
        }
        if node == self.standing.node {
            return Err(self.move_away(group, &live).await);
        }
        if members.is_learner(node) {
            replica.remove_learner(node).await?;
        } else {
            replica.set_voters(rest).await?;
        }
        tracing::info!(shard = group.no(), node, "a replica was taken away");
        Ok(change(group, NONE, node, true))
    }

    /// A leader that is to go hands over first; the new one does the rest.
    async fn move_away(&self, group: &Group, live: &BTreeSet<u64>) -> Status {
        for to in live.iter().filter(|id| **id != self.standing.node) {
            match group.hand_over(*to, false, &self.peers).await {
                Ok(()) => return not_leader(*to),
                Err(NotHandedOver::NotLeader(leader)) => return not_leader(leader),
                Err(error) => tracing::info!(shard = group.no(), to, ?error, "another one"),
            }
        }
        not_leader(0)
    }

    /// Those that answer, stay, and have nearly all entries.
    async fn live(&self, group: &Group, voters: &BTreeSet<u64>) -> BTreeSet<u64> {
        let progress = group.replica().progress().unwrap_or_default();
        let own = self.standing.node;
        let asked = voters.iter().map(|id| async move {
            if *id == own {
                return Some(*id);
            }
            let described = self.client.describe(*id, Deadline::after(DESCRIBE_TIMEOUT)).await;
            described.ok().filter(|described| described.node == *id && !described.leaving)?;
            Some(*id)
        });
        let answers = join_all(asked).await.into_iter().flatten();
        answers.filter(|id| *id == own || progress.lag(*id) <= LIVE_LAG_MAX).collect()
    }

    /// Whether the members as they are have that number at another address, or the other way round.
    fn check_address(&self, members: &Members, request: &AddReplicaRequest) -> Result<(), Status> {
        let AddReplicaRequest { node, grpc, .. } = request;
        let conflict = |detail: String| Err(Code::Conflict.to_status(&detail));
        if *node == 0 || grpc.is_empty() {
            return Err(Code::InvalidRequest.to_status("a node's number and address are required"));
        }
        for (id, added_at) in &members.nodes {
            let known = self.standing.addresses.get(id).unwrap_or(added_at);
            if id == node && !known.is_empty() && known != grpc {
                return conflict(format!("node {node} is a member at {known}; remove it first"));
            }
            if id != node && known == grpc {
                return conflict(format!("{grpc} is the address of node {id}"));
            }
        }
        Ok(())
    }

    /// Whether the node at this address is that one, of this cluster, under a number of its own.
    async fn check_newcomer(&self, request: &AddReplicaRequest) -> Result<(), Status> {
        let AddReplicaRequest { node, grpc, .. } = request;
        let conflict = |detail: String| Code::Conflict.to_status(&detail);
        if self.standing.retired().contains(node) {
            return Err(conflict(format!(
                "number {node} was a member once and is used up: give the node a new one"
            )));
        }
        let mut service = ClusterServiceClient::new(channel::connect(grpc)?);
        let asking = timeout(DESCRIBE_TIMEOUT, service.describe(DescribeRequest {})).await;
        let Ok(Ok(described)) = asking else {
            let detail = format!(
                "nobody answers at {grpc}; start node {node} there first, with cluster.join = true"
            );
            return Err(Code::Unavailable.to_status(&detail));
        };
        let described = described.into_inner();
        if described.node != *node {
            return Err(conflict(format!("at {grpc} is node {}, not {node}", described.node)));
        }
        if described.settings != self.standing.settings {
            return Err(conflict(format!(
                "node {node} at {grpc} has other settings: cluster.name (`{}`), cluster.shards or \
                 limits differ",
                described.cluster
            )));
        }
        Ok(())
    }
}

fn change(group: &Group, role: &str, node: u64, changed: bool) -> ReplicaChangeResponse {
    let lag = group.replica().progress().map_or(0, |progress| progress.lag(node));
    let lag = if role == NONE { 0 } else { lag };
    ReplicaChangeResponse { role: role.to_owned(), lag, changed }
}
