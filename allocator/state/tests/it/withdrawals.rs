//! Kill, return, capacity: rule by rule.

use onsale_state::{
    command::{ChangeOnsale, DropChange, Idempotency, KillSeats, ReturnSeats, Selection},
    *,
};

use crate::kit::{
    Desk, area, authorised, best, checkout, counter, declined, hold_items, hold_seats,
    invalid_field, key, lease, opening, release, row, seated, settle,
};

fn staff(no: u128) -> Idempotency {
    key(1 << 64 | no)
}

fn seats(seats: &[u32]) -> Selection {
    Selection { seats: seats.to_vec(), areas: vec![] }
}

fn places(section: u16, places: u32) -> Selection {
    Selection { seats: vec![], areas: vec![(section, places)] }
}

fn kill(no: u128, places: Selection) -> CommandKind {
    let (event, idempotency, reason) = (1, staff(no), "camera".into());
    CommandKind::KillSeats(Box::new(KillSeats { event, idempotency, places, reason }))
}

fn give_back(no: u128, places: Selection) -> CommandKind {
    let idempotency = staff(no);
    CommandKind::ReturnSeats(Box::new(ReturnSeats { event: 1, idempotency, places }))
}

fn capacity(revision: u64, capacities: &[(u16, u32)]) -> CommandKind {
    CommandKind::ChangeOnsale(Box::new(ChangeOnsale {
        event: 1,
        revision,
        onsale_at_ms: 0,
        offer: None,
        prices_minor: vec![9000, 5000, 2000],
        rules: crate::kit::rules(),
        capacities: capacities.to_vec(),
    }))
}

/// Three places of the second area.
fn three() -> command::HoldItem {
    let wish = command::Wish { quantity: 3, section: Some(3), ..command::Wish::default() };
    command::HoldItem::BestAvailable(wish)
}

fn taken(held: u32, sold: u32, killed: u32) -> AreaTaken {
    AreaTaken { section: 3, held, sold, killed }
}

/// Available, held, sold, killed.
fn counts(desk: &Desk, section: u16) -> [u32; 4] {
    let view = desk.shard.event(1).unwrap().view();
    let it = view.section_availability(section).unwrap();
    [it.available, it.held, it.sold, it.killed]
}

#[test]
fn a_killed_seat_cannot_be_held_until_it_is_returned() {
    let mut desk = Desk::open();
    let Done::Killed { killed, pending, .. } = desk.ok(1000, kill(1, seats(&[3, 4, 5]))) else {
        unreachable!()
    };
    assert_eq!((killed, pending), (3, vec![]));
    let change = Change::Seats {
        event: 1,
        state: SeatState::Killed,
        seats: [3, 4, 5][..].into(),
        key_tag: 0,
        until_ms: 0,
    };
    assert!(desk.changes.contains(&change));
    let refused = desk.no(1000, hold_seats(1, &[2, 3, 5]));
    assert_eq!(refused, Rejection::SeatUnavailable { seats: vec![3, 5] });
    assert_eq!(counts(&desk, 0), [9, 0, 0, 3]);
    assert_eq!(desk.ok(1000, give_back(2, seats(&[4]))), Done::Returned { returned: 1 });
    let refused = desk.no(1000, give_back(3, seats(&[3, 4, 6])));
    assert_eq!(refused, Rejection::SeatsNotKilled { seats: vec![4, 6], areas: vec![] });
    desk.ok(1000, hold_seats(1, &[4]));
    let killed: Vec<_> = desk.shard.event(1).unwrap().killed_seats().collect();
    assert_eq!(killed, [(3, "camera"), (5, "camera")]);
}

#[test]
fn nothing_that_is_sold_is_killed_and_all_of_it_is_listed() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[3, 4]));
    desk.ok(1000, counter(1, 1));
    desk.ok(1000, hold_seats(2, &[8]));
    let refused = desk.no(1000, kill(1, seats(&[2, 3, 4, 8])));
    assert_eq!(refused, Rejection::SeatsSold { seats: vec![3, 4], areas: vec![] });
    assert_eq!(desk.seat(2), SeatState::Available);
    desk.ok(2000, release(2));
    assert_eq!(desk.seat(8), SeatState::Available, "a refused command leaves nothing behind");
}

