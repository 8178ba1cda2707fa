//! `SwapSeat`: a ticket moves to another available seat of its kind and price. The old ticket is
//! void, a new one is signed; no other stock is needed and nobody can take the seat between.

use super::Idempotency;
use crate::{
    change::Change,
    codec::{Reader, put_bytes, put_u128, put_varint},
    error::DecodeError,
    event::{PlaceKind, PlaceRef},
    ids::{OrderId, SeatNo},
    limits::{COMMAND_BYTES_MAX, REASON_BYTES_MAX, SWAPS_PER_ORDER_MAX},
    offer::Deals,
    order::{JobKind, OrderStatus},
    outcome::{Done, Outcome, Rejection},
    seat_word::SeatState,
    shard::{Shard, announce_seats},
    withdrawal::give_back,
};

/// Move a ticket to another seat of its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapSeat {
    /// The order.
    pub order: OrderId,
    /// The ticket's number in the order.
    pub ticket: u16,
    /// Where it moves.
    pub to_seat: SeatNo,
    /// Key and content; `buyer` is the API key's hash.
    pub idempotency: Idempotency,
    /// Why, for support; at most 64 bytes.
    pub reason: Box<str>,
}

impl SwapSeat {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u128(out, self.order.0);
        put_varint(out, self.ticket.into());
        put_varint(out, self.to_seat.into());
        self.idempotency.encode(out);
        put_bytes(out, self.reason.as_bytes());
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            order: OrderId(r.u128()?),
            ticket: r.u16("ticket")?,
            to_seat: r.u32("to_seat")?,
            idempotency: Idempotency::decode(r)?,
            reason: r.str(COMMAND_BYTES_MAX, "a reason")?,
        })
    }
}

/// A move that may be made.
struct Move {
    order_slot: u32,
    /// The ticket's place in its order.
    at: usize,
    from: SeatNo,
}

impl Shard {
    pub(crate) fn swap_seat(&mut self, command: &SwapSeat, changes: &mut Vec<Change>) -> Outcome {
        self.answer_staff(&command.idempotency, |shard| {
            let checked = shard.check_swap(command)?;
            Ok(shard.swap(command, &checked, changes))
        })
    }

    fn check_swap(&self, command: &SwapSeat) -> Result<Move, Rejection> {
        let invalid = |field, reason| Err(Rejection::Invalid { field, reason });
        let order_slot =
            self.orders.slot(command.order).ok_or(Rejection::NotFound { what: "order" })?;
        let order = &self.orders.slab[order_slot];
        if order.tickets.as_ref().is_some_and(|it| it.moved.len() >= SWAPS_PER_ORDER_MAX) {
            return Err(Rejection::Overloaded { bound: "swaps_per_order_max" });
        }
        let at = order.place_of_ticket(command.ticket);
        let at = at.ok_or(Rejection::NotFound { what: "ticket" })?;
        let event = &self.events[order.event as usize];
        let map = &event.seat_map;
        if command.reason.len() > REASON_BYTES_MAX {
            return invalid("reason", "must have at most 64 bytes");
        }
        if command.to_seat >= map.seats() {
            return invalid("to_seat", "is not in the seat map");
        }
        let PlaceKind::Seat(from) = order.places[at].kind() else {
            return invalid("ticket", "is for general admission: it has no seat to move from");
        };
        if map.kind_of(from) != map.kind_of(command.to_seat) {
            return invalid(
                "to_seat",
                "must be of the same kind: ordinary, accessible or companion",
            );
        }
        if order.status != OrderStatus::Confirmed {
            return Err(Rejection::OrderUnconfirmed);
        }
        let place = |seat| event.place(PlaceRef::seat(seat), order.price_list);
        let (old, new) = (place(from), place(command.to_seat));
        let deal = order.deal(at);
        let offer = event.offer.as_deref();
        let price = |place| match offer {
            Some(offer) => offer.price_minor(&place, deal.ticket_type),
            None => place.price_minor,
        };
        let (price_minor, other_minor) = (price(old), price(new));
        if price_minor != other_minor {
            return Err(Rejection::PriceDiffers { price_minor, other_minor });
        }
        if !event.is_free_to(command.to_seat, order.channel) {
            return Err(Rejection::SeatUnavailable { seats: vec![command.to_seat] });
        }
        if let Some(offer) = offer {
            offer.check_move(&old, &new, deal.ticket_type)?;
        }
        Ok(Move { order_slot, at, from })
    }

    fn swap(&mut self, command: &SwapSeat, checked: &Move, changes: &mut Vec<Change>) -> Done {
        let &Move { order_slot, at, from } = checked;
        let (to, now) = (command.to_seat, self.log_time_ms);
        let order = &mut self.orders.slab[order_slot];
        let event = &mut self.events[order.event as usize];
        let owner = (SeatState::Sold, order_slot);
        event.take_out(to);
        event.transition(&[PlaceRef::seat(to)], (SeatState::Available, 0), owner);
        announce_seats(event, &[to], SeatState::Sold, changes);
        give_back(event, &[PlaceRef::seat(from)], owner, changes);
        let deals: Deals = Some([order.deal(at)].into());
        event.count_deals(&[PlaceRef::seat(from)], &deals, false);
        event.count_deals(&[PlaceRef::seat(to)], &deals, true);
        order.places[at] = PlaceRef::seat(to);
        let new_ticket = order.move_ticket(at, PlaceRef::seat(from), now, &command.reason);
        // Whoever signs now was told of the old seat: their report must not be taken.
        if let Some(job) = order.job.take() {
            self.jobs.remove(job);
        }
        self.set_status(order_slot, OrderStatus::Confirmed, changes);
        self.add_job(order_slot, JobKind::Issue, 0, 0);
        Done::Swapped { order: command.order, ticket: command.ticket, new_ticket, from, to }
    }
}
