//! Orders and their jobs.

use std::collections::{BTreeMap, BTreeSet};

use onsale_state::{
    command::{BeginCheckout, Idempotency, JobResult, LeaseJobs, SellOverTheCounter, SettleJob},
    *,
};

use super::{Answer, HOUR, Naive, NaiveJob, NaiveKey, NaiveOrder, invalid, undecided};

/// The number of the ticket that is made as the `nth` of its order, from 0.
pub fn number_of(nth: usize) -> u16 {
    nth as u16 + 1
}

impl Naive {
    fn replay(&self, key: &Idempotency, counter: bool) -> Option<Answer> {
        let known = self.keys.get(&key.key)?;
        let same = known.request == key.request
            && match known.answer {
                Done::Sold { .. } => counter,
                Done::CheckoutBegun { .. } => !counter,
                _ => false,
            };
        Some(match same {
            true => (true, Ok(known.answer.clone())),
            false => (false, Err(Rejection::IdempotencyKeyReused)),
        })
    }

    pub(super) fn checkout(&mut self, asked: &BeginCheckout) -> Answer {
        if let Some(answer) = self.replay(&asked.idempotency, false) {
            return answer;
        }
        let done = Done::CheckoutBegun { order: asked.order };
        (false, self.sell(asked.hold, asked.order, &asked.idempotency, Some(asked), done))
    }

    pub(super) fn counter(&mut self, asked: &SellOverTheCounter) -> Answer {
        if let Some(answer) = self.replay(&asked.idempotency, true) {
            return answer;
        }
        let done = Done::Sold { order: asked.order };
        (false, self.sell(asked.hold, asked.order, &asked.idempotency, None, done))
    }

    fn may_sell(
        &self,
        hold_id: HoldId,
        order_id: OrderId,
        checkout: Option<&BeginCheckout>,
    ) -> Result<(), Rejection> {
        if self.keys.len() >= self.limits.dedup_entries_max as usize {
            return Err(Rejection::Overloaded { bound: "dedup_entries_max" });
        }
        if self.orders.len() >= self.limits.orders_max as usize {
            return Err(Rejection::Overloaded { bound: "orders_max" });
        }
        let Some(hold) = self.holds.get(&hold_id.0) else {
            return Err(Rejection::NotFound { what: "hold" });
        };
        if order_id.0 % 65536 != 0 || self.orders.contains_key(&order_id.0) {
            return invalid("order");
        }
        let method = checkout.map_or("", |checkout| &checkout.payment_method);
        let free = hold.answer.places.iter().all(|place| place.price_minor == 0);
        if checkout.is_some() && (method.len() > 255 || (method.is_empty() && !free)) {
            return invalid("payment_method");
        }
        match hold.state {
            HoldState::Live => {}
            HoldState::InCheckout => return Err(Rejection::HoldInCheckout),
            _ => return Err(Rejection::HoldExpired),
        }
        let n = hold.answer.places.len();
        let max = self.events[&hold.event].open.rules.seats_per_buyer_max;
        let email = checkout.map_or(0, |checkout| checkout.email);
        let card = checkout.and_then(|checkout| checkout.card).unwrap_or(0);
        let by_email = self.seats_by(hold.event, |order| order.email == email);
        let by_card = self.seats_by(hold.event, |order| order.card == card);
        let too_many = |buyer: u64, has: usize| buyer != 0 && has + n > max.into();
        if max > 0 && (too_many(email, by_email) || too_many(card, by_card)) {
            return Err(Rejection::BuyerLimitReached { seats_max: max });
        }
        Ok(())
    }

