//! Places set aside for channels, by the public HTTP of a demo.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use onsale_proto::time;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Demo, answer, eventually, folder, onsale};

const SECRET: &str = "open-sesame";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_are_set_aside_for_who_comes_through_a_channel_and_released_at_their_time() {
    let dir = folder();
    let demo = Demo::start(dir.path(), &["--no-limits"]);
    let desk = Desk::of(&demo);
    only_the_events_organizer_opens_channels(&desk).await;
    a_secret_opens_what_is_set_aside(&desk).await;
    nothing_is_set_aside_twice(&desk).await;
    an_allotment_of_an_area_is_used_up_first(&desk).await;
    a_sale_through_a_channel_outlives_it(&desk).await;
    what_is_unsold_is_everybodys_at_its_time(&desk).await;

    assert_eq!(demo.terminate(), 0);
    let nodes: Vec<String> =
        (1..=3).map(|node| dir.path().join(format!("node-{node}")).display().to_string()).collect();
    let (exit, report, _) = onsale(&["verify", &nodes[0], &nodes[1], &nodes[2]]);
    assert_eq!(exit, 0, "{report}");
}

struct Desk<'a> {
    demo: &'a Demo,
    organizer: String,
}

impl<'a> Desk<'a> {
    fn of(demo: &'a Demo) -> Desk<'a> {
        let organizer = demo.credentials()["organizer_key"].as_str().expect("a key").to_owned();
        Desk { demo, organizer }
    }

    async fn put(&self, channel: &str, key: &str, body: &Value) -> Answer {
        let path = format!("/v1/events/{channel}");
        let mut request = self.demo.request(Method::PUT, &path).bearer_auth(&self.organizer);
        if !key.is_empty() {
            request = request.header("Idempotency-Key", key);
        }
        answer(request.json(body)).await.expect("an answer")
    }

    async fn ask(&self, method: Method, channels: &str) -> Answer {
        let path = format!("/v1/events/{channels}");
        let request = self.demo.request(method, &path).bearer_auth(&self.organizer);
        answer(request).await.expect("an answer")
    }

    /// A reserve with a secret, if there is one.
    async fn reserve(&self, key: &str, secret: &str, body: &Value) -> Answer {
        let mut request = self.demo.request(Method::POST, "/v1/reserve").json(body);
        request = request.header("Idempotency-Key", key);
        if !secret.is_empty() {
            request = request.header("Channel-Key", secret);
        }
        answer(request).await.expect("an answer")
    }

    /// Counts of a section as everybody sees them, and its seats' states.
    async fn section(&self, event: &str, key: &str) -> ([u64; 4], Vec<u8>) {
        let path = format!("/v1/events/{event}/availability?section={key}");
        let section = self.demo.get(&path).await.json()["sections"][0].clone();
        let count = |name: &str| section[name].as_u64().expect("a count");
        let bytes = STANDARD.decode(section["seats"].as_str().unwrap_or("")).expect("base64");
        let states = bytes.iter().flat_map(|byte| (0..4).map(move |at| byte >> (2 * at) & 3));
        (["available", "held", "sold", "killed"].map(count), states.collect())
    }
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text);
}

fn seats(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let seats = answer.json()["seats"].as_array().expect("seats").clone();
    seats.iter().map(|seat| seat["seat_id"].as_str().unwrap_or("").to_owned()).collect()
}

async fn only_the_events_organizer_opens_channels(desk: &Desk<'_>) {
    let support = desk.demo.credentials()["support_key"].as_str().expect("a key").to_owned();
    for method in [Method::PUT, Method::GET, Method::DELETE] {
        let path = "/v1/events/evt_arena/channels/fans";
        let request = || desk.demo.request(method.clone(), path).json(&json!({}));
        refused(&answer(request()).await.expect("one"), 401, "unauthenticated");
        let answer = answer(request().bearer_auth(&support)).await.expect("one");
        refused(&answer, 403, "forbidden");
    }
    refused(&desk.put("evt_none/channels/fans", "", &json!({})).await, 404, "not_found");
    refused(&desk.put("evt_arena/channels/a%20b", "", &json!({})).await, 400, "invalid_request");
    refused(&desk.ask(Method::GET, "evt_arena/channels/fans").await, 404, "not_found");
    refused(&desk.ask(Method::DELETE, "evt_arena/channels/fans").await, 404, "not_found");
    let past = json!({"release_at": "2001-01-01T00:00:00Z"});
    let answer = desk.put("evt_arena/channels/fans", "", &past).await;
    refused(&answer, 400, "invalid_request");
    assert_eq!(answer.json()["errors"][0]["pointer"], "/release_at");
}

