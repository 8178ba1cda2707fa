//! Writes a snapshot.

use super::{VERSION, copy::Part};
use crate::{
    codec::{
        put_bytes, put_opt_str, put_opt_u128, put_opt_varint, put_signatures, put_u64, put_u128,
        put_varint,
    },
    command::{encode_offer, encode_prices},
    event::{EventState, PlaceRef},
    hold::HoldRef,
    job::Job,
    offer::{Deal, Deals},
    order::Order,
    seat_map::SeatMap,
    shard::Shard,
    slab::{NONE, Slab},
};

impl Shard {
    /// The state but for its holds and orders, and where those go. Whoever adds to the state adds
    /// it here: what is small as bytes, what is large and never changes by reference.
    pub(super) fn parts(&self) -> Vec<Part> {
        let mut bytes = vec![VERSION];
        let mut parts = Vec::new();
        self.encode_head(&mut bytes);
        put_varint(&mut bytes, self.event_ids.len() as u64);
        for &slot in self.event_ids.values() {
            let event = &self.events[slot as usize];
            encode_event(event, &mut bytes);
            parts.push(Part::Bytes(std::mem::take(&mut bytes)));
            parts.push(Part::Sections(event.seat_map.clone()));
            event.kills.encode(&mut bytes);
            put_varint(&mut bytes, event.dropped);
            event.codes.encode(&mut bytes);
            if let Some(hoarding) = &event.hoarding {
                hoarding.encode_spent(&mut bytes);
            }
            event.encode_channels(&mut bytes);
        }
        parts.push(Part::Bytes(std::mem::take(&mut bytes)));
        parts.extend([Part::Holds, Part::Orders]);
        self.encode_jobs(&mut bytes);
        self.encode_control(&mut bytes);
        self.staff.encode(&mut bytes);
        parts.push(Part::Bytes(bytes));
        parts
    }

    fn encode_head(&self, out: &mut Vec<u8>) {
        put_varint(out, self.shard.into());
        put_varint(out, self.shards.into());
        put_varint(out, self.limits.dedup_entries_max.into());
        put_varint(out, self.limits.events_max.into());
        put_varint(out, self.limits.holds_max.into());
        put_varint(out, self.limits.orders_max.into());
        put_varint(out, self.limits.payment_fence_max_ms);
        put_varint(out, self.last_index);
        put_varint(out, self.log_time_ms);
        out.extend_from_slice(&self.chain);
    }

    fn encode_jobs(&self, out: &mut Vec<u8>) {
        put_varint(out, self.jobs.last_job);
        put_varint(out, self.jobs.len() as u64);
        for (id, job) in self.jobs.iter() {
            put_varint(out, id.0);
            let Job { kind, order, not_before_ms, lease, lease_until_ms, attempts, .. } = job;
            out.push(*kind as u8);
            put_u128(out, self.orders.slab[*order].id.0);
            put_varint(out, *not_before_ms);
            put_u64(out, *lease);
            put_varint(out, *lease_until_ms);
            put_varint(out, (*attempts).into());
            put_varint(out, job.first_leased_at_ms);
        }
        put_varint(out, self.jobs.settled.len() as u64);
        for (id, settled) in &self.jobs.settled {
            put_varint(out, id.0);
            put_u64(out, settled.lease);
            put_u64(out, settled.fingerprint);
            put_u128(out, self.orders.slab[settled.order].id.0);
        }
    }

    fn encode_control(&self, out: &mut Vec<u8>) {
        let control = &self.control;
        put_varint(out, control.documents.len() as u64);
        for record in control.documents.values() {
            put_bytes(out, record.event_id.as_bytes());
            put_varint(out, record.event.into());
            put_varint(out, record.shard.into());
            put_bytes(out, record.organizer.as_bytes());
            for stored in [&record.published, &record.prepared] {
                put_varint(out, stored.as_ref().map_or(0, |(revision, _)| *revision));
                if let Some((_, bytes)) = stored {
                    put_bytes(out, bytes);
                }
            }
            put_opt_u128(out, record.prepared_by);
            put_varint(out, record.dropped);
        }
        put_varint(out, control.api_keys.len() as u64);
        for (hash, record) in &control.api_keys {
            out.extend_from_slice(hash);
            put_bytes(out, record.role.as_bytes());
            put_bytes(out, record.owner.as_bytes());
        }
        put_varint(out, control.signing_keys.len() as u64);
        for (id, key) in &control.signing_keys {
            put_varint(out, (*id).into());
            out.extend_from_slice(key);
        }
    }
}

