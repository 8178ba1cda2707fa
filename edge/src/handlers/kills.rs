//! Owns what an organizer withdraws from sale and returns: seats, rows, whole sections, and so many
//! places of general admission.
//!
//! Must never touch another organizer's event. The answer is a function of the log's outcome and
//! immutable labels, so a replay is the same byte for byte.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use http::StatusCode;
use onsale_mesh::Failure;
use onsale_proto::{
    Code,
    allocator::{
        AreaQuantity, KillSeatsRequest, ListKillsRequest, Outcome, ReturnSeatsRequest,
        outcome::Result as Answer,
    },
};
use serde::Serialize;
use serde_json::Value;

use super::organizer;
use crate::{
    event_view::EventView,
    json::{self, At, Faults, Object},
    limits,
    problem::{Problem, SectionTaken},
    reply::{self, Reply},
    request::Request,
    service::Edge,
};

const SELECTION: [&str; 4] = ["seat_ids", "areas", "sections", "rows"];

/// Places by number, ascending.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Selection {
    pub seats: Vec<u32>,
    pub areas: Vec<AreaQuantity>,
}

/// So many places of a section.
#[derive(Serialize)]
pub(crate) struct Area<'a> {
    section: &'a str,
    quantity: u32,
}

#[derive(Serialize)]
struct Killed<'a> {
    event_id: &'a str,
    killed: u32,
    pending_seat_ids: Vec<String>,
    pending_areas: Vec<Area<'a>>,
}

#[derive(Serialize)]
struct Returned<'a> {
    event_id: &'a str,
    returned: u32,
}

#[derive(Serialize)]
struct Kill<'a> {
    reason: &'a str,
    seat_ids: Vec<String>,
    pending_seat_ids: Vec<String>,
    areas: Vec<Area<'a>>,
}

#[derive(Serialize)]
struct Kills<'a> {
    event_id: &'a str,
    kills: Vec<Kill<'a>>,
}

/// `POST /v1/events/{event_id}/kills`
pub(crate) async fn kill(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let body = request.json()?;
    let (view, staff) = organizer::own_event(&edge, &request).await?;
    let idempotency = organizer::staff_key(&edge, staff, "kill", &request)?;
    let mut faults = Faults::default();
    let object = Object::read(&body, At::Root, &with(&["reason"]), &mut faults);
    let reason = object.as_ref().and_then(|object| reason(object, &mut faults));
    let selection = select(&view, object.as_ref(), &mut faults);
    if !faults.is_empty() {
        return Err(Problem::fields(faults.into_errors()));
    }
    let message = KillSeatsRequest {
        shard: view.document.shard,
        event_no: view.document.event_no,
        idempotency: Some(idempotency),
        seats: selection.seats,
        areas: selection.areas,
        reason: reason.unwrap_or("").to_owned(),
    };
    let outcome = edge.shards.kill_seats(message, request.deadline).await;
    let (replayed, answer) = done(outcome).map_err(|failure| refused(failure, &view))?;
    let Answer::Killed(killed) = answer else {
        return Err(unexpected());
    };
    let body = Killed {
        event_id: &view.document.event_id,
        killed: killed.killed,
        pending_seat_ids: view.seat_ids(&killed.pending_seats),
        pending_areas: areas(&view, &killed.pending_areas),
    };
    Ok(organizer::answered(&request, &body, replayed))
}

