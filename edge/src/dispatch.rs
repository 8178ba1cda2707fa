//! Owns a request's way: address → route → limit → key → body → handler → answer.
//!
//! Must never let a request past a bound, and never lose one: every way ends in an answer.

use std::{net::IpAddr, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use onsale_mesh::{Deadline, limits::REQUEST_BUDGET};
use onsale_proto::Code;

use crate::{
    limits::{self, AddressKey},
    metrics, pages,
    problem::Problem,
    reply::{self, Reply},
    request::Request,
    routes::{Auth, Class, Found, NO_ROUTE, Route},
    server::Connection,
    service::Edge,
};

/// Answers a request.
pub(crate) async fn answer(
    edge: Arc<Edge>,
    connection: Arc<Connection>,
    request: hyper::Request<Incoming>,
) -> Reply {
    let started = Instant::now();
    let (parts, incoming) = request.into_parts();
    let request_id = edge.request_ids.take(&parts.headers);
    let found = edge.routes.find(&parts.method, parts.uri.path());
    let (place, params) = match found {
        Found::Route(place, params) => (Some(place), Ok(params)),
        Found::OtherMethods(allow) => (None, Err(other_methods(&allow))),
        Found::Nothing => (None, Err(Problem::not_found("there is no such path"))),
    };
    let route = place.and_then(|place| edge.routes.all.get(place));
    let page = route.map_or_else(
        || wants_page(&parts.headers, parts.uri.path()),
        |route| route.class == Class::Page,
    );
    let address = address(&edge, connection.address(), &parts.headers);
    let admitted = params.and_then(|params| {
        let staff = admit(&edge, route, address, &parts.headers)?;
        Ok((params, staff))
    });
    let body = read_body(incoming, route, admitted.is_ok(), &connection).await;
    let handled = match (admitted, body, route) {
        (Err(problem), _, _) | (Ok(_), Err(problem), _) => Err(problem),
        (Ok((params, staff)), Ok(body), Some(route)) => {
            let request = Request {
                parts,
                params,
                body,
                address,
                deadline: Deadline::after(REQUEST_BUDGET),
                staff,
            };
            handle(&edge, route, request).await
        }
        (Ok(_), Ok(_), None) => Err(Problem::not_found("there is no such path")),
    };
    let mut reply = handled.unwrap_or_else(|problem| refuse(&problem, route, page, &request_id));
    reply::finish(&mut reply, &request_id);
    edge.metrics.answered(place, reply.status().as_u16(), started.elapsed());
    reply
}

async fn handle(edge: &Arc<Edge>, route: &Route, request: Request) -> Result<Reply, Problem> {
    let answering = AssertUnwindSafe((route.handler)(edge.clone(), request));
    answering.catch_unwind().await.unwrap_or_else(|_| {
        edge.metrics.panics.increment(1);
        Err(Problem::new(Code::Internal, "a handler panicked"))
    })
}

fn refuse(problem: &Problem, route: Option<&Route>, page: bool, id: &HeaderValue) -> Reply {
    let request_id = id.to_str().unwrap_or("");
    problem.log(request_id, route.map_or(NO_ROUTE, |route| route.path));
    metrics::problem(problem.code());
    if page { pages::problem(problem, request_id) } else { problem.to_reply(request_id) }
}

fn other_methods(allow: &str) -> Problem {
    let problem =
        Problem::new(Code::MethodNotAllowed, format!("this path has the methods {allow}"));
    match HeaderValue::from_str(allow) {
        Ok(allow) => problem.with_header(header::ALLOW, allow),
        Err(_) => problem,
    }
}

/// Whether whoever asked for a path that is not there would rather read a page.
fn wants_page(headers: &HeaderMap, path: &str) -> bool {
    !path.starts_with("/v1")
        && headers
            .get(header::ACCEPT)
            .and_then(|accept| accept.to_str().ok())
            .is_some_and(|accept| accept.contains("text/html"))
}

/// Limit and key, before anything of the body is read.
fn admit(
    edge: &Edge,
    route: Option<&Route>,
    address: IpAddr,
    headers: &HeaderMap,
) -> Result<Option<crate::auth::Staff>, Problem> {
    if route.is_none_or(|route| route.class != Class::Gateway) {
        check_rate(edge, address)?;
    }
    match route.map(|route| route.auth) {
        Some(Auth::Staff(role)) => edge.api_keys.require(headers, role).map(Some),
        _ => Ok(None),
    }
}

fn check_rate(edge: &Edge, address: IpAddr) -> Result<(), Problem> {
    let Some(limiter) = &edge.limiter else {
        return Ok(());
    };
    let Err(wait) = limiter.check(AddressKey::of(address)) else {
        return Ok(());
    };
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let quota = limiter.per_second();
    let mut problem = Problem::new(
        Code::RateLimited,
        format!("more than {quota} requests a second from this address"),
    )
    .with_retry_after(seconds);
    for (name, text) in [
        ("ratelimit-policy", format!("\"address\";q={quota};w=1")),
        ("ratelimit", format!("\"address\";r=0;t={}", seconds.max(1))),
    ] {
        if let Ok(value) = HeaderValue::try_from(text) {
            problem = problem.with_header(HeaderName::from_static(name), value);
        }
    }
    Err(problem)
}

/// Who sent a request: the peer, or whom a trusted proxy names.
fn address(edge: &Edge, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if edge.proxies.is_empty() {
        return peer;
    }
    let trusted = |address: IpAddr| edge.proxies.iter().any(|proxy| proxy.contains(address));
    let mut address = peer;
    let named = headers.get_all("x-forwarded-for");
    let named = named.iter().rev().filter_map(|value| value.to_str().ok());
    for name in named.flat_map(|value| value.rsplit(',')) {
        if !trusted(address) {
            break;
        }
        match name.trim().parse() {
            Ok(next) => address = next,
            Err(_) => break,
        }
    }
    address
}

/// The whole body within its bound. What a refused or too large request still sends is read and
/// dropped, so that its answer arrives.
async fn read_body(
    mut incoming: Incoming,
    route: Option<&Route>,
    wanted: bool,
    connection: &Connection,
) -> Result<Bytes, Problem> {
    if incoming.is_end_stream() {
        return Ok(Bytes::new());
    }
    let most =
        route.filter(|_| wanted).map_or(limits::BODY_BYTES_MAX, |route| route.body_bytes_max);
    let declared = incoming.size_hint().lower();
    let too_large =
        || Problem::new(Code::PayloadTooLarge, format!("the body must have at most {most} bytes"));
    if declared > limits::DRAIN_BYTES_MAX as u64 {
        return Err(too_large());
    }
    connection.reads_body();
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    let mut seen = 0_usize;
    while let Some(frame) = incoming.frame().await {
        let frame =
            frame.map_err(|_| Problem::field("", "the body does not arrive as its headers say"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        seen = seen.saturating_add(data.len());
        if seen > limits::DRAIN_BYTES_MAX {
            return Err(too_large());
        }
        if seen > most {
            whole = BytesMut::new();
        } else if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&data);
        }
    }
    connection.has_body();
    if seen > most {
        return Err(too_large());
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}
