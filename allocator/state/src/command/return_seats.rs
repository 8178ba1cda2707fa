//! `ReturnSeats`: withdrawn places are on sale again; one that waits to be withdrawn is not any
//! more.

use super::{Idempotency, Selection};
use crate::{
    change::Change,
    codec::{Reader, put_varint},
    error::DecodeError,
    ids::EventNo,
    outcome::{Done, Outcome, Rejection},
    shard::Shard,
};

/// Put withdrawn places on sale again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnSeats {
    /// The event.
    pub event: EventNo,
    /// Key and content; `buyer` is the API key's hash.
    pub idempotency: Idempotency,
    /// What to return.
    pub places: Selection,
}

impl ReturnSeats {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.event.into());
        self.idempotency.encode(out);
        self.places.encode(out);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            event: r.u32("event")?,
            idempotency: Idempotency::decode(r)?,
            places: Selection::decode(r)?,
        })
    }
}

impl Shard {
    pub(crate) fn return_seats(
        &mut self,
        command: &ReturnSeats,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        self.answer_staff(&command.idempotency, |shard| shard.try_return(command, changes))
    }

    fn try_return(
        &mut self,
        command: &ReturnSeats,
        changes: &mut Vec<Change>,
    ) -> Result<Done, Rejection> {
        let slot = self.event_slot(command.event)?;
        let event = &mut self.events[slot as usize];
        command.places.check(event)?;
        let Selection { seats, areas } = &command.places;
        let others: Vec<_> = seats.iter().copied().filter(|&seat| !event.kills.has(seat)).collect();
        let short = areas.iter().filter(|&&(section, places)| places > event.kills.wanted(section));
        let short: Vec<_> = short.map(|&(section, _)| event.taken(section)).collect();
        if !others.is_empty() || !short.is_empty() {
            return Err(Rejection::SeatsNotKilled { seats: others, areas: short });
        }
        event.return_seats(seats, changes);
        let mut returned = seats.len() as u32;
        for &area in areas {
            event.change_area(area, None, changes);
            returned += area.1;
        }
        Ok(Done::Returned { returned })
    }
}
