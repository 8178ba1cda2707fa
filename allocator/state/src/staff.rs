//! Owns what staff's commands were answered, so that a repeat is answered the same (design D13):
//! organizers' and support's, in the control group and in selling shards alike.
//!
//! Must never store a refusal.

use std::collections::VecDeque;

use crate::{
    audit,
    codec::{Reader, put_varint},
    command::Idempotency,
    dedup::KeyOwner,
    error::DecodeError,
    ids::{KeyHash, LogTimeMs, OrderId},
    limits::{DEDUP_ORDER_MS, EVENT_SEATS_MAX, EVENT_SECTIONS_MAX, HOLD_SEATS_MAX},
    outcome::{Done, Outcome, Rejection},
    shard::Shard,
    slab::Slab,
};

/// What one command was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StaffAnswer {
    pub(crate) idempotency: Idempotency,
    pub(crate) forget_at_ms: LogTimeMs,
    pub(crate) answer: Done,
}

/// All answers that are remembered.
#[derive(Debug)]
pub(crate) struct StaffAnswers {
    pub(crate) slab: Slab<StaffAnswer>,
    /// In the order in which they are forgotten.
    pub(crate) keys: VecDeque<(LogTimeMs, u32)>,
}

impl StaffAnswers {
    pub(crate) fn new() -> Self {
        Self { slab: Slab::new(), keys: VecDeque::new() }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.keys.len() as u64);
        for &(_, slot) in &self.keys {
            let answer = &self.slab[slot];
            answer.idempotency.encode(out);
            put_varint(out, answer.forget_at_ms);
            audit::put_done(out, &answer.answer, None, 0);
        }
    }
}

impl Done {
    /// Reads an answer to staff as `put_done` wrote it.
    fn decode_for_staff(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.u8()? {
            0 => Self::Ok,
            7 => Self::Prepared {
                event: r.u32("event")?,
                shard: r.u16("shard")?,
                revision: r.varint()?,
            },
            8 => {
                let killed = r.u32("killed")?;
                let seats = r.count(EVENT_SEATS_MAX as usize, 1, "seats")?;
                let pending = (0..seats).map(|_| r.u32("a seat")).collect::<Result<_, _>>()?;
                let areas = r.count(EVENT_SECTIONS_MAX, 2, "areas")?;
                let area = |_| Ok((r.u16("a section")?, r.u32("places")?));
                let pending_areas = (0..areas).map(area).collect::<Result<_, DecodeError>>()?;
                Self::Killed { killed, pending, pending_areas }
            }
            9 => Self::Returned { returned: r.u32("returned")? },
            10 => Self::Swapped {
                order: OrderId(r.u128()?),
                ticket: r.u16("a ticket")?,
                new_ticket: r.u16("a ticket")?,
                from: r.u32("a seat")?,
                to: r.u32("a seat")?,
            },
            11 => {
                let order = OrderId(r.u128()?);
                let tickets = r.count(HOLD_SEATS_MAX, 1, "tickets")?;
                let tickets = (0..tickets).map(|_| r.u16("a ticket")).collect::<Result<_, _>>()?;
                Self::Renamed { order, tickets }
            }
            20 => Self::CodesPut { codes: r.u32("codes")? },
            _ => return Err(DecodeError::Invalid { what: "an answer" }),
        })
    }
}

impl Shard {
    /// Answers a staff's command: as before if its key is known, else with what `apply` does, which
    /// is remembered.
    pub(crate) fn answer_staff(
        &mut self,
        asked: &Idempotency,
        apply: impl FnOnce(&mut Self) -> Result<Done, Rejection>,
    ) -> Outcome {
        if let Some(owner) = self.find_key(asked.key) {
            return self.replay_staff(owner, asked);
        }
        if let Err(rejection) = self.check_key_room(0) {
            return Outcome::rejected(rejection);
        }
        match apply(self) {
            Ok(done) => {
                self.remember_answer(*asked, done.clone());
                Outcome::done(done)
            }
            Err(rejection) => Outcome::rejected(rejection),
        }
    }

    /// Keeps an answer as long as staff's keys live.
    pub(crate) fn remember_answer(&mut self, idempotency: Idempotency, answer: Done) {
        let forget_at_ms = self.log_time_ms.saturating_add(DEDUP_ORDER_MS);
        self.add_staff_answer(StaffAnswer { idempotency, forget_at_ms, answer });
    }

    fn add_staff_answer(&mut self, answer: StaffAnswer) {
        let (key, at) = (answer.idempotency.key, answer.forget_at_ms);
        let slot = self.staff.slab.insert(answer);
        self.staff.keys.push_back((at, slot));
        self.remember_key(key, KeyOwner::Staff(slot));
    }

    pub(crate) fn replay_staff(&self, owner: KeyOwner, asked: &Idempotency) -> Outcome {
        if let KeyOwner::Staff(slot) = owner {
            let known = &self.staff.slab[slot];
            let same_buyer = asked.buyer_is_new || asked.buyer == known.idempotency.buyer;
            if asked.request == known.idempotency.request && same_buyer {
                return Outcome::replayed(known.answer.clone());
            }
        }
        Outcome::rejected(Rejection::IdempotencyKeyReused)
    }

    /// Forgets the answer of a command whose effect was taken back, so that it may be tried again.
    pub(crate) fn forget_answer(&mut self, key: KeyHash) {
        if let Some(KeyOwner::Staff(slot)) = self.find_key(key) {
            self.staff.keys.retain(|&(_, kept)| kept != slot);
            self.dedup.remove(key, KeyOwner::Staff(slot));
            self.staff.slab.remove(slot);
        }
    }

    /// Forgets the answers whose time is over.
    pub(crate) fn forget_answers(&mut self) {
        let now = self.log_time_ms;
        while let Some(&(_, slot)) = self.staff.keys.front().filter(|&&(at, _)| at <= now) {
            self.staff.keys.pop_front();
            let key = self.staff.slab[slot].idempotency.key;
            self.dedup.remove(key, KeyOwner::Staff(slot));
            self.staff.slab.remove(slot);
        }
    }

    pub(crate) fn decode_staff(&mut self, r: &mut Reader<'_>) -> Result<(), DecodeError> {
        for _ in 0..r.count(usize::MAX, 35, "answers")? {
            let answer = StaffAnswer {
                idempotency: Idempotency::decode(r)?,
                forget_at_ms: r.varint()?,
                answer: Done::decode_for_staff(r)?,
            };
            if self.find_key(answer.idempotency.key).is_some() {
                return Err(DecodeError::Invalid { what: "a key that comes twice" });
            }
            self.add_staff_answer(answer);
        }
        Ok(())
    }
}