    fn sell(
        &mut self,
        hold_id: HoldId,
        order_id: OrderId,
        key: &Idempotency,
        checkout: Option<&BeginCheckout>,
        done: Done,
    ) -> Result<Done, Rejection> {
        self.may_sell(hold_id, order_id, checkout)?;
        let hold = &self.holds[&hold_id.0];
        let total: u64 = hold.answer.places.iter().map(|place| place.price_minor).sum();
        let pay = checkout.is_some() && total > 0;
        let order = NaiveOrder {
            event: hold.event,
            hold: hold_id.0,
            hold_key: hold.key,
            channel: hold.channel,
            buyer: hold.buyer,
            email: checkout.map_or(0, |checkout| checkout.email),
            card: checkout.and_then(|checkout| checkout.card).unwrap_or(0),
            status: if pay { OrderStatus::Processing } else { OrderStatus::Sold },
            failure: None,
            places: hold.answer.places.to_vec(),
            tiers: hold.tiers.clone(),
            fence: if pay { self.now + self.limits.payment_fence_max_ms } else { 0 },
            created: self.now,
            method: checkout.map_or(String::new(), |c| c.payment_method.to_string()),
            intent: None,
            url: None,
            signatures: Vec::new(),
            signing_key: 0,
            contact: checkout.map(|checkout| checkout.contact.clone()),
            price_list: hold.price_list.clone(),
            numbers: (0..hold.answer.places.len()).map(number_of).collect(),
            unsigned: BTreeSet::new(),
            moved: Vec::new(),
            holders: BTreeMap::new(),
        };
        self.orders.insert(order_id.0, order);
        let hold = self.holds.get_mut(&hold_id.0).expect("hold");
        hold.state = if pay { HoldState::InCheckout } else { HoldState::Sold };
        hold.order = Some(order_id.0);
        self.add_job(order_id.0, if pay { JobKind::Authorise } else { JobKind::Issue }, 0, 0);
        let forget_at = Some(self.now + 24 * HOUR);
        let (request, buyer) = (key.request, key.buyer);
        self.keys.insert(
            key.key,
            NaiveKey { request, buyer, answer: done.clone(), forget_at, staff: false },
        );
        Ok(done)
    }

    pub(super) fn add_job(&mut self, order: u128, kind: JobKind, attempts: u32, first: u64) {
        self.last_job += 1;
        let not_before = self.now;
        let job = NaiveJob { kind, order, not_before, lease: 0, lease_until: 0, attempts, first };
        self.jobs.insert(self.last_job, job);
    }

    /// An undecided order is over; its hold goes on or ends.
    fn fail(&mut self, id: u128, code: &'static str, reason: &str) {
        let order = self.orders.get_mut(&id).expect("order");
        order.status = OrderStatus::Failed;
        order.failure = Some((code, reason.to_owned()));
        order.url = None;
        let fence = std::mem::take(&mut order.fence);
        let hold_id = order.hold;
        let hold = self.holds.get_mut(&hold_id).expect("hold");
        hold.order = None;
        hold.state = HoldState::Live;
        if hold.expires_at_ms <= self.now {
            let until = self.now.min(fence.max(hold.expires_at_ms));
            self.spend(hold_id, until);
            self.end(hold_id, HoldState::Expired);
        }
    }

    pub(super) fn time_out(&mut self, id: u128) {
        self.fail(id, "payment_timeout", "");
        let old = self.jobs.iter().find(|(_, job)| job.order == id);
        let (&old, job) = old.expect("authorise job");
        let (attempts, first) = (job.attempts, job.first);
        self.jobs.remove(&old);
        self.add_job(id, JobKind::Void, attempts, first);
    }

