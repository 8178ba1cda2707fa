//! `SettleJob`: a worker reports what the gateway said, fenced by its lease.

use sha2::{Digest, Sha256};

use super::{JobResult, SettleJob};
use crate::{
    change::Change,
    codec::{Reader, put_bytes, put_opt_str, put_signatures, put_u64, put_varint},
    error::DecodeError,
    ids::{JobId, LogTimeMs},
    job::{Job, Settled},
    limits::{
        COMMAND_BYTES_MAX, JOB_WAIT_MS_MAX, NEXT_ACTION_URL_BYTES_MAX, PAYMENT_INTENT_BYTES_MAX,
        REASON_BYTES_MAX,
    },
    order::{FailureCode, JobKind, OrderStatus},
    outcome::{Done, Outcome, Rejection},
    shard::Shard,
};

impl JobResult {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Authorised { payment_intent } => {
                out.push(0);
                put_bytes(out, payment_intent.as_bytes());
            }
            Self::ActionRequired { payment_intent, next_action_url, poll_after_ms } => {
                out.push(1);
                put_bytes(out, payment_intent.as_bytes());
                put_bytes(out, next_action_url.as_bytes());
                put_varint(out, (*poll_after_ms).into());
            }
            Self::Declined { payment_intent, reason } => {
                out.push(2);
                put_opt_str(out, payment_intent.as_deref());
                put_bytes(out, reason.as_bytes());
            }
            Self::Captured { signing_key, signatures } => {
                out.push(3);
                put_varint(out, (*signing_key).into());
                put_signatures(out, signatures);
            }
            Self::CaptureRefused { reason } => {
                out.push(4);
                put_bytes(out, reason.as_bytes());
            }
            Self::Issued { signing_key, signatures } => {
                out.push(5);
                put_varint(out, (*signing_key).into());
                put_signatures(out, signatures);
            }
            Self::Voided => out.push(6),
            Self::Retry { after_ms } => {
                out.push(7);
                put_varint(out, (*after_ms).into());
            }
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        const MAX: usize = COMMAND_BYTES_MAX;
        Ok(match r.u8()? {
            0 => Self::Authorised { payment_intent: r.str(MAX, "payment_intent")? },
            1 => Self::ActionRequired {
                payment_intent: r.str(MAX, "payment_intent")?,
                next_action_url: r.str(MAX, "next_action_url")?,
                poll_after_ms: r.u32("poll_after_ms")?,
            },
            2 => Self::Declined {
                payment_intent: r.opt(|r| r.str(MAX, "payment_intent"))?,
                reason: r.str(MAX, "reason")?,
            },
            3 => Self::Captured { signing_key: r.u32("signing_key")?, signatures: r.signatures()? },
            4 => Self::CaptureRefused { reason: r.str(MAX, "reason")? },
            5 => Self::Issued { signing_key: r.u32("signing_key")?, signatures: r.signatures()? },
            6 => Self::Voided,
            7 => Self::Retry { after_ms: r.u32("after_ms")? },
            _ => {
                return Err(DecodeError::Invalid { what: "a job's result" });
            }
        })
    }

    fn fits(&self, kind: JobKind) -> bool {
        match self {
            Self::Retry { .. } => true,
            Self::Authorised { .. } | Self::ActionRequired { .. } | Self::Declined { .. } => {
                kind == JobKind::Authorise
            }
            Self::Captured { .. } | Self::CaptureRefused { .. } => kind == JobKind::Capture,
            Self::Issued { .. } => kind == JobKind::Issue,
            Self::Voided => kind == JobKind::Void,
        }
    }

    /// Is every size of it within its bound?
    fn check_sizes(&self) -> Result<(), (&'static str, &'static str)> {
        let intent = |intent: &str, min: usize| {
            let fits = (min..=PAYMENT_INTENT_BYTES_MAX).contains(&intent.len());
            if fits { Ok(()) } else { Err(("payment_intent", "must have 1 to 255 bytes")) }
        };
        let wait = |ms: u32| {
            if ms <= JOB_WAIT_MS_MAX { Ok(()) } else { Err(("after_ms", "must be at most 24 h")) }
        };
        let reason = |reason: &str| {
            let fits = reason.len() <= REASON_BYTES_MAX;
            if fits { Ok(()) } else { Err(("reason", "must have at most 64 bytes")) }
        };
        match self {
            Self::Authorised { payment_intent } => intent(payment_intent, 1),
            Self::ActionRequired { payment_intent, next_action_url, poll_after_ms } => {
                intent(payment_intent, 1)?;
                wait(*poll_after_ms)?;
                if next_action_url.len() > NEXT_ACTION_URL_BYTES_MAX {
                    return Err(("next_action_url", "must have at most 2048 bytes"));
                }
                Ok(())
            }
            Self::Declined { payment_intent, reason: why } => {
                intent(payment_intent.as_deref().unwrap_or("-"), 1)?;
                reason(why)
            }
            Self::CaptureRefused { reason: why } => reason(why),
            Self::Retry { after_ms } => wait(*after_ms),
            Self::Captured { .. } | Self::Issued { .. } | Self::Voided => Ok(()),
        }
    }
}

