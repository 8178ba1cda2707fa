//! One shard's replica: openraft, wired to the log, the state machine and the peers.
//!
//! The only place that knows openraft; its types end here (design D1). Must never answer for the
//! state: that is the shard's part.

mod append_stream;
mod codec;
pub(crate) mod flushed;
mod lead;
pub mod log_store;
pub mod membership;
pub(crate) mod network;
pub mod snapshot;
mod state_machine;
mod trailing;
pub mod types;

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use onsale_state::{Batch, Outcome, Shard};
use openraft::{
    Raft, Snapshot, SnapshotPolicy,
    error::{CheckIsLeaderError, InitializeError, RaftError},
    metrics::RaftMetrics,
    raft::AppendEntriesResponse,
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::Status;

pub(crate) use self::snapshot::make_dir_durable;
pub use self::state_machine::Observer;
use self::{
    flushed::Appends,
    lead::Lead,
    network::{Network, Peers},
    snapshot::{SnapshotFile, Store},
    state_machine::{Machine, StateMachine},
    trailing::Trailing,
    types::{Member, Proposal, TypeConfig},
};
use crate::{
    error::{Error, ProposeError},
    limits::{APPEND_ENTRIES_MAX, ENTRIES_KEPT_AFTER_SNAPSHOT, SNAPSHOT_TIMEOUT},
    metrics::ShardMetrics,
};

/// What a replica is made of.
pub(crate) struct Parts<'a> {
    pub(crate) shard_no: u16,
    pub(crate) node: u64,
    pub(crate) data_dir: &'a Path,
    pub(crate) heartbeat_ms: u64,
    /// How long a follower keeps to a silent leader.
    pub(crate) election_ms: u64,
    pub(crate) snapshot_entries: u64,
    pub(crate) log: crate::log::ShardLog,
    pub(crate) shard: Arc<Mutex<Shard>>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) peers: Peers,
    pub(crate) metrics: ShardMetrics,
}

/// What a replica is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Decides what comes next.
    Leader,
    /// Follows and votes.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Follows without a vote, or knows of no cluster yet.
    Learner,
    /// Has ended.
    Ended,
}

impl Role {
    /// Its name in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Learner => "learner",
            Role::Ended => "unknown",
        }
    }
}

/// What a replica says of itself.
#[derive(Clone, Debug)]
pub struct ReplicaStatus {
    /// What it is.
    pub role: Role,
    /// Who leads as far as it knows; 0 is nobody.
    pub leader: u64,
    /// Its term.
    pub term: u64,
    /// Index of its last entry; 0 while it has none.
    pub last_index: u64,
    /// Index of its last applied entry; 0 while it has none.
    pub applied: u64,
    /// Index of the last entry in its newest snapshot; 0 while it has none.
    pub snapshot: u64,
    /// First entries up to this index are gone from its log.
    pub purged: u64,
    /// It knows of a membership.
    pub initialised: bool,
    /// Ids of the voters.
    pub voters: Vec<u64>,
    /// Why it ended, if it did.
    pub ended: Option<String>,
}

/// A shard's replica on this node. Cheap to clone.
#[derive(Clone)]
pub struct Replica {
    raft: Raft<TypeConfig>,
    machine: Arc<Machine>,
    lead: Arc<Lead>,
    appends: Arc<Appends>,
    trailing: Arc<Trailing>,
    metrics: watch::Receiver<RaftMetrics<u64, Member>>,
}

/// The outcomes of a submitted batch, when they come.
pub(crate) struct Submitted(
    tokio::sync::oneshot::Receiver<openraft::raft::ClientWriteResult<TypeConfig>>,
);

