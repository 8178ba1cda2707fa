//! Owns the list of everything that can change a shard's state: one file per command.
//!
//! A command brings its ids, secrets' hashes and requested limits with it; `apply` adds the log
//! time. Must never carry a name, an address or a card in a part that the hash chain sees: contact
//! data stands in [`Contact`], apart from the rest.

mod begin_checkout;
mod change_onsale;
mod codec;
mod drop_change;
mod drop_channel;
mod extend_hold;
mod hold;
mod hold_terms;
mod kill_seats;
mod lease_jobs;
mod offer;
mod open_onsale;
mod prepare_event;
mod publish_event;
mod put_channel;
mod put_codes;
mod put_key;
mod release_hold;
mod rename_ticket;
mod return_seats;
mod sell_over_the_counter;
mod settle_job;
mod swap_seat;
mod tick;
mod wake_job;

pub use drop_change::{DropChange, DropRevision};
pub use drop_channel::DropChannel;
pub use hold_terms::{ChannelEntry, HoldTerms};
pub use kill_seats::{KillSeats, Selection};
pub use offer::{Offer, PriceLine, Quota, Tier};
pub use put_channel::PutChannel;
pub use put_codes::{CodeBatch, CodeEffect, CodeTerms, PutCodes};
pub use put_key::{PutApiKey, PutSigningKey};
pub use rename_ticket::RenameTicket;
pub use return_seats::ReturnSeats;
pub use swap_seat::SwapSeat;

pub(crate) use hold::Others;
pub(crate) use open_onsale::{
    check_opening, decode_offer, decode_prices, encode_offer, encode_prices,
};

use smallvec::SmallVec;

use crate::ids::{
    BuyerHash, CategoryNo, EventNo, HoldId, JobId, KeyHash, LogTimeMs, OrderId, RequestHash,
    SeatNo, SectionNo,
};

/// What one Raft entry carries: commands in order of arrival, and the time the leader gave them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Batch {
    /// Proposed log time; `apply` takes the later of this and the shard's own.
    pub log_time_ms: LogTimeMs,
    /// At most [`crate::limits::BATCH_COMMANDS_MAX`].
    pub commands: Vec<Command>,
}

/// One change asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Log time after which this attempt is void and answered `Rejection::TooLate`.
    pub not_after_ms: LogTimeMs,
    /// What is asked.
    pub kind: CommandKind,
}

/// The commands. Each is idempotent by its key or by the identity of what it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandKind {
    /// Put an event on sale in this shard.
    OpenOnsale(Box<OpenOnsale>),
    /// Change rules, prices or the opening of an event on sale.
    ChangeOnsale(Box<ChangeOnsale>),
    /// Hold seats, general admission, or both; all or nothing.
    Hold(Hold),
    /// Give a hold's seats back.
    ReleaseHold(ReleaseHold),
    /// Start a hold's clock again, as often as the event allows.
    ExtendHold(ExtendHold),
    /// Fence a hold and create its order and authorise job.
    BeginCheckout(Box<BeginCheckout>),
    /// Sell a hold at once, settled outside the gateway.
    SellOverTheCounter(SellOverTheCounter),
    /// Give due payment jobs to a worker for a while.
    LeaseJobs(LeaseJobs),
    /// Report what the gateway said about a job.
    SettleJob(Box<SettleJob>),
    /// Make an order's waiting job due now (a webhook said there is news).
    WakeJob(WakeJob),
    /// Store an event's document as `preparing` (control group).
    PrepareEvent(Box<PrepareEvent>),
    /// Mark a document's revision `published` (control group).
    PublishEvent(PublishEvent),
    /// Store the hash of an API key (control group).
    PutApiKey(PutApiKey),
    /// Store a ticket-signing public key (control group).
    PutSigningKey(PutSigningKey),
    /// Withdraw places from sale.
    KillSeats(Box<KillSeats>),
    /// Put withdrawn places on sale again.
    ReturnSeats(Box<ReturnSeats>),
    /// Move a ticket to another seat.
    SwapSeat(Box<SwapSeat>),
    /// Give tickets another holder's name.
    RenameTicket(Box<RenameTicket>),
    /// Set places aside for a channel.
    PutChannel(Box<PutChannel>),
    /// Forget a channel.
    DropChannel(Box<DropChannel>),
    /// Give an event codes.
    PutCodes(Box<PutCodes>),
    /// Never put a refused change of an event in force.
    DropChange(DropChange),
    /// Forget a change that its shard refused (control group).
    DropRevision(DropRevision),
    /// Nothing but the passing of time.
    Tick,
}

impl CommandKind {
    /// Is it the control group that takes it?
    pub fn is_for_control(&self) -> bool {
        matches!(
            self,
            Self::PrepareEvent(_)
                | Self::PublishEvent(_)
                | Self::PutApiKey(_)
                | Self::PutSigningKey(_)
                | Self::DropRevision(_)
        )
    }
}

