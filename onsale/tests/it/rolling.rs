//! What buyers feel of nodes that die, stop, come and go, measured at real processes (T2, T3).
//!
//! The bounds leave room for an unoptimised build on a machine that does other things; the figures
//! are printed (`cargo test -p onsale --test it rolling -- --nocapture`).

use std::time::Duration;

use serde_json::Value;

use crate::{
    nodes::{Buyers, Node, Tally, create_event, hold, start_three, wait_until_up},
    support::{folder, free_ports, http_client, onsale},
};

const BUYERS: usize = 8;

fn urls(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(|node| node.http.clone()).collect()
}

fn tell(what: &str, tally: &Tally) {
    let Tally { asked, failed, gap } = tally;
    println!("{what}: {asked} requests, {} failed, longest gap {gap:?}", failed.len());
}

/// Runs `onsale cluster …` and gives its JSON.
fn cluster(arguments: &[&str]) -> Value {
    let (exit, out, errors) = onsale(&[&["cluster"], arguments, &["--json"]].concat());
    assert_eq!(exit, 0, "{arguments:?}: {errors}");
    serde_json::from_str(&out).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_keeps_buyers_waiting_for_a_moment_only() {
    let dir = folder();
    let mut nodes = start_three(dir.path());
    let client = http_client();
    let (event, shard) = create_event(&client, &nodes[0].http, 10).await;
    nodes[0].wait_whole().await;
    for turn in 0..3 {
        let buyers = Buyers::start(&urls(&nodes), &event, turn, BUYERS);
        buyers.go_on(100).await;
        let leader = nodes[0].leader_of(shard).await;
        let victim = nodes.iter().position(|node| node.id == leader).expect("a node");
        nodes[victim].kill();
        buyers.go_on(200).await;
        let tally = buyers.end().await;
        tell("leader killed", &tally);
        assert!(tally.failed.is_empty(), "{:?}", tally.failed);
        assert!(tally.gap < Duration::from_secs(3), "{:?}", tally.gap);
        nodes[victim].restart();
        wait_until_up(&client, &nodes[victim].http, &event).await;
        nodes[0].wait_whole().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_all_nodes_is_not_felt() {
    let dir = folder();
    let mut nodes = start_three(dir.path());
    let client = http_client();
    let (event, shard) = create_event(&client, &nodes[0].http, 10).await;
    nodes[0].wait_whole().await;
    let buyers = Buyers::start(&urls(&nodes), &event, 0, BUYERS);
    for place in 0..3 {
        buyers.go_on(100).await;
        let other = (place + 1) % 3;
        // Whoever stops has something to hand over.
        let shard = shard.to_string();
        let to = nodes[place].id.to_string();
        let grpc = nodes[other].grpc.clone();
        cluster(&["transfer-leader", "--shard", &shard, "--to", &to, "--grpc", &grpc]);
        assert_eq!(nodes[place].stop().await, 0);
        buyers.go_on(100).await;
        nodes[place].restart();
        wait_until_up(&client, &nodes[place].http, &event).await;
        nodes[place].wait_whole().await;
    }
    buyers.go_on(100).await;
    let tally = buyers.end().await;
    tell("rolling restart", &tally);
    assert!(tally.failed.len() * 1_000 <= tally.asked, "{:?}", tally.failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_node_is_replaced_under_load_by_the_commands_that_its_refusal_names() {
    let dir = folder();
    let mut nodes = start_three(dir.path());
    let client = http_client();
    let (event, _) = create_event(&client, &nodes[0].http, 10).await;
    nodes[0].wait_whole().await;
    let buyers = Buyers::start(&urls(&nodes[..2]), &event, 0, BUYERS);
    buyers.go_on(100).await;

    nodes[2].kill();
    std::fs::remove_dir_all(&nodes[2].data_dir).expect("emptied");
    let config = nodes[2].config.display().to_string();
    let (exit, _, refusal) = onsale(&["run", "--config", &config]);
    assert_eq!(exit, 4, "{refusal}");

    // Of two that live none may go while the dead one counts.
    let ask = nodes[0].grpc.clone();
    let (exit, _, errors) = onsale(&["cluster", "remove-replica", "--node", "2", "--grpc", &ask]);
    assert_eq!(exit, 4, "{errors}");
    assert!(errors.contains("no majority"), "{errors}");
    let gone = refusal.split('`').find(|part| part.contains("remove-replica --node 3"));
    let gone: Vec<&str> = gone.expect("the command").split_whitespace().skip(2).collect();
    let gone = cluster(&gone);
    assert!(gone["shards"].as_array().is_some_and(|shards| shards.len() == 5), "{gone}");
    let again = cluster(&["remove-replica", "--node", "3", "--grpc", &ask]);
    assert!(again["shards"][0]["changed"] == false, "done already is done: {again}");
    let (exit, _, errors) = onsale(&["cluster", "remove-replica", "--node", "9", "--grpc", &ask]);
    assert_eq!(exit, 3, "{errors}");
    buyers.go_on(100).await;

    let [grpc] = free_ports();
    let list: Vec<String> =
        nodes[..2].iter().map(|node| format!("{}={}", node.id, node.grpc)).collect();
    let list = [list, vec![format!("4={grpc}")]].concat();
    let mut fourth = Node::start(dir.path(), 4, &grpc, &list, true);
    crate::support::eventually("it answers", async || fourth.status().is_some()).await;
    let added = cluster(&["add-replica", "--node", "4", "--grpc", &grpc]);
    let roles = added["shards"].as_array().cloned().unwrap_or_default();
    assert!(roles.iter().all(|shard| shard["role"] == "voter") && roles.len() == 5, "{added}");
    let again = cluster(&["add-replica", "--node", "4", "--grpc", &grpc, "--at", &ask]);
    assert!(again["shards"][1]["changed"] == false, "{again}");
    wait_until_up(&client, &fourth.http, &event).await;
    buyers.go_on(100).await;

    let tally = buyers.end().await;
    tell("one node replaced", &tally);
    assert!(tally.failed.len() * 1_000 <= tally.asked, "{:?}", tally.failed);
    // With it two are a majority, also after it was started again.
    nodes[0].kill();
    hold(&client, &fourth.http, &event, "H-J-1").await;
    assert_eq!(fourth.stop().await, 0);
    fourth.restart();
    hold(&client, &nodes[1].http, &event, "H-J-2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lead_goes_where_the_operator_wants_it_and_mistakes_have_their_exit_codes() {
    let dir = folder();
    let nodes = start_three(dir.path());
    nodes[0].wait_whole().await;
    let grpc = nodes[1].grpc.as_str();
    let led = nodes[1].leader_of(1).await;
    let to = (led % 3 + 1).to_string();
    let moved = cluster(&["transfer-leader", "--shard", "1", "--to", &to, "--grpc", grpc]);
    assert_eq!((moved["shard"].as_u64(), moved["leader"].to_string()), (Some(1), to.clone()));
    assert_eq!(moved["changed"], true);
    let again = cluster(&["transfer-leader", "--shard", "1", "--to", &to, "--grpc", grpc]);
    assert_eq!(again["changed"], false);
    for (shard, to) in [("1", "7"), ("99", "1")] {
        let asked = ["cluster", "transfer-leader", "--shard", shard, "--to", to, "--grpc", grpc];
        let (exit, _, errors) = onsale(&asked);
        assert_eq!(exit, 3, "{errors}");
    }
    let taken = ["cluster", "add-replica", "--node", "4", "--grpc", grpc];
    let (exit, _, errors) = onsale(&taken);
    assert_eq!(exit, 4, "{errors}");
}
