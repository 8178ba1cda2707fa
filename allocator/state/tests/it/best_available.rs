//! Best available against trying everything, on random houses with random seats gone.

use std::collections::BTreeSet;

use onsale_state::{
    command::{HoldItem, Wish},
    *,
};
use proptest::prelude::*;

use crate::{
    kit::{self, Desk, best, hold_items, hold_seats, seats_of},
    naive::Naive,
};

fn row(at: usize, seats: u16, marks: [u16; 4]) -> command::RowSpec {
    let mark = |mark: &[u16]| -> Vec<u16> {
        let numbers: BTreeSet<u16> = mark.iter().map(|number| number % seats + 1).collect();
        if mark[0] % 3 == 0 { numbers.into_iter().collect() } else { Vec::new() }
    };
    let mut row = kit::row(&format!("R{at}"), seats, &mark(&marks[..2]));
    row.companion = mark(&marks[1..]);
    row.companion.retain(|number| !row.accessible.contains(number));
    row
}

fn houses() -> impl Strategy<Value = command::OpenOnsale> {
    let row_of = (1u16..90, any::<[u16; 4]>(), 0u8..4);
    let rows = proptest::collection::vec(row_of, 1..6);
    let sections = proptest::collection::vec((rows, 0u16..3, any::<[u16; 2]>()), 1..5);
    sections.prop_map(|sections| {
        let sections = sections.into_iter().enumerate().map(|(no, (rows, category, focus))| {
            let rows = rows.into_iter().enumerate().map(|(at, (seats, marks, width))| {
                let seats = if width == 0 { seats } else { seats % 12 + 1 };
                row(at, seats, marks)
            });
            let rows: Vec<_> = rows.collect();
            let at = usize::from(focus[0]) % rows.len();
            let seat = focus[1] % (rows[at].seats + 1);
            let mut section = kit::seated(&format!("{no}"), category, rows);
            if focus[0] % 3 > 0 {
                section.focus = command::Focus { row: at as u32 + 1, seat };
            }
            section
        });
        let mut open = kit::opening(1, &[3, 2, 1], sections.collect());
        open.rules.seats_per_order_max = 64;
        open.rules.seats_per_buyer_max = 0;
        open
    })
}

/// A wish of small numbers.
fn a_wish((quantity, which, how): (u16, u8, u8)) -> HoldItem {
    let which = u16::from(which);
    let accessible = how % 4 == 0;
    HoldItem::BestAvailable(Wish {
        quantity,
        category: (which % 4 == 1).then_some(which / 4 % 3),
        section: (which % 4 == 2).then_some(which / 4 % 5),
        price_max_minor: (which % 5 == 3).then_some(u64::from(which / 4 % 4)),
        accessible,
        companions: if accessible { u16::from(how / 4 % 4) } else { 0 },
        split: how / 16 % 3 == 0,
    })
}

/// Quotas by section, by category and by type, early prices, and a type that is free in a category.
fn an_offer(numbers: [u8; 6], sections: usize) -> command::Offer {
    let [section, front, category, side, children, early] = numbers.map(u16::from);
    let quota = |key: &str, size: u16, sections: &[u16], categories: &[u16], types: &[u16]| {
        let [sections, categories, types] = [sections, categories, types].map(<[u16]>::to_vec);
        command::Quota { key: key.into(), size: size.into(), sections, categories, types }
    };
    let tier = command::Tier { price_minor: 1, count: Some(u32::from(early % 8)), until_ms: None };
    let line = |category, ticket_type, price_minor, tiers| command::PriceLine {
        category,
        ticket_type,
        price_minor,
        tiers,
    };
    command::Offer {
        types: 2,
        lines: vec![line(0, None, 3, vec![tier]), line(1, Some(1), 0, vec![])],
        quotas: vec![
            quota("front", front % 24, &[section % sections as u16], &[], &[]),
            quota("side", side % 60, &[], &[category % 3], &[0]),
            quota("children", children % 16, &[], &[], &[1]),
        ],
    }
}

