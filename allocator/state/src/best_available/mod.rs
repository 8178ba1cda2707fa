//! Owns which seats a buyer gets who leaves the choice to us.
//!
//! The rule, for `n` seats of one kind (ordinary, accessible):
//!
//! 1. Neighbours in one row that leave no orphan: no available ordinary seat alone between taken
//!    seats, other kinds and the row's ends that was not alone before. For accessible seats with
//!    companions: neighbours with the companion seats right beside them.
//! 2. Neighbours in one row.
//! 3. Adjacent rows of one section (`adjacent_rows`).
//! 4. Only if asked for: as few groups as possible, each time the longest piece that helps, in the
//!    section of the first one, nearest to it, if it is there, else in its category, else anywhere.
//!
//! Who sits together sits better than who sits in a better category, so that 1 and 2 come before 3
//! in all categories, and 3 before 4. A better category is worth an orphan: by category, 1 then 2.
//! Within a category sections come as in the map, and a better class in a later section before a
//! worse one in an earlier section. Within a section: nearest to its focal point, in half seats
//! along and four of them a row deep; of two equally near the row nearer to the point, the front
//! row, the left seat.
//!
//! Sections where a quota has no room for all of a wish come last: in them it looks only where it
//! finds nothing elsewhere.
//!
//! Must never look at who asks.

mod adjacent_rows;
mod candidates;
mod companions;
mod orphans;

use smallvec::smallvec;

pub(crate) use orphans::needless_orphans;

use self::{
    adjacent_rows::Pieces,
    candidates::{Candidates, Look, Piece},
};
use crate::{
    command::Wish,
    event::{EventState, PlaceRef, PlaceRefs},
    ids::{CategoryNo, SectionNo},
    seat_map::{Point, SeatKind, SeatMap},
    wishes::Terms,
};

/// Where to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope<'a> {
    pub(crate) section: Option<SectionNo>,
    pub(crate) category: Option<CategoryNo>,
    pub(crate) price_max_minor: Option<u64>,
    /// What prices depend on.
    pub(crate) terms: Terms<'a>,
    /// Sections to keep out of, ascending.
    pub(crate) full: &'a [SectionNo],
}

/// Why there is no choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    SoldOut,
    NotEnough,
}

impl<'a> Scope<'a> {
    /// Does it mean this section, and does the section (not) have numbered seats?
    pub(crate) fn takes(&self, event: &EventState, no: SectionNo, areas: bool) -> bool {
        let section = &event.seat_map.sections()[usize::from(no)];
        let price_minor = || event.price_now(no, self.terms);
        section.area_capacity.is_some() == areas
            && self.section.is_none_or(|wanted| wanted == no)
            && self.category.is_none_or(|wanted| wanted == section.category)
            && (self.full.is_empty() || self.full.binary_search(&no).is_err())
            && self.price_max_minor.is_none_or(|max| price_minor() <= max)
    }

    /// The sections it means that are (not) general admission, in order of preference.
    pub(crate) fn sections(
        self,
        event: &'a EventState,
        areas: bool,
    ) -> impl Iterator<Item = SectionNo> + 'a {
        let all = event.seat_map.preference().iter().copied();
        all.filter(move |&no| self.takes(event, no, areas))
    }
}

/// Picks the numbered seats of a wish and adds them to `picked` in ascending order; changes nothing
/// when there are too few.
pub(crate) fn pick_seats(
    event: &mut EventState,
    scope: Scope<'_>,
    wish: &Wish,
    picked: &mut PlaceRefs,
) -> Result<(), Shortage> {
    let first_new = picked.len();
    let map = event.seat_map.clone();
    let kind = if wish.accessible { SeatKind::Accessible } else { SeatKind::Ordinary };
    let look = Look { kind, len: wish.quantity, companions: wish.companions, strict: true };
    let mut search = Search { event, map: &map, scope, order: order(&map, scope) };
    match search.together(look).or_else(|| search.adjacent_rows(look)) {
        Some(pieces) => pieces.into_iter().for_each(|piece| search.take(piece, picked)),
        None => {
            search.scope = search.enough(look)?;
            if !wish.split {
                return Err(Shortage::NotEnough);
            }
            search.order = order(&map, search.scope);
            search.groups(look, picked);
        }
    }
    if look.companions > 0 {
        companions::pick(event, look.companions, first_new, picked);
    }
    picked[first_new..].sort_unstable();
    Ok(())
}

