//! `PublishEvent`: a prepared revision is in force in its shard, so readers may see it.

use super::PublishEvent;
use crate::{
    change::Change,
    codec::{Reader, put_bytes, put_varint},
    error::DecodeError,
    limits::COMMAND_BYTES_MAX,
    outcome::{Done, Outcome, Rejection},
    shard::Shard,
};

impl PublishEvent {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.event_id.as_bytes());
        put_varint(out, self.revision);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { event_id: r.str(COMMAND_BYTES_MAX, "event_id")?, revision: r.varint()? })
    }
}

impl Shard {
    pub(crate) fn publish_event(
        &mut self,
        command: &PublishEvent,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        let Some(record) = self.control.documents.get_mut(&command.event_id) else {
            return Outcome::rejected(Rejection::NotFound { what: "event" });
        };
        if let Some(prepared) =
            record.prepared.take_if(|(revision, _)| *revision == command.revision)
        {
            record.published = Some(prepared);
            record.prepared_by = None;
            let (event_id, revision) = (command.event_id.clone(), command.revision);
            changes.push(Change::Published { event_id, revision });
            return Outcome::done(Done::Ok);
        }
        match record.published.as_ref().map_or(0, |(revision, _)| *revision) {
            in_force if in_force == command.revision && in_force != 0 => {
                Outcome::replayed(Done::Ok)
            }
            in_force => Outcome::rejected(Rejection::StaleRevision { in_force }),
        }
    }
}
