//! Owns finding a shard's leader and repeating a call until its deadline (design D6, D7).
//!
//! Must never report a command failed that may have been applied: such an end is
//! `outcome_unknown`. Must never repeat without bounds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use onsale_proto::{
    Code,
    allocator::{self as pb, outcome},
    error::leader_hint,
    packed::PackedCommand,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tonic::{Request, Response, Status, metadata::MetadataValue, transport::Channel};
use tonic_types::StatusExt as _;

use crate::{
    Deadline, Failure, Follower, limits,
    peers::{Peer, Peers},
    submit_stream::NoOutcome,
};

/// A node of the allocator cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its number, from 1; never used again for another node.
    pub id: u64,
    /// `host:port` of its gRPC server.
    pub grpc: String,
}

/// Talks to the leader of any shard. Cheap to clone; connects when first used.
#[derive(Clone)]
pub struct ShardClient {
    inner: Arc<Inner>,
}

struct Inner {
    peers: Peers,
    /// Shard → number of the last known leader.
    leaders: DashMap<u32, u64>,
    turn: AtomicUsize,
    /// Somebody was sent to a node that is not in the list.
    unknown_node: Notify,
}

/// Metadata of a call that the asked node must answer itself, or say who leads: its caller goes to
/// the leader on its own.
pub const DIRECT: &str = "onsale-direct";

/// What to do after an attempt.
enum Next {
    /// Ask that node, at once.
    Ask(Arc<Peer>),
    /// Pause, then ask the next node in turn.
    Pause,
}

impl ShardClient {
    /// A client of these nodes.
    ///
    /// # Errors
    /// `invalid_request` when there are none or an address is not `host:port`.
    pub fn new(nodes: Vec<Node>) -> Result<ShardClient, Failure> {
        let inner = Inner {
            peers: Peers::new(nodes)?,
            leaders: DashMap::new(),
            turn: AtomicUsize::new(0),
            unknown_node: Notify::new(),
        };
        Ok(ShardClient { inner: Arc::new(inner) })
    }

    /// The nodes, as configured or as last learned.
    #[must_use]
    pub fn nodes(&self) -> Vec<Node> {
        self.inner.peers.all().iter().map(|peer| peer.node.clone()).collect()
    }

    /// Takes in the cluster's members as a node describes them.
    pub fn learn(&self, described: &pb::DescribeResponse) {
        if self.inner.peers.learn(described.members_index, &described.members) {
            let nodes: Vec<u64> = self.nodes().iter().map(|node| node.id).collect();
            tracing::info!(?nodes, "the cluster's members");
        }
    }

    /// Learns the cluster's members again and again, at once when a leader is named that is not
    /// in the list. Never ends.
    pub async fn keep_current(self) {
        let mut turn = 0;
        loop {
            let asked = self.inner.peers.in_turn(turn).node.id;
            turn = turn.wrapping_add(1);
            if let Ok(described) =
                self.describe(asked, Deadline::after(limits::ATTEMPT_TIMEOUT)).await
            {
                self.learn(&described);
            }
            // At most so often, however many callers are sent to somebody unknown.
            tokio::time::sleep(limits::MEMBERS_PAUSE_MIN).await;
            let pause = tokio::time::sleep(limits::MEMBERS_PAUSE);
            tokio::select! {
                () = pause => {}
                () = self.inner.unknown_node.notified() => {}
            }
        }
    }

    /// Submits a command to the shard's leader, again and again under the same key until there is
    /// an outcome. A rejection is an `Err` with its code.
    ///
    /// # Errors
    /// The rejection's code; `outcome_unknown` when the deadline passed after the command may have
    /// been applied; `unavailable` when no leader took it; `overloaded`.
    pub async fn submit(
        &self,
        shard: u32,
        command: pb::Command,
        deadline: Deadline,
    ) -> Result<pb::Outcome, Failure> {
        let command = PackedCommand::new(&command);
        let mut attempts = Attempts::new(deadline);
        let mut peer = self.leader(shard);
        while let Some(timeout) = attempts.start() {
            let budget_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
            let submitting = peer.stream.submit(command.item(shard, budget_ms));
            let next = match tokio::time::timeout(timeout, submitting).await {
                Ok(Ok(outcome)) => match self.judge(shard, &peer, outcome, &mut attempts) {
                    Ok(outcome) => return outcome,
                    Err(next) => next,
                },
                Ok(Err(NoOutcome::NotSent)) => Next::Pause,
                Ok(Err(NoOutcome::Unknown)) | Err(_) => attempts.may_be_done(),
            };
            peer = self.move_on(shard, peer, next, &mut attempts).await;
        }
        Err(attempts.over())
    }