impl Replica {
    /// Loads the newest snapshot, applies the log up to what was committed, and takes part.
    pub(crate) async fn start(parts: Parts<'_>) -> Result<Replica, Error> {
        let shard = u32::from(parts.shard_no);
        let store = Store::open(parts.data_dir, parts.shard_no)?;
        let timeline = parts.metrics.timeline.clone();
        let appends = Arc::new(Appends::new(parts.node));
        let (observer, metrics) = (parts.observer, parts.metrics);
        let machine = Machine::open(parts.shard, store, observer, appends.clone(), metrics)?;
        let purged = parts.log.state().purged.map(|mark| mark.index);
        if let Some(purged) = purged
            && machine.applied_index().is_none_or(|applied| applied < purged)
        {
            let snapshot = machine.applied_index().unwrap_or(0);
            return Err(Error::Hole { shard, purged, snapshot });
        }
        let machine = Arc::new(machine);
        let config = openraft::Config {
            cluster_name: format!("shard-{shard}"),
            heartbeat_interval: parts.heartbeat_ms,
            // The greater one is the lease; who asks when it is over is `shard::leadership`'s part.
            election_timeout_min: parts.election_ms - 1,
            election_timeout_max: parts.election_ms,
            enable_elect: false,
            install_snapshot_timeout: SNAPSHOT_TIMEOUT.as_millis() as u64,
            max_payload_entries: APPEND_ENTRIES_MAX,
            replication_lag_threshold: parts.snapshot_entries * 2,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(parts.snapshot_entries),
            max_in_snapshot_log_to_keep: ENTRIES_KEPT_AFTER_SNAPSHOT.min(parts.snapshot_entries),
            ..openraft::Config::default()
        };
        let ended = |reason: String| Error::Replica { shard, reason };
        let config = Arc::new(config.validate().map_err(|error| ended(error.to_string()))?);
        let lead = Arc::new(Lead::new(parts.election_ms));
        let trailing = Arc::new(Trailing::new(parts.shard_no, parts.node));
        let network = Network {
            peers: parts.peers,
            lead: lead.clone(),
            appends: appends.clone(),
            trailing: trailing.clone(),
            shard: parts.shard_no,
        };
        let log_store = log_store::LogStore::new(parts.log)
            .behind(machine.store.durable())
            .timed(timeline)
            .ahead_of(appends.clone(), machine.applied_index());
        let state_machine = StateMachine(machine.clone());
        let raft = Raft::new(parts.node, config, network, log_store, state_machine).await;
        let raft = raft.map_err(|error| ended(error.to_string()))?;
        let metrics = raft.metrics();
        Ok(Replica { raft, machine, lead, appends, trailing, metrics })
    }

    /// Hands a batch to openraft. From here on no answer means "unknown".
    pub(crate) async fn submit(&self, batch: Batch) -> Option<Submitted> {
        self.raft.client_write_ff(Proposal::new(batch)).await.ok().map(Submitted)
    }

