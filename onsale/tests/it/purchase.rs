//! A buyer's way through a demo, by the public HTTP only.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, VerifyingKey};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Demo, answer, eventually, folder, onsale};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buyers_pay_fail_confirm_and_get_tickets_that_verify() {
    let dir = folder();
    let demo = Demo::start(dir.path(), &[]);
    listed_events_have_their_sizes(&demo).await;
    let order = a_purchase_is_confirmed(&demo).await;
    the_ticket_verifies(&demo, &order).await;
    a_declined_card_leaves_the_hold(&demo).await;
    a_bank_confirmation_is_waited_for(&demo).await;
    a_released_hold_frees_its_seats(&demo).await;
    books_and_tickets_agree(&demo, 3).await;

    assert_eq!(demo.terminate(), 0, "SIGTERM is a clean end");
    let nodes: Vec<String> =
        (1..=3).map(|node| dir.path().join(format!("node-{node}")).display().to_string()).collect();
    let (exit, report, _) = onsale(&["verify", &nodes[0], &nodes[1], &nodes[2]]);
    assert_eq!(exit, 0, "{report}");
}

async fn listed_events_have_their_sizes(demo: &Demo) {
    let list = demo.get("/v1/events").await;
    assert_eq!(list.status, 200, "{}", list.text);
    let ids: Vec<String> = list.json()["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| event["event_id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
    for (event, seats) in [("evt_arena", 60_000), ("evt_theatre", 1_200), ("evt_club", 2_000)] {
        let availability = demo.get(&format!("/v1/events/{event}/availability")).await.json();
        let sections = availability["sections"].as_array().expect("sections").clone();
        let free: u64 = sections.iter().filter_map(|section| section["available"].as_u64()).sum();
        assert_eq!(free, seats, "{event}");
    }
}

async fn a_purchase_is_confirmed(demo: &Demo) -> Value {
    let body = json!({"event_id": "evt_arena", "seat_ids": ["101-A-12", "101-A-13"]});
    let first = demo.reserve("purchase-1", &body).await.expect("an answer");
    assert_eq!(first.status, 200, "{}", first.text);
    let again = demo.reserve("purchase-1", &body).await.expect("an answer");
    assert_eq!(again.text, first.text, "a repeat is answered byte for byte");
    assert_eq!(again.headers["Idempotent-Replayed"], "true");
    let other = json!({"event_id": "evt_arena", "seat_ids": ["101-A-14"]});
    let reused = demo.reserve("purchase-1", &other).await.expect("an answer");
    assert_eq!((reused.status, reused.code().as_str()), (422, "idempotency_key_reused"));
    let taken = demo.reserve("purchase-2", &body).await.expect("an answer");
    assert_eq!((taken.status, taken.code().as_str()), (409, "seat_unavailable"));
    assert_eq!(taken.json()["seat_ids"], json!(["101-A-12", "101-A-13"]));

    let hold = first.json();
    assert_eq!(hold["total_minor"], 2 * 12_900);
    let reused = demo.checkout("purchase-1", &hold, "pm_card_visa").await.expect("an answer");
    assert_eq!(reused.code(), "idempotency_key_reused", "a key's scope is the event");
    let checkout = demo.checkout("pay-1", &hold, "pm_card_visa").await.expect("an answer");
    assert_eq!(checkout.status, 202, "{}", checkout.text);
    let order = checkout.json();
    let confirmed = demo.order_until(&order, |order| order["status"] == "confirmed").await;
    assert_eq!(confirmed["tickets"].as_array().map(Vec::len), Some(2));
    let mut whole = confirmed;
    whole["order_token"] = order["order_token"].clone();
    whole
}

async fn the_ticket_verifies(demo: &Demo, order: &Value) {
    let ticket = &order["tickets"][0];
    the_code_verifies(demo, ticket).await;
    let path = format!("/v1/tickets/{}.svg", ticket["ticket_id"].as_str().expect("an id"));
    let token = order["order_token"].as_str().expect("a token");
    let image = answer(demo.request(Method::GET, &path).header("Order-Token", token)).await;
    assert!(image.expect("an answer").text.contains("<svg"));
    let stolen = answer(demo.request(Method::GET, &path).header("Order-Token", "x")).await;
    assert_eq!(stolen.expect("an answer").status, 404);
}

/// A ticket's code is signed by a published key, for this ticket and seat.
pub async fn the_code_verifies(demo: &Demo, ticket: &Value) {
    let keys = demo.get("/v1/keys").await.json();
    let code = ticket["code"].as_str().expect("a code");
    let parts: Vec<&str> = code.split('.').collect();
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("base64url");
    let header: Value = serde_json::from_slice(&decode(parts[0])).expect("a JWS header");
    let key = keys["keys"]
        .as_array()
        .and_then(|keys| keys.iter().find(|key| key["kid"] == header["kid"]))
        .expect("the key is published");
    let public: [u8; 32] =
        decode(key["x"].as_str().expect("the key's bytes")).try_into().expect("32 bytes");
    let signature = Signature::from_slice(&decode(parts[2])).expect("64 bytes");
    VerifyingKey::from_bytes(&public)
        .expect("a key")
        .verify_strict(format!("{}.{}", parts[0], parts[1]).as_bytes(), &signature)
        .expect("the signature is the key's");
    let claims: Value = serde_json::from_slice(&decode(parts[1])).expect("claims");
    assert_eq!(claims["seat"], ticket["seat_id"]);
    assert_eq!(claims["tkt"], ticket["ticket_id"]);
}

async fn a_declined_card_leaves_the_hold(demo: &Demo) {
    let body = json!({"event_id": "evt_theatre", "quantity": 2, "category": "CIRCLE"});
    let hold = demo.reserve("declined", &body).await.expect("an answer").json();
    let order =
        demo.checkout("declined-1", &hold, "pm_card_chargeDeclined").await.expect("an answer");
    let failed = demo.order_until(&order.json(), |order| order["status"] == "failed").await;
    assert_eq!(failed["failure"]["code"], "payment_declined");
    let order = demo.checkout("declined-2", &hold, "pm_card_visa").await.expect("an answer");
    assert_eq!(order.status, 202, "the hold lives on: {}", order.text);
    demo.order_until(&order.json(), |order| order["status"] == "confirmed").await;
}

async fn a_bank_confirmation_is_waited_for(demo: &Demo) {
    let body = json!({"event_id": "evt_club", "quantity": 3});
    let hold = demo.reserve("bank", &body).await.expect("an answer").json();
    assert!(hold["seats"][0]["seat_id"].is_null(), "{hold}");
    let order = demo
        .checkout("bank-1", &hold, "pm_card_authenticationRequired")
        .await
        .expect("an answer")
        .json();
    let waiting = demo.order_until(&order, |order| order["next_action"]["url"].is_string()).await;
    assert_eq!(waiting["status"], "processing");
    let busy = demo.checkout("bank-2", &hold, "pm_card_visa").await.expect("an answer");
    assert_eq!((busy.status, busy.code().as_str()), (409, "hold_in_checkout"));
    let url = waiting["next_action"]["url"].as_str().expect("a page").to_owned();
    let outcome = [("outcome", "succeed")];
    demo.client.post(url).form(&outcome).send().await.expect("the bank's page answers");
    demo.order_until(&order, |order| order["status"] == "confirmed").await;
}

async fn a_released_hold_frees_its_seats(demo: &Demo) {
    let body = json!({"event_id": "evt_arena", "seat_ids": ["102-B-1"]});
    let hold = demo.reserve("release-1", &body).await.expect("an answer").json();
    let path = format!("/v1/holds/{}", hold["hold_id"].as_str().expect("an id"));
    let token = hold["hold_token"].as_str().expect("a token");
    let extend = || {
        let extend = demo.request(Method::POST, &format!("{path}/extend"));
        answer(extend.header("Hold-Token", token).header("Idempotency-Key", "extend-1"))
    };
    let extended = extend().await.expect("an answer");
    assert_eq!(extended.status, 200, "{}", extended.text);
    let repeated = extend().await.expect("an answer");
    assert_eq!((repeated.status, &repeated.text), (200, &extended.text));
    assert_eq!(repeated.headers["idempotent-replayed"], "true");
    let stranger = answer(demo.request(Method::DELETE, &path).header("Hold-Token", "no")).await;
    assert_eq!(stranger.expect("an answer").status, 404);
    let released = answer(demo.request(Method::DELETE, &path).header("Hold-Token", token)).await;
    assert!(released.expect("an answer").status < 300);
    let again = demo.reserve("release-2", &body).await.expect("an answer");
    assert_eq!(again.status, 200, "{}", again.text);
}

/// The sandbox's captured money is that of `orders` confirmed orders.
async fn books_and_tickets_agree(demo: &Demo, orders: usize) {
    eventually("the books have the captures", async || captured(demo).await.len() == orders).await;
}

/// The payment intents that the sandbox has captured.
pub async fn captured(demo: &Demo) -> Vec<Value> {
    let credentials = demo.credentials();
    let key = credentials["gateway_key"].as_str().expect("a key").to_owned();
    let base = credentials["gateway_url"].as_str().expect("an address").to_owned();
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let url = format!("{base}/v1/payment_intents?limit=100{after}");
        let page = answer(demo.client.get(url).bearer_auth(&key)).await.expect("books").json();
        let data = page["data"].as_array().expect("a list").clone();
        let last = data.last().and_then(|intent| intent["id"].as_str().map(str::to_owned));
        all.extend(data);
        match last {
            Some(last) if page["has_more"] == true => after = format!("&starting_after={last}"),
            _ => break,
        }
    }
    all.retain(|intent| intent["amount_received"].as_u64() > Some(0));
    all
}
