//! Owns page tokens: where the next page begins, bound to the filters of the first one.
//!
//! A token is opaque to clients: hex of (check, starts_at, event id). Must never be trusted: it is
//! only a place in a list that anyone may read, but a broken one is refused.

use std::fmt::Write as _;

use onsale_proto::catalog::ListEventsRequest;

use crate::limits;

const CHECK_BYTES: usize = 8;
const STARTS_AT_BYTES: usize = 8;

/// The last event of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) starts_at_ms: u64,
    pub(crate) event_id: String,
}

impl Place {
    /// The token of the page behind this place, for a list with these filters.
    pub(crate) fn token(&self, filters: &ListEventsRequest) -> String {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&self.check(filters).to_be_bytes());
        bytes.extend_from_slice(&self.starts_at_ms.to_be_bytes());
        bytes.extend_from_slice(self.event_id.as_bytes());
        let mut token = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            // Writing to a String cannot fail.
            let _ = write!(token, "{byte:02x}");
        }
        token
    }

    /// The place a token means; `None` unless [`Place::token`] made it for the same filters.
    pub(crate) fn parse(token: &str, filters: &ListEventsRequest) -> Option<Place> {
        let bytes = unhex(token)?;
        let (check, rest) = bytes.split_first_chunk::<CHECK_BYTES>()?;
        let (starts_at, id) = rest.split_first_chunk::<STARTS_AT_BYTES>()?;
        let place = Place {
            starts_at_ms: u64::from_be_bytes(*starts_at),
            event_id: String::from_utf8(id.to_vec()).ok()?,
        };
        (place.check(filters) == u64::from_be_bytes(*check)).then_some(place)
    }

    fn check(&self, filters: &ListEventsRequest) -> u64 {
        let mut hash = Fnv::new();
        for text in [&filters.query, &filters.city, &filters.category, &self.event_id] {
            hash.number(text.len() as u64);
            hash.bytes(text.as_bytes());
        }
        for number in [filters.from_ms, filters.to_ms, self.starts_at_ms] {
            hash.number(number);
        }
        hash.0
    }
}

/// FNV-1a: the same on every node and in every version, which std's hasher does not promise.
struct Fnv(u64);

impl Fnv {
    fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_be_bytes());
    }
}

fn unhex(token: &str) -> Option<Vec<u8>> {
    if token.len() > limits::PAGE_TOKEN_BYTES_MAX || !token.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = token.as_bytes().chunks_exact(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(query: &str, city: &str) -> ListEventsRequest {
        ListEventsRequest {
            query: query.to_owned(),
            city: city.to_owned(),
            ..ListEventsRequest::default()
        }
    }

    #[test]
    fn a_token_is_only_good_for_its_own_filters() {
        let place = Place { starts_at_ms: 1_700_000_000_000, event_id: "evt_ü".to_owned() };
        let token = place.token(&filters("ab", "c"));
        assert_eq!(Place::parse(&token, &filters("ab", "c")), Some(place));
        assert_eq!(Place::parse(&token, &filters("a", "bc")), None);
        assert_eq!(Place::parse(&token, &filters("", "")), None);
    }

    #[test]
    fn a_token_that_was_touched_is_refused() {
        let place = Place { starts_at_ms: 5, event_id: "evt_a".to_owned() };
        let token = place.token(&filters("", ""));
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let touched = String::from_utf8(bytes).expect("hex");
            assert_eq!(Place::parse(&touched, &filters("", "")), None, "{at}");
            assert_eq!(Place::parse(&token[..at], &filters("", "")), None, "{at}");
        }
        assert_eq!(Place::parse("zz", &filters("", "")), None);
        assert_eq!(Place::parse("ü", &filters("", "")), None);
    }
}
