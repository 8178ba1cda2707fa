//! Channels: rule by rule.

use onsale_state::{
    command::{
        ChannelEntry, DropChannel, Hold, HoldItem, HoldTerms, KillSeats, PutChannel, ReturnSeats,
        Selection, SwapSeat, Wish,
    },
    *,
};

use crate::kit::{
    Desk, authorised, best, captured, checkout, counter, hold_items, hold_seats, invalid_field,
    key, lease, opening, order_id, release, row, seated, seats_of, settle, wish,
};

const SECRET: ChannelKeyHash = [7; 32];

fn put_of(name: &str, seats: &[u32]) -> PutChannel {
    PutChannel {
        event: 1,
        idempotency: key(0),
        key: name.into(),
        key_hash: None,
        places: Selection { seats: seats.to_vec(), areas: vec![] },
        release_at_ms: None,
        general_too: false,
    }
}

/// Under a key of its own.
fn put(no: u128, put: PutChannel) -> CommandKind {
    CommandKind::PutChannel(Box::new(PutChannel { idempotency: key(1 << 64 | no), ..put }))
}

fn drop_channel(no: u128, name: &str) -> CommandKind {
    let (event, idempotency, key) = (1, key(1 << 65 | no), name.into());
    CommandKind::DropChannel(Box::new(DropChannel { event, idempotency, key }))
}

fn kill(no: u128, places: Selection) -> CommandKind {
    let (event, idempotency, reason) = (1, key(1 << 66 | no), "camera".into());
    CommandKind::KillSeats(Box::new(KillSeats { event, idempotency, places, reason }))
}

fn give_back(no: u128, places: Selection) -> CommandKind {
    let idempotency = key(1 << 67 | no);
    CommandKind::ReturnSeats(Box::new(ReturnSeats { event: 1, idempotency, places }))
}

fn through(name: &str, key_hash: Option<ChannelKeyHash>, id: u128, item: HoldItem) -> CommandKind {
    let CommandKind::Hold(hold) = hold_items(1, id, &[item]) else { unreachable!() };
    let channel = Some(ChannelEntry { key: name.into(), key_hash });
    let terms = Some(Box::new(HoldTerms { channel, ..HoldTerms::default() }));
    CommandKind::Hold(Hold { terms, ..hold })
}

fn named(seats: &[u32]) -> HoldItem {
    HoldItem::Seats(seats.into())
}

fn places(section: u16, quantity: u16) -> HoldItem {
    let section = Some(section);
    HoldItem::BestAvailable(Wish { section, ..wish(quantity) })
}

fn seats(seats: &[u32]) -> Selection {
    Selection { seats: seats.to_vec(), areas: vec![] }
}

fn of_area(section: u16, quantity: u32) -> Selection {
    Selection { seats: vec![], areas: vec![(section, quantity)] }
}

/// Available, held, sold, killed, as everybody sees it.
fn counts(desk: &Desk, section: u16) -> [u32; 4] {
    let view = desk.shard.event(1).unwrap().view();
    let it = view.section_availability(section).unwrap();
    [it.available, it.held, it.sold, it.killed]
}

fn channel(desk: &Desk, name: &str) -> ChannelView {
    let channels = desk.shard.event(1).unwrap().channels();
    channels.into_iter().find(|channel| *channel.key == *name).expect("the channel")
}

fn seat_change(state: SeatState, seats: &[u32], until_ms: u64) -> Change {
    Change::Seats { event: 1, state, seats: seats.into(), key_tag: 0, until_ms }
}

/// Two channels, and who came through them.
pub fn some(desk: &mut Desk) {
    let both = Selection { seats: vec![8, 9, 11], areas: vec![(2, 1), (3, 4)] };
    let first = PutChannel { places: both, key_hash: Some(SECRET), ..put_of("fans", &[]) };
    desk.ok(1000, put(901, PutChannel { release_at_ms: Some(50_000), ..first }));
    desk.ok(1000, put(902, put_of("club", &[10])));
    desk.ok(1000, through("fans", Some(SECRET), 901, named(&[9])));
    desk.ok(1000, through("fans", Some(SECRET), 902, places(3, 2)));
    desk.ok(1000, counter(902, 901));
}

