//! Owns Redis as a peer: every write flushed before its answer, and asked whether it is so.

use std::{path::Path, process::Stdio};

use anyhow::{Context as _, bail};
use tokio::process::Command;

use super::{Server, Store, missing, port, until_ready};

/// What Redis has to say about its own durability, and what it must be.
const DURABILITY: &[(&str, &str)] =
    &[("appendonly", "yes"), ("appendfsync", "always"), ("save", "")];

pub async fn start(data: &Path) -> anyhow::Result<Store> {
    let port = port()?;
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--port", &port, "--daemonize", "no"])
        .args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
        .arg("--dir")
        .arg(data)
        .stdout(Stdio::null());
    let log = data.with_extension("log");
    let server = Server::start("redis-server", command, &log)
        .map_err(|error| missing(error, "redis-server", "redis-server"))?;
    let url = format!("redis://127.0.0.1:{port}");
    durable(&url).await.with_context(|| format!("see {}", log.display()))?;
    Ok(Store { all: vec![server], url })
}

async fn durable(url: &str) -> anyhow::Result<()> {
    let mut connection = connect(url).await?;
    for (setting, wanted) in DURABILITY {
        let (_, value): (String, String) =
            redis::cmd("CONFIG").arg("GET").arg(setting).query_async(&mut connection).await?;
        if value != *wanted {
            bail!("redis-server has {setting} = {value:?}, not {wanted:?}: no fair comparison");
        }
    }
    let info: String = redis::cmd("INFO").arg("persistence").query_async(&mut connection).await?;
    if !info.lines().any(|line| line.trim() == "aof_enabled:1") {
        bail!("redis-server does not write its append-only file");
    }
    Ok(())
}

/// Keys in Redis: one per held seat.
pub async fn held(url: &str) -> anyhow::Result<u64> {
    let mut connection = connect(url).await?;
    Ok(redis::cmd("DBSIZE").query_async(&mut connection).await?)
}

async fn connect(url: &str) -> anyhow::Result<redis::aio::MultiplexedConnection> {
    let client = redis::Client::open(url)?;
    // Refused while it starts; "LOADING" while it reads its file.
    until_ready("redis-server", || async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("PING").query_async::<String>(&mut connection).await?;
        Ok(connection)
    })
    .await
}
