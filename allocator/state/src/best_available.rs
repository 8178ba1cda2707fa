//! Owns which seats a buyer gets who leaves the choice to us.
//!
//! The rule: sections by category, then in seat-map order. In the first section that has them, the
//! front-most row with `n` neighbours, there the `n` nearest the row's middle (the left ones of two
//! equally near). Where no row has `n` together: the first section with `n` seats left, there the
//! longest piece that helps, front-most; then again the longest piece in the row nearest that first
//! one (the front one of two), and so on. Where no section has `n`: pieces from section to section.
//! Accessible seats are chosen when asked for, and only then. Must never look at who asks.

use crate::{
    event::{EventState, PlaceRef, PlaceRefs},
    ids::{CategoryNo, SectionNo},
    seat_map::{Row, SeatMap},
};

/// Where to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Section(SectionNo),
    Category(CategoryNo),
    Everywhere,
}

/// Why there is no choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    SoldOut,
    NotEnough,
}

impl Scope {
    /// The sections it means that are (not) general admission, in order of preference.
    pub(crate) fn sections(
        self,
        map: &SeatMap,
        areas: bool,
    ) -> impl Iterator<Item = SectionNo> + '_ {
        map.preference().iter().copied().filter(move |&no| {
            let section = &map.sections()[usize::from(no)];
            section.area_capacity.is_some() == areas
                && match self {
                    Self::Section(wanted) => wanted == no,
                    Self::Category(wanted) => wanted == section.category,
                    Self::Everywhere => true,
                }
        })
    }
}

/// Picks `quantity` numbered seats and adds them to `picked` in ascending order; changes nothing
/// when there are too few.
pub(crate) fn pick_seats(
    event: &mut EventState,
    scope: Scope,
    accessible: bool,
    quantity: u16,
    picked: &mut PlaceRefs,
) -> Result<(), Shortage> {
    let kind = usize::from(accessible);
    let first_new = picked.len();
    let map = event.seat_map.clone();
    let mut total = 0;
    let mut roomy = None;
    let mut together = None;
    for section in scope.sections(&map, false) {
        let stock = &event.stock[usize::from(section)];
        total += stock.available[kind];
        if stock.available[kind] < u32::from(quantity) {
            continue;
        }
        roomy = roomy.or(Some(section));
        if stock.run_max[kind] >= quantity && together.is_none() {
            together = find(event, section, kind, quantity, None).map(|found| (section, found));
            if together.is_some() {
                break;
            }
        }
    }
    if let Some((_, (row, start))) = together {
        take(event, row, start, quantity, picked);
        return Ok(());
    }
    match total {
        0 => return Err(Shortage::SoldOut),
        left if left < u32::from(quantity) => return Err(Shortage::NotEnough),
        _ => {}
    }
    let sections: Vec<SectionNo> = match roomy {
        Some(section) => vec![section],
        None => scope.sections(&map, false).collect(),
    };
    let mut missing = quantity;
    for section in sections {
        missing -= pick_pieces(event, section, kind, missing, picked);
    }
    assert!(missing == 0, "the section counters promised seats that are not there");
    picked[first_new..].sort_unstable();
    Ok(())
}

/// Picks up to `wanted` seats of one section in as few and as near pieces as it can.
fn pick_pieces(
    event: &mut EventState,
    section: SectionNo,
    kind: usize,
    wanted: u16,
    picked: &mut PlaceRefs,
) -> u16 {
    let available = event.stock[usize::from(section)].available[kind];
    let mut missing = u32::from(wanted).min(available) as u16;
    let taken = missing;
    let mut anchor = None;
    while missing > 0 {
        let longest = event.stock[usize::from(section)].run_max[kind].min(missing);
        let piece = (1..=longest)
            .rev()
            .find_map(|len| find(event, section, kind, len, anchor).map(|found| (found, len)));
        let Some(((row, start), len)) = piece else {
            panic!("the section's counter promised seats that are not there");
        };
        take(event, row, start, len, picked);
        anchor = anchor.or(Some(row));
        missing -= len;
    }
    taken
}

