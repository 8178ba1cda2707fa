//! Owns what services read of a shard's state between entries. Must never change anything.

use smallvec::SmallVec;

use crate::{
    command::Contact,
    control::{ApiKeyRecord, DocumentRecord},
    event::EventState,
    hold::HoldState,
    ids::{EventNo, HoldId, LogTimeMs, OrderId, ShardNo},
    limits::Limits,
    order::{FailureCode, Order, OrderStatus},
    outcome::Place,
    shard::Shard,
    slab::NONE,
};

/// A hold as its holder may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldView {
    /// The hold.
    pub hold: HoldId,
    /// Its event.
    pub event: EventNo,
    /// Where it is in its life.
    pub state: HoldState,
    /// When it was granted.
    pub held_at_ms: LogTimeMs,
    /// When it ends if nothing is done; in checkout it may live longer.
    pub expires_at_ms: LogTimeMs,
    /// Extensions used.
    pub extensions: u16,
    /// Its places, in the order of the wishes.
    pub places: SmallVec<[Place; 4]>,
    /// ISO 4217.
    pub currency: [u8; 3],
    /// The order that has it in checkout, or bought it.
    pub order: Option<OrderId>,
}

/// A ticket that is void: its holder has another for another seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedTicket {
    /// Its number in the order.
    pub ticket: u16,
    /// The place it was for.
    pub place: Place,
    /// When it moved.
    pub at_ms: LogTimeMs,
    /// Why, as support wrote it.
    pub reason: Box<str>,
}

/// Why an order failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderFailure {
    /// The code.
    pub code: FailureCode,
    /// The gateway's reason; empty where the gateway said nothing.
    pub reason: Box<str>,
}

/// An order as its services see it; of personal data only who holds its tickets.
#[derive(Clone, PartialEq, Eq)]
pub struct OrderView {
    /// The order.
    pub order: OrderId,
    /// Its event.
    pub event: EventNo,
    /// The hold it came from; its record may be gone.
    pub hold: HoldId,
    /// Where it is in its life.
    pub status: OrderStatus,
    /// Why it failed.
    pub failure: Option<OrderFailure>,
    /// Its places; ticket `n` is place `n - 1`.
    pub places: SmallVec<[Place; 4]>,
    /// What it costs.
    pub total_minor: u64,
    /// What was given back.
    pub refunded_minor: u64,
    /// ISO 4217.
    pub currency: [u8; 3],
    /// When it was made.
    pub created_at_ms: LogTimeMs,
    /// Until when its payment may be undecided; 0 when it is decided.
    pub fence_until_ms: LogTimeMs,
    /// The gateway's id of the payment, once known.
    pub payment_intent: Option<Box<str>>,
    /// Where the buyer confirms the payment, while that is asked for.
    pub next_action_url: Option<Box<str>>,
    /// Which key signed the tickets; 0 before.
    pub signing_key: u32,
    /// One per ticket, once confirmed; that of a moved ticket is `None` until it is signed again.
    pub signatures: Vec<Option<[u8; 64]>>,
    /// The number of each place's ticket.
    pub tickets: SmallVec<[u16; 4]>,
    /// Holders' names by ticket, where they are not the buyer's. Personal data.
    pub holders: Vec<(u16, Box<str>)>,
    /// Tickets that are void because they moved to another seat.
    pub moved: Vec<MovedTicket>,
    /// The salted commitment to its contact data.
    pub contact_commitment: [u8; 32],
}

/// How much there is of everything, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events on sale, or documents in the control group.
    pub events: usize,
    /// Holds that have seats.
    pub holds: usize,
    /// Orders kept.
    pub orders: usize,
    /// Idempotency keys remembered.
    pub dedup: usize,
    /// Payment jobs not done.
    pub jobs: usize,
    /// Payment jobs that may be leased now.
    pub due_jobs: usize,
}

fn holders(order: &Order) -> Vec<(u16, Box<str>)> {
    let holders = order.tickets.iter().flat_map(|tickets| &tickets.holders);
    holders.map(|(&ticket, holder)| (ticket, holder.name.clone())).collect()
}

fn moved_tickets(event: &EventState, order: &Order) -> Vec<MovedTicket> {
    let moved = order.tickets.iter().flat_map(|tickets| &tickets.moved).enumerate();
    moved
        .map(|(nth, moved)| MovedTicket {
            ticket: moved.number,
            place: {
                let deals = order.deals.as_ref().map(|_| [order.deal(order.place_after(nth))]);
                let deals = deals.map(Box::from);
                event.dealt_places(&[moved.place], order.price_list, &deals)[0]
            },
            at_ms: moved.at_ms,
            reason: moved.reason.clone(),
        })
        .collect()
}

impl Shard {
    /// The shard's number.
    pub fn shard(&self) -> ShardNo {
        self.shard
    }

    /// The bounds in force.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The index of the last applied entry; 0 before the first.
    pub fn last_index(&self) -> u64 {
        self.last_index
    }

    /// Log time after the last applied entry.
    pub fn log_time_ms(&self) -> LogTimeMs {
        self.log_time_ms
    }

    /// The hash chain after the last applied entry.
    pub fn chain(&self) -> [u8; 32] {
        self.chain
    }