async fn a_secret_opens_what_is_set_aside(desk: &Desk<'_>) {
    let rows = json!([{"section": "105", "row": "A"}]);
    let body = json!({"rows": rows, "secret": SECRET});
    let first = desk.put("evt_arena/channels/fans", "put-1", &body).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let row = first.json()["allotted"].as_u64().expect("a count");
    assert!(!first.text.contains(SECRET) && first.json()["has_secret"] == true, "{}", first.text);
    let again = desk.put("evt_arena/channels/fans", "put-1", &body).await;
    assert_eq!((&again.text, again.status), (&first.text, 200), "byte for byte");
    assert_eq!(again.headers["Idempotent-Replayed"], "true");
    let other = desk.put("evt_arena/channels/fans", "put-1", &json!({"rows": rows})).await;
    refused(&other, 422, "idempotency_key_reused");
    eventually("readers see it as held", async || {
        let (counts, states) = desk.section("evt_arena", "105").await;
        counts[1] == row && states[0] == 1
    })
    .await;

    let seat = json!({"event_id": "evt_arena", "seat_ids": ["105-A-2", "105-B-1"]});
    let answer = desk.reserve("out-1", "", &seat).await;
    refused(&answer, 409, "seat_unavailable");
    assert_eq!(answer.json()["seat_ids"], json!(["105-A-2"]));
    let best = json!({"event_id": "evt_arena", "quantity": 4, "section": "105"});
    let chosen = seats(&desk.reserve("out-2", SECRET, &best).await);
    assert!(chosen.iter().all(|seat| !seat.starts_with("105-A-")), "{chosen:?}");

    let through =
        |channel: &str, n: u64| json!({"event_id": "evt_arena", "quantity": n, "channel": channel});
    refused(&desk.reserve("in-1", "", &through("fans", 2)).await, 403, "channel_forbidden");
    let wrong = desk.reserve("in-1", "open-barley", &through("fans", 2)).await;
    refused(&wrong, 403, "channel_forbidden");
    let nobody = desk.reserve("in-1", SECRET, &through("nobody", 2)).await;
    refused(&nobody, 403, "channel_forbidden");
    let held = desk.reserve("in-1", SECRET, &through("fans", 2)).await;
    let chosen = seats(&held);
    assert!(chosen.iter().all(|seat| seat.starts_with("105-A-")), "{chosen:?}");
    let again = desk.reserve("in-1", "", &through("fans", 2)).await;
    assert_eq!(again.text, held.text, "the key proves it");
    let other = json!({"event_id": "evt_arena", "quantity": 2});
    refused(&desk.reserve("in-1", "", &other).await, 422, "idempotency_key_reused");
    let named = json!({"event_id": "evt_arena", "seat_ids": ["105-B-9"], "channel": "fans"});
    refused(&desk.reserve("in-2", SECRET, &named).await, 409, "seat_unavailable");

    let shown = desk.ask(Method::GET, "evt_arena/channels/fans").await.json();
    assert_eq!((&shown["available"], &shown["taken"]), (&json!(row - 2), &json!(2)));
    assert_eq!(shown["seat_ids"][0], "105-A-1");
    let all = desk.ask(Method::GET, "evt_arena/channels").await.json();
    assert_eq!(all["channels"], json!([shown]));
    assert_eq!(all["totals"], json!({"set_aside": row - 2, "held": 2, "sold": 0}));
}

async fn nothing_is_set_aside_twice(desk: &Desk<'_>) {
    let body = json!({"seat_ids": ["105-A-1", "106-A-1", "105-A-3"]});
    let answer = desk.put("evt_arena/channels/club", "", &body).await;
    refused(&answer, 409, "seat_unavailable");
    assert_eq!(answer.json()["seat_ids"], json!(["105-A-1", "105-A-3"]));
    let all = desk.ask(Method::GET, "evt_arena/channels").await.json();
    assert_eq!(all["channels"].as_array().expect("a list").len(), 1);
    let sections = desk.demo.get("/v1/events/evt_club/seatmap").await.json();
    let key = sections["sections"][0]["key"].as_str().expect("a key").to_owned();
    let areas = |n: u64| json!({"areas": [{"section": key, "quantity": n}]});
    let answer = desk.put("evt_club/channels/club", "", &areas(2_001)).await;
    refused(&answer, 409, "seat_unavailable");
    assert_eq!(answer.json()["sections"][0]["key"], key.as_str());
}

