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
        changes: &mut Vec<Change>,
    ) -> Outcome {
        let Some(slot) = self.holds.slot(command.hold) else {
            return Outcome::rejected(Rejection::NotFound { what: "hold" });
        };
        match self.holds.slab[slot].state() {
            HoldState::Live => {
                self.end_hold(slot, (HoldState::Released, self.log_time_ms), changes);
                Outcome::done(Done::Ok)
            }
            HoldState::Released => Outcome::replayed(Done::Ok),
            HoldState::InCheckout => Outcome::rejected(Rejection::HoldInCheckout),
            HoldState::Sold | HoldState::Expired => Outcome::rejected(Rejection::HoldExpired),
        }
    }
}
