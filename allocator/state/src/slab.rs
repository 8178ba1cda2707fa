//! Owns the containers of the hot path: a slab in chunks, numbered by 32-bit slots, and the fixed
//! hash seed.
//!
//! Slots depend on this replica's past; they must never decide an outcome or reach a snapshot.

/// The hasher of every table here: its seed is fixed, so that replicas do the same work.
pub(crate) type FixedState = foldhash::fast::FixedState;

pub(crate) fn fixed_state() -> FixedState {
    FixedState::with_seed(0x006f_6e73_616c_6500)
}

/// "No slot."
pub(crate) const NONE: u32 = u32::MAX;

const CHUNK_BITS: u32 = 10;
const CHUNK: usize = 1 << CHUNK_BITS;

/// Values of a chunk. The last number of each is nobody's: allocators ask themselves for a little
/// more where values begin with cache lines, and 64 KiB and a bit would take 80.
const CHUNK_ROOM: usize = CHUNK - 1;

/// Values at fixed places. Grows by chunks, so that growing never copies what is there.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    vacant: Vec<u32>,
    len: usize,
    end: u32,
    /// There while the values of one moment are read out bit by bit.
    cut: Option<Box<Cut<T>>>,
}

/// What a slab was at one moment, as far as it has not been read yet. Whatever changes a value goes
/// through `insert`, `remove` or `IndexMut`, so that nothing gets past it.
#[derive(Debug)]
struct Cut<T> {
    /// Slots below are read.
    next: u32,
    /// Slots from here on came later.
    end: u32,
    /// A bit for each slot that is another by now.
    changed: Vec<u64>,
    /// What stood in those slots. In chunks, so that one that grows is not copied.
    before: Vec<Vec<T>>,
}

impl<T: Clone> Cut<T> {
    /// A value is about to change, or to come where none was.
    #[cold]
    fn keep(&mut self, slot: u32, value: Option<&T>) {
        if slot < self.next || slot >= self.end {
            return;
        }
        let (word, bit) = (&mut self.changed[slot as usize / 64], 1 << (slot % 64));
        if *word & bit == 0 {
            *word |= bit;
            let Some(value) = value else { return };
            match self.before.last_mut() {
                Some(chunk) if chunk.len() < CHUNK => chunk.push(value.clone()),
                _ => {
                    let mut chunk = Vec::with_capacity(CHUNK);
                    chunk.push(value.clone());
                    self.before.push(chunk);
                }
            }
        }
    }

    /// One of the values that were kept.
    fn pop(&mut self) -> Option<T> {
        loop {
            if let Some(value) = self.before.last_mut()?.pop() {
                return Some(value);
            }
            self.before.pop();
        }
    }
}

impl<T: Clone> Slab<T> {
    pub(crate) fn new() -> Self {
        Self { chunks: Vec::new(), vacant: Vec::new(), len: 0, end: 0, cut: None }
    }

    /// From here on [`Self::read_cut`] reads the values as they are now, whatever happens to them.
    pub(crate) fn begin_cut(&mut self) {
        let changed = vec![0; (self.end as usize).div_ceil(64)];
        let cut = Cut { next: 0, end: self.end, changed, before: Vec::new() };
        self.cut = Some(Box::new(cut));
    }

    /// Shows up to `most` values of the cut, in no order; `false` when there is none left.
    pub(crate) fn read_cut(&mut self, most: usize, mut show: impl FnMut(&T)) -> bool {
        let Some(cut) = &mut self.cut else { return false };
        for _ in 0..most {
            if cut.next == cut.end {
                let Some(value) = cut.pop() else { return false };
                show(&value);
                continue;
            }
            let slot = cut.next as usize;
            cut.next += 1;
            if cut.changed[slot / 64] & 1 << (slot % 64) == 0 {
                let value = self.chunks[slot >> CHUNK_BITS].get(slot % CHUNK);
                value.into_iter().flatten().for_each(&mut show);
            }
        }
        cut.next < cut.end || cut.before.iter().any(|chunk| !chunk.is_empty())
    }

    /// Is there a cut?
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.is_some()
    }

    /// Ends a cut, read to its end or not.
    pub(crate) fn end_cut(&mut self) {
        self.cut = None;
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if let Some(slot) = self.vacant.pop() {
            if let Some(cut) = &mut self.cut {
                cut.keep(slot, None);
            }
            self.chunks[(slot >> CHUNK_BITS) as usize][slot as usize % CHUNK] = Some(value);
            return slot;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK_ROOM) {
            self.end = (self.chunks.len() << CHUNK_BITS) as u32;
            self.chunks.push(Vec::with_capacity(CHUNK_ROOM));
        }
        let slot = self.end;
        self.end += 1;
        self.chunks[(slot >> CHUNK_BITS) as usize].push(Some(value));
        slot
    }

    /// Drops a value where it stands.
    pub(crate) fn remove(&mut self, slot: u32) {
        let value = &mut self.chunks[(slot >> CHUNK_BITS) as usize][slot as usize % CHUNK];
        if value.is_some() {
            if let Some(cut) = &mut self.cut {
                cut.keep(slot, value.as_ref());
            }
            *value = None;
            self.vacant.push(slot);
            self.len -= 1;
        }
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        self.chunks.get((slot >> CHUNK_BITS) as usize)?.get(slot as usize % CHUNK)?.as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let chunks = (0..).step_by(CHUNK).zip(&self.chunks);
        let slots = chunks.flat_map(|(first, chunk)| (first..).zip(chunk));
        slots.filter_map(|(slot, value)| value.as_ref().map(|value| (slot, value)))
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    /// A slot that is not there is a broken invariant.
    fn index(&self, slot: u32) -> &T {
        match &self.chunks[(slot >> CHUNK_BITS) as usize][slot as usize % CHUNK] {
            Some(value) => value,
            None => panic!("slot {slot} is vacant"),
        }
    }
}

impl<T: Clone> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        match &mut self.chunks[(slot >> CHUNK_BITS) as usize][slot as usize % CHUNK] {
            Some(value) => {
                if let Some(cut) = &mut self.cut {
                    cut.keep(slot, Some(value));
                }
                value
            }
            None => panic!("slot {slot} is vacant"),
        }
    }
}

/// The hash of an id or key; they are random already, but tests and other shards' are not.
pub(crate) fn hash_of(id: u128) -> u64 {
    use std::hash::BuildHasher;
    fixed_state().hash_one(id)
}
