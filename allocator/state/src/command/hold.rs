//! `Hold`: seats for a limited time, all wishes or none.

use smallvec::SmallVec;

use super::{Hold, HoldItem, HoldTerms, Idempotency};
use crate::{
    best_available::{self, Scope, Shortage},
    buyer_limit,
    change::Change,
    codec::{Reader, Sink, put_opt_varint, put_u8, put_u64, put_u128, put_varint},
    dedup::KeyOwner,
    error::DecodeError,
    event::{EventState, PlaceRef, PlaceRefs},
    general_admission, hold as record,
    ids::{HoldId, SeatNo, TypeNo},
    limits::HOLD_ITEMS_MAX,
    offer::Deals,
    outcome::{Done, Held, Outcome, Rejection},
    shard::{Shard, key_tag},
};

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
                HoldItem::BestAvailable { quantity, category, section, accessible } => {
                    put_u8(out, 1);
                    put_varint(out, (*quantity).into());
                    put_opt_varint(out, category.map(u64::from));
                    put_opt_varint(out, section.map(u64::from));
                    put_u8(out, (*accessible).into());
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

impl HoldTerms {
    fn encode(&self, out: &mut impl Sink) {
        put_varint(out, self.types.len() as u64);
        for &no in &self.types {
            put_varint(out, no.into());
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let types = r.count(usize::MAX, 1, "types")?;
        let types = (0..types).map(|_| r.u16("a type")).collect::<Result<_, _>>()?;
        Ok(Self { types })
    }
}

fn decode_item(r: &mut Reader<'_>) -> Result<HoldItem, DecodeError> {
    match r.u8()? {
        0 => {
            let seats = r.count(usize::MAX, 1, "seats")?;
            let seats = (0..seats).map(|_| r.u32("a seat")).collect::<Result<_, _>>()?;
            Ok(HoldItem::Seats(seats))
        }
        1 => Ok(HoldItem::BestAvailable {
            quantity: r.u16("quantity")?,
            category: r.opt(|r| r.u16("category"))?,
            section: r.opt(|r| r.u16("section"))?,
            accessible: r.bool()?,
        }),
        _ => Err(DecodeError::Invalid { what: "an item's form" }),
    }
}

macro_rules! item_fields {
    ($name:literal: $($no:literal)*) => { [$(concat!("items/", $no, "/", $name)),*] };
}

static SEATS: [&str; HOLD_ITEMS_MAX] = item_fields!("seats": 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
static QUANTITY: [&str; HOLD_ITEMS_MAX] =
    item_fields!("quantity": 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
static SECTION: [&str; HOLD_ITEMS_MAX] =
    item_fields!("section": 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
static CATEGORY: [&str; HOLD_ITEMS_MAX] =
    item_fields!("category": 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);

fn invalid(field: &'static str, reason: &'static str) -> Rejection {
    Rejection::Invalid { field, reason }
}

impl Shard {
    pub(crate) fn hold_seats(&mut self, command: &Hold, changes: &mut Vec<Change>) -> Outcome {
        match self.find_key(command.idempotency.key) {
            Some(owner) => self.replay_hold(owner, &command.idempotency),
            None => self.grant(command, changes).map(Done::Held).into(),
        }
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
        let hold = &self.holds.slab[slot];
        Held {
            hold: hold.id,
            held_at_ms: hold.held_at_ms,
            expires_at_ms: hold.first_expires_at_ms(),
            places: self.events[hold.event as usize].dealt_places(
                hold.places(),
                hold.price_list,
                hold.deals(),
            ),
        }
    }

    fn grant(&mut self, command: &Hold, changes: &mut Vec<Change>) -> Result<Held, Rejection> {
        self.check_key_room()?;
        if self.holds.alive >= self.limits.holds_max as usize {
            return Err(Rejection::Overloaded { bound: "holds_max" });
        }
        let event_slot = self.event_slot(command.event)?;
        let event = &mut self.events[event_slot as usize];
        if self.holds.slot(command.hold).is_some() {
            return Err(invalid("hold", "is another hold's id"));
        }
        let wanted = validate(event, &command.items)?;
        if let Some(terms) = &command.terms {
            check_types(event, &terms.types, wanted)?;
        }
        if self.log_time_ms < event.onsale_at_ms {
            return Err(Rejection::NotOnSale { onsale_at_ms: event.onsale_at_ms });
        }
        let (buyer, limit) = (command.idempotency.buyer, event.rules.seats_per_buyer_max);
        if buyer_limit::exceeds(&event.buyers, buyer, wanted, limit) {
            return Err(Rejection::BuyerLimitReached { seats_max: limit });
        }
        let places = pick(event, &command.items).map_err(|refused| match refused {
            Refused::Conflict(seats) => Rejection::SeatUnavailable { seats },
            Refused::Short(shortage) => {
                let held_may_return_at_ms = event.clock.first_return(&self.holds.slab, event_slot);
                match shortage {
                    Shortage::SoldOut => Rejection::SoldOut { held_may_return_at_ms },
                    Shortage::NotEnough => Rejection::NotEnoughTogether { held_may_return_at_ms },
                }
            }
        })?;
        let deals = self.deal(command, event_slot, &places)?;
        Ok(self.store(command, event_slot, (places, deals), changes))
    }

    /// What is agreed about picked places; unpicks them where a quota refuses.
    fn deal(
        &mut self,
        command: &Hold,
        event_slot: u32,
        places: &[PlaceRef],
    ) -> Result<Deals, Rejection> {
        let event = &mut self.events[event_slot as usize];
        if event.offer.is_none() {
            return Ok(None);
        }
        let types = command.terms.as_ref().map_or(&[][..], |terms| &terms.types);
        let deals = event.deal(places, types, self.log_time_ms);
        if deals.is_err() {
            places.iter().for_each(|&place| event.unpick(place));
        }
        deals
    }

    fn store(
        &mut self,
        command: &Hold,
        event_slot: u32,
        (places, deals): (PlaceRefs, Deals),
        changes: &mut Vec<Change>,
    ) -> Held {
        let now = self.log_time_ms;
        let key = command.idempotency.key;
        let event = &mut self.events[event_slot as usize];
        let ttl_ms = event.rules.hold_ttl_ms;
        let expires_at_ms = now.saturating_add(ttl_ms.into());
        let price_list = event.price_list();
        buyer_limit::add(&mut event.buyers, command.idempotency.buyer, places.len());
        event.clock.live += 1;
        let slot = self.holds.insert(record::Hold::granted(
            (command.hold, &command.idempotency),
            (event_slot, price_list),
            (now, ttl_ms),
            &places,
        ));
        let said = (key_tag(key), expires_at_ms);
        let mut full = event.hold_picked((&places, slot), price_list, said, changes);
        if deals.is_some() {
            full = event.dealt_places(&places, price_list, &deals);
            self.holds.slab[slot].set_deals(deals);
        }
        self.remember_key(key, KeyOwner::Hold(slot));
        self.schedule_hold(slot, ttl_ms);
        Held { hold: command.hold, held_at_ms: now, expires_at_ms, places: full }
    }
}

/// Are there so many types, all the event's?
fn check_types(event: &EventState, types: &[TypeNo], wanted: usize) -> Result<(), Rejection> {
    if types.is_empty() {
        return Ok(());
    }
    let known = event.offer.as_ref().map_or(0, |offer| offer.offer.types);
    if types.iter().any(|&no| no >= known) {
        return Err(invalid("types", "are not all the event's"));
    }
    if types.len() != wanted {
        return Err(invalid("types", "must be as many as there are places"));
    }
    Ok(())
}

/// How many places the items want, if they make sense.
fn validate(event: &EventState, items: &[HoldItem]) -> Result<usize, Rejection> {
    if items.is_empty() || items.len() > HOLD_ITEMS_MAX {
        return Err(invalid("items", "must be 1 to 16"));
    }
    let mut wanted = 0;
    for (at, item) in items.iter().enumerate() {
        wanted += match item {
            HoldItem::Seats(seats) if seats.is_empty() => {
                return Err(invalid(SEATS[at], "must name at least one seat"));
            }
            HoldItem::Seats(seats) => seats.len(),
            HoldItem::BestAvailable { quantity: 0, .. } => {
                return Err(invalid(QUANTITY[at], "must be at least 1"));
            }
            HoldItem::BestAvailable { quantity, .. } => usize::from(*quantity),
        };
    }
    if wanted > usize::from(event.rules.seats_per_order_max) {
        return Err(invalid("items", "are more places than one order may have"));
    }
    let mut named: SmallVec<[SeatNo; 16]> = SmallVec::new();
    for (at, item) in items.iter().enumerate() {
        match item {
            HoldItem::Seats(seats) => {
                for &seat in seats {
                    if seat >= event.seat_map.seats() {
                        return Err(invalid(SEATS[at], "are not all in the seat map"));
                    }
                    if named.contains(&seat) {
                        return Err(invalid(SEATS[at], "name a seat twice"));
                    }
                    named.push(seat);
                }
            }
            HoldItem::BestAvailable { category, section, .. } => {
                scope(event, at, *category, *section)?;
            }
        }
    }
    Ok(wanted)
}

/// Where a wish may be fulfilled, and whether that is general admission.
fn scope(
    event: &EventState,
    at: usize,
    category: Option<u16>,
    section: Option<u16>,
) -> Result<(Scope, bool), Rejection> {
    if category.is_some_and(|no| usize::from(no) >= event.prices_in_force().len()) {
        return Err(invalid(CATEGORY[at], "is not one of the event's"));
    }
    if let Some(no) = section {
        let Some(section) = event.seat_map.section(no) else {
            return Err(invalid(SECTION[at], "is not in the seat map"));
        };
        if category.is_some_and(|category| category != section.category) {
            return Err(invalid(CATEGORY[at], "is not the section's"));
        }
        return Ok((Scope::Section(no), section.area_capacity.is_some()));
    }
    let Some(category) = category else {
        return Ok((Scope::Everywhere, event.seat_map.seats() == 0));
    };
    let scope = Scope::Category(category);
    if scope.sections(&event.seat_map, false).next().is_some() {
        return Ok((scope, false));
    }
    if scope.sections(&event.seat_map, true).next().is_some() {
        return Ok((scope, true));
    }
    Err(invalid(CATEGORY[at], "has no sections"))
}

enum Refused {
    Conflict(Vec<SeatNo>),
    Short(Shortage),
}

/// Most holds are one wish for named seats.
fn pick_named(event: &mut EventState, named: &[SeatNo]) -> Result<PlaceRefs, Refused> {
    if named.iter().any(|&seat| event.is_free(seat) != Some(true)) {
        let mut seats = named.to_vec();
        seats.retain(|&seat| event.is_free(seat) != Some(true));
        seats.sort_unstable();
        return Err(Refused::Conflict(seats));
    }
    let mut places = PlaceRefs::new();
    for &seat in named {
        event.pick(PlaceRef::seat(seat));
        places.push(PlaceRef::seat(seat));
    }
    Ok(places)
}

/// Takes all places out of the stock, in the order of the wishes; or none.
fn pick(event: &mut EventState, items: &[HoldItem]) -> Result<PlaceRefs, Refused> {
    if let [HoldItem::Seats(seats)] = items {
        return pick_named(event, seats);
    }
    let named = || {
        items.iter().flat_map(|item| match item {
            HoldItem::Seats(seats) => seats.as_slice(),
            HoldItem::BestAvailable { .. } => &[],
        })
    };
    if named().any(|&seat| event.is_free(seat) != Some(true)) {
        let mut seats: Vec<SeatNo> = named().copied().collect();
        seats.retain(|&seat| event.is_free(seat) != Some(true));
        seats.sort_unstable();
        return Err(Refused::Conflict(seats));
    }
    // Named seats first, so that no wish takes what another one names.
    for &seat in named() {
        event.pick(PlaceRef::seat(seat));
    }
    let mut places = PlaceRefs::new();
    for (at, item) in items.iter().enumerate() {
        let short = match item {
            HoldItem::Seats(seats) => {
                places.extend(seats.iter().map(|&seat| PlaceRef::seat(seat)));
                continue;
            }
            HoldItem::BestAvailable { quantity, category, section, accessible } => {
                match scope(event, at, *category, *section) {
                    Ok((scope, true)) => {
                        general_admission::pick_places(event, scope, *quantity, &mut places)
                    }
                    Ok((scope, false)) => {
                        let places = &mut places;
                        best_available::pick_seats(event, scope, *accessible, *quantity, places)
                    }
                    Err(_) => Err(Shortage::SoldOut),
                }
            }
        };
        if let Err(shortage) = short {
            let later = items[at..].iter().flat_map(|item| match item {
                HoldItem::Seats(seats) => seats.as_slice(),
                HoldItem::BestAvailable { .. } => &[],
            });
            for place in places.into_iter().chain(later.map(|&seat| PlaceRef::seat(seat))) {
                event.unpick(place);
            }
            return Err(Refused::Short(shortage));
        }
    }
    Ok(places)
}