async fn an_allotment_of_an_area_is_used_up_first(desk: &Desk<'_>) {
    let sections = desk.demo.get("/v1/events/evt_club/seatmap").await.json();
    let key = sections["sections"][0]["key"].as_str().expect("a key").to_owned();
    let body = json!({"areas": [{"section": key, "quantity": 5}], "general_too": true});
    assert_eq!(desk.put("evt_club/channels/crew", "", &body).await.status, 200);
    let wish = |n: u64| json!({"event_id": "evt_club", "quantity": n, "channel": "crew"});
    assert_eq!(desk.reserve("crew-1", "", &wish(4)).await.status, 200);
    assert_eq!(desk.reserve("crew-2", "", &wish(3)).await.status, 200);
    let shown = desk.ask(Method::GET, "evt_club/channels/crew").await.json();
    assert_eq!((&shown["available"], &shown["taken"]), (&json!(0), &json!(7)));
    eventually("two of everybody's are held", async || {
        desk.section("evt_club", &key).await.0 == [1_993, 7, 0, 0]
    })
    .await;
}

async fn a_sale_through_a_channel_outlives_it(desk: &Desk<'_>) {
    let body = json!({"seat_ids": ["107-A-1", "107-A-2", "107-A-3"]});
    assert_eq!(desk.put("evt_arena/channels/box", "", &body).await.status, 200);
    let named =
        json!({"event_id": "evt_arena", "items": [{"seat_ids": ["107-A-2"]}], "channel": "box"});
    let hold = desk.reserve("box-1", "", &named).await;
    assert_eq!(seats(&hold), ["107-A-2"]);
    let order = desk.demo.checkout("box-1-pay", &hold.json(), "pm_card_visa").await;
    let order = order.expect("an answer").json();
    desk.demo.order_until(&order, |it| it["status"] == "confirmed").await;
    let shown = desk.ask(Method::GET, "evt_arena/channels/box").await.json();
    let counts = ["available", "taken", "held", "sold"].map(|name| shown[name].as_u64());
    assert_eq!(counts, [2, 1, 0, 1].map(Some), "{shown}");
    let gone = desk.ask(Method::DELETE, "evt_arena/channels/box").await;
    assert_eq!((gone.status, gone.text.as_str()), (204, ""));
    refused(&desk.ask(Method::DELETE, "evt_arena/channels/box").await, 404, "not_found");
    refused(&desk.reserve("box-2", "", &named).await, 403, "channel_forbidden");
    eventually("what was not sold is everybody's", async || {
        desk.section("evt_arena", "107").await.1[..3] == [0, 2, 0]
    })
    .await;
    let seat = json!({"event_id": "evt_arena", "seat_ids": ["107-A-1", "107-A-3"]});
    assert_eq!(desk.reserve("box-3", "", &seat).await.status, 200);
}

async fn what_is_unsold_is_everybodys_at_its_time(desk: &Desk<'_>) {
    let release_at = time::to_rfc3339(time::now_ms() + 2_500);
    let seat_ids = json!(["108-A-1", "108-A-2", "108-A-3"]);
    let body = json!({"seat_ids": seat_ids, "release_at": release_at});
    let put = desk.put("evt_arena/channels/late", "", &body).await;
    assert_eq!((put.status, &put.json()["release_at"]), (200, &json!(release_at)), "{}", put.text);
    let named = json!({"event_id": "evt_arena", "seat_ids": ["108-A-2"], "channel": "late"});
    assert_eq!(seats(&desk.reserve("late-1", "", &named).await), ["108-A-2"]);
    let others = json!({"event_id": "evt_arena", "seat_ids": ["108-A-1", "108-A-3"]});
    refused(&desk.reserve("late-2", "", &others).await, 409, "seat_unavailable");
    eventually("its time has come, and nobody had to ask", async || {
        desk.section("evt_arena", "108").await.1[..3] == [0, 1, 0]
    })
    .await;
    assert_eq!(desk.reserve("late-2", "", &others).await.status, 200);
    let shown = desk.ask(Method::GET, "evt_arena/channels/late").await.json();
    assert_eq!((&shown["seat_ids"], &shown["taken"]), (&json!([]), &json!(1)));
}
