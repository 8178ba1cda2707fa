//! `ChangeOnsale`: other rules, prices, opening or capacities; seats stay, holds keep what they
//! have, and no area and no quota gets smaller than what is taken of it.

use super::{
    ChangeOnsale, Offer, Rules,
    open_onsale::{check_prices, decode_offer, decode_prices, encode_offer, encode_prices},
};
use crate::{
    change::Change,
    codec::{Reader, put_varint},
    error::DecodeError,
    event::EventState,
    ids::SectionNo,
    limits::{EVENT_SEATS_MAX, EVENT_SECTIONS_MAX, PRICE_LISTS_MAX},
    offer::OfferState,
    outcome::{Done, Outcome, Rejection},
    shard::Shard,
};

impl ChangeOnsale {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.event.into());
        put_varint(out, self.revision);
        put_varint(out, self.onsale_at_ms);
        encode_prices(&self.prices_minor, out);
        encode_offer(self.offer.as_deref(), out);
        self.rules.encode(out);
        put_varint(out, self.capacities.len() as u64);
        for &(section, capacity) in &self.capacities {
            put_varint(out, section.into());
            put_varint(out, capacity.into());
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            event: r.u32("event")?,
            revision: r.varint()?,
            onsale_at_ms: r.varint()?,
            prices_minor: decode_prices(r)?,
            offer: decode_offer(r)?,
            rules: Rules::decode(r)?,
            capacities: {
                let areas = r.count(EVENT_SECTIONS_MAX, 2, "capacities")?;
                let area = |_| Ok((r.u16("a section")?, r.u32("capacity")?));
                (0..areas).map(area).collect::<Result<_, DecodeError>>()?
            },
        })
    }
}

impl Shard {
    pub(crate) fn change_onsale(
        &mut self,
        command: &ChangeOnsale,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        let slot = match self.event_slot(command.event) {
            Ok(slot) => slot,
            Err(rejection) => return Outcome::rejected(rejection),
        };
        if command.revision <= self.events[slot as usize].revision {
            return Outcome::replayed(Done::Ok);
        }
        if command.revision <= self.events[slot as usize].dropped {
            let in_force = self.events[slot as usize].revision;
            return Outcome::rejected(Rejection::StaleRevision { in_force });
        }
        self.try_change(slot, command, changes).map(|()| Done::Ok).into()
    }

    fn try_change(
        &mut self,
        slot: u32,
        command: &ChangeOnsale,
        changes: &mut Vec<Change>,
    ) -> Result<(), Rejection> {
        let event = &self.events[slot as usize];
        if event.prices.len() >= PRICE_LISTS_MAX {
            return Err(Rejection::Overloaded { bound: "price_lists_max" });
        }
        if command.prices_minor.len() != event.prices_in_force().len() {
            let reason = "must be as many as there are categories";
            return Err(Rejection::Invalid { field: "prices_minor", reason });
        }
        check_prices(&command.prices_minor)?;
        command.rules.check()?;
        check_capacities(event, &command.capacities)?;
        let offer = self.check_offer(slot, command)?;
        if self.is_first_typed(slot, command) {
            self.leave_untyped(slot);
        }
        self.events[slot as usize].change(command, offer);
        self.renew_hoarding(slot);
        changes.push(Change::Event { event: command.event, revision: command.revision });
        Ok(())
    }

    /// Does the event get its first ticket types?
    fn is_first_typed(&self, slot: u32, command: &ChangeOnsale) -> bool {
        let types = |offer: Option<&Offer>| offer.map_or(0, |offer| offer.types);
        let before = self.events[slot as usize].offer.as_ref().map(|before| &before.offer);
        types(before) == 0 && types(command.offer.as_deref()) > 0
    }

    /// The offer that comes into force, counted anew.
    fn check_offer(
        &self,
        slot: u32,
        command: &ChangeOnsale,
    ) -> Result<Option<Box<OfferState>>, Rejection> {
        let event = &self.events[slot as usize];
        let had = event.offer.as_ref().map_or(0, |before| before.offer.types);
        let has = command.offer.as_ref().map_or(0, |offer| offer.types);
        if has < had {
            let reason = "may only be added to those there are";
            return Err(Rejection::Invalid { field: "types", reason });
        }
        let Some(offer) = &command.offer else {
            return Ok(None);
        };
        offer.check(&event.seat_map, &command.prices_minor)?;
        let counted = match self.is_first_typed(slot, command) {
            true => self.count_untyped(slot, offer),
            false => self.recount_offer(slot, offer),
        };
        let quotas = counted.overfull();
        if quotas.is_empty() {
            Ok(Some(Box::new(counted)))
        } else {
            Err(Rejection::QuotaBelowTaken { quotas })
        }
    }
}

fn check_capacities(event: &EventState, capacities: &[(SectionNo, u32)]) -> Result<(), Rejection> {
    let invalid = |reason| Err(Rejection::Invalid { field: "sections/capacity", reason });
    if !capacities.is_sorted_by(|a, b| a.0 < b.0) {
        return invalid("must be ascending by section");
    }
    let mut places = event.seat_map.places();
    let mut taken = Vec::new();
    for &(no, capacity) in capacities {
        let before = event.seat_map.section(no).and_then(|section| section.area_capacity);
        let Some(before) = before else {
            return invalid("is of general admission sections only");
        };
        if capacity == 0 {
            return invalid("must be at least 1");
        }
        places = places - u64::from(before) + u64::from(capacity);
        let area = event.taken(no);
        if capacity < area.held + area.sold + area.killed {
            taken.push(area);
        }
    }
    if places > u64::from(EVENT_SEATS_MAX) {
        return invalid("make more than 200,000 places in all");
    }
    if taken.is_empty() { Ok(()) } else { Err(Rejection::CapacityBelowTaken { areas: taken }) }
}
