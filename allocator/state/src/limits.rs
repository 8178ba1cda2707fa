//! Owns every bound of a shard's state, and the proofs that they fit together.
//!
//! Must never depend on the machine: replicas with other bounds would decide differently, which is
//! why the policy part ([`Limits`]) travels inside the snapshot.

/// Commands of one batch.
pub const BATCH_COMMANDS_MAX: usize = 512;
/// Bytes at which the leader's batcher closes a batch; one larger command travels alone.
pub const BATCH_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one encoded command: a seat map of [`EVENT_SEATS_MAX`] seats, or a document.
pub const COMMAND_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of an encoded batch that `decode` reads at all.
pub const BATCH_DECODE_BYTES_MAX: usize = BATCH_BYTES_MAX + COMMAND_BYTES_MAX;
/// Wishes of one hold.
pub const HOLD_ITEMS_MAX: usize = 16;
/// Consecutive rows over which a group still sits together.
pub const ROWS_TOGETHER_MAX: usize = 4;
/// Places of one hold.
pub const HOLD_SEATS_MAX: usize = 64;
/// Jobs given out by one `LeaseJobs`.
pub const JOBS_PER_LEASE_MAX: usize = 64;
/// Longest lease, in log time.
pub const LEASE_MS_MAX: u32 = 60 * 60 * 1000;
/// Longest wait a job's report may ask for, in log time.
pub const JOB_WAIT_MS_MAX: u32 = 24 * 60 * 60 * 1000;
/// Settled reports remembered so that a repeat finds its answer.
pub const SETTLED_REPORTS_MAX: usize = 4096;
/// Seats and places of one event.
pub const EVENT_SEATS_MAX: u32 = 200_000;
/// Sections of one event.
pub const EVENT_SECTIONS_MAX: usize = 10_000;
/// Categories of one event.
pub const EVENT_CATEGORIES_MAX: usize = 1_000;
/// Price lists an event keeps: one more for each change of prices.
pub const PRICE_LISTS_MAX: usize = 10_000;
/// Ticket types of one event.
pub const TICKET_TYPES_MAX: usize = 64;
/// Prices of types, and of categories with tiers, of one event.
pub const PRICE_LINES_MAX: usize = 10_000;
/// Tiers of one price.
pub const TIERS_MAX: usize = 16;
/// Quotas of one event.
pub const QUOTAS_MAX: usize = 64;
/// Sections, categories or types that one quota names.
pub const QUOTA_SELECTORS_MAX: usize = 1_000;
/// Buyers of one event of whom is known how long they kept seats; who did least is forgotten.
pub const HOARDERS_MAX: usize = 200_000;
/// Presale and voucher codes of one event.
pub const CODES_MAX: usize = 100_000;
/// Codes in one command.
pub const CODES_PER_COMMAND_MAX: usize = 10_000;
/// Different things that the codes of one event are good for, their labels included.
pub const CODE_TERMS_MAX: usize = 1_000;
/// Bytes of a section's key, a row's label, an event's id, a role, an owner.
pub const NAME_BYTES_MAX: usize = 64;
/// Largest price of one place, so that a total never overflows.
pub const PRICE_MINOR_MAX: u64 = 1_000_000_000_000;
/// Shortest life of a hold.
pub const HOLD_TTL_MS_MIN: u32 = 1_000;
/// Longest life of a hold.
pub const HOLD_TTL_MS_MAX: u32 = 24 * 60 * 60 * 1000;
/// How long a hold's key outlives the hold.
pub const DEDUP_AFTER_HOLD_MS: u64 = 60 * 60 * 1000;
/// How long the key of an order or an organizer's command lives.
pub const DEDUP_ORDER_MS: u64 = 24 * 60 * 60 * 1000;
/// Longest time a payment may keep a hold from expiring.
pub const PAYMENT_FENCE_MAX_MS: u64 = 15 * 60 * 1000;
/// Bytes of the gateway's name of a payment method.
pub const PAYMENT_METHOD_BYTES_MAX: usize = 255;
/// Bytes of the gateway's id of a payment.
pub const PAYMENT_INTENT_BYTES_MAX: usize = 255;
/// Bytes of the address where a buyer confirms a payment.
pub const NEXT_ACTION_URL_BYTES_MAX: usize = 2048;
/// Bytes of a gateway's reason.
pub const REASON_BYTES_MAX: usize = 64;
/// Channels of one event.
pub const CHANNELS_MAX: usize = 32;
/// Reasons for which seats of one event are withdrawn at once.
pub const KILL_REASONS_MAX: usize = 1_000;
/// Tickets of one order that were moved to other seats.
pub const SWAPS_PER_ORDER_MAX: usize = 256;
/// Bytes of a buyer's name or e-mail address.
pub const CONTACT_BYTES_MAX: usize = 320;
/// Bytes of an event's document.
pub const DOCUMENT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Keys of the control group, API keys and signing keys each.
pub const CONTROL_KEYS_MAX: usize = 100_000;

