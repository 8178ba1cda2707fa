//! Small servers behind the edge: one shard with a simple truth about seats, the control group, the
//! catalog and the payment workers, all on one port.

mod services;

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use onsale_proto::{
    Code,
    allocator::{
        self as pb, allocator_service_server::AllocatorServiceServer,
        control_service_server::ControlServiceServer, feed_service_server::FeedServiceServer,
    },
    catalog::{
        EventDocument, PriceCategory, Row, Rules, Section, TicketType,
        catalog_service_server::CatalogServiceServer,
    },
    id,
    payments::payments_service_server::PaymentsServiceServer,
};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::{net::TcpListener, sync::broadcast};
use tokio_util::sync::CancellationToken;

pub const EVENT: &str = "evt_hall";
pub const ORGANIZER_KEY: &str = "osk_organizer";
pub const OTHER_ORGANIZER_KEY: &str = "osk_other";
pub const SUPPORT_KEY: &str = "osk_support";
const HELD_AT: u64 = 1_790_000_000_000;

#[derive(Clone)]
pub struct Hold {
    pub message: pb::GetHoldResponse,
    request: u64,
    buyer: u64,
}

#[derive(Default)]
pub struct Truth {
    pub documents: HashMap<String, EventDocument>,
    /// What the catalog has; it may be behind.
    pub catalog: HashMap<String, EventDocument>,
    pub seats: HashMap<u32, Vec<u8>>,
    pub area_held: u32,
    pub holds: HashMap<u128, Hold>,
    keys: HashMap<Vec<u8>, u128>,
    pub orders: HashMap<u128, pb::GetOrderResponse>,
    order_keys: HashMap<Vec<u8>, (u64, u128)>,
    extension_keys: HashMap<Vec<u8>, (u64, pb::Extended)>,
    created: HashMap<Vec<u8>, (u64, Bytes)>,
    pub checkouts: Vec<pb::BeginCheckoutCommand>,
    /// The next commands are refused with these.
    pub refusals: Vec<pb::Rejected>,
    index: u64,
}

pub struct Backend {
    pub truth: Mutex<Truth>,
    changes: [broadcast::Sender<pb::FollowResponse>; 2],
    address: OnceLock<String>,
    pub commands: std::sync::atomic::AtomicU32,
}

/// 20 numbered seats in two rows, and 50 places of general admission.
pub fn document() -> EventDocument {
    let row =
        |label: &str| Row { label: label.into(), seats: 10, accessible: vec![1], ..Row::default() };
    let category = |key: &str, price_minor| PriceCategory {
        key: key.into(),
        name: format!("Category {key}"),
        price_minor,
        ..PriceCategory::default()
    };
    EventDocument {
        event_id: EVENT.into(),
        event_no: 7,
        shard: 1,
        revision: 1,
        organizer: "org_1".into(),
        name: "A <Night> at the Hall".into(),
        venue: "Hall".into(),
        city: "Berlin".into(),
        starts_at_ms: 1_900_000_000_000,
        onsale_at_ms: 1_000,
        currency: "EUR".into(),
        status: "on_sale".into(),
        categories: vec![category("A", 9_500), category("GA", 4_000)],
        sections: vec![
            Section {
                key: "101".into(),
                name: "Stalls".into(),
                category: 0,
                rows: vec![row("A"), row("B")],
                ..Section::default()
            },
            Section {
                key: "FLOOR".into(),
                name: "Floor".into(),
                category: 1,

                capacity: 50,
                ..Section::default()
            },
        ],
        rules: Some(Rules {
            seats_per_order_max: 8,
            seats_per_buyer_max: 8,
            hold_ttl_ms: 600_000,
            hold_extensions_max: 1,
            ..Rules::default()
        }),
        ..EventDocument::default()
    }
}

fn rejected(code: Code, detail: &str) -> pb::Rejected {
    pb::Rejected { code: code.as_str().into(), detail: detail.into(), ..pb::Rejected::default() }
}

impl Backend {
    pub fn new() -> Backend {
        let mut truth = Truth { index: 10, ..Truth::default() };
        truth.documents.insert(EVENT.into(), document());
        truth.catalog.insert(EVENT.into(), document());
        truth.seats.insert(7, vec![0; 20]);
        Backend {
            truth: Mutex::new(truth),
            changes: [broadcast::Sender::new(1_024), broadcast::Sender::new(1_024)],
            address: OnceLock::new(),
            commands: 0.into(),
        }
    }

