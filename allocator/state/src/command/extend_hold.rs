//! `ExtendHold`: a hold's clock starts again, as often as the event allows.

use super::{ExtendHold, Idempotency};
use crate::{
    change::Change,
    codec::{Reader, put_u128, put_varint},
    dedup::KeyOwner,
    error::DecodeError,
    hold::{Extension, HoldState},
    ids::HoldId,
    outcome::{Outcome, Rejection},
    seat_word::SeatState,
    shard::{Shard, announce, key_tag},
};

impl ExtendHold {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u128(out, self.hold.0);
        put_varint(out, self.extensions_seen.into());
        out.push(self.idempotency.is_some().into());
        if let Some(idempotency) = &self.idempotency {
            idempotency.encode(out);
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            hold: HoldId(r.u128()?),
            extensions_seen: r.u16("extensions_seen")?,
            idempotency: r.opt(Idempotency::decode)?,
        })
    }
}

impl Shard {
    pub(crate) fn extend_hold(
        &mut self,
        command: &ExtendHold,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        if let Some(asked) = &command.idempotency
            && let Some(owner) = self.find_key(asked.key)
        {
            return self.replay_extension(owner, command.hold, asked);
        }
        self.try_extend(command, changes).unwrap_or_else(Outcome::rejected)
    }

    fn replay_extension(&self, owner: KeyOwner, hold: HoldId, asked: &Idempotency) -> Outcome {
        if let KeyOwner::Extension(slot) = owner
            && let known = &self.holds.slab[slot]
            && known.id == hold
            && let Some(done) = known.extension(asked.key)
            && done.request == asked.request
        {
            return Outcome::replayed(done.answer(hold));
        }
        Outcome::rejected(Rejection::IdempotencyKeyReused)
    }

    fn try_extend(
        &mut self,
        command: &ExtendHold,
        changes: &mut Vec<Change>,
    ) -> Result<Outcome, Rejection> {
        if command.idempotency.is_some() {
            self.check_key_room(0)?;
        }
        let slot = self.holds.slot(command.hold).ok_or(Rejection::NotFound { what: "hold" })?;
        let hold = self.holds.at(slot);
        if command.extensions_seen > hold.extensions() {
            let (field, reason) = ("extensions_seen", "is more than the hold has had");
            return Err(Rejection::Invalid { field, reason });
        }
        match hold.state() {
            HoldState::Live => {}
            HoldState::InCheckout => return Err(Rejection::HoldInCheckout),
            _ => return Err(Rejection::HoldExpired),
        }
        let event = &self.events[hold.event() as usize];
        let (ttl_ms, extensions_max) = (event.rules.hold_ttl_ms, event.rules.hold_extensions_max);
        let mut done = Extension {
            key: command.idempotency.map_or(0, |idempotency| idempotency.key),
            request: command.idempotency.map_or(0, |idempotency| idempotency.request),
            extended_at_ms: self.log_time_ms,
            expires_at_ms: hold.expires_at_ms(),
            extensions: hold.extensions(),
            extensions_max,
        };
        if command.extensions_seen < hold.extensions() {
            return Ok(Outcome::replayed(done.answer(hold.id)));
        }
        if hold.extensions() >= extensions_max {
            return Err(Rejection::ExtensionLimitReached);
        }
        if let Some(hoarding) = &event.hoarding {
            hoarding.check_time(&event.rules, hold.buyer, self.log_time_ms)?;
        }
        done.extensions += 1;
        // Where the ttl was shortened since, an extension must not take time away.
        let expires_at_ms = self.log_time_ms.saturating_add(ttl_ms.into());
        let longer = expires_at_ms > hold.expires_at_ms();
        done.expires_at_ms = done.expires_at_ms.max(expires_at_ms);
        if longer {
            let tag = key_tag(hold.key);
            announce(event, &hold.places(), SeatState::Held, tag, expires_at_ms, changes);
        }
        self.store_extension(slot, &done, command.idempotency.is_some());
        if longer {
            self.schedule_hold(slot, ttl_ms);
        }
        Ok(Outcome::done(done.answer(command.hold)))
    }

    fn store_extension(&mut self, slot: u32, done: &Extension, has_key: bool) {
        self.holds.extend(slot, done, has_key);
        if has_key {
            self.remember_key(done.key, KeyOwner::Extension(slot));
        }
    }
}
