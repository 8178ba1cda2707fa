//! Owns the open-addressing tables of the hot path: from hashes to slots, and from buyers to
//! counts.
//!
//! Linear probing, an entry in one machine word with 32 bits of its hash: a lookup is mostly one
//! cache line, a miss never looks at a record, growing copies front to back without rehashing, and
//! a removal leaves nothing behind. Where an entry stands depends on this replica's past; it must
//! never decide an outcome.

/// Smallest table, as a power of two.
const BITS_MIN: u32 = 4;

/// Of eight places at most this many are taken.
const EIGHTHS_MAX: usize = 5;

/// Places at which a number that is read ahead is looked for.
const GUESSES_MAX: usize = 8;

fn is_full(len: usize, places: usize) -> bool {
    (len + 1) * 8 > places * EIGHTHS_MAX
}

/// From a hash to a number below `u32::MAX`; whose hash it is, the caller can tell.
///
/// A word is the hash's high half above the number + 1; 0 is an empty place. The places of a run
/// stand in the order in which they were inserted, from the one that the hash's high bits name.
#[derive(Debug)]
pub(crate) struct Index {
    words: Vec<u64>,
    shift: u32,
    len: usize,
}

/// Where a number would stand that is not in an index; good until the index changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vacancy {
    hash: u64,
    at: usize,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { words: vec![0; 1 << BITS_MIN], shift: 64 - BITS_MIN, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn word(hash: u64, value: u32) -> u64 {
        debug_assert!(value != u32::MAX, "no such number");
        hash >> 32 << 32 | (u64::from(value) + 1)
    }

    /// Where the search for a hash, or for the hash in a word, begins.
    fn home(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    /// Reads what a search will read first; see `read_ahead`.
    pub(crate) fn touch(&self, hash: u64) -> u64 {
        self.words[self.home(hash)]
    }

    /// The number that a search for this hash most likely finds; any, if there is none.
    #[inline(always)]
    pub(crate) fn guess(&self, hash: u64) -> u32 {
        let mask = self.words.len() - 1;
        let home = self.home(hash);
        for at in home..home + GUESSES_MAX {
            let word = self.words[at & mask];
            if word == 0 || (word ^ hash) >> 32 == 0 {
                return (word as u32).wrapping_sub(1);
            }
        }
        u32::MAX
    }

    /// The first number under this hash that is the one meant; or where it would stand.
    #[inline]
    pub(crate) fn look_up(
        &self,
        hash: u64,
        mut is_it: impl FnMut(u32) -> bool,
    ) -> Result<u32, Vacancy> {
        let mask = self.words.len() - 1;
        let mut at = self.home(hash);
        loop {
            let word = self.words[at & mask];
            if word == 0 {
                return Err(Vacancy { hash, at: at & mask });
            }
            let value = (word as u32).wrapping_sub(1);
            if (word ^ hash) >> 32 == 0 && is_it(value) {
                return Ok(value);
            }
            at += 1;
        }
    }

    /// The first number under this hash that is the one meant.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.look_up(hash, is_it).ok()
    }

    /// Adds a number that is not there yet, at a place looked up before.
    #[inline]
    pub(crate) fn fill(&mut self, Vacancy { hash, at }: Vacancy, value: u32) {
        if is_full(self.len, self.words.len()) {
            return self.insert(hash, value);
        }
        self.len += 1;
        let word = &mut self.words[at];
        assert!(*word == 0, "an index has changed since it was looked up");
        *word = Self::word(hash, value);
    }

    /// Adds a number that is not there yet.
    pub(crate) fn insert(&mut self, hash: u64, value: u32) {
        if is_full(self.len, self.words.len()) {
            self.grow();
        }
        self.len += 1;
        self.put(Self::word(hash, value));
    }

    fn put(&mut self, word: u64) {
        let mask = self.words.len() - 1;
        let mut at = self.home(word);
        while self.words[at & mask] != 0 {
            at += 1;
        }
        self.words[at & mask] = word;
    }

    fn grow(&mut self) {
        assert!(self.shift > 32, "more entries than the tables can number");
        let words = vec![0; self.words.len() * 2];
        let before = std::mem::replace(&mut self.words, words);
        self.shift -= 1;
        before.into_iter().filter(|&word| word != 0).for_each(|word| self.put(word));
    }

    /// Takes a number out again, if it is there.
    pub(crate) fn remove(&mut self, hash: u64, value: u32) {
        let (mask, word) = (self.words.len() - 1, Self::word(hash, value));
        let mut at = self.home(hash);
        while self.words[at & mask] != word {
            if self.words[at & mask] == 0 {
                return;
            }
            at += 1;
        }
        self.len -= 1;
        let mut hole = at & mask;
        loop {
            at += 1;
            let word = self.words[at & mask];
            if word == 0 {
                break;
            }
            // Does its search pass the hole? Distances are taken backwards from where it stands.
            let from_home = (at & mask).wrapping_sub(self.home(word)) & mask;
            let from_hole = (at & mask).wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                self.words[hole] = word;
                hole = at & mask;
            }
        }
        self.words[hole] = 0;
    }
}

/// A buyer's count, looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    buyer: u64,
    at: usize,
    /// 0 for nobody.
    pub(crate) count: u32,
}

impl Entry {
    pub(crate) fn is_somebody(&self) -> bool {
        self.buyer != 0
    }
}

/// A buyer and what is counted, in 12 bytes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed(4))]
struct Counted {
    buyer: u64,
    count: u32,
}

