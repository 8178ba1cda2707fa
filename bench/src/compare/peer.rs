//! Owns the peers that keep holds: how each is started from the system's packages, made as durable
//! as ours, and asked what it kept.
//!
//! Must never compare with a peer that answers before it has flushed.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Instant,
};

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::{
    exit::{Exit, ended},
    http::Target,
    limits,
    server::{Server, free_port},
};

mod etcd;
mod postgres;
mod redis;

/// What to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// axum before Redis, append-only file flushed always.
    Redis,
    /// axum before PostgreSQL, synchronous commit.
    Postgres,
    /// axum before three members of etcd.
    Etcd,
    /// nginx with static files: for reads.
    Nginx,
    /// Our own, with other replicas (--own-replicas) or events (--own-events).
    Own,
    /// A bare tonic server that answers what it was sent; with --native.
    Echo,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Redis => "redis",
            Kind::Postgres => "postgres",
            Kind::Etcd => "etcd",
            Kind::Nginx => "nginx",
            Kind::Own => "own",
            Kind::Echo => "echo",
        }
    }

    /// Whether it can be compared with over gRPC.
    pub fn is_native(self) -> bool {
        matches!(self, Kind::Etcd | Kind::Own | Kind::Echo)
    }

    /// Where the comparison is not even.
    pub fn warnings(self, replicas: u32) -> Vec<&'static str> {
        let mut warnings = match self {
            Kind::Redis => vec![
                "redis keeps one copy and knows no events, prices, limits or idempotency: in its \
                 favour",
            ],
            Kind::Postgres => vec![
                "postgres keeps one copy and knows no prices, limits or idempotency: in its favour",
            ],
            Kind::Etcd => vec![
                "etcd flushes its log as ours does; its members have no prices, limits or \
                 idempotency, and one lease serves all holds of a minute: in its favour",
            ],
            Kind::Nginx => vec![
                "nginx serves files that never change; ours are live, and one worker of nginx is \
                 held against all threads of ours",
            ],
            Kind::Own => Vec::new(),
            Kind::Echo => vec![
                "the echo does nothing and flushes nothing; it has a call for each hold, ours a \
                 message for many: in our favour",
            ],
        };
        if replicas == 1 && self == Kind::Etcd {
            warnings.push("one replica of ours against three members: in our favour");
        }
        warnings
    }

    /// Starts it on a folder, durable, with its front before it.
    ///
    /// # Errors
    /// Not found when its package is missing; else when it does not start.
    pub async fn start(self, fronts: &Path, data: &Path) -> anyhow::Result<Peer> {
        std::fs::create_dir_all(data)?;
        let mut servers = match self {
            Kind::Redis => redis::start(data).await?,
            Kind::Postgres => postgres::start(data).await?,
            Kind::Etcd => etcd::start(data).await?,
            Kind::Echo => Store { all: Vec::new(), url: String::new() },
            Kind::Nginx | Kind::Own => bail!("{} is not started here", self.name()),
        };
        let program = front(fronts, self)?;
        let mut command = Command::new(&program);
        if self != Kind::Echo {
            command.args(["--store", &servers.url]);
        }
        command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        let log = data.with_extension("log");
        let mut front = Server::start(&format!("{}", program.display()), command, &log)?;
        let target = front.ready(&log).await?;
        servers.all.push(front);
        Ok(Peer { kind: self, target, url: servers.url, servers: servers.all })
    }
}

/// Processes of a store, and how its front reaches it.
struct Store {
    all: Vec<Server>,
    url: String,
}

/// A running peer.
pub struct Peer {
    kind: Kind,
    /// Its HTTP.
    pub target: Target,
    /// How its front reaches it.
    pub url: String,
    servers: Vec<Server>,
}

impl Peer {
    /// All its processes, children included.
    pub fn pids(&self) -> Vec<u32> {
        self.servers.iter().flat_map(|server| crate::machine::family(server.pid)).collect()
    }

    /// Kills all of it as a power cut would.
    ///
    /// # Errors
    /// When a process does not go.
    pub async fn kill(self) -> anyhow::Result<()> {
        for server in self.servers.into_iter().rev() {
            server.kill().await?;
        }
        Ok(())
    }

    /// Holds it keeps.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn held(&self) -> anyhow::Result<u64> {
        match self.kind {
            Kind::Redis => redis::held(&self.url).await,
            Kind::Postgres => postgres::held(&self.url).await,
            Kind::Etcd => etcd::held(&self.url).await,
            Kind::Nginx | Kind::Own | Kind::Echo => Ok(0),
        }
    }
}

fn front(folder: &Path, kind: Kind) -> anyhow::Result<PathBuf> {
    let program = folder.join(format!("onsale-peer-{}", kind.name()));
    if program.is_file() {
        return Ok(program);
    }
    let why = format!(
        "{} is not there; build it: cargo build --release -p onsale -p onsale-bench",
        program.display()
    );
    Err(ended(Exit::NotFound, why))
}

/// A failure to start, with the package to install when that is the cause.
pub fn missing(error: anyhow::Error, program: &str, package: &str) -> anyhow::Error {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    if !causes.into_iter().any(|cause| cause.kind() == std::io::ErrorKind::NotFound) {
        return error;
    }
    let why = format!(
        "{program} is not installed; on Debian: apt-get install {package} (the service it starts \
         is not used and can be stopped)"
    );
    ended(Exit::NotFound, why)
}

/// Tries until it works or the time for starting is over.
async fn until_ready<T, F: Future<Output = anyhow::Result<T>>>(
    what: &str,
    attempt: impl Fn() -> F,
) -> anyhow::Result<T> {
    let until = Instant::now() + limits::READY_MAX;
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if Instant::now() >= until => {
                return Err(error).with_context(|| format!("{what} does not answer"));
            }
            Err(_) => tokio::time::sleep(limits::RETRY_PAUSE).await,
        }
    }
}

/// A free port for a store.
fn port() -> anyhow::Result<String> {
    Ok(free_port()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package_and_other_failures_stay_what_they_are() {
        let gone = std::io::Error::from(std::io::ErrorKind::NotFound);
        let error = missing(anyhow::Error::new(gone).context("etcd"), "etcd", "etcd-server");
        assert_eq!(crate::exit::of(&error), Exit::NotFound);
        assert!(error.to_string().contains("apt-get install etcd-server"), "{error}");
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let error = missing(anyhow::Error::new(denied), "etcd", "etcd-server");
        assert_eq!(crate::exit::of(&error), Exit::Failed);
    }

    #[tokio::test]
    async fn a_missing_front_says_how_to_build_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = front(folder.path(), Kind::Etcd).expect_err("nothing there");
        assert!(error.to_string().contains("cargo build --release"), "{error}");
        for kind in [Kind::Redis, Kind::Postgres, Kind::Etcd, Kind::Nginx, Kind::Echo] {
            assert!(!kind.warnings(3).is_empty(), "{} is never quite even", kind.name());
        }
    }
}
