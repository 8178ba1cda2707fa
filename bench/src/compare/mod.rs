//! Owns `compare`: the same load on our system and on a peer, in turns on the same machine, each
//! on a fresh folder, and what is left of it after both were killed.
//!
//! Must never count a round whose acknowledged holds are not all there afterwards.

mod nginx;
pub mod peer;
pub mod sides;

use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;

pub use self::peer::Kind;
use crate::{
    figures::{Figures, Spread, spread},
    limits,
    machine::{self, FlushCost, Stolen},
};

/// How to compare.
#[derive(Clone, Debug)]
pub struct Options {
    /// With what.
    pub peer: Kind,
    /// Over gRPC: our stream in batches against the peer's own calls.
    pub native: bool,
    /// Our binary.
    pub onsale: PathBuf,
    /// Where the fronts of the peers are.
    pub fronts: PathBuf,
    /// Rounds.
    pub rounds: u32,
    /// Counted time of each side in a round.
    pub seconds: u64,
    /// Time before that.
    pub warm_up_seconds: u64,
    /// Connections.
    pub connections: u64,
    /// Threads of the driver.
    pub threads: u32,
    /// Replicas of our side.
    pub replicas: u32,
    /// Seats made for each side of a round.
    pub seats: u64,
    /// Events they are in, at least.
    pub events_min: u64,
    /// Replicas of the other side where the peer is our own.
    pub own_replicas: u32,
    /// Events of the other side where the peer is our own.
    pub own_events_min: u64,
    /// Where both keep their data.
    pub work_dir: PathBuf,
    /// Kill both after the load and look what is left.
    pub crash_check: bool,
}

/// One side of one round.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// The load as the client saw it.
    pub load: Figures,
    /// Holds found afterwards; null where nothing is held.
    pub holds_found: Option<u64>,
    /// All acknowledged holds are among them, and not more than were asked for.
    pub holds_agree: bool,
}

/// One round of one kind of request.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// What was asked for.
    pub what: &'static str,
    /// Ours.
    pub ours: Side,
    /// The peer's.
    pub peer: Side,
    /// Ours ÷ peer, good answers a second.
    pub rate_ratio: f64,
    /// Ours ÷ peer, processor time of the servers per good answer.
    pub cpu_ratio: f64,
    /// Share of the machine that the host took away.
    pub stolen: f64,
    /// Why the round does not count.
    pub void: Option<String>,
}

/// The comparison of one kind of request.
#[derive(Clone, Debug, Serialize)]
pub struct Contest {
    /// What was asked for.
    pub what: &'static str,
    /// Ratio of rates over the rounds that count.
    pub rate_ratio: Option<Spread>,
    /// Ratio of processor time.
    pub cpu_ratio: Option<Spread>,
    /// Ours: median rate.
    pub our_rate: Option<Spread>,
    /// The peer's.
    pub peer_rate: Option<Spread>,
    /// Ours: processor time per good answer.
    pub our_cpu_us: Option<Spread>,
    /// The peer's.
    pub peer_cpu_us: Option<Spread>,
}

/// The comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Against what.
    pub peer: &'static str,
    /// All rounds, void ones too.
    pub rounds: Vec<Round>,
    /// By kind of request.
    pub contests: Vec<Contest>,
    /// What a flush cost before and after.
    pub flush: [FlushCost; 2],
    /// Where the comparison is not even.
    pub warnings: Vec<&'static str>,
}

impl Comparison {
    /// Some round lost what we acknowledged, or granted a seat twice.
    pub fn broken(&self) -> bool {
        self.rounds.iter().any(|round| !round.ours.holds_agree)
    }

    /// At least one round of each kind counts.
    pub fn counts(&self) -> bool {
        !self.contests.is_empty() && self.contests.iter().all(|one| one.rate_ratio.is_some())
    }
}

/// Compares.
///
/// # Errors
/// When a side cannot be started or is not durable.
pub async fn run(options: &Options) -> anyhow::Result<Comparison> {
    std::fs::create_dir_all(&options.work_dir)
        .with_context(|| format!("{}", options.work_dir.display()))?;
    let flush_before = machine::flush_cost(&options.work_dir)?;
    let mut rounds = Vec::new();
    for number in 0..options.rounds {
        eprintln!("round {} of {}", number + 1, options.rounds);
        rounds.extend(round(options, number).await?);
    }
    let mut kinds: Vec<&'static str> = Vec::new();
    for round in &rounds {
        if !kinds.contains(&round.what) {
            kinds.push(round.what);
        }
    }
    let contests = kinds.into_iter().map(|what| contest(what, &rounds)).collect();
    let flush = [flush_before, machine::flush_cost(&options.work_dir)?];
    let warnings = options.peer.warnings(options.replicas);
    Ok(Comparison { peer: options.peer.name(), rounds, contests, flush, warnings })
}

