//! Owns `run`: prepares what a scenario needs, plays it, audits it, and writes the result down.
//!
//! Must never report figures without the verdict of the audit beside them.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context as _;
use tokio::sync::watch;

use crate::{
    api::Client,
    buyer::Habits,
    disturb, event,
    exit::{Exit, ended},
    http::Target,
    limits,
    load::{self, Done, Options, Pace, Way, op::Op, progress::Progress},
    machine, random,
    result::{self, AuditResult, RunResult},
    scenario::{Disturbance, Scenario},
    server, server_metrics,
    stock::Stock,
    story::Story,
    verdict::{self, Before, Books},
};

/// Seats sold beforehand for those who shall ask in vain, at most and at most a quarter of all, and
/// how many of them an order has.
const SOLD_SEATS: u64 = 64;
const SOLD_PER_ORDER: u64 = 8;

/// What to run, where.
pub struct Play {
    /// Its name.
    pub name: String,
    /// What.
    pub scenario: Scenario,
    /// A system that is there; without it one is started.
    pub url: Option<Target>,
    /// The demo's credentials.json, for making events and reading the books.
    pub credentials: Option<PathBuf>,
    /// Start a demo of this binary for the run.
    pub demo: Option<PathBuf>,
    /// Its further flags.
    pub demo_flags: Vec<String>,
    /// Where it keeps its data.
    pub work_dir: PathBuf,
    /// Where the servers' metrics are.
    pub metrics: Option<Target>,
    /// Server processes whose processor time is read.
    pub pids: Vec<u32>,
    /// Threads of the driver.
    pub threads: u32,
    /// Repeats an earlier run's choices.
    pub seed: Option<u64>,
    /// How to show progress.
    pub progress: Progress,
}

/// The system a run plays against.
struct Scene {
    target: Target,
    credentials: Option<PathBuf>,
    metrics: Option<Target>,
    pids: Vec<u32>,
    demo: Option<server::Onsale>,
    _folder: Option<tempfile::TempDir>,
}

/// Runs a scenario to its audited end. `stop` ends the load early.
///
/// # Errors
/// When the system is not there, events cannot be made, or it does not answer the audit.
pub async fn run(play: &Play, stop: watch::Receiver<bool>) -> anyhow::Result<RunResult> {
    let scene = scene(play).await?;
    let mut client = Client::new(scene.target.clone());
    let options = Arc::new(prepare(play, &scene, &mut client).await?);
    let ids: Vec<String> =
        options.stock.events.iter().map(|event| event.event_id.clone()).collect();
    let before = Before::read(&mut client, &ids).await?;
    let started_at = onsale_proto::time::to_rfc3339(onsale_proto::time::now_ms());
    let readings = server_metrics::read(scene.metrics.as_ref()).await;
    let (marks_tx, marks) = watch::channel(Vec::new());
    let disturbing = disturbance(play, &scene, &ids, marks_tx);
    let done = load::run(Arc::clone(&options), play.progress, stop).await?;
    if let Some(disturbing) = disturbing {
        disturbing.abort();
    }
    let stages = match (readings, server_metrics::read(scene.metrics.as_ref()).await) {
        (Some(before), Some(after)) => server_metrics::stages(&before, &after),
        _ => Vec::new(),
    };
    let last_confirmed = options.story().last_confirmed;
    let audit = match books(&scene) {
        Ok(books) => {
            verdict::audit(&options, &before, books.as_ref(), limits::FEED_LAG_MAX).await?
        }
        Err(error) => return Err(error),
    };
    let mut result = describe(play, &options, &done, audit);
    result.started_at = started_at;
    result.server_stages = stages;
    result.disturbances = marks.borrow().clone();
    result.last_confirmed_seconds = last_confirmed
        .map(|at| at.saturating_duration_since(done.shared.span.started).as_secs_f64());
    if let Some(demo) = scene.demo {
        demo.server.kill().await?;
    }
    Ok(result)
}

