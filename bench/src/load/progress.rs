//! Owns what a run says while it runs: one line that rewrites itself on a terminal, plain lines
//! elsewhere; and the second-by-second series behind it.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{cpu_now, tally::Point, wire::Shared};

/// How a run shows its progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not at all.
    Quiet,
    /// One line on a terminal.
    Live,
    /// A line every few seconds.
    Lines,
}

impl Progress {
    /// What fits stderr.
    pub fn of_stderr() -> Progress {
        if std::io::stderr().is_terminal() { Progress::Live } else { Progress::Lines }
    }
}

/// Processor time in the counted span.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// Of the watched servers.
    pub server: Option<Duration>,
    /// Of this process.
    pub driver: Duration,
}

const LINES_EVERY: usize = 5;

/// Ticks until the load is over, as often as said.
///
/// # Errors
/// Never so far; a task must return something.
pub async fn watch(
    shared: Arc<Shared>,
    pids: Vec<u32>,
    show: Progress,
    tick: Duration,
) -> anyhow::Result<Cpu> {
    let span = shared.span;
    let mut before: Option<(Option<Duration>, Duration)> = None;
    let mut last = (Instant::now(), cpu_now(&pids));
    let mut ticks = 0;
    loop {
        let mut next = last.0 + tick;
        if before.is_none() {
            next = next.min(span.counted_from);
        }
        let over = wait(&shared, next).await;
        let now = Instant::now();
        let cpu = cpu_now(&pids);
        if before.is_none() && now >= span.counted_from {
            before = Some(cpu);
        }
        let seconds = (now - last.0).as_secs_f64();
        if over || seconds >= 0.9 * tick.as_secs_f64() {
            let cores = |now: Duration, then: Duration| {
                now.saturating_sub(then).as_secs_f64() / seconds.max(1e-9)
            };
            let server = cores(cpu.0.unwrap_or_default(), last.1.0.unwrap_or_default());
            let point = shared.tally().tick(now, server, cores(cpu.1, last.1.1));
            ticks += 1;
            say(show, ticks, &point, seconds);
            last = (now, cpu);
        }
        if over {
            if show == Progress::Live {
                eprintln!();
            }
            let (server, driver) = before.unwrap_or(cpu);
            return Ok(Cpu {
                server: cpu.0.zip(server).map(|(now, then)| now.saturating_sub(then)),
                driver: cpu.1.saturating_sub(driver),
            });
        }
    }
}

/// Waits until then, or until the load is over, which is true.
async fn wait(shared: &Shared, until: Instant) -> bool {
    loop {
        if shared.is_over() {
            return true;
        }
        let now = Instant::now();
        if now >= until {
            return false;
        }
        let nap = (until - now).min(shared.span.until.saturating_duration_since(now));
        tokio::time::sleep(nap.min(crate::limits::STOP_POLL)).await;
    }
}

fn say(show: Progress, ticks: usize, point: &Point, seconds: f64) {
    if show == Progress::Quiet || (show == Progress::Lines && !ticks.is_multiple_of(LINES_EVERY)) {
        return;
    }
    let line = line(point, seconds);
    let mut out = std::io::stderr().lock();
    let _ = match show {
        Progress::Live => write!(out, "\r\x1b[K{line}").and_then(|()| out.flush()),
        _ => writeln!(out, "{line}"),
    };
}

#[allow(clippy::cast_precision_loss)]
fn line(point: &Point, seconds: f64) -> String {
    let per_second = |count: u64| count as f64 / seconds.max(1e-9);
    let mut line = format!(
        "{:5.0} s  {:8.0}/s  p50 {:.2} ms  p99 {:.2} ms  in flight {}",
        point.second,
        per_second(point.good),
        point.p50_us as f64 / 1e3,
        point.p99_us as f64 / 1e3,
        point.in_flight,
    );
    for (name, count) in
        [("waiting", point.queue), ("refused", point.refused), ("failed", point.failed)]
    {
        if count > 0 {
            line.push_str(&format!("  {name} {count}"));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_rate_and_p99_and_what_is_wrong_only_when_something_is() {
        let point = Point { second: 3.0, good: 500, p99_us: 2_500, ..Point::default() };
        let text = line(&point, 0.5);
        assert!(text.contains("1000/s") && text.contains("p99 2.50 ms"), "{text}");
        assert!(!text.contains("failed"), "{text}");
        let text = line(&Point { failed: 3, ..point }, 0.5);
        assert!(text.contains("failed 3"), "{text}");
    }
}
