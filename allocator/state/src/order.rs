//! Owns the records of orders and the words for their life and their jobs.
//!
//! ```text
//! begin_checkout → Processing ⇄ ActionRequired → Sold → Confirmed
//!                       └───── Failed ←──────────┘
//! ```
//! Must never write contact data anywhere but in [`Order::contact`].

use std::collections::VecDeque;

use crate::{
    command::Contact,
    event::PlaceRefs,
    ids::{BuyerHash, ChannelNo, JobId, KeyHash, LogTimeMs, OrderId, RequestHash},
    index::Index,
    offer::{Deal, Deals},
    slab::{Slab, hash_of},
    tickets::Tickets,
};

/// Where an order is in its life. The public status of the first three is `processing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum OrderStatus {
    /// Its payment is undecided.
    Processing = 0,
    /// The buyer has to confirm the payment with the bank.
    ActionRequired = 1,
    /// Its seats are sold; the capture, or the signing of its tickets, is outstanding.
    Sold = 2,
    /// Paid and ticketed.
    Confirmed = 3,
    /// Over, without seats.
    Failed = 4,
}

impl OrderStatus {
    pub(crate) fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::Processing,
            1 => Self::ActionRequired,
            2 => Self::Sold,
            3 => Self::Confirmed,
            4 => Self::Failed,
            _ => return None,
        })
    }

    /// Is its payment undecided, so that its hold is fenced?
    pub(crate) fn is_undecided(self) -> bool {
        matches!(self, Self::Processing | Self::ActionRequired)
    }

    /// Do seats stand in state sold for it?
    pub(crate) fn has_seats(self) -> bool {
        matches!(self, Self::Sold | Self::Confirmed)
    }
}

/// What a payment job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum JobKind {
    /// Reserve the money.
    Authorise = 0,
    /// Take the reserved money and sign the tickets.
    Capture = 1,
    /// See to it that no money is reserved or taken.
    Void = 2,
    /// Sign the tickets of an order without a gateway payment.
    Issue = 3,
}

impl JobKind {
    pub(crate) fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::Authorise,
            1 => Self::Capture,
            2 => Self::Void,
            3 => Self::Issue,
            _ => return None,
        })
    }
}

/// Why an order failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FailureCode {
    /// The gateway said no.
    PaymentDeclined = 0,
    /// The payment was undecided for too long.
    PaymentTimeout = 1,
    /// The gateway would not give the money it had reserved.
    CaptureRefused = 2,
}

impl FailureCode {
    pub(crate) fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::PaymentDeclined,
            1 => Self::PaymentTimeout,
            2 => Self::CaptureRefused,
            _ => return None,
        })
    }

    /// The public code.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PaymentDeclined => "payment_declined",
            Self::PaymentTimeout => "payment_timeout",
            Self::CaptureRefused => "capture_refused",
        }
    }
}

/// Which command made the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Origin {
    Checkout = 0,
    Counter = 1,
}

/// An order, and the dedup entry of the request that made it.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) id: OrderId,
    pub(crate) key: KeyHash,
    pub(crate) request: RequestHash,
    pub(crate) buyer: BuyerHash,
    pub(crate) email: BuyerHash,
    pub(crate) card: BuyerHash,
    pub(crate) created_at_ms: LogTimeMs,
    /// The end of the payment fence, while the payment is undecided.
    pub(crate) fence_until_ms: LogTimeMs,
    pub(crate) origin: Origin,
    /// Its key is still remembered.
    pub(crate) key_lives: bool,
    pub(crate) status: OrderStatus,
    pub(crate) failure: Option<(FailureCode, Box<str>)>,
    /// The event's slot.
    pub(crate) event: u32,
    pub(crate) price_list: u16,
    pub(crate) places: PlaceRefs,
    /// The channel that it came through; 0 is none.
    pub(crate) channel: ChannelNo,
    /// What was agreed about its places.
    pub(crate) deals: Deals,
    pub(crate) total_minor: u64,
    pub(crate) hold: crate::ids::HoldId,
    pub(crate) job: Option<JobId>,
    pub(crate) payment_method: Box<str>,
    pub(crate) payment_intent: Option<Box<str>>,
    pub(crate) next_action_url: Option<Box<str>>,
    pub(crate) signing_key: u32,
    pub(crate) signatures: Vec<[u8; 64]>,
    pub(crate) contact_commitment: [u8; 32],
    /// Personal data; never in the chain or the feed.
    pub(crate) contact: Option<Box<Contact>>,
    /// Where its tickets are not just one for each place, counted from 1.
    pub(crate) tickets: Option<Box<Tickets>>,
}

impl Order {
    /// What was agreed about one of its places.
    pub(crate) fn deal(&self, at: usize) -> Deal {
        let deals = self.deals.as_ref();
        deals.and_then(|deals| deals.get(at)).copied().unwrap_or_default()
    }
}

/// All orders of a shard.
#[derive(Debug)]
pub(crate) struct Orders {
    pub(crate) slab: Slab<Order>,
    ids: Index,
    /// Keys of orders in the order in which they are forgotten.
    pub(crate) keys: VecDeque<(LogTimeMs, u32)>,
}

impl Orders {
    pub(crate) fn new() -> Self {
        Self { slab: Slab::new(), ids: Index::new(), keys: VecDeque::new() }
    }

    pub(crate) fn slot(&self, id: OrderId) -> Option<u32> {
        self.ids.find(hash_of(id.0), |slot| self.slab[slot].id == id)
    }

    pub(crate) fn insert(&mut self, order: Order) -> u32 {
        let id = order.id;
        let slot = self.slab.insert(order);
        self.ids.insert(hash_of(id.0), slot);
        slot
    }
}
