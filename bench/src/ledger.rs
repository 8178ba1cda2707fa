//! Owns whose each seat is while a load runs: four bytes a seat, whatever the length of the run.
//!
//! An acknowledged hold is entered when its answer is there and taken out before its release is
//! sent, so a seat that is granted while it stands here has two owners. Must never excuse one.

use crate::{
    audit::{Kind, SeenSection, Violation},
    limits,
    random::Dice,
    seats::EventSeats,
};

/// How far clocks may be apart before a hold's own end counts as the end of its seats.
const CLOCK_MARGIN_S: u64 = 2;
/// Nobody's.
const FREE: u32 = 0;
/// Somebody's for good.
const FOREVER: u32 = u32::MAX;

/// A hold that is read back by its id at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// Public id.
    pub hold_id: String,
    /// Its secret.
    pub hold_token: String,
    /// When it ends by itself, Unix ms.
    pub expires_ms: u64,
}

/// The ledger.
pub struct Ledger {
    /// Until when each seat of each event is certainly somebody's, seconds since `base_ms`.
    until: Vec<Vec<u32>>,
    base_ms: u64,
    /// Holds entered.
    pub granted: u64,
    /// Requests whose outcome nobody knows: at most so many more seats may be held.
    pub unknown: u64,
    /// Broken promises found on the way; the first ones, all are counted.
    pub violations: Vec<Violation>,
    /// How many in all.
    pub violations_count: u64,
    sample: Vec<Sampled>,
    offered: u64,
    dice: Dice,
}

impl Ledger {
    /// Of events in which nothing is anybody's.
    pub fn new(events: &[EventSeats]) -> Ledger {
        let seats = |event: &EventSeats| usize::try_from(event.len()).unwrap_or(0);
        Ledger {
            until: events.iter().map(|event| vec![FREE; seats(event)]).collect(),
            base_ms: onsale_proto::time::now_ms().saturating_sub(1_000),
            granted: 0,
            unknown: 0,
            violations: Vec::new(),
            violations_count: 0,
            sample: Vec::new(),
            offered: 0,
            dice: Dice::new(1, 1),
        }
    }

    /// A seat was granted: the answer was there at `answered_ms`, the hold ends at `expires_ms`.
    pub fn claim(&mut self, (event, seat): (usize, u64), answered_ms: u64, expires_ms: u64) {
        self.granted += 1;
        let (now, until) = (self.seconds(answered_ms), self.seconds(expires_ms));
        let until = until.saturating_sub(u32::try_from(CLOCK_MARGIN_S).unwrap_or(0)).max(1);
        let Some(owned) = self.seat(event, seat) else { return };
        let twice = *owned > now;
        *owned = until.max(*owned);
        if twice {
            let what = format!("seat {seat} of event {event} was granted while it was another's");
            self.broken(Kind::Oversold, what);
        }
    }

    /// Its owner is about to give a seat back.
    pub fn give_up(&mut self, (event, seat): (usize, u64)) {
        if let Some(owned) = self.seat(event, seat) {
            *owned = FREE;
        }
    }

    /// A seat was sold.
    pub fn sold(&mut self, (event, seat): (usize, u64)) {
        if let Some(owned) = self.seat(event, seat) {
            *owned = FOREVER;
        }
    }

    /// Whether the next hold should be offered to [`Ledger::keep`]; an even sample of all of
    /// them, of a fixed size.
    pub fn wants(&mut self) -> bool {
        self.offered += 1;
        let place = self.dice.below(usize::try_from(self.offered).unwrap_or(usize::MAX));
        self.sample.len() < limits::SAMPLE_MAX || place < limits::SAMPLE_MAX
    }

    /// Keeps a hold to be read back.
    pub fn keep(&mut self, hold: Sampled) {
        if self.sample.len() < limits::SAMPLE_MAX {
            self.sample.push(hold);
        } else {
            let place = self.dice.below(self.sample.len());
            self.sample[place] = hold;
        }
    }

    /// The holds to be read back.
    pub fn sample(&self) -> Vec<Sampled> {
        self.sample.clone()
    }

    /// Whether an event has its seats here.
    pub fn covers(&self, event: usize) -> bool {
        self.until.get(event).is_some_and(|seats| !seats.is_empty())
    }

