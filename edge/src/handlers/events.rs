//! Owns reading events: the list, one event, its seat map.
//!
//! Must never show an event that is not published.

use std::sync::Arc;

use http::StatusCode;
use onsale_proto::{
    catalog::{EventDocument, ListEventsRequest, ListEventsResponse},
    time,
};
use serde::Serialize;

use crate::{
    event_view::{self, EventJson},
    json::{self, At, Faults},
    limits,
    problem::Problem,
    reply::{self, Reply},
    request::{Form, Request},
    service::Edge,
};

const CURSOR_CHARS_MAX: usize = 1_024;

#[derive(Serialize)]
struct Page<'a> {
    data: Vec<EventJson<'a>>,
    next_cursor: Option<&'a str>,
}

/// What readers see of an event's life at this moment.
pub(crate) fn status_now(edge: &Edge, document: &EventDocument) -> &'static str {
    let left = edge.availability.left(&document.event_id);
    event_view::status(document, left, edge.availability.now_ms())
}

/// Names of the list's parameters.
pub(crate) const LIST_PARAMETERS: [&str; 7] =
    ["q", "city", "category", "from", "to", "limit", "cursor"];

/// The list's filters.
pub(crate) fn filters(query: &Form) -> Result<ListEventsRequest, Problem> {
    let mut faults = Faults::default();
    let mut text = |name: &'static str, chars: usize| {
        let value = query.get(name).unwrap_or("");
        if value.chars().count() > chars {
            faults.add(&At::Root, format!("{name} must have at most {chars} characters"));
        }
        value.to_owned()
    };
    let request = ListEventsRequest {
        query: text("q", limits::EVENT_NAME_CHARS_MAX),
        city: text("city", limits::EVENT_NAME_CHARS_MAX),
        category: text("category", limits::EVENT_NAME_CHARS_MAX),
        page_token: text("cursor", CURSOR_CHARS_MAX),
        ..ListEventsRequest::default()
    };
    if !faults.is_empty() {
        return Err(Problem::fields(faults.into_errors()));
    }
    let point = |name: &'static str| match query.get(name) {
        Some(text) => {
            time::from_rfc3339(text).ok_or_else(|| Problem::field(name, "must be an RFC 3339 time"))
        }
        None => Ok(0),
    };
    let page_size = match query.get("limit") {
        Some(text) => {
            let mut faults = Faults::default();
            let value = text.parse::<u64>().map_or(serde_json::Value::Null, Into::into);
            let size = json::integer(&value, &At::Root, 1..=limits::PAGE_EVENTS_MAX, &mut faults);
            size.ok_or_else(|| Problem::field("limit", "must be a whole number from 1 to 100"))?
        }
        None => 0,
    };
    Ok(ListEventsRequest {
        from_ms: point("from")?,
        to_ms: point("to")?,
        page_size: u32::try_from(page_size).unwrap_or(0),
        ..request
    })
}

/// `GET /v1/events`
pub(crate) async fn list(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let filters = filters(&request.query(&LIST_PARAMETERS)?)?;
    let ListEventsResponse { events, next_page_token } =
        edge.documents.list(filters, request.deadline).await?;
    let page = Page {
        data: events
            .iter()
            .map(|document| EventJson::new(document, status_now(&edge, document)))
            .collect(),
        next_cursor: (!next_page_token.is_empty()).then_some(next_page_token.as_str()),
    };
    Ok(reply::json_of(StatusCode::OK, &page))
}

/// `GET /v1/events/{event_id}`
pub(crate) async fn get(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let view = edge.documents.get(request.param(0), request.deadline).await?;
    let document = &view.document;
    let event = EventJson::new(document, status_now(&edge, document));
    Ok(reply::json_of(StatusCode::OK, &event))
}

/// `GET /v1/events/{event_id}/seatmap`
pub(crate) async fn seat_map(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let view = edge.documents.get(request.param(0), request.deadline).await?;
    // Seats never change; how many places an area has may, so that such a map is fresh for less
    // long, and immutable as long as it is fresh (RFC 8246).
    let cache = match view.has_areas() {
        true => "public, max-age=60, immutable",
        false => "public, max-age=86400, immutable",
    };
    Ok(reply::tagged(request.headers(), &view.seat_map_etag, cache, view.seat_map.clone()))
}
