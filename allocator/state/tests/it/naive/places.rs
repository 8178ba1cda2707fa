//! Who owns what, asked one by one.

use onsale_state::{
    command::{OpenOnsale, SectionKind},
    *,
};

use super::{Naive, NaiveSeat};

pub fn seats(open: &OpenOnsale) -> Vec<NaiveSeat> {
    let mut seats = Vec::new();
    for (section, spec) in open.sections.iter().enumerate() {
        let SectionKind::Seated { rows } = &spec.kind else {
            continue;
        };
        for (row, row_spec) in rows.iter().enumerate() {
            for at in 0..row_spec.seats {
                seats.push(NaiveSeat {
                    section: section as u16,
                    row,
                    at,
                    row_seats: row_spec.seats,
                    category: spec.category,
                    kind: u8::from(row_spec.accessible.contains(&(at + 1)))
                        + 2 * u8::from(row_spec.companion.contains(&(at + 1))),
                });
            }
        }
    }
    seats
}

/// A seat's state, when it ends by itself, and the tag of the key behind it.
pub type SeatFacts = (SeatState, u64, u64);

impl Naive {
    /// As readers see it: who is set aside for a channel is as good as held.
    pub fn seat(&self, event: u32, seat: u32) -> SeatFacts {
        let facts = self.plain_seat(event, seat);
        match self.set_aside_until(event, seat) {
            Some(until) if facts.0 == SeatState::Available => (SeatState::Held, until, 0),
            _ => facts,
        }
    }

    /// Whoever's it would be if it were somebody's.
    pub fn plain_seat(&self, event: u32, seat: u32) -> SeatFacts {
        let has = |places: &[Place]| places.iter().any(|place| place.seat == Some(seat));
        for hold in self.holds.values().filter(|hold| hold.event == event) {
            if !has(&hold.answer.places) {
                continue;
            }
            if hold.state == HoldState::Live {
                return (SeatState::Held, hold.expires_at_ms, hold.key as u64);
            }
            if hold.state == HoldState::InCheckout {
                let fence = self.orders[&hold.order.expect("order")].fence;
                return (SeatState::Held, hold.expires_at_ms.max(fence), hold.key as u64);
            }
        }
        for order in self.orders.values().filter(|order| order.event == event) {
            if has_seats(order.status) && has(&order.places) {
                let at = order.places.iter().position(|place| place.seat == Some(seat));
                let moved = usize::from(order.numbers[at.expect("place")]) > order.places.len();
                return (SeatState::Sold, 0, if moved { 0 } else { order.hold_key as u64 });
            }
        }
        match self.events[&event].kills.contains_key(&seat) {
            true => (SeatState::Killed, 0, 0),
            false => (SeatState::Available, 0, 0),
        }
    }

    /// Held and sold places of a general admission area.
    pub fn area(&self, event: u32, section: u16) -> (u32, u32) {
        let count = |places: &[Place]| {
            places.iter().filter(|p| p.seat.is_none() && p.section == section).count() as u32
        };
        let held = self.holds.values().filter(|hold| {
            hold.event == event && matches!(hold.state, HoldState::Live | HoldState::InCheckout)
        });
        let sold = self.orders.values().filter(|o| o.event == event && has_seats(o.status));
        (held.map(|hold| count(&hold.answer.places)).sum(), sold.map(|o| count(&o.places)).sum())
    }

    /// Seats of a session in holds that have seats and in orders that have.
    pub fn seats_of(&self, event: u32, buyer: u64) -> usize {
        let held = self.holds.values().filter(|hold| {
            hold.event == event
                && hold.buyer == buyer
                && matches!(hold.state, HoldState::Live | HoldState::InCheckout)
        });
        let sold = self
            .orders
            .values()
            .filter(|o| o.event == event && o.buyer == buyer && has_seats(o.status));
        held.map(|hold| hold.answer.places.len()).sum::<usize>()
            + sold.map(|order| order.places.len()).sum::<usize>()
    }
}

pub fn has_seats(status: OrderStatus) -> bool {
    matches!(status, OrderStatus::Sold | OrderStatus::Confirmed)
}
