//! Owns the way in for what organizers and support ask.

use onsale_mesh::Failure;
use onsale_proto::{allocator as pb, keyed};
use onsale_state::{
    OrderId, SectionNo,
    command::{CommandKind, Contact, KillSeats, RenameTicket, ReturnSeats, Selection, SwapSeat},
    limits::{CONTACT_BYTES_MAX, EVENT_SEATS_MAX, EVENT_SECTIONS_MAX, REASON_BYTES_MAX},
};

use super::{array, idempotency, invalid, order_bytes, text};

/// The places to withdraw that a message names.
///
/// # Errors
/// `invalid_request` with the field and what it must be.
pub fn kill_seats(message: pb::KillSeatsRequest) -> Result<CommandKind, Failure> {
    Ok(CommandKind::KillSeats(Box::new(KillSeats {
        event: event_no(message.event_no)?,
        idempotency: idempotency(message.idempotency.as_ref())?,
        places: selection(message.seats, &message.areas)?,
        reason: text("reason", &message.reason, 0, REASON_BYTES_MAX)?,
    })))
}

/// The places to return that a message names.
///
/// # Errors
/// `invalid_request` with the field and what it must be.
pub fn return_seats(message: pb::ReturnSeatsRequest) -> Result<CommandKind, Failure> {
    Ok(CommandKind::ReturnSeats(Box::new(ReturnSeats {
        event: event_no(message.event_no)?,
        idempotency: idempotency(message.idempotency.as_ref())?,
        places: selection(message.seats, &message.areas)?,
    })))
}

/// The move that a message asks for, in the order's shard.
///
/// # Errors
/// `invalid_request` with the field and what it must be.
pub fn swap_seat(message: &pb::SwapSeatRequest, shard: u32) -> Result<CommandKind, Failure> {
    Ok(CommandKind::SwapSeat(Box::new(SwapSeat {
        order: OrderId(order_bytes("order_id", &message.order_id, shard)?),
        ticket: ticket(message.ticket)?,
        to_seat: message.to_seat,
        idempotency: idempotency(message.idempotency.as_ref())?,
        reason: text("reason", &message.reason, 0, REASON_BYTES_MAX)?,
    })))
}

/// The names that a message gives, in the order's shard.
///
/// # Errors
/// `invalid_request` with the field and what it must be; never the data.
pub fn rename_tickets(
    message: &pb::RenameTicketsRequest,
    shard: u32,
) -> Result<CommandKind, Failure> {
    let contact_commitment = array("contact_commitment", &message.contact_commitment)?;
    Ok(CommandKind::RenameTicket(Box::new(RenameTicket {
        order: OrderId(order_bytes("order_id", &message.order_id, shard)?),
        ticket: message.ticket.map(ticket).transpose()?,
        idempotency: idempotency(message.idempotency.as_ref())?,
        contact: holder(message.contact.as_ref(), &contact_commitment)?,
        contact_commitment,
    })))
}

fn holder(message: Option<&pb::Contact>, commitment: &[u8; 32]) -> Result<Contact, Failure> {
    let message = message.ok_or_else(|| invalid("contact", "is required"))?;
    let salt = array("contact/salt", &message.salt)?;
    let name = text("contact/name", &message.name, 1, CONTACT_BYTES_MAX)?;
    let email = text("contact/email", &message.email, 0, CONTACT_BYTES_MAX)?;
    if keyed::contact_commitment(&salt, &name, &email) != *commitment {
        return Err(invalid("contact_commitment", "must be the salted hash of this contact"));
    }
    Ok(Contact { salt, name, email })
}

pub(super) fn event_no(number: u32) -> Result<u32, Failure> {
    match number {
        0 => Err(invalid("event_no", "must be an event's number, from 1")),
        number => Ok(number),
    }
}

fn ticket(number: u32) -> Result<u16, Failure> {
    u16::try_from(number).map_err(|_| invalid("ticket", "must be a ticket's number in its order"))
}

pub(super) fn selection(seats: Vec<u32>, areas: &[pb::AreaQuantity]) -> Result<Selection, Failure> {
    if seats.len() > EVENT_SEATS_MAX as usize {
        return Err(invalid("seats", &format!("must be at most {EVENT_SEATS_MAX}")));
    }
    if areas.len() > EVENT_SECTIONS_MAX {
        return Err(invalid("areas", &format!("must be at most {EVENT_SECTIONS_MAX}")));
    }
    let area = |(at, area): (usize, &pb::AreaQuantity)| {
        let section = SectionNo::try_from(area.section)
            .map_err(|_| invalid(&format!("areas/{at}/section"), "is not one of the event's"))?;
        Ok((section, area.quantity))
    };
    let areas = areas.iter().enumerate().map(area).collect::<Result<_, Failure>>()?;
    Ok(Selection { seats, areas })
}
