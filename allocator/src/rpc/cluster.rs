//! Owns `ClusterService`: who this node is, and the picture of the cluster.
//!
//! Must never answer with anything secret: any node of the network may ask.

use std::sync::Arc;

use onsale_mesh::ShardClient;
use onsale_proto::allocator::{
    DescribeRequest, DescribeResponse, GetStatusRequest, GetStatusResponse, ShardLeader,
    cluster_service_server::ClusterService,
};
use tonic::{Request, Response, Status};

use super::status;
use crate::{
    raft::{ReplicaStatus, Role},
    shard::{Groups, placement::Standing},
};

/// The service over a node's shards.
#[derive(Clone)]
pub(crate) struct ClusterApi {
    pub(crate) groups: Groups,
    pub(crate) standing: Arc<Standing>,
    pub(crate) client: ShardClient,
}

#[tonic::async_trait]
impl ClusterService for ClusterApi {
    async fn get_status(
        &self,
        _request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        Ok(Response::new(status::status(&self.client).await))
    }

    async fn describe(
        &self,
        _request: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(describe(&self.groups, &self.standing)))
    }
}

/// What this node says of itself.
pub(crate) fn describe(groups: &Groups, standing: &Standing) -> DescribeResponse {
    let statuses: Vec<(u32, ReplicaStatus)> =
        groups.iter().map(|group| (u32::from(group.no()), group.status())).collect();
    DescribeResponse {
        node: standing.node,
        cluster: standing.cluster.clone(),
        fingerprint: standing.fingerprint.clone(),
        initialised: standing.is_formed() || statuses.iter().any(|(_, s)| s.initialised),
        shards: statuses.iter().map(|(shard, status)| leader(*shard, status)).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        identified: standing.is_identified(),
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
