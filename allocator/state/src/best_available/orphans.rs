//! Owns the rule that nobody strands a single seat who need not.
//!
//! A selection by name is refused when it leaves an ordinary seat alone that was not alone before,
//! though as many neighbours of the same row would leave none. Whoever cannot help it may have the
//! seats: nobody is made to buy one more.

use smallvec::SmallVec;

use super::candidates::{Candidates, Look};
use crate::{
    event::EventState,
    ids::SeatNo,
    seat_map::{SeatKind, SeatMap},
};

/// Seats left alone for no need, and the ones to take instead of as many; ascending.
pub(crate) type Orphans = (Vec<SeatNo>, Vec<SeatNo>);

/// What a selection of available seats would strand needlessly, if anything.
pub(crate) fn needless_orphans(
    event: &EventState,
    named: impl Iterator<Item = SeatNo>,
) -> Option<Orphans> {
    let map = &event.seat_map;
    let ordinary = |seat: &SeatNo| map.kind_of(*seat) == Some(SeatKind::Ordinary);
    let mut named: SmallVec<[SeatNo; 16]> = named.filter(ordinary).collect();
    named.sort_unstable();
    let (mut orphans, mut mend) = (Vec::new(), Vec::new());
    for selection in named.chunk_by(|a, b| map.row_no(*a) == map.row_no(*b)) {
        let stranded = stranded(event, map, selection);
        if stranded.is_empty() {
            continue;
        }
        if let Some(instead) = instead(event, map, selection) {
            orphans.extend(stranded);
            mend.extend(instead.filter(|seat| !selection.contains(seat)));
        }
    }
    (!orphans.is_empty()).then_some((orphans, mend))
}

/// The seats of a row that a selection would leave alone, ascending. None of them is alone before:
/// one of the selection is beside it.
fn stranded(event: &EventState, map: &SeatMap, selection: &[SeatNo]) -> Vec<SeatNo> {
    let Some(row) = selection.first().and_then(|&seat| map.row_of(seat)) else {
        return Vec::new();
    };
    let candidates = Candidates::new(event, SeatKind::Ordinary);
    let first = i64::from(row.first_seat);
    let left = |seat: i64| {
        let taken = SeatNo::try_from(seat).is_ok_and(|seat| selection.contains(&seat));
        !taken && candidates.bits(row, seat - first) & 1 == 1
    };
    let beside = selection.iter().flat_map(|&seat| [i64::from(seat) - 1, i64::from(seat) + 1]);
    let alone = beside.filter(|&seat| left(seat) && !left(seat - 1) && !left(seat + 1));
    let mut stranded: Vec<SeatNo> = alone.filter_map(|seat| SeatNo::try_from(seat).ok()).collect();
    stranded.dedup();
    stranded
}

/// As many neighbours that strand nobody, nearest to the selection.
fn instead(
    event: &EventState,
    map: &SeatMap,
    selection: &[SeatNo],
) -> Option<std::ops::Range<SeatNo>> {
    let (first, last) = (selection.first()?, selection.last()?);
    let row = map.row_of(*first)?;
    let look =
        Look { kind: SeatKind::Ordinary, len: selection.len() as u16, companions: 0, strict: true };
    let middle = i64::from(first - row.first_seat) + i64::from(last - row.first_seat) + 1;
    let candidates = Candidates::new(event, SeatKind::Ordinary);
    let (_, start) = candidates.nearest_in_row(row, look, middle).0?;
    let start = row.first_seat + SeatNo::from(start);
    Some(start..start + selection.len() as SeatNo)
}