fn take(event: &mut EventState, row: usize, start: u16, len: u16, picked: &mut PlaceRefs) {
    let first = event.seat_map.rows()[row].first_seat + u32::from(start);
    for seat in first..first + u32::from(len) {
        event.pick(PlaceRef::seat(seat));
        picked.push(PlaceRef::seat(seat));
    }
}

/// The row and offset of `len` neighbours in a section: in the front-most row, or the row nearest
/// `anchor`. Remembers when the section has none.
fn find(
    event: &mut EventState,
    section: SectionNo,
    kind: usize,
    len: u16,
    anchor: Option<usize>,
) -> Option<(usize, u16)> {
    let map = &event.seat_map;
    let rows = map.sections()[usize::from(section)].rows.clone();
    let accessible = map.accessible_words();
    let flip = if kind == 0 { u64::MAX } else { 0 };
    let mut best: Option<(usize, usize, u16)> = None;
    for (row_no, row) in rows.clone().zip(&map.rows()[rows]) {
        let distance = anchor.map_or(0, |anchor: usize| anchor.abs_diff(row_no));
        if best.is_some_and(|(nearest, _, _)| nearest <= distance) {
            if anchor.is_none_or(|anchor| row_no > anchor) {
                break;
            }
            continue;
        }
        if row.seats < len {
            continue;
        }
        let words = row.words();
        let start = if words.len() == 1 && len <= 64 {
            let bits = event.free[words.start] & (accessible[words.start] ^ flip);
            middle_window(starts(bits, len), row.seats, len)
        } else {
            let bits = |at: usize| {
                let word = row.first_word + at / 64;
                event.free[word] & (accessible[word] ^ flip) & 1 << (at % 64) != 0
            };
            wide_window(row, len, bits)
        };
        if let Some(start) = start {
            best = Some((distance, row_no, start));
        }
    }
    if best.is_none() {
        let run_max = &mut event.stock[usize::from(section)].run_max[kind];
        *run_max = (*run_max).min(len - 1);
    }
    best.map(|(_, row, start)| (row, start))
}

/// The positions at which `len` set bits start.
fn starts(mut bits: u64, len: u16) -> u64 {
    let mut have = 1;
    while have < len && bits != 0 {
        let step = have.min(len - have);
        bits &= bits >> step;
        have += step;
    }
    bits
}

/// How far a window is from the middle of its row, in half seats.
fn off_middle(start: u16, len: u16, seats: u16) -> u32 {
    (2 * u32::from(start) + u32::from(len)).abs_diff(u32::from(seats))
}

fn middle_window(mut starts: u64, seats: u16, len: u16) -> Option<u16> {
    let mut best = None;
    while starts != 0 {
        let start = starts.trailing_zeros() as u16;
        starts &= starts - 1;
        let off = off_middle(start, len, seats);
        if best.is_some_and(|(least, _)| least <= off) {
            // Windows only get farther from here on, once past the middle.
            if 2 * u32::from(start) + u32::from(len) > u32::from(seats) {
                break;
            }
            continue;
        }
        best = Some((off, start));
    }
    best.map(|(_, start)| start)
}

/// The same for rows of more than 64 seats, seat by seat.
fn wide_window(row: &Row, len: u16, is_free: impl Fn(usize) -> bool) -> Option<u16> {
    let mut best = None;
    let mut run = 0;
    for at in 0..row.seats {
        run = if is_free(usize::from(at)) { run + 1 } else { 0 };
        if run < len {
            continue;
        }
        let start = at + 1 - len;
        let off = off_middle(start, len, row.seats);
        if best.is_none_or(|(least, _)| off < least) {
            best = Some((off, start));
        }
    }
    best.map(|(_, start)| start)
}
