//! Owns the runs that ask what a seat costs: memory, and time by how many there are.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use onsale_state::{
    command::{HoldItem, ReleaseHold},
    *,
};

use crate::{BATCH, Driver, Random, command, sized_arena};

/// Seats of the large runs, in events of [`EACH`].
const MANY: u32 = 1_000_000;
const EACH: u32 = 200_000;

/// A shard with events of up to [`EACH`] seats.
fn shard_of(seats: u32) -> Shard {
    let mut shard = Shard::new(1, 1, Limits::default());
    let each = seats.min(EACH);
    let opens = (1..=seats / each).map(|event| Box::new(sized_arena(event, 600_000, each)));
    let commands = opens.map(|open| command(CommandKind::OpenOnsale(open))).collect();
    shard.apply(1, &Batch { log_time_ms: 1, commands }, &mut Vec::new(), &mut Vec::new());
    shard
}

fn driver(seed: u64) -> Driver {
    Driver { random: Random(seed), free: VecDeque::new(), asked: VecDeque::new(), ttl_ms: 0 }
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kib.unwrap_or(0u64) * 1024
}

pub fn memory() {
    let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
    let before = resident();
    let mut shard = shard_of(MANY);
    let opened = resident();
    let mut driver = driver(3);
    let events = 1..=MANY / EACH;
    let mut firsts = events.flat_map(|event| (0..EACH / 4).map(move |four| (event, four * 4)));
    for index in 2.. {
        let fours = firsts.by_ref().take(BATCH).map(|(event, first)| {
            let (_, mut kind) = driver.hold((event, first));
            if let CommandKind::Hold(hold) = &mut kind {
                let seats = [first, first + 1, first + 2, first + 3];
                hold.items = [HoldItem::Seats(seats.as_slice().into())].as_slice().into();
            }
            command(kind)
        });
        let batch = Batch { log_time_ms: 1, commands: fours.collect() };
        if batch.commands.is_empty() {
            break;
        }
        shard.apply(index, &batch, &mut outcomes, &mut changes);
        assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()), "a hold was refused");
    }
    let held = resident();
    // The allocator gives back what tables that grew left behind when it has lain idle for a while
    // and something is asked of it: here time itself is what is waited for.
    for _ in 0..3 {
        std::thread::park_timeout(Duration::from_millis(1_100));
        drop(std::hint::black_box(vec![1u8; 1 << 20]));
    }
    let settled = resident();
    let each = |bytes: u64| bytes as f64 / f64::from(MANY);
    println!(
        "{MANY} seats, all held in {} holds of 4: {:.1} B a seat, {:.1} at once after the last \
         hold, when the allocator has not given back yet what tables that grew left behind; {:.1} \
         before the first",
        shard.counts().holds,
        each(settled.saturating_sub(before)),
        each(held.saturating_sub(before)),
        each(opened.saturating_sub(before)),
    );
}

pub fn scale() {
    let mut shards = [1_000, MANY].map(|seats| (seats, shard_of(seats), Vec::new()));
    let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
    let mut driver = driver(5);
    for round in 1..=4_000 {
        for (seats, shard, times) in &mut shards {
            let each = (*seats).min(EACH);
            let mut picked = BTreeSet::new();
            while picked.len() < BATCH {
                picked.insert(driver.random.next() as u32 % *seats);
            }
            let (mut releases, mut commands) = (Vec::new(), Vec::new());
            for seat in picked {
                let (hold, kind) = driver.hold((1 + seat / each, seat % each));
                releases.push(command(CommandKind::ReleaseHold(ReleaseHold { hold })));
                commands.push(command(kind));
            }
            let batch = Batch { log_time_ms: round * 10_000, commands };
            let start = Instant::now();
            shard.apply(2 * round, &batch, &mut outcomes, &mut changes);
            times.push(start.elapsed().as_nanos() as f64 / BATCH as f64);
            let batch = Batch { log_time_ms: round * 10_000, commands: releases };
            shard.apply(2 * round + 1, &batch, &mut outcomes, &mut changes);
        }
    }
    let [few, many] = shards.map(|(_, _, mut times)| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!(
        "a reserve: {few:.0} ns of 1,000 seats, {many:.0} of {MANY}: {:.2} times (median batches)",
        many / few,
    );
}