    pub fn address(&self) -> String {
        self.address.get().expect("it serves").clone()
    }

    pub async fn serve(self: Arc<Self>, shutdown: CancellationToken) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        self.address.set(address.clone()).expect("served once");
        let allocator = services::Allocator(self.clone());
        let routes = tonic::service::Routes::new(AllocatorServiceServer::new(allocator))
            .add_service(FeedServiceServer::from_arc(self.clone()))
            .add_service(ControlServiceServer::from_arc(self.clone()))
            .add_service(CatalogServiceServer::from_arc(self.clone()))
            .add_service(PaymentsServiceServer::from_arc(self.clone()));
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_routes(routes)
                .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned()),
        );
        address
    }

    /// Refuses the next command.
    pub fn refuse_next(&self, refusal: pb::Rejected) {
        self.truth.lock().refusals.push(refusal);
    }

    /// Says in the feed that seats have a new state.
    pub fn announce(&self, truth: &mut Truth, seats: &[u32], state: u32) {
        truth.index += 1;
        let all = truth.seats.get_mut(&7).expect("seats");
        for seat in seats {
            all[*seat as usize] = u8::try_from(state).expect("a state");
        }
        let change = pb::feed_change::Kind::Seats(pb::SeatsChanged {
            event_no: 7,
            state,
            seats: seats.to_vec(),
            ..pb::SeatsChanged::default()
        });
        self.send(1, truth.index, change);
    }

    fn send(&self, shard: usize, index: u64, change: pb::feed_change::Kind) {
        let changes = pb::FeedChanges { changes: vec![pb::FeedChange { kind: Some(change) }] };
        let message = pb::FollowResponse {
            index,
            log_time_ms: HELD_AT,
            content: Some(pb::follow_response::Content::Changes(changes)),
        };
        // Nobody listens before the first edge starts.
        let _ = self.changes[shard].send(message);
    }

    fn publish(&self, truth: &mut Truth, document: EventDocument) {
        truth.index += 1;
        let stored = pb::StoredDocument {
            event_id: document.event_id.clone(),
            revision: document.revision,
            document: document.encode_to_vec().into(),
        };
        truth.catalog.insert(document.event_id.clone(), document.clone());
        truth.documents.insert(document.event_id.clone(), document);
        self.send(0, truth.index, pb::feed_change::Kind::Document(stored));
    }

    /// All places of the area are sold.
    pub fn area_sold_out(&self, truth: &mut Truth) {
        truth.index += 1;
        let change = pb::feed_change::Kind::GeneralAdmission(pb::GeneralAdmissionChanged {
            event_no: 7,
            section: 1,
            held: 0,
            sold: 50,
            killed: 0,
        });
        self.send(1, truth.index, change);
    }

    /// The event has ticket types from now on.
    pub fn set_types(&self, keys: &[&str]) {
        let mut truth = self.truth.lock();
        let mut document = truth.documents[EVENT].clone();
        document.revision += 1;
        let one = |key: &&str| TicketType { key: (*key).into(), name: (*key).into() };
        document.types = keys.iter().map(one).collect();
        self.publish(&mut truth, document);
    }

    /// Somebody renames the event, and the feed has not said so yet.
    pub fn change_silently(&self, name: &str) {
        let mut truth = self.truth.lock();
        let mut document = truth.documents[EVENT].clone();
        document.revision += 1;
        document.name = name.into();
        truth.catalog.insert(EVENT.into(), document.clone());
        truth.documents.insert(EVENT.into(), document);
    }

    /// The order's payment is made: its tickets are signed.
    pub fn confirm(&self, order: u128) {
        let mut truth = self.truth.lock();
        let order = truth.orders.get_mut(&order).expect("an order");
        order.status = "confirmed".into();
        order.signing_key = 1;
        order.tickets = (1..).take(order.places.len()).collect();
        order.signatures = vec![Bytes::from_static(&[9; 64]); order.places.len()];
    }

    fn apply(&self, command: pb::Command) -> pb::Outcome {
        self.commands.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut truth = self.truth.lock();
        if let Some(refusal) = truth.refusals.pop() {
            return outcome(0, false, pb::outcome::Result::Rejected(refusal));
        }
        let result = match command.kind.expect("a command") {
            pb::command::Kind::Hold(hold) => self.hold(&mut truth, &hold),
            pb::command::Kind::ReleaseHold(release) => self.release(&mut truth, &release),
            pb::command::Kind::ExtendHold(extend) => extend_hold(&mut truth, &extend),
            pb::command::Kind::BeginCheckout(begin) => begin_checkout(&mut truth, begin),
            pb::command::Kind::Sell(_) => Err(rejected(Code::InvalidRequest, "not here")),
        };
        match result {
            Ok((replayed, result)) => outcome(truth.index, replayed, result),
            Err(refusal) => outcome(0, false, pb::outcome::Result::Rejected(refusal)),
        }
    }

    fn hold(&self, truth: &mut Truth, hold: &pb::HoldCommand) -> Applied {
        let idempotency = hold.idempotency.clone().expect("a key");
        if let Some(known) = truth.keys.get(&idempotency.key[..]) {
            let known = &truth.holds[known];
            let same_buyer = idempotency.buyer_is_new || idempotency.buyer == known.buyer;
            if known.request != idempotency.request || !same_buyer {
                return Err(rejected(Code::IdempotencyKeyReused, "another request's key"));
            }
            return Ok((true, held(&known.message)));
        }
        let mut places = Vec::new();
        for item in &hold.items {
            places.extend(pick(truth, item)?);
        }
        for (place, ticket_type) in places.iter_mut().zip(&hold.types) {
            place.ticket_type = *ticket_type;
        }
        let seats: Vec<u32> = places.iter().filter_map(|place| place.seat).collect();
        self.announce(truth, &seats, 1);
        let hold_id = id::from_bytes(&hold.hold_id).expect("an id");
        let message = pb::GetHoldResponse {
            hold_id: hold.hold_id.clone(),
            event_no: 7,
            event_id: EVENT.into(),
            places,
            held_at_ms: HELD_AT,
            expires_at_ms: HELD_AT + 600_000,
            state: "held".into(),
            log_time_ms: HELD_AT + 1_000,
            currency: "EUR".into(),
            ..pb::GetHoldResponse::default()
        };
        let answer = held(&message);
        let record = Hold { message, request: idempotency.request, buyer: idempotency.buyer };
        truth.holds.insert(hold_id, record);
        truth.keys.insert(idempotency.key.to_vec(), hold_id);
        Ok((false, answer))
    }

    fn release(&self, truth: &mut Truth, release: &pb::ReleaseHoldCommand) -> Applied {
        let hold = live(truth, &release.hold_id)?;
        hold.message.state = "released".into();
        let seats: Vec<u32> = hold.message.places.iter().filter_map(|place| place.seat).collect();
        self.announce(truth, &seats, 0);
        Ok((false, pb::outcome::Result::Done(pb::Done {})))
    }
}

