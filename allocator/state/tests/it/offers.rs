//! Ticket types, early prices and quotas, rule by rule.

use onsale_state::{
    command::{ChangeOnsale, Hold, HoldItem, HoldTerms, Offer, PriceLine, Quota, Tier, Wish},
    *,
};

use crate::kit::{
    self, Desk, authorised, best, captured, checkout, festival, hold_items, invalid_field, key,
    lease, release, rules, settle,
};

fn typed(id: u128, item: HoldItem, types: &[u16]) -> CommandKind {
    CommandKind::Hold(Hold {
        event: 3,
        hold: HoldId(id),
        idempotency: key(id),
        items: [item].as_slice().into(),
        terms: Some(Box::new(HoldTerms { types: types.to_vec(), ..HoldTerms::default() })),
    })
}

fn in_section(section: u16, quantity: u16) -> HoldItem {
    HoldItem::BestAvailable(Wish { quantity, section: Some(section), ..Wish::default() })
}

fn prices(done: Done) -> Vec<(u16, u64)> {
    let Done::Held(held) = done else { panic!("{done:?} is not a hold") };
    held.places.iter().map(|place| (place.ticket_type, place.price_minor)).collect()
}

fn desk(offer: Offer) -> Desk {
    let mut desk = Desk::new(Limits::default());
    let open = command::OpenOnsale { offer: Some(Box::new(offer)), ..festival() };
    desk.ok(1000, CommandKind::OpenOnsale(Box::new(open)));
    desk
}

fn line(category: u16, ticket_type: Option<u16>, price_minor: u64, tiers: &[Tier]) -> PriceLine {
    PriceLine { category, ticket_type, price_minor, tiers: tiers.to_vec() }
}

fn first(count: u32, price_minor: u64) -> Tier {
    Tier { price_minor, count: Some(count), until_ms: None }
}

fn quota(key: &str, size: u32, sections: &[u16], types: &[u16]) -> Quota {
    let (sections, types) = (sections.to_vec(), types.to_vec());
    Quota { key: key.into(), size, sections, categories: vec![], types }
}

fn change(revision: u64, prices_minor: &[u64], offer: Option<Offer>) -> CommandKind {
    CommandKind::ChangeOnsale(Box::new(ChangeOnsale {
        event: 3,
        revision,
        onsale_at_ms: 0,
        prices_minor: prices_minor.to_vec(),
        capacities: vec![],
        offer: offer.map(Box::new),
        rules: rules(),
    }))
}

#[test]
fn each_place_of_a_mix_has_its_types_price_in_the_order_asked() {
    let lines = vec![line(1, Some(1), 1500, &[]), line(1, Some(2), 0, &[])];
    let mut desk = desk(Offer { types: 3, lines, quotas: vec![] });
    let mix = desk.ok(1000, typed(1, in_section(1, 4), &[0, 1, 1, 2]));
    assert_eq!(prices(mix), [(0, 3000), (1, 1500), (1, 1500), (2, 0)]);
    let without = desk.ok(1000, hold_items(3, 2, &[in_section(0, 1)]));
    assert_eq!(prices(without), [(0, 7000)], "the first type, where none is said");
}

#[test]
fn types_that_do_not_fit_the_event_or_the_places_are_refused() {
    let mut desk = desk(Offer { types: 2, ..Offer::default() });
    for (types, quantity) in [(&[2, 0][..], 2), (&[0], 2), (&[0, 1, 1], 2)] {
        let refused = desk.no(1000, typed(1, in_section(1, quantity), types));
        assert_eq!(invalid_field(refused), "types");
    }
    let mut plain = Desk::open();
    let CommandKind::Hold(mut hold) = typed(1, best(1), &[0]) else { unreachable!() };
    hold.event = 1;
    assert_eq!(invalid_field(plain.no(1000, CommandKind::Hold(hold))), "types");
}

