//! Owns the names of the edge's metrics and the handles that the hot path uses.
//!
//! Must never carry an id, a key or an address in a label.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::routes::{NO_ROUTE, Route};

/// Requests by route and class of status.
pub const REQUESTS: &str = "onsale_edge_requests_total";
/// Time from the request's head to its answer's head, by route.
pub const REQUEST_SECONDS: &str = "onsale_edge_request_duration_seconds";
/// Refusals by code.
pub const PROBLEMS: &str = "onsale_edge_problems_total";
/// Open connections.
pub const CONNECTIONS: &str = "onsale_edge_connections";
/// Connections refused, by bound.
pub const CONNECTIONS_REFUSED: &str = "onsale_edge_connections_refused_total";
/// Connections cut off, by what was late.
pub const CONNECTIONS_CUT: &str = "onsale_edge_connections_cut_total";
/// Open availability streams.
pub const STREAMS: &str = "onsale_edge_streams";
/// Streams that were told to start again.
pub const STREAM_RESETS: &str = "onsale_edge_stream_resets_total";
/// Last index taken over from a shard's feed.
pub const FEED_INDEX: &str = "onsale_edge_feed_index";
/// Documents fetched from the catalog, by result.
pub const DOCUMENT_FETCHES: &str = "onsale_edge_document_fetches_total";
/// Addresses counted by the request limit.
pub const ADDRESSES: &str = "onsale_edge_limited_addresses";
/// Handlers that panicked.
pub const PANICS: &str = "onsale_edge_panics_total";

/// Every metric of the edge and what it says.
pub const ALL: &[(&str, &str)] = &[
    (REQUESTS, "Requests by route and class of status"),
    (REQUEST_SECONDS, "Time from a request's head to its answer's head, by route"),
    (PROBLEMS, "Refusals by code"),
    (CONNECTIONS, "Open public connections"),
    (CONNECTIONS_REFUSED, "Connections refused because a bound was reached, by bound"),
    (CONNECTIONS_CUT, "Connections cut off because the client was late, by what was late"),
    (STREAMS, "Open availability streams"),
    (STREAM_RESETS, "Availability streams told to start again because they lagged"),
    (FEED_INDEX, "Last log index taken over, by shard"),
    (DOCUMENT_FETCHES, "Event documents fetched from the catalog, by result"),
    (ADDRESSES, "Addresses counted by the request limit"),
    (PANICS, "Handlers that panicked; always a fault of ours"),
];

/// The handles of one route.
struct RouteMetrics {
    by_class: [Counter; 6],
    seconds: Histogram,
}

/// Ready handles, so that counting a request looks nothing up.
pub(crate) struct Metrics {
    routes: Vec<RouteMetrics>,
    pub connections: Gauge,
    pub streams: Gauge,
    pub stream_resets: Counter,
    pub addresses: Gauge,
    pub panics: Counter,
}

impl Metrics {
    pub(crate) fn new(routes: &[Route]) -> Metrics {
        for (name, help) in ALL {
            if name.ends_with("_total") {
                metrics::describe_counter!(*name, *help);
            } else if name.ends_with("_seconds") {
                metrics::describe_histogram!(*name, *help);
            } else {
                metrics::describe_gauge!(*name, *help);
            }
        }
        let names = routes.iter().map(Route::name).chain([NO_ROUTE.to_owned()]);
        Metrics {
            routes: names.map(|name| RouteMetrics::new(&name)).collect(),
            connections: gauge!(CONNECTIONS),
            streams: gauge!(STREAMS),
            stream_resets: counter!(STREAM_RESETS),
            addresses: gauge!(ADDRESSES),
            panics: counter!(PANICS),
        }
    }

    /// Counts an answered request; `route` is its place in the table, none for no route.
    pub(crate) fn answered(&self, route: Option<usize>, status: u16, took: Duration) {
        let place = route.unwrap_or(self.routes.len() - 1);
        if let Some(metrics) = self.routes.get(place) {
            metrics.by_class[usize::from(status / 100).min(5)].increment(1);
            metrics.seconds.record(took.as_secs_f64());
        }
    }
}

impl RouteMetrics {
    fn new(name: &str) -> RouteMetrics {
        let class =
            |class: &'static str| counter!(REQUESTS, "route" => name.to_owned(), "status" => class);
        RouteMetrics {
            by_class: [
                class("0xx"),
                class("1xx"),
                class("2xx"),
                class("3xx"),
                class("4xx"),
                class("5xx"),
            ],
            seconds: histogram!(REQUEST_SECONDS, "route" => name.to_owned()),
        }
    }
}

/// Counts a refusal.
pub(crate) fn problem(code: onsale_proto::Code) {
    counter!(PROBLEMS, "code" => code.as_str()).increment(1);
}

/// Counts a connection that was not taken.
pub(crate) fn refused(bound: &'static str) {
    counter!(CONNECTIONS_REFUSED, "bound" => bound).increment(1);
}

/// Counts a connection that was cut off.
pub(crate) fn cut(late: &'static str) {
    counter!(CONNECTIONS_CUT, "late" => late).increment(1);
}

/// Says how far a shard's feed was taken over.
pub(crate) fn feed(shard: u32, index: u64) {
    #[allow(clippy::cast_precision_loss)] // a gauge is a float
    gauge!(FEED_INDEX, "shard" => shard.to_string()).set(index as f64);
}

/// Counts a fetched document.
pub(crate) fn document(result: &'static str) {
    counter!(DOCUMENT_FETCHES, "result" => result).increment(1);
}
