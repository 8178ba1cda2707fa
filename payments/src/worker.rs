//! Owns the life of a job in this worker's hands: lease, gateway calls, report.
//!
//! Stateless: everything it knows came with the lease. Must never report under a lease that may be
//! over, nor decide anything that [`checkout`] does not say.

use std::{sync::Arc, time::Duration};

use onsale_mesh::{Deadline, Failure, ShardClient, breaker::Gate};
use onsale_proto::{
    Code,
    allocator::{
        self as pb, Job, LeaseJobsRequest, SettleJobRequest, settle_job_request::Result as Settled,
    },
    id,
};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    checkout::{self, Kind, Report, Step, Task},
    gateway::{Gateway, Payment},
    limits::{
        CALLS_PER_JOB_MAX, DRAIN_MAX, GATEWAY_PAUSE_FIRST, JOBS_PER_LEASE_MAX, LEASE, LEASE_BUDGET,
        LEASE_MARGIN, LEASE_WAIT, RETRY_MS_MAX, SETTLE_BUDGET, SHARD_PAUSE,
    },
    metrics as names,
    ticket::Signer,
};

/// Works on the jobs of one shard.
pub(crate) struct Worker<G> {
    pub(crate) shard: u32,
    pub(crate) shards: ShardClient,
    pub(crate) gateway: G,
    pub(crate) signer: Arc<Signer>,
    pub(crate) jobs_max: usize,
}

impl<G: Gateway + 'static> Worker<G> {
    /// Leases and works until `shutdown`, then finishes what is in hand.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut jobs = JoinSet::new();
        let mut lease = new_lease();
        while !shutdown.is_cancelled() {
            while jobs.try_join_next().is_some() {}
            metrics::gauge!(names::JOBS_IN_FLIGHT, "shard" => self.shard.to_string())
                .set(u32::try_from(jobs.len()).unwrap_or(u32::MAX));
            let free = self.jobs_max.saturating_sub(jobs.len());
            if free == 0 {
                tokio::select! {
                    _ = jobs.join_next() => {}
                    () = shutdown.cancelled() => {}
                }
                continue;
            }
            let leased = tokio::select! {
                leased = self.lease(lease, free) => leased,
                () = shutdown.cancelled() => break,
            };
            match leased {
                Ok(leased) => {
                    let deadline = Deadline::after(LEASE - LEASE_MARGIN);
                    for job in leased {
                        let worker = Arc::clone(&self);
                        jobs.spawn(async move { worker.work(job, lease, deadline).await });
                    }
                    lease = new_lease();
                }
                // The lease may have been given: asked again under its number, it gives the same.
                Err(failure) => {
                    tracing::debug!(shard = self.shard, %failure, "no jobs leased");
                    tokio::time::sleep(SHARD_PAUSE).await;
                }
            }
        }
        let finishing = async { while jobs.join_next().await.is_some() {} };
        if timeout(DRAIN_MAX, finishing).await.is_err() {
            tracing::warn!(shard = self.shard, "jobs were left to the next worker");
        }
    }

    async fn lease(&self, lease: u64, free: usize) -> Result<Vec<Job>, Failure> {
        let mut jobs_max = u32::try_from(free).unwrap_or(u32::MAX).min(JOBS_PER_LEASE_MAX);
        // While the gateway is away jobs wait in the shard; one at a time finds out.
        if self.gateway.gate() != Gate::Open {
            tokio::time::sleep(GATEWAY_PAUSE_FIRST).await;
            jobs_max = 1;
        }
        let request = LeaseJobsRequest {
            shard: self.shard,
            lease,
            jobs_max,
            lease_ms: ms(LEASE),
            wait_ms: ms(LEASE_WAIT),
        };
        let deadline = Deadline::after(LEASE_WAIT + LEASE_BUDGET);
        Ok(self.shards.lease_jobs(request, deadline).await?.jobs)
    }

    async fn work(&self, job: Job, lease: u64, deadline: Deadline) {
        let Some((order, task)) = task_of(&job) else {
            tracing::error!(job = job.job_id, kind = %job.kind, "a job makes no sense");
            metrics::counter!(names::ALARMS, "alarm" => "senseless_job").increment(1);
            let result = Settled::Retry(pb::Retry { after_ms: RETRY_MS_MAX });
            return self.settle(job.job_id, "senseless", lease, result, deadline).await;
        };
        let asking = ask(&self.gateway, &task);
        let Ok(report) = tokio::time::timeout_at(deadline.instant(), asking).await else {
            metrics::counter!(names::LATE).increment(1);
            return;
        };
        let name = report_name(&report);
        metrics::counter!(names::JOBS, "kind" => job.kind.clone(), "result" => name).increment(1);
        let result = self.result(report, order, &job);
        self.settle(job.job_id, name, lease, result, deadline).await;
    }

    fn result(&self, report: Report, order: u128, job: &Job) -> Settled {
        match report {
            Report::Authorised { intent } => {
                Settled::Authorised(pb::Authorised { payment_intent: intent })
            }
            Report::ActionRequired { intent, url, poll_after_ms } => {
                Settled::ActionRequired(pb::ActionRequired {
                    payment_intent: intent,
                    next_action_url: url,
                    poll_after_ms,
                })
            }
            Report::Declined { intent, reason } => Settled::Declined(pb::Declined {
                payment_intent: intent.unwrap_or_default(),
                reason,
            }),
            Report::Captured => Settled::Captured(self.signed(order, job)),
            Report::CaptureRefused { reason } => Settled::CaptureRefused(pb::Refused { reason }),
            Report::Issued => Settled::Issued(self.signed(order, job)),
            Report::Voided => Settled::Voided(pb::Done {}),
            Report::Retry { after_ms } => Settled::Retry(pb::Retry { after_ms }),
        }
    }

    fn signed(&self, order: u128, job: &Job) -> pb::Signed {
        let signatures = self.signer.sign(order, &job.event_id, &job.places, &job.tickets);
        metrics::counter!(names::TICKETS).increment(signatures.len() as u64);
        pb::Signed { signing_key: self.signer.key_id(), signatures }
    }

    /// Reports until the shard has answered or the lease is over.
    async fn settle(
        &self,
        job_id: u64,
        name: &'static str,
        lease: u64,
        result: Settled,
        deadline: Deadline,
    ) {
        let request = SettleJobRequest { shard: self.shard, job_id, lease, result: Some(result) };
        while !deadline.passed() {
            let budget = Deadline::after(deadline.min(SETTLE_BUDGET));
            match self.shards.settle_job(request.clone(), budget).await {
                Ok(_) => return,
                Err(failure) if may_be_repeated(failure.code) => {
                    tracing::debug!(shard = self.shard, job_id, %failure, "report again");
                    tokio::time::sleep(deadline.min(SHARD_PAUSE)).await;
                }
                Err(failure) => {
                    tracing::warn!(shard = self.shard, job_id, name, %failure, "report refused");
                    metrics::counter!(names::LATE).increment(1);
                    return;
                }
            }
        }
        metrics::counter!(names::LATE).increment(1);
    }
}

