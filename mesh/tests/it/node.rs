//! A gRPC node that answers as the test tells it to.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{Stream, StreamExt as _};
use onsale_mesh::{Node, server};
use onsale_proto::allocator::{
    self as pb, allocator_service_server::AllocatorService,
    allocator_service_server::AllocatorServiceServer,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// What the node does with a command.
#[derive(Clone, Copy)]
pub enum Behaviour {
    /// Says that it is done.
    Does,
    /// Says that another node leads; 0 for "nobody known".
    Redirects(u64),
    /// Takes the first command and breaks the stream; does the later ones.
    BreaksOnce,
    /// Takes the first command without an answer, and has no room for the later ones.
    IsSilentThenFull,
    /// Takes commands and never answers.
    IsSilent,
    /// Rejects with this code.
    Rejects(&'static str),
}

#[derive(Clone)]
pub struct TestNode {
    behaviour: Behaviour,
    pub seen: Arc<AtomicUsize>,
    pub node: Node,
}

impl TestNode {
    pub async fn start(id: u64, behaviour: Behaviour, stop: &CancellationToken) -> TestNode {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let grpc = listener.local_addr().expect("an address").to_string();
        let node = TestNode { behaviour, seen: Arc::default(), node: Node { id, grpc } };
        let routes = tonic::service::Routes::new(AllocatorServiceServer::new(node.clone()));
        tokio::spawn(server::serve_grpc(listener, routes, stop.clone()));
        node
    }

    fn answer(&self, item: &pb::SubmitItem) -> Option<pb::Outcome> {
        let first = self.seen.fetch_add(1, Ordering::SeqCst) == 0;
        let done = pb::outcome::Result::Done(pb::Done {});
        let rejected = |code: &str, leader| {
            let code = code.to_owned();
            pb::outcome::Result::Rejected(pb::Rejected { code, leader, ..pb::Rejected::default() })
        };
        let result = match self.behaviour {
            Behaviour::Does => done,
            Behaviour::BreaksOnce if first => return None,
            Behaviour::BreaksOnce => done,
            Behaviour::Redirects(leader) => rejected("unavailable", leader),
            Behaviour::Rejects(code) => rejected(code, 0),
            Behaviour::IsSilentThenFull if !first => rejected("overloaded", 0),
            Behaviour::IsSilent | Behaviour::IsSilentThenFull => return None,
        };
        let log_index = item.tag + 1;
        Some(pb::Outcome { log_index, replayed: false, result: Some(result) })
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<pb::SubmitResponse, Status>> + Send>>;

#[tonic::async_trait]
impl AllocatorService for TestNode {
    type SubmitStream = Answers;

    async fn submit(
        &self,
        request: Request<Streaming<pb::SubmitRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let mut requests = request.into_inner();
        let (sender, receiver) = mpsc::channel(16);
        let node = self.clone();
        tokio::spawn(async move {
            while let Some(Ok(request)) = requests.next().await {
                let mut answers = Vec::new();
                for item in &request.items {
                    match (node.answer(item), node.behaviour) {
                        (None, Behaviour::BreaksOnce) => return,
                        (None, _) => {}
                        (outcome, _) => answers.push(pb::SubmitAnswer { tag: item.tag, outcome }),
                    }
                }
                if sender.send(Ok(pb::SubmitResponse { answers })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn get_order(
        &self,
        _: Request<pb::GetOrderRequest>,
    ) -> Result<Response<pb::GetOrderResponse>, Status> {
        let first = self.seen.fetch_add(1, Ordering::SeqCst) == 0;
        match self.behaviour {
            Behaviour::Redirects(leader) => Err(onsale_proto::error::not_leader(leader)),
            // What tonic makes of a connection that breaks under a call.
            Behaviour::BreaksOnce if first => Err(Status::unknown("transport error")),
            _ => Ok(Response::new(pb::GetOrderResponse::default())),
        }
    }

    async fn hold(
        &self,
        _: Request<pb::HoldRequest>,
    ) -> Result<Response<pb::HoldResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn release_hold(
        &self,
        _: Request<pb::ReleaseHoldRequest>,
    ) -> Result<Response<pb::ReleaseHoldResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn extend_hold(
        &self,
        _: Request<pb::ExtendHoldRequest>,
    ) -> Result<Response<pb::ExtendHoldResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn sell(
        &self,
        _: Request<pb::SellRequest>,
    ) -> Result<Response<pb::SellResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn get_hold(
        &self,
        _: Request<pb::GetHoldRequest>,
    ) -> Result<Response<pb::GetHoldResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }
}
