//! Owns one event on sale: its rules, the stock of its sections, and the words readers see.
//!
//! Must never decide who may have a place, nor move one: that is `event_places`' part.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64},
};

use smallvec::SmallVec;

use crate::{
    buyer_limit::BuyerCounts,
    channels::Channels,
    codes::Codes,
    command::{ChangeOnsale, OpenOnsale, Rules},
    event_view::EventView,
    hoarding::Hoarding,
    hold_expiry::EventClock,
    ids::{EventNo, LogTimeMs, SeatNo, SectionNo},
    kills::Kills,
    offer::OfferState,
    seat_map::{SeatKind, SeatMap},
    seat_word::SeatWord,
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

    pub(crate) fn is_seat(self) -> bool {
        self.0 & Self::AREA == 0
    }

    pub(crate) fn kind(self) -> PlaceKind {
        if self.is_seat() { PlaceKind::Seat(self.0) } else { PlaceKind::Area(self.0 as SectionNo) }
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
    /// Available by [`SeatKind`]. General admission counts as ordinary.
    pub(crate) available: [u32; 3],
    pub(crate) held: u32,
    pub(crate) sold: u32,
    pub(crate) killed: u32,
    pub(crate) searched: Searched,
}

impl SectionStock {
    pub(crate) fn all_available(&self) -> u32 {
        self.available.iter().sum()
    }
}

/// What searches for best available seats found not to be in a section. Only saves searching:
/// where nothing is known, it is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Searched {
    /// By kind: no run of seats is longer.
    pub(crate) run_max: [u16; 3],
    /// A bit for each number of ordinary neighbours that only leave an orphan.
    pub(crate) orphaning: u64,
    /// By kind, a bit for each number of seats that no adjacent rows have.
    pub(crate) no_rows: [u64; 3],
}

impl Default for Searched {
    fn default() -> Self {
        Self { run_max: [u16::MAX; 3], orphaning: 0, no_rows: [0; 3] }
    }
}

impl Searched {
    /// A seat of this kind came back.
    pub(crate) fn forget(&mut self, kind: usize) {
        self.run_max[kind] = u16::MAX;
        self.no_rows[kind] = 0;
        self.orphaning = 0;
    }
}

/// Memory of what was not found decides nothing.
impl PartialEq for Searched {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Searched {}

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
    /// Ticket types, tiers and quotas, where there are any.
    pub(crate) offer: Option<Box<OfferState>>,
    pub(crate) rules: Rules,
    /// The largest limit per buyer that was ever in force; 0 if once there was none.
    pub(crate) buyer_ceiling: u16,
    pub(crate) seat_map: Arc<SeatMap>,
    pub(crate) words: Arc<[AtomicU32]>,
    pub(crate) areas: Arc<[AtomicU64]>,
    pub(crate) view: Arc<EventView>,
    /// A bit for each available seat; rows have words of their own.
    pub(crate) free: Vec<u64>,
    pub(crate) stock: Vec<SectionStock>,
    pub(crate) buyers: BuyerCounts,
    pub(crate) emails: BuyerCounts,
    pub(crate) cards: BuyerCounts,
    pub(crate) clock: EventClock,
    pub(crate) kills: Kills,
    pub(crate) codes: Codes,
    /// What buyers keep from others, where a rule asks.
    pub(crate) hoarding: Option<Box<Hoarding>>,
    /// Places set aside, where there are any.
    pub(crate) channels: Option<Box<Channels>>,
    /// Channels that there ever were.
    pub(crate) channels_made: u32,
    /// No revision up to this one will get in force, unless it is already.
    pub(crate) dropped: u64,
}

/// A bit for each seat.
fn all_free(seat_map: &SeatMap) -> Vec<u64> {
    let mut free = vec![0u64; seat_map.kind_words().len()];
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
        let words: Arc<[AtomicU32]> =
            (0..seat_map.seats()).map(|_| AtomicU32::new(SeatWord::AVAILABLE.0)).collect();
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
                let count = |kind| -> u32 {
                    words.clone().map(|at| seat_map.kind_words()[at].of(kind).count_ones()).sum()
                };
                let (accessible, companion) =
                    (count(SeatKind::Accessible), count(SeatKind::Companion));
                let ordinary = section.capacity() - accessible - companion;
                SectionStock {
                    available: [ordinary, accessible, companion],
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
            offer: open.offer.as_ref().map(|offer| Box::new(OfferState::new((**offer).clone()))),
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
            kills: Kills::default(),
            codes: Codes::default(),
            hoarding: Hoarding::under(&open.rules),
            channels: None,
            channels_made: 0,
            dropped: 0,
        }
    }

    /// Puts other rules, prices and capacities in force. The command has been validated.
    pub(crate) fn change(&mut self, change: &ChangeOnsale, offer: Option<Box<OfferState>>) {
        self.offer = offer;
        if **self.prices_in_force() != *change.prices_minor {
            self.prices.push(change.prices_minor.as_slice().into());
        }
        let before = |section| self.seat_map.section(section).and_then(|it| it.area_capacity);
        if change.capacities.iter().any(|&(section, places)| before(section) != Some(places)) {
            self.seat_map = Arc::new(self.seat_map.with_capacities(&change.capacities));
            change.capacities.iter().for_each(|&(section, _)| self.balance_area(section));
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
}
