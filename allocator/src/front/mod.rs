//! Owns the public gRPC of a process that holds no replica: the same services in public strings,
//! carried to the leaders.
//!
//! Must never answer from memory what only a leader can know.

mod relay;

use std::sync::Arc;

use onsale_mesh::ShardClient;
use onsale_proto::{
    allocator::{
        allocator_service_server::AllocatorServiceServer,
        cluster_service_server::ClusterServiceServer,
    },
    keyed::Secret,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::service::Routes;

use self::relay::{Cluster, Relay};
use crate::rpc::{directory::Directory, hold::AllocatorApi};

/// The public services of a process without a replica. Follows the control group as long as it or
/// its routes live.
pub struct Front {
    client: ShardClient,
    directory: Directory,
    secret: Secret,
    following: Arc<DropGuard>,
}

impl Front {
    /// Begins to follow the control group. Must be called within a tokio runtime.
    #[must_use]
    pub fn new(client: ShardClient, secret: Secret) -> Front {
        let directory = Directory::new();
        let shutdown = CancellationToken::new();
        let follower = client.follow(0);
        tokio::spawn(directory.clone().follow(follower, shutdown.clone()));
        let following = Arc::new(shutdown.drop_guard());
        Front { client, directory, secret, following }
    }

    /// Whether the events are known.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.directory.is_ready()
    }

    /// `AllocatorService` and `ClusterService`; health and reflection are the server's.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let relay = Relay::new(self.client.clone(), self.following.clone());
        let api = AllocatorApi::new(relay, self.directory.clone(), self.secret.clone());
        let cluster = Cluster::new(self.client.clone());
        Routes::new(AllocatorServiceServer::new(api))
            .add_service(ClusterServiceServer::new(cluster))
    }
}
