//! Owns the figures that need several loads on one system: refusals against reads, half of the
//! peak against one flush, four times the peak and the time after it.
//!
//! Must never let go of a system before its audit.

use std::{sync::Arc, time::Duration};

use super::{Setting, measure::Found};
use crate::{
    api::Client,
    compare::Kind,
    event::{self, Shape},
    figures::spread,
    http::Target,
    limits,
    load::{self, Done, Pace, op::Fate, op::Op, plan::Arrivals, progress::Progress, tally::Point},
    machine, play, random,
    result::AuditResult,
    server,
    stock::Stock,
    verdict::{self, Before},
};

/// Connections of a closed loop.
const CONNECTIONS: u64 = 128;
/// Clients of P16 go after this long and come again.
const GIVE_UP: Duration = Duration::from_millis(250);
/// So often.
const COME_AGAIN: u32 = 2;
/// How many times its peak the system is asked for.
const OVERLOAD: f64 = 4.0;
/// So long without a failure is normal again.
const CALM: Duration = Duration::from_millis(500);
/// Longer than the floor of P16's second figure: what is not normal by then has missed it.
const AFTERWARDS_SECONDS: u64 = 7;
const FINE_TICK: Duration = Duration::from_millis(100);

/// A system under several loads, ours or a peer.
struct Crowd {
    target: Target,
    stock: Arc<Stock>,
    pids: Vec<u32>,
    threads: u32,
}

impl Crowd {
    fn options(&self, op: Op, seconds: u64) -> anyhow::Result<load::Options> {
        let (target, stock) = (self.target.clone(), Arc::clone(&self.stock));
        let mut options = load::Options::closed(target, stock, op, random::run_id()?);
        options.connections = CONNECTIONS;
        options.threads = self.threads;
        options.pids.clone_from(&self.pids);
        options.warm_up = Duration::from_secs(seconds.min(2));
        options.duration = Duration::from_secs(seconds);
        Ok(options)
    }

    async fn load(&self, options: load::Options) -> anyhow::Result<Done> {
        let done = load::run(Arc::new(options), Progress::Quiet, crate::never()).await?;
        anyhow::ensure!(!done.shared.ran_out(), "all seats were used up before the time was");
        Ok(done)
    }

    /// The rate of a closed loop.
    async fn peak(&self, op: Op, seconds: u64) -> anyhow::Result<f64> {
        let done = self.load(self.options(op, seconds)?).await?;
        let rate = done.rate(op);
        anyhow::ensure!(rate > 0.0, "no {} was answered well", op.name());
        eprintln!("  {}: {rate:.0}/s", op.name());
        Ok(rate)
    }
}

/// Our system, with seats of its own.
struct Stage {
    demo: server::Onsale,
    _folder: tempfile::TempDir,
    client: Client,
    before: Before,
    crowd: Crowd,
}

impl Stage {
    /// `sold`: some seats are, for those who ask in vain.
    async fn open(setting: &Setting, seats: u64, sold: bool) -> anyhow::Result<Stage> {
        let flags = ["--no-limits".to_owned(), "--empty".to_owned()];
        let (demo, folder) = server::fresh_demo(&setting.onsale, &setting.work_dir, &flags).await?;
        let mut client = Client::new(demo.target.clone());
        let key = event::organizer_key(&folder.path().join("data/credentials.json"))?;
        let run = random::run_id()?;
        let events = event::make(&mut client, &key, &run, Shape::plain(seats, 1)).await?;
        let ids: Vec<String> = events.iter().map(|event| event.event_id.clone()).collect();
        let mut stock = Stock::new(events, false);
        if sold {
            play::sell_beforehand(&mut client, &mut stock, &run).await?;
        }
        let before = Before::read(&mut client, &ids).await?;
        let crowd = Crowd {
            target: demo.target.clone(),
            stock: Arc::new(stock),
            pids: machine::family(demo.server.pid),
            threads: setting.threads,
        };
        Ok(Stage { demo, _folder: folder, client, before, crowd })
    }

    /// Audits and ends.
    async fn close(mut self) -> anyhow::Result<AuditResult> {
        let options = self.crowd.options(Op::Reserve, 1)?;
        let audit = verdict::audit(&options, &self.before, None, limits::FEED_LAG_MAX).await?;
        // Not used again; its connection ends before the server does.
        self.client.forget_session();
        self.demo.server.kill().await?;
        Ok(audit)
    }
}

fn audited(found: &mut Found, audit: &AuditResult) {
    found.broken = audit.broken();
    if !audit.clean() && found.void.is_none() {
        found.void = Some(format!("the audit is {}", audit.verdict));
    }
}

