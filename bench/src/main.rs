//! The load harness: plays sales against a running system and audits them from outside, measures,
//! and compares with what people would build instead.
//!
//! Must never know more of the system than its public contract.

mod api;
mod audit;
mod buyer;
mod compare;
mod event;
#[cfg(test)]
mod fake_shop;
mod flash_sale;
mod http;
mod limits;
mod machine;
mod print;
mod random;
mod reserve;
mod seats;
mod server;
mod start;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use crate::http::Target;

const FAILED: u8 = 1;
const BROKEN: u8 = 5;

/// Plays sales, audits, measures, compares.
///
/// Exit codes: 0 done · 1 failed · 2 usage · 5 oversold or an acknowledged answer was lost.
#[derive(Parser)]
#[command(name = "onsale-bench", version)]
struct Cli {
    /// Print one JSON document instead of a table.
    #[arg(long, global = true)]
    json: bool,
    /// Threads of the driver; servers on the same machine want the rest.
    #[arg(
        long, global = true, default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    threads: u16,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Play a small sale against a running system, then audit every acknowledged answer.
    FlashSale(SaleArgs),
    /// Reserve fresh seats as fast as the answers come.
    Reserve(ReserveArgs),
    /// Our system and a peer in turns under the same load.
    Compare(CompareArgs),
    /// Time from exec to ready on an empty folder.
    Start(StartArgs),
}

#[derive(Args)]
struct SaleArgs {
    /// The system's public address.
    #[arg(long, default_value = "http://127.0.0.1:8080", value_parser = Target::parse)]
    url: Target,
    /// The event to buy from.
    #[arg(long, default_value = "evt_club")]
    event: String,
    /// Buyers at once.
    #[arg(
        long, default_value_t = 40,
        value_parser = clap::value_parser!(u64).range(1..=limits::BUYERS_MAX as u64)
    )]
    buyers: u64,
    /// How long they buy.
    #[arg(
        long, default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=limits::SECONDS_MAX)
    )]
    seconds: u64,
    /// Repeat an earlier run's choices.
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Args)]
struct ReserveArgs {
    /// The system's public address.
    #[arg(long, default_value = "http://127.0.0.1:8080", value_parser = Target::parse)]
    url: Target,
    /// Events with enough free seats; without any, events are made.
    #[arg(long)]
    event: Vec<String>,
    /// The demo's credentials.json, for making events.
    #[arg(long, value_name = "FILE", required_unless_present = "event")]
    credentials: Option<PathBuf>,
    /// Seats to make, in events of up to 200,000.
    #[arg(
        long, default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u64).range(1..=limits::SEATS_MAX)
    )]
    seats: u64,
    /// Spread the seats and the load over at least so many events; 1 is one hot event after the
    /// other.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    events: u64,
    /// Keep-alive connections, one request in flight on each.
    #[arg(
        long, default_value_t = 128,
        value_parser = clap::value_parser!(u64).range(1..=limits::CONNECTIONS_MAX as u64)
    )]
    connections: u64,
    /// How long is measured.
    #[arg(
        long, default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=limits::SECONDS_MAX)
    )]
    seconds: u64,
    /// How long before that is not.
    #[arg(
        long, default_value_t = 2,
        value_parser = clap::value_parser!(u64).range(0..=limits::SECONDS_MAX)
    )]
    warm_up_seconds: u64,
    /// Server processes whose CPU time is read, e.g. --pid 41 --pid 42.
    #[arg(long)]
    pid: Vec<u32>,
}

#[derive(Args)]
struct CompareArgs {
    /// What to compare with.
    #[arg(long, value_parser = ["redis"], default_value = "redis")]
    peer: String,
    /// Our binary, built with --release.
    #[arg(long, default_value = "target/release/onsale")]
    onsale_binary: PathBuf,
    /// The peer's front, built with --release; beside this program if not given.
    #[arg(long)]
    peer_binary: Option<PathBuf>,
    /// Rounds; the order of the sides alternates.
    #[arg(
        long, default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::ROUNDS_MAX))
    )]
    rounds: u32,
    /// Measured time of each side in a round (holds last 600 s).
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=240))]
    seconds: u64,
    /// Time before that.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=60))]
    warm_up_seconds: u64,
    /// Keep-alive connections.
    #[arg(
        long, default_value_t = 128,
        value_parser = clap::value_parser!(u64).range(1..=limits::CONNECTIONS_MAX as u64)
    )]
    connections: u64,
    /// Our replicas.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=5))]
    replicas: u32,
    /// Seats for each side of a round.
    #[arg(
        long, default_value_t = 1_200_000,
        value_parser = clap::value_parser!(u64).range(1..=limits::SEATS_MAX)
    )]
    seats: u64,
    /// Spread them over at least so many events; 1 is one hot event after the other.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    events: u64,
    /// Where both keep their data: the same disk.
    #[arg(long, default_value = "target/onsale-bench")]
    work_dir: PathBuf,
    /// Do not kill both after the load and look for the acknowledged holds.
    #[arg(long)]
    no_crash_check: bool,
}

