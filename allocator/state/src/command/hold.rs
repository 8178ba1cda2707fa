//! `Hold`: seats for a limited time, all wishes or none.

use super::{Hold, HoldItem, HoldTerms, Idempotency, Wish};
use crate::{
    best_available::Shortage,
    buyer_limit,
    change::Change,
    codec::{Reader, Sink, put_opt_varint, put_u8, put_u64, put_u128, put_varint},
    dedup::KeyOwner,
    error::DecodeError,
    event::{EventState, PlaceRef, PlaceRefs},
    ids::{ChannelNo, CodeHash, HoldId, TypeNo},
    index::{Entry, Vacancy},
    offer::Deals,
    outcome::{Done, Held, Outcome, Rejection},
    shard::{Shard, key_tag},
    shared_terms::SharedTerms,
    wishes::{self, Refused, Terms},
};

/// What other commands would be granted before one, had they been applied.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Others {
    pub(crate) holds: usize,
    pub(crate) seats_of_buyer: usize,
    pub(crate) holds_of_buyer: usize,
}

/// What is known of a hold that may be granted, if there are seats; good until the state changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admitted {
    pub(crate) event_slot: u32,
    /// How many places.
    pub(crate) wanted: usize,
    id_at: Vacancy,
    buyer_at: Entry,
}

impl Idempotency {
    #[inline(always)]
    pub(crate) fn encode(&self, out: &mut impl Sink) {
        put_u128(out, self.key);
        put_u64(out, self.request);
        put_u64(out, self.buyer);
        put_u8(out, self.buyer_is_new.into());
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { key: r.u128()?, request: r.u64()?, buyer: r.u64()?, buyer_is_new: r.bool()? })
    }
}

impl Hold {
    pub(crate) fn names_channel(&self) -> bool {
        self.terms.as_ref().is_some_and(|terms| terms.channel.is_some())
    }

    /// Its places' ticket types; none where it says none.
    #[inline]
    pub(crate) fn types(&self) -> &[TypeNo] {
        self.terms.as_ref().map_or(&[], |terms| &terms.types)
    }

    /// The code that the buyer brought.
    #[inline]
    pub(crate) fn code(&self) -> Option<CodeHash> {
        self.terms.as_ref().and_then(|terms| terms.code)
    }

    /// Is it certain to fit a line?
    pub(super) fn is_short(&self) -> bool {
        matches!(self.items.as_slice(), [HoldItem::Seats(seats)] if seats.len() <= 8)
            && self.terms.is_none()
    }

    #[inline(always)]
    pub(super) fn encode(&self, out: &mut impl Sink) {
        put_varint(out, self.event.into());
        put_u128(out, self.hold.0);
        self.idempotency.encode(out);
        put_varint(out, (self.items.len() as u64) << 1 | u64::from(self.terms.is_some()));
        for item in &self.items {
            match item {
                HoldItem::Seats(seats) => {
                    put_u8(out, 0);
                    put_varint(out, seats.len() as u64);
                    for &seat in seats {
                        put_varint(out, seat.into());
                    }
                }
                HoldItem::BestAvailable(wish) => {
                    put_u8(out, 1);
                    wish.encode(out);
                }
            }
        }
        if let Some(terms) = &self.terms {
            terms.encode(out);
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let event = r.u32("event")?;
        let hold = HoldId(r.u128()?);
        let idempotency = Idempotency::decode(r)?;
        let (items, has_terms) = r.count_and_flag(2, "items")?;
        let items = (0..items).map(|_| decode_item(r)).collect::<Result<_, _>>()?;
        let terms = if has_terms { Some(Box::new(HoldTerms::decode(r)?)) } else { None };
        Ok(Self { event, hold, idempotency, items, terms })
    }
}

impl Wish {
    #[inline(always)]
    fn encode(&self, out: &mut impl Sink) {
        put_varint(out, self.quantity.into());
        put_opt_varint(out, self.category.map(u64::from));
        put_opt_varint(out, self.section.map(u64::from));
        put_opt_varint(out, self.price_max_minor);
        put_u8(out, self.accessible.into());
        put_varint(out, self.companions.into());
        put_u8(out, self.split.into());
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            quantity: r.u16("quantity")?,
            category: r.opt(|r| r.u16("category"))?,
            section: r.opt(|r| r.u16("section"))?,
            price_max_minor: r.opt(Reader::varint)?,
            accessible: r.bool()?,
            companions: r.u16("companions")?,
            split: r.bool()?,
        })
    }
}

fn decode_item(r: &mut Reader<'_>) -> Result<HoldItem, DecodeError> {
    match r.u8()? {
        0 => {
            let seats = r.count(usize::MAX, 1, "seats")?;
            let seats = (0..seats).map(|_| r.u32("a seat")).collect::<Result<_, _>>()?;
            Ok(HoldItem::Seats(seats))
        }
        1 => Ok(HoldItem::BestAvailable(Wish::decode(r)?)),
        _ => Err(DecodeError::Invalid { what: "an item's form" }),
    }
}

