//! Holds, rule by rule, and in which order refusals are given.

use onsale_state::{
    command::{ExtendHold, HoldItem, Idempotency, Wish},
    *,
};

use crate::kit::{
    Desk, best, checkout, extend, hold_items, hold_seats, invalid_field, key, release, seats_of,
    theatre,
};

fn with_key(kind: CommandKind, idempotency: Idempotency) -> CommandKind {
    let CommandKind::Hold(mut hold) = kind else { unreachable!() };
    hold.idempotency = idempotency;
    CommandKind::Hold(hold)
}

#[test]
fn a_taken_seat_refuses_the_whole_hold_and_names_every_conflict() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[3, 5]));
    let refused = desk.no(1000, hold_seats(2, &[5, 4, 3]));
    assert_eq!(refused, Rejection::SeatUnavailable { seats: vec![3, 5] });
    assert_eq!(desk.seat(4), SeatState::Available);
    let items = [HoldItem::Seats([4].as_slice().into()), HoldItem::Seats([3].as_slice().into())];
    let refused = desk.no(1000, hold_items(1, 3, &items));
    assert_eq!(refused, Rejection::SeatUnavailable { seats: vec![3] });
    assert_eq!(desk.seat(4), SeatState::Available);
}

#[test]
fn a_wish_that_cannot_be_granted_gives_the_named_seats_back() {
    let mut desk = Desk::open();
    let too_many =
        HoldItem::BestAvailable(Wish { quantity: 4, section: Some(2), ..Wish::default() });
    for (id, items) in [
        (1, vec![HoldItem::Seats([4].as_slice().into()), too_many.clone()]),
        (2, vec![too_many, HoldItem::Seats([4].as_slice().into())]),
    ] {
        let refused = desk.no(1000, hold_items(1, id, &items));
        assert_eq!(refused, Rejection::NotEnoughTogether { held_may_return_at_ms: None });
        assert_eq!(desk.seat(4), SeatState::Available);
    }
    desk.ok(1000, hold_seats(3, &[4]));
}

#[test]
fn a_hold_ends_at_its_expiry_and_not_before() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[3]));
    assert_eq!(desk.shard.next_due_at_ms(), Some(61_000));
    desk.ok(60_999, CommandKind::Tick);
    assert_eq!(desk.seat(3), SeatState::Held);
    desk.ok(61_000, CommandKind::Tick);
    assert_eq!(desk.seat(3), SeatState::Available);
    assert_eq!(desk.shard.next_due_at_ms(), None);
}

#[test]
fn an_expired_hold_cannot_be_sold_extended_or_released() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[3]));
    for kind in [checkout(1, 1), extend(1, 0), release(1), crate::kit::counter(1, 2)] {
        assert_eq!(desk.no(61_000, kind), Rejection::HoldExpired);
    }
}

#[test]
fn an_expired_holds_seat_can_be_held_by_the_same_entry() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[3]));
    desk.ok(61_000, hold_seats(2, &[3]));
}

#[test]
fn log_time_never_goes_back() {
    let mut desk = Desk::open();
    desk.ok(50_000, CommandKind::Tick);
    desk.ok(10, CommandKind::Tick);
    assert_eq!(desk.shard.log_time_ms(), 50_000);
}

#[test]
fn a_released_hold_stays_released_and_says_so_again() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[3]));
    desk.ok(1000, release(1));
    let again = desk.tell(1000, release(1));
    assert_eq!((again.replayed, again.result), (true, Ok(Done::Ok)));
    assert_eq!(desk.no(1000, extend(1, 0)), Rejection::HoldExpired);
    assert_eq!(desk.no(1000, release(77)), Rejection::NotFound { what: "hold" });
}

#[test]
fn an_ended_hold_is_forgotten_with_its_key_an_hour_later() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[3]));
    desk.ok(2000, release(1));
    let hour = limits::DEDUP_AFTER_HOLD_MS;
    assert!(desk.tell(2000 + hour - 1, hold_seats(1, &[3])).replayed);
    assert_eq!(desk.no(2000 + hour, release(1)), Rejection::NotFound { what: "hold" });
    desk.ok(2000 + hour, hold_seats(1, &[3]));
}

