//! Owns what a place costs by its ticket type and by how many were dealt before, and how many
//! places of each kind may be gone at once.
//!
//! Counts are those of the places that are held or sold now: a place that comes back makes its
//! tier and its quotas roomier again. What was taken before an event had its first types has none
//! of them: it counts against no quota that names types, and its tickets say none.
//!
//! Must never change a price that was dealt.

use crate::{
    command::{Offer, PriceLine, Quota},
    event::{EventState, PlaceRef},
    ids::{CategoryNo, LogTimeMs, NO_TYPE, SectionNo, TypeNo},
    outcome::{Place, QuotaTaken, Rejection},
    shard::Shard,
    wishes::Terms,
};

/// What was agreed about one place when it was held; it stays for the order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deal {
    pub(crate) price_minor: u64,
    pub(crate) ticket_type: TypeNo,
    /// Which tier of its price line it took, from 1; 0 is the line's own price.
    pub(crate) tier: u16,
}

/// The deals of a hold's or an order's places, in their order; `None` where each place is a plain
/// one at its category's price.
pub(crate) type Deals = Option<Box<[Deal]>>;

/// The offer in force and how much of it is taken.
#[derive(Debug)]
pub(crate) struct OfferState {
    pub(crate) offer: Offer,
    /// By line and tier.
    tiers: Vec<Box<[u32]>>,
    /// By quota.
    quotas: Vec<u32>,
}

impl OfferState {
    pub(crate) fn new(offer: Offer) -> Self {
        let tiers = offer.lines.iter().map(|line| vec![0; line.tiers.len()].into()).collect();
        let quotas = vec![0; offer.quotas.len()];
        Self { offer, tiers, quotas }
    }

    /// The quotas, and how much of each is taken.
    pub(crate) fn quotas(&self) -> impl Iterator<Item = (&Quota, u32)> {
        self.offer.quotas.iter().zip(self.quotas.iter().copied())
    }

    /// Where a type's price of a category stands: in a line of its own, or the category's.
    fn line(&self, category: CategoryNo, ticket_type: TypeNo) -> Option<usize> {
        let find = |ticket_type| {
            let place = |line: &PriceLine| (line.category, line.ticket_type);
            self.offer.lines.binary_search_by_key(&(category, ticket_type), place).ok()
        };
        find(Some(ticket_type)).or_else(|| find(None))
    }

    /// The first tier still open, else the line's price; `place` has its category's.
    fn deal(&self, place: &Place, ticket_type: TypeNo, now: LogTimeMs) -> Deal {
        let Some(at) = self.line(place.category, ticket_type) else {
            return Deal { price_minor: place.price_minor, ticket_type, tier: 0 };
        };
        let line = &self.offer.lines[at];
        let open = line.tiers.iter().zip(&self.tiers[at]).position(|(tier, &taken)| {
            tier.count.is_none_or(|count| taken < count)
                && tier.until_ms.is_none_or(|until_ms| now < until_ms)
        });
        match open {
            Some(nth) => {
                let price_minor = line.tiers[nth].price_minor;
                Deal { price_minor, ticket_type, tier: nth as u16 + 1 }
            }
            None => Deal { price_minor: line.price_minor, ticket_type, tier: 0 },
        }
    }

    /// What a place of a category costs now; the dearest of the types.
    fn price_now(&self, plain: Place, types: &[TypeNo], now: LogTimeMs) -> u64 {
        let types = if types.is_empty() { &[0] } else { types };
        let prices = types.iter().map(|&no| self.deal(&plain, no, now).price_minor);
        prices.max().unwrap_or(plain.price_minor)
    }

    /// What a place costs when no tier is open; `place` has its category's price.
    pub(crate) fn price_minor(&self, place: &Place, ticket_type: TypeNo) -> u64 {
        let line = self.line(place.category, ticket_type);
        line.map_or(place.price_minor, |at| self.offer.lines[at].price_minor)
    }

