//! Owns an event document as the edge uses it: seats by name and number, labels, and the bytes of
//! its seat map.
//!
//! Must never know what is held or sold, and never change: a new revision is a new view.

use std::{collections::HashMap, ops::Range};

use bytes::Bytes;
use http::HeaderValue;
use onsale_proto::{
    catalog::{EventDocument, Row, Section},
    time,
};
use serde::Serialize;

use crate::{
    duration,
    json::write_text,
    offer_view::{self, PriceJson, QuotaJson, TierJson, TypeJson},
};

/// An event of one revision.
pub(crate) struct EventView {
    /// As its organizer wrote it.
    pub document: EventDocument,
    rows: Vec<RowView>,
    rows_by_name: HashMap<Box<str>, usize>,
    sections_by_key: HashMap<Box<str>, u32>,
    categories_by_key: HashMap<Box<str>, u32>,
    /// The seat map's JSON.
    pub seat_map: Bytes,
    /// Names the seat map; another one where a section's name or an area's capacity is another.
    pub seat_map_etag: HeaderValue,
}

struct RowView {
    section: usize,
    row: usize,
    first_seat: u32,
    seats: u32,
}

/// A numbered seat's labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeatLabel<'a> {
    pub section: &'a str,
    pub row: &'a str,
    pub number: u32,
}

impl SeatLabel<'_> {
    /// The seat's public id.
    pub(crate) fn seat_id(&self) -> String {
        // By hand: it is made for every seat of an answer.
        [self.section, "-", self.row, "-", itoa::Buffer::new().format(self.number)].concat()
    }
}

impl EventView {
    /// The view of a document with its sections.
    pub(crate) fn new(document: EventDocument) -> EventView {
        let mut rows = Vec::new();
        let mut rows_by_name = HashMap::new();
        let mut next_seat = 0_u32;
        for (section_no, section) in document.sections.iter().enumerate() {
            for (row_no, row) in section.rows.iter().enumerate() {
                let name = format!("{}-{}", section.key, row.label).into_boxed_str();
                rows_by_name.insert(name, rows.len());
                rows.push(RowView {
                    section: section_no,
                    row: row_no,
                    first_seat: next_seat,
                    seats: row.seats,
                });
                next_seat = next_seat.saturating_add(row.seats);
            }
        }
        let seat_map = seat_map_json(&document);
        let keys = |keys: Vec<&String>| {
            (0_u32..).zip(keys).map(|(place, key)| (key.clone().into_boxed_str(), place)).collect()
        };
        EventView {
            rows,
            rows_by_name,
            sections_by_key: keys(document.sections.iter().map(|one| &one.key).collect()),
            categories_by_key: keys(document.categories.iter().map(|one| &one.key).collect()),
            seat_map_etag: HeaderValue::try_from(format!("\"map-{}\"", digest(&seat_map)))
                .unwrap_or(HeaderValue::from_static("\"map\"")),
            seat_map: Bytes::from(seat_map),
            document,
        }
    }

    /// The number of a seat by its public id.
    pub(crate) fn seat_no(&self, seat_id: &str) -> Option<u32> {
        let (row, number) = seat_id.rsplit_once('-')?;
        if number.starts_with(['0', '+']) {
            return None;
        }
        let number: u32 = number.parse().ok()?;
        let row = &self.rows[*self.rows_by_name.get(row)?];
        (number <= row.seats).then(|| row.first_seat + number - 1)
    }

