//! Owns the route table's shape and finding a route: one table makes the router, the OpenAPI
//! document and the metrics' labels.
//!
//! Must never have a second list of routes anywhere.

macro_rules! handler {
    ($handler:path) => {
        |edge, request| Box::pin($handler(edge, request))
    };
}

mod table;
mod words;

use std::{pin::Pin, sync::Arc};

use http::Method;
use onsale_proto::Code;

use crate::{
    auth::Role, limits, problem::Problem, reply::Reply, request::Request, request::decode,
    service::Edge,
};

pub use table::table;

/// The metrics' label of requests that fit no route.
pub const NO_ROUTE: &str = "none";

/// A handler's answer in the making.
pub type Answering = Pin<Box<dyn Future<Output = Result<Reply, Problem>> + Send>>;

/// What a route does.
pub type Handler = fn(Arc<Edge>, Request) -> Answering;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Anyone.
    Anyone,
    /// Who has the hold's token, in a header or in the body.
    HoldToken,
    /// Who has the order's token.
    OrderToken,
    /// Who has the order's token, or a support key.
    OrderTokenOrSupport,
    /// Who has a key of this role; checked before the body is read.
    Staff(Role),
    /// The gateway, by its signature.
    Gateway,
}

/// How a route is limited and how its refusals look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// JSON, counted by address.
    Api,
    /// A page for people, counted by address.
    Page,
    /// Not counted: the gateway's own pace is the limit.
    Gateway,
}

/// Whether a route takes an `Idempotency-Key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// No.
    None,
    /// It may.
    Optional,
    /// It must.
    Required,
}

/// A request's body, as documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyUse {
    /// None.
    None,
    /// JSON of this schema.
    Json(&'static str),
    /// JSON of this schema, or nothing.
    OptionalJson(&'static str),
    /// A form with these fields.
    Form(&'static [&'static str]),
    /// Bytes of another's making.
    Raw,
}

/// A success, as documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Success {
    /// HTTP status.
    pub status: u16,
    /// What it means.
    pub says: &'static str,
    /// Content type; empty without content.
    pub content: &'static str,
    /// Schema of JSON content; empty for others.
    pub schema: &'static str,
}

