//! Owns the steps of an order's life that several commands share, and what each does to its hold,
//! its seats and its jobs.

use crate::{
    buyer_limit,
    change::Change,
    hold::HoldState,
    ids::LogTimeMs,
    job::Job,
    order::{FailureCode, JobKind, Order, OrderStatus},
    seat_word::SeatState,
    shard::{Shard, announce, key_tag},
    withdrawal::give_back,
};

impl Shard {
    /// Creates a job for an order, due at once. What is carried over from the job it replaces says
    /// how far the gateway may have heard of the payment.
    pub(crate) fn add_job(
        &mut self,
        order_slot: u32,
        kind: JobKind,
        attempts: u32,
        first_leased_at_ms: LogTimeMs,
    ) {
        let job = self.jobs.add(Job {
            kind,
            order: order_slot,
            not_before_ms: self.log_time_ms,
            lease: 0,
            lease_until_ms: 0,
            attempts,
            first_leased_at_ms,
        });
        self.orders.slab[order_slot].job = Some(job);
        self.job_due = true;
    }

    pub(crate) fn set_status(
        &mut self,
        order_slot: u32,
        status: OrderStatus,
        changes: &mut Vec<Change>,
    ) {
        let order = &mut self.orders.slab[order_slot];
        order.status = status;
        let event = self.events[order.event as usize].event;
        changes.push(Change::Order { order: order.id, event, status });
    }

    /// The slot of an order's hold, which is there until the order's payment is over.
    pub(crate) fn hold_of(&self, order_slot: u32) -> u32 {
        let hold = self.orders.slab[order_slot].hold;
        match self.holds.slot(hold) {
            Some(slot) => slot,
            None => panic!("an unfinished order has lost its hold"),
        }
    }

    fn drop_fence(&mut self, order_slot: u32) {
        let order = &mut self.orders.slab[order_slot];
        let fence = (order.fence_until_ms, order.id, order_slot);
        let was_there = self.events[order.event as usize].clock.fences.remove(&fence);
        assert!(was_there, "an undecided order has no fence");
        order.fence_until_ms = 0;
    }

    /// An order stored just now takes its hold's seats: for good, or for as long as its payment is
    /// undecided.
    pub(crate) fn start_order(&mut self, order: Order, changes: &mut Vec<Change>) -> u32 {
        let (event_slot, hold_id, fence) = (order.event, order.hold, order.fence_until_ms);
        let (id, status, places) = (order.id, order.status, order.places.len());
        let (email, card) = (order.email, order.card);
        let order_slot = self.orders.insert(order);
        let hold_slot = match self.holds.slot(hold_id) {
            Some(slot) => slot,
            None => panic!("an order without a hold"),
        };
        self.holds.slab[hold_slot].set_order(order_slot);
        let event = &mut self.events[event_slot as usize];
        event.clock.live -= 1;
        buyer_limit::add(&mut event.emails, email, places);
        buyer_limit::add(&mut event.cards, card, places);
        if status.is_undecided() {
            self.holds.set_state(hold_slot, HoldState::InCheckout);
            let event = &mut self.events[event_slot as usize];
            event.clock.fences.insert((fence, id, order_slot));
            let hold = self.holds.at(hold_slot);
            let until = fence.max(hold.expires_at_ms());
            announce(event, &hold.places(), SeatState::Held, key_tag(hold.key), until, changes);
            self.set_status(order_slot, status, changes);
            self.add_job(order_slot, JobKind::Authorise, 0, 0);
            self.reschedule(event_slot);
        } else {
            self.sell_places(order_slot, hold_slot, changes);
            self.add_job(order_slot, JobKind::Issue, 0, 0);
        }
        order_slot
    }

    fn sell_places(&mut self, order_slot: u32, hold_slot: u32, changes: &mut Vec<Change>) {
        self.holds.set_state(hold_slot, HoldState::Sold);
        let hold = self.holds.at(hold_slot);
        let event = &mut self.events[hold.event() as usize];
        let (held, sold) = ((SeatState::Held, hold_slot), (SeatState::Sold, order_slot));
        event.count_sold(hold.channel(), hold.places().len(), true);
        event.transition(&hold.places(), held, sold);
        if let Some(hoarding) = &mut event.hoarding {
            hoarding.subtract(&hold);
        }
        announce(event, &hold.places(), SeatState::Sold, key_tag(hold.key), 0, changes);
        self.set_status(order_slot, OrderStatus::Sold, changes);
    }