fn contest(what: &'static str, rounds: &[Round]) -> Contest {
    let counted: Vec<&Round> =
        rounds.iter().filter(|round| round.what == what && round.void.is_none()).collect();
    let of = |value: fn(&Round) -> f64| spread(counted.iter().map(|round| value(round)));
    Contest {
        what,
        rate_ratio: of(|round| round.rate_ratio),
        cpu_ratio: of(|round| round.cpu_ratio),
        our_rate: of(|round| round.ours.load.rate),
        peer_rate: of(|round| round.peer.load.rate),
        our_cpu_us: of(|round| round.ours.load.cpu_us),
        peer_cpu_us: of(|round| round.peer.load.cpu_us),
    }
}

/// Both sides, in an order that alternates from round to round.
async fn round(options: &Options, number: u32) -> anyhow::Result<Vec<Round>> {
    let folder = tempfile::Builder::new().prefix("compare-").tempdir_in(&options.work_dir)?;
    let before = Stolen::now();
    let both = async {
        if options.peer == Kind::Nginx {
            return nginx::both(options, folder.path(), number).await;
        }
        let (ours, peer);
        if number.is_multiple_of(2) {
            peer = sides::peer(options, folder.path()).await?;
            ours = sides::ours(options, folder.path(), "onsale").await?;
        } else {
            ours = sides::ours(options, folder.path(), "onsale").await?;
            peer = sides::peer(options, folder.path()).await?;
        }
        Ok(vec![("reserve", ours, peer)])
    };
    let pairs = match both.await {
        Ok(pairs) => pairs,
        // A program that is missing is no riddle; whoever looks for another cause needs the logs.
        Err(error) if crate::exit::of(&error) == crate::exit::Exit::NotFound => return Err(error),
        Err(error) => return Err(error.context(format!("kept {}", folder.keep().display()))),
    };
    let stolen = Stolen::now().share_since(before);
    Ok(pairs.into_iter().map(|(what, ours, peer)| judge(what, ours, peer, stolen)).collect())
}

fn judge(what: &'static str, ours: Side, peer: Side, stolen: f64) -> Round {
    Round {
        what,
        rate_ratio: ours.load.rate / peer.load.rate,
        cpu_ratio: ours.load.cpu_us / peer.load.cpu_us,
        stolen,
        void: void(&ours, &peer, stolen),
        ours,
        peer,
    }
}

/// Why a round does not count.
fn void(ours: &Side, peer: &Side, stolen: f64) -> Option<String> {
    for (name, side) in [("ours", ours), ("the peer", peer)] {
        let load = &side.load;
        if !side.holds_agree {
            let found = side.holds_found.unwrap_or(0);
            return Some(format!("{name}: {found} holds found of {} granted", load.granted));
        }
        if load.refused > 0 {
            return Some(format!("{name} refused {} requests", load.refused));
        }
        if load.ran_out {
            return Some(format!("{name}: all seats were used up; give --seats"));
        }
    }
    (stolen > limits::STEAL_SHARE_MAX)
        .then(|| format!("the host took {:.1} % of the machine", stolen * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(granted: u64, unknown: u64) -> Figures {
        Figures { rate: 1.0, cpu_us: 1.0, granted, unknown, ..Figures::default() }
    }

    #[test]
    fn a_round_that_lost_or_invented_a_hold_does_not_count() {
        let good = sides::side("test", load(10, 0), Some(10));
        assert_eq!(void(&good, &good, 0.0), None);
        for (granted, unknown, found, agree) in
            [(10, 0, 9, false), (10, 0, 11, false), (10, 2, 12, true), (10, 2, 13, false)]
        {
            let other = sides::side("test", load(granted, unknown), Some(found));
            assert_eq!(other.holds_agree, agree);
            assert_eq!(void(&other, &good, 0.0).is_none(), agree);
            assert_eq!(void(&good, &other, 0.0).is_none(), agree);
        }
    }

    #[test]
    fn a_round_on_a_machine_that_was_away_does_not_count() {
        let good = sides::side("test", load(10, 0), None);
        assert_eq!(void(&good, &good, 0.0), None);
        assert!(void(&good, &good, 0.03).is_some());
        let mut refused = good.clone();
        refused.load.refused = 1;
        assert!(void(&refused, &good, 0.0).is_some());
        let mut short = good.clone();
        short.load.ran_out = true;
        assert!(void(&good, &short, 0.0).is_some());
    }

    #[test]
    fn void_rounds_are_shown_but_not_in_the_median() {
        let side = |rate: f64| {
            sides::side("test", Figures { rate, cpu_us: 1.0, ..Figures::default() }, None)
        };
        let mut rounds: Vec<Round> =
            [2.0, 4.0, 100.0].map(|rate| judge("reserve", side(rate), side(1.0), 0.0)).into();
        rounds[2].void = Some("stolen".to_owned());
        let ratio = contest("reserve", &rounds).rate_ratio.expect("two count");
        assert_eq!((ratio.median, ratio.max), (3.0, 4.0));
    }
}
