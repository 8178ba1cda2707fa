//! The load harness: plays sales against a running system and audits them from outside, measures,
//! and compares with what people would build instead.
//!
//! Must never know more of the system than its public contract and its gRPC interface.

mod api;
mod audit;
mod buyer;
mod cli;
mod compare;
mod disturb;
// The program that echoes uses the rest of it.
#[allow(dead_code)]
mod echo;
mod etcd_client;
mod event;
mod exit;
#[cfg(test)]
mod fake_shop;
mod figures;
mod goals;
mod http;
mod ledger;
mod limits;
mod load;
mod machine;
mod native;
mod play;
mod print;
mod random;
mod report;
mod result;
mod scenario;
mod seats;
mod server;
mod server_metrics;
mod start;
mod stock;
mod story;
mod verdict;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser as _;
use serde::Serialize;
use tokio::sync::watch;

use crate::{
    cli::{Cli, Command, CompareArgs, GoalsArgs, ReportArgs, RunArgs, StartArgs},
    exit::{Exit, ended},
    load::progress::Progress,
    report::Threshold,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Lanes have threads of their own; this one starts, watches and audits.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let done = runtime.context("no runtime").and_then(|runtime| runtime.block_on(command(cli)));
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("onsale-bench: {error:#}");
            exit::of(&error).into()
        }
    }
}

async fn command(cli: Cli) -> anyhow::Result<Exit> {
    let (json, threads) = (cli.json, cli.threads);
    match cli.command {
        // Ends its load and still audits and reports.
        Command::Run(args) => run(*args, json, threads).await,
        Command::Compare(args) => until_stopped(compare(args, json, threads)).await,
        Command::Report(args) => report(&args, json),
        Command::Start(args) => until_stopped(start(args, json)).await,
        Command::Goals(args) => until_stopped(goals(args, json, threads)).await,
    }
}

/// Leaving early drops the work, and with it the servers that were started for it.
async fn until_stopped(work: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    tokio::select! {
        done = work => done,
        () = interrupted() => anyhow::bail!("interrupted"),
    }
}

/// Ctrl-C or SIGTERM.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
}

/// A stop that never comes.
fn never() -> watch::Receiver<bool> {
    watch::channel(false).1
}

async fn run(args: RunArgs, json: bool, threads: u32) -> anyhow::Result<Exit> {
    let thresholds = thresholds(&args.threshold)?;
    let play = play(&args, threads)?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        interrupted().await;
        eprintln!("stopping; audit and report follow (again: leave at once)");
        let _ = stop.send(true);
        interrupted().await;
        std::process::exit(130);
    });
    let result = play::run(&play, stopped).await?;
    let missed = report::missed(&thresholds, &result);
    if let Some(path) = &args.report {
        report::write(&result, &thresholds, path)?;
    }
    show(&result, json, print::run)?;
    for rule in &missed {
        eprintln!("missed: {rule}");
    }
    Ok(match (result.audit.broken(), result.audit.clean() && missed.is_empty()) {
        (true, _) => Exit::Broken,
        (false, true) => Exit::Done,
        (false, false) => Exit::Failed,
    })
}

fn thresholds(rules: &[String]) -> anyhow::Result<Vec<Threshold>> {
    let parsed = rules.iter().map(|rule| Threshold::parse(rule));
    parsed.collect::<Result<_, _>>().map_err(|why| ended(Exit::Usage, why))
}

fn play(args: &RunArgs, threads: u32) -> anyhow::Result<play::Play> {
    let mut scenario = scenario::load(&args.scenario, args.scenario_file.as_deref())?;
    if let Some(id) = &args.event {
        scenario.event = scenario::Stock { id: Some(id.clone()), ..scenario::Stock::default() };
    }
    if let Some(seats) = args.seats {
        scenario.event.seats = Some(seats);
        (scenario.event.id, scenario.event.seats_a_second) = (None, None);
        scenario.event.requests_a_seat = None;
    }
    if args.quick {
        scenario.seconds = scenario.seconds.min(5);
    }
    scenario.seconds = args.seconds.unwrap_or(scenario.seconds);
    scenario.connections = args.connections.unwrap_or(scenario.connections);
    let admit = &mut scenario.event.waiting_room_admit_per_second;
    *admit = args.waiting_room.or(*admit);
    if let Some(rate) = args.rate {
        scenario.rate_per_second = (rate != 0.0).then_some(rate);
    }
    let name = &args.scenario;
    scenario.check().map_err(|why| ended(Exit::Usage, format!("{name}: {why}")))?;
    Ok(play::Play {
        name: name.clone(),
        scenario,
        url: args.url.clone(),
        credentials: args.credentials.clone(),
        demo: args.demo.clone(),
        demo_flags: args.flags.clone(),
        work_dir: args.work_dir.clone(),
        metrics: args.metrics_url.clone(),
        pids: args.pid.clone(),
        threads,
        seed: args.seed,
        progress: Progress::of_stderr(),
    })
}

