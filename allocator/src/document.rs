//! Owns what an event's document must say before it is stored, and what of it a shard sells.
//!
//! Errors name the field as a JSON pointer into the document. Must never change what the organizer
//! wrote, but for the three fields that the control group gives: number, shard and revision.

use bytes::Bytes;
use onsale_mesh::Failure;
use onsale_proto::{Code, catalog as pb, id};
use onsale_state::{
    EventNo, SectionNo, ShardNo,
    command::{ChangeOnsale, Focus, OpenOnsale, RowSpec, Rules, SectionKind, SectionSpec},
    limits::{
        DOCUMENT_BYTES_MAX, EVENT_CATEGORIES_MAX, EVENT_SEATS_MAX, EVENT_SECTIONS_MAX,
        HOLD_SEATS_MAX, HOLD_TTL_MS_MAX, HOLD_TTL_MS_MIN, NAME_BYTES_MAX, PRICE_MINOR_MAX,
    },
};
use prost::Message as _;

use crate::limits::{
    DESCRIPTION_BYTES_MAX, EXTENSIONS_MAX, ROW_SEATS_MAX, TIME_MS_MAX, TITLE_BYTES_MAX,
};
use crate::offer;

/// The status of an event that sells.
pub const ON_SALE: &str = "on_sale";
/// The status of an event that sells no more.
pub const CANCELLED: &str = "cancelled";

/// The document in these bytes, checked.
///
/// # Errors
/// `invalid_request` with a JSON pointer to the first field that is wrong.
pub fn decode(bytes: &[u8]) -> Result<pb::EventDocument, Failure> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        let detail = format!("the document is larger than {DOCUMENT_BYTES_MAX} bytes");
        return Err(Failure::new(Code::PayloadTooLarge, detail));
    }
    let document = pb::EventDocument::decode(bytes)
        .map_err(|_| Failure::invalid("", "must be an encoded onsale.catalog.v1.EventDocument"))?;
    check(&document)?;
    Ok(document)
}

/// The document as it is published: with the fields that the control group gives.
///
/// # Errors
/// `internal` when the stored bytes are no document: they were checked before they were stored.
pub fn stamped(
    bytes: &[u8],
    event: EventNo,
    shard: ShardNo,
    revision: u64,
) -> Result<Bytes, Failure> {
    let mut document = pb::EventDocument::decode(bytes)
        .map_err(|_| Failure::new(Code::Internal, "a stored document cannot be read"))?;
    document.event_no = event;
    document.shard = u32::from(shard);
    document.revision = revision;
    Ok(document.encode_to_vec().into())
}

/// Whether a document can be sold.
///
/// # Errors
/// `invalid_request` with a JSON pointer to the first field that is wrong.
pub fn check(document: &pb::EventDocument) -> Result<(), Failure> {
    check_id(&document.event_id)?;
    text("/organizer", &document.organizer, 1, NAME_BYTES_MAX)?;
    text("/name", &document.name, 1, TITLE_BYTES_MAX)?;
    text("/description", &document.description, 0, DESCRIPTION_BYTES_MAX)?;
    text("/category", &document.category, 0, NAME_BYTES_MAX)?;
    text("/city", &document.city, 0, TITLE_BYTES_MAX)?;
    text("/venue", &document.venue, 1, TITLE_BYTES_MAX)?;
    number("/starts_at_ms", document.starts_at_ms, 1, TIME_MS_MAX)?;
    if document.onsale_at_ms > document.starts_at_ms {
        return Err(Failure::invalid("/onsale_at_ms", "must not be after starts_at_ms"));
    }
    currency(&document.currency)?;
    if ![ON_SALE, CANCELLED].contains(&document.status.as_str()) {
        return Err(Failure::invalid("/status", "must be on_sale or cancelled"));
    }
    check_categories(&document.categories)?;
    check_sections(&document.sections, document.categories.len())?;
    offer::check(document)?;
    rules(document)?;
    if document.waiting_room.as_ref().is_some_and(|room| room.enabled) {
        let remedy = "must be false: this version has no waiting room";
        return Err(Failure::invalid("/waiting_room/enabled", remedy));
    }
    Ok(())
}

