//! Owns an event's presale and voucher codes: what each is good for, and the holds that used it.
//!
//! A code is known by its keyed hash alone. A use is counted with the hold that makes it and given
//! back when the hold ends without an order, or its order is refused the money. Must never move a
//! place.

use std::collections::BTreeMap;

use crate::{
    codec::{Reader, put_u128, put_varint},
    command::{CodeEffect, CodeTerms},
    error::DecodeError,
    event::{EventState, PlaceRef},
    ids::{CategoryNo, CodeHash, LogTimeMs},
    limits::{CODE_TERMS_MAX, CODES_MAX},
    offer::{Deal, Deals},
    outcome::{CodeFault, Rejection},
};

/// One code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Code {
    /// Its place in the list of terms.
    terms: u32,
    uses: u32,
}

/// What codes are good for, and how many are.
#[derive(Clone, Debug)]
struct Kind {
    terms: CodeTerms,
    codes: u32,
}

/// The codes of an event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Codes {
    /// One without codes makes room for another.
    kinds: Vec<Kind>,
    codes: BTreeMap<CodeHash, Code>,
}

/// Codes that are all good for the same, as their organizer sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodesView {
    /// What for.
    pub terms: CodeTerms,
    /// How many codes there are.
    pub codes: u32,
    /// Holds and orders that use one of them.
    pub uses: u64,
}

impl Codes {
    pub(crate) fn has(&self, code: CodeHash) -> bool {
        self.codes.contains_key(&code)
    }

    pub(crate) fn len(&self) -> usize {
        self.codes.len()
    }

    pub(crate) fn terms_in_use(&self) -> usize {
        self.kinds.iter().filter(|kind| kind.codes > 0).count()
    }

    /// Gives these codes such terms; those that are there keep their uses.
    pub(crate) fn put(&mut self, terms: &CodeTerms, codes: &[CodeHash]) {
        let same = self.kinds.iter().position(|kind| kind.terms == *terms);
        let unused = || self.kinds.iter().position(|kind| kind.codes == 0);
        let at = same.or_else(unused).unwrap_or_else(|| {
            self.kinds.push(Kind { terms: terms.clone(), codes: 0 });
            self.kinds.len() - 1
        });
        if self.kinds[at].codes == 0 {
            self.kinds[at].terms = terms.clone();
        }
        for &code in codes {
            let known = self.codes.entry(code).or_insert(Code { terms: u32::MAX, uses: 0 });
            if let Some(before) = self.kinds.get_mut(known.terms as usize) {
                before.codes -= 1;
            }
            known.terms = at as u32;
            self.kinds[at].codes += 1;
        }
    }

    /// What a code is good for, if it may be used now.
    pub(crate) fn check(&self, code: CodeHash, now: LogTimeMs) -> Result<&CodeTerms, Rejection> {
        let invalid = |fault| Err(Rejection::CodeInvalid { fault });
        let Some(&Code { terms, uses }) = self.codes.get(&code) else {
            return invalid(CodeFault::Unknown);
        };
        let terms = &self.kinds[terms as usize].terms;
        if now < terms.valid_from_ms {
            return invalid(CodeFault::NotYetValid);
        }
        if terms.valid_until_ms.is_some_and(|until| now >= until) {
            return invalid(CodeFault::Expired);
        }
        if uses >= terms.uses_max {
            return Err(Rejection::CodeUsedUp);
        }
        Ok(terms)
    }

    /// One use more, or one less.
    pub(crate) fn count(&mut self, code: CodeHash, comes: bool) {
        let Some(known) = self.codes.get_mut(&code) else {
            panic!("a code was forgotten that a hold uses");
        };
        known.uses = if comes { known.uses + 1 } else { known.uses - 1 };
    }

    /// How many holds and orders use it; `None` if there is no such code.
    pub(crate) fn uses(&self, code: CodeHash) -> Option<u32> {
        self.codes.get(&code).map(|code| code.uses)
    }

