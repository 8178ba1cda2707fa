//! Owns how answers are put together: content types, caching, and the headers that keep browsers
//! safe.
//!
//! Must never let an answer out that may hold personal data and be cached.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::body::Body;

/// An answer.
pub type Reply = Response<Body>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
/// Pages send their origin to ourselves, which is how forms are known to be ours.
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");
const API_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; \
     form-action 'self'; object-src 'none'",
);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Headers that an answer has, mostly.
const HEADERS_USUAL: usize = 10;
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// JSON that nobody may keep.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Body::Ready(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    // With those of `finish` and of hyper; growing the map costs more than the headers.
    headers.reserve(HEADERS_USUAL);
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    reply
}

/// JSON of a value of ours; those always have a JSON form.
pub(crate) fn json_of(status: StatusCode, value: &impl serde::Serialize) -> Reply {
    json(status, serde_json::to_vec(value).unwrap_or_default())
}

/// A page that nobody may keep.
pub(crate) fn html(status: StatusCode, page: String) -> Reply {
    let mut reply = Response::new(Body::Ready(Bytes::from(page)));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HTML);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    headers.insert(header::REFERRER_POLICY, SAME_ORIGIN);
    reply
}

/// Bytes of another kind, with how long they may be kept.
pub(crate) fn bytes(
    content_type: &'static str,
    cache: &'static str,
    body: impl Into<Bytes>,
) -> Reply {
    let mut reply = Response::new(Body::Ready(body.into()));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    reply
}

/// Ready JSON with an ETag: 304 for who has it already.
pub(crate) fn tagged(
    request_headers: &HeaderMap,
    etag: &HeaderValue,
    cache: &'static str,
    body: Bytes,
) -> Reply {
    let mut reply = if has(request_headers, etag) {
        let mut reply = Response::new(Body::empty());
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
        reply
    } else {
        json(StatusCode::OK, body)
    };
    let headers = reply.headers_mut();
    headers.insert(header::ETAG, etag.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    reply
}

fn has(request_headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let Ok(etag) = etag.to_str() else {
        return false;
    };
    request_headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == etag || tag == "*")
}

/// Nothing to say.
pub(crate) fn no_content() -> Reply {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    reply.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    reply
}

/// "Look there", after a form.
pub(crate) fn see_other(location: &str) -> Reply {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = StatusCode::SEE_OTHER;
    set(&mut reply, header::LOCATION, location);
    reply.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    reply
}

/// Sets a header; a value that no header can have is left out.
pub(crate) fn set(reply: &mut Reply, name: HeaderName, value: impl Into<String>) {
    if let Ok(value) = HeaderValue::try_from(value.into()) {
        reply.headers_mut().append(name, value);
    }
}

/// Marks an answer that was given before.
pub(crate) fn mark_replayed(reply: &mut Reply, replayed: bool) {
    if replayed {
        reply.headers_mut().insert(REPLAYED, TRUE);
    }
}

/// A number as a header's value.
pub(crate) fn number_value(number: u64) -> HeaderValue {
    HeaderValue::from(number)
}

/// What every answer has: the request's id and what keeps browsers safe.
pub(crate) fn finish(reply: &mut Reply, request_id: &HeaderValue) {
    let headers = reply.headers_mut();
    headers.insert(REQUEST_ID, request_id.clone());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(API_POLICY);
    headers.entry(header::REFERRER_POLICY).or_insert(NO_REFERRER);
    headers.entry(header::CACHE_CONTROL).or_insert(NO_STORE);
}