impl Shard {
    /// `chosen` are the places of a joint allotment, out of the stock already.
    #[inline(always)]
    pub(crate) fn hold_seats(
        &mut self,
        command: &Hold,
        chosen: Option<PlaceRefs>,
        (outcome, changes): (&mut Outcome, &mut Vec<Change>),
    ) {
        let is_chosen = chosen.is_some();
        let refused = match self.look_up_key(command.idempotency.key) {
            Ok(owner) => self.replay_hold(owner, &command.idempotency),
            Err(key_at) => match self.grant(command, chosen, key_at, (outcome, changes)) {
                Ok(()) => return,
                Err(rejection) => Outcome::rejected(rejection),
            },
        };
        assert!(!is_chosen, "seats were chosen for a hold that is not granted");
        *outcome = refused;
    }

    fn replay_hold(&self, owner: KeyOwner, asked: &Idempotency) -> Outcome {
        let KeyOwner::Hold(slot) = owner else {
            return Outcome::rejected(Rejection::IdempotencyKeyReused);
        };
        let hold = &self.holds.slab[slot];
        let same_buyer = asked.buyer_is_new || asked.buyer == hold.buyer;
        if hold.request != asked.request || !same_buyer {
            return Outcome::rejected(Rejection::IdempotencyKeyReused);
        }
        Outcome::replayed(Done::Held(self.held(slot)))
    }

    /// The answer that granted a hold, whatever became of it since.
    fn held(&self, slot: u32) -> Held {
        let hold = self.holds.at(slot);
        Held {
            hold: hold.id,
            held_at_ms: hold.held_at_ms(),
            expires_at_ms: hold.first_expires_at_ms(),
            places: self.events[hold.event() as usize].dealt_places(
                &hold.places(),
                hold.price_list(),
                hold.deals(),
            ),
        }
    }

    /// Everything that is checked before seats are chosen. `others` would be granted before.
    #[inline(always)]
    pub(crate) fn admit(&self, command: &Hold, others: &Others) -> Result<Admitted, Rejection> {
        self.check_key_room(others.holds)?;
        if self.holds.alive + others.holds >= self.limits.holds_max as usize {
            return Err(Rejection::Overloaded { bound: "holds_max" });
        }
        let event_slot = self.event_slot(command.event)?;
        let event = &self.events[event_slot as usize];
        let Some(id_at) = self.holds.vacancy(command.hold) else {
            return Err(Rejection::Invalid { field: "hold", reason: "is another hold's id" });
        };
        let wanted = wishes::validate(event, &command.items)?;
        let mut opens = self.log_time_ms >= event.onsale_at_ms;
        if let Some(terms) = &command.terms {
            check_types(event, &terms.types, wanted)?;
            channel_of(event, command)?;
            if let Some(code) = terms.code {
                opens |= event.admits(code, self.log_time_ms)?;
            }
        }
        if !opens {
            return Err(Rejection::NotOnSale { onsale_at_ms: event.onsale_at_ms });
        }
        let limit = event.rules.seats_per_buyer_max;
        let (buyer, seats) = (command.idempotency.buyer, wanted + others.seats_of_buyer);
        let buyer_at = event.buyers.entry(buyer);
        if buyer_limit::would_exceed(buyer_at.count, seats, limit) && buyer_at.is_somebody() {
            return Err(Rejection::BuyerLimitReached { seats_max: limit });
        }
        if let Some(hoarding) = &event.hoarding {
            let now = self.log_time_ms;
            hoarding.check_hold(&event.rules, buyer, others.holds_of_buyer, now)?;
        }
        wishes::check_companions(event, &command.items)?;
        Ok(Admitted { event_slot, wanted, id_at, buyer_at })
    }

    /// Writes the outcome unless there is an error.
    #[inline(always)]
    fn grant(
        &mut self,
        command: &Hold,
        chosen: Option<PlaceRefs>,
        key_at: Vacancy,
        told: (&mut Outcome, &mut Vec<Change>),
    ) -> Result<(), Rejection> {
        let admitted = self.admit(command, &Others::default())?;
        let event_slot = admitted.event_slot;
        let event = &mut self.events[event_slot as usize];
        let now = self.log_time_ms;
        // The event lends nothing while places are picked.
        let code = command.code().and_then(|code| event.codes.check(code, now).ok().cloned());
        let terms = Terms { types: command.types(), now, code: code.as_ref() };
        let channel = channel_of(event, command)?;
        let places = match chosen {
            Some(places) => Ok(places),
            None if channel != 0 => event.pick_in_channel(channel, &command.items, terms),
            None => wishes::pick(event, &command.items, terms),
        };
        let places = match places {
            Ok(places) => places,
            // The commonest refusal is made where it stands.
            Err(Refused::Conflict(seats)) => {
                told.0.result = Err(Rejection::SeatUnavailable { seats });
                return Ok(());
            }
            Err(Refused::Orphans { stranded, mend }) => {
                return Err(Rejection::OrphanSeats { seats: stranded, mend });
            }
            Err(Refused::Short(shortage)) => {
                let held_may_return_at_ms = event.clock.first_return(&self.holds, event_slot);
                return Err(match shortage {
                    Shortage::SoldOut => Rejection::SoldOut { held_may_return_at_ms },
                    Shortage::NotEnough => Rejection::NotEnoughTogether { held_may_return_at_ms },
                });
            }
        };
        let deals = self.deal(command, event_slot, &places)?;
        let event = &mut self.events[event_slot as usize];
        event.buyers.add_to(admitted.buyer_at, places.len() as u32);
        if let Some(hoarding) = &mut event.hoarding {
            hoarding.add(command.idempotency.buyer, places.len(), self.log_time_ms);
        }
        event.count_channel(channel, &places, true);
        let slot = self.store(command, (&admitted, key_at), (places, deals), told);
        if channel != 0 {
            self.holds.slab[slot].set_channel(channel);
        }
        Ok(())
    }

