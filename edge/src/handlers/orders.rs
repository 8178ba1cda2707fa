//! Owns reading orders and tickets, for who has the order's token or, for orders, a support key.
//!
//! Must never tell a wrong token from an order that is not there.

use std::sync::Arc;

use http::StatusCode;
use onsale_mesh::{Deadline, Failure};
use onsale_proto::{
    Code,
    allocator::{GetOrderResponse, Place},
    id,
    payments::{RenderTicketRequest, payments_service_client::PaymentsServiceClient},
    ticket_code,
};
use serde::Serialize;

use super::{holds::unread, places};
use crate::{
    auth::Role,
    documents::timed,
    event_view::EventView,
    offer_view,
    problem::Problem,
    reply::{self, Reply},
    request::{ORDER_TOKEN, Request},
    service::Edge,
};

const GONE: &str = "there is no such order, or the token is not its";
const NO_TICKET: &str = "there is no such ticket, or the token is not its order's";

#[derive(Serialize)]
struct FailureJson<'a> {
    code: &'a str,
}

#[derive(Serialize)]
struct NextAction<'a> {
    url: &'a str,
}

/// A ticket as it stands in its order.
#[derive(Serialize)]
pub(crate) struct TicketJson {
    pub ticket_id: String,
    pub seat_id: Option<String>,
    /// Its ticket type, where the event has types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// None while it is being signed, and where it is void.
    pub code: Option<String>,
    pub status: &'static str,
    /// Where it is not the buyer. Personal data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder_name: Option<String>,
}

#[derive(Serialize)]
struct OrderJson<'a> {
    order_id: String,
    status: &'a str,
    event_id: &'a str,
    total_minor: u64,
    refunded_minor: u64,
    currency: &'a str,
    tickets: Vec<TicketJson>,
    failure: Option<FailureJson<'a>>,
    next_action: Option<NextAction<'a>>,
}

#[derive(Serialize)]
struct WholeTicketJson<'a> {
    ticket_id: String,
    order_id: String,
    event_id: &'a str,
    seat_id: Option<String>,
    section: &'a str,
    row: Option<&'a str>,
    number: Option<u32>,
    category: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'a str>,
    price_minor: u64,
    currency: &'a str,
    status: &'static str,
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder_name: Option<String>,
}

/// `GET /v1/orders/{order_id}`
pub(crate) async fn get(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let order = match request.header(&ORDER_TOKEN) {
        Some(token) => prove(&edge, request.param(0), token)?,
        None if request.headers().contains_key(http::header::AUTHORIZATION) => {
            edge.api_keys.require(request.headers(), Role::Support)?;
            id::parse(id::ORDER, request.param(0)).ok_or_else(|| Problem::not_found(GONE))?
        }
        None => {
            return Err(Problem::new(
                Code::Unauthenticated,
                "send the order's token as Order-Token, or a support key",
            ));
        }
    };
    let (state, view) = read(&edge, order, request.deadline).await?;
    Ok(reply::json_of(StatusCode::OK, &answer(order, &state, &view)))
}

/// The order of this public id, if the token is its own.
pub(crate) fn prove(edge: &Edge, order_id: &str, token: &str) -> Result<u128, Problem> {
    id::parse(id::ORDER, order_id)
        .filter(|order| edge.secret.proves_order(*order, token))
        .ok_or_else(|| Problem::not_found(GONE))
}

/// An order as it stands, and its event.
pub(crate) async fn read(
    edge: &Edge,
    order: u128,
    deadline: Deadline,
) -> Result<(GetOrderResponse, Arc<EventView>), Problem> {
    let state = edge.shards.get_order(order, deadline).await;
    let state = state.map_err(unread)?;
    let view = edge.documents.get(&state.event_id, deadline).await?;
    Ok((state, view))
}

/// An order's tickets; none before they are signed. Those that moved to another seat come last.
pub(crate) fn tickets(order: u128, state: &GetOrderResponse, view: &EventView) -> Vec<TicketJson> {
    let type_of =
        |place: &Place| offer_view::type_key(&view.document, place.ticket_type).map(str::to_owned);
    let valid = state.tickets.iter().zip(state.places.iter().zip(&state.signatures));
    let valid = valid.map(|(&number, (place, signature))| {
        let ticket_id = ticket_id(order, number);
        let seat_id = places::seat_id(view, place);
        let input = ticket_code::signing_input(
            state.signing_key,
            &ticket_id,
            &state.event_id,
            seat_id.as_deref(),
        );
        let holder = state.holders.iter().find(|holder| holder.ticket == number);
        TicketJson {
            // A ticket that moved is without a code until it is signed again.
            code: (!signature.is_empty()).then(|| ticket_code::assemble(&input, signature)),
            ticket_id,
            seat_id,
            r#type: type_of(place),
            status: "valid",
            holder_name: holder.map(|holder| holder.name.clone()),
        }
    });
    let moved = state.moved.iter().map(|moved| TicketJson {
        ticket_id: ticket_id(order, moved.ticket),
        seat_id: moved.place.as_ref().and_then(|place| places::seat_id(view, place)),
        r#type: moved.place.as_ref().and_then(type_of),
        code: None,
        status: "transferred",
        holder_name: None,
    });
    valid.chain(moved).collect()
}

