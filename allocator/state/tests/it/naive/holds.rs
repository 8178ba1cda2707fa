//! Holds, released and extended.

use std::collections::BTreeSet;

use onsale_state::{
    command::{ExtendHold, Hold, HoldItem, Wish},
    *,
};

use super::{Answer, Naive, NaiveHold, NaiveKey, invalid, places::has_seats, undecided};

fn field(at: usize, name: &str) -> &'static str {
    format!("items/{at}/{name}").leak()
}

impl Naive {
    pub(super) fn hold(&mut self, asked: &Hold) -> Answer {
        let key = &asked.idempotency;
        if let Some(known) = self.keys.get(&key.key) {
            let same = known.request == key.request
                && (key.buyer_is_new || key.buyer == known.buyer)
                && matches!(known.answer, Done::Held(_));
            return match same {
                true => (true, Ok(known.answer.clone())),
                false => (false, Err(Rejection::IdempotencyKeyReused)),
            };
        }
        (false, self.new_hold(asked).map(Done::Held))
    }

    fn new_hold(&mut self, asked: &Hold) -> Result<Held, Rejection> {
        if self.keys.len() >= self.limits.dedup_entries_max as usize {
            return Err(Rejection::Overloaded { bound: "dedup_entries_max" });
        }
        let alive =
            |hold: &&NaiveHold| matches!(hold.state, HoldState::Live | HoldState::InCheckout);
        if self.holds.values().filter(alive).count() >= self.limits.holds_max as usize {
            return Err(Rejection::Overloaded { bound: "holds_max" });
        }
        let Some(event) = self.events.get(&asked.event) else {
            return Err(Rejection::NotFound { what: "event" });
        };
        if self.holds.contains_key(&asked.hold.0) {
            return invalid("hold");
        }
        let wanted = self.check_items(asked)?;
        let types = asked.terms.as_ref().map_or(&[][..], |terms| &terms.types);
        self.check_types(asked.event, types, wanted)?;
        self.channel_of(asked)?;
        let code = asked.terms.as_ref().and_then(|terms| terms.code);
        let open = &event.open;
        let terms = code.map(|code| self.check_code(asked.event, code)).transpose()?;
        let presale = terms.is_some_and(|terms| terms.effect == command::CodeEffect::Presale);
        if self.now < open.onsale_at_ms && !presale {
            return Err(Rejection::NotOnSale { onsale_at_ms: open.onsale_at_ms });
        }
        let buyer = asked.idempotency.buyer;
        let max = open.rules.seats_per_buyer_max;
        if max > 0 && buyer > 0 && self.seats_of(asked.event, buyer) + wanted > max.into() {
            return Err(Rejection::BuyerLimitReached { seats_max: max });
        }
        self.check_hoarding(asked.event, buyer, true)?;
        self.check_companions(asked)?;
        let settled = self.chosen.take();
        let mut places = match settled {
            Some(places) => places,
            None => self.choose(asked)?,
        };
        let tiers = self.deal(asked.event, &mut places, types)?;
        if let Some(code) = code {
            self.redeem(asked.event, code, &mut places)?;
        }
        if !self.within_limits(asked, &places) {
            let held_may_return_at_ms = self.may_return(asked.event);
            return Err(Rejection::SoldOut { held_may_return_at_ms });
        }
        if let Some(code) = code {
            self.use_code(asked.event, code);
        }
        Ok(self.grant(asked, places, tiers))
    }

    /// Does no place cost more than its wish allows?
    pub(super) fn within_limits(&self, asked: &Hold, places: &[Place]) -> bool {
        let mut rest = places;
        asked.items.iter().all(|item| {
            let (size, max) = match item {
                HoldItem::Seats(seats) => (seats.len(), None),
                HoldItem::BestAvailable(wish) => {
                    (usize::from(wish.quantity + wish.companions), wish.price_max_minor)
                }
            };
            let (its, others) = rest.split_at(size);
            rest = others;
            its.iter().all(|place| max.is_none_or(|max| place.price_minor <= max))
        })
    }

