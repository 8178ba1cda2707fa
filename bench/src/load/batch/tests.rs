//! Streams against a small allocator: one that holds everything, one that refuses, one whose
//! streams end in the middle.

use std::time::Duration;

use onsale_proto::allocator::allocator_service_server::{AllocatorService, AllocatorServiceServer};
use pb::outcome::Result as Decided;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, async_trait, transport::server::TcpIncoming};

use super::*;
use crate::{
    http::Target,
    load::{self, Done, progress::Progress},
    seats::EventSeats,
    stock::Stock,
};

/// Answers so many items of a stream, the others never; then the stream ends.
#[derive(Clone, Copy)]
struct Small {
    answers: usize,
    refuses: bool,
    /// Whom it sends everybody on to; 0: nobody.
    leader: u64,
}

impl Small {
    fn decide(self, item: &SubmitItem) -> pb::SubmitAnswer {
        let Some(pb::command::Kind::Hold(hold)) = item.command.clone().and_then(|c| c.kind) else {
            return pb::SubmitAnswer { tag: item.tag, outcome: None };
        };
        assert_eq!((hold.event_no, item.shard, hold.items[0].seats.len()), (7, 3, 1));
        assert_eq!(id::shard_of(id::from_bytes(&hold.hold_id).expect("16 bytes")), 3);
        let result = if self.leader != 0 {
            let (code, leader) = ("unavailable".to_owned(), self.leader);
            Decided::Rejected(pb::Rejected { code, leader, ..pb::Rejected::default() })
        } else if self.refuses {
            let code = "seat_unavailable".to_owned();
            Decided::Rejected(pb::Rejected { code, ..pb::Rejected::default() })
        } else {
            let expires_at_ms = now_ms() + HOLD_MS;
            Decided::Held(pb::Held { expires_at_ms, ..pb::Held::default() })
        };
        let outcome = pb::Outcome { result: Some(result), ..pb::Outcome::default() };
        pb::SubmitAnswer { tag: item.tag, outcome: Some(outcome) }
    }
}

type Reply<T> = Result<Response<T>, Status>;

fn no<T>() -> Reply<T> {
    Err(Status::unimplemented("not here"))
}

#[async_trait]
impl AllocatorService for Small {
    type SubmitStream = ReceiverStream<Result<SubmitResponse, Status>>;

    async fn submit(
        &self,
        request: Request<Streaming<SubmitRequest>>,
    ) -> Reply<ReceiverStream<Result<SubmitResponse, Status>>> {
        let (answers, replies) = mpsc::channel(4);
        let (mut messages, small) = (request.into_inner(), *self);
        let mut left = small.answers;
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                let decided: Vec<pb::SubmitAnswer> =
                    message.items.iter().take(left).map(|item| small.decide(item)).collect();
                left -= decided.len();
                if answers.send(Ok(SubmitResponse { answers: decided })).await.is_err() || left == 0
                {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(replies)))
    }

    async fn hold(&self, _: Request<pb::HoldRequest>) -> Reply<pb::HoldResponse> {
        no()
    }

    async fn release_hold(
        &self,
        _: Request<pb::ReleaseHoldRequest>,
    ) -> Reply<pb::ReleaseHoldResponse> {
        no()
    }

    async fn extend_hold(
        &self,
        _: Request<pb::ExtendHoldRequest>,
    ) -> Reply<pb::ExtendHoldResponse> {
        no()
    }

    async fn sell(&self, _: Request<pb::SellRequest>) -> Reply<pb::SellResponse> {
        no()
    }

    async fn get_hold(&self, _: Request<pb::GetHoldRequest>) -> Reply<pb::GetHoldResponse> {
        no()
    }

    async fn get_order(&self, _: Request<pb::GetOrderRequest>) -> Reply<pb::GetOrderResponse> {
        no()
    }
}

async fn served(small: Small) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let serving =
        tonic::transport::Server::builder().add_service(AllocatorServiceServer::new(small));
    tokio::spawn(serving.serve_with_incoming(TcpIncoming::from(listener)));
    address
}

/// A load of 120 seats in batches of 50 on one stream, first at the first of these nodes.
async fn played(all: &[Small]) -> (Arc<Options>, Done) {
    let mut nodes = BTreeMap::new();
    for (node, small) in (1..).zip(all) {
        nodes.insert(node, served(*small).await);
    }
    let rows = serde_json::json!([{"label": "A", "seats": 120}]);
    let map = serde_json::json!({"sections": [{"key": "S", "rows": rows}]});
    let stock = Arc::new(Stock::new(vec![EventSeats::of_map("evt_small", &map)], false));
    let target = Target { authority: String::new() };
    let mut options = Options::closed(target, stock, Op::Reserve, "test".to_owned());
    let places = vec![Place { event_no: 7, shard: 3, leader: 1 }];
    options.way = Way::Stream { map: Arc::new(Map { places, nodes }), batch: 50 };
    (options.connections, options.warm_up) = (1, Duration::ZERO);
    let options = Arc::new(options);
    let done = load::run(Arc::clone(&options), Progress::Quiet, crate::never()).await;
    (options, done.expect("ran"))
}

fn fates(done: &Done) -> [u64; Fate::ALL.len()] {
    let tally = done.shared.tally();
    assert_eq!(tally.in_flight, 0, "something is still on its way");
    tally.rows().next().map(|(_, row)| row.fates).expect("counted")
}

#[tokio::test]
async fn every_seat_is_asked_for_once_and_every_hold_is_in_the_ledger() {
    let (options, done) = played(&[Small { answers: usize::MAX, refuses: false, leader: 0 }]).await;
    assert_eq!(fates(&done)[Fate::Good as usize], 120);
    let ledger = options.stock.ledger();
    assert_eq!((ledger.granted, ledger.unknown, ledger.violations_count), (120, 0, 0));
    assert!(done.shared.ran_out());
}

#[tokio::test]
async fn what_a_broken_stream_did_not_answer_is_unknown_and_not_granted() {
    let (options, done) = played(&[Small { answers: 30, refuses: false, leader: 0 }]).await;
    let fates = fates(&done);
    // Three batches of 50, 50 and 20, each on a stream of its own.
    assert_eq!((fates[Fate::Good as usize], fates[Fate::Lost as usize]), (80, 40));
    let ledger = options.stock.ledger();
    assert_eq!((ledger.granted, ledger.unknown), (80, 40));
}

#[tokio::test]
async fn a_refusal_grants_nothing() {
    let (options, done) = played(&[Small { answers: usize::MAX, refuses: true, leader: 0 }]).await;
    assert_eq!(fates(&done)[Fate::Refused as usize], 120);
    let ledger = options.stock.ledger();
    assert_eq!((ledger.granted, ledger.unknown), (0, 0));
}

#[tokio::test]
async fn a_lead_that_moved_is_followed_and_its_seats_are_asked_for_again() {
    let old = Small { answers: usize::MAX, refuses: false, leader: 2 };
    let new = Small { leader: 0, ..old };
    let (options, done) = played(&[old, new]).await;
    let fates = fates(&done);
    assert_eq!(fates[Fate::Good as usize], 120);
    assert_eq!(fates.iter().sum::<u64>(), 120, "being sent on is no answer");
    assert_eq!(options.stock.ledger().granted, 120);
}
