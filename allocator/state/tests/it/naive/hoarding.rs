//! What buyers keep from others: every hold is asked each time.

use onsale_state::*;

use super::{Naive, NaiveHold};

impl Naive {
    fn kept_by(&self, event: u32, buyer: u64) -> Vec<&NaiveHold> {
        let kept = |hold: &&NaiveHold| {
            (hold.event, hold.buyer) == (event, buyer)
                && matches!(hold.state, HoldState::Live | HoldState::InCheckout)
        };
        self.holds.values().filter(kept).collect()
    }

    /// Before another hold, or an extension of one.
    pub(super) fn check_hoarding(
        &self,
        event: u32,
        buyer: u64,
        another: bool,
    ) -> Result<(), Rejection> {
        let rules = self.events[&event].open.rules;
        let (holds_max, hold_seconds_max) =
            (rules.holds_per_buyer_max, rules.hold_seconds_per_buyer_max);
        let kept = self.kept_by(event, buyer);
        if buyer == 0 {
            return Ok(());
        }
        if another && holds_max > 0 && kept.len() + 1 > holds_max.into() {
            return Err(Rejection::HoardingLimitReached { holds_max, hold_seconds_max: 0 });
        }
        let ms = |hold: &&NaiveHold| {
            hold.answer.places.len() as u64 * (self.now - hold.answer.held_at_ms)
        };
        let now: u64 = kept.iter().map(ms).sum();
        let before = self.events[&event].spent.get(&buyer).copied().unwrap_or(0);
        if hold_seconds_max > 0 && before + now >= u64::from(hold_seconds_max) * 1000 {
            return Err(Rejection::HoardingLimitReached { holds_max: 0, hold_seconds_max });
        }
        Ok(())
    }

    /// A hold that stood until then comes to no order.
    pub(super) fn spend(&mut self, hold: u128, until: u64) {
        let hold = &self.holds[&hold];
        let ms = hold.answer.places.len() as u64 * (until - hold.answer.held_at_ms);
        let event = self.events.get_mut(&hold.event).expect("event");
        let rules = event.open.rules;
        let asked = rules.holds_per_buyer_max > 0 || rules.hold_seconds_per_buyer_max > 0;
        if asked && hold.buyer != 0 && ms > 0 {
            *event.spent.entry(hold.buyer).or_default() += ms;
        }
    }
}
