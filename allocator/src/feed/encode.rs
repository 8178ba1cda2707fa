//! Owns the spelling of changes and snapshots as `FollowResponse`s.
//!
//! A document is spelled with the number, shard and revision that the control group gave it. Must
//! never put personal data or a hold's id into the feed.

use bytes::Bytes;
use onsale_proto::{allocator as pb, id};
use onsale_state::{Change, EventView, LogTimeMs, Shard};
use pb::{feed_change::Kind, follow_response::Content};
use prost::Message as _;

use crate::{document, rpc::convert::order_status_name};

/// A shard's whole state as a follower sees it, exact at an index.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The index it is exact at.
    pub index: u64,
    /// The log time of that entry.
    pub log_time_ms: LogTimeMs,
    /// Encoded messages: the snapshot, and where it is large its rest as changes. All but the last
    /// carry index 0, so that a follower that got only a part starts again.
    pub messages: Vec<Bytes>,
}

impl Snapshot {
    /// The shard as it stands at `index`, in messages of about `piece_bytes`. The caller sees to
    /// it that nothing is applied meanwhile.
    #[must_use]
    pub fn of(shard: &Shard, index: u64, piece_bytes: usize) -> Snapshot {
        let log_time_ms = shard.log_time_ms();
        let mut pieces = vec![Vec::new()];
        let mut bytes = 0;
        for kind in everything(shard) {
            let change = pb::FeedChange { kind: Some(kind) };
            bytes += change.encoded_len();
            if bytes > piece_bytes && pieces.last().is_some_and(|piece| !piece.is_empty()) {
                pieces.push(Vec::new());
                bytes = change.encoded_len();
            }
            if let Some(piece) = pieces.last_mut() {
                piece.push(change);
            }
        }
        let last = pieces.len() - 1;
        let message = |(at, changes): (usize, Vec<pb::FeedChange>)| {
            let content = match at {
                0 => Content::Snapshot(sorted(changes)),
                _ => Content::Changes(pb::FeedChanges { changes }),
            };
            response(if at == last { index } else { 0 }, log_time_ms, Some(content))
        };
        let messages = pieces.into_iter().enumerate().map(message).collect();
        Snapshot { index, log_time_ms, messages }
    }
}

/// An entry's changes; `None` when a follower need not know.
pub(super) fn entry(
    index: u64,
    log_time_ms: LogTimeMs,
    changes: &[Change],
    shard: &Shard,
) -> Option<Bytes> {
    let mut said: Vec<pb::FeedChange> = Vec::new();
    for change in changes {
        // A batch of holds is one change to followers, not one for each of them.
        if let Some(Kind::Seats(run)) = said.last_mut().and_then(|last| last.kind.as_mut())
            && goes_on(run, change)
        {
            continue;
        }
        said.extend(kind(change, shard).map(|kind| pb::FeedChange { kind: Some(kind) }));
    }
    if said.is_empty() {
        return None;
    }
    let content = Content::Changes(pb::FeedChanges { changes: said });
    Some(response(index, log_time_ms, Some(content)))
}

/// Entries without changes.
pub(super) fn nothing(index: u64, log_time_ms: LogTimeMs) -> Bytes {
    response(index, log_time_ms, Some(Content::Changes(pb::FeedChanges::default())))
}

/// "Start again."
pub(super) fn reset(index: u64, log_time_ms: LogTimeMs) -> Bytes {
    response(index, log_time_ms, Some(Content::Reset(pb::Done {})))
}

/// An event's availability as it stands now.
#[must_use]
pub fn event_availability(view: &EventView) -> pb::EventAvailability {
    let sections = view.availability().into_iter().map(|section| pb::SectionAvailability {
        available: section.available,
        held: section.held,
        sold: section.sold,
        killed: section.killed,
        seats: section.seats.into(),
    });
    pb::EventAvailability {
        event_no: view.event,
        event_id: view.event_id.to_string(),
        revision: view.revision,
        sections: sections.collect(),
    }
}

