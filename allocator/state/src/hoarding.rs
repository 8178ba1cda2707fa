//! Owns how much each buyer keeps from the others: live holds, and the time seats have stood in
//! holds that came to no order. Only for events whose rules bound it; the others have none of this.
//!
//! A hold counts from when it was granted until it ends: an extension, or another hold beside it,
//! starts no clock again. What became an order is not counted. Must never end a hold.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    codec::{Reader, put_u64, put_varint},
    command::Rules,
    error::DecodeError,
    event::EventState,
    hold::HoldRef,
    ids::{BuyerHash, LogTimeMs},
    limits::HOARDERS_MAX,
    outcome::Rejection,
    shard::Shard,
};

/// What a buyer keeps now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kept {
    holds: u32,
    seats: u32,
    /// When they were held, summed over all seats.
    since_ms: u128,
}

/// What all buyers of an event keep and kept; buyer 0 is nobody.
#[derive(Debug, Default)]
pub(crate) struct Hoarding {
    kept: BTreeMap<BuyerHash, Kept>,
    /// Milliseconds of seats in holds that ended without an order; of those who spent most.
    spent_ms: BTreeMap<BuyerHash, u64>,
    /// The same, the least first.
    least: BTreeSet<(u64, BuyerHash)>,
}

impl Rules {
    pub(crate) fn bound_hoarding(&self) -> bool {
        self.holds_per_buyer_max > 0 || self.hold_seconds_per_buyer_max > 0
    }
}

impl Hoarding {
    /// Nothing, for an event with such rules.
    pub(crate) fn under(rules: &Rules) -> Option<Box<Self>> {
        rules.bound_hoarding().then(Box::default)
    }

    /// Refuses a buyer's next hold; `others` would be granted before.
    pub(crate) fn check_hold(
        &self,
        rules: &Rules,
        buyer: BuyerHash,
        others: usize,
        now: LogTimeMs,
    ) -> Result<(), Rejection> {
        let holds_max = rules.holds_per_buyer_max;
        let holds = self.kept.get(&buyer).map_or(0, |kept| kept.holds) as usize + others;
        if buyer != 0 && holds_max > 0 && holds >= usize::from(holds_max) {
            return Err(Rejection::HoardingLimitReached { holds_max, hold_seconds_max: 0 });
        }
        self.check_time(rules, buyer, now)
    }

    /// Refuses a buyer who has kept seats for too long.
    pub(crate) fn check_time(
        &self,
        rules: &Rules,
        buyer: BuyerHash,
        now: LogTimeMs,
    ) -> Result<(), Rejection> {
        let hold_seconds_max = rules.hold_seconds_per_buyer_max;
        if hold_seconds_max == 0 {
            return Ok(());
        }
        let kept = self.kept.get(&buyer).copied().unwrap_or_default();
        let keeping_ms = u128::from(kept.seats) * u128::from(now) - kept.since_ms;
        if keeping_ms + u128::from(self.spent_ms(buyer)) >= u128::from(hold_seconds_max) * 1000 {
            return Err(Rejection::HoardingLimitReached { holds_max: 0, hold_seconds_max });
        }
        Ok(())
    }

    pub(crate) fn spent_ms(&self, buyer: BuyerHash) -> u64 {
        self.spent_ms.get(&buyer).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, buyer: BuyerHash, seats: usize, held_at_ms: LogTimeMs) {
        if buyer != 0 {
            let kept = self.kept.entry(buyer).or_default();
            kept.holds += 1;
            kept.seats += seats as u32;
            kept.since_ms += seats as u128 * u128::from(held_at_ms);
        }
    }

    fn add_hold(&mut self, hold: &HoldRef<'_>) {
        self.add(hold.buyer, hold.places().len(), hold.held_at_ms());
    }

    /// A hold has become an order, or is over.
    pub(crate) fn subtract(&mut self, hold: &HoldRef<'_>) {
        if hold.buyer == 0 {
            return;
        }
        let seats = hold.places().len();
        let Some(kept) = self.kept.get_mut(&hold.buyer) else {
            panic!("a hold was not counted");
        };
        kept.holds -= 1;
        kept.seats -= seats as u32;
        kept.since_ms -= seats as u128 * u128::from(hold.held_at_ms());
        if kept.holds == 0 {
            self.kept.remove(&hold.buyer);
        }
    }

