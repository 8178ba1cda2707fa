//! Owns when requests are meant to be sent: the arrivals of an open loop, planned before anything
//! is known of the answers.
//!
//! Pure. Must never move an arrival because the system under test is slow: that is what the
//! latencies are for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::random::Dice;

/// How arrivals lie on the time line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Like people who know nothing of each other: exponential gaps.
    #[default]
    Poisson,
    /// One after the other at the same distance.
    Even,
}

/// The arrivals of one lane of the driver, in order.
#[derive(Clone, Debug)]
pub struct Plan {
    arrivals: Arrivals,
    gap_seconds: f64,
    phase: f64,
    until_seconds: f64,
    turn: u64,
    at_seconds: f64,
    dice: Dice,
}

impl Plan {
    /// The part of lane `lane` of `lanes` in `rate` arrivals a second for so long.
    pub fn new(
        rate: f64,
        arrivals: Arrivals,
        seed: u64,
        (lane, lanes): (u32, u32),
        length: Duration,
    ) -> Plan {
        let lanes = f64::from(lanes.max(1));
        Plan {
            arrivals,
            gap_seconds: lanes / rate.max(f64::MIN_POSITIVE),
            phase: f64::from(lane) / lanes,
            until_seconds: length.as_secs_f64(),
            turn: 0,
            at_seconds: 0.0,
            dice: Dice::new(seed, u64::from(lane)),
        }
    }

    fn gap(&mut self) -> f64 {
        // 53 bits, never 0: the logarithm stays finite.
        #[allow(clippy::cast_precision_loss)]
        let fraction = ((self.dice.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        -fraction.ln() * self.gap_seconds
    }
}

impl Iterator for Plan {
    type Item = Duration;

    /// The next arrival after the start.
    fn next(&mut self) -> Option<Duration> {
        self.at_seconds = match self.arrivals {
            // From the number, not by adding up: no drift over hours.
            #[allow(clippy::cast_precision_loss)]
            Arrivals::Even => (self.turn as f64 + self.phase) * self.gap_seconds,
            Arrivals::Poisson => self.at_seconds + self.gap(),
        };
        self.turn += 1;
        (self.at_seconds < self.until_seconds).then(|| Duration::from_secs_f64(self.at_seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(arrivals: Arrivals, rate: f64, lanes: u32, seconds: u64) -> Vec<Duration> {
        let length = Duration::from_secs(seconds);
        let plans = (0..lanes).map(|lane| Plan::new(rate, arrivals, 7, (lane, lanes), length));
        let mut all: Vec<Duration> = plans.flatten().collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn even_arrivals_have_the_same_distance_whatever_the_number_of_lanes() {
        for lanes in [1, 3, 8] {
            let all = all(Arrivals::Even, 1_000.0, lanes, 10);
            assert_eq!(all.len(), 10_000, "{lanes}");
            for pair in all.windows(2) {
                let gap = (pair[1] - pair[0]).as_nanos();
                assert!((999_000..=1_001_000).contains(&gap), "{lanes}: {gap} ns");
            }
        }
    }

    #[test]
    fn even_arrivals_do_not_drift_in_an_hour() {
        let last = Plan::new(3.0, Arrivals::Even, 7, (0, 1), Duration::from_secs(3_600)).last();
        let expected = Duration::from_secs_f64(3_600.0 - 1.0 / 3.0);
        let last = last.expect("an arrival");
        assert!(last.abs_diff(expected) < Duration::from_micros(1), "{last:?}");
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_strangers() {
        let all = all(Arrivals::Poisson, 2_000.0, 2, 50);
        let count = all.len();
        assert!((98_500..101_500).contains(&count), "{count} of 100,000");
        let gaps: Vec<f64> = all.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        #[allow(clippy::cast_precision_loss)]
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        #[allow(clippy::cast_precision_loss)]
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Exponential gaps vary as much as they are long.
        let spread = variance.sqrt() / mean;
        assert!((0.97..1.03).contains(&spread), "{spread}");
    }

    #[test]
    fn the_same_seed_plans_the_same_arrivals() {
        let plan = |seed| {
            let length = Duration::from_secs(1);
            Plan::new(500.0, Arrivals::Poisson, seed, (0, 1), length).collect::<Vec<_>>()
        };
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
    }
}
