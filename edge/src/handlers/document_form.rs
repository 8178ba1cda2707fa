//! Owns reading the body of `POST /v1/events`: every fault at once.
//!
//! Must never let a seat map through that the shard would refuse.

use std::collections::{HashMap, HashSet};

use onsale_proto::catalog::{EventDocument, PriceCategory, Row, Section};
use serde_json::Value;

use super::document::{
    DEFAULT_RULES, label, point, read_categories, read_rules, read_waiting_room, texts,
};
use super::offer_form;
use crate::{
    json::{self, At, Faults, Object},
    limits,
    problem::Problem,
};

const FIELDS: [&str; 14] = [
    "name",
    "description",
    "category",
    "city",
    "venue",
    "starts_at",
    "onsale_at",
    "currency",
    "categories",
    "sections",
    "rules",
    "waiting_room",
    "types",
    "quotas",
];
const SECTION_FIELDS: [&str; 10] = [
    "key",
    "name",
    "category",
    "kind",
    "rows",
    "row_count",
    "seats_per_row",
    "focal_row",
    "focal_seat",
    "capacity",
];

/// Reads an event; id, revision and organizer are not in it.
pub(crate) fn read(body: &Value) -> Result<EventDocument, Problem> {
    let mut faults = Faults::default();
    let document = read_object(body, &mut faults);
    match document {
        Some(document) if faults.is_empty() => Ok(document),
        _ => Err(Problem::fields(faults.into_errors())),
    }
}

fn read_object(body: &Value, faults: &mut Faults) -> Option<EventDocument> {
    let object = Object::read(body, At::Root, &FIELDS, faults)?;
    let mut document = EventDocument { status: "on_sale".into(), ..EventDocument::default() };
    for name in ["name", "venue", "starts_at", "currency", "categories", "sections"] {
        object.need(name, faults);
    }
    texts(&object, &mut document, faults);
    document.starts_at_ms = point(&object, "starts_at", faults).unwrap_or(0);
    document.onsale_at_ms = point(&object, "onsale_at", faults).unwrap_or(0);
    if let Some(currency) = object.text("currency", 3..=3, faults) {
        if !currency.bytes().all(|letter| letter.is_ascii_uppercase()) {
            object.fault("currency", "must be an ISO 4217 code like EUR", faults);
        }
        currency.clone_into(&mut document.currency);
    }
    document.types = offer_form::read_types(&object, faults).unwrap_or_default();
    document.categories = read_categories(&object, &document.types, faults);
    document.sections = read_sections(&object, &document.categories, faults);
    document.quotas = offer_form::read_quotas(&object, &document, faults).unwrap_or_default();
    document.rules = Some(read_rules(&object, DEFAULT_RULES, faults));
    document.waiting_room = read_waiting_room(&object, faults);
    Some(document)
}

fn read_sections(
    object: &Object<'_>,
    categories: &[PriceCategory],
    faults: &mut Faults,
) -> Vec<Section> {
    let values = object.list("sections", 1..=limits::EVENT_SECTIONS_MAX, faults);
    let categories: HashMap<&str, u32> =
        categories.iter().map(|category| category.key.as_str()).zip(0..).collect();
    let list = At::Field(&object.at, "sections");
    let mut seats = 0_u64;
    let mut names = HashSet::new();
    let mut sections = Vec::new();
    for (place, value) in values.unwrap_or_default().iter().enumerate() {
        let at = At::Index(&list, place);
        let Some(form) = Object::read(value, at, &SECTION_FIELDS, faults) else {
            continue;
        };
        let Some(section) = read_section(&form, &categories, faults) else {
            continue;
        };
        if !names.insert(section.key.clone()) {
            form.fault("key", "is another section's", faults);
        }
        let rows = section.rows.iter();
        if rows.map(|row| format!("{}-{}", section.key, row.label)).any(|row| !names.insert(row)) {
            form.fault("rows", "have a name twice", faults);
        }
        seats += u64::from(section.capacity);
        seats += section.rows.iter().map(|row| u64::from(row.seats)).sum::<u64>();
        sections.push(section);
    }
    if seats > limits::EVENT_SEATS_MAX {
        faults.add(&list, format!("have {seats} places, at most {}", limits::EVENT_SEATS_MAX));
    }
    sections
}