#[test]
fn what_is_set_aside_is_only_for_who_comes_through_the_channel() {
    let mut desk = Desk::open();
    desk.ok(1000, put(1, put_of("fans", &[3, 4, 5])));
    assert_eq!(desk.changes, [seat_change(SeatState::Held, &[3, 4, 5], 0)]);
    assert_eq!(counts(&desk, 0), [9, 3, 0, 0]);
    let refused = desk.no(1000, hold_seats(1, &[2, 3, 5]));
    assert_eq!(refused, Rejection::SeatUnavailable { seats: vec![3, 5] });
    let taken = seats_of(desk.ok(1000, hold_items(1, 2, &[places(0, 6)])));
    assert!(taken.iter().all(|seat| ![3, 4, 5].contains(seat)), "{taken:?}");
    // And nothing else for them.
    let refused = desk.no(1000, through("fans", None, 3, named(&[4, 2])));
    assert_eq!(refused, Rejection::SeatUnavailable { seats: vec![2] });
    assert_eq!(seats_of(desk.ok(1000, through("fans", None, 4, best(2)))), [3, 4]);
    let refused = desk.no(1000, through("fans", None, 5, best(2)));
    let held_may_return_at_ms = Some(61_000);
    assert_eq!(refused, Rejection::NotEnoughTogether { held_may_return_at_ms });
    let it = channel(&desk, "fans");
    assert_eq!((it.seats, it.available, it.taken), (vec![3, 4, 5], 1, 2));
}

#[test]
fn a_channel_with_a_secret_lets_nobody_in_without_it() {
    let mut desk = Desk::open();
    let with_secret = PutChannel { key_hash: Some(SECRET), ..put_of("club", &[3, 4]) };
    desk.ok(1000, put(1, with_secret));
    let forbidden = Rejection::ChannelForbidden;
    assert_eq!(desk.no(1000, through("club", None, 1, named(&[3]))), forbidden);
    assert_eq!(desk.no(1000, through("club", Some([8; 32]), 1, named(&[3]))), forbidden);
    assert_eq!(desk.no(1000, through("other", Some(SECRET), 1, named(&[3]))), forbidden);
    // Not even to what everybody may have.
    assert_eq!(desk.no(1000, through("other", None, 1, named(&[0]))), forbidden);
    desk.ok(1000, through("club", Some(SECRET), 1, named(&[3])));
    // The first answer stands, whoever asks again under its key.
    desk.ok(1000, drop_channel(1, "club"));
    assert!(desk.tell(1000, through("club", None, 1, named(&[3]))).replayed);
    assert_eq!(desk.no(1000, through("club", Some(SECRET), 2, named(&[4]))), forbidden);
}

#[test]
fn a_channel_takes_its_own_first_and_what_everybody_has_only_if_it_may() {
    let mut desk = Desk::open();
    let too = PutChannel { general_too: true, ..put_of("fans", &[10, 11]) };
    desk.ok(1000, put(1, too.clone()));
    // Worse than what everybody may have, and yet first.
    assert_eq!(seats_of(desk.ok(1000, through("fans", None, 1, places(0, 2)))), [10, 11]);
    assert_eq!(seats_of(desk.ok(1000, through("fans", None, 2, places(0, 2)))), [2, 3]);
    desk.ok(1000, release(1));
    assert_eq!(seats_of(desk.ok(1000, through("fans", None, 3, named(&[9, 10])))), [9, 10]);
    let before = counts(&desk, 0);
    desk.ok(1000, release(3));
    assert_eq!(counts(&desk, 0)[0], before[0] + 1, "each seat goes back where it came from");
    desk.ok(1000, put(2, PutChannel { general_too: false, ..too }));
    let refused = desk.no(1000, through("fans", None, 4, named(&[9, 10])));
    assert_eq!(refused, Rejection::SeatUnavailable { seats: vec![9] });
}

