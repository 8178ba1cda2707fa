//! Owns the replicas' processes of `onsale demo --processes`: starts them, writes
//! `processes.json`, starts them again when they die.
//!
//! Must never outlive its children's use: they end when our end of their stdin closes.

use std::{path::PathBuf, process::Stdio, time::Duration};

use serde::Serialize;
use tokio::{
    process::{Child, Command},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::folder::{self, Folder};
use crate::{config::Settings, exit::Failed};

/// Before a dead replica is started again.
const RESPAWN_PAUSE: Duration = Duration::from_millis(300);
/// What a replica may take to stop cleanly.
const STOP_WITHIN: Duration = Duration::from_secs(6);

/// Keeps the processes running.
pub struct Keeper {
    replicas: Vec<Replica>,
    list: PathBuf,
    respawn: bool,
}

struct Replica {
    node: u64,
    grpc: String,
    data_dir: PathBuf,
    config: PathBuf,
    pid: Option<u32>,
}

/// A line of `processes.json` (contract).
#[derive(Serialize)]
struct Listed<'a> {
    role: &'static str,
    node: u64,
    pid: u32,
    grpc: &'a str,
    data_dir: &'a PathBuf,
}

impl Keeper {
    /// Writes a configuration file per replica.
    pub fn new(folder: &Folder, all: &[Settings], respawn: bool) -> Result<Keeper, Failed> {
        let mut replicas = Vec::new();
        for settings in all {
            let config = folder.dir().join(format!("node-{}.toml", settings.node));
            folder::write_private(&config, config_file(settings).as_bytes())?;
            let own = settings.nodes.iter().find(|node| node.id == settings.node);
            replicas.push(Replica {
                node: settings.node,
                grpc: own.map(|node| node.grpc.clone()).unwrap_or_default(),
                data_dir: settings.data_dir.clone(),
                config,
                pid: None,
            });
        }
        Ok(Keeper { replicas, list: folder.dir().join("processes.json"), respawn })
    }

    /// Runs until `stop`, then stops the processes.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Failed> {
        let mut ends = JoinSet::new();
        for place in 0..self.replicas.len() {
            self.start(place, &mut ends, &stop)?;
        }
        self.write_list()?;
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = ends.join_next() => ended,
                else => {
                    stop.cancelled().await;
                    break;
                }
            };
            let Ok(place) = ended else { continue };
            self.replicas[place].pid = None;
            self.write_list()?;
            if stop.is_cancelled() || !self.respawn {
                continue;
            }
            tracing::warn!(node = self.replicas[place].node, "a replica died and is started again");
            tokio::time::sleep(RESPAWN_PAUSE).await;
            self.start(place, &mut ends, &stop)?;
            self.write_list()?;
        }
        while ends.join_next().await.is_some() {}
        for replica in &mut self.replicas {
            replica.pid = None;
        }
        self.write_list()
    }

    fn start(
        &mut self,
        place: usize,
        ends: &mut JoinSet<usize>,
        stop: &CancellationToken,
    ) -> Result<(), Failed> {
        let replica = &mut self.replicas[place];
        let failed = |error| Failed::new(format!("replica {}: {error}", replica.node));
        let program = std::env::current_exe().map_err(failed)?;
        let child = Command::new(program)
            .arg("run")
            .arg("--config")
            .arg(&replica.config)
            .args(["--role", "allocator", "--stop-with-parent"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        replica.pid = child.id();
        ends.spawn(wait(child, place, stop.clone()));
        Ok(())
    }

    fn write_list(&self) -> Result<(), Failed> {
        let running = self.replicas.iter().filter_map(|replica| {
            Some(Listed {
                role: "allocator",
                node: replica.node,
                pid: replica.pid?,
                grpc: &replica.grpc,
                data_dir: &replica.data_dir,
            })
        });
        let list: Vec<Listed<'_>> = running.collect();
        folder::write_private(&self.list, &folder::to_json(&list)?)
    }
}

/// Waits for the process's end; on `stop` closes its stdin, which tells it to end.
async fn wait(mut child: Child, place: usize, stop: CancellationToken) -> usize {
    let stdin = child.stdin.take();
    tokio::select! {
        _ = child.wait() => return place,
        () = stop.cancelled() => drop(stdin),
    }
    if tokio::time::timeout(STOP_WITHIN, child.wait()).await.is_err() {
        // It had its time; the log is made for this.
        let _ = child.kill().await;
    }
    place
}

fn config_file(settings: &Settings) -> String {
    let nodes: Vec<String> =
        settings.nodes.iter().map(|node| format!("{}={}", node.id, node.grpc)).collect();
    let own = settings.nodes.iter().find(|node| node.id == settings.node);
    let value = |text: &str| toml::Value::String(text.to_owned()).to_string();
    format!(
        "[node]\nid = {}\ndata_dir = {}\ngrpc_listen = {}\nops_listen = \"127.0.0.1:0\"\n\n\
         [cluster]\nname = {}\nnodes = {nodes:?}\nshards = {}\nsecret_file = {}\n\n\
         [allocator]\nlog_segment_bytes = {}\nsnapshot_entries = {}\n\n[log]\nfilter = {}\n",
        settings.node,
        value(&settings.data_dir.display().to_string()),
        value(own.map_or("", |node| &node.grpc)),
        value(&settings.cluster),
        settings.shards,
        value(&settings.secret_file.display().to_string()),
        settings.log_segment_bytes,
        settings.snapshot_entries,
        value(&settings.log_filter),
    )
}