#[test]
fn a_hold_over_the_end_of_a_tier_takes_the_rest_of_it_and_then_the_next() {
    let tiers = [first(2, 1000), first(1, 2000)];
    let lines = vec![line(1, None, 3000, &tiers)];
    let mut desk = desk(Offer { types: 0, lines, quotas: vec![] });
    let early = desk.ok(1000, hold_items(3, 1, &[in_section(1, 4)]));
    assert_eq!(prices(early), [(0, 1000), (0, 1000), (0, 2000), (0, 3000)]);
    desk.ok(1000, release(1));
    let again = desk.ok(1000, hold_items(3, 2, &[in_section(1, 1)]));
    assert_eq!(prices(again), [(0, 1000)], "what comes back opens its tier again");
}

#[test]
fn a_tier_ends_at_its_time_and_not_before() {
    let tiers = [Tier { price_minor: 1000, count: None, until_ms: Some(5000) }];
    let lines = vec![line(1, None, 3000, &tiers)];
    let mut desk = desk(Offer { types: 0, lines, quotas: vec![] });
    let before = desk.ok(4999, hold_items(3, 1, &[in_section(1, 1)]));
    let after = desk.ok(5000, hold_items(3, 2, &[in_section(1, 1)]));
    assert_eq!((prices(before), prices(after)), (vec![(0, 1000)], vec![(0, 3000)]));
}

#[test]
fn a_hold_keeps_its_price_through_every_change_and_pays_just_that() {
    let lines = vec![line(1, None, 3000, &[first(1, 1000)]), line(1, Some(1), 1500, &[])];
    let mut desk = desk(Offer { types: 2, lines, quotas: vec![] });
    desk.ok(1000, typed(1, in_section(1, 3), &[0, 0, 1]));
    let dearer = vec![line(1, None, 9000, &[]), line(1, Some(1), 8000, &[])];
    let dearer = Offer { types: 2, lines: dearer, quotas: vec![] };
    desk.ok(1000, change(2, &[7000, 9000], Some(dearer)));
    let places = desk.shard.hold(HoldId(1)).expect("hold").places;
    let minor: Vec<u64> = places.iter().map(|place| place.price_minor).collect();
    assert_eq!(minor, [1000, 3000, 1500]);
    desk.ok(1000, checkout(1, 5));
    let Done::Leased(jobs) = desk.ok(1000, lease(9)) else { panic!("no jobs") };
    assert_eq!((jobs[0].amount_minor, &jobs[0].places), (5500, &places));
    desk.ok(1000, settle(jobs[0].job.0, 9, authorised()));
    let order = desk.shard.order(kit::order_id(5)).expect("order");
    assert_eq!((order.total_minor, &order.places), (5500, &places));
    let Done::Leased(jobs) = desk.ok(1000, lease(10)) else { panic!("no jobs") };
    assert_eq!(jobs[0].amount_minor, 5500, "the capture is of the same money");
    desk.ok(1000, settle(jobs[0].job.0, 10, captured(3)));
    let mut bytes = Vec::new();
    desk.shard.encode_snapshot(&mut bytes);
    let restored = Shard::decode_snapshot(&bytes).expect("its own snapshot");
    assert_eq!(restored.order(kit::order_id(5)).expect("order").total_minor, 5500);
}

#[test]
fn a_ticket_that_moves_keeps_its_type_and_price_and_counts_where_it_is() {
    let lines = vec![line(0, None, 7000, &[first(1, 1000)]), line(0, Some(1), 3000, &[])];
    let quotas = vec![quota("side", 1, &[3], &[]), quota("front", 2, &[0], &[])];
    let mut desk = desk(Offer { types: 2, lines, quotas });
    desk.ok(1000, typed(1, in_section(0, 2), &[0, 1]));
    desk.ok(1000, kit::counter(1, 5));
    let Done::Leased(jobs) = desk.ok(1000, lease(9)) else { panic!("no jobs") };
    let issued = command::JobResult::Issued { signing_key: 3, signatures: vec![[9; 64]; 2] };
    desk.ok(1000, settle(jobs[0].job.0, 9, issued));
    let swap = |no: u128, ticket, to_seat| {
        CommandKind::SwapSeat(Box::new(command::SwapSeat {
            order: kit::order_id(5),
            ticket,
            to_seat,
            idempotency: key(2000 + no),
            reason: "".into(),
        }))
    };
    desk.ok(1000, swap(1, 2, 7));
    let order = desk.shard.order(kit::order_id(5)).expect("order");
    let moved = (order.places[1].seat, order.places[1].ticket_type, order.places[1].price_minor);
    assert_eq!((moved, order.total_minor), ((Some(7), 1, 3000), 4000));
    let void = &order.moved[0].place;
    assert_eq!((void.seat, void.ticket_type, void.price_minor), (Some(3), 1, 3000));
    let full = desk.no(1000, swap(2, 1, 8));
    assert_eq!(full, Rejection::QuotaExhausted { quota: "side".into() });
    desk.ok(1000, hold_items(3, 2, &[in_section(0, 1)]));
    let full = desk.no(1000, swap(3, 3, 5));
    assert_eq!(full, Rejection::QuotaExhausted { quota: "front".into() });
}

