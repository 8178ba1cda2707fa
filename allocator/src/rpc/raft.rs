//! Owns `RaftService`: peers' Raft calls for all shards of this node, and internal proposals.
//!
//! Must never answer another cluster, nor before this node's identity is durable (design D19): a
//! vote given without one could be given twice.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use onsale_mesh::Deadline;
use onsale_proto::{
    Code,
    allocator::{
        CheckpointsRequest, CheckpointsResponse, RaftRequest, RaftResponse, TakeLeadRequest,
        TakeLeadResponse, raft_service_server::RaftService,
    },
};
use onsale_state::Batch;
use prost::Message as _;
use tokio::{io::AsyncWriteExt as _, sync::watch};
use tonic::{Request, Response, Status, Streaming};

use super::{convert, deadline::deadline};
use crate::{
    limits::{PINNED_MS, SNAPSHOT_BYTES_MAX, SNAPSHOT_TIMEOUT},
    raft::snapshot::SnapshotFile,
    shard::{Group, Groups, log_time::Clocks},
};

/// What an internal proposal may take when its caller says nothing.
const PROPOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The service over a node's shards.
#[derive(Clone)]
pub(crate) struct RaftApi {
    pub(crate) cluster: String,
    pub(crate) groups: Groups,
    pub(crate) clocks: Clocks,
    /// This node's identity is on disk.
    pub(crate) identified: watch::Receiver<bool>,
}

impl RaftApi {
    fn admit(&self, cluster: &str) -> Result<(), Status> {
        if cluster != self.cluster {
            let detail = format!("this is a node of the cluster `{}`", self.cluster);
            return Err(Code::Forbidden.to_status(&detail));
        }
        if !*self.identified.borrow() {
            return Err(Status::unavailable("this node has no identity yet"));
        }
        Ok(())
    }

    fn group(&self, request: &RaftRequest) -> Result<&Group, Status> {
        self.group_of(request.shard, &request.cluster)
    }

    fn group_of(&self, shard: u32, cluster: &str) -> Result<&Group, Status> {
        self.admit(cluster)?;
        let group = self.groups.get(shard as usize);
        group.ok_or_else(|| Code::NotFound.to_status("there is no such shard"))
    }

    fn answer(&self, from: u64, clock_ms: u64, payload: Bytes) -> Response<RaftResponse> {
        self.clocks.heard(from, clock_ms);
        Response::new(RaftResponse { payload, clock_ms: self.clocks.wall_ms(), number: 0 })
    }

    async fn append(&self, request: RaftRequest) -> Result<RaftResponse, Status> {
        let group = self.group(&request)?;
        let (from, answer) = group.replica().answer_append(request.payload).await?;
        let answer = self.answer(from, request.clock_ms, answer).into_inner();
        Ok(RaftResponse { number: request.number, ..answer })
    }

    async fn receive(&self, pieces: &mut Streaming<RaftRequest>) -> Result<Bytes, Status> {
        let first = pieces.next().await;
        let first = first.ok_or_else(|| Status::invalid_argument("an empty snapshot"))??;
        let replica = self.group(&first)?.replica().clone();
        let SnapshotFile { path, file } = replica.incoming()?;
        let unfinished = Unfinished(path.clone());
        let mut file = tokio::fs::File::from_std(file);
        let mut bytes = 0;
        while let Some(piece) = pieces.next().await {
            let piece = piece?.payload;
            bytes += piece.len() as u64;
            if bytes > SNAPSHOT_BYTES_MAX {
                return Err(Status::out_of_range("the snapshot is larger than any"));
            }
            file.write_all(&piece).await?;
        }
        file.flush().await?;
        let file = SnapshotFile { path, file: file.into_std().await };
        // Installing goes on when the leader goes away: the file must stay until it is done.
        let installing = tokio::spawn(async move {
            let answer = replica.answer_snapshot(first.payload, file).await;
            drop(unfinished);
            answer
        });
        installing.await.map_err(|error| Status::internal(error.to_string()))?
    }
}

