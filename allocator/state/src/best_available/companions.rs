//! Owns which companion seats go with accessible ones: the nearest of the same section, in the same
//! row first, then in the nearest row, the front one and the left one of two.

use smallvec::SmallVec;

use super::candidates::Candidates;
use crate::{
    event::{EventState, PlaceRef, PlaceRefs},
    ids::SeatNo,
    seat_map::{Row, SeatKind},
};

/// Rows away, half seats away, the seat.
type Nearness = (usize, u64, SeatNo);

/// Picks `count` companion seats of the section in which the accessible seats are that were
/// `picked` from `first` on, and adds them. The section has so many.
pub(super) fn pick(event: &mut EventState, count: u16, first: usize, picked: &mut PlaceRefs) {
    let map = event.seat_map.clone();
    let seats: SmallVec<[SeatNo; 8]> = picked[first..].iter().map(|place| place.0).collect();
    let Some(section) = seats.first().and_then(|&seat| map.section_of(seat)) else {
        panic!("companion seats without an accessible one");
    };
    let rows = map.sections()[usize::from(section)].rows.clone();
    let candidates = Candidates::new(event, SeatKind::Companion);
    let mut nearest: SmallVec<[Nearness; 8]> = SmallVec::new();
    for (at, row) in rows.clone().zip(&map.rows()[rows]) {
        for seat in candidates.positions(row).map(|at| row.first_seat + SeatNo::from(at)) {
            let away = seats.iter().filter_map(|&accessible| {
                let off = right(map.row_of(accessible)?, accessible).abs_diff(right(row, seat));
                Some((map.row_no(accessible)?.abs_diff(at), off))
            });
            let Some((rows, off)) = away.min() else { continue };
            let nearness = (rows, off, seat);
            let place = nearest.partition_point(|other| *other < nearness);
            if place < usize::from(count) {
                nearest.truncate(usize::from(count) - 1);
                nearest.insert(place, nearness);
            }
        }
    }
    assert!(nearest.len() == usize::from(count), "a counter promised companion seats");
    for (_, _, seat) in nearest {
        event.pick(PlaceRef::seat(seat));
        picked.push(PlaceRef::seat(seat));
    }
}

/// Half seats to the right of the row's middle.
fn right(row: &Row, seat: SeatNo) -> i64 {
    2 * i64::from(seat - row.first_seat) + 1 - i64::from(row.seats)
}