fn ticket_id(order: u128, number: u32) -> String {
    let number = u16::try_from(number).unwrap_or(u16::MAX);
    id::format(id::TICKET, id::ticket(order, number))
}

fn answer<'a>(order: u128, state: &'a GetOrderResponse, view: &EventView) -> OrderJson<'a> {
    OrderJson {
        order_id: id::format(id::ORDER, order),
        status: &state.status,
        event_id: &state.event_id,
        total_minor: state.total_minor,
        refunded_minor: state.refunded_minor,
        currency: &state.currency,
        tickets: match state.status.as_str() {
            "processing" | "failed" => Vec::new(),
            _ => tickets(order, state, view),
        },
        failure: (!state.failure_code.is_empty())
            .then_some(FailureJson { code: &state.failure_code }),
        next_action: (!state.next_action_url.is_empty())
            .then_some(NextAction { url: &state.next_action_url }),
    }
}

/// The ticket that the path names, if the header proves its order.
async fn ticket(
    edge: &Edge,
    request: &Request,
) -> Result<(TicketJson, usize, u128, GetOrderResponse, Arc<EventView>), Problem> {
    let token = request.header(&ORDER_TOKEN).ok_or_else(|| {
        Problem::new(Code::Unauthenticated, "send the order's token as Order-Token")
    })?;
    let (order, number) = id::parse(id::TICKET, request.param(0))
        .and_then(id::ticket_parts)
        .filter(|(order, _)| edge.secret.proves_order(*order, token))
        .ok_or_else(|| Problem::not_found(NO_TICKET))?;
    let (state, view) = read(edge, order, request.deadline).await?;
    let mut tickets = match state.status.as_str() {
        "processing" | "failed" => Vec::new(),
        _ => tickets(order, &state, &view),
    };
    let wanted = ticket_id(order, u32::from(number));
    let at = tickets.iter().position(|ticket| ticket.ticket_id == wanted);
    let at = at.ok_or_else(|| Problem::not_found(NO_TICKET))?;
    Ok((tickets.swap_remove(at), at, order, state, view))
}

/// `GET /v1/tickets/{ticket_id}`
pub(crate) async fn get_ticket(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let (ticket, at, order, state, view) = ticket(&edge, &request).await?;
    let moved = state.moved.iter().filter_map(|moved| moved.place.as_ref());
    let place = state.places.iter().chain(moved).nth(at).cloned().unwrap_or_default();
    let label = place.seat.and_then(|seat| view.label(seat));
    let section = view.section(place.section);
    let answer = WholeTicketJson {
        ticket_id: ticket.ticket_id,
        order_id: id::format(id::ORDER, order),
        event_id: &state.event_id,
        seat_id: ticket.seat_id,
        section: section.map_or("", |section| section.key.as_str()),
        row: label.map(|label| label.row),
        number: label.map(|label| label.number),
        category: view.category_key(place.category),
        r#type: offer_view::type_key(&view.document, place.ticket_type),
        price_minor: place.price_minor,
        currency: &state.currency,
        status: ticket.status,
        code: ticket.code,
        holder_name: ticket.holder_name,
    };
    Ok(reply::json_of(StatusCode::OK, &answer))
}

/// `GET /v1/tickets/{ticket_id}.svg`
pub(crate) async fn get_ticket_svg(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let (ticket, ..) = ticket(&edge, &request).await?;
    let Some(code) = ticket.code else {
        return Err(Problem::new(
            Code::Conflict,
            "the ticket has no code: it moved to another seat, or is being signed again",
        ));
    };
    let svg = render(&edge, code, request.deadline).await?;
    Ok(reply::bytes("image/svg+xml", "no-store", svg))
}

/// A ticket's code as a QR image.
pub(crate) async fn render(
    edge: &Edge,
    code: String,
    deadline: Deadline,
) -> Result<String, Problem> {
    let mut payments = PaymentsServiceClient::new(edge.payments.clone());
    let request = timed(RenderTicketRequest { code }, deadline.remaining());
    match tokio::time::timeout_at(deadline.instant(), payments.render_ticket(request)).await {
        Ok(Ok(answer)) => Ok(answer.into_inner().svg),
        Ok(Err(status)) => match Code::from_status(&status) {
            // Drawing changes nothing, so nothing is unknown about it.
            Code::OutcomeUnknown => Err(slow()),
            _ => Err(Failure::from(status).into()),
        },
        Err(_) => Err(slow()),
    }
}

fn slow() -> Problem {
    Problem::new(Code::Unavailable, "the ticket cannot be drawn just now")
}