#[test]
fn places_of_an_area_are_used_up_from_the_allotment_first_and_come_back_to_it() {
    let mut desk = Desk::open();
    let too = PutChannel { general_too: true, places: of_area(3, 4), ..put_of("fans", &[]) };
    desk.ok(1000, put(1, too));
    assert_eq!(counts(&desk, 3), [6, 4, 0, 0]);
    desk.ok(1000, through("fans", None, 1, places(3, 3)));
    assert_eq!(counts(&desk, 3), [6, 4, 0, 0]);
    desk.ok(1000, through("fans", None, 2, places(3, 3)));
    assert_eq!(counts(&desk, 3), [4, 6, 0, 0], "one of its own and two of everybody's");
    let more = desk.no(1000, hold_items(1, 3, &[places(3, 5)]));
    assert!(matches!(more, Rejection::NotEnoughTogether { .. }));
    desk.ok(1000, release(1));
    // Six are used up with three given back: everybody's first.
    assert_eq!(counts(&desk, 3), [6, 4, 0, 0]);
    assert_eq!(channel(&desk, "fans").available, 1);
    desk.ok(1000, counter(2, 1));
    assert_eq!(counts(&desk, 3), [6, 1, 3, 0]);
}

#[test]
fn what_is_given_back_is_the_channels_again_however_its_hold_ends() {
    let ends: [&dyn Fn(&mut Desk); 3] = [
        &|desk| drop(desk.ok(2000, release(1))),
        &|desk| drop(desk.ok(61_000, CommandKind::Tick)),
        &|desk| {
            desk.ok(2000, checkout(1, 1));
            desk.ok(2000, lease(7));
            desk.ok(2000, settle(1, 7, authorised()));
            desk.ok(2000, lease(8));
            let refused = command::JobResult::CaptureRefused { reason: "expired".into() };
            desk.ok(2000, settle(2, 8, refused));
        },
    ];
    for end in ends {
        let mut desk = Desk::open();
        desk.ok(1000, put(1, put_of("fans", &[3, 4])));
        desk.ok(1000, through("fans", None, 1, named(&[3])));
        end(&mut desk);
        let change = seat_change(SeatState::Held, &[3], 0);
        assert!(desk.changes.contains(&change), "{:?}", desk.changes);
        let refused = desk.no(70_000, hold_seats(2, &[3]));
        assert_eq!(refused, Rejection::SeatUnavailable { seats: vec![3] });
        desk.ok(70_000, through("fans", None, 3, named(&[3])));
    }
}

#[test]
fn at_its_time_an_allotment_goes_to_everybody_in_one_step_and_what_is_held_when_it_is_freed() {
    let mut desk = Desk::open();
    let timed = PutChannel {
        release_at_ms: Some(50_000),
        places: Selection { seats: vec![3, 4, 5], areas: vec![(3, 4)] },
        ..put_of("fans", &[])
    };
    desk.ok(1000, put(1, timed.clone()));
    assert!(desk.changes.contains(&seat_change(SeatState::Held, &[3, 4, 5], 50_000)));
    assert_eq!(desk.shard.next_due_at_ms(), Some(50_000));
    desk.ok(1000, through("fans", None, 1, named(&[4])));
    desk.ok(1000, through("fans", None, 2, places(3, 1)));
    let refused = desk.no(49_999, hold_seats(3, &[3, 4, 5]));
    assert_eq!(refused, Rejection::SeatUnavailable { seats: vec![3, 4, 5] });
    // The entry that brings the time has what comes free with it.
    let outcomes = desk.entry(50_000, vec![hold_seats(4, &[3, 5]), hold_seats(5, &[4])]);
    assert!(outcomes[0].result.is_ok(), "{outcomes:?}");
    let refused = Rejection::SeatUnavailable { seats: vec![4] };
    assert_eq!(outcomes[1].result, Err(refused));
    assert!(desk.changes.contains(&seat_change(SeatState::Available, &[3, 5], 0)));
    assert_eq!(counts(&desk, 3), [9, 1, 0, 0]);
    let it = channel(&desk, "fans");
    assert_eq!((it.seats, it.areas, it.available, it.taken), (vec![], vec![], 0, 2));
    desk.ok(50_000, release(1));
    assert_eq!(desk.seat(4), SeatState::Available);
    desk.ok(50_000, release(2));
    assert_eq!(counts(&desk, 3), [10, 0, 0, 0]);
    // Over for good, until it is put again.
    let again = desk.no(50_000, put(2, timed.clone()));
    assert_eq!(invalid_field(again), "release_at");
    desk.ok(50_000, put(3, PutChannel { release_at_ms: Some(50_001), ..put_of("fans", &[4]) }));
    assert_eq!(desk.seat(4), SeatState::Held);
    desk.ok(50_001, CommandKind::Tick);
    assert_eq!(desk.seat(4), SeatState::Available);
}

