//! The sandbox as any client of the gateway's API sees it.

use onsale_payments::sandbox;

use crate::support::{Client, Sandbox};

type Form = &'static [(&'static str, &'static str)];

#[tokio::test]
async fn visa_is_authorised_then_captured_once() {
    let sandbox = Sandbox::start().await;
    let client = sandbox.client();
    let made = client.pay("pm_card_visa", "1900", "ord_1").await;
    let intent = made.json();
    assert_eq!((made.status, &intent["object"]), (200, &"payment_intent".into()));
    assert_eq!(intent["status"], "requires_capture");
    assert_eq!(intent["amount_capturable"], 1900);
    assert_eq!(intent["metadata"]["order_id"], "ord_1");
    let path = format!("/v1/payment_intents/{}/capture", made.id());
    let taken = client.post(&path, &[]).await.json();
    assert_eq!((&taken["status"], &taken["amount_received"]), (&"succeeded".into(), &1900.into()));
    let again = client.post(&path, &[]).await;
    assert_eq!(again.error(), "400 invalid_request_error payment_intent_unexpected_state");
    assert_eq!(again.json()["error"]["payment_intent"]["status"], "succeeded");
    assert_eq!(client.captured("ord_1").await, 1900);
    let charge = taken["latest_charge"].as_str().unwrap();
    let charge = client.get(&format!("/v1/charges/{charge}")).await.json();
    assert_eq!((&charge["captured"], &charge["amount_captured"]), (&true.into(), &1900.into()));
    let lines = client.get("/v1/balance_transactions").await.json();
    assert_eq!(lines["data"].as_array().unwrap().len(), 1);
    assert_eq!(lines["data"][0]["amount"], 1900);
}

#[tokio::test]
async fn declined_cards_answer_402_with_the_payment_that_failed() {
    let sandbox = Sandbox::start().await;
    let client = sandbox.client();
    let declined = client.pay("pm_card_chargeDeclined", "1900", "ord_1").await;
    assert_eq!(declined.error(), "402 card_error card_declined");
    let error = &declined.json()["error"];
    assert_eq!(error["decline_code"], "generic_decline");
    assert_eq!(error["payment_intent"]["status"], "requires_payment_method");
    assert_eq!(error["payment_intent"]["last_payment_error"]["code"], "card_declined");
    // Another card on the same payment.
    let id = error["payment_intent"]["id"].as_str().unwrap();
    let path = format!("/v1/payment_intents/{id}/confirm");
    let confirmed = client.post(&path, &[("payment_method", "pm_card_visa")]).await;
    assert_eq!(confirmed.json()["status"], "requires_capture");
}

#[tokio::test]
async fn cancel_lets_the_money_go_for_good() {
    let sandbox = Sandbox::start().await;
    let client = sandbox.client();
    let id = client.pay("pm_card_visa", "500", "ord_1").await.id();
    let canceled = client.post(&format!("/v1/payment_intents/{id}/cancel"), &[]).await.json();
    assert_eq!(canceled["status"], "canceled");
    assert!(canceled["canceled_at"].is_u64());
    for verb in ["capture", "cancel", "confirm"] {
        let refused = client.post(&format!("/v1/payment_intents/{id}/{verb}"), &[]).await;
        assert_eq!(
            refused.error(),
            "400 invalid_request_error payment_intent_unexpected_state",
            "{verb}"
        );
    }
    let books = client.get("/sandbox/books").await.json();
    assert_eq!(books["currencies"]["eur"]["canceled_minor"], 500);
    assert_eq!(books["currencies"]["eur"]["uncaptured_minor"], 0);
    assert_eq!(books["currencies"]["eur"]["captured_minor"], 0);
}

