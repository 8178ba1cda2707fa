//! Owns `onsale cluster …`: asks a running cluster and prints what it says.
//!
//! Must never guess: what a node does not answer is printed as unknown.

use std::time::Duration;

use onsale_mesh::{Failure, channel};
use onsale_proto::allocator::{
    GetStatusRequest, GetStatusResponse, cluster_service_client::ClusterServiceClient,
};
use serde_json::{Value, json};

use crate::exit::{Exit, Failed};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Prints nodes and shards.
pub async fn status(grpc: &str, as_json: bool) -> Result<Exit, Failed> {
    let mut service = ClusterServiceClient::new(channel::connect(grpc)?);
    let asking = service.get_status(GetStatusRequest {});
    let status = tokio::time::timeout(ANSWER_TIMEOUT, asking)
        .await
        .map_err(|_| Failed::new(format!("{grpc} did not answer within {ANSWER_TIMEOUT:?}")))?
        .map_err(|status| {
            let failure = Failure::from(status);
            Failed::new(format!("{grpc}: {failure}; is a node listening there? (--grpc HOST:PORT)"))
        })?
        .into_inner();
    if as_json {
        println!("{}", to_json(&status));
    } else {
        print_table(&status);
    }
    Ok(Exit::Done)
}

fn to_json(status: &GetStatusResponse) -> Value {
    let nodes: Vec<Value> = status
        .nodes
        .iter()
        .map(|node| json!({"node": node.node, "grpc": node.grpc, "alive": node.alive}))
        .collect();
    let shards: Vec<Value> = status
        .shards
        .iter()
        .map(|shard| {
            let replicas: Vec<Value> = shard
                .replicas
                .iter()
                .map(|replica| {
                    json!({
                        "node": replica.node, "role": replica.role,
                        "log_index": replica.log_index, "lag": replica.lag,
                    })
                })
                .collect();
            let leader = (shard.leader > 0).then_some(shard.leader);
            json!({
                "shard": shard.shard, "leader": leader, "term": shard.term, "replicas": replicas,
            })
        })
        .collect();
    json!({"nodes": nodes, "shards": shards})
}

fn print_table(status: &GetStatusResponse) {
    println!("{:<6} {:<24} alive", "node", "grpc");
    for node in &status.nodes {
        println!("{:<6} {:<24} {}", node.node, node.grpc, if node.alive { "yes" } else { "no" });
    }
    println!();
    println!("{:<6} {:<7} {:<6} replicas", "shard", "leader", "term");
    for shard in &status.shards {
        let replicas: Vec<String> = shard
            .replicas
            .iter()
            .map(|replica| format!("{}:{}@{}", replica.node, replica.role, replica.log_index))
            .collect();
        let leader = if shard.leader > 0 { shard.leader.to_string() } else { "none".to_owned() };
        println!("{:<6} {:<7} {:<6} {}", shard.shard, leader, shard.term, replicas.join("  "));
    }
}
