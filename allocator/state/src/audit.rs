//! Owns how outcomes and changes are spelled for the hash chain.
//!
//! Must never see contact data, nor a slot.

use crate::{
    change::Change,
    codec::{
        put_bytes, put_delta, put_opt_str, put_opt_varint, put_u8, put_u64, put_u128, put_varint,
    },
    ids::{EventNo, HoldId, SeatNo},
    outcome::{AreaTaken, Done, Held, LeasedJob, Outcome, Place, QuotaTaken, Rejection},
    seat_word::SeatState,
};

pub(crate) fn put_outcome(out: &mut Vec<u8>, outcome: &Outcome, asked: Option<HoldId>, now: u64) {
    out.push(outcome.replayed.into());
    match &outcome.result {
        Ok(done) => put_done(out, done, asked, now),
        Err(rejection) => put_rejection(out, rejection, now),
    }
}

/// A granted hold has the id that its command brought; only a replay may have another.
fn put_held(out: &mut Vec<u8>, held: &Held, asked: Option<HoldId>, now: u64) {
    if asked == Some(held.hold) {
        put_u8(out, 0);
    } else {
        put_u8(out, 1);
        put_u128(out, held.hold.0);
    }
    put_delta(out, held.held_at_ms, now);
    put_delta(out, held.expires_at_ms, now);
    put_places(out, &held.places);
}

fn put_places(out: &mut Vec<u8>, places: &[Place]) {
    put_varint(out, places.len() as u64);
    for place in places {
        put_varint(out, place.seat.map_or(0, |seat| u64::from(seat) + 1));
        put_varint(out, place.section.into());
        // One number for both, so that a place without a type costs no byte more.
        put_varint(out, u64::from(place.ticket_type) << 16 | u64::from(place.category));
        put_varint(out, place.price_minor);
    }
}

pub(crate) fn put_done(out: &mut Vec<u8>, done: &Done, asked: Option<HoldId>, now: u64) {
    match done {
        Done::Ok => out.push(0),
        Done::Held(held) => {
            out.push(1);
            put_held(out, held, asked, now);
        }
        Done::Extended { hold, expires_at_ms, extensions, extensions_max, extended_at_ms } => {
            out.push(2);
            put_u128(out, hold.0);
            put_delta(out, *expires_at_ms, now);
            put_varint(out, (*extensions).into());
            put_varint(out, (*extensions_max).into());
            put_delta(out, *extended_at_ms, now);
        }
        Done::CheckoutBegun { order } => {
            out.push(3);
            put_u128(out, order.0);
        }
        Done::Sold { order } => {
            out.push(4);
            put_u128(out, order.0);
        }
        Done::Leased(jobs) => {
            out.push(5);
            put_varint(out, jobs.len() as u64);
            jobs.iter().for_each(|job| put_leased(out, job));
        }
        Done::Settled { order, status } => {
            out.push(6);
            put_u128(out, order.0);
            out.push(*status as u8);
        }
        Done::Prepared { event, shard, revision } => {
            out.push(7);
            put_varint(out, (*event).into());
            put_varint(out, (*shard).into());
            put_varint(out, *revision);
        }
        Done::Killed { killed, pending, pending_areas } => {
            out.push(8);
            put_varint(out, (*killed).into());
            put_seats(out, pending);
            put_varint(out, pending_areas.len() as u64);
            for &(section, places) in pending_areas {
                put_varint(out, section.into());
                put_varint(out, places.into());
            }
        }
        Done::Returned { returned } => {
            out.push(9);
            put_varint(out, (*returned).into());
        }
        Done::Swapped { order, ticket, new_ticket, from, to } => {
            out.push(10);
            put_u128(out, order.0);
            put_varint(out, (*ticket).into());
            put_varint(out, (*new_ticket).into());
            put_varint(out, (*from).into());
            put_varint(out, (*to).into());
        }
        Done::CodesPut { codes } => {
            out.push(20);
            put_varint(out, (*codes).into());
        }
        Done::Renamed { order, tickets } => {
            out.push(11);
            put_u128(out, order.0);
            put_varint(out, tickets.len() as u64);
            tickets.iter().for_each(|&ticket| put_varint(out, ticket.into()));
        }
    }
}

