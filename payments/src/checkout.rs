//! Owns the one decision: what a payment job and the gateway's answer mean, as a pure function.
//!
//! [`first`] says what to do about a job, [`next`] what to do after an answer; both end in a
//! [`Report`] to the shard. A worker that dies between any two steps loses nothing: the job is
//! leased again and every call may be repeated. Must never report money as reserved, taken or let
//! go unless the gateway said so of this very payment.

use crate::{
    gateway::{Answer, Call, Intent, Payment, Status},
    limits::{
        ACTION_POLL_LATER_MS, ACTION_POLL_MS, ACTION_POLLS_FAST_MAX, REPEAT_AGE_MAX_MS,
        RETRY_FIRST_MS, RETRY_MS_MAX,
    },
};

/// What a job asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reserve the money.
    Authorise,
    /// Take it; the order is sold.
    Capture,
    /// See to it that none is reserved or taken; the order has failed.
    Void,
    /// Sign the tickets of an order that needs no gateway.
    Issue,
}

/// A leased job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// What to do.
    pub kind: Kind,
    /// For what.
    pub payment: Payment,
    /// The gateway's id of the payment, once known.
    pub intent: Option<String>,
    /// Leases before this one.
    pub attempts: u32,
    /// Log time since the first lease, in milliseconds.
    pub age_ms: u64,
}

/// Why a payment is being cancelled or looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// What the job says.
    Job,
    /// The gateway would not say what became of the call: the state decides.
    Learn,
    /// It must not be paid; then the job's answer is no, for this reason.
    Undo(String),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call the gateway and come back with its answer.
    Call(Call, Purpose),
    /// Tell the shard.
    Report(Report),
    /// Tell the shard, and people: no honest gateway answers like this.
    Alarm(&'static str, Box<Step>),
}

/// What the shard is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The money is reserved.
    Authorised {
        /// The gateway's id of the payment.
        intent: String,
    },
    /// The buyer has to confirm.
    ActionRequired {
        /// The gateway's id of the payment.
        intent: String,
        /// Where.
        url: String,
        /// When to look again, in milliseconds.
        poll_after_ms: u32,
    },
    /// No, for good; nothing is reserved.
    Declined {
        /// The gateway's id of the payment, if it made one.
        intent: Option<String>,
        /// Why.
        reason: String,
    },
    /// The money is taken: sign the tickets.
    Captured,
    /// The money cannot be taken and is not reserved any more.
    CaptureRefused {
        /// Why.
        reason: String,
    },
    /// Sign the tickets.
    Issued,
    /// Nothing is reserved or taken any more, or never was.
    Voided,
    /// Not known yet.
    Retry {
        /// When to try again, in milliseconds.
        after_ms: u32,
    },
}

/// What to do about a job.
#[must_use]
pub fn first(task: &Task) -> Step {
    let old = task.age_ms > REPEAT_AGE_MAX_MS;
    let call = match (task.kind, &task.intent) {
        (Kind::Issue, _) => return Step::Report(Report::Issued),
        (Kind::Authorise, Some(intent)) => Call::Retrieve(intent.clone()),
        // Repeating an authorisation under its key tells which payment it made, if any.
        (Kind::Authorise | Kind::Void, None) if !old => Call::Authorise,
        (_, None) => Call::Search,
        (_, Some(intent)) if old => Call::Retrieve(intent.clone()),
        (Kind::Capture, Some(intent)) => capture(intent, 0),
        (Kind::Void, Some(intent)) => cancel(intent, 0),
    };
    Step::Call(call, Purpose::Job)
}

/// What to do after the gateway's answer to `call`.
#[must_use]
pub fn next(task: &Task, call: &Call, purpose: &Purpose, answer: &Answer) -> Step {
    match answer {
        Answer::Unknown { retry_after } => {
            let asked = retry_after
                .map_or(0, |pause| u32::try_from(pause.as_millis()).unwrap_or(RETRY_MS_MAX));
            Step::Report(Report::Retry { after_ms: pause_ms(task).max(asked.min(RETRY_MS_MAX)) })
        }
        Answer::Intent(intent) if !is_ours(task, intent) => alarm("foreign_payment", retry(task)),
        Answer::Intent(intent) => match task.kind {
            Kind::Authorise => authorise(task, call, purpose, intent),
            Kind::Capture => take(task, call, purpose, intent),
            Kind::Void => void(task, call, intent),
            Kind::Issue => retry(task),
        },
        Answer::GivenBack => Step::Report(match (task.kind, purpose) {
            (Kind::Void, _) => Report::Voided,
            (_, Purpose::Undo(reason)) => refused(task, reason),
            _ => return retry(task),
        }),
        Answer::KeySpent => key_spent(task, call),
        Answer::NotFound => not_found(task, call),
        Answer::Declined { intent, reason } => no(task, call, intent.as_deref(), reason),
        Answer::Refused { reason } => no(task, call, None, reason),
    }
}