#[test]
fn a_free_mix_is_sold_at_once_though_its_category_costs() {
    let lines = vec![line(1, Some(1), 0, &[])];
    let mut desk = desk(Offer { types: 2, lines, quotas: vec![] });
    desk.ok(1000, typed(1, in_section(1, 2), &[1, 1]));
    desk.ok(1000, checkout(1, 5));
    let order = desk.shard.order(kit::order_id(5)).expect("order");
    assert_eq!((order.status, order.total_minor), (OrderStatus::Sold, 0));
}

#[test]
fn a_place_counts_against_every_quota_that_means_it() {
    let quotas = vec![
        quota("all", 5, &[], &[]),
        quota("floor", 3, &[1], &[]),
        quota("children", 2, &[], &[1]),
    ];
    let mut desk = desk(Offer { types: 2, lines: vec![], quotas });
    desk.ok(1000, typed(1, in_section(1, 2), &[0, 1]));
    let exhausted =
        |desk: &mut Desk, id, item, types: &[u16]| match desk.no(1000, typed(id, item, types)) {
            Rejection::QuotaExhausted { quota } => quota.to_string(),
            other => panic!("{other:?}"),
        };
    assert_eq!(exhausted(&mut desk, 2, in_section(1, 2), &[0, 0]), "floor");
    assert_eq!(exhausted(&mut desk, 3, in_section(0, 2), &[1, 1]), "children");
    assert_eq!(exhausted(&mut desk, 4, in_section(0, 4), &[0, 0, 0, 0]), "all");
    desk.ok(1000, typed(5, in_section(0, 3), &[0, 0, 1]));
    assert_eq!(exhausted(&mut desk, 6, in_section(2, 1), &[0]), "all");
    desk.ok(1000, release(1));
    desk.ok(1000, typed(7, in_section(1, 2), &[0, 1]));
}

fn sections(done: Done) -> Vec<u16> {
    let Done::Held(held) = done else { panic!("{done:?} is not a hold") };
    held.places.iter().map(|place| place.section).collect()
}

fn of_category(category: u16, quantity: u16) -> HoldItem {
    HoldItem::BestAvailable(Wish { quantity, category: Some(category), ..Wish::default() })
}

#[test]
fn a_wish_keeps_out_of_a_section_whose_quota_has_no_room_for_all_of_it() {
    let quotas = vec![quota("front", 3, &[0], &[]), quota("ground", 4, &[1], &[])];
    let mut desk = desk(Offer { types: 0, lines: vec![], quotas });
    let first = desk.ok(1000, hold_items(3, 1, &[of_category(0, 2)]));
    assert_eq!(sections(first), [0, 0], "there is room");
    let second = desk.ok(1000, hold_items(3, 2, &[of_category(0, 2)]));
    assert_eq!(sections(second), [3, 3], "there is not");
    let single = desk.ok(1000, hold_items(3, 3, &[in_section(0, 1)]));
    assert_eq!(sections(single), [0], "for one there is");
    let ground = desk.ok(1000, hold_items(3, 4, &[of_category(1, 5)]));
    assert_eq!(sections(ground), [2; 5]);
    desk.ok(1000, release(1));
    let again = desk.ok(1000, hold_items(3, 5, &[of_category(0, 2)]));
    assert_eq!(sections(again), [0, 0], "what comes back makes room");
    let full = desk.no(1000, hold_items(3, 6, &[in_section(0, 1)]));
    assert_eq!(full, Rejection::QuotaExhausted { quota: "front".into() }, "who names it hears why");
}