    /// The money is reserved: the one irreversible step.
    pub(crate) fn sell_authorised(&mut self, order_slot: u32, changes: &mut Vec<Change>) {
        let hold_slot = self.hold_of(order_slot);
        assert!(
            self.holds.slab[hold_slot].state() == HoldState::InCheckout,
            "only a hold in checkout can be sold by its payment"
        );
        self.drop_fence(order_slot);
        self.orders.slab[order_slot].next_action_url = None;
        self.sell_places(order_slot, hold_slot, changes);
        self.add_job(order_slot, JobKind::Capture, 0, 0);
    }

    /// An undecided order is over. Its hold lives on until its own expiry, or ends now.
    pub(crate) fn fail_undecided(
        &mut self,
        order_slot: u32,
        code: FailureCode,
        reason: &str,
        changes: &mut Vec<Change>,
    ) {
        let hold_slot = self.hold_of(order_slot);
        let fence_ms = self.orders.slab[order_slot].fence_until_ms;
        self.drop_fence(order_slot);
        self.fail(order_slot, code, reason, changes);
        self.holds.clear_order(hold_slot);
        let hold = self.holds.at(hold_slot);
        if hold.expires_at_ms() <= self.log_time_ms {
            // However late the log time is that ends it.
            let until_ms = self.log_time_ms.min(fence_ms.max(hold.expires_at_ms()));
            self.end_hold(hold_slot, (HoldState::Expired, until_ms), changes);
            return;
        }
        let (event_slot, ttl_ms, until) = (hold.event(), hold.terms.ttl_ms, hold.expires_at_ms());
        self.holds.set_state(hold_slot, HoldState::Live);
        let event = &mut self.events[event_slot as usize];
        event.clock.live += 1;
        let hold = self.holds.at(hold_slot);
        announce(event, &hold.places(), SeatState::Held, key_tag(hold.key), until, changes);
        self.schedule_hold(hold_slot, ttl_ms);
    }

    fn fail(
        &mut self,
        order_slot: u32,
        code: FailureCode,
        reason: &str,
        changes: &mut Vec<Change>,
    ) {
        let order = &mut self.orders.slab[order_slot];
        order.failure = Some((code, reason.into()));
        order.next_action_url = None;
        let event = &mut self.events[order.event as usize];
        buyer_limit::subtract(&mut event.emails, order.email, order.places.len());
        buyer_limit::subtract(&mut event.cards, order.card, order.places.len());
        self.set_status(order_slot, OrderStatus::Failed, changes);
    }

    /// A timed out order's authorise job becomes a void job that knows how far it got.
    pub(crate) fn void_after_timeout(&mut self, order_slot: u32) {
        let job = self.orders.slab[order_slot].job.take().and_then(|id| self.jobs.remove(id));
        let (attempts, first) = job.map_or((0, 0), |job| (job.attempts, job.first_leased_at_ms));
        self.add_job(order_slot, JobKind::Void, attempts, first);
    }

    /// The reserved money was refused at the capture: nobody was told yes, the seats return.
    pub(crate) fn fail_sold(&mut self, order_slot: u32, reason: &str, changes: &mut Vec<Change>) {
        let hold_slot = self.hold_of(order_slot);
        let order = &self.orders.slab[order_slot];
        let event = &mut self.events[order.event as usize];
        event.count_sold(order.channel, order.places.len(), false);
        event.count_channel(order.channel, &order.places, false);
        give_back(event, &order.places, (SeatState::Sold, order_slot), changes);
        event.count_deals(&order.places, &order.deals, false);
        if let Some(code) = self.holds.slab[hold_slot].code() {
            event.codes.count(code, false);
        }
        buyer_limit::subtract(&mut event.buyers, order.buyer, order.places.len());
        self.fail(order_slot, FailureCode::CaptureRefused, reason, changes);
        self.holds.clear_order(hold_slot);
        self.holds.set_state(hold_slot, HoldState::Expired);
        self.finish_hold(hold_slot);
        self.add_job(order_slot, JobKind::Void, 0, 0);
    }

    /// Paid and ticketed; or, once it was, ticketed again.
    pub(crate) fn confirm(
        &mut self,
        order_slot: u32,
        signing_key: u32,
        signatures: &[[u8; 64]],
        changes: &mut Vec<Change>,
    ) {
        let order = &mut self.orders.slab[order_slot];
        let again = order.status == OrderStatus::Confirmed;
        order.sign(signing_key, signatures);
        self.set_status(order_slot, OrderStatus::Confirmed, changes);
        if !again {
            self.finish_hold(self.hold_of(order_slot));
        }
    }
}
