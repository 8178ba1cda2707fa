//! Owns the shape in which one part tells another that something was not done.
//!
//! Must never carry a secret or personal data: it ends in answers and logs.

use std::collections::HashMap;

use onsale_proto::{
    Code,
    allocator::{AreaTaken, QuotaTaken, Rejected},
    error::ERROR_DOMAIN,
};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::limits::STATUS_PLACES_MAX;

const SEATS_KEY: &str = "seats";
const AREAS_KEY: &str = "areas";
const MEND_KEY: &str = "mend_seats";
const QUOTAS_KEY: &str = "quotas";

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
    /// What few failures have to say.
    pub more: Option<Box<More>>,
    /// `onsale_at` or `held_may_return_at`, Unix milliseconds.
    pub at_ms: Option<u64>,
}

/// What few failures have to say beside the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct More {
    /// General admission areas of which more is taken than asked for leaves.
    pub areas: Vec<AreaTaken>,
    /// Seats to take instead, by number.
    pub mend_seats: Vec<u32>,
    /// Quotas of which more is taken than asked for leaves.
    pub quotas: Vec<QuotaTaken>,
}

impl Failure {
    /// General admission areas of which more is taken than asked for leaves.
    #[must_use]
    pub fn areas(&self) -> &[AreaTaken] {
        self.more.as_ref().map_or(&[], |more| &more.areas)
    }

    /// Seats to take instead, by number.
    #[must_use]
    pub fn mend_seats(&self) -> &[u32] {
        self.more.as_ref().map_or(&[], |more| &more.mend_seats)
    }

    /// Quotas of which more is taken than asked for leaves.
    #[must_use]
    pub fn quotas(&self) -> &[QuotaTaken] {
        self.more.as_ref().map_or(&[], |more| &more.quotas)
    }

    /// The same with quotas of which too much is taken, where there are any.
    #[must_use]
    pub fn with_quotas(mut self, quotas: Vec<QuotaTaken>) -> Failure {
        if !quotas.is_empty() {
            self.more.get_or_insert_default().quotas = quotas;
        }
        self
    }

    /// The same with areas and seats to take instead, where there are any.
    #[must_use]
    pub fn with_more(mut self, areas: Vec<AreaTaken>, mend_seats: Vec<u32>) -> Failure {
        let is_any = !areas.is_empty() || !mend_seats.is_empty();
        self.more = is_any.then(|| Box::new(More { areas, mend_seats, quotas: Vec::new() }));
        self
    }

    /// A code and what exactly happened.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Failure {
        Failure {
            code,
            detail: detail.into(),
            field: String::new(),
            seats: Vec::new(),
            more: None,
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
        let mend_seats = said(MEND_KEY).map(|text| numbers(&text)).unwrap_or_default();
        failure = failure.with_more(areas.as_chunks().0.iter().map(area).collect(), mend_seats);
        let quotas = said(QUOTAS_KEY).unwrap_or_default();
        failure = failure.with_quotas(quotas.lines().filter_map(quota).collect());
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
        let Failure { code, detail, field, seats, more, .. } = failure;
        if field.is_empty() && seats.is_empty() && more.is_none() {
            return code.to_status(&detail);
        }
        let message = if field.is_empty() { detail.clone() } else { format!("{field}: {detail}") };
        let mut details = code.to_status(&message).get_error_details();
        if !field.is_empty() {
            details.add_bad_request_violation(field, detail);
        }
        name_places(&mut details, code, &seats, &more.unwrap_or_default());
        tonic::Status::with_error_details(code.grpc_code(), message, details)
    }
}

/// A status travels in a header, which is short: it names the first places only.
fn name_places(details: &mut ErrorDetails, code: Code, seats: &[u32], more: &More) {
    let areas =
        more.areas.iter().flat_map(|area| [area.section, area.held, area.sold, area.killed]);
    let quotas = more.quotas.iter().map(|quota| format!("{} {}", quota.taken, quota.key));
    let metadata: HashMap<String, String> = [
        (SEATS_KEY, text(seats.iter().copied().take(STATUS_PLACES_MAX))),
        (AREAS_KEY, text(areas.take(4 * STATUS_PLACES_MAX))),
        (MEND_KEY, text(more.mend_seats.iter().copied().take(STATUS_PLACES_MAX))),
        (QUOTAS_KEY, quotas.collect::<Vec<_>>().join("\n")),
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

/// A quota's key has no line breaks.
fn quota(line: &str) -> Option<QuotaTaken> {
    let (taken, key) = line.split_once(' ')?;
    Some(QuotaTaken { key: key.to_owned(), taken: taken.parse().ok()? })
}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Failure {
        let failure = Failure {
            code: Code::from_name(&rejected.code).unwrap_or(Code::Internal),
            detail: rejected.detail,
            field: rejected.field,
            seats: rejected.seats,
            more: None,
            at_ms: rejected.at_ms,
        };
        failure.with_more(rejected.areas, rejected.mend_seats).with_quotas(rejected.quotas)
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
        let area = AreaTaken { section: 2, held: 1, sold: 0, killed: 9 };
        let quota = QuotaTaken { key: "front, left: 7".to_owned(), taken: 12 };
        let failure = failure.with_more(vec![area], vec![8, 9]).with_quotas(vec![quota]);
        assert_eq!(Failure::from(tonic::Status::from(failure.clone())), failure);
        let mut failure = failure.with_more(vec![AreaTaken::default(); 10_000], Vec::new());
        failure.seats = (0..200_000).collect();
        let short = Failure::from(tonic::Status::from(failure));
        let lengths = (short.seats.len(), short.areas().len());
        assert_eq!(lengths, (STATUS_PLACES_MAX, STATUS_PLACES_MAX));
        let plain = Failure::new(Code::SoldOut, "nothing is left");
        assert_eq!(Failure::from(tonic::Status::from(plain.clone())), plain);
    }
}