pub(super) fn encode_hold(
    events: &[EventState],
    orders: &Slab<Order>,
    hold: &HoldRef<'_>,
    out: &mut Vec<u8>,
) {
    put_u128(out, hold.id.0);
    put_u128(out, hold.key);
    put_u64(out, hold.request);
    put_u64(out, hold.buyer);
    put_varint(out, hold.held_at_ms());
    put_varint(out, hold.expires_at_ms());
    put_opt_varint(out, hold.ended_at_ms());
    put_varint(out, events[hold.event() as usize].event.into());
    match hold.order() {
        NONE => out.push(0),
        slot => {
            out.push(1);
            put_u128(out, orders[slot].id.0);
        }
    }
    put_varint(out, hold.terms.ttl_ms.into());
    put_varint(out, hold.price_list().into());
    put_varint(out, hold.extensions().into());
    out.push(hold.state() as u8);
    put_places(&hold.places(), out);
    put_deals(hold.deals(), out);
    put_varint(out, hold.channel().into());
    put_opt_u128(out, hold.code());
    put_varint(out, hold.keyed().len() as u64);
    for extension in hold.keyed() {
        put_u128(out, extension.key);
        put_u64(out, extension.request);
        put_varint(out, extension.extended_at_ms);
        put_varint(out, extension.expires_at_ms);
        put_varint(out, extension.extensions.into());
        put_varint(out, extension.extensions_max.into());
    }
}

pub(super) fn encode_order(events: &[EventState], order: &Order, out: &mut Vec<u8>) {
    put_u128(out, order.id.0);
    put_u128(out, order.key);
    for hash in [order.request, order.buyer, order.email, order.card] {
        put_u64(out, hash);
    }
    put_varint(out, order.created_at_ms);
    put_varint(out, order.fence_until_ms);
    out.push(order.origin as u8);
    out.push(order.key_lives.into());
    out.push(order.status as u8);
    match &order.failure {
        None => out.push(0),
        Some((code, reason)) => {
            out.push(1);
            out.push(*code as u8);
            put_bytes(out, reason.as_bytes());
        }
    }
    put_varint(out, events[order.event as usize].event.into());
    put_varint(out, order.price_list.into());
    put_places(&order.places, out);
    put_deals(&order.deals, out);
    put_varint(out, order.channel.into());
    put_u128(out, order.hold.0);
    put_bytes(out, order.payment_method.as_bytes());
    put_opt_str(out, order.payment_intent.as_deref());
    put_opt_str(out, order.next_action_url.as_deref());
    put_varint(out, order.signing_key.into());
    put_signatures(out, &order.signatures);
    out.extend_from_slice(&order.contact_commitment);
    match &order.contact {
        None => out.push(0),
        Some(contact) => {
            out.push(1);
            contact.encode(out);
        }
    }
    match &order.tickets {
        None => out.push(0),
        Some(tickets) => {
            out.push(1);
            tickets.encode(out);
        }
    }
}

fn put_places(places: &[PlaceRef], out: &mut Vec<u8>) {
    put_varint(out, places.len() as u64);
    for place in places {
        put_varint(out, place.0.into());
    }
}

fn put_deals(deals: &Deals, out: &mut Vec<u8>) {
    out.push(deals.is_some().into());
    for &Deal { price_minor, ticket_type, tier } in deals.iter().flatten() {
        put_varint(out, price_minor);
        put_varint(out, ticket_type.into());
        put_varint(out, tier.into());
    }
}

fn encode_event(event: &EventState, out: &mut Vec<u8>) {
    put_varint(out, event.event.into());
    put_bytes(out, event.event_id.as_bytes());
    put_varint(out, event.revision);
    out.extend_from_slice(&event.currency);
    put_varint(out, event.onsale_at_ms);
    put_varint(out, event.prices.len() as u64);
    for prices in &event.prices {
        encode_prices(prices, out);
    }
    event.rules.encode(out);
    put_varint(out, event.buyer_ceiling.into());
    encode_offer(event.offer.as_ref().map(|state| &state.offer), out);
}

/// What follows an event's rules.
pub(super) fn encode_sections(map: &SeatMap, out: &mut Vec<u8>) {
    let sections = map.specs();
    put_varint(out, sections.len() as u64);
    for section in &sections {
        section.encode(out);
    }
}
