//! Owns how long a unary call may take: what its caller said, else the contract's default.
//!
//! Must never let a call run without an end.

use std::time::Duration;

use onsale_mesh::Deadline;
use tonic::metadata::MetadataMap;

use crate::limits::UNARY_TIMEOUT_MAX;

/// What is kept back so that our own answer arrives before the caller gives up.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(20);

/// The end of a call with this metadata; `default` where the caller set none.
#[must_use]
pub fn deadline(metadata: &MetadataMap, default: Duration) -> Deadline {
    let asked = metadata.get("grpc-timeout").and_then(|value| parse(value.to_str().ok()?));
    let Some(asked) = asked else {
        return Deadline::after(default);
    };
    let asked = asked.min(UNARY_TIMEOUT_MAX);
    Deadline::after(asked - (asked / 10).min(ANSWER_TIME_MAX))
}

/// `500m`, `3S`: at most eight digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3_600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_time_is_read_and_nonsense_is_not() {
        assert_eq!(parse("500m"), Some(Duration::from_millis(500)));
        assert_eq!(parse("3S"), Some(Duration::from_secs(3)));
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for nonsense in ["", "m", "5", "-5m", "123456789m", "5x", "é"] {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_call_runs_without_an_end() {
        let mut metadata = MetadataMap::new();
        let default = Duration::from_millis(500);
        assert_eq!(deadline(&metadata, default).remaining(), default);
        metadata.insert("grpc-timeout", tonic::metadata::MetadataValue::from_static("9999H"));
        assert!(deadline(&metadata, default).remaining() <= UNARY_TIMEOUT_MAX);
    }
}
