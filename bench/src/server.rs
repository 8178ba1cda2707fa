//! Owns the servers that a measurement starts: how they begin, are waited for, and end.
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

use crate::{
    exit::{Exit, ended},
    http::Target,
    limits, machine,
};

/// A running child process; killed when dropped.
pub struct Server {
    name: String,
    child: Child,
    /// Its process id.
    pub pid: u32,
}

impl Server {
    /// Starts a program; what it says on stderr goes to a file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> anyhow::Result<Server> {
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
    ///
    /// # Errors
    /// When it ends or takes too long.
    pub async fn ready(&mut self, log: &Path) -> anyhow::Result<Target> {
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

    /// Kills it as a power cut would, and waits until it is gone, and its children with it: they
    /// notice by themselves, and hold its memory and its folder until then.
    ///
    /// # Errors
    /// When one of them does not go.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        let family = machine::family(self.pid);
        self.child.start_kill().with_context(|| format!("{} cannot be killed", self.name))?;
        let ended = timeout(limits::STOP_MAX, self.child.wait()).await;
        ended.with_context(|| format!("{} does not end", self.name))??;
        let until = Instant::now() + limits::STOP_MAX;
        while family.iter().any(|pid| machine::runs(*pid)) {
            if Instant::now() >= until {
                bail!("a child of {} does not end", self.name);
            }
            tokio::time::sleep(limits::STOP_POLL).await;
        }
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
    /// Where its metrics are.
    pub ops: Target,
    /// Its gRPC address.
    pub grpc: String,
}

/// Starts `onsale demo` on a folder, with free ports, and waits until it is ready.
///
/// # Errors
/// When it does not become ready.
pub async fn onsale(binary: &Path, folder: &Path, options: &[&str]) -> anyhow::Result<Onsale> {
    if !binary.is_file() {
        let name = binary.display();
        let why = format!("{name} is not there; build it: cargo build --release -p onsale");
        return Err(ended(Exit::NotFound, why));
    }
    let log = folder.with_extension("log");
    let mut command = Command::new(binary);
    command.arg("demo").arg("--data-dir").arg(folder).args(options).stdout(Stdio::piped());
    let mut addresses = Vec::new();
    for flag in ["--listen", "--ops-listen", "--grpc-listen"] {
        let address = format!("127.0.0.1:{}", free_port()?);
        command.arg(flag).arg(&address);
        addresses.push(address);
    }
    let grpc = addresses.pop().unwrap_or_default();
    let ops = Target { authority: addresses.pop().unwrap_or_default() };
    let started = Instant::now();
    let mut server = Server::start(&format!("{}", binary.display()), command, &log)?;
    let target = server.ready(&log).await?;
    Ok(Onsale { server, target, start: started.elapsed(), ops, grpc })
}

/// A demo on a fresh folder of its own; its data lies in `data` there.
///
/// # Errors
/// When it does not become ready; the folder with its log is kept then.
pub async fn fresh_demo(
    binary: &Path,
    work_dir: &Path,
    flags: &[String],
) -> anyhow::Result<(Onsale, tempfile::TempDir)> {
    std::fs::create_dir_all(work_dir).with_context(|| format!("{}", work_dir.display()))?;
    let folder = tempfile::Builder::new().prefix("demo-").tempdir_in(work_dir)?;
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    match onsale(binary, &folder.path().join("data"), &flags).await {
        Ok(demo) => Ok((demo, folder)),
        Err(error) => Err(error.context(format!("kept {}", folder.keep().display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_killed_server_is_gone_when_its_children_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("sh");
        // Its child outlives it by a moment, as those of PostgreSQL do.
        command.args(["-c", "sleep 0.6 & echo ready http://127.0.0.1:1; wait"]);
        command.stdout(Stdio::piped());
        let log = folder.path().join("log");
        let mut server = Server::start("sh", command, &log).expect("started");
        server.ready(&log).await.expect("ready");
        let family = machine::family(server.pid);
        assert!(family.len() == 2 && family.iter().all(|pid| machine::runs(*pid)), "{family:?}");
        server.kill().await.expect("gone");
        assert!(!family.iter().any(|pid| machine::runs(*pid)), "a child still runs");
    }
}
