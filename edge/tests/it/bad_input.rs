//! The walk with bad input over every route of an edge, and who may not do what.

use serde_json::json;

use crate::{
    backend::{EVENT, ORGANIZER_KEY, OTHER_ORGANIZER_KEY, SUPPORT_KEY},
    client::ask,
    fixture::Fixture,
    walk::{Caller, operations, walk},
};

#[tokio::test]
async fn bad_input_on_any_route_is_refused_with_a_code_and_changes_nothing() {
    let fixture = Fixture::start().await;
    let caller = Caller { organizer_key: ORGANIZER_KEY, support_key: SUPPORT_KEY, event_id: EVENT };
    let faults = walk(&fixture.address, &caller).await;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let commands = &fixture.backend.commands;
    assert_eq!(commands.load(std::sync::atomic::Ordering::Relaxed), 0, "none reached the shard");
    let truth = fixture.backend.truth.lock();
    assert!(truth.holds.is_empty() && truth.orders.is_empty() && truth.documents.len() == 1);
}

#[tokio::test]
async fn doors_are_shut_for_who_has_no_key_or_the_wrong_one() {
    let fixture = Fixture::start().await;
    let document = ask("GET", "/openapi.json").send(&fixture.address).await.json();
    let mut doors = 0;
    for operation in operations(&document) {
        let security = operation.operation["security"].to_string();
        let path = operation.path_with("x", EVENT);
        let wrong = match security.as_str() {
            r#"[{"organizer_key":[]}]"# => SUPPORT_KEY,
            r#"[{"support_key":[]}]"# => ORGANIZER_KEY,
            _ => continue,
        };
        doors += 1;
        for (key, status) in [("", 401), ("osk_none", 401), (wrong, 403)] {
            let mut asking = ask(&operation.method, &path).json(&json!({}));
            if !key.is_empty() {
                asking = asking.bearer(key);
            }
            let answer = asking.send(&fixture.address).await;
            assert_eq!(answer.status, status, "{} {key}", operation.name());
        }
    }
    assert!(doors >= 7, "{doors}");
}

#[tokio::test]
async fn nobody_withdraws_anything_of_another_organizers_event() {
    let fixture = Fixture::start().await;
    let body = json!({"seat_ids": ["101-A-1"]});
    for (event, status) in [(EVENT, 403), ("evt_none", 404)] {
        for (method, what) in [("POST", "kills"), ("POST", "returns"), ("GET", "kills")] {
            let path = format!("/v1/events/{event}/{what}");
            let mut asking = ask(method, &path).bearer(OTHER_ORGANIZER_KEY);
            if method == "POST" {
                asking = asking.json(&body);
            }
            let answer = asking.send(&fixture.address).await;
            assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        }
    }
}
