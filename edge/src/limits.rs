//! Owns every bound of the edge, with proofs of how they depend on one another, and the limit on
//! requests from one address.
//!
//! Must never be bypassed by a handler: bodies and headers are bounded before one runs.

use std::{net::IpAddr, num::NonZeroU32, ops::RangeInclusive, time::Duration};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

/// Bytes of a request's body, unless its route says otherwise.
pub const BODY_BYTES_MAX: usize = 16 * 1024;
/// Bytes of the body that creates or changes an event.
pub const EVENT_BODY_BYTES_MAX: usize = 4 << 20;
/// Bytes of a webhook's body.
pub const WEBHOOK_BODY_BYTES_MAX: usize = 256 * 1024;
/// Bytes of an oversized body that are read and dropped so that the refusal arrives.
pub const DRAIN_BYTES_MAX: usize = 16 << 20;
/// Bytes of a request's line and headers.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Headers of a request: what hyper parses without an allocation.
pub const HEADERS_MAX: usize = 100;
/// Bytes that hyper buffers for one connection in each direction.
pub const CONNECTION_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Depth of nested arrays and objects in a body.
pub const JSON_DEPTH_MAX: usize = 16;
/// Faults listed in one answer.
pub const FIELD_ERRORS_MAX: usize = 64;
/// Characters of an `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// Characters of an `X-Request-Id` that is taken over.
pub const REQUEST_ID_CHARS_MAX: usize = 128;
/// Characters of an API key.
pub const API_KEY_CHARS_MAX: usize = 256;
/// Characters of a query.
pub const QUERY_CHARS_MAX: usize = 4 * 1024;

/// Wishes of one hold; the state machine's own bound.
pub const HOLD_ITEMS_MAX: usize = 16;
/// Places of one hold; the state machine's own bound.
pub const HOLD_SEATS_MAX: u64 = 64;
/// Characters of a seat id, a section's key, a row's label or a category's key.
pub const LABEL_CHARS_MAX: usize = 32;
/// Bytes of such a label; the state machine's own bound.
pub const LABEL_BYTES_MAX: usize = 64;
/// Bytes of an encoded event document; the state machine's own bound.
pub const DOCUMENT_BYTES_MAX: usize = 2 << 20;
/// Characters of an event id in a request; ours have fewer.
pub const EVENT_ID_CHARS_MAX: usize = 64;
/// Characters of a seat id.
pub const SEAT_ID_CHARS_MAX: usize = 3 * LABEL_CHARS_MAX;
/// Characters of a buyer's e-mail address.
pub const EMAIL_CHARS_MAX: usize = 254;
/// Characters of a buyer's name.
pub const NAME_CHARS_MAX: usize = 200;
/// Bytes of a buyer's name; the state machine's own bound.
pub const NAME_BYTES_MAX: usize = 320;
/// Characters of the gateway's name of a payment method.
pub const PAYMENT_METHOD_CHARS_MAX: usize = 255;

/// Seats, or rows, that one command names to withdraw or return: all there may be.
pub const KILL_SEATS_MAX: usize = 200_000;
/// Bytes of a reason for support or the organizer; the state machine's own bound.
pub const REASON_BYTES_MAX: usize = 64;
/// Characters of a channel's key.
pub const CHANNEL_KEY_CHARS_MAX: usize = 64;
/// Characters of a channel's secret.
pub const CHANNEL_SECRET_CHARS: RangeInclusive<usize> = 8..=255;

/// Seats and places of one event.
pub const EVENT_SEATS_MAX: u64 = 200_000;
/// Sections of one event.
pub const EVENT_SECTIONS_MAX: usize = 10_000;
/// Rows of one section.
pub const SECTION_ROWS_MAX: usize = 10_000;
/// Seats of one row.
pub const ROW_SEATS_MAX: u64 = 10_000;
/// Categories of one event.
pub const EVENT_CATEGORIES_MAX: usize = 1_000;
/// Largest price of one place, in minor units.
pub const PRICE_MINOR_MAX: u64 = 1_000_000_000_000;
/// Ticket types of one event.
pub const TICKET_TYPES_MAX: usize = 64;
/// Early prices of one price.
pub const TIERS_MAX: usize = 16;
/// Quotas of one event.
pub const QUOTAS_MAX: usize = 64;
/// Sections, categories or types that one quota names.
pub const QUOTA_SELECTORS_MAX: usize = 1_000;
/// Characters of an event's name, venue, city or kind.
pub const EVENT_NAME_CHARS_MAX: usize = 200;
/// Characters of an event's description.
pub const DESCRIPTION_CHARS_MAX: usize = 10_000;
/// Shortest and longest time a hold may live.
pub const HOLD_TTL_MS_MIN: u64 = 1_000;
/// See [`HOLD_TTL_MS_MIN`].
pub const HOLD_TTL_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
/// Extensions that an event's rules may allow.
pub const EXTENSIONS_MAX: u64 = 1_000;
/// Characters of a presale or voucher code.
pub const CODE_CHARS_MAX: usize = 64;
/// Fewer are guessed.
pub const CODE_CHARS_MIN: usize = 4;
/// Characters that stand before those of a made code.
pub const CODE_PREFIX_CHARS_MAX: usize = 32;
/// Bytes of the organizer's name for codes.
pub const CODE_LABEL_BYTES_MAX: usize = 64;
/// Codes that one request brings.
pub const CODES_LISTED_MAX: usize = 1_000;
/// Codes that one request has made.
pub const CODES_MADE_MAX: u64 = 10_000;
/// Uses of one code.
pub const CODE_USES_MAX: u64 = 1_000_000_000;
/// Seconds of seats in holds that an event's rules may allow a buyer.
pub const HOLD_SECONDS_MAX: u64 = 1_000_000_000;
/// Admissions a second that a waiting room may ask for.
pub const ADMIT_PER_SECOND_MAX: u64 = 1_000_000;
/// An event without `onsale_at` opens this long before the edge's clock, so that a cluster whose
/// clock is a little behind does not call it closed.
pub const CLOCK_DIFFERENCE_MAX_MS: u64 = 5_000;