    /// Whether this replica leads; the lead may be lost at any moment.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.metrics.borrow().state.is_leader()
    }

    /// Who leads as far as this replica knows; 0 is nobody.
    #[must_use]
    pub fn leader(&self) -> u64 {
        self.metrics.borrow().current_leader.unwrap_or(0)
    }

    /// What this replica is, and who leads as far as it knows (0 is nobody).
    pub(crate) fn role_and_leader(&self) -> (Role, u64) {
        let metrics = self.metrics.borrow();
        (role(metrics.state), metrics.current_leader.unwrap_or(0))
    }

    /// Ends when this replica's role, leader or anything else openraft reports has changed.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.raft.metrics())
    }

    /// Waits until everything committed before the call is applied here, with the lead confirmed
    /// by a majority in between.
    pub(crate) async fn linearize(&self) -> Result<(), ProposeError> {
        match self.raft.ensure_linearizable().await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to))) => {
                Err(ProposeError::NotLeader(to.leader_id.unwrap_or(0)))
            }
            Err(_) => Err(ProposeError::NotLeader(0)),
        }
    }

    /// Makes the first entry: these nodes are the voters. Nothing happens where there is one.
    pub(crate) async fn initialise(&self, voters: &[u64]) -> Result<(), Error> {
        match self.raft.initialize(membership::founders(voters)).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(Error::Other(format!("cannot make the first entry: {error}"))),
        }
    }

    /// What this replica says of itself.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        let metrics = self.metrics.borrow();
        let index = |id: Option<types::LogId>| id.map_or(0, |id| id.index);
        let members = metrics.membership_config.membership();
        ReplicaStatus {
            role: role(metrics.state),
            leader: metrics.current_leader.unwrap_or(0),
            term: metrics.current_term,
            last_index: metrics.last_log_index.unwrap_or(0),
            applied: index(metrics.last_applied),
            snapshot: index(metrics.snapshot),
            purged: index(metrics.purged),
            initialised: members.voter_ids().next().is_some(),
            voters: members.voter_ids().collect(),
            ended: metrics.running_state.as_ref().err().map(ToString::to_string),
        }
    }

    /// The voters' ids.
    pub(crate) fn voters(&self) -> Vec<u64> {
        self.metrics.borrow().membership_config.membership().voter_ids().collect()
    }

    /// Sends followers everything at once for so long: one of them is to lead.
    pub(crate) fn hurry(&self, time: Duration) {
        self.trailing.hurry(time);
    }

    /// Begins a snapshot of everything applied so far, unless one is under way.
    pub(crate) async fn begin_snapshot(&self) {
        let _ = self.raft.trigger().snapshot().await;
    }

    /// Lets go of the log's entries up to this one, as soon as nobody reads them any more.
    pub(crate) async fn purge_to(&self, index: u64) {
        let _ = self.raft.trigger().purge_log(index).await;
    }

    /// Deletes snapshots that a newer one has replaced and that are older than this.
    pub(crate) async fn drop_old_snapshots(&self, age: Duration) {
        let machine = self.machine.clone();
        let dropping = tokio::task::spawn_blocking(move || machine.store.drop_old(age));
        if let Ok(Err(error)) = dropping.await {
            tracing::warn!(%error, "an old snapshot cannot be deleted");
        }
    }

    /// Ends taking part. Nothing acknowledged is lost by not calling it.
    pub(crate) async fn shutdown(&self) {
        let _ = self.raft.shutdown().await;
    }

    /// A peer's append, or heartbeat.
    pub(crate) async fn answer_append(&self, payload: Bytes) -> Result<(u64, Bytes), Status> {
        let request = codec::decode_append(payload).map_err(|error| refused(&error))?;
        let from = request.vote.leader_id.node_id;
        let answer = self.raft.append_entries(request).await.map_err(|error| ended(&error))?;
        if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            self.heard();
        }
        // The answer says that the entries are on this disk.
        self.flushed().await?;
        Ok((from, codec::encode_append_answer(&answer)))
    }

    /// Waits until everything handed to the log so far is on disk.
    async fn flushed(&self) -> Result<(), Status> {
        let flushed = self.appends.flushed(self.appends.begun()).await;
        flushed.map_err(|error| Status::unavailable(error.to_string()))
    }

    /// A peer's question for this replica's vote.
    pub(crate) async fn answer_vote(&self, payload: Bytes) -> Result<(u64, Bytes), Status> {
        let request = codec::decode_vote(payload).map_err(|error| refused(&error))?;
        let from = request.vote.leader_id.node_id;
        let answer = self.raft.vote(request).await.map_err(|error| ended(&error))?;
        if answer.vote_granted {
            self.heard();
        }
        Ok((from, codec::encode_vote_answer(&answer)))
    }

    /// A file to receive a snapshot into.
    pub(crate) fn incoming(&self) -> Result<SnapshotFile, Status> {
        let incoming = self.machine.store.incoming();
        incoming.map_err(|error| Status::internal(format!("no file for a snapshot: {error}")))
    }

    /// A leader's snapshot, received whole; `head` was its first message.
    pub(crate) async fn answer_snapshot(
        &self,
        head: Bytes,
        file: SnapshotFile,
    ) -> Result<Bytes, Status> {
        let vote = codec::decode_snapshot_head(head).map_err(|error| refused(&error))?;
        let (machine, path) = (self.machine.clone(), file.path.clone());
        // Whatever can be wrong with it is found before it counts.
        let checking = tokio::task::spawn_blocking(move || {
            let loaded = machine.store.check(&path).map_err(|error| error.to_string())?;
            let state = Shard::decode_snapshot(&loaded.state);
            state.map(|_| loaded.meta).map_err(|error| error.to_string())
        });
        let checked = checking.await.map_err(|error| Status::internal(error.to_string()))?;
        let meta = checked.map_err(Status::data_loss)?;
        let snapshot = Snapshot { meta, snapshot: Box::new(file) };
        let answer = self.raft.install_full_snapshot(vote, snapshot).await;
        // One that this replica is past is answered at once, for what it has.
        self.flushed().await?;
        Ok(codec::encode_snapshot_answer(&answer.map_err(|error| ended(&error))?))
    }
}

impl Submitted {
    /// The entry's index and the batch's outcomes; `None` is "unknown".
    pub(crate) async fn outcomes(&mut self) -> Option<(u64, Vec<Outcome>)> {
        let written = (&mut self.0).await.ok()?.ok()?;
        Some((written.log_id.index, written.data.0))
    }
}

/// Tells when something about a replica has changed.
pub(crate) struct Changes(watch::Receiver<RaftMetrics<u64, Member>>);

impl Changes {
    /// Waits for the next change; `false` when the replica is gone.
    pub(crate) async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }

    /// Waits until this replica does not lead.
    pub(crate) async fn lost_lead(&mut self) {
        let _ = self.0.wait_for(|metrics| !metrics.state.is_leader()).await;
    }
}

fn role(state: openraft::ServerState) -> Role {
    match state {
        openraft::ServerState::Leader => Role::Leader,
        openraft::ServerState::Follower => Role::Follower,
        openraft::ServerState::Candidate => Role::Candidate,
        openraft::ServerState::Learner => Role::Learner,
        openraft::ServerState::Shutdown => Role::Ended,
    }
}

fn refused(error: &codec::CodecError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn ended(error: &impl std::error::Error) -> Status {
    Status::unavailable(format!("this replica has ended: {error}"))
}
