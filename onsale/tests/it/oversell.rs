//! Three hundred buyers who want the same hundred and twenty seats.

use std::{collections::BTreeMap, sync::Arc};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Demo, answer, eventually, folder};

const BUYERS: usize = 300;
const SEATS: usize = 120;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_buyers_on_a_hundred_and_twenty_seats_never_share_one() {
    let dir = folder();
    let demo = Arc::new(Demo::start(dir.path(), &["--no-limits", "--empty"]));
    let event = Arc::new(create_event(&demo).await);
    let buyers: Vec<_> = (0..BUYERS)
        .map(|buyer| tokio::spawn(buy(Arc::clone(&demo), Arc::clone(&event), buyer)))
        .collect();
    let mut owners: BTreeMap<String, usize> = BTreeMap::new();
    for (buyer, task) in buyers.into_iter().enumerate() {
        for seat in task.await.expect("the buyer ends") {
            let other = owners.insert(seat.clone(), buyer);
            assert_eq!(other, None, "{seat} is buyer {buyer}'s too");
        }
    }
    assert_eq!(owners.len(), SEATS, "everything is held in the end");

    let path = format!("/v1/events/{event}/availability");
    eventually("the counts add up to what was answered", async || {
        let section = demo.get(&path).await.json()["sections"][0].clone();
        section["held"] == SEATS && section["available"] == 0
    })
    .await;
    let body = json!({"event_id": *event, "quantity": 1});
    let refused = demo.reserve("late", &body).await.expect("an answer");
    assert_eq!((refused.status, refused.code().as_str()), (409, "sold_out"), "{}", refused.text);
    assert!(refused.json()["held_may_return_at"].is_string(), "{}", refused.text);
}

async fn create_event(demo: &Demo) -> String {
    let body = json!({
        "name": "Small hall", "venue": "Small hall", "starts_at": "2031-01-01T20:00:00Z",
        "currency": "EUR", "categories": [{"key": "A", "name": "All", "price_minor": 1000}],
        "sections": [{"key": "H", "category": "A", "row_count": 6, "seats_per_row": 20}],
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

/// One buyer: named seats first (everybody's favourites), a retry, sometimes a release and another
/// try, then best available. Gives the seats that are the buyer's in the end.
async fn buy(demo: Arc<Demo>, event: Arc<String>, buyer: usize) -> Vec<String> {
    let favourites: Vec<String> = (0..2)
        .map(|place| {
            let seat = (buyer * 7 + place) % SEATS;
            format!("H-{}-{}", char::from(b'A' + u8::try_from(seat / 20).unwrap()), seat % 20 + 1)
        })
        .collect();
    let body = json!({"event_id": *event, "seat_ids": favourites});
    let mut held = reserve_twice(&demo, &format!("{buyer}-named"), &body).await;
    if let Some(hold) = &held
        && buyer.is_multiple_of(5)
    {
        release(&demo, hold).await;
        held = None;
    }
    for attempt in 0..40 {
        if held.is_some() {
            break;
        }
        let quantity = if attempt < 20 { 2 } else { 1 };
        let body = json!({"event_id": *event, "quantity": quantity});
        held = reserve_twice(&demo, &format!("{buyer}-best-{attempt}"), &body).await;
    }
    let seats = held.map(|hold| hold["seats"].as_array().cloned().unwrap_or_default());
    seats
        .unwrap_or_default()
        .iter()
        .map(|seat| seat["seat_id"].as_str().expect("a seat").to_owned())
        .collect()
}

/// Sends the request twice at once under one key; both answers must be the same hold.
async fn reserve_twice(demo: &Demo, key: &str, body: &Value) -> Option<Value> {
    let (one, two) = tokio::join!(demo.reserve(key, body), demo.reserve(key, body));
    let (one, two) = (one.expect("an answer"), two.expect("an answer"));
    for answer in [&one, &two] {
        match answer.status {
            200 => {}
            409 => check_refusal(body, &answer.json()),
            other => panic!("status {other}: {}", answer.text),
        }
    }
    // A refusal stores nothing, so the second may succeed where the first was refused.
    match (one.status, two.status) {
        (200, 200) => {
            assert_eq!(one.text, two.text);
            Some(one.json())
        }
        (200, _) => Some(one.json()),
        (_, 200) => Some(two.json()),
        _ => None,
    }
}

fn check_refusal(asked: &Value, problem: &Value) {
    let code = problem["code"].as_str().unwrap_or_default();
    if asked["seat_ids"].is_null() {
        assert!(["sold_out", "not_enough_together"].contains(&code), "{problem}");
        return;
    }
    assert_eq!(code, "seat_unavailable", "{problem}");
    let named = problem["seat_ids"].as_array().expect("the conflicting seats");
    let asked = asked["seat_ids"].as_array().expect("seats");
    assert!(!named.is_empty() && named.iter().all(|seat| asked.contains(seat)), "{problem}");
}

async fn release(demo: &Demo, hold: &Value) {
    let path = format!("/v1/holds/{}", hold["hold_id"].as_str().expect("an id"));
    let token = hold["hold_token"].as_str().expect("a token");
    let released = answer(demo.request(Method::DELETE, &path).header("Hold-Token", token)).await;
    assert!(released.expect("an answer").status < 300);
}