async fn scene(play: &Play) -> anyhow::Result<Scene> {
    let mut scene = Scene {
        target: Target { authority: "127.0.0.1:8080".to_owned() },
        credentials: play.credentials.clone(),
        metrics: play.metrics.clone(),
        pids: play.pids.clone(),
        demo: None,
        _folder: None,
    };
    let Some(binary) = &play.demo else {
        if play.scenario.disturbance.is_some() {
            let why = "this scenario kills servers: it needs --demo BINARY and starts its own";
            return Err(ended(Exit::Usage, why));
        }
        scene.target = play.url.clone().unwrap_or(scene.target);
        return Ok(scene);
    };
    let (demo, folder) = server::fresh_demo(
        binary,
        &play.work_dir,
        &flags(play.scenario.disturbance.is_some(), &play.demo_flags),
    )
    .await?;
    scene.target = demo.target.clone();
    scene.credentials = Some(folder.path().join("data/credentials.json"));
    scene.metrics = Some(demo.ops.clone());
    scene.pids = machine::family(demo.server.pid);
    scene.demo = Some(demo);
    scene._folder = Some(folder);
    Ok(scene)
}

fn flags(disturbed: bool, more: &[String]) -> Vec<String> {
    let mut flags = vec!["--no-limits".to_owned()];
    if disturbed {
        flags.push("--processes".to_owned());
    }
    flags.extend(more.iter().cloned());
    flags
}

async fn prepare(play: &Play, scene: &Scene, client: &mut Client) -> anyhow::Result<Options> {
    let scenario = &play.scenario;
    let run = random::run_id()?;
    let events = match &scenario.event.id {
        Some(id) => vec![event::seats(client, id).await?.0],
        None => {
            let credentials = scene.credentials.as_ref().ok_or_else(|| {
                ended(
                    Exit::Usage,
                    "--credentials FILE or --demo BINARY is needed: events are to be made",
                )
            })?;
            let key = event::organizer_key(credentials)?;
            event::make(client, &key, &run, scenario.shape()).await?
        }
    };
    let spread = events.len() > 1 && scenario.event.events.is_some_and(|events| events > 1);
    let mut stock = Stock::new(events, spread);
    let mix = scenario.shares();
    if mix.has(Op::Lose) {
        sell_beforehand(client, &mut stock, &run).await?;
    }
    let pace = match scenario.rate_per_second {
        Some(rate) => Pace::Open { rate, arrivals: scenario.arrivals },
        None => Pace::Closed,
    };
    Ok(Options {
        target: scene.target.clone(),
        way: Way::Http,
        stock: Arc::new(stock),
        mix,
        pace,
        connections: scenario.connections,
        threads: play.threads,
        warm_up: Duration::from_secs(scenario.warm_up_seconds),
        duration: Duration::from_secs(scenario.seconds),
        patience: scenario.give_up_ms.map_or(limits::ANSWER_TIMEOUT, Duration::from_millis),
        retries: scenario.retries,
        too_late: scenario.give_up_ms.map(Duration::from_millis),
        habits: scenario.buyers.clone(),
        seed: play.seed.map_or_else(random::seed, Ok)?,
        run,
        pids: scene.pids.clone(),
        tick: limits::TICK,
        story: Mutex::new(Story::default()),
    })
}

/// Buys the first seats, for those who ask for sold ones.
///
/// # Errors
/// When they cannot be bought.
pub async fn sell_beforehand(
    client: &mut Client,
    stock: &mut Stock,
    run: &str,
) -> anyhow::Result<()> {
    let event = stock.events.first().context("no event")?;
    let mut sold = Vec::new();
    for order in 0..orders_beforehand(event.len()) {
        let first = order * SOLD_PER_ORDER;
        let seat_ids = event.neighbours(first, SOLD_PER_ORDER);
        crate::buyer::buy(client, &event.event_id, &seat_ids, &format!("{run}-sold-{order}"))
            .await
            .context("selling the first seats")?;
        sold.extend((first..first + seat_ids.len() as u64).map(|seat| (0, seat)));
    }
    for seat in &sold {
        stock.ledger().sold(*seat);
    }
    stock.skip(sold.len() as u64);
    stock.sold = sold;
    Ok(())
}

/// Of an event with so many seats.
fn orders_beforehand(seats: u64) -> u64 {
    (SOLD_SEATS.min(seats / 4) / SOLD_PER_ORDER).max(1)
}

