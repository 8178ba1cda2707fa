//! Owns the index from idempotency keys to the records that hold their answers.
//!
//! A hold's and an order's record is its own dedup entry; only staff's answers need records of
//! their own. Must never store a refusal.

use crate::{
    holds::Holds,
    ids::KeyHash,
    index::{Index, Vacancy},
    limits::SLOTS_MAX,
    order::Orders,
    slab::{Slab, hash_of},
    staff::StaffAnswer,
};

/// Whose record a key leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyOwner {
    Hold(u32),
    /// An extension of the hold in this slot.
    Extension(u32),
    Order(u32),
    Staff(u32),
}

/// The same in four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KeyRef(u32);

impl From<KeyOwner> for KeyRef {
    fn from(owner: KeyOwner) -> Self {
        let (table, slot) = match owner {
            KeyOwner::Hold(slot) | KeyOwner::Extension(slot) => (0, slot),
            KeyOwner::Order(slot) => (1, slot),
            KeyOwner::Staff(slot) => (2, slot),
        };
        assert!(slot < SLOTS_MAX, "a table has more slots than its limit allows");
        Self(table << 30 | slot)
    }
}

impl KeyRef {
    fn owner(self) -> KeyOwner {
        let slot = self.0 & (SLOTS_MAX - 1);
        match self.0 >> 30 {
            0 => KeyOwner::Hold(slot),
            1 => KeyOwner::Order(slot),
            _ => KeyOwner::Staff(slot),
        }
    }
}

/// The tables in which keys live.
#[derive(Clone, Copy)]
pub(crate) struct KeyTables<'a> {
    pub(crate) holds: &'a Holds,
    pub(crate) orders: &'a Orders,
    pub(crate) staff: &'a Slab<StaffAnswer>,
}

impl KeyTables<'_> {
    /// Whose the key is, if it is one of this record's.
    fn owner(&self, entry: KeyRef, key: KeyHash) -> Option<KeyOwner> {
        let owner = entry.owner();
        let is_its_own = match owner {
            KeyOwner::Hold(slot) | KeyOwner::Extension(slot) => {
                let hold = &self.holds.slab[slot];
                if hold.key != key {
                    return hold.extension(key).map(|_| KeyOwner::Extension(slot));
                }
                true
            }
            KeyOwner::Order(slot) => self.orders.slab[slot].key == key,
            KeyOwner::Staff(slot) => self.staff[slot].idempotency.key == key,
        };
        is_its_own.then_some(owner)
    }
}

/// All keys that are remembered.
#[derive(Debug)]
pub(crate) struct Dedup {
    table: Index,
}

impl Dedup {
    pub(crate) fn new() -> Self {
        Self { table: Index::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn find(&self, key: KeyHash, tables: KeyTables<'_>) -> Option<KeyOwner> {
        self.look_up(key, tables).ok()
    }

    /// Whose the key is; or where it would stand.
    #[inline]
    pub(crate) fn look_up(&self, key: KeyHash, tables: KeyTables<'_>) -> Result<KeyOwner, Vacancy> {
        let mut owner = None;
        let found = self.table.look_up(hash_of(key), |entry| {
            owner = tables.owner(KeyRef(entry), key);
            owner.is_some()
        });
        match (found, owner) {
            (Err(vacancy), _) => Err(vacancy),
            (Ok(_), Some(owner)) => Ok(owner),
            (Ok(_), None) => panic!("a key without an owner was found"),
        }
    }

    /// Adds a key at a place looked up before.
    #[inline]
    pub(crate) fn fill(&mut self, vacancy: Vacancy, owner: KeyOwner) {
        self.table.fill(vacancy, KeyRef::from(owner).0);
    }

    pub(crate) fn insert(&mut self, key: KeyHash, owner: KeyOwner) {
        self.table.insert(hash_of(key), KeyRef::from(owner).0);
    }

    /// Its table, for reading ahead.
    pub(crate) fn table(&self) -> &Index {
        &self.table
    }

    pub(crate) fn remove(&mut self, key: KeyHash, owner: KeyOwner) {
        self.table.remove(hash_of(key), KeyRef::from(owner).0);
    }
}
