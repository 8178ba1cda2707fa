//! What organizers and support change while an event sells, by the public HTTP of a demo.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Demo, answer, eventually, folder, onsale};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seats_are_killed_returned_swapped_and_renamed_while_an_event_sells() {
    let dir = folder();
    let demo = Demo::start(dir.path(), &["--no-limits"]);
    let desk = Desk::of(&demo);
    only_the_right_key_opens(&desk).await;
    killed_seats_are_off_sale_until_they_are_returned(&desk).await;
    held_seats_are_killed_when_they_come_back_and_sold_ones_never(&desk).await;
    places_of_an_area_are_killed_by_number(&desk).await;
    a_capacity_grows_and_never_falls_below_what_is_taken(&desk).await;
    a_ticket_moves_to_another_seat(&desk).await;
    a_name_needs_no_stock(&desk).await;
    two_hundred_thousand_seats_go_in_one_command(&desk).await;

    assert_eq!(demo.terminate(), 0);
    let nodes: Vec<String> =
        (1..=3).map(|node| dir.path().join(format!("node-{node}")).display().to_string()).collect();
    let (exit, report, _) = onsale(&["verify", &nodes[0], &nodes[1], &nodes[2]]);
    assert_eq!(exit, 0, "{report}");
}

/// A demo and its staff's keys.
struct Desk<'a> {
    demo: &'a Demo,
    organizer: String,
    support: String,
}

impl<'a> Desk<'a> {
    fn of(demo: &'a Demo) -> Desk<'a> {
        let credentials = demo.credentials();
        let key = |name: &str| credentials[name].as_str().expect("a key").to_owned();
        Desk { demo, organizer: key("organizer_key"), support: key("support_key") }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        staff: &str,
        key: &str,
        body: &Value,
    ) -> Answer {
        let mut request = self.demo.request(method, path).bearer_auth(staff).json(body);
        if !key.is_empty() {
            request = request.header("Idempotency-Key", key);
        }
        answer(request).await.expect("an answer")
    }

    async fn organize(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.send(
            Method::POST,
            format!("/v1/events/{path}").trim_end_matches('/'),
            &self.organizer,
            key,
            body,
        )
        .await
    }

    async fn patch(&self, event: &str, key: &str, body: &Value) -> Answer {
        let path = format!("/v1/events/{event}");
        self.send(Method::PATCH, &path, &self.organizer, key, body).await
    }

    async fn help(&self, order: &Value, what: &str, key: &str, body: &Value) -> Answer {
        let order = order["order_id"].as_str().expect("an id");
        let path = format!("/v1/orders/{order}/{what}");
        self.send(Method::POST, &path, &self.support, key, body).await
    }

    async fn kills(&self, event: &str) -> Value {
        let path = format!("/v1/events/{event}/kills");
        let request = self.demo.request(Method::GET, &path).bearer_auth(&self.organizer);
        answer(request).await.expect("an answer").json()
    }

    /// What readers see of a section: counts, and the seats' states.
    async fn section(&self, event: &str, key: &str) -> ([u64; 4], Vec<u8>) {
        let path = format!("/v1/events/{event}/availability?section={key}");
        let section = self.demo.get(&path).await.json()["sections"][0].clone();
        let count = |name: &str| section[name].as_u64().expect("a count");
        let counts = ["available", "held", "sold", "killed"].map(count);
        let bytes = STANDARD.decode(section["seats"].as_str().unwrap_or("")).expect("base64");
        let states = bytes.iter().flat_map(|byte| (0..4).map(move |at| byte >> (2 * at) & 3));
        (counts, states.collect())
    }

    async fn shows(&self, event: &str, key: &str, counts: [u64; 4]) {
        eventually("readers see the counts", async || self.section(event, key).await.0 == counts)
            .await;
    }

    async fn hold(&self, key: &str, body: &Value) -> Value {
        let hold = self.demo.reserve(key, body).await.expect("an answer");
        assert_eq!(hold.status, 200, "{}", hold.text);
        hold.json()
    }

    /// A confirmed order, with its token.
    async fn buy(&self, key: &str, body: &Value) -> Value {
        let hold = self.hold(key, body).await;
        let order = self.demo.checkout(&format!("{key}-pay"), &hold, "pm_card_visa").await;
        let order = order.expect("an answer").json();
        let mut whole = self.demo.order_until(&order, |it| it["status"] == "confirmed").await;
        whole["order_token"] = order["order_token"].clone();
        whole
    }

    async fn release(&self, hold: &Value) {
        let path = format!("/v1/holds/{}", hold["hold_id"].as_str().expect("an id"));
        let token = hold["hold_token"].as_str().expect("a token");
        let request = self.demo.request(Method::DELETE, &path).header("Hold-Token", token);
        assert_eq!(answer(request).await.expect("an answer").status, 204);
    }
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text);
}

