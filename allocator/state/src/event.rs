//! Owns one event on sale: its rules, the stock of its sections, and the words readers see.
//!
//! The one place that moves a place from state to state. Must never decide who may have it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use smallvec::SmallVec;

use crate::{
    buyer_limit::BuyerCounts,
    command::{ChangeOnsale, OpenOnsale, Rules},
    event_view::{AreaWord, EventView},
    hold_expiry::EventClock,
    ids::{CategoryNo, EventNo, LogTimeMs, SeatNo, SectionNo},
    outcome::Place,
    seat_map::SeatMap,
    seat_word::{SeatState, SeatWord},
};

/// A place in four bytes: a numbered seat, or one place of a general admission area.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PlaceRef(pub(crate) u32);

impl PlaceRef {
    const AREA: u32 = 1 << 31;

    pub(crate) fn seat(seat: SeatNo) -> Self {
        Self(seat)
    }

    pub(crate) fn area(section: SectionNo) -> Self {
        Self(Self::AREA | u32::from(section))
    }

    pub(crate) fn kind(self) -> PlaceKind {
        if self.0 & Self::AREA == 0 {
            PlaceKind::Seat(self.0)
        } else {
            PlaceKind::Area(self.0 as SectionNo)
        }
    }
}

pub(crate) enum PlaceKind {
    Seat(SeatNo),
    Area(SectionNo),
}

pub(crate) type PlaceRefs = SmallVec<[PlaceRef; 4]>;

/// What is left of a section, and where the rest is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SectionStock {
    /// Available: `[plain, accessible]`. General admission counts as plain.
    pub(crate) available: [u32; 2],
    pub(crate) held: u32,
    pub(crate) sold: u32,
    pub(crate) killed: u32,
    /// No run of `[plain, accessible]` seats is longer than this. Only saves searching.
    pub(crate) run_max: [u16; 2],
}

/// An event on sale in this shard.
#[derive(Debug)]
pub struct EventState {
    pub(crate) event: EventNo,
    pub(crate) event_id: Box<str>,
    pub(crate) revision: u64,
    pub(crate) currency: [u8; 3],
    pub(crate) onsale_at_ms: LogTimeMs,
    /// All price lists that ever were in force; the last one is.
    pub(crate) prices: Vec<Arc<[u64]>>,
    pub(crate) rules: Rules,
    /// The largest limit per buyer that was ever in force; 0 if once there was none.
    pub(crate) buyer_ceiling: u16,
    pub(crate) seat_map: Arc<SeatMap>,
    pub(crate) words: Arc<[AtomicU64]>,
    pub(crate) areas: Arc<[AtomicU64]>,
    pub(crate) view: Arc<EventView>,
    /// A bit for each available seat; rows have words of their own.
    pub(crate) free: Vec<u64>,
    pub(crate) stock: Vec<SectionStock>,
    pub(crate) buyers: BuyerCounts,
    pub(crate) emails: BuyerCounts,
    pub(crate) cards: BuyerCounts,
    pub(crate) clock: EventClock,
}

/// A bit for each seat.
fn all_free(seat_map: &SeatMap) -> Vec<u64> {
    let mut free = vec![0u64; seat_map.accessible_words().len()];
    for row in seat_map.rows() {
        for (nth, word) in free[row.words()].iter_mut().enumerate() {
            let bits = usize::from(row.seats) - nth * 64;
            *word = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
        }
    }
    free
}

