//! Owns the one error table: code → HTTP status → gRPC code → retryable → title.
//!
//! The codes are public (contract) and documented in `docs/errors.md`, which a test holds against
//! this table. Must never carry details of one failure: those stand beside the code.

use std::time::Duration;

use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain in `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "onsale";

const LEADER_KEY: &str = "leader";

macro_rules! codes {
    ($( $(#[$doc:meta])* $name:ident, $text:literal, $http:literal, $grpc:ident, $retry:literal,
        $title:literal; )*) => {
        /// Why a request was not done. Ordered as in `docs/errors.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $( $(#[$doc])* $name, )* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[ $( Code::$name, )* ];

            /// Its public name, in lower case.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Code::$name => $text, )* }
            }

            /// Its HTTP status.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $( Code::$name => $http, )* }
            }

            /// Its gRPC code.
            #[must_use]
            pub const fn grpc_code(self) -> tonic::Code {
                match self { $( Code::$name => tonic::Code::$grpc, )* }
            }

            /// The same request may succeed later without anybody changing it.
            #[must_use]
            pub const fn retryable(self) -> bool {
                match self { $( Code::$name => $retry, )* }
            }

            /// A short sentence for people.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $( Code::$name => $title, )* }
            }

            /// The code of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Code> {
                match name { $( $text => Some(Code::$name), )* _ => None }
            }
        }
    };
}

codes! {
    /// The request does not say what it must.
    InvalidRequest, "invalid_request", 400, InvalidArgument, false, "The request is not valid";
    /// A key is required to repeat the request safely.
    IdempotencyKeyRequired, "idempotency_key_required", 400, InvalidArgument, false,
        "An Idempotency-Key header is required";
    /// No or unknown key.
    Unauthenticated, "unauthenticated", 401, Unauthenticated, false, "Who are you?";
    /// Known, but not allowed.
    Forbidden, "forbidden", 403, PermissionDenied, false, "This is not yours to do";
    /// The waiting room comes first.
    AdmissionRequired, "admission_required", 403, PermissionDenied, false,
        "Join the waiting room first";
    /// The channel is not for who does not have its secret.
    ChannelForbidden, "channel_forbidden", 403, PermissionDenied, false,
        "This channel is not open to you";
    /// There is no such thing.
    NotFound, "not_found", 404, NotFound, false, "There is no such thing";
    /// The path exists, with other methods.
    MethodNotAllowed, "method_not_allowed", 405, Unimplemented, false,
        "This path has other methods";
    /// Named seats are taken.
    SeatUnavailable, "seat_unavailable", 409, Aborted, false, "Some of these seats are taken";
    /// Named seats would leave others alone.
    OrphanSeats, "orphan_seats", 409, FailedPrecondition, false,
        "These seats would leave a single seat alone";
    /// Companion seats are for who comes along.
    CompanionWithoutAccessible, "companion_without_accessible", 409, FailedPrecondition, false,
        "Companion seats go with an accessible seat";
    /// Nothing that fits is left.
    SoldOut, "sold_out", 409, Aborted, false, "Nothing that fits is left";
    /// Something is left, but not so much.
    NotEnoughTogether, "not_enough_together", 409, Aborted, false,
        "Not that many are left together";
    /// A quota has no room.
    QuotaExhausted, "quota_exhausted", 409, Aborted, false, "A quota of the event is used up";
    /// The event's limit for one buyer.
    BuyerLimitReached, "buyer_limit_reached", 409, FailedPrecondition, false,
        "The limit for one buyer is reached";
    /// The event's limits on keeping seats from others.
    HoardingLimitReached, "hoarding_limit_reached", 409, FailedPrecondition, false,
        "You have held seats for long enough, or too often at once";
    /// A code that is good for nothing here.
    CodeInvalid, "code_invalid", 409, FailedPrecondition, false, "This code is not valid here";
    /// A code that was used as often as it may be.
    CodeUsedUp, "code_used_up", 409, Aborted, false, "This code is used up";
    /// Before the opening.
    NotOnSale, "not_on_sale", 409, FailedPrecondition, false, "The event is not on sale";
    /// A payment for the hold is undecided.
    HoldInCheckout, "hold_in_checkout", 409, FailedPrecondition, false,
        "The hold is being paid for";
    /// The hold was extended as often as it may be.
    ExtensionLimitReached, "extension_limit_reached", 409, FailedPrecondition, false,
        "The hold cannot be extended again";
    /// What is sold cannot be withdrawn.
    SeatsSold, "seats_sold", 409, FailedPrecondition, false, "Some of these seats are sold";
    /// What is not withdrawn cannot be returned.
    SeatsNotKilled, "seats_not_killed", 409, FailedPrecondition, false,
        "Some of these seats are not withdrawn";
    /// An area would be smaller than what is taken of it.
    CapacityBelowTaken, "capacity_below_taken", 409, FailedPrecondition, false,
        "More is taken than that";
    /// A ticket moves to a seat of the same price only.
    PriceDiffers, "price_differs", 409, FailedPrecondition, false,
        "The other seat has another price";
    /// Somebody changed it first.
    Conflict, "conflict", 409, Aborted, false, "Somebody changed this first";
    /// The hold has ended.
    HoldExpired, "hold_expired", 410, FailedPrecondition, false, "The hold has ended";
    /// Larger than any request needs to be.
    PayloadTooLarge, "payload_too_large", 413, OutOfRange, false, "The request is too large";
    /// Not JSON.
    UnsupportedMediaType, "unsupported_media_type", 415, InvalidArgument, false,
        "The body must be application/json";
    /// Same key, other content.
    IdempotencyKeyReused, "idempotency_key_reused", 422, InvalidArgument, false,
        "This Idempotency-Key was used for another request";
    /// Too many from here.
    RateLimited, "rate_limited", 429, ResourceExhausted, true, "Too many requests from here";
    /// A fault of ours.
    Internal, "internal", 500, Internal, false, "Something went wrong on our side";
    /// A bound is reached.
    Overloaded, "overloaded", 503, ResourceExhausted, true, "Too busy; try again shortly";
    /// A part is not reachable.
    Unavailable, "unavailable", 503, Unavailable, true, "Not available; try again shortly";
    /// Done or not done: nobody knows yet.
    OutcomeUnknown, "outcome_unknown", 504, DeadlineExceeded, true,
        "Not known yet; repeat the request with the same key";
}

