//! Owns how a replica calls its peers: one call at a time per shard and peer, over channels that
//! all shards of the node share.
//!
//! openraft gives an append one heartbeat's time and drops it. Here the call goes on and the next
//! one waits for it, so that a large entry gets through a slow link at all and a slow peer is not
//! sent the same entries again and again. Must never hang: every call has an end of its own.

use std::{
    collections::BTreeMap, future::Future, io, os::unix::fs::FileExt as _, sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use onsale_mesh::{Failure, Node, channel, limits::MESSAGE_BYTES_MAX};
use onsale_proto::allocator::{
    CheckpointsRequest, CheckpointsResponse, RaftRequest, RaftResponse,
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
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, transport::Channel};

use super::{
    codec,
    snapshot::SnapshotFile,
    types::{TypeConfig, Vote},
};
use crate::{
    limits::{
        APPEND_TIMEOUT, SNAPSHOT_PIECE_BYTES, SNAPSHOT_PIECES_MAX, SNAPSHOT_TIMEOUT, VOTE_TIMEOUT,
    },
    shard::log_time::Clocks,
};

type Client = RaftServiceClient<Channel>;
type CallError = RPCError<u64, openraft::EmptyNode, RaftError<u64>>;

/// The channels of a node to its peers, shared by all its shards.
#[derive(Clone)]
pub(crate) struct Peers {
    inner: Arc<PeersInner>,
}

struct PeersInner {
    cluster: String,
    clocks: Clocks,
    peers: BTreeMap<u64, Peer>,
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
        let client = |node: &Node| -> Result<Client, Failure> {
            Ok(RaftServiceClient::new(channel::connect(&node.grpc)?)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX))
        };
        let mut peers = BTreeMap::new();
        for node in nodes {
            let (appends, votes) = (client(node)?, client(node)?);
            peers.insert(node.id, Peer { appends, votes, snapshots: client(node)? });
        }
        let inner = PeersInner { cluster: cluster.to_owned(), clocks, peers };
        Ok(Peers { inner: Arc::new(inner) })
    }

    /// What a peer's replicas were at their last checkpoints; `None` without an answer in time.
    pub(crate) async fn checkpoints(
        &self,
        peer: u64,
        time: Duration,
    ) -> Option<CheckpointsResponse> {
        let mut client = self.inner.peers.get(&peer)?.votes.clone();
        let request = CheckpointsRequest { cluster: self.inner.cluster.clone() };
        let answer = timeout(time, client.get_checkpoints(request)).await.ok()?.ok()?;
        Some(answer.into_inner())
    }

    fn request(&self, shard: u16, payload: Bytes) -> RaftRequest {
        let cluster = self.inner.cluster.clone();
        RaftRequest { shard: shard.into(), payload, clock_ms: self.inner.clocks.wall_ms(), cluster }
    }
}

/// Makes the connections of one shard's replica.
pub(super) struct Network {
    pub(super) peers: Peers,
    pub(super) shard: u16,
}

/// One shard's connection to one peer.
pub(super) struct Connection {
    peers: Peers,
    peer: Option<Peer>,
    shard: u16,
    target: u64,
    /// An append that openraft gave up and that is still on its way.
    under_way: Option<JoinHandle<Result<RaftResponse, Status>>>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, _node: &openraft::EmptyNode) -> Connection {
        let peer = self.peers.inner.peers.get(&target).cloned();
        let (peers, shard) = (self.peers.clone(), self.shard);
        Connection { peers, peer, shard, target, under_way: None }
    }
}

impl RaftNetwork<TypeConfig> for Connection {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, CallError> {
        if let Some(before) = &mut self.under_way {
            let _ = before.await;
            self.under_way = None;
        }
        let mut client = self.peer()?.appends;
        let (payload, taken) = codec::encode_append(&rpc);
        let last = taken.checked_sub(1).and_then(|at| rpc.entries.get(at)).map(|e| e.log_id);
        let all = taken == rpc.entries.len();
        let request = self.peers.request(self.shard, payload);
        let calling = tokio::spawn(async move {
            let called = timeout(APPEND_TIMEOUT, client.append_entries(request)).await;
            called.map_err(|_| timed_out())?.map(tonic::Response::into_inner)
        });
        let answer = self.under_way.insert(calling).await;
        self.under_way = None;
        let answer = answer.map_err(|error| network(&error))?.map_err(|e| failed(&e))?;
        self.heard(&answer);
        match codec::decode_append_answer(answer.payload).map_err(|error| network(&error))? {
            AppendEntriesResponse::Success if !all => {
                Ok(AppendEntriesResponse::PartialSuccess(last))
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
        codec::decode_vote_answer(answer.payload).map_err(|error| network(&error))
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

impl Connection {
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

fn timed_out() -> Status {
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