async fn only_the_right_key_opens(desk: &Desk<'_>) {
    let body = json!({"seat_ids": ["101-A-1"]});
    for path in ["kills", "returns"] {
        let path = format!("/v1/events/evt_arena/{path}");
        let answer = desk.send(Method::POST, &path, &desk.support, "", &body).await;
        refused(&answer, 403, "forbidden");
        let answer = desk.send(Method::POST, &path, "osk_nobody", "", &body).await;
        refused(&answer, 401, "unauthenticated");
    }
    refused(&desk.organize("evt_none/kills", "", &body).await, 404, "not_found");
    let path = "/v1/orders/ord_00000000000000000000000000/swaps";
    let body = json!({"ticket_id": "tkt_x", "seat_id": "101-A-1"});
    let answer = desk.send(Method::POST, path, &desk.organizer, "", &body).await;
    refused(&answer, 403, "forbidden");
}

async fn killed_seats_are_off_sale_until_they_are_returned(desk: &Desk<'_>) {
    let body = json!({"seat_ids": ["103-A-2", "103-A-1", "103-A-2"],
        "rows": [{"section": "103", "row": "B"}], "reason": "camera"});
    let first = desk.organize("evt_arena/kills", "kill-1", &body).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let killed = first.json()["killed"].as_u64().expect("a count");
    assert!(killed > 2 && first.json()["pending_seat_ids"] == json!([]), "{}", first.text);
    let again = desk.organize("evt_arena/kills", "kill-1", &body).await;
    assert_eq!((again.status, &again.text), (200, &first.text), "byte for byte");
    assert_eq!(again.headers["Idempotent-Replayed"], "true");
    let other = json!({"seat_ids": ["103-A-9"]});
    let reused = desk.organize("evt_arena/kills", "kill-1", &other).await;
    refused(&reused, 422, "idempotency_key_reused");
    let reused = desk.organize("evt_arena/returns", "kill-1", &body).await;
    assert_eq!(reused.status, 400, "a reason is not a return's: {}", reused.text);

    let (total, _) = desk.section("evt_arena", "103").await;
    desk.shows("evt_arena", "103", [total.iter().sum::<u64>() - killed, 0, 0, killed]).await;
    let (_, states) = desk.section("evt_arena", "103").await;
    assert_eq!(states[..3], [3, 3, 0]);
    let wish = json!({"event_id": "evt_arena", "seat_ids": ["103-A-2", "103-A-3", "103-B-1"]});
    let taken = desk.demo.reserve("kill-hold", &wish).await.expect("an answer");
    refused(&taken, 409, "seat_unavailable");
    assert_eq!(taken.json()["seat_ids"], json!(["103-A-2", "103-B-1"]));

    let back = json!({"seat_ids": ["103-A-1", "103-A-3"]});
    let answer = desk.organize("evt_arena/returns", "", &back).await;
    refused(&answer, 409, "seats_not_killed");
    assert_eq!(answer.json()["seat_ids"], json!(["103-A-3"]));
    let back = json!({"seat_ids": ["103-A-1"], "rows": [{"section": "103", "row": "B"}]});
    let first = desk.organize("evt_arena/returns", "return-1", &back).await;
    assert_eq!(first.json()["returned"], killed - 1, "{}", first.text);
    let again = desk.organize("evt_arena/returns", "return-1", &back).await;
    assert_eq!(again.text, first.text);
    let kills = desk.kills("evt_arena").await;
    let left = json!([{"reason": "camera", "seat_ids": ["103-A-2"], "pending_seat_ids": [],
        "areas": []}]);
    assert_eq!(kills["kills"], left);
    let seats = total.iter().sum::<u64>();
    desk.shows("evt_arena", "103", [seats - 1, 0, 0, 1]).await;
}

