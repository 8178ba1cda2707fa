//! Owns a request as handlers see it: head, path parameters, the whole bounded body, who sent it,
//! and when it must be done.
//!
//! Must never hold more of a body than its route allows.

use std::{
    borrow::Cow,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use onsale_mesh::Deadline;
use onsale_proto::Code;
use serde_json::Value;

use crate::{auth::Staff, json, limits, problem::Problem};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Hexadecimal digits of a request's number: 2^48 of them are more than an edge ever answers.
const NUMBER_DIGITS: usize = 12;
/// Header with the token that proves a hold.
pub(crate) const HOLD_TOKEN: HeaderName = HeaderName::from_static("hold-token");
/// Header with the token that proves an order.
pub(crate) const ORDER_TOKEN: HeaderName = HeaderName::from_static("order-token");

/// Header with the secret of a channel.
pub(crate) const CHANNEL_KEY: HeaderName = HeaderName::from_static("channel-key");

/// A request, ready for its handler.
pub struct Request {
    /// Method, path, headers.
    pub parts: Parts,
    /// Values of the path's parameters, in order.
    pub params: Vec<String>,
    /// The whole body.
    pub body: Bytes,
    /// Who sent it, behind trusted proxies.
    pub address: IpAddr,
    /// When its answer is due.
    pub deadline: Deadline,
    /// Whose key it came with, on routes for staff.
    pub staff: Option<Staff>,
}

impl Request {
    /// The n-th parameter of the path.
    pub(crate) fn param(&self, place: usize) -> &str {
        self.params.get(place).map_or("", String::as_str)
    }

    /// The headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// A header's text, if it is there and is text.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// The bytes of a body that says it is JSON.
    pub(crate) fn json_body(&self) -> Result<&[u8], Problem> {
        self.content_type("application/json")?;
        Ok(&self.body)
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value, Problem> {
        json::parse(self.json_body()?).map_err(|fault| Problem::fields(vec![fault]))
    }

    /// The body as JSON, or nothing where the route needs none.
    pub(crate) fn json_if_any(&self) -> Result<Option<Value>, Problem> {
        if self.body.is_empty() {
            return Ok(None);
        }
        self.json().map(Some)
    }

    /// The fields of a form that a page of ours sent.
    pub(crate) fn form(&self) -> Result<Form, Problem> {
        self.content_type("application/x-www-form-urlencoded")?;
        self.same_site()?;
        let text = std::str::from_utf8(&self.body)
            .map_err(|_| Problem::field("", "the form is not UTF-8"))?;
        Ok(Form { fields: pairs(text)? })
    }

    /// The query's fields; other names than these are faults.
    pub(crate) fn query(&self, known: &[&str]) -> Result<Form, Problem> {
        let fields = pairs(self.parts.uri.query().unwrap_or(""))?;
        for (place, (name, _)) in fields.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(Problem::field(name.clone(), "is not a known parameter"));
            }
            if fields[..place].iter().any(|(other, _)| other == name) {
                return Err(Problem::field(name.clone(), "is given twice"));
            }
        }
        Ok(Form { fields })
    }

    /// The query's fields where others than these are passed over, because somebody else sends
    /// people here: a gateway adds its own to the link.
    pub(crate) fn query_among(&self, known: &[&str]) -> Result<Form, Problem> {
        let mut fields = pairs(self.parts.uri.query().unwrap_or(""))?;
        fields.retain(|(name, _)| known.contains(&name.as_str()));
        Ok(Form { fields })
    }

    fn content_type(&self, wanted: &str) -> Result<(), Problem> {
        let plain = match self.parts.headers.get(header::CONTENT_ENCODING) {
            Some(encoding) => encoding == "identity",
            None => true,
        };
        let right = match self.parts.headers.get(header::CONTENT_TYPE) {
            // A body without a type is read as what the route takes.
            None => wanted == "application/json",
            Some(given) => given.to_str().is_ok_and(|given| {
                let kind = given.split(';').next().unwrap_or("").trim();
                kind.eq_ignore_ascii_case(wanted)
            }),
        };
        if plain && right {
            return Ok(());
        }
        Err(Problem::new(
            Code::UnsupportedMediaType,
            format!("the body must be {wanted}, not compressed"),
        ))
    }

    /// A form must come from a page of ours: other sites cannot say so.
    fn same_site(&self) -> Result<(), Problem> {
        let headers = &self.parts.headers;
        let ours = match (headers.get("sec-fetch-site"), headers.get(header::ORIGIN)) {
            (Some(site), _) => site == "same-origin" || site == "none",
            (None, Some(origin)) => {
                let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
                let origin = origin.to_str().ok().and_then(|origin| {
                    origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"))
                });
                host.is_some() && host == origin
            }
            // Not a browser: nobody's cookies are abused.
            (None, None) => true,
        };
        if ours {
            return Ok(());
        }
        Err(Problem::new(Code::Forbidden, "the form was sent from another site"))
    }

    /// A cookie's value.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.parts
            .headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }
}

