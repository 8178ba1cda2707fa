//! Owns how a node reaches the leader of a shard, itself or another node, and what services it
//! offers on top of that.
//!
//! Must never report a command failed that may have been applied.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use onsale_mesh::{Deadline, Failure, ShardClient};
use onsale_proto::{
    Code,
    allocator::{
        self as pb, allocator_service_server::AllocatorServiceServer,
        control_service_server::ControlServiceServer, job_service_server::JobServiceServer,
        organizer_service_server::OrganizerServiceServer,
        support_service_server::SupportServiceServer,
    },
    id,
    keyed::Secret,
};
use onsale_state::{Command, CommandKind, Done, HoldId, OrderId};
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, service::Routes};

use super::{
    control::{Control, resume_unfinished},
    convert,
    directory::Directory,
    feed::{FeedServer, Feeds},
    hold::{AllocatorApi, AnswerStream, Submitter},
    job::Jobs,
    staff::StaffApi,
};
use crate::{
    error::ProposeError,
    feed::Subscription,
    shard::{Group, Groups},
};

/// A node's shards and its way to the others. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    groups: Groups,
    client: ShardClient,
    cluster: String,
    directory: Directory,
}

impl Node {
    /// Over these shards; `client` reaches all nodes of `cluster`.
    #[must_use]
    pub fn new(groups: Groups, client: ShardClient, cluster: &str) -> Node {
        let directory = Directory::new();
        Node { inner: Arc::new(Inner { groups, client, cluster: cluster.to_owned(), directory }) }
    }

    /// Allocator, job, feed and control service.
    #[must_use]
    pub fn routes(&self, secret: Secret) -> Routes {
        let api = AllocatorApi::new(self.clone(), self.inner.directory.clone(), secret);
        Routes::new(AllocatorServiceServer::new(api))
            .add_service(JobServiceServer::new(Jobs::new(self.clone())))
            .add_service(FeedServer::new(Arc::new(self.clone())))
            .add_service(ControlServiceServer::new(Control::new(self.clone())))
            .add_service(OrganizerServiceServer::new(StaffApi::new(self.clone())))
            .add_service(SupportServiceServer::new(StaffApi::new(self.clone())))
    }

