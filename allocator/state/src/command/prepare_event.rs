//! `PrepareEvent`: the control group stores a document that readers do not see yet, and gives a new
//! event its number and its shard.

use super::{Idempotency, PrepareEvent};
use crate::{
    codec::{Reader, put_bytes, put_varint},
    control::DocumentRecord,
    error::DecodeError,
    ids::{EventNo, ShardNo},
    limits::{COMMAND_BYTES_MAX, DOCUMENT_BYTES_MAX, NAME_BYTES_MAX},
    outcome::{Done, Outcome, Rejection},
    shard::Shard,
};

impl PrepareEvent {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.event_id.as_bytes());
        put_bytes(out, self.organizer.as_bytes());
        put_varint(out, self.revision);
        match &self.idempotency {
            None => out.push(0),
            Some(idempotency) => {
                out.push(1);
                idempotency.encode(out);
            }
        }
        put_bytes(out, &self.document);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            event_id: r.str(COMMAND_BYTES_MAX, "event_id")?,
            organizer: r.str(COMMAND_BYTES_MAX, "organizer")?,
            revision: r.varint()?,
            idempotency: r.opt(Idempotency::decode)?,
            document: r.bytes(COMMAND_BYTES_MAX, "document")?.into(),
        })
    }
}

impl Shard {
    pub(crate) fn prepare_event(&mut self, command: &PrepareEvent) -> Outcome {
        if let Some(asked) = &command.idempotency
            && let Some(owner) = self.find_key(asked.key)
        {
            return self.replay_staff(owner, asked);
        }
        if command.idempotency.is_some()
            && let Err(rejection) = self.check_key_room(0)
        {
            return Outcome::rejected(rejection);
        }
        let (replayed, done) = match self.store_document(command) {
            Ok(stored) => stored,
            Err(rejection) => return Outcome::rejected(rejection),
        };
        if let Some(idempotency) = command.idempotency {
            self.remember_answer(idempotency, done.clone());
        }
        Outcome { replayed, result: Ok(done) }
    }

    /// Stores the revision; says whether it was stored before.
    fn store_document(&mut self, command: &PrepareEvent) -> Result<(bool, Done), Rejection> {
        let invalid = |field, reason| Err(Rejection::Invalid { field, reason });
        let documents = self.control.documents.len();
        let known = self.control.documents.get_mut(&command.event_id);
        if known.is_none() && documents >= self.limits.events_max as usize {
            return Err(Rejection::Overloaded { bound: "events_max" });
        }
        if command.event_id.is_empty() || command.event_id.len() > NAME_BYTES_MAX {
            return invalid("event_id", "must have 1 to 64 bytes");
        }
        if command.organizer.is_empty() || command.organizer.len() > NAME_BYTES_MAX {
            return invalid("organizer", "must have 1 to 64 bytes");
        }
        if command.document.len() > DOCUMENT_BYTES_MAX {
            return invalid("document", "must have at most 2 MiB");
        }
        let Some(record) = known else {
            if command.revision != 1 {
                return Err(Rejection::StaleRevision { in_force: 0 });
            }
            // Documents are never removed, so their count is the last number given out.
            let event = documents as EventNo + 1;
            let shard = (documents % usize::from(self.shards)) as ShardNo + 1;
            let record = DocumentRecord {
                event_id: command.event_id.clone(),
                event,
                shard,
                organizer: command.organizer.clone(),
                published: None,
                prepared: Some((1, command.document.clone())),
                prepared_by: command.idempotency.map(|asked| asked.key),
                dropped: 0,
            };
            self.control.documents.insert(command.event_id.clone(), record);
            return Ok((false, Done::Prepared { event, shard, revision: 1 }));
        };
        if *record.organizer != *command.organizer {
            return invalid("organizer", "is not the event's");
        }
        let (event, shard) = (record.event, record.shard);
        let in_force = record.published.as_ref().map_or(0, |(revision, _)| *revision);
        // Numbers of revisions that were given up are not used again.
        let next = in_force.max(record.dropped) + 1;
        let same = |stored: &Option<(u64, Box<[u8]>)>, revision| {
            stored.as_ref().is_some_and(|(no, bytes)| *no == revision && *bytes == command.document)
        };
        if command.revision == in_force + 1 && same(&record.prepared, next) {
            return Ok((true, Done::Prepared { event, shard, revision: next }));
        }
        if same(&record.published, command.revision) || same(&record.prepared, command.revision) {
            return Ok((true, Done::Prepared { event, shard, revision: command.revision }));
        }
        // A prepared revision may be in force in its shard already: only publishing ends it.
        if record.prepared.is_some() || command.revision != in_force + 1 {
            return Err(Rejection::StaleRevision { in_force });
        }
        record.prepared = Some((next, command.document.clone()));
        record.prepared_by = command.idempotency.map(|asked| asked.key);
        Ok((false, Done::Prepared { event, shard, revision: next }))
    }
}