fn authorise(task: &Task, call: &Call, purpose: &Purpose, intent: &Intent) -> Step {
    if let Purpose::Undo(reason) = purpose {
        return undo(task, call, intent, reason);
    }
    if !matches_price(task, intent) {
        return alarm("price_differs", undo(task, call, intent, "gateway_mismatch"));
    }
    let id = intent.id.clone();
    let report = match intent.status {
        Status::RequiresCapture if intent.capturable_minor == task.payment.amount_minor => {
            Report::Authorised { intent: id }
        }
        Status::RequiresCapture => {
            return alarm("price_differs", undo(task, call, intent, "gateway_mismatch"));
        }
        // Taken at once, though we asked to wait: it is reserved all the more.
        Status::Succeeded => Report::Authorised { intent: id },
        Status::RequiresAction => match &intent.next_action_url {
            Some(url) => Report::ActionRequired {
                intent: id,
                url: url.clone(),
                poll_after_ms: if task.attempts < ACTION_POLLS_FAST_MAX {
                    ACTION_POLL_MS
                } else {
                    ACTION_POLL_LATER_MS
                },
            },
            None => return undo(task, call, intent, "authentication_not_possible"),
        },
        Status::RequiresPaymentMethod | Status::Canceled => Report::Declined {
            intent: Some(id),
            reason: intent.last_error.clone().unwrap_or_else(|| status_name(intent)),
        },
        Status::Processing | Status::RequiresConfirmation => return retry(task),
    };
    Step::Report(report)
}

fn take(task: &Task, call: &Call, purpose: &Purpose, intent: &Intent) -> Step {
    if let Purpose::Undo(reason) = purpose {
        return match intent.status {
            // It was taken after all.
            Status::Succeeded => take(task, call, &Purpose::Job, intent),
            _ => undo(task, call, intent, reason),
        };
    }
    match intent.status {
        Status::Succeeded if intent.received_minor == task.payment.amount_minor => {
            Step::Report(Report::Captured)
        }
        // Too much or too little is taken: only people can put that right.
        Status::Succeeded => alarm("taken_differs", retry(task)),
        Status::RequiresCapture if !matches_price(task, intent) => {
            alarm("price_differs", undo(task, call, intent, "gateway_mismatch"))
        }
        Status::RequiresCapture => match (call, purpose) {
            (Call::Capture { .. }, _) => retry(task),
            (_, Purpose::Learn) => Step::Call(capture(&intent.id, fresh_turn(task)), Purpose::Job),
            _ => Step::Call(capture(&intent.id, 0), Purpose::Job),
        },
        Status::Processing => retry(task),
        Status::Canceled => Step::Report(Report::CaptureRefused { reason: status_name(intent) }),
        _ => undo(task, call, intent, &status_name(intent)),
    }
}

fn void(task: &Task, call: &Call, intent: &Intent) -> Step {
    match intent.status {
        Status::Canceled => Step::Report(Report::Voided),
        Status::Succeeded => give_back(task, call, intent, &Purpose::Job),
        Status::Processing => retry(task),
        _ => match call {
            Call::Cancel { .. } => retry(task),
            Call::Retrieve(_) => Step::Call(cancel(&intent.id, fresh_turn(task)), Purpose::Job),
            _ => Step::Call(cancel(&intent.id, 0), Purpose::Job),
        },
    }
}

/// Cancels a payment that must not be, and says no when it is gone.
fn undo(task: &Task, call: &Call, intent: &Intent, reason: &str) -> Step {
    let purpose = Purpose::Undo(reason.to_owned());
    match intent.status {
        Status::Canceled => Step::Report(refused(task, reason)),
        Status::Succeeded => give_back(task, call, intent, &purpose),
        _ if matches!(call, Call::Cancel { .. }) => retry(task),
        _ => Step::Call(cancel(&intent.id, fresh_turn(task)), purpose),
    }
}

