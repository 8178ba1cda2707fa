//! Owns following the shards' feeds: seats and counts from the selling shards, published events and
//! keys from the control group.
//!
//! Must never stop: the follower reconnects by itself, and what it brings again is taken over
//! again.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use onsale_mesh::Follower;
use onsale_proto::{
    allocator::{
        FeedChange, FeedSnapshot, FollowResponse, SigningKey, feed_change::Kind,
        follow_response::Content,
    },
    ticket_code,
};
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{Availability, live::Live};
use crate::{auth::ApiKeys, documents::Documents, limits, metrics};

/// Public keys with which tickets are checked, and their JSON Web Key Set.
pub(crate) struct SigningKeys {
    keys: Mutex<BTreeMap<u32, Bytes>>,
    json: ArcSwap<Bytes>,
}

impl Default for SigningKeys {
    fn default() -> SigningKeys {
        SigningKeys {
            keys: Mutex::default(),
            json: ArcSwap::from_pointee(Bytes::from_static(b"{\"keys\":[]}")),
        }
    }
}

impl SigningKeys {
    /// The JSON Web Key Set.
    pub(crate) fn json(&self) -> Bytes {
        self.json.load().as_ref().clone()
    }

    pub(crate) fn put(&self, new: &[SigningKey]) {
        let mut keys = self.keys.lock();
        keys.extend(new.iter().map(|key| (key.key_id, key.public_key.clone())));
        let all: Vec<_> =
            keys.iter().map(|(key_id, key)| ticket_code::json_web_key(*key_id, key)).collect();
        let json = serde_json::json!({ "keys": all }).to_string();
        self.json.store(Arc::new(Bytes::from(json)));
    }
}

/// Where the feeds lead.
#[derive(Clone)]
pub(crate) struct Sinks {
    pub availability: Arc<Availability>,
    pub documents: Arc<Documents>,
    pub api_keys: Arc<ApiKeys>,
    pub signing_keys: Arc<SigningKeys>,
}

/// Follows one shard until the edge stops; `started` is told of the first snapshot.
pub(crate) async fn follow(
    mut follower: Follower,
    sinks: Sinks,
    started: tokio::sync::mpsc::Sender<u32>,
    shutdown: CancellationToken,
) {
    let shard = follower.shard();
    let mut events: HashMap<u32, Arc<Live>> = HashMap::new();
    let mut watched: HashSet<u32> = HashSet::new();
    let mut tick = tokio::time::interval(limits::STREAM_TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            message = follower.next() => {
                let snapshot = matches!(message.content, Some(Content::Snapshot(_)));
                take_over(&sinks, shard, &mut events, message);
                if snapshot {
                    // The receiver is gone once everything has started.
                    let _ = started.try_send(shard);
                }
            }
            _ = tick.tick() => {
                let live = events.iter().filter(|(_, live)| live.is_watched());
                watched.extend(live.map(|(no, _)| *no));
                watched.retain(|event_no| events.get(event_no).is_some_and(|live| live.tick()));
            }
        }
    }
}

impl Live {
    fn is_watched(&self) -> bool {
        self.frames().receiver_count() > 0
    }
}

fn take_over(
    sinks: &Sinks,
    shard: u32,
    events: &mut HashMap<u32, Arc<Live>>,
    message: FollowResponse,
) {
    sinks.availability.saw(message.log_time_ms);
    match message.content {
        Some(Content::Snapshot(snapshot)) => {
            take_snapshot(sinks, shard, events, message.index, &snapshot);
        }
        Some(Content::Changes(changes)) => {
            for change in changes.changes {
                take_change(sinks, shard, events, message.index, change);
            }
        }
        // The follower keeps resets to itself; a message without content only moves on.
        Some(Content::Reset(_)) | None => {}
    }
    metrics::feed(shard, message.index);
}

fn take_snapshot(
    sinks: &Sinks,
    shard: u32,
    events: &mut HashMap<u32, Arc<Live>>,
    index: u64,
    snapshot: &FeedSnapshot,
) {
    events.clear();
    let mut there = HashSet::new();
    for event in &snapshot.events {
        there.insert(event.event_id.as_str());
        let live = sinks.availability.put(shard, index, event);
        events.insert(event.event_no, live);
    }
    sinks.availability.retain(shard, &there);
    if shard == 0 {
        let published = snapshot
            .documents
            .iter()
            .map(|document| (document.event_id.as_str(), document.revision))
            .collect();
        sinks.documents.replace(&published);
        sinks.api_keys.replace(&snapshot.api_keys);
        sinks.signing_keys.put(&snapshot.signing_keys);
    }
}

fn take_change(
    sinks: &Sinks,
    shard: u32,
    events: &mut HashMap<u32, Arc<Live>>,
    index: u64,
    change: FeedChange,
) {
    match change.kind {
        Some(Kind::Seats(seats)) => {
            if let Some(live) = events.get(&seats.event_no) {
                live.seats_changed(index, &seats.seats, seats.state);
            }
        }
        Some(Kind::GeneralAdmission(area)) => {
            if let Some(live) = events.get(&area.event_no) {
                live.area_changed(index, area.section, area.held, area.sold, area.killed);
            }
        }
        Some(Kind::Event(event)) => {
            let live = sinks.availability.put(shard, index, &event);
            events.insert(live.event_no(), live);
        }
        Some(Kind::Document(document)) => {
            sinks.documents.published(&document.event_id, document.revision);
        }
        Some(Kind::ApiKey(key)) => sinks.api_keys.put(&key),
        Some(Kind::SigningKey(key)) => sinks.signing_keys.put(&[key]),
        // Orders are read where they are; their changes are not shown here.
        Some(Kind::Order(_)) | None => {}
    }
}
