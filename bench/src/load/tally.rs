//! Owns the count of a run: histograms by kind of request, the second-by-second series, the
//! longest silence between acknowledgements.
//!
//! Must never grow with the number of requests: histograms have a fixed size, the series one row a
//! second, refusals a bounded list of codes.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use super::op::{Fate, Op};
use crate::{limits, machine::micros};

/// The longest latency that is told apart, in microseconds.
const HIGHEST_US: u64 = 120_000_000;

/// What is counted, in time.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// When the load begins.
    pub started: Instant,
    /// When counting begins.
    pub counted_from: Instant,
    /// When both end.
    pub until: Instant,
}

/// One kind of request.
#[derive(Debug)]
pub struct Row {
    /// From the intended time to the answer.
    pub latency: Histogram<u64>,
    /// From sending to the answer.
    pub service: Histogram<u64>,
    /// By [`Fate`].
    pub fates: [u64; Fate::ALL.len()],
    /// Answers that were not good, by code.
    pub codes: BTreeMap<String, u64>,
}

/// Seconds of a run.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Point {
    /// Since the start of the load.
    pub second: f64,
    /// Good answers in it.
    pub good: u64,
    /// Refusals for reasons of business.
    pub refused: u64,
    /// All else.
    pub failed: u64,
    /// Latency of the good ones, microseconds.
    pub p50_us: u64,
    /// See `p50_us`.
    pub p99_us: u64,
    /// Arrivals whose time had come and that were not sent yet.
    pub queue: u64,
    /// Requests without an answer yet.
    pub in_flight: u64,
    /// Processor time of the watched servers in it, in cores.
    pub server_cores: f64,
    /// Processor time of the driver in it, in cores.
    pub driver_cores: f64,
}

/// The longest time without an acknowledgement.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Silence {
    /// When it began, after the start.
    pub from: Duration,
    /// How long it was.
    pub length: Duration,
}

/// The count.
pub struct Tally {
    span: Span,
    by_intended: bool,
    rows: Vec<Option<Box<Row>>>,
    interval: Histogram<u64>,
    interval_fates: [u64; Fate::ALL.len()],
    /// Requests on the wire.
    pub in_flight: u64,
    /// Arrivals due and not sent.
    pub queue: u64,
    last_good: Instant,
    /// The longest silence so far.
    pub silence: Silence,
    /// The last counted good answer.
    pub last_counted: Option<Instant>,
    /// One row a second.
    pub series: Vec<Point>,
}

/// What is known of one request when it is over.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// When it should have been sent.
    pub intended: Instant,
    /// When it was.
    pub sent: Instant,
    /// When its end was known.
    pub ended: Instant,
    /// How.
    pub fate: Fate,
}

impl Tally {
    /// An empty count. `by_intended`: an open loop, where a request belongs to the time it was
    /// meant for; in a closed one it belongs to that of its answer.
    ///
    /// # Errors
    /// When histograms cannot have that range.
    pub fn new(span: Span, by_intended: bool) -> anyhow::Result<Tally> {
        Ok(Tally {
            span,
            by_intended,
            rows: Op::ALL.iter().map(|_| None).collect(),
            interval: histogram()?,
            interval_fates: [0; Fate::ALL.len()],
            in_flight: 0,
            queue: 0,
            last_good: span.started,
            silence: Silence::default(),
            last_counted: None,
            series: Vec::new(),
        })
    }

    /// Counts one request. `code` names a refusal or fault.
    pub fn record(&mut self, op: Op, ended: Ended, code: &str) {
        let latency = micros(ended.ended.saturating_duration_since(ended.intended));
        self.interval_fates[ended.fate as usize] += 1;
        if ended.fate == Fate::Good {
            self.interval.saturating_record(latency);
            self.heard(ended.ended);
        }
        let at = if self.by_intended { ended.intended } else { ended.ended };
        if at < self.span.counted_from || at >= self.span.until {
            return;
        }
        let Some(row) = self.row(op) else { return };
        row.fates[ended.fate as usize] += 1;
        if ended.fate.has_latency() {
            row.latency.saturating_record(latency);
            let service = ended.ended.saturating_duration_since(ended.sent);
            row.service.saturating_record(micros(service));
        }
        if !matches!(ended.fate, Fate::Good) && !code.is_empty() {
            count(&mut row.codes, code);
        }
        if ended.fate == Fate::Good {
            self.last_counted = self.last_counted.max(Some(ended.ended));
        }
    }

    /// The rows that have any request.
    pub fn rows(&self) -> impl Iterator<Item = (Op, &Row)> {
        Op::ALL.into_iter().filter_map(|op| Some((op, self.rows[op.place()].as_deref()?)))
    }

    /// Ends a second of the series.
    pub fn tick(&mut self, now: Instant, server_cores: f64, driver_cores: f64) -> Point {
        let count = |fate: Fate| self.interval_fates[fate as usize];
        let (good, refused) = (count(Fate::Good), count(Fate::Refused));
        let point = Point {
            second: now.saturating_duration_since(self.span.started).as_secs_f64(),
            good,
            refused,
            failed: self.interval_fates.iter().sum::<u64>() - good - refused,
            p50_us: self.interval.value_at_quantile(0.5),
            p99_us: self.interval.value_at_quantile(0.99),
            queue: self.queue,
            in_flight: self.in_flight,
            server_cores,
            driver_cores,
        };
        self.interval.reset();
        self.interval_fates = [0; Fate::ALL.len()];
        if self.series.len() < limits::POINTS_MAX {
            self.series.push(point.clone());
        }
        point
    }