fn put_leased(out: &mut Vec<u8>, job: &LeasedJob) {
    put_varint(out, job.job.0);
    out.push(job.kind as u8);
    put_u128(out, job.order.0);
    put_varint(out, job.event.into());
    put_varint(out, job.amount_minor);
    out.extend_from_slice(&job.currency);
    put_bytes(out, job.payment_method.as_bytes());
    put_opt_str(out, job.payment_intent.as_deref());
    put_varint(out, job.attempts.into());
    put_varint(out, job.first_leased_at_ms);
    put_places(out, &job.places);
    put_varint(out, job.tickets.len() as u64);
    job.tickets.iter().for_each(|&ticket| put_varint(out, ticket.into()));
}

fn put_rejection(out: &mut Vec<u8>, rejection: &Rejection, now: u64) {
    out.push(tag_of(rejection));
    match rejection {
        Rejection::TooLate
        | Rejection::IdempotencyKeyReused
        | Rejection::HoldExpired
        | Rejection::HoldInCheckout
        | Rejection::ExtensionLimitReached
        | Rejection::StaleLease
        | Rejection::WrongShard
        | Rejection::OrderUnconfirmed
        | Rejection::ChannelForbidden
        | Rejection::CodeUsedUp => {}
        Rejection::Overloaded { bound: text } | Rejection::NotFound { what: text } => {
            put_bytes(out, text.as_bytes());
        }
        Rejection::QuotaExhausted { quota } => put_bytes(out, quota.as_bytes()),
        Rejection::Invalid { field, reason } => {
            put_bytes(out, field.as_bytes());
            put_bytes(out, reason.as_bytes());
        }
        Rejection::NotOnSale { onsale_at_ms } => put_delta(out, *onsale_at_ms, now),
        Rejection::BuyerLimitReached { seats_max } => put_varint(out, (*seats_max).into()),
        Rejection::SoldOut { held_may_return_at_ms }
        | Rejection::NotEnoughTogether { held_may_return_at_ms } => {
            put_opt_varint(out, *held_may_return_at_ms);
        }
        Rejection::StaleRevision { in_force } => put_varint(out, *in_force),
        Rejection::PriceDiffers { price_minor, other_minor } => {
            put_varint(out, *price_minor);
            put_varint(out, *other_minor);
        }
        Rejection::SeatUnavailable { seats } | Rejection::CompanionWithoutAccessible { seats } => {
            put_seats(out, seats);
        }
        Rejection::SeatsSold { seats, areas }
        | Rejection::SeatsNotKilled { seats, areas }
        | Rejection::AllotmentUnavailable { seats, areas } => {
            put_seats(out, seats);
            put_areas(out, areas);
        }
        Rejection::CapacityBelowTaken { areas } => put_areas(out, areas),
        Rejection::OrphanSeats { seats, mend } => {
            put_seats(out, seats);
            put_seats(out, mend);
        }
        Rejection::QuotaBelowTaken { quotas } => {
            put_varint(out, quotas.len() as u64);
            for QuotaTaken { quota, taken } in quotas {
                put_bytes(out, quota.as_bytes());
                put_varint(out, (*taken).into());
            }
        }
        Rejection::HoardingLimitReached { holds_max, hold_seconds_max } => {
            put_varint(out, (*holds_max).into());
            put_varint(out, (*hold_seconds_max).into());
        }
        Rejection::CodeInvalid { fault } => out.push(*fault as u8),
    }
}

