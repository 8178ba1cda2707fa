//! Owns the two ways of payment jobs: leases and reports in, jobs out.

use onsale_mesh::Failure;
use onsale_proto::{allocator as pb, id};
use onsale_state::{
    EventView, JobId, JobKind, LeasedJob, OrderId,
    command::{CommandKind, JobResult, LeaseJobs, SettleJob, WakeJob},
    limits::{
        HOLD_SEATS_MAX, JOB_WAIT_MS_MAX, JOBS_PER_LEASE_MAX, LEASE_MS_MAX,
        NEXT_ACTION_URL_BYTES_MAX, PAYMENT_INTENT_BYTES_MAX, REASON_BYTES_MAX,
    },
};
use pb::settle_job_request::Result as Report;

use super::{
    array, invalid, order_bytes,
    outcome::{currency, places},
    text,
};

/// The lease that a message asks for.
///
/// # Errors
/// `invalid_request` with the field and what it must be.
pub fn lease_jobs(message: &pb::LeaseJobsRequest) -> Result<CommandKind, Failure> {
    if message.lease == 0 {
        return Err(invalid("lease", "must be random and not 0"));
    }
    let jobs_max = u16::try_from(message.jobs_max).unwrap_or(u16::MAX);
    if jobs_max == 0 || usize::from(jobs_max) > JOBS_PER_LEASE_MAX {
        return Err(invalid("jobs_max", &format!("must be 1 to {JOBS_PER_LEASE_MAX}")));
    }
    if message.lease_ms == 0 || message.lease_ms > LEASE_MS_MAX {
        return Err(invalid("lease_ms", &format!("must be 1 to {LEASE_MS_MAX}")));
    }
    let (lease, lease_ms) = (message.lease, message.lease_ms);
    Ok(CommandKind::LeaseJobs(LeaseJobs { lease, jobs_max, lease_ms }))
}

/// The report that a message carries.
///
/// # Errors
/// `invalid_request` with the field and what it must be.
pub fn settle_job(message: pb::SettleJobRequest) -> Result<CommandKind, Failure> {
    if message.job_id == 0 {
        return Err(invalid("job_id", "must be a job's number, from 1"));
    }
    let Some(report) = message.result else {
        return Err(invalid("result", "must be one of the results this version knows"));
    };
    Ok(CommandKind::SettleJob(Box::new(SettleJob {
        job: JobId(message.job_id),
        lease: message.lease,
        result: result(&report)?,
    })))
}

/// The wake-up that a message asks for, in the order's shard.
///
/// # Errors
/// `invalid_request` with the field and what it must be.
pub fn wake_job(message: &pb::WakeJobRequest, shard: u32) -> Result<CommandKind, Failure> {
    let order = OrderId(order_bytes("order_id", &message.order_id, shard)?);
    Ok(CommandKind::WakeJob(WakeJob { order }))
}

/// A leased job with its places' public names, as far as the event is known here.
#[must_use]
pub fn job(job: &LeasedJob, view: Option<&EventView>, log_time_ms: u64) -> pb::Job {
    pb::Job {
        job_id: job.job.0,
        kind: job_kind_name(job.kind).to_owned(),
        order_id: id::to_bytes(job.order.0),
        event_id: view.map(|view| view.event_id.to_string()).unwrap_or_default(),
        amount_minor: job.amount_minor,
        currency: currency(job.currency),
        payment_method: job.payment_method.to_string(),
        payment_intent: job.payment_intent.as_deref().unwrap_or_default().to_owned(),
        attempts: job.attempts,
        first_leased_at_ms: job.first_leased_at_ms,
        log_time_ms,
        places: places(&job.places, view),
        tickets: job.tickets.iter().copied().map(u32::from).collect(),
    }
}

/// The public name of a job's kind.
#[must_use]
pub fn job_kind_name(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Authorise => "authorise",
        JobKind::Capture => "capture",
        JobKind::Void => "void",
        JobKind::Issue => "issue",
    }
}

fn result(report: &Report) -> Result<JobResult, Failure> {
    Ok(match report {
        Report::Authorised(said) => JobResult::Authorised {
            payment_intent: intent("authorised/payment_intent", &said.payment_intent)?,
        },
        Report::ActionRequired(said) => JobResult::ActionRequired {
            payment_intent: intent("action_required/payment_intent", &said.payment_intent)?,
            next_action_url: text(
                "action_required/next_action_url",
                &said.next_action_url,
                1,
                NEXT_ACTION_URL_BYTES_MAX,
            )?,
            poll_after_ms: wait("action_required/poll_after_ms", said.poll_after_ms)?,
        },
        Report::Declined(said) => JobResult::Declined {
            payment_intent: match said.payment_intent.as_str() {
                "" => None,
                some => Some(intent("declined/payment_intent", some)?),
            },
            reason: text("declined/reason", &said.reason, 1, REASON_BYTES_MAX)?,
        },
        Report::Captured(said) => JobResult::Captured {
            signing_key: said.signing_key,
            signatures: signatures("captured/signatures", said)?,
        },
        Report::CaptureRefused(said) => JobResult::CaptureRefused {
            reason: text("capture_refused/reason", &said.reason, 1, REASON_BYTES_MAX)?,
        },
        Report::Issued(said) => JobResult::Issued {
            signing_key: said.signing_key,
            signatures: signatures("issued/signatures", said)?,
        },
        Report::Voided(_) => JobResult::Voided,
        Report::Retry(said) => {
            JobResult::Retry { after_ms: wait("retry/after_ms", said.after_ms)? }
        }
    })
}

fn intent(field: &str, value: &str) -> Result<Box<str>, Failure> {
    text(field, value, 1, PAYMENT_INTENT_BYTES_MAX)
}

fn wait(field: &str, value: u32) -> Result<u32, Failure> {
    if value > JOB_WAIT_MS_MAX {
        return Err(invalid(field, &format!("must be at most {JOB_WAIT_MS_MAX}")));
    }
    Ok(value)
}

fn signatures(field: &str, said: &pb::Signed) -> Result<Vec<[u8; 64]>, Failure> {
    if said.signatures.is_empty() || said.signatures.len() > HOLD_SEATS_MAX {
        return Err(invalid(field, &format!("must be 1 to {HOLD_SEATS_MAX}, one per ticket")));
    }
    said.signatures
        .iter()
        .enumerate()
        .map(|(at, bytes)| array(&format!("{field}/{at}"), bytes))
        .collect()
}
