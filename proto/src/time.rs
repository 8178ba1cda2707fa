//! Owns the spelling of points in time: Unix milliseconds inside, RFC 3339 UTC outside.
//!
//! Must never decide anything by a local clock: [`now_ms`] is for proposals, logs and deadlines.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// `2026-11-23T20:14:03.250Z`, with milliseconds only where there are any.
#[must_use]
pub fn to_rfc3339(unix_ms: u64) -> String {
    i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| Timestamp::MAX.to_string(), |time| time.to_string())
}

/// Unix milliseconds of an RFC 3339 time with any offset; `None` before 1970 or for other text.
#[must_use]
pub fn from_rfc3339(text: &str) -> Option<u64> {
    let time: Timestamp = text.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

/// This machine's clock, Unix milliseconds.
#[must_use]
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_back() {
        for ms in [0, 1_700_000_000_000, 1_700_000_000_123] {
            assert_eq!(from_rfc3339(&to_rfc3339(ms)), Some(ms));
        }
        assert_eq!(from_rfc3339("2026-01-01T01:00:00+01:00"), from_rfc3339("2026-01-01T00:00:00Z"));
        assert_eq!(from_rfc3339("tomorrow"), None);
    }
}