/// A rejection's number in the chain; none is ever used again for another.
fn tag_of(rejection: &Rejection) -> u8 {
    match rejection {
        Rejection::TooLate => 128,
        Rejection::IdempotencyKeyReused => 129,
        Rejection::Overloaded { .. } => 130,
        Rejection::NotFound { .. } => 131,
        Rejection::Invalid { .. } => 132,
        Rejection::NotOnSale { .. } => 133,
        Rejection::HoldExpired => 134,
        Rejection::HoldInCheckout => 135,
        Rejection::ExtensionLimitReached => 136,
        Rejection::BuyerLimitReached { .. } => 137,
        Rejection::SeatUnavailable { .. } => 138,
        Rejection::SoldOut { .. } => 139,
        Rejection::NotEnoughTogether { .. } => 140,
        Rejection::StaleLease => 141,
        Rejection::StaleRevision { .. } => 142,
        Rejection::WrongShard => 143,
        Rejection::SeatsSold { .. } => 144,
        Rejection::SeatsNotKilled { .. } => 145,
        Rejection::CapacityBelowTaken { .. } => 146,
        Rejection::OrderUnconfirmed => 147,
        Rejection::PriceDiffers { .. } => 148,
        Rejection::ChannelForbidden => 151,
        Rejection::AllotmentUnavailable { .. } => 152,
        Rejection::QuotaExhausted { .. } => 160,
        Rejection::QuotaBelowTaken { .. } => 161,
        Rejection::CompanionWithoutAccessible { .. } => 162,
        Rejection::OrphanSeats { .. } => 163,
        Rejection::HoardingLimitReached { .. } => 170,
        Rejection::CodeInvalid { .. } => 171,
        Rejection::CodeUsedUp => 172,
    }
}

fn put_seats(out: &mut Vec<u8>, seats: &[u32]) {
    put_varint(out, seats.len() as u64);
    for &seat in seats {
        put_varint(out, seat.into());
    }
}

fn put_areas(out: &mut Vec<u8>, areas: &[AreaTaken]) {
    put_varint(out, areas.len() as u64);
    for AreaTaken { section, held, sold, killed } in areas {
        put_varint(out, (*section).into());
        for count in [held, sold, killed] {
            put_varint(out, (*count).into());
        }
    }
}

fn put_seats_change(
    out: &mut Vec<u8>,
    (event, state): (EventNo, SeatState),
    seats: &[SeatNo],
    key_tag: u64,
    (until_ms, now): (u64, u64),
) {
    put_u8(out, state as u8);
    put_varint(out, event.into());
    put_seats(out, seats);
    put_u64(out, key_tag);
    put_delta(out, until_ms, now);
}

pub(crate) fn put_change(out: &mut Vec<u8>, change: &Change, now: u64) {
    match change {
        Change::Seats { event, state, seats, key_tag, until_ms } => {
            put_seats_change(out, (*event, *state), seats, *key_tag, (*until_ms, now));
        }
        Change::GeneralAdmission { event, section, held, sold, killed } => {
            out.push(4);
            put_varint(out, (*event).into());
            put_varint(out, (*section).into());
            put_varint(out, (*held).into());
            put_varint(out, (*sold).into());
            put_varint(out, (*killed).into());
        }
        Change::Event { event, revision } => {
            out.push(5);
            put_varint(out, (*event).into());
            put_varint(out, *revision);
        }
        Change::Order { order, event, status } => {
            out.push(6);
            put_u128(out, order.0);
            put_varint(out, (*event).into());
            out.push(*status as u8);
        }
        Change::JobDue => out.push(7),
        Change::Published { event_id, revision } => {
            out.push(8);
            put_bytes(out, event_id.as_bytes());
            put_varint(out, *revision);
        }
        Change::ApiKey { key_hash } => {
            out.push(9);
            out.extend_from_slice(key_hash);
        }
        Change::SigningKey { key_id } => {
            out.push(10);
            put_varint(out, (*key_id).into());
        }
    }
}
