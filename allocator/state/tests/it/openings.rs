//! Openings, changes and names of an event, rule by rule.

use onsale_state::{command::ChangeOnsale, *};

use crate::kit::{Desk, area, club, hold_seats, invalid_field, opening, row, seated, theatre};

#[test]
fn seats_are_found_by_their_names_and_by_no_other() {
    let desk = Desk::open();
    let map = desk.shard.event(1).unwrap().view().seat_map.clone();
    for seat in 0..map.seats() {
        assert_eq!(map.seat_no(&map.label(seat).unwrap()), Some(seat));
    }
    assert_eq!(map.label(6).as_deref(), Some("S-B-1"));
    for name in ["", "S", "S-B", "S-B-0", "S-B-01", "S-B-+1", "S-B-7", "S-B-1 ", "T-B-1", "-1"] {
        assert_eq!(map.seat_no(name), None, "{name}");
    }
    assert_eq!(map.section_no("G1"), Some(2));
}

#[test]
fn an_opening_that_makes_no_sense_is_refused() {
    let mut desk = Desk::new(Limits::default());
    let rows = || vec![row("A", 4, &[])];
    let good = || opening(1, &[1], vec![seated("S", 0, rows())]);
    let mut cases = vec![];
    let mut case = |field, change: &dyn Fn(&mut command::OpenOnsale)| {
        let mut open = good();
        change(&mut open);
        cases.push((field, open));
    };
    case("event", &|o| o.event = 0);
    case("event_id", &|o| o.event_id = "".into());
    case("revision", &|o| o.revision = 0);
    case("currency", &|o| o.currency = *b"eur");
    case("prices_minor", &|o| o.prices_minor = vec![u64::MAX]);
    case("prices_minor", &|o| o.prices_minor = vec![]);
    case("rules/seats_per_order_max", &|o| o.rules.seats_per_order_max = 65);
    case("rules/hold_ttl_ms", &|o| o.rules.hold_ttl_ms = 999);
    case("sections", &|o| o.sections = vec![]);
    case("sections", &|o| o.sections.push(area("X", 0, 200_000)));
    case("sections/key", &|o| o.sections.push(area("S", 0, 1)));
    case("sections/category", &|o| o.sections[0].category = 1);
    case("sections/capacity", &|o| o.sections.push(area("X", 0, 0)));
    case("sections/rows", &|o| o.sections.push(seated("X", 0, vec![])));
    case("sections/rows/seats", &|o| o.sections.push(seated("X", 0, vec![row("A", 0, &[])])));
    let twice = || vec![row("A", 1, &[]), row("A", 1, &[])];
    case("sections/rows/label", &|o| o.sections.push(seated("X", 0, twice())));
    let dashed = || vec![seated("S-A", 0, vec![row("B", 1, &[])]), seated("Z", 0, rows())];
    case("sections/rows/label", &|o| {
        o.sections = dashed();
        o.sections.push(seated("Y", 0, vec![row("", 1, &[])]));
    });
    let backwards = || vec![row("A", 4, &[2, 1])];
    case("sections/rows/accessible", &|o| o.sections.push(seated("X", 0, backwards())));
    for (field, open) in cases {
        let refused = desk.no(1000, CommandKind::OpenOnsale(Box::new(open)));
        assert_eq!(invalid_field(refused), field);
    }
    let ambiguous =
        vec![seated("S-A", 0, vec![row("B", 1, &[])]), seated("S", 0, vec![row("A-B", 1, &[])])];
    let refused = desk.no(1000, CommandKind::OpenOnsale(Box::new(opening(1, &[1], ambiguous))));
    assert_eq!(invalid_field(refused), "sections/rows/label");
    desk.ok(1000, CommandKind::OpenOnsale(Box::new(good())));
}

#[test]
fn opening_twice_changes_nothing_and_another_revision_is_refused() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[3]));
    assert!(desk.tell(1000, CommandKind::OpenOnsale(Box::new(theatre()))).replayed);
    assert_eq!(desk.seat(3), SeatState::Held);
    let newer = command::OpenOnsale { revision: 2, ..theatre() };
    let refused = desk.no(1000, CommandKind::OpenOnsale(Box::new(newer)));
    assert_eq!(refused, Rejection::StaleRevision { in_force: 1 });
    let other = command::OpenOnsale { event_id: "evt_x".into(), ..theatre() };
    let refused = desk.no(1000, CommandKind::OpenOnsale(Box::new(other)));
    assert_eq!(invalid_field(refused), "event");
    let other = command::OpenOnsale { event: 8, ..theatre() };
    let refused = desk.no(1000, CommandKind::OpenOnsale(Box::new(other)));
    assert_eq!(invalid_field(refused), "event_id");
}

#[test]
fn a_change_of_prices_leaves_holds_at_theirs() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[3]));
    let change = ChangeOnsale {
        offer: None,
        event: 1,
        revision: 2,
        onsale_at_ms: 0,
        prices_minor: vec![1, 2, 3],
        rules: crate::kit::rules(),
        capacities: vec![],
    };
    let command = |change: &ChangeOnsale| CommandKind::ChangeOnsale(Box::new(change.clone()));
    let wrong = ChangeOnsale { prices_minor: vec![1], ..change.clone() };
    assert_eq!(invalid_field(desk.no(1000, command(&wrong))), "prices_minor");
    desk.ok(1000, command(&change));
    assert!(desk.tell(1000, command(&change)).replayed);
    assert_eq!(desk.shard.hold(HoldId(1)).unwrap().places[0].price_minor, 5000);
    let Done::Held(held) = desk.ok(1000, hold_seats(2, &[4])) else { unreachable!() };
    assert_eq!(held.places[0].price_minor, 2);
    let view = desk.shard.event(1).unwrap().view();
    assert_eq!((view.revision, view.prices_minor.to_vec()), (2, vec![1, 2, 3]));
}

#[test]
fn a_selling_shard_and_the_control_group_refuse_each_others_commands() {
    let mut desk = Desk::open();
    let publish = command::PublishEvent { event_id: "evt_1".into(), revision: 1 };
    let refused = desk.no(1000, CommandKind::PublishEvent(publish));
    assert_eq!(refused, Rejection::WrongShard);
    desk.shard = Shard::new(0, 4, Limits::default());
    let refused = desk.no(1000, CommandKind::OpenOnsale(Box::new(club())));
    assert_eq!(refused, Rejection::WrongShard);
    desk.ok(1000, CommandKind::Tick);
}
