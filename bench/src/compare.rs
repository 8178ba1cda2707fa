//! Owns `compare`: the same load on our system and on a peer, in turns on the same machine, each
//! on a fresh folder, and what is left of it after both were killed.
//!
//! Must never count a round whose acknowledged holds are not all there afterwards.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde::Serialize;

use crate::{
    api::Client,
    event,
    http::Target,
    limits,
    machine::{self, FlushCost, Stolen},
    random,
    reserve::{self, Report},
    seats::EventSeats,
    server,
};

/// How to compare.
#[derive(Clone, Debug)]
pub struct Options {
    /// Our binary.
    pub onsale: PathBuf,
    /// The peer's front.
    pub front: PathBuf,
    /// Rounds.
    pub rounds: u32,
    /// Counted time of each side in a round.
    pub seconds: u64,
    /// Time before that.
    pub warm_up_seconds: u64,
    /// Connections.
    pub connections: u64,
    /// Replicas of our side.
    pub replicas: u32,
    /// Seats made for a round.
    pub seats: u64,
    /// Events they are in, at least.
    pub events_min: u64,
    /// Where both keep their data.
    pub work_dir: PathBuf,
    /// Kill both after the load and look what is left.
    pub crash_check: bool,
}

/// One side of one round.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// The load as the client saw it.
    pub load: Report,
    /// Holds found afterwards (after a kill and a restart, unless that was switched off).
    pub holds_found: u64,
    /// All acknowledged holds are among them, and not more than were asked for.
    pub holds_agree: bool,
}

/// One round.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// Ours.
    pub ours: Side,
    /// The peer's.
    pub peer: Side,
    /// Ours ÷ peer, granted holds a second.
    pub rate_ratio: f64,
    /// Ours ÷ peer, processor time of the servers per hold.
    pub cpu_ratio: f64,
    /// Share of the machine that the host took away.
    pub stolen: f64,
    /// Why the round does not count.
    pub void: Option<String>,
}

/// Median, least and greatest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Median.
    pub median: f64,
    /// Least.
    pub min: f64,
    /// Greatest.
    pub max: f64,
}

/// The comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Against what.
    pub peer: &'static str,
    /// All rounds, void ones too.
    pub rounds: Vec<Round>,
    /// Of the rounds that count; absent if none does.
    pub rate_ratio: Option<Spread>,
    /// Of the rounds that count.
    pub cpu_ratio: Option<Spread>,
    /// What a flush cost before and after.
    pub flush: [FlushCost; 2],
}

impl Comparison {
    /// Some round lost what was acknowledged, or granted a seat twice.
    pub fn broken(&self) -> bool {
        self.rounds.iter().any(|round| !round.ours.holds_agree)
    }
}

/// Compares.
///
/// # Errors
/// When a side cannot be started, is not durable, or answers with anything but granted holds.
pub async fn run(options: &Options) -> anyhow::Result<Comparison> {
    for binary in [&options.onsale, &options.front] {
        if !binary.is_file() {
            let name = binary.display();
            bail!("{name} is not there; build it: cargo build --release -p onsale -p onsale-bench");
        }
    }
    std::fs::create_dir_all(&options.work_dir)
        .with_context(|| format!("{}", options.work_dir.display()))?;
    let flush_before = machine::flush_cost(&options.work_dir)?;
    let mut rounds = Vec::new();
    for number in 0..options.rounds {
        eprintln!("round {} of {}", number + 1, options.rounds);
        rounds.push(round(options, number).await?);
    }
    let counted: Vec<&Round> = rounds.iter().filter(|round| round.void.is_none()).collect();
    let rate_ratio = spread(counted.iter().map(|round| round.rate_ratio).collect());
    let cpu_ratio = spread(counted.iter().map(|round| round.cpu_ratio).collect());
    let flush = [flush_before, machine::flush_cost(&options.work_dir)?];
    Ok(Comparison { peer: "redis", rounds, rate_ratio, cpu_ratio, flush })
}

/// Both sides, in an order that alternates from round to round.
async fn round(options: &Options, number: u32) -> anyhow::Result<Round> {
    let folder = tempfile::Builder::new().prefix("compare-").tempdir_in(&options.work_dir)?;
    let before = Stolen::now();
    let (ours, peer) = match both(options, folder.path(), number).await {
        Ok(sides) => sides,
        // Whoever looks for the cause needs the logs.
        Err(error) => return Err(error.context(format!("kept {}", folder.keep().display()))),
    };
    let stolen = Stolen::now().share_since(before);
    let cpu = |side: &Side| side.load.server_cpu_us_per_op.unwrap_or(f64::NAN);
    Ok(Round {
        rate_ratio: ours.load.rate / peer.load.rate,
        cpu_ratio: cpu(&ours) / cpu(&peer),
        stolen,
        void: void(&ours, &peer, stolen),
        ours,
        peer,
    })
}

async fn both(options: &Options, folder: &Path, number: u32) -> anyhow::Result<(Side, Side)> {
    if number.is_multiple_of(2) {
        let peer = peer_side(options, folder).await?;
        return Ok((our_side(options, folder).await?, peer));
    }
    let ours = our_side(options, folder).await?;
    Ok((ours, peer_side(options, folder).await?))
}

/// Why a round does not count.
fn void(ours: &Side, peer: &Side, stolen: f64) -> Option<String> {
    for (name, side) in [("ours", ours), ("the peer", peer)] {
        let load = &side.load;
        if !side.holds_agree {
            let found = side.holds_found;
            return Some(format!("{name}: {found} holds found of {} granted", load.granted));
        }
        if !load.refused.is_empty() {
            return Some(format!("{name} refused requests: {:?}", load.refused));
        }
        if load.ran_out {
            return Some(format!("{name}: all seats were used up; give --seats"));
        }
    }
    (stolen > limits::STEAL_SHARE_MAX)
        .then(|| format!("the host took {:.1} % of the machine", stolen * 100.0))
}

