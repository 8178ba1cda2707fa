//! Owns the moves of an event's places from state to state: bit, word, counters, and what readers
//! and the feed are told of it.
//!
//! The one place that writes them. Must never decide who may have a place.

use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use crate::{
    change::Change,
    event::{EventState, PlaceKind, PlaceRef, PlaceRefs, SectionStock},
    event_view::AreaWord,
    ids::{LogTimeMs, SeatNo, SectionNo},
    outcome::Place,
    seat_map::Spot,
    seat_word::{SeatState, SeatWord},
    shard::announce,
};

impl SectionStock {
    fn of_state(&mut self, state: SeatState) -> Option<&mut u32> {
        match state {
            SeatState::Available => None,
            SeatState::Held => Some(&mut self.held),
            SeatState::Sold => Some(&mut self.sold),
            SeatState::Killed => Some(&mut self.killed),
        }
    }

    fn shift(&mut self, from: SeatState, to: SeatState) {
        if let Some(count) = self.of_state(from) {
            *count -= 1;
        }
        if let Some(count) = self.of_state(to) {
            *count += 1;
        }
    }
}

impl EventState {
    /// A place in full, at the prices of a list.
    pub(crate) fn place(&self, place: PlaceRef, price_list: u16) -> Place {
        let (seat, section, category) = match place.kind() {
            PlaceKind::Seat(seat) => {
                let spot = self.spot(seat);
                (Some(seat), spot.section, spot.category)
            }
            PlaceKind::Area(section) => {
                (None, section, self.seat_map.sections()[usize::from(section)].category)
            }
        };
        let price_minor = self.prices[usize::from(price_list)][usize::from(category)];
        Place { seat, section, category, ticket_type: 0, price_minor }
    }

    pub(crate) fn places(&self, places: &[PlaceRef], list: u16) -> SmallVec<[Place; 4]> {
        // A push at a time is cheaper here than what `collect` makes of an unknown length.
        let mut all = SmallVec::new();
        for &place in places {
            all.push(self.place(place, list));
        }
        all
    }

    /// Where a seat of the map stands.
    #[inline(always)]
    fn spot(&self, seat: SeatNo) -> Spot {
        match self.seat_map.spot(seat) {
            Some(spot) => spot,
            None => panic!("seat {seat} is not in the seat map"),
        }
    }

    /// Which of a section's counts of available seats a seat belongs to.
    #[inline(always)]
    fn kind(&self, spot: &Spot) -> usize {
        if spot.mixed { self.seat_map.kind_words()[spot.word].at(spot.bit) } else { 0 }
    }

    /// Where a seat stands, and which of a section's counts of available seats it belongs to.
    pub(crate) fn spot_and_kind(&self, seat: SeatNo) -> (Spot, usize) {
        let spot = self.spot(seat);
        let kind = self.kind(&spot);
        (spot, kind)
    }

    /// Reads what a hold or release of a seat will read; see `read_ahead`.
    #[inline]
    pub(crate) fn touch(&self, seat: SeatNo) -> u64 {
        self.seat_map.spot(seat).map_or(0, |spot| {
            let word = self.words[seat as usize].load(Ordering::Relaxed);
            self.free[spot.word] ^ u64::from(word)
        })
    }

    /// Is the seat there, and can it be held?
    #[inline]
    pub(crate) fn is_free(&self, seat: SeatNo) -> Option<bool> {
        self.seat_map.spot(seat).map(|spot| self.free[spot.word] & spot.bit != 0)
    }

    /// Takes an available place out of the stock, on its way to `transition` or back by `unpick`.
    #[inline]
    pub(crate) fn pick(&mut self, place: PlaceRef) {
        match place.kind() {
            PlaceKind::Area(section) => {
                let available = &mut self.stock[usize::from(section)].available[0];
                assert!(*available > 0, "an empty area gave a place");
                *available -= 1;
            }
            PlaceKind::Seat(seat) => {
                assert!(self.try_pick(seat), "seat {seat} was picked twice");
            }
        }
    }

    /// `pick` of a seat, if it is available.
    #[inline]
    pub(crate) fn try_pick(&mut self, seat: SeatNo) -> bool {
        let spot = self.spot(seat);
        let is_free = self.free[spot.word] & spot.bit != 0;
        if is_free {
            self.take(&spot);
        }
        is_free
    }

    #[inline(always)]
    fn take(&mut self, spot: &Spot) {
        self.free[spot.word] &= !spot.bit;
        let kind = self.kind(spot);
        let stock = &mut self.stock[usize::from(spot.section)];
        stock.available[kind] -= 1;
        stock.searched.orphaning = 0;
    }

    /// `pick` of seats of which none is named twice, if all are available.
    #[inline]
    pub(crate) fn pick_named(&mut self, seats: &[SeatNo]) -> Option<PlaceRefs> {
        let mut places = PlaceRefs::new();
        if let &[seat] = seats {
            places.push(PlaceRef::seat(seat));
            return self.try_pick(seat).then_some(places);
        }
        let mut spots: SmallVec<[Spot; 4]> = SmallVec::new();
        for &seat in seats {
            let spot = self.spot(seat);
            if self.free[spot.word] & spot.bit == 0 {
                return None;
            }
            spots.push(spot);
            places.push(PlaceRef::seat(seat));
        }
        spots.iter().for_each(|spot| self.take(spot));
        Some(places)
    }

