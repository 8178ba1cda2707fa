//! Owns `/v1/holds/{hold_id}`: its state, extending and releasing it, for who has its token.
//!
//! Must never tell a wrong token from a hold that is not there.

use std::sync::Arc;

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
    idempotency,
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
    Ok(reply::json(StatusCode::OK, answer(&state, &view)))
}

/// `DELETE /v1/holds/{hold_id}`
pub(crate) async fn release(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let hold = proven(&edge, &request)?;
    give_back(&edge, hold, request.deadline).await?;
    Ok(reply::no_content())
}

/// `POST /v1/holds/{hold_id}/extend`
pub(crate) async fn extend(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    idempotency::optional(request.headers())?;
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
    let (state, view) = lengthen(&edge, hold, seen, request.deadline).await?;
    Ok(reply::json(StatusCode::OK, answer(&state, &view)))
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

/// Starts a hold's clock again; the hold as it stands then.
pub(crate) async fn lengthen(
    edge: &Edge,
    hold: u128,
    seen: Option<u32>,
    deadline: Deadline,
) -> Result<(GetHoldResponse, Arc<EventView>), Problem> {
    let (mut state, view) = read(edge, hold, deadline).await?;
    let command = Command {
        kind: Some(command::Kind::ExtendHold(ExtendHoldCommand {
            hold_id: id::to_bytes(hold),
            extensions_seen: seen.unwrap_or(state.extensions),
        })),
    };
    let outcome = edge.shards.submit(id::shard_of(hold), command, deadline).await?;
    let Some(outcome::Result::Extended(extended)) = outcome.result else {
        return Err(Problem::new(Code::Internal, "an extension was answered by something else"));
    };
    state.expires_at_ms = extended.expires_at_ms;
    state.extensions = extended.extensions;
    Ok((state, view))
}

fn answer(state: &GetHoldResponse, view: &EventView) -> Vec<u8> {
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
    let rules = view.document.rules.unwrap_or_default();
    let most = rules.hold_extensions_max;
    write_number(&mut out, ",\"extensions_max\":", most.into());
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