fn read_section(
    form: &Object<'_>,
    categories: &HashMap<&str, u32>,
    faults: &mut Faults,
) -> Option<Section> {
    let key = label(form, "key", faults);
    let name = form.text("name", 1..=limits::EVENT_NAME_CHARS_MAX, faults);
    let category = form.need_text("category", 1..=limits::LABEL_CHARS_MAX, faults);
    let category = category.and_then(|key| {
        let found = categories.get(key).copied();
        if found.is_none() {
            form.fault("category", "is not one of the categories", faults);
        }
        found
    });
    let kind = form.text("kind", 1..=32, faults);
    let (rows, capacity) = match kind {
        Some("general_admission") => (Vec::new(), read_capacity(form, faults)),
        None | Some("seated") => {
            if form.get("capacity").is_some() {
                form.fault("capacity", "is for general_admission", faults);
            }
            (read_rows(form, faults), 0)
        }
        Some(_) => {
            form.fault("kind", "must be seated or general_admission", faults);
            return None;
        }
    };
    let (focal_row, focal_seat) = read_focal_point(form, &rows, faults);
    let key = key?;
    Some(Section {
        key: key.to_owned(),
        name: name.unwrap_or(key).to_owned(),
        category: category?,
        rows,
        capacity,
        focal_row,
        focal_seat,
    })
}

/// A row and a seat of it, from 1; 0 is the front row and the middle of a row.
fn read_focal_point(form: &Object<'_>, rows: &[Row], faults: &mut Faults) -> (u32, u32) {
    let row = form.integer("focal_row", 1..=limits::SECTION_ROWS_MAX as u64, faults);
    let seat = form.integer("focal_seat", 1..=limits::ROW_SEATS_MAX, faults);
    let narrow = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok());
    let (row, seat) = (narrow(row).unwrap_or(0), narrow(seat).unwrap_or(0));
    match rows.get(row.max(1) as usize - 1) {
        None if rows.is_empty() => {}
        None => form.fault("focal_row", "is not one of the rows", faults),
        Some(focal) if seat > focal.seats => {
            form.fault("focal_seat", "is not in the focal row", faults);
        }
        Some(_) => {}
    }
    (row, seat)
}

fn read_capacity(form: &Object<'_>, faults: &mut Faults) -> u32 {
    for name in ["rows", "row_count", "seats_per_row", "focal_row", "focal_seat"] {
        if form.get(name).is_some() {
            form.fault(name, "is for seated sections", faults);
        }
    }
    let capacity = form.need_integer("capacity", 1..=limits::EVENT_SEATS_MAX, faults);
    u32::try_from(capacity.unwrap_or(0)).unwrap_or(0)
}

fn read_rows(form: &Object<'_>, faults: &mut Faults) -> Vec<Row> {
    let regular = form.get("row_count").is_some() || form.get("seats_per_row").is_some();
    match (form.get("rows").is_some(), regular) {
        (true, true) => {
            form.fault("rows", "cannot stand beside row_count and seats_per_row", faults);
            Vec::new()
        }
        (false, false) => {
            form.fault("rows", "is required, or row_count and seats_per_row", faults);
            Vec::new()
        }
        (false, true) => {
            let most = limits::SECTION_ROWS_MAX as u64;
            let count = form.need_integer("row_count", 1..=most, faults);
            let seats = form.need_integer("seats_per_row", 1..=limits::ROW_SEATS_MAX, faults);
            let (Some(count), Some(seats)) = (count, seats) else {
                return Vec::new();
            };
            if count * seats > limits::EVENT_SEATS_MAX {
                form.fault("row_count", "makes too many seats", faults);
                return Vec::new();
            }
            let row = |place| Row {
                label: row_label(place),
                seats: u32::try_from(seats).unwrap_or(0),
                accessible: Vec::new(),
                companion: Vec::new(),
            };
            (0..count).map(row).collect()
        }
        (true, false) => {
            let values = form.list("rows", 1..=limits::SECTION_ROWS_MAX, faults);
            let list = At::Field(&form.at, "rows");
            let read = |(place, value)| read_row(value, At::Index(&list, place), faults);
            values.unwrap_or_default().iter().enumerate().filter_map(read).collect()
        }
    }
}