#[test]
fn nothing_of_somebody_is_set_aside_and_all_of_it_is_listed() {
    let mut desk = Desk::open();
    desk.ok(1000, put(1, put_of("fans", &[0, 1])));
    desk.ok(1000, hold_seats(1, &[3]));
    desk.ok(1000, hold_seats(2, &[5]));
    desk.ok(1000, counter(2, 1));
    desk.ok(1000, kill(1, seats(&[8])));
    desk.ok(1000, hold_items(1, 3, &[places(3, 5)]));
    let all = Selection { seats: (0..10).collect(), areas: vec![(2, 3), (3, 6)] };
    let refused = desk.no(1000, put(2, PutChannel { places: all, ..put_of("club", &[]) }));
    let areas = vec![AreaTaken { section: 3, held: 5, sold: 0, killed: 0 }];
    assert_eq!(refused, Rejection::AllotmentUnavailable { seats: vec![0, 1, 3, 5, 8], areas });
    assert_eq!(desk.shard.event(1).unwrap().channels().len(), 1, "a refusal leaves nothing");
    assert_eq!(counts(&desk, 2), [3, 0, 0, 0]);
    let both = PutChannel { places: of_area(3, 4), ..put_of("club", &[2]) };
    desk.ok(1000, put(3, both));
    let refused = desk.no(1000, put(4, PutChannel { places: of_area(3, 2), ..put_of("box", &[]) }));
    let areas = vec![AreaTaken { section: 3, held: 5, sold: 0, killed: 0 }];
    assert_eq!(refused, Rejection::AllotmentUnavailable { seats: vec![], areas });
}

#[test]
fn a_channel_that_is_put_again_has_other_places_and_keeps_its_buyers() {
    let mut desk = Desk::open();
    let first = Selection { seats: vec![2, 3, 4], areas: vec![(3, 4)] };
    desk.ok(1000, put(1, PutChannel { places: first.clone(), ..put_of("fans", &[]) }));
    desk.ok(1000, through("fans", None, 1, named(&[3, 4])));
    desk.ok(1000, through("fans", None, 2, places(3, 3)));
    // The same again changes nothing and tells nobody.
    desk.ok(1000, put(2, PutChannel { places: first, ..put_of("fans", &[]) }));
    assert_eq!(desk.changes, []);
    // Without a seat that is held and one that is not, with another one.
    let other = Selection { seats: vec![4, 5], areas: vec![(3, 2)] };
    desk.ok(1000, put(3, PutChannel { places: other, ..put_of("fans", &[]) }));
    assert_eq!((desk.seat(2), desk.seat(5)), (SeatState::Available, SeatState::Held));
    assert_eq!(counts(&desk, 3), [7, 3, 0, 0]);
    desk.ok(1000, release(1));
    assert_eq!((desk.seat(3), desk.seat(4)), (SeatState::Available, SeatState::Held));
    desk.ok(1000, release(2));
    assert_eq!(counts(&desk, 3), [8, 2, 0, 0]);
    // Its own held and sold seats may stay in.
    desk.ok(1000, through("fans", None, 3, named(&[4])));
    desk.ok(1000, counter(3, 1));
    desk.ok(1000, put(4, put_of("fans", &[2, 4])));
    assert_eq!(channel(&desk, "fans").available, 1);
}