#[test]
fn what_a_hold_has_besides_counts_and_other_types_do_not() {
    let quotas = vec![quota("front kids", 2, &[0], &[1])];
    let mut desk = desk(Offer { types: 2, lines: vec![], quotas });
    let kids = HoldItem::Seats([0].as_slice().into());
    let mixed = |id, items: &[HoldItem], types: &[u16]| {
        let CommandKind::Hold(hold) = typed(id, best(1), types) else { unreachable!() };
        CommandKind::Hold(Hold { items: items.into(), ..hold })
    };
    let wish = of_category(0, 2);
    let later = mixed(1, &[wish.clone(), kids.clone()], &[1, 1, 1]);
    assert_eq!(sections(desk.ok(1000, later)), [3, 3, 0], "a seat named after the wish");
    desk.ok(1000, release(1));
    let before = mixed(2, &[kids.clone(), wish.clone()], &[1, 1, 1]);
    assert_eq!(sections(desk.ok(1000, before)), [0, 3, 3], "a seat named before it");
    desk.ok(1000, release(2));
    let grown_up = mixed(3, &[kids, wish], &[0, 1, 1]);
    assert_eq!(sections(desk.ok(1000, grown_up)), [0, 0, 0], "of another type");
}

#[test]
fn larger_groups_of_a_batch_choose_first_also_where_there_are_quotas() {
    let quotas = vec![quota("all", 5, &[], &[])];
    let lines = vec![line(0, None, 7000, &[first(1, 1000)])];
    let mut desk = desk(Offer { types: 0, lines, quotas });
    let wish = |id, quantity| hold_items(3, id, &[of_category(0, quantity)]);
    let outcomes = desk.entry(1000, vec![wish(1, 1), wish(2, 3)]);
    let done: Vec<Done> = outcomes.into_iter().map(|it| it.result.expect("held")).collect();
    assert_eq!(prices(done[0].clone()), [(0, 1000)], "who came first has the early price");
    let alone = {
        let lines = vec![line(0, None, 7000, &[first(1, 1000)])];
        let mut desk = self::desk(Offer { types: 0, lines, quotas: vec![] });
        let large = kit::seats_of(desk.ok(1000, wish(2, 3)));
        (large, kit::seats_of(desk.ok(1000, wish(1, 1))))
    };
    assert_eq!((kit::seats_of(done[1].clone()), kit::seats_of(done[0].clone())), alone);
    let outcomes = desk.entry(1000, vec![wish(3, 1), wish(4, 2)]);
    assert!(outcomes[0].result.is_ok(), "where a quota has not room for all, who came first");
    let full = Rejection::QuotaExhausted { quota: "all".into() };
    assert_eq!(outcomes[1].result, Err(full));
}

#[test]
fn who_came_first_has_the_early_prices_though_larger_groups_could_choose_first() {
    let lines = vec![line(0, None, 9000, &[first(4, 1000)])];
    let offer = Some(Box::new(Offer { types: 0, lines, quotas: vec![] }));
    let mut desk = Desk::new(Limits::default());
    let open =
        command::OpenOnsale { prices_minor: vec![9000, 1000, 2000], offer, ..kit::theatre() };
    desk.ok(1000, CommandKind::OpenOnsale(Box::new(open)));
    let wish = |id, quantity, price_max_minor| {
        let wish = Wish { quantity, price_max_minor, ..Wish::default() };
        hold_items(1, id, &[HoldItem::BestAvailable(wish)])
    };
    let wishes = vec![wish(1, 2, None), wish(2, 2, None), wish(3, 3, Some(1000))];
    let outcomes = desk.entry(1000, wishes).into_iter();
    let sections = outcomes.map(|outcome| sections(outcome.result.expect("held")));
    // After the others the front is too dear for the largest group: it sits in the stalls.
    assert_eq!(sections.collect::<Vec<_>>(), [vec![1, 1], vec![1, 1], vec![0, 0, 0]]);
}

