//! Owns the way out: outcomes, rejections and places.

use bytes::Bytes;
use onsale_mesh::Failure;
use onsale_proto::{Code, allocator as pb, id};
use onsale_state::{
    AreaTaken, CodeFault, Done, EventView, HoldState, HoldView, OrderStatus, OrderView, Outcome,
    Place, QuotaTaken, Rejection, SeatNo, SectionNo,
};
use pb::outcome::Result as Answer;

use super::invalid;

const CODE_USED_UP: &str = "as many holds and orders use this code as it is good for";
const NOT_TO_BE_SET_ASIDE: &str = "these are held, sold, withdrawn or another channel's";
const COMPANION_ALONE: &str = "companion seats are sold with an accessible seat of their section";
const ORPHANS: &str = "these seats would be left alone; as many others beside each other would \
                       leave none alone";
const AREAS_BELOW_TAKEN: &str = "more is held, sold or withdrawn than would be left";

/// An outcome that the entry at `index` decided.
#[must_use]
pub fn outcome(index: u64, outcome: &Outcome) -> pb::Outcome {
    let result = match &outcome.result {
        Ok(done) => answer(done),
        Err(rejection) => Answer::Rejected(rejected_message(&self::rejection(rejection))),
    };
    pb::Outcome { log_index: index, replayed: outcome.replayed, result: Some(result) }
}

/// The answer to a command that never reached the log.
#[must_use]
pub fn rejected(failure: &Failure) -> pb::Outcome {
    without_entry(rejected_message(failure))
}

/// "Ask that node instead"; 0 is unknown.
#[must_use]
pub fn not_leader(leader: u64) -> pb::Outcome {
    without_entry(pb::Rejected {
        code: Code::Unavailable.as_str().to_owned(),
        detail: "not the leader of this shard".to_owned(),
        leader,
        ..pb::Rejected::default()
    })
}

/// The command may have been applied: repeat it with the same key.
#[must_use]
pub fn unknown() -> pb::Outcome {
    without_entry(pb::Rejected {
        code: Code::Unavailable.as_str().to_owned(),
        detail: "not known whether it was done; repeat it with the same key".to_owned(),
        unknown: true,
        ..pb::Rejected::default()
    })
}

