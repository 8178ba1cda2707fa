//! Owns the list of events with its search, and an event's page with the best-available form.
//!
//! Must never show more than the interface does.

use std::sync::Arc;

use askama::Template;
use onsale_proto::catalog::{EventDocument, PriceCategory, TicketType, Tier};

use super::{moment, money, page, wish_form::type_field};
use crate::{
    handlers::events::{filters, status_now},
    idempotency,
    offer_view::{self, price_from},
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

/// A ticket type's field in the form.
struct TypeField<'a> {
    field: String,
    name: &'a str,
}

/// What a category costs.
struct PriceRow<'a> {
    category: &'a str,
    /// For each ticket type, or once where there are none: the price that stays, then early ones.
    prices: Vec<Vec<String>>,
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
    types: Vec<TypeField<'a>>,
    prices: Vec<PriceRow<'a>>,
    accessible: bool,
    companions: bool,
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

fn type_fields(document: &EventDocument) -> Vec<TypeField<'_>> {
    let field = |(no, one): (u32, &TicketType)| TypeField {
        field: type_field(&one.key),
        name: offer_view::type_name(document, no),
    };
    (0..).zip(&document.types).map(field).collect()
}

fn price_rows(document: &EventDocument) -> Vec<PriceRow<'_>> {
    fn of<'a>(document: &EventDocument, category: &'a PriceCategory) -> PriceRow<'a> {
        let types = u32::try_from(document.types.len()).unwrap_or(0).max(1);
        let prices = (0..types).map(|no| {
            let (price, tiers) = offer_view::asked(category, no);
            let early = tiers.iter().map(|tier| early(tier, &document.currency));
            std::iter::once(money(price, &document.currency)).chain(early).collect()
        });
        PriceRow { category: &category.name, prices: prices.collect() }
    }
    document.categories.iter().map(|category| of(document, category)).collect()
}

fn early(tier: &Tier, currency: &str) -> String {
    let mut text = money(tier.price_minor, currency);
    if let Some(count) = tier.count {
        text.push_str(&format!(" for the first {count}"));
    }
    if let Some(until_ms) = tier.until_ms {
        text.push_str(&format!(" until {}", moment(until_ms)));
    }
    text
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
    let rows = || document.sections.iter().flat_map(|section| &section.rows);
    page(&EventPage {
        event: document,
        place: place(document),
        starts: moment(document.starts_at_ms),
        onsale: moment(document.onsale_at_ms),
        status: status_now(&edge, document),
        categories: categories.collect(),
        sections: sections.collect(),
        types: type_fields(document),
        prices: price_rows(document),
        accessible: rows().any(|row| !row.accessible.is_empty()),
        companions: rows().any(|row| !row.companion.is_empty()),
        quantity_max: rules.seats_per_order_max.max(1),
        key: idempotency::new_key()?,
    })
}
