//! `BeginCheckout`: a hold is fenced and becomes an order whose payment is undecided; an order of
//! total 0 is sold at once.

use super::{BeginCheckout, Contact, Idempotency};
use crate::{
    buyer_limit,
    change::Change,
    codec::{Reader, put_bytes, put_opt_u64, put_u64, put_u128},
    dedup::KeyOwner,
    error::DecodeError,
    hold::HoldState,
    ids::{HoldId, OrderId},
    limits::{COMMAND_BYTES_MAX, CONTACT_BYTES_MAX, DEDUP_ORDER_MS, PAYMENT_METHOD_BYTES_MAX},
    order::{Order, OrderStatus, Origin},
    outcome::{Done, Outcome, Rejection},
    shard::Shard,
};

impl Contact {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.salt);
        put_bytes(out, self.name.as_bytes());
        put_bytes(out, self.email.as_bytes());
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            salt: r.array()?,
            name: r.str(COMMAND_BYTES_MAX, "a name")?,
            email: r.str(COMMAND_BYTES_MAX, "an e-mail address")?,
        })
    }
}

impl BeginCheckout {
    /// Everything but the contact.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u128(out, self.hold.0);
        put_u128(out, self.order.0);
        self.idempotency.encode(out);
        put_u64(out, self.email);
        put_opt_u64(out, self.card);
        put_bytes(out, self.payment_method.as_bytes());
        out.extend_from_slice(&self.contact_commitment);
    }

    /// Everything but the contact, which stands empty until its own part is read.
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            hold: HoldId(r.u128()?),
            order: OrderId(r.u128()?),
            idempotency: Idempotency::decode(r)?,
            email: r.u64()?,
            card: r.opt(Reader::u64)?,
            payment_method: r.str(COMMAND_BYTES_MAX, "payment_method")?,
            contact_commitment: r.array()?,
            contact: Contact { salt: [0; 16], name: "".into(), email: "".into() },
        })
    }
}

/// What a hold needs to become an order.
pub(super) struct Sale<'a> {
    pub(super) hold: HoldId,
    pub(super) order: OrderId,
    pub(super) idempotency: &'a Idempotency,
    pub(super) origin: Origin,
}

impl Shard {
    pub(crate) fn begin_checkout(
        &mut self,
        command: &BeginCheckout,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        let origin = Origin::Checkout;
        if let Some(owner) = self.find_key(command.idempotency.key) {
            return self.replay_order(owner, &command.idempotency, origin);
        }
        let begun = Done::CheckoutBegun { order: command.order };
        self.try_checkout(command, changes).map(|()| begun).into()
    }

    pub(super) fn replay_order(
        &self,
        owner: KeyOwner,
        asked: &Idempotency,
        origin: Origin,
    ) -> Outcome {
        if let KeyOwner::Order(slot) = owner {
            let order = &self.orders.slab[slot];
            if order.request == asked.request && order.origin == origin {
                return Outcome::replayed(match origin {
                    Origin::Checkout => Done::CheckoutBegun { order: order.id },
                    Origin::Counter => Done::Sold { order: order.id },
                });
            }
        }
        Outcome::rejected(Rejection::IdempotencyKeyReused)
    }

    /// The checks that every sale of a hold shares, up to the hold's state; the hold's slot.
    pub(super) fn check_sale(
        &self,
        sale: &Sale<'_>,
        fields: impl FnOnce(u64) -> Result<(), Rejection>,
    ) -> Result<u32, Rejection> {
        self.check_key_room(0)?;
        if self.orders.slab.len() >= self.limits.orders_max as usize {
            return Err(Rejection::Overloaded { bound: "orders_max" });
        }
        let slot = self.holds.slot(sale.hold).ok_or(Rejection::NotFound { what: "hold" })?;
        if sale.order.0 & 0xffff != 0 {
            let reason = "must leave the low 16 bits to its tickets";
            return Err(Rejection::Invalid { field: "order", reason });
        }
        if self.orders.slot(sale.order).is_some() {
            return Err(Rejection::Invalid { field: "order", reason: "is another order's id" });
        }
        let hold = self.holds.at(slot);
        let event = &self.events[hold.event() as usize];
        fields(event.total_minor(&hold.places(), hold.price_list(), hold.deals()))?;
        match hold.state() {
            HoldState::Live => Ok(slot),
            HoldState::InCheckout => Err(Rejection::HoldInCheckout),
            _ => Err(Rejection::HoldExpired),
        }
    }

