//! How many commands a second one thread applies: `cargo run --release -p onsale-state --example
//! apply_bench [batches] [log-ms-per-batch]`.
//!
//! 60,000 seats, batches of 256: 50 % holds that are granted, 30 % releases, 20 % holds that are
//! refused because a seat is taken. Every hold has a key, a session and an expiry; the seats of
//! what is neither released nor sold come back by expiring. Log time runs faster than the clock, so
//! that keys are forgotten at the rate at which they come: a steady state, all of it included.

use std::{collections::VecDeque, time::Instant};

use onsale_state::{
    command::{
        Hold, HoldItem, Idempotency, OpenOnsale, ReleaseHold, RowSpec, Rules, SectionKind,
        SectionSpec,
    },
    *,
};

const BATCH: usize = 256;
const SEATS: u32 = 60_000;
const TTL_MS: u64 = 60_000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

fn arena() -> OpenOnsale {
    let rows = || -> Vec<RowSpec> {
        (0..50)
            .map(|row| RowSpec { label: format!("{row}").into(), seats: 20, accessible: vec![] })
            .collect()
    };
    let sections = (0..60).map(|section| SectionSpec {
        key: format!("{}", 100 + section).into(),
        category: section / 20,
        kind: SectionKind::Seated { rows: rows() },
    });
    OpenOnsale {
        event: 1,
        event_id: "evt_arena".into(),
        revision: 1,
        currency: *b"EUR",
        onsale_at_ms: 0,
        prices_minor: vec![9500, 6500, 3500],
        sections: sections.collect(),
        rules: Rules {
            seats_per_order_max: 8,
            seats_per_buyer_max: 8,
            hold_ttl_ms: TTL_MS as u32,
            hold_extensions_max: 1,
        },
    }
}

/// What the driver knows, so that it asks for what is free or for what is taken, as it means to.
struct Driver {
    random: Random,
    free: VecDeque<u32>,
    held: VecDeque<(u64, HoldId, u32)>,
    released: std::collections::HashSet<u128>,
    now: u64,
}

impl Driver {
    fn hold(&mut self, seat: u32) -> (HoldId, CommandKind) {
        let hold = HoldId(self.random.wide());
        let idempotency = Idempotency {
            key: self.random.wide(),
            request: self.random.next(),
            buyer: self.random.next(),
            buyer_is_new: false,
        };
        let items = [HoldItem::Seats([seat].as_slice().into())].as_slice().into();
        (hold, CommandKind::Hold(Hold { event: 1, hold, idempotency, items }))
    }

    fn batch(&mut self, step_ms: u64) -> Batch {
        self.now += step_ms;
        while let Some(&(at, hold, seat)) = self.held.front().filter(|held| held.0 <= self.now) {
            debug_assert!(at <= self.now);
            self.held.pop_front();
            if !self.released.remove(&hold.0) {
                self.free.push_back(seat);
            }
        }
        let mut kinds = Vec::with_capacity(BATCH);
        for _ in 0..BATCH {
            let kind = match self.random.next() % 10 {
                0..=4 => self.free.pop_front().map(|seat| {
                    let (hold, kind) = self.hold(seat);
                    self.held.push_back((self.now + TTL_MS, hold, seat));
                    kind
                }),
                5..=7 => self.release(),
                _ => self.held.back().copied().map(|(_, _, seat)| self.hold(seat).1),
            };
            kinds.extend(kind);
        }
        let commands = kinds.into_iter().map(|kind| Command { not_after_ms: u64::MAX, kind });
        Batch { log_time_ms: self.now, commands: commands.collect() }
    }

    fn release(&mut self) -> Option<CommandKind> {
        let at = (self.random.next() as usize) % self.held.len().max(1);
        let &(_, hold, seat) = self.held.get(at)?;
        if at + 1 == self.held.len() || !self.released.insert(hold.0) {
            return None;
        }
        self.free.push_back(seat);
        Some(CommandKind::ReleaseHold(ReleaseHold { hold }))
    }
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let batches = numbers.next().unwrap_or(20_000);
    let step_ms = numbers.next().unwrap_or(1_000);
    let mut shard = Shard::new(1, 1, Limits::default());
    let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
    let open = CommandKind::OpenOnsale(Box::new(arena()));
    let command = Command { not_after_ms: u64::MAX, kind: open };
    shard.apply(1, &Batch { log_time_ms: 1, commands: vec![command] }, &mut outcomes, &mut changes);
    let mut driver = Driver {
        random: Random(42),
        free: (0..SEATS).collect(),
        held: VecDeque::new(),
        released: std::collections::HashSet::new(),
        now: 1,
    };
    let mut index = 1;
    let (mut commands, mut done, mut refused, mut nanos) = (0u64, 0u64, 0u64, 0u128);
    let warm_up = 3_600_000 / step_ms + 100;
    let mut each = Vec::new();
    for nth in 0..warm_up + batches {
        let batch = driver.batch(step_ms);
        index += 1;
        let start = Instant::now();
        shard.apply(index, &batch, &mut outcomes, &mut changes);
        let took = start.elapsed().as_nanos();
        if nth < warm_up {
            continue;
        }
        nanos += took;
        each.push(took as f64 / batch.commands.len() as f64);
        commands += batch.commands.len() as u64;
        let yes = outcomes.iter().filter(|outcome| outcome.result.is_ok()).count() as u64;
        done += yes;
        refused += outcomes.len() as u64 - yes;
    }
    let counts = shard.counts();
    each.sort_by(f64::total_cmp);
    let median = each[each.len() / 2];
    println!(
        "{commands} commands ({done} done, {refused} refused) in batches of {BATCH}: \
         {:.2} M commands/s on average, {:.2} M/s in the median batch ({median:.0} ns each); \
         {} holds, {} keys",
        commands as f64 * 1e3 / nanos as f64,
        1e3 / median,
        counts.holds,
        counts.dedup,
    );
    best_available();
}

/// Four together with 95 % gone, at random.
fn best_available() {
    let mut shard = Shard::new(1, 1, Limits::default());
    let mut open = arena();
    open.rules.seats_per_buyer_max = 0;
    let mut random = Random(7);
    let mut kinds = vec![CommandKind::OpenOnsale(Box::new(open))];
    let mut hold = |item, event| {
        let idempotency =
            Idempotency { key: random.wide(), request: 1, buyer: 0, buyer_is_new: false };
        let hold = HoldId(random.wide());
        CommandKind::Hold(Hold { event, hold, idempotency, items: [item].as_slice().into() })
    };
    let mut gone = Random(9);
    for seat in 0..SEATS {
        if gone.next() % 100 < 95 {
            kinds.push(hold(HoldItem::Seats([seat].as_slice().into()), 1));
        }
    }
    let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
    let command = |kind| Command { not_after_ms: u64::MAX, kind };
    let commands = kinds.into_iter().map(command).collect();
    shard.apply(1, &Batch { log_time_ms: 1, commands }, &mut outcomes, &mut changes);
    let mut times = Vec::new();
    let wish =
        HoldItem::BestAvailable { quantity: 4, category: None, section: None, accessible: false };
    for index in 2..2_002 {
        let commands = vec![command(hold(wish.clone(), 1))];
        let batch = Batch { log_time_ms: 1, commands };
        let start = Instant::now();
        shard.apply(index, &batch, &mut outcomes, &mut changes);
        times.push(start.elapsed().as_nanos());
    }
    times.sort_unstable();
    println!(
        "4 together of {SEATS} seats, 95 % gone, an entry each, chain hash included: \
         p50 {} ns, p99 {} ns, max {} ns",
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        times[times.len() - 1],
    );
}
