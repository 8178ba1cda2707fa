//! `DropChannel`: nobody comes through a channel any more; what was set aside for it is everybody's
//! now, or when its buyers give it back.

use super::Idempotency;
use crate::{
    change::Change,
    codec::{Reader, put_bytes, put_varint},
    error::DecodeError,
    ids::EventNo,
    limits::COMMAND_BYTES_MAX,
    outcome::{Done, Outcome, Rejection},
    shard::Shard,
};

/// Forget a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropChannel {
    /// The event.
    pub event: EventNo,
    /// Key and content; `buyer` is the API key's hash.
    pub idempotency: Idempotency,
    /// The channel's key.
    pub key: Box<str>,
}

impl DropChannel {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.event.into());
        self.idempotency.encode(out);
        put_bytes(out, self.key.as_bytes());
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            event: r.u32("event")?,
            idempotency: Idempotency::decode(r)?,
            key: r.str(COMMAND_BYTES_MAX, "a channel's key")?,
        })
    }
}

impl Shard {
    pub(crate) fn drop_channel(
        &mut self,
        command: &DropChannel,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        self.answer_staff(&command.idempotency, |shard| {
            let slot = shard.event_slot(command.event)?;
            let event = &mut shard.events[slot as usize];
            if !event.drop_channel(&command.key, changes) {
                return Err(Rejection::NotFound { what: "channel" });
            }
            shard.reschedule(slot);
            Ok(Done::Ok)
        })
    }
}
