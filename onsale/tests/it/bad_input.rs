//! The edge's walk with bad input over every route, against a whole demo: nothing changes.

use serde_json::Value;

use crate::{
    support::{Demo, folder},
    walk::{Caller, walk},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_by_every_route_and_changes_nothing() {
    let dir = folder();
    let demo = Demo::start(dir.path(), &["--no-limits"]);
    let before = state(&demo).await;
    let credentials = demo.credentials();
    let caller = Caller {
        organizer_key: credentials["organizer_key"].as_str().expect("a key"),
        support_key: credentials["support_key"].as_str().expect("a key"),
        event_id: "evt_theatre",
    };
    let address = demo.url.strip_prefix("http://").expect("an address");
    let faults = walk(address, &caller).await;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(state(&demo).await, before, "a refused request changes nothing");
}

/// Everything public that a request could have changed.
async fn state(demo: &Demo) -> Vec<Value> {
    let mut all = vec![demo.get("/v1/events").await.json()];
    for event in ["evt_arena", "evt_theatre", "evt_club"] {
        all.push(demo.get(&format!("/v1/events/{event}/availability")).await.json());
    }
    all
}
