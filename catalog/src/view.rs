//! Owns what readers see: one document, or a page of them. Must never change anything.

use onsale_mesh::Failure;
use onsale_proto::{
    Code,
    catalog::{EventDocument, ListEventsRequest, ListEventsResponse},
};

use crate::{index::Index, limits, page::Place, store::Store};

/// The published events as of the last feed message.
pub(crate) struct View {
    pub(crate) store: Store,
    pub(crate) index: Index,
}

impl View {
    /// One page of the events that match.
    pub(crate) fn list(&self, request: &ListEventsRequest) -> Result<ListEventsResponse, Failure> {
        let count = match request.page_size {
            0 => limits::PAGE_SIZE_DEFAULT,
            size if size <= limits::PAGE_SIZE_MAX => size,
            _ => {
                let detail = format!("must be between 1 and {}", limits::PAGE_SIZE_MAX);
                return Err(Failure::invalid("page_size", detail));
            }
        };
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(Place::parse(token, request).ok_or_else(|| {
                Failure::invalid("page_token", "not a token of a list with these filters")
            })?),
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let found = self.index.search(request, after.as_ref(), count)?;
        let next_page_token = match found.events.last() {
            Some(last) if found.more => {
                Place { starts_at_ms: last.starts_at_ms, event_id: last.event_id.clone() }
                    .token(request)
            }
            _ => String::new(),
        };
        Ok(ListEventsResponse { events: found.events, next_page_token })
    }

    /// One document with its seat map.
    pub(crate) fn get(&self, event_id: &str) -> Result<EventDocument, Failure> {
        let not_found = || Failure::new(Code::NotFound, "there is no such event");
        if event_id.len() > limits::EVENT_ID_BYTES_MAX {
            return Err(not_found());
        }
        let stored = self.store.get(event_id)?;
        stored.map(|stored| stored.document).ok_or_else(not_found)
    }
}
