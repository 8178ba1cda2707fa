//! Reads a snapshot and makes again what it leaves out. Foreign bytes are an error, never a panic.

use super::VERSION;
use crate::{
    buyer_limit,
    codec::Reader,
    codes::Codes,
    command::{
        Contact, Idempotency, OpenOnsale, Rules, SectionSpec, check_opening, decode_offer,
        decode_prices,
    },
    control::{ApiKeyRecord, DocumentRecord},
    dedup::KeyOwner,
    error::DecodeError,
    event::{EventState, PlaceKind, PlaceRef, PlaceRefs},
    hold::{Extension, Hold, HoldState},
    ids::{ChannelNo, HoldId, JobId, OrderId},
    job::{Job, Settled},
    kills::Kills,
    limits::{COMMAND_BYTES_MAX, DEDUP_ORDER_MS, HOLD_SEATS_MAX, Limits, PRICE_MINOR_MAX},
    offer::{Deal, Deals},
    order::{FailureCode, JobKind, Order, OrderStatus, Origin},
    seat_word::SeatState,
    shard::Shard,
    shared_terms::SharedTerms,
    tickets::Tickets,
};

const MAX: usize = COMMAND_BYTES_MAX;

type Read<T> = Result<T, DecodeError>;

pub(super) fn invalid<T>(what: &'static str) -> Read<T> {
    Err(DecodeError::Invalid { what })
}

impl Shard {
    /// Reads a state that [`Shard::encode_snapshot`] wrote. It behaves as the one that was written,
    /// and is written as the same bytes.
    ///
    /// # Errors
    ///
    /// When the bytes are not exactly one snapshot of this version, or describe a state that breaks
    /// an invariant.
    pub fn decode_snapshot(bytes: &[u8]) -> Result<Self, DecodeError> {
        let r = &mut Reader::new(bytes);
        match r.u8()? {
            VERSION => {}
            version => return Err(DecodeError::Version(version)),
        }
        let mut shard = decode_head(r)?;
        for _ in 0..r.count(usize::MAX, 16, "events")? {
            let event = decode_event(r)?;
            let known = shard.known_event_slot(event.event).is_some();
            if known || shard.event_ids.contains_key(&event.event_id) {
                return invalid("an event that comes twice");
            }
            shard.add_event(event);
        }
        let mut orders_of_holds = Vec::new();
        for _ in 0..r.count(usize::MAX, 48, "holds")? {
            let (hold, order) = decode_hold(r, &mut shard)?;
            shard.restore_hold(hold, order, &mut orders_of_holds)?;
        }
        for _ in 0..r.count(usize::MAX, 64, "orders")? {
            let order = decode_order(r, &shard)?;
            shard.restore_order(order)?;
        }
        for (hold, order) in orders_of_holds {
            let order = shard.known_order(order)?;
            shard.holds.slab[hold].set_order(order);
        }
        shard.decode_jobs(r)?;
        shard.decode_control(r)?;
        shard.decode_staff(r)?;
        r.finish()?;
        shard.events.iter_mut().for_each(EventState::restore_kills);
        shard.events.iter_mut().for_each(EventState::restore_channels);
        shard.restore_queues();
        if shard.check_invariants().is_empty() { Ok(shard) } else { invalid("the state") }
    }

    fn known_order(&self, id: OrderId) -> Read<u32> {
        self.orders.slot(id).ok_or(DecodeError::Invalid { what: "a reference to an order" })
    }

    /// Takes places out of the stock for their owner.
    fn restore_places(
        &mut self,
        event: u32,
        places: &[PlaceRef],
        owner: (SeatState, u32),
    ) -> Read<()> {
        let event = &mut self.events[event as usize];
        for &place in places {
            let free = match place.kind() {
                PlaceKind::Seat(seat) => event.is_free(seat) == Some(true),
                PlaceKind::Area(section) => event.nobodys(section) > 0,
            };
            if !free {
                return invalid("a place that two own");
            }
            // Where there are channels, areas are dealt anew with each place that is moved.
            if place.is_seat() || event.channels.is_none() {
                event.pick(place);
            }
        }
        event.transition(places, (SeatState::Available, 0), owner);
        Ok(())
    }