async fn our_side(options: &Options, folder: &Path) -> anyhow::Result<Side> {
    let data = folder.join("onsale");
    let replicas = options.replicas.to_string();
    let flags = ["--no-limits", "--empty", "--replicas", &replicas];
    let server::Onsale { server, target, .. } =
        server::onsale(&options.onsale, &data, &flags).await?;
    let mut client = Client::new(target.clone());
    let key = event::organizer_key(&data.join("credentials.json"))?;
    let run = random::run_id()?;
    let events = event::make(&mut client, &key, &run, options.seats, options.events_min).await?;
    let events = Arc::new(events);
    let pids = machine::family(server.pid);
    let load = load(options, target, Arc::clone(&events), pids).await?;
    let found = if options.crash_check {
        server.kill().await?;
        let again = server::onsale(&options.onsale, &data, &flags).await?;
        let found = held(&mut Client::new(again.target), &events, load.granted).await?;
        again.server.kill().await?;
        found
    } else {
        let found = held(&mut client, &events, load.granted).await?;
        server.kill().await?;
        found
    };
    Ok(side("ours", load, found))
}

async fn peer_side(options: &Options, folder: &Path) -> anyhow::Result<Side> {
    let data = folder.join("redis");
    let mut peer = server::peer(&options.front, &data).await?;
    let events = Arc::new(event::like_made(options.seats, options.events_min));
    let pids = vec![peer.redis.pid, peer.front.pid];
    let load = load(options, peer.target.clone(), events, pids).await?;
    if options.crash_check {
        peer.front.kill().await?;
        peer.redis.kill().await?;
        peer = server::peer(&options.front, &data).await?;
    }
    let found = server::keys(&peer.redis_url).await?;
    peer.front.kill().await?;
    peer.redis.kill().await?;
    Ok(side("redis", load, found))
}

async fn load(
    options: &Options,
    target: Target,
    events: Arc<Vec<EventSeats>>,
    pids: Vec<u32>,
) -> anyhow::Result<Report> {
    reserve::run(reserve::Options {
        target,
        events,
        spread: options.events_min > 1,
        connections: options.connections,
        warm_up: Duration::from_secs(options.warm_up_seconds),
        duration: Duration::from_secs(options.seconds),
        pids,
    })
    .await
}

/// Places held in all events, once the feed shows what was granted, or the time is over.
async fn held(client: &mut Client, events: &[EventSeats], granted: u64) -> anyhow::Result<u64> {
    let until = Instant::now() + limits::FEED_LAG_MAX;
    loop {
        let mut found = 0;
        for event in events {
            found += event::held(client, &event.event_id).await?;
        }
        if found >= granted || Instant::now() >= until {
            return Ok(found);
        }
        tokio::time::sleep(limits::RETRY_PAUSE).await;
    }
}

fn side(name: &str, load: Report, holds_found: u64) -> Side {
    let unanswered = load.unknown + load.refused.get(&504).copied().unwrap_or(0);
    let holds_agree = (load.granted..=load.granted + unanswered).contains(&holds_found);
    eprintln!("  {name}: {:.0} holds/s, {} granted, {holds_found} found", load.rate, load.granted);
    Side { load, holds_found, holds_agree }
}

fn spread(mut ratios: Vec<f64>) -> Option<Spread> {
    ratios.sort_by(f64::total_cmp);
    let (min, max) = (*ratios.first()?, *ratios.last()?);
    let middle = ratios.len() / 2;
    let median = if ratios.len().is_multiple_of(2) {
        f64::midpoint(ratios[middle - 1], ratios[middle])
    } else {
        ratios[middle]
    };
    Some(Spread { median, min, max })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn load(granted: u64, unknown: u64) -> Report {
        Report {
            connections: 1,
            seconds: 1.0,
            rate: 1.0,
            p50_us: 1,
            p99_us: 1,
            p999_us: 1,
            server_cpu_us_per_op: Some(1.0),
            granted,
            unknown,
            refused: BTreeMap::new(),
            ran_out: false,
        }
    }

    #[test]
    fn a_round_that_lost_or_invented_a_hold_does_not_count() {
        let good = side("test", load(10, 0), 10);
        assert_eq!(void(&good, &good, 0.0), None);
        for (granted, unknown, found, agree) in
            [(10, 0, 9, false), (10, 0, 11, false), (10, 2, 12, true), (10, 2, 13, false)]
        {
            let other = side("test", load(granted, unknown), found);
            assert_eq!(other.holds_agree, agree);
            assert_eq!(void(&other, &good, 0.0).is_none(), agree);
            assert_eq!(void(&good, &other, 0.0).is_none(), agree);
        }
    }

    #[test]
    fn a_round_on_a_machine_that_was_away_does_not_count() {
        let good = side("test", load(10, 0), 10);
        assert!(void(&good, &good, 0.03).is_some());
        let mut refused = good.clone();
        refused.load.refused.insert(429, 1);
        assert!(void(&refused, &good, 0.0).is_some());
        let mut short = good.clone();
        short.load.ran_out = true;
        assert!(void(&good, &short, 0.0).is_some());
    }

    #[test]
    fn the_median_stands_between_least_and_greatest() {
        assert_eq!(spread(vec![]), None);
        let of = |ratios: &[f64]| spread(ratios.to_vec()).map(|s| (s.median, s.min, s.max));
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some((2.0, 1.0, 3.0)));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Some((2.5, 1.0, 4.0)));
    }
}
