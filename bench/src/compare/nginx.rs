//! Owns the comparison of reading: our event document and section availability, live, against
//! nginx, one worker, with static files of the same bytes (P5).

use std::{path::Path, process::Stdio, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::process::Command;

use super::{Options, Side, sides::side};
use crate::{
    api::{Call, Client},
    event::{self, Shape},
    figures::Figures,
    http::Target,
    limits,
    load::{self, op::Op, progress::Progress},
    machine, random,
    seats::EventSeats,
    server::{self, Server},
    stock::Stock,
};

const SEATS: u64 = 60_000;

/// Both sides, event document and section.
///
/// # Errors
/// When a side cannot be started.
pub async fn both(
    options: &Options,
    folder: &Path,
    number: u32,
) -> anyhow::Result<Vec<(&'static str, Side, Side)>> {
    let data = folder.join("onsale");
    let replicas = options.replicas.to_string();
    let flags = ["--no-limits", "--empty", "--replicas", &replicas];
    let demo = server::onsale(&options.onsale, &data, &flags).await?;
    let mut client = Client::new(demo.target.clone());
    let key = event::organizer_key(&data.join("credentials.json"))?;
    let shape = Shape::plain(SEATS, 1);
    let events = event::make(&mut client, &key, &random::run_id()?, shape).await?;
    let nginx = start(&mut client, &events, folder).await?;
    let our_pids = machine::family(demo.server.pid);
    let nginx_pids = machine::family(nginx.0.pid);
    let mut pairs = Vec::new();
    for (what, op) in [("event", Op::Event), ("section", Op::Section)] {
        let ours = || reads(options, &demo.target, &events, &our_pids, op);
        let theirs = || reads(options, &nginx.1, &events, &nginx_pids, op);
        let (our_load, their_load);
        if number.is_multiple_of(2) {
            their_load = theirs().await?;
            our_load = ours().await?;
        } else {
            our_load = ours().await?;
            their_load = theirs().await?;
        }
        pairs.push((
            what,
            side(&format!("ours, {what}"), our_load, None),
            side(&format!("nginx, {what}"), their_load, None),
        ));
    }
    nginx.0.kill().await?;
    demo.server.kill().await?;
    Ok(pairs)
}

/// A closed loop of reads.
///
/// # Errors
/// When connections cannot be opened.
pub async fn reads(
    options: &Options,
    target: &Target,
    events: &[EventSeats],
    pids: &[u32],
    op: Op,
) -> anyhow::Result<Figures> {
    let stock = Arc::new(Stock::new(events.to_vec(), false));
    let mut load = load::Options::closed(target.clone(), stock, op, random::run_id()?);
    load.connections = options.connections;
    load.threads = options.threads;
    load.warm_up = Duration::from_secs(options.warm_up_seconds);
    load.duration = Duration::from_secs(options.seconds);
    load.pids = pids.to_vec();
    let done = load::run(Arc::new(load), Progress::Quiet, crate::never()).await?;
    Ok(Figures::of(&done, op, done.good(op)))
}

/// nginx with the bytes that our server gives out just now.
async fn start(
    client: &mut Client,
    events: &[EventSeats],
    folder: &Path,
) -> anyhow::Result<(Server, Target)> {
    let event = events.first().context("no event")?;
    let root = folder.join("static");
    let base = root.join("v1/events").join(&event.event_id);
    std::fs::create_dir_all(base.join("availability"))?;
    let path = format!("/v1/events/{}", event.event_id);
    std::fs::write(base.join("document.json"), body(client, &path).await?)?;
    for key in event.sections() {
        let section = body(client, &format!("{path}/availability?section={key}")).await?;
        std::fs::write(base.join("availability").join(format!("{key}.json")), section)?;
    }
    // A worker of another user has to get at the files.
    let port = server::free_port()?;
    let config = config(&root, folder, port);
    let config_path = folder.join("nginx.conf");
    std::fs::write(&config_path, config)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(std::fs::canonicalize(&config_path)?);
    command.stdout(Stdio::null());
    let log = folder.join("nginx.log");
    let server = Server::start("nginx", command, &log)
        .map_err(|error| super::peer::missing(error, "nginx", "nginx-light"))?;
    let target = Target { authority: format!("127.0.0.1:{port}") };
    let mut probe = Client::new(target.clone());
    let reply = probe.settle(&Call::get(&path), limits::READY_MAX).await;
    let reply = reply.with_context(|| format!("nginx does not answer; see {}", log.display()))?;
    let ours = body(client, &path).await?;
    anyhow::ensure!(
        reply.status == 200 && reply.raw.len() == ours.len(),
        "nginx serves other bytes"
    );
    Ok((server, target))
}

async fn body(client: &mut Client, path: &str) -> anyhow::Result<Vec<u8>> {
    let reply = client.settle(&Call::get(path), Duration::from_secs(10)).await;
    let reply = reply.with_context(|| format!("GET {path}: no answer"))?;
    anyhow::ensure!(reply.status == 200, "GET {path}: {}", reply.status);
    Ok(reply.raw)
}

fn config(root: &Path, folder: &Path, port: u16) -> String {
    let (root, folder) = (absolute(root), absolute(folder));
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    format!(
        "{user}worker_processes 1;\nmaster_process off;\ndaemon off;\n\
         pid {folder}/nginx.pid;\nerror_log stderr;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  sendfile on;\n  tcp_nopush off;\n  tcp_nodelay on;\n\
         \x20 keepalive_requests 1000000000;\n  keepalive_timeout 600s;\n\
         \x20 open_file_cache max=1000;\n  open_file_cache_valid 600s;\n\
         \x20 client_body_temp_path {folder}/t1;\n  proxy_temp_path {folder}/t2;\n\
         \x20 fastcgi_temp_path {folder}/t3;\n  uwsgi_temp_path {folder}/t4;\n\
         \x20 scgi_temp_path {folder}/t5;\n  default_type application/json;\n\
         \x20 server {{\n    listen 127.0.0.1:{port};\n    root {root};\n\
         \x20   location ~ ^/v1/events/[a-z0-9_]+$ {{ try_files $uri/document.json =404; }}\n\
         \x20   location ~ ^/v1/events/[a-z0-9_]+/availability$ {{\n\
         \x20     try_files $uri/$arg_section.json =404;\n    }}\n\
         \x20 }}\n}}\n"
    )
}

fn absolute(path: &Path) -> String {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_is_one_process_so_that_its_end_is_the_end_of_all_of_it() {
        let text = config(Path::new("/static"), Path::new("/folder"), 80);
        for line in ["worker_processes 1;", "master_process off;", "daemon off;"] {
            assert!(text.lines().any(|other| other.trim() == line), "{line} is not in\n{text}");
        }
    }
}
