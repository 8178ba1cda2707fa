//! Owns an event's channels: what its organizer sets aside, and how a buyer names the one they come
//! through.
//!
//! Must never touch another organizer's event, nor let a secret go further than its keyed hash.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use onsale_proto::{
    Code,
    allocator::{
        Channel, ChannelEntry, DropChannelRequest, ListChannelsRequest, PutChannelRequest,
        outcome::Result as Answer,
    },
    keyed::Secret,
    time,
};
use serde::Serialize;
use serde_json::Value;

use super::{
    document,
    kills::{self, Area},
    organizer,
};
use crate::{
    event_view::EventView,
    json::{At, Faults, Object},
    limits,
    problem::Problem,
    reply::{self, Reply},
    request::{CHANNEL_KEY, Request},
    service::Edge,
};

/// What was set aside, as asked for: the same for every repeat.
#[derive(Serialize)]
struct Put<'a> {
    event_id: &'a str,
    key: &'a str,
    allotted: u64,
    general_too: bool,
    release_at: Option<String>,
    has_secret: bool,
}

/// A channel as it stands.
#[derive(Serialize)]
struct Shown<'a> {
    event_id: &'a str,
    key: &'a str,
    seat_ids: Vec<String>,
    areas: Vec<Area<'a>>,
    available: u32,
    taken: u32,
    held: u32,
    sold: u32,
    general_too: bool,
    release_at: Option<String>,
    has_secret: bool,
}

#[derive(Serialize)]
struct Channels<'a> {
    event_id: &'a str,
    channels: Vec<Shown<'a>>,
    totals: Totals,
}

/// Of all channels together.
#[derive(Default, Serialize)]
struct Totals {
    set_aside: u64,
    held: u64,
    sold: u64,
}

/// What a body says beside the places.
#[derive(Default)]
struct Terms<'a> {
    secret: Option<&'a str>,
    release_at_ms: Option<u64>,
    general_too: bool,
}

/// `PUT /v1/events/{event_id}/channels/{key}`
pub(crate) async fn put(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let body = request.json()?;
    let (view, staff) = organizer::own_event(&edge, &request).await?;
    let key = channel_key(&request)?;
    let idempotency = organizer::staff_key(&edge, staff, &format!("put_channel:{key}"), &request)?;
    let mut faults = Faults::default();
    let (selection, terms) = read(&view, &body, &mut faults);
    if !faults.is_empty() {
        return Err(Problem::fields(faults.into_errors()));
    }
    let event_id = &view.document.event_id;
    let areas = selection.areas.iter().map(|area| u64::from(area.quantity));
    let answer = Put {
        event_id,
        key,
        allotted: selection.seats.len() as u64 + areas.sum::<u64>(),
        general_too: terms.general_too,
        release_at: terms.release_at_ms.map(time::to_rfc3339),
        has_secret: terms.secret.is_some(),
    };
    let message = PutChannelRequest {
        shard: view.document.shard,
        event_no: view.document.event_no,
        idempotency: Some(idempotency),
        key: key.to_owned(),
        key_hash: key_hash(&edge.secret, (event_id, key), terms.secret),
        seats: selection.seats,
        areas: selection.areas,
        release_at_ms: terms.release_at_ms,
        general_too: terms.general_too,
    };
    let outcome = edge.shards.put_channel(message, request.deadline).await;
    match kills::done(outcome).map_err(|failure| kills::refused(failure, &view))? {
        (replayed, Answer::Done(_)) => Ok(organizer::answered(&request, &answer, replayed)),
        _ => Err(kills::unexpected()),
    }
}

/// `DELETE /v1/events/{event_id}/channels/{key}`
pub(crate) async fn delete(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let (view, staff) = organizer::own_event(&edge, &request).await?;
    let key = channel_key(&request)?;
    let idempotency = organizer::staff_key(&edge, staff, &format!("drop_channel:{key}"), &request)?;
    let message = DropChannelRequest {
        shard: view.document.shard,
        event_no: view.document.event_no,
        idempotency: Some(idempotency),
        key: key.to_owned(),
    };
    let outcome = edge.shards.drop_channel(message, request.deadline).await;
    match kills::done(outcome).map_err(|failure| kills::refused(failure, &view))? {
        (replayed, Answer::Done(_)) => {
            let mut reply = reply::no_content();
            reply::mark_replayed(&mut reply, replayed && organizer::has_key(&request));
            Ok(reply)
        }
        _ => Err(kills::unexpected()),
    }
}

/// `GET /v1/events/{event_id}/channels`
pub(crate) async fn list(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let (view, channels) = own_channels(&edge, &request).await?;
    let channels: Vec<Shown<'_>> = channels.iter().map(|one| shown(&view, one)).collect();
    let mut totals = Totals::default();
    for channel in &channels {
        totals.set_aside += u64::from(channel.available);
        totals.held += u64::from(channel.held);
        totals.sold += u64::from(channel.sold);
    }
    let body = Channels { event_id: &view.document.event_id, channels, totals };
    Ok(reply::json_of(StatusCode::OK, &body))
}

/// `GET /v1/events/{event_id}/channels/{key}`
pub(crate) async fn get(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let (view, channels) = own_channels(&edge, &request).await?;
    let found = channels.iter().find(|channel| channel.key == request.param(1));
    let found = found.ok_or_else(|| Problem::not_found("there is no such channel"))?;
    Ok(reply::json_of(StatusCode::OK, &shown(&view, found)))
}