    /// A hold as it stands now.
    ///
    /// # Errors
    /// `not_found`, `unavailable`.
    pub async fn get_hold(
        &self,
        hold: u128,
        deadline: Deadline,
    ) -> Result<pb::GetHoldResponse, Failure> {
        let hold_id = onsale_proto::id::format(onsale_proto::id::HOLD, hold);
        self.on_leader(onsale_proto::id::shard_of(hold), deadline, |channel, timeout| {
            let hold_id = hold_id.clone();
            let request = direct(pb::GetHoldRequest { hold_id }, timeout);
            async move { allocator(channel).get_hold(request).await }
        })
        .await
    }

    /// An order as it stands now.
    ///
    /// # Errors
    /// `not_found`, `unavailable`.
    pub async fn get_order(
        &self,
        order: u128,
        deadline: Deadline,
    ) -> Result<pb::GetOrderResponse, Failure> {
        let order_id = onsale_proto::id::format(onsale_proto::id::ORDER, order);
        self.on_leader(onsale_proto::id::shard_of(order), deadline, |channel, timeout| {
            let order_id = order_id.clone();
            let request = direct(pb::GetOrderRequest { order_id }, timeout);
            async move { allocator(channel).get_order(request).await }
        })
        .await
    }

    /// Follows a shard's feed from the beginning: a snapshot, then changes.
    #[must_use]
    pub fn follow(&self, shard: u32) -> Follower {
        Follower::new(self.clone(), shard, self.inner.turn.fetch_add(1, Ordering::Relaxed))
    }

    /// What one node says of itself.
    ///
    /// # Errors
    /// `not_found` for a node that is not in the list, `unavailable`.
    pub async fn describe(
        &self,
        node: u64,
        deadline: Deadline,
    ) -> Result<pb::DescribeResponse, Failure> {
        let peer = self.inner.peers.get(node);
        let peer = peer.ok_or_else(|| Failure::new(Code::NotFound, format!("no node {node}")))?;
        let mut service =
            pb::cluster_service_client::ClusterServiceClient::new(peer.channel.clone());
        let request = timed(pb::DescribeRequest {}, deadline.remaining());
        match tokio::time::timeout_at(deadline.instant(), service.describe(request)).await {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(_) => Err(Failure::new(Code::Unavailable, format!("node {node} did not answer"))),
        }
    }

    /// Some node; `turn` says which, in turn.
    #[must_use]
    pub(crate) fn in_turn(&self, turn: usize) -> Arc<Peer> {
        self.inner.peers.in_turn(turn)
    }

    /// Calls the shard's leader until there is an answer; `call` gets the channel and what the
    /// attempt may take. Each attempt takes at most [`limits::ATTEMPT_TIMEOUT`].
    ///
    /// # Errors
    /// The answer's code; `outcome_unknown` or `unavailable` when the deadline passed.
    pub async fn on_leader<T, F>(
        &self,
        shard: u32,
        deadline: Deadline,
        call: impl Fn(Channel, Duration) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        self.on_leader_within(shard, deadline, limits::ATTEMPT_TIMEOUT, call).await
    }

    /// Like [`Self::on_leader`] with another time for each attempt, for calls that wait.
    ///
    /// # Errors
    /// Like [`Self::on_leader`].
    pub async fn on_leader_within<T, F>(
        &self,
        shard: u32,
        deadline: Deadline,
        attempt: Duration,
        call: impl Fn(Channel, Duration) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        let mut attempts = Attempts::new(deadline);
        attempts.timeout = attempt;
        let mut peer = self.leader(shard);
        while let Some(timeout) = attempts.start() {
            let calling = call(peer.channel.clone(), timeout);
            let next = match tokio::time::timeout(timeout, calling).await {
                Ok(Ok(response)) => {
                    self.inner.leaders.insert(shard, peer.node.id);
                    return Ok(response.into_inner());
                }
                Ok(Err(status)) => match leader_hint(&status) {
                    Some(leader) => self.next_for(leader),
                    None => match Code::from_status(&status) {
                        Code::Unavailable => {
                            attempts.last = status.message().to_owned();
                            Next::Pause
                        }
                        Code::OutcomeUnknown => attempts.may_be_done(),
                        Code::Overloaded if attempts.may_be_done => Next::Pause,
                        Code::Internal if is_broken_call(&status) => attempts.may_be_done(),
                        _ => return Err(status.into()),
                    },
                },
                Err(_) => attempts.may_be_done(),
            };
            peer = self.move_on(shard, peer, next, &mut attempts).await;
        }
        Err(attempts.over())
    }