    fn restore_hold(
        &mut self,
        hold: Hold,
        order: Option<OrderId>,
        orders: &mut Vec<(u32, OrderId)>,
    ) -> Read<()> {
        if self.holds.slot(hold.id).is_some() || self.find_key(hold.key).is_some() {
            return invalid("a hold that comes twice");
        }
        let slot = self.holds.insert(hold);
        let hold = self.holds.at(slot);
        let (key, event_slot, state) = (hold.key, hold.event(), hold.state());
        let (places, buyer) = (hold.places(), hold.buyer);
        let held_at_ms = hold.held_at_ms();
        let (deals, channel) = (hold.deals().clone(), hold.channel());
        let extensions: Vec<_> = hold.keyed().iter().map(|extension| extension.key).collect();
        self.remember_key(key, KeyOwner::Hold(slot));
        for key in extensions {
            self.remember_key(key, KeyOwner::Extension(slot));
        }
        orders.extend(order.map(|order| (slot, order)));
        if state.has_seats() {
            self.restore_places(event_slot, &places, (SeatState::Held, slot))?;
            let event = &mut self.events[event_slot as usize];
            buyer_limit::add(&mut event.buyers, buyer, places.len());
            event.count_deals(&places, &deals, true);
            if let Some(hoarding) = &mut event.hoarding {
                hoarding.add(buyer, places.len(), held_at_ms);
            }
            event.count_channel(channel, &places, true);
            event.clock.live += usize::from(state == HoldState::Live);
        }
        Ok(())
    }

    fn restore_order(&mut self, order: Order) -> Read<()> {
        if self.orders.slot(order.id).is_some() {
            return invalid("an order that comes twice");
        }
        let key = order.key_lives.then_some(order.key);
        if key.is_some_and(|key| self.find_key(key).is_some()) {
            return invalid("a key that comes twice");
        }
        let slot = self.orders.insert(order);
        if let Some(key) = key {
            self.remember_key(key, KeyOwner::Order(slot));
        }
        let order = &self.orders.slab[slot];
        let (event_slot, status, places) = (order.event, order.status, order.places.clone());
        if status.has_seats() {
            self.restore_places(event_slot, &places, (SeatState::Sold, slot))?;
        }
        let order = &self.orders.slab[slot];
        let event = &mut self.events[event_slot as usize];
        if status.has_seats() {
            buyer_limit::add(&mut event.buyers, order.buyer, places.len());
            event.count_deals(&places, &order.deals, true);
            event.count_channel(order.channel, &places, true);
            event.count_sold(order.channel, places.len(), true);
        }
        if status != OrderStatus::Failed {
            buyer_limit::add(&mut event.emails, order.email, places.len());
            buyer_limit::add(&mut event.cards, order.card, places.len());
        }
        if status.is_undecided() {
            event.clock.fences.insert((order.fence_until_ms, order.id, slot));
        }
        Ok(())
    }

    /// Everything that waits for its time, in the order of time.
    fn restore_queues(&mut self) {
        let mut live = Vec::new();
        let mut ended = Vec::new();
        for (slot, hold) in self.holds.iter() {
            if hold.state() == HoldState::Live {
                live.push((hold.expires_at_ms(), hold.id, slot));
            } else if let Some(forget_at_ms) = hold.forget_at_ms() {
                ended.push((forget_at_ms, slot));
            }
        }
        ended.sort_unstable();
        self.holds.ended = ended.into_iter().map(|(_, slot)| slot).collect();
        live.sort_unstable();
        for (_, _, slot) in live {
            let ttl_ms = self.holds.at(slot).terms.ttl_ms;
            self.schedule_hold(slot, ttl_ms);
        }
        let remembered = self.orders.slab.iter().filter(|(_, order)| order.key_lives);
        let mut keys: Vec<_> = remembered
            .map(|(slot, order)| (order.created_at_ms.saturating_add(DEDUP_ORDER_MS), slot))
            .collect();
        keys.sort_unstable();
        self.orders.keys = keys.into();
        for slot in 0..self.events.len() as u32 {
            self.reschedule(slot);
        }
    }