/// `POST /v1/events/{event_id}/returns`
pub(crate) async fn give_back(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let body = request.json()?;
    let (view, staff) = organizer::own_event(&edge, &request).await?;
    let idempotency = organizer::staff_key(&edge, staff, "return", &request)?;
    let mut faults = Faults::default();
    let object = Object::read(&body, At::Root, &SELECTION, &mut faults);
    let selection = select(&view, object.as_ref(), &mut faults);
    if !faults.is_empty() {
        return Err(Problem::fields(faults.into_errors()));
    }
    let message = ReturnSeatsRequest {
        shard: view.document.shard,
        event_no: view.document.event_no,
        idempotency: Some(idempotency),
        seats: selection.seats,
        areas: selection.areas,
    };
    let outcome = edge.shards.return_seats(message, request.deadline).await;
    let (replayed, answer) = done(outcome).map_err(|failure| refused(failure, &view))?;
    let Answer::Returned(returned) = answer else {
        return Err(unexpected());
    };
    let body = Returned { event_id: &view.document.event_id, returned: returned.returned };
    Ok(organizer::answered(&request, &body, replayed))
}

/// `GET /v1/events/{event_id}/kills`
pub(crate) async fn list(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let (view, _) = organizer::own_event(&edge, &request).await?;
    let message = ListKillsRequest { shard: view.document.shard, event_no: view.document.event_no };
    let answer = edge.shards.list_kills(message, request.deadline).await;
    let answer = answer.map_err(super::holds::unread)?;
    let kill = |kill| -> Kill<'_> {
        let kill: &onsale_proto::allocator::Kill = kill;
        Kill {
            reason: &kill.reason,
            seat_ids: view.seat_ids(&kill.seats),
            pending_seat_ids: view.seat_ids(&kill.pending_seats),
            areas: areas(&view, &kill.areas),
        }
    };
    let event_id = &view.document.event_id;
    let kills = Kills { event_id, kills: answer.kills.iter().map(kill).collect() };
    Ok(reply::json_of(StatusCode::OK, &kills))
}

/// What was done and whether it was before; a refusal is a failure.
pub(crate) fn done(outcome: Result<Outcome, Failure>) -> Result<(bool, Answer), Failure> {
    let outcome = outcome?;
    match outcome.result {
        Some(Answer::Rejected(rejected)) => Err(rejected.into()),
        Some(answer) => Ok((outcome.replayed, answer)),
        None => Err(Failure::new(Code::Internal, "an outcome says nothing")),
    }
}

/// A refusal with the places' public names.
pub(crate) fn refused(failure: Failure, view: &EventView) -> Problem {
    let seat_ids = view.seat_ids(&failure.seats);
    let taken = failure.areas().iter().map(|area| SectionTaken {
        key: view.section(area.section).map(|one| one.key.clone()).unwrap_or_default(),
        held: area.held,
        sold: area.sold,
        killed: area.killed,
    });
    let taken = taken.collect();
    Problem::from(failure).with_seat_ids(seat_ids).with_sections(taken)
}

pub(crate) fn unexpected() -> Problem {
    Problem::new(Code::Internal, "the answer is not one to this command")
}

/// A reason of at most 64 bytes, on one line.
pub(crate) fn reason<'a>(object: &Object<'a>, faults: &mut Faults) -> Option<&'a str> {
    let text = object.text("reason", 0..=limits::REASON_BYTES_MAX, faults)?;
    if text.len() > limits::REASON_BYTES_MAX || text.contains('\n') {
        object.fault("reason", "must be one line of at most 64 bytes", faults);
    }
    Some(text)
}

/// The fields that name places, and more.
pub(crate) fn with(more: &[&'static str]) -> Vec<&'static str> {
    SELECTION.iter().chain(more).copied().collect()
}

/// Areas with their public names.
pub(crate) fn areas<'a>(view: &'a EventView, areas: &[AreaQuantity]) -> Vec<Area<'a>> {
    let key = |no| view.section(no).map_or("", |section| section.key.as_str());
    areas.iter().map(|area| Area { section: key(area.section), quantity: area.quantity }).collect()
}

fn select(view: &EventView, object: Option<&Object<'_>>, faults: &mut Faults) -> Selection {
    let Some(object) = object else {
        return Selection::default();
    };
    if SELECTION.iter().all(|name| object.get(name).is_none()) {
        object.fault("seat_ids", "or areas, sections or rows must be named", faults);
    }
    places(view, object, faults)
}

