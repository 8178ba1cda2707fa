//! Owns a load: its lanes, its count, its progress, and what is left in the end.
//!
//! Must never outlive its time: every wait in here is bounded.

mod batch;
mod lane;
pub mod op;
pub mod plan;
mod player;
pub mod progress;
pub mod tally;
pub mod wire;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::sync::{oneshot, watch};

use self::{
    op::Op,
    plan::Arrivals,
    progress::Progress,
    tally::{Span, Tally},
    wire::Shared,
};
use crate::{
    buyer::Habits, http::Target, machine, native::Map, random::Dice, stock::Stock, story::Story,
};

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// At planned times, whatever the answers do.
    Open {
        /// Arrivals a second.
        rate: f64,
        /// How they lie.
        arrivals: Arrivals,
    },
    /// Each connection sends when it has its answer.
    Closed,
}

/// How requests travel.
#[derive(Clone, Debug)]
pub enum Way {
    /// HTTP/1.1, one request in flight on each connection.
    Http,
    /// The native stream, one batch in flight on each: reserves only.
    Stream {
        /// Who leads what.
        map: Arc<Map>,
        /// Holds in a message.
        batch: usize,
    },
    /// A conditional put under a lease.
    Etcd {
        /// `host:port,host:port,…`.
        members: String,
        /// In flight on each connection.
        calls: u64,
    },
    /// A unary call that answers what it was sent.
    Echo {
        /// `host:port`.
        address: String,
        /// In flight on each connection.
        calls: u64,
    },
}

/// Shares of the kinds of requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mix {
    parts: Vec<(Op, u64)>,
    total: u64,
}

impl Mix {
    /// Of these parts; order matters to seeds only.
    pub fn new(parts: Vec<(Op, u64)>) -> Mix {
        let total = parts.iter().map(|(_, part)| part).sum();
        Mix { parts, total }
    }

    /// One kind only.
    pub fn only(op: Op) -> Mix {
        Mix::new(vec![(op, 1)])
    }

    /// Whether it has that kind.
    pub fn has(&self, op: Op) -> bool {
        self.parts.iter().any(|(part, share)| *part == op && *share > 0)
    }

    fn draw(&self, dice: &mut Dice) -> Op {
        let mut left = if self.parts.len() > 1 { dice.next() % self.total.max(1) } else { 0 };
        for (op, part) in &self.parts {
            if left < *part {
                return *op;
            }
            left -= part;
        }
        Op::Event
    }
}

/// What to do.
pub struct Options {
    /// Where.
    pub target: Target,
    /// How requests travel.
    pub way: Way,
    /// Of which events.
    pub stock: Arc<Stock>,
    /// What.
    pub mix: Mix,
    /// When.
    pub pace: Pace,
    /// Over how many connections, one request in flight on each.
    pub connections: u64,
    /// On how many threads.
    pub threads: u32,
    /// How long is not counted at first.
    pub warm_up: Duration,
    /// How long is counted.
    pub duration: Duration,
    /// How long a client waits for an answer.
    pub patience: Duration,
    /// How often it asks again under the same key when nobody answered.
    pub retries: u32,
    /// An arrival that waited so long for a connection is not sent any more.
    pub too_late: Option<Duration>,
    /// What buyers do.
    pub habits: Habits,
    /// Repeats an earlier run's choices.
    pub seed: u64,
    /// Names this run.
    pub run: String,
    /// Whose processor time to read.
    pub pids: Vec<u32>,
    /// How often the series gets a row.
    pub tick: Duration,
    /// What buyers experienced.
    pub story: Mutex<Story>,
}

impl Options {
    /// A closed loop of one kind of request; the rest is set by whoever needs it.
    pub fn closed(target: Target, stock: Arc<Stock>, op: Op, run: String) -> Options {
        Options {
            target,
            way: Way::Http,
            stock,
            mix: Mix::only(op),
            pace: Pace::Closed,
            connections: 128,
            threads: 1,
            warm_up: Duration::from_secs(2),
            duration: Duration::from_secs(10),
            patience: crate::limits::ANSWER_TIMEOUT,
            retries: 0,
            too_late: None,
            habits: Habits::default(),
            seed: 1,
            run,
            pids: Vec::new(),
            tick: crate::limits::TICK,
            story: Mutex::new(Story::default()),
        }
    }

    /// The common story; held for a moment only.
    pub fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_too_late(&self, intended: Instant) -> bool {
        self.too_late.is_some_and(|late| intended.elapsed() > late)
    }
}

/// What came of it.
pub struct Done {
    /// The count.
    pub shared: Arc<Shared>,
    /// How long was counted.
    pub counted: Duration,
    /// Processor time of the watched servers in that time.
    pub server_cpu: Option<Duration>,
    /// Processor time of this process in that time.
    pub driver_cpu: Duration,
    /// It was told to stop before its time.
    pub interrupted: bool,
}

