//! From a hold to a ticket through `/v1`, with replays, wrong tokens and other edges.

use onsale_proto::{Code, allocator::Rejected, id};
use serde_json::{Value, json};

use crate::{
    backend::{EVENT, ORGANIZER_KEY, SUPPORT_KEY},
    client::{Answer, Ask, ask},
    fixture::Fixture,
};

fn reserve(body: &Value, key: &str) -> Ask {
    ask("POST", "/v1/reserve").key(key).json(body)
}

fn two_seats() -> Value {
    json!({"event_id": EVENT, "seat_ids": ["101-A-1", "101-B-10"]})
}

fn checkout(hold: &Value) -> Value {
    json!({
        "hold_id": hold["hold_id"], "hold_token": hold["hold_token"],
        "contact": {"name": "Ada Lovelace", "email": " Ada@Example.com "},
        "payment_method": "pm_card_visa",
    })
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[tokio::test]
async fn a_hold_answers_as_the_contract_says_and_again_byte_for_byte() {
    let fixture = Fixture::start().await;
    let first = reserve(&two_seats(), "k1").send(&fixture.address).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let hold = first.json();
    assert_eq!(hold["event_id"], EVENT);
    assert_eq!(
        hold["seats"],
        json!([
            {"seat_id": "101-A-1", "section": "101", "row": "A", "number": 1,
             "category": "A", "price_minor": 9500},
            {"seat_id": "101-B-10", "section": "101", "row": "B", "number": 10,
             "category": "A", "price_minor": 9500},
        ])
    );
    assert_eq!((&hold["total_minor"], &hold["currency"]), (&json!(19_000), &json!("EUR")));
    assert_eq!(hold["expires_in_seconds"], 600);
    let hold_id = id::parse(id::HOLD, text(&hold["hold_id"])).expect("a hold id");
    assert!(fixture.secret.proves_hold(hold_id, text(&hold["hold_token"])));
    assert_eq!(id::shard_of(hold_id), 1);
    assert_eq!(first.header("idempotent-replayed"), None);
    let cookies = first.cookies();
    assert!(cookies[0].starts_with("onsale_session="), "{cookies:?}");
    let whole = first.header("set-cookie").expect("a cookie");
    assert!(whole.contains("HttpOnly") && whole.contains("SameSite=Lax"), "{whole}");

    let other_edge = fixture.another().await;
    let with_cookie = reserve(&two_seats(), "\"k1\"").header("cookie", &cookies[0]);
    for again in [
        reserve(&two_seats(), "k1").send(&fixture.address).await,
        reserve(&two_seats(), "k1").send(&other_edge.address).await,
        with_cookie.send(&fixture.address).await,
    ] {
        assert_eq!(again.status, 200);
        assert_eq!(again.body, first.body);
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
    }
    let other = json!({"event_id": EVENT, "seat_ids": ["101-A-2"]});
    let reused = reserve(&other, "k1").send(&fixture.address).await;
    assert_eq!((reused.status, reused.code().as_str()), (422, "idempotency_key_reused"));
}

#[tokio::test]
async fn another_session_does_not_get_the_first_ones_answer() {
    let fixture = Fixture::start().await;
    let one = reserve(&two_seats(), "k1").send(&fixture.address).await;
    let body = json!({"event_id": EVENT, "quantity": 1});
    let two = reserve(&body, "k2").send(&fixture.address).await;
    let (one, two) = (one.cookies(), two.cookies());
    assert_ne!(one, two);
    let stolen = reserve(&two_seats(), "k1").header("cookie", &two[0]);
    assert_eq!(stolen.send(&fixture.address).await.code(), "idempotency_key_reused");
    let forged = format!("{}x", &one[0][..one[0].len() - 1]);
    let forged = reserve(&two_seats(), "k1").header("cookie", &forged);
    let forged = forged.send(&fixture.address).await;
    assert_eq!(forged.status, 200, "a cookie that is not ours is none");
    assert_eq!(forged.cookies(), one, "and the session of the key is given again");
}

#[tokio::test]
async fn general_admission_and_items_are_held() {
    let fixture = Fixture::start().await;
    let floor = json!({"event_id": EVENT, "quantity": 2, "section": "FLOOR"});
    let floor = reserve(&floor, "k1").send(&fixture.address).await.json();
    assert_eq!(
        floor["seats"][1],
        json!({"seat_id": null, "section": "FLOOR", "row": null, "number": null,
            "category": "GA", "price_minor": 4000})
    );
    let both = json!({"event_id": EVENT, "items": [
        {"seat_ids": ["101-B-1"]}, {"quantity": 1, "category": "GA"}]});
    let both = reserve(&both, "k2").send(&fixture.address).await.json();
    assert_eq!(both["total_minor"], 13_500);
}

#[tokio::test]
async fn a_mix_of_types_is_held_and_each_seat_and_ticket_says_its_own() {
    let fixture = Fixture::start().await;
    fixture.backend.set_types(&["adult", "child"]);
    let mix = json!({"event_id": EVENT, "section": "FLOOR", "types": {"child": 2, "adult": 1}});
    let answer = reserve(&mix, "t1").send(&fixture.address).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let hold = answer.json();
    let types: Vec<&str> =
        hold["seats"].as_array().expect("seats").iter().map(|seat| text(&seat["type"])).collect();
    assert_eq!(types, ["adult", "child", "child"]);
    let again = reserve(&mix, "t1").send(&fixture.another().await.address).await;
    assert_eq!((again.status, &again.body), (200, &answer.body));
    let mut other = mix.clone();
    other["types"] = json!({"child": 1, "adult": 2});
    let reused = reserve(&other, "t1").send(&fixture.address).await;
    assert_eq!(reused.code(), "idempotency_key_reused");
    let at = &fixture.address;
    let order = ask("POST", "/v1/checkout").key("t1").json(&checkout(&hold)).send(at).await.json();
    let order_id = id::parse(id::ORDER, text(&order["order_id"])).expect("an order id");
    fixture.backend.confirm(order_id);
    let read =
        ask("GET", text(&order["status_url"])).header("order-token", text(&order["order_token"]));
    let state = read.send(at).await.json();
    let types = state["tickets"].as_array().expect("tickets").iter().map(|one| text(&one["type"]));
    assert_eq!(types.collect::<Vec<_>>(), ["adult", "child", "child"]);
    let unknown = json!({"event_id": EVENT, "types": {"senior": 1}, "section": "FLOOR"});
    let refused = reserve(&unknown, "t2").send(&fixture.address).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_request"));
    assert_eq!(refused.json()["errors"][0]["pointer"], "/types/senior");
}

#[tokio::test]
async fn refusals_say_what_the_contract_says() {
    let fixture = Fixture::start().await;
    reserve(&two_seats(), "k1").send(&fixture.address).await;
    let wish = json!({"event_id": EVENT, "seat_ids": ["101-A-2", "101-B-10", "101-A-1"]});
    let taken = reserve(&wish, "k2").send(&fixture.address).await;
    assert_eq!((taken.status, taken.code().as_str()), (409, "seat_unavailable"));
    assert_eq!(taken.json()["seat_ids"], json!(["101-B-10", "101-A-1"]));
    let many = json!({"event_id": EVENT, "quantity": 20});
    let sold_out = reserve(&many, "k3").send(&fixture.address).await;
    assert_eq!((sold_out.status, sold_out.code().as_str()), (409, "sold_out"));
    assert!(sold_out.json()["held_may_return_at"].is_string());
    let one = json!({"event_id": EVENT, "quantity": 1});
    for (code, status) in [
        (Code::NotOnSale, 409),
        (Code::BuyerLimitReached, 409),
        (Code::Overloaded, 503),
        (Code::InvalidRequest, 400),
    ] {
        fixture.backend.refuse_next(Rejected {
            code: code.as_str().into(),
            detail: "so it is".into(),
            field: if code == Code::InvalidRequest {
                "items/0/quantity".into()
            } else {
                String::new()
            },
            at_ms: Some(1_000),
            ..Rejected::default()
        });
        let refused = reserve(&one, "k4").send(&fixture.address).await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code.as_str()));
        match code {
            Code::NotOnSale => assert_eq!(refused.json()["onsale_at"], "1970-01-01T00:00:01Z"),
            Code::Overloaded => assert!(refused.header("retry-after").is_some()),
            Code::InvalidRequest => assert_eq!(refused.json()["errors"][0]["pointer"], "/quantity"),
            _ => {}
        }
    }
    let granted = reserve(&one, "k4").send(&fixture.address).await;
    assert_eq!(granted.status, 200, "a refusal stores nothing");
    let nowhere = json!({"event_id": "evt_none", "quantity": 1});
    assert_eq!(reserve(&nowhere, "k5").send(&fixture.address).await.code(), "not_found");
    let keyless = ask("POST", "/v1/reserve").json(&one).send(&fixture.address).await;
    assert_eq!((keyless.status, keyless.code().as_str()), (400, "idempotency_key_required"));
}

