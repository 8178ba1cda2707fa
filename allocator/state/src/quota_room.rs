//! Owns which sections a wish keeps out of because a quota has no room there for all its places.
//!
//! What is counted is what is taken and what the same hold has besides. Only saves buyers a
//! refusal: where nothing else fits, the wish looks everywhere, and quotas judge what it finds.
//! Must never refuse.

use smallvec::SmallVec;

use crate::{
    command::{HoldItem, Wish},
    event::{EventState, PlaceRef},
    ids::{SectionNo, TypeNo},
    outcome::Place,
    wishes::size,
};

/// The sections to keep out of, ascending; none where all are full or the wish names its own.
/// `picked` are the places of the items before.
pub(crate) fn full_sections(
    event: &EventState,
    items: &[HoldItem],
    picked: &[PlaceRef],
    wish: &Wish,
    types: &[TypeNo],
) -> Vec<SectionNo> {
    let mut full = Vec::new();
    let Some(offer) = &event.offer else {
        return full;
    };
    if offer.offer.quotas.is_empty() || wish.section.is_some() {
        return full;
    }
    let others = other_places(event, items, picked, types);
    let first = picked.len();
    let its = first..first + usize::from(wish.quantity) + usize::from(wish.companions);
    for (quota, taken) in offer.quotas() {
        let has = |place: &&Place| quota.counts(place.section, place.category, place.ticket_type);
        let others = others.iter().filter(has).count();
        let more = its.clone().filter(|&at| quota.means_type(type_at(types, at))).count();
        if more == 0 || u64::from(taken) + (others + more) as u64 <= quota.size.into() {
            continue;
        }
        if quota.sections.is_empty() && quota.categories.is_empty() {
            return Vec::new();
        }
        let sections = (0..).zip(event.seat_map.sections());
        let meant = sections.filter(|(no, section)| quota.means_place(*no, section.category));
        full.extend(meant.map(|(no, _)| no));
    }
    full.sort_unstable();
    full.dedup();
    full
}

fn type_at(types: &[TypeNo], at: usize) -> TypeNo {
    types.get(at).copied().unwrap_or(0)
}

/// What the hold has besides: places picked before, and seats that later items name.
fn other_places(
    event: &EventState,
    items: &[HoldItem],
    picked: &[PlaceRef],
    types: &[TypeNo],
) -> SmallVec<[Place; 8]> {
    let (mut all, mut first) = (SmallVec::new(), 0);
    let mut add = |place: PlaceRef, at: usize| {
        let ticket_type = type_at(types, at);
        all.push(Place { ticket_type, ..event.place(place, event.price_list()) });
    };
    picked.iter().enumerate().for_each(|(at, &place)| add(place, at));
    for item in items {
        if let HoldItem::Seats(seats) = item
            && first >= picked.len()
        {
            seats.iter().enumerate().for_each(|(at, &no)| add(PlaceRef::seat(no), first + at));
        }
        first += size(item);
    }
    all
}