/// One wish's search.
struct Search<'a> {
    event: &'a mut EventState,
    map: &'a SeatMap,
    scope: Scope<'a>,
    order: &'a [SectionNo],
}

/// Sections in order of preference: all of them, or the one that is meant.
fn order<'a>(map: &'a SeatMap, scope: Scope<'_>) -> &'a [SectionNo] {
    let all = map.preference();
    match scope.section {
        Some(no) => all.chunks(1).find(|section| **section == [no]).unwrap_or_default(),
        None => all,
    }
}

impl<'a> Search<'a> {
    /// Could the section have what is looked for?
    fn has_room(&self, no: SectionNo, look: Look) -> bool {
        let stock = &self.event.stock[usize::from(no)];
        stock.available[look.kind as usize] >= u32::from(look.len)
            && stock.available[SeatKind::Companion as usize] >= u32::from(look.companions)
            && self.scope.takes(self.event, no, false)
    }

    /// Neighbours in one row.
    fn together(&mut self, look: Look) -> Option<Pieces> {
        let category = |no: SectionNo| self.map.sections()[usize::from(no)].category;
        for sections in self.order.chunk_by(|a, b| category(*a) == category(*b)) {
            let mut lesser = None;
            for &no in sections {
                if !self.has_room(no, look) {
                    continue;
                }
                match self.strictly(no, look) {
                    (Some(piece), _) => return Some(smallvec![piece]),
                    (None, true) => lesser = lesser.or(Some(no)),
                    (None, false) => {}
                }
            }
            if let Some(no) = lesser {
                let look = Look { strict: false, ..look };
                let piece = self.nearest(no, look, self.focal_point(no)).0;
                return piece.map(|piece| smallvec![piece]);
            }
        }
        None
    }

    fn focal_point(&self, no: SectionNo) -> Point {
        self.map.sections()[usize::from(no)].focal_point
    }

    /// The best strict neighbours of a section, and whether there are any others. Asks the section
    /// only what it does not know.
    fn strictly(&mut self, no: SectionNo, look: Look) -> (Option<Piece>, bool) {
        let bit = 1u64 << (look.len - 1);
        let searched = &self.event.stock[usize::from(no)].searched;
        if searched.run_max[look.kind as usize] < look.len {
            return (None, false);
        }
        if look.kind == SeatKind::Ordinary && searched.orphaning & bit != 0 {
            return (None, true);
        }
        let (piece, any) = self.nearest(no, look, self.focal_point(no));
        if look.kind == SeatKind::Ordinary && piece.is_none() && any {
            self.event.stock[usize::from(no)].searched.orphaning |= bit;
        }
        (piece, any)
    }

    /// Neighbours of a section, nearest to a point; and whether there are any.
    fn nearest(&mut self, no: SectionNo, look: Look, from: Point) -> (Option<Piece>, bool) {
        let section = &self.map.sections()[usize::from(no)];
        let candidates = Candidates::new(self.event, look.kind);
        let (piece, any) = candidates.nearest(self.map, section, look, from);
        if !any {
            let searched = &mut self.event.stock[usize::from(no)].searched;
            let run_max = &mut searched.run_max[look.kind as usize];
            *run_max = (*run_max).min(look.len - 1);
        }
        (piece, any)
    }