    /// A hold is over that came to no order.
    pub(crate) fn spend(&mut self, hold: &HoldRef<'_>, until_ms: LogTimeMs) {
        self.subtract(hold);
        let ms = until_ms.saturating_sub(hold.held_at_ms());
        self.add_spent(hold.buyer, ms.saturating_mul(hold.places().len() as u64));
    }

    fn add_spent(&mut self, buyer: BuyerHash, ms: u64) {
        if buyer == 0 || ms == 0 {
            return;
        }
        let before = self.spent_ms(buyer);
        let spent_ms = before.saturating_add(ms);
        self.least.remove(&(before, buyer));
        self.least.insert((spent_ms, buyer));
        self.spent_ms.insert(buyer, spent_ms);
        if self.spent_ms.len() > HOARDERS_MAX
            && let Some((_, least)) = self.least.pop_first()
        {
            self.spent_ms.remove(&least);
        }
    }

    /// Do both see the same holds, and does each have its memory in order?
    pub(crate) fn counts_as(&self, recounted: &Self) -> bool {
        let order = self.spent_ms.iter().map(|(&buyer, &ms)| (ms, buyer));
        self.kept == recounted.kept && self.least == order.collect()
    }

    /// What cannot be counted again from the holds.
    pub(crate) fn encode_spent(&self, out: &mut Vec<u8>) {
        put_varint(out, self.spent_ms.len() as u64);
        for (&buyer, &ms) in &self.spent_ms {
            put_u64(out, buyer);
            put_varint(out, ms);
        }
    }

    pub(crate) fn decode_spent(&mut self, r: &mut Reader<'_>) -> Result<(), DecodeError> {
        let mut last = 0;
        for _ in 0..r.count(HOARDERS_MAX, 9, "buyers")? {
            let (buyer, ms) = (r.u64()?, r.varint()?);
            if buyer <= last || ms == 0 {
                return Err(DecodeError::Invalid { what: "a buyer" });
            }
            last = buyer;
            self.add_spent(buyer, ms);
        }
        Ok(())
    }
}

impl EventState {
    /// How long seats of a buyer stood in holds that ended without an order, where a rule asks:
    /// milliseconds, summed over the seats.
    pub fn spent_seat_ms(&self, buyer: BuyerHash) -> u64 {
        self.hoarding.as_ref().map_or(0, |hoarding| hoarding.spent_ms(buyer))
    }
}

impl Shard {
    /// What is kept of an event now. Visits every hold: for changes by the organizer only.
    pub(crate) fn recount_hoarding(&self, event_slot: u32) -> Hoarding {
        let mut counted = Hoarding::default();
        let holds = self.holds.iter().map(|(_, hold)| hold);
        let its = |hold: &HoldRef<'_>| hold.event() == event_slot && hold.state().has_seats();
        holds.filter(its).for_each(|hold| counted.add_hold(&hold));
        counted
    }

    /// Begins to count where a rule begins to ask, with the holds there are; or ends it.
    pub(crate) fn renew_hoarding(&mut self, event_slot: u32) {
        let event = &self.events[event_slot as usize];
        match (event.rules.bound_hoarding(), event.hoarding.is_some()) {
            (true, false) => {
                let counted = self.recount_hoarding(event_slot);
                self.events[event_slot as usize].hoarding = Some(Box::new(counted));
            }
            (false, _) => self.events[event_slot as usize].hoarding = None,
            (true, true) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_spent_most_are_remembered_and_the_least_forgotten() {
        let mut hoarding = Hoarding::default();
        let most = HOARDERS_MAX as u64;
        for buyer in 1..=most + 1 {
            hoarding.add_spent(buyer, most + 2 - buyer);
        }
        assert_eq!((hoarding.spent_ms.len(), hoarding.least.len()), (HOARDERS_MAX, HOARDERS_MAX));
        assert_eq!((hoarding.spent_ms(1), hoarding.spent_ms(most)), (most + 1, 2));
        assert_eq!(hoarding.spent_ms(most + 1), 0);
        assert!(hoarding.counts_as(&Hoarding::default()));
    }
}