impl Done {
    /// Good answers of one kind, counted.
    pub fn good(&self, op: Op) -> u64 {
        let tally = self.shared.tally();
        tally.rows().find(|(other, _)| *other == op).map_or(0, |(_, row)| row.fates[0])
    }

    /// Good answers of one kind a second.
    #[allow(clippy::cast_precision_loss)]
    pub fn rate(&self, op: Op) -> f64 {
        self.good(op) as f64 / self.counted.as_secs_f64().max(1e-9)
    }

    /// A latency of one kind, microseconds.
    pub fn latency_us(&self, op: Op, quantile: f64) -> u64 {
        let tally = self.shared.tally();
        tally
            .rows()
            .find(|(other, _)| *other == op)
            .map_or(0, |(_, row)| row.latency.value_at_quantile(quantile))
    }

    /// Processor time of the servers per good answer of one kind, microseconds.
    #[allow(clippy::cast_precision_loss)]
    pub fn server_cpu_us(&self, op: Op) -> Option<f64> {
        let spent = self.server_cpu?;
        Some(spent.as_secs_f64() * 1e6 / self.good(op).max(1) as f64)
    }
}

/// Runs a load until its time is over, nothing is left to ask for, or `stop` says so.
///
/// # Errors
/// When connections cannot be opened or a process cannot be read.
pub async fn run(
    options: Arc<Options>,
    progress: Progress,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<Done> {
    let (mut ready, mut starts, mut lanes) = (Vec::new(), Vec::new(), Vec::new());
    for lane in 0..options.threads {
        let (ready_tx, ready_rx) = oneshot::channel();
        let (start_tx, start_rx) = oneshot::channel();
        let options = Arc::clone(&options);
        lanes.push(if matches!(options.way, Way::Http) {
            spawn(move || lane::run(options, lane, ready_tx, start_rx))?
        } else {
            spawn(move || batch::run(options, lane, ready_tx, start_rx))?
        });
        ready.push(ready_rx);
        starts.push(start_tx);
    }
    for lane in ready {
        if lane.await.is_err() {
            break;
        }
    }
    let started = Instant::now();
    let counted_from = started + options.warm_up;
    let span = Span { started, counted_from, until: counted_from + options.duration };
    let shared = Arc::new(Shared::new(span, matches!(options.pace, Pace::Open { .. }))?);
    for start in starts {
        let _ = start.send(Arc::clone(&shared));
    }
    let watching =
        progress::watch(Arc::clone(&shared), options.pids.clone(), progress, options.tick);
    let watching = tokio::spawn(watching);
    let ending = async {
        for lane in lanes {
            lane.await.context("a lane of the driver ended early")??;
        }
        anyhow::Ok(())
    };
    tokio::pin!(ending);
    let mut interrupted = false;
    loop {
        tokio::select! {
            ended = &mut ending => break ended?,
            // A sender that is gone never says stop.
            Ok(_) = stop.wait_for(|stop| *stop), if !interrupted => {
                interrupted = true;
                shared.stop();
            }
        }
    }
    shared.stop();
    let cpu = watching.await.context("the progress ended early")??;
    Ok(finish(shared, interrupted, cpu))
}

/// What was counted ends with the last answer when the load ended before its time.
fn finish(shared: Arc<Shared>, interrupted: bool, cpu: progress::Cpu) -> Done {
    let span = shared.span;
    let ended = Instant::now().min(span.until);
    let early = ended < span.until && !interrupted;
    let mut tally = shared.tally();
    let last = tally.last_counted.filter(|_| early).unwrap_or(ended).min(span.until);
    Tally::close(&mut tally, last);
    drop(tally);
    let counted = last.saturating_duration_since(span.counted_from);
    Done { counted, server_cpu: cpu.server, driver_cpu: cpu.driver, interrupted, shared }
}

/// A thread with a runtime of its own: connections never wander between threads.
fn spawn<F, T>(work: F) -> anyhow::Result<oneshot::Receiver<anyhow::Result<()>>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = anyhow::Result<()>>,
{
    let (done, wait) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("lane".to_owned()).spawn(move || {
        let local = tokio::task::LocalSet::new();
        let _ = done.send(runtime.block_on(local.run_until(work())));
    })?;
    Ok(wait)
}

/// Processor time so far of servers and of this process.
pub(super) fn cpu_now(pids: &[u32]) -> (Option<Duration>, Duration) {
    let server = if pids.is_empty() { None } else { Some(machine::cpu_time_known(pids)) };
    (server, machine::cpu_time(std::process::id()).unwrap_or_default())
}

#[cfg(test)]
mod tests;