type Applied = Result<(bool, pb::outcome::Result), pb::Rejected>;

fn outcome(log_index: u64, replayed: bool, result: pb::outcome::Result) -> pb::Outcome {
    pb::Outcome { log_index, replayed, result: Some(result) }
}

fn held(hold: &pb::GetHoldResponse) -> pb::outcome::Result {
    pb::outcome::Result::Held(pb::Held {
        hold_id: hold.hold_id.clone(),
        held_at_ms: hold.held_at_ms,
        expires_at_ms: hold.held_at_ms + 600_000,
        places: hold.places.clone(),
    })
}

fn pick(truth: &mut Truth, item: &pb::HoldItem) -> Result<Vec<pb::Place>, pb::Rejected> {
    let seat = |seat| pb::Place { seat: Some(seat), price_minor: 9_500, ..pb::Place::default() };
    let seats = &truth.seats[&7];
    if !item.seats.is_empty() {
        let taken = |seat: &u32| seats[*seat as usize] != 0;
        let conflicts: Vec<u32> = item.seats.iter().copied().filter(taken).collect();
        if !conflicts.is_empty() {
            return Err(pb::Rejected {
                seats: conflicts,
                ..rejected(Code::SeatUnavailable, "some of the seats are taken")
            });
        }
        return Ok(item.seats.iter().copied().map(seat).collect());
    }
    if item.section == Some(1) || item.category == Some(1) {
        truth.area_held += item.quantity;
        let place =
            pb::Place { section: 1, category: 1, price_minor: 4_000, ..pb::Place::default() };
        return Ok(vec![place; item.quantity as usize]);
    }
    let free: Vec<u32> = (0_u32..20)
        .filter(|seat| seats[*seat as usize] == 0)
        .take(item.quantity as usize)
        .collect();
    if free.len() < item.quantity as usize {
        return Err(pb::Rejected {
            at_ms: Some(HELD_AT + 600_000),
            ..rejected(Code::SoldOut, "none left")
        });
    }
    Ok(free.into_iter().map(seat).collect())
}

