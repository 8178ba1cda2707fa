//! Owns `onsale cluster …`: asks a running cluster, changes it shard by shard, and prints what it
//! says.
//!
//! Every change is a row of steps that its shard's leader does, each idempotent: a command that was
//! cut off is repeated as it was. Must never guess: what a node does not answer is printed as
//! unknown.

use std::time::{Duration, Instant};

use onsale_mesh::{Deadline, Failure, Node, ShardClient, channel};
use onsale_proto::{
    Code,
    allocator::{
        AddReplicaRequest, GetStatusRequest, GetStatusResponse, RemoveReplicaRequest,
        ReplicaChangeResponse, TransferLeaderRequest, cluster_service_client::ClusterServiceClient,
    },
};
use serde_json::{Value, json};

use crate::{
    cli::ClusterCommand,
    exit::{Exit, Failed},
};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// One step of one shard; its leader may have to be found, and to wait for others.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a replica may go on without coming nearer.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// Does what the command says.
pub async fn run(command: ClusterCommand) -> Result<Exit, Failed> {
    match command {
        ClusterCommand::Status { grpc, json } => status(&grpc, json).await,
        ClusterCommand::TransferLeader { shard, to, grpc, json } => {
            transfer_leader(&grpc, shard, to, json).await
        }
        ClusterCommand::AddReplica { node, grpc, at, json } => {
            add_replica(at.as_deref().unwrap_or(&grpc), node, &grpc, json).await
        }
        ClusterCommand::RemoveReplica { node, grpc, json } => {
            remove_replica(&grpc, node, json).await
        }
    }
}

async fn status(grpc: &str, as_json: bool) -> Result<Exit, Failed> {
    let status = ask_status(grpc).await?;
    if as_json {
        println!("{}", to_json(&status));
    } else {
        print_table(&status);
    }
    Ok(Exit::Done)
}

async fn ask_status(grpc: &str) -> Result<GetStatusResponse, Failed> {
    let mut service = ClusterServiceClient::new(channel::connect(grpc)?);
    let asking = service.get_status(GetStatusRequest {});
    let status = tokio::time::timeout(ANSWER_TIMEOUT, asking)
        .await
        .map_err(|_| Failed::new(format!("{grpc} did not answer within {ANSWER_TIMEOUT:?}")))?
        .map_err(|status| {
            let failure = Failure::from(status);
            Failed::new(format!("{grpc}: {failure}; is a node listening there? (--grpc HOST:PORT)"))
        })?;
    Ok(status.into_inner())
}

/// The way to every node of the cluster, and its shards.
async fn reach(grpc: &str) -> Result<(ShardClient, GetStatusResponse), Failed> {
    let status = ask_status(grpc).await?;
    let nodes = status.nodes.iter();
    let nodes = nodes.map(|node| Node { id: node.node, grpc: node.grpc.clone() }).collect();
    let client = ShardClient::new(nodes)?;
    tokio::spawn(client.clone().keep_current());
    Ok((client, status))
}

async fn transfer_leader(grpc: &str, shard: u32, to: u64, json: bool) -> Result<Exit, Failed> {
    let (client, _) = reach(grpc).await?;
    let request = TransferLeaderRequest { shard, to };
    let answer = client.transfer_leader(request, Deadline::after(STEP_TIMEOUT)).await?;
    if json {
        let (leader, changed) = (answer.leader, answer.changed);
        println!("{}", json!({"shard": shard, "leader": leader, "changed": changed}));
    } else if answer.changed {
        println!("node {to} leads shard {shard}");
    } else {
        println!("node {to} led shard {shard} already");
    }
    Ok(Exit::Done)
}

async fn add_replica(at: &str, node: u64, grpc: &str, json: bool) -> Result<Exit, Failed> {
    let (client, status) = reach(at).await?;
    let mut done = Vec::new();
    // The control group first: from it everybody learns where the node is.
    for shard in status.shards.iter().map(|shard| shard.shard) {
        let answer = add_to_shard(&client, shard, node, grpc, json).await?;
        done.push(said(shard, &answer, json));
    }
    if json {
        println!("{}", json!({"node": node, "grpc": grpc, "shards": done}));
    } else {
        println!("node {node} holds a voting replica of every shard");
    }
    Ok(Exit::Done)
}

async fn add_to_shard(
    client: &ShardClient,
    shard: u32,
    node: u64,
    grpc: &str,
    quiet: bool,
) -> Result<ReplicaChangeResponse, Failed> {
    let mut changed = false;
    let mut nearest = u64::MAX;
    let mut nearer_at = Instant::now();
    loop {
        let request = AddReplicaRequest { shard, node, grpc: grpc.to_owned() };
        match client.add_replica(request, Deadline::after(STEP_TIMEOUT)).await {
            Ok(answer) if answer.role == "voter" => {
                let changed = changed || answer.changed;
                return Ok(ReplicaChangeResponse { changed, ..answer });
            }
            Ok(answer) => {
                changed |= answer.changed;
                if answer.lag < nearest {
                    (nearest, nearer_at) = (answer.lag, Instant::now());
                }
                if !quiet {
                    eprintln!("shard {shard}: node {node} is {} entries behind", answer.lag);
                }
            }
            Err(failure) if failure.code.retryable() && nearer_at.elapsed() < STALLED_AFTER => {
                eprintln!("shard {shard}: {failure}");
            }
            Err(failure) => return Err(failure.into()),
        }
        if nearer_at.elapsed() >= STALLED_AFTER {
            return Err(Failed::new(format!(
                "shard {shard}: node {node} has not come nearer for {STALLED_AFTER:?}; look at its \
                 log, then repeat this command"
            )));
        }
    }
}

async fn remove_replica(grpc: &str, node: u64, json: bool) -> Result<Exit, Failed> {
    let (client, status) = reach(grpc).await?;
    let step = async |shard, check_only| {
        let request = RemoveReplicaRequest { shard, node, check_only };
        client.remove_replica(request, Deadline::after(STEP_TIMEOUT)).await
    };
    // All or nothing as far as that can be known: no shard changes when one would stand still.
    for shard in &status.shards {
        step(shard.shard, true).await?;
    }
    let mut done = Vec::new();
    let mut changed = false;
    // The control group last: until then everybody knows where the node is.
    for shard in status.shards.iter().rev().map(|shard| shard.shard) {
        let answer = step(shard, false).await?;
        changed |= answer.changed;
        done.push(said(shard, &answer, json));
    }
    if !changed && !was_member(&client, &status, node).await {
        return Err(Failure::new(Code::NotFound, format!("there is no node {node}")).into());
    }
    done.reverse();
    if json {
        println!("{}", json!({"node": node, "shards": done}));
    } else {
        println!("node {node} is no member any more; stop it, and never use its number again");
    }
    Ok(Exit::Done)
}

/// Whether some node remembers that number.
async fn was_member(client: &ShardClient, status: &GetStatusResponse, node: u64) -> bool {
    for other in &status.nodes {
        let described = client.describe(other.node, Deadline::after(ANSWER_TIMEOUT)).await;
        if described.is_ok_and(|described| described.retired.contains(&node)) {
            return true;
        }
    }
    false
}

/// A shard's part of the answer; for people at once.
fn said(shard: u32, answer: &ReplicaChangeResponse, json: bool) -> Value {
    if !json {
        let now = if answer.changed { "now" } else { "already" };
        println!("shard {shard}: {now} {}", answer.role);
    }
    json!({"shard": shard, "role": answer.role, "lag": answer.lag, "changed": answer.changed})
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
