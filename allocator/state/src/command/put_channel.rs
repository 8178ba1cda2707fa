//! `PutChannel`: places are set aside for who comes through a channel; a channel that is there
//! already has these places from now on. Nothing is taken from a buyer.

use super::{Idempotency, Selection};
use crate::{
    change::Change,
    channels::ChannelKeyHash,
    codec::{Reader, put_bytes, put_opt_varint, put_varint},
    error::DecodeError,
    ids::{EventNo, LogTimeMs},
    limits::{COMMAND_BYTES_MAX, NAME_BYTES_MAX},
    outcome::{Done, Outcome, Rejection},
    shard::Shard,
};

/// Set places aside for a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutChannel {
    /// The event.
    pub event: EventNo,
    /// Key and content; `buyer` is the API key's hash.
    pub idempotency: Idempotency,
    /// The channel's key: 1 to 64 bytes, unique in the event.
    pub key: Box<str>,
    /// Keyed hash of its secret; without one everybody may use it who knows its key.
    pub key_hash: Option<ChannelKeyHash>,
    /// All that is set aside for it.
    pub places: Selection,
    /// When what is unsold goes to the general pool.
    pub release_at_ms: Option<LogTimeMs>,
    /// May its buyers have what everybody may, where its own places do not suffice?
    pub general_too: bool,
}

impl PutChannel {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.event.into());
        self.idempotency.encode(out);
        put_bytes(out, self.key.as_bytes());
        out.push(self.key_hash.is_some().into());
        out.extend(self.key_hash.iter().flatten());
        self.places.encode(out);
        put_opt_varint(out, self.release_at_ms);
        out.push(self.general_too.into());
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            event: r.u32("event")?,
            idempotency: Idempotency::decode(r)?,
            key: r.str(COMMAND_BYTES_MAX, "a channel's key")?,
            key_hash: r.opt(Reader::array)?,
            places: Selection::decode(r)?,
            release_at_ms: r.opt(Reader::varint)?,
            general_too: r.bool()?,
        })
    }
}

impl Shard {
    pub(crate) fn put_channel(
        &mut self,
        command: &PutChannel,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        self.answer_staff(&command.idempotency, |shard| shard.try_put_channel(command, changes))
    }

    fn try_put_channel(
        &mut self,
        command: &PutChannel,
        changes: &mut Vec<Change>,
    ) -> Result<Done, Rejection> {
        let slot = self.event_slot(command.event)?;
        let event = &mut self.events[slot as usize];
        let invalid = |field, reason| Err(Rejection::Invalid { field, reason });
        if !(1..=NAME_BYTES_MAX).contains(&command.key.len()) {
            return invalid("key", "must have 1 to 64 bytes");
        }
        command.places.check_places(event)?;
        if command.release_at_ms.is_some_and(|at| at <= self.log_time_ms) {
            return invalid("release_at", "must be in the future");
        }
        event.check_allotment(&command.key, &command.places)?;
        event.put_channel(command, changes);
        self.reschedule(slot);
        Ok(Done::Ok)
    }
}
