//! Owns what a load asks for: the events, which seat is asked for next, which are known to be
//! sold, and the ledger of whose each seat is.
//!
//! Must never give a fresh seat out twice.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::{ledger::Ledger, random::Dice, seats::EventSeats};

/// Everything that connections share about the events.
pub struct Stock {
    /// The events.
    pub events: Vec<EventSeats>,
    /// Section keys of each event.
    pub sections: Vec<Vec<String>>,
    /// Sold seats to ask for in vain: event and seat.
    pub sold: Vec<(usize, u64)>,
    spread: bool,
    cursor: AtomicU64,
    ledger: Mutex<Ledger>,
}

impl Stock {
    /// `spread`: fresh seats of all events in turn, else of one event after the other.
    pub fn new(events: Vec<EventSeats>, spread: bool) -> Stock {
        let sections = events.iter().map(EventSeats::sections).collect();
        let ledger = Mutex::new(Ledger::new(&events));
        Stock { sections, sold: Vec::new(), spread, cursor: AtomicU64::new(0), ledger, events }
    }

    /// A seat nobody was asked for before: index of its event, and its number there.
    pub fn fresh(&self) -> Option<(usize, u64)> {
        let place = self.cursor.fetch_add(1, Ordering::Relaxed);
        if self.spread { spread(&self.events, place) } else { in_turn(&self.events, place) }
    }

    /// The next fresh seats begin behind so many.
    pub fn skip(&self, seats: u64) {
        self.cursor.fetch_add(seats, Ordering::Relaxed);
    }

    /// A seat that is known to be sold.
    pub fn lost(&self, dice: &mut Dice) -> Option<(usize, u64)> {
        self.sold.get(dice.below(self.sold.len())).copied()
    }

    /// One of the seats that everybody wants: the first hundred of the first event.
    pub fn front(&self, dice: &mut Dice) -> Option<(usize, u64)> {
        let seats = self.events.first()?.len().min(100);
        let seat = dice.below(usize::try_from(seats).ok()?);
        (seats > 0).then_some((0, u64::try_from(seat).ok()?))
    }

    /// An event and one of its sections.
    pub fn section(&self, dice: &mut Dice) -> Option<(&EventSeats, &str)> {
        let event = dice.below(self.events.len());
        let sections = self.sections.get(event)?;
        let key = sections.get(dice.below(sections.len()))?;
        Some((self.events.get(event)?, key))
    }

    /// The ledger; held for a moment only.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn in_turn(events: &[EventSeats], mut place: u64) -> Option<(usize, u64)> {
    for (index, event) in events.iter().enumerate() {
        if place < event.len() {
            return Some((index, place));
        }
        place -= event.len();
    }
    None
}

/// Events are used evenly as far as the smallest of them goes.
fn spread(events: &[EventSeats], place: u64) -> Option<(usize, u64)> {
    let count = u64::try_from(events.len()).ok().filter(|count| *count > 0)?;
    let smallest = events.iter().map(EventSeats::len).min()?;
    let (seat, index) = (place / count, usize::try_from(place % count).ok()?);
    (seat < smallest).then_some((index, seat))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;

    fn event(id: &str, rows: &[u64]) -> EventSeats {
        let rows: Vec<serde_json::Value> = rows
            .iter()
            .enumerate()
            .map(|(row, seats)| json!({"label": format!("R{row}"), "seats": seats}))
            .collect();
        let seated = json!({"key": "101", "kind": "seated", "rows": rows});
        EventSeats::of_map(id, &json!({"event_id": id, "sections": [seated]}))
    }

    #[test]
    fn each_seat_is_given_out_exactly_once() {
        let events =
            || vec![event("evt_a", &[7, 5]), event("evt_b", &[9]), event("evt_c", &[10, 3])];
        for (spread, expected) in [(false, 12 + 9 + 13), (true, 3 * 9)] {
            let stock = Stock::new(events(), spread);
            let mut seen = HashSet::new();
            while let Some((event, seat)) = stock.fresh() {
                assert!(stock.events[event].id(seat).is_some());
                assert!(seen.insert((event, seat)), "given twice");
            }
            assert_eq!(seen.len(), expected, "{spread}");
        }
        assert_eq!(Stock::new(Vec::new(), true).fresh(), None);
    }

    #[test]
    fn a_section_always_belongs_to_its_event() {
        let stock = Stock::new(vec![event("evt_a", &[7]), event("evt_b", &[9])], false);
        let mut dice = Dice::new(1, 1);
        for _ in 0..20 {
            assert_eq!(stock.section(&mut dice).map(|(_, key)| key), Some("101"));
        }
        assert_eq!(stock.lost(&mut dice), None, "nothing is sold yet");
    }
}
