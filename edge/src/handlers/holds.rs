//! Owns `/v1/holds/{hold_id}`: its state, extending and releasing it, for who has its token.
//!
//! Must never tell a wrong token from a hold that is not there.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use onsale_mesh::{Deadline, Failure};
use onsale_proto::{
    Code,
    allocator::{
        Command, ExtendHoldCommand, GetHoldResponse, ReleaseHoldCommand, command, outcome,
    },
    id, time,
};

use super::{
    places::{self, write_number},
    reserve::seconds,
};
use crate::{
    event_view::EventView,
    idempotency::{self, Canonical},
    json::{At, Faults, Object, write_text},
    problem::Problem,
    reply::{self, Reply},
    request::{HOLD_TOKEN, Request},
    service::Edge,
};

const GONE: &str = "there is no such hold, or the token is not its";

/// `GET /v1/holds/{hold_id}`
pub(crate) async fn get(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let hold = proven(&edge, &request)?;
    let (state, view) = read(&edge, hold, request.deadline).await?;
    let extensions_max = view.document.rules.unwrap_or_default().hold_extensions_max;
    Ok(reply::json(StatusCode::OK, answer(&state, &view, extensions_max)))
}

/// `DELETE /v1/holds/{hold_id}`
pub(crate) async fn release(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let hold = proven(&edge, &request)?;
    give_back(&edge, hold, request.deadline).await?;
    Ok(reply::no_content())
}

/// `POST /v1/holds/{hold_id}/extend`
pub(crate) async fn extend(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let key = idempotency::optional(request.headers())?;
    let seen = match request.json_if_any()? {
        Some(body) => {
            let mut faults = Faults::default();
            let object = Object::read(&body, At::Root, &["extensions_seen"], &mut faults);
            let seen = object
                .and_then(|object| object.integer("extensions_seen", 0..=65_535, &mut faults));
            if !faults.is_empty() {
                return Err(Problem::fields(faults.into_errors()));
            }
            seen.and_then(|seen| u32::try_from(seen).ok())
        }
        None => None,
    };
    let hold = proven(&edge, &request)?;
    let longer = lengthen(&edge, hold, (seen, key.as_deref()), request.deadline).await?;
    let body = answer(&longer.state, &longer.view, longer.extensions_max);
    let mut reply = reply::json(StatusCode::OK, body);
    reply::mark_replayed(&mut reply, key.is_some() && longer.replayed);
    Ok(reply)
}

/// The hold that the path names, if the header proves it.
fn proven(edge: &Edge, request: &Request) -> Result<u128, Problem> {
    let token = request.header(&HOLD_TOKEN).ok_or_else(|| {
        Problem::new(Code::Unauthenticated, "send the hold's token as Hold-Token")
    })?;
    prove(edge, request.param(0), token)
}

/// The hold of this public id, if the token is its own.
pub(crate) fn prove(edge: &Edge, hold_id: &str, token: &str) -> Result<u128, Problem> {
    id::parse(id::HOLD, hold_id)
        .filter(|hold| edge.secret.proves_hold(*hold, token))
        .ok_or_else(|| Problem::not_found(GONE))
}

/// A hold as it stands, and its event.
pub(crate) async fn read(
    edge: &Edge,
    hold: u128,
    deadline: Deadline,
) -> Result<(GetHoldResponse, Arc<EventView>), Problem> {
    let state = edge.shards.get_hold(hold, deadline).await;
    let state = state.map_err(unread)?;
    let view = edge.documents.get(&state.event_id, deadline).await?;
    Ok((state, view))
}

/// Reading changes nothing, so nothing is unknown about it.
pub(crate) fn unread(failure: Failure) -> Problem {
    match failure.code {
        Code::OutcomeUnknown => Problem::new(Code::Unavailable, "the shard did not answer in time"),
        _ => failure.into(),
    }
}

/// Gives a hold's seats back.
pub(crate) async fn give_back(edge: &Edge, hold: u128, deadline: Deadline) -> Result<(), Problem> {
    let command = Command {
        kind: Some(command::Kind::ReleaseHold(ReleaseHoldCommand { hold_id: id::to_bytes(hold) })),
    };
    edge.shards.submit(id::shard_of(hold), command, deadline).await?;
    Ok(())
}

