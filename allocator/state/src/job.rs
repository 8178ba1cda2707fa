//! Owns the outbox of payment jobs: which are due, who works on which, and what was reported.
//!
//! Must never decide what a report means for an order.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    ids::{JobId, LogTimeMs},
    limits::SETTLED_REPORTS_MAX,
    order::JobKind,
};

/// A job that is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) kind: JobKind,
    /// The order's slot.
    pub(crate) order: u32,
    pub(crate) not_before_ms: LogTimeMs,
    /// Who works on it; 0 is nobody.
    pub(crate) lease: u64,
    pub(crate) lease_until_ms: LogTimeMs,
    /// How often it, or the job it replaced, was leased.
    pub(crate) attempts: u32,
    pub(crate) first_leased_at_ms: LogTimeMs,
}

impl Job {
    /// From when on it may be leased.
    pub(crate) fn due_at_ms(&self) -> LogTimeMs {
        if self.lease == 0 {
            self.not_before_ms
        } else {
            self.not_before_ms.max(self.lease_until_ms)
        }
    }
}

/// A report that was taken, so that its repeat finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) lease: u64,
    pub(crate) fingerprint: u64,
    pub(crate) order: u32,
}

/// The outbox of a shard.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    jobs: BTreeMap<JobId, Job>,
    due: BTreeSet<(LogTimeMs, JobId)>,
    leased: BTreeSet<(u64, JobId)>,
    pub(crate) settled: BTreeMap<JobId, Settled>,
    pub(crate) last_job: u64,
}

impl Outbox {
    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (JobId, &Job)> {
        self.jobs.iter().map(|(&id, job)| (id, job))
    }

    pub(crate) fn get(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id)
    }

    /// Numbers and stores a new job.
    pub(crate) fn add(&mut self, job: Job) -> JobId {
        self.last_job += 1;
        let id = JobId(self.last_job);
        self.put(id, job);
        id
    }

    /// Stores a job under its number.
    pub(crate) fn put(&mut self, id: JobId, job: Job) {
        self.due.insert((job.due_at_ms(), id));
        if job.lease != 0 {
            self.leased.insert((job.lease, id));
        }
        self.jobs.insert(id, job);
    }

    pub(crate) fn remove(&mut self, id: JobId) -> Option<Job> {
        let job = self.jobs.remove(&id)?;
        self.due.remove(&(job.due_at_ms(), id));
        self.leased.remove(&(job.lease, id));
        Some(job)
    }

    /// Changes a job, keeping the indexes right.
    pub(crate) fn update(&mut self, id: JobId, change: impl FnOnce(&mut Job)) {
        if let Some(mut job) = self.remove(id) {
            change(&mut job);
            self.put(id, job);
        }
    }

    /// The first jobs that may be leased at `now`.
    pub(crate) fn due_jobs(&self, now: LogTimeMs, max: usize) -> Vec<JobId> {
        self.due.range(..=(now, JobId(u64::MAX))).take(max).map(|&(_, id)| id).collect()
    }

    pub(crate) fn due_count(&self, now: LogTimeMs) -> usize {
        self.due.range(..=(now, JobId(u64::MAX))).count()
    }

    /// Jobs given out under a lease that is not over.
    pub(crate) fn jobs_of_lease(&self, lease: u64, now: LogTimeMs) -> Vec<JobId> {
        self.leased
            .range((lease, JobId(0))..=(lease, JobId(u64::MAX)))
            .map(|&(_, id)| id)
            .filter(|id| self.jobs.get(id).is_some_and(|job| job.lease_until_ms > now))
            .collect()
    }

    /// When the first job becomes due after `now`.
    pub(crate) fn next_due_after(&self, now: LogTimeMs) -> Option<LogTimeMs> {
        let after = (now.saturating_add(1), JobId(0));
        self.due.range(after..).next().map(|&(time, _)| time)
    }

    /// Does a job become due after `before` and not after `now`?
    pub(crate) fn becomes_due(&self, before: LogTimeMs, now: LogTimeMs) -> bool {
        self.next_due_after(before).is_some_and(|time| time <= now)
    }

    pub(crate) fn remember(&mut self, id: JobId, settled: Settled) {
        self.settled.insert(id, settled);
        if self.settled.len() > SETTLED_REPORTS_MAX {
            self.settled.pop_first();
        }
    }
}
