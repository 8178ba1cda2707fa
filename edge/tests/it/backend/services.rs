//! The gRPC services of the backend.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use onsale_proto::{
    Code,
    allocator::{
        self as pb, allocator_service_server as allocator_service,
        control_service_server as control_service, feed_service_server as feed_service,
    },
    catalog::{
        EventDocument, GetEventRequest, GetEventResponse, ListEventsRequest, ListEventsResponse,
        catalog_service_server::CatalogService,
    },
    id, keyed,
    payments::{
        ReceiveWebhookRequest, ReceiveWebhookResponse, RenderTicketRequest, RenderTicketResponse,
        payments_service_server::PaymentsService,
    },
};
use prost::Message as _;
use tonic::{Request, Response, Status, Streaming};

use super::{Backend, EVENT, HELD_AT, ORGANIZER_KEY, OTHER_ORGANIZER_KEY, SUPPORT_KEY, Truth};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Its streams outlive the call that opens them.
pub struct Allocator(pub Arc<Backend>);

fn api_key(key: &str, role: &str, owner: &str) -> pb::ApiKey {
    pb::ApiKey {
        key_hash: Bytes::copy_from_slice(&keyed::api_key_hash(key)),
        role: role.into(),
        owner: owner.into(),
    }
}

#[tonic::async_trait]
impl allocator_service::AllocatorService for Allocator {
    async fn hold(
        &self,
        _: Request<pb::HoldRequest>,
    ) -> Result<Response<pb::HoldResponse>, Status> {
        Err(Status::unimplemented("not used by the edge"))
    }

    async fn release_hold(
        &self,
        _: Request<pb::ReleaseHoldRequest>,
    ) -> Result<Response<pb::ReleaseHoldResponse>, Status> {
        Err(Status::unimplemented("not used by the edge"))
    }

    async fn extend_hold(
        &self,
        _: Request<pb::ExtendHoldRequest>,
    ) -> Result<Response<pb::ExtendHoldResponse>, Status> {
        Err(Status::unimplemented("not used by the edge"))
    }

    async fn sell(
        &self,
        _: Request<pb::SellRequest>,
    ) -> Result<Response<pb::SellResponse>, Status> {
        Err(Status::unimplemented("not used by the edge"))
    }

    async fn get_hold(
        &self,
        request: Request<pb::GetHoldRequest>,
    ) -> Result<Response<pb::GetHoldResponse>, Status> {
        let hold = id::parse(id::HOLD, &request.into_inner().hold_id);
        let truth = self.0.truth.lock();
        let hold = hold.and_then(|hold| truth.holds.get(&hold));
        let hold = hold.ok_or_else(|| Code::NotFound.to_status("no such hold"))?;
        Ok(Response::new(hold.message.clone()))
    }

    async fn get_order(
        &self,
        request: Request<pb::GetOrderRequest>,
    ) -> Result<Response<pb::GetOrderResponse>, Status> {
        let order = id::parse(id::ORDER, &request.into_inner().order_id);
        let truth = self.0.truth.lock();
        let order = order.and_then(|order| truth.orders.get(&order));
        let order = order.ok_or_else(|| Code::NotFound.to_status("no such order"))?;
        Ok(Response::new(order.clone()))
    }

    type SubmitStream = Answers<pb::SubmitResponse>;

    async fn submit(
        &self,
        request: Request<Streaming<pb::SubmitRequest>>,
    ) -> Result<Response<Self::SubmitStream>, Status> {
        let mut requests = request.into_inner();
        let (sender, answers) = tokio::sync::mpsc::channel(64);
        let backend = self.0.clone();
        tokio::spawn(async move {
            while let Some(Ok(request)) = requests.next().await {
                let answers = request.items.into_iter().map(|item| pb::SubmitAnswer {
                    tag: item.tag,
                    outcome: Some(backend.apply(item.command.expect("a command"))),
                });
                let answers = answers.collect();
                if sender.send(Ok(pb::SubmitResponse { answers })).await.is_err() {
                    return;
                }
            }
        });
        let answers = tokio_stream::wrappers::ReceiverStream::new(answers);
        Ok(Response::new(Box::pin(answers)))
    }
}

#[tonic::async_trait]
impl feed_service::FeedService for Backend {
    type FollowStream = Answers<pb::FollowResponse>;

    async fn follow(
        &self,
        request: Request<pb::FollowRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let request = request.into_inner();
        let truth = self.truth.lock();
        let changes = self.changes[request.shard as usize].subscribe();
        let snapshot = if request.shard == 0 {
            let stored = |document: &EventDocument| pb::StoredDocument {
                event_id: document.event_id.clone(),
                revision: document.revision,
                document: document.encode_to_vec().into(),
            };
            pb::FeedSnapshot {
                documents: truth.documents.values().map(stored).collect(),
                api_keys: vec![
                    api_key(ORGANIZER_KEY, "organizer", "org_1"),
                    api_key(OTHER_ORGANIZER_KEY, "organizer", "org_2"),
                    api_key(SUPPORT_KEY, "support", "desk"),
                ],
                signing_keys: vec![pb::SigningKey {
                    key_id: 1,
                    public_key: Bytes::from_static(&[3; 32]),
                }],
                ..pb::FeedSnapshot::default()
            }
        } else {
            pb::FeedSnapshot {
                events: vec![event_availability(&truth)],
                ..pb::FeedSnapshot::default()
            }
        };
        let first = pb::FollowResponse {
            index: truth.index,
            log_time_ms: HELD_AT,
            content: Some(pb::follow_response::Content::Snapshot(snapshot)),
        };
        let rest = tokio_stream::wrappers::BroadcastStream::new(changes)
            .map(|change| change.map_err(|_| Status::data_loss("too slow")));
        let all = futures_util::stream::iter([Ok(first)]).chain(rest);
        Ok(Response::new(Box::pin(all)))
    }
}

