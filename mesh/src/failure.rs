//! Owns the shape in which one part tells another that something was not done.
//!
//! Must never carry a secret or personal data: it ends in answers and logs.

use onsale_proto::{Code, allocator::Rejected};
use tonic_types::StatusExt as _;

/// A code of the error table and what exactly happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Failure {
    /// The code.
    pub code: Code,
    /// What exactly, for people.
    pub detail: String,
    /// The field at fault, as a path, where there is one.
    pub field: String,
    /// Conflicting seats by number.
    pub seats: Vec<u32>,
    /// `onsale_at` or `held_may_return_at`, Unix milliseconds.
    pub at_ms: Option<u64>,
}

impl Failure {
    /// A code and what exactly happened.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Failure {
        Failure {
            code,
            detail: detail.into(),
            field: String::new(),
            seats: Vec::new(),
            at_ms: None,
        }
    }

    /// An invalid request: which field, and what is wrong with it.
    #[must_use]
    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Failure {
        Failure { field: field.into(), ..Failure::new(Code::InvalidRequest, detail) }
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Failure {
        let mut failure = Failure::new(Code::from_status(&status), status.message());
        let violations = status.get_details_bad_request().map(|said| said.field_violations);
        if let Some(violation) = violations.into_iter().flatten().next() {
            failure.field = violation.field;
            failure.detail = violation.description;
        }
        failure
    }
}

impl From<Failure> for tonic::Status {
    fn from(failure: Failure) -> tonic::Status {
        let Failure { code, detail, field, .. } = failure;
        if field.is_empty() {
            return code.to_status(&detail);
        }
        let message = format!("{field}: {detail}");
        let mut details = code.to_status(&message).get_error_details();
        details.add_bad_request_violation(field, detail);
        tonic::Status::with_error_details(code.grpc_code(), message, details)
    }
}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Failure {
        Failure {
            code: Code::from_name(&rejected.code).unwrap_or(Code::Internal),
            detail: rejected.detail,
            field: rejected.field,
            seats: rejected.seats,
            at_ms: rejected.at_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_travels_with_its_status() {
        let failure = Failure::invalid("/sections/0/rows", "must not be empty");
        let status = tonic::Status::from(failure.clone());
        assert_eq!(status.message(), "/sections/0/rows: must not be empty");
        assert_eq!(Failure::from(status), failure);
        let plain = Failure::new(Code::SoldOut, "nothing is left");
        assert_eq!(Failure::from(tonic::Status::from(plain.clone())), plain);
    }
}
