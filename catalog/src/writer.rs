//! Owns how the feed changes the catalog: which documents are taken, in which order, exactly once.
//!
//! Must never go back: a document is only replaced by a later revision, the position only grows.
//! The one exception is the first snapshot after a start, which is believed whatever was stored.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use onsale_proto::{
    allocator::{
        FeedChanges, FeedSnapshot, FollowResponse, StoredDocument, feed_change,
        follow_response::Content,
    },
    catalog::EventDocument,
};
use prost::Message as _;

use crate::{
    Error, index, limits, metrics,
    store::{Change, Found},
    view::View,
};

/// The one writer of a [`View`].
pub(crate) struct Writer {
    view: Arc<View>,
    index: index::Writer,
    revisions: HashMap<String, u64>,
    position: u64,
    synced: bool,
}

impl Writer {
    /// A writer that goes on from what the store has.
    pub(crate) fn new(
        view: Arc<View>,
        mut index: index::Writer,
        found: Found,
    ) -> Result<Writer, Error> {
        let mut revisions = HashMap::with_capacity(found.documents.len());
        for stored in found.documents {
            revisions.insert(stored.document.event_id.clone(), stored.revision);
            index.put(stored.document)?;
        }
        index.commit()?;
        Ok(Writer { view, index, revisions, position: found.position, synced: false })
    }

    /// The feed index up to which the catalog is exact.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether a snapshot was applied since the start.
    pub(crate) fn synced(&self) -> bool {
        self.synced
    }

    /// Documents kept.
    pub(crate) fn documents(&self) -> usize {
        self.revisions.len()
    }

    /// Stores and indexes what the messages say, all of them before readers see any.
    pub(crate) fn apply(&mut self, messages: Vec<FollowResponse>) -> Result<(), Error> {
        let started = Instant::now();
        let mut touched = false;
        for message in messages {
            let changes = match message.content {
                Some(Content::Snapshot(snapshot)) => self.snapshot(message.index, snapshot)?,
                Some(Content::Changes(changes)) => self.changes(changes)?,
                // The follower asks again by itself; a bare position has nothing to store.
                Some(Content::Reset(_)) | None => Vec::new(),
            };
            self.position = self.position.max(message.index);
            touched |= !changes.is_empty();
            self.view.store.write(self.position, &changes)?;
        }
        if touched {
            self.index.commit()?;
        }
        ::metrics::histogram!(metrics::APPLY_SECONDS).record(started.elapsed().as_secs_f64());
        Ok(())
    }

    fn snapshot(&mut self, index: u64, snapshot: FeedSnapshot) -> Result<Vec<Change>, Error> {
        let first = !self.synced;
        self.synced = true;
        let mut changes = Vec::new();
        if first {
            // What was stored may be another cluster's: nothing of it outlives this.
            self.position = index;
        }
        // A snapshot of a replica that lags behind cannot say what is gone.
        if index >= self.position {
            let named: HashSet<&str> =
                snapshot.documents.iter().map(|stored| stored.event_id.as_str()).collect();
            let gone = self.revisions.keys().filter(|event_id| !named.contains(event_id.as_str()));
            for event_id in gone.cloned().collect::<Vec<_>>() {
                self.revisions.remove(&event_id);
                self.index.remove(&event_id);
                changes.push(Change::Remove { event_id });
            }
        }
        for stored in snapshot.documents {
            changes.extend(self.document(stored, first)?);
        }
        Ok(changes)
    }

    fn changes(&mut self, changes: FeedChanges) -> Result<Vec<Change>, Error> {
        let mut stored = Vec::new();
        for change in changes.changes {
            if let Some(feed_change::Kind::Document(document)) = change.kind {
                stored.extend(self.document(document, false)?);
            }
        }
        Ok(stored)
    }

    /// Takes one document unless it is known, older than what is known, or cannot be kept.
    fn document(&mut self, stored: StoredDocument, first: bool) -> Result<Option<Change>, Error> {
        let StoredDocument { event_id, revision, document } = stored;
        let known = self.revisions.get(&event_id).copied();
        if !first && known.is_some_and(|known| known >= revision) {
            return Ok(None);
        }
        let refused = if document.len() > limits::DOCUMENT_BYTES_MAX {
            Some("it is larger than a catalog keeps")
        } else if event_id.is_empty() || event_id.len() > limits::EVENT_ID_BYTES_MAX {
            Some("its id is empty or too long")
        } else if known.is_none() && self.revisions.len() >= limits::EVENTS_MAX {
            Some("there are more events than a catalog keeps")
        } else {
            None
        };
        let decoded = match refused {
            Some(why) => Err(why),
            None => EventDocument::decode(document.clone()).map_err(|_| "it cannot be decoded"),
        };
        let mut decoded = match decoded {
            Ok(decoded) => decoded,
            Err(why) => {
                ::metrics::counter!(metrics::REFUSED).increment(1);
                tracing::error!(event_id, revision, why, "an event's document was not taken");
                return Ok(None);
            }
        };
        // The entry's own id and revision are what the shard goes by.
        decoded.event_id.clone_from(&event_id);
        decoded.revision = revision;
        let document = decoded.encode_to_vec().into();
        self.index.put(decoded)?;
        self.revisions.insert(event_id.clone(), revision);
        Ok(Some(Change::Put { event_id, revision, document }))
    }
}
