//! Owns how a replica calls its peers: one call at a time per shard and peer, over channels that
//! all shards of the node share.
//!
//! openraft gives an append one heartbeat's time and drops it. Here it stays on its way, the next
//! one waits for it, and what it was answered is remembered: a large entry gets through a slow link
//! once, and a slow peer is not sent it again and again. That more is committed is told without
//! waiting, as long as the peer answers otherwise. A peer's answer to entries is heard when they
//! are on this node's disk, too (see [`super::flushed`]), and who no majority needs pauses after it
//! (see [`super::trailing`]). Must never hang: every call to a peer has an end of its own, and
//! openraft gives up what waits for this node's disk.

use std::{
    collections::BTreeMap, future::Future, io, os::unix::fs::FileExt as _, sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use onsale_mesh::{Failure, Node, channel, limits::MESSAGE_BYTES_MAX};
use onsale_proto::allocator::{
    CheckpointsRequest, CheckpointsResponse, RaftRequest, RaftResponse, TakeLeadRequest,
    raft_service_client::RaftServiceClient,
};
use openraft::{
    RaftNetwork, RaftNetworkFactory, Snapshot,
    error::{
        Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
    },
    network::{Backoff, RPCOption},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
    },
};
use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, transport::Channel};

use super::{
    append_stream::{AppendStream, Sent},
    codec,
    flushed::Appends,
    lead::Lead,
    snapshot::SnapshotFile,
    trailing::Trailing,
    types::{LogId, Member, TypeConfig, Vote},
};
use crate::{
    limits::{
        APPEND_ENTRIES_MAX, COMMIT_TOLD_AFTER_MAX, SNAPSHOT_PIECE_BYTES, SNAPSHOT_PIECES_MAX,
        SNAPSHOT_TIMEOUT, VOTE_TIMEOUT,
    },
    shard::log_time::Clocks,
};

pub(super) type Client = RaftServiceClient<Channel>;
type CallError = RPCError<u64, Member, RaftError<u64>>;

/// The channels of a node to its peers, shared by all its shards.
#[derive(Clone)]
pub(crate) struct Peers {
    inner: Arc<PeersInner>,
}

struct PeersInner {
    cluster: String,
    clocks: Clocks,
    /// Addresses as configured; they lie over those of the membership.
    given: BTreeMap<u64, String>,
    /// Channels that were opened, by node and address.
    open: Mutex<BTreeMap<(u64, String), Peer>>,
}

/// Entries and heartbeats, votes, and snapshots travel apart: none waits behind the other.
#[derive(Clone)]
struct Peer {
    appends: Client,
    votes: Client,
    snapshots: Client,
}

impl Peers {
    pub(crate) fn new(cluster: &str, nodes: &[Node], clocks: Clocks) -> Result<Peers, Failure> {
        let given = nodes.iter().map(|node| (node.id, node.grpc.clone())).collect();
        let open = Mutex::default();
        let inner = PeersInner { cluster: cluster.to_owned(), clocks, given, open };
        let peers = Peers { inner: Arc::new(inner) };
        for node in nodes {
            peers.peer(node.id, &node.grpc)?;
        }
        Ok(peers)
    }

    /// The channels to a node; `grpc` is where its membership says that it is.
    fn peer(&self, node: u64, grpc: &str) -> Result<Peer, Failure> {
        let grpc = self.inner.given.get(&node).map_or(grpc, String::as_str);
        let mut open = self.inner.open.lock();
        if let Some(peer) = open.get(&(node, grpc.to_owned())) {
            return Ok(peer.clone());
        }
        let client = || -> Result<Client, Failure> {
            Ok(RaftServiceClient::new(channel::connect(grpc)?)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX))
        };
        let peer = Peer { appends: client()?, votes: client()?, snapshots: client()? };
        open.insert((node, grpc.to_owned()), peer.clone());
        Ok(peer)
    }

    /// Asks a node to stand for election at once.
    pub(crate) async fn take_lead(
        &self,
        node: u64,
        grpc: &str,
        request: TakeLeadRequest,
    ) -> Result<(), Status> {
        let request = TakeLeadRequest { cluster: self.inner.cluster.clone(), ..request };
        let mut client = self.peer(node, grpc).map_err(Status::from)?.votes;
        let asking = timeout(VOTE_TIMEOUT, client.take_lead(request)).await;
        asking.map_err(|_| timed_out())?.map(drop)
    }

    /// The channels to a node that was called before or stands in the settings.
    fn known(&self, node: u64) -> Option<Peer> {
        let open = self.inner.open.lock();
        open.iter().find(|((id, _), _)| *id == node).map(|(_, peer)| peer.clone())
    }

    /// What a peer's replicas were at their last checkpoints; `None` without an answer in time.
    pub(crate) async fn checkpoints(
        &self,
        peer: u64,
        time: Duration,
    ) -> Option<CheckpointsResponse> {
        let mut client = self.known(peer)?.votes;
        let request = CheckpointsRequest { cluster: self.inner.cluster.clone() };
        let answer = timeout(time, client.get_checkpoints(request)).await.ok()?.ok()?;
        Some(answer.into_inner())
    }

    fn request(&self, shard: u16, payload: Bytes) -> RaftRequest {
        let cluster = self.inner.cluster.clone();
        let clock_ms = self.inner.clocks.wall_ms();
        RaftRequest { shard: shard.into(), payload, clock_ms, cluster, ..RaftRequest::default() }
    }
}

