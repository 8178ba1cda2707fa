//! The control group's documents.

use onsale_state::{command::PrepareEvent, *};

use super::{Answer, HOUR, Naive, NaiveDocument, NaiveKey, invalid};

impl Naive {
    pub(super) fn prepare(&mut self, asked: &PrepareEvent) -> Answer {
        let reused = (false, Err(Rejection::IdempotencyKeyReused));
        if let Some(key) = &asked.idempotency {
            if let Some(known) = self.keys.get(&key.key) {
                let same =
                    known.request == key.request && (key.buyer_is_new || known.buyer == key.buyer);
                return if same { (true, Ok(known.answer.clone())) } else { reused };
            }
            if self.keys.len() >= self.limits.dedup_entries_max as usize {
                return (false, Err(Rejection::Overloaded { bound: "dedup_entries_max" }));
            }
        }
        let (replayed, revision) = match self.prepare_document(asked) {
            Ok(prepared) => prepared,
            Err(rejection) => return (false, Err(rejection)),
        };
        let known = &self.documents[&*asked.event_id];
        let (event, shard) = (known.event, known.shard);
        let answer = Done::Prepared { event, shard, revision };
        if let Some(key) = &asked.idempotency {
            let forget_at = Some(self.now + 24 * HOUR);
            let (request, buyer) = (key.request, key.buyer);
            let entry = NaiveKey { request, buyer, answer: answer.clone(), forget_at, staff: true };
            self.keys.insert(key.key, entry);
        }
        (replayed, Ok(answer))
    }

    /// Stores a revision; was it stored before, and under which number?
    fn prepare_document(&mut self, asked: &PrepareEvent) -> Result<(bool, u64), Rejection> {
        let count = self.documents.len();
        let bytes = asked.document.to_vec();
        let prepared_by = asked.idempotency.map(|key| key.key);
        match self.documents.get_mut(&*asked.event_id) {
            None if count >= self.limits.events_max as usize => {
                Err(Rejection::Overloaded { bound: "events_max" })
            }
            None if asked.revision != 1 => Err(Rejection::StaleRevision { in_force: 0 }),
            None => {
                let document = NaiveDocument {
                    event: count as u32 + 1,
                    shard: 1 + count as u16 % self.shards,
                    organizer: asked.organizer.to_string(),
                    published: None,
                    prepared: Some((1, bytes)),
                    prepared_by,
                    dropped: 0,
                };
                self.documents.insert(asked.event_id.to_string(), document);
                Ok((false, 1))
            }
            Some(known) if known.organizer != *asked.organizer => invalid("organizer"),
            Some(known) => {
                let in_force = known.published.as_ref().map_or(0, |published| published.0);
                let next = in_force.max(known.dropped) + 1;
                let follows = asked.revision == in_force + 1;
                let again = Some((next, bytes.clone()));
                if follows && known.prepared == again {
                    return Ok((true, next));
                }
                let same = Some((asked.revision, bytes));
                if known.published == same || known.prepared == same {
                    return Ok((true, asked.revision));
                }
                if known.prepared.is_some() || !follows {
                    return Err(Rejection::StaleRevision { in_force });
                }
                known.prepared = again;
                known.prepared_by = prepared_by;
                Ok((false, next))
            }
        }
    }

    pub(super) fn publish(&mut self, event_id: &str, revision: u64) -> Answer {
        let Some(document) = self.documents.get_mut(event_id) else {
            return (false, Err(Rejection::NotFound { what: "event" }));
        };
        if document.prepared.as_ref().is_some_and(|prepared| prepared.0 == revision) {
            document.published = document.prepared.take();
            document.prepared_by = None;
            return (false, Ok(Done::Ok));
        }
        let in_force = document.published.as_ref().map_or(0, |published| published.0);
        if in_force == revision && revision > 0 {
            return (true, Ok(Done::Ok));
        }
        (false, Err(Rejection::StaleRevision { in_force }))
    }
}