fn give_back(task: &Task, call: &Call, intent: &Intent, purpose: &Purpose) -> Step {
    match call {
        Call::GiveBack(_) => retry(task),
        _ => {
            let back = Step::Call(Call::GiveBack(intent.id.clone()), purpose.clone());
            alarm("taken_unasked", back)
        }
    }
}

/// The call was refused for good; what that means is the state's to say.
fn no(task: &Task, call: &Call, intent: Option<&str>, reason: &str) -> Step {
    let report = match (task.kind, call) {
        (Kind::Authorise, Call::Authorise) => {
            Report::Declined { intent: intent.map(str::to_owned), reason: reason.to_owned() }
        }
        // Nothing was made, or the card was refused: nothing is reserved.
        (Kind::Void, Call::Authorise) => Report::Voided,
        (Kind::Capture, Call::Capture { intent, .. }) => {
            let purpose = Purpose::Undo(reason.to_owned());
            return Step::Call(Call::Retrieve(intent.clone()), purpose);
        }
        (Kind::Void, Call::Cancel { intent, turn: 0 }) => {
            return Step::Call(Call::Retrieve(intent.clone()), Purpose::Learn);
        }
        _ => return alarm("call_refused", retry(task)),
    };
    Step::Report(report)
}

fn key_spent(task: &Task, call: &Call) -> Step {
    match call {
        Call::Authorise => Step::Call(Call::Search, Purpose::Learn),
        Call::Capture { intent, turn: 0 } | Call::Cancel { intent, turn: 0 } => {
            Step::Call(Call::Retrieve(intent.clone()), Purpose::Learn)
        }
        _ => retry(task),
    }
}

/// Search lags and a wrong key finds nothing, so only age turns "not found" into "is not".
fn not_found(task: &Task, call: &Call) -> Step {
    if matches!(call, Call::Authorise) {
        return no(task, call, None, "resource_missing");
    }
    if task.age_ms <= REPEAT_AGE_MAX_MS {
        return match call {
            Call::Search => retry(task),
            _ => alarm("payment_not_found", retry(task)),
        };
    }
    alarm("payment_not_found", Step::Report(refused(task, "payment_not_found")))
}

fn refused(task: &Task, reason: &str) -> Report {
    let reason = reason.to_owned();
    match task.kind {
        Kind::Authorise => Report::Declined { intent: task.intent.clone(), reason },
        Kind::Capture => Report::CaptureRefused { reason },
        Kind::Void | Kind::Issue => Report::Voided,
    }
}

fn retry(task: &Task) -> Step {
    Step::Report(Report::Retry { after_ms: pause_ms(task) })
}

/// Doubles with each attempt; a part that depends on the order keeps jobs from marching in step.
fn pause_ms(task: &Task) -> u32 {
    let full = RETRY_FIRST_MS.saturating_mul(1 << task.attempts.min(16)).min(RETRY_MS_MAX);
    let spread = task
        .payment
        .order_id
        .bytes()
        .fold(task.attempts, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    full - full / 4 + spread % (full / 4 + 1)
}

/// A key that no earlier lease has used.
fn fresh_turn(task: &Task) -> u32 {
    task.attempts.saturating_add(1)
}

fn is_ours(task: &Task, intent: &Intent) -> bool {
    let named = intent.order_id.as_deref() == Some(task.payment.order_id.as_str());
    let known = task.intent.as_ref().is_none_or(|id| *id == intent.id);
    named && known
}

fn matches_price(task: &Task, intent: &Intent) -> bool {
    intent.amount_minor == task.payment.amount_minor
        && intent.currency.eq_ignore_ascii_case(&task.payment.currency)
}

fn capture(intent: &str, turn: u32) -> Call {
    Call::Capture { intent: intent.to_owned(), turn }
}

fn cancel(intent: &str, turn: u32) -> Call {
    Call::Cancel { intent: intent.to_owned(), turn }
}

fn alarm(what: &'static str, step: Step) -> Step {
    Step::Alarm(what, Box::new(step))
}

fn status_name(intent: &Intent) -> String {
    match intent.status {
        Status::Canceled => "canceled",
        Status::RequiresPaymentMethod => "card_declined",
        Status::RequiresAction => "authentication_required",
        Status::RequiresConfirmation => "not_confirmed",
        Status::Processing => "processing",
        Status::RequiresCapture => "requires_capture",
        Status::Succeeded => "succeeded",
    }
    .to_owned()
}
