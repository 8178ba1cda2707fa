//! Owns how each figure comes from the pieces that exist: comparisons in turns, scenarios with
//! their audit, starts, the state machine's example.
//!
//! Must never turn a run that was not sound into a figure without saying so.

use super::{Setting, apply, stage, table::How};
use crate::{
    compare::{self, Comparison, Contest, Kind, Round},
    figures::{Spread, spread},
    load::progress::Progress,
    play::{self, Play},
    result::{Operation, RunResult},
    scenario::{self, Scenario},
    start,
};

/// A figure that was measured.
#[derive(Clone, Debug)]
pub struct Found {
    /// Whose.
    pub id: &'static str,
    /// What came out.
    pub spread: Spread,
    /// What else was seen.
    pub notes: Vec<String>,
    /// Why it does not count.
    pub void: Option<String>,
    /// What was acknowledged did not hold.
    pub broken: bool,
}

impl Found {
    /// Of one measurement.
    pub fn one(id: &'static str, value: f64) -> Found {
        let spread = Spread { median: value, min: value, max: value };
        Found { id, spread, notes: Vec::new(), void: None, broken: false }
    }
}

/// The rate of an open loop of P13.
const OPEN_RATE: f64 = 10_000.0;
/// More than are asked for, by as much as arrivals scatter.
const OPEN_SEATS_A_SECOND: u64 = 11_000;
/// Rates and seats of short rounds.
const QUICK_RATE: f64 = 300.0;
const QUICK_SEATS: u64 = 2_000;
/// More failures than this, and a latency says nothing.
const FAILED_SHARE_MAX: f64 = 0.01;
/// Starts of P18.
const STARTS: u32 = 5;

/// Measures.
///
/// # Errors
/// When a program is missing, a server does not start or does not answer.
pub async fn measure(how: How, setting: &Setting) -> anyhow::Result<Vec<Found>> {
    match how {
        How::Redis => {
            let ratios: &[Ratio] =
                &[("P1", |round| round.rate_ratio), ("P19", |round| round.cpu_ratio)];
            compared(setting.compare(Kind::Redis), ratios).await
        }
        How::Postgres => {
            compared(setting.compare(Kind::Postgres), &[("P2", |round| round.rate_ratio)]).await
        }
        How::Etcd => {
            compared(setting.native(Kind::Etcd, 3), &[("P3", |round| round.rate_ratio)]).await
        }
        How::Echo => {
            compared(setting.native(Kind::Echo, 1), &[("P4", |round| round.rate_ratio)]).await
        }
        How::Reads => {
            compared(setting.compare(Kind::Nginx), &[("P5", |round| round.rate_ratio)]).await
        }
        How::HotEvent => {
            let options = compare::Options { own_events_min: 20, ..setting.compare(Kind::Own) };
            compared(options, &[("P7", |round| round.rate_ratio)]).await
        }
        How::Replicas => {
            let options = compare::Options { own_replicas: 1, ..setting.compare(Kind::Own) };
            compared(options, &[("P8", |round| round.rate_ratio)]).await
        }
        How::Refused => stage::refused(setting).await,
        How::HalfLoad => stage::half_load(setting).await,
        How::Overload => stage::overload(setting).await,
        How::Apply(runs) => apply::measure(&setting.apply_bench, runs).await,
        How::OpenLoop => open_loop(setting).await,
        How::Sellout => sellout(setting).await,
        How::Start => starts(setting).await,
        How::LeaderKill => leader_kill(setting).await,
        How::RollingRestart => rolling_restart(setting).await,
    }
}

impl Setting {
    /// As `compare` has it by default.
    fn compare(&self, peer: Kind) -> compare::Options {
        compare::Options {
            peer,
            native: false,
            onsale: self.onsale.clone(),
            fronts: self.fronts.clone(),
            rounds: if self.quick { 1 } else { self.rounds },
            seconds: if self.quick { 2 } else { 10 },
            warm_up_seconds: if self.quick { 1 } else { 2 },
            connections: 128,
            threads: self.threads,
            replicas: 3,
            seats: if self.quick { 100_000 } else { 1_200_000 },
            events_min: 1,
            own_replicas: 3,
            own_events_min: 1,
            work_dir: self.work_dir.clone(),
            crash_check: true,
        }
    }