    fn try_checkout(
        &mut self,
        command: &BeginCheckout,
        changes: &mut Vec<Change>,
    ) -> Result<(), Rejection> {
        let sale = Sale {
            hold: command.hold,
            order: command.order,
            idempotency: &command.idempotency,
            origin: Origin::Checkout,
        };
        let hold_slot = self.check_sale(&sale, |total_minor| {
            let method = command.payment_method.len();
            if method > PAYMENT_METHOD_BYTES_MAX || (method == 0 && total_minor > 0) {
                let reason = "must have 1 to 255 bytes";
                return Err(Rejection::Invalid { field: "payment_method", reason });
            }
            let contact = &command.contact;
            if contact.name.len().max(contact.email.len()) > CONTACT_BYTES_MAX {
                let reason = "has a name or e-mail address of more than 320 bytes";
                return Err(Rejection::Invalid { field: "contact", reason });
            }
            Ok(())
        })?;
        let hold = self.holds.at(hold_slot);
        let event = &self.events[hold.event() as usize];
        let seats_max = event.rules.seats_per_buyer_max;
        let (seats, card) = (hold.places().len(), command.card.unwrap_or(0));
        if buyer_limit::exceeds(&event.emails, command.email, seats, seats_max)
            || buyer_limit::exceeds(&event.cards, card, seats, seats_max)
        {
            return Err(Rejection::BuyerLimitReached { seats_max });
        }
        let mut order = self.new_order(&sale, hold_slot);
        if order.total_minor > 0 {
            order.status = OrderStatus::Processing;
            order.fence_until_ms =
                self.log_time_ms.saturating_add(self.limits.payment_fence_max_ms);
        }
        order.email = command.email;
        order.card = card;
        order.payment_method = command.payment_method.clone();
        order.contact_commitment = command.contact_commitment;
        order.contact = Some(Box::new(command.contact.clone()));
        self.store_order(order, changes);
        Ok(())
    }

    /// An order that is sold at once; callers change what is otherwise.
    pub(super) fn new_order(&self, sale: &Sale<'_>, hold_slot: u32) -> Order {
        let hold = self.holds.at(hold_slot);
        let event = &self.events[hold.event() as usize];
        Order {
            id: sale.order,
            key: sale.idempotency.key,
            request: sale.idempotency.request,
            buyer: hold.buyer,
            email: 0,
            card: 0,
            created_at_ms: self.log_time_ms,
            fence_until_ms: 0,
            origin: sale.origin,
            key_lives: true,
            status: OrderStatus::Sold,
            failure: None,
            event: hold.event(),
            price_list: hold.price_list(),
            places: hold.places(),
            channel: hold.channel(),
            deals: hold.deals().clone(),
            total_minor: event.total_minor(&hold.places(), hold.price_list(), hold.deals()),
            hold: hold.id,
            job: None,
            payment_method: "".into(),
            payment_intent: None,
            next_action_url: None,
            signing_key: 0,
            signatures: Vec::new(),
            contact_commitment: [0; 32],
            contact: None,
            tickets: None,
        }
    }

    pub(super) fn store_order(&mut self, order: Order, changes: &mut Vec<Change>) {
        let key = order.key;
        let forget_at_ms = order.created_at_ms.saturating_add(DEDUP_ORDER_MS);
        let slot = self.start_order(order, changes);
        self.orders.keys.push_back((forget_at_ms, slot));
        self.remember_key(key, KeyOwner::Order(slot));
    }
}
