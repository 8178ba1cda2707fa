//! Owns what buyers experienced: the record of every answer that was a promise.
//!
//! Must never grow without bounds: what is not kept is counted.

use std::{collections::BTreeMap, time::Instant};

use crate::{api::Effort, audit::HoldAck, limits};

/// What one buyer experienced.
#[derive(Debug, Default)]
pub struct Story {
    /// Acknowledged holds, as many as are audited one by one.
    pub holds: Vec<HoldAck>,
    /// Acknowledged holds beyond that, and what they hold: seats are in the ledger.
    pub holds_not_kept: u64,
    /// Requests to hold that were never answered.
    pub unknown_holds: u64,
    /// Refusals by code.
    pub refusals: BTreeMap<String, u64>,
    /// Answers that contradict the contract.
    pub contradictions: Vec<String>,
    /// How many in all.
    pub contradictions_count: u64,
    /// The last confirmed order, as its buyer heard of it.
    pub last_confirmed: Option<Instant>,
    /// What it took.
    pub effort: Effort,
}

impl Story {
    /// Adds another buyer's.
    pub fn add(&mut self, other: Story) {
        for hold in other.holds {
            self.keep(hold);
        }
        self.holds_not_kept += other.holds_not_kept;
        self.unknown_holds += other.unknown_holds;
        for (code, count) in other.refusals {
            *self.refusals.entry(code).or_insert(0) += count;
        }
        self.contradictions_count += other.contradictions_count;
        let room = limits::CONTRADICTIONS_MAX.saturating_sub(self.contradictions.len());
        self.contradictions.extend(other.contradictions.into_iter().take(room));
        self.last_confirmed = self.last_confirmed.max(other.last_confirmed);
        self.effort.add(other.effort);
    }

    /// Keeps a hold for the audit, while there is room.
    pub fn keep(&mut self, hold: HoldAck) {
        if self.holds.len() < limits::AUDITED_HOLDS_MAX {
            self.holds.push(hold);
        } else {
            self.holds_not_kept += 1;
        }
    }

    /// Something was answered that contradicts the contract.
    pub fn contradicted(&mut self, what: String) {
        self.contradictions_count += 1;
        if self.contradictions.len() < limits::CONTRADICTIONS_MAX {
            self.contradictions.push(what);
        }
    }
}