/// The places that a body names, maybe none.
pub(crate) fn places(view: &EventView, object: &Object<'_>, faults: &mut Faults) -> Selection {
    let mut seats = Vec::new();
    named_seats(view, object, &mut seats, faults);
    whole_sections(view, object, &mut seats, faults);
    rows(view, object, &mut seats, faults);
    let areas = named_areas(view, object, faults);
    seats.sort_unstable();
    seats.dedup();
    Selection { seats, areas }
}

fn named_seats(view: &EventView, object: &Object<'_>, seats: &mut Vec<u32>, faults: &mut Faults) {
    if object.get("seat_ids").is_none() {
        return;
    }
    let list = At::Field(&object.at, "seat_ids");
    let values = object.list("seat_ids", 1..=limits::KILL_SEATS_MAX, faults);
    for (place, value) in values.unwrap_or_default().iter().enumerate() {
        let at = At::Index(&list, place);
        match value.as_str().map(|seat_id| view.seat_no(seat_id)) {
            Some(Some(seat)) => seats.push(seat),
            Some(None) => faults.add(&at, "is not a seat of this event"),
            None => faults.add(&at, "must be a text"),
        }
    }
}

/// The number of a section with seats, or with places.
fn section_no(
    view: &EventView,
    value: &Value,
    at: &At<'_>,
    seated: bool,
    faults: &mut Faults,
) -> Option<u32> {
    let key = json::text(value, at, 1..=limits::LABEL_CHARS_MAX, faults)?;
    let Some(no) = view.section_no(key) else {
        faults.add(at, "is not a section of this event");
        return None;
    };
    if view.section(no).is_some_and(|section| section.rows.is_empty()) == seated {
        faults.add(
            at,
            match seated {
                true => "is general admission: name it in areas, with a quantity",
                false => "has numbered seats: name those, its rows, or it in sections",
            },
        );
        return None;
    }
    Some(no)
}

fn whole_sections(
    view: &EventView,
    object: &Object<'_>,
    seats: &mut Vec<u32>,
    faults: &mut Faults,
) {
    if object.get("sections").is_none() {
        return;
    }
    let list = At::Field(&object.at, "sections");
    let values = object.list("sections", 1..=limits::EVENT_SECTIONS_MAX, faults);
    let mut sections = BTreeSet::new();
    for (place, value) in values.unwrap_or_default().iter().enumerate() {
        let at = At::Index(&list, place);
        sections.extend(section_no(view, value, &at, true, faults));
    }
    // Once each: a large section named ten thousand times is still one.
    let ranges = sections.into_iter().filter_map(|no| view.seats_of_section(no));
    seats.extend(ranges.flatten());
}

fn rows(view: &EventView, object: &Object<'_>, seats: &mut Vec<u32>, faults: &mut Faults) {
    if object.get("rows").is_none() {
        return;
    }
    let list = At::Field(&object.at, "rows");
    let values = object.list("rows", 1..=limits::KILL_SEATS_MAX, faults);
    let mut ranges: BTreeMap<u32, u32> = BTreeMap::new();
    for (place, value) in values.unwrap_or_default().iter().enumerate() {
        let at = At::Index(&list, place);
        let Some(one) = Object::read(value, at, &["section", "row"], faults) else {
            continue;
        };
        let section = one
            .need("section", faults)
            .and_then(|value| section_no(view, value, &At::Field(&at, "section"), true, faults));
        let row = one.need_text("row", 1..=limits::LABEL_CHARS_MAX, faults);
        let (Some(section), Some(row)) = (section, row) else {
            continue;
        };
        match view.seats_of_row(section, row) {
            Some(range) => drop(ranges.insert(range.start, range.end)),
            None => one.fault("row", "is not a row of this section", faults),
        }
    }
    seats.extend(ranges.into_iter().flat_map(|(first, end)| first..end));
}

