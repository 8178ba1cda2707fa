//! Owns how many seats each buyer has in live holds and in orders that have not failed, by keyed
//! hash of session, e-mail and card.
//!
//! Must never see what the hashes are made of.

use crate::{ids::BuyerHash, index::Counts};

/// Seats by buyer; a buyer without any is not in it.
pub(crate) type BuyerCounts = Counts;

/// Would `seats` more be above the limit? A limit of 0 is none; buyer 0 is nobody.
pub(crate) fn exceeds(counts: &BuyerCounts, buyer: BuyerHash, seats: usize, limit: u16) -> bool {
    if limit == 0 || buyer == 0 {
        return false;
    }
    counts.get(buyer) as usize + seats > usize::from(limit)
}

pub(crate) fn add(counts: &mut BuyerCounts, buyer: BuyerHash, seats: usize) {
    if buyer != 0 {
        assert!(counts.add(buyer, seats as u32, u32::MAX), "a buyer's count overflows");
    }
}

pub(crate) fn subtract(counts: &mut BuyerCounts, buyer: BuyerHash, seats: usize) {
    if buyer != 0 {
        counts.subtract(buyer, seats as u32);
    }
}
