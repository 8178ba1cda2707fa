//! Owns what this process knows of published events: which shard sells one, and the names of its
//! places; taken from the control group's feed.
//!
//! Must never decide whether a seat is free: it knows names only.

use std::{collections::HashMap, sync::Arc};

use onsale_mesh::{Deadline, Failure, Follower};
use onsale_proto::{Code, allocator as pb, catalog::EventDocument};
use onsale_state::{CategoryNo, EventNo, SeatMap};
use parking_lot::RwLock;
use pb::{feed_change::Kind, follow_response::Content};
use prost::Message as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::convert;
use crate::{document, limits::EVENT_WAIT_MAX};

/// Published events by their public id. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

struct Inner {
    events: RwLock<HashMap<Box<str>, Arc<KnownEvent>>>,
    /// The position of the control group's feed.
    position: watch::Sender<u64>,
}

/// A published event.
#[derive(Debug)]
pub struct KnownEvent {
    /// Its public id.
    pub event_id: Box<str>,
    /// Its number.
    pub event_no: EventNo,
    /// The shard that sells it.
    pub shard: u32,
    /// The document's revision.
    pub revision: u64,
    /// ISO 4217.
    pub currency: String,
    /// Keys of its categories.
    pub categories: Vec<String>,
    /// Keys of its ticket types.
    pub types: Vec<String>,
    /// Its sections, rows and seats.
    pub seat_map: SeatMap,
}

impl KnownEvent {
    fn read(stored: &pb::StoredDocument) -> Result<KnownEvent, Failure> {
        let document = EventDocument::decode(stored.document.clone())
            .map_err(|_| Failure::invalid("", "is no document"))?;
        let specs = document::section_specs(&document)?;
        let seat_map = SeatMap::build(&specs, document.categories.len())
            .map_err(|(field, reason)| Failure::invalid(field, reason))?;
        Ok(KnownEvent {
            event_id: document.event_id.into(),
            event_no: document.event_no,
            shard: document.shard,
            revision: document.revision,
            currency: document.currency,
            categories: document.categories.into_iter().map(|category| category.key).collect(),
            types: document.types.into_iter().map(|one| one.key).collect(),
            seat_map,
        })
    }

    /// A category's place in the list.
    #[must_use]
    pub fn category_no(&self, key: &str) -> Option<CategoryNo> {
        let at = self.categories.iter().position(|category| category == key)?;
        CategoryNo::try_from(at).ok()
    }

    /// A ticket type's place in the list.
    #[must_use]
    pub fn type_no(&self, key: &str) -> Option<u32> {
        let at = self.types.iter().position(|known| known == key)?;
        u32::try_from(at).ok()
    }

    /// A place with all its names.
    #[must_use]
    pub fn details(&self, place: &pb::Place) -> pb::SeatDetails {
        let section = u16::try_from(place.section).ok().and_then(|no| self.seat_map.section(no));
        let row = place.seat.and_then(|seat| self.seat_map.row_of(seat));
        let number = place.seat.and_then(|seat| self.seat_map.number(seat));
        let label = place.seat.and_then(|seat| self.seat_map.label(seat));
        pb::SeatDetails {
            seat_id: label.unwrap_or_default(),
            section: section.map(|section| section.key.to_string()).unwrap_or_default(),
            row: row.map(|row| row.label.to_string()).unwrap_or_default(),
            number: u32::from(number.unwrap_or(0)),
            category: self.categories.get(place.category as usize).cloned().unwrap_or_default(),
            price_minor: place.price_minor,
            ticket_type: self.types.get(place.ticket_type as usize).cloned().unwrap_or_default(),
        }
    }
}

impl Directory {
    /// A directory that knows nothing yet.
    #[must_use]
    pub fn new() -> Directory {
        let events = RwLock::new(HashMap::new());
        Directory { inner: Arc::new(Inner { events, position: watch::Sender::new(0) }) }
    }

    /// Takes in a message of the control group's feed.
    pub fn take_in(&self, message: &pb::FollowResponse) {
        match &message.content {
            Some(Content::Snapshot(snapshot)) => {
                snapshot.documents.iter().for_each(|document| self.store(document));
            }
            Some(Content::Changes(changes)) => {
                for change in &changes.changes {
                    if let Some(Kind::Document(document)) = &change.kind {
                        self.store(document);
                    }
                }
            }
            Some(Content::Reset(_)) | None => {}
        }
        self.inner.position.send_if_modified(|position| {
            let is_new = message.index > *position;
            *position = (*position).max(message.index);
            is_new
        });
    }

    /// Follows the control group until `shutdown`.
    pub async fn follow(self, mut follower: Follower, shutdown: CancellationToken) {
        while let Some(message) = shutdown.run_until_cancelled(follower.next()).await {
            self.take_in(&message);
        }
    }

    /// Whether the control group was heard of at all.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.inner.position.borrow() > 0
    }

    /// The event as known right now.
    #[must_use]
    pub fn get(&self, event_id: &str) -> Option<Arc<KnownEvent>> {
        self.inner.events.read().get(event_id).cloned()
    }

    /// The event; waits a moment for one that was published just now.
    ///
    /// # Errors
    /// `not_found`; `unavailable` before the first word from the control group.
    pub async fn find(
        &self,
        event_id: &str,
        deadline: Deadline,
    ) -> Result<Arc<KnownEvent>, Failure> {
        let mut position = self.inner.position.subscribe();
        let wait = async {
            loop {
                position.borrow_and_update();
                if let Some(event) = self.get(event_id) {
                    return Some(event);
                }
                position.changed().await.ok()?;
            }
        };
        match tokio::time::timeout(deadline.min(EVENT_WAIT_MAX), wait).await {
            Ok(Some(event)) => Ok(event),
            _ if self.is_ready() => Err(convert::not_found("event")),
            _ => {
                let detail = "this process has not heard of any event yet; try again shortly";
                Err(Failure::new(Code::Unavailable, detail))
            }
        }
    }

    fn store(&self, stored: &pb::StoredDocument) {
        match KnownEvent::read(stored) {
            Ok(event) => {
                let mut events = self.inner.events.write();
                events.insert(event.event_id.clone(), Arc::new(event));
            }
            Err(failure) => {
                tracing::error!(event_id = stored.event_id, %failure, "a document is not usable");
            }
        }
    }
}

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}
