//! Owns `reserve`: a closed loop of `POST /v1/reserve` for fresh seats over keep-alive
//! connections, as fast as the answers come.
//!
//! Must never ask for a seat twice, and never count an answer that is not a granted hold.

use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::{
    http::{Connection, Target},
    limits,
    machine::{self, micros},
    random,
    seats::{EventSeats, Share},
};

const HIGHEST_US: u64 = 60_000_000;

/// What to do.
#[derive(Clone)]
pub struct Options {
    /// Where.
    pub target: Target,
    /// Of which events.
    pub events: Arc<Vec<EventSeats>>,
    /// All events at once instead of one after the other.
    pub spread: bool,
    /// Connections, one request in flight on each.
    pub connections: u64,
    /// How long is not counted at first.
    pub warm_up: Duration,
    /// How long is counted.
    pub duration: Duration,
    /// Whose processor time to read.
    pub pids: Vec<u32>,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Connections.
    pub connections: u64,
    /// How long was counted.
    pub seconds: f64,
    /// Granted holds a second in that time.
    pub rate: f64,
    /// Median latency, microseconds.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// 99.9th percentile.
    pub p999_us: u64,
    /// Processor time of the named processes per granted hold, microseconds.
    pub server_cpu_us_per_op: Option<f64>,
    /// Holds granted in all, warm-up included.
    pub granted: u64,
    /// Requests sent without an answer: their seats may be held.
    pub unknown: u64,
    /// Other answers, by status.
    pub refused: BTreeMap<u16, u64>,
    /// The seats were used up before the time was.
    pub ran_out: bool,
}

struct Tally {
    latency: Histogram<u64>,
    granted: u64,
    unknown: u64,
    refused: BTreeMap<u16, u64>,
    ran_out: bool,
    last: Option<Instant>,
}

impl Tally {
    fn new() -> anyhow::Result<Tally> {
        Ok(Tally {
            latency: Histogram::new_with_bounds(1, HIGHEST_US, 3)?,
            granted: 0,
            unknown: 0,
            refused: BTreeMap::new(),
            ran_out: false,
            last: None,
        })
    }