/// Slots of a table are numbered below this, the top bits say which table.
pub(crate) const SLOTS_MAX: u32 = 1 << 30;

/// The bounds that are policy. Part of the snapshot: all replicas of a shard have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Idempotency keys remembered at once; when full, new ones are answered `Overloaded`.
    pub dedup_entries_max: u32,
    /// Events of the shard (documents, in the control group).
    pub events_max: u32,
    /// Holds alive at once, those in checkout included.
    pub holds_max: u32,
    /// Orders kept.
    pub orders_max: u32,
    /// Longest time a payment may keep a hold from expiring, in log time.
    pub payment_fence_max_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            dedup_entries_max: 4_000_000,
            events_max: 10_000,
            holds_max: 2_000_000,
            orders_max: 8_000_000,
            payment_fence_max_ms: PAYMENT_FENCE_MAX_MS,
        }
    }
}

impl Limits {
    /// The same bounds, none above what the tables can number.
    pub(crate) fn clamped(self) -> Self {
        Self {
            dedup_entries_max: self.dedup_entries_max.min(SLOTS_MAX),
            events_max: self.events_max.min(SLOTS_MAX),
            // The last slot says in a seat's word that the seat is set aside.
            holds_max: self.holds_max.min(SLOTS_MAX - 1),
            orders_max: self.orders_max.min(SLOTS_MAX - 1),
            payment_fence_max_ms: self.payment_fence_max_ms,
        }
    }
}

const _: () = {
    assert!(HOLD_SEATS_MAX < 1 << 16, "ticket numbers have 16 bits");
    assert!(HOLD_SEATS_MAX as u64 <= u64::MAX / PRICE_MINOR_MAX, "a total fits");
    assert!(EVENT_SEATS_MAX < 1 << 21, "an area's counts have 21 bits each");
    assert!(EVENT_SECTIONS_MAX < u16::MAX as usize, "section numbers have 16 bits");
    assert!(EVENT_CATEGORIES_MAX < u16::MAX as usize, "category numbers have 16 bits");
    assert!(PRICE_LISTS_MAX < u16::MAX as usize, "price list numbers have 16 bits");
    assert!(DOCUMENT_BYTES_MAX < COMMAND_BYTES_MAX, "a document fits a command");
    assert!(BATCH_BYTES_MAX < COMMAND_BYTES_MAX, "a seat map may need more than a batch");
    assert!(HOLD_TTL_MS_MIN < HOLD_TTL_MS_MAX, "holds have a life");
    assert!(PAYMENT_FENCE_MAX_MS < DEDUP_ORDER_MS, "an order's key outlives its payment");
    assert!(HOLD_SEATS_MAX + SWAPS_PER_ORDER_MAX < 1 << 16, "so have those of moved tickets");
    assert!(KILL_REASONS_MAX < u16::MAX as usize, "reasons have 16 bits");
    assert!(HOLD_SEATS_MAX <= 64, "a word has a bit for each number of neighbours");
    assert!(HOLD_ITEMS_MAX <= HOLD_SEATS_MAX, "each wish is at least one place");
};
