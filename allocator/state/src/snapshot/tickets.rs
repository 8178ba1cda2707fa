//! Writes and reads what is special about an order's tickets.

use super::read::{decode_place, invalid};
use crate::{
    codec::{Reader, put_bytes, put_varint},
    command::Contact,
    error::DecodeError,
    event::EventState,
    limits::{HOLD_SEATS_MAX, REASON_BYTES_MAX, SWAPS_PER_ORDER_MAX},
    tickets::{Moved, Tickets},
};

impl Tickets {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.numbers.len() as u64);
        self.numbers.iter().for_each(|&number| put_varint(out, number.into()));
        put_varint(out, self.unsigned);
        put_varint(out, self.moved.len() as u64);
        for moved in &self.moved {
            put_varint(out, moved.number.into());
            put_varint(out, moved.place.0.into());
            put_varint(out, moved.at_ms);
            put_bytes(out, moved.reason.as_bytes());
        }
        put_varint(out, self.holders.len() as u64);
        for (&number, holder) in &self.holders {
            put_varint(out, number.into());
            holder.encode(out);
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>, event: &EventState) -> Result<Self, DecodeError> {
        let mut tickets = Self::default();
        for _ in 0..r.count(HOLD_SEATS_MAX, 1, "tickets")? {
            tickets.numbers.push(r.u16("a ticket")?);
        }
        tickets.unsigned = r.varint()?;
        for _ in 0..r.count(SWAPS_PER_ORDER_MAX, 4, "moved tickets")? {
            tickets.moved.push(Moved {
                number: r.u16("a ticket")?,
                place: decode_place(r, event)?,
                at_ms: r.varint()?,
                reason: r.str(REASON_BYTES_MAX, "a reason")?,
            });
        }
        let mut last = 0;
        for _ in 0..r.count(HOLD_SEATS_MAX, 19, "holders")? {
            let number = r.u16("a ticket")?;
            if number <= last {
                return invalid("holders");
            }
            last = number;
            tickets.holders.insert(number, Contact::decode(r)?);
        }
        Ok(tickets)
    }
}