    /// What is agreed about picked places, and the use of a code; unpicks them where a quota, a
    /// price limit or the code refuses.
    fn deal(
        &mut self,
        command: &Hold,
        event_slot: u32,
        places: &[PlaceRef],
    ) -> Result<Deals, Rejection> {
        let event = &mut self.events[event_slot as usize];
        let code = command.code();
        if event.offer.is_none() && code.is_none() {
            return Ok(None);
        }
        let mut deals = event.deal(places, command.types(), self.log_time_ms);
        if let (Ok(dealt), Some(code)) = (&deals, code) {
            let with = event.redeem(code, places, dealt, self.log_time_ms);
            if with.is_err() {
                event.count_deals(places, dealt, false);
            }
            deals = with;
        }
        if let Ok(dealt @ Some(prices)) = &deals
            && !wishes::are_within_limits(&command.items, prices)
        {
            let held_may_return_at_ms = event.clock.first_return(&self.holds, event_slot);
            event.count_deals(places, dealt, false);
            deals = Err(Rejection::SoldOut { held_may_return_at_ms });
        }
        if let (Ok(_), Some(code)) = (&deals, code) {
            event.codes.count(code, true);
        }
        if deals.is_err() {
            wishes::unpick(event, places.iter().copied());
            if event.channels.is_some() {
                event.balance_areas(places);
            }
        }
        deals
    }

    /// Writes a granted hold down and tells of it; its slot.
    #[inline(always)]
    fn store(
        &mut self,
        command: &Hold,
        (admitted, key_at): (&Admitted, Vacancy),
        (places, deals): (PlaceRefs, Deals),
        (outcome, changes): (&mut Outcome, &mut Vec<Change>),
    ) -> u32 {
        let (now, event_slot) = (self.log_time_ms, admitted.event_slot);
        let event = &mut self.events[event_slot as usize];
        let ttl_ms = event.rules.hold_ttl_ms;
        let expires_at_ms = now.saturating_add(ttl_ms.into());
        let price_list = event.price_list();
        event.clock.live += 1;
        let terms = SharedTerms::new((event_slot, price_list), (now, ttl_ms));
        let head = (command.hold, &command.idempotency);
        let hold = self.holds.granted(head, (now, terms), &places);
        let slot = self.holds.fill(admitted.id_at, hold);
        let said = (key_tag(command.idempotency.key), expires_at_ms);
        let full = Held::granted(command.hold, (now, expires_at_ms), outcome);
        event.hold_picked((&places, slot), price_list, said, (full, changes));
        if deals.is_some() {
            *full = event.dealt_places(&places, price_list, &deals);
            self.holds.slab[slot].set_deals(deals);
        }
        if let Some(code) = command.code() {
            self.holds.slab[slot].set_code(Some(code));
        }
        self.dedup.fill(key_at, KeyOwner::Hold(slot));
        self.schedule((event_slot, slot), ttl_ms, expires_at_ms);
        slot
    }
}

/// The channel that a hold comes through; 0 where it names none.
fn channel_of(event: &EventState, command: &Hold) -> Result<ChannelNo, Rejection> {
    match command.terms.as_ref().and_then(|terms| terms.channel.as_ref()) {
        Some(entry) => event.admit_to_channel(&entry.key, entry.key_hash.as_ref()),
        None => Ok(0),
    }
}

/// Are there so many types, all the event's?
fn check_types(event: &EventState, types: &[TypeNo], wanted: usize) -> Result<(), Rejection> {
    let invalid = |reason| Err(Rejection::Invalid { field: "types", reason });
    if types.is_empty() {
        return Ok(());
    }
    let known = event.offer.as_ref().map_or(0, |offer| offer.offer.types);
    if types.iter().any(|&no| no >= known) {
        return invalid("are not all the event's");
    }
    if types.len() != wanted {
        return invalid("must be as many as there are places");
    }
    Ok(())
}