async fn held_seats_are_killed_when_they_come_back_and_sold_ones_never(desk: &Desk<'_>) {
    let seat = |seats: &[&str]| json!({"event_id": "evt_arena", "seat_ids": seats});
    let held = desk.hold("kill-held", &seat(&["104-A-1", "104-A-2"])).await;
    desk.buy("kill-sold", &seat(&["104-A-5"])).await;
    let body = json!({"seat_ids": ["104-A-1", "104-A-4", "104-A-5"], "reason": "stage"});
    let answer = desk.organize("evt_arena/kills", "kill-2", &body).await;
    refused(&answer, 409, "seats_sold");
    assert_eq!(answer.json()["seat_ids"], json!(["104-A-5"]));
    let body = json!({"seat_ids": ["104-A-1", "104-A-4"], "reason": "stage"});
    let answer = desk.organize("evt_arena/kills", "kill-2", &body).await;
    assert_eq!(answer.json()["killed"], 1, "a refused key is free: {}", answer.text);
    assert_eq!(answer.json()["pending_seat_ids"], json!(["104-A-1"]));
    desk.release(&held).await;
    eventually("what was held is withdrawn", async || {
        let (_, states) = desk.section("evt_arena", "104").await;
        states[..5] == [3, 0, 0, 3, 2]
    })
    .await;
}

