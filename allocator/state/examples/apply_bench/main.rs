//! How many commands a second one thread applies: `cargo run --release -p onsale-state --example
//! apply_bench [rush|steady|best|memory|scale]...` (the first three without an argument). A second
//! `rush` in one process finds memory that the system has cleared before, if
//! `MIMALLOC_PURGE_DELAY=-1` keeps it.
//!
//! Batches of 256: 50 % holds that are granted, 30 % releases, 20 % holds that are refused because
//! the seat is taken; a hold is one named seat with a key, a session of its own and an expiry.
//! Commands are made ahead, 64 batches at a time; only `apply` is timed, all of it: outcomes,
//! changes, hash chain, growth of the tables, and dropping the outcomes of the batch before.
//!
//! - `rush`: a flash sale. 2 M commands within 2 s of log time, five events of 60,000 seats, from
//!   an empty shard. Holds live 1 s, so that in the second half what is not released expires. A key
//!   lives an hour longer than its hold, so that none is forgotten: a million at the end.
//! - `steady`: the same for hours. One event, a batch a second of log time, holds live 60 s, and
//!   before the clock starts an hour has passed: each batch also expires a fifth and forgets half
//!   as many records as it has commands, out of 470,000 that are remembered in random places.
//! - `best`: four and ten together with a part of the seats gone, an entry each; and batches of
//!   wishes.
//! - `memory`: what the process grows by, for each of a million seats, all held in holds of four,
//!   at rest and right after the last; always the first.
//! - `scale`: a reserve of one named seat at random, with a million seats and with a thousand;
//!   every other batch gives the seats of the one before back.
//!
//! The chain printed at the end is the same for every build that decides the same.

mod best;
mod size;

use std::{collections::VecDeque, time::Instant};

use onsale_state::{
    command::{
        Focus, Hold, HoldItem, Idempotency, OpenOnsale, ReleaseHold, RowSpec, Rules, SectionKind,
        SectionSpec,
    },
    *,
};

/// The allocator of the program that runs shards.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 256;
const SEATS: u32 = 60_000;
/// Batches made ahead.
const AHEAD: usize = 64;

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

fn arena(event: u32, ttl_ms: u32) -> OpenOnsale {
    sized_arena(event, ttl_ms, SEATS)
}

/// The same with another multiple of 1,000 seats.
fn sized_arena(event: u32, ttl_ms: u32, seats: u32) -> OpenOnsale {
    let rows = || -> Vec<RowSpec> {
        (0..50)
            .map(|row| RowSpec { label: format!("{row}").into(), seats: 20, ..RowSpec::default() })
            .collect()
    };
    let sections = (0..(seats / 1_000) as u16).map(|section| SectionSpec {
        key: format!("{}", 100 + section).into(),
        category: section / 20 % 3,
        kind: SectionKind::Seated { rows: rows() },
        focus: Focus::default(),
    });
    OpenOnsale {
        event,
        event_id: format!("evt_arena{event}").into(),
        revision: 1,
        currency: *b"EUR",
        onsale_at_ms: 0,
        prices_minor: vec![9500, 6500, 3500],
        offer: None,
        sections: sections.collect(),
        rules: Rules {
            seats_per_order_max: 8,
            seats_per_buyer_max: 8,
            hold_ttl_ms: ttl_ms,
            hold_extensions_max: 1,
            ..Rules::default()
        },
    }
}

/// A seat of an event.
type Seat = (u32, u32);

/// A hold the driver asked for.
struct Asked {
    expires_at_ms: u64,
    hold: HoldId,
    seat: Seat,
    released: bool,
}

/// What the driver knows, so that it asks for what is free or for what is taken, as it means to.
struct Driver {
    random: Random,
    free: VecDeque<Seat>,
    asked: VecDeque<Asked>,
    ttl_ms: u64,
}

impl Driver {
    fn hold(&mut self, (event, seat): Seat) -> (HoldId, CommandKind) {
        let hold = HoldId(self.random.wide());
        let idempotency = Idempotency {
            key: self.random.wide(),
            request: self.random.next(),
            buyer: self.random.next(),
            buyer_is_new: false,
        };
        let items = [HoldItem::Seats([seat].as_slice().into())].as_slice().into();
        (hold, CommandKind::Hold(Hold { event, hold, idempotency, items, terms: None }))
    }

    /// A batch at a log time that never goes back.
    fn batch(&mut self, now: u64) -> Batch {
        while self.asked.front().is_some_and(|asked| asked.expires_at_ms <= now) {
            let gone = self.asked.pop_front();
            self.free.extend(gone.filter(|asked| !asked.released).map(|asked| asked.seat));
        }
        // What this batch holds is not released within it, so that releases find their holds cold.
        let before = self.asked.len();
        let mut kinds = Vec::with_capacity(BATCH);
        for _ in 0..BATCH {
            let kind = match self.random.next() % 10 {
                0..=4 => self.grant(now),
                5..=7 => self.living(before).map(|at| {
                    self.asked[at].released = true;
                    self.free.push_back(self.asked[at].seat);
                    CommandKind::ReleaseHold(ReleaseHold { hold: self.asked[at].hold })
                }),
                _ => self.living(before).map(|at| self.hold(self.asked[at].seat).1),
            };
            kinds.extend(kind);
        }
        let commands = kinds.into_iter().map(command).collect();
        Batch { log_time_ms: now, commands }
    }

    fn grant(&mut self, now: u64) -> Option<CommandKind> {
        let seat = self.free.pop_front()?;
        let (hold, kind) = self.hold(seat);
        let expires_at_ms = now + self.ttl_ms;
        self.asked.push_back(Asked { expires_at_ms, hold, seat, released: false });
        Some(kind)
    }