fn disturbance(
    play: &Play,
    scene: &Scene,
    ids: &[String],
    marks: watch::Sender<Vec<result::Mark>>,
) -> Option<tokio::task::JoinHandle<()>> {
    let what = play.scenario.disturbance?;
    let demo = scene.demo.as_ref()?;
    let plan = disturb::Plan {
        what,
        data_dir: scene.credentials.as_ref()?.parent()?.to_owned(),
        grpc: demo.grpc.clone(),
        target: scene.target.clone(),
        event_id: ids.first()?.clone(),
        after: Duration::from_secs(play.scenario.warm_up_seconds + play.scenario.seconds / 4),
    };
    Some(tokio::spawn(async move {
        if let Err(error) = disturb::run(&plan, &marks).await {
            let what = format!("{}: {error:#}", name(plan.what));
            eprintln!("onsale-bench: {what}");
            marks.send_modify(|all| all.push(result::Mark { at_seconds: 0.0, what }));
        }
    }))
}

fn name(what: Disturbance) -> &'static str {
    match what {
        Disturbance::LeaderKill => "leader kill",
        Disturbance::RollingRestart => "rolling restart",
    }
}

fn books(scene: &Scene) -> anyhow::Result<Option<Books>> {
    let Some(path) = &scene.credentials else { return Ok(None) };
    let credentials = event::credentials(path)?;
    let (url, key) = (credentials["gateway_url"].as_str(), credentials["gateway_key"].as_str());
    let (Some(url), Some(key)) = (url, key) else { return Ok(None) };
    let Ok(target) = Target::parse(url) else { return Ok(None) };
    Ok(Some(Books { target, key: key.to_owned() }))
}

fn describe(play: &Play, options: &Options, done: &Done, audit: AuditResult) -> RunResult {
    let tally = done.shared.tally();
    let (series, silence) = (tally.series.clone(), tally.silence);
    drop(tally);
    let mut result = RunResult {
        schema: result::SCHEMA.to_owned(),
        scenario: play.name.clone(),
        about: play.scenario.about.clone(),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        started_at: String::new(),
        commit: machine::commit(),
        machine: machine::describe(play.demo.as_ref().map(|_| play.work_dir.as_path())),
        load: result::Load {
            rate_per_second: play.scenario.rate_per_second,
            connections: options.connections,
            threads: options.threads,
            seconds: done.counted.as_secs_f64(),
            warm_up_seconds: options.warm_up.as_secs_f64(),
            seed: options.seed,
        },
        operations: result::operations(done),
        series,
        silence: result::Silence {
            from_seconds: silence.from.as_secs_f64(),
            seconds: silence.length.as_secs_f64(),
        },
        disturbances: Vec::new(),
        server_cpu_seconds: done.server_cpu.map(|cpu| cpu.as_secs_f64()),
        driver_cpu_seconds: done.driver_cpu.as_secs_f64(),
        server_stages: Vec::new(),
        last_confirmed_seconds: None,
        audit,
        warnings: Vec::new(),
        interrupted: done.interrupted,
    };
    result.warnings = warnings(&result, options, done);
    result
}

/// What to know before believing the figures.
fn warnings(result: &RunResult, options: &Options, done: &Done) -> Vec<String> {
    let mut warnings = Vec::new();
    let sum = |of: fn(&result::Operation) -> u64| result.operations.values().map(of).sum::<u64>();
    let seconds = result.load.seconds.max(1e-9);
    if result.driver_cpu_seconds > 0.9 * seconds * f64::from(options.threads) {
        warnings.push("the driver used its threads up: give --threads, or believe less".to_owned());
    }
    let limited = result.operations.values().any(|row| row.codes.contains_key("rate_limited"));
    if limited {
        warnings.push("rate limited: run the demo with --no-limits for a load test".to_owned());
    }
    if sum(|row| row.unsent) > 0 {
        warnings
            .push("some requests were never sent: more --connections, or a lower --rate".into());
    }
    if sum(|row| row.good) == 0 {
        warnings.push("no good answer at all".to_owned());
    }
    if done.shared.ran_out() {
        warnings.push("all seats were used up before the time was".to_owned());
    }
    if options.habits != Habits::default() && options.habits.until_sold_out && done.interrupted {
        warnings.push("stopped before everything was sold".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_event_is_not_sold_out_before_the_sale_begins() {
        let seats = [8, 40, 63, 64, 255, 256, 200_000];
        assert_eq!(seats.map(orders_beforehand), [1, 1, 1, 2, 7, 8, 8]);
    }
}