    fn judge(
        &self,
        shard: u32,
        peer: &Peer,
        outcome: pb::Outcome,
        attempts: &mut Attempts,
    ) -> Result<Result<pb::Outcome, Failure>, Next> {
        match outcome.result {
            Some(outcome::Result::Rejected(rejected)) => {
                // That there is no room for a repeat says nothing about what went before.
                if attempts.may_be_done && rejected.code == Code::Overloaded.as_str() {
                    return Err(Next::Pause);
                }
                if rejected.code != Code::Unavailable.as_str() {
                    self.inner.leaders.insert(shard, peer.node.id);
                    return Ok(Err(rejected.into()));
                }
                if rejected.unknown {
                    return Err(attempts.may_be_done());
                }
                attempts.last = rejected.detail;
                Err(self.next_for(rejected.leader))
            }
            Some(_) => {
                self.inner.leaders.insert(shard, peer.node.id);
                Ok(Ok(outcome))
            }
            None => Ok(Err(Failure::new(Code::Internal, "the answer has no result"))),
        }
    }

    fn next_for(&self, leader: u64) -> Next {
        if let Some(peer) = self.inner.peers.get(leader) {
            return Next::Ask(peer);
        }
        if leader > 0 {
            self.inner.unknown_node.notify_one();
        }
        Next::Pause
    }

    async fn move_on(
        &self,
        shard: u32,
        peer: Arc<Peer>,
        next: Next,
        attempts: &mut Attempts,
    ) -> Arc<Peer> {
        if let Next::Ask(leader) = next
            && leader.node.id != peer.node.id
        {
            self.inner.leaders.insert(shard, leader.node.id);
            return leader;
        }
        attempts.pause().await;
        self.inner.peers.after(peer.node.id)
    }

    fn leader(&self, shard: u32) -> Arc<Peer> {
        let known = self.inner.leaders.get(&shard).map(|leader| *leader);
        known.and_then(|leader| self.inner.peers.get(leader)).unwrap_or_else(|| {
            self.inner.peers.in_turn(self.inner.turn.fetch_add(1, Ordering::Relaxed))
        })
    }
}

/// Bounds and counts the attempts of one call.
struct Attempts {
    deadline: Deadline,
    timeout: Duration,
    pause: Duration,
    made: u32,
    may_be_done: bool,
    last: String,
}

impl Attempts {
    fn new(deadline: Deadline) -> Attempts {
        Attempts {
            deadline,
            timeout: limits::ATTEMPT_TIMEOUT,
            pause: limits::BACKOFF_FIRST,
            made: 0,
            may_be_done: false,
            last: String::new(),
        }
    }

    fn start(&mut self) -> Option<Duration> {
        let timeout = self.deadline.min(self.timeout);
        if timeout.is_zero() || self.made >= limits::ATTEMPTS_MAX {
            return None;
        }
        self.made += 1;
        Some(timeout)
    }

    fn may_be_done(&mut self) -> Next {
        self.may_be_done = true;
        Next::Pause
    }

    async fn pause(&mut self) {
        let half = self.pause / 2;
        let jitter = half.mul_f64(fraction());
        tokio::time::sleep(self.deadline.min(half + jitter)).await;
        self.pause = (self.pause * 2).min(limits::BACKOFF_MAX);
    }

    fn over(self) -> Failure {
        if self.may_be_done {
            let detail = "no answer in time; repeat the request with the same key";
            return Failure::new(Code::OutcomeUnknown, detail);
        }
        let last = if self.last.is_empty() { "no node answered" } else { &self.last };
        Failure::new(Code::Unavailable, format!("no leader took the request in time: {last}"))
    }
}

fn allocator(channel: Channel) -> pb::allocator_service_client::AllocatorServiceClient<Channel> {
    pb::allocator_service_client::AllocatorServiceClient::new(channel)
}

pub(crate) fn timed<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

/// Like [`timed`], and to be answered by the node that is asked or not at all.
pub(crate) fn direct<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = timed(message, timeout);
    request.metadata_mut().insert(DIRECT, MetadataValue::from_static("1"));
    request
}

/// Not an answer of ours: the connection broke under the call, which may have been done.
fn is_broken_call(status: &Status) -> bool {
    matches!(status.code(), tonic::Code::Unknown | tonic::Code::Internal)
        && status.get_details_error_info().is_none()
}

/// Between 0 and 1; for jitter only.
fn fraction() -> f64 {
    getrandom::u32().map_or(0.5, |bits| f64::from(bits) / f64::from(u32::MAX))
}