/// P6: reserves of sold seats against the faster kind of our own reads.
pub async fn refused(setting: &Setting) -> anyhow::Result<Vec<Found>> {
    let (rounds, seconds) = setting.effort();
    let stage = Stage::open(setting, 10_000, true).await?;
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let mut kinds = [Op::Lose, Op::Section, Op::Event];
        if round % 2 == 1 {
            kinds.reverse();
        }
        let mut rates = [0.0; 3];
        for op in kinds {
            let rate = stage.crowd.peak(op, seconds).await?;
            let place = [Op::Lose, Op::Section, Op::Event].iter().position(|other| *other == op);
            rates[place.unwrap_or(0)] = rate;
        }
        ratios.push((rates[0] / rates[1].max(rates[2]), rates));
    }
    let audit = stage.close().await?;
    let mut found = Found::one("P6", 0.0);
    found.spread = spread(ratios.iter().map(|(ratio, _)| *ratio)).unwrap_or(found.spread);
    found.notes.extend(ratios.iter().map(|(_, [lose, section, event])| {
        format!("refused {lose:.0}/s, sections {section:.0}/s, event documents {event:.0}/s")
    }));
    audited(&mut found, &audit);
    Ok(vec![found])
}

/// P14: the median at half of the peak, in flushes of the same disk just before and after.
pub async fn half_load(setting: &Setting) -> anyhow::Result<Vec<Found>> {
    let (rounds, seconds) = setting.effort();
    let stage = Stage::open(setting, setting.seats(), false).await?;
    let peak = stage.crowd.peak(Op::Reserve, seconds).await?;
    let (mut ratios, mut notes) = (Vec::new(), vec![format!("peak {peak:.0}/s")]);
    for _ in 0..rounds {
        let before = machine::flush_cost(&setting.work_dir)?;
        let mut options = stage.crowd.options(Op::Reserve, seconds)?;
        options.pace = Pace::Open { rate: peak / 2.0, arrivals: Arrivals::Poisson };
        let done = stage.crowd.load(options).await?;
        let after = machine::flush_cost(&setting.work_dir)?;
        let p50 = done.latency_us(Op::Reserve, 0.5);
        let flush = u64::midpoint(before.p50_us, after.p50_us).max(1);
        #[allow(clippy::cast_precision_loss)]
        ratios.push(p50 as f64 / flush as f64);
        notes.push(format!(
            "p50 {p50} µs at {:.0}/s, fdatasync {} µs before and {} µs after",
            done.rate(Op::Reserve),
            before.p50_us,
            after.p50_us
        ));
    }
    let audit = stage.close().await?;
    let mut found = Found::one("P14", 0.0);
    found.spread = spread(ratios).unwrap_or(found.spread);
    found.notes = notes;
    audited(&mut found, &audit);
    Ok(vec![found])
}

/// P16: four times the peak with clients that go and come again, then half of it. What axum before
/// Redis makes of the same stands beside it.
pub async fn overload(setting: &Setting) -> anyhow::Result<Vec<Found>> {
    let (_, seconds) = setting.effort();
    let stage = Stage::open(setting, setting.seats(), false).await?;
    let ours = overloaded(&stage.crowd, seconds).await?;
    let audit = stage.close().await?;
    let mut ratio = Found::one("P16", ours.goodput / ours.peak);
    let mut back = Found::one("P16b", ours.back.as_secs_f64());
    ratio.notes.push(ours.said());
    ratio.notes.push(match overloaded_redis(setting, seconds).await {
        Ok(redis) => format!(
            "axum → Redis: {:.2}×, back after {:.2} s; {}",
            redis.goodput / redis.peak,
            redis.back.as_secs_f64(),
            redis.said()
        ),
        Err(error) => format!("axum → Redis was not measured: {error:#}"),
    });
    back.notes.push(format!("at {:.0}/s", ours.peak / 2.0));
    if !ours.calm {
        back.notes.push("not within that time".to_owned());
    }
    audited(&mut ratio, &audit);
    audited(&mut back, &audit);
    Ok(vec![ratio, back])
}

async fn overloaded_redis(setting: &Setting, seconds: u64) -> anyhow::Result<Overloaded> {
    let folder = tempfile::Builder::new().prefix("overload-").tempdir_in(&setting.work_dir)?;
    let peer = Kind::Redis.start(&setting.fronts, &folder.path().join("redis")).await?;
    let events = event::like_made(Shape::plain(setting.seats(), 1));
    let crowd = Crowd {
        target: peer.target.clone(),
        stock: Arc::new(Stock::new(events, false)),
        pids: peer.pids(),
        threads: setting.threads,
    };
    let done = overloaded(&crowd, seconds).await;
    peer.kill().await?;
    done
}

