//! Owns the short way to read the commonest reserve: an event and its seats by name, straight from
//! the body's bytes.
//!
//! Must never accept what the long way refuses, nor read it otherwise: whatever is not plain is
//! left to the long way, which finds the faults.

use serde::Deserialize;

use super::{
    mix::Mix,
    wish::{Wish, Wishes},
};
use crate::limits;

/// The body without escapes and without any other field.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain<'a> {
    event_id: &'a str,
    #[serde(borrow)]
    seat_ids: Vec<&'a str>,
}

/// The wishes of a plain body; `None` for any other, good or bad.
pub(crate) fn read(body: &[u8]) -> Option<Wishes> {
    // A list of the values would do for serde.
    if !body.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let plain: Plain<'_> = serde_json::from_slice(body).ok()?;
    let seats = plain.seat_ids;
    let right = is_plain(plain.event_id, limits::EVENT_ID_CHARS_MAX)
        && (1..=limits::HOLD_SEATS_MAX).contains(&(seats.len() as u64))
        && seats.iter().all(|seat| is_plain(seat, limits::SEAT_ID_CHARS_MAX))
        && seats.iter().enumerate().all(|(place, seat)| !seats[..place].contains(seat));
    right.then(|| Wishes {
        event_id: plain.event_id.to_owned(),
        items: vec![Wish::Seats(seats.into_iter().map(str::to_owned).collect())],
        types: vec![Mix::default()],
        listed: false,
        channel: None,
        code: None,
    })
}

fn is_plain(text: &str, chars_max: usize) -> bool {
    (1..=chars_max).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    /// What the long way makes of it; `None` where it refuses.
    fn long(body: &[u8]) -> Option<Wishes> {
        Wishes::read(&json::parse(body).ok()?).ok()
    }

    #[test]
    fn the_short_way_reads_what_the_long_way_reads() {
        for body in [
            &br#"{"event_id":"evt_a","seat_ids":["101-A-1"]}"#[..],
            br#" { "seat_ids" : ["101-A-1" , "1 0-\u0041-1", "x"], "event_id":"e" } "#,
            br#"{"seat_ids":["101-A-1","101-A-2"],"event_id":"evt_a"}"#,
            br#"{"event_id":"evt_a","seat_ids":[]}"#,
            br#"{"event_id":"evt_a","seat_ids":["a","a"]}"#,
            br#"{"event_id":"","seat_ids":["a"]}"#,
            br#"{"event_id":"evt_a","seat_ids":[""]}"#,
            br#"{"event_id":"evt_a","seat_ids":["a\tb"]}"#,
            br#"{"event_id":"evt_a","seat_ids":["a"],"event_id":"evt_b"}"#,
            br#"{"event_id":"evt_a","seat_ids":["a"],"split":true}"#,
            br#"{"event_id":"evt_a","seat_ids":["a"]} x"#,
            br#"{"event_id":7,"seat_ids":["a"]}"#,
            br#"["evt_a",["a"]]"#,
            b"\xff",
            b"",
        ] {
            let text = String::from_utf8_lossy(body);
            if let Some(wishes) = read(body) {
                assert_eq!(Some(wishes), long(body), "{text}");
            }
        }
        assert!(read(br#"{"event_id":"evt_a","seat_ids":["101-A-1"]}"#).is_some());
    }

    #[test]
    fn bounds_are_those_of_the_long_way() {
        let body = |event: usize, seats: usize, chars: usize| {
            let names = (0..seats).map(|no| format!("{no:0>chars$}"));
            let seat_ids: Vec<String> = names.collect();
            serde_json::json!({ "event_id": "e".repeat(event), "seat_ids": seat_ids }).to_string()
        };
        let seats = usize::try_from(limits::HOLD_SEATS_MAX).expect("small");
        let (event, chars) = (limits::EVENT_ID_CHARS_MAX, limits::SEAT_ID_CHARS_MAX);
        let longest = body(event, seats, chars);
        assert!(read(longest.as_bytes()).is_some());
        assert_eq!(read(longest.as_bytes()), long(longest.as_bytes()));
        for (event, seats, chars) in
            [(event + 1, 1, 8), (1, seats + 1, 8), (1, 1, chars + 1), (0, 1, 8), (1, 0, 8)]
        {
            let bad = body(event, seats, chars);
            assert_eq!((read(bad.as_bytes()), long(bad.as_bytes())), (None, None), "{bad}");
        }
    }
}
