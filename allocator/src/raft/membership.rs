//! Owns how a shard's replicas are added, made voters and taken away (design D1): learner first,
//! then joint consensus.
//!
//! Every step is idempotent: asked for again after a leader died in the middle, it goes on where
//! the entries stand. Must never decide whether a change is wise: that is the caller's part.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{
    ChangeMembers,
    error::{ClientWriteError, RaftError},
};

use super::{
    Replica,
    types::{Member, TypeConfig},
};
use crate::{error::ProposeError, limits::MEMBERSHIP_TIMEOUT};

/// A shard's members as this replica knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Index of the entry that made them so; 0 while there is none.
    pub index: u64,
    /// Voters; with two sets at once, all of both.
    pub voters: BTreeSet<u64>,
    /// The voters once a change under way is through.
    pub voters_next: BTreeSet<u64>,
    /// A change of voters is under way.
    pub joint: bool,
    /// Every member's address, as it came with it.
    pub nodes: BTreeMap<u64, String>,
}

impl Members {
    /// Follows without a vote.
    #[must_use]
    pub fn is_learner(&self, node: u64) -> bool {
        self.nodes.contains_key(&node) && !self.voters.contains(&node)
    }
}

/// What a leader knows of how far its peers are.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Index of the leader's own last entry.
    pub last_index: u64,
    /// Peer → index of the last entry that it is known to have.
    pub peers: BTreeMap<u64, u64>,
}

impl Progress {
    /// Entries that a node is behind; all of them when nothing is known of it.
    #[must_use]
    pub fn lag(&self, node: u64) -> u64 {
        self.last_index.saturating_sub(self.peers.get(&node).copied().unwrap_or(0))
    }
}

impl Replica {
    /// The shard's members as this replica knows them.
    #[must_use]
    pub fn members(&self) -> Members {
        let metrics = self.metrics.borrow();
        let stored = &metrics.membership_config;
        let membership = stored.membership();
        let sets = membership.get_joint_config();
        Members {
            index: stored.log_id().map_or(0, |id| id.index),
            voters: membership.voter_ids().collect(),
            voters_next: sets.last().cloned().unwrap_or_default(),
            joint: sets.len() > 1,
            nodes: membership.nodes().map(|(id, node)| (*id, node.grpc.clone())).collect(),
        }
    }

    /// How far the peers are; `None` where this replica does not lead.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        let metrics = self.metrics.borrow();
        let replication = metrics.replication.as_ref()?;
        let peers = replication.iter();
        Some(Progress {
            last_index: metrics.last_log_index.unwrap_or(0),
            peers: peers.map(|(id, log)| (*id, log.map_or(0, |log| log.index))).collect(),
        })
    }

    /// Makes a node a learner: from here on it is sent what it lacks.
    pub(crate) async fn add_learner(&self, node: u64, grpc: &str) -> Result<(), ChangeError> {
        let member = Member { grpc: grpc.to_owned() };
        let nodes = BTreeMap::from([(node, member)]);
        self.change(ChangeMembers::AddNodes(nodes), true).await
    }

    /// Makes exactly these members the voters; who was one and is none any more is no member.
    pub(crate) async fn set_voters(&self, voters: BTreeSet<u64>) -> Result<(), ChangeError> {
        self.change(ChangeMembers::ReplaceAllVoters(voters), false).await
    }

    /// Takes a learner away.
    pub(crate) async fn remove_learner(&self, node: u64) -> Result<(), ChangeError> {
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([node])), true).await
    }

    async fn change(
        &self,
        change: ChangeMembers<u64, Member>,
        retain: bool,
    ) -> Result<(), ChangeError> {
        let changing = self.raft.change_membership(change, retain);
        match tokio::time::timeout(MEMBERSHIP_TIMEOUT, changing).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(ChangeError::from_raft(error)),
            Err(_) => Err(ChangeError::Undecided),
        }
    }
}

/// Why a membership is not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChangeError {
    /// Ask the leader (0: none is known).
    NotLeader(u64),
    /// Another change is under way, or it is not known whether this one got through: ask again.
    Undecided,
    /// It can never be done.
    Refused(String),
}

impl ChangeError {
    fn from_raft(error: RaftError<u64, ClientWriteError<u64, Member>>) -> ChangeError {
        use openraft::error::ChangeMembershipError as Change;
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => {
                ChangeError::NotLeader(to.leader_id.unwrap_or(0))
            }
            RaftError::APIError(ClientWriteError::ChangeMembershipError(Change::InProgress(_))) => {
                ChangeError::Undecided
            }
            RaftError::APIError(error @ ClientWriteError::ChangeMembershipError(_)) => {
                ChangeError::Refused(error.to_string())
            }
            RaftError::Fatal(_) => ChangeError::NotLeader(0),
        }
    }
}

impl From<ChangeError> for tonic::Status {
    fn from(error: ChangeError) -> tonic::Status {
        match error {
            ChangeError::NotLeader(leader) => ProposeError::NotLeader(leader).into(),
            ChangeError::Undecided => onsale_proto::Code::Unavailable
                .to_status("a change of this shard's members is under way; ask again"),
            ChangeError::Refused(reason) => onsale_proto::Code::Conflict.to_status(&reason),
        }
    }
}

/// openraft's view of the members that form a cluster: their addresses stand in the settings.
pub(super) fn founders(voters: &[u64]) -> BTreeMap<u64, Member> {
    voters.iter().map(|id| (*id, Member::default())).collect()
}

const _: fn() = || {
    fn is_node<N: openraft::Node>() {}
    is_node::<<TypeConfig as openraft::RaftTypeConfig>::Node>();
};
