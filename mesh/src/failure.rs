//! Owns the shape in which one part tells another that something was not done.
//!
//! Must never carry a secret or personal data: it ends in answers and logs.

use std::collections::HashMap;

use onsale_proto::{
    Code,
    allocator::{AreaTaken, Rejected},
    error::ERROR_DOMAIN,
};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::limits::STATUS_PLACES_MAX;

const SEATS_KEY: &str = "seats";
const AREAS_KEY: &str = "areas";

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
    /// General admission areas of which more is taken than asked for leaves.
    pub areas: Vec<AreaTaken>,
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
            areas: Vec::new(),
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
        let metadata = status.get_details_error_info().map(|info| info.metadata);
        let said = |key: &str| metadata.as_ref()?.get(key).cloned();
        failure.seats = said(SEATS_KEY).map(|text| numbers(&text)).unwrap_or_default();
        let areas = said(AREAS_KEY).map(|text| numbers(&text)).unwrap_or_default();
        failure.areas = areas.as_chunks().0.iter().map(area).collect();
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
        let Failure { code, detail, field, seats, areas, .. } = failure;
        if field.is_empty() && seats.is_empty() && areas.is_empty() {
            return code.to_status(&detail);
        }
        let message = if field.is_empty() { detail.clone() } else { format!("{field}: {detail}") };
        let mut details = code.to_status(&message).get_error_details();
        if !field.is_empty() {
            details.add_bad_request_violation(field, detail);
        }
        name_places(&mut details, code, &seats, &areas);
        tonic::Status::with_error_details(code.grpc_code(), message, details)
    }
}

/// A status travels in a header, which is short: it names the first places only.
fn name_places(details: &mut ErrorDetails, code: Code, seats: &[u32], areas: &[AreaTaken]) {
    let areas = areas.iter().flat_map(|area| [area.section, area.held, area.sold, area.killed]);
    let metadata: HashMap<String, String> = [
        (SEATS_KEY, text(seats.iter().copied().take(STATUS_PLACES_MAX))),
        (AREAS_KEY, text(areas.take(4 * STATUS_PLACES_MAX))),
    ]
    .into_iter()
    .filter(|(_, text)| !text.is_empty())
    .map(|(key, text)| (key.to_owned(), text))
    .collect();
    if !metadata.is_empty() {
        details.set_error_info(code.as_str().to_ascii_uppercase(), ERROR_DOMAIN, metadata);
    }
}

fn text(numbers: impl Iterator<Item = u32>) -> String {
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

fn numbers(text: &str) -> Vec<u32> {
    text.split(',').filter_map(|number| number.parse().ok()).collect()
}

fn area(&[section, held, sold, killed]: &[u32; 4]) -> AreaTaken {
    AreaTaken { section, held, sold, killed }
}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Failure {
        Failure {
            code: Code::from_name(&rejected.code).unwrap_or(Code::Internal),
            detail: rejected.detail,
            field: rejected.field,
            seats: rejected.seats,
            areas: rejected.areas,
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
        let mut failure = Failure::new(Code::SeatsSold, "these are sold");
        failure.seats = vec![3, 4_000_000_000];
        failure.areas = vec![AreaTaken { section: 2, held: 1, sold: 0, killed: 9 }];
        assert_eq!(Failure::from(tonic::Status::from(failure.clone())), failure);
        failure.seats = (0..200_000).collect();
        failure.areas = vec![AreaTaken::default(); 10_000];
        let short = Failure::from(tonic::Status::from(failure));
        assert_eq!((short.seats.len(), short.areas.len()), (STATUS_PLACES_MAX, STATUS_PLACES_MAX));
        let plain = Failure::new(Code::SoldOut, "nothing is left");
        assert_eq!(Failure::from(tonic::Status::from(plain.clone())), plain);
    }
}
