//! `ExtendHold`: a hold's clock starts again, as often as the event allows.

use super::ExtendHold;
use crate::{
    change::Change,
    codec::{Reader, put_u128, put_varint},
    error::DecodeError,
    hold::HoldState,
    ids::HoldId,
    outcome::{Done, Outcome, Rejection},
    seat_word::SeatState,
    shard::{Shard, announce, key_tag},
};

impl ExtendHold {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u128(out, self.hold.0);
        put_varint(out, self.extensions_seen.into());
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { hold: HoldId(r.u128()?), extensions_seen: r.u16("extensions_seen")? })
    }
}

impl Shard {
    pub(crate) fn extend_hold(
        &mut self,
        command: &ExtendHold,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        let Some(slot) = self.holds.slot(command.hold) else {
            return Outcome::rejected(Rejection::NotFound { what: "hold" });
        };
        let hold = &mut self.holds.slab[slot];
        if command.extensions_seen > hold.extensions() {
            let (field, reason) = ("extensions_seen", "is more than the hold has had");
            return Outcome::rejected(Rejection::Invalid { field, reason });
        }
        match hold.state {
            HoldState::Live => {}
            HoldState::InCheckout => return Outcome::rejected(Rejection::HoldInCheckout),
            _ => return Outcome::rejected(Rejection::HoldExpired),
        }
        let extended = |expires_at_ms, extensions| Done::Extended {
            hold: command.hold,
            expires_at_ms,
            extensions,
        };
        if command.extensions_seen < hold.extensions() {
            return Outcome::replayed(extended(hold.expires_at_ms(), hold.extensions()));
        }
        let event = &self.events[hold.event as usize];
        if hold.extensions() >= event.rules.hold_extensions_max {
            return Outcome::rejected(Rejection::ExtensionLimitReached);
        }
        // Where the ttl was shortened since, an extension must not take time away.
        let expires_at_ms = self.log_time_ms.saturating_add(event.rules.hold_ttl_ms.into());
        let (ttl_ms, longer) = (event.rules.hold_ttl_ms, expires_at_ms > hold.expires_at_ms());
        let expires_at_ms = hold.expires_at_ms().max(expires_at_ms);
        hold.set_extended(hold.extensions() + 1, expires_at_ms);
        let done = extended(expires_at_ms, hold.extensions());
        if longer {
            let tag = key_tag(hold.key);
            announce(event, hold.places(), SeatState::Held, tag, expires_at_ms, changes);
            self.schedule_hold(slot, ttl_ms);
        }
        Outcome::done(done)
    }
}
