//! Owns `start`: the time from exec to the `ready` line, on an empty folder each time.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use serde::Serialize;

use crate::server;

/// What to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Our binary.
    pub onsale: PathBuf,
    /// How often.
    pub runs: u32,
    /// More options of `onsale demo`.
    pub flags: Vec<String>,
    /// Where the folders are made.
    pub work_dir: PathBuf,
}

/// Milliseconds from exec to ready.
#[derive(Clone, Debug, Serialize)]
pub struct Starts {
    /// Median.
    pub median_ms: f64,
    /// Least.
    pub min_ms: f64,
    /// Greatest.
    pub max_ms: f64,
    /// Each run.
    pub runs_ms: Vec<f64>,
}

/// Starts and kills, one after the other.
///
/// # Errors
/// When it does not become ready.
pub async fn run(options: &Options) -> anyhow::Result<Starts> {
    if !options.onsale.is_file() {
        let name = options.onsale.display();
        bail!("{name} is not there; build it: cargo build --release -p onsale");
    }
    std::fs::create_dir_all(&options.work_dir)
        .with_context(|| format!("{}", options.work_dir.display()))?;
    let flags: Vec<&str> = options.flags.iter().map(String::as_str).collect();
    let mut times = Vec::new();
    for _ in 0..options.runs {
        let folder = tempfile::Builder::new().prefix("start-").tempdir_in(&options.work_dir)?;
        let data = folder.path().join("data");
        let started = match server::onsale(&options.onsale, &data, &flags).await {
            Ok(started) => started,
            Err(error) => return Err(error.context(format!("kept {}", folder.keep().display()))),
        };
        times.push(started.start);
        started.server.kill().await?;
    }
    Ok(summary(&times))
}

fn summary(times: &[Duration]) -> Starts {
    let runs_ms: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
    let mut sorted = runs_ms.clone();
    sorted.sort_by(f64::total_cmp);
    let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
    Starts {
        median_ms: f64::midpoint(at(sorted.len().saturating_sub(1) / 2), at(sorted.len() / 2)),
        min_ms: at(0),
        max_ms: at(sorted.len().saturating_sub(1)),
        runs_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let ms = |times: &[u64]| {
            let times: Vec<Duration> = times.iter().map(|ms| Duration::from_millis(*ms)).collect();
            let summary = summary(&times);
            [summary.median_ms, summary.min_ms, summary.max_ms].map(|ms| format!("{ms:.0}"))
        };
        assert_eq!(ms(&[30, 10, 20]), ["20", "10", "30"]);
        assert_eq!(ms(&[10, 40, 20, 30]), ["25", "10", "40"]);
    }
}
