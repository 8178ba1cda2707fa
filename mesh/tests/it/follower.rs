//! A follower of a feed goes forward only, whichever replica it is served by.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, stream};
use onsale_mesh::{Node, ShardClient, server};
use onsale_proto::allocator::{
    self as pb,
    feed_service_server::{FeedService, FeedServiceServer},
    follow_response::Content,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// A replica that has applied entries up to `tip`.
struct Replica {
    tip: u64,
}

type Messages = Pin<Box<dyn Stream<Item = Result<pb::FollowResponse, Status>> + Send>>;

#[tonic::async_trait]
impl FeedService for Replica {
    type FollowStream = Messages;

    async fn follow(
        &self,
        request: Request<pb::FollowRequest>,
    ) -> Result<Response<Messages>, Status> {
        let from = request.into_inner().from_index;
        let message = |index, content| {
            let message = pb::FollowResponse { index, log_time_ms: index, content: Some(content) };
            stream::iter([Ok(message)])
        };
        let messages = match from {
            0 => message(self.tip, Content::Snapshot(pb::FeedSnapshot::default())),
            from if from > self.tip => message(self.tip, Content::Reset(pb::Done {})),
            from => message(from + 1, Content::Changes(pb::FeedChanges::default())),
        };
        // Then the replica dies.
        Ok(Response::new(messages.boxed()))
    }
}

async fn replica(id: u64, tip: u64, stop: &CancellationToken) -> Node {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let grpc = listener.local_addr().expect("an address").to_string();
    let routes = tonic::service::Routes::new(FeedServiceServer::new(Replica { tip }));
    tokio::spawn(server::serve_grpc(listener, routes, stop.clone()));
    Node { id, grpc }
}

#[tokio::test]
async fn a_replica_behind_the_follower_does_not_take_it_back() {
    let stop = CancellationToken::new();
    let ahead = replica(1, 10, &stop).await;
    let behind = replica(2, 5, &stop).await;
    let client = ShardClient::new(vec![ahead, behind]).expect("addresses");
    let mut follower = client.follow(1);
    assert_eq!(follower.next().await.index, 10);
    assert_eq!(follower.next().await.index, 11, "not the snapshot of the replica behind");
    stop.cancel();
}
