//! Owns what the harness reads and makes of events: their seat maps, their availability, and
//! events large enough for a load run.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    api::{Call, Client},
    audit::SeenSection,
    exit::{Exit, ended},
    limits,
    seats::EventSeats,
};

/// Shape of a made event: sections of rows of seats.
const SEATS_PER_ROW: u64 = 40;
const ROWS_PER_SECTION: u64 = 50;

/// Reads JSON that must be there.
///
/// # Errors
/// When there is no answer in time or another one than 200.
pub async fn read(client: &mut Client, path: &str) -> anyhow::Result<Value> {
    let reply = client.settle(&Call::get(path), limits::INTENTION_BUDGET).await;
    let reply = reply.with_context(|| format!("GET {path}: no answer"))?;
    match reply.status {
        200 => Ok(reply.json),
        404 => Err(ended(Exit::NotFound, format!("GET {path}: not found"))),
        status => bail!("GET {path}: {status} {}", reply.text("code")),
    }
}

/// The numbered seats of an event.
///
/// # Errors
/// When its seat map cannot be read.
pub async fn seats(client: &mut Client, event_id: &str) -> anyhow::Result<(EventSeats, Value)> {
    let map = read(client, &format!("/v1/events/{event_id}/seatmap")).await?;
    Ok((EventSeats::of_map(event_id, &map), map))
}

/// The availability of all sections, checked against the seat map.
///
/// # Errors
/// When it cannot be read or has other sections than the map.
pub async fn availability(
    client: &mut Client,
    map: &Value,
) -> anyhow::Result<BTreeMap<String, SeenSection>> {
    let event_id = map["event_id"].as_str().context("a seat map without event_id")?;
    let shown = read(client, &format!("/v1/events/{event_id}/availability")).await?;
    let (mut sections, mut first_seat) = (BTreeMap::new(), 0);
    for section in map["sections"].as_array().context("a seat map without sections")? {
        let key = section["key"].as_str().context("a section without key")?;
        let shown = shown["sections"].as_array().into_iter().flatten();
        let shown = shown.into_iter().find(|other| other["key"] == section["key"]);
        let shown = shown.with_context(|| format!("availability lacks section {key}"))?;
        let mut seen = seen_section(key, section, shown)?;
        seen.first_seat = first_seat;
        first_seat += seen.states.len() as u64;
        sections.insert(key.to_owned(), seen);
    }
    Ok(sections)
}

fn seen_section(key: &str, section: &Value, shown: &Value) -> anyhow::Result<SeenSection> {
    let count = |field: &str| {
        shown[field].as_u64().with_context(|| format!("section {key}: no count of {field}"))
    };
    let mut seen = SeenSection {
        capacity: section["capacity"].as_u64().unwrap_or(0),
        available: count("available")?,
        held: count("held")?,
        sold: count("sold")?,
        killed: count("killed")?,
        ..SeenSection::default()
    };
    if section["rows"].as_array().is_none_or(Vec::is_empty) {
        return Ok(seen);
    }
    let states = STANDARD
        .decode(shown["seats"].as_str().unwrap_or_default())
        .with_context(|| format!("section {key}: seats are not base64"))?;
    seen.capacity = EventSeats::of_map("", &json!({"sections": [section]})).len();
    for seat in 0..seen.capacity {
        let byte = usize::try_from(seat / 4).ok().and_then(|byte| states.get(byte));
        let byte = byte.with_context(|| format!("section {key}: seats are too short"))?;
        seen.states.push((byte >> ((seat % 4) * 2)) & 3);
    }
    Ok(seen)
}

/// The organizer's key of a credentials file.
///
/// # Errors
/// When the file cannot be read or has none.
pub fn organizer_key(path: &Path) -> anyhow::Result<String> {
    let key = credentials(path)?["organizer_key"].as_str().map(str::to_owned);
    key.with_context(|| format!("{}: no organizer_key", path.display()))
}

/// A credentials file.
///
/// # Errors
/// When it cannot be read or is not JSON.
pub fn credentials(path: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ended(Exit::NotFound, format!("{}: {error}", path.display())))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// Events to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Numbered seats altogether, at least.
    pub seats: u64,
    /// In so many events, at least.
    pub events_min: u64,
    /// Life of a hold.
    pub hold_ttl_seconds: u64,
    /// Seats a buyer may have; 0 is no limit.
    pub seats_per_buyer_max: u64,
    /// Buyers admitted a second by a waiting room, if there is to be one.
    pub admit_per_second: Option<u64>,
}

impl Shape {
    /// Without limits that a load run would meet.
    pub fn plain(seats: u64, events_min: u64) -> Shape {
        let hold_ttl_seconds = 600;
        Shape {
            seats,
            events_min,
            hold_ttl_seconds,
            seats_per_buyer_max: 8,
            admit_per_second: None,
        }
    }

    fn events(self) -> u64 {
        self.seats.div_ceil(limits::EVENT_SEATS_MAX).max(self.events_min).max(1)
    }
}