/// Makes the connections of one shard's replica.
pub(super) struct Network {
    pub(super) peers: Peers,
    pub(super) lead: Arc<Lead>,
    pub(super) appends: Arc<Appends>,
    pub(super) trailing: Arc<Trailing>,
    pub(super) shard: u16,
}

/// One shard's connection to one peer.
pub(super) struct Connection {
    peers: Peers,
    lead: Arc<Lead>,
    appends: Arc<Appends>,
    trailing: Arc<Trailing>,
    /// What this node must have on disk before the answer under way is heard.
    mark: u64,
    peer: Option<Peer>,
    shard: u16,
    target: u64,
    /// Opened by the first append, and by the next one after it broke.
    stream: Option<AppendStream>,
    /// When the peer last answered.
    answered_at: Option<Instant>,
    /// The greatest commit that was sent.
    commit_told: Option<LogId>,
    /// An append that openraft gave up and that got through.
    landed: Option<Sent>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &Member) -> Connection {
        let peer = self.peers.peer(target, &node.grpc);
        if let Err(failure) = &peer {
            tracing::error!(node = target, %failure, "a member cannot be called");
        }
        let (peers, shard, lead) = (self.peers.clone(), self.shard, self.lead.clone());
        Connection {
            peers,
            lead,
            appends: self.appends.clone(),
            trailing: self.trailing.clone(),
            mark: 0,
            peer: peer.ok(),
            shard,
            target,
            stream: None,
            answered_at: None,
            commit_told: None,
            landed: None,
        }
    }
}