#[tokio::test]
async fn seats_left_alone_and_the_ones_that_mend_it_are_named() {
    let fixture = Fixture::start().await;
    fixture.backend.refuse_next(Rejected {
        code: Code::OrphanSeats.as_str().into(),
        detail: "would be left alone".into(),
        seats: vec![1, 11],
        mend_seats: vec![0],
        ..Rejected::default()
    });
    let refused = reserve(&two_seats(), "k1").send(&fixture.address).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "orphan_seats"));
    let problem = refused.json();
    assert_eq!(problem["seat_ids"], json!(["101-A-2", "101-B-2"]));
    assert_eq!(problem["mend_seat_ids"], json!(["101-A-1"]));
    fixture.backend.refuse_next(Rejected {
        code: Code::CompanionWithoutAccessible.as_str().into(),
        seats: vec![2],
        ..Rejected::default()
    });
    let refused = reserve(&two_seats(), "k1").send(&fixture.address).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "companion_without_accessible"));
    assert_eq!(refused.json()["seat_ids"], json!(["101-A-3"]));
    assert!(refused.json().get("mend_seat_ids").is_none());
}

#[tokio::test]
async fn a_shard_that_does_not_answer_is_never_reported_as_a_failure() {
    let fixture = Fixture::start().await;
    for _ in 0..64 {
        fixture.backend.refuse_next(Rejected {
            code: Code::Unavailable.as_str().into(),
            unknown: true,
            ..Rejected::default()
        });
    }
    let body = json!({"event_id": EVENT, "quantity": 1});
    let unknown = reserve(&body, "k1").send(&fixture.address).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (504, "outcome_unknown"));
    assert_eq!(unknown.json()["retryable"], true);
    fixture.backend.truth.lock().refusals.clear();
    assert_eq!(reserve(&body, "k1").send(&fixture.address).await.status, 200);
}

