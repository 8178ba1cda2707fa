//! Presale and voucher codes, rule by rule.

use onsale_state::{
    command::{
        CodeBatch, CodeEffect, CodeTerms, Hold, HoldItem, HoldTerms, JobResult, OpenOnsale,
        PutCodes, Tier, Wish,
    },
    *,
};

use crate::kit::{
    self, Desk, authorised, best, captured, checkout, counter, declined, festival, hold_seats,
    invalid_field, key, lease, order_id, release, settle, theatre,
};

const FANS: u128 = 70;

fn terms(effect: CodeEffect) -> CodeTerms {
    CodeTerms {
        label: "fans".into(),
        effect,
        uses_max: 1,
        valid_from_ms: 0,
        valid_until_ms: None,
        categories: vec![],
    }
}

fn put_in(event: u32, id: u128, terms: &CodeTerms, hashes: &[u128]) -> CommandKind {
    let batches = vec![CodeBatch { terms: terms.clone(), hashes: hashes.to_vec() }];
    CommandKind::PutCodes(Box::new(PutCodes { event, idempotency: key(5000 + id), batches }))
}

fn put(id: u128, terms: &CodeTerms, hashes: &[u128]) -> CommandKind {
    put_in(1, id, terms, hashes)
}

fn with_code(id: u128, code: u128, item: HoldItem) -> CommandKind {
    CommandKind::Hold(Hold {
        event: 1,
        hold: HoldId(id),
        idempotency: key(id),
        items: [item].as_slice().into(),
        terms: Some(Box::new(HoldTerms { code: Some(code), ..HoldTerms::default() })),
    })
}

fn seats(id: u128, code: u128, seats: &[u32]) -> CommandKind {
    with_code(id, code, HoldItem::Seats(seats.into()))
}

/// The theatre, open from `onsale_at_ms`, with a code.
fn desk(onsale_at_ms: u64, terms: &CodeTerms) -> Desk {
    let mut desk = Desk::new(Limits::default());
    let open = OpenOnsale { onsale_at_ms, ..theatre() };
    desk.ok(1000, CommandKind::OpenOnsale(Box::new(open)));
    desk.ok(1000, put(0, terms, &[FANS]));
    desk
}

fn uses(desk: &Desk, code: u128) -> u32 {
    desk.shard.event(1).expect("event").uses_of_code(code).expect("a code")
}

fn prices(done: Done) -> Vec<u64> {
    let Done::Held(held) = done else { panic!("{done:?} is not a hold") };
    held.places.iter().map(|place| place.price_minor).collect()
}

fn fault(rejection: Rejection) -> CodeFault {
    let Rejection::CodeInvalid { fault } = rejection else { panic!("{rejection:?}") };
    fault
}

fn restart(desk: &mut Desk) {
    let mut bytes = Vec::new();
    desk.shard.encode_snapshot(&mut bytes);
    desk.shard = Shard::decode_snapshot(&bytes).expect("its own snapshot");
    let mut again = Vec::new();
    desk.shard.encode_snapshot(&mut again);
    assert_eq!(again, bytes);
}

#[test]
fn a_use_is_counted_with_the_hold_and_given_back_when_it_ends_without_an_order() {
    let mut desk = desk(0, &terms(CodeEffect::PercentOff(10)));
    desk.ok(1000, seats(1, FANS, &[0]));
    assert_eq!(uses(&desk, FANS), 1);
    assert_eq!(desk.no(1000, seats(2, FANS, &[1])), Rejection::CodeUsedUp);
    assert!(desk.tell(1000, seats(1, FANS, &[0])).replayed);
    desk.ok(1000, release(1));
    desk.ok(1000, seats(3, FANS, &[1]));
    assert_eq!(desk.no(60_999, seats(4, FANS, &[2])), Rejection::CodeUsedUp);
    restart(&mut desk);
    desk.ok(61_000, seats(4, FANS, &[2]));
    assert_eq!(uses(&desk, FANS), 1);
}

