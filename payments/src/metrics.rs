//! Owns the names of this crate's metrics; `docs/metrics.md` is held against [`ALL`].
//!
//! Must never carry an order, a payment or a buyer as a label.

/// Calls to the gateway by `call` and `answer`.
pub const GATEWAY_CALLS: &str = "onsale_payments_gateway_calls_total";
/// Seconds of one call to the gateway.
pub const GATEWAY_SECONDS: &str = "onsale_payments_gateway_seconds";
/// 1 while the gateway's gate is shut.
pub const GATEWAY_SHUT: &str = "onsale_payments_gateway_gate_shut";
/// Jobs reported by `kind` and `result`.
pub const JOBS: &str = "onsale_payments_jobs_total";
/// Jobs in this worker's hands.
pub const JOBS_IN_FLIGHT: &str = "onsale_payments_jobs_in_flight";
/// Results that came too late and were dropped.
pub const LATE: &str = "onsale_payments_results_late_total";
/// Answers of the gateway that no honest gateway gives, by `alarm`: somebody must look.
pub const ALARMS: &str = "onsale_payments_alarms_total";
/// Webhooks by `result`.
pub const WEBHOOKS: &str = "onsale_payments_webhooks_total";
/// Tickets signed.
pub const TICKETS: &str = "onsale_payments_tickets_signed_total";

/// Every metric and what it counts.
pub const ALL: &[(&str, &str)] = &[
    (GATEWAY_CALLS, "Calls to the payment gateway, by call and answer."),
    (GATEWAY_SECONDS, "Seconds of one call to the payment gateway."),
    (GATEWAY_SHUT, "1 while the gateway's gate is shut after failures in a row."),
    (JOBS, "Payment jobs reported, by kind and result."),
    (JOBS_IN_FLIGHT, "Payment jobs in this worker's hands."),
    (LATE, "Results dropped because the lease was over; another worker asks again."),
    (ALARMS, "Gateway answers that no honest gateway gives, by alarm; look at each."),
    (WEBHOOKS, "Webhooks received, by result."),
    (TICKETS, "Tickets signed."),
];
