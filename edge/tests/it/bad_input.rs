//! The walk with bad input over every route of an edge, and who may not do what.

use serde_json::json;

use crate::{
    backend::{EVENT, ORGANIZER_KEY, SUPPORT_KEY},
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
    for operation in operations(&document) {
        let security = operation.operation["security"].to_string();
        let path = operation.path_with("x", EVENT);
        if security.contains("organizer_key") {
            for (key, status) in [("", 401), ("osk_none", 401), (SUPPORT_KEY, 403)] {
                let mut asking = ask(&operation.method, &path).json(&json!({}));
                if !key.is_empty() {
                    asking = asking.bearer(key);
                }
                let answer = asking.send(&fixture.address).await;
                assert_eq!(answer.status, status, "{} {key}", operation.name());
            }
        }
    }
}
