//! Presale and voucher codes, by the public HTTP of a demo, and that no log or file tells one.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Demo, answer, eventually, folder, onsale};

struct Hall<'a> {
    demo: &'a Demo,
    event: String,
    organizer: String,
}

impl<'a> Hall<'a> {
    /// An event that opens in years.
    async fn open(demo: &'a Demo) -> Hall<'a> {
        let key = demo.credentials()["organizer_key"].as_str().expect("a key").to_owned();
        let mut hall = Hall { demo, event: String::new(), organizer: key };
        let body = json!({
            "name": "Hall", "venue": "Hall", "starts_at": "2041-01-01T20:00:00Z",
            "onsale_at": "2040-01-01T20:00:00Z", "currency": "EUR",
            "categories": [{"key": "A", "name": "Front", "price_minor": 4999},
                {"key": "B", "name": "Side", "price_minor": 2000}],
            "sections": [
                {"key": "S", "category": "A", "row_count": 1, "seats_per_row": 20},
                {"key": "T", "category": "B", "row_count": 1, "seats_per_row": 20}],
        });
        let created = hall.organize(Method::POST, "/v1/events", "event-1", &body).await;
        assert_eq!(created.status, 201, "{}", created.text);
        hall.event = created.json()["event_id"].as_str().expect("an id").to_owned();
        let path = format!("/v1/events/{}", hall.event);
        eventually("the event is listed", async || demo.get(&path).await.status == 200).await;
        hall
    }

    async fn organize(&self, method: Method, path: &str, key: &str, body: &Value) -> Answer {
        let request = self.demo.request(method, path).bearer_auth(&self.organizer).json(body);
        answer(request.header("Idempotency-Key", key)).await.expect("an answer")
    }

    async fn put(&self, key: &str, body: &Value) -> Answer {
        let path = format!("/v1/events/{}/codes", self.event);
        let put = self.organize(Method::POST, &path, key, body).await;
        assert_eq!(put.status, 200, "{}", put.text);
        put
    }

    async fn codes(&self) -> Value {
        let path = format!("/v1/events/{}/codes", self.event);
        let request = self.demo.request(Method::GET, &path).bearer_auth(&self.organizer);
        answer(request).await.expect("an answer").json()["codes"].clone()
    }

    async fn ask(&self, key: &str, seat: &str, code: &str) -> Answer {
        let mut body = json!({"event_id": self.event, "seat_ids": [seat], "code": code});
        if code.is_empty() {
            body.as_object_mut().expect("an object").remove("code");
        }
        self.demo.reserve(key, &body).await.expect("an answer")
    }

    async fn hold(&self, key: &str, seat: &str, code: &str) -> Value {
        let hold = self.ask(key, seat, code).await;
        assert_eq!(hold.status, 200, "{}", hold.text);
        hold.json()
    }

    async fn refusal(&self, key: &str, seat: &str, code: &str) -> String {
        let refused = self.ask(key, seat, code).await;
        assert_eq!(refused.status, 409, "{}", refused.text);
        assert!(code.is_empty() || !refused.text.contains(code), "{}", refused.text);
        refused.code()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_open_a_sale_early_make_places_cheaper_and_are_used_so_often() {
    let dir = folder();
    let demo = Demo::start(dir.path(), &["--no-limits", "--empty"]);
    let hall = Hall::open(&demo).await;
    let fans = made_codes_open_the_sale_and_are_told_once_a_key(&hall).await;
    vouchers_change_the_price_that_is_paid(&hall).await;
    only_the_organizer_gives_codes(&hall).await;
    let shown = hall.codes().await;
    for code in fans.iter().map(String::as_str).chain(["CHEAP-2041", "FREE-2041"]) {
        assert!(!shown.to_string().contains(code), "{shown}");
    }

    assert_eq!(demo.terminate(), 0);
    let nodes: Vec<String> =
        (1..=3).map(|node| dir.path().join(format!("node-{node}")).display().to_string()).collect();
    let (exit, report, _) = onsale(&["verify", &nodes[0], &nodes[1], &nodes[2]]);
    assert_eq!(exit, 0, "{report}");
    let all: Vec<&[u8]> = fans.iter().map(|code| code.as_bytes()).collect();
    tells_none(dir.path(), &[&all[..], &[b"CHEAP-2041", b"FREE-2041"]].concat());
}

/// No file under a folder has one of these in it.
fn tells_none(folder: &std::path::Path, secrets: &[&[u8]]) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("one")) {
        let path = entry.path();
        if path.is_dir() {
            tells_none(&path, secrets);
            continue;
        }
        let bytes = std::fs::read(&path).expect("a file");
        for secret in secrets {
            let told = bytes.windows(secret.len()).any(|window| window == *secret);
            assert!(!told, "{} tells a code", path.display());
        }
    }
}

async fn made_codes_open_the_sale_and_are_told_once_a_key(hall: &Hall<'_>) -> Vec<String> {
    let body = json!({"generate": {"count": 3, "prefix": "fan-"}, "label": "fan club",
        "kind": "presale", "categories": ["A"]});
    let put = hall.put("codes-1", &body).await;
    let again = hall.put("codes-1", &body).await;
    assert_eq!(
        (again.text, again.headers.contains_key("idempotent-replayed")),
        (put.text.clone(), true)
    );
    let other = hall.put("codes-2", &body).await.json();
    let made = put.json();
    assert_eq!(made["stored"], 3);
    let fans: Vec<String> = serde_json::from_value(made["codes"].clone()).expect("codes");
    assert!(fans.iter().all(|code| code.starts_with("FAN-") && code.len() == 16), "{fans:?}");
    assert!(!fans.iter().any(|code| other["codes"].to_string().contains(code)));

    assert_eq!(hall.refusal("a-0", "S-A-1", "").await, "not_on_sale");
    assert_eq!(hall.refusal("a-1", "S-A-1", "FAN-NOBODYSCODE0").await, "code_invalid");
    assert_eq!(hall.refusal("a-2", "T-A-1", &fans[0]).await, "code_invalid");
    let hold = hall.hold("a-3", "S-A-1", &fans[0].to_lowercase()).await;
    assert_eq!(hold["total_minor"], 4999);
    assert_eq!(hall.hold("a-3", "S-A-1", &fans[0]).await, hold, "a repeat is no second use");
    let other_code = hall.ask("a-3", "S-A-1", &fans[1]).await;
    assert_eq!(other_code.code(), "idempotency_key_reused");
    assert_eq!(hall.refusal("a-4", "S-A-2", &fans[0]).await, "code_used_up");
    let path = format!("/v1/holds/{}", hold["hold_id"].as_str().expect("an id"));
    let token = hold["hold_token"].as_str().expect("a token");
    let release = hall.demo.request(Method::DELETE, &path).header("Hold-Token", token);
    assert_eq!(answer(release).await.expect("an answer").status, 204);
    hall.hold("a-5", "S-A-2", &fans[0]).await;
    let shown = hall.codes().await;
    assert_eq!(
        shown,
        json!([{"label": "fan club", "kind": "presale", "codes": 6, "uses": 1,
        "uses_max": 1, "valid_from": null, "valid_until": null, "categories": ["A"]}])
    );
    fans.into_iter().collect()
}

async fn vouchers_change_the_price_that_is_paid(hall: &Hall<'_>) {
    let path = format!("/v1/events/{}", hall.event);
    let open = json!({"onsale_at": "2026-01-01T00:00:00Z"});
    let opened = hall.organize(Method::PATCH, &path, "open-1", &open).await;
    assert_eq!(opened.status, 200, "{}", opened.text);
    let cheap = json!({"code": "cheap-2041", "label": "press", "kind": "voucher",
        "percent_off": 15, "categories": ["A"], "uses_max": 2});
    let free = json!({"code": "FREE-2041", "label": "guests", "kind": "voucher", "price_minor": 0,
        "valid_until": "2040-06-01T00:00:00Z"});
    let late = json!({"code": "LATE-2041", "label": "late", "kind": "voucher", "percent_off": 1,
        "valid_from": "2040-06-01T00:00:00Z"});
    let put = hall.put("codes-3", &json!({"codes": [cheap, free, late]})).await.json();
    assert_eq!(put["codes"], json!(["CHEAP-2041", "FREE-2041", "LATE-2041"]));

    assert_eq!(hall.refusal("b-0", "S-A-5", "LATE-2041").await, "code_invalid");
    assert_eq!(hall.refusal("b-1", "T-A-5", "CHEAP-2041").await, "code_invalid");
    let hold = hall.hold("b-2", "S-A-5", "CHEAP-2041").await;
    assert_eq!(
        (&hold["total_minor"], &hold["seats"][0]["price_minor"]),
        (&json!(4249), &json!(4249))
    );
    let order = hall.demo.checkout("b-2-pay", &hold, "pm_card_visa").await.expect("one").json();
    let order = hall.demo.order_until(&order, |it| it["status"] == "confirmed").await;
    assert_eq!(order["total_minor"], 4249);
    let hold = hall.hold("b-3", "T-A-5", "free-2041").await;
    assert_eq!(hold["total_minor"], 0);
    let order = hall.demo.checkout("b-3-pay", &hold, "pm_card_visa").await.expect("one").json();
    hall.demo.order_until(&order, |it| it["status"] == "confirmed").await;
    assert_eq!(hall.refusal("b-4", "T-A-6", "FREE-2041").await, "code_used_up");
    let shown = hall.codes().await;
    let uses: Vec<_> = (0..4).map(|at| (&shown[at]["label"], &shown[at]["uses"])).collect();
    let expected = [("fan club", 1), ("press", 1), ("guests", 1), ("late", 0)];
    let expected = expected.map(|(label, uses)| (json!(label), json!(uses)));
    assert_eq!(uses, expected.iter().map(|(label, uses)| (label, uses)).collect::<Vec<_>>());
}

async fn only_the_organizer_gives_codes(hall: &Hall<'_>) {
    let path = format!("/v1/events/{}/codes", hall.event);
    let body = json!({"codes": [{"code": "MINE", "label": "a", "kind": "presale"}]});
    let support = hall.demo.credentials()["support_key"].as_str().expect("a key").to_owned();
    for (key, status) in [(Some(support), 403), (None, 401)] {
        for method in [Method::POST, Method::GET] {
            let mut request = hall.demo.request(method.clone(), &path);
            if method == Method::POST {
                request = request.json(&body);
            }
            if let Some(key) = &key {
                request = request.bearer_auth(key);
            }
            assert_eq!(answer(request).await.expect("an answer").status, status);
        }
    }
}