fn live<'a>(truth: &'a mut Truth, hold_id: &[u8]) -> Result<&'a mut Hold, pb::Rejected> {
    let hold = id::from_bytes(hold_id).and_then(|hold| truth.holds.get_mut(&hold));
    let hold = hold.ok_or_else(|| rejected(Code::NotFound, "no such hold"))?;
    match hold.message.state.as_str() {
        "held" => Ok(hold),
        "in_checkout" => Err(rejected(Code::HoldInCheckout, "being paid for")),
        _ => Err(rejected(Code::HoldExpired, "the hold has ended")),
    }
}

fn extend_hold(truth: &mut Truth, extend: &pb::ExtendHoldCommand) -> Applied {
    if extend.idempotency.as_ref().is_some_and(|key| key.buyer == 0) {
        return Err(rejected(Code::InvalidRequest, "0 is nobody's keyed hash"));
    }
    let key = extend.idempotency.clone().unwrap_or_default();
    if let Some((request, extended)) = truth.extension_keys.get(&key.key[..]) {
        if *request != key.request {
            return Err(rejected(Code::IdempotencyKeyReused, "another request's key"));
        }
        return Ok((true, pb::outcome::Result::Extended(*extended)));
    }
    let hold = &mut live(truth, &extend.hold_id)?.message;
    let extended_at_ms = hold.log_time_ms;
    if extend.extensions_seen >= hold.extensions {
        if hold.extensions >= 1 {
            return Err(rejected(Code::ExtensionLimitReached, "extended once already"));
        }
        hold.extensions += 1;
        hold.expires_at_ms += 600_000;
    }
    let extended = pb::Extended {
        expires_at_ms: hold.expires_at_ms,
        extensions: hold.extensions,
        extensions_max: 1,
        extended_at_ms,
    };
    if !key.key.is_empty() {
        truth.extension_keys.insert(key.key.to_vec(), (key.request, extended));
    }
    Ok((false, pb::outcome::Result::Extended(extended)))
}

fn begin_checkout(truth: &mut Truth, begin: pb::BeginCheckoutCommand) -> Applied {
    let idempotency = begin.idempotency.clone().expect("a key");
    let made = |order: u128| {
        pb::outcome::Result::OrderMade(pb::OrderMade { order_id: id::to_bytes(order) })
    };
    if let Some((request, order)) = truth.order_keys.get(&idempotency.key[..]) {
        if *request != idempotency.request {
            return Err(rejected(Code::IdempotencyKeyReused, "another request's key"));
        }
        return Ok((true, made(*order)));
    }
    let hold = &mut live(truth, &begin.hold_id)?.message;
    hold.state = "in_checkout".into();
    hold.order_id = begin.order_id.clone();
    let order = id::from_bytes(&begin.order_id).expect("an id");
    let message = pb::GetOrderResponse {
        order_id: begin.order_id.clone(),
        event_no: 7,
        event_id: EVENT.into(),
        status: "processing".into(),
        places: hold.places.clone(),
        total_minor: hold.places.iter().map(|place| place.price_minor).sum(),
        currency: "EUR".into(),
        hold_id: begin.hold_id.clone(),
        ..pb::GetOrderResponse::default()
    };
    truth.orders.insert(order, message);
    let key = idempotency.key.to_vec();
    truth.order_keys.insert(key, (idempotency.request, order));
    truth.checkouts.push(begin);
    Ok((false, made(order)))
}