impl SettleJob {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.job.0);
        put_u64(out, self.lease);
        self.result.encode(out);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (job, lease) = (JobId(r.varint()?), r.u64()?);
        Ok(Self { job, lease, result: JobResult::decode(r)? })
    }

    /// Tells one report from another.
    fn fingerprint(&self) -> u64 {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = Sha256::digest(&bytes).into();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

impl Shard {
    pub(crate) fn settle_job(&mut self, command: &SettleJob, changes: &mut Vec<Change>) -> Outcome {
        let fingerprint = command.fingerprint();
        let job = self.jobs.get(command.job).cloned();
        let in_hand = job.as_ref().is_some_and(|job| job.lease == command.lease);
        if let Some(known) = self.jobs.settled.get(&command.job)
            && !in_hand
            && (known.lease, known.fingerprint) == (command.lease, fingerprint)
        {
            return Outcome::replayed(self.settled(known.order));
        }
        let job = match self.check_report(command, job) {
            Ok(job) => job,
            Err(rejection) => return Outcome::rejected(rejection),
        };
        self.take_report(command.job, &job, &command.result, changes);
        let settled = Settled { lease: command.lease, fingerprint, order: job.order };
        self.jobs.remember(command.job, settled);
        Outcome::done(self.settled(job.order))
    }

    fn settled(&self, order_slot: u32) -> Done {
        let order = &self.orders.slab[order_slot];
        Done::Settled { order: order.id, status: order.status }
    }

    fn check_report(&self, command: &SettleJob, job: Option<Job>) -> Result<Job, Rejection> {
        if job.is_none() && (command.job.0 == 0 || command.job.0 > self.jobs.last_job) {
            return Err(Rejection::NotFound { what: "job" });
        }
        let invalid = |(field, reason)| Rejection::Invalid { field, reason };
        command.result.check_sizes().map_err(invalid)?;
        let job = job.ok_or(Rejection::StaleLease)?;
        if !command.result.fits(job.kind) {
            return Err(invalid(("result", "does not fit the job")));
        }
        if let JobResult::Captured { signatures, .. } | JobResult::Issued { signatures, .. } =
            &command.result
            && signatures.len() != self.orders.slab[job.order].places.len()
        {
            return Err(invalid(("signatures", "must be one per ticket")));
        }
        if job.lease != command.lease || job.lease == 0 {
            return Err(Rejection::StaleLease);
        }
        Ok(job)
    }

    /// Lets a job wait, in nobody's hands.
    fn wait(&mut self, id: JobId, after_ms: u32) {
        let now = self.log_time_ms;
        let not_before_ms: LogTimeMs = now.saturating_add(after_ms.into());
        self.jobs.update(id, |job| {
            job.lease = 0;
            job.lease_until_ms = 0;
            job.not_before_ms = not_before_ms;
        });
        self.job_due |= not_before_ms <= now;
    }

    fn take_report(&mut self, id: JobId, job: &Job, result: &JobResult, changes: &mut Vec<Change>) {
        let slot = job.order;
        match result {
            JobResult::Retry { after_ms } => return self.wait(id, *after_ms),
            JobResult::ActionRequired { payment_intent, next_action_url, poll_after_ms } => {
                let order = &mut self.orders.slab[slot];
                order.payment_intent = Some(payment_intent.clone());
                order.next_action_url = Some(next_action_url.clone());
                if order.status != OrderStatus::ActionRequired {
                    self.set_status(slot, OrderStatus::ActionRequired, changes);
                }
                return self.wait(id, *poll_after_ms);
            }
            _ => {}
        }
        self.jobs.remove(id);
        let order = &mut self.orders.slab[slot];
        order.job = None;
        match result {
            JobResult::Authorised { payment_intent } => {
                order.payment_intent = Some(payment_intent.clone());
                self.sell_authorised(slot, changes);
            }
            JobResult::Declined { payment_intent, reason } => {
                if payment_intent.is_some() {
                    order.payment_intent.clone_from(payment_intent);
                }
                self.fail_undecided(slot, FailureCode::PaymentDeclined, reason, changes);
            }
            JobResult::Captured { signing_key, signatures }
            | JobResult::Issued { signing_key, signatures } => {
                self.confirm(slot, *signing_key, signatures, changes);
            }
            JobResult::CaptureRefused { reason } => self.fail_sold(slot, reason, changes),
            JobResult::Voided | JobResult::Retry { .. } | JobResult::ActionRequired { .. } => {}
        }
    }
}
