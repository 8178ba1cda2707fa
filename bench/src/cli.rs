//! Owns the command line of the harness: names, flags, help.
//!
//! Must never start anything: it only says what was asked.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{compare::Kind, http::Target, limits};

/// Plays sales, audits them from outside, measures, compares with what people would build instead.
///
/// Exit codes: 0 done · 1 failed, or a threshold was missed · 2 usage · 3 not found · 4 conflict ·
/// 5 oversold or an acknowledged answer was lost.
#[derive(Parser)]
#[command(name = "onsale-bench", version)]
pub struct Cli {
    /// Print one JSON document instead of a table.
    #[arg(long, global = true)]
    pub json: bool,
    /// Threads of the driver; servers on the same machine want the rest.
    #[arg(
        long, global = true, default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=64)
    )]
    pub threads: u32,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Play a scenario, then audit every acknowledged answer.
    Run(Box<RunArgs>),
    /// Our system and a peer in turns under the same load.
    Compare(CompareArgs),
    /// Draw a run's JSON as one HTML file; hold it against thresholds.
    Report(ReportArgs),
    /// Time from exec to ready on an empty folder.
    Start(StartArgs),
    /// Every figure of bench/README.md that a harness can make: measured, floor, goal.
    Goals(GoalsArgs),
}

#[derive(Args)]
pub struct RunArgs {
    /// One of the built-in scenarios, or a name for --scenario-file.
    #[arg(value_name = "SCENARIO")]
    pub scenario: String,
    /// A scenario of your own; see bench/scenarios for the form.
    #[arg(long, value_name = "FILE.toml")]
    pub scenario_file: Option<PathBuf>,
    /// The system's public address [default: http://127.0.0.1:8080].
    #[arg(long, value_parser = Target::parse, conflicts_with = "demo")]
    pub url: Option<Target>,
    /// Start `onsale demo --no-limits` of this binary for the run.
    #[arg(long, value_name = "BINARY")]
    pub demo: Option<PathBuf>,
    /// The demo's credentials.json, for making events and reading the gateway's books.
    #[arg(long, value_name = "FILE", conflicts_with = "demo")]
    pub credentials: Option<PathBuf>,
    /// The servers' ops address, for where the time went.
    #[arg(long, value_name = "URL", value_parser = Target::parse, conflicts_with = "demo")]
    pub metrics_url: Option<Target>,
    /// An event that exists, instead of the scenario's.
    #[arg(long, value_name = "EVENT_ID")]
    pub event: Option<String>,
    /// How long is counted.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=limits::SECONDS_MAX))]
    pub seconds: Option<u64>,
    /// Arrivals a second of an open loop; 0 is a closed loop.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Keep-alive connections.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=limits::CONNECTIONS_MAX as u64))]
    pub connections: Option<u64>,
    /// Seats to be made, altogether.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=limits::SEATS_MAX))]
    pub seats: Option<u64>,
    /// Give the events that are made a waiting room that admits so many a second.
    #[arg(long, value_name = "ADMIT_PER_SECOND")]
    pub waiting_room: Option<u64>,
    /// Repeat an earlier run's choices.
    #[arg(long)]
    pub seed: Option<u64>,
    /// At most five seconds: does it work at all?
    #[arg(long)]
    pub quick: bool,
    /// Server processes whose CPU time is read, e.g. --pid 41 --pid 42.
    #[arg(long, conflicts_with = "demo")]
    pub pid: Vec<u32>,
    /// Write the report: FILE.html, and FILE.json beside it.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Exit 1 unless it holds, e.g. 'reserve.p99<50ms' (several).
    #[arg(long, value_name = "RULE")]
    pub threshold: Vec<String>,
    /// Where the demo keeps its data.
    #[arg(long, default_value = "target/onsale-bench")]
    pub work_dir: PathBuf,
    /// Further options of `onsale demo`, behind `--`.
    #[arg(last = true)]
    pub flags: Vec<String>,
}