/// Events on one page of a list.
pub const PAGE_EVENTS_MAX: u64 = 100;
/// How long a document is used without asking the catalog again.
pub const DOCUMENT_AGE_MAX: Duration = Duration::from_secs(30);
/// How long a document is used of which the control feed has announced a newer revision that the
/// catalog does not have yet.
pub const DOCUMENT_BEHIND_AGE_MAX: Duration = Duration::from_millis(250);
/// How long a reader waits for the catalog or the feed to catch up with what is published.
pub const CATCH_UP_MAX: Duration = Duration::from_millis(1_000);
/// Pause between looks while it waits.
pub const CATCH_UP_PAUSE: Duration = Duration::from_millis(20);
/// Attempts at a change of an event that somebody else changes at the same time.
pub const CHANGE_ATTEMPTS_MAX: u32 = 3;

/// Deltas kept of each watched event, for viewers that reconnect.
pub const STREAM_FRAMES_MAX: usize = 256;
/// Bytes of the deltas kept of each watched event.
pub const STREAM_FRAMES_BYTES_MAX: usize = 1 << 20;
/// Deltas that wait for one viewer before it is told to start again.
pub const STREAM_LAG_MAX: usize = 64;
/// How often changes are put together into one delta.
pub const STREAM_TICK: Duration = Duration::from_millis(100);
/// A quiet stream says that it lives.
pub const STREAM_KEEPALIVE: Duration = Duration::from_secs(15);
/// Ticks without a viewer after which deltas of an event are not made any more.
pub const STREAM_UNWATCHED_TICKS_MAX: u32 = 600;

/// Addresses whose requests are counted at once; above it the idle ones are dropped early.
pub const ADDRESSES_MAX: usize = 1_000_000;
/// How often idle addresses are forgotten.
pub const ADDRESSES_SWEEP: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// How often a stopping server looks whether all have gone.
pub const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// How long a stopping server lets accepted requests finish.
pub const DRAIN_MAX: Duration = Duration::from_secs(7);

const _: () = assert!(HEADER_BYTES_MAX <= CONNECTION_BUFFER_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX <= EVENT_BODY_BYTES_MAX);
const _: () = assert!(EVENT_BODY_BYTES_MAX < DRAIN_BYTES_MAX);
const _: () = assert!(DOCUMENT_BEHIND_AGE_MAX.as_millis() < DOCUMENT_AGE_MAX.as_millis());
const _: () = assert!(STREAM_LAG_MAX <= STREAM_FRAMES_MAX);
const _: () = assert!(CATCH_UP_MAX.as_millis() < onsale_mesh::limits::REQUEST_BUDGET.as_millis());
const _: () = assert!(DRAIN_MAX.as_secs() > onsale_mesh::limits::REQUEST_BUDGET.as_secs());

/// Who counts as one address: an IPv4 address, or the /64 of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressKey(u128);

impl AddressKey {
    /// The key of an address; IPv4 in IPv6 spelling is IPv4.
    #[must_use]
    pub fn of(address: IpAddr) -> AddressKey {
        AddressKey(match address.to_canonical() {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address) & !u128::from(u64::MAX),
        })
    }
}

/// Counts requests by address (GCRA).
pub struct AddressLimiter {
    limiter: DefaultKeyedRateLimiter<AddressKey>,
    per_second: u32,
    clock: DefaultClock,
}

impl AddressLimiter {
    /// At most so many requests a second from one address.
    #[must_use]
    pub fn new(per_second: NonZeroU32) -> AddressLimiter {
        AddressLimiter {
            limiter: RateLimiter::keyed(Quota::per_second(per_second)),
            per_second: per_second.get(),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// How long to wait when it is one too many.
    pub fn check(&self, address: AddressKey) -> Result<(), Duration> {
        self.limiter
            .check_key(&address)
            .map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// Requests a second.
    #[must_use]
    pub fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Forgets addresses that have been quiet; returns how many are left.
    pub fn forget_idle(&self) -> usize {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
        self.limiter.len()
    }

    /// Addresses counted at the moment.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.limiter.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_ipv6_network_share_a_limit_and_others_do_not() {
        let key = |text: &str| AddressKey::of(text.parse().expect("an address"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.7"), key("192.0.2.7"));
        assert_ne!(key("192.0.2.7"), key("192.0.2.8"));
    }

    #[test]
    fn one_too_many_is_told_how_long_to_wait() {
        let limiter = AddressLimiter::new(NonZeroU32::new(2).expect("two"));
        let here = AddressKey::of(IpAddr::from([127, 0, 0, 1]));
        let there = AddressKey::of(IpAddr::from([127, 0, 0, 2]));
        assert!(limiter.check(here).is_ok());
        assert!(limiter.check(here).is_ok());
        let wait = limiter.check(here).expect_err("the third is too many");
        assert!(wait <= Duration::from_millis(500), "{wait:?}");
        assert!(limiter.check(there).is_ok());
    }
}
