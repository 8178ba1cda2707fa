//! Owns P9 to P12: runs the state machine's example and reads its figures.
//!
//! Must never guess: a line that is not there is a figure that was not measured.

use std::{path::Path, process::Stdio};

use anyhow::{Context as _, bail};
use tokio::process::Command;

use super::measure::Found;
use crate::exit::{Exit, ended};

/// Runs the example's `runs` and reads what they say.
///
/// # Errors
/// Not found when it was not built; else when it fails or says something else.
pub async fn measure(program: &Path, runs: &str) -> anyhow::Result<Vec<Found>> {
    if !program.is_file() {
        let why = format!(
            "{} is not there; build it: cargo build --release -p onsale-state --example \
             apply_bench",
            program.display()
        );
        return Err(ended(Exit::NotFound, why));
    }
    let mut command = Command::new(program);
    command.args(runs.split(' ')).stdin(Stdio::null()).kill_on_drop(true);
    let out = command.output().await.with_context(|| format!("{}", program.display()))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        let said: Vec<&str> = said.split_whitespace().take(40).collect();
        bail!("{} {runs}: {}", program.display(), said.join(" "));
    }
    read(&String::from_utf8_lossy(&out.stdout))
}

/// The figures in what it says.
fn read(said: &str) -> anyhow::Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    for line in said.lines() {
        let value = if let Some(rate) = between(line, ": ", " M commands/s in all") {
            // Of several runs the slowest.
            Some(("P9", rate, true))
        } else if line.starts_with("4 together of 60000 seats, 95 % gone") {
            let granted = line.split_once("granted ").map_or("", |(_, rest)| rest);
            between(granted, "p99 ", " ns").map(|ns| ("P10", ns / 1e3, false))
        } else if let Some(bytes) = between(line, "holds of 4: ", " B a seat") {
            Some(("P11", bytes, false))
        } else if line.starts_with("a reserve: ") {
            between(line, "1000000: ", " times").map(|ratio| ("P12", ratio, false))
        } else {
            None
        };
        let Some((id, value, slowest)) = value else { continue };
        match found.iter_mut().find(|known| known.id == id) {
            None => found.push(Found::one(id, value)),
            Some(known) => {
                let worse =
                    if slowest { value < known.spread.median } else { value > known.spread.median };
                if worse {
                    known.spread.median = value;
                }
                known.spread.min = known.spread.min.min(value);
                known.spread.max = known.spread.max.max(value);
            }
        }
        if let Some(known) = found.iter_mut().find(|known| known.id == id) {
            known.notes.push(line.to_owned());
        }
    }
    if found.is_empty() {
        bail!("apply_bench says nothing that is understood: {said}");
    }
    Ok(found)
}

/// The number between two texts.
fn between(line: &str, before: &str, behind: &str) -> Option<f64> {
    let (_, rest) = line.split_once(before)?;
    let (number, _) = rest.split_once(behind)?;
    number.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the example printed it.
    const SAID: &str = "\
steady: 1.91 M commands/s in all (523 ns each); batches: best 2.50, median 2.11, 99 of 100 above 1
rush: 1.40 M commands/s in all (714 ns each); batches: best 2.9, median 2.2, 99 of 100 above 0.4
4 together of 60000 seats, 50 % gone in pieces of 1, an entry each, chain hash included: granted \
5000, p50 900 ns, p99 9000 ns, max 30000 ns; refused none
4 together of 60000 seats, 95 % gone in pieces of 1, an entry each, chain hash included: granted \
4000, p50 1300 ns, p99 2700 ns, max 30000 ns; refused 1000, p50 9 ns, p99 99000 ns, max 99001 ns
4 together of 60000 seats, 95 % gone in pieces of 4, an entry each, chain hash included: granted \
5000, p50 1300 ns, p99 3700 ns, max 30000 ns; refused none
1000000 seats, all held in 250000 holds of 4: 83.1 B a seat, 23.0 of them before the first hold
a reserve: 400 ns of 1,000 seats, 484 of 1000000: 1.21 times (median batches)
";

    #[test]
    fn the_worst_of_several_runs_is_the_figure() {
        let found = read(SAID).expect("understood");
        let figures: Vec<(&str, f64)> =
            found.iter().map(|found| (found.id, found.spread.median)).collect();
        assert_eq!(figures, [("P9", 1.40), ("P10", 3.7), ("P11", 83.1), ("P12", 1.21)]);
        assert_eq!((found[0].spread.min, found[0].spread.max), (1.40, 1.91));
    }

    #[test]
    fn what_is_not_understood_is_no_figure() {
        assert!(read("steady: fast\n").is_err());
    }

    #[tokio::test]
    async fn an_example_that_was_not_built_says_how_to_build_it() {
        let error = measure(Path::new("/nowhere/apply_bench"), "best").await.expect_err("gone");
        assert_eq!(crate::exit::of(&error), Exit::NotFound);
        assert!(error.to_string().contains("--example apply_bench"), "{error}");
    }
}