#[test]
fn a_refusal_by_a_quota_leaves_every_place_as_it_was() {
    let mut desk = desk(Offer { types: 0, lines: vec![], quotas: vec![quota("q", 1, &[], &[])] });
    desk.no(1000, hold_items(3, 1, &[in_section(0, 2), in_section(1, 1)]));
    let done = desk.ok(1000, hold_items(3, 2, &[in_section(0, 1)]));
    assert_eq!(prices(done), [(0, 7000)]);
}

#[test]
fn a_quota_below_what_is_taken_is_refused_with_every_such_quota() {
    let mut desk = desk(Offer { types: 1, ..Offer::default() });
    desk.ok(1000, typed(1, in_section(1, 3), &[0, 0, 0]));
    let quotas = vec![quota("a", 2, &[], &[]), quota("b", 3, &[], &[]), quota("c", 0, &[1], &[])];
    let narrow = Offer { types: 1, lines: vec![], quotas };
    let refused = desk.no(1000, change(2, &[7000, 3000], Some(narrow.clone())));
    let taken = |quota: &str| QuotaTaken { quota: quota.into(), taken: 3 };
    assert_eq!(refused, Rejection::QuotaBelowTaken { quotas: vec![taken("a"), taken("c")] });
    desk.ok(1000, release(1));
    desk.ok(1000, change(2, &[7000, 3000], Some(narrow)));
}

#[test]
fn types_are_only_ever_added() {
    let mut typed = desk(Offer { types: 2, ..Offer::default() });
    for fewer in [None, Some(Offer { types: 1, ..Offer::default() })] {
        assert_eq!(invalid_field(typed.no(1000, change(2, &[7000, 3000], fewer))), "types");
    }
    typed.ok(1000, change(2, &[7000, 3000], Some(Offer { types: 3, ..Offer::default() })));
    let mut plain = Desk::new(Limits::default());
    let open = command::OpenOnsale { offer: None, ..festival() };
    plain.ok(1000, CommandKind::OpenOnsale(Box::new(open)));
    let first = Offer { types: 1, ..Offer::default() };
    plain.ok(1000, change(2, &[7000, 3000], Some(first)));
    assert_eq!(invalid_field(plain.no(1000, change(3, &[7000, 3000], None))), "types");
}

/// An event without types with a hold, an ended hold and a sale; then its first types.
fn typed_late(quotas: Vec<Quota>) -> (Desk, CommandKind) {
    let mut desk = Desk::new(Limits::default());
    let tiers = vec![line(1, None, 3000, &[first(1, 1000)])];
    let open = Offer { types: 0, lines: tiers.clone(), quotas: vec![] };
    let open = command::OpenOnsale { offer: Some(Box::new(open)), ..festival() };
    desk.ok(1000, CommandKind::OpenOnsale(Box::new(open)));
    desk.ok(1000, hold_items(3, 1, &[in_section(1, 2)]));
    desk.ok(1000, kit::counter(1, 5));
    desk.ok(1000, hold_items(3, 2, &[in_section(1, 1)]));
    desk.ok(1000, hold_items(3, 3, &[in_section(0, 1)]));
    desk.ok(1000, release(3));
    let lines = vec![tiers[0].clone(), line(1, Some(1), 1500, &[])];
    (desk, change(2, &[7000, 3000], Some(Offer { types: 2, lines, quotas })))
}