/// Names and values of a form or a query.
pub(crate) struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    /// A field's value; empty values are none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(found, value)| found == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }
}

fn pairs(text: &str) -> Result<Vec<(String, String)>, Problem> {
    if text.len() > limits::QUERY_CHARS_MAX {
        return Err(Problem::field("", "the parameters are too long"));
    }
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (decode(name, true), decode(value, true)) {
                (Some(name), Some(value)) => Ok((name.into_owned(), value.into_owned())),
                _ => Err(Problem::field("", "the parameters are not UTF-8 in percent-encoding")),
            }
        })
        .collect()
}

/// Undoes percent-encoding; none when it is broken or not UTF-8.
pub(crate) fn decode(text: &str, plus_is_space: bool) -> Option<Cow<'_, str>> {
    let spaced = plus_is_space && text.contains('+');
    if !spaced && !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                let digits = std::str::from_utf8(digits).ok()?;
                if digits.starts_with('+') {
                    return None;
                }
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = after;
            }
            b'+' if plus_is_space => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// Percent-encodes a value for a query or a path.
pub(crate) fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Gives every request an id that no other request of any edge has.
pub(crate) struct RequestIds {
    prefix: String,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Result<RequestIds, getrandom::Error> {
        let mut random = [0; 6];
        getrandom::fill(&mut random)?;
        let prefix = random.iter().map(|byte| format!("{byte:02x}"));
        let prefix = std::iter::once("req_".to_owned()).chain(prefix).collect();
        Ok(RequestIds { prefix, next: AtomicU64::new(1) })
    }

    /// The id that came with the request if it is a decent one, else a new one.
    pub(crate) fn take(&self, headers: &HeaderMap) -> HeaderValue {
        if let Some(given) = headers.get(REQUEST_ID)
            && (1..=limits::REQUEST_ID_CHARS_MAX).contains(&given.len())
            && given.as_bytes().iter().all(u8::is_ascii_graphic)
        {
            return given.clone();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut id = String::with_capacity(self.prefix.len() + NUMBER_DIGITS);
        id.push_str(&self.prefix);
        for place in (0..NUMBER_DIGITS).rev() {
            let digit = number >> (place * 4) & 15;
            id.extend(char::from_digit(u32::try_from(digit).unwrap_or(0), 16));
        }
        HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("req_"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone_or_refused() {
        assert_eq!(decode("a%20b+c", true).as_deref(), Some("a b c"));
        assert_eq!(decode("a+c", false).as_deref(), Some("a+c"));
        assert_eq!(decode("%", true), None);
        assert_eq!(decode("%zz", true), None);
        assert_eq!(decode("%+f", true), None);
        assert_eq!(decode("%ff", true), None, "not UTF-8");
        assert_eq!(decode(&encode("ä/ö?&="), false).as_deref(), Some("ä/ö?&="));
    }

    #[test]
    fn a_query_with_unknown_or_repeated_names_is_refused() {
        assert!(pairs("a=1&b=2").is_ok());
        assert!(pairs("a=%ff").is_err());
        assert!(pairs(&"a".repeat(limits::QUERY_CHARS_MAX + 1)).is_err());
    }
}
