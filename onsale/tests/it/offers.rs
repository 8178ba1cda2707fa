//! Ticket types and quotas, put to an event that sells already, by the public HTTP of a demo.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Demo, answer, eventually, folder, onsale};

struct Club<'a> {
    demo: &'a Demo,
    path: String,
    event: String,
    organizer: String,
}

impl<'a> Club<'a> {
    /// A floor and a row, with neither types nor quotas.
    async fn open(demo: &'a Demo) -> Club<'a> {
        let organizer = demo.credentials()["organizer_key"].as_str().expect("a key").to_owned();
        let body = json!({
            "name": "Club", "venue": "Club", "starts_at": "2041-01-01T20:00:00Z", "currency": "EUR",
            "categories": [{"key": "A", "name": "Row", "price_minor": 4000},
                {"key": "GA", "name": "Floor", "price_minor": 2000}],
            "sections": [{"key": "R", "category": "A", "row_count": 1, "seats_per_row": 20},
                {"key": "FLOOR", "kind": "general_admission", "category": "GA", "capacity": 50}],
            "rules": {"seats_per_buyer_max": 0},
        });
        let request = demo.request(Method::POST, "/v1/events").bearer_auth(&organizer).json(&body);
        let created = answer(request).await.expect("an answer");
        assert_eq!(created.status, 201, "{}", created.text);
        let event = created.json()["event_id"].as_str().expect("an id").to_owned();
        let path = format!("/v1/events/{event}");
        eventually("the event is listed", async || demo.get(&path).await.status == 200).await;
        Club { demo, path, event, organizer }
    }

    async fn change(&self, body: Value) -> Answer {
        let request = self.demo.request(Method::PATCH, &self.path).bearer_auth(&self.organizer);
        answer(request.json(&body)).await.expect("an answer")
    }

    async fn reserve(&self, key: &str, mut wish: Value) -> Answer {
        wish["event_id"] = json!(self.event);
        self.demo.reserve(key, &wish).await.expect("an answer")
    }

    async fn hold(&self, key: &str, wish: Value) -> Value {
        let held = self.reserve(key, wish).await;
        assert_eq!(held.status, 200, "{}", held.text);
        held.json()
    }
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text);
}