/// A received file; deleted unless it was installed, which gives it another name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tonic::async_trait]
impl RaftService for RaftApi {
    type AppendEntriesStream = BoxStream<'static, Result<RaftResponse, Status>>;

    async fn append_entries(
        &self,
        request: Request<Streaming<RaftRequest>>,
    ) -> Result<Response<Self::AppendEntriesStream>, Status> {
        let both = (self.clone(), request.into_inner());
        let answers = stream::unfold(both, |(api, mut requests)| async move {
            loop {
                let (quiet, answer) = match requests.next().await? {
                    Ok(request) => (request.quiet, api.append(request).await),
                    Err(status) => (false, Err(status)),
                };
                if !quiet || answer.is_err() {
                    return Some((answer, (api, requests)));
                }
            }
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn vote(&self, request: Request<RaftRequest>) -> Result<Response<RaftResponse>, Status> {
        let request = request.into_inner();
        let group = self.group(&request)?;
        let (from, answer) = group.replica().answer_vote(request.payload).await?;
        Ok(self.answer(from, request.clock_ms, answer))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<RaftRequest>>,
    ) -> Result<Response<RaftResponse>, Status> {
        let mut pieces = request.into_inner();
        let receiving = tokio::time::timeout(SNAPSHOT_TIMEOUT, self.receive(&mut pieces));
        let timed_out = |_| Status::deadline_exceeded("the snapshot took too long");
        let answer = receiving.await.map_err(timed_out)??;
        Ok(self.answer(0, 0, answer))
    }

    async fn take_lead(
        &self,
        request: Request<TakeLeadRequest>,
    ) -> Result<Response<TakeLeadResponse>, Status> {
        let request = request.into_inner();
        let group = self.group_of(request.shard, &request.cluster)?;
        let (replica, status) = (group.replica(), group.status());
        if replica.is_leaving() {
            return Err(Code::Conflict.to_status("this node is stopping"));
        }
        let fits = status.term == request.term
            && status.leader == request.from
            && status.last_index >= request.log_index;
        if !fits {
            return Err(Code::Conflict.to_status("this node does not follow that leader so far"));
        }
        if request.by_hand {
            replica.pin(PINNED_MS);
        }
        replica.stand().await;
        Ok(Response::new(TakeLeadResponse {}))
    }

    async fn propose(
        &self,
        request: Request<RaftRequest>,
    ) -> Result<Response<RaftResponse>, Status> {
        let until = deadline(request.metadata(), PROPOSE_TIMEOUT);
        let request = request.into_inner();
        let shard = self.group(&request)?;
        let batch = Batch::decode(&request.payload);
        let batch = batch.map_err(|error| Code::InvalidRequest.to_status(&error.to_string()))?;
        let outcome = propose(shard, batch, until).await?;
        Ok(self.answer(0, 0, outcome.encode_to_vec().into()))
    }

    async fn get_checkpoints(
        &self,
        request: Request<CheckpointsRequest>,
    ) -> Result<Response<CheckpointsResponse>, Status> {
        self.admit(&request.into_inner().cluster)?;
        let shards = self.groups.iter();
        let shards = shards.map(|group| group.checkpoints(|passed| passed.tell(group.no())));
        Ok(Response::new(CheckpointsResponse { shards: shards.collect() }))
    }
}

/// Proposes the one command of a batch; its outcome is an encoded `Outcome`, rejections included.
async fn propose(
    group: &Group,
    batch: Batch,
    until: Deadline,
) -> Result<onsale_proto::allocator::Outcome, Status> {
    let Ok([command]) = <[_; 1]>::try_from(batch.commands) else {
        return Err(Code::InvalidRequest.to_status("exactly one command is proposed"));
    };
    let (index, outcome) = group.propose(command, until).await?;
    Ok(convert::outcome(index, &outcome))
}