/// The idempotency part of a buyer's or organizer's command (design D13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Keyed hash of (event, key).
    pub key: KeyHash,
    /// Keyed hash of the request's content.
    pub request: RequestHash,
    /// Whose request it is: the session's hash.
    pub buyer: BuyerHash,
    /// The session was made for this very request, so that it proves nothing about whose key it is.
    pub buyer_is_new: bool,
}

/// Hold seats for a limited time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The event.
    pub event: EventNo,
    /// The id the hold gets.
    pub hold: HoldId,
    /// Key, content and session.
    pub idempotency: Idempotency,
    /// 1 to [`crate::limits::HOLD_ITEMS_MAX`] wishes, granted all or none.
    pub items: SmallVec<[HoldItem; 1]>,
    /// What few buyers say beside.
    pub terms: Option<Box<HoldTerms>>,
}

/// One wish of a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldItem {
    /// These numbered seats.
    Seats(SmallVec<[SeatNo; 8]>),
    /// Places the allocator chooses.
    BestAvailable(Wish),
}

/// Places the allocator chooses: seats together by the rule of `best_available`; or general
/// admission when the section or category named (or the only stock) is that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// 1 to the event's `seats_per_order_max`.
    pub quantity: u16,
    /// Only this category.
    pub category: Option<CategoryNo>,
    /// Only this section.
    pub section: Option<SectionNo>,
    /// Only where a place costs at most this.
    pub price_max_minor: Option<u64>,
    /// Accessible seats; without it they are never chosen.
    pub accessible: bool,
    /// Companion seats beside `quantity` accessible ones.
    pub companions: u16,
    /// Take groups apart from each other when there are not enough together.
    pub split: bool,
}

/// Give a hold's seats back. Releasing what is already gone is answered as what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseHold {
    /// The hold.
    pub hold: HoldId,
}

/// Start a hold's clock again: `expires_at` = log time + the event's hold ttl.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendHold {
    /// The hold.
    pub hold: HoldId,
    /// The number of extensions the caller saw before this one; a repeat finds it done.
    pub extensions_seen: u16,
    /// Key and content; `buyer` is not compared here, the hold token is the proof.
    pub idempotency: Option<Idempotency>,
}

/// Fence a hold while its payment is undecided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeginCheckout {
    /// The hold.
    pub hold: HoldId,
    /// The id the order gets.
    pub order: OrderId,
    /// Key and content; `buyer` is not compared here, the hold token is the proof.
    pub idempotency: Idempotency,
    /// Keyed hash of the normalised e-mail address.
    pub email: BuyerHash,
    /// Keyed hash of the payment method, where it names one buyer's card.
    pub card: Option<BuyerHash>,
    /// The gateway's name of the payment method, at most 255 bytes.
    pub payment_method: Box<str>,
    /// Salted commitment to `contact`; the chain sees this and not the contact.
    pub contact_commitment: [u8; 32],
    /// The part with personal data.
    pub contact: Contact,
}

/// Personal data of an order: never in the chain, the feed or a request hash (design D15).
#[derive(Clone, PartialEq, Eq)]
pub struct Contact {
    /// Random, so that the commitment cannot be guessed back.
    pub salt: [u8; 16],
    /// As the buyer wrote it.
    pub name: Box<str>,
    /// As the buyer wrote it.
    pub email: Box<str>,
}

/// Sell a hold at once, e.g. at the box office or by an internal service that took the money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SellOverTheCounter {
    /// The hold.
    pub hold: HoldId,
    /// The id the order gets.
    pub order: OrderId,
    /// Key and content.
    pub idempotency: Idempotency,
}

/// Give due payment jobs to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseJobs {
    /// Random; fences the worker's reports, and a repeat with it gets the same jobs again.
    pub lease: u64,
    /// 1 to [`crate::limits::JOBS_PER_LEASE_MAX`].
    pub jobs_max: u16,
    /// How long the worker may take, in log time.
    pub lease_ms: u32,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleJob {
    /// The job.
    pub job: JobId,
    /// The lease under which it was worked on.
    pub lease: u64,
    /// What the gateway said.
    pub result: JobResult,
}

/// The gateway's answer, as the worker understood it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobResult {
    /// The money is reserved.
    Authorised {
        /// The gateway's id of the payment.
        payment_intent: Box<str>,
    },
    /// The buyer has to confirm with the bank; ask again after `poll_after_ms`.
    ActionRequired {
        /// The gateway's id of the payment.
        payment_intent: Box<str>,
        /// Where the buyer confirms.
        next_action_url: Box<str>,
        /// Log time until the job is due again.
        poll_after_ms: u32,
    },
    /// No, for good.
    Declined {
        /// The gateway's id of the payment, if it made one.
        payment_intent: Option<Box<str>>,
        /// The gateway's reason, at most 64 bytes, e.g. `card_declined`.
        reason: Box<str>,
    },
    /// The money is taken; one Ed25519 signature per ticket, in order.
    Captured {
        /// Which signing key made them.
        signing_key: u32,
        /// One per ticket.
        signatures: Vec<[u8; 64]>,
    },
    /// The capture is refused for good; nobody was told yes.
    CaptureRefused {
        /// The gateway's reason.
        reason: Box<str>,
    },
    /// Tickets of an order without a gateway payment are signed.
    Issued {
        /// Which signing key made them.
        signing_key: u32,
        /// One per ticket.
        signatures: Vec<[u8; 64]>,
    },
    /// Nothing is captured or reserved at the gateway any more (or never was).
    Voided,
    /// No answer worth having; the job is due again after this long.
    Retry {
        /// Log time until the job is due again.
        after_ms: u32,
    },
}

