//! `RenameTicket`: a ticket, or all of an order, is another person's. Needs no stock and no new
//! signature: a code says the ticket and the seat, not the name.

use super::{Contact, Idempotency};
use crate::{
    codec::{Reader, put_opt_varint, put_u128},
    error::DecodeError,
    ids::OrderId,
    limits::CONTACT_BYTES_MAX,
    order::OrderStatus,
    outcome::{Done, Outcome, Rejection},
    shard::Shard,
};

/// Give tickets another holder's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenameTicket {
    /// The order.
    pub order: OrderId,
    /// The ticket's number in the order; `None` is all.
    pub ticket: Option<u16>,
    /// Key and content; `buyer` is the API key's hash.
    pub idempotency: Idempotency,
    /// Salted commitment to `contact`; the chain sees this and not the contact.
    pub contact_commitment: [u8; 32],
    /// The part with personal data; the e-mail address may be empty.
    pub contact: Contact,
}

impl RenameTicket {
    /// Everything but the contact.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u128(out, self.order.0);
        put_opt_varint(out, self.ticket.map(u64::from));
        self.idempotency.encode(out);
        out.extend_from_slice(&self.contact_commitment);
    }

    /// Everything but the contact, which stands empty until its own part is read.
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            order: OrderId(r.u128()?),
            ticket: r.opt(|r| r.u16("ticket"))?,
            idempotency: Idempotency::decode(r)?,
            contact_commitment: r.array()?,
            contact: Contact { salt: [0; 16], name: "".into(), email: "".into() },
        })
    }
}

impl Shard {
    pub(crate) fn rename_ticket(&mut self, command: &RenameTicket) -> Outcome {
        self.answer_staff(&command.idempotency, |shard| shard.try_rename(command))
    }

    fn try_rename(&mut self, command: &RenameTicket) -> Result<Done, Rejection> {
        let slot = self.orders.slot(command.order).ok_or(Rejection::NotFound { what: "order" })?;
        let order = &self.orders.slab[slot];
        let numbers = match command.ticket {
            None => order.ticket_numbers(),
            Some(number) if order.place_of_ticket(number).is_some() => {
                smallvec::smallvec![number]
            }
            Some(_) => return Err(Rejection::NotFound { what: "ticket" }),
        };
        let Contact { name, email, .. } = &command.contact;
        if name.is_empty() || name.len().max(email.len()) > CONTACT_BYTES_MAX {
            let reason = "must have a name of 1 to 320 bytes and an e-mail address of at most 320";
            return Err(Rejection::Invalid { field: "contact", reason });
        }
        if order.status == OrderStatus::Failed {
            return Err(Rejection::OrderUnconfirmed);
        }
        let order = &mut self.orders.slab[slot];
        order.rename(&numbers, &command.contact);
        Ok(Done::Renamed { order: command.order, tickets: numbers })
    }
}
