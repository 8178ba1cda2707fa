//! Owns how many seats each buyer has in live holds and in orders that have not failed, by keyed
//! hash of session, e-mail and card.
//!
//! Must never see what the hashes are made of.

use crate::{ids::BuyerHash, index::Counts};

/// Seats by buyer; a buyer without any is not in it.
pub(crate) type BuyerCounts = Counts;

/// Would `seats` more be above the limit? A limit of 0 is none; buyer 0 is nobody.
pub(crate) fn exceeds(counts: &BuyerCounts, buyer: BuyerHash, seats: usize, limit: u16) -> bool {
    buyer != 0 && would_exceed(counts.get(buyer), seats, limit)
}

/// The same for a count that is known.
pub(crate) fn would_exceed(count: u32, seats: usize, limit: u16) -> bool {
    limit != 0 && count as usize + seats > usize::from(limit)
}

pub(crate) fn add(counts: &mut BuyerCounts, buyer: BuyerHash, seats: usize) {
    counts.add_to(counts.entry(buyer), seats as u32);
}

pub(crate) fn subtract(counts: &mut BuyerCounts, buyer: BuyerHash, seats: usize) {
    if buyer != 0 {
        counts.subtract(buyer, seats as u32);
    }
}