/// A rejection with its code, for people and machines.
#[must_use]
pub fn rejection(rejection: &Rejection) -> Failure {
    let fail = |code: Code, detail: &str| Failure::new(code, detail);
    let at = |code: Code, detail: &str, at_ms: Option<u64>| {
        let mut failure = Failure::new(code, detail);
        failure.at_ms = at_ms;
        failure
    };
    match rejection {
        Rejection::TooLate => fail(
            Code::Unavailable,
            "the command waited longer than it may and was not applied; repeat it",
        ),
        Rejection::IdempotencyKeyReused => fail(
            Code::IdempotencyKeyReused,
            "this key was used with another content or by another buyer; choose a new one",
        ),
        Rejection::Overloaded { bound } => {
            fail(Code::Overloaded, &format!("{bound} of this shard is reached"))
        }
        Rejection::NotFound { what } => super::not_found(what),
        Rejection::Invalid { field, reason } => invalid(field, reason),
        Rejection::ChannelForbidden => {
            fail(Code::ChannelForbidden, "there is no such channel, or its key is another")
        }
        Rejection::NotOnSale { onsale_at_ms } => {
            at(Code::NotOnSale, "the event opens later", Some(*onsale_at_ms))
        }
        Rejection::HoldExpired => fail(Code::HoldExpired, "the hold has ended"),
        Rejection::HoldInCheckout => {
            fail(Code::HoldInCheckout, "a payment for this hold is undecided")
        }
        Rejection::ExtensionLimitReached => {
            fail(Code::ExtensionLimitReached, "the event allows no further extension")
        }
        Rejection::SoldOut { held_may_return_at_ms } => {
            at(Code::SoldOut, "nothing that fits is left", *held_may_return_at_ms)
        }
        Rejection::NotEnoughTogether { held_may_return_at_ms } => {
            at(Code::NotEnoughTogether, "not that many are left together", *held_may_return_at_ms)
        }
        Rejection::StaleLease => {
            fail(Code::Conflict, "the lease is over or the job is settled; lease again")
        }
        Rejection::StaleRevision { in_force } => {
            fail(Code::Conflict, &format!("revision {in_force} is in force; start again from it"))
        }
        Rejection::OrderUnconfirmed => {
            fail(Code::Conflict, "the order has failed, or its tickets are not signed yet")
        }
        Rejection::PriceDiffers { price_minor, other_minor } => fail(
            Code::PriceDiffers,
            &format!("the ticket's seat cost {price_minor}, the other costs {other_minor}"),
        ),
        Rejection::BuyerLimitReached { seats_max } => {
            fail(Code::BuyerLimitReached, &format!("the event allows one buyer {seats_max} seats"))
        }
        Rejection::CodeInvalid { fault } => fail(Code::CodeInvalid, code_fault(*fault)),
        Rejection::CodeUsedUp => fail(Code::CodeUsedUp, CODE_USED_UP),
        Rejection::HoardingLimitReached { holds_max, hold_seconds_max } => {
            hoarding_limit_reached(*holds_max, *hold_seconds_max)
        }
        Rejection::QuotaExhausted { quota } => quota_exhausted(quota),
        Rejection::QuotaBelowTaken { quotas } => quotas_below_taken(quotas),
        Rejection::AllotmentUnavailable { seats, areas } => {
            with_places(Code::SeatUnavailable, NOT_TO_BE_SET_ASIDE, seats, areas)
        }
        Rejection::CompanionWithoutAccessible { seats } => {
            with_places(Code::CompanionWithoutAccessible, COMPANION_ALONE, seats, &[])
        }
        Rejection::OrphanSeats { seats, mend } => {
            with_places(Code::OrphanSeats, ORPHANS, seats, &[]).with_more(Vec::new(), mend.clone())
        }
        Rejection::SeatUnavailable { seats } => {
            with_places(Code::SeatUnavailable, "these seats are held or sold", seats, &[])
        }
        Rejection::SeatsSold { seats, areas } => {
            with_places(Code::SeatsSold, "what is sold stays its buyer's", seats, areas)
        }
        Rejection::SeatsNotKilled { seats, areas } => {
            with_places(Code::SeatsNotKilled, "these are not withdrawn", seats, areas)
        }
        Rejection::CapacityBelowTaken { areas } => {
            with_places(Code::CapacityBelowTaken, AREAS_BELOW_TAKEN, &[], areas)
        }
        Rejection::WrongShard => fail(Code::NotFound, "this shard does not take such commands"),
    }
}

fn with_places(code: Code, detail: &str, seats: &[SeatNo], areas: &[AreaTaken]) -> Failure {
    let mut failure = Failure::new(code, detail);
    failure.seats = seats.to_vec();
    let taken = areas.iter().map(|area| pb::AreaTaken {
        section: u32::from(area.section),
        held: area.held,
        sold: area.sold,
        killed: area.killed,
    });
    failure.with_more(taken.collect(), Vec::new())
}

/// So many places of an area.
pub(super) fn area_quantity((section, quantity): (SectionNo, u32)) -> pb::AreaQuantity {
    pb::AreaQuantity { section: u32::from(section), quantity }
}

fn code_fault(fault: CodeFault) -> &'static str {
    match fault {
        CodeFault::Unknown => "the event has no such code",
        CodeFault::NotYetValid => "the code is not valid yet",
        CodeFault::Expired => "the code is not valid any more",
        CodeFault::OtherCategories => "the code is for places of other categories",
    }
}

fn hoarding_limit_reached(holds_max: u16, hold_seconds_max: u32) -> Failure {
    let detail = match holds_max {
        0 => format!("the event allows one buyer {hold_seconds_max} s of seats held unsold"),
        _ => format!("the event allows one buyer {holds_max} holds at once"),
    };
    Failure::new(Code::HoardingLimitReached, detail)
}

