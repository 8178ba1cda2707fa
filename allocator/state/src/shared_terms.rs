//! Owns what many holds have in common, kept once for all of them: a number of two bytes stands in
//! a hold's record.
//!
//! Numbers depend on this replica's past; they must never decide an outcome or reach a snapshot.

use std::collections::BTreeMap;

use crate::ids::LogTimeMs;

/// What holds granted under one set of rules have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SharedTerms {
    /// The event's slot.
    pub(crate) event: u32,
    /// The ttl with which they were granted: what their first answers said.
    pub(crate) ttl_ms: u32,
    /// The high half of the time at which they were, which is another every seven weeks.
    era: u32,
    pub(crate) price_list: u16,
}

impl SharedTerms {
    pub(crate) fn new(
        (event, price_list): (u32, u16),
        (held_at_ms, ttl_ms): (LogTimeMs, u32),
    ) -> Self {
        Self { event, ttl_ms, era: (held_at_ms >> 32) as u32, price_list }
    }

    /// A time of its holds, of which they keep the low half.
    pub(crate) fn time(&self, low: u32) -> LogTimeMs {
        LogTimeMs::from(self.era) << 32 | LogTimeMs::from(low)
    }
}

/// The number of terms that stand in a hold's extra, for want of room here.
pub(crate) const OWN_TERMS: u16 = u16::MAX;

/// Terms by number: as many as there are events, and more for each change of prices or ttl and each
/// era. What is out of use stays until there is no room.
#[derive(Debug, Default)]
pub(crate) struct TermsTable {
    all: Vec<SharedTerms>,
    numbers: BTreeMap<SharedTerms, u16>,
    /// The number last used by each event.
    latest: Vec<u16>,
    /// Numbers of none.
    vacant: Vec<u16>,
    /// Grants that found no room for their terms; now and then that is worth looking for some.
    unheard: u16,
}

impl TermsTable {
    #[inline]
    pub(crate) fn get(&self, number: u16) -> Option<&SharedTerms> {
        self.all.get(usize::from(number))
    }

    /// The number of these terms. `in_use` tells of each number there is whether a hold has it,
    /// where all can be asked; without room there is none.
    #[inline]
    pub(crate) fn number(
        &mut self,
        terms: &SharedTerms,
        in_use: impl FnOnce(&mut [bool]) -> bool,
    ) -> Option<u16> {
        let latest = self.latest.get(terms.event as usize).copied();
        match latest.filter(|&number| self.get(number) == Some(terms)) {
            Some(number) => Some(number),
            None => self.other_number(terms, in_use),
        }
    }

    #[cold]
    fn other_number(
        &mut self,
        terms: &SharedTerms,
        in_use: impl FnOnce(&mut [bool]) -> bool,
    ) -> Option<u16> {
        let number = match self.numbers.get(terms) {
            Some(&number) => number,
            None => self.add(*terms, in_use)?,
        };
        let event = terms.event as usize;
        if self.latest.len() <= event {
            self.latest.resize(event + 1, OWN_TERMS);
        }
        self.latest[event] = number;
        Some(number)
    }

    fn add(&mut self, terms: SharedTerms, in_use: impl FnOnce(&mut [bool]) -> bool) -> Option<u16> {
        let has_room = || self.all.len() < usize::from(OWN_TERMS) || !self.vacant.is_empty();
        if !has_room() {
            if self.unheard == 0 {
                self.tidy(in_use);
            }
            self.unheard = self.unheard.wrapping_add(1);
        }
        let number = match self.vacant.pop() {
            Some(number) => number,
            None if self.all.len() == usize::from(OWN_TERMS) => return None,
            None => self.all.len() as u16,
        };
        match self.all.get_mut(usize::from(number)) {
            Some(vacant) => *vacant = terms,
            None => self.all.push(terms),
        }
        self.numbers.insert(terms, number);
        Some(number)
    }

    /// Finds the numbers that no hold has any more.
    fn tidy(&mut self, in_use: impl FnOnce(&mut [bool]) -> bool) {
        let mut used = vec![false; self.all.len()];
        if in_use(&mut used) {
            self.numbers.retain(|_, &mut number| used[usize::from(number)]);
            self.vacant = (0..OWN_TERMS).filter(|&number| !used[usize::from(number)]).collect();
            self.latest.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(nth: u32) -> SharedTerms {
        SharedTerms::new((nth % 7, 3), (u64::from(nth) << 31, 1000 + nth / 2))
    }

    #[test]
    fn terms_keep_their_numbers_until_no_hold_has_them_and_there_is_no_room() {
        let mut table = TermsTable::default();
        let all_in_use = |used: &mut [bool]| {
            used.fill(true);
            true
        };
        for nth in 0..u32::from(OWN_TERMS) {
            assert_eq!(table.number(&terms(nth), all_in_use), Some(nth as u16));
        }
        for nth in (0..u32::from(OWN_TERMS)).rev().step_by(11) {
            assert_eq!(table.number(&terms(nth), all_in_use), Some(nth as u16));
            assert_eq!(table.get(nth as u16), Some(&terms(nth)));
        }
        let next = terms(OWN_TERMS.into());
        assert_eq!(table.number(&next, all_in_use), None);
        let but_nine = |used: &mut [bool]| {
            used.fill(true);
            used[9] = false;
            true
        };
        assert_eq!(table.number(&next, but_nine), None, "it has looked not long ago");
        for _ in 0..usize::from(u16::MAX) - 1 {
            assert_eq!(table.number(&next, all_in_use), None);
        }
        assert_eq!(table.number(&next, but_nine), Some(9));
        assert_eq!(table.get(9), Some(&next));
        assert_eq!(table.number(&terms(9), all_in_use), None);
        assert_eq!(table.number(&terms(8), all_in_use), Some(8));
    }
}