impl EventState {
    /// An event with everything available. The command has been validated, `seat_map` is its map.
    pub(crate) fn new(open: &OpenOnsale, seat_map: SeatMap) -> Self {
        let seat_map = Arc::new(seat_map);
        let words: Arc<[AtomicU64]> =
            (0..seat_map.seats()).map(|_| AtomicU64::new(SeatWord::AVAILABLE.0)).collect();
        let areas: Arc<[AtomicU64]> =
            seat_map.sections().iter().map(|_| AtomicU64::new(0)).collect();
        let prices: Arc<[u64]> = open.prices_minor.as_slice().into();
        let free = all_free(&seat_map);
        let stock = seat_map
            .sections()
            .iter()
            .map(|section| {
                let words =
                    seat_map.rows()[section.rows.clone()].iter().flat_map(|row| row.words());
                let accessible = words.map(|at| seat_map.accessible_words()[at].count_ones()).sum();
                SectionStock {
                    available: [section.capacity() - accessible, accessible],
                    run_max: [u16::MAX; 2],
                    ..SectionStock::default()
                }
            })
            .collect();
        let view = Arc::new(EventView {
            event: open.event,
            event_id: open.event_id.clone(),
            revision: open.revision,
            currency: open.currency,
            onsale_at_ms: open.onsale_at_ms,
            prices_minor: prices.clone(),
            rules: open.rules,
            seat_map: seat_map.clone(),
            words: words.clone(),
            areas: areas.clone(),
        });
        Self {
            event: open.event,
            event_id: open.event_id.clone(),
            revision: open.revision,
            currency: open.currency,
            onsale_at_ms: open.onsale_at_ms,
            prices: vec![prices],
            rules: open.rules,
            buyer_ceiling: open.rules.seats_per_buyer_max,
            seat_map,
            words,
            areas,
            view,
            free,
            stock,
            buyers: BuyerCounts::new(),
            emails: BuyerCounts::new(),
            cards: BuyerCounts::new(),
            clock: EventClock::default(),
        }
    }

    /// Puts other rules and prices in force. The command has been validated.
    pub(crate) fn change(&mut self, change: &ChangeOnsale) {
        if **self.prices_in_force() != *change.prices_minor {
            self.prices.push(change.prices_minor.as_slice().into());
        }
        self.revision = change.revision;
        self.onsale_at_ms = change.onsale_at_ms;
        self.rules = change.rules;
        let limit = change.rules.seats_per_buyer_max;
        self.buyer_ceiling =
            if limit == 0 || self.buyer_ceiling == 0 { 0 } else { self.buyer_ceiling.max(limit) };
        self.refresh_view();
    }

    pub(crate) fn refresh_view(&mut self) {
        self.view = Arc::new(EventView {
            event: self.event,
            event_id: self.event_id.clone(),
            revision: self.revision,
            currency: self.currency,
            onsale_at_ms: self.onsale_at_ms,
            prices_minor: self.prices_in_force().clone(),
            rules: self.rules,
            seat_map: self.seat_map.clone(),
            words: self.words.clone(),
            areas: self.areas.clone(),
        });
    }

    /// What other threads read: names, rules in force, and the seats' words. Another `Arc` after
    /// each change of rules; the words stay the same.
    pub fn view(&self) -> Arc<EventView> {
        self.view.clone()
    }

    /// The event's number.
    pub fn event(&self) -> EventNo {
        self.event
    }

    /// The event's public id.
    pub fn event_id(&self) -> &str {
        &self.event_id
    }

    /// The document's revision in force.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Seats that a session holds or has bought.
    pub fn seats_of_buyer(&self, buyer: crate::ids::BuyerHash) -> u32 {
        self.buyers.get(buyer)
    }

    pub(crate) fn prices_in_force(&self) -> &Arc<[u64]> {
        &self.prices[self.prices.len() - 1]
    }

    pub(crate) fn price_list(&self) -> u16 {
        (self.prices.len() - 1) as u16
    }

    /// A place in full, at the prices of a list.
    pub(crate) fn place(&self, place: PlaceRef, price_list: u16) -> Place {
        let (seat, section) = match place.kind() {
            PlaceKind::Seat(seat) => (Some(seat), self.seat_map.row_of(seat).map(|r| r.section)),
            PlaceKind::Area(section) => (None, Some(section)),
        };
        let section = section.unwrap_or(0);
        let category: CategoryNo = self.seat_map.sections()[usize::from(section)].category;
        let price_minor = self.prices[usize::from(price_list)][usize::from(category)];
        Place { seat, section, category, price_minor }
    }

    pub(crate) fn places(&self, places: &[PlaceRef], list: u16) -> SmallVec<[Place; 4]> {
        // A push at a time is cheaper here than what `collect` makes of an unknown length.
        let mut all = SmallVec::new();
        for &place in places {
            all.push(self.place(place, list));
        }
        all
    }

    pub(crate) fn total_minor(&self, places: &[PlaceRef], price_list: u16) -> u64 {
        places.iter().map(|&place| self.place(place, price_list).price_minor).sum()
    }

