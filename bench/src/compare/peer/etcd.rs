//! Owns etcd as a peer: three members on this machine, each flushing its log, keys under a lease.

use std::{path::Path, process::Stdio};

use tokio::process::Command;

use super::{Server, Store, missing, port, until_ready};
use crate::etcd_client::Etcd;

const MEMBERS: usize = 3;

pub async fn start(data: &Path) -> anyhow::Result<Store> {
    let ports = data.join("ports");
    // A member's address is part of its cluster: the same ones after a restart.
    let known = std::fs::read_to_string(&ports).unwrap_or_default();
    let mut known: Vec<String> = known.split_whitespace().map(str::to_owned).collect();
    let fresh = known.len() != 2 * MEMBERS;
    if fresh {
        known = (0..2 * MEMBERS).map(|_| port()).collect::<anyhow::Result<_>>()?;
        std::fs::write(&ports, known.join(" "))?;
    }
    let (clients, peers) = known.split_at(MEMBERS);
    let cluster: Vec<String> =
        peers.iter().enumerate().map(|(n, port)| format!("m{n}=http://127.0.0.1:{port}")).collect();
    let mut all = Vec::new();
    for (number, (client, peer)) in clients.iter().zip(peers).enumerate() {
        let client = format!("http://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        let mut command = Command::new("etcd");
        command.args(["--name", &format!("m{number}"), "--log-level", "error"]);
        command.arg("--data-dir").arg(data.join(format!("m{number}")));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &cluster.join(","), "--quota-backend-bytes"]);
        command.arg("8589934592");
        command.args(["--initial-cluster-state", if fresh { "new" } else { "existing" }]);
        command.stdout(Stdio::null());
        let log = data.with_extension("log");
        let server = Server::start("etcd", command, &log)
            .map_err(|error| missing(error, "etcd", "etcd-server"))?;
        all.push(server);
    }
    let urls: Vec<String> = clients.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let url = urls.join(",");
    until_ready("etcd", || async { Etcd::connect(&url)?.grant(600).await }).await?;
    Ok(Store { all, url })
}

/// Keys under `seat/`.
pub async fn held(url: &str) -> anyhow::Result<u64> {
    until_ready("etcd", || async { Etcd::connect(url)?.count().await }).await
}
