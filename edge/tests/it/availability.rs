//! What is available, as the feed says, and its live stream.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    backend::EVENT,
    client::{PATIENCE, ask},
    fixture::Fixture,
};

fn path(rest: &str) -> String {
    format!("/v1/events/{EVENT}/availability{rest}")
}

/// Asks until the answer is as wanted.
async fn until(fixture: &Fixture, wanted: impl Fn(&Value) -> bool) -> Value {
    let asking = async {
        loop {
            let state = ask("GET", &path("")).send(&fixture.address).await.json();
            if wanted(&state) {
                return state;
            }
        }
    };
    timeout(PATIENCE, asking).await.expect("the feed arrives")
}

#[tokio::test]
async fn holds_show_up_with_a_position_and_a_tag() {
    let fixture = Fixture::start().await;
    let first = ask("GET", &path("")).send(&fixture.address).await;
    let etag = first.header("etag").expect("a tag").to_owned();
    let state = first.json();
    assert_eq!(state["event_id"], EVENT);
    assert_eq!(
        state["sections"][0],
        json!({
            "key": "101", "available": 20, "held": 0, "sold": 0, "killed": 0, "seats": "AAAAAAA="
        })
    );
    assert_eq!(state["sections"][1]["available"], 50);
    let same = ask("GET", &path("")).header("if-none-match", &etag);
    let same = same.send(&fixture.address).await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    let body = json!({"event_id": EVENT, "seat_ids": ["101-A-2"]});
    let hold = ask("POST", "/v1/reserve").key("k").json(&body);
    assert_eq!(hold.send(&fixture.address).await.status, 200);
    let after = until(&fixture, |state| state["sections"][0]["held"] == 1).await;
    assert_eq!(after["sections"][0]["seats"], "BAAAAAA=");
    assert!(after["position"].as_u64() > state["position"].as_u64());
    let changed = ask("GET", &path("")).header("if-none-match", &etag);
    assert_eq!(changed.send(&fixture.address).await.status, 200);
    let floor = ask("GET", &path("?section=FLOOR")).send(&fixture.address).await;
    assert_eq!(floor.json()["sections"].as_array().map(Vec::len), Some(1));
    assert_eq!(floor.header("etag"), Some(etag.as_str()), "the floor did not change");
    let none = ask("GET", &path("?section=Z")).send(&fixture.address).await;
    assert_eq!(none.code(), "not_found");
}

#[tokio::test]
async fn an_event_without_places_left_is_sold_out() {
    let fixture = Fixture::start().await;
    let event = format!("/v1/events/{EVENT}");
    let before = ask("GET", &event).send(&fixture.address).await.json();
    assert_eq!(before["status"], "on_sale");
    assert_eq!(before["price_from_minor"], 4_000);
    assert_eq!(before["rules"]["hold_ttl"], "10m");
    {
        let mut truth = fixture.backend.truth.lock();
        let all: Vec<u32> = (0..20).collect();
        fixture.backend.announce(&mut truth, &all, 2);
        fixture.backend.area_sold_out(&mut truth);
    }
    until(&fixture, |state| state["sections"][1]["sold"] == 50).await;
    let after = ask("GET", &event).send(&fixture.address).await.json();
    assert_eq!(after["status"], "sold_out");
}

#[tokio::test]
async fn viewers_get_deltas_and_go_on_where_they_were() {
    let fixture = Fixture::start().await;
    let state = ask("GET", &path("")).send(&fixture.address).await.json();
    let from = state["position"].as_u64().expect("a position");
    let watch = |from: u64| {
        format!("GET {} HTTP/1.1\r\nhost: x\r\nlast-event-id: {from}\r\n\r\n", path("/stream"))
    };
    let mut viewer = TcpStream::connect(&fixture.address).await.expect("connected");
    viewer.write_all(watch(from).as_bytes()).await.expect("sent");
    let first = read_until(&mut viewer, "retry:").await;
    assert!(first.contains("content-type: text/event-stream"), "{first}");
    {
        let mut truth = fixture.backend.truth.lock();
        fixture.backend.announce(&mut truth, &[0, 11], 1);
    }
    let delta = read_until(&mut viewer, "\"changes\"").await;
    assert!(delta.contains("event: delta"), "{delta}");
    assert!(delta.contains("[0,1],[11,1]"), "{delta}");
    let mut back = TcpStream::connect(&fixture.address).await.expect("connected");
    back.write_all(watch(from).as_bytes()).await.expect("sent");
    read_until(&mut back, "[0,1],[11,1]").await;
    let mut late = TcpStream::connect(&fixture.address).await.expect("connected");
    late.write_all(watch(0).as_bytes()).await.expect("sent");
    read_until(&mut late, "event: reset").await;
    let bad = ask("GET", &path("/stream?from=x")).send(&fixture.address).await;
    assert_eq!(bad.code(), "invalid_request");
}

async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while !text.contains(wanted) {
            let read = stream.read(&mut buffer).await.expect("bytes");
            assert!(read > 0, "closed before {wanted}: {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    };
    timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("no {wanted}"));
    text
}

#[tokio::test]
async fn keys_and_the_seat_map_are_served() {
    let fixture = Fixture::start().await;
    let keys = ask("GET", "/v1/keys").send(&fixture.address).await.json();
    assert_eq!(keys["keys"][0]["crv"], "Ed25519");
    assert_eq!(keys["keys"][0]["kid"], "00000001");
    let map = format!("/v1/events/{EVENT}/seatmap");
    let map = ask("GET", &map).send(&fixture.address).await;
    assert!(map.header("cache-control").is_some_and(|cache| cache.contains("immutable")));
    assert!(map.header("etag").is_some());
    assert_eq!(map.json()["sections"][0]["rows"][0]["seats"], 10);
    let head = ask("HEAD", "/v1/keys").send(&fixture.address).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}
