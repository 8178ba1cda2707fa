//! What snapshots cost those who buy meanwhile: one node, one shard, 1,000,000 seats held in holds
//! of four.
//!
//! `cargo run --release -p onsale-allocator --example snapshot_bench [latency | soak [SECONDS]]`,
//! in the folder whose disk is meant; what the run makes is removed again.
//!
//! - `latency`: buyers give their four seats back and reserve them again, 250 of these pairs a
//!   second by the clock and then as fast as 64 can. Rounds without and with snapshots, one right
//!   after the other, take turns; a reserve's time runs from the moment it was meant to begin.
//! - `soak`: 64 buyers as fast as they can, a snapshot after every 2,000 entries; the process's
//!   memory every tenth of the time. Ends with 1 when the second half needs a tenth more.
//!
//! The node's clock goes 300 times as fast as ours, so that holds which have ended are forgotten
//! (after an hour) as fast as others end.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use onsale_allocator::{Config, Handle, Service, Surroundings, shard::Group};
use onsale_mesh::{Deadline, Node};
use onsale_proto::keyed::Secret;
use onsale_state::{
    Command, CommandKind, HoldId,
    command::{
        Focus, Hold, HoldItem, Idempotency, OpenOnsale, ReleaseHold, RowSpec, Rules, SectionKind,
        SectionSpec,
    },
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The allocator of the program that runs shards.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn Error + Send + Sync>;

const EVENTS: u32 = 5;
const EVENT_SEATS: u32 = 200_000;
const BUYERS: u32 = 64;
const PAIRS_PER_SECOND: u32 = 250;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(6);
/// The node's clock at the start, and how much faster than ours it goes: a hold that has ended is
/// remembered for an hour of log time, and that shall not be what grows here.
const NOW_MS: u64 = 1_800_000_000_000;
const SPEED: u32 = 300;
const BUDGET: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mode = std::env::args().nth(1).unwrap_or_else(|| "latency".to_owned());
    let seconds = std::env::args().nth(2).map_or(Ok(600), |text| text.parse())?;
    let dir = tempfile::tempdir_in(".")?;
    let snapshot_entries = if mode == "soak" { 2_000 } else { u64::MAX / 4 };
    let shop = Shop::open(dir.path(), snapshot_entries).await?;
    match &*mode {
        "latency" => latency(&shop).await?,
        "soak" => soak(&shop, Duration::from_secs(seconds)).await?,
        other => return Err(format!("no such run: {other}").into()),
    }
    shop.close().await
}

/// A running node and its one shard.
struct Shop {
    handle: Handle,
    shutdown: CancellationToken,
    running: JoinSet<Result<(), Failure>>,
}

impl Shop {
    async fn open(dir: &std::path::Path, snapshot_entries: u64) -> Result<Shop, Failure> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let config = Config {
            nodes: vec![Node { id: 1, grpc: listener.local_addr()?.to_string() }],
            shards: 1,
            data_dir: dir.to_owned(),
            snapshot_entries,
            ..Config::default()
        };
        let started = Instant::now();
        let wall = move || NOW_MS + started.elapsed().as_millis() as u64 * u64::from(SPEED);
        let fatal = |reason: &str| panic!("{reason}");
        let secret = Secret::new(&[7; 32])?;
        let surroundings = Surroundings { wall: Arc::new(wall), ..Surroundings::default() };
        let service = Service::open_in(config, secret, Arc::new(fatal), surroundings).await?;
        let (handle, shutdown) = (service.handle(), CancellationToken::new());
        let mut running = JoinSet::new();
        let (routes, until) = (service.routes(), shutdown.clone());
        running.spawn(async move {
            Ok(onsale_mesh::server::serve_grpc(listener, routes, until).await?)
        });
        let until = shutdown.clone();
        running.spawn(async move { Ok(service.run(until).await?) });
        handle.ready().await;
        let shop = Shop { handle, shutdown, running };
        shop.fill().await?;
        Ok(shop)
    }

    fn group(&self) -> Group {
        self.handle.groups()[1].clone()
    }

    /// Opens the events and sells every seat into a hold of four.
    async fn fill(&self) -> Result<(), Failure> {
        let started = Instant::now();
        let group = self.group();
        for event in 1..=EVENTS {
            propose(&group, CommandKind::OpenOnsale(Box::new(stadium(event)))).await?;
        }
        let mut filling = JoinSet::new();
        for lane in 0..256 {
            let group = group.clone();
            filling.spawn(async move {
                for place in (lane..EVENTS * EVENT_SEATS / 4).step_by(256) {
                    propose(&group, reserve(place, 0)).await?;
                }
                Ok::<_, Failure>(())
            });
        }
        while let Some(filled) = filling.join_next().await {
            filled??;
        }
        let holds = group.read(|shard| shard.counts().holds);
        println!("{holds} holds of four in {:.1} s", started.elapsed().as_secs_f64());
        Ok(())
    }

    async fn close(mut self) -> Result<(), Failure> {
        self.shutdown.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended??;
        }
        Ok(())
    }
}