fn event_availability(truth: &Truth) -> pb::EventAvailability {
    let seats = &truth.seats[&7];
    let count = |state: u8| {
        let count = seats.iter().filter(|seat| **seat == state).count();
        u32::try_from(count).expect("a few")
    };
    let mut bits = vec![0_u8; seats.len().div_ceil(4)];
    for (place, seat) in seats.iter().enumerate() {
        bits[place / 4] |= seat << (place % 4 * 2);
    }
    pb::EventAvailability {
        event_no: 7,
        event_id: EVENT.into(),
        revision: 1,
        sections: vec![
            pb::SectionAvailability {
                available: count(0),
                held: count(1),
                sold: count(2),
                killed: count(3),
                seats: bits.into(),
            },
            pb::SectionAvailability {
                available: 50 - truth.area_held,
                held: truth.area_held,
                ..pb::SectionAvailability::default()
            },
        ],
    }
}

#[tonic::async_trait]
impl control_service::ControlService for Backend {
    async fn create_event(
        &self,
        request: Request<pb::CreateEventRequest>,
    ) -> Result<Response<pb::CreateEventResponse>, Status> {
        let request = request.into_inner();
        let mut truth = self.truth.lock();
        if let Some(key) = &request.idempotency
            && let Some((content, document)) = truth.created.get(&key.key[..])
        {
            if *content != key.request {
                return Err(Code::IdempotencyKeyReused.to_status("another request's key"));
            }
            return Ok(Response::new(pb::CreateEventResponse {
                document: document.clone(),
                replayed: true,
            }));
        }
        let mut document = EventDocument::decode(request.document).expect("a document");
        document.event_no = 8;
        document.shard = 1;
        let bytes = Bytes::from(document.encode_to_vec());
        if let Some(key) = request.idempotency {
            truth.created.insert(key.key.to_vec(), (key.request, bytes.clone()));
        }
        self.publish(&mut truth, document);
        Ok(Response::new(pb::CreateEventResponse { document: bytes, replayed: false }))
    }

    async fn change_event(
        &self,
        request: Request<pb::ChangeEventRequest>,
    ) -> Result<Response<pb::ChangeEventResponse>, Status> {
        let request = request.into_inner();
        let mut truth = self.truth.lock();
        let document = EventDocument::decode(request.document).expect("a document");
        if document.revision != truth.documents[&document.event_id].revision + 1 {
            return Err(Code::Conflict.to_status("there is a newer revision"));
        }
        let bytes = Bytes::from(document.encode_to_vec());
        self.publish(&mut truth, document);
        Ok(Response::new(pb::ChangeEventResponse { document: bytes, replayed: false }))
    }

    async fn put_api_key(
        &self,
        _: Request<pb::PutApiKeyRequest>,
    ) -> Result<Response<pb::PutApiKeyResponse>, Status> {
        Err(Status::unimplemented("not used by the edge"))
    }

    async fn put_signing_key(
        &self,
        _: Request<pb::PutSigningKeyRequest>,
    ) -> Result<Response<pb::PutSigningKeyResponse>, Status> {
        Err(Status::unimplemented("not used by the edge"))
    }
}

#[tonic::async_trait]
impl CatalogService for Backend {
    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        let request = request.into_inner();
        if !request.page_token.is_empty() && request.page_token != "next" {
            return Err(Code::InvalidRequest.to_status("a broken page token"));
        }
        let truth = self.truth.lock();
        let fits = |document: &&EventDocument| document.name.contains(&request.query);
        let mut events: Vec<EventDocument> = truth.catalog.values().filter(fits).cloned().collect();
        events.iter_mut().for_each(|event| event.sections.clear());
        Ok(Response::new(ListEventsResponse {
            events,
            next_page_token: if request.page_token.is_empty() { "next".into() } else { "".into() },
        }))
    }

    async fn get_event(
        &self,
        request: Request<GetEventRequest>,
    ) -> Result<Response<GetEventResponse>, Status> {
        let truth = self.truth.lock();
        let event = truth.catalog.get(&request.into_inner().event_id);
        let event = event.ok_or_else(|| Code::NotFound.to_status("no such event"))?;
        Ok(Response::new(GetEventResponse { event: Some(event.clone()) }))
    }
}

#[tonic::async_trait]
impl PaymentsService for Backend {
    async fn receive_webhook(
        &self,
        request: Request<ReceiveWebhookRequest>,
    ) -> Result<Response<ReceiveWebhookResponse>, Status> {
        let request = request.into_inner();
        if request.signature == "good" && &request.body[..] == b"{ \"raw\" : 1 }" {
            return Ok(Response::new(ReceiveWebhookResponse {}));
        }
        Err(Code::Unauthenticated.to_status("the signature is not ours"))
    }

    async fn render_ticket(
        &self,
        request: Request<RenderTicketRequest>,
    ) -> Result<Response<RenderTicketResponse>, Status> {
        let length = request.into_inner().code.len();
        let svg = format!("<svg xmlns=\"http://www.w3.org/2000/svg\" data-length=\"{length}\"/>");
        Ok(Response::new(RenderTicketResponse { svg }))
    }
}
