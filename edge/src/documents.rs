//! Owns event documents as read from the catalog: a cache of views with an age, one fetch at a
//! time for each, made stale at once by the control group's feed.
//!
//! Must never ask the catalog for an event that the control group has not published, and never
//! serve an older revision when the newer one can be had.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use dashmap::DashMap;
use onsale_mesh::{Deadline, Failure};
use onsale_proto::{
    Code,
    catalog::{
        EventDocument, GetEventRequest, ListEventsRequest, ListEventsResponse,
        catalog_service_client::CatalogServiceClient,
    },
};
use tokio::time::Instant;
use tonic::{Request, transport::Channel};

use crate::{event_view::EventView, limits, metrics, problem::Problem};

/// The largest document: what the control group accepts, and the page of a list.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Event documents.
pub(crate) struct Documents {
    catalog: CatalogServiceClient<Channel>,
    events: DashMap<String, Arc<Slot>>,
}

/// One published event.
struct Slot {
    revision: std::sync::atomic::AtomicU64,
    cached: ArcSwapOption<Cached>,
    fetching: tokio::sync::Mutex<()>,
}

struct Cached {
    view: Arc<EventView>,
    /// The revision that was announced when it was asked for.
    announced: u64,
    fetched_at: Instant,
}

impl Slot {
    fn new(revision: u64) -> Slot {
        Slot {
            revision: revision.into(),
            cached: ArcSwapOption::empty(),
            fetching: tokio::sync::Mutex::new(()),
        }
    }

    fn revision(&self) -> u64 {
        self.revision.load(std::sync::atomic::Ordering::Acquire)
    }

    fn announce(&self, revision: u64) {
        self.revision.fetch_max(revision, std::sync::atomic::Ordering::AcqRel);
    }

    /// The view, while it needs no fetch: nothing newer was announced since, and it is not too
    /// old. One that the catalog gave although it was behind itself is too old very soon.
    fn fresh(&self) -> Option<Arc<EventView>> {
        let cached = self.cached.load();
        let cached = cached.as_ref()?;
        if self.revision() > cached.announced.max(cached.view.document.revision) {
            return None;
        }
        let age_max = if cached.view.document.revision >= self.revision() {
            limits::DOCUMENT_AGE_MAX
        } else {
            limits::DOCUMENT_BEHIND_AGE_MAX
        };
        (cached.fetched_at.elapsed() < age_max).then(|| cached.view.clone())
    }

    fn store(&self, view: Arc<EventView>, announced: u64) {
        self.cached.store(Some(Arc::new(Cached { view, announced, fetched_at: Instant::now() })));
    }

    fn stale(&self) -> Option<Arc<EventView>> {
        self.cached.load().as_ref().map(|cached| cached.view.clone())
    }
}

impl Documents {
    pub(crate) fn new(catalog: Channel) -> Documents {
        Documents {
            catalog: CatalogServiceClient::new(catalog)
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
            events: DashMap::new(),
        }
    }

    /// The control group published this revision.
    pub(crate) fn published(&self, event_id: &str, revision: u64) {
        match self.events.get(event_id) {
            Some(slot) => slot.announce(revision),
            None => {
                self.events
                    .entry(event_id.to_owned())
                    .or_insert_with(|| Arc::new(Slot::new(revision)))
                    .announce(revision);
            }
        }
    }

    /// These are all published events.
    pub(crate) fn replace(&self, published: &HashMap<&str, u64>) {
        self.events.retain(|event_id, _| published.contains_key(event_id.as_str()));
        for (event_id, revision) in published {
            self.published(event_id, *revision);
        }
    }

    /// A document that a change of our own just published.
    pub(crate) fn learn(&self, document: EventDocument) {
        self.published(&document.event_id, document.revision);
        let slot = self.events.get(&document.event_id).map(|slot| slot.value().clone());
        if let Some(slot) = slot {
            slot.store(Arc::new(EventView::new(document)), slot.revision());
        }
    }