    pub(super) fn grant(
        &mut self,
        asked: &Hold,
        places: smallvec::SmallVec<[Place; 4]>,
        tiers: Vec<u16>,
    ) -> Held {
        let ttl_ms = self.events[&asked.event].open.rules.hold_ttl_ms;
        let expires_at_ms = self.now + u64::from(ttl_ms);
        let held = Held { hold: asked.hold, held_at_ms: self.now, expires_at_ms, places };
        let hold = NaiveHold {
            channel: self.channel_of(asked).expect("it was admitted"),
            event: asked.event,
            key: asked.idempotency.key,
            buyer: asked.idempotency.buyer,
            state: HoldState::Live,
            answer: held.clone(),
            code: asked.terms.as_ref().and_then(|terms| terms.code),
            tiers,
            expires_at_ms,
            extensions: 0,
            order: None,
            price_list: self.events[&asked.event].open.prices_minor.clone(),
        };
        self.holds.insert(asked.hold.0, hold);
        let (request, answer) = (asked.idempotency.request, Done::Held(held.clone()));
        let buyer = asked.idempotency.buyer;
        let entry = NaiveKey { request, buyer, answer, forget_at: None, staff: false };
        self.keys.insert(asked.idempotency.key, entry);
        held
    }

    fn check_items(&self, asked: &Hold) -> Result<usize, Rejection> {
        let event = &self.events[&asked.event];
        if asked.items.is_empty() || asked.items.len() > 16 {
            return invalid("items");
        }
        let mut wanted = 0;
        for (at, item) in asked.items.iter().enumerate() {
            match item {
                HoldItem::Seats(seats) if seats.is_empty() => return invalid(field(at, "seats")),
                HoldItem::Seats(seats) => wanted += seats.len(),
                HoldItem::BestAvailable(Wish { quantity: 0, .. }) => {
                    return invalid(field(at, "quantity"));
                }
                HoldItem::BestAvailable(wish) => {
                    wanted += usize::from(wish.quantity) + usize::from(wish.companions);
                }
            }
        }
        if wanted > event.open.rules.seats_per_order_max.into() {
            return invalid("items");
        }
        let mut named = BTreeSet::new();
        for (at, item) in asked.items.iter().enumerate() {
            match item {
                HoldItem::Seats(seats) => {
                    for &seat in seats {
                        if seat as usize >= event.seats.len() || !named.insert(seat) {
                            return invalid(field(at, "seats"));
                        }
                    }
                }
                HoldItem::BestAvailable(wish) => {
                    let Wish { category, section, .. } = wish;
                    let open = &event.open;
                    let categories = open.prices_minor.len();
                    if category.is_some_and(|c| usize::from(c) >= categories) {
                        return invalid(field(at, "category"));
                    }
                    if section.is_some_and(|s| usize::from(s) >= open.sections.len()) {
                        return invalid(field(at, "section"));
                    }
                    if let (Some(category), Some(section)) = (category, section)
                        && open.sections[usize::from(*section)].category != *category
                    {
                        return invalid(field(at, "category"));
                    }
                    let of = |c: u16| open.sections.iter().any(|section| section.category == c);
                    if category.is_some_and(|category| !of(category)) {
                        return invalid(field(at, "category"));
                    }
                    let (_, areas) = self.sections(asked.event, wish, (&[], None));
                    if wish.companions > 0 && (areas || !wish.accessible) {
                        return invalid(field(at, "companions"));
                    }
                }
            }
        }
        Ok(wanted)
    }

    /// When the first hold ends if nothing is done; one in checkout with its payment's time.
    pub(super) fn may_return(&self, event: u32) -> Option<u64> {
        let live = self
            .holds
            .values()
            .filter(|hold| hold.event == event && hold.state == HoldState::Live)
            .map(|hold| hold.expires_at_ms);
        let fenced = self
            .orders
            .values()
            .filter(|order| order.event == event && undecided(order.status))
            .map(|order| order.fence);
        live.chain(fenced).chain(self.releases(event)).min()
    }