    /// Over gRPC. Shorter: the stream takes more seats in a second than HTTP in ten.
    fn native(&self, peer: Kind, replicas: u32) -> compare::Options {
        let mut options = compare::Options { native: true, replicas, ..self.compare(peer) };
        if !self.quick {
            (options.seconds, options.seats) = (5, 4_000_000);
        }
        options
    }

    fn play(&self, name: &str, change: impl FnOnce(&mut Scenario)) -> anyhow::Result<Play> {
        let mut scenario = scenario::load(name, None)?;
        change(&mut scenario);
        scenario.check().map_err(anyhow::Error::msg)?;
        Ok(Play {
            name: name.to_owned(),
            scenario,
            url: None,
            credentials: None,
            demo: Some(self.onsale.clone()),
            demo_flags: Vec::new(),
            work_dir: self.work_dir.clone(),
            metrics: None,
            pids: Vec::new(),
            threads: self.threads,
            seed: None,
            progress: Progress::Quiet,
        })
    }
}

type Ratio = (&'static str, fn(&Round) -> f64);

async fn compared(options: compare::Options, ratios: &[Ratio]) -> anyhow::Result<Vec<Found>> {
    let comparison = compare::run(&options).await?;
    let found = ratios.iter().filter_map(|ratio| worst(&comparison, *ratio));
    Ok(found.collect())
}

/// The ratio of the kind of request in which we fare worst. Rounds that do not count are shown
/// where no other is there, and make the figure void.
fn worst(comparison: &Comparison, (id, of): Ratio) -> Option<Found> {
    let mut found: Option<Found> = None;
    let notes: Vec<String> = comparison.contests.iter().filter_map(note).collect();
    for contest in &comparison.contests {
        let rounds = || comparison.rounds.iter().filter(|round| round.what == contest.what);
        let counted = spread(rounds().filter(|round| round.void.is_none()).map(of));
        let void = rounds().find_map(|round| round.void.clone()).filter(|_| counted.is_none());
        let spread = counted.or_else(|| spread(rounds().map(of)))?;
        let worse = found.as_ref().is_none_or(|known| spread.median < known.spread.median);
        if worse || void.is_some() {
            let broken = comparison.broken();
            found = Some(Found { id, spread, notes: notes.clone(), void, broken });
        }
    }
    found
}

fn note(contest: &Contest) -> Option<String> {
    let ours = contest.our_rate?;
    let (peer, cpu, peer_cpu) = (contest.peer_rate?, contest.our_cpu_us?, contest.peer_cpu_us?);
    Some(format!(
        "{}: ours {:.0}/s and {:.1} µs of server CPU, the other {:.0}/s and {:.1} µs",
        contest.what, ours.median, cpu.median, peer.median, peer_cpu.median
    ))
}

/// What every played scenario says beside its figure.
fn of_run(found: &mut Found, result: &RunResult) {
    found.broken |= result.audit.broken();
    if !result.audit.clean() {
        found.void = Some(format!("the audit is {}", result.audit.verdict));
    }
    for (name, row) in &result.operations {
        if !row.codes.is_empty() {
            found.notes.push(format!("{name}: {:?}", row.codes));
        }
    }
    found.notes.extend(result.warnings.iter().cloned());
}

fn row<'a>(result: &'a RunResult, name: &str) -> anyhow::Result<&'a Operation> {
    result.operations.get(name).ok_or_else(|| anyhow::anyhow!("no {name} was answered"))
}

