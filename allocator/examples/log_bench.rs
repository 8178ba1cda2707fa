//! Flushes per second and latency of a 4 KiB append: the node's log on the real disk, direct and
//! buffered, against a plain file that is appended to and flushed.
//!
//! `cargo run --release -p onsale-allocator --example log_bench [FOLDER]`: the folder (default: the
//! current one) says which disk; what the run makes is removed again.

use std::{
    error::Error,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use onsale_allocator::log::{FatalHook, Log, LogConfig, LogError, LogRecord, real_disk::RealDisk};

const APPENDS: u64 = 3_000;
const WARM_UP: u64 = 200;
const PAYLOAD_BYTES: usize = 4096;
const SEGMENT_BYTES: u64 = 16 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let parent = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let dir = parent.join(format!("log-bench-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let result = run(&dir);
    fs::remove_dir_all(&dir)?;
    result
}

fn run(dir: &Path) -> Result<(), Box<dyn Error>> {
    let plain = plain(&dir.join("plain"))?;
    println!(
        "{:<34}{:>10}{:>10}{:>10}{:>8}",
        "4 KiB appends", "flushes/s", "p50 us", "p99 us", "ratio"
    );
    report("plain append + fdatasync", &plain, &plain);
    report("log, O_DIRECT|O_DSYNC", &log(&dir.join("direct"), RealDisk::new())?, &plain);
    report("log, pwrite + fdatasync", &log(&dir.join("buffered"), RealDisk::buffered())?, &plain);
    let (appends, flushes, took) = piled_up(&dir.join("group"))?;
    println!(
        "8 shards, 8 in flight each: {:.0} appends/s in {:.0} flushes/s",
        appends as f64 / took.as_secs_f64(),
        flushes as f64 / took.as_secs_f64()
    );
    Ok(())
}

fn report(name: &str, times: &[Duration], plain: &[Duration]) {
    let rate =
        |times: &[Duration]| times.len() as f64 / times.iter().sum::<Duration>().as_secs_f64();
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |part: usize| sorted[(sorted.len() - 1) * part / 100].as_micros();
    let ratio = rate(times) / rate(plain);
    println!("{name:<34}{:>10.0}{:>10}{:>10}{ratio:>8.2}", rate(times), at(50), at(99));
}

fn plain(path: &Path) -> io::Result<Vec<Duration>> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let payload = vec![7; PAYLOAD_BYTES];
    let mut times = Vec::new();
    for _ in 0..WARM_UP + APPENDS {
        let begun = Instant::now();
        file.write_all(&payload)?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    Ok(times.split_off(WARM_UP as usize))
}

fn open(dir: &Path, disk: RealDisk) -> Result<Log, LogError> {
    let config = LogConfig { segment_bytes: SEGMENT_BYTES, ..LogConfig::new(dir) };
    let fatal: FatalHook = Arc::new(|error| eprintln!("{error}"));
    Ok(Log::open(config, Arc::new(disk), fatal)?.0)
}

fn record(index: u64) -> LogRecord {
    let payload = vec![7; PAYLOAD_BYTES].into();
    LogRecord { term: 1, index, origin: 1, tag: 1, payload }
}

fn log(dir: &Path, disk: RealDisk) -> Result<Vec<Duration>, Box<dyn Error>> {
    let log = open(dir, disk)?;
    let shard = log.shard(1);
    let mut times = Vec::new();
    for index in 0..WARM_UP + APPENDS {
        let record = vec![record(index)];
        let (sender, receiver) = mpsc::channel();
        let begun = Instant::now();
        shard.append(record, Box::new(move |result| drop(sender.send(result))));
        receiver.recv()??;
        times.push(begun.elapsed());
    }
    log.shutdown();
    Ok(times.split_off(WARM_UP as usize))
}

fn piled_up(dir: &Path) -> Result<(u64, u64, Duration), Box<dyn Error>> {
    let log = open(dir, RealDisk::new())?;
    let (sender, receiver) = mpsc::channel();
    let (mut next, mut done) = ([0_u64; 8], 0);
    let begun = Instant::now();
    let total = 8 * APPENDS;
    let append = |shard: u16, index: u64| {
        let sender = sender.clone();
        let answer = move |result: io::Result<()>| drop(sender.send(result.map(|()| shard)));
        log.shard(shard).append(vec![record(index)], Box::new(answer));
    };
    for round in 0..8 {
        for shard in 0..8 {
            append(shard, round);
            next[usize::from(shard)] = round + 1;
        }
    }
    while done < total {
        let shard = receiver.recv()??;
        done += 1;
        let index = &mut next[usize::from(shard)];
        if *index < APPENDS {
            append(shard, *index);
            *index += 1;
        }
    }
    let took = begun.elapsed();
    Ok((total, log.stats().flushes, took))
}