fn named_areas(view: &EventView, object: &Object<'_>, faults: &mut Faults) -> Vec<AreaQuantity> {
    let mut areas: BTreeMap<u32, u32> = BTreeMap::new();
    if object.get("areas").is_some() {
        let list = At::Field(&object.at, "areas");
        let values = object.list("areas", 1..=limits::EVENT_SECTIONS_MAX, faults);
        for (place, value) in values.unwrap_or_default().iter().enumerate() {
            let at = At::Index(&list, place);
            let Some(one) = Object::read(value, at, &["section", "quantity"], faults) else {
                continue;
            };
            let section = one.need("section", faults).and_then(|value| {
                section_no(view, value, &At::Field(&at, "section"), false, faults)
            });
            let quantity = one.need_integer("quantity", 1..=limits::EVENT_SEATS_MAX, faults);
            let (Some(section), Some(quantity)) = (section, quantity) else {
                continue;
            };
            let quantity = u32::try_from(quantity).unwrap_or(u32::MAX);
            if areas.insert(section, quantity).is_some() {
                one.fault("section", "is named twice", faults);
            }
        }
    }
    areas.into_iter().map(|(section, quantity)| AreaQuantity { section, quantity }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event_view::tests::document;

    fn read(body: &Value) -> Result<Selection, Vec<String>> {
        let view = EventView::new(document());
        let mut faults = Faults::default();
        let object = Object::read(body, At::Root, &SELECTION, &mut faults);
        let selection = select(&view, object.as_ref(), &mut faults);
        let faults = faults.into_errors();
        if faults.is_empty() {
            return Ok(selection);
        }
        Err(faults.into_iter().map(|fault| fault.pointer).collect())
    }

    #[test]
    fn all_forms_together_name_each_place_once_and_in_order() {
        let selection = read(&json!({
            "seat_ids": ["102-A-4", "101-A-2"],
            "rows": [{"section": "101", "row": "A"}],
            "sections": ["102"],
            "areas": [{"section": "FLOOR", "quantity": 7}],
        }));
        let areas = vec![AreaQuantity { section: 1, quantity: 7 }];
        assert_eq!(selection, Ok(Selection { seats: vec![0, 1, 2, 8, 9, 10, 11], areas }));
    }

    #[test]
    fn what_is_not_there_or_not_of_its_kind_is_named() {
        for (body, pointer) in [
            (json!({}), "/seat_ids"),
            (json!({"seat_ids": []}), "/seat_ids"),
            (json!({"seat_ids": ["101-A-1", "101-A-9"]}), "/seat_ids/1"),
            (json!({"seat_ids": [7]}), "/seat_ids/0"),
            (json!({"sections": ["FLOOR"]}), "/sections/0"),
            (json!({"sections": ["Z"]}), "/sections/0"),
            (json!({"rows": [{"section": "101", "row": "Z"}]}), "/rows/0/row"),
            (json!({"rows": [{"section": "FLOOR", "row": "A"}]}), "/rows/0/section"),
            (json!({"rows": [{"section": "101"}]}), "/rows/0/row"),
            (json!({"areas": [{"section": "101", "quantity": 1}]}), "/areas/0/section"),
            (json!({"areas": [{"section": "FLOOR", "quantity": 0}]}), "/areas/0/quantity"),
            (json!({"areas": [{"section": "FLOOR"}]}), "/areas/0/quantity"),
            (json!({"seat": ["101-A-1"], "seat_ids": ["101-A-1"]}), "/seat"),
        ] {
            assert_eq!(read(&body), Err(vec![pointer.to_owned()]), "{body}");
        }
        let twice =
            json!([{"section": "FLOOR", "quantity": 1}, {"section": "FLOOR", "quantity": 1}]);
        assert_eq!(read(&json!({"areas": twice})), Err(vec!["/areas/1/section".to_owned()]));
    }
}