#[test]
fn a_held_seat_is_withdrawn_however_its_hold_ends_without_a_sale() {
    let ends: [&dyn Fn(&mut Desk); 4] = [
        &|desk| drop(desk.ok(2000, release(1))),
        &|desk| drop(desk.ok(61_000, CommandKind::Tick)),
        &|desk| {
            desk.ok(2000, checkout(1, 1));
            desk.ok(61_000, lease(7));
            desk.ok(61_000, settle(1, 7, declined()));
        },
        &|desk| {
            desk.ok(2000, checkout(1, 1));
            desk.ok(2000 + limits::PAYMENT_FENCE_MAX_MS, CommandKind::Tick);
        },
    ];
    for end in ends {
        let mut desk = Desk::open();
        desk.ok(1000, hold_seats(1, &[3, 4]));
        let Done::Killed { killed, pending, .. } = desk.ok(1000, kill(1, seats(&[2, 3]))) else {
            unreachable!()
        };
        assert_eq!((killed, pending), (1, vec![3]));
        assert_eq!(desk.seat(3), SeatState::Held);
        end(&mut desk);
        assert_eq!((desk.seat(3), desk.seat(4)), (SeatState::Killed, SeatState::Available));
    }
}

#[test]
fn a_held_seat_is_sold_through_and_withdrawn_when_the_money_is_refused_after_all() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[3]));
    desk.ok(1000, kill(1, seats(&[3])));
    desk.ok(1000, checkout(1, 1));
    desk.ok(1000, lease(7));
    desk.ok(1000, settle(1, 7, authorised()));
    assert_eq!(desk.seat(3), SeatState::Sold);
    desk.ok(1000, lease(8));
    let refused = command::JobResult::CaptureRefused { reason: "expired".into() };
    desk.ok(1000, settle(2, 8, refused));
    assert_eq!(desk.seat(3), SeatState::Killed);
}

#[test]
fn a_kill_that_waits_can_be_taken_back() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[3]));
    desk.ok(1000, kill(1, seats(&[3])));
    desk.ok(1000, give_back(2, seats(&[3])));
    assert_eq!(desk.seat(3), SeatState::Held);
    desk.ok(2000, release(1));
    assert_eq!(desk.seat(3), SeatState::Available);
}

#[test]
fn places_of_an_area_are_withdrawn_as_they_come_free() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_items(1, 1, &[three()]));
    desk.ok(1000, hold_items(1, 2, &[three()]));
    desk.ok(1000, counter(2, 1));
    // Ten places: three held, three sold, four available.
    let refused = desk.no(1000, kill(1, places(3, 8)));
    assert_eq!(refused, Rejection::SeatsSold { seats: vec![], areas: vec![taken(3, 3, 0)] });
    let done = desk.ok(1000, kill(2, places(3, 6)));
    let pending_areas = vec![(3, 2)];
    assert_eq!(done, Done::Killed { killed: 4, pending: vec![], pending_areas });
    assert_eq!(counts(&desk, 3), [0, 3, 3, 4]);
    desk.ok(1000, release(1));
    assert_eq!(counts(&desk, 3), [1, 0, 3, 6]);
    let refused = desk.no(1000, give_back(3, places(3, 7)));
    assert_eq!(refused, Rejection::SeatsNotKilled { seats: vec![], areas: vec![taken(0, 3, 6)] });
    desk.ok(1000, give_back(4, places(3, 2)));
    assert_eq!(counts(&desk, 3), [3, 0, 3, 4]);
    desk.ok(1000, hold_items(1, 3, &[three()]));
}

#[test]
fn a_repeat_is_answered_as_before_and_another_content_is_refused() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[3]));
    let first = desk.ok(1000, kill(1, Selection { seats: vec![3, 4], areas: vec![(3, 2)] }));
    desk.ok(1000, release(1));
    desk.ok(1000, give_back(2, seats(&[4])));
    let again = desk.tell(1000, kill(1, Selection { seats: vec![3, 4], areas: vec![(3, 2)] }));
    assert!(again.replayed);
    assert_eq!(again.result, Ok(first));
    assert_eq!((desk.seat(4), counts(&desk, 3)[3]), (SeatState::Available, 2));
    let CommandKind::KillSeats(mut other) = kill(1, seats(&[5])) else { unreachable!() };
    other.idempotency.request = 2;
    let refused = desk.no(1000, CommandKind::KillSeats(other));
    assert_eq!(refused, Rejection::IdempotencyKeyReused);
    // A hold's key is not staff's, a day later the key is forgotten.
    desk.ok(1000, hold_seats(1 << 64 | 9, &[7]));
    let refused = desk.no(1000, kill(9, seats(&[8])));
    assert_eq!(refused, Rejection::IdempotencyKeyReused);
    assert!(!desk.tell(1000 + limits::DEDUP_ORDER_MS, kill(1, seats(&[5]))).replayed);
}