/// The folder of this program.
fn own_folder() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("this program has no path")?;
    Ok(own.parent().context("this program has no folder")?.to_owned())
}

async fn compare(args: CompareArgs, json: bool, threads: u32) -> anyhow::Result<Exit> {
    if !args.native && args.peer == compare::Kind::Echo {
        return Err(ended(Exit::Usage, "an echo knows no HTTP: --peer echo needs --native"));
    }
    if args.native && !args.peer.is_native() {
        let why = format!("{} has no gRPC to compare --native with", args.peer.name());
        return Err(ended(Exit::Usage, why));
    }
    let options = compare::Options {
        peer: args.peer,
        native: args.native,
        onsale: args.binaries.onsale_binary,
        fronts: args.binaries.fronts.map_or_else(own_folder, Ok)?,
        rounds: if args.quick { 1 } else { args.rounds },
        seconds: if args.quick { 2 } else { args.seconds },
        warm_up_seconds: if args.quick { 1 } else { args.warm_up_seconds },
        connections: args.connections,
        threads,
        replicas: args.replicas,
        seats: if args.quick { 300_000 } else { args.seats },
        events_min: args.events,
        own_replicas: args.own_replicas.unwrap_or(args.replicas),
        own_events_min: args.own_events.unwrap_or(args.events),
        work_dir: args.binaries.work_dir,
        crash_check: !args.no_crash_check,
    };
    let comparison = compare::run(&options).await?;
    show(&comparison, json, print::comparison)?;
    Ok(match (comparison.broken(), comparison.counts()) {
        (true, _) => Exit::Broken,
        (false, true) => Exit::Done,
        (false, false) => Exit::Failed,
    })
}

fn report(args: &ReportArgs, json: bool) -> anyhow::Result<Exit> {
    let thresholds = thresholds(&args.threshold)?;
    let result = report::read(&args.run)?;
    let missed = report::missed(&thresholds, &result);
    let html = args.html.clone().unwrap_or_else(|| args.run.with_extension("html"));
    report::write_html(&result, &thresholds, &html)?;
    show(&result, json, print::run)?;
    for rule in &missed {
        eprintln!("missed: {rule}");
    }
    Ok(if missed.is_empty() { Exit::Done } else { Exit::Failed })
}

async fn start(args: StartArgs, json: bool) -> anyhow::Result<Exit> {
    let options = start::Options {
        onsale: args.onsale_binary,
        runs: args.runs,
        flags: args.flags,
        work_dir: args.work_dir,
    };
    show(&start::run(&options).await?, json, print::starts)?;
    Ok(Exit::Done)
}

async fn goals(args: GoalsArgs, json: bool, threads: u32) -> anyhow::Result<Exit> {
    let asked = goals::asked(&args.ids)?;
    let own_folder = own_folder()?;
    let setting = goals::Setting {
        onsale: args.binaries.onsale_binary,
        fronts: args.binaries.fronts.unwrap_or_else(|| own_folder.clone()),
        apply_bench: args.apply_bench.unwrap_or(own_folder.join("examples/apply_bench")),
        work_dir: args.binaries.work_dir,
        rounds: args.rounds,
        threads,
        quick: args.quick,
    };
    let result = goals::run(&asked, &setting, args.out.as_deref()).await?;
    show(&result, json, print::goals)?;
    Ok(result.exit())
}

fn show<T: Serialize>(result: &T, json: bool, table: fn(&T)) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(result)?);
    } else {
        table(result);
    }
    Ok(())
}