    /// A seat's labels by its number.
    pub(crate) fn label(&self, seat: u32) -> Option<SeatLabel<'_>> {
        let place = self.rows.partition_point(|row| row.first_seat <= seat);
        let row = self.rows.get(place.checked_sub(1)?)?;
        if seat - row.first_seat >= row.seats {
            return None;
        }
        let section = self.document.sections.get(row.section)?;
        Some(SeatLabel {
            section: &section.key,
            row: &section.rows.get(row.row)?.label,
            number: seat - row.first_seat + 1,
        })
    }

    /// The seats of a section; none in general admission.
    pub(crate) fn seats_of_section(&self, section: u32) -> Option<Range<u32>> {
        let section = usize::try_from(section).ok()?;
        let first = self.rows.partition_point(|row| row.section < section);
        let end = self.rows.partition_point(|row| row.section <= section);
        let (first, last) = (self.rows[first..end].first()?, self.rows[first..end].last()?);
        Some(first.first_seat..last.first_seat + last.seats)
    }

    /// The seats of a section's row, if it has one of that label.
    pub(crate) fn seats_of_row(&self, section: u32, label: &str) -> Option<Range<u32>> {
        let name = format!("{}-{label}", self.section(section)?.key);
        let row = &self.rows[*self.rows_by_name.get(name.as_str())?];
        // Another section's row may have the same name, through a dash in a key.
        let same = u32::try_from(row.section) == Ok(section);
        same.then(|| row.first_seat..row.first_seat + row.seats)
    }

    /// Can its seat map change? Only how many places its areas have.
    pub(crate) fn has_areas(&self) -> bool {
        self.document.sections.iter().any(|section| section.rows.is_empty())
    }

    /// The public ids of seats.
    pub(crate) fn seat_ids(&self, seats: &[u32]) -> Vec<String> {
        let label = |seat: &u32| self.label(*seat).map(|label| label.seat_id());
        seats.iter().filter_map(label).collect()
    }

    /// A section's place by its key.
    pub(crate) fn section_no(&self, key: &str) -> Option<u32> {
        self.sections_by_key.get(key).copied()
    }

    /// A category's place by its key.
    pub(crate) fn category_no(&self, key: &str) -> Option<u32> {
        self.categories_by_key.get(key).copied()
    }

    /// A section by its place.
    pub(crate) fn section(&self, place: u32) -> Option<&Section> {
        self.document.sections.get(usize::try_from(place).ok()?)
    }

    /// A category's key by its place.
    pub(crate) fn category_key(&self, place: u32) -> &str {
        usize::try_from(place)
            .ok()
            .and_then(|place| self.document.categories.get(place))
            .map_or("", |category| category.key.as_str())
    }
}

/// Tells seat maps apart (FNV-1a): a tag, no secret.
fn digest(bytes: &[u8]) -> String {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

#[derive(Serialize)]
struct CategoryJson<'a> {
    key: &'a str,
    name: &'a str,
    price_minor: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prices: Vec<PriceJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tiers: Vec<TierJson>,
}

#[derive(Serialize)]
struct RulesJson {
    seats_per_order_max: u32,
    seats_per_buyer_max: u32,
    hold_ttl: String,
    hold_extensions_max: u32,
    no_orphans: bool,
    holds_per_buyer_max: u32,
    hold_seconds_per_buyer_max: u32,
}

#[derive(Serialize)]
struct WaitingRoomJson {
    enabled: bool,
    admit_per_second: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    draw_at: Option<String>,
}

/// An event as everybody sees it.
#[derive(Serialize)]
pub(crate) struct EventJson<'a> {
    event_id: &'a str,
    shard: u32,
    name: &'a str,
    description: &'a str,
    category: &'a str,
    city: &'a str,
    venue: &'a str,
    starts_at: String,
    onsale_at: String,
    currency: &'a str,
    status: &'static str,
    categories: Vec<CategoryJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    types: Vec<TypeJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    quotas: Vec<QuotaJson<'a>>,
    rules: RulesJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_room: Option<WaitingRoomJson>,
    price_from_minor: u64,
}

/// What readers see of an event's life. `left` is what is neither sold nor withdrawn, if known.
pub(crate) fn status(document: &EventDocument, left: Option<u64>, now_ms: u64) -> &'static str {
    if document.status == "cancelled" {
        "cancelled"
    } else if now_ms < document.onsale_at_ms {
        "announced"
    } else if left == Some(0) {
        "sold_out"
    } else {
        "on_sale"
    }
}

