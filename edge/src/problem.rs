//! Owns how a refusal looks outside: `application/problem+json` (RFC 9457) with our `code`,
//! `retryable` and `request_id`.
//!
//! Must never show what only operators may see: details of `internal` go to the log.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use onsale_mesh::Failure;
use onsale_proto::{Code, time};

use crate::{
    body::Body,
    json::write_text,
    reply::{Reply, number_value},
};

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"onsale\"");
const INTERNAL: &str = "something went wrong on our side; quote the request id";
const UNAVAILABLE: &str = "a part of the service did not answer in time; try again in a moment";

/// One fault of a request: where, as a JSON pointer or a parameter's name, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// JSON pointer into the body, or the name of a parameter or header.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: Cow<'static, str>,
}

/// A general admission area, and what of it is not simply available.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SectionTaken {
    /// The section's key.
    pub key: String,
    /// Places held.
    pub held: u32,
    /// Places sold.
    pub sold: u32,
    /// Places withdrawn.
    pub killed: u32,
}

/// A quota, and how much of it is held and sold.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct QuotaTaken {
    /// The quota's key.
    pub key: String,
    /// Places.
    pub taken: u32,
}

/// Why a request was not done.
#[derive(Clone, Debug)]
pub struct Problem(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    code: Code,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    seat_ids: Vec<String>,
    mend_seat_ids: Vec<String>,
    sections: Vec<SectionTaken>,
    quotas: Vec<QuotaTaken>,
    at: Option<(&'static str, u64)>,
    retry_after_seconds: Option<u64>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A code and what exactly happened, for people.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Problem {
        let retry_after_seconds = matches!(
            code,
            Code::RateLimited | Code::Overloaded | Code::Unavailable | Code::OutcomeUnknown
        )
        .then_some(1);
        Problem(Box::new(Inner {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            seat_ids: Vec::new(),
            mend_seat_ids: Vec::new(),
            sections: Vec::new(),
            quotas: Vec::new(),
            at: None,
            retry_after_seconds,
            headers: Vec::new(),
        }))
    }

    /// There is no such thing, or it is not the caller's to see.
    #[must_use]
    pub fn not_found(what: &'static str) -> Problem {
        Problem::new(Code::NotFound, what)
    }

    /// One field is wrong.
    #[must_use]
    pub fn field(pointer: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem::fields(vec![FieldError { pointer: pointer.into(), detail: detail.into() }])
    }

    /// These fields are wrong.
    #[must_use]
    pub fn fields(errors: Vec<FieldError>) -> Problem {
        let detail = match errors.as_slice() {
            [only] if only.pointer.is_empty() => only.detail.clone(),
            [first, ..] => format!("{}: {}", first.pointer, first.detail).into(),
            [] => "the request is not valid".into(),
        };
        let mut problem = Problem::new(Code::InvalidRequest, detail);
        problem.0.errors = errors;
        problem
    }

    /// With the conflicting seats.
    #[must_use]
    pub fn with_seat_ids(mut self, seat_ids: Vec<String>) -> Problem {
        self.0.seat_ids = seat_ids;
        self
    }

    /// With the seats to take instead.
    #[must_use]
    pub fn with_mend(mut self, seat_ids: Vec<String>) -> Problem {
        self.0.mend_seat_ids = seat_ids;
        self
    }

    /// With the areas of which more is taken than asked for leaves.
    #[must_use]
    pub fn with_sections(mut self, sections: Vec<SectionTaken>) -> Problem {
        self.0.sections = sections;
        self
    }

    /// With the faults of the fields.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Problem {
        self.0.errors = errors;
        self
    }

    /// With another pause before the next attempt.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u64) -> Problem {
        self.0.retry_after_seconds = Some(seconds.max(1));
        self
    }

    /// With one more header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.0.headers.push((name, value));
        self
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What exactly happened.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self.0.code {
            Code::Internal => INTERNAL,
            // What the log has instead names nodes and addresses.
            Code::Unavailable => UNAVAILABLE,
            _ => &self.0.detail,
        }
    }

    /// The faults of the fields.
    #[must_use]
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// `onsale_at` or `held_may_return_at`, where there is one.
    #[must_use]
    pub fn at(&self) -> Option<(&'static str, u64)> {
        self.0.at
    }

    /// The conflicting seats.
    #[must_use]
    pub fn seat_ids(&self) -> &[String] {
        &self.0.seat_ids
    }

    /// The document, as it is sent.
    #[must_use]
    pub fn to_json(&self, request_id: &str) -> Vec<u8> {
        let inner = &*self.0;
        let code = inner.code;
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(b"{\"type\":\"/problems/");
        out.extend_from_slice(code.as_str().as_bytes());
        out.extend_from_slice(b"\",\"title\":");
        write_text(&mut out, code.title());
        out.extend_from_slice(b",\"status\":");
        out.extend_from_slice(code.http_status().to_string().as_bytes());
        out.extend_from_slice(b",\"detail\":");
        write_text(&mut out, self.detail());
        out.extend_from_slice(b",\"code\":\"");
        out.extend_from_slice(code.as_str().as_bytes());
        out.extend_from_slice(b"\",\"retryable\":");
        out.extend_from_slice(if code.retryable() { b"true" } else { b"false" });
        out.extend_from_slice(b",\"request_id\":");
        write_text(&mut out, request_id);
        for (name, seats) in
            [("seat_ids", &inner.seat_ids), ("mend_seat_ids", &inner.mend_seat_ids)]
        {
            if seats.is_empty() {
                continue;
            }
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            for (place, seat) in seats.iter().enumerate() {
                out.push(if place > 0 { b',' } else { b'[' });
                write_text(&mut out, seat);
            }
            out.push(b']');
        }
        if !inner.sections.is_empty() {
            out.extend_from_slice(b",\"sections\":");
            // Writing numbers and texts to a vector cannot fail.
            let _ = serde_json::to_writer(&mut out, &inner.sections);
        }
        if !inner.quotas.is_empty() {
            out.extend_from_slice(b",\"quotas\":");
            let _ = serde_json::to_writer(&mut out, &inner.quotas);
        }
        if let Some((name, at)) = inner.at {
            out.extend_from_slice(format!(",\"{name}\":\"{}\"", time::to_rfc3339(at)).as_bytes());
        }
        if !inner.errors.is_empty() {
            out.extend_from_slice(b",\"errors\":[");
            for (place, error) in inner.errors.iter().enumerate() {
                out.extend_from_slice(if place > 0 { b",{\"pointer\":" } else { b"{\"pointer\":" });
                write_text(&mut out, &error.pointer);
                out.extend_from_slice(b",\"detail\":");
                write_text(&mut out, &error.detail);
                out.push(b'}');
            }
            out.push(b']');
        }
        out.push(b'}');
        out
    }

    /// The answer; `request_id` goes into the document.
    #[must_use]
    pub fn to_reply(&self, request_id: &str) -> Reply {
        let body = Body::Ready(Bytes::from(self.to_json(request_id)));
        let mut reply = Response::new(body);
        self.dress(&mut reply);
        reply.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
        reply
    }

    /// Puts status and headers of the problem on an answer of another form.
    pub(crate) fn dress(&self, reply: &mut Reply) {
        let inner = &*self.0;
        *reply.status_mut() = StatusCode::from_u16(inner.code.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = reply.headers_mut();
        if let Some(seconds) = inner.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, number_value(seconds));
        }
        if inner.code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
        for (name, value) in &inner.headers {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// Writes what nobody outside may see to the log.
    pub(crate) fn log(&self, request_id: &str, route: &str) {
        let inner = &*self.0;
        match inner.code {
            Code::Internal => {
                tracing::error!(request_id, route, detail = %inner.detail, "internal");
            }
            Code::Unavailable | Code::Overloaded | Code::OutcomeUnknown => {
                let (code, detail) = (inner.code, &inner.detail);
                tracing::debug!(request_id, route, %code, %detail, "refused");
            }
            _ => {}
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        let code = failure.code;
        let quotas = failure.quotas().iter();
        let quotas = quotas.map(|it| QuotaTaken { key: it.key.clone(), taken: it.taken }).collect();
        let mut problem = Problem::new(code, failure.detail);
        if !failure.field.is_empty() {
            problem.0.errors.push(FieldError {
                pointer: format!("/{}", failure.field.trim_start_matches('/')),
                detail: problem.0.detail.clone(),
            });
        }
        problem.0.quotas = quotas;
        problem.0.at = failure.at_ms.and_then(|at| {
            let name = match code {
                Code::NotOnSale => "onsale_at",
                Code::SoldOut | Code::NotEnoughTogether => "held_may_return_at",
                _ => return None,
            };
            Some((name, at))
        });
        problem
    }
}

impl From<getrandom::Error> for Problem {
    fn from(error: getrandom::Error) -> Problem {
        Problem::new(Code::Internal, format!("no randomness: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_makes_a_whole_problem_document() {
        for code in Code::ALL {
            let reply = Problem::new(*code, "a \"detail\"").to_reply("req_1");
            assert_eq!(reply.status().as_u16(), code.http_status());
            assert_eq!(reply.headers()[header::CONTENT_TYPE], "application/problem+json");
            let text = Problem::new(*code, "a \"detail\"").to_json("req_1");
            let value: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            assert_eq!(value["code"], code.as_str());
            assert_eq!(value["status"], code.http_status());
            assert_eq!(value["retryable"], code.retryable());
            assert_eq!(value["request_id"], "req_1");
            assert_eq!(value["title"], code.title());
            assert_eq!(value["type"], format!("/problems/{code}"));
            assert!(value["detail"].is_string());
        }
    }

    #[test]
    fn details_of_our_own_faults_stay_inside() {
        for code in [Code::Internal, Code::Unavailable] {
            let problem = Problem::new(code, "tcp connect error: password of 10.0.0.7");
            let text = String::from_utf8(problem.to_json("req_1")).expect("UTF-8");
            assert!(!text.contains("password") && !text.contains("tcp"), "{text}");
        }
    }

    #[test]
    fn a_failure_keeps_its_time_field_and_pause() {
        let mut failure = Failure::new(Code::SoldOut, "none left");
        failure.at_ms = Some(1_000);
        let problem = Problem::from(failure);
        assert_eq!(problem.at(), Some(("held_may_return_at", 1_000)));
        let problem = Problem::from(Failure::invalid("items/0/quantity", "too many"));
        assert_eq!(problem.errors()[0].pointer, "/items/0/quantity");
        let reply = Problem::new(Code::Overloaded, "full").to_reply("req_1");
        assert_eq!(reply.headers()[header::RETRY_AFTER], "1");
    }
}