    fn decode_jobs(&mut self, r: &mut Reader<'_>) -> Read<()> {
        self.jobs.last_job = r.varint()?;
        for _ in 0..r.count(usize::MAX, 28, "jobs")? {
            let id = JobId(r.varint()?);
            let Some(kind) = JobKind::from_u8(r.u8()?) else {
                return invalid("a job's kind");
            };
            let order = self.known_order(OrderId(r.u128()?))?;
            let job = Job {
                kind,
                order,
                not_before_ms: r.varint()?,
                lease: r.u64()?,
                lease_until_ms: r.varint()?,
                attempts: r.u32("attempts")?,
                first_leased_at_ms: r.varint()?,
            };
            let fresh = id.0 != 0 && id.0 <= self.jobs.last_job && self.jobs.get(id).is_none();
            let leased = job.lease == 0 || job.attempts > 0;
            if !fresh || !leased || self.orders.slab[order].job.replace(id).is_some() {
                return invalid("a job");
            }
            self.jobs.put(id, job);
        }
        for _ in 0..r.count(usize::MAX, 33, "settled reports")? {
            let id = JobId(r.varint()?);
            let (lease, fingerprint) = (r.u64()?, r.u64()?);
            let order = self.known_order(OrderId(r.u128()?))?;
            self.jobs.settled.insert(id, Settled { lease, fingerprint, order });
        }
        Ok(())
    }

    fn decode_control(&mut self, r: &mut Reader<'_>) -> Read<()> {
        for _ in 0..r.count(usize::MAX, 6, "documents")? {
            let event_id = r.str(MAX, "event_id")?;
            let mut record = DocumentRecord {
                event_id: event_id.clone(),
                event: r.u32("event")?,
                shard: r.u16("shard")?,
                organizer: r.str(MAX, "organizer")?,
                published: None,
                prepared: None,
                prepared_by: None,
                dropped: 0,
            };
            for stored in [&mut record.published, &mut record.prepared] {
                let revision = r.varint()?;
                if revision != 0 {
                    *stored = Some((revision, r.bytes(MAX, "document")?.into()));
                }
            }
            record.prepared_by = r.opt(Reader::u128)?;
            record.dropped = r.varint()?;
            self.control.documents.insert(event_id, record);
        }
        for _ in 0..r.count(usize::MAX, 34, "API keys")? {
            let hash = r.array()?;
            let (role, owner) = (r.str(MAX, "role")?, r.str(MAX, "owner")?);
            self.control.api_keys.insert(hash, ApiKeyRecord { role, owner });
        }
        for _ in 0..r.count(usize::MAX, 33, "signing keys")? {
            let (id, key) = (r.u32("key_id")?, r.array()?);
            self.control.signing_keys.insert(id, key);
        }
        Ok(())
    }
}

fn decode_head(r: &mut Reader<'_>) -> Read<Shard> {
    let (number, shards) = (r.u16("shard")?, r.u16("shards")?);
    let limits = Limits {
        dedup_entries_max: r.u32("dedup_entries_max")?,
        events_max: r.u32("events_max")?,
        holds_max: r.u32("holds_max")?,
        orders_max: r.u32("orders_max")?,
        payment_fence_max_ms: r.varint()?,
    };
    let mut shard = Shard::new(number, shards, limits);
    shard.last_index = r.varint()?;
    shard.log_time_ms = r.varint()?;
    shard.chain = r.array()?;
    Ok(shard)
}