fn quota_exhausted(quota: &str) -> Failure {
    let detail = format!("the quota {quota} has no room for so many");
    Failure::new(Code::QuotaExhausted, detail)
}

fn quotas_below_taken(quotas: &[QuotaTaken]) -> Failure {
    let each = |it: &QuotaTaken| format!("{} has {} places taken", it.quota, it.taken);
    let list: Vec<String> = quotas.iter().map(each).collect();
    let taken = |it: &QuotaTaken| pb::QuotaTaken { key: it.quota.to_string(), taken: it.taken };
    Failure::new(Code::CapacityBelowTaken, format!("the quota {}", list.join(", ")))
        .with_quotas(quotas.iter().map(taken).collect())
}

/// A place, without its public name.
#[must_use]
pub fn place(place: &Place) -> pb::Place {
    pb::Place {
        seat: place.seat,
        section: u32::from(place.section),
        category: u32::from(place.category),
        price_minor: place.price_minor,
        ticket_type: u32::from(place.ticket_type),
        seat_id: String::new(),
    }
}

/// A place with its public name, e.g. `101-A-12`; none in general admission.
#[must_use]
pub fn labelled_place(place: &Place, view: &EventView) -> pb::Place {
    let label = place.seat.and_then(|seat| view.seat_map.label(seat));
    pb::Place { seat_id: label.unwrap_or_default(), ..self::place(place) }
}

/// The public name of an order's state.
#[must_use]
pub fn order_status_name(status: OrderStatus) -> &'static str {
    match status {
        OrderStatus::Processing | OrderStatus::ActionRequired | OrderStatus::Sold => "processing",
        OrderStatus::Confirmed => "confirmed",
        OrderStatus::Failed => "failed",
    }
}

/// A hold as it stands at `log_time_ms`. One whose time is over has ended, even where no entry has
/// said so yet: none can sell it any more.
#[must_use]
pub fn hold_answer(
    hold: &HoldView,
    event: Option<&EventView>,
    log_time_ms: u64,
) -> pb::GetHoldResponse {
    let state = match hold.state {
        HoldState::Live if hold.expires_at_ms <= log_time_ms => HoldState::Expired,
        state => state,
    };
    pb::GetHoldResponse {
        hold_id: id::to_bytes(hold.hold.0),
        event_no: hold.event,
        event_id: event.map(|event| event.event_id.to_string()).unwrap_or_default(),
        places: places(&hold.places, event),
        expires_at_ms: hold.expires_at_ms,
        held_at_ms: hold.held_at_ms,
        extensions: u32::from(hold.extensions),
        state: hold_state_name(state).to_owned(),
        order_id: hold.order.map(|order| id::to_bytes(order.0)).unwrap_or_default(),
        log_time_ms,
        currency: currency(hold.currency),
    }
}

/// An order as it stands.
#[must_use]
pub fn order_answer(order: &OrderView, event: Option<&EventView>) -> pb::GetOrderResponse {
    let failure = order.failure.as_ref().map(|failure| failure.code.as_str());
    pb::GetOrderResponse {
        order_id: id::to_bytes(order.order.0),
        event_no: order.event,
        event_id: event.map(|event| event.event_id.to_string()).unwrap_or_default(),
        status: order_status_name(order.status).to_owned(),
        failure_code: failure.unwrap_or_default().to_owned(),
        next_action_url: order.next_action_url.as_deref().unwrap_or_default().to_owned(),
        places: places(&order.places, event),
        total_minor: order.total_minor,
        refunded_minor: order.refunded_minor,
        currency: currency(order.currency),
        signing_key: order.signing_key,
        signatures: order.signatures.iter().map(signature).collect(),
        created_at_ms: order.created_at_ms,
        hold_id: id::to_bytes(order.hold.0),
        tickets: order.tickets.iter().copied().map(u32::from).collect(),
        holders: order
            .holders
            .iter()
            .map(|(ticket, name)| pb::TicketHolder {
                ticket: u32::from(*ticket),
                name: name.to_string(),
            })
            .collect(),
        moved: order
            .moved
            .iter()
            .map(|moved| pb::MovedTicket {
                ticket: u32::from(moved.ticket),
                place: places(&[moved.place], event).pop(),
                at_ms: moved.at_ms,
            })
            .collect(),
    }
}

