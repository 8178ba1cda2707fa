//! `WakeJob`: there is news about an order, so its waiting job need not wait.

use super::WakeJob;
use crate::{
    codec::{Reader, put_u128},
    error::DecodeError,
    ids::OrderId,
    outcome::{Done, Outcome, Rejection},
    shard::Shard,
};

impl WakeJob {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u128(out, self.order.0);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { order: OrderId(r.u128()?) })
    }
}

impl Shard {
    pub(crate) fn wake_job(&mut self, command: &WakeJob) -> Outcome {
        let Some(slot) = self.orders.slot(command.order) else {
            return Outcome::rejected(Rejection::NotFound { what: "order" });
        };
        let now = self.log_time_ms;
        let waiting = self.orders.slab[slot].job.filter(|&id| {
            self.jobs.get(id).is_some_and(|job| job.lease == 0 && job.not_before_ms > now)
        });
        if let Some(id) = waiting {
            self.jobs.update(id, |job| job.not_before_ms = now);
            self.job_due = true;
        }
        Outcome::done(Done::Ok)
    }
}
