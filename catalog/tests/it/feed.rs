//! A control group's feed, served over gRPC: it keeps documents and a log that can be purged.

use std::{net::SocketAddr, pin::Pin, sync::Arc};

use onsale_mesh::{Node, ShardClient, server::serve_grpc};
use onsale_proto::allocator::{
    Done, FeedChange, FeedChanges, FeedSnapshot, FollowRequest, FollowResponse, StoredDocument,
    feed_change::Kind,
    feed_service_server::{FeedService, FeedServiceServer},
    follow_response::Content,
};
use onsale_proto::catalog::EventDocument;
use prost::Message as _;
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::{Stream, StreamExt as _, wrappers::WatchStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, service::Routes};

#[derive(Clone, Default)]
struct State {
    documents: Vec<StoredDocument>,
    /// Entries with their index, those not purged.
    entries: Vec<(u64, FeedChanges)>,
    index: u64,
    purged: u64,
    /// Each new number ends the streams that are open.
    cut: u64,
}

#[derive(Clone)]
pub struct Feed {
    state: Arc<watch::Sender<State>>,
    address: SocketAddr,
    stop: CancellationToken,
}

impl Feed {
    pub async fn start() -> Feed {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let feed = Feed {
            state: Arc::new(watch::channel(State { index: 1, ..State::default() }).0),
            address: listener.local_addr().expect("address"),
            stop: CancellationToken::new(),
        };
        let routes = Routes::new(FeedServiceServer::new(feed.clone()));
        tokio::spawn(serve_grpc(listener, routes, feed.stop.clone()));
        feed
    }

    pub fn client(&self) -> ShardClient {
        let node = Node { id: 1, grpc: self.address.to_string() };
        ShardClient::new(vec![node]).expect("client")
    }

    /// Publishes a document's next revision; the index it is visible at.
    pub fn publish(&self, mut document: EventDocument) -> u64 {
        let mut index = 0;
        self.state.send_modify(|state| {
            let event_id = document.event_id.clone();
            let known = state.documents.iter().position(|known| known.event_id == event_id);
            document.revision = known.map_or(1, |at| state.documents[at].revision + 1);
            let stored = StoredDocument {
                event_id,
                revision: document.revision,
                document: document.encode_to_vec().into(),
            };
            match known {
                Some(at) => state.documents[at] = stored.clone(),
                None => state.documents.push(stored.clone()),
            }
            index = push(state, stored);
        });
        index
    }

    /// Sends a document as it is, whatever it is.
    pub fn send(&self, stored: StoredDocument) -> u64 {
        let mut index = 0;
        self.state.send_modify(|state| index = push(state, stored));
        index
    }

    /// Forgets all entries, as after a snapshot was installed, and ends the open streams; the
    /// change made meanwhile is only in the snapshot.
    pub fn purge_with(&self, document: EventDocument) -> u64 {
        let index = self.publish(document);
        self.state.send_modify(|state| {
            state.entries.clear();
            state.purged = state.index;
            state.cut += 1;
        });
        index
    }

    /// Takes a document out of the state, as only another cluster's state could.
    pub fn forget(&self, event_id: &str) {
        self.state.send_modify(|state| {
            state.documents.retain(|stored| stored.event_id != event_id);
        });
    }

    pub fn stop(&self) {
        self.stop.cancel();
        self.state.send_modify(|state| state.cut += 1);
    }
}

fn push(state: &mut State, stored: StoredDocument) -> u64 {
    state.index += 1;
    let kind = Some(Kind::Document(stored));
    state.entries.push((state.index, FeedChanges { changes: vec![FeedChange { kind }] }));
    state.index
}

fn message(index: u64, content: Content) -> FollowResponse {
    FollowResponse { index, log_time_ms: 0, content: Some(content) }
}

fn since(state: &State, from: u64) -> Vec<FollowResponse> {
    if from == 0 {
        let snapshot =
            FeedSnapshot { documents: state.documents.clone(), ..FeedSnapshot::default() };
        return vec![message(state.index, Content::Snapshot(snapshot))];
    }
    if from < state.purged {
        return vec![message(state.index, Content::Reset(Done {}))];
    }
    let entries = state.entries.iter().filter(|(index, _)| *index > from);
    entries.map(|(index, changes)| message(*index, Content::Changes(changes.clone()))).collect()
}

#[tonic::async_trait]
impl FeedService for Feed {
    type FollowStream = Pin<Box<dyn Stream<Item = Result<FollowResponse, Status>> + Send>>;

    async fn follow(
        &self,
        request: Request<FollowRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let request = request.into_inner();
        assert_eq!(request.shard, 0, "documents live in the control group");
        let mut from = request.from_index;
        let cut = self.state.borrow().cut;
        let states = WatchStream::new(self.state.subscribe());
        let messages = states.take_while(move |state| state.cut == cut).map(move |state| {
            let messages = since(&state, from);
            from = messages.last().map_or(from, |last| last.index);
            tokio_stream::iter(messages.into_iter().map(Ok))
        });
        let flat = futures_util::StreamExt::flatten(messages);
        Ok(Response::new(Box::pin(flat)))
    }
}
