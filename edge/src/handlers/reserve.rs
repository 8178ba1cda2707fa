//! Owns `POST /v1/reserve`: the hot path. Wishes → one command → the hold's answer.
//!
//! The answer is a function of the log's outcome and immutable labels, so a replay is the same
//! byte for byte on any edge. Must never say yes by itself.

use std::sync::Arc;

use http::StatusCode;
use onsale_mesh::{Deadline, Failure};
use onsale_proto::{
    Code,
    allocator::{Command, Held, HoldCommand, command, outcome},
    id, time,
};

use super::{
    channels, codes,
    places::{self, write_number},
    plain_wish,
    wish::Wishes,
};
use crate::{
    event_view::EventView,
    idempotency,
    json::write_text,
    problem::{FieldError, Problem},
    reply::{self, Reply},
    request::Request,
    service::Edge,
    session::Session,
};

/// A granted hold.
pub(crate) struct Granted {
    pub held: Held,
    pub hold: u128,
    pub replayed: bool,
}

/// `POST /v1/reserve`
pub(crate) async fn reserve(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let key = idempotency::required(request.headers())?;
    let mut wishes = match plain_wish::read(request.json_body()?) {
        Some(wishes) => wishes,
        None => Wishes::read(&request.json()?)?,
    };
    if let Some(channel) = &mut wishes.channel {
        channels::unlock(channel, &wishes.event_id, &edge.secret, &request)?;
    }
    let view = edge.documents.get(&wishes.event_id, request.deadline).await?;
    let (key, session) = identify(&edge, &request, &wishes.event_id, &key);
    let granted = hold(&edge, &view, &wishes, (key, &session), request.deadline).await?;
    let body = answer(&edge, &view, &granted);
    let mut reply = reply::json(StatusCode::OK, body);
    reply::mark_replayed(&mut reply, granted.replayed);
    session.set_cookie(&mut reply, &edge.secret, edge.config.secure_cookies);
    Ok(reply)
}

/// The key as it stands in the log, and whose request it is.
pub(crate) fn identify(
    edge: &Edge,
    request: &Request,
    event_id: &str,
    key: &str,
) -> (u128, Session) {
    let key = edge.secret.key_hash(event_id, key);
    let session = Session::of(request, key, &edge.secret);
    (key, session)
}

/// Holds what is wished, all or nothing.
pub(crate) async fn hold(
    edge: &Edge,
    view: &EventView,
    wishes: &Wishes,
    (key, session): (u128, &Session),
    deadline: Deadline,
) -> Result<Granted, Problem> {
    let items = wishes.resolve(view)?;
    let types = wishes.types(view)?;
    let shard = view.document.shard;
    let hold_id = id::new_hold(shard)?;
    let content = edge.secret.request_hash(wishes.canonical().bytes());
    let buyer = session.buyer(&edge.secret);
    let command = HoldCommand {
        event_no: view.document.event_no,
        hold_id: id::to_bytes(hold_id),
        idempotency: Some(idempotency::message(key, content, buyer, session.is_new)),
        items,
        types,
        channel: wishes.channel.clone(),
        code: codes::hash(edge, &wishes.event_id, wishes.code.as_deref()),
    };
    let command = Command { kind: Some(command::Kind::Hold(command)) };
    let outcome = edge
        .shards
        .submit(shard, command, deadline)
        .await
        .map_err(|failure| refusal(failure, view, wishes))?;
    let Some(outcome::Result::Held(held)) = outcome.result else {
        return Err(Problem::new(Code::Internal, "a hold was answered by something else"));
    };
    let hold = id::from_bytes(&held.hold_id)
        .ok_or_else(|| Problem::new(Code::Internal, "a hold has no id"))?;
    Ok(Granted {
        held,
        hold,
        // Our own attempt, repeated after a lost answer, is no replay to the buyer.
        replayed: outcome.replayed && hold != hold_id,
    })
}

fn refusal(mut failure: Failure, view: &EventView, wishes: &Wishes) -> Problem {
    // The shard knows a cancelled event as one that never opens.
    if failure.code == Code::NotOnSale && view.document.status == "cancelled" {
        failure.detail = "the event is cancelled".into();
        failure.at_ms = Some(view.document.onsale_at_ms);
    }
    let seat_ids = view.seat_ids(&failure.seats);
    let mend_seat_ids = view.seat_ids(failure.mend_seats());
    let pointer = (!failure.field.is_empty()).then(|| wishes.pointer(&failure.field));
    let detail = failure.detail.clone();
    let mut problem = Problem::from(failure).with_seat_ids(seat_ids).with_mend(mend_seat_ids);
    if let Some(pointer) = pointer {
        problem = problem.with_errors(vec![FieldError { pointer, detail: detail.into() }]);
    }
    problem
}

fn answer(edge: &Edge, view: &EventView, granted: &Granted) -> Vec<u8> {
    let held = &granted.held;
    let mut out = Vec::with_capacity(256 + held.places.len() * 128);
    out.extend_from_slice(b"{\"hold_id\":\"");
    out.extend_from_slice(id::format(id::HOLD, granted.hold).as_bytes());
    out.extend_from_slice(b"\",\"hold_token\":\"");
    out.extend_from_slice(edge.secret.hold_token(granted.hold).as_bytes());
    out.extend_from_slice(b"\",\"event_id\":");
    write_text(&mut out, &view.document.event_id);
    out.extend_from_slice(b",\"seats\":");
    let total = places::write(&mut out, view, &held.places);
    write_number(&mut out, ",\"total_minor\":", total);
    out.extend_from_slice(b",\"currency\":");
    write_text(&mut out, &view.document.currency);
    out.extend_from_slice(b",\"expires_at\":\"");
    out.extend_from_slice(time::to_rfc3339(held.expires_at_ms).as_bytes());
    let seconds = seconds(held.expires_at_ms, held.held_at_ms);
    write_number(&mut out, "\",\"expires_in_seconds\":", seconds);
    out.push(b'}');
    out
}

/// Whole seconds from one time to a later one, rounded.
pub(crate) fn seconds(to_ms: u64, from_ms: u64) -> u64 {
    (to_ms.saturating_sub(from_ms) + 500) / 1_000
}