async fn open_loop(setting: &Setting) -> anyhow::Result<Vec<Found>> {
    let (rate, seconds) = if setting.quick { (QUICK_RATE, 3) } else { (OPEN_RATE, 60) };
    let play = setting.play("reserve", |scenario| {
        (scenario.rate_per_second, scenario.seconds) = (Some(rate), seconds);
        scenario.event.seats_a_second = Some(OPEN_SEATS_A_SECOND);
    })?;
    let result = play::run(&play, crate::never()).await?;
    let reserve = row(&result, "reserve")?;
    let mut found = Found::one("P13", crate::print::milliseconds(reserve.latency_us.p99));
    of_run(&mut found, &result);
    found.notes.push(format!("{:.0} of {rate:.0}/s answered well", reserve.rate));
    if reserve.failed_share() > FAILED_SHARE_MAX {
        // Those that were turned away are not in the curve.
        found.void = Some(format!("{:.1} % failed", reserve.failed_share() * 100.0));
    }
    Ok(vec![found])
}

async fn sellout(setting: &Setting) -> anyhow::Result<Vec<Found>> {
    let play = setting.play("sellout", |scenario| {
        if setting.quick {
            (scenario.event.seats, scenario.connections) = (Some(QUICK_SEATS), 100);
        }
    })?;
    let result = play::run(&play, crate::never()).await?;
    let last = result.last_confirmed_seconds;
    let last = last.ok_or_else(|| anyhow::anyhow!("no order was confirmed"))?;
    let mut found = Found::one("P15", last);
    of_run(&mut found, &result);
    let seats = play.scenario.event.seats.unwrap_or(0);
    found.notes.push(format!("{} tickets of {seats} seats", result.audit.tickets));
    if result.audit.tickets < seats {
        found.void = Some(format!("{} seats were not sold", seats - result.audit.tickets));
    }
    Ok(vec![found])
}

async fn starts(setting: &Setting) -> anyhow::Result<Vec<Found>> {
    let options = start::Options {
        onsale: setting.onsale.clone(),
        runs: if setting.quick { 1 } else { STARTS },
        flags: Vec::new(),
        work_dir: setting.work_dir.clone(),
    };
    let times = start::run(&options).await?;
    let mut found = Found::one("P18", times.median_ms / 1e3);
    (found.spread.min, found.spread.max) = (times.min_ms / 1e3, times.max_ms / 1e3);
    Ok(vec![found])
}

async fn leader_kill(setting: &Setting) -> anyhow::Result<Vec<Found>> {
    let play = setting.play("leader-kill", |scenario| {
        if setting.quick {
            (scenario.rate_per_second, scenario.seconds) = (Some(QUICK_RATE), 8);
        }
    })?;
    let result = play::run(&play, crate::never()).await?;
    let mut found = Found::one("T2", result.silence.seconds);
    of_run(&mut found, &result);
    done_as_planned(&mut found, &result, 1);
    Ok(vec![found])
}

async fn rolling_restart(setting: &Setting) -> anyhow::Result<Vec<Found>> {
    let play = setting.play("rolling-restart", |scenario| {
        if setting.quick {
            scenario.rate_per_second = Some(QUICK_RATE);
        }
    })?;
    let result = play::run(&play, crate::never()).await?;
    let share = row(&result, "reserve")?.failed_share();
    let mut found = Found::one("T3", share * 100.0);
    of_run(&mut found, &result);
    // Each of three replicas goes and comes back.
    done_as_planned(&mut found, &result, 6);
    found.notes.push(format!("longest silence {:.2} s", result.silence.seconds));
    Ok(vec![found])
}

/// A disturbance that did not happen, or not all of it, shows nothing.
fn done_as_planned(found: &mut Found, result: &RunResult, marks: usize) {
    let done = result.disturbances.iter().map(|mark| {
        let at = mark.at_seconds;
        format!("at {at:.1} s {}", mark.what)
    });
    found.notes.extend(done);
    if result.disturbances.len() < marks {
        found.void = Some("the load ended before all was done to the system".to_owned());
    }
}