    /// Any hold among the first `among` that was not released.
    fn living(&mut self, among: usize) -> Option<usize> {
        let tries = if among == 0 { 0 } else { 32 };
        (0..tries).map(|_| self.random.next() as usize % among).find(|&at| !self.asked[at].released)
    }
}

fn command(kind: CommandKind) -> Command {
    Command { not_after_ms: u64::MAX, kind }
}

/// What is measured.
struct Run {
    name: &'static str,
    events: u32,
    ttl_ms: u32,
    /// Batches before the clock starts.
    warm_up: usize,
    batches: usize,
    /// Log time of the nth batch.
    at_ms: fn(usize) -> u64,
}

const RUSH: Run = Run {
    name: "rush",
    events: 5,
    ttl_ms: 1_000,
    warm_up: 0,
    batches: 7_813,
    at_ms: |nth| 2 + nth as u64 * BATCH as u64 / 1_000,
};

const STEADY: Run = Run {
    name: "steady",
    events: 1,
    ttl_ms: 60_000,
    warm_up: 3_700,
    batches: 20_000,
    at_ms: |nth| 2 + nth as u64 * 1_000,
};

impl Run {
    fn run(&self) {
        let mut shard = Shard::new(1, 1, Limits::default());
        let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
        let events = 1..=self.events;
        let arenas = events.clone().map(|event| Box::new(arena(event, self.ttl_ms)));
        let commands = arenas.map(|open| command(CommandKind::OpenOnsale(open))).collect();
        shard.apply(1, &Batch { log_time_ms: 1, commands }, &mut outcomes, &mut changes);
        let seats = (0..SEATS).flat_map(|seat| events.clone().map(move |event| (event, seat)));
        let mut driver = Driver {
            random: Random(42),
            free: seats.collect(),
            asked: VecDeque::new(),
            ttl_ms: self.ttl_ms.into(),
        };
        let mut counts = [0u64; 3];
        let mut times = Vec::new();
        let last = self.warm_up + self.batches;
        for first in (0..last).step_by(AHEAD) {
            let ahead = first..last.min(first + AHEAD);
            let batches: Vec<Batch> =
                ahead.clone().map(|nth| driver.batch((self.at_ms)(nth))).collect();
            for (nth, batch) in ahead.zip(&batches) {
                let start = Instant::now();
                shard.apply(nth as u64 + 2, batch, &mut outcomes, &mut changes);
                let nanos = start.elapsed().as_nanos() as f64;
                if nth >= self.warm_up {
                    times.push((nanos, batch.commands.len() as f64));
                    count(&mut counts, batch, &outcomes);
                }
            }
        }
        self.print(&shard, &counts, times);
    }

    fn print(&self, shard: &Shard, counts: &[u64; 3], times: Vec<(f64, f64)>) {
        let nanos: f64 = times.iter().map(|time| time.0).sum();
        let mut each: Vec<f64> = times.iter().map(|(nanos, commands)| nanos / commands).collect();
        each.sort_by(f64::total_cmp);
        let at = |percent: usize| 1e3 / each[(each.len() - 1) * percent / 100];
        // Page faults, growth of tables, and whoever else had the core.
        let slow = 4e3 / at(50);
        let slow: f64 = times.iter().filter(|time| time.0 > slow * time.1).map(|time| time.0).sum();
        let commands: u64 = counts.iter().sum();
        let share = |nth: usize| 100.0 * counts[nth] as f64 / commands as f64;
        let state = shard.counts();
        println!(
            "{}: {:.2} M commands/s in all ({:.0} ns each); batches: best {:.2}, median {:.2}, \
             99 of 100 above {:.2}, {:.0} % of the time in batches 4 times slower than the \
             median; {commands} commands: {:.1} % held, {:.1} % released, {:.1} % \
             refused; {} holds live, {} keys; chain {:02x?}",
            self.name,
            commands as f64 * 1e3 / nanos,
            nanos / commands as f64,
            at(0),
            at(50),
            at(99),
            100.0 * slow / nanos + 0.0,
            share(0),
            share(1),
            share(2),
            state.holds,
            state.dedup,
            &shard.chain()[..4],
        );
    }
}

/// Held, released, refused.
fn count(counts: &mut [u64; 3], batch: &Batch, outcomes: &[Outcome]) {
    for (command, outcome) in batch.commands.iter().zip(outcomes) {
        let at = match (&command.kind, &outcome.result) {
            (CommandKind::Hold(_), Ok(_)) => 0,
            (CommandKind::ReleaseHold(_), Ok(_)) => 1,
            (CommandKind::Hold(_), Err(_)) => 2,
            other => panic!("the driver did not mean {other:?}"),
        };
        counts[at] += 1;
    }
}

fn main() {
    let mut asked: Vec<String> = std::env::args().skip(1).collect();
    if asked.is_empty() {
        asked = ["rush", "steady", "best"].map(Into::into).into();
    }
    // Before another run leaves memory behind that it would grow into.
    asked.sort_by_key(|name| name != "memory");
    for name in asked {
        let (name, batches) = match name.split_once(':') {
            Some((name, batches)) => (name, batches.parse().ok()),
            None => (&*name, None),
        };
        let of = |run: Run| Run { batches: batches.unwrap_or(run.batches), ..run };
        match name {
            "rush" => of(RUSH).run(),
            "steady" => of(STEADY).run(),
            "best" => best::run(),
            "memory" => size::memory(),
            "scale" => size::scale(),
            name => panic!("no such run: {name}"),
        }
    }
}
