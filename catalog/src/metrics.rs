//! Owns the names of the catalog's metrics. Must never carry ids, texts or anything personal.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Published documents kept.
pub const DOCUMENTS: &str = "onsale_catalog_documents";
/// The control group's index up to which the catalog is exact.
pub const POSITION: &str = "onsale_catalog_position";
/// Documents that were not taken: too large, too many, or unreadable.
pub const REFUSED: &str = "onsale_catalog_documents_refused_total";
/// Times the store was unreadable, moved aside and filled again.
pub const REBUILDS: &str = "onsale_catalog_rebuilds_total";
/// Requests by `method` and `code`.
pub const REQUESTS: &str = "onsale_catalog_requests_total";
/// Time to answer a request.
pub const REQUEST_SECONDS: &str = "onsale_catalog_request_seconds";
/// Time to take a batch of feed messages.
pub const APPLY_SECONDS: &str = "onsale_catalog_apply_seconds";

/// Every metric of this crate and what it says.
pub const ALL: &[(&str, &str)] = &[
    (DOCUMENTS, "Published event documents kept."),
    (POSITION, "Index of the control group's feed up to which the catalog is exact."),
    (REFUSED, "Documents not taken because they were too large, too many or unreadable."),
    (REBUILDS, "Times the document store was unreadable, moved aside and filled again."),
    (REQUESTS, "Requests answered, by method and code (ok or a code of docs/errors.md)."),
    (REQUEST_SECONDS, "Time to answer a request, by method."),
    (APPLY_SECONDS, "Time to store and index a batch of feed messages."),
];

/// Tells the recorder what the metrics mean.
pub fn describe() {
    for (name, help) in ALL {
        if name.ends_with("_total") {
            describe_counter!(*name, *help);
        } else if name.ends_with("_seconds") {
            describe_histogram!(*name, Unit::Seconds, *help);
        } else {
            describe_gauge!(*name, *help);
        }
    }
}
