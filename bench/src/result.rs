//! Owns the result of a run as a document: what `--json` prints, `report` draws and thresholds are
//! held against. Its fields are described in bench/README.md, and a test holds both together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    audit::Violation,
    load::{Done, op::Fate, tally::Point},
    machine::FlushCost,
    server_metrics::Stage,
};

/// Name and version of the form.
pub const SCHEMA: &str = "onsale-bench/run/1";

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunResult {
    /// [`SCHEMA`].
    pub schema: String,
    /// Its name.
    pub scenario: String,
    /// Its line for people.
    pub about: String,
    /// The command that made it.
    pub command: String,
    /// When, RFC 3339.
    pub started_at: String,
    /// Of the working tree it was started in; "unknown" elsewhere.
    pub commit: String,
    /// Where.
    pub machine: Machine,
    /// How.
    pub load: Load,
    /// By kind of request.
    pub operations: BTreeMap<String, Operation>,
    /// Second by second.
    pub series: Vec<Point>,
    /// The longest time without an acknowledgement.
    pub silence: Silence,
    /// What was done to the system meanwhile, when.
    pub disturbances: Vec<Mark>,
    /// Processor time of the watched servers in the counted time, seconds.
    pub server_cpu_seconds: Option<f64>,
    /// Processor time of the driver in the counted time, seconds.
    pub driver_cpu_seconds: f64,
    /// Where the servers' time went, from their /metrics.
    pub server_stages: Vec<Stage>,
    /// From the start of the load to the last confirmed order, where there was one.
    pub last_confirmed_seconds: Option<f64>,
    /// The audit from outside.
    pub audit: AuditResult,
    /// What to know before believing the figures.
    pub warnings: Vec<String>,
    /// It was stopped before its time.
    pub interrupted: bool,
}

/// The machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Processor model.
    pub cpu: String,
    /// Processors.
    pub cpus: usize,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Kernel.
    pub kernel: String,
    /// A small durable write, where it was measured.
    pub flush: Option<FlushCost>,
}

/// How the load was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Load {
    /// Arrivals a second of an open loop; null for a closed one.
    pub rate_per_second: Option<f64>,
    /// Keep-alive connections.
    pub connections: u64,
    /// Threads of the driver.
    pub threads: u32,
    /// Counted time.
    pub seconds: f64,
    /// Time before it.
    pub warm_up_seconds: f64,
    /// Repeats the choices.
    pub seed: u64,
}

/// One kind of request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Operation {
    /// Good answers a second.
    pub rate: f64,
    /// Good answers.
    pub good: u64,
    /// Refused for a reason of business.
    pub refused: u64,
    /// Turned away: rate limit, overload.
    pub limited: u64,
    /// Answered with "outcome unknown".
    pub unknown: u64,
    /// Any other answer.
    pub wrong: u64,
    /// No answer.
    pub lost: u64,
    /// Never sent: every connection was busy.
    pub unsent: u64,
    /// Answers that were not good, by code.
    pub codes: BTreeMap<String, u64>,
    /// From the intended time to the answer.
    pub latency_us: Latency,
    /// From sending to the answer.
    pub service_us: Latency,
}

impl Operation {
    /// Share of requests that were not answered as they should.
    #[allow(clippy::cast_precision_loss)]
    pub fn failed_share(&self) -> f64 {
        let failed = self.limited + self.unknown + self.wrong + self.lost + self.unsent;
        failed as f64 / (self.good + self.refused + failed).max(1) as f64
    }
}

/// Times in microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// Greatest.
    pub max: u64,
    /// Mean.
    pub mean: f64,
    /// Pairs of quantile and time, for the curve.
    pub curve: Vec<(f64, u64)>,
}

/// A time without acknowledgements.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Silence {
    /// When it began, seconds after the start.
    pub from_seconds: f64,
    /// How long it was.
    pub seconds: f64,
}

/// Something that was done to the system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// When, seconds after the start.
    pub at_seconds: f64,
    /// What.
    pub what: String,
}

/// The audit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AuditResult {
    /// "clean", "broken", "undecided" or "skipped".
    pub verdict: String,
    /// Holds acknowledged; the seats of all were checked.
    pub holds: u64,
    /// Of them read back by id.
    pub holds_read_back: u64,
    /// Orders confirmed.
    pub confirmed_orders: u64,
    /// Tickets seen.
    pub tickets: u64,
    /// Orders that were not decided in time.
    pub undecided_orders: u64,
    /// Requests whose outcome nobody knows.
    pub unknown: u64,
    /// Payment intents of the gateway's books compared with orders; null if not reachable.
    pub payments_compared: Option<u64>,
    /// Broken promises, the first ones.
    pub violations: Vec<Violation>,
    /// All of them.
    pub violations_count: u64,
    /// Answers that contradict the contract, the first ones.
    pub contradictions: Vec<String>,
    /// All of them.
    pub contradictions_count: u64,
}

impl AuditResult {
    /// An oversell, a lost acknowledgement, or books that disagree.
    pub fn broken(&self) -> bool {
        self.violations_count > 0
    }

    /// Everything went as the contract says and came to its end.
    pub fn clean(&self) -> bool {
        !self.broken() && self.contradictions_count == 0 && self.undecided_orders == 0
    }

    /// The word for it.
    pub fn judge(&mut self) {
        let verdict = match (self.broken(), self.clean()) {
            (true, _) => "broken",
            (false, true) => "clean",
            (false, false) => "undecided",
        };
        verdict.clone_into(&mut self.verdict);
    }
}

/// The quantiles of a curve: dense where it matters.
const QUANTILES: &[f64] = &[
    0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98,
    0.99, 0.993, 0.995, 0.997, 0.998, 0.999, 0.9993, 0.9997, 0.9999, 0.99999, 1.0,
];

impl Latency {
    /// Of a histogram.
    pub fn of(times: &hdrhistogram::Histogram<u64>) -> Latency {
        let at = |quantile| times.value_at_quantile(quantile);
        Latency {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: times.max(),
            mean: times.mean(),
            curve: QUANTILES.iter().map(|quantile| (*quantile, at(*quantile))).collect(),
        }
    }
}

/// What the load counted, by kind of request.
#[allow(clippy::cast_precision_loss)]
pub fn operations(done: &Done) -> BTreeMap<String, Operation> {
    let tally = done.shared.tally();
    let seconds = done.counted.as_secs_f64().max(1e-9);
    let rows = tally.rows().map(|(op, row)| {
        let count = |fate: Fate| row.fates[fate as usize];
        let operation = Operation {
            rate: count(Fate::Good) as f64 / seconds,
            good: count(Fate::Good),
            refused: count(Fate::Refused),
            limited: count(Fate::Limited),
            unknown: count(Fate::Unknown),
            wrong: count(Fate::Wrong),
            lost: count(Fate::Lost),
            unsent: count(Fate::Unsent),
            codes: row.codes.clone(),
            latency_us: Latency::of(&row.latency),
            service_us: Latency::of(&row.service),
        };
        (op.name().to_owned(), operation)
    });
    rows.collect()
}