/// Makes events, as few as possible; their seats.
///
/// # Errors
/// When one cannot be made.
pub async fn make(
    client: &mut Client,
    organizer_key: &str,
    run: &str,
    shape: Shape,
) -> anyhow::Result<Vec<EventSeats>> {
    let mut made = Vec::new();
    for number in 0..shape.events() {
        let body = description(run, number, shape);
        let call = Call::post("/v1/events", &format!("{run}-event-{number}"), &body)
            .with("Authorization", format!("Bearer {organizer_key}"));
        let reply = client.settle(&call, limits::INTENTION_BUDGET).await;
        let reply = reply.context("POST /v1/events: no answer")?;
        if reply.status != 201 {
            let detail = reply.text("detail");
            bail!("POST /v1/events: {} {} {detail}", reply.status, reply.text("code"));
        }
        let event_id = reply.text("event_id").to_owned();
        made.push(seats(client, &event_id).await?.0);
    }
    Ok(made)
}

/// Seats in the shape of [`make`], for a peer that knows no events.
pub fn like_made(shape: Shape) -> Vec<EventSeats> {
    let made = (0..shape.events()).map(|number| {
        let description = description("", number, shape);
        let sections = description["sections"].as_array().into_iter().flatten();
        let sections: Vec<Value> = sections
            .map(|section| {
                let rows = section["row_count"].as_u64().unwrap_or(0);
                let rows: Vec<Value> = (0..rows)
                    .map(|row| json!({"label": row_label(row), "seats": SEATS_PER_ROW}))
                    .collect();
                json!({"key": section["key"], "rows": rows})
            })
            .collect();
        EventSeats::of_map(&format!("evt_{number:026}"), &json!({"sections": sections}))
    });
    made.collect()
}

/// A, B, … Z, AA, …
fn row_label(row: u64) -> String {
    let letter = |number: u64| char::from(b'A' + u8::try_from(number % 26).unwrap_or(0));
    match row / 26 {
        0 => letter(row).to_string(),
        more => format!("{}{}", letter(more - 1), letter(row)),
    }
}

/// Places held in all sections of an event.
///
/// # Errors
/// When its availability cannot be read.
pub async fn held(client: &mut Client, event_id: &str) -> anyhow::Result<u64> {
    let shown = read(client, &format!("/v1/events/{event_id}/availability")).await?;
    let sections = shown["sections"].as_array().into_iter().flatten();
    Ok(sections.filter_map(|section| section["held"].as_u64()).sum())
}

fn description(run: &str, number: u64, shape: Shape) -> Value {
    let rows = shape.seats.div_ceil(shape.events()).div_ceil(SEATS_PER_ROW);
    let sections: Vec<Value> = (0..rows.div_ceil(ROWS_PER_SECTION))
        .map(|section| {
            let left = rows - section * ROWS_PER_SECTION;
            json!({
                "key": format!("{}", 101 + section),
                "category": "A",
                "row_count": left.min(ROWS_PER_SECTION),
                "seats_per_row": SEATS_PER_ROW,
            })
        })
        .collect();
    let mut event = json!({
        "name": format!("Load {run} {number}"),
        "venue": "onsale-bench",
        "starts_at": "2030-01-01T20:00:00Z",
        "currency": "EUR",
        "categories": [{"key": "A", "name": "All", "price_minor": 5_000}],
        "sections": sections,
        "rules": {
            "seats_per_order_max": 8,
            "seats_per_buyer_max": shape.seats_per_buyer_max,
            "hold_ttl": format!("{}s", shape.hold_ttl_seconds),
        },
    });
    if let Some(rate) = shape.admit_per_second {
        event["waiting_room"] = json!({"enabled": true, "admit_per_second": rate});
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_event_has_the_seats_that_were_asked_for() {
        for wanted in [1, 40, 2_001, 200_000] {
            let event = description("run", 0, Shape::plain(wanted, 1));
            let sections = event["sections"].as_array().expect("sections");
            let seats: u64 = sections
                .iter()
                .map(|section| {
                    section["row_count"].as_u64().unwrap_or(0)
                        * section["seats_per_row"].as_u64().unwrap_or(0)
                })
                .sum();
            assert!((wanted..wanted + SEATS_PER_ROW).contains(&seats), "{wanted}: {seats}");
            let alike: u64 = like_made(Shape::plain(wanted, 1)).iter().map(EventSeats::len).sum();
            assert_eq!(alike, seats);
        }
    }

    #[test]
    fn rows_are_lettered_as_the_contract_says() {
        let labels: Vec<String> = [0, 25, 26, 27, 49].into_iter().map(row_label).collect();
        assert_eq!(labels, ["A", "Z", "AA", "AB", "AX"]);
    }

    #[test]
    fn two_bits_a_seat_are_read_in_row_order_low_bits_first() {
        let rows = json!([{"label": "A", "seats": 3}, {"label": "B", "seats": 2}]);
        let section = json!({"key": "1", "rows": rows});
        let bits = STANDARD.encode([0b01_00_11_01_u8, 0b11]);
        let shown = json!({"available": 1, "held": 1, "sold": 1, "killed": 2, "seats": bits});
        let seen = seen_section("1", &section, &shown).expect("understood");
        assert_eq!(seen.capacity, 5);
        assert_eq!(seen.states, [1, 3, 0, 1, 3]);
        let short = json!({"available": 0, "held": 0, "sold": 0, "killed": 0, "seats": "AA=="});
        assert!(seen_section("1", &section, &short).is_err());
    }
}