    /// What of an event's availability contradicts the ledger.
    pub fn check(&self, event: usize, seats: &EventSeats, seen: &[SeenSection]) -> Vec<Violation> {
        let now = self.seconds(onsale_proto::time::now_ms() + CLOCK_MARGIN_S * 1_000);
        let mut violations = Vec::new();
        for section in seen {
            for (state, seat) in section.states.iter().zip(section.first_seat..) {
                let place = usize::try_from(seat).ok();
                let until = place.and_then(|place| self.until.get(event)?.get(place).copied());
                let lost = match (until.unwrap_or(FREE), state) {
                    (FOREVER, 2) => false,
                    (FOREVER, _) => true,
                    (until, 0 | 3) => until > now,
                    _ => false,
                };
                if lost && violations.len() < limits::PRINTED_VIOLATIONS_MAX {
                    let id = seats.id(seat).unwrap_or_default();
                    let what = format!("seat {id} was acknowledged, but is shown as {state}");
                    violations.push(Violation { kind: Kind::LostAcknowledgement, what });
                }
            }
        }
        violations
    }

    fn broken(&mut self, kind: Kind, what: String) {
        self.violations_count += 1;
        if self.violations.len() < limits::PRINTED_VIOLATIONS_MAX {
            self.violations.push(Violation { kind, what });
        }
    }

    fn seat(&mut self, event: usize, seat: u64) -> Option<&mut u32> {
        self.until.get_mut(event)?.get_mut(usize::try_from(seat).ok()?)
    }

    fn seconds(&self, unix_ms: u64) -> u32 {
        let seconds = unix_ms.saturating_sub(self.base_ms) / 1_000;
        u32::try_from(seconds).unwrap_or(FOREVER - 1).min(FOREVER - 1)
    }
}

#[cfg(test)]
mod tests {
    use onsale_proto::time::now_ms;
    use serde_json::json;

    use super::*;

    fn event() -> EventSeats {
        let rows = json!([{"label": "A", "seats": 8}]);
        EventSeats::of_map("evt_a", &json!({"sections": [{"key": "1", "rows": rows}]}))
    }

    fn shown(states: [u8; 8]) -> Vec<SeenSection> {
        vec![SeenSection { states: states.to_vec(), ..SeenSection::default() }]
    }

    #[test]
    fn a_seat_that_is_granted_twice_is_found_at_once() {
        let mut ledger = Ledger::new(&[event()]);
        let now = now_ms();
        ledger.claim((0, 3), now, now + 600_000);
        ledger.claim((0, 4), now, now + 600_000);
        assert_eq!(ledger.violations_count, 0);
        ledger.claim((0, 3), now + 10, now + 600_000);
        assert_eq!(ledger.violations_count, 1);
        assert_eq!(ledger.violations[0].kind, Kind::Oversold);
    }

    #[test]
    fn a_seat_that_was_given_up_or_whose_hold_is_over_may_be_granted_again() {
        let mut ledger = Ledger::new(&[event()]);
        let now = now_ms();
        ledger.claim((0, 1), now, now + 600_000);
        ledger.give_up((0, 1));
        ledger.claim((0, 1), now + 5, now + 600_000);
        ledger.claim((0, 2), now, now + 5_000);
        ledger.claim((0, 2), now + 6_000, now + 600_000);
        assert_eq!(ledger.violations_count, 0, "{:?}", ledger.violations);
        ledger.sold((0, 5));
        ledger.claim((0, 5), now + 3_600_000, now + 4_000_000);
        assert_eq!(ledger.violations_count, 1, "a sold seat is sold for good");
    }

    #[test]
    fn an_acknowledged_seat_that_is_shown_as_free_is_lost() {
        let (event, now) = (event(), now_ms());
        let mut ledger = Ledger::new(std::slice::from_ref(&event));
        ledger.claim((0, 0), now, now + 600_000);
        ledger.sold((0, 1));
        assert_eq!(ledger.check(0, &event, &shown([1, 2, 0, 0, 0, 0, 0, 1])), []);
        let lost = ledger.check(0, &event, &shown([0, 1, 0, 0, 0, 0, 0, 0]));
        assert_eq!(lost.len(), 2, "a held seat is free, a sold one is not sold: {lost:?}");
        assert!(lost.iter().all(|lost| lost.kind == Kind::LostAcknowledgement));
    }

    #[test]
    fn the_sample_does_not_grow_with_the_run() {
        let mut ledger = Ledger::new(&[event()]);
        let mut kept = 0;
        for number in 0..20 * limits::SAMPLE_MAX {
            if ledger.wants() {
                kept += 1;
                let hold_id = format!("hold_{number}");
                ledger.keep(Sampled { hold_id, hold_token: String::new(), expires_ms: 0 });
            }
        }
        assert_eq!(ledger.sample().len(), limits::SAMPLE_MAX);
        let late = |hold: &&Sampled| hold.hold_id.len() > "hold_9999".len();
        assert!(kept > 2 * limits::SAMPLE_MAX && ledger.sample().iter().any(|hold| late(&hold)));
    }
}