#[test]
fn the_same_key_is_answered_with_the_first_answer_whatever_became_of_the_hold() {
    let mut desk = Desk::open();
    let first = desk.ok(1000, hold_seats(1, &[3]));
    desk.ok(2000, extend(1, 0));
    desk.ok(3000, release(1));
    let again = desk.tell(4000, with_key(hold_seats(99, &[3]), key(1)));
    assert_eq!((again.replayed, again.result), (true, Ok(first)));
    assert_eq!(desk.seat(3), SeatState::Available);
}

#[test]
fn the_same_key_twice_in_one_batch_holds_once() {
    let mut desk = Desk::open();
    let retry = with_key(hold_seats(2, &[3]), key(1));
    let outcomes = desk.entry(1000, vec![hold_seats(1, &[3]), retry]);
    assert_eq!(outcomes[0].result, outcomes[1].result);
    assert!(outcomes[1].replayed && !outcomes[0].replayed);
    assert_eq!(desk.shard.counts().holds, 1);
}

#[test]
fn a_key_with_another_content_or_another_buyer_is_refused() {
    let mut desk = Desk::open();
    let mine = Idempotency { buyer: 5, ..key(1) };
    desk.ok(1000, with_key(hold_seats(1, &[3]), mine));
    let other_content = Idempotency { request: 2, ..mine };
    let other_buyer = Idempotency { buyer: 6, ..mine };
    for idempotency in [other_content, other_buyer] {
        let refused = desk.no(1000, with_key(hold_seats(2, &[4]), idempotency));
        assert_eq!(refused, Rejection::IdempotencyKeyReused);
    }
    let no_session = Idempotency { buyer: 7, buyer_is_new: true, ..mine };
    assert!(desk.tell(1000, with_key(hold_seats(2, &[3]), no_session)).replayed);
    let checkout_with_it = {
        let CommandKind::BeginCheckout(mut command) = checkout(1, 1) else { unreachable!() };
        command.idempotency = mine;
        CommandKind::BeginCheckout(command)
    };
    assert_eq!(desk.no(1000, checkout_with_it), Rejection::IdempotencyKeyReused);
}

#[test]
fn a_refusal_stores_nothing_and_may_be_tried_again() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[3]));
    desk.no(1000, hold_seats(2, &[3]));
    assert_eq!(desk.shard.counts().dedup, 1);
    desk.ok(1000, release(1));
    desk.ok(1000, hold_seats(2, &[3]));
}

#[test]
fn a_full_dedup_table_refuses_new_keys_and_still_knows_the_old_ones() {
    let limits = Limits { dedup_entries_max: 1, ..Limits::default() };
    let mut desk = Desk::new(limits);
    desk.ok(1000, CommandKind::OpenOnsale(Box::new(theatre())));
    desk.ok(1000, hold_seats(1, &[3]));
    let overloaded = Rejection::Overloaded { bound: "dedup_entries_max" };
    assert_eq!(desk.no(1000, hold_seats(2, &[4])), overloaded);
    assert_eq!(desk.no(1000, checkout(1, 1)), overloaded);
    assert!(desk.tell(1000, hold_seats(1, &[3])).replayed);
}

#[test]
fn the_first_refusal_that_applies_is_the_answer() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[3]));
    let late = Command { not_after_ms: 999, kind: hold_seats(1, &[3]) };
    let batch = Batch { log_time_ms: 0, commands: vec![late] };
    let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
    desk.shard.apply(99, &batch, &mut outcomes, &mut changes);
    assert_eq!(outcomes[0].result, Err(Rejection::TooLate));
    let nowhere = hold_items(9, 2, &[best(0)]);
    assert_eq!(desk.no(1000, nowhere), Rejection::NotFound { what: "event" });
    let mut early = theatre();
    (early.event, early.event_id, early.onsale_at_ms) = (3, "evt_3".into(), 9_000);
    desk.ok(1000, CommandKind::OpenOnsale(Box::new(early)));
    assert_eq!(invalid_field(desk.no(1000, hold_items(3, 2, &[best(0)]))), "items/0/quantity");
    let refused = desk.no(1000, hold_items(3, 2, &[best(1)]));
    assert_eq!(refused, Rejection::NotOnSale { onsale_at_ms: 9_000 });
    desk.ok(9_000, hold_items(3, 2, &[best(1)]));
}

