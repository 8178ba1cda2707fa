//! Owns how many seats each buyer has in live holds and in orders that have not failed, by keyed
//! hash of session, e-mail and card.
//!
//! Must never see what the hashes are made of.

use hashbrown::{HashMap, hash_map::Entry};

use crate::{ids::BuyerHash, slab::FixedState};

/// Seats by buyer; a buyer without any is not in it.
pub(crate) type BuyerCounts = HashMap<BuyerHash, u32, FixedState>;

/// Would `seats` more be above the limit? A limit of 0 is none; buyer 0 is nobody.
pub(crate) fn exceeds(counts: &BuyerCounts, buyer: BuyerHash, seats: usize, limit: u16) -> bool {
    if limit == 0 || buyer == 0 {
        return false;
    }
    let has = counts.get(&buyer).copied().unwrap_or(0) as usize;
    has + seats > usize::from(limit)
}

pub(crate) fn add(counts: &mut BuyerCounts, buyer: BuyerHash, seats: usize) {
    if buyer != 0 {
        *counts.entry(buyer).or_insert(0) += seats as u32;
    }
}

pub(crate) fn subtract(counts: &mut BuyerCounts, buyer: BuyerHash, seats: usize) {
    if buyer == 0 {
        return;
    }
    let Entry::Occupied(mut entry) = counts.entry(buyer) else {
        panic!("a buyer gives back seats that were never counted");
    };
    assert!(*entry.get() >= seats as u32, "a buyer gives back more seats than were counted");
    *entry.get_mut() -= seats as u32;
    if *entry.get() == 0 {
        entry.remove();
    }
}