    fn bit(&self, seat: SeatNo) -> Option<(usize, u64, SectionNo)> {
        let row = self.seat_map.row_of(seat)?;
        let at = (seat - row.first_seat) as usize;
        Some((row.first_word + at / 64, 1 << (at % 64), row.section))
    }

    /// Reads what a hold or release of a seat will read; see `Shard::warm_up`.
    pub(crate) fn touch(&self, seat: SeatNo) -> u64 {
        self.bit(seat).map_or(0, |(word, _, _)| {
            self.free[word] ^ self.words[seat as usize].load(Ordering::Relaxed)
        })
    }

    /// Is the seat there, and can it be held?
    pub(crate) fn is_free(&self, seat: SeatNo) -> Option<bool> {
        self.bit(seat).map(|(word, bit, _)| self.free[word] & bit != 0)
    }

    /// Takes an available place out of the stock, on its way to `grant` or back by `unpick`.
    pub(crate) fn pick(&mut self, place: PlaceRef) {
        match place.kind() {
            PlaceKind::Area(section) => {
                let available = &mut self.stock[usize::from(section)].available[0];
                assert!(*available > 0, "an empty area gave a place");
                *available -= 1;
            }
            PlaceKind::Seat(seat) => {
                let Some((word, bit, section)) = self.bit(seat) else {
                    panic!("seat {seat} is not in the seat map");
                };
                assert!(self.free[word] & bit != 0, "seat {seat} was picked twice");
                self.free[word] &= !bit;
                let kind = usize::from(self.seat_map.accessible_words()[word] & bit != 0);
                self.stock[usize::from(section)].available[kind] -= 1;
            }
        }
    }

    /// Puts a picked place back into the stock.
    pub(crate) fn unpick(&mut self, place: PlaceRef) {
        match place.kind() {
            PlaceKind::Area(section) => self.stock[usize::from(section)].available[0] += 1,
            PlaceKind::Seat(seat) => {
                let Some((word, bit, section)) = self.bit(seat) else {
                    panic!("seat {seat} is not in the seat map");
                };
                assert!(self.free[word] & bit == 0, "seat {seat} was returned twice");
                self.free[word] |= bit;
                let kind = usize::from(self.seat_map.accessible_words()[word] & bit != 0);
                let stock = &mut self.stock[usize::from(section)];
                stock.available[kind] += 1;
                stock.run_max[kind] = u16::MAX;
            }
        }
    }

    /// Moves places from one state to another. From available they must have been picked; a place
    /// that is not in state `from` and `from_slot`'s is a broken invariant.
    pub(crate) fn transition(
        &mut self,
        places: &[PlaceRef],
        (from, from_slot): (SeatState, u32),
        (to, to_slot): (SeatState, u32),
    ) {
        let expected = match from {
            SeatState::Available => SeatWord::AVAILABLE,
            _ => SeatWord::owned(from, from_slot),
        };
        let word = match to {
            SeatState::Available => SeatWord::AVAILABLE,
            _ => SeatWord::owned(to, to_slot),
        };
        for &place in places {
            let section = match place.kind() {
                PlaceKind::Area(section) => section,
                PlaceKind::Seat(seat) => {
                    // One thread writes, so that reading its own word needs no order.
                    let cell = &self.words[seat as usize];
                    let now = cell.load(Ordering::Relaxed);
                    assert!(now == expected.0, "seat {seat} has word {now:x}, not {expected:?}");
                    cell.store(word.0, Ordering::Release);
                    self.seat_map.row_of(seat).map_or(0, |row| row.section)
                }
            };
            let stock = &mut self.stock[usize::from(section)];
            match from {
                SeatState::Available => {}
                SeatState::Held => stock.held -= 1,
                SeatState::Sold => stock.sold -= 1,
                SeatState::Killed => stock.killed -= 1,
            }
            match to {
                SeatState::Available => {}
                SeatState::Held => stock.held += 1,
                SeatState::Sold => stock.sold += 1,
                SeatState::Killed => stock.killed += 1,
            }
            if to == SeatState::Available {
                self.unpick(place);
            }
            if let PlaceKind::Area(section) = place.kind() {
                let stock = &self.stock[usize::from(section)];
                let counts = AreaWord::pack(stock.held, stock.sold, stock.killed);
                self.areas[usize::from(section)].store(counts.0, Ordering::Release);
            }
        }
    }
}