#[test]
fn a_use_stays_with_an_order_and_comes_back_with_its_money_refused() {
    let mut desk = desk(0, &terms(CodeEffect::PercentOff(10)));
    desk.ok(1000, seats(1, FANS, &[0]));
    desk.ok(1000, checkout(1, 5));
    let Done::Leased(jobs) = desk.ok(1000, lease(9)) else { panic!("no jobs") };
    desk.ok(1000, settle(jobs[0].job.0, 9, declined()));
    assert_eq!(uses(&desk, FANS), 1, "the hold lives on");
    desk.ok(1000, checkout(1, 6));
    let Done::Leased(jobs) = desk.ok(1000, lease(10)) else { panic!("no jobs") };
    desk.ok(1000, settle(jobs[0].job.0, 10, authorised()));
    restart(&mut desk);
    assert_eq!(desk.no(900_000, seats(2, FANS, &[1])), Rejection::CodeUsedUp);
    let Done::Leased(jobs) = desk.ok(900_000, lease(11)) else { panic!("no jobs") };
    let refused = JobResult::CaptureRefused { reason: "expired".into() };
    desk.ok(900_000, settle(jobs[0].job.0, 11, refused));
    assert_eq!(uses(&desk, FANS), 0);

    desk.ok(900_000, seats(3, FANS, &[1]));
    desk.ok(900_000, checkout(3, 7));
    for lease_no in [12, 13] {
        let Done::Leased(jobs) = desk.ok(900_000, lease(lease_no)) else { panic!("no jobs") };
        let job = jobs.iter().find(|job| job.order == order_id(7)).expect("a job");
        let result = if lease_no == 12 { authorised() } else { captured(1) };
        desk.ok(900_000, settle(job.job.0, lease_no, result));
    }
    desk.ok(9_000_000, CommandKind::Tick);
    assert!(desk.shard.hold(HoldId(3)).is_none(), "its hold is forgotten");
    assert_eq!(desk.no(9_000_000, seats(4, FANS, &[2])), Rejection::CodeUsedUp);
}

#[test]
fn a_presale_code_opens_the_event_for_its_time_and_categories_and_a_voucher_never() {
    let presale = CodeTerms {
        uses_max: 3,
        valid_from_ms: 10_000,
        valid_until_ms: Some(20_000),
        categories: vec![1],
        ..terms(CodeEffect::Presale)
    };
    let mut desk = desk(50_000, &presale);
    desk.ok(1000, put(1, &terms(CodeEffect::Price(1)), &[71]));
    assert_eq!(fault(desk.no(9_999, seats(1, FANS, &[0]))), CodeFault::NotYetValid);
    let closed = Rejection::NotOnSale { onsale_at_ms: 50_000 };
    assert_eq!(desk.no(10_000, hold_seats(1, &[0])), closed);
    assert_eq!(desk.no(10_000, seats(1, 71, &[0])), closed);
    assert_eq!(fault(desk.no(10_000, seats(1, FANS, &[0, 12]))), CodeFault::OtherCategories);
    assert_eq!(uses(&desk, FANS), 0);
    assert_eq!(prices(desk.ok(10_000, seats(1, FANS, &[0]))), [5000]);
    let wish = Wish { quantity: 2, category: Some(1), ..Wish::default() };
    desk.ok(19_999, with_code(2, FANS, HoldItem::BestAvailable(wish)));
    assert_eq!(fault(desk.no(20_000, seats(3, FANS, &[2]))), CodeFault::Expired);
    assert_eq!(fault(desk.no(50_000, seats(3, FANS, &[2]))), CodeFault::Expired);
    desk.ok(50_000, hold_seats(3, &[12]));
}

#[test]
fn a_vouchers_price_is_rounded_half_up_and_never_dearer() {
    for (price, effect, with) in [
        (5, CodeEffect::PercentOff(50), 3),
        (5, CodeEffect::PercentOff(51), 2),
        (4999, CodeEffect::PercentOff(15), 4249),
        (1, CodeEffect::PercentOff(1), 1),
        (limits::PRICE_MINOR_MAX, CodeEffect::PercentOff(99), limits::PRICE_MINOR_MAX / 100),
        (7, CodeEffect::PercentOff(100), 0),
        (7, CodeEffect::Price(6), 6),
        (7, CodeEffect::Price(8), 7),
    ] {
        let mut desk = Desk::new(Limits::default());
        let open = OpenOnsale { prices_minor: vec![0, price, 0], ..theatre() };
        desk.ok(1000, CommandKind::OpenOnsale(Box::new(open)));
        desk.ok(1000, put(0, &terms(effect), &[FANS]));
        let held = prices(desk.ok(1000, seats(1, FANS, &[0])));
        assert_eq!(held, [with], "{price} with {effect:?}");
    }
}

#[test]
fn a_voucher_for_categories_is_good_for_their_places_only() {
    let voucher = CodeTerms { categories: vec![0], ..terms(CodeEffect::PercentOff(50)) };
    let mut desk = desk(0, &voucher);
    let refused = desk.no(1000, seats(1, FANS, &[0, 1]));
    assert_eq!(fault(refused), CodeFault::OtherCategories);
    assert_eq!((desk.seat(0), uses(&desk, FANS)), (SeatState::Available, 0));
    assert_eq!(prices(desk.ok(1000, seats(2, FANS, &[0, 12]))), [5000, 4500]);
    restart(&mut desk);
    desk.ok(1000, checkout(2, 5));
    let order = desk.shard.order(order_id(5)).expect("order");
    assert_eq!(order.total_minor, 9500);
    let Done::Leased(jobs) = desk.ok(1000, lease(9)) else { panic!("no jobs") };
    assert_eq!(jobs[0].amount_minor, 9500, "just that is paid");
}