#[test]
fn items_that_make_no_sense_name_their_field() {
    let mut desk = Desk::open();
    let wish = |category, section| {
        HoldItem::BestAvailable(Wish { quantity: 1, category, section, ..Wish::default() })
    };
    let seats = |seats: &[u32]| HoldItem::Seats(seats.into());
    let cases: Vec<(Vec<HoldItem>, &str)> = vec![
        (vec![], "items"),
        (vec![best(1); 17], "items"),
        (vec![best(7)], "items"),
        (vec![seats(&[])], "items/0/seats"),
        (vec![best(1), seats(&[24])], "items/1/seats"),
        (vec![seats(&[2, 2])], "items/0/seats"),
        (vec![seats(&[2]), seats(&[2])], "items/1/seats"),
        (vec![best(0)], "items/0/quantity"),
        (vec![wish(Some(3), None)], "items/0/category"),
        (vec![wish(None, Some(4))], "items/0/section"),
        (vec![wish(Some(0), Some(0))], "items/0/category"),
    ];
    for (items, field) in cases {
        assert_eq!(invalid_field(desk.no(1000, hold_items(1, 1, &items))), field, "{items:?}");
    }
    desk.ok(1000, hold_seats(1, &[3]));
    let taken_id = with_key(hold_seats(1, &[4]), key(2));
    assert_eq!(invalid_field(desk.no(1000, taken_id)), "hold");
}

#[test]
fn a_buyer_cannot_hold_more_than_the_event_allows_and_gets_the_count_back() {
    let mut desk = Desk::open();
    let of = |id: u128, seats: &[u32]| {
        with_key(hold_seats(id, seats), Idempotency { buyer: 5, ..key(id) })
    };
    desk.ok(1000, of(1, &[0, 1, 2, 3, 4]));
    desk.ok(1000, of(2, &[8, 9, 10]));
    let limit = Rejection::BuyerLimitReached { seats_max: 8 };
    assert_eq!(desk.no(1000, of(3, &[11])), limit);
    desk.ok(1000, release(2));
    desk.ok(1000, of(3, &[11]));
    desk.ok(61_000, of(4, &[0, 1, 2, 3, 4, 5]));
    let event = desk.shard.event(1).unwrap();
    assert_eq!(event.seats_of_buyer(5), 6);
}

#[test]
fn extensions_are_counted_and_a_repeat_finds_its_own() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[3]));
    let extended = |extended_at_ms| Done::Extended {
        hold: HoldId(1),
        expires_at_ms: 90_000,
        extensions: 1,
        extensions_max: 1,
        extended_at_ms,
    };
    assert_eq!(desk.ok(30_000, extend(1, 0)), extended(30_000));
    let again = desk.tell(31_000, extend(1, 0));
    assert_eq!((again.replayed, again.result), (true, Ok(extended(31_000))));
    assert_eq!(desk.no(31_000, extend(1, 1)), Rejection::ExtensionLimitReached);
    assert_eq!(invalid_field(desk.no(31_000, extend(1, 2))), "extensions_seen");
    desk.ok(89_999, CommandKind::Tick);
    assert_eq!(desk.seat(3), SeatState::Held);
    desk.ok(90_000, CommandKind::Tick);
    assert_eq!(desk.seat(3), SeatState::Available);
}

