//! Owns PostgreSQL as a peer: one cluster on a fresh folder, synchronous commit, one row a seat.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, bail};
use tokio::process::Command;

use super::{Server, Store, missing, port, until_ready};
use crate::exit::{Exit, ended};

const FSYNC: &[(&str, &str)] =
    &[("fsync", "on"), ("synchronous_commit", "on"), ("full_page_writes", "on")];

pub async fn start(data: &Path) -> anyhow::Result<Store> {
    let bin = binaries()?;
    let log = data.with_extension("log");
    let cluster = data.join("cluster");
    if !cluster.join("PG_VERSION").exists() {
        init(&bin, data, &cluster, &log).await?;
    }
    let port = port()?;
    let mut command = as_server(&bin.join("postgres"));
    command
        .arg("-D")
        .arg(std::fs::canonicalize(&cluster)?)
        .args(["-p", &port, "-h", "127.0.0.1", "-k", "", "-N", "300"])
        .args(["-c", "shared_buffers=512MB", "-c", "max_wal_size=4GB"])
        .args(["-c", "synchronous_commit=on", "-c", "fsync=on"])
        .stdout(Stdio::null());
    let server = Server::start("postgres", command, &log)
        .map_err(|error| missing(error, "postgres", "postgresql"))?;
    let url = format!("host=127.0.0.1 port={port} user=onsale dbname=postgres");
    durable(&url).await.with_context(|| format!("see {}", log.display()))?;
    Ok(Store { all: vec![server], url })
}

/// The newest version's programs; Debian keeps them out of the path.
fn binaries() -> anyhow::Result<PathBuf> {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = installed.map(|entry| entry.path().join("bin")).collect();
    folders.retain(|folder| folder.join("initdb").is_file());
    folders.sort();
    folders.pop().ok_or_else(|| {
        let why = "postgres is not installed; on Debian: apt-get install postgresql (the service \
                   it starts is not used and can be stopped)";
        ended(Exit::NotFound, why)
    })
}

/// PostgreSQL refuses to run as root: then it runs as its package's user.
fn as_server(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

async fn init(bin: &Path, data: &Path, cluster: &Path, log: &Path) -> anyhow::Result<()> {
    if rustix::process::geteuid().is_root() {
        // Its user has to get through to a folder of its own.
        for folder in [Some(data), data.parent()].into_iter().flatten() {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
        }
        let id = Command::new("id").args(["-u", "postgres"]).output().await?;
        let id = String::from_utf8_lossy(&id.stdout).trim().parse::<u32>();
        let id = id.context("there is no user postgres")?;
        std::fs::create_dir_all(cluster)?;
        std::os::unix::fs::chown(cluster, Some(id), None)?;
    }
    let mut command = as_server(&bin.join("initdb"));
    command.arg("-D").arg(absolute(cluster)?);
    command.args(["-U", "onsale", "-A", "trust", "--no-locale", "-E", "UTF8"]);
    let out = command.stdin(Stdio::null()).output().await.context("initdb cannot be started")?;
    std::fs::write(log, [out.stdout, out.stderr].concat())?;
    if !out.status.success() {
        bail!("initdb failed; see {}", log.display());
    }
    Ok(())
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    Ok(std::path::absolute(path)?)
}

async fn durable(url: &str) -> anyhow::Result<()> {
    let client = connect(url).await?;
    for (setting, wanted) in FSYNC {
        let row = client.query_one(&format!("SHOW {setting}"), &[]).await?;
        let value: &str = row.get(0);
        if value != *wanted {
            bail!("postgres has {setting} = {value:?}, not {wanted:?}: no fair comparison");
        }
    }
    Ok(())
}

/// Held seats.
pub async fn held(url: &str) -> anyhow::Result<u64> {
    let client = connect(url).await?;
    let row = client.query_one("SELECT count(*) FROM seats WHERE state = 1", &[]).await?;
    Ok(u64::try_from(row.get::<_, i64>(0))?)
}

async fn connect(url: &str) -> anyhow::Result<tokio_postgres::Client> {
    until_ready("postgres", || async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    })
    .await
}
