//! Codes: few of them, good for a while and for a few holds.

use onsale_state::{
    command::{CodeBatch, CodeEffect, CodeTerms, Idempotency, PutCodes},
    *,
};

use super::{Draft, Writer, pick};
use crate::naive::Naive;

/// Mostly none, mostly a known one.
pub fn a_code(event: u32, draft: Draft, model: &Naive) -> Option<u128> {
    if draft.b / 4 % 3 > 0 {
        return None;
    }
    let known: Vec<u128> =
        model.events.get(&event).map_or(vec![], |event| event.codes.keys().copied().collect());
    let known = pick(&known, draft.a % 4).filter(|_| draft.d % 8 > 0);
    known.or((draft.b / 4 % 12 == 3).then(|| u128::from(draft.d / 16 % 6)))
}

/// What each event has from the beginning, good for one hold or two.
pub fn first(event: u32) -> CommandKind {
    let effects = [CodeEffect::PercentOff(35), CodeEffect::Presale, CodeEffect::Price(2500)];
    let batches = (0..).zip(effects).map(|(nth, effect)| {
        let terms = CodeTerms {
            label: "first".into(),
            effect,
            uses_max: 1 + event % 2,
            valid_from_ms: 0,
            valid_until_ms: None,
            categories: vec![],
        };
        CodeBatch { terms, hashes: vec![3 + nth] }
    });
    let (batches, key) = (batches.collect(), u128::from(event) << 100);
    let idempotency = Idempotency { key, request: 1, buyer: 1, buyer_is_new: false };
    CommandKind::PutCodes(Box::new(PutCodes { event, idempotency, batches }))
}

impl Writer {
    pub(super) fn codes(&mut self, draft: Draft, model: &Naive) -> CommandKind {
        let Draft { a, b, c, d, .. } = draft;
        let batch = |a: u16, b: u16| {
            let effect = match a % 4 {
                0 => CodeEffect::Presale,
                1 => CodeEffect::Price(u64::from(b % 4) * 1500),
                _ => CodeEffect::PercentOff((b % 128 % 103) as u8),
            };
            let categories = [&[][..], &[0], &[1], &[0, 1], &[1, 0], &[2]][usize::from(c / 4 % 6)];
            let valid_from_ms = if c % 5 == 1 { model.now + 40_000 } else { 0 };
            let terms = CodeTerms {
                label: ["fans", "press", ""][usize::from(a % 16 / 7 % 3)].into(),
                effect,
                uses_max: u32::from(b % 16 % 5),
                valid_from_ms,
                valid_until_ms: (c % 4 > 1).then(|| model.now + u64::from(d % 4) * 50_000),
                categories: categories.to_vec(),
            };
            let hashes = (0..d / 4 % 4).map(|nth| u128::from((a + nth) % 6));
            CodeBatch { terms, hashes: hashes.collect() }
        };
        let (a, d) = (a % 1000, d);
        let mut batches = vec![batch(a, b)];
        if d % 8 > 5 {
            batches.push(batch(a + 3, b / 2));
        }
        CommandKind::PutCodes(Box::new(PutCodes {
            event: [1, 2, 3, 4, 1, 3, 4, 7][usize::from(a % 8)],
            idempotency: self.idempotency(draft),
            batches,
        }))
    }
}
