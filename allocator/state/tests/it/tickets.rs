//! Tickets that move to other seats and get other names, rule by rule.

use onsale_state::{
    command::{Contact, JobResult, KillSeats, RenameTicket, Selection, SwapSeat},
    *,
};

use crate::kit::{
    Desk, authorised, captured, checkout, hold_items, hold_seats, invalid_field, key, lease,
    order_id, settle,
};

fn swap(no: u128, ticket: u16, to_seat: u32) -> CommandKind {
    CommandKind::SwapSeat(Box::new(SwapSeat {
        order: order_id(1),
        ticket,
        to_seat,
        idempotency: key(1 << 64 | no),
        reason: "broken seat".into(),
    }))
}

fn rename(no: u128, ticket: Option<u16>, name: &str) -> CommandKind {
    CommandKind::RenameTicket(Box::new(RenameTicket {
        order: order_id(1),
        ticket,
        idempotency: key(1 << 64 | no),
        contact_commitment: [1; 32],
        contact: Contact { salt: [0; 16], name: name.into(), email: "".into() },
    }))
}

fn issued(tickets: usize) -> JobResult {
    JobResult::Issued { signing_key: 4, signatures: vec![[8; 64]; tickets] }
}

/// Seats 3 and 4 paid and ticketed; job 3 comes next.
fn ticketed() -> Desk {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[3, 4]));
    desk.ok(1000, checkout(1, 1));
    desk.ok(1000, lease(7));
    desk.ok(1000, settle(1, 7, authorised()));
    desk.ok(1000, lease(8));
    desk.ok(1000, settle(2, 8, captured(2)));
    desk
}

fn order(desk: &Desk) -> OrderView {
    desk.shard.order(order_id(1)).unwrap()
}

#[test]
fn a_swap_moves_the_seat_and_makes_a_new_ticket_that_is_signed_again() {
    let mut desk = ticketed();
    let done = desk.ok(2000, swap(1, 2, 5));
    let order_no = order_id(1);
    assert_eq!(done, Done::Swapped { order: order_no, ticket: 2, new_ticket: 3, from: 4, to: 5 });
    assert_eq!((desk.seat(4), desk.seat(5)), (SeatState::Available, SeatState::Sold));
    let now = order(&desk);
    assert_eq!((now.status, now.tickets.to_vec()), (OrderStatus::Confirmed, vec![1, 3]));
    assert_eq!(now.signatures, [Some([9; 64]), None], "the old code is nobody's");
    assert_eq!(
        (now.moved[0].ticket, now.moved[0].place.seat, now.moved[0].at_ms),
        (2, Some(4), 2000)
    );
    assert_eq!(now.total_minor, 10_000);
    let Done::Leased(jobs) = desk.ok(2000, lease(9)) else { unreachable!() };
    assert_eq!((jobs[0].kind, jobs[0].tickets.to_vec()), (JobKind::Issue, vec![1, 3]));
    assert_eq!(jobs[0].places[1].seat, Some(5));
    desk.ok(3000, settle(3, 9, issued(2)));
    let now = order(&desk);
    assert_eq!((now.signing_key, now.signatures), (4, vec![Some([8; 64]); 2]));
    assert_eq!(desk.no(3000, swap(2, 2, 2)), Rejection::NotFound { what: "ticket" });
    let Done::Swapped { new_ticket, .. } = desk.ok(3000, swap(3, 3, 4)) else { unreachable!() };
    assert_eq!(new_ticket, 4);
}

#[test]
fn signatures_for_the_old_seat_are_not_taken_after_a_swap() {
    let mut desk = ticketed();
    desk.ok(2000, swap(1, 2, 5));
    desk.ok(2000, lease(9));
    desk.ok(2000, swap(2, 1, 0));
    assert_eq!(desk.no(2000, settle(3, 9, issued(2))), Rejection::StaleLease);
    let Done::Leased(jobs) = desk.ok(2000, lease(10)) else { unreachable!() };
    assert_eq!((jobs[0].job, jobs[0].tickets.to_vec()), (JobId(4), vec![4, 3]));
    desk.ok(2000, settle(4, 10, issued(2)));
    assert_eq!(order(&desk).signatures, [Some([8; 64]); 2]);
}

#[test]
fn a_swap_keeps_kind_and_price_and_takes_only_what_is_available() {
    let mut desk = ticketed();
    desk.ok(1000, hold_seats(2, &[8]));
    assert_eq!(invalid_field(desk.no(1000, swap(1, 1, 6))), "to_seat", "accessible");
    assert_eq!(invalid_field(desk.no(1000, swap(1, 1, 24))), "to_seat");
    let dearer = Rejection::PriceDiffers { price_minor: 5000, other_minor: 9000 };
    assert_eq!(desk.no(1000, swap(1, 1, 12)), dearer);
    for taken in [3, 4, 8] {
        let refused = desk.no(1000, swap(1, 1, taken));
        assert_eq!(refused, Rejection::SeatUnavailable { seats: vec![taken] });
    }
    assert_eq!(desk.no(1000, swap(1, 3, 5)), Rejection::NotFound { what: "ticket" });
    assert_eq!(desk.no(1000, swap(1, 0, 5)), Rejection::NotFound { what: "ticket" });
    let CommandKind::SwapSeat(mut other) = swap(1, 1, 5) else { unreachable!() };
    other.reason = "x".repeat(65).into();
    assert_eq!(invalid_field(desk.no(1000, CommandKind::SwapSeat(other.clone()))), "reason");
    other.order = order_id(9);
    let refused = desk.no(1000, CommandKind::SwapSeat(other));
    assert_eq!(refused, Rejection::NotFound { what: "order" });
    assert_eq!(order(&desk).tickets.to_vec(), [1, 2]);
}