    /// Refuses a move into a quota that has no room.
    pub(crate) fn check_move(
        &self,
        from: &Place,
        to: &Place,
        ticket_type: TypeNo,
    ) -> Result<(), Rejection> {
        let full = self.offer.quotas.iter().zip(&self.quotas).find(|(quota, taken)| {
            let counts = |place: &Place| quota.counts(place.section, place.category, ticket_type);
            counts(to) && !counts(from) && **taken >= quota.size
        });
        full.map_or(Ok(()), |(quota, _)| {
            Err(Rejection::QuotaExhausted { quota: quota.key.clone() })
        })
    }

    fn count(&mut self, place: &Place, deal: Deal, comes: bool) {
        let shift = |count: &mut u32| {
            *count = if comes { *count + 1 } else { *count - 1 };
        };
        // A line may have had more tiers when the place was held.
        if let Some(line) = self.line(place.category, deal.ticket_type)
            && let Some(nth) = usize::from(deal.tier).checked_sub(1)
            && let Some(taken) = self.tiers[line].get_mut(nth)
        {
            shift(taken);
        }
        for (quota, taken) in self.offer.quotas.iter().zip(&mut self.quotas) {
            if quota.counts(place.section, place.category, deal.ticket_type) {
                shift(taken);
            }
        }
    }

    /// Refuses what a quota has no room for; the first one says so.
    fn check_quotas(&self, places: &[Place], types: &[TypeNo]) -> Result<(), Rejection> {
        for (quota, &taken) in self.offer.quotas.iter().zip(&self.quotas) {
            let wanted = places.iter().enumerate().filter(|&(at, place)| {
                let ticket_type = types.get(at).copied().unwrap_or(0);
                quota.counts(place.section, place.category, ticket_type)
            });
            if u64::from(taken) + wanted.count() as u64 > quota.size.into() {
                return Err(Rejection::QuotaExhausted { quota: quota.key.clone() });
            }
        }
        Ok(())
    }

    /// The quotas of which more is taken than they have.
    pub(crate) fn overfull(&self) -> Vec<QuotaTaken> {
        let quotas = self.offer.quotas.iter().zip(&self.quotas);
        let over = quotas.filter(|(quota, taken)| **taken > quota.size);
        over.map(|(quota, &taken)| QuotaTaken { quota: quota.key.clone(), taken }).collect()
    }

    /// The same counts?
    pub(crate) fn counts_as(&self, other: &Self) -> bool {
        (&self.tiers, &self.quotas) == (&other.tiers, &other.quotas)
    }
}

impl EventState {
    /// Deals places that are picked and not yet held, in their order, and counts them; or refuses
    /// them all.
    #[cold]
    pub(crate) fn deal(
        &mut self,
        places: &[PlaceRef],
        types: &[TypeNo],
        now: LogTimeMs,
    ) -> Result<Deals, Rejection> {
        let plain = self.places(places, self.price_list());
        let Some(offer) = &mut self.offer else {
            return Ok(None);
        };
        offer.check_quotas(&plain, types)?;
        let deals = plain.iter().enumerate().map(|(at, place)| {
            let deal = offer.deal(place, types.get(at).copied().unwrap_or(0), now);
            offer.count(place, deal, true);
            deal
        });
        Ok(Some(deals.collect()))
    }

    /// What a buyer pays for a place of a section now; for the dearest of the types asked for.
    pub(crate) fn price_now(&self, no: SectionNo, terms: Terms<'_>) -> u64 {
        let plain = self.place(PlaceRef::area(no), self.price_list());
        let price_minor = match &self.offer {
            Some(offer) => offer.price_now(plain, terms.types, terms.now),
            None => plain.price_minor,
        };
        // A voucher never turns two prices' order around.
        terms.code.map_or(price_minor, |code| code.price_of(plain.category, price_minor))
    }

    /// Counts a hold's or an order's places, as they come or as they go.
    pub(crate) fn count_deals(&mut self, places: &[PlaceRef], deals: &Deals, comes: bool) {
        if let Some(mut offer) = self.offer.take() {
            self.count_in(&mut offer, places, deals, comes);
            self.offer = Some(offer);
        }
    }

