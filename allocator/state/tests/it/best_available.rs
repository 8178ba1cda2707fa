//! Best available against trying everything, on random houses with random seats gone.

use onsale_state::{command::HoldItem, *};
use proptest::prelude::*;

use crate::{
    kit::{self, Desk, best, hold_items, hold_seats, seats_of},
    naive::Naive,
};

fn houses() -> impl Strategy<Value = command::OpenOnsale> {
    let row = (1u16..90, any::<[u16; 2]>(), any::<bool>());
    let rows = proptest::collection::vec(row, 1..5);
    let sections = proptest::collection::vec((rows, 0u16..3), 1..5);
    sections.prop_map(|sections| {
        let sections = sections.into_iter().enumerate().map(|(no, (rows, category))| {
            let rows = rows.into_iter().enumerate().map(|(at, (seats, [a, b], wide))| {
                let seats = if wide { seats } else { seats % 12 + 1 };
                let mut accessible = vec![a % seats + 1, b % seats + 1];
                accessible.sort_unstable();
                accessible.dedup();
                if a % 3 > 0 {
                    accessible.clear();
                }
                kit::row(&format!("R{at}"), seats, &accessible)
            });
            kit::seated(&format!("{no}"), category, rows.collect())
        });
        let mut open = kit::opening(1, &[3, 2, 1], sections.collect());
        open.rules.seats_per_order_max = 64;
        open.rules.seats_per_buyer_max = 0;
        open
    })
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
        wishes in proptest::collection::vec((1u16..12, any::<bool>(), any::<u8>()), 1..12),
    ) {
        let mut shard = Shard::new(1, 1, Limits::default());
        let mut model = Naive::new(1, 1, Limits::default());
        let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
        let seats: usize = open.sections.iter().map(|section| match &section.kind {
            command::SectionKind::Seated { rows } => {
                rows.iter().map(|row| usize::from(row.seats)).sum()
            }
            command::SectionKind::GeneralAdmission { .. } => 0,
        }).sum();
        let mut kinds = vec![CommandKind::OpenOnsale(Box::new(open))];
        let mut random = gone;
        for seat in 0..seats as u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(144_269_504);
            if (random >> 33) % 10 < share {
                kinds.push(hold_seats(10_000 + u128::from(seat), &[seat]));
            }
        }
        for (nth, &(quantity, accessible, which)) in wishes.iter().enumerate() {
            let item = HoldItem::BestAvailable {
                quantity,
                category: (which % 4 == 1).then_some(u16::from(which / 4 % 3)),
                section: (which % 4 == 2).then_some(u16::from(which / 4 % 5)),
                accessible: accessible && which % 2 == 0,
            };
            kinds.push(hold_items(1, nth as u128 + 1, &[item]));
        }
        let commands = kinds
            .into_iter()
            .map(|kind| Command { not_after_ms: u64::MAX, kind })
            .collect();
        let batch = Batch { log_time_ms: 5, commands };
        shard.apply(1, &batch, &mut outcomes, &mut changes);
        crate::compare::outcomes(&batch, &outcomes, &model.apply(&batch));
        prop_assert_eq!(shard.check_invariants(), []);
    }
}

#[test]
fn neighbours_in_the_front_row_of_the_best_category_come_first() {
    let mut desk = Desk::open();
    assert_eq!(seats_of(desk.ok(1000, hold_items(1, 1, &[best(2)]))), [13, 14]);
}

#[test]
fn a_row_with_neighbours_is_better_than_a_front_row_without() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[13]));
    assert_eq!(seats_of(desk.ok(1000, hold_items(1, 2, &[best(3)]))), [16, 17, 18]);
}

#[test]
fn nobody_sits_on_an_accessible_seat_unasked() {
    let mut desk = Desk::open();
    let section = |quantity, accessible| HoldItem::BestAvailable {
        quantity,
        category: None,
        section: Some(0),
        accessible,
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