#[test]
fn only_a_ticketed_order_is_swapped_and_general_admission_never() {
    let mut desk = Desk::open();
    let floor = command::HoldItem::BestAvailable(command::Wish {
        quantity: 1,
        section: Some(3),
        ..command::Wish::default()
    });
    desk.ok(1000, hold_items(1, 1, &[command::HoldItem::Seats([3][..].into()), floor]));
    desk.ok(1000, checkout(1, 1));
    assert_eq!(desk.no(1000, swap(1, 1, 5)), Rejection::OrderUnconfirmed);
    desk.ok(1000, lease(7));
    desk.ok(1000, settle(1, 7, authorised()));
    assert_eq!(desk.no(1000, swap(1, 1, 5)), Rejection::OrderUnconfirmed);
    desk.ok(1000, lease(8));
    desk.ok(1000, settle(2, 8, captured(2)));
    assert_eq!(invalid_field(desk.no(1000, swap(1, 2, 5))), "ticket");
    desk.ok(1000, swap(1, 1, 5));
}

#[test]
fn the_seat_left_by_a_swap_is_withdrawn_if_that_waited() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[3]));
    desk.ok(
        1000,
        CommandKind::KillSeats(Box::new(KillSeats {
            event: 1,
            idempotency: key(1 << 65),
            places: Selection { seats: vec![3], areas: vec![] },
            reason: "camera".into(),
        })),
    );
    desk.ok(1000, checkout(1, 1));
    desk.ok(1000, lease(7));
    desk.ok(1000, settle(1, 7, authorised()));
    desk.ok(1000, lease(8));
    desk.ok(1000, settle(2, 8, captured(1)));
    desk.ok(1000, swap(1, 1, 5));
    assert_eq!((desk.seat(3), desk.seat(5)), (SeatState::Killed, SeatState::Sold));
}

#[test]
fn a_swap_repeated_is_answered_as_before_and_moves_nothing() {
    let mut desk = ticketed();
    let first = desk.ok(2000, swap(1, 2, 5));
    let again = desk.tell(3000, swap(1, 2, 5));
    assert_eq!((again.replayed, again.result), (true, Ok(first)));
    assert_eq!(order(&desk).tickets.to_vec(), [1, 3]);
}

#[test]
fn tickets_of_one_order_move_only_so_often() {
    let mut desk = ticketed();
    let mut ticket = 1;
    for no in 0..limits::SWAPS_PER_ORDER_MAX as u128 {
        let to = if no % 2 == 0 { 5 } else { 3 };
        let Done::Swapped { new_ticket, .. } = desk.ok(2000, swap(no, ticket, to)) else {
            unreachable!()
        };
        ticket = new_ticket;
    }
    let refused = desk.no(2000, swap(999, ticket, 5));
    assert_eq!(refused, Rejection::Overloaded { bound: "swaps_per_order_max" });
    let mut bytes = Vec::new();
    desk.shard.encode_snapshot(&mut bytes);
    assert!(Shard::decode_snapshot(&bytes).is_ok());
}

#[test]
fn a_name_is_given_to_one_ticket_or_all_needs_no_stock_and_moves_with_the_ticket() {
    let mut desk = ticketed();
    let before = desk.shard.event(1).unwrap().view().availability();
    let name = |desk: &Desk, ticket| {
        desk.shard.holder(order_id(1), ticket).map(|holder| holder.name.to_string())
    };
    assert_eq!(name(&desk, 1), None);
    let Done::Renamed { tickets, .. } = desk.ok(2000, rename(1, Some(2), "Bo")) else {
        unreachable!()
    };
    assert_eq!(tickets.to_vec(), [2]);
    assert_eq!((name(&desk, 1), name(&desk, 2).as_deref()), (None, Some("Bo")));
    desk.ok(2000, swap(2, 2, 5));
    assert_eq!((name(&desk, 2), name(&desk, 3).as_deref()), (None, Some("Bo")));
    assert_eq!(desk.no(2000, rename(3, Some(2), "Cy")), Rejection::NotFound { what: "ticket" });
    assert_eq!(invalid_field(desk.no(2000, rename(3, None, ""))), "contact");
    assert_eq!(invalid_field(desk.no(2000, rename(3, None, &"x".repeat(321)))), "contact");
    desk.ok(2000, rename(3, None, "Di"));
    assert_eq!((name(&desk, 1).as_deref(), name(&desk, 3).as_deref()), (Some("Di"), Some("Di")));
    assert_eq!(&*desk.shard.contact(order_id(1)).unwrap().name, "Ada", "the buyer stays");
    assert!(desk.tell(2000, rename(1, Some(2), "Bo")).replayed);
    assert_eq!(before[0].sold, desk.shard.event(1).unwrap().view().availability()[0].sold);
}

#[test]
fn the_chain_does_not_see_a_holders_name() {
    let chains = ["Ada", "Grace"].map(|name| {
        let mut desk = ticketed();
        let kind = rename(1, None, name);
        let batch = Batch {
            log_time_ms: 1000,
            commands: vec![Command { not_after_ms: u64::MAX, kind: kind.clone() }],
        };
        let mut bytes = Vec::new();
        batch.encode(&mut bytes);
        assert_eq!(Batch::decode(&bytes).as_ref(), Ok(&batch));
        desk.ok(1000, kind);
        desk.shard.chain()
    });
    assert_eq!(chains[0], chains[1]);
}