/// The same wish for places of two types.
fn typed(mut kind: CommandKind, number: u8) -> CommandKind {
    if let CommandKind::Hold(hold) = &mut kind
        && let [HoldItem::BestAvailable(wish)] = hold.items.as_slice()
        && number % 3 > 0
    {
        let types = (0..wish.quantity + wish.companions).map(|at| at * u16::from(number % 3) / 2);
        let types = types.map(|no| no % 2).collect();
        hold.terms = Some(Box::new(command::HoldTerms { types, ..Default::default() }));
    }
    kind
}

/// Decides a batch in a shard and in the model and compares.
fn play(open: command::OpenOnsale, gone: u64, share: u64, kinds: Vec<Vec<CommandKind>>) {
    let mut shard = Shard::new(1, 1, Limits::default());
    let mut model = Naive::new(1, 1, Limits::default());
    let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
    let seats = SeatMap::build(&open.sections, 3).expect("a map").seats();
    let mut before = vec![CommandKind::OpenOnsale(Box::new(open))];
    let mut random = gone;
    for seat in 0..seats {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(144_269_504);
        if (random >> 33) % 10 < share {
            before.push(hold_seats(10_000 + u128::from(seat), &[seat]));
        }
    }
    for (nth, kinds) in [before].into_iter().chain(kinds).enumerate() {
        let commands = kinds.into_iter().map(|kind| Command { not_after_ms: u64::MAX, kind });
        let batch = Batch { log_time_ms: 5, commands: commands.collect() };
        shard.apply(nth as u64 + 1, &batch, &mut outcomes, &mut changes);
        crate::compare::outcomes(&batch, &outcomes, &model.apply(&batch));
        assert_eq!(shard.check_invariants(), []);
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_choice_is_the_best_of_all_choices(
        open in houses(),
        gone in any::<u64>(),
        share in 0u64..10,
        wishes in proptest::collection::vec((1u16..12, any::<u8>(), any::<u8>()), 1..12),
    ) {
        let wishes = wishes.into_iter().enumerate();
        let entries = wishes.map(|(nth, wish)| {
            // Now and then something comes back, so that what was not there is there again.
            let mut entry = vec![hold_items(1, nth as u128 + 1, &[a_wish(wish)])];
            if nth % 3 == 2 {
                entry.push(kit::release(nth as u128 - 1));
                entry.push(kit::release(10_000 + u128::from(wish.1)));
            }
            entry
        });
        play(open, gone, share, entries.collect());
    }

    #[test]
    fn wishes_side_by_side_are_allotted_as_the_naive_model_allots_them(
        open in houses(),
        gone in any::<u64>(),
        share in 0u64..9,
        wishes in proptest::collection::vec((1u16..9, any::<u8>(), any::<u8>()), 2..10),
        same_key in any::<[u8; 2]>(),
    ) {
        let all = wishes.into_iter().enumerate().map(|(nth, (quantity, which, how))| {
            // Mostly wishes that can be satisfied.
            let which = if how % 8 > 0 { 0 } else { which };
            hold_items(1, nth as u128 + 1, &[a_wish((quantity, which, how))])
        });
        let mut kinds: Vec<CommandKind> = all.collect();
        if same_key[0] % 4 == 0 {
            let again = kinds[usize::from(same_key[0]) % kinds.len()].clone();
            kinds.insert(usize::from(same_key[1]) % kinds.len(), again);
        }
        play(open, gone, share, vec![kinds]);
    }

    #[test]
    fn wishes_under_quotas_and_early_prices_are_allotted_as_the_naive_model_allots_them(
        mut open in houses(),
        offer in any::<[u8; 6]>(),
        gone in any::<u64>(),
        share in 0u64..6,
        wishes in proptest::collection::vec((1u16..7, any::<u8>(), any::<u8>()), 2..10),
        alone in any::<bool>(),
    ) {
        open.offer = Some(Box::new(an_offer(offer, open.sections.len())));
        let all = wishes.into_iter().enumerate().map(|(nth, (quantity, which, how))| {
            // Mostly anywhere, or where a place costs 1 at most.
            let which = if how % 4 > 0 { 23 * (which % 2) } else { which };
            let wish = a_wish((quantity, which, how));
            typed(hold_items(1, nth as u128 + 1, &[wish]), how / 4)
        });
        let kinds: Vec<CommandKind> = all.collect();
        let size = if alone { 1 } else { kinds.len() };
        let entries = kinds.chunks(size).map(<[_]>::to_vec).collect();
        play(open, gone, share, entries);
    }

    #[test]
    fn only_those_strand_a_seat_who_cannot_help_it(
        mut open in houses(),
        gone in any::<u64>(),
        share in 0u64..8,
        named in proptest::collection::vec(
            (0u32..80, proptest::collection::vec(1u32..4, 0..5)),
            1..9,
        ),
    ) {
        let seats = SeatMap::build(&open.sections, 3).expect("a map").seats();
        let mut change = command::ChangeOnsale {
            event: 1,
            revision: 2,
            onsale_at_ms: 0,
            prices_minor: open.prices_minor.clone(),
            offer: None,
            rules: open.rules,
            capacities: Vec::new(),
        };
        open.rules.no_orphans = false;
        change.rules.no_orphans = true;
        let mut entries = vec![vec![CommandKind::ChangeOnsale(Box::new(change))]];
        entries.extend(named.into_iter().enumerate().map(|(nth, (first, steps))| {
            let mut seat = first % seats;
            let mut selection = vec![seat];
            for step in steps {
                // Mostly the next one.
                seat += if step < 3 { 1 } else { step };
                selection.extend((seat < seats).then_some(seat));
            }
            vec![hold_seats(nth as u128 + 1, &selection)]
        }));
        play(open, gone, share, entries);
    }
}

#[test]
fn neighbours_near_the_focal_point_of_the_best_category_come_first() {
    let mut desk = Desk::open();
    // The middle of a row of four would leave a seat alone on either side.
    assert_eq!(seats_of(desk.ok(1000, hold_items(1, 1, &[best(2)]))), [12, 13]);
}

#[test]
fn a_row_where_nobody_is_left_alone_is_better_than_a_nearer_one() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[13]));
    assert_eq!(seats_of(desk.ok(1000, hold_items(1, 2, &[best(3)]))), [20, 21, 22]);
}