#[test]
fn a_dropped_channel_gives_its_places_back_and_a_new_one_of_its_name_is_another() {
    let mut desk = Desk::open();
    let both = Selection { seats: vec![3, 4], areas: vec![(3, 4)] };
    desk.ok(1000, put(1, PutChannel { places: both, ..put_of("fans", &[]) }));
    desk.ok(1000, through("fans", None, 1, named(&[3])));
    desk.ok(1000, through("fans", None, 2, places(3, 2)));
    desk.ok(1000, drop_channel(1, "fans"));
    assert_eq!((desk.seat(3), desk.seat(4)), (SeatState::Held, SeatState::Available));
    assert_eq!(counts(&desk, 3), [8, 2, 0, 0]);
    assert!(desk.tell(1000, drop_channel(1, "fans")).replayed);
    assert_eq!(desk.no(1000, drop_channel(2, "fans")), Rejection::NotFound { what: "channel" });
    desk.ok(1000, put(2, PutChannel { places: of_area(3, 4), ..put_of("fans", &[]) }));
    assert_eq!(channel(&desk, "fans").taken, 0);
    assert_eq!(counts(&desk, 3), [4, 6, 0, 0]);
    desk.ok(1000, release(1));
    desk.ok(1000, release(2));
    assert_eq!((desk.seat(3), counts(&desk, 3)), (SeatState::Available, [6, 4, 0, 0]));
}

#[test]
fn seats_that_are_set_aside_are_killed_at_once_and_returned_to_their_channel() {
    let mut desk = Desk::open();
    let both = Selection { seats: vec![3, 4], areas: vec![(3, 4)] };
    desk.ok(1000, put(1, PutChannel { places: both, ..put_of("fans", &[]) }));
    let done = desk.ok(1000, kill(1, seats(&[3])));
    assert_eq!(done, Done::Killed { killed: 1, pending: vec![], pending_areas: vec![] });
    assert_eq!(desk.seat(3), SeatState::Killed);
    let refused = desk.no(1000, through("fans", None, 1, named(&[3])));
    assert_eq!(refused, Rejection::SeatUnavailable { seats: vec![3] });
    desk.ok(1000, give_back(1, seats(&[3])));
    assert_eq!(desk.seat(3), SeatState::Held);
    desk.ok(1000, through("fans", None, 1, named(&[3])));
    desk.ok(1000, release(1));
    // Of an area everybody's places go first.
    desk.ok(1000, kill(2, of_area(3, 6)));
    assert_eq!((counts(&desk, 3), channel(&desk, "fans").available), ([0, 4, 0, 6], 6));
    desk.ok(1000, kill(3, of_area(3, 3)));
    assert_eq!((counts(&desk, 3), channel(&desk, "fans").available), ([0, 1, 0, 9], 2 + 1));
    desk.ok(1000, give_back(2, of_area(3, 9)));
    assert_eq!((counts(&desk, 3), channel(&desk, "fans").available), ([6, 4, 0, 0], 6));
}

#[test]
fn a_ticket_moves_to_what_everybody_or_its_own_channel_has() {
    let mut desk = Desk::open();
    desk.ok(1000, put(1, put_of("fans", &[2, 3])));
    desk.ok(1000, put(2, put_of("club", &[4])));
    desk.ok(1000, through("fans", None, 1, named(&[2])));
    desk.ok(1000, checkout(1, 1));
    desk.ok(1000, lease(7));
    desk.ok(1000, settle(1, 7, authorised()));
    desk.ok(1000, lease(8));
    desk.ok(1000, settle(2, 8, captured(1)));
    let swap = |no: u128, ticket, to_seat| {
        let (order, idempotency) = (order_id(1), key(1 << 68 | no));
        let reason = "".into();
        CommandKind::SwapSeat(Box::new(SwapSeat { order, ticket, to_seat, idempotency, reason }))
    };
    let refused = desk.no(1000, swap(1, 1, 4));
    assert_eq!(refused, Rejection::SeatUnavailable { seats: vec![4] });
    desk.ok(1000, swap(2, 1, 3));
    assert_eq!((desk.seat(2), desk.seat(3)), (SeatState::Held, SeatState::Sold));
    desk.ok(1000, swap(3, 2, 0));
    assert_eq!((desk.seat(0), desk.seat(3)), (SeatState::Sold, SeatState::Held));
    assert_eq!(channel(&desk, "fans").available, 2);
}

