//! The peer of P1: axum before Redis, one `SET seat:E:S holder NX PX 600000` per reserve, one copy.

mod front;

use std::net::SocketAddr;

use clap::Parser;
use redis::aio::MultiplexedConnection;

/// axum before Redis: the peer that `onsale-bench compare --peer redis` measures.
#[derive(Parser)]
#[command(name = "onsale-peer-redis", version)]
struct Cli {
    /// Where Redis is.
    #[arg(long, default_value = "redis://127.0.0.1:6379")]
    store: String,
    /// Where to serve; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
}

#[derive(Clone)]
struct Redis(MultiplexedConnection);

impl front::Store for Redis {
    async fn hold(&self, event: &str, seat: &str, hold: &str) -> Result<bool, ()> {
        let mut redis = self.0.clone();
        let set: Result<Option<String>, _> = redis::cmd("SET")
            .arg(format!("seat:{event}:{seat}"))
            .arg(hold)
            .arg("NX")
            .arg("PX")
            .arg(front::HOLD_MS)
            .query_async(&mut redis)
            .await;
        set.map(|set| set.is_some()).map_err(|_| ())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let client = redis::Client::open(cli.store.as_str())?;
    front::serve(cli.listen, Redis(client.get_multiplexed_async_connection().await?)).await
}