    pub(super) fn lease(&mut self, asked: &LeaseJobs) -> Answer {
        if asked.lease == 0 {
            return (false, invalid("lease"));
        }
        if !(1..=64).contains(&asked.jobs_max) {
            return (false, invalid("jobs_max"));
        }
        if !(1..=HOUR as u32).contains(&asked.lease_ms) {
            return (false, invalid("lease_ms"));
        }
        let again: Vec<u64> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.lease == asked.lease && job.lease_until > self.now)
            .map(|(&id, _)| id)
            .collect();
        if !again.is_empty() {
            let jobs = again.iter().map(|&id| self.in_hand(id)).collect();
            return (true, Ok(Done::Leased(jobs)));
        }
        let mut due: Vec<(u64, u64)> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.due_at() <= self.now)
            .map(|(&id, job)| (job.due_at(), id))
            .collect();
        due.sort_unstable();
        due.truncate(asked.jobs_max.into());
        for (_, id) in &due {
            let job = self.jobs.get_mut(id).expect("job");
            job.lease = asked.lease;
            job.lease_until = self.now + u64::from(asked.lease_ms);
            job.attempts += 1;
            if job.first == 0 {
                job.first = self.now;
            }
        }
        (false, Ok(Done::Leased(due.iter().map(|&(_, id)| self.in_hand(id)).collect())))
    }

    fn in_hand(&self, id: u64) -> LeasedJob {
        let job = &self.jobs[&id];
        let order = &self.orders[&job.order];
        LeasedJob {
            job: JobId(id),
            kind: job.kind,
            order: OrderId(job.order),
            event: order.event,
            amount_minor: order.places.iter().map(|place| place.price_minor).sum(),
            currency: self.events[&order.event].open.currency,
            payment_method: order.method.as_str().into(),
            payment_intent: order.intent.as_deref().map(Into::into),
            attempts: job.attempts - 1,
            first_leased_at_ms: job.first,
            places: order.places.iter().copied().collect(),
            tickets: order.numbers.iter().copied().collect(),
        }
    }

    pub(super) fn wake(&mut self, order: u128) -> Answer {
        if !self.orders.contains_key(&order) {
            return (false, Err(Rejection::NotFound { what: "order" }));
        }
        for job in self.jobs.values_mut() {
            if job.order == order && job.lease == 0 && job.not_before > self.now {
                job.not_before = self.now;
            }
        }
        (false, Ok(Done::Ok))
    }

    pub(super) fn settle(&mut self, report: &SettleJob) -> Answer {
        let id = report.job.0;
        let job = self.jobs.get(&id).cloned();
        let in_hand = job.as_ref().is_some_and(|job| job.lease == report.lease);
        if let Some((lease, result, order)) = self.reports.get(&id)
            && !in_hand
            && (*lease, result) == (report.lease, &report.result)
        {
            let (order, status) = (OrderId(*order), self.orders[order].status);
            return (true, Ok(Done::Settled { order, status }));
        }
        if id == 0 || id > self.last_job {
            return (false, Err(Rejection::NotFound { what: "job" }));
        }
        let Some(job) = job else {
            return (false, Err(Rejection::StaleLease));
        };
        let fits = match &report.result {
            JobResult::Authorised { .. }
            | JobResult::ActionRequired { .. }
            | JobResult::Declined { .. } => job.kind == JobKind::Authorise,
            JobResult::Captured { .. } | JobResult::CaptureRefused { .. } => {
                job.kind == JobKind::Capture
            }
            JobResult::Issued { .. } => job.kind == JobKind::Issue,
            JobResult::Voided => job.kind == JobKind::Void,
            JobResult::Retry { .. } => true,
        };
        if !fits {
            return (false, invalid("result"));
        }
        if let JobResult::Captured { signatures, .. } | JobResult::Issued { signatures, .. } =
            &report.result
            && signatures.len() != self.orders[&job.order].places.len()
        {
            return (false, invalid("signatures"));
        }
        if job.lease == 0 || job.lease != report.lease {
            return (false, Err(Rejection::StaleLease));
        }
        self.report(id, &job, &report.result);
        self.reports.insert(id, (report.lease, report.result.clone(), job.order));
        let (order, status) = (OrderId(job.order), self.orders[&job.order].status);
        (false, Ok(Done::Settled { order, status }))
    }

    fn report(&mut self, id: u64, job: &NaiveJob, result: &JobResult) {
        let now = self.now;
        let wait = |jobs: &mut BTreeMap<u64, NaiveJob>, ms: u32| {
            let job = jobs.get_mut(&id).expect("job");
            (job.lease, job.lease_until) = (0, 0);
            job.not_before = now + u64::from(ms);
        };
        let order = self.orders.get_mut(&job.order).expect("order");
        match result {
            JobResult::Retry { after_ms } => return wait(&mut self.jobs, *after_ms),
            JobResult::ActionRequired { payment_intent, next_action_url, poll_after_ms } => {
                order.intent = Some(payment_intent.to_string());
                order.url = Some(next_action_url.to_string());
                order.status = OrderStatus::ActionRequired;
                return wait(&mut self.jobs, *poll_after_ms);
            }
            _ => {}
        }
        self.jobs.remove(&id);
        let hold_id = order.hold;
        match result {
            JobResult::Authorised { payment_intent } => {
                assert!(undecided(order.status));
                order.intent = Some(payment_intent.to_string());
                order.url = None;
                order.fence = 0;
                order.status = OrderStatus::Sold;
                self.holds.get_mut(&hold_id).expect("hold").state = HoldState::Sold;
                self.add_job(job.order, JobKind::Capture, 0, 0);
            }
            JobResult::Declined { payment_intent, reason } => {
                if let Some(intent) = payment_intent {
                    order.intent = Some(intent.to_string());
                }
                self.fail(job.order, "payment_declined", reason);
            }
            JobResult::Captured { signing_key, signatures }
            | JobResult::Issued { signing_key, signatures } => {
                let again = order.status == OrderStatus::Confirmed;
                order.status = OrderStatus::Confirmed;
                order.unsigned.clear();
                order.signing_key = *signing_key;
                order.signatures = signatures.clone();
                if !again {
                    self.end(hold_id, HoldState::Sold);
                }
            }
            JobResult::CaptureRefused { reason } => {
                order.status = OrderStatus::Failed;
                order.failure = Some(("capture_refused", reason.to_string()));
                self.holds.get_mut(&hold_id).expect("hold").order = None;
                self.end(hold_id, HoldState::Expired);
                self.add_job(job.order, JobKind::Void, 0, 0);
            }
            _ => {}
        }
    }
}