#[test]
fn accessible_seats_are_set_aside_with_their_companions() {
    let mut desk = Desk::open();
    desk.ok(1000, CommandKind::OpenOnsale(Box::new(crate::kit::gallery())));
    let companions = PutChannel { event: 4, ..put_of("fans", &[0, 1]) };
    desk.ok(1000, put(1, companions));
    let wish = HoldItem::BestAvailable(Wish { accessible: true, companions: 1, ..wish(1) });
    let CommandKind::Hold(hold) = through("fans", None, 1, wish.clone()) else { unreachable!() };
    assert_eq!(seats_of(desk.ok(1000, CommandKind::Hold(Hold { event: 4, ..hold }))), [0, 1]);
    assert_eq!(seats_of(desk.ok(1000, hold_items(4, 2, &[wish]))), [11, 12]);
}

#[test]
fn a_put_that_makes_no_sense_names_its_field_and_channels_are_few() {
    let mut desk = Desk::open();
    assert_eq!(invalid_field(desk.no(1000, put(1, put_of("", &[1])))), "key");
    assert_eq!(invalid_field(desk.no(1000, put(1, put_of(&"k".repeat(65), &[1])))), "key");
    assert_eq!(invalid_field(desk.no(1000, put(1, put_of("a", &[24])))), "seats");
    assert_eq!(invalid_field(desk.no(1000, put(1, put_of("a", &[2, 1])))), "seats");
    let seated = PutChannel { places: of_area(0, 1), ..put_of("a", &[]) };
    assert_eq!(invalid_field(desk.no(1000, put(1, seated))), "areas");
    let past = PutChannel { release_at_ms: Some(1000), ..put_of("a", &[1]) };
    assert_eq!(invalid_field(desk.no(1000, put(1, past))), "release_at");
    let nowhere = PutChannel { event: 9, ..put_of("a", &[1]) };
    assert_eq!(desk.no(1000, put(1, nowhere)), Rejection::NotFound { what: "event" });
    for no in 0..limits::CHANNELS_MAX {
        desk.ok(1000, put(10 + no as u128, put_of(&format!("c{no}"), &[])));
    }
    let refused = desk.no(1000, put(5, put_of("more", &[])));
    assert_eq!(refused, Rejection::Overloaded { bound: "channels_max" });
    desk.ok(1000, put(6, put_of("c0", &[5])));
}

#[test]
fn channels_survive_a_snapshot_with_all_that_was_taken_through_them() {
    let mut desk = Desk::open();
    let both = Selection { seats: vec![2, 3, 4, 9], areas: vec![(3, 4)] };
    let timed = PutChannel {
        release_at_ms: Some(50_000),
        key_hash: Some(SECRET),
        places: both,
        ..put_of("fans", &[])
    };
    desk.ok(1000, put(1, timed));
    desk.ok(1000, through("fans", Some(SECRET), 1, named(&[3])));
    desk.ok(1000, through("fans", Some(SECRET), 2, places(3, 2)));
    desk.ok(1000, counter(2, 1));
    let mut bytes = Vec::new();
    desk.shard.encode_snapshot(&mut bytes);
    desk.shard = Shard::decode_snapshot(&bytes).expect("a snapshot");
    let it = channel(&desk, "fans");
    assert_eq!((it.seats, it.available, it.taken), (vec![2, 3, 4, 9], 3 + 2, 3));
    assert_eq!(desk.no(1000, through("fans", None, 3, named(&[2]))), Rejection::ChannelForbidden);
    desk.ok(1000, through("fans", Some(SECRET), 3, places(3, 2)));
    assert_eq!(counts(&desk, 3), [6, 2, 2, 0]);
    desk.ok(50_000, CommandKind::Tick);
    assert_eq!(desk.seat(2), SeatState::Available);
}

#[test]
fn who_may_not_come_in_is_not_told_when_it_opens() {
    let mut desk = Desk::open();
    let mut early = opening(5, &[100], vec![seated("S", 0, vec![row("A", 4, &[])])]);
    early.onsale_at_ms = 9_000;
    desk.ok(1000, CommandKind::OpenOnsale(Box::new(early)));
    desk.ok(1000, put(1, PutChannel { event: 5, ..put_of("fans", &[1]) }));
    let hold = |name: &str, item: HoldItem| {
        let CommandKind::Hold(hold) = through(name, None, 1, item) else { unreachable!() };
        CommandKind::Hold(Hold { event: 5, ..hold })
    };
    assert_eq!(invalid_field(desk.no(1000, hold("club", best(0)))), "items/0/quantity");
    assert_eq!(desk.no(1000, hold("club", best(1))), Rejection::ChannelForbidden);
    let refused = desk.no(1000, hold("fans", best(1)));
    assert_eq!(refused, Rejection::NotOnSale { onsale_at_ms: 9_000 });
    desk.ok(9_000, hold("fans", best(1)));
}