/// A hold whose clock was started again, as it stood then.
pub(crate) struct Longer {
    pub state: GetHoldResponse,
    pub view: Arc<EventView>,
    pub extensions_max: u32,
    pub replayed: bool,
}

/// Starts a hold's clock again. A repeat is known by its key, or by the extensions it has `seen`.
pub(crate) async fn lengthen(
    edge: &Edge,
    hold: u128,
    (seen, key): (Option<u32>, Option<&str>),
    deadline: Deadline,
) -> Result<Longer, Problem> {
    let (mut state, view) = read(edge, hold, deadline).await?;
    let idempotency = key.map(|key| {
        let key = edge.secret.key_hash(&state.event_id, key);
        let hold_id = id::format(id::HOLD, hold);
        let mut content = Canonical::default();
        content.text("extend");
        content.text(&hold_id);
        content.number(seen.map_or(u64::MAX, u64::from));
        // The hold's token is the proof of whose it is: whoever has it is the same.
        let bearer = edge.secret.buyer_hash("hold", &hold_id);
        idempotency::message(key, edge.secret.request_hash(content.bytes()), bearer, true)
    });
    let command = Command {
        kind: Some(command::Kind::ExtendHold(ExtendHoldCommand {
            hold_id: id::to_bytes(hold),
            extensions_seen: seen.unwrap_or(state.extensions),
            idempotency,
        })),
    };
    let outcome = edge.shards.submit(id::shard_of(hold), command, deadline).await?;
    let replayed = outcome.replayed;
    let Some(outcome::Result::Extended(extended)) = outcome.result else {
        return Err(Problem::new(Code::Internal, "an extension was answered by something else"));
    };
    // A replay says what the first answer said, whatever became of the hold since.
    state.state = "held".into();
    state.order_id = Bytes::new();
    state.log_time_ms = extended.extended_at_ms;
    state.expires_at_ms = extended.expires_at_ms;
    state.extensions = extended.extensions;
    Ok(Longer { state, view, extensions_max: extended.extensions_max, replayed })
}

fn answer(state: &GetHoldResponse, view: &EventView, extensions_max: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + state.places.len() * 128);
    let hold_id = id::from_bytes(&state.hold_id).unwrap_or(0);
    out.extend_from_slice(b"{\"hold_id\":\"");
    out.extend_from_slice(id::format(id::HOLD, hold_id).as_bytes());
    out.extend_from_slice(b"\",\"event_id\":");
    write_text(&mut out, &state.event_id);
    out.extend_from_slice(b",\"state\":");
    write_text(&mut out, &state.state);
    out.extend_from_slice(b",\"seats\":");
    let total = places::write(&mut out, view, &state.places);
    write_number(&mut out, ",\"total_minor\":", total);
    out.extend_from_slice(b",\"currency\":");
    write_text(&mut out, &view.document.currency);
    out.extend_from_slice(b",\"expires_at\":\"");
    out.extend_from_slice(time::to_rfc3339(state.expires_at_ms).as_bytes());
    let seconds = remaining_seconds(state);
    write_number(&mut out, "\",\"expires_in_seconds\":", seconds);
    write_number(&mut out, ",\"extensions\":", state.extensions.into());
    write_number(&mut out, ",\"extensions_max\":", extensions_max.into());
    match id::from_bytes(&state.order_id) {
        Some(order) => {
            out.extend_from_slice(b",\"order_id\":\"");
            out.extend_from_slice(id::format(id::ORDER, order).as_bytes());
            out.extend_from_slice(b"\"}");
        }
        None => out.extend_from_slice(b",\"order_id\":null}"),
    }
    out
}

/// Seconds a live hold has left, in log time; 0 for one that has ended.
pub(crate) fn remaining_seconds(state: &GetHoldResponse) -> u64 {
    match state.state.as_str() {
        "held" | "in_checkout" => seconds(state.expires_at_ms, state.log_time_ms),
        _ => 0,
    }
}