    fn add(&mut self, other: Tally) -> anyhow::Result<()> {
        self.latency.add(&other.latency)?;
        self.granted += other.granted;
        self.unknown += other.unknown;
        for (status, count) in other.refused {
            *self.refused.entry(status).or_insert(0) += count;
        }
        self.ran_out |= other.ran_out;
        self.last = self.last.max(other.last);
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Span {
    counted_from: Instant,
    until: Instant,
}

/// Runs the loop.
///
/// # Errors
/// When no connection can be made or a process cannot be read.
pub async fn run(options: Options) -> anyhow::Result<Report> {
    let run = random::run_id()?;
    let mut open = Vec::new();
    for _ in 0..options.connections {
        let connection = Connection::open(&options.target).await;
        open.push(connection.with_context(|| format!("http://{}", options.target.authority))?);
    }
    let started = Instant::now();
    let counted_from = started + options.warm_up;
    let span = Span { counted_from, until: counted_from + options.duration };
    let mut loops = JoinSet::new();
    for (number, connection) in (0_u64..).zip(open) {
        let share = Share::new(number, options.connections, options.spread);
        let worker = Worker {
            target: options.target.clone(),
            events: Arc::clone(&options.events),
            share,
            key: format!("{run}-{number:x}-"),
            connection: Some(connection),
            request: Vec::with_capacity(512),
            sent: 0,
        };
        loops.spawn(worker.run(span));
    }
    let cpu = tokio::spawn(watch_cpu(options.pids.clone(), span));
    let mut all = Tally::new()?;
    while let Some(tally) = loops.join_next().await {
        all.add(tally.context("a connection's loop ended early")??)?;
    }
    let ended = all.last.unwrap_or(span.until).min(span.until);
    let spent = if all.ran_out {
        cpu.abort();
        None
    } else {
        cpu.await.context("the processor watch ended early")??
    };
    Ok(report(&options, &all, ended.saturating_duration_since(counted_from), spent))
}

#[allow(clippy::cast_precision_loss)]
fn report(options: &Options, all: &Tally, counted: Duration, cpu: Option<Duration>) -> Report {
    let operations = all.latency.len();
    let seconds = counted.as_secs_f64().max(1e-9);
    let per_op = |cpu: Duration| cpu.as_secs_f64() * 1e6 / operations.max(1) as f64;
    Report {
        connections: options.connections,
        seconds,
        rate: operations as f64 / seconds,
        p50_us: all.latency.value_at_quantile(0.5),
        p99_us: all.latency.value_at_quantile(0.99),
        p999_us: all.latency.value_at_quantile(0.999),
        server_cpu_us_per_op: cpu.map(per_op),
        granted: all.granted,
        unknown: all.unknown,
        refused: all.refused.clone(),
        ran_out: all.ran_out,
    }
}

/// Processor time between the two ends of the counted span.
async fn watch_cpu(pids: Vec<u32>, span: Span) -> anyhow::Result<Option<Duration>> {
    if pids.is_empty() {
        return Ok(None);
    }
    tokio::time::sleep_until(span.counted_from.into()).await;
    let before = machine::cpu_time_of(&pids)?;
    tokio::time::sleep_until(span.until.into()).await;
    let after = machine::cpu_time_of(&pids)?;
    Ok(Some(after.saturating_sub(before)))
}

struct Worker {
    target: Target,
    events: Arc<Vec<EventSeats>>,
    share: Share,
    key: String,
    connection: Option<Connection>,
    request: Vec<u8>,
    sent: u64,
}

impl Worker {
    async fn run(mut self, span: Span) -> anyhow::Result<Tally> {
        let mut tally = Tally::new()?;
        while Instant::now() < span.until {
            if !self.prepare() {
                tally.ran_out = true;
                break;
            }
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => Connection::open(&self.target).await?,
            };
            let sent = Instant::now();
            let status = connection
                .exchange(&self.request, limits::ANSWER_TIMEOUT)
                .await
                .map(|answer| answer.status);
            let answered = Instant::now();
            match status {
                Ok(200) => {
                    tally.granted += 1;
                    // By the time of the answer, so that a stall at the start counts.
                    if answered >= span.counted_from && answered < span.until {
                        tally.latency.saturating_record(micros(answered - sent));
                        tally.last = Some(answered);
                    }
                }
                Ok(status) => *tally.refused.entry(status).or_insert(0) += 1,
                Err(_) => tally.unknown += 1,
            }
            if !connection.closed {
                self.connection = Some(connection);
            }
        }
        Ok(tally)
    }

    /// The next request into the buffer; false when there are no seats left.
    fn prepare(&mut self) -> bool {
        let Some((event, seat)) = self.share.next(&self.events) else {
            return false;
        };
        let event = &self.events[event];
        let Some(seat_id) = event.id(seat) else {
            return false;
        };
        let body_bytes = br#"{"event_id":"","seat_ids":[""]}"#.len();
        let length = body_bytes + event.event_id.len() + seat_id.len();
        self.sent += 1;
        self.request.clear();
        // Writing to a Vec cannot fail.
        let _ = write!(
            self.request,
            "POST /v1/reserve HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Idempotency-Key: {}{:x}\r\nContent-Length: {length}\r\n\r\n\
             {{\"event_id\":\"{}\",\"seat_ids\":[\"{seat_id}\"]}}",
            self.target.authority, self.key, self.sent, event.event_id
        );
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        event,
        fake_shop::{self, Fault},
    };

    #[tokio::test]
    async fn every_seat_is_asked_for_once_and_none_is_refused() {
        let target = fake_shop::start(Fault::None).await;
        let mut client = crate::api::Client::new(target.clone());
        let (seats, map) = event::seats(&mut client, "evt_fake").await.expect("a map");
        let options = Options {
            target,
            events: Arc::new(vec![seats]),
            spread: false,
            connections: 7,
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(30),
            pids: vec![std::process::id()],
        };
        let report = run(options).await.expect("ran");
        assert_eq!((report.granted, report.unknown, report.ran_out), (120, 0, true));
        assert!(report.refused.is_empty() && report.rate > 0.0 && report.p50_us > 0, "{report:?}");
        let shown = event::availability(&mut client, &map).await.expect("availability");
        assert_eq!(shown["S"].held, 120);
    }

    #[test]
    fn a_request_is_what_its_length_says() {
        let map = json!({"sections": [{"key": "1", "rows": [{"label": "A", "seats": 1}]}]});
        let mut worker = Worker {
            target: Target { authority: "localhost:1".to_owned() },
            events: Arc::new(vec![EventSeats::of_map("evt_a", &map)]),
            share: Share::new(0, 1, false),
            key: "k-".to_owned(),
            connection: None,
            request: Vec::new(),
            sent: 0,
        };
        assert!(worker.prepare());
        let text = String::from_utf8(worker.request.clone()).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a body");
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        let body: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body, json!({"event_id": "evt_a", "seat_ids": ["1-A-1"]}));
        assert!(!worker.prepare(), "one seat, one request");
    }
}