/// Whether `after` may take the place of `before`: seats and categories stay.
///
/// # Errors
/// `invalid_request` with a JSON pointer to the first field that may not change.
pub fn check_change(before: &pb::EventDocument, after: &pb::EventDocument) -> Result<(), Failure> {
    if before.currency != after.currency {
        return Err(Failure::invalid("/currency", "cannot change once the event is on sale"));
    }
    if before.organizer != after.organizer {
        return Err(Failure::invalid("/organizer", "cannot change"));
    }
    let keys = |document: &pb::EventDocument| -> Vec<String> {
        document.categories.iter().map(|category| category.key.clone()).collect()
    };
    if keys(before) != keys(after) {
        let remedy = "must keep their keys and order; names and prices may change";
        return Err(Failure::invalid("/categories", remedy));
    }
    offer::check_change(before, after)?;
    if before.sections.len() != after.sections.len() {
        return Err(Failure::invalid("/sections", "must stay as they are: the seat map is fixed"));
    }
    for (at, (old, new)) in before.sections.iter().zip(&after.sections).enumerate() {
        let mut same = pb::Section { name: old.name.clone(), ..new.clone() };
        if old.rows.is_empty() {
            same.capacity = old.capacity;
        }
        if *old != same {
            let remedy = "must stay as it is, but for its name and an area's capacity";
            return Err(Failure::invalid(format!("/sections/{at}"), remedy));
        }
    }
    Ok(())
}

/// What a shard sells of a document.
///
/// # Errors
/// As [`check`].
pub fn open_onsale(document: &pb::EventDocument) -> Result<OpenOnsale, Failure> {
    check(document)?;
    Ok(OpenOnsale {
        event: document.event_no,
        event_id: document.event_id.as_str().into(),
        revision: document.revision,
        currency: currency(&document.currency)?,
        onsale_at_ms: onsale_at_ms(document),
        prices_minor: prices(document),
        offer: offer::offer(document),
        sections: section_specs(document)?,
        rules: rules(document)?,
    })
}

/// What of a document may change while a shard sells it.
///
/// # Errors
/// As [`check`].
pub fn change_onsale(document: &pb::EventDocument) -> Result<ChangeOnsale, Failure> {
    check(document)?;
    Ok(ChangeOnsale {
        event: document.event_no,
        revision: document.revision,
        onsale_at_ms: onsale_at_ms(document),
        prices_minor: prices(document),
        offer: offer::offer(document),
        rules: rules(document)?,
        capacities: capacities(document),
    })
}

/// How many places each general admission area has.
fn capacities(document: &pb::EventDocument) -> Vec<(SectionNo, u32)> {
    let areas = (0..).zip(&document.sections).filter(|(_, section)| section.rows.is_empty());
    areas.map(|(no, section)| (no, section.capacity)).collect()
}

/// The seat map's specification.
///
/// # Errors
/// As [`check`].
pub fn section_specs(document: &pb::EventDocument) -> Result<Vec<SectionSpec>, Failure> {
    let narrow = |at: usize, what: &str, value: u32| {
        u16::try_from(value)
            .map_err(|_| Failure::invalid(format!("/sections/{at}/{what}"), "is too large"))
    };
    let mut specs = Vec::with_capacity(document.sections.len());
    for (at, section) in document.sections.iter().enumerate() {
        let kind = if section.rows.is_empty() {
            SectionKind::GeneralAdmission { capacity: section.capacity }
        } else {
            let mut rows = Vec::with_capacity(section.rows.len());
            for row in &section.rows {
                let numbers = |list: &[u32]| -> Result<Vec<u16>, Failure> {
                    list.iter().map(|&no| narrow(at, "rows", no)).collect()
                };
                rows.push(RowSpec {
                    label: row.label.as_str().into(),
                    seats: narrow(at, "rows", row.seats)?,
                    accessible: numbers(&row.accessible)?,
                    companion: numbers(&row.companion)?,
                });
            }
            SectionKind::Seated { rows }
        };
        let category = narrow(at, "category", section.category)?;
        let focus = Focus {
            row: section.focal_row.max(1),
            seat: narrow(at, "focal_seat", section.focal_seat)?,
        };
        specs.push(SectionSpec { key: section.key.as_str().into(), category, kind, focus });
    }
    Ok(specs)
}

