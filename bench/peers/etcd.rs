//! The peer of P3 over HTTP: axum before three members of etcd, one conditional put under a lease
//! per reserve, every member's log flushed.

#[path = "../src/etcd_client.rs"]
#[allow(dead_code)]
mod etcd_client;
mod front;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use clap::Parser;

use crate::etcd_client::Etcd;

const LEASE_SECONDS: i64 = 600;
const LEASE_EVERY: Duration = Duration::from_secs(60);

/// axum before etcd: the peer that `onsale-bench compare --peer etcd` measures.
#[derive(Parser)]
#[command(name = "onsale-peer-etcd", version)]
struct Cli {
    /// Its members, host:port,host:port,…
    #[arg(long, default_value = "127.0.0.1:2379")]
    store: String,
    /// Where to serve; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8092")]
    listen: SocketAddr,
}

#[derive(Clone)]
struct Members {
    etcd: Etcd,
    lease: Arc<AtomicI64>,
}

impl front::Store for Members {
    async fn hold(&self, event: &str, seat: &str, hold: &str) -> Result<bool, ()> {
        let key = format!("seat/{event}/{seat}").into_bytes();
        let lease = self.lease.load(Ordering::Relaxed);
        self.etcd.put_new(key, hold.as_bytes().to_vec(), lease).await.map_err(|_| ())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let etcd = Etcd::connect(&cli.store)?;
    let lease = Arc::new(AtomicI64::new(etcd.grant(LEASE_SECONDS).await?));
    let members = Members { etcd: etcd.clone(), lease: Arc::clone(&lease) };
    // One lease serves the holds of a minute: a lease each would halve etcd's rate.
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LEASE_EVERY).await;
            if let Ok(next) = etcd.grant(LEASE_SECONDS).await {
                lease.store(next, Ordering::Relaxed);
            }
        }
    });
    front::serve(cli.listen, members).await
}
