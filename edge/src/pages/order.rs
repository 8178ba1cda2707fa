//! Owns an order's page: waiting for the payment, what went wrong, or the tickets.
//!
//! Must never show an order to a browser that does not have its token.

use std::sync::Arc;

use askama::Template;

use super::{ORDER_COOKIE, money, page};
use crate::{
    handlers::orders::{self, TicketJson},
    problem::Problem,
    reply::Reply,
    request::Request,
    service::Edge,
};

struct TicketView {
    ticket: TicketJson,
    svg: Option<String>,
}

#[derive(Template)]
#[template(path = "order.html")]
struct OrderPage<'a> {
    order_id: &'a str,
    event: &'a str,
    event_id: &'a str,
    venue: &'a str,
    starts: String,
    status: &'a str,
    failure: &'a str,
    action: Option<&'a str>,
    /// The gateway sent the buyer back here, perhaps before we heard from it.
    returned: bool,
    total: String,
    tickets: Vec<TicketView>,
}

/// `GET /orders/{order_id}`
pub(crate) async fn order(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let returned = request.query_among(&["redirect_status"])?.get("redirect_status").is_some();
    let token = request.cookie(ORDER_COOKIE).unwrap_or("");
    let order = orders::prove(&edge, request.param(0), token).map_err(|_| {
        Problem::not_found("there is no such order, or it was made with another browser")
    })?;
    let (state, view) = orders::read(&edge, order, request.deadline).await?;
    let mut tickets = Vec::new();
    if !matches!(state.status.as_str(), "processing" | "failed") {
        for ticket in orders::tickets(order, &state, &view) {
            // The code itself is the ticket: without its picture the page is still of use.
            let svg = match &ticket.code {
                Some(code) => orders::render(&edge, code.clone(), request.deadline).await.ok(),
                None => None,
            };
            let svg = svg.filter(|svg| svg.starts_with("<svg"));
            tickets.push(TicketView { ticket, svg });
        }
    }
    let link = Some(state.next_action_url.as_str());
    page(&OrderPage {
        order_id: request.param(0),
        event: &view.document.name,
        event_id: &state.event_id,
        venue: &view.document.venue,
        starts: super::moment(view.document.starts_at_ms),
        status: &state.status,
        failure: &state.failure_code,
        action: link.filter(|url| url.starts_with("https://") || url.starts_with("http://")),
        returned,
        total: money(state.total_minor, &state.currency),
        tickets,
    })
}
