//! A follower of a feed goes forward only, whichever replica it is served by.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, stream};
use onsale_mesh::{Node, ShardClient, server};
use onsale_proto::allocator::{
    self as pb,
    feed_change::Kind,
    feed_service_server::{FeedService, FeedServiceServer},
    follow_response::Content,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// A replica that has applied entries up to `tip`.
struct Replica {
    tip: u64,
    /// Its snapshot comes in so many pieces; the replica dies before it has given all three.
    pieces: usize,
}

/// What the control group has, in three pieces; only the last says where that stands.
fn pieces(tip: u64) -> Vec<pb::FollowResponse> {
    let document = |event_id: &str| pb::StoredDocument {
        event_id: event_id.to_owned(),
        revision: tip,
        ..pb::StoredDocument::default()
    };
    let change = |kind| pb::FeedChange { kind: Some(kind) };
    let key = Kind::ApiKey(pb::ApiKey { role: "organizer".to_owned(), ..pb::ApiKey::default() });
    let second = vec![change(Kind::Document(document("evt_b")))];
    let third = vec![change(Kind::Document(document("evt_c"))), change(key)];
    let first = pb::FeedSnapshot { documents: vec![document("evt_a")], ..Default::default() };
    let changes = |changes| Content::Changes(pb::FeedChanges { changes });
    [(0, Content::Snapshot(first)), (0, changes(second)), (tip, changes(third))]
        .map(|(index, content)| pb::FollowResponse {
            index,
            log_time_ms: tip,
            content: Some(content),
        })
        .into()
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
            0 if self.pieces > 0 => {
                let pieces: Vec<_> = pieces(self.tip).into_iter().take(self.pieces).collect();
                return Ok(Response::new(stream::iter(pieces).map(Ok).boxed()));
            }
            0 => message(self.tip, Content::Snapshot(pb::FeedSnapshot::default())),
            from if from > self.tip => message(self.tip, Content::Reset(pb::Done {})),
            from => message(from + 1, Content::Changes(pb::FeedChanges::default())),
        };
        // Then the replica dies.
        Ok(Response::new(messages.boxed()))
    }
}

async fn replica(id: u64, (tip, pieces): (u64, usize), stop: &CancellationToken) -> Node {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let grpc = listener.local_addr().expect("an address").to_string();
    let routes = tonic::service::Routes::new(FeedServiceServer::new(Replica { tip, pieces }));
    tokio::spawn(server::serve_grpc(listener, routes, stop.clone()));
    Node { id, grpc }
}

#[tokio::test]
async fn a_replica_behind_the_follower_does_not_take_it_back() {
    let stop = CancellationToken::new();
    let ahead = replica(1, (10, 0), &stop).await;
    let behind = replica(2, (5, 0), &stop).await;
    let client = ShardClient::new(vec![ahead, behind]).expect("addresses");
    let mut follower = client.follow(1);
    assert_eq!(follower.next().await.index, 10);
    assert_eq!(follower.next().await.index, 11, "not the snapshot of the replica behind");
    stop.cancel();
}

#[tokio::test]
async fn a_snapshot_in_pieces_is_given_out_whole_or_not_at_all() {
    let stop = CancellationToken::new();
    let dies = replica(1, (9, 2), &stop).await;
    let lives = replica(2, (10, 3), &stop).await;
    let client = ShardClient::new(vec![dies, lives]).expect("addresses");
    let mut follower = client.follow(0);
    let message = follower.next().await;
    assert_eq!(message.index, 10);
    let Some(Content::Snapshot(snapshot)) = message.content else {
        panic!("no snapshot");
    };
    let known: Vec<_> =
        snapshot.documents.iter().map(|it| (it.event_id.as_str(), it.revision)).collect();
    assert_eq!(known, [("evt_a", 10), ("evt_b", 10), ("evt_c", 10)]);
    assert_eq!(snapshot.api_keys.len(), 1);
    stop.cancel();
}
