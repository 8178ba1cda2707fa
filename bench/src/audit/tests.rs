//! Sales made by hand: clean ones, and one for each way to break a promise.

use serde_json::json;

use super::*;

const NOW: u64 = 1_000_000;

fn hold(id: &str, seats: &[&str], end: End) -> HoldAck {
    let place = |seat: &&str| Place { seat_id: Some((*seat).into()), section: "S".into() };
    HoldAck {
        hold_id: id.to_owned(),
        hold_token: String::new(),
        places: seats.iter().map(place).collect(),
        answered_ms: NOW - 1_000,
        expires_ms: NOW + 600_000,
        end,
    }
}

fn ordered(id: &str) -> End {
    End::Ordered(OrderAck {
        order_id: id.to_owned(),
        order_token: String::new(),
        last_status: "confirmed".to_owned(),
    })
}

/// A sale of four seats: one sold, one kept, one released, one untouched.
fn sale() -> (Vec<HoldAck>, Seen) {
    let acks = vec![
        hold("h_sold", &["S-A-1"], ordered("o_1")),
        hold("h_kept", &["S-A-2"], End::Kept),
        hold("h_released", &["S-A-3"], End::Released { asked_ms: NOW - 500 }),
    ];
    let rows = json!([{"label": "A", "seats": 4}]);
    let seats = EventSeats::of_map("evt", &json!({"sections": [{"key": "S", "rows": rows}]}));
    let section = SeenSection {
        capacity: 4,
        available: 2,
        held: 1,
        sold: 1,
        killed: 0,
        first_seat: 0,
        states: vec![2, 1, 0, 0],
    };
    let seen_hold = |http, state: &str| SeenHold { http, state: state.to_owned() };
    let order = SeenOrder {
        http: 200,
        status: "confirmed".to_owned(),
        tickets: vec![("tkt_1".to_owned(), Some("S-A-1".to_owned()))],
    };
    let seen = Seen {
        at_ms: NOW,
        holds: HashMap::from([
            ("h_kept".to_owned(), seen_hold(200, "held")),
            ("h_released".to_owned(), seen_hold(200, "released")),
        ]),
        orders: HashMap::from([("o_1".to_owned(), order)]),
        sections: BTreeMap::from([("S".to_owned(), section)]),
        seats,
        sold_before: BTreeMap::new(),
    };
    (acks, seen)
}

fn section(seen: &mut Seen) -> &mut SeenSection {
    seen.sections.get_mut("S").expect("the section")
}

fn kinds(acks: &[HoldAck], seen: &Seen) -> Vec<Kind> {
    audit(acks, seen).violations.iter().map(|violation| violation.kind).collect()
}

#[test]
fn a_clean_sale_passes() {
    let (acks, seen) = sale();
    let verdict = audit(&acks, &seen);
    assert_eq!(verdict.violations, vec![]);
    assert_eq!((verdict.confirmed_orders, verdict.tickets, verdict.holds), (1, 1, 3));
}

#[test]
fn a_seat_with_two_owners_at_once_is_oversold() {
    let (mut acks, seen) = sale();
    acks.push(hold("h_second", &["S-A-1"], End::CheckoutUnknown));
    assert_eq!(kinds(&acks, &seen), [Kind::Oversold]);
}

#[test]
fn a_seat_that_came_back_may_have_a_second_owner() {
    let (mut acks, seen) = sale();
    let mut second = hold("h_second", &["S-A-3"], End::CheckoutUnknown);
    second.answered_ms = NOW - 400;
    acks.push(second);
    assert_eq!(kinds(&acks, &seen), []);
    acks[3].answered_ms = NOW - 600;
    assert_eq!(kinds(&acks, &seen), [Kind::Oversold], "before the release was even asked for");
}

#[test]
fn one_ticket_or_seat_in_two_orders_is_oversold() {
    let (mut acks, mut seen) = sale();
    let mut twin = hold("h_twin", &["S-A-1"], ordered("o_2"));
    twin.answered_ms = u64::MAX;
    acks.push(twin);
    seen.orders.insert("o_2".to_owned(), seen.orders["o_1"].clone());
    let verdict = audit(&acks, &seen);
    let what: Vec<&str> = verdict.violations.iter().map(|v| v.what.as_str()).collect();
    assert!(what.iter().any(|what| what.contains("tkt_1 was given out twice")), "{what:?}");
    assert!(what.iter().any(|what| what.contains("S-A-1 was sold twice")), "{what:?}");
}

#[test]
fn a_general_admission_area_cannot_hold_more_than_its_places() {
    let (acks, mut seen) = sale();
    let floor = SeenSection { capacity: 2, held: 1, sold: 2, ..SeenSection::default() };
    seen.sections.insert("FLOOR".to_owned(), floor);
    assert_eq!(kinds(&acks, &seen), [Kind::Oversold, Kind::BooksDisagree]);
}

#[test]
fn a_confirmed_order_that_is_gone_or_has_changed_its_mind_is_lost() {
    let (acks, mut seen) = sale();
    let order = seen.orders.get_mut("o_1").expect("the order");
    order.http = 404;
    assert_eq!(kinds(&acks, &seen), [Kind::LostAcknowledgement]);
    let order = seen.orders.get_mut("o_1").expect("the order");
    (order.http, order.status) = (200, "failed".to_owned());
    assert_eq!(kinds(&acks, &seen), [Kind::LostAcknowledgement]);
    let order = seen.orders.get_mut("o_1").expect("the order");
    order.status = "processing".to_owned();
    assert_eq!(audit(&acks, &seen).undecided_orders, 1);
}

#[test]
fn a_granted_hold_that_vanished_is_lost_and_a_released_one_must_not_live() {
    let (acks, mut seen) = sale();
    seen.holds.insert("h_kept".to_owned(), SeenHold { http: 404, state: String::new() });
    let alive = SeenHold { http: 200, state: "held".to_owned() };
    seen.holds.insert("h_released".to_owned(), alive);
    assert_eq!(kinds(&acks, &seen), [Kind::LostAcknowledgement, Kind::LostAcknowledgement]);
}

#[test]
fn tickets_for_other_seats_than_the_holds_disagree() {
    let (acks, mut seen) = sale();
    let order = seen.orders.get_mut("o_1").expect("the order");
    order.tickets[0].1 = Some("S-A-4".to_owned());
    assert_eq!(kinds(&acks, &seen), [Kind::BooksDisagree]);
    let order = seen.orders.get_mut("o_1").expect("the order");
    order.tickets.clear();
    assert_eq!(kinds(&acks, &seen), [Kind::BooksDisagree]);
}

#[test]
fn availability_that_forgets_a_sale_or_does_not_add_up_is_found() {
    let (acks, mut seen) = sale();
    seen.sold_before.insert("S".to_owned(), 1);
    assert_eq!(kinds(&acks, &seen), [Kind::LostAcknowledgement], "fewer than before");
    let (acks, mut seen) = sale();
    section(&mut seen).states[0] = 0;
    assert_eq!(kinds(&acks, &seen), [Kind::BooksDisagree, Kind::LostAcknowledgement]);
    let (acks, mut seen) = sale();
    section(&mut seen).available = 3;
    assert_eq!(kinds(&acks, &seen), [Kind::BooksDisagree, Kind::BooksDisagree]);
}
