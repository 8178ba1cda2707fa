//! What one buyer may keep from the others, rule by rule.

use onsale_state::{
    command::{ChangeOnsale, Hold, HoldItem, Idempotency, Rules},
    *,
};

use crate::kit::{
    Desk, authorised, captured, checkout, declined, extend, lease, release, rules, settle, theatre,
};

fn held_by(buyer: u64, id: u128, seats: &[u32]) -> CommandKind {
    let idempotency = Idempotency { key: id, request: 1, buyer, buyer_is_new: false };
    let items = [HoldItem::Seats(seats.into())].as_slice().into();
    CommandKind::Hold(Hold { event: 1, hold: HoldId(id), idempotency, items, terms: None })
}

/// The theatre under these rules; its holds last a minute and may be extended twice.
fn desk(holds_per_buyer_max: u16, hold_seconds_per_buyer_max: u32) -> Desk {
    let mut desk = Desk::new(Limits::default());
    let mut open = theatre();
    open.rules.hold_extensions_max = 2;
    open.rules = Rules { holds_per_buyer_max, hold_seconds_per_buyer_max, ..open.rules };
    desk.ok(1000, CommandKind::OpenOnsale(Box::new(open)));
    desk
}

fn change(revision: u64, rules: Rules) -> CommandKind {
    CommandKind::ChangeOnsale(Box::new(ChangeOnsale {
        event: 1,
        revision,
        onsale_at_ms: 0,
        prices_minor: theatre().prices_minor,
        capacities: vec![],
        offer: None,
        rules,
    }))
}

fn holds(holds_max: u16) -> Rejection {
    Rejection::HoardingLimitReached { holds_max, hold_seconds_max: 0 }
}

fn seconds(hold_seconds_max: u32) -> Rejection {
    Rejection::HoardingLimitReached { holds_max: 0, hold_seconds_max }
}

fn restored(desk: &Desk) -> Desk {
    let mut bytes = Vec::new();
    desk.shard.encode_snapshot(&mut bytes);
    let shard = Shard::decode_snapshot(&bytes).expect("its own snapshot");
    Desk { shard, changes: vec![] }
}

#[test]
fn a_buyer_has_so_many_holds_at_once_and_another_when_one_ends() {
    let mut desk = desk(2, 0);
    desk.ok(1000, held_by(7, 1, &[0]));
    desk.ok(1000, held_by(7, 2, &[1]));
    assert_eq!(desk.no(1000, held_by(7, 3, &[2])), holds(2));
    desk.ok(1000, held_by(8, 3, &[2]));
    desk.ok(1000, release(1));
    desk.ok(1000, held_by(7, 4, &[3]));
    assert_eq!(desk.no(1000, held_by(7, 5, &[4])), holds(2));
    desk.ok(61_000, held_by(7, 6, &[4]));
}

#[test]
fn a_hold_in_checkout_counts_and_an_order_does_not() {
    let mut desk = desk(1, 0);
    desk.ok(1000, held_by(7, 1, &[0]));
    desk.ok(1000, checkout(1, 5));
    assert_eq!(desk.no(1000, held_by(7, 2, &[1])), holds(1));
    let Done::Leased(jobs) = desk.ok(1000, lease(9)) else { panic!("no jobs") };
    desk.ok(1000, settle(jobs[0].job.0, 9, authorised()));
    desk.ok(1000, held_by(7, 2, &[1]));
}

#[test]
fn nobody_and_a_repeat_are_not_refused() {
    let mut desk = desk(1, 1);
    desk.ok(1000, held_by(0, 1, &[0]));
    desk.ok(9000, held_by(0, 2, &[1]));
    desk.ok(9000, held_by(7, 3, &[2]));
    assert!(desk.tell(20_000, held_by(7, 3, &[2])).replayed);
}

#[test]
fn seat_seconds_count_for_each_seat_up_to_now_and_after_the_end() {
    let mut desk = desk(0, 60);
    desk.ok(1000, held_by(7, 1, &[0, 1, 2]));
    desk.ok(20_999, held_by(7, 2, &[3]));
    assert_eq!(desk.no(21_000, held_by(7, 3, &[4])), seconds(60), "three seats for 20 s");
    desk.ok(21_000, release(1));
    desk.ok(21_000, release(2));
    assert_eq!(desk.no(4_000_000, held_by(7, 3, &[4])), seconds(60), "it is not forgotten");
    assert_eq!(restored(&desk).no(4_000_000, held_by(7, 3, &[4])), seconds(60));
    desk.ok(4_000_000, held_by(8, 3, &[4]));
}