#[test]
fn two_hundred_thousand_seats_are_set_aside_by_one_command_and_released_in_one_step() {
    let rows = (0..500).map(|no: u16| row(&no.to_string(), 400, &[])).collect();
    let mut desk = Desk::new(Limits::default());
    let open = opening(1, &[100], vec![seated("S", 0, rows)]);
    desk.ok(1000, CommandKind::OpenOnsale(Box::new(open)));
    let all: Vec<u32> = (0..200_000).collect();
    let all = PutChannel { release_at_ms: Some(9_000), ..put_of("fans", &all) };
    let command = Command { not_after_ms: u64::MAX, kind: put(1, all) };
    assert!(command.encoded_len() < 256 * 1024, "{} bytes", command.encoded_len());
    desk.ok(1000, command.kind);
    assert_eq!(counts(&desk, 0), [0, 200_000, 0, 0]);
    desk.ok(1000, through("fans", None, 1, best(6)));
    let mut bytes = Vec::new();
    desk.shard.encode_snapshot(&mut bytes);
    assert!(bytes.len() < 64 * 1024, "{} bytes: runs are written, not seats", bytes.len());
    desk.shard = Shard::decode_snapshot(&bytes).expect("a snapshot");
    assert_eq!(channel(&desk, "fans").available, 199_994);
    desk.ok(9_000, CommandKind::Tick);
    assert_eq!(counts(&desk, 0), [199_994, 6, 0, 0]);
    assert_eq!(desk.changes.len(), 1, "in one step");
}

#[test]
fn a_wish_through_a_channel_is_not_allotted_with_everybodys() {
    let mut desk = Desk::open();
    desk.ok(1000, put(1, put_of("fans", &[2, 3])));
    let small = hold_items(1, 1, &[places(0, 2)]);
    let fan = through("fans", None, 2, places(0, 2));
    let large = hold_items(1, 3, &[places(0, 4)]);
    let outcomes = desk.entry(1000, vec![small, fan, large]);
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()), "{outcomes:?}");
    let fans = seats_of(outcomes[1].result.clone().unwrap());
    assert_eq!(fans, [2, 3]);
}

#[test]
fn what_nobody_found_among_everybodys_may_be_found_with_the_channels() {
    let mut desk = Desk::open();
    desk.ok(1000, put(1, PutChannel { general_too: true, ..put_of("fans", &[2]) }));
    desk.ok(1000, hold_seats(1, &[0, 1, 4, 5]));
    desk.ok(1000, hold_seats(2, &[8, 9, 10]));
    let refused = desk.no(1000, hold_items(1, 3, &[places(0, 2)]));
    assert!(matches!(refused, Rejection::NotEnoughTogether { .. }), "{refused:?}");
    assert_eq!(seats_of(desk.ok(1000, through("fans", None, 4, places(0, 2)))), [2, 3]);
}

#[test]
fn a_quota_that_refuses_a_channels_buyer_leaves_both_pools_as_they_were() {
    let mut desk = Desk::open();
    desk.ok(1000, CommandKind::OpenOnsale(Box::new(crate::kit::festival())));
    let four = PutChannel { event: 3, places: of_area(1, 4), ..put_of("fans", &[]) };
    desk.ok(1000, put(1, four));
    desk.ok(1000, hold_items(3, 1, &[places(1, 3)]));
    let CommandKind::Hold(hold) = through("fans", None, 2, places(1, 4)) else { unreachable!() };
    let refused = desk.no(1000, CommandKind::Hold(Hold { event: 3, ..hold }));
    assert_eq!(refused, Rejection::QuotaExhausted { quota: "first area".into() });
    let view = desk.shard.event(3).unwrap().view().section_availability(1).unwrap();
    assert_eq!((view.available, view.held), (1, 7));
}
