//! Three `onsale run` nodes from three files: a cluster without the demo around it (design D19).

use serde_json::Value;

use crate::{
    nodes::{create_event, hold, start_three, wait_until_up},
    support::{folder, http_client, onsale},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_form_a_cluster_sell_and_survive_any_one() {
    let dir = folder();
    let mut nodes = start_three(dir.path());
    let client = http_client();
    let (event, _) = create_event(&client, &nodes[0].http, 4).await;
    for (turn, victim) in [0_usize, 1, 2].into_iter().enumerate() {
        nodes[victim].kill();
        for (place, node) in nodes.iter().enumerate().filter(|(place, _)| *place != victim) {
            let seat = format!("H-A-{}", turn * 3 + place + 1);
            hold(&client, &node.http, &event, &seat).await;
        }
        nodes[victim].restart();
        wait_until_up(&client, &nodes[victim].http, &event).await;
    }
    let (exit, status, errors) = onsale(&["cluster", "status", "--json", "--grpc", &nodes[1].grpc]);
    assert_eq!(exit, 0, "{errors}");
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["nodes"].as_array().map(Vec::len), Some(3));
    assert_eq!(status["shards"].as_array().map(Vec::len), Some(5));
}