#[test]
fn there_are_only_so_many_reasons_at_once_and_one_that_nothing_names_makes_room() {
    let mut desk = Desk::new(Limits::default());
    let rows = vec![row("A", 1_010, &[])];
    let open = opening(1, &[1, 1, 1], vec![seated("S", 0, rows), area("G", 1, 10)]);
    desk.ok(1000, CommandKind::OpenOnsale(Box::new(open)));
    let because = |no: u32, places: Selection, reason: &str| {
        let CommandKind::KillSeats(mut command) = kill(no.into(), places) else { unreachable!() };
        command.reason = reason.into();
        CommandKind::KillSeats(command)
    };
    for no in 0..limits::KILL_REASONS_MAX as u32 {
        desk.ok(1000, because(no, seats(&[no]), &no.to_string()));
    }
    let full = Rejection::Overloaded { bound: "kill_reasons_max" };
    assert_eq!(desk.no(1000, because(2_000, seats(&[1_005]), "one more")), full);
    desk.ok(1000, because(2_001, seats(&[1_005]), "7"));
    desk.ok(1000, because(2_002, seats(&[5]), "7"));
    desk.ok(1000, because(2_003, seats(&[1_006]), "one more"));
    let killed: Vec<_> = desk.shard.event(1).unwrap().killed_seats().collect();
    assert_eq!((killed[5], killed[1_001]), ((5, "7"), (1_006, "one more")));
}

#[test]
fn a_selection_that_makes_no_sense_is_refused() {
    let mut desk = Desk::open();
    let both = |seats: &[u32], areas: &[(u16, u32)]| Selection {
        seats: seats.to_vec(),
        areas: areas.to_vec(),
    };
    for (field, places) in [
        ("seats", both(&[], &[])),
        ("seats", both(&[4, 3], &[])),
        ("seats", both(&[3, 3], &[])),
        ("seats", both(&[3, 24], &[])),
        ("areas", both(&[3], &[(3, 1), (2, 1)])),
        ("areas", both(&[3], &[(3, 1), (3, 1)])),
        ("areas", both(&[3], &[(0, 1)])),
        ("areas", both(&[3], &[(4, 1)])),
        ("areas/quantity", both(&[3], &[(3, 0)])),
    ] {
        assert_eq!(invalid_field(desk.no(1000, kill(1, places.clone()))), field);
        assert_eq!(invalid_field(desk.no(1000, give_back(1, places))), field);
    }
    let CommandKind::KillSeats(mut long) = kill(1, seats(&[3])) else { unreachable!() };
    long.reason = "x".repeat(65).into();
    assert_eq!(invalid_field(desk.no(1000, CommandKind::KillSeats(long.clone()))), "reason");
    long.event = 9;
    let refused = desk.no(1000, CommandKind::KillSeats(long));
    assert_eq!(refused, Rejection::NotFound { what: "event" });
    desk.ok(1000, kill(1, seats(&[3])));
}