    pub(crate) fn count_in(
        &self,
        offer: &mut OfferState,
        places: &[PlaceRef],
        deals: &Deals,
        comes: bool,
    ) {
        for (at, place) in self.places(places, self.price_list()).iter().enumerate() {
            let deal = deals.as_ref().and_then(|deals| deals.get(at)).copied();
            offer.count(place, deal.unwrap_or_default(), comes);
        }
    }

    /// Places as they were dealt.
    pub(crate) fn dealt_places(
        &self,
        places: &[PlaceRef],
        price_list: u16,
        deals: &Deals,
    ) -> smallvec::SmallVec<[Place; 4]> {
        let mut full = self.places(places, price_list);
        for (place, deal) in full.iter_mut().zip(deals.iter().flatten()) {
            place.price_minor = deal.price_minor;
            place.ticket_type = deal.ticket_type;
        }
        full
    }

    /// The same deals of places that have no type, for an event that gets its first ones.
    fn untyped(&self, places: &[PlaceRef], price_list: u16, deals: &Deals) -> Deals {
        let dealt = self.dealt_places(places, price_list, deals);
        let deal = |(at, place): (usize, &Place)| {
            let tier = deals.as_ref().and_then(|deals| deals.get(at)).map_or(0, |deal| deal.tier);
            Deal { price_minor: place.price_minor, ticket_type: NO_TYPE, tier }
        };
        Some(dealt.iter().enumerate().map(deal).collect())
    }

    /// What places cost together, as they were dealt.
    pub(crate) fn total_minor(&self, places: &[PlaceRef], list: u16, deals: &Deals) -> u64 {
        match deals {
            Some(deals) => deals.iter().map(|deal| deal.price_minor).sum(),
            None => self.places(places, list).iter().map(|place| place.price_minor).sum(),
        }
    }
}

impl Shard {
    /// An offer with the counts of all that is held and sold of an event. Visits every hold and
    /// order, as the two below: for changes by the organizer only.
    pub(crate) fn recount_offer(&self, event_slot: u32, offer: &Offer) -> OfferState {
        self.count_taken(event_slot, offer, |_, _, deals| deals.clone())
    }

    /// The same for the offer with which an event gets its first ticket types.
    pub(crate) fn count_untyped(&self, event_slot: u32, offer: &Offer) -> OfferState {
        let event = &self.events[event_slot as usize];
        self.count_taken(event_slot, offer, |places, list, deals| {
            event.untyped(places, list, deals)
        })
    }

    fn count_taken(
        &self,
        event_slot: u32,
        offer: &Offer,
        deals: impl Fn(&[PlaceRef], u16, &Deals) -> Deals,
    ) -> OfferState {
        let mut counted = OfferState::new(offer.clone());
        let event = &self.events[event_slot as usize];
        let holds = self.holds.iter().map(|(_, hold)| hold);
        for hold in holds.filter(|hold| hold.event() == event_slot && hold.state().has_seats()) {
            let deals = deals(&hold.places(), hold.price_list(), hold.deals());
            event.count_in(&mut counted, &hold.places(), &deals, true);
        }
        let orders = self.orders.slab.iter().map(|(_, order)| order);
        for order in orders.filter(|o| o.event == event_slot && o.status.has_seats()) {
            let deals = deals(&order.places, order.price_list, &order.deals);
            event.count_in(&mut counted, &order.places, &deals, true);
        }
        counted
    }

    /// Writes down that what is taken of an event, or was, has none of the types that it gets now.
    pub(crate) fn leave_untyped(&mut self, event_slot: u32) {
        let event = &self.events[event_slot as usize];
        let holds = self.holds.iter().filter(|(_, hold)| hold.event() == event_slot);
        let holds: Vec<u32> = holds.map(|(slot, _)| slot).collect();
        for slot in holds {
            let hold = self.holds.at(slot);
            let deals = event.untyped(&hold.places(), hold.price_list(), hold.deals());
            self.holds.slab[slot].set_deals(deals);
        }
        let orders = self.orders.slab.iter().filter(|(_, order)| order.event == event_slot);
        let orders: Vec<u32> = orders.map(|(slot, _)| slot).collect();
        for slot in orders {
            let order = &mut self.orders.slab[slot];
            order.deals = event.untyped(&order.places, order.price_list, &order.deals);
        }
    }
}