async fn propose(group: &Group, kind: CommandKind) -> Result<(), Failure> {
    let command = Command { not_after_ms: u64::MAX, kind };
    let decided = group.propose(command, Deadline::after(BUDGET)).await;
    let (_, outcome) = decided.map_err(|error| format!("{error:?}"))?;
    outcome.result.map(|_| ()).map_err(|rejection| format!("{rejection:?}").into())
}

/// The hold of a place of four seats, in the buyer's nth turn.
fn hold_id(place: u32, turn: u32) -> HoldId {
    let mixed = (u64::from(place) << 32 | u64::from(turn)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    HoldId(u128::from(mixed) << 64 | u128::from(place) << 32 | u128::from(turn))
}

fn reserve(place: u32, turn: u32) -> CommandKind {
    let hold = hold_id(place, turn);
    let first = place / EVENTS * 4;
    let seats = [first, first + 1, first + 2, first + 3];
    let idempotency = Idempotency {
        key: hold.0.rotate_left(64),
        request: 1,
        buyer: u64::from(place) + 1,
        buyer_is_new: false,
    };
    let items = [HoldItem::Seats(seats.as_slice().into())].as_slice().into();
    CommandKind::Hold(Hold { event: place % EVENTS + 1, hold, idempotency, items, terms: None })
}

fn stadium(event: u32) -> OpenOnsale {
    let rows = || -> Vec<RowSpec> {
        let row = |no| RowSpec { label: format!("{no}").into(), seats: 20, ..RowSpec::default() };
        (0..100).map(row).collect()
    };
    let section = |no: u32| SectionSpec {
        key: format!("{no}").into(),
        category: 0,
        kind: SectionKind::Seated { rows: rows() },
        focus: Focus::default(),
    };
    OpenOnsale {
        event,
        event_id: format!("evt_{event}").into(),
        revision: 1,
        currency: *b"EUR",
        onsale_at_ms: 0,
        prices_minor: vec![5_000],
        offer: None,
        sections: (0..EVENT_SEATS / 2_000).map(section).collect(),
        rules: Rules {
            seats_per_order_max: 4,
            seats_per_buyer_max: 8,
            hold_ttl_ms: 86_400_000,
            hold_extensions_max: 0,
            ..Rules::default()
        },
    }
}

/// Buyers who go from place to place until told to stop, and how long each reserve took.
async fn buy(group: Group, buyer: u32, from: u32, pace: Pace) -> Result<Vec<Duration>, Failure> {
    let mut times = Vec::new();
    let started = Instant::now();
    let mut nth = 0;
    while !pace.stop.load(Ordering::Relaxed) {
        let place = buyer + (from + nth) * BUYERS;
        let place = place % (EVENTS * EVENT_SEATS / 4 / BUYERS * BUYERS);
        let turn = pace.turns[place as usize].fetch_add(1, Ordering::Relaxed) as u32;
        let hold = hold_id(place, turn);
        propose(&group, CommandKind::ReleaseHold(ReleaseHold { hold })).await?;
        let mut meant = Instant::now();
        if let Some(every) = pace.every {
            meant = started + every * nth + every * buyer / BUYERS;
            tokio::time::sleep_until(meant.into()).await;
        }
        propose(&group, reserve(place, turn + 1)).await?;
        times.push(meant.elapsed());
        nth += 1;
    }
    Ok(times)
}

#[derive(Clone)]
struct Pace {
    stop: Arc<AtomicBool>,
    /// Of one buyer; as fast as they can without.
    every: Option<Duration>,
    /// How often a place was reserved again.
    turns: Arc<Vec<AtomicU64>>,
}

impl Pace {
    fn new() -> Pace {
        let turns = (0..EVENTS * EVENT_SEATS / 4).map(|_| AtomicU64::new(0)).collect();
        Pace { stop: Arc::default(), every: None, turns: Arc::new(turns) }
    }
}

async fn round(group: &Group, pace: &Pace, from: u32) -> Result<Vec<Duration>, Failure> {
    let pace = Pace { stop: Arc::default(), ..pace.clone() };
    let mut buyers = JoinSet::new();
    for buyer in 0..BUYERS {
        buyers.spawn(buy(group.clone(), buyer, from, pace.clone()));
    }
    tokio::time::sleep(ROUND).await;
    pace.stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    while let Some(bought) = buyers.join_next().await {
        times.extend(bought??);
    }
    times.sort_unstable();
    Ok(times)
}

async fn latency(shop: &Shop) -> Result<(), Failure> {
    let group = shop.group();
    let mut pace = Pace::new();
    for every in [Some(Duration::from_secs(1) * BUYERS / PAIRS_PER_SECOND), None] {
        pace.every = every;
        let mut p99s = [Vec::new(), Vec::new()];
        for nth in 0..2 * ROUNDS {
            let snapshots = nth % 2 == 1;
            let stop = CancellationToken::new();
            let snapshotting = tokio::spawn(snapshot_on(group.clone(), snapshots, stop.clone()));
            let times = round(&group, &pace, nth as u32 * 500).await?;
            stop.cancel();
            let made = snapshotting.await?;
            let at = |percent: usize| times[(times.len() - 1) * percent / 1_000].as_micros();
            println!(
                "{:>9}, {made:>3} snapshots: {:>7.0} reserves/s, p50 {:>6} us, p99 {:>6} us, \
                 p99.9 {:>6} us",
                if every.is_some() { "paced" } else { "flat out" },
                times.len() as f64 / ROUND.as_secs_f64(),
                at(500),
                at(990),
                at(999),
            );
            p99s[usize::from(snapshots)].push(at(990));
        }
        p99s.iter_mut().for_each(|times| times.sort_unstable());
        let [without, with] = p99s.map(|times| times[ROUNDS / 2]);
        let ratio = with as f64 / without as f64;
        println!("median p99 without {without} us, with {with} us: {ratio:.2}x");
    }
    Ok(())
}

/// One snapshot after the other; how many.
async fn snapshot_on(group: Group, wanted: bool, stop: CancellationToken) -> usize {
    let mut made = 0;
    while wanted && !stop.is_cancelled() {
        if group.snapshot(Deadline::after(BUDGET)).await {
            made += 1;
        }
    }
    made
}

async fn soak(shop: &Shop, time: Duration) -> Result<(), Failure> {
    let group = shop.group();
    let pace = Pace::new();
    let mut buyers = JoinSet::new();
    for buyer in 0..BUYERS {
        buyers.spawn(buy_on(group.clone(), buyer, pace.clone()));
    }
    let mut peaks = [0_u64; 2];
    for tenth in 1..=10 {
        let mut peak = 0;
        let until = Instant::now() + time / 10;
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(100)).await;
            peak = peak.max(resident_bytes()?);
        }
        let (status, counts) = (group.status(), group.read(onsale_state::Shard::counts));
        println!(
            "{:>4} s: {:>9} reserves, entry {:>8}, snapshot {:>8}, {:>8} keys, at most {:>5} MiB",
            (time / 10 * tenth).as_secs(),
            pace.turns.iter().map(|turns| turns.load(Ordering::Relaxed)).sum::<u64>(),
            status.applied,
            status.snapshot,
            counts.dedup,
            peak >> 20,
        );
        let half = usize::from(tenth > 5);
        peaks[half] = peaks[half].max(peak);
    }
    pace.stop.store(true, Ordering::Relaxed);
    while let Some(bought) = buyers.join_next().await {
        bought??;
    }
    let growth = peaks[1] as f64 / peaks[0] as f64;
    println!("peak of the second half ÷ peak of the first: {growth:.2}");
    if growth > 1.1 { Err("memory grows".into()) } else { Ok(()) }
}

/// Goes on like [`buy`], without remembering anything.
async fn buy_on(group: Group, buyer: u32, pace: Pace) -> Result<(), Failure> {
    let places = EVENTS * EVENT_SEATS / 4 / BUYERS;
    let mut nth = 0;
    while !pace.stop.load(Ordering::Relaxed) {
        let place = buyer + nth % places * BUYERS;
        let turn = pace.turns[place as usize].fetch_add(1, Ordering::Relaxed) as u32;
        let hold = hold_id(place, turn);
        propose(&group, CommandKind::ReleaseHold(ReleaseHold { hold })).await?;
        propose(&group, reserve(place, turn + 1)).await?;
        nth += 1;
    }
    Ok(())
}

fn resident_bytes() -> Result<u64, Failure> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages = pages.split(' ').nth(1).unwrap_or_default().parse::<u64>()?;
    Ok(pages * 4096)
}