/// An event's published document; `None` before the first is.
#[must_use]
pub fn published_document(shard: &Shard, event_id: &str) -> Option<pb::StoredDocument> {
    let record = shard.document(event_id)?;
    let (revision, bytes) = record.published.as_ref()?;
    let document = document::stamped(bytes, record.event, record.shard, *revision);
    Some(pb::StoredDocument {
        event_id: event_id.to_owned(),
        revision: *revision,
        document: document.ok()?,
    })
}

fn everything(shard: &Shard) -> impl Iterator<Item = Kind> {
    let events = shard.events().map(|event| Kind::Event(event_availability(&event.view())));
    let documents = shard
        .documents()
        .filter_map(|record| published_document(shard, &record.event_id).map(Kind::Document));
    let api_keys = shard.api_keys().map(|(hash, record)| {
        Kind::ApiKey(pb::ApiKey {
            key_hash: Bytes::copy_from_slice(hash),
            role: record.role.to_string(),
            owner: record.owner.to_string(),
        })
    });
    let signing_keys = shard.signing_keys().map(|(key_id, public_key)| {
        let public_key = Bytes::copy_from_slice(public_key);
        Kind::SigningKey(pb::SigningKey { key_id, public_key })
    });
    events.chain(documents).chain(api_keys).chain(signing_keys)
}

/// Takes a change of the same kind into the run before it, if it is one.
fn goes_on(run: &mut pb::SeatsChanged, change: &Change) -> bool {
    let Change::Seats { event, state, seats, key_tag, until_ms } = change else {
        return false;
    };
    let to = u32::from(*state as u8);
    let same = (run.event_no, run.state, run.until_ms) == (*event, to, *until_ms);
    if same {
        run.seats.extend_from_slice(seats);
        run.key_tags.resize(run.seats.len(), *key_tag);
    }
    same
}

fn kind(change: &Change, shard: &Shard) -> Option<Kind> {
    Some(match change {
        Change::Seats { event, state, seats, key_tag, until_ms } => Kind::Seats(pb::SeatsChanged {
            event_no: *event,
            state: u32::from(*state as u8),
            seats: seats.to_vec(),
            key_tags: vec![*key_tag; seats.len()],
            until_ms: *until_ms,
        }),
        Change::GeneralAdmission { event, section, held, sold, killed } => {
            Kind::GeneralAdmission(pb::GeneralAdmissionChanged {
                event_no: *event,
                section: u32::from(*section),
                held: *held,
                sold: *sold,
                killed: *killed,
            })
        }
        Change::Event { event, .. } => {
            Kind::Event(event_availability(&shard.event(*event)?.view()))
        }
        Change::Order { order, event, status } => Kind::Order(pb::OrderChanged {
            order_id: id::to_bytes(order.0),
            event_no: *event,
            status: order_status_name(*status).to_owned(),
        }),
        Change::JobDue => return None,
        Change::Published { event_id, .. } => Kind::Document(published_document(shard, event_id)?),
        Change::ApiKey { key_hash } => {
            let record = shard.api_key(key_hash)?;
            Kind::ApiKey(pb::ApiKey {
                key_hash: Bytes::copy_from_slice(key_hash),
                role: record.role.to_string(),
                owner: record.owner.to_string(),
            })
        }
        Change::SigningKey { key_id } => Kind::SigningKey(pb::SigningKey {
            key_id: *key_id,
            public_key: Bytes::copy_from_slice(
                shard.signing_keys().find(|(id, _)| id == key_id)?.1,
            ),
        }),
    })
}

fn sorted(changes: Vec<pb::FeedChange>) -> pb::FeedSnapshot {
    let mut snapshot = pb::FeedSnapshot::default();
    for change in changes {
        match change.kind {
            Some(Kind::Event(event)) => snapshot.events.push(event),
            Some(Kind::Document(document)) => snapshot.documents.push(document),
            Some(Kind::ApiKey(key)) => snapshot.api_keys.push(key),
            Some(Kind::SigningKey(key)) => snapshot.signing_keys.push(key),
            _ => {}
        }
    }
    snapshot
}

fn response(index: u64, log_time_ms: LogTimeMs, content: Option<Content>) -> Bytes {
    pb::FollowResponse { index, log_time_ms, content }.encode_to_vec().into()
}