fn read_row(value: &Value, at: At<'_>, faults: &mut Faults) -> Option<Row> {
    let form = Object::read(value, at, &["label", "seats", "accessible", "companion"], faults)?;
    let name = label(&form, "label", faults);
    let seats = form.need_integer("seats", 1..=limits::ROW_SEATS_MAX, faults);
    let accessible = read_numbers(&form, "accessible", seats, faults);
    let companion = read_numbers(&form, "companion", seats, faults);
    if companion.iter().any(|number| accessible.binary_search(number).is_ok()) {
        form.fault("companion", "must not name accessible seats", faults);
    }
    let (label, seats) = (name?.to_owned(), u32::try_from(seats?).ok()?);
    Some(Row { label, seats, accessible, companion })
}

/// Numbers of seats of a row, ascending.
fn read_numbers(
    form: &Object<'_>,
    name: &str,
    seats: Option<u64>,
    faults: &mut Faults,
) -> Vec<u32> {
    let most = usize::try_from(limits::ROW_SEATS_MAX).unwrap_or(usize::MAX);
    let list = At::Field(&form.at, name);
    let mut numbers = Vec::new();
    let values = form.list(name, 0..=most, faults).unwrap_or_default();
    for (place, number) in values.iter().enumerate() {
        let at = At::Index(&list, place);
        if let Some(number) = json::integer(number, &at, 1..=seats.unwrap_or(1), faults) {
            numbers.push(u32::try_from(number).unwrap_or(0));
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// A, B, … Z, AA, AB, …
fn row_label(mut place: u64) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(b'A' + u8::try_from(place % 26).unwrap_or(0));
        if place < 26 {
            break;
        }
        place = place / 26 - 1;
    }
    letters.reverse();
    letters.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body() -> Value {
        json!({
            "name": "Test", "venue": "Hall", "starts_at": "2027-01-01T19:00:00Z", "currency": "EUR",
            "categories": [{"key": "A", "name": "Front", "price_minor": 9500}],
            "sections": [
                {"key": "101", "category": "A", "rows": [
                    {"label": "A", "seats": 20, "accessible": [2, 1], "companion": [3]}]},
                {"key": "102", "category": "A", "row_count": 28, "seats_per_row": 4},
                {"key": "FLOOR", "kind": "general_admission", "capacity": 2000, "category": "A"},
            ],
        })
    }

    /// With types `a` and `c`, early prices and a quota.
    fn offer() -> Value {
        let mut body = body();
        body["types"] = json!([{"key": "a"}, {"key": "c", "name": "Kid"}]);
        body["categories"][0]["prices"] = json!([{"type": "c", "price_minor": 500,
            "tiers": [{"price_minor": 100, "count": 3}]}]);
        body["categories"][0]["tiers"] =
            json!([{"price_minor": 8000, "until": "2026-12-01T00:00:00Z"}]);
        body["quotas"] = json!([{"key": "q", "size": 7, "sections": ["FLOOR", "101"],
            "categories": ["A"], "types": ["c"]}]);
        body
    }

    #[test]
    fn all_three_kinds_of_sections_are_read() {
        let document = read(&body()).expect("good");
        assert_eq!(document.sections[0].rows[0].accessible, [1, 2]);
        assert_eq!(document.sections[0].rows[0].companion, [3]);
        let mut focused = body();
        focused["sections"][1]["focal_row"] = json!(28);
        focused["sections"][1]["focal_seat"] = json!(4);
        let focused = read(&focused).expect("good");
        assert_eq!((focused.sections[1].focal_row, focused.sections[1].focal_seat), (28, 4));
        let labels: Vec<&str> =
            document.sections[1].rows.iter().map(|row| row.label.as_str()).collect();
        assert_eq!((labels[0], labels[25], labels[26], labels[27]), ("A", "Z", "AA", "AB"));
        assert_eq!(document.sections[2].capacity, 2000);
        assert_eq!(document.rules, Some(DEFAULT_RULES));
        assert_eq!(row_label(701), "ZZ");
        assert_eq!(row_label(702), "AAA");
    }

    #[test]
    fn types_early_prices_and_quotas_are_read() {
        let document = read(&offer()).expect("good");
        let category = &document.categories[0];
        assert_eq!((document.types[1].key.as_str(), document.types[1].name.as_str()), ("c", "Kid"));
        assert_eq!((category.prices[0].r#type, category.prices[0].price_minor), (1, 500));
        assert_eq!(category.prices[0].tiers[0].count, Some(3));
        assert_eq!(category.tiers[0].until_ms, Some(1_796_083_200_000));
        let quota = &document.quotas[0];
        assert_eq!((quota.size, quota.sections.as_slice()), (7, &[0, 2][..]));
        assert_eq!((quota.categories.as_slice(), quota.types.as_slice()), (&[0][..], &[1][..]));
    }

    #[test]
    fn what_is_wrong_with_an_offer_is_named() {
        for (pointer, value) in [
            ("/types", json!({})),
            ("/types/1/key", json!("a")),
            ("/types/1/key", json!("x y")),
            ("/types/1/name", json!("")),
            ("/categories/0/prices/0/type", json!("z")),
            ("/categories/0/prices/0/price_minor", json!(-1)),
            ("/categories/0/prices/0/tiers/0/count", json!(0)),
            ("/categories/0/prices/0/tiers/0", json!({"price_minor": 1})),
            ("/categories/0/tiers", json!(1)),
            ("/categories/0/tiers/0/until", json!("soon")),
            ("/quotas/0/size", json!(-1)),
            ("/quotas/0/key", json!(1)),
            ("/quotas/0/sections/1", json!("Z")),
            ("/quotas/0/sections", json!([])),
            ("/quotas/0/types/0", json!("adult")),
            ("/quotas/0/categories/0", json!(5)),
        ] {
            let mut body = offer();
            *body.pointer_mut(pointer).expect(pointer) = value.clone();
            let problem = read(&body).expect_err(pointer);
            assert_eq!(problem.errors()[0].pointer, pointer, "{value}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (pointer, value) in [
            ("/name", json!("")),
            ("/name", json!(1)),
            ("/name", json!("x".repeat(201))),
            ("/venue", json!("a\nb")),
            ("/starts_at", json!("2027-01-01")),
            ("/currency", json!("eur")),
            ("/currency", json!("EURO")),
            ("/categories", json!([])),
            ("/categories/0/price_minor", json!(-1)),
            ("/categories/0/price_minor", json!(1.5)),
            ("/categories/0/key", json!("a b")),
            ("/sections", json!([])),
            ("/sections/0/category", json!("B")),
            ("/sections/0/key", json!("a/b")),
            ("/sections/0/rows", json!([])),
            ("/sections/0/rows/0/seats", json!(0)),
            ("/sections/0/rows/0/label", json!("")),
            ("/sections/0/rows/0/accessible/0", json!(21)),
            ("/sections/0/rows/0/companion/0", json!(21)),
            ("/sections/0/rows/0/companion", json!([2])),
            ("/sections/0/rows/0/companion", json!("3")),
            ("/sections/0/focal_row", json!(2)),
            ("/sections/0/focal_row", json!(0)),
            ("/sections/0/focal_seat", json!(21)),
            ("/sections/2/focal_row", json!(1)),
            ("/sections/1/row_count", json!(0)),
            ("/sections/1/seats_per_row", json!("x")),
            ("/sections/2/kind", json!("standing")),
            ("/sections/2/capacity", json!(0)),
            ("/sections/2/capacity", json!(200_001)),
        ] {
            let mut body = body();
            let (parent, field) = pointer.rsplit_once('/').expect(pointer);
            let parent = body.pointer_mut(parent).expect(pointer);
            match parent.as_object_mut() {
                Some(object) => drop(object.insert(field.to_owned(), value.clone())),
                None => parent[field.parse::<usize>().expect(pointer)] = value.clone(),
            }
            let problem = read(&body).expect_err(pointer);
            assert_eq!(problem.errors()[0].pointer, pointer, "{value}");
        }
    }

    #[test]
    fn faults_across_fields_are_found() {
        let mut twice = body();
        twice["sections"][1]["key"] = json!("101");
        assert_eq!(read(&twice).expect_err("twice").errors()[0].pointer, "/sections/1/key");
        let mut many = body();
        many["sections"][1]["row_count"] = json!(5_000);
        many["sections"][1]["seats_per_row"] = json!(40);
        assert_eq!(read(&many).expect_err("many").errors()[0].pointer, "/sections");
        let mut both = body();
        both["sections"][0]["row_count"] = json!(1);
        assert_eq!(read(&both).expect_err("both").errors()[0].pointer, "/sections/0/rows");
        let problem = read(&json!({})).expect_err("nothing");
        assert_eq!(problem.errors().len(), 6, "all at once: {:?}", problem.errors());
        let mut all = body();
        all["rules"] = json!({"hold_ttl": 5, "other": 1});
        all["waiting_room"] = json!({"admit_per_second": 0});
        assert_eq!(read(&all).expect_err("all").errors().len(), 4);
    }
}