fn hold_path(hold: &Value, rest: &str) -> String {
    format!("/v1/holds/{}{rest}", text(&hold["hold_id"]))
}

fn with_token(method: &str, hold: &Value, rest: &str) -> Ask {
    ask(method, &hold_path(hold, rest)).header("hold-token", text(&hold["hold_token"]))
}

#[tokio::test]
async fn a_hold_is_read_extended_and_released_by_its_bearer_only() {
    let fixture = Fixture::start().await;
    let hold = reserve(&two_seats(), "k1").send(&fixture.address).await.json();
    let state = with_token("GET", &hold, "").send(&fixture.address).await.json();
    assert_eq!(state["state"], "held");
    assert_eq!(state["expires_in_seconds"], 599);
    assert_eq!(state["seats"], hold["seats"]);
    assert_eq!(state["order_id"], Value::Null);
    let extend = with_token("POST", &hold, "/extend");
    let extended = extend.send(&fixture.address).await;
    assert_eq!(extended.json()["extensions"], 1, "{}", extended.text());
    let seen = with_token("POST", &hold, "/extend").json(&json!({"extensions_seen": 0}));
    assert_eq!(seen.send(&fixture.address).await.status, 200, "a repeat finds it done");
    let extend = with_token("POST", &hold, "/extend");
    assert_eq!(extend.send(&fixture.address).await.code(), "extension_limit_reached");
    let anonymous = ask("GET", &hold_path(&hold, "")).send(&fixture.address).await;
    assert_eq!((anonymous.status, anonymous.code().as_str()), (401, "unauthenticated"));
    let strangers = [
        ask("GET", &hold_path(&hold, "")).header("hold-token", "wrong"),
        ask("GET", "/v1/holds/hold_nonsense").header("hold-token", text(&hold["hold_token"])),
        ask("DELETE", &hold_path(&hold, "")).header("hold-token", "wrong"),
        ask("POST", &hold_path(&hold, "/extend")).header("hold-token", "wrong"),
    ];
    let mut details = Vec::new();
    for stranger in strangers {
        let refused = stranger.send(&fixture.address).await;
        assert_eq!((refused.status, refused.code().as_str()), (404, "not_found"));
        details.push(refused.json()["detail"].clone());
    }
    assert!(details.windows(2).all(|two| two[0] == two[1]), "{details:?}");
    let released = with_token("DELETE", &hold, "").send(&fixture.address).await;
    assert_eq!(released.status, 204);
    let state = with_token("GET", &hold, "").send(&fixture.address).await.json();
    assert_eq!((&state["state"], &state["expires_in_seconds"]), (&json!("released"), &json!(0)));
    let late = ask("POST", "/v1/checkout").key("c1").json(&checkout(&hold));
    let late = late.send(&fixture.address).await;
    assert_eq!((late.status, late.code().as_str()), (410, "hold_expired"));
}

