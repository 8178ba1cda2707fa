//! Orders, payments and jobs, rule by rule.

use onsale_state::{command::JobResult, *};

use crate::kit::{
    Desk, authorised, best, captured, checkout, counter, declined, extend, hold_items, hold_seats,
    lease, order_id, release, settle,
};

const FENCE: u64 = limits::PAYMENT_FENCE_MAX_MS;

fn in_checkout() -> Desk {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[3, 4]));
    desk.ok(2000, checkout(1, 1));
    desk
}

fn status(desk: &Desk, order: u128) -> OrderStatus {
    desk.shard.order(order_id(order)).unwrap().status
}

fn leased(desk: &mut Desk, at: u64, number: u64) -> Vec<LeasedJob> {
    let Done::Leased(jobs) = desk.ok(at, lease(number)) else { unreachable!() };
    jobs
}

#[test]
fn a_payment_goes_from_checkout_to_ticket() {
    let mut desk = in_checkout();
    let jobs = leased(&mut desk, 2000, 7);
    assert_eq!(
        (jobs[0].kind, jobs[0].amount_minor, jobs[0].attempts),
        (JobKind::Authorise, 10_000, 0)
    );
    desk.ok(3000, settle(1, 7, authorised()));
    assert_eq!((status(&desk, 1), desk.seat(3)), (OrderStatus::Sold, SeatState::Sold));
    let jobs = leased(&mut desk, 3000, 8);
    assert_eq!((jobs[0].kind, jobs[0].payment_intent.as_deref()), (JobKind::Capture, Some("pi_1")));
    let refused = desk.no(3000, settle(2, 8, captured(1)));
    assert!(matches!(refused, Rejection::Invalid { field: "signatures", .. }));
    desk.ok(4000, settle(2, 8, captured(2)));
    let order = desk.shard.order(order_id(1)).unwrap();
    assert_eq!((order.status, order.signatures.len()), (OrderStatus::Confirmed, 2));
    assert_eq!(desk.shard.counts().jobs, 0);
}

#[test]
fn a_fenced_hold_does_not_expire_and_cannot_be_released_or_extended() {
    let mut desk = in_checkout();
    desk.ok(100_000, CommandKind::Tick);
    assert_eq!(desk.seat(3), SeatState::Held);
    for kind in [release(1), extend(1, 0), checkout(1, 2), counter(1, 3)] {
        assert_eq!(desk.no(100_000, kind), Rejection::HoldInCheckout);
    }
}

#[test]
fn a_declined_payment_leaves_the_hold_for_another_card() {
    let mut desk = in_checkout();
    leased(&mut desk, 2000, 7);
    desk.ok(3000, settle(1, 7, declined()));
    let failure = desk.shard.order(order_id(1)).unwrap().failure.unwrap();
    assert_eq!((failure.code.as_str(), &*failure.reason), ("payment_declined", "card_declined"));
    assert_eq!(desk.seat(3), SeatState::Held);
    desk.ok(4000, checkout(1, 2));
    assert_eq!(status(&desk, 2), OrderStatus::Processing);
}

#[test]
fn a_payment_declined_after_the_holds_time_gives_the_seats_back_at_once() {
    let mut desk = in_checkout();
    leased(&mut desk, 2000, 7);
    desk.ok(70_000, settle(1, 7, declined()));
    assert_eq!(desk.seat(3), SeatState::Available);
    assert_eq!(desk.no(70_000, checkout(1, 2)), Rejection::HoldExpired);
}

#[test]
fn the_fences_end_fails_the_order_and_a_late_authorised_never_sells() {
    let mut desk = in_checkout();
    leased(&mut desk, 2000, 7);
    desk.ok(2000 + FENCE - 1, CommandKind::Tick);
    assert_eq!(status(&desk, 1), OrderStatus::Processing);
    assert_eq!(desk.shard.next_due_at_ms(), Some(2000 + FENCE));
    assert_eq!(desk.no(2000 + FENCE, settle(1, 7, authorised())), Rejection::StaleLease);
    assert_eq!((status(&desk, 1), desk.seat(3)), (OrderStatus::Failed, SeatState::Available));
    let jobs = leased(&mut desk, 2000 + FENCE, 8);
    assert_eq!((jobs[0].kind, jobs[0].attempts), (JobKind::Void, 1));
    assert_eq!((jobs[0].first_leased_at_ms, &*jobs[0].payment_method), (2000, "pm_card_visa"));
    desk.ok(2000 + FENCE, settle(2, 8, JobResult::Voided));
    assert_eq!(desk.shard.counts().jobs, 0);
}

#[test]
fn a_confirmation_step_is_told_and_asked_for_again() {
    let mut desk = in_checkout();
    leased(&mut desk, 2000, 7);
    let action = JobResult::ActionRequired {
        payment_intent: "pi_9".into(),
        next_action_url: "https://bank.example".into(),
        poll_after_ms: 5000,
    };
    desk.ok(3000, settle(1, 7, action));
    let order = desk.shard.order(order_id(1)).unwrap();
    assert_eq!(order.status, OrderStatus::ActionRequired);
    assert_eq!(order.next_action_url.as_deref(), Some("https://bank.example"));
    assert_eq!(leased(&mut desk, 7999, 8), []);
    assert_eq!(desk.shard.next_due_at_ms(), Some(8000));
    desk.ok(8000, CommandKind::Tick);
    assert!(desk.changes.contains(&Change::JobDue));
    let jobs = leased(&mut desk, 8000, 9);
    assert_eq!((jobs[0].attempts, jobs[0].payment_intent.as_deref()), (1, Some("pi_9")));
    desk.ok(8000, settle(1, 9, authorised()));
    assert_eq!(desk.shard.order(order_id(1)).unwrap().next_action_url, None);
}