    fn views(&self) -> Vec<CodesView> {
        let view =
            |kind: &Kind| CodesView { terms: kind.terms.clone(), codes: kind.codes, uses: 0 };
        let mut views: Vec<CodesView> = self.kinds.iter().map(view).collect();
        for code in self.codes.values() {
            views[code.terms as usize].uses += u64::from(code.uses);
        }
        views.retain(|view| view.codes > 0);
        views
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.kinds.len() as u64);
        self.kinds.iter().for_each(|kind| kind.terms.encode(out));
        put_varint(out, self.codes.len() as u64);
        for (&hash, code) in &self.codes {
            put_u128(out, hash);
            put_varint(out, code.terms.into());
            put_varint(out, code.uses.into());
        }
    }

    /// Reads what [`Codes::encode`] wrote, for an event of so many categories.
    pub(crate) fn decode(r: &mut Reader<'_>, categories: usize) -> Result<Self, DecodeError> {
        let invalid = DecodeError::Invalid { what: "codes" };
        let mut codes = Self::default();
        for _ in 0..r.count(CODE_TERMS_MAX, 8, "terms of codes")? {
            let terms = CodeTerms::decode(r)?;
            if terms.check(categories).is_err() {
                return Err(invalid);
            }
            codes.kinds.push(Kind { terms, codes: 0 });
        }
        let mut last = None;
        for _ in 0..r.count(CODES_MAX, 18, "codes")? {
            let (hash, terms, uses) = (r.u128()?, r.u32("terms")?, r.u32("uses")?);
            let Some(kind) = codes.kinds.get_mut(terms as usize) else {
                return Err(invalid);
            };
            if last.replace(hash) >= Some(hash) {
                return Err(invalid);
            }
            kind.codes += 1;
            codes.codes.insert(hash, Code { terms, uses });
        }
        Ok(codes)
    }
}

impl CodeTerms {
    fn means(&self, category: CategoryNo) -> bool {
        self.categories.is_empty() || self.categories.binary_search(&category).is_ok()
    }

    /// Is it good for places of these categories? A presale is for all of them, a voucher for some.
    fn check_categories(
        &self,
        mut categories: impl Iterator<Item = CategoryNo>,
    ) -> Result<(), Rejection> {
        let good = match self.effect {
            CodeEffect::Presale => categories.all(|category| self.means(category)),
            CodeEffect::PercentOff(_) | CodeEffect::Price(_) => {
                categories.any(|category| self.means(category))
            }
        };
        let fault = CodeFault::OtherCategories;
        if good { Ok(()) } else { Err(Rejection::CodeInvalid { fault }) }
    }

    /// What a place of a category costs with it.
    pub(crate) fn price_of(&self, category: CategoryNo, price_minor: u64) -> u64 {
        if self.means(category) { self.price_minor(price_minor) } else { price_minor }
    }

    /// What a place costs with it; a voucher never makes it dearer.
    fn price_minor(&self, price_minor: u64) -> u64 {
        match self.effect {
            CodeEffect::Presale => price_minor,
            CodeEffect::PercentOff(percent) => {
                let left = u64::from(100u8.saturating_sub(percent));
                (price_minor * left + 50) / 100
            }
            CodeEffect::Price(with) => with.min(price_minor),
        }
    }
}

impl EventState {
    /// May this code be used now, and does it open the event before its time?
    pub(crate) fn admits(&self, code: CodeHash, now: LogTimeMs) -> Result<bool, Rejection> {
        Ok(self.codes.check(code, now)?.effect == CodeEffect::Presale)
    }

    /// The deals of places whose buyer uses a code; or refuses them all.
    #[cold]
    pub(crate) fn redeem(
        &self,
        code: CodeHash,
        places: &[PlaceRef],
        deals: &Deals,
        now: LogTimeMs,
    ) -> Result<Deals, Rejection> {
        let terms = self.codes.check(code, now)?;
        let dealt = self.dealt_places(places, self.price_list(), deals);
        terms.check_categories(dealt.iter().map(|place| place.category))?;
        if terms.effect == CodeEffect::Presale {
            return Ok(deals.clone());
        }
        let cheaper = dealt.iter().enumerate().map(|(at, place)| {
            let tier = deals.as_ref().map_or(0, |deals| deals[at].tier);
            let price_minor = terms.price_of(place.category, place.price_minor);
            Deal { price_minor, ticket_type: place.ticket_type, tier }
        });
        Ok(Some(cheaper.collect()))
    }

    /// The event's codes by what they are good for.
    pub fn codes(&self) -> Vec<CodesView> {
        self.codes.views()
    }

    /// How many holds and orders use a code; `None` if there is no such code.
    pub fn uses_of_code(&self, code: CodeHash) -> Option<u32> {
        self.codes.uses(code)
    }
}