#[derive(Args)]
pub struct CompareArgs {
    /// What to compare with.
    #[arg(long, value_enum, default_value = "redis")]
    pub peer: Kind,
    #[command(flatten)]
    pub binaries: Binaries,
    /// Rounds; the order of the sides alternates.
    #[arg(
        long, default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::ROUNDS_MAX))
    )]
    pub rounds: u32,
    /// Measured time of each side in a round (holds last 600 s).
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=240))]
    pub seconds: u64,
    /// Time before that.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=60))]
    pub warm_up_seconds: u64,
    /// Keep-alive connections.
    #[arg(
        long, default_value_t = 128,
        value_parser = clap::value_parser!(u64).range(1..=limits::CONNECTIONS_MAX as u64)
    )]
    pub connections: u64,
    /// Our replicas.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=5))]
    pub replicas: u32,
    /// Seats for each side of a round.
    #[arg(
        long, default_value_t = 1_200_000,
        value_parser = clap::value_parser!(u64).range(1..=limits::SEATS_MAX)
    )]
    pub seats: u64,
    /// Spread them over at least so many events; 1 is one hot event after the other.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub events: u64,
    /// Our native stream in batches instead of HTTP, and the peer's own gRPC: etcd, echo or own.
    #[arg(long)]
    pub native: bool,
    /// Replicas of the other side of --peer own; as many as --replicas if not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=5))]
    pub own_replicas: Option<u32>,
    /// Events of the other side of --peer own; as many as --events if not given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub own_events: Option<u64>,
    /// Do not kill both after the load and look for the acknowledged holds.
    #[arg(long)]
    pub no_crash_check: bool,
    /// One round of two seconds: does it work at all?
    #[arg(long)]
    pub quick: bool,
}

/// What is started, where.
#[derive(Args, Clone)]
pub struct Binaries {
    /// Our binary, built with --release.
    #[arg(long, default_value = "target/release/onsale")]
    pub onsale_binary: PathBuf,
    /// The folder of the peers' fronts; beside this program if not given.
    #[arg(long, value_name = "DIR")]
    pub fronts: Option<PathBuf>,
    /// Where all keep their data: the same disk.
    #[arg(long, default_value = "target/onsale-bench")]
    pub work_dir: PathBuf,
}

#[derive(Args)]
pub struct ReportArgs {
    /// A run's JSON.
    #[arg(value_name = "RUN.json")]
    pub run: PathBuf,
    /// Where to write the HTML; beside the JSON if not given.
    #[arg(long, value_name = "FILE.html")]
    pub html: Option<PathBuf>,
    /// Exit 1 unless it holds, e.g. 'reserve.p99<50ms' (several).
    #[arg(long, value_name = "RULE")]
    pub threshold: Vec<String>,
}

#[derive(Args)]
pub struct StartArgs {
    /// Our binary, built with --release.
    #[arg(long, default_value = "target/release/onsale")]
    pub onsale_binary: PathBuf,
    /// How often.
    #[arg(
        long, default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::ROUNDS_MAX))
    )]
    pub runs: u32,
    /// Where the folders are made.
    #[arg(long, default_value = "target/onsale-bench")]
    pub work_dir: PathBuf,
    /// Further options of `onsale demo`, behind `--`.
    #[arg(last = true)]
    pub flags: Vec<String>,
}

#[derive(Args)]
pub struct GoalsArgs {
    /// Ids, e.g. P1 P13 T2; all if none is named.
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    #[command(flatten)]
    pub binaries: Binaries,
    /// The example of the state machine (P9 to P12); in `examples` beside this program if not
    /// given.
    #[arg(long, value_name = "BINARY")]
    pub apply_bench: Option<PathBuf>,
    /// Rounds of every figure that is a ratio.
    #[arg(
        long, default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::ROUNDS_MAX))
    )]
    pub rounds: u32,
    /// Short rounds at low rates, for a busy machine: does it work at all?
    #[arg(long)]
    pub quick: bool,
    /// Write the JSON here after each figure.
    #[arg(long, value_name = "FILE.json")]
    pub out: Option<PathBuf>,
}
