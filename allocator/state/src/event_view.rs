//! Owns what other threads read of an event without waiting for the one that applies: names, rules
//! in force, and the words of seats and areas.
//!
//! Must never write a word.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use crate::{
    command::Rules,
    ids::{EventNo, LogTimeMs, SeatNo, SectionNo},
    seat_map::SeatMap,
    seat_word::{SeatState, SeatWord},
};

/// An area's counts in one word, so that a reader sees three that belong together: 21 bits each
/// for held, sold and killed, from the low bits up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AreaWord(pub u64);

impl AreaWord {
    const BITS: u32 = 21;
    const MASK: u64 = (1 << Self::BITS) - 1;

    pub(crate) fn pack(held: u32, sold: u32, killed: u32) -> Self {
        Self(
            u64::from(held) | u64::from(sold) << Self::BITS | u64::from(killed) << (2 * Self::BITS),
        )
    }

    /// Places held.
    pub fn held(self) -> u32 {
        (self.0 & Self::MASK) as u32
    }

    /// Places sold.
    pub fn sold(self) -> u32 {
        (self.0 >> Self::BITS & Self::MASK) as u32
    }

    /// Places withdrawn.
    pub fn killed(self) -> u32 {
        (self.0 >> (2 * Self::BITS) & Self::MASK) as u32
    }
}

/// An event as readers see it. Cheap to share; its words change under it.
#[derive(Debug)]
pub struct EventView {
    /// The event's number.
    pub event: EventNo,
    /// Its public id.
    pub event_id: Box<str>,
    /// The document's revision in force.
    pub revision: u64,
    /// ISO 4217.
    pub currency: [u8; 3],
    /// Holds are refused before this.
    pub onsale_at_ms: LogTimeMs,
    /// Prices in force by category.
    pub prices_minor: Arc<[u64]>,
    /// Limits in force.
    pub rules: Rules,
    /// Sections, rows and names.
    pub seat_map: Arc<SeatMap>,
    /// One word a seat ([`SeatWord`]), written by the thread that applies.
    pub(crate) words: Arc<[AtomicU32]>,
    /// One word a section ([`AreaWord`]); zero where seats are numbered.
    pub(crate) areas: Arc<[AtomicU64]>,
}

/// What is left of a section, and each seat's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionAvailability {
    /// The section.
    pub section: SectionNo,
    /// Places that may be held.
    pub available: u32,
    /// Places held.
    pub held: u32,
    /// Places sold.
    pub sold: u32,
    /// Places withdrawn.
    pub killed: u32,
    /// Two bits a seat, first seat in the low bits of the first byte, row order of the seat map:
    /// 0 available, 1 held, 2 sold, 3 killed. Empty in general admission.
    pub seats: Vec<u8>,
}

impl EventView {
    /// A seat's word; `None` where there is no such seat.
    pub fn word(&self, seat: SeatNo) -> Option<SeatWord> {
        self.words.get(seat as usize).map(|word| SeatWord(word.load(Ordering::Acquire)))
    }

    /// A seat's state; `None` where there is no such seat.
    pub fn seat_state(&self, seat: SeatNo) -> Option<SeatState> {
        self.word(seat).map(SeatWord::state)
    }

    /// A general admission area's counts; `None` for any other section.
    pub fn area(&self, section: SectionNo) -> Option<AreaWord> {
        self.seat_map.section(section)?.area_capacity?;
        Some(AreaWord(self.areas[usize::from(section)].load(Ordering::Acquire)))
    }

    /// One section's availability. While entries are being applied it is a mix of before and after.
    pub fn section_availability(&self, no: SectionNo) -> Option<SectionAvailability> {
        let section = self.seat_map.section(no)?;
        if let (Some(capacity), Some(area)) = (section.area_capacity, self.area(no)) {
            let (held, sold, killed) = (area.held(), area.sold(), area.killed());
            let available = capacity.saturating_sub(held + sold + killed);
            let seats = Vec::new();
            return Some(SectionAvailability { section: no, available, held, sold, killed, seats });
        }
        let mut counts = [0u32; 4];
        let mut seats = vec![0u8; (section.seats.len()).div_ceil(4)];
        let words = &self.words[section.seats.start as usize..section.seats.end as usize];
        for (at, word) in words.iter().enumerate() {
            let state = SeatWord(word.load(Ordering::Acquire)).state() as u8;
            counts[usize::from(state)] += 1;
            seats[at / 4] |= state << (at % 4 * 2);
        }
        let [available, held, sold, killed] = counts;
        Some(SectionAvailability { section: no, available, held, sold, killed, seats })
    }

    /// All sections' availability, in seat-map order.
    pub fn availability(&self) -> Vec<SectionAvailability> {
        let sections = 0..self.seat_map.sections().len();
        sections.filter_map(|no| self.section_availability(no as SectionNo)).collect()
    }
}