    /// Pieces in adjacent rows.
    fn adjacent_rows(&mut self, look: Look) -> Option<Pieces> {
        let (bit, kind) = (1u64 << (look.len - 1), look.kind as usize);
        for &no in self.order {
            let known = self.event.stock[usize::from(no)].searched.no_rows[kind] & bit != 0;
            if known || look.len < 2 || !self.has_room(no, look) {
                continue;
            }
            let section = &self.map.sections()[usize::from(no)];
            let candidates = Candidates::new(self.event, look.kind);
            let found = adjacent_rows::find(candidates, self.map, section, look.len);
            if found.is_some() {
                return found;
            }
            self.event.stock[usize::from(no)].searched.no_rows[kind] |= bit;
        }
        None
    }

    /// Where groups can be looked for so that there are enough seats in all.
    fn enough(&self, look: Look) -> Result<Scope<'a>, Shortage> {
        let total = |kind: SeatKind| -> u64 {
            let left = |no: SectionNo| self.event.stock[usize::from(no)].available[kind as usize];
            self.scope.sections(self.event, false).map(|no| u64::from(left(no))).sum()
        };
        let wanted = [(look.kind, look.len), (SeatKind::Companion, look.companions)];
        let wanted = wanted.into_iter().filter(|&(_, count)| count > 0);
        if wanted.clone().any(|(kind, _)| total(kind) == 0) {
            return Err(Shortage::SoldOut);
        }
        if wanted.clone().any(|(kind, count)| total(kind) < count.into()) {
            return Err(Shortage::NotEnough);
        }
        if look.companions == 0 {
            return Ok(self.scope);
        }
        // Who comes along sits in the same section.
        let roomy = self.order.iter().copied().find(|&no| self.has_room(no, look));
        let section = Some(roomy.ok_or(Shortage::NotEnough)?);
        Ok(Scope { section, ..self.scope })
    }

    /// Picks as few groups as possible; the scope has enough seats.
    fn groups(&mut self, look: Look, picked: &mut PlaceRefs) {
        let kind = look.kind as usize;
        let mut anchor: Option<(SectionNo, Point)> = None;
        let mut missing = look.len;
        while missing > 0 {
            let longest = |no: &SectionNo| {
                let stock = &self.event.stock[usize::from(*no)];
                let available = u16::try_from(stock.available[kind]).unwrap_or(u16::MAX);
                stock.searched.run_max[kind].min(available).min(missing)
            };
            let longest = self.order.iter().map(longest).max().unwrap_or(0);
            let found = (1..=longest).rev().find_map(|len| {
                let look = Look { len, companions: 0, strict: false, ..look };
                self.group(look, anchor)
            });
            let Some((no, piece)) = found else {
                panic!("the sections' counters promised seats that are not there");
            };
            self.take(piece, picked);
            anchor = anchor.or(Some((no, piece.point(self.map))));
            missing -= piece.len;
        }
    }

    /// The next group: near the first one if it can be.
    fn group(
        &mut self,
        look: Look,
        anchor: Option<(SectionNo, Point)>,
    ) -> Option<(SectionNo, Piece)> {
        let map = self.map;
        let category = |no: SectionNo| map.sections()[usize::from(no)].category;
        let away = |no: SectionNo| match anchor {
            None => 0,
            Some((first, _)) if first == no => 0,
            Some((first, _)) if category(first) == category(no) => 1,
            Some(_) => 2,
        };
        for steps in 0..=2 {
            for &no in self.order {
                let searched = &self.event.stock[usize::from(no)].searched;
                let known = searched.run_max[look.kind as usize] < look.len;
                if away(no) != steps || known || !self.has_room(no, look) {
                    continue;
                }
                let from = anchor.filter(|&(first, _)| first == no);
                let from = from.map_or(self.focal_point(no), |(_, point)| point);
                if let (Some(piece), _) = self.nearest(no, look, from) {
                    return Some((no, piece));
                }
            }
        }
        None
    }

    fn take(&mut self, piece: Piece, picked: &mut PlaceRefs) {
        let first = self.map.rows()[piece.row].first_seat + u32::from(piece.start);
        for seat in first..first + u32::from(piece.len) {
            self.event.pick(PlaceRef::seat(seat));
            picked.push(PlaceRef::seat(seat));
        }
    }
}