/// One route.
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path with `{parameters}`.
    pub path: &'static str,
    /// Its name in the OpenAPI document.
    pub operation: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// Who may use it.
    pub auth: Auth,
    /// How it is limited.
    pub class: Class,
    /// Whether it takes an `Idempotency-Key`.
    pub key: KeyUse,
    /// Its body.
    pub body: BodyUse,
    /// Bytes of its body at most.
    pub body_bytes_max: usize,
    /// Its query's parameters: names of the document's components.
    pub query: &'static [&'static str],
    /// Headers of its own: names of the document's components.
    pub headers: &'static [&'static str],
    /// Its successes.
    pub successes: Vec<Success>,
    /// Its own refusals, beside those that every route has.
    pub codes: Vec<Code>,
    pub(crate) handler: Handler,
    segments: Vec<Segment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment {
    Literal(&'static str),
    /// A parameter, with what must stand behind it.
    Parameter(&'static str),
}

/// Refusals that any route may answer with.
pub const COMMON_CODES: [Code; 7] = [
    Code::InvalidRequest,
    Code::NotFound,
    Code::MethodNotAllowed,
    Code::PayloadTooLarge,
    Code::RateLimited,
    Code::Overloaded,
    Code::Unavailable,
];

impl Route {
    fn new(
        method: Method,
        path: &'static str,
        operation: &'static str,
        summary: &'static str,
        handler: Handler,
    ) -> Route {
        let segment = |text: &'static str| match text.strip_prefix('{') {
            Some(rest) => Segment::Parameter(rest.split_once('}').map_or("", |(_, suffix)| suffix)),
            None => Segment::Literal(text),
        };
        Route {
            method,
            path,
            operation,
            summary,
            auth: Auth::Anyone,
            class: Class::Api,
            key: KeyUse::None,
            body: BodyUse::None,
            body_bytes_max: limits::BODY_BYTES_MAX,
            query: &[],
            headers: &[],
            successes: Vec::new(),
            codes: Vec::new(),
            handler,
            segments: path[1..].split('/').map(segment).collect(),
        }
    }

    /// Method and path.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Names of the path's parameters.
    #[must_use]
    pub fn parameters(&self) -> Vec<&'static str> {
        self.path
            .split('{')
            .skip(1)
            .filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
            .collect()
    }

    /// All codes it may answer with.
    #[must_use]
    pub fn all_codes(&self) -> Vec<Code> {
        let mut codes = COMMON_CODES.to_vec();
        codes.extend(&self.codes);
        Code::ALL.iter().copied().filter(|code| codes.contains(code)).collect()
    }

    fn fits(&self, segments: &[&str]) -> Option<Vec<String>> {
        if segments.len() != self.segments.len() {
            return None;
        }
        let mut params = Vec::new();
        for (given, mine) in segments.iter().zip(&self.segments) {
            match mine {
                Segment::Literal(literal) if literal == given => {}
                Segment::Literal(_) => return None,
                Segment::Parameter(suffix) => {
                    let value = given.strip_suffix(suffix)?;
                    if value.is_empty() {
                        return None;
                    }
                    params.push(decode(value, false)?.into_owned());
                }
            }
        }
        Some(params)
    }
}

/// What a path and method lead to.
pub(crate) enum Found {
    /// A route, by its place, and the path's parameters.
    Route(usize, Vec<String>),
    /// The path exists with these methods.
    OtherMethods(String),
    /// No route.
    Nothing,
}

/// All routes.
pub(crate) struct Routes {
    pub all: Vec<Route>,
    /// The hot one.
    reserve: Option<usize>,
}

const RESERVE: &str = "/v1/reserve";
const SEGMENTS_MAX: usize = 8;

impl Routes {
    pub(crate) fn new() -> Routes {
        let all = table();
        let reserve = all.iter().position(|route| route.path == RESERVE);
        Routes { all, reserve }
    }

    /// Finds the route.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Found {
        if path == RESERVE
            && *method == Method::POST
            && let Some(place) = self.reserve
        {
            return Found::Route(place, Vec::new());
        }
        let Some(below_root) = path.strip_prefix('/') else {
            return Found::Nothing;
        };
        let mut segments = Vec::with_capacity(SEGMENTS_MAX);
        segments.extend(below_root.split('/').take(SEGMENTS_MAX));
        // Who may read a thing may also ask for the answer's head alone.
        let wanted = match *method {
            Method::HEAD => &Method::GET,
            _ => method,
        };
        let mut others: Vec<&str> = Vec::new();
        for (place, route) in self.all.iter().enumerate() {
            if let Some(params) = route.fits(&segments) {
                if route.method == *wanted {
                    return Found::Route(place, params);
                }
                others.push(route.method.as_str());
                if route.method == Method::GET {
                    others.push("HEAD");
                }
            }
        }
        if others.is_empty() {
            return Found::Nothing;
        }
        others.sort_unstable();
        others.dedup();
        Found::OtherMethods(others.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(method: Method, path: &str) -> (Option<String>, Vec<String>) {
        let routes = Routes::new();
        match routes.find(&method, path) {
            Found::Route(place, params) => (Some(routes.all[place].name()), params),
            Found::OtherMethods(allow) => (None, vec![allow]),
            Found::Nothing => (None, Vec::new()),
        }
    }

    #[test]
    fn paths_lead_to_their_routes() {
        let (name, params) = find(Method::GET, "/v1/events/evt_1/availability");
        assert_eq!(name.as_deref(), Some("GET /v1/events/{event_id}/availability"));
        assert_eq!(params, ["evt_1"]);
        let (name, params) = find(Method::GET, "/v1/tickets/tkt_1.svg");
        assert_eq!(name.as_deref(), Some("GET /v1/tickets/{ticket_id}.svg"));
        assert_eq!(params, ["tkt_1"]);
        let (name, params) = find(Method::GET, "/v1/tickets/tkt_1");
        assert_eq!(name.as_deref(), Some("GET /v1/tickets/{ticket_id}"));
        assert_eq!(params, ["tkt_1"]);
        assert!(find(Method::HEAD, "/v1/events").0.is_some());
        assert!(find(Method::POST, "/v1/reserve").0.is_some());
        assert!(find(Method::GET, "/").0.is_some());
    }

    #[test]
    fn other_methods_are_named_and_other_paths_are_nothing() {
        assert_eq!(find(Method::GET, "/v1/reserve"), (None, vec!["POST".into()]));
        assert_eq!(find(Method::PUT, "/v1/events"), (None, vec!["GET, HEAD, POST".into()]));
        for path in [
            "/v2",
            "/v1/events/",
            "/v1/events//seatmap",
            "",
            "//",
            "*",
            "/v1/reserve/",
            "/v1/events/%ff",
        ] {
            assert_eq!(find(Method::GET, path), (None, Vec::new()), "{path}");
        }
    }

    #[test]
    fn operations_have_one_name_each() {
        let table = table();
        let mut names: Vec<&str> = table.iter().map(|route| route.operation).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