    /// Puts a picked place back into the stock.
    pub(crate) fn unpick(&mut self, place: PlaceRef) {
        match place.kind() {
            PlaceKind::Area(section) => self.stock[usize::from(section)].available[0] += 1,
            PlaceKind::Seat(seat) => self.unpick_seat(seat, &self.spot(seat)),
        }
    }

    #[inline(always)]
    fn unpick_seat(&mut self, seat: SeatNo, spot: &Spot) {
        let kind = self.kind(spot);
        if let Some(channels) = &mut self.channels
            && channels.take_back(spot, kind)
        {
            self.words[seat as usize].store(SeatWord::SET_ASIDE.0, Ordering::Release);
            return;
        }
        self.unpick_to_general(spot, kind);
    }

    /// A seat that is nobody's is everybody's.
    #[inline(always)]
    pub(crate) fn unpick_to_general(&mut self, spot: &Spot, kind: usize) {
        let word = &mut self.free[spot.word];
        assert!(*word & spot.bit == 0, "a seat of section {} was returned twice", spot.section);
        *word |= spot.bit;
        let stock = &mut self.stock[usize::from(spot.section)];
        stock.available[kind] += 1;
        stock.searched.forget(kind);
    }

    #[inline(always)]
    fn write_word(&mut self, seat: SeatNo, from: SeatWord, to: SeatWord) {
        // One thread writes, so that reading its own word needs no order.
        let cell = &self.words[seat as usize];
        let now = cell.load(Ordering::Relaxed);
        let is_set_aside = || (now, from) == (SeatWord::SET_ASIDE.0, SeatWord::AVAILABLE);
        assert!(now == from.0 || is_set_aside(), "seat {seat} has word {now:x}, not {from:?}");
        cell.store(to.0, Ordering::Release);
    }

    /// Moves a seat from one state to another; from available it must have been picked.
    #[inline(always)]
    fn move_seat(
        &mut self,
        seat: SeatNo,
        (from, from_word): (SeatState, SeatWord),
        (to, to_word): (SeatState, SeatWord),
    ) -> Spot {
        let spot = self.spot(seat);
        self.write_word(seat, from_word, to_word);
        self.stock[usize::from(spot.section)].shift(from, to);
        if to == SeatState::Available {
            self.unpick_seat(seat, &spot);
        }
        spot
    }

    /// Moves places from one state to another. From available they must have been picked; a place
    /// that is not in state `from` and `from_slot`'s is a broken invariant.
    pub(crate) fn transition(
        &mut self,
        places: &[PlaceRef],
        (from, from_slot): (SeatState, u32),
        (to, to_slot): (SeatState, u32),
    ) {
        let from = (from, SeatWord::of(from, from_slot));
        let to = (to, SeatWord::of(to, to_slot));
        for &place in places {
            match place.kind() {
                PlaceKind::Seat(seat) => {
                    self.move_seat(seat, from, to);
                }
                PlaceKind::Area(section) => self.move_in_area(section, from.0, to.0),
            }
        }
    }

    fn move_in_area(&mut self, section: SectionNo, from: SeatState, to: SeatState) {
        let stock = &mut self.stock[usize::from(section)];
        stock.shift(from, to);
        stock.available[0] += u32::from(to == SeatState::Available);
        match self.channels {
            Some(_) => self.balance_area(section),
            None => self.show_area(section),
        }
    }

    /// An area's counts as readers see them.
    pub(crate) fn show_area(&self, section: SectionNo) {
        let stock = &self.stock[usize::from(section)];
        let counts = AreaWord::pack(self.shown_held(section), stock.sold, stock.killed);
        self.areas[usize::from(section)].store(counts.0, Ordering::Release);
    }

    /// `transition` from picked to held, `announce` and `places` in one go; `full` is empty before.
    pub(crate) fn hold_picked(
        &mut self,
        (places, slot): (&[PlaceRef], u32),
        price_list: u16,
        (key_tag, until_ms): (u64, LogTimeMs),
        (full, changes): (&mut SmallVec<[Place; 4]>, &mut Vec<Change>),
    ) {
        let state = SeatState::Held;
        if !places.iter().all(|place| place.is_seat()) {
            self.transition(places, (SeatState::Available, 0), (state, slot));
            announce(self, places, state, key_tag, until_ms, changes);
            *full = self.places(places, price_list);
            return;
        }
        let from = (SeatState::Available, SeatWord::AVAILABLE);
        let to = (state, SeatWord::of(state, slot));
        let seats = Change::of_seats(self.event, state, (key_tag, until_ms), changes);
        for &PlaceRef(seat) in places {
            let Spot { section, category, .. } = self.move_seat(seat, from, to);
            let price_minor = self.prices[usize::from(price_list)][usize::from(category)];
            full.push(Place { seat: Some(seat), section, category, ticket_type: 0, price_minor });
            seats.push(seat);
        }
    }

    /// `transition` from held to available and `announce` in one go.
    pub(crate) fn free_held(&mut self, places: &[PlaceRef], slot: u32, changes: &mut Vec<Change>) {
        let state = SeatState::Available;
        if !places.iter().all(|place| place.is_seat()) {
            self.transition(places, (SeatState::Held, slot), (state, 0));
            announce(self, places, state, 0, 0, changes);
            return;
        }
        let from = (SeatState::Held, SeatWord::of(SeatState::Held, slot));
        let to = (state, SeatWord::AVAILABLE);
        let seats = Change::of_seats(self.event, state, (0, 0), changes);
        for &PlaceRef(seat) in places {
            self.move_seat(seat, from, to);
            seats.push(seat);
        }
    }
}
