//! Owns the servers a measurement starts: ours, Redis, and the front before it.
//!
//! Must never end a process that it did not start: a child is ended by its own handle, and with
//! the harness.

use std::{
    net::TcpListener as StdListener,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{http::Target, limits};

/// A running child process; killed when dropped.
pub struct Server {
    name: String,
    child: Child,
    /// Its process id.
    pub pid: u32,
}

impl Server {
    /// Starts a program; what it says on stderr goes to a file.
    fn start(name: &str, mut command: Command, log: &Path) -> anyhow::Result<Server> {
        let log_file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("{}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stderr(log_file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        let pid = child.id().with_context(|| format!("{name} ended at once"))?;
        Ok(Server { name: name.to_owned(), child, pid })
    }

    /// Waits for the line `ready URL`; the URL's target.
    async fn ready(&mut self, log: &Path) -> anyhow::Result<Target> {
        let stdout = self.child.stdout.take().context("stdout is not read")?;
        let mut lines = BufReader::new(stdout).lines();
        let reading = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(url) = line.strip_prefix("ready ") {
                    return Target::parse(url.trim()).map_err(anyhow::Error::msg);
                }
            }
            bail!("{} ended before it was ready; see {}", self.name, log.display())
        };
        let target = timeout(limits::READY_MAX, reading).await.with_context(|| {
            let seconds = limits::READY_MAX.as_secs();
            format!("{} was not ready within {seconds} s; see {}", self.name, log.display())
        })??;
        // Keep reading, or a server that says more would stand still.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(target)
    }

    /// Kills it as a power cut would, and waits until it is gone.
    ///
    /// # Errors
    /// When it does not go.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.start_kill().with_context(|| format!("{} cannot be killed", self.name))?;
        let ended = timeout(limits::STOP_MAX, self.child.wait()).await;
        ended.with_context(|| format!("{} does not end", self.name))??;
        Ok(())
    }
}

/// A port of this machine that is free now.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = StdListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(listener.local_addr()?.port())
}

/// Our system, as `onsale demo`.
pub struct Onsale {
    /// The process.
    pub server: Server,
    /// Its public HTTP.
    pub target: Target,
    /// From exec to the `ready` line.
    pub start: Duration,
}

/// Starts `onsale demo` on a folder, with free ports, and waits until it is ready.
///
/// # Errors
/// When it does not become ready.
pub async fn onsale(binary: &Path, folder: &Path, options: &[&str]) -> anyhow::Result<Onsale> {
    let log = folder.with_extension("log");
    let mut command = Command::new(binary);
    command.arg("demo").arg("--data-dir").arg(folder).args(options).stdout(Stdio::piped());
    for flag in ["--listen", "--ops-listen", "--grpc-listen"] {
        command.arg(flag).arg(format!("127.0.0.1:{}", free_port()?));
    }
    let started = Instant::now();
    let mut server = Server::start(&format!("{}", binary.display()), command, &log)?;
    let target = server.ready(&log).await?;
    Ok(Onsale { server, target, start: started.elapsed() })
}

/// The peer: Redis and the front before it.
pub struct Peer {
    /// Redis.
    pub redis: Server,
    /// The front.
    pub front: Server,
    /// The front's HTTP.
    pub target: Target,
    /// `redis://…`
    pub redis_url: String,
}

/// What Redis has to say about its own durability, and what it must be.
const DURABILITY: &[(&str, &str)] =
    &[("appendonly", "yes"), ("appendfsync", "always"), ("save", "")];

/// Starts Redis on a folder with every write flushed before its answer, and the front before it.
///
/// # Errors
/// When Redis is not installed, does not start, or is not as durable as it must be.
pub async fn peer(front: &Path, folder: &Path) -> anyhow::Result<Peer> {
    std::fs::create_dir_all(folder)?;
    let port = free_port()?;
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--daemonize", "no"])
        .args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
        .arg("--dir")
        .arg(folder)
        .stdout(Stdio::null());
    let log = folder.with_extension("log");
    let redis = Server::start("redis-server", command, &log).map_err(|error| {
        let missing = error.chain().any(|cause| {
            cause
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        });
        match missing {
            true => anyhow::anyhow!(
                "redis-server is not installed; on Debian: apt-get install redis-server \
                 (the service it starts is not used and can be stopped)"
            ),
            false => error,
        }
    })?;
    let redis_url = format!("redis://127.0.0.1:{port}");
    durable(&redis_url).await.with_context(|| format!("see {}", log.display()))?;
    let mut command = Command::new(front);
    command.args(["--redis", &redis_url, "--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut front = Server::start(&format!("{}", front.display()), command, &log)?;
    let target = front.ready(&log).await?;
    Ok(Peer { redis, front, target, redis_url })
}

/// Waits until Redis answers, then asks it whether it flushes before it answers.
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
///
/// # Errors
/// When Redis does not answer.
pub async fn keys(url: &str) -> anyhow::Result<u64> {
    let mut connection = connect(url).await?;
    Ok(redis::cmd("DBSIZE").query_async(&mut connection).await?)
}

async fn connect(url: &str) -> anyhow::Result<redis::aio::MultiplexedConnection> {
    let client = redis::Client::open(url)?;
    let until = Instant::now() + limits::READY_MAX;
    loop {
        // Refused while it starts; "LOADING" while it reads its file.
        let last = match client.get_multiplexed_async_connection().await {
            Ok(mut connection) => {
                match redis::cmd("PING").query_async::<String>(&mut connection).await {
                    Ok(_) => return Ok(connection),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        if Instant::now() >= until {
            return Err(last).context("redis-server does not answer");
        }
        tokio::time::sleep(limits::RETRY_PAUSE).await;
    }
}
