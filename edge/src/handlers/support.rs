//! Owns what support does for buyers: a ticket moves to another seat, tickets get other names.
//!
//! Must never put a name into an answer, a log or an error. The answer is a function of the log's
//! outcome and immutable labels, so a replay is the same byte for byte.

use std::sync::Arc;

use bytes::Bytes;
use onsale_mesh::Failure;
use onsale_proto::{
    allocator::{Contact, RenameTicketsRequest, SwapSeatRequest, outcome::Result as Answer},
    id, keyed,
};
use serde::Serialize;

use super::{
    checkout,
    kills::{done, reason, refused, unexpected},
    orders, organizer,
};
use crate::{
    event_view::EventView,
    json::{At, Faults, Object},
    limits,
    problem::{FieldError, Problem},
    reply::Reply,
    request::Request,
    service::Edge,
};

const NO_ORDER: &str = "there is no such order";

#[derive(Serialize)]
struct Swapped {
    order_id: String,
    /// The ticket that is valid now.
    ticket_id: String,
    seat_id: String,
    /// The ticket that was valid before.
    replaced_ticket_id: String,
    replaced_seat_id: String,
}

#[derive(Serialize)]
struct Renamed {
    order_id: String,
    ticket_ids: Vec<String>,
}

/// `POST /v1/orders/{order_id}/swaps`
pub(crate) async fn swap(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let staff = organizer::staff(&request)?;
    let body = request.json()?;
    let order = order(&request)?;
    let idempotency = organizer::staff_key(&edge, staff, "swap", &request)?;
    let mut faults = Faults::default();
    let object = Object::read(&body, At::Root, &["ticket_id", "seat_id", "reason"], &mut faults);
    let read = object.and_then(|object| {
        object.need("ticket_id", &mut faults);
        let ticket = ticket(&object, order, &mut faults);
        let seat = object.need_text("seat_id", 1..=limits::SEAT_ID_CHARS_MAX, &mut faults);
        let reason = reason(&object, &mut faults);
        Some((ticket?, seat?, reason.unwrap_or("")))
    });
    let (Some((ticket, seat_id, reason)), true) = (read, faults.is_empty()) else {
        return Err(Problem::fields(faults.into_errors()));
    };
    let (_, view) = orders::read(&edge, order, request.deadline).await?;
    let Some(to_seat) = view.seat_no(seat_id) else {
        return Err(Problem::field("/seat_id", "is not a seat of the order's event"));
    };
    let message = SwapSeatRequest {
        order_id: id::to_bytes(order),
        ticket: u32::from(ticket),
        to_seat,
        idempotency: Some(idempotency),
        reason: reason.to_owned(),
    };
    let outcome = edge.shards.swap_seat(message, request.deadline).await;
    let (replayed, answer) = done(outcome).map_err(|failure| refusal(failure, &view))?;
    let Answer::Swapped(swapped) = answer else {
        return Err(unexpected());
    };
    let seat_id = |seat| view.label(seat).map(|label| label.seat_id()).unwrap_or_default();
    let new = u16::try_from(swapped.ticket).map_err(|_| unexpected())?;
    let body = Swapped {
        order_id: id::format(id::ORDER, order),
        ticket_id: id::format(id::TICKET, id::ticket(order, new)),
        seat_id: seat_id(swapped.to_seat),
        replaced_ticket_id: id::format(id::TICKET, id::ticket(order, ticket)),
        replaced_seat_id: seat_id(swapped.from_seat),
    };
    Ok(organizer::answered(&request, &body, replayed))
}

/// `POST /v1/orders/{order_id}/renames`
pub(crate) async fn rename(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let staff = organizer::staff(&request)?;
    let body = request.json()?;
    let order = order(&request)?;
    let idempotency = organizer::staff_key(&edge, staff, "rename", &request)?;
    let mut faults = Faults::default();
    let object = Object::read(&body, At::Root, &["ticket_id", "name", "email"], &mut faults);
    let read = object.and_then(|object| {
        let ticket = ticket(&object, order, &mut faults);
        let name = checkout::name(&object, &mut faults);
        let email = checkout::email(&object, &mut faults);
        Some((ticket, name?, email.unwrap_or("")))
    });
    let (Some((ticket, name, email)), true) = (read, faults.is_empty()) else {
        return Err(Problem::fields(faults.into_errors()));
    };
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)?;
    let commitment = keyed::contact_commitment(&salt, name, email);
    let message = RenameTicketsRequest {
        order_id: id::to_bytes(order),
        ticket: ticket.map(u32::from),
        idempotency: Some(idempotency),
        contact_commitment: Bytes::copy_from_slice(&commitment),
        contact: Some(Contact {
            salt: Bytes::copy_from_slice(&salt),
            name: name.to_owned(),
            email: email.to_owned(),
        }),
    };
    let outcome = edge.shards.rename_tickets(message, request.deadline).await;
    let (replayed, answer) = done(outcome)?;
    let Answer::Renamed(renamed) = answer else {
        return Err(unexpected());
    };
    let numbers = renamed.tickets.iter().filter_map(|&number| u16::try_from(number).ok());
    let body = Renamed {
        order_id: id::format(id::ORDER, order),
        ticket_ids: numbers
            .map(|number| id::format(id::TICKET, id::ticket(order, number)))
            .collect(),
    };
    Ok(organizer::answered(&request, &body, replayed))
}

fn order(request: &Request) -> Result<u128, Problem> {
    id::parse(id::ORDER, request.param(0)).ok_or_else(|| Problem::not_found(NO_ORDER))
}

/// The number of the ticket that the body names, if it names one of this order.
fn ticket(object: &Object<'_>, order: u128, faults: &mut Faults) -> Option<u16> {
    let text = object.text("ticket_id", 1..=64, faults)?;
    let of_order = id::parse(id::TICKET, text).and_then(id::ticket_parts);
    match of_order.filter(|(of, _)| *of == order) {
        Some((_, number)) => Some(number),
        None => {
            object.fault("ticket_id", "is not a ticket of this order", faults);
            None
        }
    }
}

/// A refusal in the body's own words.
fn refusal(failure: Failure, view: &EventView) -> Problem {
    let pointer = match failure.field.as_str() {
        "to_seat" => "/seat_id",
        "ticket" => "/ticket_id",
        _ => return refused(failure, view),
    };
    let detail = failure.detail.clone();
    let errors = vec![FieldError { pointer: pointer.to_owned(), detail: detail.into() }];
    refused(failure, view).with_errors(errors)
}
