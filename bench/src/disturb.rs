//! Owns what is done to a demo under load: the leader of the event's shard is killed, or every
//! replica is restarted in turn.
//!
//! Must never signal a process that is not listed in the demo's own processes.json.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use onsale_proto::allocator::{GetStatusRequest, cluster_service_client::ClusterServiceClient};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::sync::watch;

use crate::{api::Client, event, http::Target, limits, result::Mark, scenario::Disturbance};

/// What to do to whom, when.
pub struct Plan {
    /// What.
    pub what: Disturbance,
    /// The demo's folder.
    pub data_dir: PathBuf,
    /// Its gRPC address.
    pub grpc: String,
    /// Its HTTP.
    pub target: Target,
    /// The event under load.
    pub event_id: String,
    /// After the start of the load.
    pub after: Duration,
}

#[derive(Debug, Deserialize)]
struct Process {
    node: u64,
    pid: i32,
}

/// Does it; marks say what happened when.
///
/// # Errors
/// When the leader cannot be found or a replica does not come back.
pub async fn run(plan: &Plan, marks: &watch::Sender<Vec<Mark>>) -> anyhow::Result<()> {
    let started = Instant::now();
    let mark = |what: String| {
        let at_seconds = started.elapsed().as_secs_f64();
        marks.send_modify(|all| all.push(Mark { at_seconds, what }));
    };
    tokio::time::sleep(plan.after).await;
    match plan.what {
        Disturbance::LeaderKill => {
            let mut client = Client::new(plan.target.clone());
            let path = format!("/v1/events/{}", plan.event_id);
            let document = event::read(&mut client, &path).await?;
            let shard = document["shard"].as_u64().context("an event without shard")?;
            let leader = leader(plan, shard).await?;
            signal(plan, leader, Signal::KILL)?;
            mark(format!("kill -9 of node {leader}, leader of shard {shard}"));
        }
        Disturbance::RollingRestart => {
            for node in processes(plan)?.iter().map(|process| process.node) {
                let old = signal(plan, node, Signal::TERM)?;
                mark(format!("SIGTERM to node {node}"));
                back(plan, node, old).await?;
                mark(format!("node {node} is back"));
            }
        }
    }
    Ok(())
}

fn processes(plan: &Plan) -> anyhow::Result<Vec<Process>> {
    let path = plan.data_dir.join("processes.json");
    let text = std::fs::read(&path).with_context(|| format!("{}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{}", path.display()))
}

fn signal(plan: &Plan, node: u64, signal: Signal) -> anyhow::Result<i32> {
    let process = processes(plan)?.into_iter().find(|process| process.node == node);
    let process = process.with_context(|| format!("node {node} does not run"))?;
    let pid = Pid::from_raw(process.pid).context("no process id")?;
    kill_process(pid, signal).with_context(|| format!("node {node} cannot be signalled"))?;
    Ok(process.pid)
}

async fn leader(plan: &Plan, shard: u64) -> anyhow::Result<u64> {
    let channel = onsale_mesh::channel::connect(&plan.grpc).map_err(|e| anyhow::anyhow!("{e}"))?;
    let status = ClusterServiceClient::new(channel).get_status(GetStatusRequest {}).await?;
    let shards = status.into_inner().shards;
    let found = shards.iter().find(|known| u64::from(known.shard) == shard);
    match found.map(|known| known.leader) {
        Some(leader) if leader != 0 => Ok(leader),
        _ => bail!("nobody knows the leader of shard {shard}"),
    }
}

/// Waits until a node runs again and no shard of it is behind.
async fn back(plan: &Plan, node: u64, old: i32) -> anyhow::Result<()> {
    let until = Instant::now() + limits::READY_MAX;
    while Instant::now() < until {
        tokio::time::sleep(limits::STOP_POLL).await;
        let running =
            processes(plan)?.iter().any(|process| process.node == node && process.pid != old);
        if running && caught_up(plan, node).await.unwrap_or(false) {
            return Ok(());
        }
    }
    bail!("node {node} did not come back")
}

async fn caught_up(plan: &Plan, node: u64) -> anyhow::Result<bool> {
    /// Entries that a replica of a busy shard may be behind.
    const LAG_MAX: u64 = 200;
    let channel = onsale_mesh::channel::connect(&plan.grpc).map_err(|e| anyhow::anyhow!("{e}"))?;
    let status = ClusterServiceClient::new(channel).get_status(GetStatusRequest {}).await?;
    let status = status.into_inner();
    let alive = status.nodes.iter().any(|known| known.node == node && known.alive);
    let level = status.shards.iter().all(|shard| {
        let replica = shard.replicas.iter().find(|replica| replica.node == node);
        let good = |role: &str| matches!(role, "leader" | "follower");
        shard.leader != 0 && replica.is_some_and(|own| good(&own.role) && own.lag <= LAG_MAX)
    });
    Ok(alive && level)
}