    /// Keeps the directory of events, and finishes events whose publication was interrupted, until
    /// `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let work = async {
            tokio::join!(self.follow_control(), resume_unfinished(Control::new(self.clone())));
        };
        shutdown.run_until_cancelled(work).await;
    }

    /// A shard of this node.
    ///
    /// # Errors
    /// `not_found`.
    pub fn group(&self, shard: u32) -> Result<&Group, Failure> {
        let place = usize::try_from(shard).unwrap_or(usize::MAX);
        self.inner.groups.get(place).ok_or_else(|| convert::not_found("shard"))
    }

    /// The control group.
    ///
    /// # Errors
    /// `not_found` on a node without shards.
    pub fn control(&self) -> Result<&Group, Failure> {
        self.group(0)
    }

    /// Proposes to a shard that this node leads.
    ///
    /// # Errors
    /// The rejection's code, or "ask that node instead".
    pub async fn propose_here(
        &self,
        shard: u32,
        kind: CommandKind,
        deadline: Deadline,
    ) -> Result<(Done, bool), Status> {
        let command = Command { not_after_ms: 0, kind };
        let (_, outcome) = self.group(shard)?.propose(command, deadline).await?;
        match outcome.result {
            Ok(done) => Ok((done, outcome.replayed)),
            Err(rejection) => Err(convert::rejection(&rejection).into()),
        }
    }

    /// Proposes an internal command to the shard's leader, wherever it is.
    ///
    /// # Errors
    /// The rejection's code; `outcome_unknown`, `unavailable`.
    pub async fn propose_anywhere(
        &self,
        shard: u32,
        kind: CommandKind,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let group = self.group(shard)?;
        if group.leads() {
            let command = Command { not_after_ms: 0, kind: kind.clone() };
            match group.propose(command, deadline).await {
                Ok((_, outcome)) => {
                    let refused = |rejection| convert::rejection(&rejection);
                    return outcome.result.map(|_| ()).map_err(refused);
                }
                Err(ProposeError::Overloaded) => return Err(overloaded()),
                Err(ProposeError::NotLeader(_) | ProposeError::Unknown) => {}
            }
        }
        let payload = convert::encode_command(kind);
        let client = &self.inner.client;
        let answer = client.propose(shard, &self.inner.cluster, payload, deadline).await?;
        convert::decode_outcome(&answer).map(|_| ())
    }

    async fn follow_control(&self) {
        let Ok(group) = self.control() else { return };
        loop {
            let Ok(mut follower) = self.follow(0, 0) else {
                tracing::error!("the control group has too many followers for this node's own");
                tokio::time::sleep(crate::limits::RESUME_PAUSE).await;
                continue;
            };
            while let Some(message) = follower.next().await {
                match pb::FollowResponse::decode(message) {
                    Ok(message) => self.inner.directory.take_in(&message),
                    Err(error) => tracing::error!(%error, shard = group.no(), "our own feed"),
                }
            }
        }
    }

    async fn submit_item(
        &self,
        shard: u32,
        command: pb::Command,
        deadline: Deadline,
    ) -> Result<pb::Outcome, Failure> {
        let mut may_be_done = false;
        if let Ok(group) = self.group(shard)
            && group.leads()
        {
            let kind = convert::command(command.clone(), shard)?;
            match group.propose(Command { not_after_ms: 0, kind }, deadline).await {
                Ok((index, outcome)) => match &outcome.result {
                    Ok(_) => return Ok(convert::outcome(index, &outcome)),
                    Err(rejection) => return Err(convert::rejection(rejection)),
                },
                Err(ProposeError::Overloaded) => return Err(overloaded()),
                Err(ProposeError::NotLeader(_)) => {}
                Err(ProposeError::Unknown) => may_be_done = true,
            }
        }
        let outcome = self.inner.client.submit(shard, command, deadline).await;
        outcome.map_err(|failure| match failure.code {
            Code::Unavailable | Code::Overloaded if may_be_done => unknown(),
            _ => failure,
        })
    }

    async fn read_hold(&self, hold: u128, by: Deadline) -> Result<pb::GetHoldResponse, Status> {
        let group = self.group(id::shard_of(hold)).map_err(|_| convert::not_found("hold"))?;
        group.read_index(by).await?;
        let view = group.read(|shard| shard.hold(HoldId(hold)));
        let view = view.ok_or_else(|| convert::not_found("hold"))?;
        let event = group.view(view.event);
        Ok(convert::hold_answer(&view, event.as_deref(), group.log_time_ms()))
    }

    async fn read_order(&self, order: u128, by: Deadline) -> Result<pb::GetOrderResponse, Status> {
        let group = self.group(id::shard_of(order)).map_err(|_| convert::not_found("order"))?;
        group.read_index(by).await?;
        let view = group.read(|shard| shard.order(OrderId(order)));
        let view = view.ok_or_else(|| convert::not_found("order"))?;
        let event = group.view(view.event);
        Ok(convert::order_answer(&view, event.as_deref()))
    }

    /// Whether an exact read is answered here, rather than by whoever leads.
    fn reads_here(&self, bits: u128, direct: bool) -> bool {
        direct || self.group(id::shard_of(bits)).is_ok_and(Group::leads)
    }
}

impl Submitter for Node {
    fn submit(
        &self,
        shard: u32,
        command: pb::Command,
        deadline: Deadline,
    ) -> BoxFuture<'_, Result<pb::Outcome, Failure>> {
        Box::pin(self.submit_item(shard, command, deadline))
    }

    fn get_hold(
        &self,
        hold: u128,
        direct: bool,
        deadline: Deadline,
    ) -> BoxFuture<'_, Result<pb::GetHoldResponse, Status>> {
        Box::pin(async move {
            if self.reads_here(hold, direct) {
                let answer = self.read_hold(hold, deadline).await;
                if direct || !is_not_leader(&answer) {
                    return answer;
                }
            }
            Ok(self.inner.client.get_hold(hold, deadline).await?)
        })
    }

    fn get_order(
        &self,
        order: u128,
        direct: bool,
        deadline: Deadline,
    ) -> BoxFuture<'_, Result<pb::GetOrderResponse, Status>> {
        Box::pin(async move {
            if self.reads_here(order, direct) {
                let answer = self.read_order(order, deadline).await;
                if direct || !is_not_leader(&answer) {
                    return answer;
                }
            }
            Ok(self.inner.client.get_order(order, deadline).await?)
        })
    }

    fn stream(&self, items: Streaming<pb::SubmitRequest>) -> Result<AnswerStream, Status> {
        super::submit::serve(self.inner.groups.clone(), items)
    }
}

impl Feeds for Node {
    fn follow(&self, shard: u32, from: u64) -> Result<Subscription, Failure> {
        let group = self.group(shard)?;
        group.feed().follow(from, || group.read(|shard| group.feed().snapshot(shard)))
    }
}

fn is_not_leader<T>(answer: &Result<T, Status>) -> bool {
    answer.as_ref().err().and_then(onsale_proto::error::leader_hint).is_some()
}

fn overloaded() -> Failure {
    Failure::new(Code::Overloaded, "the shard's queue is full")
}

fn unknown() -> Failure {
    Failure::new(Code::OutcomeUnknown, "no answer in time; repeat the request with the same key")
}