/// Empty while the ticket is to be signed again.
fn signature(signature: &Option<[u8; 64]>) -> Bytes {
    signature.as_ref().map(|it| Bytes::copy_from_slice(it)).unwrap_or_default()
}

/// The public name of a hold's state.
#[must_use]
pub fn hold_state_name(state: HoldState) -> &'static str {
    match state {
        HoldState::Live => "held",
        HoldState::InCheckout => "in_checkout",
        HoldState::Sold => "sold",
        HoldState::Released => "released",
        HoldState::Expired => "expired",
    }
}

pub(super) fn places(places: &[Place], event: Option<&EventView>) -> Vec<pb::Place> {
    let labelled = |at| event.map_or_else(|| place(at), |event| labelled_place(at, event));
    places.iter().map(labelled).collect()
}

pub(super) fn currency(currency: [u8; 3]) -> String {
    currency.iter().copied().map(char::from).collect()
}

fn answer(done: &Done) -> Answer {
    match done {
        Done::Held(held) => Answer::Held(pb::Held {
            hold_id: id::to_bytes(held.hold.0),
            held_at_ms: held.held_at_ms,
            expires_at_ms: held.expires_at_ms,
            places: held.places.iter().map(place).collect(),
        }),
        Done::Extended { expires_at_ms, extensions, extensions_max, extended_at_ms, .. } => {
            Answer::Extended(pb::Extended {
                expires_at_ms: *expires_at_ms,
                extensions: u32::from(*extensions),
                extensions_max: u32::from(*extensions_max),
                extended_at_ms: *extended_at_ms,
            })
        }
        Done::CheckoutBegun { order } | Done::Sold { order } => {
            Answer::OrderMade(pb::OrderMade { order_id: id::to_bytes(order.0) })
        }
        Done::Killed { killed, pending, pending_areas } => Answer::Killed(pb::Killed {
            killed: *killed,
            pending_seats: pending.clone(),
            pending_areas: pending_areas.iter().copied().map(area_quantity).collect(),
        }),
        Done::Returned { returned } => Answer::Returned(pb::Returned { returned: *returned }),
        Done::Swapped { new_ticket, from, to, .. } => Answer::Swapped(pb::Swapped {
            ticket: u32::from(*new_ticket),
            from_seat: *from,
            to_seat: *to,
        }),
        Done::Renamed { tickets, .. } => Answer::Renamed(pb::Renamed {
            tickets: tickets.iter().copied().map(u32::from).collect(),
        }),
        Done::CodesPut { codes } => Answer::CodesPut(pb::CodesPut { codes: *codes }),
        Done::Ok | Done::Leased(_) | Done::Settled { .. } | Done::Prepared { .. } => {
            Answer::Done(pb::Done {})
        }
    }
}

fn rejected_message(failure: &Failure) -> pb::Rejected {
    pb::Rejected {
        code: failure.code.as_str().to_owned(),
        detail: failure.detail.clone(),
        field: failure.field.clone(),
        seats: failure.seats.clone(),
        mend_seats: failure.mend_seats().to_vec(),
        at_ms: failure.at_ms,
        leader: 0,
        unknown: failure.code == Code::OutcomeUnknown,
        areas: failure.areas().to_vec(),
        quotas: failure.quotas().to_vec(),
    }
}

fn without_entry(rejected: pb::Rejected) -> pb::Outcome {
    pb::Outcome { log_index: 0, replayed: false, result: Some(Answer::Rejected(rejected)) }
}
