//! Creating and changing events.

use serde_json::{Value, json};

use crate::{
    backend::{EVENT, ORGANIZER_KEY, OTHER_ORGANIZER_KEY},
    client::{Ask, ask},
    fixture::Fixture,
};

fn body() -> Value {
    json!({
        "name": "New", "venue": "Hall", "starts_at": "2027-01-01T19:00:00+01:00",
        "currency": "EUR", "categories": [{"key": "A", "name": "Front", "price_minor": 9500}],
        "sections": [
            {"key": "101", "category": "A", "row_count": 28, "seats_per_row": 4},
            {"key": "FLOOR", "kind": "general_admission", "capacity": 20, "category": "A"},
        ],
        "rules": {"hold_ttl": "90s"},
        "waiting_room": {"enabled": false},
    })
}

fn create(body: &Value) -> Ask {
    ask("POST", "/v1/events").bearer(ORGANIZER_KEY).json(body)
}

#[tokio::test]
async fn an_event_is_made_once_for_a_key_and_seen_at_once() {
    let fixture = Fixture::start().await;
    let made = create(&body()).key("e1").send(&fixture.address).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let event = made.json();
    assert_eq!(event["starts_at"], "2027-01-01T18:00:00Z");
    assert_eq!((&event["status"], &event["shard"]), (&json!("on_sale"), &json!(1)));
    assert_eq!(event["rules"]["hold_ttl"], "1m30s");
    assert_eq!(event["waiting_room"]["enabled"], false);
    let path = format!("/v1/events/{}", event["event_id"].as_str().expect("an id"));
    assert_eq!(made.header("location"), Some(path.as_str()));
    assert_eq!(ask("GET", &path).send(&fixture.address).await.json(), event);
    let map = ask("GET", &format!("{path}/seatmap")).send(&fixture.address).await.json();
    assert_eq!(map["sections"][0]["rows"][27]["label"], "AB");
    let again = create(&body()).key("e1").send(&fixture.another().await.address).await;
    assert_eq!((again.status, &again.body), (201, &made.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let mut other = body();
    other["name"] = json!("Other");
    let reused = create(&other).key("e1").send(&fixture.address).await;
    assert_eq!(reused.code(), "idempotency_key_reused");
    let without = create(&body()).send(&fixture.address).await.json();
    assert_ne!(without["event_id"], event["event_id"], "without a key each is another");
}

#[tokio::test]
async fn an_event_shows_its_types_early_prices_and_quotas_as_they_were_made() {
    let fixture = Fixture::start().await;
    let mut offer = body();
    offer["types"] = json!([{"key": "adult", "name": "Adult"}, {"key": "child", "name": "Child"}]);
    offer["categories"] = json!([{"key": "A", "name": "Front", "price_minor": 9500,
        "prices": [{"type": "child", "price_minor": 4500}],
        "tiers": [{"price_minor": 7000, "count": 100},
            {"price_minor": 8000, "until": "2026-12-31T00:00:00Z"}]}]);
    offer["quotas"] = json!([{"key": "standing", "size": 15, "sections": ["FLOOR"]},
        {"key": "children", "size": 5, "types": ["child"]}]);
    let made = create(&offer).send(&fixture.address).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let event = made.json();
    for name in ["types", "categories", "quotas"] {
        assert_eq!(event[name], offer[name]);
    }
    assert_eq!(event["price_from_minor"], 4500);
    let plain = create(&body()).send(&fixture.address).await.json();
    assert!(plain.get("types").is_none() && plain.get("quotas").is_none());
}

#[tokio::test]
async fn an_event_that_opens_later_is_announced() {
    let fixture = Fixture::start().await;
    let mut later = body();
    later["onsale_at"] = json!("2099-01-01T00:00:00Z");
    let refused = create(&later).send(&fixture.address).await;
    assert_eq!(refused.json()["errors"][0]["pointer"], "/onsale_at", "{}", refused.text());
    later["starts_at"] = json!("2099-05-01T00:00:00Z");
    let made = create(&later).send(&fixture.address).await.json();
    assert_eq!(made["status"], "announced");
    assert_eq!(made["onsale_at"], "2099-01-01T00:00:00Z");
}

#[tokio::test]
async fn all_faults_of_an_event_are_named_at_once() {
    let fixture = Fixture::start().await;
    let mut wrong = body();
    wrong["name"] = json!("");
    wrong["sections"][0]["category"] = json!("Z");
    wrong["surprise"] = json!(1);
    let refused = create(&wrong).send(&fixture.address).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_request"));
    let pointers: Vec<Value> = refused.json()["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| error["pointer"].clone())
        .collect();
    for pointer in ["/name", "/sections/0/category", "/surprise"] {
        assert!(pointers.contains(&json!(pointer)), "{pointers:?}");
    }
}

#[tokio::test]
async fn only_its_organizer_changes_an_event_and_everybody_sees_it_at_once() {
    let fixture = Fixture::start().await;
    let other_edge = fixture.another().await;
    let path = format!("/v1/events/{EVENT}");
    assert_eq!(ask("GET", &path).send(&other_edge.address).await.status, 200);
    let change = |key: &str| {
        ask("PATCH", &path).bearer(key).json(&json!({"name": "Renamed", "status": "cancelled"}))
    };
    let stranger = change(OTHER_ORGANIZER_KEY).send(&fixture.address).await;
    assert_eq!((stranger.status, stranger.code().as_str()), (403, "forbidden"));
    let changed = change(ORGANIZER_KEY).send(&fixture.address).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(changed.json()["status"], "cancelled");
    let seen = async {
        loop {
            let event = ask("GET", &path).send(&other_edge.address).await.json();
            if event["name"] == "Renamed" {
                return;
            }
        }
    };
    let patience = crate::client::PATIENCE;
    tokio::time::timeout(patience, seen).await.expect("the feed makes the cache stale");
    let nowhere = ask("PATCH", "/v1/events/evt_none").bearer(ORGANIZER_KEY).json(&json!({}));
    assert_eq!(nowhere.send(&fixture.address).await.code(), "not_found");
    let map = ask("PATCH", &path).bearer(ORGANIZER_KEY).json(&json!({"sections": []}));
    assert_eq!(map.send(&fixture.address).await.code(), "invalid_request");
}

#[tokio::test]
async fn a_change_on_an_old_revision_is_made_again_on_the_new_one() {
    let fixture = Fixture::start().await;
    let path = format!("/v1/events/{EVENT}");
    assert_eq!(ask("GET", &path).send(&fixture.address).await.status, 200);
    fixture.backend.change_silently("Meanwhile");
    let body = json!({"city": "Paris"});
    let changed = ask("PATCH", &path).bearer(ORGANIZER_KEY).json(&body);
    let changed = changed.send(&fixture.address).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let event = changed.json();
    assert_eq!((&event["name"], &event["city"]), (&json!("Meanwhile"), &json!("Paris")));
}

#[tokio::test]
async fn lists_are_paged_and_a_lagging_catalog_is_waited_for() {
    let fixture = Fixture::start().await;
    let list = ask("GET", "/v1/events?limit=1&q=Night").send(&fixture.address).await.json();
    assert_eq!(list["data"][0]["event_id"], EVENT);
    assert_eq!(list["next_cursor"], "next");
    let last = ask("GET", "/v1/events?cursor=next").send(&fixture.address).await.json();
    assert_eq!(last["next_cursor"], Value::Null);
    let catalog = std::mem::take(&mut fixture.backend.truth.lock().catalog);
    let backend = fixture.backend.clone();
    let path = format!("/v1/events/{EVENT}");
    let asking = ask("GET", &path).send(&fixture.address);
    let restoring = async {
        tokio::task::yield_now().await;
        backend.truth.lock().catalog = catalog;
    };
    let (answer, ()) = tokio::join!(asking, restoring);
    assert_eq!(answer.status, 200, "{}", answer.text());
}