fn decode_event(r: &mut Reader<'_>) -> Read<EventState> {
    let event = r.u32("event")?;
    let event_id = r.str(MAX, "event_id")?;
    let (revision, currency, onsale_at_ms) = (r.varint()?, r.array()?, r.varint()?);
    let lists = r.count(usize::MAX, 1, "price lists")?;
    let mut lists: Vec<Vec<u64>> =
        (0..lists).map(|_| decode_prices(r)).collect::<Result<_, _>>()?;
    let rules = Rules::decode(r)?;
    let buyer_ceiling = r.u16("buyer_ceiling")?;
    let offer = decode_offer(r)?;
    let sections = r.count(usize::MAX, 6, "sections")?;
    let sections = (0..sections).map(|_| SectionSpec::decode(r)).collect::<Result<_, _>>()?;
    let Some(prices_minor) = lists.pop() else {
        return invalid("an event without prices");
    };
    if lists.iter().any(|list| list.len() != prices_minor.len()) {
        return invalid("a price list");
    }
    let open = OpenOnsale {
        event,
        event_id,
        revision,
        currency,
        onsale_at_ms,
        prices_minor,
        offer,
        sections,
        rules,
    };
    let map = check_opening(&open).map_err(|_| DecodeError::Invalid { what: "an event" })?;
    let mut event = EventState::new(&open, map);
    event.kills = Kills::decode(r, event.seat_map.seats())?;
    event.dropped = r.varint()?;
    event.codes = Codes::decode(r, event.prices_in_force().len())?;
    if let Some(hoarding) = &mut event.hoarding {
        hoarding.decode_spent(r)?;
    }
    event.decode_channels(r)?;
    event.buyer_ceiling = buyer_ceiling;
    let in_force = std::mem::take(&mut event.prices);
    event.prices = lists.iter().map(|list| list.as_slice().into()).chain(in_force).collect();
    Ok(event)
}

fn decode_places(r: &mut Reader<'_>, event: &EventState) -> Read<PlaceRefs> {
    let count = r.count(HOLD_SEATS_MAX, 1, "places")?;
    let mut places = PlaceRefs::new();
    for _ in 0..count {
        places.push(decode_place(r, event)?);
    }
    Ok(places)
}

fn decode_deals(r: &mut Reader<'_>, places: usize) -> Read<Deals> {
    if !r.bool()? {
        return Ok(None);
    }
    let deal = |_| {
        let (price_minor, ticket_type) = (r.varint()?, r.u16("a type")?);
        if price_minor > PRICE_MINOR_MAX {
            return invalid("a price");
        }
        Ok(Deal { price_minor, ticket_type, tier: r.u16("a tier")? })
    };
    Ok(Some((0..places).map(deal).collect::<Read<_>>()?))
}

/// A channel that there is or was.
fn decode_channel(r: &mut Reader<'_>, event: &EventState) -> Read<ChannelNo> {
    let channel = r.u32("a channel")?;
    if channel <= event.channels_made { Ok(channel) } else { invalid("a channel") }
}

pub(super) fn decode_place(r: &mut Reader<'_>, event: &EventState) -> Read<PlaceRef> {
    let place = PlaceRef(r.u32("a place")?);
    let known = match place.kind() {
        PlaceKind::Seat(seat) => seat < event.seat_map.seats(),
        PlaceKind::Area(section) => {
            place == PlaceRef::area(section)
                && event.seat_map.section(section).is_some_and(|s| s.area_capacity.is_some())
        }
    };
    if known { Ok(place) } else { invalid("a place") }
}

/// The event's slot, if it has such a price list.
fn known_event(shard: &Shard, event: u32, price_list: u16) -> Read<u32> {
    match shard.known_event_slot(event) {
        Some(slot) if usize::from(price_list) < shard.events[slot as usize].prices.len() => {
            Ok(slot)
        }
        _ => invalid("a reference to an event"),
    }
}

