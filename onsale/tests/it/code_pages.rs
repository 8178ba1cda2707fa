//! Codes and channels on the pages of a demo, with nothing but forms.

use reqwest::{Method, header};
use serde_json::{Value, json};

use crate::support::{Answer, Demo, answer, eventually, folder};

const SECRET: &str = "open-sesame";

/// An event that opens in years, a presale code of one use, and a channel with a row.
async fn announced(demo: &Demo) -> String {
    let organizer = demo.credentials()["organizer_key"].as_str().expect("a key").to_owned();
    let organize = async |method: Method, path: &str, body: Value| {
        let request = demo.request(method, path).bearer_auth(&organizer).json(&body);
        let request = request.header("Idempotency-Key", format!("key {path}"));
        let done = answer(request).await.expect("an answer");
        assert!(matches!(done.status, 200 | 201), "{}", done.text);
        done.json()
    };
    let created = organize(
        Method::POST,
        "/v1/events",
        json!({
            "name": "Hall", "venue": "Hall", "starts_at": "2041-01-01T20:00:00Z",
            "onsale_at": "2040-01-01T20:00:00Z", "currency": "EUR",
            "categories": [{"key": "A", "name": "Front", "price_minor": 4000}],
            "sections": [{"key": "S", "category": "A", "row_count": 1, "seats_per_row": 6}],
            "rules": {"seats_per_buyer_max": 0},
        }),
    );
    let event = created.await["event_id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/events/{event}");
    eventually("the event is listed", async || demo.get(&path).await.status == 200).await;
    let codes = json!([{"code": "FAN-2041", "label": "fans", "kind": "presale", "uses_max": 2}]);
    organize(Method::POST, &format!("{path}/codes"), json!({"codes": codes})).await;
    let aside = json!({"seat_ids": ["S-A-5", "S-A-6"], "secret": SECRET});
    organize(Method::PUT, &format!("{path}/channels/club"), aside).await;
    event
}

async fn reserve(demo: &Demo, event: &str, key: &str, fields: &[(&str, &str)]) -> Answer {
    let mut form = vec![("key", key), ("quantity", "2")];
    form.extend(fields);
    let encoded: Vec<String> = form.iter().map(|(name, value)| format!("{name}={value}")).collect();
    // A browser follows with its cookies; here each step is looked at.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
    let request = client.expect("a client").post(format!("{}/events/{event}/reserve", demo.url));
    let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    answer(request.body(encoded.join("&"))).await.expect("an answer")
}

/// The page of a hold that was granted.
async fn held(demo: &Demo, granted: &Answer) -> String {
    assert_eq!(granted.status, 303, "{}", granted.text);
    let path = granted.headers[header::LOCATION].to_str().expect("a path");
    let cookies = granted.headers.get_all(header::SET_COOKIE).iter();
    let mut cookies = cookies.filter_map(|cookie| cookie.to_str().ok()?.split(';').next());
    let token = cookies.find(|cookie| cookie.starts_with("onsale_hold=")).expect("a token");
    let request = demo.request(Method::GET, path).header(header::COOKIE, token);
    answer(request).await.expect("a page").text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_and_partners_places_are_to_be_had_without_a_script() {
    let dir = folder();
    let demo = Demo::start(dir.path(), &["--no-limits", "--empty"]);
    let event = announced(&demo).await;
    let page = demo.get(&format!("/events/{event}")).await.text;
    for field in ["name=\"code\"", "name=\"channel\"", "type=\"password\"", "<details open>"] {
        assert!(page.contains(field), "no {field}: {page}");
    }
    let fan = ("code", "+fan-2041+");
    let club = ("channel", "club");
    let key = ("channel_key", SECRET);
    for (nth, (fields, status, says)) in [
        (&[][..], 409, "The event is not on sale"),
        (&[("code", "FAN-2014")], 409, "This code is not valid here"),
        (&[fan, club], 403, "This channel is not open to you"),
        (&[fan, ("channel", "a/b")], 400, "channel"),
        (&[("code", &"x".repeat(65))], 400, "at most 64"),
    ]
    .into_iter()
    .enumerate()
    {
        let refused = reserve(&demo, &event, &format!("no-{nth}"), fields).await;
        assert_eq!(refused.status, status, "{}", refused.text);
        assert!(refused.text.contains("<h1>") && refused.text.contains(says), "{}", refused.text);
        assert!(!refused.text.contains(SECRET) && !refused.text.contains("FAN-2014"));
    }
    let first = reserve(&demo, &event, "yes-1", &[fan, club, key]).await;
    let hold = held(&demo, &first).await;
    assert!(hold.contains("S-A-5") && hold.contains("S-A-6"), "what is set aside: {hold}");
    let again = reserve(&demo, &event, "yes-1", &[fan, club, key]).await;
    let path = &first.headers[header::LOCATION];
    assert_eq!(&again.headers[header::LOCATION], path, "a second click is the first");
    let hold = held(&demo, &reserve(&demo, &event, "yes-2", &[fan]).await).await;
    assert!(hold.contains("EUR 80.00"), "{hold}");
    let spent = reserve(&demo, &event, "spent", &[fan]).await;
    assert!(spent.text.contains("This code is used up"), "{}", spent.text);
    assert_eq!(demo.terminate(), 0);
}
