//! Owns how an event's places are withdrawn and come back: what is available at once, what is
//! somebody's when it is given back.
//!
//! Must never take a place from its buyer.

use smallvec::SmallVec;

use crate::{
    change::Change,
    event::{EventState, PlaceKind, PlaceRef, SectionStock},
    ids::{SeatNo, SectionNo},
    outcome::AreaTaken,
    seat_word::{SeatState, SeatWord},
    shard::{announce, announce_area, announce_seats},
};

const AVAILABLE: (SeatState, u32) = (SeatState::Available, 0);
const KILLED: (SeatState, u32) = (SeatState::Killed, 0);

/// Gives an owner's places back: they are available again, or withdrawn where that waited.
pub(crate) fn give_back(
    event: &mut EventState,
    places: &[PlaceRef],
    owner: (SeatState, u32),
    changes: &mut Vec<Change>,
) {
    let settled = event.kills.are_settled() && event.channels.is_none();
    if settled && owner.0 == SeatState::Held {
        return event.free_held(places, owner.1, changes);
    }
    event.transition(places, owner, AVAILABLE);
    if settled {
        return announce(event, places, SeatState::Available, 0, 0, changes);
    }
    let mut doomed: SmallVec<[PlaceRef; 4]> = SmallVec::new();
    let mut others: SmallVec<[PlaceRef; 4]> = SmallVec::new();
    for &place in places {
        match place.kind() {
            PlaceKind::Seat(seat) if event.kills.has(seat) => {
                event.kills.pending -= 1;
                event.take_out(seat);
                doomed.push(place);
            }
            PlaceKind::Seat(_) => others.push(place),
            PlaceKind::Area(section) => {
                event.balance_area(section);
                others.push(place);
            }
        }
    }
    event.transition(&doomed, AVAILABLE, KILLED);
    event.announce_nobodys(&others, changes);
    if !doomed.is_empty() {
        announce(event, &doomed, SeatState::Killed, 0, 0, changes);
    }
}

impl EventState {
    /// What of an area is not simply available.
    pub(crate) fn taken(&self, section: SectionNo) -> AreaTaken {
        let SectionStock { held, sold, killed, .. } = self.stock[usize::from(section)];
        AreaTaken { section, held, sold, killed }
    }

    /// Seats that are withdrawn, or are to be when they are given back, ascending; and why.
    pub fn killed_seats(&self) -> impl Iterator<Item = (SeatNo, &str)> {
        self.kills.seats().filter_map(|seat| Some((seat, self.kills.reason(seat)?)))
    }

    /// Places of areas that are withdrawn, or are to be: section, reason, how many.
    pub fn killed_areas(&self) -> impl Iterator<Item = (SectionNo, &str, u32)> {
        self.kills.areas()
    }

    fn owned(&self, seat: SeatNo, state: SeatState) -> bool {
        let word = self.view.word(seat).filter(|&word| word != SeatWord::SET_ASIDE);
        word.unwrap_or(SeatWord::AVAILABLE).state() == state
    }

    /// Those of the seats that are in this state.
    pub(crate) fn seats_in(&self, seats: &[SeatNo], state: SeatState) -> Vec<SeatNo> {
        seats.iter().copied().filter(|&seat| self.owned(seat, state)).collect()
    }

    /// Withdraws seats that are not sold: the available ones now, the held ones, which are the
    /// answer, when they are given back.
    pub(crate) fn kill_seats(
        &mut self,
        seats: &[SeatNo],
        reason: &str,
        changes: &mut Vec<Change>,
    ) -> Vec<SeatNo> {
        let held = self.seats_in(seats, SeatState::Held);
        let available = self.seats_in(seats, SeatState::Available);
        let new = held.iter().filter(|&&seat| !self.kills.has(seat)).count();
        self.kills.pending += new as u32;
        self.kills.add_seats(seats, self.words.len(), reason);
        self.move_seats(&available, AVAILABLE, KILLED);
        announce_seats(self, &available, SeatState::Killed, changes);
        held
    }

    /// Seats that are withdrawn, or are to be, are available again, or stay their buyers'.
    pub(crate) fn return_seats(&mut self, seats: &[SeatNo], changes: &mut Vec<Change>) {
        let killed = self.seats_in(seats, SeatState::Killed);
        self.kills.pending -= (seats.len() - killed.len()) as u32;
        for &seat in seats {
            self.kills.remove_seat(seat);
        }
        self.move_seats(&killed, KILLED, AVAILABLE);
        let killed: Vec<PlaceRef> = killed.into_iter().map(PlaceRef::seat).collect();
        self.announce_nobodys(&killed, changes);
    }

    fn move_seats(&mut self, seats: &[SeatNo], from: (SeatState, u32), to: (SeatState, u32)) {
        for &seat in seats {
            let place = PlaceRef::seat(seat);
            if from == AVAILABLE {
                self.take_out(seat);
            }
            self.transition(&[place], from, to);
        }
    }

    /// Withdraws more places of an area, or, with `None`, returns some.
    pub(crate) fn change_area(
        &mut self,
        (section, places): (SectionNo, u32),
        reason: Option<&str>,
        changes: &mut Vec<Change>,
    ) {
        match reason {
            Some(reason) => self.kills.add_places(section, places, reason),
            None => self.kills.remove_places(section, places),
        }
        self.balance_area(section);
        announce_area(self, section, changes);
    }

    /// Places of an area that are neither held nor sold.
    pub(crate) fn nobodys(&self, section: SectionNo) -> u32 {
        let stock = &self.stock[usize::from(section)];
        let capacity = self.seat_map.section(section).and_then(|section| section.area_capacity);
        capacity.unwrap_or(0) - stock.held - stock.sold
    }

    /// As many places of an area are withdrawn as are to be and are nobody's; the rest that is
    /// nobody's is available.
    pub(crate) fn balance_area(&mut self, section: SectionNo) {
        let nobodys = self.nobodys(section);
        let stock = &mut self.stock[usize::from(section)];
        stock.killed = self.kills.wanted(section).min(nobodys);
        let nobodys = nobodys - stock.killed;
        stock.available[0] = match &mut self.channels {
            Some(channels) => channels.deal_area(section, nobodys),
            None => nobodys,
        };
        self.show_area(section);
    }

    /// Killed seats and places stand in the words again, after everybody has got theirs.
    pub(crate) fn restore_kills(&mut self) {
        let doomed: Vec<SeatNo> = self.kills.seats().collect();
        let killed = self.seats_in(&doomed, SeatState::Available);
        self.kills.pending = (doomed.len() - killed.len()) as u32;
        self.move_seats(&killed, AVAILABLE, KILLED);
        let areas: Vec<SectionNo> = self.kills.areas().map(|(section, _, _)| section).collect();
        areas.into_iter().for_each(|section| self.balance_area(section));
    }
}
