//! Owns the runs of wishes for the best available seats.

use std::time::Instant;

use onsale_state::{
    command::{Hold, HoldItem, Idempotency, ReleaseHold, Wish},
    *,
};

use crate::{BATCH, Random, SEATS, arena, command};

/// Seats together with a part of them gone, at random.
pub fn run() {
    // Seats that went one by one leave next to no four together; fours that went leave fours.
    let singles = [(0, 4), (500, 4), (950, 4), (999, 4), (500, 10), (950, 10)];
    let singles = singles.map(|(gone, quantity)| (gone, 1, quantity));
    for (gone, clump, quantity) in singles.into_iter().chain([(950, 4, 4), (950, 20, 10)]) {
        together(gone, clump, quantity);
    }
    // Sizes as they come, so that larger groups choose first; and the same in falling order, which
    // is the order of arrival.
    for falls in [false, true] {
        let mut sizes: Vec<u16> = (0..BATCH as u16).map(|nth| nth * 7 % 8 + 1).collect();
        if falls {
            sizes.sort_unstable_by(|a, b| b.cmp(a));
        }
        let mut house = House::new(500, 1);
        let mut times: Vec<_> = (0..20).map(|_| house.entry(&sizes).0).collect();
        times.sort_unstable();
        println!(
            "{BATCH} wishes of 1 to 8 in a batch, 50 % gone, {}: p50 {} ns a wish, max {} ns",
            if falls { "in the order of arrival" } else { "allotted together" },
            times[times.len() / 2] / BATCH as u128,
            times[times.len() - 1] / BATCH as u128,
        );
    }
}

/// What was granted is given back before the next wish, in an entry that is not timed: so each has
/// the same stock to search, and nothing that an earlier search found out about it.
fn together(gone: u32, clump: u32, quantity: u16) {
    let mut house = House::new(gone, clump);
    let (mut granted, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..5_000 {
        let (nanos, held) = house.entry(&[quantity]);
        if held == 1 { &mut granted } else { &mut refused }.push(nanos);
        house.give_back();
    }
    let figures = |mut times: Vec<u128>| {
        if times.is_empty() {
            return "none".to_owned();
        }
        times.sort_unstable();
        let at = |percent| times[(times.len() - 1) * percent / 100];
        format!("{}, p50 {} ns, p99 {} ns, max {} ns", times.len(), at(50), at(99), at(100))
    };
    println!(
        "{quantity} together of {SEATS} seats, {} % gone in pieces of {clump}, an entry each, \
         chain hash included: granted {}; refused {}",
        f64::from(gone) / 10.0,
        figures(granted),
        figures(refused),
    );
}

/// An event with seats gone.
struct House {
    shard: Shard,
    random: Random,
    outcomes: Vec<Outcome>,
    changes: Vec<Change>,
}

impl House {
    /// So many of a thousand seats are gone, in pieces of so many neighbours that divide a row.
    fn new(gone: u32, clump: u32) -> Self {
        let mut house = Self {
            shard: Shard::new(1, 1, Limits::default()),
            random: Random(7),
            outcomes: Vec::new(),
            changes: Vec::new(),
        };
        let mut open = arena(1, 60_000);
        open.rules.seats_per_buyer_max = 0;
        open.rules.seats_per_order_max = 10;
        let mut commands = vec![command(CommandKind::OpenOnsale(Box::new(open)))];
        let mut which = Random(9);
        for first in (0..SEATS).step_by(clump as usize) {
            if which.next() % 1000 < u64::from(gone) {
                let alone = (first..first + clump).map(|seat| [seat].as_slice().into());
                commands.extend(alone.map(|seat| house.hold(HoldItem::Seats(seat))));
            }
        }
        house.apply(&Batch { log_time_ms: 1, commands });
        house
    }

    fn hold(&mut self, item: HoldItem) -> Command {
        let key = self.random.wide();
        let idempotency = Idempotency { key, request: 1, buyer: 0, buyer_is_new: false };
        let hold = HoldId(self.random.wide());
        let items = [item].as_slice().into();
        command(CommandKind::Hold(Hold { event: 1, hold, idempotency, items, terms: None }))
    }

    /// Ends the holds of the last entry.
    fn give_back(&mut self) {
        let held = self.outcomes.iter().filter_map(|outcome| match &outcome.result {
            Ok(Done::Held(held)) => Some(held.hold),
            _ => None,
        });
        let release = |hold| command(CommandKind::ReleaseHold(ReleaseHold { hold }));
        let commands: Vec<_> = held.map(release).collect();
        if !commands.is_empty() {
            self.apply(&Batch { log_time_ms: 1, commands });
        }
    }

    fn apply(&mut self, batch: &Batch) {
        let index = self.shard.last_index() + 1;
        self.shard.apply(index, batch, &mut self.outcomes, &mut self.changes);
    }

    /// An entry of wishes: how long it took, and how many were granted.
    fn entry(&mut self, quantities: &[u16]) -> (u128, usize) {
        let wishes = quantities.iter().map(|&quantity| {
            let wish = Wish { quantity, ..Wish::default() };
            self.hold(HoldItem::BestAvailable(wish))
        });
        let batch = Batch { log_time_ms: 1, commands: wishes.collect() };
        let start = Instant::now();
        self.apply(&batch);
        let nanos = start.elapsed().as_nanos();
        (nanos, self.outcomes.iter().filter(|outcome| outcome.result.is_ok()).count())
    }
}