#[tokio::test]
async fn an_extension_is_answered_again_under_its_key_byte_for_byte() {
    let fixture = Fixture::start().await;
    let hold = reserve(&two_seats(), "k1").send(&fixture.address).await.json();
    let extend = || with_token("POST", &hold, "/extend").key("e1");
    let first = extend().send(&fixture.address).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (200, None));
    let released = with_token("DELETE", &hold, "").send(&fixture.address).await;
    assert_eq!(released.status, 204);
    for hold in fixture.backend.truth.lock().holds.values_mut() {
        hold.message.log_time_ms += 5_000;
    }
    let again = extend().send(&fixture.address).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(again.text(), first.text());
    let other = extend().json(&json!({"extensions_seen": 0})).send(&fixture.address).await;
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency_key_reused"));
}

async fn order_of(fixture: &Fixture) -> (Value, Answer) {
    let hold = reserve(&two_seats(), "k1").send(&fixture.address).await.json();
    let ordering = ask("POST", "/v1/checkout").key("c1").json(&checkout(&hold));
    (hold, ordering.send(&fixture.address).await)
}

#[tokio::test]
async fn a_checkout_is_accepted_once_and_answered_again_byte_for_byte() {
    let fixture = Fixture::start().await;
    let (hold, first) = order_of(&fixture).await;
    assert_eq!(first.status, 202, "{}", first.text());
    let order = first.json();
    assert_eq!(order["status"], "processing");
    let path = format!("/v1/orders/{}", text(&order["order_id"]));
    assert_eq!(order["status_url"], path);
    assert_eq!(first.header("location"), Some(path.as_str()));
    let again = ask("POST", "/v1/checkout").key("c1").json(&checkout(&hold));
    let again = again.send(&fixture.another().await.address).await;
    assert_eq!((again.status, &again.body), (202, &first.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let mut other = checkout(&hold);
    other["contact"]["email"] = json!("other@example.com");
    let reused = ask("POST", "/v1/checkout").key("c1").json(&other);
    assert_eq!(reused.send(&fixture.address).await.code(), "idempotency_key_reused");
    let second = ask("POST", "/v1/checkout").key("c2").json(&checkout(&hold));
    assert_eq!(second.send(&fixture.address).await.code(), "hold_in_checkout");
    let mut stranger = checkout(&hold);
    stranger["hold_token"] = json!("wrong");
    let stranger = ask("POST", "/v1/checkout").key("c3").json(&stranger);
    assert_eq!(stranger.send(&fixture.address).await.code(), "not_found");

    let truth = fixture.backend.truth.lock();
    let sent = &truth.checkouts[0];
    let key = sent.idempotency.as_ref().expect("a key").key.clone();
    let of_the_event = id::to_bytes(fixture.secret.key_hash(EVENT, "c1"));
    assert_eq!(key, of_the_event, "a key's scope is the event, whatever it is used for");
    assert_eq!(sent.email, fixture.secret.buyer_hash("email", "ada@example.com"));
    assert_eq!(sent.card, None, "a shared test method is nobody's card");
    let contact = sent.contact.as_ref().expect("a contact");
    let salt = contact.salt[..].try_into().expect("16 bytes");
    let commitment = onsale_proto::keyed::contact_commitment(&salt, &contact.name, &contact.email);
    assert_eq!(sent.contact_commitment[..], commitment);
}

#[tokio::test]
async fn a_card_that_names_one_buyer_is_counted() {
    let fixture = Fixture::start().await;
    let hold = reserve(&two_seats(), "k1").send(&fixture.address).await.json();
    let mut body = checkout(&hold);
    body["payment_method"] = json!("pm_1abc");
    let order = ask("POST", "/v1/checkout").key("c1").json(&body);
    assert_eq!(order.send(&fixture.address).await.status, 202);
    let truth = fixture.backend.truth.lock();
    let card = truth.checkouts[0].card;
    assert_eq!(card, Some(fixture.secret.buyer_hash("card", "pm_1abc")));
}

#[tokio::test]
async fn an_order_and_its_tickets_are_seen_by_their_bearer_and_support() {
    let fixture = Fixture::start().await;
    let (_, answer) = order_of(&fixture).await;
    let order = answer.json();
    let (path, token) = (text(&order["status_url"]), text(&order["order_token"]));
    let read = || ask("GET", path).header("order-token", token);
    let state = read().send(&fixture.address).await.json();
    assert_eq!(state["tickets"], json!([]));
    assert_eq!((&state["failure"], &state["next_action"]), (&Value::Null, &Value::Null));
    assert_eq!(state["total_minor"], 19_000);
    let order_id = id::parse(id::ORDER, text(&order["order_id"])).expect("an order id");
    fixture.backend.confirm(order_id);
    let state = read().send(&fixture.address).await.json();
    assert_eq!(state["status"], "confirmed");
    assert_eq!(state["tickets"][1]["seat_id"], "101-B-10");
    assert_eq!(state["tickets"][1]["status"], "valid");
    let code = text(&state["tickets"][1]["code"]);
    assert_eq!(code.split('.').count(), 3, "a compact JWS: {code}");

    for (key, status) in [(SUPPORT_KEY, 200), (ORGANIZER_KEY, 403), ("osk_none", 401)] {
        let read = ask("GET", path).bearer(key).send(&fixture.address).await;
        assert_eq!(read.status, status, "{key}");
    }
    assert_eq!(ask("GET", path).send(&fixture.address).await.code(), "unauthenticated");
    let stranger = ask("GET", path).header("order-token", "wrong");
    assert_eq!(stranger.send(&fixture.address).await.code(), "not_found");

    let ticket = format!("/v1/tickets/{}", text(&state["tickets"][1]["ticket_id"]));
    let read = ask("GET", &ticket).header("order-token", token);
    let whole = read.send(&fixture.address).await.json();
    assert_eq!((&whole["row"], &whole["number"]), (&json!("B"), &json!(10)));
    assert_eq!(whole["code"], state["tickets"][1]["code"]);
    let image = ask("GET", &format!("{ticket}.svg")).header("order-token", token);
    let image = image.send(&fixture.address).await;
    assert_eq!(image.header("content-type"), Some("image/svg+xml"));
    assert!(image.text().starts_with("<svg"));
    let beyond = id::format(id::TICKET, id::ticket(order_id, 3));
    let beyond = ask("GET", &format!("/v1/tickets/{beyond}")).header("order-token", token);
    assert_eq!(beyond.send(&fixture.address).await.code(), "not_found");
    let stranger = ask("GET", &ticket).header("order-token", "wrong");
    assert_eq!(stranger.send(&fixture.address).await.code(), "not_found");
}

#[tokio::test]
async fn webhooks_go_on_byte_for_byte() {
    let fixture = Fixture::start().await;
    let hook = |signature: &str, body: &[u8]| {
        ask("POST", "/webhooks/stripe")
            .header("stripe-signature", signature)
            .bytes("application/json", body.to_vec())
    };
    let good = hook("good", b"{ \"raw\" : 1 }").send(&fixture.address).await;
    assert_eq!(good.status, 200, "{}", good.text());
    for bad in [hook("bad", b"{ \"raw\" : 1 }"), hook("good", b"{\"raw\":1}")] {
        assert_eq!(bad.send(&fixture.address).await.code(), "invalid_request");
    }
}
