//! `LeaseJobs`: a worker gets due payment jobs for a while.

use super::LeaseJobs;
use crate::{
    codec::{Reader, put_u64, put_varint},
    error::DecodeError,
    ids::JobId,
    limits::{JOBS_PER_LEASE_MAX, LEASE_MS_MAX},
    outcome::{Done, LeasedJob, Outcome, Rejection},
    shard::Shard,
};

impl LeaseJobs {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.lease);
        put_varint(out, self.jobs_max.into());
        put_varint(out, self.lease_ms.into());
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { lease: r.u64()?, jobs_max: r.u16("jobs_max")?, lease_ms: r.u32("lease_ms")? })
    }
}

impl Shard {
    pub(crate) fn lease_jobs(&mut self, command: &LeaseJobs) -> Outcome {
        let invalid = |field, reason| Outcome::rejected(Rejection::Invalid { field, reason });
        if command.lease == 0 {
            return invalid("lease", "must not be 0");
        }
        if command.jobs_max == 0 || usize::from(command.jobs_max) > JOBS_PER_LEASE_MAX {
            return invalid("jobs_max", "must be 1 to 64");
        }
        if command.lease_ms == 0 || command.lease_ms > LEASE_MS_MAX {
            return invalid("lease_ms", "must be 1 ms to 1 h");
        }
        let now = self.log_time_ms;
        let again = self.jobs.jobs_of_lease(command.lease, now);
        if !again.is_empty() {
            let jobs = again.into_iter().filter_map(|id| self.leased_job(id)).collect();
            return Outcome::replayed(Done::Leased(jobs));
        }
        let due = self.jobs.due_jobs(now, command.jobs_max.into());
        for &id in &due {
            self.jobs.update(id, |job| {
                if job.first_leased_at_ms == 0 {
                    job.first_leased_at_ms = now;
                }
                job.lease = command.lease;
                job.lease_until_ms = now.saturating_add(command.lease_ms.into());
                job.attempts += 1;
            });
        }
        Outcome::done(Done::Leased(due.into_iter().filter_map(|id| self.leased_job(id)).collect()))
    }

    fn leased_job(&self, id: JobId) -> Option<LeasedJob> {
        let job = self.jobs.get(id)?;
        let order = &self.orders.slab[job.order];
        let event = &self.events[order.event as usize];
        Some(LeasedJob {
            job: id,
            kind: job.kind,
            order: order.id,
            event: event.event,
            amount_minor: order.total_minor,
            currency: event.currency,
            payment_method: order.payment_method.clone(),
            payment_intent: order.payment_intent.clone(),
            attempts: job.attempts - 1,
            first_leased_at_ms: job.first_leased_at_ms,
            places: event.dealt_places(&order.places, order.price_list, &order.deals),
            tickets: order.ticket_numbers(),
        })
    }
}
