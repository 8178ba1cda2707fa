//! What one buyer may keep from the others, by the public HTTP of a demo.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Demo, answer, eventually, folder};

/// A buyer with a session of their own.
struct Buyer<'a> {
    demo: &'a Demo,
    event: &'a str,
    cookie: String,
}

impl<'a> Buyer<'a> {
    /// Their first hold, which gives them a session.
    async fn new(demo: &'a Demo, event: &'a str, key: &str) -> (Buyer<'a>, Value) {
        let mut buyer = Buyer { demo, event, cookie: String::new() };
        let first = buyer.hold(key).await;
        assert_eq!(first.status, 200, "{}", first.text);
        let cookie = first.headers["set-cookie"].to_str().expect("text");
        buyer.cookie = cookie.split(';').next().expect("a pair").to_owned();
        (buyer, first.json())
    }

    async fn hold(&self, key: &str) -> Answer {
        let body = json!({"event_id": self.event, "quantity": 1});
        let request = self.demo.request(Method::POST, "/v1/reserve").json(&body);
        let request = request.header("Idempotency-Key", key).header("Cookie", &self.cookie);
        answer(request).await.expect("an answer")
    }

    /// Asks until the time is up, and gives back what it gets.
    async fn until_refused(&self, keys: &str) {
        let mut asked = 0;
        eventually("the buyer's time is up", async || {
            asked += 1;
            let hold = self.hold(&format!("{keys}-again-{asked}")).await;
            if hold.status == 200 {
                self.change(Method::DELETE, &hold.json(), "").await;
            }
            hold.status == 409 && hold.code() == "hoarding_limit_reached"
        })
        .await;
    }

    async fn change(&self, method: Method, hold: &Value, what: &str) -> Answer {
        let path = format!("/v1/holds/{}{what}", hold["hold_id"].as_str().expect("an id"));
        let token = hold["hold_token"].as_str().expect("a token");
        answer(self.demo.request(method, &path).header("Hold-Token", token)).await.expect("one")
    }
}

async fn organize(demo: &Demo, method: Method, path: &str, key: &str, body: &Value) -> Value {
    let organizer = demo.credentials()["organizer_key"].as_str().expect("a key").to_owned();
    let request = demo.request(method, path).bearer_auth(organizer).json(body);
    let answer = answer(request.header("Idempotency-Key", key)).await.expect("an answer");
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text);
    answer.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_buyer_keeps_so_many_holds_for_so_long_and_others_go_on() {
    let dir = folder();
    let demo = Demo::start(dir.path(), &["--no-limits", "--empty"]);
    let body = json!({
        "name": "Club", "venue": "Club", "starts_at": "2031-01-01T20:00:00Z", "currency": "EUR",
        "categories": [{"key": "A", "name": "Floor", "price_minor": 5000}],
        "sections": [
            {"key": "FLOOR", "kind": "general_admission", "category": "A", "capacity": 50}],
        "rules": {"holds_per_buyer_max": 2},
    });
    let created = organize(&demo, Method::POST, "/v1/events", "event-1", &body).await;
    let event = created["event_id"].as_str().expect("an id");
    let path = format!("/v1/events/{event}");
    eventually("the event is listed", async || demo.get(&path).await.status == 200).await;
    let rules = demo.get(&path).await.json()["rules"].clone();
    assert_eq!(
        (&rules["holds_per_buyer_max"], &rules["hold_seconds_per_buyer_max"]),
        (&json!(2), &json!(0))
    );

    let (buyer, first) = Buyer::new(&demo, event, "a-1").await;
    assert_eq!(buyer.hold("a-2").await.status, 200);
    let third = buyer.hold("a-3").await;
    assert_eq!((third.status, third.code().as_str()), (409, "hoarding_limit_reached"));
    assert!(third.text.contains("2 holds at once"), "{}", third.text);
    let (other, _) = Buyer::new(&demo, event, "b-1").await;
    assert_eq!(buyer.change(Method::DELETE, &first, "").await.status, 204);
    assert_eq!(buyer.hold("a-3").await.status, 200, "a refusal stored nothing");

    // From now on the time counts, that of the holds there are too.
    let rules = json!({"rules": {"holds_per_buyer_max": 0, "hold_seconds_per_buyer_max": 2}});
    organize(&demo, Method::PATCH, &path, "change-1", &rules).await;
    buyer.until_refused("a").await;
    other.until_refused("b").await;
    let (late, hold) = Buyer::new(&demo, event, "c-1").await;
    late.until_refused("c").await;
    let extended = late.change(Method::POST, &hold, "/extend").await;
    assert_eq!((extended.status, extended.code().as_str()), (409, "hoarding_limit_reached"));
    assert_eq!(demo.terminate(), 0);
}