    /// Companion seats are named with an accessible seat of their section.
    fn check_companions(&self, asked: &Hold) -> Result<(), Rejection> {
        let seats = &self.events[&asked.event].seats;
        let named = asked.items.iter().flat_map(|item| match item {
            HoldItem::Seats(seats) => seats.to_vec(),
            HoldItem::BestAvailable(_) => Vec::new(),
        });
        let named: BTreeSet<u32> = named.collect();
        let alone = named.iter().copied().filter(|&companion| {
            let companion = &seats[companion as usize];
            companion.kind == 2
                && !named.iter().any(|&seat| {
                    let seat = &seats[seat as usize];
                    seat.kind == 1 && seat.section == companion.section
                })
        });
        let seats: Vec<u32> = alone.collect();
        if seats.is_empty() { Ok(()) } else { Err(Rejection::CompanionWithoutAccessible { seats }) }
    }

    pub(super) fn release(&mut self, id: u128) -> Answer {
        match self.holds.get(&id).map(|hold| hold.state) {
            None => (false, Err(Rejection::NotFound { what: "hold" })),
            Some(HoldState::Released) => (true, Ok(Done::Ok)),
            Some(HoldState::InCheckout) => (false, Err(Rejection::HoldInCheckout)),
            Some(HoldState::Live) => {
                self.spend(id, self.now);
                self.end(id, HoldState::Released);
                (false, Ok(Done::Ok))
            }
            Some(HoldState::Sold | HoldState::Expired) => (false, Err(Rejection::HoldExpired)),
        }
    }

    pub(super) fn extend(&mut self, asked: &ExtendHold) -> Answer {
        if let Some(key) = &asked.idempotency
            && let Some(known) = self.keys.get(&key.key)
        {
            let its_own = matches!(known.answer, Done::Extended { hold, .. } if hold == asked.hold);
            return match its_own && known.request == key.request {
                true => (true, Ok(known.answer.clone())),
                false => (false, Err(Rejection::IdempotencyKeyReused)),
            };
        }
        match self.new_extension(asked) {
            Ok((repeat, done)) => (repeat, Ok(done)),
            Err(rejection) => (false, Err(rejection)),
        }
    }

    fn new_extension(&mut self, asked: &ExtendHold) -> Result<(bool, Done), Rejection> {
        let now = self.now;
        let full = self.keys.len() >= self.limits.dedup_entries_max as usize;
        if full && asked.idempotency.is_some() {
            return Err(Rejection::Overloaded { bound: "dedup_entries_max" });
        }
        let Some(hold) = self.holds.get(&asked.hold.0) else {
            return Err(Rejection::NotFound { what: "hold" });
        };
        if asked.extensions_seen > hold.extensions {
            return invalid("extensions_seen");
        }
        match hold.state {
            HoldState::Live => {}
            HoldState::InCheckout => return Err(Rejection::HoldInCheckout),
            _ => return Err(Rejection::HoldExpired),
        }
        let repeat = asked.extensions_seen < hold.extensions;
        let rules = self.events[&hold.event].open.rules;
        if !repeat {
            if hold.extensions >= rules.hold_extensions_max {
                return Err(Rejection::ExtensionLimitReached);
            }
            self.check_hoarding(hold.event, hold.buyer, false)?;
        }
        let hold = self.holds.get_mut(&asked.hold.0).expect("hold");
        if !repeat {
            hold.extensions += 1;
            hold.expires_at_ms = hold.expires_at_ms.max(now + u64::from(rules.hold_ttl_ms));
        }
        let done = Done::Extended {
            hold: asked.hold,
            expires_at_ms: hold.expires_at_ms,
            extensions: hold.extensions,
            extensions_max: rules.hold_extensions_max,
            extended_at_ms: now,
        };
        if let (Some(key), false) = (&asked.idempotency, repeat) {
            let (request, buyer, answer) = (key.request, key.buyer, done.clone());
            let entry = NaiveKey { request, buyer, answer, forget_at: None, staff: false };
            self.keys.insert(key.key, entry);
        }
        Ok((repeat, done))
    }

    pub fn seats_by(&self, event: u32, of: impl Fn(&super::NaiveOrder) -> bool) -> usize {
        let orders = self
            .orders
            .values()
            .filter(|o| o.event == event && (has_seats(o.status) || undecided(o.status)) && of(o));
        orders.map(|order| order.places.len()).sum()
    }
}
