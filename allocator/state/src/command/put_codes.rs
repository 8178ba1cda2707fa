//! `PutCodes`: presale and voucher codes of an event, by keyed hash. A code that is there already
//! gets other terms and keeps its uses.

use std::collections::BTreeSet;

use super::Idempotency;
use crate::{
    codec::{Reader, put_bytes, put_opt_varint, put_u128, put_varint},
    error::DecodeError,
    event::EventState,
    ids::{CategoryNo, CodeHash, EventNo, LogTimeMs},
    limits::{
        CODE_TERMS_MAX, CODES_MAX, CODES_PER_COMMAND_MAX, COMMAND_BYTES_MAX, EVENT_CATEGORIES_MAX,
        NAME_BYTES_MAX, PRICE_MINOR_MAX,
    },
    outcome::{Done, Outcome, Rejection},
    shard::Shard,
};

/// Give an event codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutCodes {
    /// The event.
    pub event: EventNo,
    /// Key and content; `buyer` is the API key's hash.
    pub idempotency: Idempotency,
    /// The codes, by what they are good for.
    pub batches: Vec<CodeBatch>,
}

/// Codes that are all good for the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeBatch {
    /// What for.
    pub terms: CodeTerms,
    /// Their keyed hashes.
    pub hashes: Vec<CodeHash>,
}

/// What a code is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeTerms {
    /// The organizer's name for such codes; 1 to 64 bytes.
    pub label: Box<str>,
    /// What it does.
    pub effect: CodeEffect,
    /// Holds that each of the codes is good for, as long as they come to no end without an order.
    pub uses_max: u32,
    /// Not before this.
    pub valid_from_ms: LogTimeMs,
    /// Not from this on.
    pub valid_until_ms: Option<LogTimeMs>,
    /// For places of these categories, ascending; empty is all.
    pub categories: Vec<CategoryNo>,
}

/// What a code does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeEffect {
    /// Opens the event before its time; the whole hold has to be of the code's categories.
    Presale,
    /// 1 to 100 percent off each place of its categories; what remains is rounded half up.
    PercentOff(u8),
    /// Each place of its categories costs this, if it is less than without the code.
    Price(u64),
}

impl CodeTerms {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.label.as_bytes());
        let (tag, value) = match self.effect {
            CodeEffect::Presale => (0, 0),
            CodeEffect::PercentOff(percent) => (1, percent.into()),
            CodeEffect::Price(price_minor) => (2, price_minor),
        };
        out.push(tag);
        put_varint(out, value);
        put_varint(out, self.uses_max.into());
        put_varint(out, self.valid_from_ms);
        put_opt_varint(out, self.valid_until_ms);
        put_varint(out, self.categories.len() as u64);
        self.categories.iter().for_each(|&category| put_varint(out, category.into()));
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let label = r.str(COMMAND_BYTES_MAX, "a label")?;
        let effect = match (r.u8()?, r.varint()?) {
            (0, 0) => CodeEffect::Presale,
            (1, percent @ 0..=255) => CodeEffect::PercentOff(percent as u8),
            (2, price_minor) => CodeEffect::Price(price_minor),
            _ => return Err(DecodeError::Invalid { what: "what a code does" }),
        };
        let (uses_max, valid_from_ms) = (r.u32("uses_max")?, r.varint()?);
        let valid_until_ms = r.opt(Reader::varint)?;
        let categories = r.count(EVENT_CATEGORIES_MAX, 1, "categories")?;
        let categories = (0..categories).map(|_| r.u16("a category")).collect::<Result<_, _>>()?;
        Ok(Self { label, effect, uses_max, valid_from_ms, valid_until_ms, categories })
    }

    /// Does it make sense for an event of so many categories?
    pub(crate) fn check(&self, categories: usize) -> Result<(), Rejection> {
        let invalid = |field, reason| Err(Rejection::Invalid { field, reason });
        if self.label.is_empty() || self.label.len() > NAME_BYTES_MAX {
            return invalid("codes/label", "must have 1 to 64 bytes");
        }
        match self.effect {
            CodeEffect::PercentOff(percent) if !(1..=100).contains(&percent) => {
                return invalid("codes/percent_off", "must be 1 to 100");
            }
            CodeEffect::Price(price_minor) if price_minor > PRICE_MINOR_MAX => {
                return invalid("codes/price_minor", "must be at most 10^12");
            }
            _ => {}
        }
        if self.uses_max == 0 {
            return invalid("codes/uses_max", "must be at least 1");
        }
        if self.valid_until_ms.is_some_and(|until| until <= self.valid_from_ms) {
            return invalid("codes/valid_until", "must be after valid_from");
        }
        let last = self.categories.last();
        if !self.categories.is_sorted_by(|a, b| a < b)
            || last.is_some_and(|&last| usize::from(last) >= categories)
        {
            return invalid("codes/categories", "must be ascending, all of them the event's");
        }
        Ok(())
    }
}

impl PutCodes {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.event.into());
        self.idempotency.encode(out);
        put_varint(out, self.batches.len() as u64);
        for batch in &self.batches {
            batch.terms.encode(out);
            put_varint(out, batch.hashes.len() as u64);
            batch.hashes.iter().for_each(|&hash| put_u128(out, hash));
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (event, idempotency) = (r.u32("event")?, Idempotency::decode(r)?);
        let mut batches = Vec::new();
        for _ in 0..r.count(CODES_PER_COMMAND_MAX, 8, "codes")? {
            let terms = CodeTerms::decode(r)?;
            let hashes = r.count(CODES_PER_COMMAND_MAX, 16, "codes")?;
            let hashes = (0..hashes).map(|_| r.u128()).collect::<Result<_, _>>()?;
            batches.push(CodeBatch { terms, hashes });
        }
        Ok(Self { event, idempotency, batches })
    }

    fn check(&self, event: &EventState) -> Result<(), Rejection> {
        let invalid = |reason| Err(Rejection::Invalid { field: "codes", reason });
        let all = || self.batches.iter().flat_map(|batch| &batch.hashes);
        if !(1..=CODES_PER_COMMAND_MAX).contains(&all().count()) {
            return invalid("must be 1 to 10,000");
        }
        if self.batches.iter().any(|batch| batch.hashes.is_empty()) {
            return invalid("must not be missing");
        }
        for batch in &self.batches {
            batch.terms.check(event.prices_in_force().len())?;
        }
        let unique: BTreeSet<CodeHash> = all().copied().collect();
        if unique.len() != all().count() {
            return invalid("name a code twice");
        }
        let new = unique.iter().filter(|&&hash| !event.codes.has(hash)).count();
        if event.codes.len() + new > CODES_MAX {
            return Err(Rejection::Overloaded { bound: "codes_max" });
        }
        if event.codes.terms_in_use() + self.batches.len() > CODE_TERMS_MAX {
            return Err(Rejection::Overloaded { bound: "code_terms_max" });
        }
        Ok(())
    }
}

impl Shard {
    pub(crate) fn put_codes(&mut self, command: &PutCodes) -> Outcome {
        self.answer_staff(&command.idempotency, |shard| {
            let slot = shard.event_slot(command.event)?;
            let event = &mut shard.events[slot as usize];
            command.check(event)?;
            let mut codes = 0;
            for batch in &command.batches {
                event.codes.put(&batch.terms, &batch.hashes);
                codes += batch.hashes.len() as u32;
            }
            Ok(Done::CodesPut { codes })
        })
    }
}
