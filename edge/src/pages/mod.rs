//! Owns the plain way for people: server-rendered pages that need no JavaScript.
//!
//! They use the same functions as `/v1`. Secrets stand in cookies bound to one path, never in a
//! URL. Must never do what the interface cannot do.

pub(crate) mod buying;
pub(crate) mod events;
pub(crate) mod order;
pub(crate) mod reference;
mod wish_form;

use askama::Template;
use http::StatusCode;
use onsale_proto::{Code, time};

use crate::{
    problem::Problem,
    reply::{self, Reply},
};

/// Cookie with the token of the hold that the path names.
pub(crate) const HOLD_COOKIE: &str = "onsale_hold";
/// Cookie with the token of the order that the path names.
pub(crate) const ORDER_COOKIE: &str = "onsale_order";
/// How long the browser keeps a hold's token.
const HOLD_COOKIE_SECONDS: u32 = 24 * 3_600;
/// How long the browser keeps an order's token.
const ORDER_COOKIE_SECONDS: u32 = 400 * 24 * 3_600;

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    errors: Vec<(&'a str, &'a str)>,
    seat_ids: &'a [String],
    at: Option<String>,
    retryable: bool,
    request_id: &'a str,
}

/// A refusal as a page.
pub(crate) fn problem(problem: &Problem, request_id: &str) -> Reply {
    let code = problem.code();
    let page = ProblemPage {
        title: code.title(),
        status: code.http_status(),
        code: code.as_str(),
        detail: problem.detail(),
        errors: problem
            .errors()
            .iter()
            .map(|error| (error.pointer.trim_start_matches('/'), &*error.detail))
            .collect(),
        seat_ids: problem.seat_ids(),
        at: problem.at().map(|(_, at)| moment(at)),
        retryable: code.retryable(),
        request_id,
    };
    match page.render() {
        Ok(html) => {
            let mut reply = reply::html(StatusCode::OK, html);
            problem.dress(&mut reply);
            reply
        }
        Err(_) => problem.to_reply(request_id),
    }
}

/// A page, or the fault of ours that it cannot be drawn.
fn page(template: &impl Template) -> Result<Reply, Problem> {
    match template.render() {
        Ok(html) => Ok(reply::html(StatusCode::OK, html)),
        Err(error) => Err(Problem::new(Code::Internal, format!("a page: {error}"))),
    }
}

/// An amount as people read it.
fn money(minor: u64, currency: &str) -> String {
    let digits = match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX"
        | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0_u32,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    };
    let unit = 10_u64.pow(digits);
    match digits {
        0 => format!("{currency} {minor}"),
        _ => {
            format!("{currency} {}.{:0width$}", minor / unit, minor % unit, width = digits as usize)
        }
    }
}

/// A point in time as people read it.
fn moment(at_ms: u64) -> String {
    let text = time::to_rfc3339(at_ms / 1_000 * 1_000);
    let text = text.trim_end_matches('Z').replace('T', " ");
    let text = text.strip_suffix(":00").unwrap_or(&text);
    format!("{text} UTC")
}

/// A number of seconds as people read it.
fn lasting(seconds: u64) -> String {
    let count = |number: u64, unit: &str| {
        let plural = if number == 1 { "" } else { "s" };
        format!("{number} {unit}{plural}")
    };
    match (seconds / 60, seconds % 60) {
        (0, seconds) => count(seconds, "second"),
        (minutes, 0) => count(minutes, "minute"),
        (minutes, seconds) => {
            format!("{} and {}", count(minutes, "minute"), count(seconds, "second"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_times_and_lengths_are_for_people() {
        assert_eq!(money(9_505, "EUR"), "EUR 95.05");
        assert_eq!(money(500, "JPY"), "JPY 500");
        assert_eq!(money(1_234, "KWD"), "KWD 1.234");
        assert_eq!(moment(0), "1970-01-01 00:00 UTC");
        assert_eq!(lasting(59), "59 seconds");
        assert_eq!(lasting(600), "10 minutes");
        assert_eq!(lasting(61), "1 minute and 1 second");
    }

    #[test]
    fn what_a_request_brought_is_escaped() {
        let evil = Problem::field("<script>", "<b>");
        let reply = problem(&evil, "req_1");
        let crate::body::Body::Ready(bytes) = reply.into_body() else {
            panic!("a page is ready");
        };
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        assert!(!text.contains("<script>"), "{text}");
    }
}
