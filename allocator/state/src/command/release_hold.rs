//! `ReleaseHold`: the buyer gives seats back.

use super::ReleaseHold;
use crate::{
    change::Change,
    codec::{Reader, Sink, put_u128},
    error::DecodeError,
    hold::HoldState,
    ids::HoldId,
    outcome::{Done, Outcome, Rejection},
    shard::Shard,
};

impl ReleaseHold {
    #[inline(always)]
    pub(super) fn encode(&self, out: &mut impl Sink) {
        put_u128(out, self.hold.0);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { hold: HoldId(r.u128()?) })
    }
}

impl Shard {
    pub(crate) fn release_hold(
        &mut self,
        command: &ReleaseHold,
        (outcome, changes): (&mut Outcome, &mut Vec<Change>),
    ) {
        let Some(slot) = self.holds.slot(command.hold) else {
            outcome.result = Err(Rejection::NotFound { what: "hold" });
            return;
        };
        match self.holds.slab[slot].state() {
            HoldState::Live => {
                self.end_hold(slot, (HoldState::Released, self.log_time_ms), changes);
                outcome.result = Ok(Done::Ok);
            }
            HoldState::Released => *outcome = Outcome::replayed(Done::Ok),
            HoldState::InCheckout => outcome.result = Err(Rejection::HoldInCheckout),
            HoldState::Sold | HoldState::Expired => outcome.result = Err(Rejection::HoldExpired),
        }
    }
}