impl Code {
    /// As a gRPC status with `google.rpc.ErrorInfo` and, where it helps, `RetryInfo`.
    #[must_use]
    pub fn to_status(self, detail: &str) -> tonic::Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(self.as_str().to_ascii_uppercase(), ERROR_DOMAIN, []);
        if self.retryable() {
            details.set_retry_info(Some(Duration::from_millis(100)));
        }
        tonic::Status::with_error_details(self.grpc_code(), detail, details)
    }

    /// The code a status carries, or the nearest to its gRPC code. A deadline that passed is
    /// `OutcomeUnknown`; tonic reports its own time-out as CANCELLED.
    #[must_use]
    pub fn from_status(status: &tonic::Status) -> Code {
        if let Some(info) = status.get_details_error_info()
            && info.domain == ERROR_DOMAIN
            && let Some(code) = Code::from_name(&info.reason.to_ascii_lowercase())
        {
            return code;
        }
        match status.code() {
            tonic::Code::InvalidArgument => Code::InvalidRequest,
            tonic::Code::NotFound => Code::NotFound,
            tonic::Code::Unauthenticated => Code::Unauthenticated,
            tonic::Code::PermissionDenied => Code::Forbidden,
            tonic::Code::ResourceExhausted => Code::Overloaded,
            tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => Code::OutcomeUnknown,
            tonic::Code::Unavailable => Code::Unavailable,
            _ => Code::Internal,
        }
    }
}

/// "Ask that node instead": the answer of a replica that does not lead the shard. Node 0 is
/// unknown.
#[must_use]
pub fn not_leader(leader: u64) -> tonic::Status {
    let code = Code::Unavailable;
    let mut details = ErrorDetails::new();
    let hint = [(LEADER_KEY.to_owned(), leader.to_string())];
    details.set_error_info(code.as_str().to_ascii_uppercase(), ERROR_DOMAIN, hint);
    details.set_retry_info(Some(Duration::from_millis(100)));
    tonic::Status::with_error_details(code.grpc_code(), "not the leader of this shard", details)
}

/// The node that [`not_leader`] named, 0 where it knew none; `None` for any other status.
#[must_use]
pub fn leader_hint(status: &tonic::Status) -> Option<u64> {
    status.get_details_error_info()?.metadata.get(LEADER_KEY)?.parse().ok()
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() {
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.as_str()), Some(*code));
        }
    }

    #[test]
    fn a_status_carries_its_code() {
        for code in Code::ALL {
            assert_eq!(Code::from_status(&code.to_status("detail")), *code);
        }
    }

    #[test]
    fn every_code_has_its_heading_in_the_docs_in_order() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
        let text = std::fs::read_to_string(path).expect("docs/errors.md is there");
        let headings: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("## `")?.split('`').next()).collect();
        let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(headings, codes, "docs/errors.md and the error table differ");
    }
}