#[test]
fn a_webhook_wakes_a_waiting_job() {
    let mut desk = in_checkout();
    leased(&mut desk, 2000, 7);
    desk.ok(3000, settle(1, 7, JobResult::Retry { after_ms: 60_000 }));
    desk.ok(4000, CommandKind::WakeJob(command::WakeJob { order: order_id(1) }));
    assert!(desk.changes.contains(&Change::JobDue));
    assert_eq!(leased(&mut desk, 4000, 8).len(), 1);
}

#[test]
fn a_refused_capture_gives_the_seats_back_and_voids() {
    let mut desk = in_checkout();
    leased(&mut desk, 2000, 7);
    desk.ok(3000, settle(1, 7, authorised()));
    leased(&mut desk, 3000, 8);
    desk.ok(4000, settle(2, 8, JobResult::CaptureRefused { reason: "expired".into() }));
    let order = desk.shard.order(order_id(1)).unwrap();
    assert_eq!(order.failure.unwrap().code.as_str(), "capture_refused");
    assert_eq!(desk.seat(3), SeatState::Available);
    assert_eq!(leased(&mut desk, 4000, 9)[0].kind, JobKind::Void);
    assert_eq!(desk.no(4000, checkout(1, 5)), Rejection::HoldExpired);
}

#[test]
fn an_order_of_total_0_and_a_sale_over_the_counter_are_sold_by_their_own_entry() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_items(2, 1, &[best(2)]));
    desk.ok(1000, checkout(1, 1));
    desk.ok(1000, hold_seats(2, &[3]));
    assert_eq!(desk.ok(1000, counter(2, 2)), Done::Sold { order: order_id(2) });
    let jobs = leased(&mut desk, 1000, 7);
    assert_eq!(jobs.iter().map(|job| job.kind).collect::<Vec<_>>(), [JobKind::Issue; 2]);
    for (order, job, tickets) in [(1, 1, 2), (2, 2, 1)] {
        assert_eq!(status(&desk, order), OrderStatus::Sold);
        let issued = JobResult::Issued { signing_key: 1, signatures: vec![[1; 64]; tickets] };
        desk.ok(1000, settle(job, 7, issued));
        assert_eq!(status(&desk, order), OrderStatus::Confirmed);
    }
    assert!(desk.tell(1000, counter(2, 2)).replayed);
}

#[test]
fn a_checkout_repeated_is_the_first_one() {
    let mut desk = in_checkout();
    let again = desk.tell(3000, checkout(1, 1));
    let begun = Done::CheckoutBegun { order: order_id(1) };
    assert_eq!((again.replayed, again.result), (true, Ok(begun)));
    let day = limits::DEDUP_ORDER_MS;
    assert!(desk.tell(2000 + day - 1, checkout(1, 1)).replayed);
    assert!(!desk.tell(2000 + day, checkout(1, 1)).replayed);
}

#[test]
fn a_lease_repeated_has_the_same_jobs_and_an_ended_one_gives_them_away() {
    let mut desk = in_checkout();
    let first = leased(&mut desk, 2000, 7);
    let again = desk.tell(3000, lease(7));
    assert_eq!((again.replayed, again.result), (true, Ok(Done::Leased(first))));
    assert_eq!(leased(&mut desk, 31_999, 8), []);
    assert_eq!(leased(&mut desk, 32_000, 8).len(), 1);
    assert_eq!(desk.no(32_000, settle(1, 7, authorised())), Rejection::StaleLease);
    desk.ok(32_000, settle(1, 8, authorised()));
    let again = desk.tell(32_000, settle(1, 8, authorised()));
    assert!(again.replayed && again.result.is_ok());
    assert_eq!(desk.no(32_000, settle(1, 8, declined())), Rejection::StaleLease);
    assert_eq!(desk.no(32_000, settle(50, 8, declined())), Rejection::NotFound { what: "job" });
}

#[test]
fn one_address_or_card_cannot_buy_more_than_the_event_allows() {
    let mut desk = Desk::open();
    let by = |hold, order, email, card| {
        let CommandKind::BeginCheckout(mut command) = checkout(hold, order) else { unreachable!() };
        (command.email, command.card) = (email, card);
        CommandKind::BeginCheckout(command)
    };
    desk.ok(1000, hold_seats(1, &[0, 1, 2, 3, 4, 5]));
    desk.ok(1000, hold_seats(2, &[8, 9, 10]));
    desk.ok(1000, by(1, 1, 5, Some(6)));
    let limit = Rejection::BuyerLimitReached { seats_max: 8 };
    assert_eq!(desk.no(1000, by(2, 2, 5, None)), limit);
    assert_eq!(desk.no(1000, by(2, 2, 4, Some(6))), limit);
    leased(&mut desk, 1000, 7);
    desk.ok(1000, settle(1, 7, declined()));
    desk.ok(1000, by(2, 2, 5, Some(6)));
}

#[test]
fn an_order_id_must_leave_room_for_its_tickets() {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[3]));
    let CommandKind::BeginCheckout(mut command) = checkout(1, 1) else { unreachable!() };
    command.order = OrderId(0x1_0001);
    let refused = desk.no(1000, CommandKind::BeginCheckout(command));
    assert!(matches!(refused, Rejection::Invalid { field: "order", .. }));
}
