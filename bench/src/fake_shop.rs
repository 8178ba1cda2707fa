//! A small shop for tests of the harness itself: honest, or with one fault. Never part of a build.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use onsale_proto::time::{now_ms, to_rfc3339};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::http::Target;

const SEATS: usize = 120;

/// What is wrong with the shop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Seats that are held can be held again.
    SellsTwice,
    /// An order is gone once it was confirmed.
    ForgetsOrders,
    /// A hold's seats are free again at once.
    ForgetsHolds,
    /// Idempotency keys mean nothing.
    ForgetsKeys,
    /// Nothing; but nobody gets in without standing in line.
    WaitingRoom,
}

struct Shop {
    fault: Fault,
    states: Vec<u8>,
    holds: HashMap<String, (Vec<usize>, &'static str)>,
    orders: HashMap<String, (String, u32, bool)>,
    answers: HashMap<String, (StatusCode, Value)>,
    next: u64,
}

type Shared = State<Arc<Mutex<Shop>>>;

/// Serves a shop until the test ends.
pub async fn start(fault: Fault) -> Target {
    let shop = Shop {
        fault,
        states: vec![0; SEATS],
        holds: HashMap::new(),
        orders: HashMap::new(),
        answers: HashMap::new(),
        next: 0,
    };
    let routes = Router::new()
        .route("/v1/events", get(async || Json(json!({"data": [], "next_cursor": null}))))
        .route("/v1/events/{id}", get(async || Json(json!({"rules": {"seats_per_order_max": 4}}))))
        .route("/v1/events/{id}/seatmap", get(seat_map))
        .route("/v1/events/{id}/availability", get(availability))
        .route("/v1/reserve", post(reserve))
        .route("/v1/holds/{id}", get(read_hold).delete(release))
        .route("/v1/checkout", post(checkout))
        .route("/v1/events/{id}/line", post(async || line("waiting", Value::Null)))
        .route("/v1/line/{token}", get(async || line("admitted", json!("let-me-in"))))
        .route("/v1/orders/{id}", get(read_order))
        .with_state(Arc::new(Mutex::new(shop)));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let authority = listener.local_addr().expect("address").to_string();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Target { authority }
}

fn line(state: &str, admission_token: Value) -> Json<Value> {
    Json(json!({"line_token": "line_1", "state": state, "admission_token": admission_token}))
}

async fn seat_map() -> Json<Value> {
    let rows = json!([{"label": "A", "seats": 60}, {"label": "B", "seats": 60}]);
    Json(
        json!({"event_id": "evt_fake", "sections": [{"key": "S", "kind": "seated", "rows": rows}]}),
    )
}

async fn availability(State(shop): Shared) -> Json<Value> {
    let shop = shop.lock().expect("lock");
    let count = |state| shop.states.iter().filter(|seat| **seat == state).count();
    let mut bits = vec![0_u8; SEATS.div_ceil(4)];
    for (seat, state) in shop.states.iter().enumerate() {
        bits[seat / 4] |= state << ((seat % 4) * 2);
    }
    Json(json!({"event_id": "evt_fake", "position": 1, "sections": [{
        "key": "S", "available": count(0), "held": count(1), "sold": count(2), "killed": 0,
        "seats": STANDARD.encode(bits),
    }]}))
}

fn seat_id(seat: usize) -> String {
    format!("S-{}-{}", if seat < 60 { "A" } else { "B" }, seat % 60 + 1)
}

fn answer(shop: &mut Shop, headers: &HeaderMap, status: StatusCode, body: Value) -> Response {
    if status.is_success() {
        shop.answers.insert(key(headers), (status, body.clone()));
    }
    (status, Json(body)).into_response()
}

fn key(headers: &HeaderMap) -> String {
    let key = headers.get("idempotency-key").expect("a key");
    key.to_str().expect("text").to_owned()
}

fn replay(shop: &Shop, headers: &HeaderMap) -> Option<Response> {
    if shop.fault == Fault::ForgetsKeys {
        return None;
    }
    let (status, body) = shop.answers.get(&key(headers))?.clone();
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    Some(response)
}

async fn reserve(State(shop): Shared, headers: HeaderMap, Json(wish): Json<Value>) -> Response {
    let mut shop = shop.lock().expect("lock");
    if let Some(response) = replay(&shop, &headers) {
        return response;
    }
    if shop.fault == Fault::WaitingRoom && headers.get("admission-token").is_none() {
        let body = json!({"status": 403, "code": "admission_required"});
        return answer(&mut shop, &headers, StatusCode::FORBIDDEN, body);
    }
    let blind = shop.fault == Fault::SellsTwice;
    let free: Vec<usize> = (0..SEATS).filter(|seat| blind || shop.states[*seat] == 0).collect();
    let chosen: Vec<usize> = match wish["seat_ids"].as_array() {
        Some(ids) => (0..SEATS).filter(|seat| ids.contains(&json!(seat_id(*seat)))).collect(),
        None => {
            let count = wish["quantity"].as_u64().and_then(|count| usize::try_from(count).ok());
            free.iter().copied().take(count.expect("a quantity")).collect()
        }
    };
    let taken: Vec<String> =
        chosen.iter().filter(|seat| !free.contains(seat)).map(|seat| seat_id(*seat)).collect();
    if chosen.is_empty() || !taken.is_empty() {
        let code = if chosen.is_empty() { "sold_out" } else { "seat_unavailable" };
        let body = json!({"status": 409, "code": code, "seat_ids": taken});
        return answer(&mut shop, &headers, StatusCode::CONFLICT, body);
    }
    shop.next += 1;
    let hold_id = format!("hold_{}", shop.next);
    let seats: Vec<Value> =
        chosen.iter().map(|seat| json!({"seat_id": seat_id(*seat), "section": "S"})).collect();
    if shop.fault != Fault::ForgetsHolds {
        chosen.iter().for_each(|seat| shop.states[*seat] = 1);
    }
    shop.holds.insert(hold_id.clone(), (chosen, "held"));
    let body = json!({
        "hold_id": hold_id, "hold_token": "token", "seats": seats,
        "expires_at": to_rfc3339(now_ms() + 600_000),
    });
    answer(&mut shop, &headers, StatusCode::OK, body)
}

async fn read_hold(State(shop): Shared, Path(id): Path<String>) -> Response {
    let shop = shop.lock().expect("lock");
    match shop.holds.get(&id) {
        Some((_, state)) => Json(json!({"hold_id": id, "state": state})).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn release(State(shop): Shared, Path(id): Path<String>) -> StatusCode {
    let mut shop = shop.lock().expect("lock");
    let hold = shop.holds.get_mut(&id).expect("a known hold");
    hold.1 = "released";
    for seat in hold.0.clone() {
        shop.states[seat] = 0;
    }
    StatusCode::NO_CONTENT
}

async fn checkout(State(shop): Shared, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let mut shop = shop.lock().expect("lock");
    if let Some(response) = replay(&shop, &headers) {
        return response;
    }
    shop.next += 1;
    let order_id = format!("ord_{}", shop.next);
    let hold_id = body["hold_id"].as_str().expect("a hold").to_owned();
    let pays = body["payment_method"] == "pm_card_visa";
    shop.orders.insert(order_id.clone(), (hold_id, 0, pays));
    let body = json!({"order_id": order_id, "order_token": "token", "status": "processing"});
    answer(&mut shop, &headers, StatusCode::ACCEPTED, body)
}

async fn read_order(State(shop): Shared, Path(id): Path<String>) -> Response {
    let mut shop = shop.lock().expect("lock");
    let fault = shop.fault;
    let (hold_id, reads, pays) = shop.orders.get_mut(&id).expect("a known order");
    *reads += 1;
    let (hold_id, reads, pays) = (hold_id.clone(), *reads, *pays);
    if reads < 2 {
        return Json(json!({"order_id": id, "status": "processing", "tickets": []}))
            .into_response();
    }
    if !pays {
        return Json(json!({"order_id": id, "status": "failed", "tickets": []})).into_response();
    }
    if fault == Fault::ForgetsOrders && reads > 2 {
        return StatusCode::NOT_FOUND.into_response();
    }
    let seats = shop.holds[&hold_id].0.clone();
    let tickets: Vec<Value> = seats
        .iter()
        .map(|seat| json!({"ticket_id": format!("tkt_{id}_{seat}"), "seat_id": seat_id(*seat)}))
        .collect();
    for seat in seats {
        shop.states[seat] = 2;
    }
    Json(json!({"order_id": id, "status": "confirmed", "tickets": tickets})).into_response()
}
