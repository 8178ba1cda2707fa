//! Owns the picture of a cluster as its nodes describe themselves, for operators.
//!
//! Must never wait long for a node that does not answer: it is shown as not alive.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use onsale_mesh::{Deadline, ShardClient};
use onsale_proto::allocator as pb;

use crate::limits::DESCRIBE_TIMEOUT;

/// What an unreachable replica's role is called.
const UNKNOWN: &str = "unknown";

/// Asks every node and puts the answers together.
pub async fn status(client: &ShardClient) -> pb::GetStatusResponse {
    let nodes = client.nodes();
    let deadline = Deadline::after(DESCRIBE_TIMEOUT);
    let asked = nodes.iter().map(|node| client.describe(node.id, deadline));
    let answers: Vec<Option<pb::DescribeResponse>> =
        join_all(asked).await.into_iter().map(Result::ok).collect();
    let described: Vec<(u64, Option<&pb::DescribeResponse>)> =
        nodes.iter().map(|node| node.id).zip(answers.iter().map(Option::as_ref)).collect();
    pb::GetStatusResponse {
        nodes: nodes
            .iter()
            .zip(&answers)
            .map(|(node, answer)| pb::NodeStatus {
                node: node.id,
                grpc: node.grpc.clone(),
                alive: answer.as_ref().is_some_and(|answer| answer.node == node.id),
            })
            .collect(),
        shards: shards(&described),
    }
}

/// One line per shard: the leader of the highest term anybody knows, and every node's replica.
#[must_use]
pub fn shards(described: &[(u64, Option<&pb::DescribeResponse>)]) -> Vec<pb::ShardStatus> {
    let mut shards: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    let claims = described.iter().filter_map(|(_, answer)| *answer).flat_map(|a| &a.shards);
    for claim in claims {
        let known = shards.entry(claim.shard).or_default();
        // Within a term a replica that knows the leader knows more than one that does not.
        *known = (*known).max((claim.term, claim.leader));
    }
    let replica = |node: u64, shard: u32| {
        let (_, answer) = described.iter().find(|(id, _)| *id == node)?;
        answer.as_ref()?.shards.iter().find(|claim| claim.shard == shard)
    };
    shards
        .into_iter()
        .map(|(shard, (term, leader))| {
            let head = replica(leader, shard).map_or(0, |claim| claim.log_index);
            let replicas = described.iter().map(|&(node, _)| match replica(node, shard) {
                Some(claim) => pb::ReplicaStatus {
                    node,
                    role: claim.role.clone(),
                    log_index: claim.log_index,
                    lag: head.saturating_sub(claim.log_index),
                },
                None => {
                    pb::ReplicaStatus { node, role: UNKNOWN.to_owned(), log_index: 0, lag: head }
                }
            });
            pb::ShardStatus { shard, leader, term, replicas: replicas.collect() }
        })
        .collect()
}
