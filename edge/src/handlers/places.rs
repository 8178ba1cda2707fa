//! Owns how places of a hold look outside, written by hand because it is on the hot path.
//!
//! Must never take a label from anywhere but the immutable part of the document: replays are byte
//! for byte the same.

use onsale_proto::allocator::Place;

use crate::{event_view::EventView, json::write_text, offer_view};

/// Writes the places as a JSON list; returns their total.
pub(crate) fn write(out: &mut Vec<u8>, view: &EventView, places: &[Place]) -> u64 {
    let mut total = 0_u64;
    out.push(b'[');
    for (at, place) in places.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        total = total.saturating_add(place.price_minor);
        write_place(out, view, place);
    }
    out.push(b']');
    total
}

fn write_place(out: &mut Vec<u8>, view: &EventView, place: &Place) {
    match place.seat.and_then(|seat| view.label(seat)) {
        Some(label) => {
            out.extend_from_slice(b"{\"seat_id\":");
            write_text(out, &label.seat_id());
            out.extend_from_slice(b",\"section\":");
            write_text(out, label.section);
            out.extend_from_slice(b",\"row\":");
            write_text(out, label.row);
            write_number(out, ",\"number\":", label.number.into());
        }
        None => {
            let section = view.section(place.section);
            out.extend_from_slice(b"{\"seat_id\":null,\"section\":");
            write_text(out, section.map_or("", |section| section.key.as_str()));
            out.extend_from_slice(b",\"row\":null,\"number\":null");
        }
    }
    out.extend_from_slice(b",\"category\":");
    write_text(out, view.category_key(place.category));
    if let Some(key) = offer_view::type_key(&view.document, place.ticket_type) {
        out.extend_from_slice(b",\"type\":");
        write_text(out, key);
    }
    write_number(out, ",\"price_minor\":", place.price_minor);
    out.push(b'}');
}

/// Writes a name and a number.
pub(crate) fn write_number(out: &mut Vec<u8>, name: &str, number: u64) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A place's public seat id; none in general admission.
pub(crate) fn seat_id(view: &EventView, place: &Place) -> Option<String> {
    let label = place.seat.and_then(|seat| view.label(seat));
    label.map(|label| label.seat_id())
}