async fn places_of_an_area_are_killed_by_number(desk: &Desk<'_>) {
    let sections = desk.demo.get("/v1/events/evt_club/seatmap").await.json();
    let key = sections["sections"][0]["key"].as_str().expect("a key").to_owned();
    let areas = |quantity: u64| json!({"areas": [{"section": key, "quantity": quantity}]});
    let held = desk.hold("club-1", &json!({"event_id": "evt_club", "quantity": 4})).await;
    desk.buy("club-2", &json!({"event_id": "evt_club", "quantity": 2})).await;
    let answer = desk.organize("evt_club/kills", "", &areas(1_999)).await;
    refused(&answer, 409, "seats_sold");
    let taken = json!([{"key": key, "held": 4, "sold": 2, "killed": 0}]);
    assert_eq!(answer.json()["sections"], taken);
    let answer = desk.organize("evt_club/kills", "club-kill", &areas(1_998)).await;
    assert_eq!(answer.json()["killed"], 1_994, "{}", answer.text);
    assert_eq!(answer.json()["pending_areas"], json!([{"section": key, "quantity": 4}]));
    let none = json!({"event_id": "evt_club", "quantity": 1});
    let answer = desk.demo.reserve("club-3", &none).await.expect("an answer");
    refused(&answer, 409, "sold_out");
    desk.release(&held).await;
    desk.shows("evt_club", &key, [0, 0, 2, 1_998]).await;
    let answer = desk.organize("evt_club/returns", "", &areas(1_999)).await;
    refused(&answer, 409, "seats_not_killed");
    let answer = desk.organize("evt_club/returns", "", &areas(1_990)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    desk.shows("evt_club", &key, [1_990, 0, 2, 8]).await;
}

async fn a_capacity_grows_and_never_falls_below_what_is_taken(desk: &Desk<'_>) {
    let path = "/v1/events/evt_club/seatmap";
    let before = desk.demo.get(path).await;
    let key = before.json()["sections"][0]["key"].as_str().expect("a key").to_owned();
    let capacity = |n: u64| json!({"sections": [{"key": key, "capacity": n}]});
    let held = desk.hold("club-4", &json!({"event_id": "evt_club", "quantity": 5})).await;
    let answer = desk.patch("evt_club", "less", &capacity(14)).await;
    refused(&answer, 409, "capacity_below_taken");
    let taken = json!([{"key": key, "held": 5, "sold": 2, "killed": 8}]);
    assert_eq!(answer.json()["sections"], taken);
    let same = desk.demo.get(path).await;
    assert_eq!(same.headers["etag"], before.headers["etag"], "the document is as it was");
    let name = desk.patch("evt_club", "", &json!({"name": "Another night"})).await;
    assert_eq!(name.status, 200, "a refused change blocks no other: {}", name.text);
    let more = desk.patch("evt_club", "more", &capacity(2_500)).await;
    assert_eq!(more.status, 200, "{}", more.text);
    let again = desk.patch("evt_club", "more", &capacity(2_500)).await;
    assert_eq!((again.text, again.status), (more.text, 200));
    desk.shows("evt_club", &key, [2_485, 5, 2, 8]).await;
    let after = desk.demo.get(path).await;
    assert_eq!(after.json()["sections"][0]["capacity"], 2_500);
    assert_ne!(after.headers["etag"], before.headers["etag"]);
    desk.release(&held).await;
    let less = desk.patch("evt_club", "less", &capacity(14)).await;
    assert_eq!(less.status, 200, "a refused key is free: {}", less.text);
    desk.shows("evt_club", &key, [4, 0, 2, 8]).await;
}

async fn a_ticket_moves_to_another_seat(desk: &Desk<'_>) {
    let wish = json!({"event_id": "evt_arena", "seat_ids": ["105-A-1", "105-A-2"]});
    let order = desk.buy("swap", &wish).await;
    let old = order["tickets"][1].clone();
    let taken = json!({"ticket_id": old["ticket_id"], "seat_id": "105-A-1"});
    let unavailable = desk.help(&order, "swaps", "", &taken).await;
    refused(&unavailable, 409, "seat_unavailable");
    assert_eq!(unavailable.json()["seat_ids"], json!(["105-A-1"]));
    let map = desk.demo.get("/v1/events/evt_arena/seatmap").await.json();
    let sections = map["sections"].as_array().expect("sections");
    let dearer = sections.iter().find(|one| one["category"] != sections[4]["category"]);
    let dearer = format!("{}-A-1", dearer.expect("another category")["key"].as_str().expect("key"));
    let body = json!({"ticket_id": old["ticket_id"], "seat_id": dearer});
    refused(&desk.help(&order, "swaps", "", &body).await, 409, "price_differs");
    let nowhere = json!({"ticket_id": old["ticket_id"], "seat_id": "105-A-999"});
    refused(&desk.help(&order, "swaps", "", &nowhere).await, 400, "invalid_request");

    let body = json!({"ticket_id": old["ticket_id"], "seat_id": "105-A-7", "reason": "broken"});
    let first = desk.help(&order, "swaps", "swap-1", &body).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let swapped = first.json();
    assert_eq!(swapped["replaced_ticket_id"], old["ticket_id"]);
    assert_eq!(
        (&swapped["seat_id"], &swapped["replaced_seat_id"]),
        (&json!("105-A-7"), &json!("105-A-2"))
    );
    let again = desk.help(&order, "swaps", "swap-1", &body).await;
    assert_eq!((again.status, &again.text), (200, &first.text), "byte for byte");
    assert_eq!(again.headers["Idempotent-Replayed"], "true");

    let signed = |it: &Value| it["tickets"][1]["code"].is_string();
    let now = desk.demo.order_until(&order, signed).await;
    let statuses: Vec<_> = now["tickets"].as_array().expect("tickets").iter().collect();
    assert_eq!(statuses.len(), 3);
    assert_eq!(now["tickets"][0], order["tickets"][0], "the other ticket is as it was");
    let (new, void) = (statuses[1], statuses[2]);
    assert_eq!((&new["ticket_id"], &new["seat_id"]), (&swapped["ticket_id"], &swapped["seat_id"]));
    assert_eq!((&void["ticket_id"], &void["status"]), (&old["ticket_id"], &json!("transferred")));
    assert!(void["code"].is_null() && new["code"] != old["code"], "{now}");
    crate::purchase::the_code_verifies(desk.demo, new).await;
    let token = order["order_token"].as_str().expect("a token");
    let gone = format!("/v1/tickets/{}", old["ticket_id"].as_str().expect("an id"));
    let ticket = desk.demo.request(Method::GET, &gone).header("Order-Token", token);
    let ticket = answer(ticket).await.expect("an answer").json();
    assert_eq!((&ticket["status"], &ticket["code"]), (&json!("transferred"), &Value::Null));
    let image = desk.demo.request(Method::GET, &format!("{gone}.svg")).header("Order-Token", token);
    refused(&answer(image).await.expect("an answer"), 409, "conflict");
    let again = json!({"ticket_id": old["ticket_id"], "seat_id": "105-A-8"});
    refused(&desk.help(&order, "swaps", "", &again).await, 404, "not_found");
    eventually("the old seat is available", async || {
        let (_, states) = desk.section("evt_arena", "105").await;
        states[..7] == [2, 0, 0, 0, 0, 0, 2]
    })
    .await;
}

async fn a_name_needs_no_stock(desk: &Desk<'_>) {
    let order = desk.buy("name", &json!({"event_id": "evt_theatre", "quantity": 2})).await;
    let ticket = order["tickets"][0]["ticket_id"].clone();
    for (body, pointer) in [
        (json!({"ticket_id": ticket}), "/name"),
        (json!({"name": " "}), "/name"),
        (json!({"name": "Bo", "email": "bo"}), "/email"),
        (json!({"name": "Bo", "ticket_id": "tkt_1"}), "/ticket_id"),
    ] {
        let answer = desk.help(&order, "renames", "", &body).await;
        refused(&answer, 400, "invalid_request");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer);
    }
    let body = json!({"ticket_id": ticket, "name": "Grace Hopper", "email": "g@example.org"});
    let first = desk.help(&order, "renames", "name-1", &body).await;
    assert_eq!(first.json()["ticket_ids"], json!([ticket]), "{}", first.text);
    assert!(!first.text.contains("Grace"), "no name in the answer");
    let again = desk.help(&order, "renames", "name-1", &body).await;
    assert_eq!(again.text, first.text);
    let other = json!({"ticket_id": ticket, "name": "Someone Else"});
    let reused = desk.help(&order, "renames", "name-1", &other).await;
    refused(&reused, 422, "idempotency_key_reused");
    let now = desk.demo.order_until(&order, |it| it["tickets"][0]["holder_name"].is_string()).await;
    assert_eq!(now["tickets"][0]["holder_name"], "Grace Hopper");
    assert!(now["tickets"][1].get("holder_name").is_none());
    assert_eq!(now["tickets"][0]["code"], order["tickets"][0]["code"], "the code stays good");
    let all = desk.help(&order, "renames", "", &json!({"name": "Ada"})).await;
    assert_eq!(all.json()["ticket_ids"].as_array().map(Vec::len), Some(2));
}