async fn own_channels(
    edge: &Edge,
    request: &Request,
) -> Result<(Arc<EventView>, Vec<Channel>), Problem> {
    let (view, _) = organizer::own_event(edge, request).await?;
    let (shard, event_no) = (view.document.shard, view.document.event_no);
    let message = ListChannelsRequest { shard, event_no };
    let answer = edge.shards.list_channels(message, request.deadline).await;
    Ok((view, answer.map_err(super::holds::unread)?.channels))
}

fn shown<'a>(view: &'a EventView, channel: &'a Channel) -> Shown<'a> {
    Shown {
        event_id: &view.document.event_id,
        key: &channel.key,
        seat_ids: view.seat_ids(&channel.seats),
        areas: kills::areas(view, &channel.areas),
        available: channel.available,
        taken: channel.taken,
        held: channel.taken.saturating_sub(channel.sold),
        sold: channel.sold,
        general_too: channel.general_too,
        release_at: channel.release_at_ms.map(time::to_rfc3339),
        has_secret: channel.has_secret,
    }
}

/// The channel that the path names.
fn channel_key(request: &Request) -> Result<&str, Problem> {
    let key = request.param(1);
    if is_key(key) {
        return Ok(key);
    }
    Err(Problem::field("key", KEY_REMEDY))
}

const KEY_REMEDY: &str = "must have 1 to 64 letters, digits, dots, dashes or underscores";

fn is_key(key: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=limits::CHANNEL_KEY_CHARS_MAX).contains(&key.len()) && key.bytes().all(good)
}

fn read<'a>(
    view: &EventView,
    body: &'a Value,
    faults: &mut Faults,
) -> (kills::Selection, Terms<'a>) {
    let fields = kills::with(&["secret", "release_at", "general_too"]);
    let Some(object) = Object::read(body, At::Root, &fields, faults) else {
        return Default::default();
    };
    let secret = object.text("secret", limits::CHANNEL_SECRET_CHARS, faults);
    if secret.is_some_and(|secret| !secret.bytes().all(|byte| byte.is_ascii_graphic())) {
        object.fault("secret", "must be visible ASCII characters without spaces", faults);
    }
    let terms = Terms {
        secret,
        release_at_ms: document::point(&object, "release_at", faults),
        general_too: object.flag("general_too", faults).unwrap_or(false),
    };
    (kills::places(view, &object, faults), terms)
}

/// How a secret travels; empty where there is none.
fn key_hash(secret: &Secret, (event_id, key): (&str, &str), given: Option<&str>) -> Bytes {
    let hash = |given| Bytes::copy_from_slice(&secret.channel_key_hash(event_id, key, given));
    given.map_or_else(Bytes::new, hash)
}

/// The channel that a buyer's body names, without a secret yet.
pub(crate) fn read_entry(object: &Object<'_>, faults: &mut Faults) -> Option<ChannelEntry> {
    let chars = 1..=limits::CHANNEL_KEY_CHARS_MAX;
    let key = object.text("channel", chars, faults)?;
    if !is_key(key) {
        object.fault("channel", KEY_REMEDY, faults);
    }
    Some(ChannelEntry { key: key.to_owned(), key_hash: Bytes::new() })
}

/// The channel that a form names, with the secret typed beside it.
pub(crate) fn typed_entry(
    event_id: &str,
    (key, given): (&str, &str),
    secret: &Secret,
) -> Result<Option<ChannelEntry>, Problem> {
    if key.is_empty() {
        return Ok(None);
    }
    if key.chars().count() > limits::CHANNEL_KEY_CHARS_MAX || !is_key(key) {
        return Err(Problem::field("channel", KEY_REMEDY));
    }
    let given = Some(given).filter(|given| !given.is_empty());
    let key_hash = key_hash(secret, (event_id, key), given);
    Ok(Some(ChannelEntry { key: key.to_owned(), key_hash }))
}

/// With the secret that the request brings in its header.
pub(crate) fn unlock(
    entry: &mut ChannelEntry,
    event_id: &str,
    secret: &Secret,
    request: &Request,
) -> Result<(), Problem> {
    if let Some(value) = request.headers().get(CHANNEL_KEY) {
        let given = value.to_str().map_err(|_| {
            Problem::new(Code::ChannelForbidden, "the Channel-Key is not this channel's")
        })?;
        entry.key_hash = key_hash(secret, (event_id, &entry.key), Some(given.trim()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event_view::tests::document;

    #[test]
    fn a_body_without_places_is_good_and_each_fault_is_named() {
        let view = EventView::new(document());
        for (body, pointer) in [
            (json!({}), None),
            (json!({"seat_ids": ["101-A-1"], "secret": "s3cr3t-enough"}), None),
            (json!({"release_at": "2031-01-01T00:00:00Z", "general_too": true}), None),
            (json!([]), Some("")),
            (json!({"seat_ids": ["101-A-9"]}), Some("/seat_ids/0")),
            (json!({"secret": "short"}), Some("/secret")),
            (json!({"secret": "has a space in it"}), Some("/secret")),
            (json!({"secret": null}), Some("/secret")),
            (json!({"release_at": "soon"}), Some("/release_at")),
            (json!({"general_too": 1}), Some("/general_too")),
            (json!({"reason": "x"}), Some("/reason")),
        ] {
            let mut faults = Faults::default();
            read(&view, &body, &mut faults);
            let errors = faults.into_errors();
            let found = errors.first().map(|error| error.pointer.as_str());
            assert_eq!(found, pointer, "{body}");
        }
    }

    #[test]
    fn a_key_is_safe_in_a_path() {
        for good in ["fans", "a", "Fan-Club_2.0", &"k".repeat(64)] {
            assert!(is_key(good), "{good}");
        }
        for bad in ["", "a/b", "a b", "ä", "a:b", &"k".repeat(65)] {
            assert!(!is_key(bad), "{bad}");
        }
    }
}