fn floor(quantity: u32) -> Value {
    json!({"section": "FLOOR", "quantity": quantity})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_and_quotas_come_during_the_sale_and_hold_at_once() {
    let dir = folder();
    let demo = Demo::start(dir.path(), &["--no-limits", "--empty"]);
    let club = Club::open(&demo).await;
    quotas_come_and_grow_and_never_shrink_below_what_is_taken(&club).await;
    what_was_taken_before_the_first_types_stays_as_it_was(&club).await;

    assert_eq!(demo.terminate(), 0);
    let nodes: Vec<String> =
        (1..=3).map(|node| dir.path().join(format!("node-{node}")).display().to_string()).collect();
    let (exit, report, _) = onsale(&["verify", &nodes[0], &nodes[1], &nodes[2]]);
    assert_eq!(exit, 0, "{report}");
}

async fn quotas_come_and_grow_and_never_shrink_below_what_is_taken(club: &Club<'_>) {
    club.hold("floor-1", floor(6)).await;
    let quota = |size: u32| json!({"key": "standing", "size": size, "sections": ["FLOOR"]});
    let all = |size: u32| json!({"key": "all", "size": size});
    let below = club.change(json!({"quotas": [quota(5), all(60), all(4)]})).await;
    refused(&below, 400, "invalid_request");
    let below = club.change(json!({"quotas": [quota(5), all(60)]})).await;
    refused(&below, 409, "capacity_below_taken");
    assert_eq!(below.json()["quotas"], json!([{"key": "standing", "taken": 6}]));
    let event = club.demo.get(&club.path).await.json();
    assert!(event.get("quotas").is_none(), "{event}");
    let put = club.change(json!({"quotas": [quota(8), all(60)]})).await;
    assert_eq!(put.status, 200, "{}", put.text);
    assert_eq!(put.json()["quotas"], json!([quota(8), all(60)]));

    let full = club.reserve("floor-2", floor(3)).await;
    refused(&full, 409, "quota_exhausted");
    assert!(full.json()["detail"].as_str().is_some_and(|it| it.contains("standing")));
    assert_eq!(full.json()["retryable"], false);
    let grown = club.change(json!({"quotas": [quota(9)]})).await;
    assert_eq!(grown.status, 200, "{}", grown.text);
    let held = club.hold("floor-2", floor(3)).await;
    refused(&club.reserve("floor-3", floor(1)).await, 409, "quota_exhausted");
    let path = format!("/v1/holds/{}", held["hold_id"].as_str().expect("an id"));
    let token = held["hold_token"].as_str().expect("a token");
    let release = club.demo.request(Method::DELETE, &path).header("Hold-Token", token);
    assert_eq!(answer(release).await.expect("an answer").status, 204);
    let held = club.hold("floor-3", floor(3)).await;
    let order = club.demo.checkout("pay-3", &held, "pm_card_visa").await.expect("one").json();
    club.demo.order_until(&order, |it| it["status"] == "confirmed").await;
    refused(&club.reserve("floor-4", floor(1)).await, 409, "quota_exhausted");
    let none = club.change(json!({"quotas": []})).await;
    assert_eq!((none.status, none.json().get("quotas")), (200, None), "{}", none.text);
    club.hold("floor-4", floor(1)).await;
}

async fn what_was_taken_before_the_first_types_stays_as_it_was(club: &Club<'_>) {
    let row = json!({"seat_ids": ["R-A-1", "R-A-2"]});
    let before = club.reserve("row-1", row.clone()).await;
    let order = club.demo.checkout("pay-1", &before.json(), "pm_card_visa").await.expect("one");
    let order = club.demo.order_until(&order.json(), |it| it["status"] == "confirmed").await;
    let typed = json!({"types": [{"key": "adult", "name": "Adult"},
            {"key": "child", "name": "Child"}],
        "categories": [{"key": "A", "name": "Row", "price_minor": 5000,
            "prices": [{"type": "child", "price_minor": 2500}]}],
        "quotas": [{"key": "grown-ups", "size": 1, "sections": ["R"], "types": ["adult"]}]});
    let put = club.change(typed).await;
    assert_eq!(put.status, 200, "{}", put.text);

    let again = club.reserve("row-1", row).await;
    assert_eq!((again.status, &again.text), (200, &before.text), "byte for byte");
    assert_eq!(again.headers["Idempotent-Replayed"], "true");
    let path = format!("/v1/orders/{}", order["order_id"].as_str().expect("an id"));
    let support = club.demo.credentials()["support_key"].as_str().expect("a key").to_owned();
    let request = club.demo.request(Method::GET, &path).bearer_auth(&support);
    let seen = answer(request).await.expect("an answer").json();
    assert_eq!(seen["tickets"], order["tickets"], "tickets stay without a type");
    assert_eq!(seen["total_minor"], 8000);

    let mixed = json!({"section": "R", "quantity": 2, "types": {"adult": 1, "child": 1}});
    let held = club.hold("row-2", mixed.clone()).await;
    let each: Vec<_> =
        (0..2).map(|at| (&held["seats"][at]["type"], &held["seats"][at]["price_minor"])).collect();
    assert_eq!(each, [(&json!("adult"), &json!(5000)), (&json!("child"), &json!(2500))]);
    refused(&club.reserve("row-3", mixed).await, 409, "quota_exhausted");
    for types in [json!([]), json!([{"key": "child"}, {"key": "adult"}])] {
        let fewer = club.change(json!({"types": types})).await;
        refused(&fewer, 400, "invalid_request");
    }
}
