//! Owns all holds of a shard: their records, and the ways to find one.
//!
//! Must never touch a seat.

use std::collections::VecDeque;

use crate::{
    command::Idempotency,
    event::PlaceRef,
    hold::{Extension, Hold, HoldRef, HoldState},
    ids::{HoldId, KeyHash, LogTimeMs},
    index::{Index, Vacancy},
    shared_terms::{OWN_TERMS, SharedTerms, TermsTable},
    slab::{NONE, Slab, hash_of},
};

/// All holds of a shard.
#[derive(Debug)]
pub(crate) struct Holds {
    pub(crate) slab: Slab<Hold>,
    terms: TermsTable,
    ids: Index,
    /// Ended holds, in the order in which they are forgotten.
    pub(crate) ended: VecDeque<u32>,
    /// Holds that have seats.
    pub(crate) alive: usize,
}

/// A record with its terms.
#[inline(always)]
fn with_terms<'a>(hold: &'a Hold, terms: &'a TermsTable) -> HoldRef<'a> {
    let number = hold.terms_and_time().0;
    match terms.get(number).or_else(|| hold.own_terms()) {
        Some(terms) => HoldRef { hold, terms },
        None => panic!("a hold has lost its terms"),
    }
}

impl Holds {
    pub(crate) fn new() -> Self {
        Self {
            slab: Slab::new(),
            terms: TermsTable::default(),
            ids: Index::new(),
            ended: VecDeque::new(),
            alive: 0,
        }
    }

    /// The hold in a slot; none there is a broken invariant.
    #[inline]
    pub(crate) fn at(&self, slot: u32) -> HoldRef<'_> {
        with_terms(&self.slab[slot], &self.terms)
    }

    /// The hold in a slot, if there is one.
    #[inline]
    pub(crate) fn get(&self, slot: u32) -> Option<HoldRef<'_>> {
        self.slab.get(slot).map(|hold| with_terms(hold, &self.terms))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, HoldRef<'_>)> {
        self.slab.iter().map(|(slot, hold)| (slot, with_terms(hold, &self.terms)))
    }

    /// Shows up to `most` holds of a cut; see [`Slab::read_cut`].
    pub(crate) fn read_cut(&mut self, most: usize, mut show: impl FnMut(HoldRef<'_>)) -> bool {
        self.slab.read_cut(most, |hold| show(with_terms(hold, &self.terms)))
    }

    pub(crate) fn slot(&self, id: HoldId) -> Option<u32> {
        self.ids.find(hash_of(id.0), |slot| self.slab[slot].id == id)
    }

    /// Where an id would stand that no hold has.
    #[inline]
    pub(crate) fn vacancy(&self, id: HoldId) -> Option<Vacancy> {
        self.ids.look_up(hash_of(id.0), |slot| self.slab[slot].id == id).err()
    }

    /// A live hold, not one of these yet, granted at `held_at_ms` on these terms. Must be added
    /// before the next one is granted: until then nobody knows that its terms' number is in use.
    #[inline(always)]
    pub(crate) fn granted(
        &mut self,
        (id, idempotency): (HoldId, &Idempotency),
        (held_at_ms, terms): (LogTimeMs, SharedTerms),
        places: &[PlaceRef],
    ) -> Hold {
        let slab = &self.slab;
        let number = self.terms.number(&terms, |used| {
            // What a cut has kept may be on any terms.
            if slab.is_cut() {
                return false;
            }
            for (_, hold) in slab.iter() {
                if let Some(used) = used.get_mut(usize::from(hold.terms_and_time().0)) {
                    *used = true;
                }
            }
            true
        });
        let number_or_none = number.unwrap_or(OWN_TERMS);
        let mut hold = Hold::granted(id, idempotency, (held_at_ms, number_or_none), places);
        if number.is_none() {
            hold.set_own_terms(terms);
        }
        hold
    }

    pub(crate) fn insert(&mut self, hold: Hold) -> u32 {
        match self.vacancy(hold.id) {
            Some(vacancy) => self.fill(vacancy, hold),
            None => panic!("two holds have one id"),
        }
    }

    /// Adds a hold, its id at a place looked up before.
    #[inline(always)]
    pub(crate) fn fill(&mut self, vacancy: Vacancy, hold: Hold) -> u32 {
        self.alive += usize::from(hold.state().has_seats());
        let slot = self.slab.insert(hold);
        self.ids.fill(vacancy, slot);
        slot
    }

    /// Moves a hold to another state, for good or for a while.
    #[inline]
    pub(crate) fn set_state(&mut self, slot: u32, state: HoldState) -> &mut Hold {
        let hold = &mut self.slab[slot];
        self.alive -= usize::from(hold.state().has_seats());
        self.alive += usize::from(state.has_seats());
        hold.set_state(state);
        hold
    }

    /// The hold's life is over; its record stays as long as its key.
    pub(crate) fn end(&mut self, slot: u32, now: LogTimeMs) {
        let hold = self.at(slot);
        let (state, after_ms) = (hold.state(), now.wrapping_sub(hold.held_at_ms()));
        self.end_as(slot, state, after_ms);
    }

    /// The same in another state, so long after it was held.
    #[inline]
    pub(crate) fn end_as(&mut self, slot: u32, state: HoldState, after_ms: u64) {
        self.set_state(slot, state).set_ended_after(after_ms);
        self.ended.push_back(slot);
    }

    /// The hold was extended.
    pub(crate) fn extend(&mut self, slot: u32, done: &Extension, has_key: bool) {
        let hold = &mut self.slab[slot];
        hold.set_extended(done.extensions, done.expires_at_ms);
        if has_key {
            hold.add_keyed(done.clone());
        }
    }

    /// The ended holds that may be forgotten.
    pub(crate) fn forgettable(&self, now: LogTimeMs) -> impl Iterator<Item = u32> {
        let over = move |&slot: &u32| self.at(slot).forget_at_ms().is_some_and(|at| at <= now);
        self.ended.iter().copied().take_while(over)
    }

    /// The one that may be forgotten next.
    pub(crate) fn first_forgettable(&self, now: LogTimeMs) -> Option<u32> {
        self.forgettable(now).next()
    }

    /// Forgets a record; its key and those of its extensions.
    pub(crate) fn remove(&mut self, slot: u32) -> (KeyHash, Vec<KeyHash>) {
        let hold = &self.slab[slot];
        let (id, key) = (hold.id, hold.key);
        let extensions = hold.keyed().iter().map(|extension| extension.key).collect();
        self.ids.remove(hash_of(id.0), slot);
        self.slab.remove(slot);
        (key, extensions)
    }

    /// The table of ids, for reading ahead.
    pub(crate) fn ids(&self) -> &Index {
        &self.ids
    }

    pub(crate) fn clear_order(&mut self, slot: u32) {
        self.slab[slot].set_order(NONE);
    }
}
