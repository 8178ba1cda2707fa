//! Owns what a command can come to: its expected results, and the rejections in their order of
//! precedence.
//!
//! A rejection changes nothing and stores nothing; a broken invariant is never an outcome but an
//! assertion. Must never carry a secret or personal data.

use smallvec::SmallVec;

use crate::{
    ids::{
        CategoryNo, EventNo, HoldId, JobId, LogTimeMs, OrderId, SeatNo, SectionNo, ShardNo, TypeNo,
    },
    order::{JobKind, OrderStatus},
};

/// The answer to one command, in the batch's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The command had been applied before under the same key; this is that answer again.
    pub replayed: bool,
    /// What came of it.
    pub result: Result<Done, Rejection>,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// Nothing to say.
    Ok,
    /// Seats are held.
    Held(Held),
    /// A hold's new life.
    Extended {
        /// The hold.
        hold: HoldId,
        /// Its new expiry.
        expires_at_ms: LogTimeMs,
        /// Extensions used.
        extensions: u16,
        /// Extensions the event allowed then.
        extensions_max: u16,
        /// When that was.
        extended_at_ms: LogTimeMs,
    },
    /// The order is being paid, or needs no payment.
    CheckoutBegun {
        /// The order.
        order: OrderId,
    },
    /// The order is sold.
    Sold {
        /// The order.
        order: OrderId,
    },
    /// The jobs are the worker's until their leases end.
    Leased(Vec<LeasedJob>),
    /// The order's state after a job's report.
    Settled {
        /// The order.
        order: OrderId,
        /// Its state now.
        status: OrderStatus,
    },
    /// The document is stored; open the onsale next.
    Prepared {
        /// The event's number.
        event: EventNo,
        /// The shard that sells it.
        shard: ShardNo,
        /// The stored revision.
        revision: u64,
    },
    /// Places are withdrawn, or will be when they are given back.
    Killed {
        /// Places asked for that are withdrawn now.
        killed: u32,
        /// Seats asked for that are held: withdrawn when their hold ends without a sale.
        pending: Vec<SeatNo>,
        /// Areas asked for where places are still to be withdrawn, and how many.
        pending_areas: Vec<(SectionNo, u32)>,
    },
    /// So many places are not withdrawn any more.
    Returned {
        /// Places.
        returned: u32,
    },
    /// A ticket is one for another seat.
    Swapped {
        /// The order.
        order: OrderId,
        /// The ticket that is void now.
        ticket: u16,
        /// The ticket in its stead.
        new_ticket: u16,
        /// The seat given back.
        from: SeatNo,
        /// The new seat.
        to: SeatNo,
    },
    /// The codes may be used.
    CodesPut {
        /// So many.
        codes: u32,
    },
    /// Tickets have another holder's name.
    Renamed {
        /// The order.
        order: OrderId,
        /// The tickets.
        tickets: SmallVec<[u16; 4]>,
    },
}

/// How much of a general admission area cannot go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AreaTaken {
    /// The section.
    pub section: SectionNo,
    /// Places held.
    pub held: u32,
    /// Places sold.
    pub sold: u32,
    /// Places withdrawn.
    pub killed: u32,
}

/// A granted hold. Kept in the dedup table and answered again byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The hold.
    pub hold: HoldId,
    /// When it was granted.
    pub held_at_ms: LogTimeMs,
    /// When it ends if nothing is done.
    pub expires_at_ms: LogTimeMs,
    /// Its places, in the order of the wishes.
    pub places: SmallVec<[Place; 4]>,
}

impl Held {
    /// Writes that a hold is granted, its places to be named where it stands: moving a finished
    /// one costs more.
    #[inline(always)]
    pub(crate) fn granted(
        hold: HoldId,
        (held_at_ms, expires_at_ms): (LogTimeMs, LogTimeMs),
        outcome: &mut Outcome,
    ) -> &mut SmallVec<[Place; 4]> {
        let held = Self { hold, held_at_ms, expires_at_ms, places: SmallVec::new() };
        outcome.result = Ok(Done::Held(held));
        match &mut outcome.result {
            Ok(Done::Held(held)) => &mut held.places,
            _ => panic!("what was written is not there"),
        }
    }
}

/// A place of a hold or an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The numbered seat; `None` in general admission.
    pub seat: Option<SeatNo>,
    /// Its section.
    pub section: SectionNo,
    /// Its category.
    pub category: CategoryNo,
    /// Its ticket type; 0 where the event has none.
    pub ticket_type: TypeNo,
    /// What it costs, fixed when it was held.
    pub price_minor: u64,
}

/// A quota of which more is taken than it would have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaTaken {
    /// The quota's key.
    pub quota: Box<str>,
    /// Places held and sold that count against it.
    pub taken: u32,
}

/// Why a code is not good for a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CodeFault {
    /// The event has no such code.
    Unknown = 0,
    /// It will be valid later.
    NotYetValid = 1,
    /// It is not valid any more.
    Expired = 2,
    /// It is for places of other categories.
    OtherCategories = 3,
}

