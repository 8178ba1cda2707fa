//! Owns the shape in which one part tells another that something was not done.
//!
//! Must never carry a secret or personal data: it ends in answers and logs.

use onsale_proto::{Code, allocator::Rejected};

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
        Failure::new(Code::from_status(&status), status.message())
    }
}

impl From<Failure> for tonic::Status {
    fn from(failure: Failure) -> tonic::Status {
        let detail = match failure.field.as_str() {
            "" => failure.detail,
            field => format!("{field}: {}", failure.detail),
        };
        failure.code.to_status(&detail)
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
