//! Owns the `Idempotency-Key` header and how key and content stand in the log.
//!
//! Must never store anything: what was answered before is known by the replicated state alone.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use onsale_proto::{Code, allocator::Idempotency};

use crate::{limits, problem::Problem};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The key, where the route needs one.
pub(crate) fn required(headers: &HeaderMap) -> Result<String, Problem> {
    optional(headers)?.ok_or_else(|| {
        Problem::new(
            Code::IdempotencyKeyRequired,
            "send an Idempotency-Key header: one key per intention, the same for every attempt",
        )
    })
}

/// The key, if there is one: bare or as a quoted string.
pub(crate) fn optional(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let wrong = |detail| Problem::field("Idempotency-Key", detail);
    if values.next().is_some() {
        return Err(wrong("is given twice"));
    }
    let text = value.to_str().map_err(|_| wrong("must be visible ASCII characters"))?.trim();
    let key = match text.strip_prefix('"') {
        Some(rest) => unquote(rest).ok_or_else(|| wrong("is not a proper quoted string"))?,
        None => text.to_owned(),
    };
    check(&key).map_err(wrong)?;
    Ok(Some(key))
}

/// What a key may be, also one from a page's form.
pub(crate) fn check(key: &str) -> Result<(), &'static str> {
    if !(1..=limits::IDEMPOTENCY_KEY_CHARS_MAX).contains(&key.len()) {
        return Err("must have 1 to 255 characters");
    }
    if !key.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err("must be visible ASCII characters");
    }
    Ok(())
}

fn unquote(rest: &str) -> Option<String> {
    let inner = rest.strip_suffix('"')?;
    let mut out = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return None,
            '\\' => match letters.next()? {
                escaped @ ('"' | '\\') => out.push(escaped),
                _ => return None,
            },
            letter => out.push(letter),
        }
    }
    Some(out)
}

/// A key for a page's form.
pub(crate) fn new_key() -> Result<String, getrandom::Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// As it travels to the allocator.
pub(crate) fn message(key: u128, request: u64, buyer: u64, buyer_is_new: bool) -> Idempotency {
    Idempotency { key: Bytes::copy_from_slice(&key.to_be_bytes()), request, buyer, buyer_is_new }
}

/// A request's content in a canonical form: parts with their lengths, so that none can flow into
/// the next.
#[derive(Default)]
pub(crate) struct Canonical(Vec<u8>);

impl Canonical {
    pub(crate) fn text(&mut self, part: &str) {
        self.number(part.len() as u64);
        self.0.extend_from_slice(part.as_bytes());
    }

    pub(crate) fn optional(&mut self, part: Option<&str>) {
        match part {
            Some(part) => {
                self.0.push(1);
                self.text(part);
            }
            None => self.0.push(0),
        }
    }

    pub(crate) fn number(&mut self, part: u64) {
        self.0.extend_from_slice(&part.to_be_bytes());
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(value: &[u8]) -> Result<Option<String>, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(KEY, HeaderValue::from_bytes(value).expect("a header"));
        optional(&headers)
    }

    #[test]
    fn a_key_is_taken_bare_or_quoted() {
        assert_eq!(read(b"abc").expect("good").as_deref(), Some("abc"));
        assert_eq!(read(b"\"abc\"").expect("good").as_deref(), Some("abc"));
        assert_eq!(read(b"\"a\\\"b\"").expect("good").as_deref(), Some("a\"b"));
        let longest = "k".repeat(255);
        assert_eq!(read(longest.as_bytes()).expect("good").as_deref(), Some(longest.as_str()));
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        for bad in
            [&b""[..], b"\"\"", b"\"abc", b"\"a\"b\"", b"\xc3\xa4", "k".repeat(256).as_bytes()]
        {
            let problem = read(bad).expect_err("refused");
            assert_eq!(problem.code(), Code::InvalidRequest, "{bad:?}");
        }
        let problem = required(&HeaderMap::new()).expect_err("refused");
        assert_eq!(problem.code(), Code::IdempotencyKeyRequired);
    }

    #[test]
    fn different_contents_have_different_canonical_forms() {
        let form = |parts: &[&str]| {
            let mut canonical = Canonical::default();
            parts.iter().for_each(|part| canonical.text(part));
            canonical.bytes().to_vec()
        };
        assert_ne!(form(&["ab", "c"]), form(&["a", "bc"]));
    }
}
