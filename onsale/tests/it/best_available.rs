//! Best available, single seats and companions, asked for over HTTP of a whole demo.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Demo, answer, eventually, folder};

/// Three rows of ten behind each other, cheap seats beside them, and a row with every kind.
async fn create_event(demo: &Demo) -> String {
    let body = json!({
        "name": "Hall", "venue": "Hall", "starts_at": "2031-01-01T20:00:00Z", "currency": "EUR",
        "categories": [{"key": "A", "name": "Front", "price_minor": 5000},
            {"key": "B", "name": "Side", "price_minor": 2000}],
        "sections": [
            {"key": "S", "category": "A", "row_count": 3, "seats_per_row": 10,
                "focal_row": 2, "focal_seat": 3},
            {"key": "T", "category": "B", "rows": [{"label": "A", "seats": 4}]},
            {"key": "W", "category": "B", "rows": [
                {"label": "A", "seats": 6, "accessible": [1, 6], "companion": [2]}]},
        ],
        "rules": {"seats_per_order_max": 30, "seats_per_buyer_max": 0, "no_orphans": true},
    });
    let credentials = demo.credentials();
    let key = credentials["organizer_key"].as_str().expect("a key").to_owned();
    let request = demo.request(Method::POST, "/v1/events").bearer_auth(key).json(&body);
    let created = answer(request.header("Idempotency-Key", "event-1")).await.expect("an answer");
    assert_eq!(created.status, 201, "{}", created.text);
    let event = created.json()["event_id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/events/{event}");
    eventually("the event is listed", async || demo.get(&path).await.status == 200).await;
    event
}

struct Shop<'a> {
    demo: &'a Demo,
    event: String,
    asked: u32,
}

impl Shop<'_> {
    async fn ask(&mut self, mut wish: Value) -> Answer {
        self.asked += 1;
        wish["event_id"] = json!(self.event);
        self.demo.reserve(&format!("key-{}", self.asked), &wish).await.expect("an answer")
    }

    async fn seats(&mut self, wish: Value) -> Vec<String> {
        let reply = self.ask(wish).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let seats = reply.json()["seats"].as_array().cloned().expect("seats");
        seats.iter().map(|seat| seat["seat_id"].as_str().expect("a seat").to_owned()).collect()
    }

    async fn refusal(&mut self, wish: Value) -> Value {
        let reply = self.ask(wish).await;
        assert_eq!(reply.status, 409, "{}", reply.text);
        reply.json()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buyers_get_the_best_seats_and_leave_none_alone() {
    let dir = folder();
    let demo = Demo::start(dir.path(), &["--no-limits", "--empty"]);
    let event = create_event(&demo).await;
    let map = demo.get(&format!("/v1/events/{event}/seatmap")).await.json();
    let row = &map["sections"][2]["rows"][0];
    assert_eq!((&row["accessible"], &row["companion"]), (&json!([1, 6]), &json!([2])));
    let mut shop = Shop { demo: &demo, event, asked: 0 };

    // Seat 3 of the second row is the focal point; seats 2 to 4 would leave the first one alone;
    // of the two windows that are equally near the left one is taken.
    let three = shop.seats(json!({"quantity": 3})).await;
    assert_eq!(three, ["S-B-1", "S-B-2", "S-B-3"]);
    let cheap = shop.seats(json!({"quantity": 2, "price_max_minor": 2000})).await;
    assert_eq!(cheap, ["T-A-1", "T-A-2"]);
    let none = shop.refusal(json!({"quantity": 1, "price_max_minor": 1999})).await;
    assert_eq!(none["code"], "sold_out");

    let alone = shop.refusal(json!({"seat_ids": ["S-A-2", "S-A-3"]})).await;
    assert_eq!((&alone["code"], &alone["seat_ids"]), (&json!("orphan_seats"), &json!(["S-A-1"])));
    assert_eq!(alone["mend_seat_ids"], json!(["S-A-1"]));
    let mended = shop.seats(json!({"seat_ids": ["S-A-1", "S-A-2"]})).await;
    assert_eq!(mended, ["S-A-1", "S-A-2"]);

    let companion = shop.refusal(json!({"seat_ids": ["W-A-2"]})).await;
    assert_eq!(companion["code"], "companion_without_accessible");
    assert_eq!(companion["seat_ids"], json!(["W-A-2"]));
    let both = shop.seats(json!({"quantity": 1, "accessible": true, "companions": 1})).await;
    assert_eq!(both, ["W-A-1", "W-A-2"]);
    let bad = shop.ask(json!({"quantity": 1, "companions": 1})).await;
    assert_eq!(
        (bad.status, bad.json()["errors"][0]["pointer"].clone()),
        (400, "/companions".into())
    );

    // Eight and five are left in the first two rows; fourteen sit in rows behind each other.
    let rows = shop.seats(json!({"quantity": 14, "category": "A"})).await;
    assert_eq!(rows.len(), 14);
    let together = shop.refusal(json!({"quantity": 8, "category": "B"})).await;
    assert_eq!(together["code"], "not_enough_together");
    let apart = shop.refusal(json!({"quantity": 4, "category": "B"})).await;
    assert_eq!(apart["code"], "not_enough_together");
    let split = shop.seats(json!({"quantity": 4, "category": "B", "split": true})).await;
    // Two groups, the longest piece first; the accessible and companion seats stay out of it.
    assert_eq!(split, ["T-A-3", "W-A-3", "W-A-4", "W-A-5"]);
}
