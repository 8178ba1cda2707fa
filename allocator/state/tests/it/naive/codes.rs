//! Codes, and the holds that used them.

use std::collections::BTreeSet;

use onsale_state::{
    command::{CodeEffect, CodeTerms, PutCodes},
    *,
};

use super::{Naive, invalid};

fn means(terms: &CodeTerms, place: &Place) -> bool {
    terms.categories.is_empty() || terms.categories.contains(&place.category)
}

/// What a place costs with a code.
pub(super) fn with_code(terms: &CodeTerms, place: &Place) -> u64 {
    let before = place.price_minor;
    match terms.effect {
        _ if !means(terms, place) => before,
        CodeEffect::Presale => before,
        CodeEffect::PercentOff(percent) => {
            let hundredths = before * (100 - u64::from(percent));
            hundredths / 100 + u64::from(hundredths % 100 >= 50)
        }
        CodeEffect::Price(with) if with < before => with,
        CodeEffect::Price(_) => before,
    }
}

fn refused<T>(fault: CodeFault) -> Result<T, Rejection> {
    Err(Rejection::CodeInvalid { fault })
}

impl Naive {
    pub(super) fn put_codes(&mut self, asked: &PutCodes) -> Result<Done, Rejection> {
        let Some(event) = self.events.get_mut(&asked.event) else {
            return Err(Rejection::NotFound { what: "event" });
        };
        if asked.batches.iter().any(|batch| batch.hashes.is_empty()) || asked.batches.is_empty() {
            return invalid("codes");
        }
        for terms in asked.batches.iter().map(|batch| &batch.terms) {
            let CodeTerms { label, effect, uses_max, valid_from_ms, .. } = terms;
            if !(1..=64).contains(&label.len()) {
                return invalid("codes/label");
            }
            if matches!(effect, CodeEffect::PercentOff(0 | 101..)) {
                return invalid("codes/percent_off");
            }
            if *uses_max == 0 {
                return invalid("codes/uses_max");
            }
            if terms.valid_until_ms.is_some_and(|until| until <= *valid_from_ms) {
                return invalid("codes/valid_until");
            }
            let sorted: BTreeSet<u16> = terms.categories.iter().copied().collect();
            let unknown = |&no: &u16| usize::from(no) >= event.open.prices_minor.len();
            if !sorted.iter().eq(&terms.categories) || sorted.iter().any(unknown) {
                return invalid("codes/categories");
            }
        }
        let all: Vec<u128> = asked.batches.iter().flat_map(|batch| batch.hashes.clone()).collect();
        if all.iter().collect::<BTreeSet<_>>().len() < all.len() {
            return invalid("codes");
        }
        for batch in &asked.batches {
            for &hash in &batch.hashes {
                let uses = event.codes.get(&hash).map_or(0, |known| known.1);
                event.codes.insert(hash, (batch.terms.clone(), uses));
            }
        }
        Ok(Done::CodesPut { codes: all.len() as u32 })
    }

    pub(super) fn check_code(&self, event: u32, code: u128) -> Result<&CodeTerms, Rejection> {
        let Some((terms, uses)) = self.events[&event].codes.get(&code) else {
            return refused(CodeFault::Unknown);
        };
        if self.now < terms.valid_from_ms {
            return refused(CodeFault::NotYetValid);
        }
        if terms.valid_until_ms.is_some_and(|until| until <= self.now) {
            return refused(CodeFault::Expired);
        }
        if *uses >= terms.uses_max { Err(Rejection::CodeUsedUp) } else { Ok(terms) }
    }

    pub(super) fn use_code(&mut self, event: u32, code: u128) {
        let codes = &mut self.events.get_mut(&event).expect("event").codes;
        codes.get_mut(&code).expect("it was checked").1 += 1;
    }

    /// Gives places their prices with a code that may be used.
    pub(super) fn redeem(
        &mut self,
        event: u32,
        code: u128,
        places: &mut [Place],
    ) -> Result<(), Rejection> {
        let codes = &mut self.events.get_mut(&event).expect("event").codes;
        let (terms, _) = codes.get_mut(&code).expect("it was checked");
        let meant = places.iter().filter(|place| means(terms, place)).count();
        let presale = terms.effect == CodeEffect::Presale;
        if meant == 0 || (presale && meant < places.len()) {
            return refused(CodeFault::OtherCategories);
        }
        for place in places.iter_mut() {
            place.price_minor = with_code(terms, place);
        }
        Ok(())
    }

    /// A hold comes to no order.
    pub(super) fn give_code_back(&mut self, hold: u128) {
        let hold = &self.holds[&hold];
        if let Some(code) = hold.code {
            let codes = &mut self.events.get_mut(&hold.event).expect("event").codes;
            codes.get_mut(&code).expect("code").1 -= 1;
        }
    }
}