#[test]
fn an_extension_is_replayed_by_its_key_as_long_as_the_holds_own_is_remembered() {
    let mut desk = Desk::open();
    let keyed = |hold: u128, key: Idempotency| {
        let (hold, idempotency) = (HoldId(hold), Some(key));
        CommandKind::ExtendHold(ExtendHold { hold, extensions_seen: 0, idempotency })
    };
    desk.ok(1000, hold_seats(1, &[3]));
    desk.ok(1000, hold_seats(2, &[4]));
    let first = desk.ok(30_000, keyed(1, key(7)));
    assert_eq!(desk.shard.counts().dedup, 3);
    desk.ok(40_000, release(1));
    for at in [41_000, 40_000 + 3_600_000 - 1] {
        let again = desk.tell(at, keyed(1, key(7)));
        assert_eq!((again.replayed, again.result), (true, Ok(first.clone())));
    }
    let reused = Rejection::IdempotencyKeyReused;
    assert_eq!(desk.no(50_000, keyed(1, Idempotency { request: 9, ..key(7) })), reused);
    assert_eq!(desk.no(50_000, keyed(2, key(7))), reused, "another hold");
    assert_eq!(desk.no(50_000, keyed(1, key(1))), reused, "the hold's own key");
    assert_eq!(desk.no(50_000, with_key(hold_seats(3, &[5]), key(7))), reused);
    let gone = Rejection::NotFound { what: "hold" };
    assert_eq!(desk.no(40_000 + 3_600_000, keyed(1, key(7))), gone);
    desk.ok(10_000_000, CommandKind::Tick);
    assert_eq!(desk.shard.counts().dedup, 0);
}

#[test]
fn sold_out_says_when_the_first_hold_ends() {
    let mut desk = Desk::open();
    let ga = |id, quantity| hold_items(2, id, &[best(quantity)]);
    for id in 1..=3 {
        desk.ok(1000 * id as u64, ga(id, 6));
    }
    let refused = desk.no(3000, ga(4, 3));
    let held_may_return_at_ms = Some(6000);
    assert_eq!(refused, Rejection::NotEnoughTogether { held_may_return_at_ms });
    desk.ok(3000, ga(5, 2));
    assert_eq!(desk.no(3000, ga(6, 1)), Rejection::SoldOut { held_may_return_at_ms });
    desk.ok(3000, release(1));
    assert!(desk.tell(3000, ga(7, 6)).result.is_ok());
    let held_may_return_at_ms = Some(7000);
    assert_eq!(desk.no(3000, ga(8, 1)), Rejection::SoldOut { held_may_return_at_ms });
}

#[test]
fn seats_and_general_admission_are_held_together() {
    let mut desk = Desk::open();
    let standing =
        HoldItem::BestAvailable(Wish { quantity: 2, category: Some(2), ..Wish::default() });
    let items = [HoldItem::Seats([3].as_slice().into()), standing];
    let Done::Held(held) = desk.ok(1000, hold_items(1, 1, &items)) else { unreachable!() };
    let sections: Vec<_> = held.places.iter().map(|place| (place.seat, place.section)).collect();
    assert_eq!(sections, [(Some(3), 0), (None, 2), (None, 2)]);
    let view = desk.shard.event(1).unwrap().view();
    assert_eq!(view.area(2).unwrap().held(), 2);
    assert_eq!(view.availability()[2].available, 1);
    assert!(view.area(0).is_none());
}

#[test]
fn availability_is_two_bits_a_seat_from_the_low_bits_up() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[1, 4]));
    desk.ok(1000, hold_seats(2, &[5]));
    desk.ok(1000, crate::kit::counter(2, 1));
    let section = desk.shard.event(1).unwrap().view().section_availability(0).unwrap();
    assert_eq!(section.seats, [0b0000_0100, 0b0000_1001, 0]);
    assert_eq!((section.available, section.held, section.sold), (9, 2, 1));
}

#[test]
#[should_panic(expected = "entry 3 after 3")]
fn an_entry_applied_twice_is_a_broken_invariant() {
    let mut shard = Shard::new(1, 1, Limits::default());
    for index in [3, 3] {
        shard.apply(index, &Batch::default(), &mut Vec::new(), &mut Vec::new());
    }
}

#[test]
fn pieces_stand_behind_each_other_where_no_row_has_all() {
    let mut desk = Desk::open();
    let front = HoldItem::BestAvailable(Wish { quantity: 5, category: Some(0), ..Wish::default() });
    assert_eq!(seats_of(desk.ok(1000, hold_items(1, 1, &[front]))), [12, 13, 14, 16, 17]);
}
