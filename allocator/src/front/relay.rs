//! Owns the way of every call through a process without a replica.
//!
//! Must never hold more unanswered commands than its bounds say.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, future::BoxFuture, stream};
use onsale_mesh::{Deadline, Failure, ShardClient};
use onsale_proto::{Code, allocator as pb};
use pb::cluster_service_server::ClusterService;
use tokio::sync::Semaphore;
use tokio_util::sync::DropGuard;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    limits::{
        BUDGET_MAX, RELAYED_STREAMS_MAX, RELAYED_UNANSWERED_MAX, STREAM_ANSWERS_MAX,
        UNARY_TIMEOUT_MAX,
    },
    rpc::{
        convert,
        deadline::deadline,
        hold::{AnswerStream, Submitter},
        status::status,
    },
};

/// Carries everything to the leaders.
pub(super) struct Relay {
    client: ShardClient,
    streams: Arc<Semaphore>,
    _following: Arc<DropGuard>,
}

impl Relay {
    pub(super) fn new(client: ShardClient, following: Arc<DropGuard>) -> Relay {
        let streams = Arc::new(Semaphore::new(RELAYED_STREAMS_MAX));
        Relay { client, streams, _following: following }
    }
}

impl Submitter for Relay {
    fn submit(
        &self,
        shard: u32,
        command: pb::Command,
        deadline: Deadline,
    ) -> BoxFuture<'_, Result<pb::Outcome, Failure>> {
        Box::pin(self.client.submit(shard, command, deadline))
    }

    fn get_hold(
        &self,
        hold: u128,
        _direct: bool,
        deadline: Deadline,
    ) -> BoxFuture<'_, Result<pb::GetHoldResponse, Status>> {
        Box::pin(async move { Ok(self.client.get_hold(hold, deadline).await?) })
    }

    fn get_order(
        &self,
        order: u128,
        _direct: bool,
        deadline: Deadline,
    ) -> BoxFuture<'_, Result<pb::GetOrderResponse, Status>> {
        Box::pin(async move { Ok(self.client.get_order(order, deadline).await?) })
    }

    fn stream(&self, items: Streaming<pb::SubmitRequest>) -> Result<AnswerStream, Status> {
        let permit = self.streams.clone().try_acquire_owned().map_err(|_| {
            let detail = format!("{RELAYED_STREAMS_MAX} streams are relayed already");
            Code::Overloaded.to_status(&detail)
        })?;
        let client = self.client.clone();
        let answers = items
            .take_while(|message| std::future::ready(message.is_ok()))
            .flat_map(|message| stream::iter(message.map(|m| m.items).unwrap_or_default()))
            .map(move |item| relay_one(client.clone(), item))
            .buffer_unordered(RELAYED_UNANSWERED_MAX)
            .ready_chunks(STREAM_ANSWERS_MAX)
            .map(move |answers| {
                // The stream's place is given back when the stream ends.
                let _ = &permit;
                Ok(pb::SubmitResponse { answers })
            });
        Ok(Box::pin(answers))
    }
}

async fn relay_one(client: ShardClient, item: pb::SubmitItem) -> pb::SubmitAnswer {
    let outcome = match item.command {
        None => Err(convert::invalid("command", "is required")),
        Some(command) => {
            let budget = Duration::from_millis(u64::from(item.budget_ms)).min(BUDGET_MAX);
            Box::pin(client.submit(item.shard, command, Deadline::after(budget))).await
        }
    };
    let outcome = outcome.unwrap_or_else(|failure| match failure.code {
        Code::OutcomeUnknown => convert::unknown(),
        _ => convert::rejected(&failure),
    });
    pb::SubmitAnswer { tag: item.tag, outcome: Some(outcome) }
}

/// What operators ask a process without a replica.
pub(super) struct Cluster {
    client: ShardClient,
}

impl Cluster {
    pub(super) fn new(client: ShardClient) -> Cluster {
        Cluster { client }
    }
}

#[tonic::async_trait]
impl ClusterService for Cluster {
    async fn get_status(
        &self,
        _request: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        Ok(Response::new(status(&self.client).await))
    }

    async fn describe(
        &self,
        _request: Request<pb::DescribeRequest>,
    ) -> Result<Response<pb::DescribeResponse>, Status> {
        let detail = "this process holds no replica; ask a node of the cluster";
        Err(Code::NotFound.to_status(detail))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        let until = deadline(request.metadata(), UNARY_TIMEOUT_MAX);
        Ok(Response::new(self.client.transfer_leader(request.into_inner(), until).await?))
    }

    async fn add_replica(
        &self,
        request: Request<pb::AddReplicaRequest>,
    ) -> Result<Response<pb::ReplicaChangeResponse>, Status> {
        let until = deadline(request.metadata(), UNARY_TIMEOUT_MAX);
        Ok(Response::new(self.client.add_replica(request.into_inner(), until).await?))
    }

    async fn remove_replica(
        &self,
        request: Request<pb::RemoveReplicaRequest>,
    ) -> Result<Response<pb::ReplicaChangeResponse>, Status> {
        let until = deadline(request.metadata(), UNARY_TIMEOUT_MAX);
        Ok(Response::new(self.client.remove_replica(request.into_inner(), until).await?))
    }
}