    /// When time alone may change something: a hold or fence ends, a job becomes due. Never later
    /// than that, sometimes a little earlier. The leader then applies a tick.
    pub fn next_due_at_ms(&self) -> Option<LogTimeMs> {
        let ends = self.due.first().map(|&(time, _)| time);
        let job = self.jobs.next_due_after(self.log_time_ms);
        ends.into_iter().chain(job).min()
    }

    /// Does anybody wait for time to pass: for a hold to end, or for a job? An allotment that is
    /// released in months keeps nobody waiting.
    pub fn is_waited_for(&self) -> bool {
        self.holds.alive > 0 || self.jobs.len() > 0
    }

    /// An event on sale here.
    pub fn event(&self, event: EventNo) -> Option<&EventState> {
        self.known_event_slot(event).map(|slot| &self.events[slot as usize])
    }

    /// All events on sale here, by public id.
    pub fn events(&self) -> impl Iterator<Item = &EventState> {
        self.event_ids.values().map(|&slot| &self.events[slot as usize])
    }

    /// The number of an event on sale here.
    pub fn event_no(&self, event_id: &str) -> Option<EventNo> {
        self.event_ids.get(event_id).map(|&slot| self.events[slot as usize].event)
    }

    /// A hold, also an ended one as long as its key is remembered.
    pub fn hold(&self, hold: HoldId) -> Option<HoldView> {
        let hold = self.holds.at(self.holds.slot(hold)?);
        let event = &self.events[hold.event() as usize];
        Some(HoldView {
            hold: hold.id,
            event: event.event,
            state: hold.state(),
            held_at_ms: hold.held_at_ms(),
            expires_at_ms: hold.expires_at_ms(),
            extensions: hold.extensions(),
            places: event.dealt_places(&hold.places(), hold.price_list(), hold.deals()),
            currency: event.currency,
            order: (hold.order() != NONE).then(|| self.orders.slab[hold.order()].id),
        })
    }

    /// An order.
    pub fn order(&self, order: OrderId) -> Option<OrderView> {
        let order = &self.orders.slab[self.orders.slot(order)?];
        let event = &self.events[order.event as usize];
        let failure = order
            .failure
            .as_ref()
            .map(|(code, reason)| OrderFailure { code: *code, reason: reason.clone() });
        Some(OrderView {
            order: order.id,
            event: event.event,
            hold: order.hold,
            status: order.status,
            failure,
            places: event.dealt_places(&order.places, order.price_list, &order.deals),
            total_minor: order.total_minor,
            refunded_minor: 0,
            currency: event.currency,
            created_at_ms: order.created_at_ms,
            fence_until_ms: order.fence_until_ms,
            payment_intent: order.payment_intent.clone(),
            next_action_url: order.next_action_url.clone(),
            signing_key: order.signing_key,
            signatures: (order.signatures.iter().enumerate())
                .map(|(at, signature)| (!order.is_unsigned(at)).then_some(*signature))
                .collect(),
            tickets: order.ticket_numbers(),
            holders: holders(order),
            moved: moved_tickets(event, order),
            contact_commitment: order.contact_commitment,
        })
    }

    /// All orders' ids, ascending. For audits: it visits every order.
    pub fn order_ids(&self) -> Vec<OrderId> {
        let mut ids: Vec<OrderId> = self.orders.slab.iter().map(|(_, order)| order.id).collect();
        ids.sort_unstable();
        ids
    }

    /// All known holds' ids, ended ones too, ascending. For audits: it visits every hold.
    pub fn hold_ids(&self) -> Vec<HoldId> {
        let mut ids: Vec<HoldId> = self.holds.slab.iter().map(|(_, hold)| hold.id).collect();
        ids.sort_unstable();
        ids
    }

    /// Personal data of an order; `None` where there is none.
    pub fn contact(&self, order: OrderId) -> Option<&Contact> {
        self.orders.slab[self.orders.slot(order)?].contact.as_deref()
    }

    /// The holder of an order's ticket, where it is not the order's buyer. Personal data.
    pub fn holder(&self, order: OrderId, ticket: u16) -> Option<&Contact> {
        let order = &self.orders.slab[self.orders.slot(order)?];
        order.tickets.as_ref()?.holders.get(&ticket)
    }

    /// All documents, by event id (control group).
    pub fn documents(&self) -> impl Iterator<Item = &DocumentRecord> {
        self.control.documents.values()
    }

    /// One event's document (control group).
    pub fn document(&self, event_id: &str) -> Option<&DocumentRecord> {
        self.control.documents.get(event_id)
    }

    /// All API keys by their SHA-256 (control group).
    pub fn api_keys(&self) -> impl Iterator<Item = (&[u8; 32], &ApiKeyRecord)> {
        self.control.api_keys.iter()
    }

    /// Whose an API key is (control group).
    pub fn api_key(&self, key_hash: &[u8; 32]) -> Option<&ApiKeyRecord> {
        self.control.api_keys.get(key_hash)
    }

    /// All public signing keys by number (control group).
    pub fn signing_keys(&self) -> impl Iterator<Item = (u32, &[u8; 32])> {
        self.control.signing_keys.iter().map(|(&id, key)| (id, key))
    }

    /// How much there is of everything.
    pub fn counts(&self) -> Counts {
        Counts {
            events: self.events.len() + self.control.documents.len(),
            holds: self.holds.alive,
            orders: self.orders.slab.len(),
            dedup: self.dedup.len(),
            jobs: self.jobs.len(),
            due_jobs: self.jobs.due_count(self.log_time_ms),
        }
    }
}