#[test]
fn adding_seats_does_not_set_the_clock_back() {
    let mut desk = desk(0, 100);
    desk.ok(1000, held_by(7, 1, &[0]));
    desk.ok(51_000, held_by(7, 2, &[1]));
    desk.ok(51_000, release(1));
    assert_eq!(desk.shard.event(1).expect("event").spent_seat_ms(7), 50_000);
    desk.ok(100_999, held_by(7, 3, &[2]));
    assert_eq!(desk.no(101_000, held_by(7, 4, &[3])), seconds(100));
}

#[test]
fn extensions_count_and_are_refused_when_the_time_is_up() {
    let mut desk = desk(0, 100);
    desk.ok(1000, held_by(7, 1, &[0]));
    desk.ok(60_000, extend(1, 0));
    assert_eq!(desk.no(101_000, extend(1, 1)), seconds(100));
    desk.ok(119_999, held_by(8, 2, &[1]));
    desk.ok(120_000, CommandKind::Tick);
    let event = desk.shard.event(1).expect("event");
    assert_eq!(event.spent_seat_ms(7), 119_000, "from the beginning to the second expiry");
}

#[test]
fn a_hold_that_expires_late_is_counted_to_its_expiry() {
    let mut desk = desk(0, 100);
    desk.ok(1000, held_by(7, 1, &[0]));
    desk.ok(3_600_000, CommandKind::Tick);
    assert_eq!(desk.shard.event(1).expect("event").spent_seat_ms(7), 60_000);
}

#[test]
fn what_became_an_order_is_not_counted_and_what_was_declined_is() {
    let mut desk = desk(0, 1000);
    desk.ok(1000, held_by(7, 1, &[0]));
    desk.ok(1000, held_by(7, 2, &[1, 2]));
    desk.ok(31_000, checkout(1, 5));
    desk.ok(31_000, checkout(2, 6));
    let Done::Leased(jobs) = desk.ok(31_000, lease(9)) else { panic!("no jobs") };
    desk.ok(31_000, settle(jobs[0].job.0, 9, authorised()));
    desk.ok(91_000, settle(jobs[1].job.0, 9, declined()));
    let Done::Leased(jobs) = desk.ok(91_000, lease(10)) else { panic!("no jobs") };
    let capture = jobs.iter().find(|job| job.kind == JobKind::Capture).expect("a capture");
    desk.ok(91_000, settle(capture.job.0, 10, captured(1)));
    assert_eq!(desk.shard.event(1).expect("event").spent_seat_ms(7), 2 * 90_000);
}

#[test]
fn a_rule_that_comes_during_the_sale_counts_the_holds_there_are() {
    let mut desk = desk(0, 0);
    desk.ok(1000, held_by(7, 1, &[0, 1]));
    desk.ok(1000, held_by(8, 2, &[2]));
    desk.ok(2000, release(2));
    let bound = Rules { holds_per_buyer_max: 1, hold_seconds_per_buyer_max: 60, ..rules() };
    desk.ok(2000, change(2, bound));
    assert_eq!(desk.no(2000, held_by(7, 3, &[3])), holds(1));
    let time = Rules { holds_per_buyer_max: 0, ..bound };
    desk.ok(2000, change(3, time));
    assert_eq!(desk.no(31_000, held_by(7, 3, &[3])), seconds(60));
    desk.ok(31_000, release(1));
    desk.ok(31_000, change(4, rules()));
    assert_eq!(desk.shard.event(1).expect("event").spent_seat_ms(7), 0);
    desk.ok(31_000, held_by(7, 3, &[3]));
}

#[test]
fn wishes_side_by_side_have_the_limits_of_wishes_one_by_one() {
    let mut desk = desk(1, 0);
    let wish = |buyer, id, quantity| {
        let CommandKind::Hold(hold) = held_by(buyer, id, &[]) else { unreachable!() };
        let items = [crate::kit::best(quantity)].as_slice().into();
        CommandKind::Hold(Hold { items, ..hold })
    };
    let outcomes = desk.entry(1000, vec![wish(7, 1, 1), wish(7, 2, 3), wish(8, 3, 2)]);
    assert!(outcomes[0].result.is_ok() && outcomes[2].result.is_ok());
    assert_eq!(outcomes[1].result, Err(holds(1)));
}