#[test]
fn a_hold_that_a_voucher_makes_free_is_sold_at_once_and_keeps_its_use() {
    let mut desk = desk(0, &terms(CodeEffect::PercentOff(100)));
    desk.ok(1000, seats(1, FANS, &[0]));
    desk.ok(1000, checkout(1, 5));
    assert_eq!(desk.shard.order(order_id(5)).expect("order").status, OrderStatus::Sold);
    assert_eq!(desk.no(90_000, seats(2, FANS, &[1])), Rejection::CodeUsedUp);
    desk.ok(90_000, put(1, &CodeTerms { uses_max: 2, ..terms(CodeEffect::Price(9)) }, &[FANS]));
    desk.ok(90_000, seats(2, FANS, &[1]));
    desk.ok(90_000, counter(2, 6));
    assert_eq!(uses(&desk, FANS), 2, "another limit and effect, the same uses");
}

#[test]
fn a_code_is_asked_before_the_opening_and_the_buyers_limit_and_after_what_makes_no_sense() {
    let mut desk = desk(50_000, &terms(CodeEffect::Presale));
    assert_eq!(fault(desk.no(1000, seats(1, 71, &[0]))), CodeFault::Unknown);
    assert_eq!(invalid_field(desk.no(1000, seats(1, 71, &[99]))), "items/0/seats");
    desk.ok(1000, seats(1, FANS, &[0]));
    assert_eq!(desk.no(1000, seats(2, FANS, &[0])), Rejection::CodeUsedUp);
    let another = CodeTerms { uses_max: 5, ..terms(CodeEffect::Presale) };
    desk.ok(1000, put(1, &another, &[FANS]));
    assert_eq!(desk.no(1000, seats(2, FANS, &[0])), Rejection::SeatUnavailable { seats: vec![0] });
    assert_eq!(uses(&desk, FANS), 1);
}

#[test]
fn wishes_side_by_side_use_a_code_as_often_as_it_may_be() {
    let mut desk = desk(0, &terms(CodeEffect::PercentOff(10)));
    let wishes = [(1, 1), (2, 3), (3, 2)].map(|(id, n)| with_code(id, FANS, best(n)));
    let outcomes = desk.entry(1000, wishes.to_vec());
    assert!(outcomes[0].result.is_ok());
    assert_eq!(outcomes[1].result, Err(Rejection::CodeUsedUp));
    assert_eq!(outcomes[2].result, Err(Rejection::CodeUsedUp));
}

#[test]
fn a_voucher_takes_off_what_the_tier_costs_and_a_refusal_leaves_the_tier_open() {
    let mut desk = Desk::new(Limits::default());
    let mut open = festival();
    let offer = open.offer.as_mut().expect("an offer");
    offer.quotas.clear();
    for line in &mut offer.lines {
        line.tiers = vec![Tier { price_minor: 1000, count: Some(1), until_ms: None }];
    }
    desk.ok(1000, CommandKind::OpenOnsale(Box::new(open)));
    let voucher = CodeTerms { categories: vec![1], ..terms(CodeEffect::PercentOff(50)) };
    desk.ok(1000, put_in(3, 0, &voucher, &[FANS]));
    let ask = |id, section| {
        let wish = Wish { quantity: 2, section: Some(section), ..Wish::default() };
        let hold = with_code(id, FANS, HoldItem::BestAvailable(wish));
        let CommandKind::Hold(hold) = hold else { unreachable!() };
        CommandKind::Hold(Hold { event: 3, ..hold })
    };
    assert_eq!(fault(desk.no(1000, ask(1, 0))), CodeFault::OtherCategories);
    assert_eq!(prices(desk.ok(1000, ask(2, 1))), [500, 1500]);
    desk.ok(1000, release(2));
    assert_eq!(prices(desk.ok(1000, ask(3, 1))), [500, 1500]);
}