#[test]
fn nobody_sits_on_an_accessible_seat_unasked() {
    let mut desk = Desk::open();
    let section = |quantity, accessible| {
        HoldItem::BestAvailable(Wish { quantity, section: Some(0), accessible, ..Wish::default() })
    };
    assert_eq!(seats_of(desk.ok(1000, hold_items(1, 1, &[section(6, false)]))).len(), 6);
    assert_eq!(seats_of(desk.ok(1000, hold_items(1, 2, &[section(4, false)]))), [8, 9, 10, 11]);
    let short = desk.no(1000, hold_items(1, 3, &[section(1, false)]));
    assert_eq!(short, Rejection::SoldOut { held_may_return_at_ms: Some(61_000) });
    assert_eq!(seats_of(desk.ok(1000, hold_items(1, 4, &[section(2, true)]))), [6, 7]);
}

#[test]
fn accessible_seats_can_be_held_by_naming_them() {
    let mut desk = Desk::open();
    assert_eq!(seats_of(desk.ok(1000, hold_seats(1, &[6, 7]))), [6, 7]);
}

#[test]
fn a_best_available_wish_leaves_the_seats_another_wish_names() {
    let mut desk = Desk::open();
    let items = [best(2), HoldItem::Seats([13].as_slice().into())];
    assert_eq!(seats_of(desk.ok(1000, hold_items(1, 1, &items))), [14, 15, 13]);
}