const _: () = assert!(size_of::<Counted>() == 12, "tables of counts have no gaps");

/// Counts by a buyer's hash; a buyer with none is not in it, and buyer 0 never is.
#[derive(Debug)]
pub(crate) struct Counts {
    entries: Vec<Counted>,
    shift: u32,
    len: usize,
}

impl Counts {
    pub(crate) fn new() -> Self {
        Self { entries: vec![Counted::default(); 1 << BITS_MIN], shift: 64 - BITS_MIN, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The hashes are random already but for tests' and the ones an edge may have chosen badly.
    fn home(&self, buyer: u64) -> usize {
        (buyer.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    /// Reads what a search will read first; see `read_ahead`.
    pub(crate) fn touch(&self, buyer: u64) -> u64 {
        self.entries[self.home(buyer)].buyer
    }

    /// Where a buyer stands, or would.
    fn place(&self, buyer: u64) -> usize {
        let mask = self.entries.len() - 1;
        let mut at = self.home(buyer);
        loop {
            let stands = self.entries[at & mask].buyer;
            if stands == buyer || stands == 0 {
                return at & mask;
            }
            at += 1;
        }
    }

    pub(crate) fn get(&self, buyer: u64) -> u32 {
        if buyer == 0 { 0 } else { self.entries[self.place(buyer)].count }
    }

    /// A buyer's count, and where it stands or would; good until the next change.
    pub(crate) fn entry(&self, buyer: u64) -> Entry {
        let at = self.place(buyer);
        Entry { buyer, at, count: self.entries[at].count }
    }

    /// Adds to a count looked up before; to nobody's nothing.
    pub(crate) fn add_to(&mut self, entry: Entry, more: u32) {
        let Entry { buyer, at, count } = entry;
        if buyer == 0 || more == 0 {
            return;
        }
        let before = self.entries[at].buyer;
        assert!(before == buyer || before == 0, "a count has moved since it was looked up");
        self.entries[at] = Counted { buyer, count: count + more };
        if before == 0 {
            self.len += 1;
            if is_full(self.len, self.entries.len()) {
                self.grow();
            }
        }
    }

    /// Takes from a buyer's count, who has at least so many; 0 takes the buyer out.
    pub(crate) fn subtract(&mut self, buyer: u64, less: u32) {
        let at = self.place(buyer);
        let has = self.entries[at].count;
        assert!(has >= less, "a buyer gives back more seats than were counted");
        if has == less {
            if has > 0 {
                self.remove(at);
            }
        } else {
            self.entries[at].count = has - less;
        }
    }

    fn grow(&mut self) {
        let entries = vec![Counted::default(); self.entries.len() * 2];
        let before = std::mem::replace(&mut self.entries, entries);
        self.shift -= 1;
        for entry in before.into_iter().filter(|entry| entry.buyer != 0) {
            let at = self.place(entry.buyer);
            self.entries[at] = entry;
        }
    }

    fn remove(&mut self, mut hole: usize) {
        let mask = self.entries.len() - 1;
        self.len -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let entry = self.entries[at];
            if entry.buyer == 0 {
                break;
            }
            let from_home = at.wrapping_sub(self.home(entry.buyer)) & mask;
            if from_home >= at.wrapping_sub(hole) & mask {
                self.entries[hole] = entry;
                hole = at;
            }
        }
        self.entries[hole] = Counted::default();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Few hashes, all near the ends of the table, so that runs are long and wrap around.
    fn hash(key: u32) -> u64 {
        let near = u64::from(key % 7).wrapping_sub(3);
        near << 60 | u64::from(key % 3) << 32 | u64::from(key)
    }

    proptest! {
        #[test]
        fn an_index_finds_what_was_inserted_and_not_removed(
            steps in prop::collection::vec((any::<bool>(), 0u32..200), 0..600),
        ) {
            let (mut index, mut model) = (Index::new(), BTreeMap::new());
            for (adds, key) in steps {
                if !adds {
                    index.remove(hash(key), key);
                    model.remove(&key);
                } else if model.insert(key, ()).is_none() {
                    let vacancy = index.look_up(hash(key), |value| value == key);
                    index.fill(vacancy.expect_err("it is not in the model"), key);
                }
                prop_assert_eq!(index.len(), model.len());
            }
            for key in 0..200 {
                let found = index.find(hash(key), |value| value == key);
                prop_assert_eq!(found, model.contains_key(&key).then_some(key));
            }
        }

        #[test]
        fn counts_are_what_was_added_and_not_taken(
            steps in prop::collection::vec((1u64..200, 0u32..3, any::<bool>()), 0..600),
            stride in prop::sample::select(vec![1u64, 1 << 32, 0x9e37_79b9]),
        ) {
            let (mut counts, mut model) = (Counts::new(), BTreeMap::new());
            for (buyer, count, adds) in steps {
                let has: &mut u32 = model.entry(buyer).or_default();
                if adds {
                    let entry = counts.entry(buyer * stride);
                    prop_assert_eq!(entry.count, *has);
                    counts.add_to(entry, count);
                    *has += count;
                } else {
                    let less = count.min(*has);
                    counts.subtract(buyer * stride, less);
                    *has -= less;
                }
            }
            let some = model.values().filter(|&&count| count > 0).count();
            prop_assert_eq!(counts.len(), some);
            for buyer in 0..200 {
                let expected = model.get(&buyer).copied().unwrap_or(0);
                prop_assert_eq!(counts.get(buyer * stride), expected);
            }
        }
    }
}