impl<'a> EventJson<'a> {
    pub(crate) fn new(document: &'a EventDocument, status: &'static str) -> EventJson<'a> {
        let rules = document.rules.unwrap_or_default();
        let category = |one: &'a onsale_proto::catalog::PriceCategory| CategoryJson {
            key: &one.key,
            name: &one.name,
            price_minor: one.price_minor,
            prices: offer_view::prices(document, one),
            tiers: offer_view::tiers(&one.tiers),
        };
        EventJson {
            event_id: &document.event_id,
            shard: document.shard,
            name: &document.name,
            description: &document.description,
            category: &document.category,
            city: &document.city,
            venue: &document.venue,
            starts_at: time::to_rfc3339(document.starts_at_ms),
            onsale_at: time::to_rfc3339(document.onsale_at_ms),
            currency: &document.currency,
            status,
            categories: document.categories.iter().map(category).collect(),
            types: offer_view::types(document),
            quotas: offer_view::quotas(document),
            rules: RulesJson {
                seats_per_order_max: rules.seats_per_order_max,
                seats_per_buyer_max: rules.seats_per_buyer_max,
                hold_ttl: duration::format(rules.hold_ttl_ms.into()),
                hold_extensions_max: rules.hold_extensions_max,
                no_orphans: rules.no_orphans,
                holds_per_buyer_max: rules.holds_per_buyer_max,
                hold_seconds_per_buyer_max: rules.hold_seconds_per_buyer_max,
            },
            waiting_room: document.waiting_room.map(|room| WaitingRoomJson {
                enabled: room.enabled,
                admit_per_second: room.admit_per_second,
                draw_at: (room.draw_at_ms > 0).then(|| time::to_rfc3339(room.draw_at_ms)),
            }),
            price_from_minor: offer_view::price_from(document),
        }
    }
}

/// How much room stands between two sections, in seats.
const SECTION_GAP: u32 = 3;

fn seat_map_json(document: &EventDocument) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + document.sections.len() * 1_024);
    out.extend_from_slice(b"{\"event_id\":");
    write_text(&mut out, &document.event_id);
    out.extend_from_slice(b",\"sections\":[");
    let columns = columns(document.sections.len());
    let width = document.sections.iter().map(section_width).max().unwrap_or(1);
    let height = document.sections.iter().map(section_height).max().unwrap_or(1);
    for (place, section) in (0_u32..).zip(&document.sections) {
        if place > 0 {
            out.push(b',');
        }
        let x = (place % columns) * (width + SECTION_GAP);
        let y = (place / columns) * (height + SECTION_GAP);
        section_json(&mut out, document, section, (x, y));
    }
    out.extend_from_slice(b"]}");
    out
}

fn section_json(out: &mut Vec<u8>, document: &EventDocument, section: &Section, at: (u32, u32)) {
    let category = usize::try_from(section.category)
        .ok()
        .and_then(|place| document.categories.get(place))
        .map_or("", |category| category.key.as_str());
    out.extend_from_slice(b"{\"key\":");
    write_text(out, &section.key);
    out.extend_from_slice(b",\"name\":");
    write_text(out, &section.name);
    out.extend_from_slice(b",\"category\":");
    write_text(out, category);
    let (x, y) = at;
    let (width, height) = (section_width(section), section_height(section));
    let frame = format!(",\"x\":{x},\"y\":{y},\"width\":{width},\"height\":{height}");
    if section.rows.is_empty() {
        let capacity = section.capacity;
        let kind = ",\"kind\":\"general_admission\",\"capacity\":";
        out.extend_from_slice(format!("{kind}{capacity}{frame}}}").as_bytes());
        return;
    }
    out.extend_from_slice(b",\"kind\":\"seated\"");
    out.extend_from_slice(frame.as_bytes());
    out.extend_from_slice(b",\"rows\":[");
    for (place, row) in (0_u32..).zip(&section.rows) {
        if place > 0 {
            out.push(b',');
        }
        row_json(out, row, width, place);
    }
    out.extend_from_slice(b"]}");
}

/// A row stands in the middle of its section; its seats are one apart.
fn row_json(out: &mut Vec<u8>, row: &Row, width: u32, place: u32) {
    out.extend_from_slice(b"{\"label\":");
    write_text(out, &row.label);
    let x = width.saturating_sub(row.seats) / 2;
    let seats = row.seats;
    out.extend_from_slice(format!(",\"seats\":{seats},\"x\":{x},\"y\":{place}").as_bytes());
    for (name, numbers) in [("accessible", &row.accessible), ("companion", &row.companion)] {
        if !numbers.is_empty() {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            // Writing numbers to a vector cannot fail.
            let _ = serde_json::to_writer(&mut *out, numbers);
        }
    }
    out.push(b'}');
}