#[derive(Args)]
struct StartArgs {
    /// Our binary, built with --release.
    #[arg(long, default_value = "target/release/onsale")]
    onsale_binary: PathBuf,
    /// How often.
    #[arg(
        long, default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::ROUNDS_MAX))
    )]
    runs: u32,
    /// Where the folders are made.
    #[arg(long, default_value = "target/onsale-bench")]
    work_dir: PathBuf,
    /// Further options of `onsale demo`, behind `--`.
    #[arg(last = true)]
    flags: Vec<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut runtime = match cli.threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.worker_threads(usize::from(cli.threads)).enable_all().build();
    let done = runtime
        .context("no runtime")
        .and_then(|runtime| runtime.block_on(until_stopped(cli.command, cli.json)));
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("onsale-bench: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

/// Leaving early drops the work, and with it the servers that were started for it.
async fn until_stopped(command: Command, json: bool) -> anyhow::Result<u8> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        done = run(command, json) => done,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        _ = terminated.recv() => anyhow::bail!("terminated"),
    }
}

async fn run(command: Command, json: bool) -> anyhow::Result<u8> {
    match command {
        Command::FlashSale(args) => sale(args, json).await,
        Command::Reserve(args) => reserve(args, json).await,
        Command::Compare(args) => compare(args, json).await,
        Command::Start(args) => {
            let options = start::Options {
                onsale: args.onsale_binary,
                runs: args.runs,
                flags: args.flags,
                work_dir: args.work_dir,
            };
            show(&start::run(&options).await?, json, print::starts)?;
            Ok(0)
        }
    }
}

async fn sale(args: SaleArgs, json: bool) -> anyhow::Result<u8> {
    let options = flash_sale::Options {
        target: args.url,
        event_id: args.event,
        buyers: args.buyers,
        seconds: args.seconds,
        seed: args.seed,
        feed_lag_max: limits::FEED_LAG_MAX,
    };
    let report = flash_sale::run(options).await?;
    show(&report, json, print::sale)?;
    Ok(match (report.broken(), report.clean()) {
        (true, _) => BROKEN,
        (false, true) => 0,
        (false, false) => FAILED,
    })
}

async fn reserve(args: ReserveArgs, json: bool) -> anyhow::Result<u8> {
    let mut client = api::Client::new(args.url.clone());
    let mut events = Vec::new();
    for event_id in &args.event {
        events.push(event::seats(&mut client, event_id).await?.0);
    }
    if events.is_empty() {
        let credentials = args.credentials.context("--credentials is needed to make events")?;
        let key = event::organizer_key(&credentials)?;
        let run = random::run_id()?;
        events = event::make(&mut client, &key, &run, args.seats, args.events).await?;
    }
    let options = reserve::Options {
        target: args.url,
        events: Arc::new(events),
        spread: args.events > 1,
        connections: args.connections,
        warm_up: Duration::from_secs(args.warm_up_seconds),
        duration: Duration::from_secs(args.seconds),
        pids: args.pid,
    };
    let report = reserve::run(options).await?;
    show(&report, json, print::load)?;
    Ok(if report.refused.is_empty() && report.unknown == 0 { 0 } else { FAILED })
}

async fn compare(args: CompareArgs, json: bool) -> anyhow::Result<u8> {
    let beside = || {
        let own = std::env::current_exe().ok()?;
        Some(own.parent()?.join("onsale-peer-redis"))
    };
    let front = args.peer_binary.or_else(beside).context("give --peer-binary")?;
    let options = compare::Options {
        onsale: args.onsale_binary,
        front,
        rounds: args.rounds,
        seconds: args.seconds,
        warm_up_seconds: args.warm_up_seconds,
        connections: args.connections,
        replicas: args.replicas,
        seats: args.seats,
        events_min: args.events,
        work_dir: args.work_dir,
        crash_check: !args.no_crash_check,
    };
    let comparison = compare::run(&options).await?;
    show(&comparison, json, print::comparison)?;
    Ok(match (comparison.broken(), comparison.rate_ratio) {
        (true, _) => BROKEN,
        (false, Some(_)) => 0,
        (false, None) => FAILED,
    })
}

fn show<T: Serialize>(result: &T, json: bool, table: fn(&T)) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(result)?);
    } else {
        table(result);
    }
    Ok(())
}
