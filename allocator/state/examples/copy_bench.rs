//! How long commands wait while a snapshot is copied: `cargo run --release -p onsale-state
//! --example copy_bench`.
//!
//! Five events of 200,000 seats, all held in holds of four. A batch gives 32 holds in random places
//! back and takes their seats again; a copy goes on between batches as the program lets it, 512
//! records at a time. Printed are the times of a batch without and during a copy, and of each step
//! of the copy, in which batches wait; at last, of encoding it all in one go.

use std::time::{Duration, Instant};

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

const EVENTS: u32 = 5;
const SEATS: u32 = 200_000;
const PLACES: u32 = EVENTS * SEATS / 4;
const PAIRS: usize = 32;
const STEP: usize = 512;
const COPIES: usize = 20;

struct Sale {
    shard: Shard,
    index: u64,
    /// How often each place was taken.
    turns: Vec<u32>,
    random: u64,
    outcomes: Vec<Outcome>,
    changes: Vec<Change>,
}

impl Sale {
    fn new() -> Sale {
        let shard = Shard::new(1, 1, Limits::default());
        let turns = vec![0; PLACES as usize];
        let (outcomes, changes) = (Vec::new(), Vec::new());
        let mut sale = Sale { shard, index: 0, turns, random: 7, outcomes, changes };
        sale.apply((1..=EVENTS).map(|event| CommandKind::OpenOnsale(Box::new(stadium(event)))));
        for first in (0..PLACES).step_by(512) {
            sale.apply((first..PLACES.min(first + 512)).map(|place| take(place, 0)));
        }
        sale
    }

    fn apply(&mut self, kinds: impl Iterator<Item = CommandKind>) -> Duration {
        let commands = kinds.map(|kind| Command { not_after_ms: u64::MAX, kind }).collect();
        self.index += 1;
        // Fast enough for ended holds to be forgotten meanwhile.
        let batch = Batch { log_time_ms: self.index * 400, commands };
        let started = Instant::now();
        self.shard.apply(self.index, &batch, &mut self.outcomes, &mut self.changes);
        let took = started.elapsed();
        assert!(self.outcomes.iter().all(|outcome| outcome.result.is_ok()));
        took
    }

    fn pairs(&mut self) -> Duration {
        let mut kinds = Vec::with_capacity(2 * PAIRS);
        for _ in 0..PAIRS {
            self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let place = (self.random >> 33) as u32 % PLACES;
            let turn = &mut self.turns[place as usize];
            kinds.push(CommandKind::ReleaseHold(ReleaseHold { hold: hold_id(place, *turn) }));
            *turn += 1;
            kinds.push(take(place, *turn));
        }
        self.apply(kinds.into_iter())
    }
}

fn hold_id(place: u32, turn: u32) -> HoldId {
    let mixed = (u64::from(place) << 32 | u64::from(turn)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    HoldId(u128::from(mixed) << 64 | u128::from(place) << 32 | u128::from(turn))
}

fn take(place: u32, turn: u32) -> CommandKind {
    let (hold, first) = (hold_id(place, turn), place / EVENTS * 4);
    let key = hold.0.rotate_left(64);
    let idempotency = Idempotency { key, request: 1, buyer: 0, buyer_is_new: false };
    let seats = [first, first + 1, first + 2, first + 3];
    let items = [HoldItem::Seats(seats.as_slice().into())].as_slice().into();
    CommandKind::Hold(Hold { event: place % EVENTS + 1, hold, idempotency, items, terms: None })
}

fn stadium(event: u32) -> OpenOnsale {
    let row = |no| RowSpec { label: format!("{no}").into(), seats: 20, ..RowSpec::default() };
    let section = |no: u32| SectionSpec {
        key: format!("{no}").into(),
        category: 0,
        kind: SectionKind::Seated { rows: (0..100).map(row).collect() },
        focus: Focus::default(),
    };
    OpenOnsale {
        event,
        event_id: format!("evt_{event}").into(),
        revision: 1,
        currency: *b"EUR",
        onsale_at_ms: 0,
        prices_minor: vec![5_000],
        offer: None,
        sections: (0..SEATS / 2_000).map(section).collect(),
        rules: Rules {
            seats_per_order_max: 4,
            seats_per_buyer_max: 0,
            hold_ttl_ms: 86_400_000,
            hold_extensions_max: 0,
            ..Rules::default()
        },
    }
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 1_000].as_micros();
    println!(
        "{what:<40} p50 {:>6} us, p99 {:>6} us, p99.9 {:>6} us, most {:>6} us",
        at(500),
        at(990),
        at(999),
        at(1_000)
    );
}

fn main() {
    let mut sale = Sale::new();
    let without = (0..20_000).map(|_| sale.pairs()).collect();
    print("64 commands without a copy", without);
    let (mut begun, mut steps, mut during) = (Vec::new(), Vec::new(), Vec::new());
    let mut bytes = 0;
    for _ in 0..COPIES {
        let started = Instant::now();
        let mut copy = sale.shard.begin_copy();
        begun.push(started.elapsed());
        loop {
            during.push(sale.pairs());
            let started = Instant::now();
            let more = sale.shard.copy_some(&mut copy, STEP);
            steps.push(started.elapsed());
            if !more {
                break;
            }
        }
        bytes = 0;
        let Ok(()) = copy.write(|piece| {
            bytes += piece.len();
            Ok::<_, std::convert::Infallible>(())
        });
    }
    print("64 commands during a copy", during);
    print("marking the moment", begun);
    print("512 records copied", steps);
    let started = Instant::now();
    let mut whole = Vec::new();
    sale.shard.encode_snapshot(&mut whole);
    let records = sale.shard.counts().dedup;
    println!("{bytes} bytes of {records} records; in one go {} us", started.elapsed().as_micros());
}
