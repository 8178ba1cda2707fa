//! Owns creating and changing events, with an organizer's key; and what all handlers for staff
//! share.
//!
//! Must never change another organizer's event, and never the seats of one that exists.

use std::sync::Arc;

use http::{StatusCode, header};
use onsale_proto::{
    Code,
    allocator::{ChangeEventRequest, CreateEventRequest, Idempotency},
    catalog::EventDocument,
    id, time,
};
use prost::Message as _;
use serde::Serialize;
use serde_json::Value;

use super::{document, document_form, kills};
use crate::{
    auth::Staff,
    event_view::{self, EventJson, EventView},
    idempotency::{self, Canonical},
    limits,
    problem::Problem,
    reply::{self, Reply},
    request::Request,
    service::Edge,
};

/// `POST /v1/events`
pub(crate) async fn create(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let staff = staff(&request)?;
    let key = idempotency::optional(request.headers())?;
    let body = request.json()?;
    let mut document = document_form::read(&body)?;
    document.event_id = id::new_event()?;
    document.revision = 1;
    document.organizer = staff.owner.clone();
    document.written_at_ms = time::now_ms();
    if document.onsale_at_ms == 0 {
        let at = document.written_at_ms.saturating_sub(limits::CLOCK_DIFFERENCE_MAX_MS);
        document.onsale_at_ms = at / 1_000 * 1_000;
    }
    check_times(&document, &body)?;
    let event_id = document.event_id.clone();
    let message = CreateEventRequest {
        document: encoded(&document)?,
        idempotency: key.map(|key| scope(&edge, staff, "create", &key, &request)),
    };
    let answer = edge.shards.create_event(message, request.deadline).await?;
    let made = decoded(&answer.document)?;
    let mut reply = event_reply(StatusCode::CREATED, &made);
    reply::set(&mut reply, header::LOCATION, format!("/v1/events/{}", made.event_id));
    reply::mark_replayed(&mut reply, answer.replayed && made.event_id != event_id);
    edge.documents.learn(made);
    Ok(reply)
}

/// `PATCH /v1/events/{event_id}`
pub(crate) async fn change(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let staff = staff(&request)?;
    let key = idempotency::optional(request.headers())?;
    let body = request.json()?;
    let event_id = request.param(0).to_owned();
    let message_key = key.map(|key| scope(&edge, staff, &event_id, &key, &request));
    let mut attempt = 1;
    loop {
        let view = edge.documents.get(&event_id, request.deadline).await?;
        if view.document.organizer != staff.owner {
            return Err(Problem::new(Code::Forbidden, "this is another organizer's event"));
        }
        let mut changed = view.document.clone();
        document::patch(&mut changed, &body)?;
        check_times(&changed, &body)?;
        changed.revision = view.document.revision + 1;
        changed.written_at_ms = time::now_ms();
        let message =
            ChangeEventRequest { document: encoded(&changed)?, idempotency: message_key.clone() };
        match edge.shards.change_event(message, request.deadline).await {
            Ok(answer) => {
                let made = decoded(&answer.document)?;
                let mut reply = event_reply(StatusCode::OK, &made);
                reply::mark_replayed(&mut reply, answer.replayed);
                edge.documents.learn(made);
                return Ok(reply);
            }
            // Somebody else's change came first, and ours is made on top of it.
            Err(failure)
                if failure.code == Code::Conflict && attempt < limits::CHANGE_ATTEMPTS_MAX =>
            {
                attempt += 1;
                edge.documents.published(&event_id, view.document.revision + 1);
                tokio::time::sleep(limits::CATCH_UP_PAUSE).await;
            }
            Err(failure) => return Err(kills::refused(failure, &view)),
        }
    }
}

/// The event that the path names, if it is the organizer's own.
pub(crate) async fn own_event<'a>(
    edge: &Edge,
    request: &'a Request,
) -> Result<(Arc<EventView>, &'a Staff), Problem> {
    let staff = staff(request)?;
    let view = edge.documents.get(request.param(0), request.deadline).await?;
    if view.document.organizer != staff.owner {
        return Err(Problem::new(Code::Forbidden, "this is another organizer's event"));
    }
    Ok((view, staff))
}

/// The key of a command to what the path names; a new one where the request brings none, so that
/// our own attempts are one.
pub(crate) fn staff_key(
    edge: &Edge,
    staff: &Staff,
    kind: &str,
    request: &Request,
) -> Result<Idempotency, Problem> {
    let key = match idempotency::optional(request.headers())? {
        Some(key) => key,
        None => idempotency::new_key()?,
    };
    Ok(scope(edge, staff, &format!("{kind}:{}", request.param(0)), &key, request))
}

/// The answer to a command of staff; without a key of the request's own nothing was repeated.
pub(crate) fn answered(request: &Request, body: &impl Serialize, replayed: bool) -> Reply {
    let mut reply = reply::json_of(StatusCode::OK, body);
    reply::mark_replayed(&mut reply, replayed && has_key(request));
    reply
}

/// Does the request bring a key of its own?
pub(crate) fn has_key(request: &Request) -> bool {
    matches!(idempotency::optional(request.headers()), Ok(Some(_)))
}

/// Who asks.
pub(crate) fn staff(request: &Request) -> Result<&Staff, Problem> {
    // The route table lets nobody else in; this is for the type.
    request
        .staff
        .as_ref()
        .ok_or_else(|| Problem::new(Code::Unauthenticated, "a staff member's key is needed"))
}

/// Staff's key counts within the API key, whatever is done with it.
fn scope(edge: &Edge, staff: &Staff, kind: &str, key: &str, request: &Request) -> Idempotency {
    let mut canonical = Canonical::default();
    canonical.text(kind);
    // Another spelling of the same body is another body: nobody repeats by hand.
    canonical.text(&String::from_utf8_lossy(&request.body));
    idempotency::message(
        edge.secret.key_hash(&staff.key_name, key),
        edge.secret.request_hash(canonical.bytes()),
        edge.secret.buyer_hash("api_key", &staff.key_name),
        false,
    )
}

/// Sales open before the event starts; the fault is the field that the body names.
fn check_times(document: &EventDocument, body: &Value) -> Result<(), Problem> {
    if document.onsale_at_ms <= document.starts_at_ms {
        return Ok(());
    }
    Err(match body.get("onsale_at") {
        Some(_) => Problem::field("/onsale_at", "must not be after starts_at"),
        None => Problem::field("/starts_at", "must not be before onsale_at"),
    })
}

fn encoded(document: &EventDocument) -> Result<bytes::Bytes, Problem> {
    let bytes = document.encode_to_vec();
    if bytes.len() > limits::DOCUMENT_BYTES_MAX {
        return Err(Problem::new(
            Code::PayloadTooLarge,
            "the event is too large; use row_count and seats_per_row, or shorter names",
        ));
    }
    Ok(bytes.into())
}

fn decoded(bytes: &[u8]) -> Result<EventDocument, Problem> {
    EventDocument::decode(bytes)
        .map_err(|_| Problem::new(Code::Internal, "a published document cannot be read"))
}

/// The event as of when its revision was written, so that a replay says the same.
fn event_reply(status: StatusCode, document: &EventDocument) -> Reply {
    let seen = event_view::status(document, None, document.written_at_ms);
    reply::json_of(status, &EventJson::new(document, seen))
}