#[tokio::test]
async fn refunds_never_exceed_what_was_taken() {
    let sandbox = Sandbox::start().await;
    let client = sandbox.client();
    let id = client.pay("pm_card_visa", "1000", "ord_1").await.id();
    let early = client.post("/v1/refunds", &[("payment_intent", &id)]).await;
    assert_eq!(early.error(), "400 invalid_request_error charge_already_refunded");
    client.post(&format!("/v1/payment_intents/{id}/capture"), &[]).await;
    let part = [("payment_intent", id.as_str()), ("amount", "400"), ("metadata[a]", "b")];
    let refund = client.post("/v1/refunds", &part).await.json();
    assert_eq!((&refund["amount"], &refund["status"]), (&400.into(), &"succeeded".into()));
    let much = client.post("/v1/refunds", &[("payment_intent", &id), ("amount", "601")]).await;
    assert_eq!(much.error(), "400 invalid_request_error amount_too_large");
    assert_eq!(client.post("/v1/refunds", &[("payment_intent", &id)]).await.json()["amount"], 600);
    let none = client.post("/v1/refunds", &[("payment_intent", &id)]).await;
    assert_eq!(none.error(), "400 invalid_request_error charge_already_refunded");
    let books = client.get("/sandbox/books").await.json();
    assert_eq!(books["currencies"]["eur"]["refunded_minor"], 1000);
    let list = client.get(&format!("/v1/refunds?payment_intent={id}")).await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_key_gives_one_payment_and_one_answer() {
    let sandbox = Sandbox::start().await;
    let client = sandbox.client();
    let form = [
        ("amount", "700"),
        ("currency", "eur"),
        ("payment_method", "pm_card_visa"),
        ("confirm", "true"),
        ("capture_method", "manual"),
    ];
    let first = client.post_with("k1", "/v1/payment_intents", &form).await;
    let again = client.post_with("k1", "/v1/payment_intents", &form).await;
    assert!(!first.replayed && again.replayed);
    assert_eq!(first.text, again.text, "byte for byte");
    let mut other = form;
    other[0].1 = "701";
    let refused = client.post_with("k1", "/v1/payment_intents", &other).await;
    assert_eq!(refused.error(), "400 idempotency_error -");
    let elsewhere = client.post_with("k1", "/v1/refunds", &form).await;
    assert_eq!(elsewhere.error(), "400 idempotency_error -");
    // A declined card is an answer too; a refusal of the parameters is not kept.
    other[2].1 = "pm_card_chargeDeclined";
    let declined = client.post_with("k2", "/v1/payment_intents", &other).await;
    let again = client.post_with("k2", "/v1/payment_intents", &other).await;
    assert!(again.replayed && declined.text == again.text && again.status == 402);
    other[2].1 = "pm_nothing";
    let unknown = client.post_with("k3", "/v1/payment_intents", &other).await;
    assert_eq!(unknown.error(), "400 invalid_request_error resource_missing");
    assert_eq!(client.post_with("k3", "/v1/payment_intents", &form).await.status, 200);
    let long = "k".repeat(256);
    assert_eq!(client.post_with(&long, "/v1/payment_intents", &form).await.status, 400);
}

#[tokio::test]
async fn bad_requests_get_the_gateways_errors_and_change_nothing() {
    let sandbox = Sandbox::start().await;
    let client = sandbox.client();
    const OK: (&str, &str) = ("currency", "eur");
    let table: [(&str, Form, &str); 12] = [
        ("/v1/payment_intents", &[OK], "parameter_missing"),
        ("/v1/payment_intents", &[("amount", "5")], "parameter_missing"),
        ("/v1/payment_intents", &[("amount", "0"), OK], "parameter_invalid_integer"),
        ("/v1/payment_intents", &[("amount", "-1"), OK], "parameter_invalid_integer"),
        ("/v1/payment_intents", &[("amount", "1e9"), OK], "parameter_invalid_integer"),
        ("/v1/payment_intents", &[("amount", "100000000"), OK], "amount_too_large"),
        ("/v1/payment_intents", &[("amount", "5"), ("currency", "e<r")], "-"),
        ("/v1/payment_intents", &[("amount", "5"), OK, ("confirm", "true")], "-"),
        ("/v1/payment_intents", &[("amount", "5"), OK, ("nonsense", "1")], "parameter_unknown"),
        (
            "/v1/payment_intents",
            &[("amount", "5"), OK, ("return_url", "javascript:1")],
            "url_invalid",
        ),
        ("/v1/refunds", &[("reason", "because")], "-"),
        ("/v1/refunds", &[], "parameter_missing"),
    ];
    for (path, form, code) in table {
        let refused = client.post(path, form).await;
        assert_eq!(refused.error(), format!("400 invalid_request_error {code}"), "{form:?}");
    }
    for path in ["/v1/payment_intents/pi_0", "/v1/charges/ch_0", "/v1/nothing", "/", "/v1/events/e"]
    {
        assert_eq!(client.get(path).await.status, 404, "{path}");
    }
    for query in
        ["limit=0", "limit=101", "limit=x", "starting_after=pi_0", "a=%zz", "created[gte]=x"]
    {
        assert_eq!(
            client.get(&format!("/v1/payment_intents?{query}")).await.status,
            400,
            "{query}"
        );
    }
    let mut nobody: Client = sandbox.client();
    nobody.key = "sk_other".to_owned();
    for path in ["/v1/payment_intents", "/sandbox/books"] {
        assert_eq!(nobody.get(path).await.status, 401, "{path}");
    }
    assert_eq!(nobody.pay("pm_card_visa", "5", "ord_1").await.status, 401);
    let books = client.get("/sandbox/books").await.json();
    assert_eq!(books["payment_intents"], serde_json::json!([]));
}

#[tokio::test]
async fn lists_are_paged_newest_first_and_search_finds_an_order() {
    let sandbox = Sandbox::start().await;
    let client = sandbox.client();
    let mut ids = Vec::new();
    for number in 0..7 {
        let order = format!("ord_{}", number % 3);
        ids.push(client.pay("pm_card_visa", "100", &order).await.id());
    }
    ids.reverse();
    let mut seen = Vec::new();
    let mut query = "limit=3".to_owned();
    loop {
        let page = client.get(&format!("/v1/payment_intents?{query}")).await.json();
        let rows = page["data"].as_array().unwrap();
        seen.extend(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        if page["has_more"] == false {
            break;
        }
        query = format!("limit=3&starting_after={}", seen.last().unwrap());
    }
    assert_eq!(seen, ids);
    let before = client.get(&format!("/v1/payment_intents?limit=2&ending_before={}", ids[4])).await;
    let before = before.json();
    assert_eq!(
        (&before["data"][0]["id"], &before["data"][1]["id"]),
        (&ids[2].clone().into(), &ids[3].clone().into())
    );
    let search =
        "query=metadata%5B%27order_id%27%5D%3A%27ord_1%27%20AND%20status%3A%27requires_capture%27";
    let found = client.get(&format!("/v1/payment_intents/search?{search}&limit=1")).await.json();
    assert_eq!((&found["object"], &found["has_more"]), (&"search_result".into(), &true.into()));
    assert_eq!(found["data"][0]["id"], ids[2].as_str());
    let next = found["next_page"].as_str().unwrap();
    let found =
        client.get(&format!("/v1/payment_intents/search?{search}&page={next}")).await.json();
    assert_eq!(found["data"].as_array().unwrap().len(), 1);
    assert_eq!(found["data"][0]["id"], ids[5].as_str());
    for bad in ["query=nonsense", "query=metadata%5B%27a%5D%3A%271%27", ""] {
        assert_eq!(client.get(&format!("/v1/payment_intents/search?{bad}")).await.status, 400);
    }
    let events =
        client.get("/v1/events?type=payment_intent.amount_capturable_updated&limit=100").await;
    assert_eq!(events.json()["data"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn too_many_requests_a_second_are_refused_like_the_real_ones() {
    let limited = sandbox::Config { rate_max: Some(2), ..sandbox::Config::default() };
    let sandbox = Sandbox::start_with(limited).await;
    let client = sandbox.client();
    let mut answers = Vec::new();
    for _ in 0..10 {
        answers.push(client.get("/v1/events").await);
    }
    let refused = answers.iter().find(|answer| answer.status == 429).expect("some are refused");
    assert_eq!(refused.error(), "429 invalid_request_error rate_limit");
    assert!(answers.iter().any(|answer| answer.status == 200));
}

#[tokio::test]
async fn books_and_keys_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start_in(folder.path().to_owned()).await;
    let client = sandbox.client();
    let form = [
        ("amount", "700"),
        ("currency", "eur"),
        ("payment_method", "pm_card_visa"),
        ("confirm", "true"),
    ];
    let first = client.post_with("k1", "/v1/payment_intents", &form).await;
    client.pay("pm_card_authenticationRequired", "800", "ord_2").await;
    let held = client.pay("pm_card_visa", "900", "ord_3").await.id();
    client.post(&format!("/v1/payment_intents/{held}/cancel"), &[]).await;
    client.post("/v1/refunds", &[("payment_intent", &first.id()), ("amount", "50")]).await;
    let books = client.get("/sandbox/books").await.text;
    sandbox.stop().await;
    let sandbox = Sandbox::start_in(folder.path().to_owned()).await;
    let client = sandbox.client();
    assert_eq!(client.get("/sandbox/books").await.text, books);
    let again = client.post_with("k1", "/v1/payment_intents", &form).await;
    assert!(again.replayed);
    assert_eq!(again.text, first.text, "byte for byte, over a restart");
}