impl RaftNetwork<TypeConfig> for Connection {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, CallError> {
        if self.stream.as_ref().is_some_and(AppendStream::owes_answer) {
            // openraft gave it up. Its failure is no news: this call will meet it, too.
            if let Ok((sent, AppendEntriesResponse::Success)) = self.finish().await {
                self.landed = Some(sent);
            }
        }
        if let Some(answer) = self.landed.and_then(|sent| known_answer(&sent, &rpc)) {
            return Ok(answer);
        }
        let (payload, taken) = codec::encode_append(&rpc);
        let only_told = self.may_only_be_told(&rpc);
        let request = RaftRequest { quiet: only_told, ..self.peers.request(self.shard, payload) };
        let stream = self.stream()?;
        if only_told && stream.tell(request.clone()) {
            self.commit_told = rpc.leader_commit;
            return Ok(AppendEntriesResponse::Success);
        }
        let last = taken.checked_sub(1).and_then(|at| rpc.entries.get(at)).map(|e| e.log_id);
        let sent = Sent { vote: rpc.vote, prev: rpc.prev_log_id, last };
        // One without entries says nothing of any disk.
        self.mark = if taken == 0 { 0 } else { self.appends.begun() };
        let stream = self.stream()?;
        let asked = stream.ask(sent, RaftRequest { quiet: false, ..request });
        asked.map_err(|status| self.broken(&status))?;
        self.commit_told = self.commit_told.max(rpc.leader_commit);
        if taken > 0 {
            self.trailing.asked(self.target, std::time::Instant::now());
        }
        let (sent, answer) = self.finish().await?;
        match answer {
            AppendEntriesResponse::Success if taken < rpc.entries.len() => {
                Ok(AppendEntriesResponse::PartialSuccess(last))
            }
            AppendEntriesResponse::Success if taken > 0 => {
                // Known if openraft gives up during the pause.
                self.landed = Some(sent);
                self.trail(taken).await;
                Ok(AppendEntriesResponse::Success)
            }
            other => Ok(other),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, CallError> {
        let mut client = self.peer()?.votes;
        let request = self.peers.request(self.shard, codec::encode_vote(&rpc));
        let called = timeout(VOTE_TIMEOUT, client.vote(request)).await;
        let answer = called.map_err(|_| failed(&timed_out()))?.map_err(|e| failed(&e))?;
        let answer = answer.into_inner();
        self.heard(&answer);
        let answer = codec::decode_vote_answer(answer.payload).map_err(|error| network(&error))?;
        if !answer.vote_granted && answer.last_log_id > rpc.last_log_id {
            self.lead.outrun();
        }
        Ok(answer)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<TypeConfig>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        let sending = self.send_snapshot(vote, *snapshot.snapshot);
        let answer = tokio::select! {
            closed = cancel => return Err(StreamingError::Closed(closed)),
            answer = timeout(SNAPSHOT_TIMEOUT, sending) => answer,
        };
        let unreachable = |status: &Status| StreamingError::Unreachable(Unreachable::new(status));
        let answer = answer.map_err(|_| unreachable(&timed_out()))?;
        let answer = answer.map_err(|status| unreachable(&status))?;
        self.heard(&answer);
        codec::decode_snapshot_answer(answer.payload)
            .map_err(|error| StreamingError::Network(NetworkError::new(&error)))
    }

    fn backoff(&self) -> Backoff {
        let pauses = [20, 50, 100].into_iter().chain(std::iter::repeat(200));
        Backoff::new(pauses.map(Duration::from_millis))
    }
}

/// What an append that openraft gave up says about this one: entries that got through under the
/// same vote, from the same place, need not be sent again.
fn known_answer(
    landed: &Sent,
    rpc: &AppendEntriesRequest<TypeConfig>,
) -> Option<AppendEntriesResponse<u64>> {
    let last = landed.last?;
    let same = landed.vote == rpc.vote && landed.prev == rpc.prev_log_id;
    let place = rpc.entries.iter().position(|entry| entry.log_id == last).filter(|_| same)?;
    Some(if place + 1 == rpc.entries.len() {
        AppendEntriesResponse::Success
    } else {
        AppendEntriesResponse::PartialSuccess(Some(last))
    })
}

impl Connection {
    /// Whether an append only says that more is committed, to a peer that answered just now. The
    /// next answer says all that this one's would, and until then openraft could not send entries.
    fn may_only_be_told(&self, rpc: &AppendEntriesRequest<TypeConfig>) -> bool {
        rpc.entries.is_empty()
            && rpc.leader_commit > self.commit_told
            && self.answered_at.is_some_and(|at| at.elapsed() < COMMIT_TOLD_AFTER_MAX)
    }

    #[allow(clippy::result_large_err)]
    fn stream(&mut self) -> Result<&mut AppendStream, CallError> {
        let peer = self.peer()?;
        Ok(self.stream.get_or_insert_with(|| AppendStream::open(peer.appends)))
    }

    /// Waits for the append under way; dropped meanwhile, it stays under way. The peer's answer
    /// counts with this node's copy, so it is heard when that is on disk, too.
    #[allow(clippy::result_large_err)]
    async fn finish(&mut self) -> Result<(Sent, AppendEntriesResponse<u64>), CallError> {
        if let Err(error) = self.appends.flushed(self.mark).await {
            return Err(self.broken(&Status::unavailable(error.to_string())));
        }
        let (sent, answer) = match self.stream()?.answer().await {
            Ok(answered) => answered,
            Err(status) => return Err(self.broken(&status)),
        };
        self.answered_at = Some(Instant::now());
        if sent.last.is_some() {
            self.trailing.answered(self.target);
        }
        self.heard(&answer);
        let answer =
            codec::decode_append_answer(answer.payload).map_err(|error| network(&error))?;
        Ok((sent, answer))
    }

    /// The stream ends here, with the answer that it may owe; the next append opens another one.
    fn broken(&mut self, status: &Status) -> CallError {
        self.stream = None;
        self.answered_at = None;
        self.trailing.failed(self.target);
        failed(status)
    }

