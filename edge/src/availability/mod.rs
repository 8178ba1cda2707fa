//! Owns what the edge knows about seats: per event two bits a seat and counts by section, taken
//! over from the shards' feeds, and the bytes that are served from them.
//!
//! Must never ask a shard: readers never wait for writers. What is served says the position it is
//! exact at.

pub(crate) mod feed;
pub(crate) mod live;
pub(crate) mod stream;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use dashmap::DashMap;
use http::HeaderValue;
use onsale_mesh::Deadline;
use onsale_proto::{Code, allocator::EventAvailability};

use crate::{event_view::EventView, limits, problem::Problem};
use live::Live;

/// Ready bytes of an event or a section, and the name of their state.
#[derive(Clone)]
pub(crate) struct Tile {
    pub etag: HeaderValue,
    pub body: Bytes,
}

/// Availability of all events.
#[derive(Default)]
pub(crate) struct Availability {
    events: DashMap<String, Arc<Live>>,
    /// The latest log time seen in any feed, Unix milliseconds.
    log_time_ms: AtomicU64,
}

impl Availability {
    /// An event's live state.
    pub(crate) fn get(&self, event_id: &str) -> Option<Arc<Live>> {
        self.events.get(event_id).map(|live| live.value().clone())
    }

    /// Places that are neither sold nor withdrawn, if the event is known.
    pub(crate) fn left(&self, event_id: &str) -> Option<u64> {
        self.events.get(event_id).map(|live| live.left())
    }

    /// An event's live state; waits a moment for the feed to bring it.
    pub(crate) async fn wait(
        &self,
        event_id: &str,
        deadline: Deadline,
    ) -> Result<Arc<Live>, Problem> {
        let patience = Deadline::after(deadline.min(limits::CATCH_UP_MAX));
        loop {
            if let Some(live) = self.get(event_id) {
                return Ok(live);
            }
            if patience.passed() {
                return Err(Problem::new(
                    Code::Unavailable,
                    "the event's availability is not here yet",
                ));
            }
            tokio::time::sleep(limits::CATCH_UP_PAUSE).await;
        }
    }

    /// The latest log time, for statuses that change with time.
    pub(crate) fn now_ms(&self) -> u64 {
        // An idle shard's feed stands still; the wall clock does not.
        self.log_time_ms.load(Ordering::Relaxed).max(onsale_proto::time::now_ms())
    }

    fn saw(&self, log_time_ms: u64) {
        self.log_time_ms.fetch_max(log_time_ms, Ordering::Relaxed);
    }

    /// Takes over an event's whole state, exact at `index`.
    fn put(&self, shard: u32, index: u64, event: &EventAvailability) -> Arc<Live> {
        if let Some(live) = self.get(&event.event_id) {
            live.replace(index, event);
            return live;
        }
        let live = Arc::new(Live::new(shard, index, event));
        self.events.insert(event.event_id.clone(), live.clone());
        live
    }

    /// Forgets events of the shard that are not among these.
    fn retain(&self, shard: u32, there: &HashSet<&str>) {
        self.events
            .retain(|event_id, live| live.shard() != shard || there.contains(event_id.as_str()));
    }
}

impl Live {
    /// The bytes of the whole event or of one section; none for a section it does not have.
    pub(crate) fn tile(&self, view: &EventView, section: Option<&str>) -> Option<Tile> {
        let place = match section {
            Some(key) => Some(usize::try_from(view.section_no(key)?).ok()?),
            None => None,
        };
        self.encoded(view, place)
    }
}
