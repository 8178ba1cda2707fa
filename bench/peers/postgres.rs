//! The peer of P2: axum before PostgreSQL, one conditional `UPDATE` per reserve, one copy.
//!
//! The seats of the comparison are rows already; the front makes them once, before it is ready.

mod front;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use clap::Parser;
use tokio_postgres::{Client, NoTls, Statement};

/// Commits wait for the disk: several connections share its flushes.
const CONNECTIONS: usize = 64;
/// The seats that the driver asks for: `evt_<number, 26 digits>`, 200,000 each in sections of 50
/// rows of 40 seats.
const EVENTS: i32 = 6;
const SECTIONS: i32 = 100;

const TAKE: &str = "UPDATE seats SET state = 1, holder = $1, until = now() + interval '10 minutes' \
                    WHERE event = $2 AND seat = $3 AND (state = 0 OR until < now()) RETURNING 1";

/// axum before PostgreSQL: the peer that `onsale-bench compare --peer postgres` measures.
#[derive(Parser)]
#[command(name = "onsale-peer-postgres", version)]
struct Cli {
    /// Where PostgreSQL is.
    #[arg(long, default_value = "host=127.0.0.1 user=onsale dbname=postgres")]
    store: String,
    /// Where to serve; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8091")]
    listen: SocketAddr,
}

#[derive(Clone)]
struct Postgres {
    clients: Arc<Vec<(Client, Statement)>>,
    turn: Arc<AtomicUsize>,
}

impl front::Store for Postgres {
    async fn hold(&self, event: &str, seat: &str, hold: &str) -> Result<bool, ()> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.clients.len();
        let (client, take) = &self.clients[turn];
        let rows = client.query(take, &[&hold, &event, &seat]).await.map_err(|_| ())?;
        Ok(!rows.is_empty())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let first = connect(&cli.store).await?;
    make(&first).await?;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = connect(&cli.store).await?;
        let take = client.prepare(TAKE).await?;
        clients.push((client, take));
    }
    front::serve(cli.listen, Postgres { clients: Arc::new(clients), turn: Arc::default() }).await
}

async fn connect(store: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(store, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// All seats, unless they are there.
async fn make(client: &Client) -> anyhow::Result<()> {
    let there = client.query_one("SELECT to_regclass('seats') IS NOT NULL", &[]).await?;
    if there.get(0) {
        return Ok(());
    }
    client
        .batch_execute(
            "CREATE TABLE making (event text COLLATE \"C\", seat text COLLATE \"C\", \
             state smallint NOT NULL DEFAULT 0, holder text, until timestamptz) \
             WITH (fillfactor = 50);
             CREATE FUNCTION label(r int) RETURNS text LANGUAGE sql IMMUTABLE AS \
             $$ SELECT CASE WHEN r < 26 THEN '' ELSE chr(64 + r / 26) END || chr(65 + r % 26) $$;",
        )
        .await?;
    let fill = format!(
        "INSERT INTO making (event, seat)
         SELECT 'evt_' || lpad(e::text, 26, '0'), s || '-' || label(r) || '-' || n
         FROM generate_series(0, {}) e, generate_series(101, {}) s, generate_series(0, 49) r, \
              generate_series(1, 40) n;
         ALTER TABLE making ADD PRIMARY KEY (event, seat);
         ALTER TABLE making RENAME TO seats;
         ANALYZE seats; CHECKPOINT;",
        EVENTS - 1,
        100 + SECTIONS
    );
    client.batch_execute(&fill).await?;
    Ok(())
}