/// As large as an event may be, each seat by its own name.
async fn two_hundred_thousand_seats_go_in_one_command(desk: &Desk<'_>) {
    let body = json!({
        "name": "Huge", "venue": "Field", "starts_at": "2035-01-01T20:00:00Z", "currency": "EUR",
        "categories": [{"key": "A", "name": "A", "price_minor": 100}],
        "sections": [{"key": "S", "category": "A", "row_count": 500, "seats_per_row": 400}],
    });
    let made = desk.organize("", "", &body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let event = made.json()["event_id"].as_str().expect("an id").to_owned();
    let map = desk.demo.get(&format!("/v1/events/{event}/seatmap")).await.json();
    let rows = map["sections"][0]["rows"].as_array().expect("rows");
    let labels = rows.iter().map(|row| row["label"].as_str().expect("a label"));
    let seats: Vec<String> =
        labels.flat_map(|row| (1..=400).map(move |no| format!("S-{row}-{no}"))).collect();
    assert_eq!(seats.len(), 200_000);
    let body = json!({"seat_ids": seats, "reason": "all of it"});
    let killed = desk.organize(&format!("{event}/kills"), "huge", &body).await;
    assert_eq!(killed.json()["killed"], 200_000, "{:.300}", killed.text);
    desk.shows(&event, "S", [0, 0, 0, 200_000]).await;
    let all = json!({"sections": ["S", "S"]});
    let back = desk.organize(&format!("{event}/returns"), "", &all).await;
    assert_eq!(back.json()["returned"], 200_000, "{}", back.text);
    desk.shows(&event, "S", [200_000, 0, 0, 0]).await;
    let long = json!({"seat_ids": vec!["x".repeat(100); 50_000]});
    let answer = desk.organize(&format!("{event}/kills"), "", &long).await;
    refused(&answer, 413, "payload_too_large");
}
