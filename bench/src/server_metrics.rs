//! Owns where the servers' time went: the histograms of their /metrics before and after a run.
//!
//! Must never fail a run: without metrics there is just no such section.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    api::{Call, Client},
    http::Target,
};

/// One histogram of the servers, over the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Its name, with what tells it apart.
    pub name: String,
    /// How often.
    pub count: u64,
    /// Seconds altogether.
    pub total_seconds: f64,
    /// Mean, microseconds.
    pub mean_us: f64,
}

/// Sums and counts by series.
pub type Readings = BTreeMap<String, f64>;

/// Reads the sums and counts of all histograms in seconds; `None` when there is no answer.
pub async fn read(target: Option<&Target>) -> Option<Readings> {
    let mut client = Client::new(target?.clone());
    let reply = client.settle(&Call::get("/metrics"), Duration::from_secs(2)).await?;
    (reply.status == 200).then(|| parse(&String::from_utf8_lossy(&reply.raw)))
}

fn parse(text: &str) -> Readings {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let values = lines.filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let name = series.split('{').next()?;
        let wanted = name.ends_with("_seconds_sum") || name.ends_with("_seconds_count");
        Some((series.to_owned(), value.parse().ok()?)).filter(|_| wanted)
    });
    values.collect()
}

/// What happened between two readings, longest first.
pub fn stages(before: &Readings, after: &Readings) -> Vec<Stage> {
    let mut stages: Vec<Stage> = after
        .iter()
        .filter(|(series, _)| series.split('{').next().is_some_and(|n| n.ends_with("_sum")))
        .filter_map(|(series, sum)| {
            let counted = series.replacen("_seconds_sum", "_seconds_count", 1);
            let since = |name: &str, now: f64| now - before.get(name).copied().unwrap_or(0.0);
            let total_seconds = since(series, *sum);
            let count = since(&counted, *after.get(&counted)?);
            let name = series.replacen("_seconds_sum", "", 1).replace('"', "");
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let stage = Stage {
                name: name.trim_start_matches("onsale_").to_owned(),
                count: count.max(0.0) as u64,
                total_seconds,
                mean_us: total_seconds * 1e6 / count.max(1.0),
            };
            (count >= 1.0).then_some(stage)
        })
        .collect();
    stages.sort_by(|a, b| b.total_seconds.total_cmp(&a.total_seconds));
    stages.truncate(24);
    stages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_between_the_readings_counts() {
        let before = parse(
            "# HELP x\nonsale_a_seconds_sum{shard=\"1\"} 1.5\n\
             onsale_a_seconds_count{shard=\"1\"} 10\n",
        );
        let after = parse(
            "onsale_a_seconds_sum{shard=\"1\"} 3.5\nonsale_a_seconds_count{shard=\"1\"} 1010\n\
             onsale_b_seconds_sum 9\nonsale_b_seconds_count 3\nonsale_c_total 7\n",
        );
        let stages = stages(&before, &after);
        let seen: Vec<(&str, u64)> =
            stages.iter().map(|stage| (stage.name.as_str(), stage.count)).collect();
        assert_eq!(seen, [("b", 3), ("a{shard=1}", 1_000)]);
        assert!((stages[1].mean_us - 2_000.0).abs() < 1e-6);
    }
}
