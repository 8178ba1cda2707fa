//! `KillSeats`: the organizer withdraws places, with a reason. Nothing is taken from a buyer: what
//! is held is withdrawn when its hold ends without a sale, what is sold refuses the command.

use super::Idempotency;
use crate::{
    change::Change,
    codec::{Reader, put_bytes, put_delta, put_varint},
    error::DecodeError,
    event::EventState,
    ids::{EventNo, SeatNo, SectionNo},
    limits::{COMMAND_BYTES_MAX, EVENT_SEATS_MAX, EVENT_SECTIONS_MAX, REASON_BYTES_MAX},
    outcome::{Done, Outcome, Rejection},
    seat_word::SeatState,
    shard::Shard,
};

/// Places of an event by name: seats, and so many of an area.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Seats, ascending.
    pub seats: Vec<SeatNo>,
    /// General admission areas, ascending, and how many places of each.
    pub areas: Vec<(SectionNo, u32)>,
}

/// Withdraw places from sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillSeats {
    /// The event.
    pub event: EventNo,
    /// Key and content; `buyer` is the API key's hash.
    pub idempotency: Idempotency,
    /// What to withdraw.
    pub places: Selection,
    /// Why, for the organizer; at most 64 bytes.
    pub reason: Box<str>,
}

impl Selection {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.seats.len() as u64);
        let mut last = 0;
        for &seat in &self.seats {
            put_delta(out, seat.into(), last);
            last = seat.into();
        }
        put_varint(out, self.areas.len() as u64);
        for &(section, places) in &self.areas {
            put_varint(out, section.into());
            put_varint(out, places.into());
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut last = 0;
        let mut seats = Vec::new();
        for _ in 0..r.count(EVENT_SEATS_MAX as usize, 1, "seats")? {
            last = r.delta(last)?;
            let seat = SeatNo::try_from(last);
            seats.push(seat.map_err(|_| DecodeError::TooLarge { what: "a seat" })?);
        }
        let areas = r.count(EVENT_SECTIONS_MAX, 2, "areas")?;
        let area = |_| Ok((r.u16("a section")?, r.u32("places")?));
        let areas = (0..areas).map(area).collect::<Result<_, DecodeError>>()?;
        Ok(Self { seats, areas })
    }

    /// Does it make sense for this event, and name anything?
    pub(super) fn check(&self, event: &EventState) -> Result<(), Rejection> {
        if self.seats.is_empty() && self.areas.is_empty() {
            let reason = "or areas must be named";
            return Err(Rejection::Invalid { field: "seats", reason });
        }
        self.check_places(event)
    }

    /// Does what it names make sense for this event?
    pub(super) fn check_places(&self, event: &EventState) -> Result<(), Rejection> {
        let invalid = |field, reason| Err(Rejection::Invalid { field, reason });
        if !self.seats.is_sorted_by(|a, b| a < b) {
            return invalid("seats", "must be ascending, each once");
        }
        if self.seats.last().is_some_and(|&last| last >= event.seat_map.seats()) {
            return invalid("seats", "are not all in the seat map");
        }
        if !self.areas.is_sorted_by(|a, b| a.0 < b.0) {
            return invalid("areas", "must be ascending, each once");
        }
        let is_area = |no| event.seat_map.section(no).is_some_and(|it| it.area_capacity.is_some());
        if self.areas.iter().any(|&(section, _)| !is_area(section)) {
            return invalid("areas", "must be general admission sections of the seat map");
        }
        if self.areas.iter().any(|&(_, places)| places == 0) {
            return invalid("areas/quantity", "must be at least 1");
        }
        Ok(())
    }
}

impl KillSeats {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.event.into());
        self.idempotency.encode(out);
        self.places.encode(out);
        put_bytes(out, self.reason.as_bytes());
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            event: r.u32("event")?,
            idempotency: Idempotency::decode(r)?,
            places: Selection::decode(r)?,
            reason: r.str(COMMAND_BYTES_MAX, "a reason")?,
        })
    }
}

impl Shard {
    pub(crate) fn kill_seats(&mut self, command: &KillSeats, changes: &mut Vec<Change>) -> Outcome {
        self.answer_staff(&command.idempotency, |shard| shard.try_kill(command, changes))
    }

    fn try_kill(
        &mut self,
        command: &KillSeats,
        changes: &mut Vec<Change>,
    ) -> Result<Done, Rejection> {
        let slot = self.event_slot(command.event)?;
        let event = &mut self.events[slot as usize];
        if command.reason.len() > REASON_BYTES_MAX {
            let reason = "must have at most 64 bytes";
            return Err(Rejection::Invalid { field: "reason", reason });
        }
        command.places.check(event)?;
        if event.kills.is_full(&command.reason) {
            return Err(Rejection::Overloaded { bound: "kill_reasons_max" });
        }
        let seats = event.seats_in(&command.places.seats, SeatState::Sold);
        let areas = &command.places.areas;
        let too_many = |&&(section, places): &&(SectionNo, u32)| {
            let stock = &event.stock[usize::from(section)];
            let capacity = event.seat_map.sections()[usize::from(section)].capacity();
            let left = (capacity - stock.sold).saturating_sub(event.kills.wanted(section));
            places > left
        };
        let sold: Vec<_> =
            areas.iter().filter(too_many).map(|&(section, _)| event.taken(section)).collect();
        if !seats.is_empty() || !sold.is_empty() {
            return Err(Rejection::SeatsSold { seats, areas: sold });
        }
        let pending = event.kill_seats(&command.places.seats, &command.reason, changes);
        let mut killed = (command.places.seats.len() - pending.len()) as u32;
        let mut pending_areas = Vec::new();
        for &(section, places) in areas {
            event.change_area((section, places), Some(&command.reason), changes);
            let left = event.kills.wanted(section) - event.stock[usize::from(section)].killed;
            if left > 0 {
                pending_areas.push((section, left));
            }
            killed += places - places.min(left);
        }
        Ok(Done::Killed { killed, pending, pending_areas })
    }
}