/// A payment job in a worker's hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedJob {
    /// The job.
    pub job: JobId,
    /// What to do.
    pub kind: JobKind,
    /// For which order.
    pub order: OrderId,
    /// Its event.
    pub event: EventNo,
    /// The order's total.
    pub amount_minor: u64,
    /// ISO 4217.
    pub currency: [u8; 3],
    /// The gateway's name of the payment method.
    pub payment_method: Box<str>,
    /// The gateway's id of the payment, once known.
    pub payment_intent: Option<Box<str>>,
    /// How often it was leased before.
    pub attempts: u32,
    /// When it was first leased; past 20 h a gateway call is looked up, never repeated.
    pub first_leased_at_ms: LogTimeMs,
    /// The order's places, for signing tickets.
    pub places: SmallVec<[Place; 4]>,
    /// The number of each place's ticket.
    pub tickets: SmallVec<[u16; 4]>,
}

/// Why nothing was changed. In order of precedence: the first that applies is the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// `not_after` had passed when the command was applied.
    TooLate,
    /// The same key with another content or another buyer.
    IdempotencyKeyReused,
    /// A bound of the shard is reached; says which.
    Overloaded {
        /// The bound's name.
        bound: &'static str,
    },
    /// No such event, hold, order or job here; says which.
    NotFound {
        /// `event`, `hold`, `order`, `ticket` or `job`.
        what: &'static str,
    },
    /// The command makes no sense; says where and why.
    Invalid {
        /// The field, e.g. `items/0/seats`.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No such channel, or another secret than the channel has.
    ChannelForbidden,
    /// The buyer's code is not good for this hold. Whether it is for the places' categories shows
    /// when they are chosen, so that this alone may come after what follows.
    CodeInvalid {
        /// Why not.
        fault: CodeFault,
    },
    /// The buyer's code is good for no hold more.
    CodeUsedUp,
    /// Before the opening.
    NotOnSale {
        /// When it opens.
        onsale_at_ms: LogTimeMs,
    },
    /// The hold has ended.
    HoldExpired,
    /// A payment for the hold is undecided.
    HoldInCheckout,
    /// No extension is left.
    ExtensionLimitReached,
    /// The buyer would have more than the event allows.
    BuyerLimitReached {
        /// Seats the event allows one buyer.
        seats_max: u16,
    },
    /// The buyer has as many holds as the event allows, or has kept seats from others for as long.
    HoardingLimitReached {
        /// Live holds the event allows one buyer; 0 where it is the time.
        holds_max: u16,
        /// Seconds the event allows, summed over the seats; 0 where it is the number of holds.
        hold_seconds_max: u32,
    },
    /// Companion seats are named without an accessible seat of their section; ascending.
    CompanionWithoutAccessible {
        /// The companion seats.
        seats: Vec<SeatNo>,
    },
    /// The order is not paid and ticketed, or has failed.
    OrderUnconfirmed,
    /// The other seat costs something else.
    PriceDiffers {
        /// What the ticket's seat cost.
        price_minor: u64,
        /// What the other costs, at the prices of the order.
        other_minor: u64,
    },
    /// Named seats are not available: all of them, ascending.
    SeatUnavailable {
        /// Every conflicting seat.
        seats: Vec<SeatNo>,
    },
    /// The named seats would leave others alone, and need not.
    OrphanSeats {
        /// The seats left alone, ascending.
        seats: Vec<SeatNo>,
        /// Seats to take instead of as many of the named ones; ascending.
        mend: Vec<SeatNo>,
    },
    /// Nothing that fits is left at all.
    SoldOut {
        /// When the first live hold on such places ends, if there is one.
        held_may_return_at_ms: Option<LogTimeMs>,
    },
    /// Places are left, but not so many.
    NotEnoughTogether {
        /// When the first live hold on such places ends, if there is one.
        held_may_return_at_ms: Option<LogTimeMs>,
    },
    /// What is sold cannot be withdrawn: all of it, ascending.
    SeatsSold {
        /// Every sold seat.
        seats: Vec<SeatNo>,
        /// Areas where fewer places than asked for are unsold and not withdrawn.
        areas: Vec<AreaTaken>,
    },
    /// What is not withdrawn cannot be returned: all of it, ascending.
    SeatsNotKilled {
        /// Every seat that is not withdrawn.
        seats: Vec<SeatNo>,
        /// Areas where fewer places than asked for are withdrawn.
        areas: Vec<AreaTaken>,
    },
    /// What is not everybody's cannot be set aside: all of it, ascending.
    AllotmentUnavailable {
        /// Every seat that is held, sold, withdrawn or another channel's.
        seats: Vec<SeatNo>,
        /// Areas where fewer places than asked for are everybody's.
        areas: Vec<AreaTaken>,
    },
    /// Areas would have fewer places than are taken: all of them.
    CapacityBelowTaken {
        /// Each with what is taken.
        areas: Vec<AreaTaken>,
    },
    /// Places are left, but a quota has no room for so many.
    QuotaExhausted {
        /// The first such quota's key.
        quota: Box<str>,
    },
    /// Quotas would have less than is taken of them: all of them.
    QuotaBelowTaken {
        /// Each with what is taken.
        quotas: Vec<QuotaTaken>,
    },
    /// The report comes under a lease that is over, or about a job that is done.
    StaleLease,
    /// The revision is not the one expected.
    StaleRevision {
        /// The revision in force.
        in_force: u64,
    },
    /// This shard does not take such commands.
    WrongShard,
}
