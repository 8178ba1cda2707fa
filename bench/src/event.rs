//! Owns what the harness reads and makes of events: their seat maps, their availability, and
//! events large enough for a load run.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    api::{Call, Client},
    audit::SeenSection,
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
    if reply.status != 200 {
        bail!("GET {path}: {} {}", reply.status, reply.text("code"));
    }
    Ok(reply.json)
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
    let mut sections = BTreeMap::new();
    for section in map["sections"].as_array().context("a seat map without sections")? {
        let key = section["key"].as_str().context("a section without key")?;
        let shown = shown["sections"].as_array().into_iter().flatten();
        let shown = shown.into_iter().find(|other| other["key"] == section["key"]);
        let shown = shown.with_context(|| format!("availability lacks section {key}"))?;
        sections.insert(key.to_owned(), seen_section(key, section, shown)?);
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
    let names = EventSeats::of_map("", &json!({"sections": [section]}));
    seen.capacity = names.len();
    for seat in 0..names.len() {
        let byte = usize::try_from(seat / 4).ok().and_then(|byte| states.get(byte));
        let byte = byte.with_context(|| format!("section {key}: seats are too short"))?;
        let state = (byte >> ((seat % 4) * 2)) & 3;
        seen.seats.extend(names.id(seat).map(|id| (id, state)));
    }
    Ok(seen)
}

/// The organizer's key of a credentials file.
///
/// # Errors
/// When the file cannot be read or has none.
pub fn organizer_key(credentials: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(credentials)
        .with_context(|| format!("{}", credentials.display()))?;
    let json: Value = serde_json::from_str(&text)
        .with_context(|| format!("{} is not JSON", credentials.display()))?;
    let key = json["organizer_key"].as_str();
    Ok(key.with_context(|| format!("{}: no organizer_key", credentials.display()))?.to_owned())
}

/// Makes events of at least so many numbered seats altogether, as few as possible, each without
/// limits that a load run would meet; their seats.
///
/// # Errors
/// When one cannot be made.
pub async fn make(
    client: &mut Client,
    organizer_key: &str,
    run: &str,
    seats: u64,
    events_min: u64,
) -> anyhow::Result<Vec<EventSeats>> {
    let events = seats.div_ceil(limits::EVENT_SEATS_MAX).max(events_min).max(1);
    let mut made = Vec::new();
    for number in 0..events {
        let body = description(run, number, seats.div_ceil(events));
        let call = Call::post("/v1/events", &format!("{run}-event-{number}"), &body)
            .with("Authorization", format!("Bearer {organizer_key}"));
        let reply = client.settle(&call, limits::INTENTION_BUDGET).await;
        let reply = reply.context("POST /v1/events: no answer")?;
        if reply.status != 201 {
            let detail = reply.text("detail");
            bail!("POST /v1/events: {} {} {detail}", reply.status, reply.text("code"));
        }
        let event_id = reply.text("event_id").to_owned();
        made.push(self::seats(client, &event_id).await?.0);
    }
    Ok(made)
}

/// Seats in the shape of [`make`], for a peer that knows no events.
pub fn like_made(seats: u64, events_min: u64) -> Vec<EventSeats> {
    let events = seats.div_ceil(limits::EVENT_SEATS_MAX).max(events_min).max(1);
    let made = (0..events).map(|number| {
        let description = description("", number, seats.div_ceil(events));
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

fn description(run: &str, number: u64, seats: u64) -> Value {
    let rows = seats.div_ceil(SEATS_PER_ROW);
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
    json!({
        "name": format!("Load {run} {number}"),
        "venue": "onsale-bench",
        "starts_at": "2030-01-01T20:00:00Z",
        "currency": "EUR",
        "categories": [{"key": "A", "name": "All", "price_minor": 5_000}],
        "sections": sections,
        "rules": {"seats_per_order_max": 8, "seats_per_buyer_max": 8, "hold_ttl": "10m"},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_event_has_the_seats_that_were_asked_for() {
        for wanted in [1, 40, 2_001, 200_000] {
            let event = description("run", 0, wanted);
            let sections = event["sections"].as_array().expect("sections");
            let seats: u64 = sections
                .iter()
                .map(|section| {
                    section["row_count"].as_u64().unwrap_or(0)
                        * section["seats_per_row"].as_u64().unwrap_or(0)
                })
                .sum();
            assert!((wanted..wanted + SEATS_PER_ROW).contains(&seats), "{wanted}: {seats}");
            let alike: u64 = like_made(wanted, 1).iter().map(EventSeats::len).sum();
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
        let state = |seat: &str| seen.seats.get(seat).copied();
        assert_eq!(
            [state("1-A-1"), state("1-A-2"), state("1-A-3"), state("1-B-1"), state("1-B-2")],
            [Some(1), Some(3), Some(0), Some(1), Some(3)]
        );
        let short = json!({"available": 0, "held": 0, "sold": 0, "killed": 0, "seats": "AA=="});
        assert!(seen_section("1", &section, &short).is_err());
    }
}