/// Make an order's waiting job due now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WakeJob {
    /// The order.
    pub order: OrderId,
}

/// What an event sells and by which rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOnsale {
    /// The event's number.
    pub event: EventNo,
    /// Its public id, `evt_…`.
    pub event_id: Box<str>,
    /// The document's revision this was made from, from 1.
    pub revision: u64,
    /// ISO 4217, three capital letters.
    pub currency: [u8; 3],
    /// Holds are refused before this.
    pub onsale_at_ms: LogTimeMs,
    /// Prices by category.
    pub prices_minor: Vec<u64>,
    /// Ticket types, early prices and quotas; `None` where every place is one at its price.
    pub offer: Option<Box<Offer>>,
    /// The seat map.
    pub sections: Vec<SectionSpec>,
    /// Limits per order and buyer.
    pub rules: Rules,
}

/// A section of the seat map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionSpec {
    /// Unique in the event, e.g. `101`.
    pub key: Box<str>,
    /// Its category.
    pub category: CategoryNo,
    /// Rows, or a number of places.
    pub kind: SectionKind,
    /// Where its best seats are; [`Focus::default`] in general admission.
    pub focus: Focus,
}

/// The focal point of a section: the nearer a seat, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Focus {
    /// A row, from 1, the front one.
    pub row: u32,
    /// A seat of that row, from 1; 0 is the row's middle.
    pub seat: u16,
}

impl Default for Focus {
    fn default() -> Self {
        Self { row: 1, seat: 0 }
    }
}

/// What a section consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// Numbered seats in rows, front row first.
    Seated {
        /// The rows.
        rows: Vec<RowSpec>,
    },
    /// A number of places without numbers.
    GeneralAdmission {
        /// Places.
        capacity: u32,
    },
}

/// A row of numbered seats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowSpec {
    /// Unique in the section, e.g. `A`.
    pub label: Box<str>,
    /// Seats, numbered from 1.
    pub seats: u16,
    /// Numbers of the accessible seats, ascending.
    pub accessible: Vec<u16>,
    /// Numbers of the companion seats, ascending; none of them accessible.
    pub companion: Vec<u16>,
}

/// An event's limits (contract: `rules`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Seats in one hold.
    pub seats_per_order_max: u16,
    /// Seats of one buyer in live holds and orders; 0 is no limit.
    pub seats_per_buyer_max: u16,
    /// A hold's life, and what an extension gives.
    pub hold_ttl_ms: u32,
    /// Extensions of one hold.
    pub hold_extensions_max: u16,
    /// Refuse a named selection that strands a single seat it need not.
    pub no_orphans: bool,
    /// Live holds of one buyer; 0 is no limit.
    pub holds_per_buyer_max: u16,
    /// Seconds that one buyer's seats may stand in holds that come to no order, summed over the
    /// seats; 0 is no limit.
    pub hold_seconds_per_buyer_max: u32,
}

/// Change an event on sale; the seat map stays, but for how many places its areas have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeOnsale {
    /// The event's number.
    pub event: EventNo,
    /// The document's revision; an older or equal one than in force changes nothing.
    pub revision: u64,
    /// Holds are refused before this.
    pub onsale_at_ms: LogTimeMs,
    /// Prices by category, as many as before; holds keep theirs.
    pub prices_minor: Vec<u64>,
    /// Ticket types, early prices and quotas; types may only be added to others. Holds keep their
    /// prices, and count as what they are in the tiers and quotas that come.
    pub offer: Option<Box<Offer>>,
    /// Limits; holds keep their expiry.
    pub rules: Rules,
    /// Other capacities of general admission areas, ascending by section.
    pub capacities: Vec<(SectionNo, u32)>,
}

/// Store an event's document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrepareEvent {
    /// Its public id.
    pub event_id: Box<str>,
    /// Who may change it.
    pub organizer: Box<str>,
    /// The revision this makes: 1 for a new event, the one in force + 1 for a change.
    pub revision: u64,
    /// Key and content; `buyer` is the API key's hash.
    pub idempotency: Option<Idempotency>,
    /// An encoded `onsale.catalog.v1.EventDocument`; opaque here.
    pub document: Box<[u8]>,
}

/// Readers may see this revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishEvent {
    /// Its public id.
    pub event_id: Box<str>,
    /// The prepared revision.
    pub revision: u64,
}

impl std::fmt::Debug for Contact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Contact(redacted)")
    }
}