/// What became of a system under four times its peak, a second each, and afterwards.
struct Overloaded {
    peak: f64,
    connections: u64,
    sent: f64,
    goodput: f64,
    driver_cores: f64,
    /// Until it was back to normal; as long as was looked where it was not.
    back: Duration,
    calm: bool,
}

impl Overloaded {
    fn said(&self) -> String {
        format!(
            "peak {:.0}/s; asked for {:.0}/s over {} connections, {:.0}/s sent ({:.1} times the \
             peak), {:.0}/s answered well within {} ms; the driver used {:.2} cores",
            self.peak,
            OVERLOAD * self.peak,
            self.connections,
            self.sent,
            self.sent / self.peak,
            self.goodput,
            GIVE_UP.as_millis(),
            self.driver_cores
        )
    }
}

async fn overloaded(crowd: &Crowd, seconds: u64) -> anyhow::Result<Overloaded> {
    let peak = crowd.peak(Op::Reserve, seconds.min(5)).await?;
    let connections = connections(peak);
    let mut options = crowd.options(Op::Reserve, seconds)?;
    impatient(&mut options, OVERLOAD * peak, connections);
    let over = crowd.load(options).await?;
    let ended = over.shared.span.until;
    let mut options = crowd.options(Op::Reserve, AFTERWARDS_SECONDS)?;
    impatient(&mut options, peak / 2.0, CONNECTIONS);
    (options.tick, options.warm_up) = (FINE_TICK, Duration::ZERO);
    let after = crowd.load(options).await?;
    let begun = after.shared.span.started.saturating_duration_since(ended);
    let calm = back_to_normal(&after.shared.tally().series);
    Ok(Overloaded {
        peak,
        connections,
        sent: sent(&over),
        goodput: over.rate(Op::Reserve),
        driver_cores: over.driver_cpu.as_secs_f64() / over.counted.as_secs_f64().max(1e-9),
        back: begun + calm.unwrap_or(after.counted),
        calm: calm.is_some(),
    })
}

fn impatient(options: &mut load::Options, rate: f64, connections: u64) {
    options.pace = Pace::Open { rate, arrivals: Arrivals::Poisson };
    options.connections = connections;
    (options.patience, options.too_late) = (GIVE_UP, Some(GIVE_UP));
    options.retries = COME_AGAIN;
}

/// Enough for what the peak answers in twice the clients' patience: fewer would hold the load back.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn connections(peak: f64) -> u64 {
    ((2.0 * peak * GIVE_UP.as_secs_f64()) as u64).clamp(2 * CONNECTIONS, 8_000)
}

/// Attempts a second that reached the wire.
#[allow(clippy::cast_precision_loss)]
fn sent(done: &Done) -> f64 {
    let tally = done.shared.tally();
    let rows = tally
        .rows()
        .map(|(_, row)| row.fates.iter().sum::<u64>() - row.fates[Fate::Unsent as usize]);
    rows.sum::<u64>() as f64 / done.counted.as_secs_f64().max(1e-9)
}

/// When the first time without any failure began that was long enough; `None` when there was none.
fn back_to_normal(series: &[Point]) -> Option<Duration> {
    let mut calm_from = 0.0;
    for point in series {
        if point.failed > 0 || point.good == 0 {
            calm_from = point.second;
        } else if point.second - calm_from >= CALM.as_secs_f64() - 0.05 {
            return Some(Duration::from_secs_f64(calm_from));
        }
    }
    None
}

impl Setting {
    /// Rounds, and seconds of each load.
    fn effort(&self) -> (u32, u64) {
        if self.quick { (1, 2) } else { (self.rounds.min(3), 8) }
    }

    fn seats(&self) -> u64 {
        if self.quick { 100_000 } else { 1_200_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(rows: &[(u64, u64)]) -> Vec<Point> {
        let rows = rows.iter().zip(1_u32..);
        rows.map(|((good, failed), tick)| Point {
            second: f64::from(tick) / 10.0,
            good: *good,
            failed: *failed,
            ..Point::default()
        })
        .collect()
    }

    #[test]
    fn normal_begins_where_half_a_second_without_failures_begins() {
        let calm = [(9, 0); 6];
        assert_eq!(back_to_normal(&series(&calm)), Some(Duration::ZERO));
        let late = [&[(9, 1), (9, 0), (9, 0), (0, 0)], &calm[..]].concat();
        assert_eq!(back_to_normal(&series(&late)), Some(Duration::from_millis(400)));
        assert_eq!(back_to_normal(&series(&[(9, 0), (9, 3), (9, 0), (9, 0)])), None);
        assert_eq!(back_to_normal(&[]), None);
    }
}