    /// A published event.
    ///
    /// # Errors
    /// `not_found`; `unavailable` when the catalog does not answer and nothing is known.
    pub(crate) async fn get(
        &self,
        event_id: &str,
        deadline: Deadline,
    ) -> Result<Arc<EventView>, Problem> {
        let slot = self.events.get(event_id).map(|slot| slot.value().clone());
        let slot = slot.ok_or_else(|| Problem::not_found("there is no such event"))?;
        if let Some(view) = slot.fresh() {
            return Ok(view);
        }
        let wait = deadline.min(limits::CATCH_UP_MAX);
        let Ok(_turn) = tokio::time::timeout(wait, slot.fetching.lock()).await else {
            return slot.stale().ok_or_else(|| busy(event_id));
        };
        if let Some(view) = slot.fresh() {
            return Ok(view);
        }
        let announced = slot.revision();
        match self.fetch(event_id, &slot, wait).await {
            Ok(view) => {
                metrics::document("fetched");
                slot.store(view.clone(), announced);
                Ok(view)
            }
            Err(failure) => {
                metrics::document("failed");
                tracing::warn!(event_id, code = %failure.code, "no document in the catalog");
                slot.stale().ok_or_else(|| match failure.code {
                    // It is published, so the catalog will have it in a moment.
                    Code::NotFound | Code::OutcomeUnknown => busy(event_id),
                    _ => failure.into(),
                })
            }
        }
    }

    /// Fetches until the catalog has the announced revision or the time is over.
    async fn fetch(
        &self,
        event_id: &str,
        slot: &Slot,
        wait: Duration,
    ) -> Result<Arc<EventView>, Failure> {
        let until = Instant::now() + wait;
        loop {
            let request = timed(
                GetEventRequest { event_id: event_id.to_owned() },
                until.saturating_duration_since(Instant::now()),
            );
            let mut catalog = self.catalog.clone();
            let answer = tokio::time::timeout_at(until, catalog.get_event(request)).await;
            let over = Instant::now() + limits::CATCH_UP_PAUSE >= until;
            match answer {
                Ok(Ok(answer)) => {
                    let event = answer.into_inner().event.unwrap_or_default();
                    if over || event.revision >= slot.revision() {
                        return Ok(Arc::new(EventView::new(event)));
                    }
                }
                Ok(Err(status)) => {
                    let failure = Failure::from(status);
                    if over || !matches!(failure.code, Code::NotFound | Code::Unavailable) {
                        return Err(failure);
                    }
                }
                Err(_) => {
                    return Err(Failure::new(
                        Code::Unavailable,
                        "the catalog did not answer in time",
                    ));
                }
            }
            tokio::time::sleep(limits::CATCH_UP_PAUSE).await;
        }
    }

    /// A page of events.
    ///
    /// # Errors
    /// `invalid_request` for a broken cursor, `unavailable`.
    pub(crate) async fn list(
        &self,
        request: ListEventsRequest,
        deadline: Deadline,
    ) -> Result<ListEventsResponse, Problem> {
        let mut catalog = self.catalog.clone();
        let request = timed(request, deadline.remaining());
        match tokio::time::timeout_at(deadline.instant(), catalog.list_events(request)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => match Code::from_status(&status) {
                Code::InvalidRequest => {
                    Err(Problem::field("cursor", "is broken, or belongs to other filters"))
                }
                // Reading changes nothing, so nothing is unknown about it.
                Code::OutcomeUnknown => Err(Problem::new(Code::Unavailable, "the catalog is slow")),
                _ => Err(Failure::from(status).into()),
            },
            Err(_) => Err(Problem::new(Code::Unavailable, "the catalog is slow")),
        }
    }
}

fn busy(event_id: &str) -> Problem {
    Problem::new(Code::Unavailable, format!("the document of {event_id} is not here yet"))
}

/// A call that says how long it may take.
pub(crate) fn timed<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}
