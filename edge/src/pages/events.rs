//! Owns the list of events with its search, and an event's page with the best-available form.
//!
//! Must never show more than the interface does.

use std::sync::Arc;

use askama::Template;
use onsale_proto::catalog::EventDocument;

use super::{moment, money, page};
use crate::{
    handlers::events::{filters, status_now},
    idempotency,
    offer_view::price_from,
    problem::Problem,
    reply::Reply,
    request::{Form, Request, encode},
    service::Edge,
};

struct Item {
    event_id: String,
    name: String,
    place: String,
    starts: String,
    from: String,
    status: &'static str,
}

#[derive(Template)]
#[template(path = "events.html")]
struct ListPage<'a> {
    query: &'a str,
    city: &'a str,
    items: Vec<Item>,
    next: Option<String>,
    filtered: bool,
}

struct Place {
    value: String,
    name: String,
    price: String,
    available: u32,
}

#[derive(Template)]
#[template(path = "event.html")]
struct EventPage<'a> {
    event: &'a EventDocument,
    place: String,
    starts: String,
    onsale: String,
    status: &'static str,
    categories: Vec<Place>,
    sections: Vec<Place>,
    quantity_max: u32,
    key: String,
}

/// A status as people read it.
fn said(status: &str) -> &'static str {
    match status {
        "announced" => "not on sale yet",
        "sold_out" => "sold out",
        "cancelled" => "cancelled",
        _ => "on sale",
    }
}

fn place(document: &EventDocument) -> String {
    match document.city.as_str() {
        "" => document.venue.clone(),
        city => format!("{}, {city}", document.venue),
    }
}

/// `GET /`
pub(crate) async fn list(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let query = request.query(&["q", "city", "category", "cursor"])?;
    let answer = edge.documents.list(filters(&query)?, request.deadline).await?;
    let items = answer.events.iter().map(|document| Item {
        event_id: document.event_id.clone(),
        name: document.name.clone(),
        place: place(document),
        starts: moment(document.starts_at_ms),
        from: money(price_from(document), &document.currency),
        status: said(status_now(&edge, document)),
    });
    page(&ListPage {
        query: query.get("q").unwrap_or(""),
        city: query.get("city").unwrap_or(""),
        items: items.collect(),
        next: next_page(&query, &answer.next_page_token),
        filtered: query.get("q").is_some() || query.get("city").is_some(),
    })
}

fn next_page(query: &Form, token: &str) -> Option<String> {
    if token.is_empty() {
        return None;
    }
    let mut link = format!("/?cursor={}", encode(token));
    for name in ["q", "city", "category"] {
        if let Some(value) = query.get(name) {
            link.push_str(&format!("&{name}={}", encode(value)));
        }
    }
    Some(link)
}

/// `GET /events/{event_id}`
pub(crate) async fn event(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    request.query(&[])?;
    let view = edge.documents.get(request.param(0), request.deadline).await?;
    let live = edge.availability.wait(request.param(0), request.deadline).await?;
    let document = &view.document;
    let available = live.available();
    let of_section = |place: usize| available.get(place).copied().unwrap_or(0);
    let sections = document.sections.iter().enumerate().map(|(place, section)| {
        let category = document.categories.get(section.category as usize);
        let price = category.map_or(0, |category| category.price_minor);
        Place {
            value: format!("s:{}", section.key),
            name: section.name.clone(),
            price: money(price, &document.currency),
            available: of_section(place),
        }
    });
    let categories = (0_u32..).zip(&document.categories).map(|(number, category)| Place {
        value: format!("c:{}", category.key),
        name: category.name.clone(),
        price: money(category.price_minor, &document.currency),
        available: (0..)
            .zip(&document.sections)
            .filter(|(_, section)| section.category == number)
            .map(|(place, _)| of_section(place))
            .sum(),
    });
    let rules = document.rules.unwrap_or_default();
    page(&EventPage {
        event: document,
        place: place(document),
        starts: moment(document.starts_at_ms),
        onsale: moment(document.onsale_at_ms),
        status: status_now(&edge, document),
        categories: categories.collect(),
        sections: sections.collect(),
        quantity_max: rules.seats_per_order_max.max(1),
        key: idempotency::new_key()?,
    })
}
