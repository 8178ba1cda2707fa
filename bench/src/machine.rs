//! Owns what the machine says: processor time of processes, time stolen by the host, the cost of a
//! flush.

use std::{
    fs,
    io::{Seek as _, Write as _},
    path::Path,
    time::{Duration, Instant},
};

/// Ticks a second in `/proc`: part of the kernel's interface to programs.
const TICKS_PER_SECOND: u64 = 100;
const PROBE_FLUSHES: usize = 200;
const PROBE_BYTES: usize = 4_096;

/// Processor time used so far by a process and the children that ended.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path)
        .map_err(|error| anyhow::anyhow!("process {pid}: {path}: {error}"))?;
    let ticks = stat_ticks(&text).ok_or_else(|| anyhow::anyhow!("{path} is not understood"))?;
    Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}

/// Processor time of those that are still there.
pub fn cpu_time_known(pids: &[u32]) -> Duration {
    pids.iter().filter_map(|pid| cpu_time(*pid).ok()).sum()
}

/// utime + stime + cutime + cstime; the name before them may contain anything.
fn stat_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let mut ticks = 0;
    for field in fields.get(11..15)? {
        ticks += field.parse::<u64>().ok()?;
    }
    Some(ticks)
}

/// A process and all that descend from it.
pub fn family(pid: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if let Some(parent) = parent(child) {
            parents.push((child, parent));
        }
    }
    let mut family = vec![pid];
    let mut at = 0;
    while at < family.len() {
        let elder = family[at];
        let children = parents.iter().filter(|(_, parent)| *parent == elder);
        family.extend(children.map(|(child, _)| *child));
        at += 1;
    }
    family
}

/// Whether it runs; one that ended and that nobody asked about yet does not.
pub fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, fields)| fields.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Ticks in which the machine was wanted but the host ran something else, and all ticks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stolen {
    steal: u64,
    all: u64,
}

impl Stolen {
    /// As of now.
    pub fn now() -> Stolen {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        let ticks: Vec<u64> =
            line.split_ascii_whitespace().filter_map(|field| field.parse().ok()).collect();
        // guest times (fields 9 and 10) are already in user and nice.
        Stolen { steal: ticks.get(7).copied().unwrap_or(0), all: ticks.iter().take(8).sum() }
    }

    /// The share stolen since.
    #[allow(clippy::cast_precision_loss)]
    pub fn share_since(self, before: Stolen) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        self.steal.saturating_sub(before.steal) as f64 / all as f64
    }
}

/// Median and 99th percentile of a small durable write, in microseconds.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct FlushCost {
    /// Median.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
}

/// What one `fdatasync` of 4 KiB costs in that folder just now, as a log does it: over bytes that
/// are there already. The file has a name: what was never linked needs no flush at all.
pub fn flush_cost(folder: &Path) -> anyhow::Result<FlushCost> {
    let mut named = tempfile::NamedTempFile::new_in(folder)?;
    let file = named.as_file_mut();
    file.write_all(&vec![0; PROBE_BYTES * PROBE_FLUSHES])?;
    file.sync_all()?;
    file.rewind()?;
    let mut times = Vec::with_capacity(PROBE_FLUSHES);
    for _ in 0..PROBE_FLUSHES {
        file.write_all(&[0x5a; PROBE_BYTES])?;
        let started = Instant::now();
        file.sync_data()?;
        times.push(started.elapsed());
    }
    costs(&times)
}

fn costs(times: &[Duration]) -> anyhow::Result<FlushCost> {
    let mut all = crate::load::tally::histogram()?;
    for time in times {
        all.saturating_record(micros(*time));
    }
    Ok(FlushCost { p50_us: all.value_at_quantile(0.5), p99_us: all.value_at_quantile(0.99) })
}

/// The machine, and what a flush costs in that folder.
pub fn describe(folder: Option<&Path>) -> crate::result::Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let kib: u64 = memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
    crate::result::Machine {
        cpu: field(&read("/proc/cpuinfo"), "model name"),
        cpus: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        memory_bytes: kib * 1_024,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        flush: folder.and_then(|folder| flush_cost(folder).ok()),
    }
}

/// The commit of the working tree we were started in.
pub fn commit() -> String {
    let git = std::process::Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let text = git.ok().filter(|out| out.status.success()).map(|out| out.stdout);
    let text = text.and_then(|text| String::from_utf8(text).ok()).unwrap_or_default();
    if text.trim().is_empty() { "unknown".to_owned() } else { text.trim().to_owned() }
}

/// Whole microseconds.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let stat = "12 (a) b (c) S 1 12 12 0 -1 4194560 1 2 3 4 70 30 5 5 20 0 9 0 1 2 3";
        assert_eq!(stat_ticks(stat), Some(110));
        assert_eq!(stat_ticks("nonsense"), None);
        assert_eq!(stat_ticks("1 (x) S 1 2"), None);
    }

    #[test]
    fn a_slow_disk_is_not_told_as_a_fast_one() {
        let costs = costs(&[7, 5, 6].map(Duration::from_millis)).expect("counted");
        assert_eq!([costs.p50_us, costs.p99_us].map(|us| us / 1_000), [6, 7]);
    }

    #[test]
    fn this_process_has_a_time_and_a_parent() {
        let pid = std::process::id();
        assert!(cpu_time(pid).is_ok());
        assert!(cpu_time(u32::MAX).is_err());
        let parent = parent(pid).expect("a parent");
        assert!(family(parent).contains(&pid));
    }
}
