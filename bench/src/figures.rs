//! Owns what is compared between two sides: a rate, latencies, processor time per operation; and
//! the ratio of rounds with its median, least and greatest.

use serde::{Deserialize, Serialize};

use crate::load::{
    Done,
    op::{Fate, Op},
};

/// One side's load.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Good answers a second.
    pub rate: f64,
    /// Median latency, microseconds.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// Processor time of the servers per good answer, microseconds.
    pub cpu_us: f64,
    /// Processor time of the driver per good answer, microseconds.
    pub driver_cpu_us: f64,
    /// Good answers, warm-up included.
    pub granted: u64,
    /// Requests whose outcome nobody knows.
    pub unknown: u64,
    /// Other answers.
    pub refused: u64,
    /// The seats were used up before the time was.
    pub ran_out: bool,
}

impl Figures {
    /// Of one kind of request in a load.
    #[allow(clippy::cast_precision_loss)]
    pub fn of(done: &Done, op: Op, granted: u64) -> Figures {
        let tally = done.shared.tally();
        let count = |fates: &[Fate]| {
            let row = tally.rows().find(|(other, _)| *other == op);
            row.map_or(0, |(_, row)| fates.iter().map(|fate| row.fates[*fate as usize]).sum())
        };
        let refused = count(&[Fate::Refused, Fate::Limited, Fate::Wrong]);
        let unknown = count(&[Fate::Unknown, Fate::Lost]);
        drop(tally);
        let per_op = done.driver_cpu.as_secs_f64() * 1e6 / done.good(op).max(1) as f64;
        Figures {
            rate: done.rate(op),
            p50_us: done.latency_us(op, 0.5),
            p99_us: done.latency_us(op, 0.99),
            cpu_us: done.server_cpu_us(op).unwrap_or(f64::NAN),
            driver_cpu_us: per_op,
            granted,
            unknown,
            refused,
            ran_out: done.shared.ran_out(),
        }
    }
}

/// Median, least and greatest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Median.
    pub median: f64,
    /// Least.
    pub min: f64,
    /// Greatest.
    pub max: f64,
}

/// Of the values that are numbers; `None` when none is.
pub fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let (min, max) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    };
    Some(Spread { median, min, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_between_least_and_greatest() {
        assert_eq!(spread([]), None);
        let of = |values: &[f64]| spread(values.to_vec()).map(|s| (s.median, s.min, s.max));
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some((2.0, 1.0, 3.0)));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Some((2.5, 1.0, 4.0)));
        assert_eq!(of(&[f64::NAN, 2.0]), Some((2.0, 2.0, 2.0)), "what is not known does not count");
    }
}