/// Asks the gateway until the job is understood.
async fn ask(gateway: &impl Gateway, task: &Task) -> Report {
    let mut step = raise_alarms(checkout::first(task), task);
    for _ in 0..CALLS_PER_JOB_MAX {
        let Step::Call(call, purpose) = step else {
            break;
        };
        let answer = gateway.call(&task.payment, &call).await;
        step = raise_alarms(checkout::next(task, &call, &purpose, &answer), task);
    }
    match step {
        Step::Report(report) => report,
        _ => Report::Retry { after_ms: RETRY_MS_MAX },
    }
}

fn raise_alarms(step: Step, task: &Task) -> Step {
    let mut step = step;
    while let Step::Alarm(alarm, inner) = step {
        tracing::error!(alarm, order = %task.payment.order_id, "the gateway's answer alarms");
        metrics::counter!(names::ALARMS, "alarm" => alarm).increment(1);
        step = *inner;
    }
    step
}

fn may_be_repeated(code: Code) -> bool {
    code.retryable() || code == Code::Internal
}

fn task_of(job: &Job) -> Option<(u128, Task)> {
    let order = id::from_bytes(&job.order_id)?;
    let kind = match job.kind.as_str() {
        "authorise" => Kind::Authorise,
        "capture" => Kind::Capture,
        "void" => Kind::Void,
        "issue" => Kind::Issue,
        _ => return None,
    };
    let task = Task {
        kind,
        payment: Payment {
            order_id: id::format(id::ORDER, order),
            amount_minor: job.amount_minor,
            currency: job.currency.clone(),
            payment_method: job.payment_method.clone(),
        },
        intent: (!job.payment_intent.is_empty()).then(|| job.payment_intent.clone()),
        attempts: job.attempts,
        age_ms: job.log_time_ms.saturating_sub(job.first_leased_at_ms),
    };
    Some((order, task))
}

fn report_name(report: &Report) -> &'static str {
    match report {
        Report::Authorised { .. } => "authorised",
        Report::ActionRequired { .. } => "action_required",
        Report::Declined { .. } => "declined",
        Report::Captured => "captured",
        Report::CaptureRefused { .. } => "capture_refused",
        Report::Issued => "issued",
        Report::Voided => "voided",
        Report::Retry { .. } => "retry",
    }
}

/// Random, so that no two workers' leases are the same.
fn new_lease() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_be_bytes(bytes).max(1),
        // Without randomness the clock is as near as it gets; the shard fences double numbers.
        Err(_) => onsale_proto::time::now_ms() << 16 | u64::from(std::process::id() & 0xffff),
    }
}

fn ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
