//! Owns `ClusterService`: who this node is, and the picture of the cluster.
//!
//! Must never answer with anything secret: any node of the network may ask.

use onsale_mesh::DIRECT;
use onsale_proto::allocator::{
    AddReplicaRequest, DescribeRequest, DescribeResponse, GetStatusRequest, GetStatusResponse,
    Member, RemoveReplicaRequest, ReplicaChangeResponse, ShardLeader, TransferLeaderRequest,
    TransferLeaderResponse, cluster_service_server::ClusterService,
};
use tonic::{Request, Response, Status};

use super::{convert, deadline::deadline, status};
use crate::{
    limits::UNARY_TIMEOUT_MAX,
    raft::{ReplicaStatus, Role},
    shard::{Group, Groups, hand_over::Leads, placement::Standing},
};

/// The service over a node's shards.
#[derive(Clone)]
pub(crate) struct ClusterApi {
    pub(crate) leads: Leads,
}

impl ClusterApi {
    fn group(&self, shard: u32) -> Result<&Group, Status> {
        let group = self.leads.groups.get(shard as usize);
        group.ok_or_else(|| convert::not_found("shard").into())
    }
}

/// Does a change here where this node leads the shard or is to answer itself; else the leader does.
macro_rules! at_leader {
    ($self:ident, $request:ident, $here:ident, $there:ident) => {{
        let until = deadline($request.metadata(), UNARY_TIMEOUT_MAX);
        let direct = $request.metadata().get(DIRECT).is_some();
        let message = $request.into_inner();
        let group = $self.group(message.shard)?;
        let answer = if direct || group.leads() {
            $self.leads.$here(group, &message).await
        } else {
            Err(onsale_proto::error::not_leader(0))
        };
        match answer {
            // It has moved meanwhile, or was never here.
            Err(status) if !direct && onsale_proto::error::leader_hint(&status).is_some() => {
                Ok(Response::new($self.leads.client.$there(message, until).await?))
            }
            answer => answer.map(Response::new),
        }
    }};
}

#[tonic::async_trait]
impl ClusterService for ClusterApi {
    async fn get_status(
        &self,
        _request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        Ok(Response::new(status::status(&self.leads.client).await))
    }

    async fn describe(
        &self,
        _request: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(describe(&self.leads.groups, &self.leads.standing)))
    }

    async fn transfer_leader(
        &self,
        request: Request<TransferLeaderRequest>,
    ) -> Result<Response<TransferLeaderResponse>, Status> {
        at_leader!(self, request, transfer, transfer_leader)
    }

    async fn add_replica(
        &self,
        request: Request<AddReplicaRequest>,
    ) -> Result<Response<ReplicaChangeResponse>, Status> {
        at_leader!(self, request, add, add_replica)
    }

    async fn remove_replica(
        &self,
        request: Request<RemoveReplicaRequest>,
    ) -> Result<Response<ReplicaChangeResponse>, Status> {
        at_leader!(self, request, remove, remove_replica)
    }
}

/// What this node says of itself.
pub(crate) fn describe(groups: &Groups, standing: &Standing) -> DescribeResponse {
    let statuses: Vec<(u32, ReplicaStatus)> =
        groups.iter().map(|group| (u32::from(group.no()), group.status())).collect();
    let members = groups.first().map(|group| group.replica().members()).unwrap_or_default();
    DescribeResponse {
        node: standing.node,
        cluster: standing.cluster.clone(),
        fingerprint: standing.fingerprint.clone(),
        initialised: standing.is_formed() || statuses.iter().any(|(_, s)| s.initialised),
        shards: statuses.iter().map(|(shard, status)| leader(*shard, status)).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        identified: standing.is_identified(),
        members_index: members.index,
        members: members
            .nodes
            .into_iter()
            .map(|(node, grpc)| Member {
                node,
                // Of those that formed the cluster only the settings know where they are.
                grpc: standing.addresses.get(&node).cloned().unwrap_or(grpc),
                voter: members.voters.contains(&node),
            })
            .collect(),
        settings: standing.settings.clone(),
        leaving: groups.iter().any(|group| group.replica().is_leaving()),
        retired: standing.retired(),
    }
}

fn leader(shard: u32, status: &ReplicaStatus) -> ShardLeader {
    ShardLeader {
        shard,
        leader: status.leader,
        term: status.term,
        log_index: status.last_index,
        role: status.role.as_str().to_owned(),
        ready: status.initialised && status.leader != 0 && status.role != Role::Ended,
    }
}