    /// No acknowledgement will come any more: the silence up to here counts.
    pub fn close(&mut self, now: Instant) {
        self.heard(now.min(self.span.until));
    }

    fn heard(&mut self, at: Instant) {
        let length = at.saturating_duration_since(self.last_good);
        if length > self.silence.length {
            let from = self.last_good.saturating_duration_since(self.span.started);
            self.silence = Silence { from, length };
        }
        self.last_good = self.last_good.max(at);
    }

    fn row(&mut self, op: Op) -> Option<&mut Row> {
        let slot = self.rows.get_mut(op.place())?;
        if slot.is_none() {
            *slot = Some(Box::new(Row {
                latency: histogram().ok()?,
                service: histogram().ok()?,
                fates: [0; Fate::ALL.len()],
                codes: BTreeMap::new(),
            }));
        }
        slot.as_deref_mut()
    }
}

/// An empty one for times in microseconds, of a fixed size.
///
/// # Errors
/// When there is none with that range.
pub fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, HIGHEST_US, 3)?)
}

/// Counts by name without growing for ever.
pub fn count(codes: &mut BTreeMap<String, u64>, code: &str) {
    if let Some(known) = codes.get_mut(code) {
        *known += 1;
    } else if codes.len() < limits::CODES_MAX {
        codes.insert(code.to_owned(), 1);
    } else {
        *codes.entry("other".to_owned()).or_insert(0) += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> Span {
        let started = Instant::now();
        Span {
            started,
            counted_from: started + Duration::from_secs(1),
            until: started + Duration::from_secs(11),
        }
    }

    fn ended(span: Span, intended_ms: u64, sent_ms: u64, ended_ms: u64, fate: Fate) -> Ended {
        let at = |ms| span.started + Duration::from_millis(ms);
        Ended { intended: at(intended_ms), sent: at(sent_ms), ended: at(ended_ms), fate }
    }

    #[test]
    fn latency_counts_from_the_intended_time_and_service_from_sending() {
        let span = span();
        let mut tally = Tally::new(span, true).expect("histograms");
        tally.record(Op::Reserve, ended(span, 2_000, 2_900, 3_000, Fate::Good), "");
        let (_, row) = tally.rows().next().expect("a row");
        assert!((999_000..=1_001_000).contains(&row.latency.max()), "{}", row.latency.max());
        assert!((99_000..=101_000).contains(&row.service.max()), "{}", row.service.max());
    }

    #[test]
    fn warm_up_is_not_counted_and_belongs_to_the_intended_time() {
        let span = span();
        let mut open = Tally::new(span, true).expect("histograms");
        open.record(Op::Reserve, ended(span, 900, 900, 1_500, Fate::Good), "");
        assert_eq!(open.rows().count(), 0, "meant for the warm-up");
        let mut closed = Tally::new(span, false).expect("histograms");
        closed.record(Op::Reserve, ended(span, 900, 900, 1_500, Fate::Good), "");
        assert_eq!(closed.rows().count(), 1, "answered after it");
    }

    #[test]
    fn the_longest_silence_is_found_even_at_the_end() {
        let span = span();
        let mut tally = Tally::new(span, true).expect("histograms");
        for at in [100, 200, 2_900, 3_000] {
            tally.record(Op::Reserve, ended(span, at, at, at, Fate::Good), "");
        }
        tally.record(Op::Reserve, ended(span, 1_000, 1_000, 1_000, Fate::Lost), "");
        assert_eq!(tally.silence.length, Duration::from_millis(2_700), "a lost one is no answer");
        assert_eq!(tally.silence.from, Duration::from_millis(200));
        tally.close(span.until);
        assert_eq!(tally.silence.length, Duration::from_secs(8));
    }

    #[test]
    fn codes_are_bounded() {
        let mut codes = BTreeMap::new();
        for number in 0..10 * limits::CODES_MAX {
            count(&mut codes, &format!("code-{number}"));
        }
        assert_eq!(codes.len(), limits::CODES_MAX + 1);
        assert_eq!(codes.values().sum::<u64>(), 10 * limits::CODES_MAX as u64);
    }

    #[test]
    fn a_second_starts_from_nothing() {
        let span = span();
        let mut tally = Tally::new(span, true).expect("histograms");
        tally.record(Op::Section, ended(span, 10, 10, 20, Fate::Good), "");
        tally.record(Op::Section, ended(span, 10, 10, 20, Fate::Limited), "rate_limited");
        let first = tally.tick(span.started + Duration::from_secs(1), 0.0, 0.0);
        assert_eq!((first.good, first.failed), (1, 1));
        let second = tally.tick(span.started + Duration::from_secs(2), 0.0, 0.0);
        assert_eq!((second.good, second.failed, second.p99_us), (0, 0, 0));
    }
}