fn check_id(event_id: &str) -> Result<(), Failure> {
    let tail = event_id.strip_prefix(id::EVENT).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if tail.is_empty() || event_id.len() > NAME_BYTES_MAX || !tail.bytes().all(plain) {
        let remedy = "must be evt_ and lower-case letters, digits or _, 64 bytes in all";
        return Err(Failure::invalid("/event_id", remedy));
    }
    Ok(())
}

fn check_categories(categories: &[pb::PriceCategory]) -> Result<(), Failure> {
    count("/categories", categories.len(), EVENT_CATEGORIES_MAX)?;
    let mut keys = std::collections::HashSet::new();
    for (at, category) in categories.iter().enumerate() {
        let field = |name: &str| format!("/categories/{at}/{name}");
        text(&field("key"), &category.key, 1, NAME_BYTES_MAX)?;
        text(&field("name"), &category.name, 0, TITLE_BYTES_MAX)?;
        number(&field("price_minor"), category.price_minor, 0, PRICE_MINOR_MAX)?;
        if !keys.insert(category.key.as_str()) {
            return Err(Failure::invalid(field("key"), "must be unique in the event"));
        }
    }
    Ok(())
}

fn check_sections(sections: &[pb::Section], categories: usize) -> Result<(), Failure> {
    count("/sections", sections.len(), EVENT_SECTIONS_MAX)?;
    let mut keys = std::collections::HashSet::new();
    let mut row_names = std::collections::HashSet::new();
    let mut places = 0_u64;
    for (at, section) in sections.iter().enumerate() {
        let field = |name: &str| format!("/sections/{at}/{name}");
        text(&field("key"), &section.key, 1, NAME_BYTES_MAX)?;
        text(&field("name"), &section.name, 0, TITLE_BYTES_MAX)?;
        if !keys.insert(section.key.as_str()) {
            return Err(Failure::invalid(field("key"), "must be unique in the event"));
        }
        if section.category as usize >= categories {
            let remedy = format!("must be a place in the list of {categories} categories, from 0");
            return Err(Failure::invalid(field("category"), remedy));
        }
        if section.rows.is_empty() && (section.focal_row > 0 || section.focal_seat > 0) {
            let remedy = "must be absent where there are no rows";
            return Err(Failure::invalid(field("focal_row"), remedy));
        }
        match (section.rows.is_empty(), section.capacity) {
            (true, 0) => return Err(Failure::invalid(field("rows"), "or a capacity is required")),
            (true, capacity) => places += u64::from(capacity),
            (false, 0) => {
                places += check_rows(at, section, &mut row_names)?;
                check_focal_point(at, section)?;
            }
            (false, _) => {
                return Err(Failure::invalid(field("capacity"), "must be absent beside rows"));
            }
        }
        if places > u64::from(EVENT_SEATS_MAX) {
            let remedy = format!("must have at most {EVENT_SEATS_MAX} places in all");
            return Err(Failure::invalid("/sections", remedy));
        }
    }
    Ok(())
}

fn check_focal_point(at: usize, section: &pb::Section) -> Result<(), Failure> {
    let field = |name: &str| format!("/sections/{at}/{name}");
    let row = section.focal_row.max(1) as usize - 1;
    let Some(row) = section.rows.get(row) else {
        let remedy = format!("must be one of the {} rows, from 1", section.rows.len());
        return Err(Failure::invalid(field("focal_row"), remedy));
    };
    if section.focal_seat > row.seats {
        let remedy = format!("must be one of the focal row's {} seats, from 1", row.seats);
        return Err(Failure::invalid(field("focal_seat"), remedy));
    }
    Ok(())
}