#[test]
fn organizers_see_codes_by_what_they_are_good_for_and_how_often_they_were_used() {
    let voucher = CodeTerms { uses_max: 2, ..terms(CodeEffect::Price(100)) };
    let mut desk = desk(0, &voucher);
    desk.ok(1000, put(1, &voucher, &[71, 72]));
    let press = CodeTerms { label: "press".into(), ..terms(CodeEffect::Presale) };
    desk.ok(1000, put(2, &press, &[73]));
    for (id, code) in [(1, FANS), (2, FANS), (3, 72), (4, 73)] {
        desk.ok(1000, seats(id, code, &[id as u32]));
    }
    let seen = |desk: &Desk| {
        let codes = desk.shard.event(1).expect("event").codes();
        let line = |it: CodesView| (it.terms.label.to_string(), it.codes, it.uses);
        codes.into_iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(seen(&desk), [("fans".into(), 3, 3), ("press".into(), 1, 1)]);
    desk.ok(1000, put(3, &press, &[FANS, 71, 72]));
    assert_eq!(seen(&desk), [("press".into(), 4, 4)]);
    restart(&mut desk);
    desk.ok(1000, put(4, &voucher, &[71]));
    assert_eq!(seen(&desk), [("fans".into(), 1, 0), ("press".into(), 3, 4)]);
}

#[test]
fn codes_that_make_no_sense_or_are_too_many_are_refused() {
    let mut desk = desk(0, &terms(CodeEffect::Presale));
    let good = || terms(CodeEffect::PercentOff(10));
    let until = |valid_until_ms| CodeTerms { valid_from_ms: 5, valid_until_ms, ..good() };
    for (terms, hashes, field) in [
        (good(), vec![], "codes"),
        (good(), vec![1, 2, 1], "codes"),
        (good(), (0..10_001).collect(), "codes"),
        (CodeTerms { label: "".into(), ..good() }, vec![1], "codes/label"),
        (CodeTerms { label: "x".repeat(65).into(), ..good() }, vec![1], "codes/label"),
        (terms(CodeEffect::PercentOff(0)), vec![1], "codes/percent_off"),
        (terms(CodeEffect::PercentOff(101)), vec![1], "codes/percent_off"),
        (terms(CodeEffect::Price(limits::PRICE_MINOR_MAX + 1)), vec![1], "codes/price_minor"),
        (CodeTerms { uses_max: 0, ..good() }, vec![1], "codes/uses_max"),
        (until(Some(5)), vec![1], "codes/valid_until"),
        (CodeTerms { categories: vec![1, 0], ..good() }, vec![1], "codes/categories"),
        (CodeTerms { categories: vec![3], ..good() }, vec![1], "codes/categories"),
    ] {
        assert_eq!(invalid_field(desk.no(1000, put(1, &terms, &hashes))), field);
    }
    let missing = desk.no(1000, put_in(7, 1, &good(), &[1]));
    assert_eq!(missing, Rejection::NotFound { what: "event" });
    for nth in 0..10u128 {
        let last = nth == 9;
        let hashes: Vec<u128> =
            (0..10_000 - u128::from(last)).map(|h| 1000 * 1000 * (nth + 1) + h).collect();
        desk.ok(1000, put(10 + nth, &good(), &hashes));
    }
    let full = Rejection::Overloaded { bound: "codes_max" };
    assert_eq!(desk.no(1000, put(30, &good(), &[1])), full);
    desk.ok(1000, put(30, &good(), &[FANS]));
    for nth in 1..1000u128 {
        let label: Box<str> = format!("l{nth}").into();
        desk.ok(1000, put(100 + nth, &CodeTerms { label, ..good() }, &[1_000_000 + nth]));
    }
    let full = Rejection::Overloaded { bound: "code_terms_max" };
    let another = CodeTerms { label: "m".into(), ..good() };
    assert_eq!(desk.no(1000, put(31, &another, &[1_000_000])), full);
}

#[test]
fn a_price_limit_is_compared_with_what_the_buyer_pays_with_the_code() {
    let half = CodeTerms { uses_max: 2, categories: vec![0], ..terms(CodeEffect::PercentOff(50)) };
    let mut desk = desk(0, &half);
    let up_to = |max| {
        let price_max_minor = Some(max);
        HoldItem::BestAvailable(Wish { quantity: 2, price_max_minor, ..Wish::default() })
    };
    let without = desk.no(1000, kit::hold_items(1, 1, &[up_to(4999)]));
    assert!(matches!(without, Rejection::SoldOut { .. }), "{without:?}");
    let little = desk.no(1000, with_code(2, FANS, up_to(4499)));
    assert!(matches!(little, Rejection::SoldOut { .. }), "{little:?}");
    assert_eq!(desk.shard.event(1).expect("event").uses_of_code(FANS), Some(0));
    let Done::Held(held) = desk.ok(1000, with_code(3, FANS, up_to(4500))) else { panic!("held") };
    let paid: Vec<_> = held.places.iter().map(|it| (it.category, it.price_minor)).collect();
    assert_eq!(paid, [(0, 4500), (0, 4500)]);
    assert_eq!(desk.shard.event(1).expect("event").uses_of_code(FANS), Some(1));
}
