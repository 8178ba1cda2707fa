//! Owns reading what is available: ready bytes with an ETag, and the live stream.
//!
//! Must never ask a shard: it answers from what the feed brought.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Response, header};
use metrics::Gauge;
use onsale_proto::Code;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    availability::stream,
    body::Body,
    problem::Problem,
    reply::{self, Reply},
    request::Request,
    service::Edge,
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// `GET /v1/events/{event_id}/availability`
pub(crate) async fn get(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let query = request.query(&["section"])?;
    let view = edge.documents.get(request.param(0), request.deadline).await?;
    let live = edge.availability.wait(request.param(0), request.deadline).await?;
    let section = query.get("section");
    let tile = live
        .tile(&view, section)
        .ok_or_else(|| Problem::not_found("the event has no such section"))?;
    Ok(reply::tagged(request.headers(), &tile.etag, "no-cache", tile.body))
}

/// A place among the open streams.
struct StreamPlace {
    open: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.open.decrement(1);
    }
}

/// `GET /v1/events/{event_id}/availability/stream`
pub(crate) async fn watch(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let query = request.query(&["from"])?;
    let from = match (request.header(&LAST_EVENT_ID), query.get("from")) {
        (Some(text), _) | (None, Some(text)) => Some(
            text.parse()
                .map_err(|_| Problem::field("from", "must be a position, a whole number"))?,
        ),
        (None, None) => None,
    };
    let view = edge.documents.get(request.param(0), request.deadline).await?;
    let live = edge.availability.wait(request.param(0), request.deadline).await?;
    let permit = edge.streams.clone().try_acquire_owned().map_err(|_| {
        Problem::new(Code::Overloaded, "too many open streams; poll the availability instead")
            .with_retry_after(5)
    })?;
    let open = edge.metrics.streams.clone();
    open.increment(1);
    let place = StreamPlace { open, _permit: permit };
    let pieces = stream::pieces(
        live,
        &view,
        from,
        edge.shutdown.clone(),
        edge.metrics.stream_resets.clone(),
        place,
    );
    let mut reply = Response::new(Body::Stream(pieces));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(reply)
}