/// The seats of a section whose rows are in order.
fn check_rows(
    at: usize,
    section: &pb::Section,
    names: &mut std::collections::HashSet<String>,
) -> Result<u64, Failure> {
    let mut seats = 0;
    for (nth, row) in section.rows.iter().enumerate() {
        let field = |name: &str| format!("/sections/{at}/rows/{nth}/{name}");
        text(&field("label"), &row.label, 1, NAME_BYTES_MAX)?;
        if !names.insert(format!("{}-{}", section.key, row.label)) {
            let remedy = "must make <section>-<row> unique in the event";
            return Err(Failure::invalid(field("label"), remedy));
        }
        number(&field("seats"), u64::from(row.seats), 1, u64::from(ROW_SEATS_MAX))?;
        for (list, numbers) in [("accessible", &row.accessible), ("companion", &row.companion)] {
            let mut last = 0;
            for (place, &no) in numbers.iter().enumerate() {
                if no <= last || no > row.seats {
                    let remedy = format!("must be ascending numbers from 1 to {}", row.seats);
                    return Err(Failure::invalid(field(&format!("{list}/{place}")), remedy));
                }
                last = no;
            }
        }
        if let Some(place) =
            row.companion.iter().position(|no| row.accessible.binary_search(no).is_ok())
        {
            let remedy = "must not be accessible: a seat is one or the other";
            return Err(Failure::invalid(field(&format!("companion/{place}")), remedy));
        }
        seats += u64::from(row.seats);
    }
    Ok(seats)
}

fn rules(document: &pb::EventDocument) -> Result<Rules, Failure> {
    let Some(rules) = document.rules else {
        return Err(Failure::invalid("/rules", "is required"));
    };
    let order_max = HOLD_SEATS_MAX as u64;
    let ttl = (u64::from(HOLD_TTL_MS_MIN), u64::from(HOLD_TTL_MS_MAX));
    let buyer_max = u64::from(u16::MAX);
    let per_order = u64::from(rules.seats_per_order_max);
    let per_buyer = u64::from(rules.seats_per_buyer_max);
    let extensions = u64::from(rules.hold_extensions_max);
    let holds = u64::from(rules.holds_per_buyer_max);
    number("/rules/hold_ttl_ms", u64::from(rules.hold_ttl_ms), ttl.0, ttl.1)?;
    Ok(Rules {
        seats_per_order_max: number("/rules/seats_per_order_max", per_order, 1, order_max)?,
        seats_per_buyer_max: number("/rules/seats_per_buyer_max", per_buyer, 0, buyer_max)?,
        hold_ttl_ms: rules.hold_ttl_ms,
        hold_extensions_max: number(
            "/rules/hold_extensions_max",
            extensions,
            0,
            u64::from(EXTENSIONS_MAX),
        )?,
        no_orphans: rules.no_orphans,
        holds_per_buyer_max: number("/rules/holds_per_buyer_max", holds, 0, buyer_max)?,
        hold_seconds_per_buyer_max: rules.hold_seconds_per_buyer_max,
    })
}

/// A cancelled event opens at the end of time.
fn onsale_at_ms(document: &pb::EventDocument) -> u64 {
    if document.status == CANCELLED { TIME_MS_MAX } else { document.onsale_at_ms }
}

fn prices(document: &pb::EventDocument) -> Vec<u64> {
    document.categories.iter().map(|category| category.price_minor).collect()
}

fn currency(text: &str) -> Result<[u8; 3], Failure> {
    match <[u8; 3]>::try_from(text.as_bytes()) {
        Ok(code) if code.iter().all(u8::is_ascii_uppercase) => Ok(code),
        _ => Err(Failure::invalid("/currency", "must be three capital letters, e.g. EUR")),
    }
}

pub(crate) fn text(field: &str, value: &str, min: usize, max: usize) -> Result<(), Failure> {
    if !(min..=max).contains(&value.len()) {
        return Err(Failure::invalid(field, format!("must have {min} to {max} bytes")));
    }
    // Line breaks are text in a description and a trap in a name.
    let breaks = field == "/description";
    if value.chars().any(|letter| letter.is_control() && !(breaks && "\r\n\t".contains(letter))) {
        return Err(Failure::invalid(field, "must not have control characters"));
    }
    Ok(())
}

pub(crate) fn number(field: &str, value: u64, min: u64, max: u64) -> Result<u16, Failure> {
    if !(min..=max).contains(&value) {
        return Err(Failure::invalid(field, format!("must be {min} to {max}")));
    }
    Ok(u16::try_from(value).unwrap_or(u16::MAX))
}

fn count(field: &str, value: usize, max: usize) -> Result<(), Failure> {
    if !(1..=max).contains(&value) {
        return Err(Failure::invalid(field, format!("must be 1 to {max}")));
    }
    Ok(())
}