/// An event as large as they may be.
#[test]
fn two_hundred_thousand_seats_are_killed_by_one_command_and_survive_a_snapshot() {
    let rows = |n: u16| (0..n).map(|no| row(&no.to_string(), 400, &[])).collect();
    let sections = vec![seated("S", 0, rows(500))];
    let mut desk = Desk::new(Limits::default());
    desk.ok(1000, CommandKind::OpenOnsale(Box::new(opening(1, &[100], sections))));
    let all: Vec<u32> = (0..200_000).collect();
    let command = Command { not_after_ms: u64::MAX, kind: kill(1, seats(&all)) };
    assert!(command.encoded_len() < 256 * 1024, "{} bytes", command.encoded_len());
    assert_eq!(command.encoded_len() / 200_000, 1);
    let batch = Batch { log_time_ms: 1000, commands: vec![command.clone()] };
    let mut bytes = Vec::new();
    batch.encode(&mut bytes);
    assert_eq!(Batch::decode(&bytes).as_ref(), Ok(&batch));
    desk.ok(1000, hold_seats(1, &[7]));
    let Done::Killed { killed, pending, .. } = desk.ok(1000, command.kind) else { unreachable!() };
    assert_eq!((killed, pending), (199_999, vec![7]));
    let mut bytes = Vec::new();
    desk.shard.encode_snapshot(&mut bytes);
    let twin = Shard::decode_snapshot(&bytes).unwrap();
    assert_eq!(twin.event(1).unwrap().killed_seats().count(), 200_000);
    let odd: Vec<u32> = (0..100_000).map(|seat| 2 * seat + 1).collect();
    desk.ok(1000, give_back(2, seats(&odd)));
    assert_eq!((desk.seat(7), desk.seat(8), desk.seat(9)), {
        (SeatState::Held, SeatState::Killed, SeatState::Available)
    });
}

#[test]
fn an_area_grows_at_once_and_shrinks_only_to_what_is_taken() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_items(1, 1, &[three()]));
    desk.ok(1000, hold_items(1, 2, &[three()]));
    desk.ok(1000, counter(2, 1));
    desk.ok(1000, kill(1, places(3, 2)));
    desk.ok(1000, hold_items(1, 3, &[best(1)]));
    let refused = desk.no(1000, capacity(2, &[(2, 1), (3, 7)]));
    let areas = vec![AreaTaken { section: 3, held: 3, sold: 3, killed: 2 }];
    assert_eq!(refused, Rejection::CapacityBelowTaken { areas });
    assert_eq!(counts(&desk, 2), [3, 0, 0, 0], "a refused change changes nothing");
    desk.ok(1000, capacity(2, &[(2, 1), (3, 8)]));
    assert_eq!((counts(&desk, 2), counts(&desk, 3)), ([1, 0, 0, 0], [0, 3, 3, 2]));
    desk.ok(1000, capacity(3, &[(3, 100)]));
    assert_eq!(counts(&desk, 3), [92, 3, 3, 2]);
    let map = desk.shard.event(1).unwrap().view().seat_map.clone();
    assert_eq!(map.sections()[3].area_capacity, Some(100));
    for (field, wrong) in [
        ("sections/capacity", vec![(0, 10)]),
        ("sections/capacity", vec![(9, 10)]),
        ("sections/capacity", vec![(3, 0)]),
        ("sections/capacity", vec![(3, 20), (2, 20)]),
        ("sections/capacity", vec![(3, 199_976)]),
    ] {
        assert_eq!(invalid_field(desk.no(1000, capacity(4, &wrong))), field, "{wrong:?}");
    }
    desk.ok(1000, capacity(4, &[(3, 199_975)]));
}

#[test]
fn a_growing_area_first_withdraws_what_waits_to_be() {
    let mut desk = Desk::new(Limits::default());
    let open = opening(1, &[9000, 5000, 2000], vec![area("G", 0, 4)]);
    desk.ok(1000, CommandKind::OpenOnsale(Box::new(open)));
    desk.ok(1000, hold_items(1, 1, &[best(3)]));
    desk.ok(1000, kill(1, places(0, 3)));
    assert_eq!(counts(&desk, 0), [0, 3, 0, 1]);
    desk.ok(1000, capacity(2, &[(0, 7)]));
    assert_eq!(counts(&desk, 0), [1, 3, 0, 3]);
}

#[test]
fn a_change_that_was_given_up_never_gets_in_force() {
    let mut desk = Desk::open();
    let drop = |revision| CommandKind::DropChange(DropChange { event: 1, revision });
    desk.ok(1000, drop(2));
    assert!(desk.tell(1000, drop(2)).replayed);
    let stale = Rejection::StaleRevision { in_force: 1 };
    assert_eq!(desk.no(1000, capacity(2, &[(3, 50)])), stale);
    assert_eq!(desk.no(1000, drop(1)), stale);
    desk.ok(1000, capacity(3, &[(3, 50)]));
    assert_eq!(desk.no(1000, drop(3)), Rejection::StaleRevision { in_force: 3 });
    assert_eq!(counts(&desk, 3)[0], 50);
}