fn decode_hold(r: &mut Reader<'_>, shard: &mut Shard) -> Read<(Hold, Option<OrderId>)> {
    let (id, key) = (HoldId(r.u128()?), r.u128()?);
    let (request, buyer) = (r.u64()?, r.u64()?);
    let (held_at_ms, expires_at_ms) = (r.varint()?, r.varint()?);
    let ended_at_ms = r.opt(Reader::varint)?;
    let event = r.u32("event")?;
    let order = r.opt(|r| Ok(OrderId(r.u128()?)))?;
    let (ttl_ms, price_list) = (r.u32("ttl_ms")?, r.u16("price_list")?);
    let extensions = r.u16("extensions")?;
    let Some(state) = HoldState::from_u8(r.u8()?) else {
        return invalid("a hold's state");
    };
    let event = known_event(shard, event, price_list)?;
    let places = decode_places(r, &shard.events[event as usize])?;
    let deals = decode_deals(r, places.len())?;
    let channel = decode_channel(r, &shard.events[event as usize])?;
    let code = r.opt(Reader::u128)?;
    let idempotency = Idempotency { key, request, buyer, buyer_is_new: false };
    let terms = SharedTerms::new((event, price_list), (held_at_ms, ttl_ms));
    let mut hold = shard.holds.granted((id, &idempotency), (held_at_ms, terms), &places);
    hold.set_state(state);
    hold.set_deals(deals);
    hold.set_channel(channel);
    hold.set_code(code);
    if (extensions, expires_at_ms) != (0, held_at_ms.saturating_add(ttl_ms.into())) {
        hold.set_extended(extensions, expires_at_ms);
    }
    if let Some(ended_at_ms) = ended_at_ms {
        hold.set_ended_after(ended_at_ms.wrapping_sub(held_at_ms));
    }
    for _ in 0..r.count(usize::MAX, 28, "extensions")? {
        let extension = Extension {
            key: r.u128()?,
            request: r.u64()?,
            extended_at_ms: r.varint()?,
            expires_at_ms: r.varint()?,
            extensions: r.u16("extensions")?,
            extensions_max: r.u16("extensions_max")?,
        };
        hold.add_keyed(extension);
    }
    Ok((hold, order))
}

fn decode_order(r: &mut Reader<'_>, shard: &Shard) -> Read<Order> {
    let (id, key) = (OrderId(r.u128()?), r.u128()?);
    let (request, buyer, email, card) = (r.u64()?, r.u64()?, r.u64()?, r.u64()?);
    let (created_at_ms, fence_until_ms) = (r.varint()?, r.varint()?);
    let origin = if r.bool()? { Origin::Counter } else { Origin::Checkout };
    let key_lives = r.bool()?;
    let Some(status) = OrderStatus::from_u8(r.u8()?) else {
        return invalid("an order's status");
    };
    let failure = r.opt(|r| {
        let code = FailureCode::from_u8(r.u8()?);
        let code = code.ok_or(DecodeError::Invalid { what: "a failure's code" })?;
        Ok((code, r.str(MAX, "a reason")?))
    })?;
    let (event, price_list) = (r.u32("event")?, r.u16("price_list")?);
    let event = known_event(shard, event, price_list)?;
    let places = decode_places(r, &shard.events[event as usize])?;
    let deals = decode_deals(r, places.len())?;
    let channel = decode_channel(r, &shard.events[event as usize])?;
    let total_minor = shard.events[event as usize].total_minor(&places, price_list, &deals);
    Ok(Order {
        id,
        key,
        request,
        buyer,
        email,
        card,
        created_at_ms,
        fence_until_ms,
        origin,
        key_lives,
        status,
        failure,
        event,
        price_list,
        places,
        channel,
        deals,
        total_minor,
        hold: HoldId(r.u128()?),
        job: None,
        payment_method: r.str(MAX, "payment_method")?,
        payment_intent: r.opt(|r| r.str(MAX, "payment_intent"))?,
        next_action_url: r.opt(|r| r.str(MAX, "next_action_url"))?,
        signing_key: r.u32("signing_key")?,
        signatures: r.signatures()?,
        contact_commitment: r.array()?,
        contact: r.opt(Contact::decode)?.map(Box::new),
        tickets: r.opt(|r| Tickets::decode(r, &shard.events[event as usize]))?.map(Box::new),
    })
}