    /// Lets entries gather for a peer that no majority needs. One that was sent as many as go into
    /// an append has to catch up first.
    async fn trail(&self, sent: usize) {
        if sent as u64 >= APPEND_ENTRIES_MAX {
            return;
        }
        let now = std::time::Instant::now();
        let pause = self.trailing.pause(self.target, &self.appends.voters(), now);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    // openraft asks for this error as it is.
    #[allow(clippy::result_large_err)]
    fn peer(&self) -> Result<Peer, CallError> {
        self.peer.clone().ok_or_else(|| {
            let error = io::Error::other(format!("node {} is not configured", self.target));
            RPCError::Unreachable(Unreachable::new(&error))
        })
    }

    fn heard(&self, answer: &RaftResponse) {
        self.peers.inner.clocks.heard(self.target, answer.clock_ms);
    }

    async fn send_snapshot(&self, vote: Vote, file: SnapshotFile) -> Result<RaftResponse, Status> {
        let peer = self.peer().map_err(|error| Status::unavailable(error.to_string()))?;
        let mut client = peer.snapshots;
        let (pieces, requests) = mpsc::channel(SNAPSHOT_PIECES_MAX);
        let head = self.peers.request(self.shard, codec::encode_snapshot_head(&vote));
        let (peers, shard) = (self.peers.clone(), self.shard);
        let reading = tokio::spawn(async move {
            let mut piece = Some(head);
            let mut offset = 0;
            let file = Arc::new(file);
            while let Some(request) = piece.take() {
                if pieces.send(request).await.is_err() {
                    return Ok(());
                }
                let bytes = read_piece(file.clone(), offset).await?;
                offset += bytes.len() as u64;
                piece = (!bytes.is_empty()).then(|| peers.request(shard, bytes));
            }
            Ok::<(), io::Error>(())
        });
        let answer = client.install_snapshot(ReceiverStream::new(requests)).await;
        if let Ok(Err(error)) = reading.await {
            return Err(Status::internal(error.to_string()));
        }
        answer.map(tonic::Response::into_inner)
    }
}

async fn read_piece(file: Arc<SnapshotFile>, offset: u64) -> io::Result<Bytes> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; SNAPSHOT_PIECE_BYTES];
        let mut length = 0;
        while length < bytes.len() {
            match file.file.read_at(&mut bytes[length..], offset + length as u64)? {
                0 => break,
                more => length += more,
            }
        }
        bytes.truncate(length);
        Ok(Bytes::from(bytes))
    });
    reading.await.map_err(io::Error::other)?
}

pub(super) fn timed_out() -> Status {
    Status::deadline_exceeded("no answer in time")
}

/// A peer that cannot be reached is asked again after a pause, any other failure with the next
/// heartbeat.
fn failed(status: &Status) -> CallError {
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::DeadlineExceeded => {
            RPCError::Unreachable(Unreachable::new(status))
        }
        _ => RPCError::Network(NetworkError::new(status)),
    }
}

fn network<E: std::error::Error + 'static>(error: &E) -> CallError {
    RPCError::Network(NetworkError::new(error))
}

#[cfg(test)]
mod tests {
    use openraft::CommittedLeaderId;

    use super::*;
    use crate::raft::types::{Entry, Payload};

    fn log_id(index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(3, 1), index)
    }

    /// Entries from after `prev` up to `last`.
    fn append(term: u64, prev: u64, last: u64) -> AppendEntriesRequest<TypeConfig> {
        let entry = |index| Entry { log_id: log_id(index), payload: Payload::Blank };
        AppendEntriesRequest {
            vote: Vote::new_committed(term, 1),
            prev_log_id: Some(log_id(prev)),
            entries: (prev + 1..=last).map(entry).collect(),
            leader_commit: None,
        }
    }

    #[test]
    fn entries_that_got_through_late_are_not_sent_again() {
        let vote = Vote::new_committed(3, 1);
        let (prev, last) = (Some(log_id(4)), Some(log_id(6)));
        let landed = Sent { vote, prev, last };
        let answer = |rpc| known_answer(&landed, &rpc);
        assert!(matches!(answer(append(3, 4, 6)), Some(AppendEntriesResponse::Success)));
        let more = answer(append(3, 4, 9));
        assert!(
            matches!(&more, Some(AppendEntriesResponse::PartialSuccess(Some(id))) if id.index == 6),
            "{more:?}"
        );
    }

    #[test]
    fn what_got_through_says_nothing_of_other_terms_places_or_fewer_entries() {
        let vote = Vote::new_committed(3, 1);
        let (prev, last) = (Some(log_id(4)), Some(log_id(6)));
        let landed = Sent { vote, prev, last };
        for rpc in [append(4, 4, 6), append(3, 5, 6), append(3, 4, 5), append(3, 4, 4)] {
            assert!(known_answer(&landed, &rpc).is_none(), "{rpc:?}");
        }
        let heartbeat = Sent { last: None, ..landed };
        assert!(known_answer(&heartbeat, &append(3, 4, 6)).is_none());
    }
}
