//! `DropChange` and `DropRevision`: a change of an event that its shard refuses is given up, first
//! in the shard, so that it can never get in force later, then in the control group, so that
//! another may be stored.

use crate::{
    codec::{Reader, put_bytes, put_varint},
    error::DecodeError,
    ids::EventNo,
    limits::COMMAND_BYTES_MAX,
    outcome::{Done, Outcome, Rejection},
    shard::Shard,
};

/// Never put this revision in force. Refused as stale when it is in force already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropChange {
    /// The event.
    pub event: EventNo,
    /// The revision that was refused.
    pub revision: u64,
}

/// Forget a prepared revision that its shard will never put in force, with the key that brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropRevision {
    /// The event's public id.
    pub event_id: Box<str>,
    /// The prepared revision.
    pub revision: u64,
}

impl DropChange {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.event.into());
        put_varint(out, self.revision);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { event: r.u32("event")?, revision: r.varint()? })
    }
}

impl DropRevision {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.event_id.as_bytes());
        put_varint(out, self.revision);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { event_id: r.str(COMMAND_BYTES_MAX, "event_id")?, revision: r.varint()? })
    }
}

impl Shard {
    pub(crate) fn drop_change(&mut self, command: &DropChange) -> Outcome {
        let slot = match self.event_slot(command.event) {
            Ok(slot) => slot,
            Err(rejection) => return Outcome::rejected(rejection),
        };
        let event = &mut self.events[slot as usize];
        if command.revision <= event.revision {
            let in_force = event.revision;
            return Outcome::rejected(Rejection::StaleRevision { in_force });
        }
        let known = command.revision <= event.dropped;
        event.dropped = event.dropped.max(command.revision);
        Outcome { replayed: known, result: Ok(Done::Ok) }
    }

    pub(crate) fn drop_revision(&mut self, command: &DropRevision) -> Outcome {
        let Some(record) = self.control.documents.get_mut(&command.event_id) else {
            return Outcome::rejected(Rejection::NotFound { what: "event" });
        };
        let in_force = record.published.as_ref().map_or(0, |(revision, _)| *revision);
        let prepared = record.prepared.take_if(|(revision, _)| {
            // The first revision is an opening: there is nothing to go back to.
            *revision == command.revision && in_force > 0
        });
        if prepared.is_none() {
            return match command.revision <= record.dropped && command.revision != in_force {
                true => Outcome::replayed(Done::Ok),
                false => Outcome::rejected(Rejection::StaleRevision { in_force }),
            };
        }
        record.dropped = command.revision;
        if let Some(key) = record.prepared_by.take() {
            self.forget_answer(key);
        }
        Outcome::done(Done::Ok)
    }
}