fn columns(sections: usize) -> u32 {
    (1_u32..).find(|columns| (*columns as usize).pow(2) >= sections).unwrap_or(1)
}

fn section_width(section: &Section) -> u32 {
    let widest = section.rows.iter().map(|row| row.seats).max();
    widest.unwrap_or(40).max(1)
}

fn section_height(section: &Section) -> u32 {
    match section.rows.len() {
        0 => 20,
        rows => u32::try_from(rows).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use onsale_proto::catalog::{PriceCategory, Rules};

    use super::*;

    pub(crate) fn document() -> EventDocument {
        let row = |label: &str, seats, accessible: &[u32]| Row {
            label: label.into(),
            seats,
            accessible: accessible.to_vec(),
            companion: Vec::new(),
        };
        let section = |key: &str, category, rows, capacity| Section {
            key: key.into(),
            name: key.into(),
            category,
            rows,
            capacity,
            ..Section::default()
        };
        let category = |key: &str, price_minor| PriceCategory {
            key: key.into(),
            name: key.into(),
            price_minor,
            ..PriceCategory::default()
        };
        EventDocument {
            event_id: "evt_test".into(),
            event_no: 7,
            shard: 1,
            revision: 1,
            organizer: "org_1".into(),
            name: "Test".into(),
            currency: "EUR".into(),
            status: "on_sale".into(),
            categories: vec![category("A", 9_500), category("GA", 4_000)],
            sections: vec![
                section("101", 0, vec![row("A", 3, &[1]), row("B", 5, &[])], 0),
                section("FLOOR", 1, vec![], 50),
                section("102", 0, vec![row("A", 4, &[])], 0),
            ],
            rules: Some(Rules {
                seats_per_order_max: 8,
                seats_per_buyer_max: 8,
                hold_ttl_ms: 600_000,
                hold_extensions_max: 1,
                ..Rules::default()
            }),
            ..EventDocument::default()
        }
    }

    #[test]
    fn every_seat_is_found_by_its_name_and_named_by_its_number() {
        let view = EventView::new(document());
        let names: Vec<String> =
            (0..12).map(|seat| view.label(seat).expect("a seat").seat_id()).collect();
        assert_eq!(names[0], "101-A-1");
        assert_eq!(names[3], "101-B-1");
        assert_eq!(names[8], "102-A-1");
        for (seat, name) in (0_u32..).zip(&names) {
            assert_eq!(view.seat_no(name), Some(seat));
        }
        assert_eq!(view.label(12), None);
        for bad in ["101-A-0", "101-A-4", "101-A-01", "101-A-+1", "101-A", "x", "FLOOR-A-1"] {
            assert_eq!(view.seat_no(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_seat_map_says_what_the_document_says() {
        let view = EventView::new(document());
        let map: serde_json::Value = serde_json::from_slice(&view.seat_map).expect("JSON");
        assert_eq!(map["sections"][0]["kind"], "seated");
        assert_eq!(map["sections"][0]["rows"][0]["accessible"][0], 1);
        assert!(map["sections"][0]["rows"][0].get("companion").is_none());
        let mut accompanied = document();
        accompanied.sections[0].rows[1].companion = vec![2, 4];
        let view = EventView::new(accompanied);
        let map: serde_json::Value = serde_json::from_slice(&view.seat_map).expect("JSON");
        assert_eq!(map["sections"][0]["rows"][1]["companion"], serde_json::json!([2, 4]));
        assert_eq!(map["sections"][0]["rows"][1]["seats"], 5);
        assert_eq!(map["sections"][1]["kind"], "general_admission");
        assert_eq!(map["sections"][1]["capacity"], 50);
        assert!(map["sections"][1].get("rows").is_none());
    }

    #[test]
    fn an_event_is_announced_then_on_sale_then_sold_out() {
        let mut document = document();
        document.onsale_at_ms = 1_000;
        assert_eq!(status(&document, Some(5), 999), "announced");
        assert_eq!(status(&document, Some(5), 1_000), "on_sale");
        assert_eq!(status(&document, None, 1_000), "on_sale");
        assert_eq!(status(&document, Some(0), 1_000), "sold_out");
        document.status = "cancelled".into();
        assert_eq!(status(&document, Some(5), 999), "cancelled");
    }
}