#[test]
fn what_was_taken_before_the_first_types_has_none_of_them_and_keeps_its_price() {
    let quotas = vec![quota("adults", 1, &[], &[0]), quota("all", 4, &[], &[])];
    let (mut desk, typed_at_last) = typed_late(quotas);
    let before = desk.shard.hold(HoldId(2)).expect("hold").places[0];
    desk.ok(1000, typed_at_last);
    let order = desk.shard.order(kit::order_id(5)).expect("order");
    let sold: Vec<_> = order.places.iter().map(|it| (it.ticket_type, it.price_minor)).collect();
    assert_eq!(sold, [(NO_TYPE, 1000), (NO_TYPE, 3000)]);
    let held = Place { ticket_type: NO_TYPE, ..before };
    assert_eq!(desk.shard.hold(HoldId(2)).expect("hold").places[..], [held]);
    for (id, item) in [(2, in_section(1, 1)), (3, in_section(0, 1))] {
        let told_again = desk.tell(1000, hold_items(3, id, &[item])).result.expect("done");
        assert_eq!(prices(told_again)[0].0, NO_TYPE, "hold {id} says what it said");
    }
    desk.ok(1000, typed(6, in_section(1, 1), &[0]));
    let full = desk.no(1000, typed(7, in_section(1, 1), &[0]));
    assert_eq!(full, Rejection::QuotaExhausted { quota: "adults".into() }, "of its own type");
    let full = desk.no(1000, typed(8, in_section(1, 1), &[1]));
    assert_eq!(full, Rejection::QuotaExhausted { quota: "all".into() }, "three were before");
    assert_eq!(invalid_field(desk.no(1000, typed(9, in_section(1, 1), &[NO_TYPE]))), "types");
    desk.ok(1000, release(2));
    desk.ok(1000, typed(10, in_section(1, 1), &[1]));
    let mut bytes = Vec::new();
    desk.shard.encode_snapshot(&mut bytes);
    let restored = Shard::decode_snapshot(&bytes).expect("its own snapshot");
    assert_eq!(restored.order(kit::order_id(5)).expect("order").places, order.places);
    assert_eq!(restored.check_invariants(), []);
}

#[test]
fn first_types_that_a_quota_refuses_leave_everything_as_it_was() {
    let (mut desk, narrow) = typed_late(vec![quota("all", 2, &[], &[])]);
    let refused = desk.no(1000, narrow);
    let quotas = vec![QuotaTaken { quota: "all".into(), taken: 3 }];
    assert_eq!(refused, Rejection::QuotaBelowTaken { quotas });
    assert_eq!(desk.shard.hold(HoldId(2)).expect("hold").places[0].ticket_type, 0);
    assert_eq!(invalid_field(desk.no(1000, typed(6, in_section(1, 1), &[0]))), "types");
}

#[test]
fn an_offer_that_makes_no_sense_is_not_opened() {
    let quotas = |quota: Quota| Offer { types: 2, lines: vec![], quotas: vec![quota] };
    let lines = |lines: &[PriceLine]| Offer { types: 2, lines: lines.to_vec(), quotas: vec![] };
    let endless = Tier { price_minor: 1, count: None, until_ms: None };
    for (offer, field) in [
        (Offer { types: 65, ..Offer::default() }, "types"),
        (lines(&[line(2, Some(0), 1, &[])]), "prices/category"),
        (lines(&[line(0, Some(2), 1, &[])]), "prices/type"),
        (lines(&[line(0, None, 1, &[])]), "prices/price_minor"),
        (lines(&[line(0, Some(0), u64::MAX, &[])]), "prices/price_minor"),
        (lines(&[line(0, Some(0), 1, &[endless])]), "tiers"),
        (lines(&[line(0, Some(0), 1, &[first(1, 1); 17])]), "tiers"),
        (lines(&[line(0, Some(1), 1, &[]), line(0, Some(1), 1, &[])]), "prices"),
        (quotas(quota("", 1, &[], &[])), "quotas/key"),
        (quotas(quota("q", 1, &[4], &[])), "quotas/sections"),
        (quotas(quota("q", 1, &[1, 0], &[])), "quotas/sections"),
        (quotas(quota("q", 1, &[], &[2])), "quotas/types"),
    ] {
        let mut desk = Desk::new(Limits::default());
        let open = command::OpenOnsale { offer: Some(Box::new(offer)), ..festival() };
        let refused = desk.no(1000, CommandKind::OpenOnsale(Box::new(open)));
        assert_eq!(invalid_field(refused), field);
    }
}
