//! Owns the way from a row's public name, `<section>-<row>`, to its number.
//!
//! Must never keep a name: they stand in sections and rows, and a map has many thousand.

use std::hash::BuildHasher;

use hashbrown::HashTable;

use crate::slab::fixed_state;

/// Rows by the hash of their names.
#[derive(Clone, Debug)]
pub(crate) struct RowNames(HashTable<u32>);

fn hash(name: &str) -> u64 {
    fixed_state().hash_one(name)
}

fn is_name(name: &str, (section, row): (&str, &str)) -> bool {
    name.strip_prefix(section).and_then(|rest| rest.strip_prefix('-')) == Some(row)
}

impl RowNames {
    /// Room for so many rows.
    pub(crate) fn with_capacity(rows: usize) -> Self {
        Self(HashTable::with_capacity(rows))
    }

    /// Takes all out, to add with the map at hand.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self(HashTable::new()))
    }

    /// The row of this name; `named` tells a row's section and label.
    pub(crate) fn find<'a>(
        &self,
        name: &str,
        named: impl Fn(u32) -> (&'a str, &'a str),
    ) -> Option<u32> {
        self.0.find(hash(name), |&row| is_name(name, named(row))).copied()
    }

    /// Adds a row; `false` if another has its name.
    pub(crate) fn add<'a>(
        &mut self,
        (row, section, label): (u32, &str, &str),
        named: impl Fn(u32) -> (&'a str, &'a str),
    ) -> bool {
        // A name that two rows share would make a seat's id ambiguous, also through a dash in a
        // section's key.
        let name = format!("{section}-{label}");
        if self.find(&name, &named).is_some() {
            return false;
        }
        self.0.insert_unique(hash(&name), row, |&row| {
            let (section, label) = named(row);
            hash(&format!("{section}-{label}"))
        });
        true
    }
}
